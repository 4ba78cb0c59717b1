"""Meaning: what mask files look like, and what the values of their pixels mean; what they do not tell is a question."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from unets.config import Coding, MasksSource, TableSource, describe
from unets.data.files import read_bytes
from unets.data.pixels import open_picture, read_values
from unets.data.samples import HALF, IGNORE
from unets.dataset.importers.base import Import
from unets.dataset.importers.class_lists import BACKGROUND_NAMES, CITYSCAPES, IGNORE_NAMES, find_class_list
from unets.dataset.importers.draws import Value, as_color, count_values, decode_colors, encode_colors
from unets.dataset.importers.listing import Listing, ending
from unets.dataset.importers.names import list_some, spread
from unets.errors import InputError

Classes = tuple[Coding, tuple[str, ...]]  # what masks hold, and what the classes are called

_MANY_PX = 200_000_000  # pixels of masks whose values are counted: some seconds
_LEAST_FILES = 8
_MOST_VALUES = 256  # of a mask that has classes; an image has thousands
_MOST_COLORS = 1000  # of a mask whose codec blurs little
_MOST_COLORED_PX = 2_000_000  # whose colors are counted; of larger files every n-th row
_MOST_PX = 20_000_000  # likewise, without colors
_NEAR = 24  # levels from 0 or 255 that a codec's ringing reaches
_HALF = 0.5
MOSTLY = 0.75  # of all pixels: more is rather background than object, as around ISBI's membranes (78 %)
_MANY_CLASSES = 20  # without names; more are rather numbers of objects


@dataclass(frozen=True, kw_only=True, slots=True)
class _FileLook:
    """What one file holds; of many pixels some rows are looked at."""

    counts: Mapping[Value, int]  # pixels of each value; of many values the most frequent
    num_values: int
    flat: float  # share of the pixels outside the most frequent value that equal their right neighbor: masks are flat
    is_color: bool  # channels differ
    palette: bytes
    solid: int | None  # pixels of shades, neither near 0 nor near 255, that fill an area; None: not of 8 bits


@dataclass(frozen=True, kw_only=True)
class Look:
    """What some files of one shape hold; `is_array`: floating-point numbers, or more than three channels."""

    files: tuple[_FileLook, ...] = ()
    is_lossy: bool = False  # JPEG, WebP
    is_array: bool = False
    by_palette: bool = False  # palettes differ from file to file: values are the colors that they name
    error: str = ""  # why a file cannot be read

    @cached_property
    def num_values(self) -> int:
        """Values of the file that has most."""
        return max((file.num_values for file in self.files), default=0)

    @cached_property
    def is_color(self) -> bool:
        """Whether some file has channels that differ."""
        return any(file.is_color for file in self.files)

    @cached_property
    def counts(self) -> Counter[Value]:
        """Pixels of each value, over all files; of colors where some file has colors."""
        total: Counter[Value] = Counter()
        for file in self.files:
            total.update({as_color(v) if self.is_color else v: n for v, n in file.counts.items()})
        return total

    @cached_property
    def is_soft(self) -> bool:
        """Whether nearly all pixels lie near 0 or 255, with shades between that never fill an area, or of a codec."""
        solid = [file.solid for file in self.files if file.solid is not None]
        levels = {value: count for value, count in self.counts.items() if isinstance(value, int)}
        if self.is_color or len(solid) < len(self.files) or max(levels, default=0) < 255 - _NEAR:
            return False
        shades = [count for level, count in levels.items() if _NEAR < level < 255 - _NEAR]
        is_thin = len(shades) >= 3 and sum(solid) < 0.2 * sum(shades)
        return sum(shades) <= 0.15 * sum(levels.values()) and (is_thin or (self.is_lossy and len(levels) > 2))

    @cached_property
    def are_numbers(self) -> bool:
        """Whether values number objects: they count from 1 without a gap, and not always to the same."""
        if self.is_soft:
            return False
        values = [sorted(map(_as_number, file.counts.keys() - {0, (0, 0, 0)})) for file in self.files]
        lasts = Counter(len(of) for of in values if of and of == list(range(1, len(of) + 1)))
        share, most = lasts.total() / max(sum(map(bool, values)), 1), max(lasts, default=0)
        is_sure = share == 1 and most > 3 and len(lasts) > 2
        is_sure |= not self.is_color and self._are_of_one_file
        return is_sure or (self.num_values > 64 and not self.is_color) or (share >= 0.5 and most > _MANY_CLASSES)

    @property
    def _are_of_one_file(self) -> bool:
        """Whether values above 0 are many, and each is of one file alone, as numbers that run on over all files."""
        files_of = Counter(value for file in self.files for value in file.counts.keys() - {0})
        return len(files_of) > 16 and max(files_of.values()) == 1 and len(self.files) >= _LEAST_FILES

    @property
    def is_mask(self) -> bool:
        """Whether these look like masks: few values, in flat areas."""
        if self.is_array or not self.files:
            return False
        if self.is_soft or self.num_values <= 3:
            return True
        flat = float(np.median([file.flat for file in self.files]))
        if self.is_color and self.num_values > _MOST_COLORS:
            return flat > 0.95  # photographs before a plain wall have 0.8
        return flat > (0.5 if self.num_values <= 64 else 0.7)


def look_at(listing: Listing, paths: Sequence[str], *, colors: bool = False, by_palette: bool = False) -> Look:
    """Looks at some files of one shape, each once; `colors` looks palettes up, as is done where they differ."""
    files: list[_FileLook] = []
    for path in paths:
        try:
            looked = listing.once(_look_at_file, path, colors)
        except InputError as error:
            return Look(error=str(error))
        if looked is None:
            return Look(is_array=True)
        files.append(looked)
    if len({file.palette for file in files}) > 1 and not colors:  # one index means different things in two files
        return look_at(listing, paths, colors=True, by_palette=True)
    is_lossy = any(ending(path) in (".jpg", ".webp", ".jp2", ".avif") for path in paths)
    return Look(files=tuple(files), is_lossy=is_lossy, by_palette=by_palette)


def _look_at_file(path: Path, colors: bool = False) -> _FileLook | None:
    """Looks at a file; None where it holds floating-point numbers or more than three channels."""
    values = read_values(path, colors=colors)
    if values.dtype.kind == "f" and np.isfinite(values).all() and (values == np.rint(values)).all():
        values = values.astype(np.int64)
    if values.dtype.kind not in "uib" or (values.ndim == 3 and values.shape[-1] != 3):
        return None
    is_color = values.ndim == 3
    most = _MOST_COLORED_PX if is_color else _MOST_PX  # sorting colors takes seconds a file
    values = values[:: -(-values.shape[0] * values.shape[1] // most)]
    solid = None
    if values.dtype == np.uint8 and not is_color:
        here = values[:-1, :-1]
        is_shade = (here > _NEAR) & (here < 255 - _NEAR)
        solid = int(np.count_nonzero(is_shade & (here == values[1:, :-1]) & (here == values[:-1, 1:])))
    codes = encode_colors(values) if is_color else values
    found, counts = count_values(codes)
    rest = codes[:, :-1] != found[int(np.argmax(counts))]
    keep = np.sort(np.argsort(-counts)[:_MOST_VALUES])
    named = map(tuple, decode_colors(found[keep]).tolist()) if is_color else found[keep].tolist()
    return _FileLook(
        counts=dict(zip(named, counts[keep].tolist(), strict=True)),
        num_values=len(found),
        flat=float((codes[:, :-1] == codes[:, 1:])[rest].mean()) if rest.any() else 1.0,
        is_color=is_color,
        palette=_read_palette(path),
        solid=solid,
    )


def find_coding(
    found: Import,
    source: MasksSource | TableSource,
    files: Sequence[str],
    *,
    is_single: bool,
) -> Coding:
    """Finds what mask files hold: as `source` says, else as they look, on as many as some seconds allow.

    `found` gets the source with that coding, the classes, what else is decided, an account of the files and of lists
    that name the classes, and questions. Where a file `is_single`, of one class or object, its values are no classes.
    Raises InputError: a file cannot be read, or holds no classes; or as `find_class_list`.
    """
    coding: Coding = source
    names, lists = find_class_list(found.listing)
    found.classes = _number(source.values or ())
    if all(option is None for option in (source.values, source.threshold, source.full_share)):
        coding, found.classes = _look_for_coding(found, files, names, is_single)
        found.source = source.model_copy(update={name: getattr(coding, name) for name in Coding.model_fields})
    found.fields |= {"has_background": bool(coding.background), "has_ignored": bool(coding.ignored)}
    found.account |= dict.fromkeys(files, "mask") | dict.fromkeys(lists, "annotation")
    return coding


def _number(values: Sequence[Value]) -> tuple[str, ...]:
    """Names classes that no file names."""
    return tuple(f"class_{index}" for index in range(1, len(values) + 1)) if len(values) > 1 else ("object",)


def _look_for_coding(found: Import, files: Sequence[str], names: Mapping[Value, str], is_single: bool) -> Classes:
    listing = found.listing
    height, width = listing.header(files[0]).size_hw
    paths = spread(files, max(_LEAST_FILES, _MANY_PX // (height * width)))
    look = look_at(listing, paths)
    if look.error:
        raise InputError(f"every mask must be readable. Received: {look.error}. Repair or remove it and its image")
    if look.is_array:
        raise InputError(
            f"masks must hold whole numbers in one channel, or colors. Received: {files[0]}, and others; write PNGs"
        )
    if not names and not is_single:
        names = _know_cityscapes(files, look)
    usual = np.median([file.num_values for file in look.files])
    most = max(_MOST_VALUES, 16 * usual)
    odd = [p for p, file in zip(paths, look.files, strict=True) if file.num_values > most and file.flat < _HALF]
    if odd and not look.is_lossy:
        raise InputError(
            f"mask files must hold a value, or a color, a class. Received: {len(odd)} that hold hundreds, as images, "
            f"where others hold {usual:g}: {list_some(odd)}. Replace or remove them, with their images"
        )
    names = _count_from_one(names, look, found)
    try:
        for known in [] if is_single else _list_namings(names, look):
            by_color = any(isinstance(value, tuple) for value in known)
            seen = look_at(listing, paths, colors=True) if by_color else look
            if classes := _find_named(seen, known, found, by_color=by_color):
                if not by_color and not known.keys() <= names.keys():
                    text = "masks hold no color of the list of classes: a value is the place of its row, from 0 on"
                    found.ask("source.values", text, "the value of each class")
                return classes
        coding, called = _find_unnamed(look, is_single, found)
        listed = [
            name for name in names.values() if not re.fullmatch(f"{BACKGROUND_NAMES}|{IGNORE_NAMES}", name.lower())
        ]
        called = (listed[0],) if len(listed) == len(called) == 1 else called
        return _name_colors(coding) if look.by_palette else coding, called
    except ValidationError as error:
        shown = list_some(sorted(value for value in look.counts if value not in range(65_536))) or describe(error)
        raise InputError(f"mask files must hold values of 0 to 65535, or colors. Received: {shown}") from error


def _count_from_one(names: Mapping[Value, str], look: Look, found: Import) -> Mapping[Value, str]:
    """Numbers a list of classes from 1 on where masks hold one value more than it names, and it has no background."""
    count = len(names)
    is_list = (
        count > 0
        and list(names) == [*range(count)]
        and not any(re.fullmatch(BACKGROUND_NAMES, n.lower()) for n in names.values())
    )
    if not is_list or look.is_color or not {0, count} <= look.counts.keys() <= {*range(count + 1), IGNORE}:
        return names
    text = f"the list of classes has {count} names, and masks hold 0 to {count}: it is taken to name 1 to {count}"
    found.ask("classes", text, "other names")
    return dict[Value, str](enumerate(names.values(), start=1))


def _name_colors(coding: Coding) -> Coding:
    """Writes grey levels as colors, so that palettes are looked up; numbers of objects are told from 0 alone."""
    if coding.threshold == HALF:
        coding = Coding(values=(255,), nearest=True)
    if coding.values is None or coding.threshold is not None:
        return coding
    lists = {name: tuple(map(as_color, getattr(coding, name))) for name in ("values", "background", "ignored")}
    return coding.model_copy(update=lists)


def _know_cityscapes(files: Sequence[str], look: Look) -> dict[Value, str]:
    """Returns the classes of Cityscapes where files are called as its own are; of its `trainId`s 255 is ignored."""
    known: dict[Value, str] = {}
    if all(re.search(r"train_?ids?\b", path, re.IGNORECASE) for path in files):
        known = dict[Value, str](enumerate(CITYSCAPES.values())) | {IGNORE: "ignored"}
    elif all("labelIds" in path for path in files):
        known = {0: "background", **CITYSCAPES}
    return {value: name for value, name in known.items() if value in look.counts or value == 0}


def _list_namings(names: Mapping[Value, str], look: Look) -> list[dict[Value, str]]:
    """Lists what the values of a list of classes may be: colors, numbers, levels of red, or the places of its rows."""
    numbers: dict[Value, str] = {value: name for value, name in names.items() if isinstance(value, int)}
    colors: dict[Value, str] = {value: name for value, name in names.items() if isinstance(value, tuple)}
    namings = [colors, numbers]
    if look.is_color and all(_as_number(value) >= 0 for value in look.counts):
        namings.append({(_as_number(value), 0, 0): name for value, name in numbers.items()})
    if not numbers and all(isinstance(value, int) and value < len(names) for value in look.counts if value != IGNORE):
        namings.append(dict[Value, str](enumerate(names.values())))
    return [naming for naming in namings if naming]


def _as_number(value: Value) -> int:
    """Returns a value, or the red of a color that is nothing but red; else -1."""
    return value if isinstance(value, int) else -1 if any(value[1:]) else value[0]


def _find_unnamed(look: Look, is_single: bool, found: Import) -> Classes:
    if look.is_soft:
        what = "JPEG blurs them" if look.is_lossy else "their borders are soft"
        text = f"masks hold shades between 0 and 255 ({what}): 128 and more is taken for the object"
        shares = "full_share=255 without threshold, if they are shares of several annotators"
        found.ask("source.threshold", text, "another threshold, 1 to 255", shares)
        return Coding(threshold=HALF), _number(())
    if look.are_numbers and not is_single:
        text = f"masks hold up to {look.num_values - 1} values: taken for numbers of objects, all above 0 are one class"
        found.ask("source.threshold", text, "values=(1, 2, 3...), threshold=None, if they are classes")
        return Coding(threshold=1), _number(())
    if look.is_color and is_single and (0, 0, 0) in look.counts:
        return Coding(threshold=1), _number(())  # an object of any color
    if look.is_color:
        return _find_colors(look, found)
    values = sorted(value for value in look.counts if isinstance(value, int))
    if len(values) <= 2:
        return _find_binary(look, values, is_single, found), _number(())
    if is_single:
        return Coding(threshold=values[1] if values[0] == 0 else values[-1]), _number(())
    if strays := _find_strays(look):
        text = f"{list_some(strays)} is in one mask alone, {sum(look.counts[v] for v in strays)} pixels of all: a slip"
        found.ask("source.values", text + ", which counts as the nearest of 0 and 255", "values of their own")
        return Coding(values=(255,), nearest=True), _number(())
    if values == [0, 1, 255] and not any({1, 255} <= file.counts.keys() for file in look.files):
        return Coding(threshold=1), _number(())  # 0/1 in some files, 0/255 in others
    return _find_several(look, values, found)


def _find_strays(look: Look) -> list[int]:
    """Finds the values besides 0 and 255 of masks that hold these two, but for a few pixels of one of many files."""
    levels = [value for value in look.counts if isinstance(value, int) and value not in (0, 255)]
    files = [file.counts.keys() for file in look.files]
    is_usual = sum(255 in keys for keys in files) >= _LEAST_FILES and 0 in look.counts
    are_rare = sum(look.counts[level] for level in levels) < 0.001 * look.counts[255]
    return levels if is_usual and are_rare and sum(any(v in keys for v in levels) for keys in files) == 1 else []


def _find_binary(look: Look, values: list[int], is_single: bool, found: Import) -> Coding:
    """One class: 0, or the lower of two values, is background."""
    if len(values) == 1:
        text = f"all {len(look.files)} masks that were read hold nothing but {values[0]}: are they masks?"
        found.ask("source.values", text, "the value of the object")
        return Coding(values=(values[0] or 255,))
    low, high = values
    share = look.counts[high] / look.counts.total()
    if (share <= _HALF and low == 0) or is_single:
        return Coding(values=(high,), background=(low,))
    text = f"{high} covers {share:.0%} of all pixels and is taken for the object; it may be the background"
    value, other = high, low
    if share > MOSTLY:
        value, other = low, high
        text = f"{high} covers {share:.0%} of all pixels and is taken for the background, {low} for the object"
    found.ask("source.values", text, f"values=({other},), background=({value},)")
    return Coding(values=(value,), background=(other,))


def _find_several(look: Look, values: Sequence[int], found: Import) -> Classes:
    """Classes without names, or numbers of objects."""
    ignored = (255,) if 255 in values and max(set(values) - {255}) < 128 else ()
    zero, share = 0, look.counts[0] / look.counts.total()
    (top, count), *_ = look.counts.most_common(1)
    if 0 in values and isinstance(top, int) and top not in ignored and count > MOSTLY * look.counts.total():
        zero, share = top, count / look.counts.total()
    classes = tuple(value for value in values if value not in (zero, *ignored))
    if len(classes) >= 254:
        raise InputError(
            f"mask files must hold at most 254 values, one a class. Received: {len(classes)}; are they images, or "
            "shades?"
        )
    if len(classes) > 1:
        rest = f", {zero} ({share:.0%} of all pixels) for background" if zero in values else ""
        text = f"the values {list_some(classes)} are taken for classes{rest}; no file names them"
        choice = f"values=({max(classes)},), threshold=1, if they are numbers of objects"
        found.ask("classes", text, "their names", choice)
    if ignored:
        share = look.counts[255] / look.counts.total()
        text = f"255 ({share:.1%} of all pixels) is taken for ignored pixels, as in PASCAL VOC"
        found.ask("source.ignored", text, "ignored=(), with 255 in `values`")
    if 0 not in values:
        text = "no pixel is 0: every pixel is taken to be of a class, and none is background"
        choice = f"background=({min(classes)},), without {min(classes)} in `values`"
        found.ask("source.background", text, choice)
    background = (zero,) if zero in values else ()
    return Coding(values=classes, background=background, ignored=ignored), _number(classes)


def _find_colors(look: Look, found: Import) -> Classes:
    """Classes by color, without names. Colors that codecs or soft borders make count as the nearest frequent one."""
    counts, total = look.counts, look.counts.total()
    is_clean = look.num_values <= 64 and not look.is_lossy
    used = sorted(value for value, count in counts.items() if is_clean or count >= 0.002 * total)
    is_blurred = look.is_lossy or sum(counts[v] for v in used) < 0.97 * total or not 2 <= len(used) <= 40
    if not is_clean and is_blurred:
        raise InputError(
            f"mask files must hold a color a class. Received: up to {look.num_values} colors a file"
            + (" (JPEG blurs them)" if look.is_lossy else "")
            + ". Save them as PNG, or add a class_dict.csv (name,r,g,b) that lists the classes' colors"
        )
    files_of = Counter[Value](as_color(value) for file in look.files for value in file.counts)
    if sum(files_of[color] == 1 for color in used) > max(16, 0.8 * len(used)) and len(look.files) >= _LEAST_FILES:
        raise InputError(
            f"mask files must hold a color a class. Received: {len(used)} colors, most of them in one file alone, as "
            "colors of objects. Write masks of classes as PNG"
        )
    zero = (0, 0, 0) if (0, 0, 0) in counts else max(counts, key=lambda value: counts[value])
    rest = tuple(value for value in used if value != zero)
    text = f"the colors {list_some(rest)} are taken for classes and {zero} for background; no file names them"
    found.ask("classes", text, "their names", "a class_dict.csv (name,r,g,b) in INPUT")
    return Coding(values=rest, background=(zero,), nearest=not is_clean), _number(rest)


def _find_named(look: Look, names: Mapping[Value, str], found: Import, *, by_color: bool) -> Classes | None:
    """Classes by a list of names, which tell ignored pixels and background; None where few pixels are named."""
    counts = Counter({(as_color(v) if by_color else v): n for v, n in look.counts.items()})
    zero: Value = (0, 0, 0) if by_color else 0  # background, where no list names it
    (top, count), *_ = counts.most_common(1)
    has_background = any(re.fullmatch(BACKGROUND_NAMES, name.lower()) for name in names.values())
    if zero not in counts and top not in names and count > _HALF * counts.total() and not has_background:
        zero = top  # white around colors
    skipped = {zero} if not look.is_lossy or zero not in names else set[Value]()  # a codec blurs the other colors
    looked = Counter({value: n for value, n in counts.items() if value not in skipped})
    hits = sum(n for value, n in looked.items() if value in names)
    if not hits >= 0.5 * looked.total() > 0 or (look.is_soft and len(names) > 3):
        return None
    ignored = [value for value, name in names.items() if re.fullmatch(IGNORE_NAMES, name.lower())]
    background = [value for value, name in names.items() if re.fullmatch(BACKGROUND_NAMES, name.lower())]
    classes = {value: name for value, name in names.items() if value not in (*ignored, *background)}
    strangers = [value for value in counts if value not in names]
    if zero in strangers:
        background.append(zero)
        strangers.remove(zero)
    share = sum(counts[value] for value in strangers) / counts.total()
    has_colors = isinstance(zero, tuple)
    is_nearest = bool(strangers) and (look.is_lossy or look.is_soft or (has_colors and len(strangers) > 8))
    if is_nearest:
        text = f"{share:.1%} of the pixels have no color of the list: each counts as the nearest that is listed"
        found.ask("source.values", text, "masks without blurred borders")
    elif strangers:
        ignored += strangers
        shown = list_some(strangers)
        text = f"masks hold {shown} ({share:.1%} of the pixels), which no list of classes names: ignored"
        choice = f"{shown} in `background`, or in `values` with a name in `classes`"
        found.ask("source.ignored", text, choice)
    missing = [name for value, name in classes.items() if value not in counts]
    if missing:
        text = f"no mask that was read holds {list_some(missing)}, which the list of classes names"
        found.ask("classes", text, "the classes that there are")
    coding = Coding(values=(*classes,), background=(*background,), ignored=(*ignored,), nearest=is_nearest)
    return coding, tuple(classes.values())


def _read_palette(path: Path) -> bytes:
    if path.suffix.lower() not in (".png", ".gif", ".bmp", ".tif", ".tiff"):
        return b""
    with open_picture(read_bytes(path), path) as picture:
        return bytes(picture.getpalette() or b"") if picture.mode == "P" else b""
