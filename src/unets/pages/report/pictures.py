"""Pictures of a judged photo: the photo, and layers to lay over it, of the truth, of a mask, of where the two differ.

Layers are of the photo's own size where that is at most `LAYER_PX`, so that what is seen is what was scored.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unets.config import DatasetConfig
from unets.data.drawing import COLOURS_RGB, DIFFERENCES_RGB, find_borders, find_differences
from unets.data.geometry import SizeHW, cover, shrink
from unets.data.io import encode_jpeg, encode_layer
from unets.data.samples import IGNORE, Sample, read_image, read_mask
from unets.ensemble.postprocess import ClassMask, find_box
from unets.pages.report.sources import Source

PHOTO_PX, LAYER_PX = 1280, 1920  # longest sides
_FILL, _SOLID = 80, 255  # opacities
_MAX_CLASSES = 127  # that have a colour of their own in a layer's palette, inside and border


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawTask:
    """A photo, and where the mask of each subject that has one comes from."""

    sample: Sample
    dataset: DatasetConfig
    sources: dict[int, Source]  # by number of the subject


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """The pictures of a photo, as files' contents."""

    size_hw: SizeHW  # of the photo
    photo: bytes  # JPEG
    truth: bytes  # PNG
    layers: dict[int, tuple[bytes, bytes]]  # by number of the subject: mask and difference, PNG


def draw(task: DrawTask) -> Drawing:
    """Draws a photo's pictures."""
    truth_hw = read_mask(task.sample)
    full_hw: SizeHW = (truth_hw.shape[0], truth_hw.shape[1])
    layers = {}
    for number, source in task.sources.items():
        mask_hw = source.make_mask(task.sample, full_hw)
        layers[number] = draw_mask(mask_hw), draw_difference(truth_hw, mask_hw)
    photo = encode_jpeg(read_image(task.sample, fit(full_hw, PHOTO_PX)))
    return Drawing(size_hw=full_hw, photo=photo, truth=draw_mask(truth_hw), layers=layers)


def draw_mask(mask_hw: ClassMask) -> bytes:
    """Draws a mask: each class tinted, with a solid border; nothing where nobody labelled.

    Args:
        mask_hw: uint8 (height, width) class index; 0 is background.
    """
    mask_hw = np.where(mask_hw == IGNORE, np.uint8(0), mask_hw)
    values_hw = shrink_mask(mask_hw, fit((mask_hw.shape[0], mask_hw.shape[1]), LAYER_PX)).copy()
    num_classes = min(int(values_hw.max()), _MAX_CLASSES)
    thickness_px = max(round(max(values_hw.shape) / 480), 1)
    box = find_box(values_hw > 0)
    if box is not None:
        around = tuple(slice(max(side.start - thickness_px, 0), side.stop + thickness_px) for side in box)
        inside = np.minimum(values_hw[around], np.uint8(num_classes))
        values_hw[around] = inside + find_borders(inside, thickness_px) * np.uint8(num_classes)
    colours = [COLOURS_RGB[index % len(COLOURS_RGB)] for index in range(num_classes)]
    palette = [(0, 0, 0, 0), *((*rgb, _FILL) for rgb in colours), *((*rgb, _SOLID) for rgb in colours)]
    return encode_layer(values_hw, palette)


def draw_difference(truth_hw: ClassMask, mask_hw: ClassMask) -> bytes:
    """Draws what of the truth a mask misses, what it has too much, and what it takes for another class.

    Args:
        truth_hw: uint8 (height, width) class index; 0 is background, IGNORE is neither right nor wrong.
        mask_hw: the same.
    """
    kinds_hw = np.zeros(truth_hw.shape, dtype=np.uint8)
    for kind, pixels_hw in enumerate(find_differences(truth_hw, mask_hw).values(), start=1):
        kinds_hw[pixels_hw] = kind
    values_hw = _keep_any(kinds_hw, fit((truth_hw.shape[0], truth_hw.shape[1]), LAYER_PX))
    return encode_layer(values_hw, [(0, 0, 0, 0), *((*rgb, _SOLID) for rgb in DIFFERENCES_RGB.values())])


def fit(full_hw: SizeHW, longest_px: int) -> SizeHW:
    """Returns the size of a photo whose longest side is shrunk to `longest_px`; its own where it is no longer."""
    scale = min(longest_px / max(full_hw), 1.0)
    return max(round(full_hw[0] * scale), 1), max(round(full_hw[1] * scale), 1)


def shrink_mask(mask_hw: ClassMask, size_hw: SizeHW) -> ClassMask:
    """Shrinks a mask: a small pixel is of the class that covers half of it or more."""
    if mask_hw.shape == size_hw:
        return mask_hw
    coverage_hwc = cover(mask_hw, max(int(mask_hw.max()), 1), size_hw)
    class_hw = coverage_hwc.argmax(axis=-1).astype(np.uint8) + np.uint8(1)
    return np.asarray(np.where(coverage_hwc.max(axis=-1) >= 128, class_hw, np.uint8(0)), dtype=np.uint8)


def _keep_any(kinds_hw: npt.NDArray[np.uint8], size_hw: SizeHW) -> npt.NDArray[np.uint8]:
    """Shrinks numbers so that none vanishes: a line of one pixel is an eighth of a small pixel eight wide."""
    if kinds_hw.shape == size_hw:
        return kinds_hw
    values_hw = np.zeros(size_hw, dtype=np.uint8)
    for kind in range(1, int(kinds_hw.max()) + 1):
        values_hw[shrink((kinds_hw == kind) * np.uint8(255), size_hw) > 0] = kind
    return values_hw
