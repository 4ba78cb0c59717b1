"""The cut-out: the image with everything but the object transparent, soft where a pixel is only partly of it."""

import cv2
import numpy as np
import numpy.typing as npt

from unets.config import Threshold
from unets.ensemble.postprocess import ClassMask, find_box, pick_classes

Image = npt.NDArray[np.uint8]
Opacity = npt.NDArray[np.float32]

_REACH_PX = 3  # of the colors around a pixel that its own are told apart by
_SCHARR = 1 / 32  # of its weights' sum, over the two pixels between them
_MIN_GRADIENT = 1e-3  # of a probability map, a pixel: what is flatter has no place for a contour
_BLUR_SHARE = 1 / 40  # of the image's shorter side, for a blurred background
_NEIGHBORS = np.ones((3, 3), dtype=np.uint8)


def find_opacity(probs_hwc: npt.NDArray[np.float32], mask_hw: ClassMask, threshold: Threshold) -> Opacity:
    """Finds how opaque each pixel of a cut-out is: 1 within the mask, 0 outside, and between along its contour.

    A probability map is enlarged, so it rises over several pixels, and how fast depends on the net. How much of a pixel
    at the contour is covered follows from how far the contour lies from its middle, (p - threshold) / |gradient of p|
    pixels: a half at the contour itself, nothing and all half a pixel before and behind it (as fonts are drawn from
    maps of distances, Green 2007, SIGGRAPH). Only pixels that touch the contour are between, whatever the map says
    elsewhere: what post-processing filled or dropped stays so.

    Args:
        probs_hwc: float32 (height, width, classes), 0..1, smoothed as post-processing says.
        mask_hw: uint8 (height, width), the final mask; all its classes together are the object.
        threshold: of the recipe.

    Returns:
        float32 (height, width), 0..1.
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


def cut_out(image_hwc: Image, opacity_hw: Opacity) -> Image:
    """Makes the cut-out; its half-transparent pixels get the object's color, without the background's share.

    Each such pixel shows C = a F + (1 - a) B. The object's color F and the background's B are estimated by the means
    of what lies around, weighted by a and by 1 - a, and F is corrected by what they leave unexplained: one round of
    Forte 2021 ("Approximate Fast Foreground Color Estimation", ICIP), with a short reach, as contours here are one
    pixel wide.

    Args:
        image_hwc: uint8 RGB (height, width, 3).
        opacity_hw: float32 (height, width), 0..1.

    Returns:
        uint8 RGBA (height, width, 4); transparent pixels are black, so that they take no room in a file.
    """
    alpha_hw = np.rint(opacity_hw * 255).astype(np.uint8)
    colors = np.where(alpha_hw[..., None] > 0, image_hwc, np.uint8(0))
    box = find_box((alpha_hw > 0) & (alpha_hw < 255))
    if box is not None:
        rows, columns = (slice(max(0, side.start - _REACH_PX), side.stop + _REACH_PX) for side in box)
        part, soft_hw = image_hwc[rows, columns], alpha_hw[rows, columns]
        is_soft_hw = (soft_hw > 0) & (soft_hw < 255)
        colors[rows, columns][is_soft_hw] = _estimate_colors(part, soft_hw)[is_soft_hw]
    return np.concatenate([colors, alpha_hw[..., None]], axis=-1)


def lay_on(cutout_hwc: Image, background_hwc: Image) -> Image:
    """Lays a cut-out, uint8 RGBA (height, width, 4), on a background, uint8 RGB (height, width, 3)."""
    share_hw1 = cutout_hwc[..., 3:].astype(np.float32) / 255
    laid = share_hw1 * cutout_hwc[..., :3] + (1 - share_hw1) * background_hwc
    return np.asarray(np.rint(laid), dtype=np.uint8)


def blur_background(image_hwc: Image, alpha_hw: npt.NDArray[np.uint8]) -> Image:
    """Blurs what lies behind the object, without the object's own colors.

    Args:
        image_hwc: uint8 RGB (height, width, 3).
        alpha_hw: uint8 (height, width), how opaque the cut-out is.
    """
    sigma_px = min(alpha_hw.shape) * _BLUR_SHARE
    weight_hw1 = (1 - alpha_hw.astype(np.float32) / 255)[..., None] + np.float32(_MIN_GRADIENT)
    total_hw1 = cv2.GaussianBlur(weight_hw1, (0, 0), sigma_px)[..., None]
    blurred = cv2.GaussianBlur(image_hwc * weight_hw1, (0, 0), sigma_px) / total_hw1
    return np.asarray(np.rint(np.clip(blurred, 0, 255)), dtype=np.uint8)


def _estimate_colors(image_hwc: Image, alpha_hw: npt.NDArray[np.uint8]) -> Image:
    share_hw1 = (alpha_hw.astype(np.float32) / np.float32(255))[..., None]
    seen = image_hwc.astype(np.float32)
    front, back = _average(seen, share_hw1), _average(seen, (np.float32(1) - share_hw1).astype(np.float32))
    front += share_hw1 * (seen - share_hw1 * front - (1 - share_hw1) * back)
    return np.asarray(np.rint(np.clip(front, 0, 255)), dtype=np.uint8)


def _average(seen: npt.NDArray[np.float32], weights_hw1: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Averages the colors around each pixel, weighted; where nothing has a weight, its own color."""
    side = (2 * _REACH_PX + 1,) * 2
    total = cv2.blur(weights_hw1, side, borderType=cv2.BORDER_REPLICATE)[..., None]
    mean = cv2.blur(seen * weights_hw1, side, borderType=cv2.BORDER_REPLICATE) / np.maximum(total, 1e-6)
    return np.asarray(np.where(total > 1e-6, mean, seen), dtype=np.float32)
