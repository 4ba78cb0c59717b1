"""Meaning: what mask files look like, and what the values of their pixels mean; what they do not tell is a question."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unets.data.files import read_bytes
from unets.data.pixels import open_picture, read_values
from unets.data.samples import IGNORE
from unets.dataset.importers.base import MaskHW, Question
from unets.dataset.importers.class_lists import BACKGROUND_NAMES, IGNORE_NAMES, Value
from unets.dataset.importers.listing import Listing
from unets.errors import InputError

_UNDECLARED = 254
_BLOCK_PX = 4_000_000  # whose values are counted at once
_MOST_VALUES = 256  # of a mask that has classes; an image has thousands
_MOST_COLORS = 1000  # of a mask whose codec blurs little
_MOST_COLORED_PX = 2_000_000  # whose colors are counted; of larger files every n-th row
_MOST_PX = 20_000_000  # likewise, without colors
_NEAR = 24  # levels from 0 or 255 that a codec's ringing reaches
_HALF = 0.5
MOSTLY = 0.75  # of all pixels: more is rather background than object, as around ISBI's membranes (78 %)
_MANY_CLASSES = 20  # without names; more may be numbers of objects


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What some files of one shape hold.

    Attributes:
        files: the values of each file and how many pixels have each; of many values some.
        num_values: of the file that has most.
        flat: share of the pixels outside the most frequent value that equal their right neighbor: masks are flat.
        is_color: some file has channels that differ.
        is_soft: nearly all pixels lie near 0 or 255, with shades between.
        is_lossy: the files are JPEG or WebP.
        is_array: a file holds floating-point numbers or more than three channels.
        error: why a file cannot be read.
    """

    files: tuple[Mapping[Value, int], ...] = ()
    num_values: int = 0
    flat: float = 0.0
    is_color: bool = False
    is_soft: bool = False
    is_lossy: bool = False
    is_array: bool = False
    error: str = ""

    @property
    def counts(self) -> Counter[Value]:
        """Pixels of each value, over all files; of colors where some file has colors."""
        total: Counter[Value] = Counter()
        for counts in self.files:
            total.update({_as_color(v) if self.is_color else v: n for v, n in counts.items()})
        return total

    @property
    def is_mask(self) -> bool:
        """Whether these look like masks: few values, in flat areas."""
        if self.is_array or not self.files:
            return False
        if self.is_soft or self.num_values <= 3:
            return True
        if self.is_color and self.num_values > _MOST_COLORS:
            return self.flat > 0.95  # photographs before a plain wall have 0.8
        return self.flat > (0.5 if self.num_values <= 64 else 0.7)

    @property
    def is_binary(self) -> bool:
        """Whether no file holds more than two values, or shades between two."""
        return self.is_soft or self.num_values <= 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Coding:
    """What the values of a mask file mean; can be sent to a worker.

    Attributes:
        classes: value of each class, in their order.
        background: values of no class.
        ignored: values of ignored pixels.
        threshold: what is at least this is of the only class, or what is less where that class is 0.
        colors: palettes are looked up, and values are (R, G, B).
        is_nearest: values that codecs changed count as the nearest that is declared.
    """

    classes: tuple[Value, ...]
    background: tuple[Value, ...] = (0,)
    ignored: tuple[Value, ...] = ()
    threshold: int | None = None
    colors: bool = False
    is_nearest: bool = False

    @property
    def is_canonical(self) -> bool:
        """Whether files of this coding already hold class indices, 0 for background and 255 for ignored pixels."""
        indices = tuple(range(1, len(self.classes) + 1))
        plain = self.threshold is None and not self.colors
        return plain and self.classes == indices and self.background in ((0,), ()) and self.ignored in ((255,), ())

    def read(self, path: Path) -> npt.NDArray[np.uint8]:
        """Reads a mask file as class indices, 255 ignored; uint8 (height, width).

        Raises:
            InputError: the file cannot be read, or holds a value that is not declared.
        """
        values = read_values(path, colors=self.colors)
        if self.threshold is not None:
            values = values.max(axis=-1) if values.ndim == 3 else values
            is_above = values >= self.threshold
            return np.asarray(~is_above if self.classes == (0,) else is_above, dtype=np.uint8)
        declared = [*((v, 0) for v in self.background), *((v, IGNORE) for v in self.ignored)]
        declared += [(value, index) for index, value in enumerate(self.classes, start=1)]
        has_colors = self.colors or values.ndim == 3
        codes = _encode(values) if has_colors else values
        keys = np.array([_code(v) if has_colors else v for v, _ in declared], dtype=np.int64)
        known = np.array([index for _, index in declared], dtype=np.uint8)
        found, _ = count_values(codes)
        meant = np.full(len(found), _UNDECLARED, dtype=np.uint8)
        for place, code in enumerate(found.tolist()):
            hits = np.flatnonzero(keys == code)
            if hits.size:
                meant[place] = known[hits[0]]
            elif self.is_nearest:
                meant[place] = known[int(np.argmin(_distance(code, keys)))]
            else:
                shown = _decode(code) if has_colors else code
                raise InputError(f"{path} must hold the values that `source` declares alone. Received: {shown}")
        if codes.dtype == np.uint8:
            table = np.zeros(256, dtype=np.uint8)
            table[found] = meant
            return table[codes]
        return meant[np.searchsorted(found, codes)]


def unite(masks: Sequence[MaskHW]) -> MaskHW:
    """Returns the union of objects' masks: a class counts before ignored pixels, these before background."""
    united = masks[0]
    for mask in masks[1:]:
        is_object = (mask != 0) & (mask != IGNORE)
        united = np.where(is_object | (united == 0), mask, united)
    return united


def merge_layers(layers: Sequence[MaskHW], name: str) -> MaskHW:
    """Makes one mask of class indices of masks that are of a class each, 0, 1 and 255.

    Args:
        layers: in the order of the classes.
        name: of the mask, for the error.

    Raises:
        InputError: a pixel is of several classes.
    """
    if len(layers) == 1:
        return layers[0]
    mask_hw = np.zeros(layers[0].shape, dtype=np.uint8)
    for class_index, layer in enumerate(layers, start=1):
        is_object = layer == 1
        shared = int(np.count_nonzero(is_object & (mask_hw > 0) & (mask_hw != IGNORE)))
        if shared:
            raise InputError(
                f"{name}: a pixel must be of one class at most, or `overlapping` of dataset.py be True. "
                f"Received: {shared} pixels of several classes"
            )
        mask_hw[is_object] = class_index
        mask_hw[(layer == IGNORE) & (mask_hw == 0)] = IGNORE
    return mask_hw


@dataclass(frozen=True, kw_only=True, slots=True)
class FileLook:
    """What one file holds; see `Look`. Of many pixels some rows are looked at."""

    values: Mapping[Value, int]
    num_values: int
    flat: float
    is_color: bool
    palette: bytes
    num_pixels: int
    near: int = 0  # pixels near 0 or 255, of 8 bits
    shaded: int = 0  # pixels of shades between
    solid: int = 0  # pixels of shades that fill an area


def look_at_file(path: Path, colors: bool = False) -> FileLook | None:
    """Looks at a file; None where it holds floating-point numbers or more than three channels.

    Raises:
        InputError: it cannot be read.
    """
    values = read_values(path, colors=colors)
    if values.dtype.kind == "f" and np.isfinite(values).all() and (values == np.rint(values)).all():
        values = values.astype(np.int64)
    if values.dtype.kind not in "uib" or (values.ndim == 3 and values.shape[-1] != 3):
        return None
    is_color = values.ndim == 3
    most = _MOST_COLORED_PX if is_color else _MOST_PX  # sorting colors takes seconds a file
    values = values[:: -(-values.shape[0] * values.shape[1] // most)]
    near = shaded = solid = 0
    if values.dtype == np.uint8 and not is_color:
        is_shade = (values > _NEAR) & (values < 255 - _NEAR)
        shaded = int(np.count_nonzero(is_shade))
        near = values.size - shaded
        if shaded:
            here = values[:-1, :-1]
            solid = int(np.count_nonzero(is_shade[:-1, :-1] & (here == values[1:, :-1]) & (here == values[:-1, 1:])))
    codes = _encode(values) if is_color else values
    found, counts = count_values(codes)
    rest = codes[:, :-1] != found[int(np.argmax(counts))]
    keep = np.sort(np.argsort(-counts)[:_MOST_VALUES])
    named = [_decode(code) if is_color else code for code in found[keep].tolist()]
    return FileLook(
        values=dict(zip(named, counts[keep].tolist(), strict=True)),
        num_values=len(found),
        flat=float((codes[:, :-1] == codes[:, 1:])[rest].mean()) if rest.any() else 1.0,
        is_color=is_color,
        palette=_read_palette(path),
        num_pixels=values.shape[0] * values.shape[1],
        near=near,
        shaded=shaded,
        solid=solid,
    )


def look_at(listing: Listing, paths: Sequence[str], *, colors: bool = False) -> Look:
    """Looks at some files of one shape, each once; see `Look`."""
    files: list[FileLook] = []
    for path in paths:
        try:
            looked = listing.once(look_at_file, path, colors)
        except InputError as error:
            return Look(error=str(error))
        if looked is None:
            return Look(is_array=True)
        files.append(looked)
    if len({file.palette for file in files}) > 1 and not colors:  # one index means different things in two files
        return look_at(listing, paths, colors=True)
    is_color = any(file.is_color for file in files)
    is_lossy = any(path.lower().endswith((".jpg", ".jpeg", ".webp", ".jp2")) for path in paths)
    levels = {value for file in files for value in file.values if isinstance(value, int)}
    shades = sum(_NEAR < value < 255 - _NEAR for value in levels)
    shaded, solid, near = (sum(getattr(file, name) for file in files) for name in ("shaded", "solid", "near"))
    is_thin = shades >= 3 and solid < 0.2 * shaded  # shades of a border never fill an area
    is_near = near >= 0.85 * sum(file.num_pixels for file in files) > 0 and max(levels, default=0) >= 255 - _NEAR
    return Look(
        files=tuple(file.values for file in files),
        num_values=max((file.num_values for file in files), default=0),
        flat=float(np.median([file.flat for file in files])) if files else 0.0,
        is_color=is_color,
        is_soft=not is_color and is_near and (is_thin or (is_lossy and len(levels) > 2)),
        is_lossy=is_lossy,
    )


@dataclass(kw_only=True, slots=True)
class Meaning:
    """The coding of masks, names of its classes, and questions."""

    coding: Coding
    classes: tuple[str, ...] = ("object",)
    questions: list[Question] = field(default_factory=list)


def find_meaning(look: Look, names: Mapping[Value, str], *, is_single: bool = False) -> Meaning:
    """Says what the values of masks mean.

    Args:
        look: at many masks.
        names: of values or colors, from a list of classes; may be empty.
        is_single: whether a file is of one class or object, so that its values are no classes.

    Raises:
        InputError: the masks hold too many values to be classes.
    """
    counts = look.counts
    if names and not is_single and (any(isinstance(v, tuple) for v in names) or not look.is_color):
        by_color = any(isinstance(v, tuple) for v in names)
        counts = Counter({(_as_color(v) if by_color else v): n for v, n in counts.items()})
        zero: Value = (0, 0, 0) if by_color else 0  # background, where no list names it
        unnamed = 0 if zero in names else counts[zero]
        hits = sum(n for value, n in counts.items() if value in names)
        if hits >= 0.5 * (counts.total() - unnamed) > 0 and not (look.is_soft and len(names) > 3):
            return _find_named(look, counts, names)
    if look.is_soft:
        return _find_soft(look)
    if look.is_color:
        return _find_colors(look, counts)
    values = sorted(value for value in counts if isinstance(value, int))
    if len(values) <= 2 or is_single:
        return _find_single(look, values, is_single)
    files = [set(file) - {0} for file in look.files]
    if set(values) == {0, 1, 255} and not any({1, 255} <= file for file in files):
        return Meaning(coding=Coding(classes=(255,), threshold=1))  # 0/1 in some files, 0/255 in others
    return _find_several(look, values)


def _find_single(look: Look, values: list[int], is_single: bool) -> Meaning:
    """One class: 0, or the lower of two values, is background."""
    if len(values) == 1:
        value = values[0] or 255
        text = f"all {len(look.files)} masks that were read hold nothing but {values[0]}: are they masks?"
        asked = Question(field="source.values", text=text, choices=("the value of the object",))
        return Meaning(coding=Coding(classes=(value,)), questions=[asked])
    if is_single and len(values) > 2:
        return Meaning(coding=Coding(classes=(values[-1],), threshold=values[1] if values[0] == 0 else values[-1]))
    low, high = values
    coding = Coding(classes=(high,), background=(low,))
    share = look.counts[high] / look.counts.total()
    if (share <= _HALF and low == 0) or is_single:
        return Meaning(coding=coding)
    text = f"{high} covers {share:.0%} of all pixels and is taken for the object; it may be the background"
    choice = f"values=({low},), background=({high},)"
    if share > MOSTLY:
        coding, choice = Coding(classes=(low,), background=(high,)), f"values=({high},), background=({low},)"
        text = f"{high} covers {share:.0%} of all pixels and is taken for the background, {low} for the object"
    return Meaning(coding=coding, questions=[Question(field="source.values", text=text, choices=(choice,))])


def _find_soft(look: Look) -> Meaning:
    what = "JPEG blurs them" if look.is_lossy else "their borders are soft"
    text = f"masks hold shades between 0 and 255 ({what}): 128 and more is taken for the object"
    asked = Question(field="source.threshold", text=text, choices=("another threshold, 1 to 255",))
    return Meaning(coding=Coding(classes=(255,), threshold=128), questions=[asked])


def _find_several(look: Look, values: Sequence[int]) -> Meaning:
    """Classes without names, or numbers of objects."""
    counts = look.counts
    total = counts.total()
    ignored = [255] if 255 in values and max(set(values) - {255}) < 128 else []
    rest = [value for value in values if value not in (0, *ignored)]
    if len(rest) > _MANY_CLASSES and _are_numbers(look):
        text = f"masks hold up to {look.num_values - 1} values: taken for numbers of objects, all above 0 are one class"
        choice = f"values={tuple(rest[:3])}..., threshold=None, if they are classes"
        asked = Question(field="source.threshold", text=text, choices=(choice,))
        return Meaning(coding=Coding(classes=(max(rest),), threshold=1), questions=[asked])
    if len(rest) >= 254:
        raise InputError(
            f"mask files must hold at most 254 values, one a class. Received: {len(rest)}; are they images, or shades?"
        )
    background = (0,) if 0 in values else ()
    meaning = Meaning(
        coding=Coding(classes=tuple(rest), background=background, ignored=tuple(ignored)),
        classes=tuple(f"class_{index}" for index in range(1, len(rest) + 1)) if len(rest) > 1 else ("object",),
    )
    if len(rest) > 1:
        text = f"the values {_list(rest)} are taken for classes; no file names them"
        choice = f"values=({max(rest)},), threshold=1, if they are numbers of objects"
        meaning.questions.append(Question(field="classes", text=text, choices=("their names", choice)))
    if ignored:
        text = f"255 ({counts[255] / total:.1%} of all pixels) is taken for ignored pixels, as in PASCAL VOC"
        asked = Question(field="source.ignored", text=text, choices=("ignored=(), with 255 in `values`",))
        meaning.questions.append(asked)
    if not background:
        text = "no pixel is 0: every pixel is taken to be of a class, and none is background"
        choice = f"background=({min(rest)},), without {min(rest)} in `values`"
        meaning.questions.append(Question(field="source.background", text=text, choices=(choice,)))
    return meaning


def _are_numbers(look: Look) -> bool:
    """Tells numbers of objects: in most files they count from 1 without a gap, and not always to the same."""
    lasts = [sorted(value for value in file if value != 0) for file in look.files]
    counted = [values for values in lasts if values and values == list(range(1, len(values) + 1))]
    return look.num_values > 64 or len(counted) >= 0.5 * len(lasts)


def _find_colors(look: Look, counts: Counter[Value]) -> Meaning:
    """Classes by color, without names. Colors that codecs or soft borders make count as the nearest frequent one."""
    total = counts.total()
    frequent = [value for value, count in counts.items() if count >= 0.002 * total]
    is_clean = look.num_values <= 64 and not look.is_lossy
    used = sorted(counts if is_clean else frequent)
    if not is_clean and (look.is_lossy or sum(counts[v] for v in used) < 0.97 * total or len(used) > 40):
        raise InputError(
            f"mask files must hold a color a class. Received: up to {look.num_values} colors a file"
            + (" (JPEG blurs them)" if look.is_lossy else "")
            + ". Save them as PNG, or add a class_dict.csv (name,r,g,b) that lists the classes' colors"
        )
    zero = (0, 0, 0) if (0, 0, 0) in counts else max(counts, key=lambda value: counts[value])
    rest = [value for value in used if value != zero]
    classes = tuple(f"class_{index}" for index in range(1, len(rest) + 1)) if len(rest) > 1 else ("object",)
    text = f"the colors {_list(rest)} are taken for classes and {zero} for background; no file names them"
    coding = Coding(classes=tuple(rest), background=(zero,), colors=True, is_nearest=not is_clean)
    asked = Question(field="classes", text=text, choices=("their names", "a class_dict.csv (name,r,g,b) in INPUT"))
    return Meaning(coding=coding, classes=classes, questions=[asked])


def _find_named(look: Look, counts: Counter[Value], names: Mapping[Value, str]) -> Meaning:
    """Classes by a list of names: ignored pixels and background are known by theirs."""
    colors = any(isinstance(value, tuple) for value in names)
    ignored = [value for value, name in names.items() if re.fullmatch(IGNORE_NAMES, name.lower())]
    background = [value for value, name in names.items() if re.fullmatch(BACKGROUND_NAMES, name.lower())]
    classes = {value: name for value, name in names.items() if value not in (*ignored, *background)}
    questions = []
    strangers = [value for value in counts if value not in names]
    zero: Value = (0, 0, 0) if colors else 0
    if zero in strangers:
        background.append(zero)
        strangers.remove(zero)
    share = sum(counts[value] for value in strangers) / counts.total()
    is_nearest = bool(strangers) and (look.is_lossy or look.is_soft or (colors and len(strangers) > 8))
    if is_nearest:
        text = f"{share:.1%} of the pixels have no color of the list: each counts as the nearest that is listed"
        questions.append(Question(field="source.values", text=text, choices=("masks without blurred borders",)))
    elif strangers:
        ignored += strangers
        text = f"masks hold {_list(strangers)} ({share:.1%} of the pixels), which no list of classes names: ignored"
        choices = (f"{_list(strangers)} in `background`, or in `values` with a name in `classes`",)
        questions.append(Question(field="source.ignored", text=text, choices=choices))
    missing = [name for value, name in classes.items() if value not in counts]
    if missing:
        text = f"no mask that was read holds {_list(missing)}, which the list of classes names"
        questions.append(Question(field="classes", text=text, choices=("the classes that there are",)))
    coding = Coding(
        classes=tuple(classes),
        background=tuple(background),
        ignored=tuple(ignored),
        colors=colors,
        is_nearest=is_nearest,
    )
    return Meaning(coding=coding, classes=tuple(classes.values()), questions=questions)


def count_values(values: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Returns (values that there are, ascending, int64; how many pixels have each)."""
    if values.dtype in (np.uint8, np.uint16, np.bool_):
        flat = values.ravel().view(np.uint8) if values.dtype == np.bool_ else values.ravel()
        starts = range(0, flat.size, _BLOCK_PX)  # bincount makes 64 bits of each pixel
        counts = sum((np.bincount(flat[s : s + _BLOCK_PX], minlength=65_536) for s in starts), np.zeros(65_536, int))
        found = np.flatnonzero(counts)
        return found, counts[found]
    found, counts = np.unique(values, return_counts=True)
    return found.astype(np.int64), counts


def _list(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values[:6])) + (f" and {len(values) - 6} more" if len(values) > 6 else "")


def _as_color(value: Value) -> Value:
    return (value,) * 3 if isinstance(value, int) else value


def _read_palette(path: Path) -> bytes:
    if path.suffix.lower() not in (".png", ".gif", ".bmp", ".tif", ".tiff"):
        return b""
    with open_picture(read_bytes(path), path) as picture:
        return bytes(picture.getpalette() or b"") if picture.mode == "P" else b""


def _encode(values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    if values.ndim == 2:
        values = np.repeat(values[..., None], 3, axis=-1)
    wide = values[..., :3].astype(np.int64)
    return np.asarray(wide[..., 0] << 32 | wide[..., 1] << 16 | wide[..., 2])


def _code(value: Value) -> int:
    red, green, blue = value if isinstance(value, tuple) else (value,) * 3
    return red << 32 | green << 16 | blue


def _decode(code: int) -> tuple[int, int, int]:
    return code >> 32, code >> 16 & 65535, code & 65535


def _distance(code: int, keys: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    if max(code, int(keys.max())) < 2**16:
        return np.abs(keys - code).astype(np.float64)
    parts = np.stack([keys >> 32, keys >> 16 & 65535, keys & 65535], axis=-1).astype(np.float64)
    return np.asarray(((parts - np.array(_decode(code))) ** 2).sum(axis=-1))
