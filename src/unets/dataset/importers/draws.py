"""Masks that are drawn from what lies in INPUT, files or run lengths, as layers: one of class indices, or one a class.

A layer of one class holds 0, 1 and 255, which is ignored. Objects of a layer are numbered from 1 on, 0 elsewhere.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from unets.config import Coding, DatasetConfig, SizeHW
from unets.data.geometry import resize
from unets.data.pixels import read_values
from unets.data.rle import Order, decode_rle, unite_rles
from unets.data.samples import IGNORE
from unets.dataset.importers.names import spread
from unets.errors import InputError

MaskHW = npt.NDArray[np.uint8]
Layers = tuple[npt.NDArray[Any], ...]  # (height, width), uint8 of classes or shares, or uint16 of objects
Layout = tuple[tuple[str, ...], ...]  # what each layer is made of: files, or run lengths
Color = tuple[int, int, int]
Value = int | Color  # of a pixel

_BLOCK_PX = 4_000_000  # whose values are counted at once
_MOST_DRAWN = 300  # masks that are drawn to see whether classes overlap


class Draw(Protocol):
    """Draws a mask, here or on a worker."""

    def __call__(self, *, numbered: bool = False) -> Layers:
        """Draws the mask; or numbers the objects of each layer: no layer where the mask alone tells them apart."""


@dataclass(frozen=True, slots=True)
class DrawFiles:
    """Reads a mask from files of each class, or of all where their values tell classes; several of one are united.

    Objects are a file each, or the values of a file that holds numbers or colors of objects.
    """

    root: Path
    layers: Layout
    coding: Coding
    is_mean: bool = False  # files of a class are of several annotators: the share that marked a pixel counts

    def __call__(self, *, numbered: bool = False) -> Layers:
        """Draws the mask; shares are 0 to 255. Raises InputError where a file cannot be read, or sizes differ."""
        coding = self.coding
        if len(self.layers) > 1 and coding.values:  # a file is of one class
            coding = coding.model_copy(update={"values": coding.values[:1]})
        drawn = {path: read_coded(self.root / path, coding) for paths in self.layers for path in paths}
        first, one = next(iter(drawn.items()))
        for path, mask in drawn.items():
            if mask.shape != one.shape:
                raise InputError(f"{path} must have the size of {first}, {one.shape}. Received: {mask.shape}")
        parts = [[drawn[path] for path in paths] or [np.zeros_like(one)] for paths in self.layers]
        if self.is_mean or coding.full_share is not None:
            whole, join = 1 if coding.full_share is None else 255, np.mean if self.is_mean else np.max
            shares = (np.rint(join(part, axis=0) * (255 / whole)).astype(np.uint8) for part in parts)
            return () if numbered else tuple(shares)
        if not numbered:
            return tuple(map(_unite, parts))
        if max(map(len, parts)) > 1:
            objects = (((mask > 0) & (mask != IGNORE) for mask in part) for part in parts)
            return tuple(number_masks(one.shape, masks) for masks in objects)
        if len(parts) == 1 == coding.threshold:
            values = read_values(self.root / first)
            codes = encode_colors(values) if values.ndim == 3 else values
            found, places = np.unique(codes * one, return_inverse=True)
            return (places.reshape(codes.shape).astype(np.uint16),) if len(found) > 2 else ()
        return ()


@dataclass(frozen=True, slots=True)
class DrawRuns:
    """Draws a mask of run lengths of each class, absolute and counted from 1; several of one, objects, are united."""

    size_hw: SizeHW
    layers: Layout
    order: Order = "row"
    name: str = "run lengths"  # of the mask, for errors

    def __call__(self, *, numbered: bool = False) -> Layers:
        """Draws the mask; raises InputError where run lengths leave the image."""

        def decode(rle: str) -> MaskHW:
            return decode_rle(rle, self.size_hw, self.order)

        try:
            if numbered:
                return tuple(number_masks(self.size_hw, map(decode, cells)) for cells in self.layers)
            return tuple(decode(cells[0] if len(cells) == 1 else unite_rles(cells)) for cells in self.layers)
        except InputError as error:
            raise InputError(f"{self.name}: {error}") from error


@dataclass(frozen=True, slots=True)
class Stretched:
    """Brings a mask to its image's size: the nearest pixel counts, of shares the mean."""

    draw: Draw
    size_hw: SizeHW
    has_shares: bool

    def __call__(self, *, numbered: bool = False) -> Layers:
        """Draws the mask."""
        layers = self.draw(numbered=numbered)
        if self.has_shares:
            return tuple(resize(layer, self.size_hw) for layer in layers)
        nearest, size = Image.Resampling.NEAREST, self.size_hw[::-1]
        return tuple(np.asarray(Image.fromarray(layer).resize(size, nearest)) for layer in layers)


def number_masks(size_hw: tuple[int, ...], masks: Iterable[npt.NDArray[Any]]) -> npt.NDArray[np.uint16]:
    """Numbers objects that have a mask each, of bool or 0 and 1; where two overlap the later counts."""
    numbers = np.zeros(size_hw, dtype=np.uint16)
    for number, mask in enumerate(masks, start=1):
        numbers[mask > 0] = number
    return numbers


def _unite(masks: Sequence[MaskHW]) -> MaskHW:
    """Returns the union of objects' masks: a class counts before ignored pixels, these before background."""
    united = masks[0]
    for mask in masks[1:]:
        is_object = (mask != 0) & (mask != IGNORE)
        united = np.where(is_object | (united == 0), mask, united)
    return united


def merge_layers(layers: Layers, name: str | None = None) -> Layers:
    """Makes one layer of class indices of layers of a class each, in the order of the classes.

    Raises InputError where a pixel is of several classes, and the mask has a `name`; without one the last class counts.
    """
    if len(layers) == 1:
        return layers
    mask_hw = np.zeros(layers[0].shape, dtype=np.uint8)
    for class_index, layer in enumerate(layers, start=1):
        is_object = layer == 1
        shared = int(np.count_nonzero(is_object & (mask_hw > 0) & (mask_hw != IGNORE)))
        if shared and name is not None:
            raise InputError(
                f"{name}: a pixel must be of one class at most, or `overlapping` of dataset.py be True. "
                f"Received: {shared} pixels of several classes"
            )
        mask_hw[is_object] = class_index
        mask_hw[(layer == IGNORE) & (mask_hw == 0)] = IGNORE
    return (mask_hw,)


def draw_rows(rows_of: Layout, size_hw: SizeHW, dataset: DatasetConfig, name: str) -> MaskHW:
    """Draws an image's mask of a submission's run lengths, those of each class; see `read_rows`.

    Returns uint8 (height, width) of class indices, of classes that share a pixel the last; where classes overlap, uint8
    (height, width, classes) of 0 and 1. Raises InputError, which begins with `name`, as `decode_rle` does.
    """
    layers = DrawRuns(size_hw, rows_of, dataset.submission.order, name)()
    return np.stack(layers, axis=-1) if dataset.overlapping else merge_layers(layers)[0]


def merge_numbers(layers: Layers) -> Layers:
    """Makes one layer of numbered objects of the layers of classes that exclude each other, as `merge_layers` does."""
    return (reduce(lambda merged, layer: np.where(layer > 0, layer, merged), layers),) if layers else ()


def do_overlap(draws: Iterable[Draw], *, tolerance: float = 0.0) -> bool:
    """Tells whether pixels are of two classes, on as many masks, with a layer a class, as some seconds allow.

    `tolerance` is the share of the smaller class's pixels that may be of the other, too: borders.
    """
    for draw in spread(list(draws), _MOST_DRAWN):
        masks = [layer == 1 for layer in draw() if (layer == 1).any()]
        for one, other in combinations(masks, 2):
            if (one & other).sum() > tolerance * min(one.sum(), other.sum()):
                return True
    return False


def read_coded(path: Path, coding: Coding) -> MaskHW:
    """Reads a mask file as class indices, 255 ignored, or as shares of 0 to 255; uint8 (height, width).

    Raises InputError where the file cannot be read, or holds a value that is not declared.
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
    from scipy.spatial import KDTree  # takes a fifth of a second to import, and most stages draw no mask

    indices = dict.fromkeys(coding.background, 0) | dict.fromkeys(coding.ignored, IGNORE)
    indices |= {value: index for index, value in enumerate(coding.values or (), start=1)}
    has_colors = coding.has_colors or values.ndim == 3
    codes = encode_colors(values) if has_colors else values
    found, _ = count_values(codes)
    keys = np.array([as_color(value) if has_colors else (value,) for value in indices])
    distances, places = map(np.asarray, KDTree(keys).query(decode_colors(found) if has_colors else found[:, None]))
    if distances.any() and not coding.nearest:
        strange = found[np.argmax(distances > 0)]
        shown = tuple(decode_colors(strange).tolist()) if has_colors else strange
        raise InputError(f"{path} must hold the values that `source` declares alone. Received: {shown}")
    meant = np.array([*indices.values()], dtype=np.uint8)[places]
    if codes.dtype == np.uint8:
        table = np.zeros(256, dtype=np.uint8)
        table[found] = meant
        return table[codes]
    return np.asarray(meant[np.searchsorted(found, codes)])


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


def as_color(value: Value) -> Color:
    """Returns the color that a value is: grey, where it is one number."""
    return (value, value, value) if isinstance(value, int) else value


def encode_colors(values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Makes a number of each color, or of a value as grey; int64 (height, width)."""
    parts = [values] * 3 if values.ndim == 2 else [values[..., band] for band in range(3)]
    red, green, blue = (part.astype(np.int64) for part in parts)
    return np.asarray(red << 32 | green << 16 | blue)


def decode_colors(codes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Returns the colors of such numbers; int64 (..., 3)."""
    return np.stack([codes >> 32, codes >> 16 & 65535, codes & 65535], axis=-1)
