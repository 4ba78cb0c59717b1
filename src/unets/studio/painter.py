"""The painter: draws faces from the farthest to the nearest, so that what remains is what is seen.

It paints face numbers, not colors: color and mask are then read from one image and cannot disagree.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from unets.studio.camera import Camera
from unets.studio.shells import Floats

SHIFT = 4  # binary digits behind the point in cv2's drawing coordinates
SUPERSAMPLING = 2  # fine pixels a side of a pixel


@dataclass(frozen=True, kw_only=True, slots=True)
class Painting:
    """The car in a window of the image, at SUPERSAMPLING times its resolution."""

    top_left: tuple[int, int]  # row and column of the window's corner, in image pixels
    faces_hw: NDArray[np.uint16]  # 0 where nothing is, else 1 + the face's number

    @property
    def window(self) -> tuple[slice, slice]:
        """The rows and columns of the image that the window covers."""
        (top, left), (rows, columns) = self.top_left, self.faces_hw.shape
        return slice(top, top + rows // SUPERSAMPLING), slice(left, left + columns // SUPERSAMPLING)


def paint_faces(quads: Floats, normals: Floats, bias_m: Floats, camera: Camera) -> Painting:
    """Returns what is seen of world `quads` (n, 4, 3), outward `normals` (n, 3), painted back to front."""
    centers = quads.mean(axis=1)
    rays = centers - camera.position
    seen = np.flatnonzero((rays * normals).sum(axis=1) < 0)
    order = seen[np.argsort(bias_m[seen] - np.linalg.norm(rays[seen], axis=1), kind="stable")]
    corners = camera.project(quads[order])
    height, width = camera.size_hw
    low = np.clip(np.floor(corners.min(axis=(0, 1))).astype(int) - 1, 0, (width, height))
    high = np.clip(np.ceil(corners.max(axis=(0, 1))).astype(int) + 1, low + 1, (width, height))
    columns, rows = (high - low) * SUPERSAMPLING
    faces_hw = np.zeros((rows, columns), np.uint16)
    # A drawing coordinate names a pixel's center, a image coordinate its upper left corner: hence the half.
    points = np.rint(((corners - low) * SUPERSAMPLING - 0.5) * 2**SHIFT).astype(np.int32)
    for number, polygon in zip((order + 1).tolist(), points, strict=True):
        cv2.fillConvexPoly(faces_hw, polygon, number, cv2.LINE_8, SHIFT)
    return Painting(top_left=(int(low[1]), int(low[0])), faces_hw=faces_hw)


def car_mask(painting: Painting, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Returns the mask, uint8 (H, W) of {0, 1}: 1 where the car covers half of a pixel or more."""
    mask_hw = np.zeros(size_hw, np.uint8)
    mask_hw[painting.window] = (
        _shrink((painting.faces_hw > 0).astype(np.uint8) * np.uint8(255)) / np.float32(255) >= 0.5
    )
    return mask_hw


def color_image(
    painting: Painting,
    rgba: NDArray[np.uint8],
    smooth_groups: Sequence[NDArray[np.bool_]] = (),
    softness_px: int = 0,
) -> NDArray[np.float32]:
    """Returns what the faces look like in image pixels.

    Args:
        painting: the visible faces.
        rgba: their colors times opacity, and their opacity, uint8 (num_faces, 4) 0..255.
        smooth_groups: bool (num_faces,) each; the faces of one group are shaded into each other.
        softness_px: how far they are.

    Returns:
        The window's color times coverage, and its coverage, float32 (h, w, 4) 0..255.
    """
    if softness_px < 1:
        return _look_up(painting, rgba)
    # A blur that looks at one material alone rounds off its facets and leaves its borders sharp.
    rest = ~np.logical_or.reduce(smooth_groups)
    total = _look_up(painting, rgba * rest[:, None])
    for group in smooth_groups:
        share = _look_up(painting, rgba * group[:, None])
        spread = _blur(share, softness_px)
        opacity = share[..., 3:]
        spread[..., :3] *= opacity / np.maximum(spread[..., 3:], np.float32(0.5))
        spread[..., 3:] = opacity
        total += spread
    return total


def _look_up(painting: Painting, rgba: NDArray[np.uint8]) -> NDArray[np.float32]:
    # Four bytes looked up as one number: 12 ms for four million fine pixels, rows of four take 100.
    packed = np.zeros(len(rgba) + 1, np.uint32)
    packed[1:] = np.ascontiguousarray(rgba).view(np.uint32)[:, 0]
    fine = np.take(packed, painting.faces_hw).view(np.uint8)
    return _shrink(fine.reshape(*painting.faces_hw.shape, 4))


def _blur(image: NDArray[np.float32], softness_px: int) -> NDArray[np.float32]:
    side = 2 * softness_px + 1
    return np.asarray(cv2.blur(cv2.blur(image, (side, side)), (side, side)))


def _shrink(fine: NDArray[np.uint8]) -> NDArray[np.float32]:
    rows, columns = (side // SUPERSAMPLING for side in fine.shape[:2])
    return np.asarray(cv2.resize(fine, (columns, rows), interpolation=cv2.INTER_AREA), dtype=np.float32)
