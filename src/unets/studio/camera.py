"""The studio's camera: a fixed tripod before a turntable.

World lengths are meters: x right, y away from the camera, z up, the turntable's center at the origin.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unets.studio.shells import Floats

DISTANCE_M = 8.2  # from the lens to the turntable's center, along the floor
LENS_HEIGHT_M = 1.55
TARGET_HEIGHT_M = 0.62  # height above the turntable's center that the image is centerd on
FOCAL_HEIGHTS = 2.08  # focal length, in image heights

NUM_VIEWS = 16  # 22.5 degrees apart


@dataclass(frozen=True, kw_only=True, slots=True)
class Camera:
    """A pinhole camera for images of one size; all lengths in pixels scale with the image's height."""

    size_hw: tuple[int, int]
    shift_yx: tuple[float, float] = (0.0, 0.0)  # displacement of the image, in image heights

    @property
    def position(self) -> Floats:
        """The lens, world meters, float64 (3,)."""
        return np.array([0.0, -DISTANCE_M, LENS_HEIGHT_M])

    @property
    def focal_px(self) -> float:
        """The focal length in pixels."""
        return FOCAL_HEIGHTS * self.size_hw[0]

    @property
    def center_yx(self) -> tuple[float, float]:
        """Where the optical axis meets the image, in pixels from its upper left corner."""
        height, width = self.size_hw
        return height * (0.5 + self.shift_yx[0]), width / 2 + height * self.shift_yx[1]

    def project(self, points: Floats) -> Floats:
        """Returns the image coordinates (..., 2), x then y as cv2 takes them, of world points (..., 3)."""
        right, up, ahead = _axes()
        rays = points - self.position
        center_y, center_x = self.center_yx
        scale = self.focal_px / (rays @ ahead)
        return np.stack([center_x + scale * (rays @ right), center_y - scale * (rays @ up)], axis=-1)

    def rays(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns what image coordinates x, y see: directions, not normalized, float32 (..., 3)."""
        right, up, ahead = _axes()
        center_y, center_x = self.center_yx
        x, y = (pixels[..., 0] - center_x) / self.focal_px, (pixels[..., 1] - center_y) / self.focal_px
        return np.asarray(ahead + x[..., None] * right - y[..., None] * up, dtype=np.float32)


def _axes() -> tuple[Floats, Floats, Floats]:
    ahead = np.array([0.0, DISTANCE_M, TARGET_HEIGHT_M - LENS_HEIGHT_M])
    ahead /= np.linalg.norm(ahead)
    right = np.array([1.0, 0.0, 0.0])
    return right, np.cross(right, ahead), ahead


def turn(points: Floats, view: int, *, swing_deg: float = 0.0, offset_xy: tuple[float, float] = (0.0, 0.0)) -> Floats:
    """Returns car-frame points (..., 3) in the world, the turntable at `view` (1..16; 1 shows the nose)."""
    angle = np.deg2rad((view - 1) * 360.0 / NUM_VIEWS + swing_deg - 90.0)
    cos, sin = np.cos(angle), np.sin(angle)
    x, y = points[..., 0] + offset_xy[0], points[..., 1] + offset_xy[1]
    return np.stack([cos * x - sin * y, sin * x + cos * y, points[..., 2]], axis=-1)
