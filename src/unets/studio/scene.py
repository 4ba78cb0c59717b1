"""The scene: the empty studio, and what a car does to it by shadow and by reflection.

Pictures are sRGB levels 0..255 in float32 (height, width, 3) until the image is done. What is soft is computed on a
grid COARSENESS times coarser than the image and enlarged.
"""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from unets.studio.camera import Camera
from unets.studio.materials import smoothstep
from unets.studio.painter import color_image, paint_faces
from unets.studio.shells import Floats

Picture = NDArray[np.float32]

COARSENESS = 4
MARGIN_SHARE = 0.02  # of the height; the empty studio is this much larger on all sides, so that it can be shifted
_RING_RADIUS_M = 2.95  # the turntable's rim
_WALL_Y_M = 4.2  # where the floor begins to run up into the wall
_REFLECTION_FADE_M = 0.55  # height over which the floor's reflection fades to a third
_STUDIO_STREAM = 2**32 - 1  # no car has this index, so the studio's randomness is no car's


@lru_cache(maxsize=2)
def empty_studio(seed: int, size_hw: tuple[int, int]) -> Picture:
    """Returns the studio without a car, with a margin all around, read-only: see `margin_px`."""
    margin, camera = margin_px(size_hw), Camera(size_hw=size_hw)
    columns, rows = (np.arange(side + 2 * margin) + 0.5 - margin for side in size_hw[::-1])
    rays = camera.rays(np.stack(np.meshgrid(columns, rows), axis=-1).astype(np.float32))
    lens = camera.position
    # Where the ray meets the floor, and how far up the wall it does.
    down = np.minimum(rays[..., 2], -1e-3)
    x, y = -lens[2] / down * rays[..., 0], lens[1] - lens[2] / down * rays[..., 1]
    reach = (_WALL_Y_M + 1.2 - lens[1]) / rays[..., 1]
    floor, wall = _light_floor(x, y), _light_wall(reach * rays[..., 0], lens[2] + reach * rays[..., 2])
    sweep = smoothstep(y, _WALL_Y_M - 1.6, _WALL_Y_M + 1.6)
    sweep[rays[..., 2] > -1e-3] = 1.0
    rng = np.random.default_rng([seed, _STUDIO_STREAM])
    light = floor + (wall - floor) * sweep
    light *= 1.0 + 0.022 * _clouds(rng, light.shape, cells=9)
    light *= 1.0 + 0.006 * (1 - sweep) * _clouds(rng, light.shape, cells=90)
    tint = np.array([1.0, 0.993, 0.975]) + rng.uniform(-0.012, 0.012, size=3)
    picture = (light[..., None] * tint).astype(np.float32)
    picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), 0.0007 * size_hw[0] + 0.2), dtype=np.float32)
    picture.flags.writeable = False
    return picture


def margin_px(size_hw: tuple[int, int]) -> int:
    """Returns the margin of the empty studio in pixels."""
    return int(np.ceil(MARGIN_SHARE * size_hw[0]))


def _light_floor(x: Floats, y: Floats) -> Floats:
    radius = np.hypot(x, y)
    light = 168.0 + 34.0 * np.exp(-(x**2 + (y + 0.4) ** 2) / (2 * 2.6**2)) + 5.0 * (radius < _RING_RADIUS_M)
    light = light - 62.0 * _band(radius - _RING_RADIUS_M, 0.018) + 16.0 * _band(radius - _RING_RADIUS_M - 0.05, 0.03)
    return np.asarray(light - 7.0 * _band(radius - 0.55 * _RING_RADIUS_M, 0.012))


def _light_wall(x: Floats, z: Floats) -> Floats:
    light = 206.0 + 20.0 * np.exp(-(((z - 2.2) / 1.5) ** 2)) - 26.0 * (np.abs(x) / 6.5) ** 2
    light = light - 5.0 * _band(np.mod(x + 1.3, 2.6) - 1.3, 0.012) * (z > 0.4)  # seams
    lamps = _band(np.abs(x) - 2.7, 0.75) * smoothstep(z, 3.05, 3.25)
    return np.asarray(np.minimum(light + 46.0 * lamps, 252.0))


def _band(distance: Floats, half_width: float) -> Floats:
    return 1 - smoothstep(np.abs(distance), 0.7 * half_width, 1.3 * half_width)


def _clouds(rng: np.random.Generator, size_hw: tuple[int, ...], *, cells: int) -> Picture:
    """Returns a smooth random field of standard deviation 1, about `cells` waves wide, (height, width)."""
    height, width = size_hw
    coarse = rng.standard_normal((max(2, round(cells * height / width)), cells), dtype=np.float32)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


def uneven_light(rng: np.random.Generator, size_hw: tuple[int, int], strength: float) -> Picture:
    """Returns a smooth factor around 1 a channel, (h, w, 3) on the coarse grid: lamps warm up and age."""
    gray = 1.0 + strength * _clouds(rng, size_hw, cells=5)
    tints = 1.0 + 0.12 * strength * np.stack([_clouds(rng, size_hw, cells=3) for _ in range(3)], axis=-1)
    down, across = np.meshgrid(*(np.linspace(-1, 1, side) for side in size_hw), indexing="ij")
    slope_x, slope_y = rng.uniform(-1.2, 1.2, size=2) * strength
    falloff = (1.0 - 0.05 * (across**2 + down**2)) * (1 + slope_x * across + slope_y * down)
    return np.asarray((gray * falloff)[..., None] * tints, np.float32)


def car_shadow(points: Floats, tire_prints: Floats, key_xyz: tuple[float, float, float], camera: Camera) -> Picture:
    """Returns the share of light that reaches the floor, float32 (h, w), for a camera of the coarse grid.

    Args:
        points: (n, 3), world: the body's corners.
        tire_prints: (num_wheels, k, 3), world: the corners of the patches of floor that the tires stand on.
        key_xyz: direction towards the main lamp.
        camera: makes pictures of the coarse grid's size.
    """
    footprint = points * np.array([1.0, 1.0, 0.0])
    middle = footprint.mean(axis=0)
    layers = [  # outlines on the floor, softness in heights of the image, strength
        ([middle + (footprint - middle) * 1.10], 0.040, 0.24),
        ([points - points[:, 2:] * np.array(key_xyz) / key_xyz[2]], 0.014, 0.17),
        ([middle + (footprint - middle) * 0.97], 0.010, 0.62),
        (list(tire_prints), 0.0035, 0.55),
    ]
    light = np.ones(camera.size_hw, np.float32)
    for outlines, softness, strength in layers:
        cover = np.zeros(camera.size_hw, np.float32)
        for outline in outlines:
            hull = cv2.convexHull(camera.project(outline).astype(np.float32))
            cv2.fillConvexPoly(cover, np.rint((hull - 0.5) * 16).astype(np.int32), 1.0, cv2.LINE_8, 4)
        light *= 1.0 - strength * cv2.GaussianBlur(cover, (0, 0), softness * camera.size_hw[0] + 0.1)
    return light


def floor_reflection(
    quads: Floats, normals: Floats, bias_m: Floats, colors: NDArray[np.uint8], strength: float, camera: Camera
) -> Picture:
    """Returns the car's mirror image in the floor, for a camera of the coarse grid.

    `colors` are the faces', uint8 (num_faces, 3); `strength` (0..1) is the reflection's where the car stands on the
    floor, and it fades with height.

    Returns:
        Color times opacity, and opacity, float32 (h, w, 4), 0..255.
    """
    flip = np.array([1.0, 1.0, -1.0])
    painting = paint_faces(quads * flip, normals * flip, bias_m, camera)
    fade = strength * np.exp(-quads[:, :, 2].mean(axis=1, keepdims=True) / _REFLECTION_FADE_M)
    rgba = np.rint(np.insert(colors, 3, 255, axis=1) * fade).astype(np.uint8)
    picture = np.zeros((*camera.size_hw, 4), np.float32)
    picture[painting.window] = color_image(painting, rgba)
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), 0.0045 * camera.size_hw[0] + 0.1))
