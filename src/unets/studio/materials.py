"""Materials: what the car is made of and how much light comes back from each face.

Shading is done once a face, in linear light. A face sees a soft sky of lamps through its normal and, by mirror
reflection, the studio itself: a bright wall, a gray floor, strip lamps overhead. Paint looks like paint because of the
strips that run along its shoulders, not because of its color.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unets.studio.shells import Floats

_GAMMA = 2.2


@dataclass(frozen=True, slots=True)
class Material:
    """How a face answers light."""

    rgb: tuple[int, int, int]  # sRGB 0..255, in the studio's white light
    gloss: float = 0.0  # mirror reflectance seen straight on; it rises to 1 at grazing angles
    scale: float = 1.0  # damps the mirror, 0 for a matt face
    metal: float = 0.0  # share of the color that comes by mirror reflection instead of diffusely
    is_smooth: bool = False  # the image shows no facets of it
    is_wheel: bool = False


MATERIALS: dict[str, Material] = {
    "glass": Material((30, 36, 38), gloss=0.09, scale=0.75, is_smooth=True),
    "trim": Material((34, 35, 36), gloss=0.04, scale=0.25),
    "gap": Material((14, 14, 15), scale=0.0),
    "well": Material((13, 13, 13), scale=0.0, is_wheel=True),
    "tire": Material((34, 34, 35), gloss=0.03, scale=0.15, is_wheel=True),
    "rim_dark": Material((30, 30, 31), gloss=0.05, scale=0.3, is_wheel=True),
    "chrome": Material((205, 207, 210), gloss=0.5, scale=0.8, metal=0.8),
    "headlamp": Material((188, 194, 200), gloss=0.20, metal=0.35),
    "lens": Material((236, 240, 244), gloss=0.25),
    "tail_lamp": Material((150, 14, 18), gloss=0.08),
    "grille": Material((20, 20, 22), gloss=0.05, scale=0.3),
    "plate": Material((226, 226, 214), gloss=0.03, scale=0.2),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Lighting:
    """The lamps of one image."""

    key_xyz: tuple[float, float, float]  # direction towards the main lamp, world axes, length 1
    strips_x: float  # how far the two overhead strip lamps stand from the middle, meters


def shade(
    materials: Sequence[Material],
    index: NDArray[np.intp],
    centers: Floats,
    normals: Floats,
    eye: Floats,
    light: Lighting,
) -> NDArray[np.uint8]:
    """Returns the faces' sRGB colors, uint8 (num_faces, 3).

    `index` says which material each face has; `centers` and unit `normals` are world (num_faces, 3); `eye` is the lens
    (3,).
    """
    albedo = np.array([[(level / 255) ** _GAMMA for level in material.rgb] for material in materials])[index]
    gloss, scale, metal = np.array([(each.gloss, each.scale, each.metal) for each in materials])[index].T[..., None]
    to_eye = eye - centers
    to_eye /= np.linalg.norm(to_eye, axis=1, keepdims=True)
    facing = np.clip((normals * to_eye).sum(axis=1, keepdims=True), 0.0, 1.0)
    fresnel = scale * (gloss + (1 - gloss) * (1 - facing) ** 5)
    seen = _find_radiance(centers, 2 * facing * normals - to_eye, light)
    soft = 0.27 + 0.37 * (0.5 + 0.5 * normals[:, 2:]) + 0.36 * np.clip(normals @ light.key_xyz, 0, 1)[:, None]
    near_floor = 0.62 + 0.38 * np.clip(centers[:, 2:] / 0.55, 0, 1)  # the car itself keeps light off its sills
    linear = (1 - metal) * albedo * soft * near_floor + metal * albedo * (0.35 * soft + 0.75 * seen) + fresnel * seen
    return np.asarray(np.rint(255 * np.clip(linear, 0, 1) ** (1 / _GAMMA)), dtype=np.uint8)


def smoothstep(values: Floats, low: float, high: float) -> Floats:
    """Returns 0 below `low`, 1 above `high`, and a smooth rise between them."""
    t = np.clip((values - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3 - 2 * t))


def _find_radiance(origins: Floats, directions: Floats, light: Lighting) -> Floats:
    """Returns the linear radiance (n, 1) that comes to `origins` from the unit `directions`, both (n, 3)."""
    x, y, z = directions.T
    wall = 0.60 + 0.14 * np.clip(z, 0, 1) - 0.16 * np.clip(-y, 0, 1)  # behind the photographer it is darker
    floor = 0.34 + 0.12 * np.clip(-z, 0, 1)
    room = floor + (wall - floor) * smoothstep(z, -0.06, 0.10) - 0.22 * np.exp(-((z / 0.09) ** 2))
    # Where the ray meets the ceiling, 4 m up; only rays that rise get there.
    reach = (4.0 - origins[:, 2]) / np.maximum(z, 0.05)
    ceiling_x, ceiling_y = origins[:, 0] + reach * x, origins[:, 1] + reach * y
    across = np.abs(np.abs(ceiling_x) - light.strips_x)
    lamps = (1 - smoothstep(across, 0.35, 0.75)) * (1 - smoothstep(np.abs(ceiling_y), 2.6, 4.2))
    return np.asarray(room + 2.2 * lamps * (z > 0.05))[:, None]
