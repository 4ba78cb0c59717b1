"""The scene: the empty studio, and what a car does to it by shadow and by reflection.

Pictures are sRGB levels 0..255 in float32 (H, W, 3) until the photo is done. What is soft is computed on a
grid COARSENESS times coarser than the photo and enlarged.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from unets.studio.camera import Camera
from unets.studio.painter import colour_image, paint_faces
from unets.studio.shells import Floats

Picture = NDArray[np.float32]

COARSENESS = 4
MARGIN_SHARE = 0.02  # of the height; the empty studio is this much larger on all sides, so that it can be shifted
RING_RADIUS_M = 2.95  # the turntable's rim
WALL_Y_M = 4.2  # where the floor begins to run up into the wall
REFLECTION_FADE_M = 0.55  # height over which the floor's reflection fades to a third
STUDIO_STREAM = 2**32 - 1  # no car has this index, so the studio's randomness is no car's


@lru_cache(maxsize=2)
def empty_studio(seed: int, size_hw: tuple[int, int]) -> Picture:
    """Returns the studio without a car, with a margin all around, read-only: see `margin_px`."""
    margin = margin_px(size_hw)
    rays = _marginal_rays(size_hw, margin)
    lens = Camera(size_hw=size_hw).position
    # Where the ray meets the floor, and how far up the wall it does.
    down = np.minimum(rays[..., 2], -1e-3)
    x, y = -lens[2] / down * rays[..., 0], lens[1] - lens[2] / down * rays[..., 1]
    wall_reach = (WALL_Y_M + 1.2 - lens[1]) / rays[..., 1]
    wall_x, wall_z = wall_reach * rays[..., 0], lens[2] + wall_reach * rays[..., 2]
    sweep = _smoothstep(y, WALL_Y_M - 1.6, WALL_Y_M + 1.6)
    sweep[rays[..., 2] > -1e-3] = 1.0
    rng = np.random.default_rng([seed, STUDIO_STREAM])
    floor, wall = _floor_light(x, y), _wall_light(wall_x, wall_z)
    light = floor + (wall - floor) * sweep
    light *= 1.0 + 0.022 * _clouds(rng, light.shape, cells=9)
    light *= 1.0 + 0.006 * (1 - sweep) * _clouds(rng, light.shape, cells=90)
    tint = np.array([1.0, 0.993, 0.975], np.float32) + rng.uniform(-0.012, 0.012, size=3).astype(np.float32)
    picture = np.asarray(light[..., None] * tint, dtype=np.float32)
    picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), 0.0007 * size_hw[0] + 0.2), dtype=np.float32)
    picture.flags.writeable = False
    return picture


def margin_px(size_hw: tuple[int, int]) -> int:
    """Returns the margin of the empty studio in pixels."""
    return int(np.ceil(MARGIN_SHARE * size_hw[0]))


def _marginal_rays(size_hw: tuple[int, int], margin: int) -> Picture:
    height, width = size_hw[0] + 2 * margin, size_hw[1] + 2 * margin
    camera = Camera(size_hw=size_hw)
    x, y = np.meshgrid(np.arange(width) + 0.5 - margin, np.arange(height) + 0.5 - margin)
    return camera.rays(np.stack([x, y], axis=-1).astype(np.float32))


def _floor_light(x: Picture, y: Picture) -> Picture:
    radius = np.hypot(x, y)
    light = 168.0 + 34.0 * np.exp(-(x**2 + (y + 0.4) ** 2) / (2 * 2.6**2))
    light = light + 5.0 * (radius < RING_RADIUS_M)
    distance = np.abs(radius - RING_RADIUS_M)
    light = light - 62.0 * _band(distance, 0.018) + 16.0 * _band(np.abs(radius - RING_RADIUS_M - 0.05), 0.03)
    light = light - 7.0 * _band(np.abs(radius - 0.55 * RING_RADIUS_M), 0.012)
    return np.asarray(light, dtype=np.float32)


def _wall_light(x: Picture, z: Picture) -> Picture:
    light = 206.0 + 20.0 * np.exp(-(((z - 2.2) / 1.5) ** 2)) - 26.0 * (np.abs(x) / 6.5) ** 2
    seams = np.abs(np.mod(x + 1.3, 2.6) - 1.3)
    light = light - 5.0 * _band(seams, 0.012) * (z > 0.4)
    lamps = _band(np.abs(np.abs(x) - 2.7), 0.75) * _smoothstep(z, 3.05, 3.25)
    return np.asarray(np.minimum(light + 46.0 * lamps, 252.0), dtype=np.float32)


def _band(distance: Picture, half_width: float) -> Picture:
    return 1 - _smoothstep(distance, 0.7 * half_width, 1.3 * half_width)


def _smoothstep(values: Picture, low: float, high: float) -> Picture:
    t = np.clip((values - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)


def _clouds(rng: np.random.Generator, size_hw: tuple[int, ...], *, cells: int) -> Picture:
    """Returns a smooth random field of standard deviation 1, about `cells` waves wide, (H, W)."""
    height, width = size_hw
    coarse = rng.standard_normal((max(2, round(cells * height / width)), cells), dtype=np.float32)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


def uneven_light(rng: np.random.Generator, size_hw: tuple[int, int], strength: float) -> Picture:
    """Returns a smooth factor around 1 a channel, (h, w, 3) on the coarse grid: lamps warm up and age."""
    height, width = size_hw
    grey = 1.0 + strength * _clouds(rng, (height, width), cells=5)
    tints = 1.0 + 0.12 * strength * np.stack([_clouds(rng, (height, width), cells=3) for _ in range(3)], axis=-1)
    across = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    slope_x, slope_y = rng.uniform(-1.2, 1.2, size=2).astype(np.float32) * strength
    vignette = 1.0 - 0.05 * (across**2 + down**2)
    return np.asarray((grey * vignette * (1 + slope_x * across + slope_y * down))[..., None] * tints, np.float32)


def car_shadow(points: Floats, wheels: Floats, key_xyz: tuple[float, float, float], camera: Camera) -> Picture:
    """Returns the share of light that reaches the floor, float32 (h, w), for a camera of the coarse grid.

    Args:
        points: (n, 3), world: the body's corners.
        wheels: (num_wheels, k, 3), world: the corners of the patches of floor that the tyres stand on.
        key_xyz: direction towards the main lamp.
        camera: makes pictures of the coarse grid's size.
    """
    footprint = points * np.array([1.0, 1.0, 0.0])
    middle = footprint.mean(axis=0)
    away = np.array(key_xyz) / key_xyz[2]
    cast = points - points[:, 2:] * away
    layers = [
        ([middle + (footprint - middle) * 1.10], 0.040, 0.24),
        ([cast], 0.014, 0.17),
        ([middle + (footprint - middle) * 0.97], 0.010, 0.62),
        (list(wheels), 0.0035, 0.55),
    ]
    light = np.ones(camera.size_hw, np.float32)
    for groups, softness, strength in layers:
        cover = np.zeros(camera.size_hw, np.float32)
        for group in groups:
            outline = cv2.convexHull(camera.project(group).astype(np.float32))
            cv2.fillConvexPoly(cover, np.rint((outline - 0.5) * 16).astype(np.int32), 1.0, cv2.LINE_8, 4)
        light *= 1.0 - strength * cv2.GaussianBlur(cover, (0, 0), softness * camera.size_hw[0] + 0.1)
    return light


def floor_reflection(
    quads: Floats,
    normals: Floats,
    bias_m: Floats,
    colours: NDArray[np.uint8],
    strength: float,
    camera: Camera,
) -> Picture:
    """Returns the car's mirror image in the floor, for a camera of the coarse grid.

    `colours` are the faces', uint8 (num_faces, 3); `strength` (0..1) is the reflection's where the car stands
    on the floor, and it fades with height.

    Returns:
        Colour times opacity, and opacity, float32 (h, w, 4), 0..255.
    """
    flip = np.array([1.0, 1.0, -1.0])
    painting = paint_faces(quads * flip, normals * flip, bias_m, camera)
    fade = strength * np.exp(-quads[:, :, 2].mean(axis=1, keepdims=True) / REFLECTION_FADE_M)
    rgba = np.rint(np.concatenate([colours, np.full_like(colours[:, :1], 255)], axis=1) * fade).astype(np.uint8)
    picture = np.zeros((*camera.size_hw, 4), np.float32)
    picture[painting.window] = colour_image(painting, rgba)
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), 0.0045 * camera.size_hw[0] + 0.1))
