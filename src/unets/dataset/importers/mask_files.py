"""Draws a mask from files whose values, colors or shades are declared: the table from them to class indices."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unets.config import MaskFiles, MaskValue
from unets.data.io import read_color_codes, read_values
from unets.data.samples import IGNORE
from unets.errors import InputError

MaskHW = npt.NDArray[np.uint8]
_UNDECLARED = 254  # of a value that is not declared


def draw_mask(paths: Sequence[str], files: MaskFiles) -> MaskHW:
    """Reads the files of one mask, whose values are declared, and unites them.

    Args:
        paths: at least one; where they disagree, an object counts more than an ignored pixel, and that more than none.
        files: what their values mean.

    Returns:
        uint8 (height, width): 0 is background, k the k-th of `files.mask_values`, 255 ignored.

    Raises:
        InputError: a file is missing, damaged, of another size than the others, or holds a value that is not declared.
    """
    mask_hw = _read_one(Path(paths[0]), files)
    for path in paths[1:]:
        other_hw = _read_one(Path(path), files)
        if other_hw.shape != mask_hw.shape:
            raise InputError(f"{path} must have the size of {paths[0]}, {mask_hw.shape}. Received: {other_hw.shape}")
        is_object = (other_hw > 0) & (other_hw != IGNORE)
        mask_hw = np.where(is_object | (mask_hw == 0), other_hw, mask_hw)
    return mask_hw


def draw_layers(paths: Sequence[Sequence[str]], files: MaskFiles) -> tuple[MaskHW, ...]:
    """Reads masks of which each class has files of its own; 0, 1 and 255 each, see `draw_mask`.

    Args:
        paths: of each class; a class without a file is nowhere.
        files: whose first of `mask_values` is the class's.

    Raises:
        InputError: see `draw_mask`.
    """
    layers = [draw_mask(of_class, files) if of_class else None for of_class in paths]
    shapes = {layer.shape for layer in layers if layer is not None}
    if len(shapes) != 1:
        names = [of_class[0] for of_class in paths if of_class]
        raise InputError(f"Masks of one image must have one size. Received: {sorted(shapes)} of {', '.join(names)}")
    (shape,) = shapes
    return tuple(np.zeros(shape, np.uint8) if layer is None else layer for layer in layers)


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


def _read_one(path: Path, files: MaskFiles) -> MaskHW:
    if files.has_colors:
        return _find_colors(path, files)
    values_hw = read_values(path)
    if files.mask_threshold is not None:
        values_hw = np.where(values_hw >= files.mask_threshold, np.uint8(255), np.uint8(0))
    table = _build_table(files)
    mask_hw = np.asarray(table[values_hw], dtype=np.uint8)
    if (mask_hw == _UNDECLARED).any():
        values = np.unique(values_hw[mask_hw == _UNDECLARED]).tolist()
        raise InputError(f"{path} must hold {_name_values(files)} only. Received: also {values[:8]}")
    return mask_hw


@lru_cache(maxsize=16)
def _build_table(files: MaskFiles) -> npt.NDArray[np.uint8]:
    table = np.full(65_536, _UNDECLARED, dtype=np.uint8)
    for value, class_index in _list_values(files):
        table[value] = class_index
    return table


def _find_colors(path: Path, files: MaskFiles) -> MaskHW:
    """Reads a mask whose pixels are colors; uint8 (height, width) class index."""
    pairs = sorted((_encode(value), class_index) for value, class_index in _list_values(files))
    codes = np.array([code for code, _ in pairs], dtype=np.uint32)
    indices = np.array([class_index for _, class_index in pairs], dtype=np.uint8)
    codes_hw = read_color_codes(path)
    places = np.minimum(np.searchsorted(codes, codes_hw), len(codes) - 1)
    is_known = codes[places] == codes_hw
    if not is_known.all():
        found = [(code >> 16, code >> 8 & 255, code & 255) for code in np.unique(codes_hw[~is_known]).tolist()]
        raise InputError(f"{path} must hold {_name_values(files)} only. Received: also {found[:8]}")
    return np.asarray(indices[places])


def _list_values(files: MaskFiles) -> list[tuple[MaskValue, int]]:
    """Returns (value, class index) of all that a mask file may hold."""
    values: list[tuple[MaskValue, int]] = [(value, index) for index, value in enumerate(files.mask_values, start=1)]
    values += [(value, 0) for value in files.background_values]
    return values + [(value, IGNORE) for value in files.ignore_values]


def _encode(value: MaskValue) -> int:
    red, green, blue = (value,) * 3 if isinstance(value, int) else value
    return red << 16 | green << 8 | blue


def _name_values(files: MaskFiles) -> str:
    rest = [*files.background_values, *files.ignore_values]
    named = " and ".join(str(values) for values in (rest, list(files.mask_values)) if values)
    return named.replace("[0]", "0", 1) if rest == [0] else named
