"""Pictures of what a model finds: masks, contours, and the cut-out, the image with all but the object transparent."""

import re
from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from unets.config import Threshold
from unets.data.drawing import COLORS_RGB, draw_contours
from unets.data.image import ImageFile, ImageU8
from unets.ensemble.postprocess import ClassMask, find_box, pick_classes
from unets.export.model import Result, TrainedModel
from unets.metrics.pixels import pick_class

Floats = npt.NDArray[np.float32]

CUTOUT, OVERLAY = "_cutout.png", "_overlay.jpg"
_CONTOUR_SHARE = 1 / 400  # of the image's shorter side
_REACH_PX = 3  # of the colors around a pixel that its own are told apart by
_SCHARR = 1 / 32  # of its weights' sum, over the two pixels between them
_MIN_GRADIENT = 1e-3  # of a probability map, a pixel: what is flatter has no place for a contour
_EXAMPLE_PX = 480  # the longer side of a card's picture
_BLUR_SHARE = 1 / 40  # of the image's shorter side, for a blurred background
_NEIGHBORS = np.ones((3, 3), dtype=np.uint8)


def list_masks(classes: Sequence[str], *, overlapping: bool) -> tuple[str, ...]:
    """Returns the endings of an image's mask files: one a class where they overlap."""
    names = [re.sub(r"[^\w.-]+", "-", name) for name in classes]
    if len({*names, "cutout"}) <= len(names):  # two classes alike, or one called as the other file
        names = [str(number) for number in range(1, len(names) + 1)]
    return tuple(f"_{name}.png" for name in names) if overlapping else (".png",)


def render(result: Result, photo: ImageFile, endings: Sequence[str]) -> list[Image.Image]:
    """Draws what files of these endings hold, as `Wanted.pictures` has them, and then the masks."""
    masks = render_masks(result.mask, result.probs.shape[-1])
    if not endings:
        return masks
    image_hwc, pictures = photo.read_rgb(), []
    cutout = find_cutout(result, photo, image_hwc) if set(endings) != {OVERLAY} else image_hwc
    for ending in endings:
        if ending == CUTOUT:
            drawn = cutout
        elif ending == OVERLAY:
            thickness_px = max(1, round(min(image_hwc.shape[:2]) * _CONTOUR_SHARE))
            drawn = draw_contours(image_hwc, result.union, thickness_px=thickness_px)
        elif ending == "_blur.jpg":
            drawn = _lay_on(cutout, _blur_background(image_hwc, cutout[..., 3]))
        else:
            color: Any = tuple(bytes.fromhex(ending[1:-4].replace("white", "ffffff")))
            drawn = _lay_on(cutout, np.full_like(image_hwc, color))
        pictures.append(Image.fromarray(drawn))
    return [*pictures, *masks]


def draw_example(model: TrainedModel, path: Path) -> str:
    """Draws an image with the contours of its mask, small, as the `picture` of a card."""
    photo = ImageFile(path, model.card.find_kind())
    picture, buffer = render(model.find(photo), photo, (OVERLAY,))[0], BytesIO()
    picture.thumbnail((_EXAMPLE_PX, _EXAMPLE_PX))
    picture.save(buffer, "jpeg", quality=85)
    return b64encode(buffer.getvalue()).decode()


def render_masks(mask: ClassMask, num_classes: int) -> list[Image.Image]:
    """Draws masks: of one class 0 and 255, where classes overlap one each; else class indices, with a palette."""
    if num_classes == 1 or mask.ndim == 3:
        return [Image.fromarray(pick_class(mask, index) * np.uint8(255)) for index in range(num_classes)]
    picture, colors = Image.fromarray(mask), islice(cycle(COLORS_RGB.values()), num_classes)
    picture.putpalette([level for color in ((0, 0, 0), *colors) for level in color])
    return [picture]


def find_cutout(result: Result, photo: ImageFile, image_hwc: ImageU8) -> ImageU8:
    """Makes the cut-out, uint8 RGBA (height, width, 4); what was transparent in the image stays so."""
    probs, threshold = result.probs, result.threshold
    if result.mask.ndim == 3:  # of classes that overlap, the one that exceeds its threshold the most counts
        probs, threshold = (probs - np.asarray(threshold, dtype=np.float32)).max(axis=-1, keepdims=True), 0.0
    opacity_hw, given_hw = find_opacity(probs, result.union, threshold), photo.read_opacity()
    if given_hw is not None:
        opacity_hw *= given_hw.astype(np.float32) / 255
    return cut_out(image_hwc, opacity_hw)


def find_opacity(probs_hwc: Floats, mask_hw: ClassMask, threshold: Threshold) -> Floats:
    """Finds how opaque each pixel of a cut-out is: 1 within the mask, 0 outside, and between along its contour.

    A probability map is enlarged, so it rises over several pixels, and how fast depends on the net. How much of a pixel
    at the contour is covered follows from how far the contour lies from its middle, (p - threshold) / |gradient of p|
    pixels: a half at the contour itself, nothing and all half a pixel before and behind it (as fonts are drawn from
    maps of distances, Green 2007, SIGGRAPH). Only pixels that touch the contour are between, whatever the map says
    elsewhere: what post-processing filled or dropped stays so.

    Probabilities, float32 (height, width, classes), are smoothed as post-processing says; all classes of the final
    mask, uint8 (height, width), together are the object. What is returned is float32 (height, width), 0..1.
    """
    inside_hw = (mask_hw > 0).astype(np.uint8)
    # The border of the image is no contour: what lies beyond counts as the same.
    inner_hw, outer_hw = (
        change(inside_hw, _NEIGHBORS, borderType=cv2.BORDER_REPLICATE) for change in (cv2.erode, cv2.dilate)
    )
    class_hw, best_hw = pick_classes(probs_hwc)
    thresholds = np.broadcast_to(np.asarray(threshold, dtype=np.float32), probs_hwc.shape[-1:])
    across, down = (cv2.Scharr(best_hw, cv2.CV_32F, *axes, scale=_SCHARR) for axes in ((1, 0), (0, 1)))
    gradient_hw = np.maximum(cv2.magnitude(across, down), np.float32(_MIN_GRADIENT))
    soft_hw = np.clip(0.5 + (best_hw - thresholds[class_hw - 1]) / gradient_hw, 0, 1)
    return np.where(inner_hw != outer_hw, soft_hw, inside_hw.astype(np.float32)).astype(np.float32)


def cut_out(image_hwc: ImageU8, opacity_hw: Floats) -> ImageU8:
    """Makes an image transparent; its half-transparent pixels get the object's color, without the background's share.

    Each such pixel shows C = a F + (1 - a) B. The object's color F and the background's B are estimated by the means
    of what lies around, weighted by a and by 1 - a, and F is corrected by what they leave unexplained: one round of
    Forte 2021 ("Approximate Fast Foreground Color Estimation", ICIP), with a short reach, as contours here are one
    pixel wide.

    Of uint8 RGB (height, width, 3) and an opacity, float32 (height, width), 0..1, returns uint8 RGBA (height, width,
    4); transparent pixels are black, so that they take no room in a file.
    """
    alpha_hw = np.rint(opacity_hw * 255).astype(np.uint8)
    colors = np.where(alpha_hw[..., None] > 0, image_hwc, np.uint8(0))
    box = find_box((alpha_hw > 0) & (alpha_hw < 255))
    if box is not None:
        rows, columns = (slice(max(0, side.start - _REACH_PX), side.stop + _REACH_PX) for side in box)
        seen, soft_hw = image_hwc[rows, columns].astype(np.float32), alpha_hw[rows, columns]
        share_hw1 = (soft_hw.astype(np.float32) / np.float32(255))[..., None]
        front, back = _average(seen, share_hw1), _average(seen, np.float32(1) - share_hw1)
        front += share_hw1 * (seen - share_hw1 * front - (1 - share_hw1) * back)
        is_soft_hw = (soft_hw > 0) & (soft_hw < 255)
        colors[rows, columns][is_soft_hw] = _to_u8(front)[is_soft_hw]
    return np.concatenate([colors, alpha_hw[..., None]], axis=-1)


def _average(seen: Floats, weights_hw1: Floats) -> Floats:
    """Averages the colors around each pixel, weighted; where nothing has a weight, its own color."""
    side = (2 * _REACH_PX + 1,) * 2
    total = cv2.blur(weights_hw1, side, borderType=cv2.BORDER_REPLICATE)[..., None]
    mean = cv2.blur(seen * weights_hw1, side, borderType=cv2.BORDER_REPLICATE) / np.maximum(total, 1e-6)
    return np.asarray(np.where(total > 1e-6, mean, seen), dtype=np.float32)


def _lay_on(cutout_hwc: ImageU8, background_hwc: ImageU8) -> ImageU8:
    share_hw1 = cutout_hwc[..., 3:].astype(np.float32) / 255
    return _to_u8(share_hw1 * cutout_hwc[..., :3] + (1 - share_hw1) * background_hwc)


def _blur_background(image_hwc: ImageU8, alpha_hw: npt.NDArray[np.uint8]) -> ImageU8:
    """Blurs what lies behind the object, without the object's own colors."""
    sigma_px = min(alpha_hw.shape) * _BLUR_SHARE
    weight_hw1 = (1 - alpha_hw.astype(np.float32) / 255)[..., None] + np.float32(_MIN_GRADIENT)
    total_hw1 = cv2.GaussianBlur(weight_hw1, (0, 0), sigma_px)[..., None]
    return _to_u8(cv2.GaussianBlur(image_hwc * weight_hw1, (0, 0), sigma_px) / total_hw1)


def _to_u8(values: npt.NDArray[Any]) -> ImageU8:
    return np.asarray(np.rint(np.clip(values, 0, 255)), dtype=np.uint8)
