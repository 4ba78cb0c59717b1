"""Meaning: what mask files look like, and what the values of their pixels mean; what they do not tell is a question."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError
from scipy.spatial import KDTree

from unets.config import Coding, MasksSource, TableSource, describe
from unets.data.files import read_bytes
from unets.data.pixels import open_picture, read_values
from unets.data.samples import IGNORE
from unets.dataset.importers.base import MaskHW, Questions
from unets.dataset.importers.class_lists import BACKGROUND_NAMES, CITYSCAPES, IGNORE_NAMES, Value
from unets.dataset.importers.listing import Listing
from unets.dataset.importers.names import spread
from unets.errors import InputError

_UNDECLARED = 254
_BLOCK_PX = 4_000_000  # whose values are counted at once
_MANY_PX = 200_000_000  # pixels of masks whose values are counted: some seconds
_LEAST_FILES = 8
_MOST_VALUES = 256  # of a mask that has classes; an image has thousands
_MOST_COLORS = 1000  # of a mask whose codec blurs little
_MOST_COLORED_PX = 2_000_000  # whose colors are counted; of larger files every n-th row
_MOST_PX = 20_000_000  # likewise, without colors
_NEAR = 24  # levels from 0 or 255 that a codec's ringing reaches
_HALF = 0.5
MOSTLY = 0.75  # of all pixels: more is rather background than object, as around ISBI's membranes (78 %)
_MANY_CLASSES = 20  # without names; more may be numbers of objects


@dataclass(frozen=True, kw_only=True, slots=True)
class FileLook:
    """What one file holds; of many pixels some rows are looked at.

    Attributes:
        counts: how many pixels have each value; of many values the most frequent.
        num_values: how many values there are.
        flat: share of the pixels outside the most frequent value that equal their right neighbor: masks are flat.
        is_color: channels differ.
        palette: its bytes, where there is one.
        num_pixels: that were looked at.
        near: pixels near 0 or 255, of 8 bits.
        shaded: pixels of shades between.
        solid: pixels of shades that fill an area.
    """

    counts: Mapping[Value, int]
    num_values: int
    flat: float
    is_color: bool
    palette: bytes
    num_pixels: int
    near: int = 0
    shaded: int = 0
    solid: int = 0


@dataclass(frozen=True, kw_only=True)
class Look:
    """What some files of one shape hold; `is_array`: floating-point numbers, or more than three channels."""

    files: tuple[FileLook, ...] = ()
    is_lossy: bool = False  # JPEG, WebP
    is_array: bool = False
    error: str = ""  # why a file cannot be read

    @property
    def num_values(self) -> int:
        """Values of the file that has most."""
        return max((file.num_values for file in self.files), default=0)

    @property
    def is_color(self) -> bool:
        """Whether some file has channels that differ."""
        return any(file.is_color for file in self.files)

    @cached_property
    def counts(self) -> Counter[Value]:
        """Pixels of each value, over all files; of colors where some file has colors."""
        total: Counter[Value] = Counter()
        for file in self.files:
            total.update({_as_color(v) if self.is_color else v: n for v, n in file.counts.items()})
        return total

    @cached_property
    def is_soft(self) -> bool:
        """Whether nearly all pixels lie near 0 or 255, with shades between that never fill an area, or of a codec."""
        levels = {value for file in self.files for value in file.counts if isinstance(value, int)}
        if self.is_color or max(levels, default=0) < 255 - _NEAR:
            return False
        shades = sum(_NEAR < value < 255 - _NEAR for value in levels)
        is_thin = shades >= 3 and sum(f.solid for f in self.files) < 0.2 * sum(f.shaded for f in self.files)
        is_near = sum(f.near for f in self.files) >= 0.85 * sum(f.num_pixels for f in self.files)
        return is_near and (is_thin or (self.is_lossy and len(levels) > 2))

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


def look_at(listing: Listing, paths: Sequence[str], *, colors: bool = False) -> Look:
    """Looks at some files of one shape, each once; `colors` looks palettes up."""
    files: list[FileLook] = []
    for path in paths:
        try:
            looked = listing.once(_look_at_file, path, colors)
        except InputError as error:
            return Look(error=str(error))
        if looked is None:
            return Look(is_array=True)
        files.append(looked)
    if len({file.palette for file in files}) > 1 and not colors:  # one index means different things in two files
        return look_at(listing, paths, colors=True)
    is_lossy = any(path.lower().endswith((".jpg", ".jpeg", ".webp", ".jp2")) for path in paths)
    return Look(files=tuple(files), is_lossy=is_lossy)


def _look_at_file(path: Path, colors: bool = False) -> FileLook | None:
    """Looks at a file; None where it holds floating-point numbers or more than three channels."""
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
        here = values[:-1, :-1]
        solid = int(np.count_nonzero(is_shade[:-1, :-1] & (here == values[1:, :-1]) & (here == values[:-1, 1:])))
    codes = _encode(values) if is_color else values
    found, counts = _count_values(codes)
    rest = codes[:, :-1] != found[int(np.argmax(counts))]
    keep = np.sort(np.argsort(-counts)[:_MOST_VALUES])
    named = map(tuple, _decode(found[keep]).tolist()) if is_color else found[keep].tolist()
    return FileLook(
        counts=dict(zip(named, counts[keep].tolist(), strict=True)),
        num_values=len(found),
        flat=float((codes[:, :-1] == codes[:, 1:])[rest].mean()) if rest.any() else 1.0,
        is_color=is_color,
        palette=_read_palette(path),
        num_pixels=values.shape[0] * values.shape[1],
        near=near,
        shaded=shaded,
        solid=solid,
    )


def read_coded(path: Path, coding: Coding) -> MaskHW:
    """Reads a mask file as class indices, 255 ignored, or as shares of 0 to 255; uint8 (height, width).

    Raises:
        InputError: the file cannot be read, or holds a value that is not declared.
    """
    values = read_values(path, colors=coding.has_colors)
    if coding.full_share is not None:
        shares = values.max(axis=-1) if values.ndim == 3 else values
        if not (shares.min() >= 0 and shares.max() <= coding.full_share):  # or some are no numbers
            expected = f"hold shares of 0 to {coding.full_share}, as `source.full_share` says"
            raise InputError(f"{path} must {expected}. Received: {shares.min()} to {shares.max()}")
        return np.asarray(np.rint(shares / coding.full_share * 255), dtype=np.uint8)
    if coding.threshold is not None:
        is_above = (values.max(axis=-1) if values.ndim == 3 else values) >= coding.threshold
        return np.asarray(~is_above if coding.values == (0,) else is_above, dtype=np.uint8)
    indices = dict.fromkeys(coding.background, 0) | dict.fromkeys(coding.ignored, IGNORE)
    indices |= {value: index for index, value in enumerate(coding.values or (), start=1)}
    has_colors = coding.has_colors or values.ndim == 3
    codes = _encode(values) if has_colors else values
    found, _ = _count_values(codes)
    keys = np.array([_as_color(value) if has_colors else (value,) for value in indices])
    distances, places = map(np.asarray, KDTree(keys).query(_decode(found) if has_colors else found[:, None]))
    if distances.any() and not coding.nearest:
        strange = found[np.argmax(distances > 0)]
        shown = tuple(_decode(strange).tolist()) if has_colors else strange
        raise InputError(f"{path} must hold the values that `source` declares alone. Received: {shown}")
    meant = np.array([*indices.values()], dtype=np.uint8)[places]
    if codes.dtype == np.uint8:
        table = np.zeros(256, dtype=np.uint8)
        table[found] = meant
        return table[codes]
    return np.asarray(meant[np.searchsorted(found, codes)])


def unite(masks: Sequence[MaskHW]) -> MaskHW:
    """Returns the union of objects' masks: a class counts before ignored pixels, these before background."""
    united = masks[0]
    for mask in masks[1:]:
        is_object = (mask != 0) & (mask != IGNORE)
        united = np.where(is_object | (united == 0), mask, united)
    return united


def merge_layers(layers: Sequence[MaskHW], name: str) -> MaskHW:
    """Makes one mask of class indices of masks of a class each, 0, 1 and 255, in the order of the classes.

    Raises:
        InputError: a pixel is of several classes; the mask is called `name`.
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


@dataclass(kw_only=True, slots=True)
class Meaning:
    """The coding of masks, names of its classes, and questions."""

    coding: Coding
    classes: tuple[str, ...] = ("object",)
    questions: Questions = field(default_factory=Questions)

    @property
    def fields(self) -> dict[str, Any]:
        """What it decides of DatasetConfig."""
        return {"has_background": bool(self.coding.background), "has_ignored": bool(self.coding.ignored)}


def number_classes(count: int) -> tuple[str, ...]:
    """Returns names of classes that no file names."""
    return tuple(f"class_{index}" for index in range(1, count + 1)) if count > 1 else ("object",)


def find_files_meaning(
    listing: Listing,
    source: MasksSource | TableSource,
    files: Sequence[str],
    names: Mapping[Value, str],
    *,
    is_single: bool,
) -> Meaning:
    """Says what mask files hold: as `source` says, else as they look, on as many as some seconds allow.

    Args:
        listing: of INPUT.
        source: the importer's options.
        files: the masks.
        names: of values or colors, from a list of classes; may be empty.
        is_single: whether a file is of one class or object, so that its values are no classes.

    Raises:
        InputError: a file cannot be read, or holds no classes.
    """
    if any(option is not None for option in (source.values, source.threshold, source.full_share)):
        return Meaning(coding=source, classes=number_classes(len(source.values or ())))
    height, width = listing.header(files[0]).size_hw
    paths = spread(files, max(_LEAST_FILES, _MANY_PX // (height * width)))
    look = look_at(listing, paths, colors=any(isinstance(value, tuple) for value in names) and not is_single)
    if look.error:
        raise InputError(f"every mask must be readable. Received: {look.error}. Repair or remove it and its image")
    if look.is_array:
        raise InputError(
            f"masks must hold whole numbers in one channel, or colors. Received: {files[0]}, and others; write PNGs"
        )
    if not names and not is_single and all("labelIds" in path for path in files):
        names = {v: name for v, name in CITYSCAPES.items() if v in look.counts} | {0: "background"}
    try:
        return _find_meaning(look, names, is_single)
    except ValidationError as error:
        raise InputError(
            f"mask files must hold values of 0 to 65535, or colors. Received: {describe(error)}"
        ) from error


def _find_meaning(look: Look, names: Mapping[Value, str], is_single: bool) -> Meaning:
    by_color = any(isinstance(value, tuple) for value in names)
    if names and not is_single and (by_color or not look.is_color):
        counts = Counter({(_as_color(v) if by_color else v): n for v, n in look.counts.items()})
        zero: Value = (0, 0, 0) if by_color else 0  # background, where no list names it
        unnamed = 0 if zero in names else counts[zero]
        hits = sum(n for value, n in counts.items() if value in names)
        if hits >= 0.5 * (counts.total() - unnamed) > 0 and not (look.is_soft and len(names) > 3):
            return _find_named(look, counts, names, zero)
    if look.is_soft:
        what = "JPEG blurs them" if look.is_lossy else "their borders are soft"
        meaning = Meaning(coding=Coding(threshold=128))
        text = f"masks hold shades between 0 and 255 ({what}): 128 and more is taken for the object"
        shares = "full_share=255 without threshold, if they are shares of several annotators"
        meaning.questions.ask("source.threshold", text, "another threshold, 1 to 255", shares)
        return meaning
    if look.is_color:
        return _find_colors(look)
    values = sorted(value for value in look.counts if isinstance(value, int))
    if len(values) <= 2:
        return _find_binary(look, values, is_single)
    if is_single:
        return Meaning(coding=Coding(threshold=values[1] if values[0] == 0 else values[-1]))
    if values == [0, 1, 255] and not any({1, 255} <= file.counts.keys() for file in look.files):
        return Meaning(coding=Coding(threshold=1))  # 0/1 in some files, 0/255 in others
    return _find_several(look, values)


def _find_binary(look: Look, values: list[int], is_single: bool) -> Meaning:
    """One class: 0, or the lower of two values, is background."""
    if len(values) == 1:
        meaning = Meaning(coding=Coding(values=(values[0] or 255,)))
        text = f"all {len(look.files)} masks that were read hold nothing but {values[0]}: are they masks?"
        meaning.questions.ask("source.values", text, "the value of the object")
        return meaning
    low, high = values
    meaning = Meaning(coding=Coding(values=(high,), background=(low,)))
    share = look.counts[high] / look.counts.total()
    if (share <= _HALF and low == 0) or is_single:
        return meaning
    text = f"{high} covers {share:.0%} of all pixels and is taken for the object; it may be the background"
    choice = f"values=({low},), background=({high},)"
    if share > MOSTLY:
        meaning.coding, choice = Coding(values=(low,), background=(high,)), f"values=({high},), background=({low},)"
        text = f"{high} covers {share:.0%} of all pixels and is taken for the background, {low} for the object"
    meaning.questions.ask("source.values", text, choice)
    return meaning


def _find_several(look: Look, values: Sequence[int]) -> Meaning:
    """Classes without names, or numbers of objects."""
    questions = Questions()
    ignored = (255,) if 255 in values and max(set(values) - {255}) < 128 else ()
    classes = tuple(value for value in values if value not in (0, *ignored))
    if len(classes) > _MANY_CLASSES and _are_numbers(look):
        text = f"masks hold up to {look.num_values - 1} values: taken for numbers of objects, all above 0 are one class"
        questions.ask("source.threshold", text, f"values={classes[:3]}..., threshold=None, if they are classes")
        return Meaning(coding=Coding(threshold=1), questions=questions)
    if len(classes) >= 254:
        raise InputError(
            f"mask files must hold at most 254 values, one a class. Received: {len(classes)}; are they images, or "
            "shades?"
        )
    if len(classes) > 1:
        text = f"the values {_list(classes)} are taken for classes; no file names them"
        choice = f"values=({max(classes)},), threshold=1, if they are numbers of objects"
        questions.ask("classes", text, "their names", choice)
    if ignored:
        share = look.counts[255] / look.counts.total()
        text = f"255 ({share:.1%} of all pixels) is taken for ignored pixels, as in PASCAL VOC"
        questions.ask("source.ignored", text, "ignored=(), with 255 in `values`")
    if 0 not in values:
        text = "no pixel is 0: every pixel is taken to be of a class, and none is background"
        choice = f"background=({min(classes)},), without {min(classes)} in `values`"
        questions.ask("source.background", text, choice)
    coding = Coding(values=classes, background=(0,) if 0 in values else (), ignored=ignored)
    return Meaning(coding=coding, classes=number_classes(len(classes)), questions=questions)


def _are_numbers(look: Look) -> bool:
    """Tells numbers of objects: in most files they count from 1 without a gap, and not always to the same."""
    lasts = [sorted(value for value in file.counts if value != 0) for file in look.files]
    counted = [values for values in lasts if values and values == list(range(1, len(values) + 1))]
    return look.num_values > 64 or len(counted) >= 0.5 * len(lasts)


def _find_colors(look: Look) -> Meaning:
    """Classes by color, without names. Colors that codecs or soft borders make count as the nearest frequent one."""
    counts, total = look.counts, look.counts.total()
    is_clean = look.num_values <= 64 and not look.is_lossy
    used = sorted(value for value, count in counts.items() if is_clean or count >= 0.002 * total)
    if not is_clean and (look.is_lossy or sum(counts[v] for v in used) < 0.97 * total or len(used) > 40):
        raise InputError(
            f"mask files must hold a color a class. Received: up to {look.num_values} colors a file"
            + (" (JPEG blurs them)" if look.is_lossy else "")
            + ". Save them as PNG, or add a class_dict.csv (name,r,g,b) that lists the classes' colors"
        )
    zero = (0, 0, 0) if (0, 0, 0) in counts else max(counts, key=lambda value: counts[value])
    rest = tuple(value for value in used if value != zero)
    coding = Coding(values=rest, background=(zero,), nearest=not is_clean)
    meaning = Meaning(coding=coding, classes=number_classes(len(rest)))
    text = f"the colors {_list(rest)} are taken for classes and {zero} for background; no file names them"
    meaning.questions.ask("classes", text, "their names", "a class_dict.csv (name,r,g,b) in INPUT")
    return meaning


def _find_named(look: Look, counts: Counter[Value], names: Mapping[Value, str], zero: Value) -> Meaning:
    """Classes by a list of names: ignored pixels and background are known by theirs."""
    ignored = [value for value, name in names.items() if re.fullmatch(IGNORE_NAMES, name.lower())]
    background = [value for value, name in names.items() if re.fullmatch(BACKGROUND_NAMES, name.lower())]
    classes = {value: name for value, name in names.items() if value not in (*ignored, *background)}
    questions = Questions()
    strangers = [value for value in counts if value not in names]
    if zero in strangers:
        background.append(zero)
        strangers.remove(zero)
    share = sum(counts[value] for value in strangers) / counts.total()
    has_colors = isinstance(zero, tuple)
    is_nearest = bool(strangers) and (look.is_lossy or look.is_soft or (has_colors and len(strangers) > 8))
    if is_nearest:
        text = f"{share:.1%} of the pixels have no color of the list: each counts as the nearest that is listed"
        questions.ask("source.values", text, "masks without blurred borders")
    elif strangers:
        ignored += strangers
        text = f"masks hold {_list(strangers)} ({share:.1%} of the pixels), which no list of classes names: ignored"
        choice = f"{_list(strangers)} in `background`, or in `values` with a name in `classes`"
        questions.ask("source.ignored", text, choice)
    missing = [name for value, name in classes.items() if value not in counts]
    if missing:
        text = f"no mask that was read holds {_list(missing)}, which the list of classes names"
        questions.ask("classes", text, "the classes that there are")
    coding = Coding(values=(*classes,), background=(*background,), ignored=(*ignored,), nearest=is_nearest)
    return Meaning(coding=coding, classes=tuple(classes.values()), questions=questions)


def _count_values(values: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
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


def _as_color(value: Value) -> tuple[int, int, int]:
    return (value, value, value) if isinstance(value, int) else value


def _read_palette(path: Path) -> bytes:
    if path.suffix.lower() not in (".png", ".gif", ".bmp", ".tif", ".tiff"):
        return b""
    with open_picture(read_bytes(path), path) as picture:
        return bytes(picture.getpalette() or b"") if picture.mode == "P" else b""


def _encode(values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Makes a number of each color, or of a value as grey; int64 (height, width)."""
    parts = [values] * 3 if values.ndim == 2 else [values[..., band] for band in range(3)]
    red, green, blue = (part.astype(np.int64) for part in parts)
    return np.asarray(red << 32 | green << 16 | blue)


def _decode(codes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Returns the colors of such numbers; int64 (..., 3)."""
    return np.stack([codes >> 32, codes >> 16 & 65535, codes & 65535], axis=-1)
