"""What the public Keras baselines for Carvana do, in our own words: the other side of each ratio."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

Batch = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
Array = npt.NDArray[Any]  # uint8, which the types of cv2 do not tell


def load_public_batch(pairs: Sequence[tuple[Path, Path]], size_hw: tuple[int, int], rng: np.random.Generator) -> Batch:
    """Loads photos and masks one after the other, changes them at random, divides by 255.

    Photo and mask are decoded whole and resized linearly; colours go to HSV and back; shift, scale and rotation are one
    warp of the photo and one of the mask, the mirror image another pass over both. Each change has a probability of
    one half, as published (ours: 0.8 for colours and warp, which is more work).

    Args:
        pairs: paths of photo and GIF mask.
        size_hw: (height, width) wanted.
        rng: where the draws come from.

    Returns:
        float32 (batch, height, width, 3) and (batch, height, width, 1), 0..1.
    """
    photos, masks = [], []
    height, width = size_hw
    for photo_path, mask_path in pairs:
        photo = cv2.resize(np.asarray(cv2.imread(str(photo_path))), (width, height))
        mask = cv2.resize(np.array(Image.open(mask_path)) * np.uint8(255), (width, height))
        photo = _shift_hsv(photo, rng)
        photo, mask = _shift_scale_rotate(photo, mask, rng)
        if rng.random() < 0.5:
            photo, mask = cv2.flip(photo, 1), cv2.flip(mask, 1)
        photos.append(photo)
        masks.append(mask[..., None])
    return np.array(photos, np.float32) / np.float32(255), np.array(masks, np.float32) / np.float32(255)


def _shift_hsv(photo: Array, rng: np.random.Generator) -> Array:
    if rng.random() >= 0.5:
        return photo
    add: Any = cv2.add  # its types know no numbers
    hue, saturation, value = cv2.split(cv2.cvtColor(photo, cv2.COLOR_BGR2HSV))
    hue = add(hue, float(rng.uniform(-50, 50)))
    saturation = add(saturation, float(rng.uniform(-5, 5)))
    value = add(value, float(rng.uniform(-15, 15)))
    return np.asarray(cv2.cvtColor(cv2.merge((hue, saturation, value)), cv2.COLOR_HSV2BGR))


def _shift_scale_rotate(photo: Array, mask: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    if rng.random() >= 0.5:
        return photo, mask
    height, width = mask.shape
    zoom, turn = 1 + rng.uniform(-0.1, 0.1), np.deg2rad(rng.uniform(-5, 5))
    matrix = zoom * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float64)
    center, shift = np.array([width, height]) / 2, rng.uniform(-0.0625, 0.0625, 2) * (width, height)
    moved = (corners - center) @ matrix.T + center + shift
    perspective = cv2.getPerspectiveTransform(corners.astype(np.float32), moved.astype(np.float32))
    photo, mask = (
        cv2.warpPerspective(array, perspective, (width, height), flags=cv2.INTER_LINEAR) for array in (photo, mask)
    )
    return photo, mask


def encode_public_rle(mask_hw: Array) -> str:
    """Encodes as most Carvana repositories do; wrong where the first or the last pixel is foreground."""
    pixels = mask_hw.flatten()
    pixels[0] = pixels[-1] = 0
    runs = np.where(pixels[1:] != pixels[:-1])[0] + 2
    runs[1::2] = runs[1::2] - runs[:-1:2]
    return " ".join(str(number) for number in runs)
