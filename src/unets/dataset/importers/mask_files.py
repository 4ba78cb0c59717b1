"""Draws a mask from files whose values, colors or shades are declared: the table from them to class indices."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unets.config import MaskFiles
from unets.data.samples import IGNORE
from unets.dataset.importers.base import MaskHW
from unets.dataset.importers.meaning import Coding, unite
from unets.errors import InputError


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
    masks = [_read_one(Path(path), files) for path in paths]
    for path, mask_hw in zip(paths, masks, strict=True):
        if mask_hw.shape != masks[0].shape:
            raise InputError(f"{path} must have the size of {paths[0]}, {masks[0].shape}. Received: {mask_hw.shape}")
    return unite(masks)


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
    coding = Coding(
        classes=files.mask_values,
        background=files.background_values,
        ignored=files.ignore_values,
        threshold=files.mask_threshold,
        colors=files.has_colors,
    )
    mask_hw = coding.read(path)
    is_inverted = files.mask_threshold is not None and files.mask_values == (0,)
    return np.asarray(1 - mask_hw, dtype=np.uint8) if is_inverted else mask_hw
