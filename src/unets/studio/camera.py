"""The studio's camera: a fixed tripod before a turntable, and which face it sees at each pixel.

World lengths are meters: x right, y away from the camera, z up, the turntable's center at the origin. Faces are drawn
from the farthest to the nearest, so that what remains is what is seen. What is drawn are their numbers, not their
colors: color and mask are then read from one image and cannot disagree.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from unets.studio.shells import Floats

DISTANCE_M = 8.2  # from the lens to the turntable's center, along the floor
LENS_HEIGHT_M = 1.55
TARGET_HEIGHT_M = 0.62  # height above the turntable's center that the image is centered on
FOCAL_HEIGHTS = 2.08  # focal length, in image heights
NUM_VIEWS = 16  # 22.5 degrees apart
SHIFT = 4  # binary digits behind the point in cv2's drawing coordinates
SUPERSAMPLING = 2  # fine pixels a side of a pixel
LENS = np.array([0.0, -DISTANCE_M, LENS_HEIGHT_M])
_RIGHT, _AHEAD = np.array([1.0, 0.0, 0.0]), np.array([0.0, DISTANCE_M, TARGET_HEIGHT_M - LENS_HEIGHT_M])
_AHEAD /= np.linalg.norm(_AHEAD)
_UP = np.cross(_RIGHT, _AHEAD)


@dataclass(frozen=True, kw_only=True, slots=True)
class Camera:
    """A pinhole camera for images of one size; all lengths in pixels scale with the image's height."""

    size_hw: tuple[int, int]
    shift_yx: tuple[float, float] = (0.0, 0.0)  # displacement of the image, in image heights

    @property
    def _lens_px(self) -> tuple[float, float, float]:
        """The focal length, and x and y of where the optical axis meets the image."""
        height, width = self.size_hw
        return FOCAL_HEIGHTS * height, width / 2 + height * self.shift_yx[1], height * (0.5 + self.shift_yx[0])

    def project(self, points: Floats) -> Floats:
        """Returns the image coordinates (..., 2), x then y as cv2 takes them, of world points (..., 3)."""
        focal, center_x, center_y = self._lens_px
        rays = points - LENS
        scale = focal / (rays @ _AHEAD)
        return np.stack([center_x + scale * (rays @ _RIGHT), center_y - scale * (rays @ _UP)], axis=-1)

    def rays(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns what image coordinates x, y see: directions, not normalized, float32 (..., 3)."""
        focal, center_x, center_y = self._lens_px
        x, y = (pixels[..., 0] - center_x) / focal, (pixels[..., 1] - center_y) / focal
        return np.asarray(_AHEAD + x[..., None] * _RIGHT - y[..., None] * _UP, dtype=np.float32)


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


def turn(points: Floats, view: int, *, swing_deg: float = 0.0, offset_xy: tuple[float, float] = (0.0, 0.0)) -> Floats:
    """Returns car-frame points (..., 3) in the world, the turntable at `view` (1..16; 1 shows the nose)."""
    angle = np.deg2rad((view - 1) * 360.0 / NUM_VIEWS + swing_deg - 90.0)
    cos, sin = np.cos(angle), np.sin(angle)
    x, y = points[..., 0] + offset_xy[0], points[..., 1] + offset_xy[1]
    return np.stack([cos * x - sin * y, sin * x + cos * y, points[..., 2]], axis=-1)


def paint_faces(quads: Floats, normals: Floats, bias_m: Floats, camera: Camera) -> Painting:
    """Returns what is seen of world `quads` (n, 4, 3), outward `normals` (n, 3), painted back to front."""
    rays = quads.mean(axis=1) - LENS
    seen = np.flatnonzero((rays * normals).sum(axis=1) < 0)
    order = seen[np.argsort(bias_m[seen] - np.linalg.norm(rays[seen], axis=1), kind="stable")]
    corners = camera.project(quads[order])
    height, width = camera.size_hw
    low = np.clip(np.floor(corners.min(axis=(0, 1))).astype(int) - 1, 0, (width, height))
    high = np.clip(np.ceil(corners.max(axis=(0, 1))).astype(int) + 1, low + 1, (width, height))
    columns, rows = (high - low) * SUPERSAMPLING
    faces_hw = np.zeros((rows, columns), np.uint16)
    # A drawing coordinate names a pixel's center, an image coordinate its upper left corner: hence the half.
    points = np.rint(((corners - low) * SUPERSAMPLING - 0.5) * 2**SHIFT).astype(np.int32)
    for number, polygon in zip((order + 1).tolist(), points, strict=True):
        cv2.fillConvexPoly(faces_hw, polygon, number, cv2.LINE_8, SHIFT)
    return Painting(top_left=(int(low[1]), int(low[0])), faces_hw=faces_hw)


def car_mask(painting: Painting, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Returns the mask, uint8 (H, W) of {0, 1}: 1 where the car covers half of a pixel or more."""
    mask_hw, levels_hw = np.zeros(size_hw, np.uint8), (painting.faces_hw > 0).astype(np.uint8) * np.uint8(255)
    mask_hw[painting.window] = _shrink(levels_hw) / np.float32(255) >= 0.5
    return mask_hw


def color_image(
    painting: Painting, rgba: NDArray[np.uint8], smooth_groups: Sequence[NDArray[np.bool_]] = (), softness_px: int = 0
) -> NDArray[np.float32]:
    """Returns what the visible faces look like in image pixels.

    `rgba` is their colors times opacity, and their opacity, uint8 (num_faces, 4) 0..255. The faces of each of the
    `smooth_groups`, bool (num_faces,), are shaded into each other over `softness_px`. So is what is returned, of the
    window: float32 (h, w, 4) 0..255.
    """
    if softness_px < 1:
        return _look_up(painting, rgba)
    # A blur that looks at one material alone rounds off its facets and leaves its borders sharp.
    total, side = _look_up(painting, rgba * ~np.logical_or.reduce(smooth_groups)[:, None]), 2 * softness_px + 1
    for group in smooth_groups:
        share = _look_up(painting, rgba * group[:, None])
        spread = np.asarray(cv2.blur(cv2.blur(share, (side, side)), (side, side)), dtype=np.float32)
        spread[..., :3] *= share[..., 3:] / np.maximum(spread[..., 3:], np.float32(0.5))
        spread[..., 3:] = share[..., 3:]
        total += spread
    return total


def _look_up(painting: Painting, rgba: NDArray[np.uint8]) -> NDArray[np.float32]:
    # Four bytes looked up as one number: 12 ms for four million fine pixels, rows of four take 100.
    packed = np.zeros(len(rgba) + 1, np.uint32)
    packed[1:] = np.ascontiguousarray(rgba).view(np.uint32)[:, 0]
    return _shrink(np.take(packed, painting.faces_hw).view(np.uint8).reshape(*painting.faces_hw.shape, 4))


def _shrink(fine: NDArray[np.uint8]) -> NDArray[np.float32]:
    rows, columns = (side // SUPERSAMPLING for side in fine.shape[:2])
    return np.asarray(cv2.resize(fine, (columns, rows), interpolation=cv2.INTER_AREA), dtype=np.float32)
