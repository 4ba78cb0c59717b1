"""Random changes that spoil an image and leave its mask as it is: blur, noise, JPEG, coarse dropout."""

import cv2
import numpy as np
import numpy.typing as npt

from unets.config import AugmentConfig
from unets.data.image import ImageU8

_BLUR_PX, _NOISE, _QUALITY = (0.5, 2.0), (1.0, 10.0), (30, 95)
_MOST_BOXES, _BOX_SIDES = 4, (1 / 16, 1 / 4)  # as shares of the image's sides


def degrade(image_hwc: ImageU8, config: AugmentConfig, rng: np.random.Generator) -> ImageU8:
    """Spoils an image, uint8 (height, width, channels), in the order of a camera: blur, noise, JPEG, then dropout.

    Each comes with its probability in `config`. The result may be the image itself, which is not written to.
    """
    # All draws are made in one order, whatever is switched on, so that a setting changes its own effect alone.
    blurs, noises, packs, drops = rng.random(4) < (config.blur, config.noise, config.jpeg, config.dropout)
    sigma_px, noise = rng.uniform(*_BLUR_PX), rng.uniform(*_NOISE)
    quality = int(rng.integers(_QUALITY[0], _QUALITY[1] + 1))
    count = int(rng.integers(1, _MOST_BOXES + 1))
    boxes = [draw_box(image_hwc.shape, rng.uniform(*_BOX_SIDES, 2), rng) for _ in range(count)]
    if blurs:
        image_hwc = np.asarray(cv2.GaussianBlur(image_hwc, (0, 0), sigma_px), np.uint8).reshape(image_hwc.shape)
    if noises:
        changed = image_hwc + np.float32(noise) * rng.standard_normal(image_hwc.shape, dtype=np.float32)
        image_hwc = np.rint(changed).clip(0, 255).astype(np.uint8)
    if packs:
        image_hwc = compress(image_hwc, quality)
    if drops:
        mean = image_hwc.mean(axis=(0, 1)).astype(np.uint8)
        image_hwc = image_hwc.copy()
        for box in boxes:
            image_hwc[box] = mean
    return image_hwc


def draw_box(
    shape: tuple[int, ...], shares_hw: npt.NDArray[np.float64], rng: np.random.Generator
) -> tuple[slice, slice]:
    """Draws a box (rows, columns) of an image of this shape, whose sides are these shares of the image's."""
    height, width = (max(round(side * share), 1) for side, share in zip(shape, shares_hw, strict=False))
    top, left = int(rng.integers(shape[0] - height + 1)), int(rng.integers(shape[1] - width + 1))
    return slice(top, top + height), slice(left, left + width)


def compress(image_hwc: ImageU8, quality: int) -> ImageU8:
    """Returns an image as JPEG gives it back; of other than three channels each is one gray image."""
    if image_hwc.shape[-1] == 3:
        return _pack(image_hwc[..., ::-1], quality, cv2.IMREAD_COLOR)[..., ::-1]
    parts = [_pack(image_hwc[..., channel], quality, cv2.IMREAD_GRAYSCALE) for channel in range(image_hwc.shape[-1])]
    return np.stack(parts, axis=-1)


def _pack(image: ImageU8, quality: int, flags: int) -> ImageU8:
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(image), (cv2.IMWRITE_JPEG_QUALITY, quality))
    return np.asarray(cv2.imdecode(data, flags), dtype=np.uint8)
