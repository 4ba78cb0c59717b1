"""The scene: the empty studio, what its light does to a car, and what a car does to it by shadow and by reflection.

Pictures are sRGB levels 0..255 in float32 (height, width, 3) until the image is done. What is soft is computed on a
grid COARSENESS times coarser than the image and enlarged.
"""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from unets.studio.camera import LENS, Camera, color_image, paint_faces
from unets.studio.mesh import Mesh
from unets.studio.shells import Floats

Picture = NDArray[np.float32]

COARSENESS = 4
MARGIN_SHARE = 0.02  # of the height; the empty studio is this much larger on all sides, so that it can be shifted
_RING_RADIUS_M = 2.95  # the turntable's rim
_WALL_Y_M = 4.2  # where the floor begins to run up into the wall
_REFLECTION_FADE_M = 0.55  # height over which the floor's reflection fades to a third
_STUDIO_STREAM = 2**32 - 1  # no car has this index, so the studio's randomness is no car's
_GAMMA = 2.2


def shade(mesh: Mesh, centers: Floats, normals: Floats, key_xyz: Floats, strips_x: float) -> NDArray[np.uint8]:
    """Returns the sRGB colors of a mesh's faces, uint8 (num_faces, 3), by their centers and unit normals in the world.

    Shading is done once a face, in linear light. A face sees a soft sky of lamps through its normal and, by mirror
    reflection, the studio itself: a bright wall, a gray floor, strip lamps overhead. Paint looks like paint because of
    the strips that run along its shoulders, not because of its color. `key_xyz` is the unit direction towards the main
    lamp; the overhead strip lamps stand `strips_x` meters from the middle.
    """
    index, materials = mesh.material_index, mesh.materials
    albedo = np.array([[(level / 255) ** _GAMMA for level in material.rgb] for material in materials])[index]
    gloss, scale, metal = np.array([(each.gloss, each.scale, each.metal) for each in materials])[index].T[..., None]
    to_eye = LENS - centers
    to_eye /= np.linalg.norm(to_eye, axis=1, keepdims=True)
    facing = np.clip((normals * to_eye).sum(axis=1, keepdims=True), 0.0, 1.0)
    fresnel = scale * (gloss + (1 - gloss) * (1 - facing) ** 5)
    seen = _find_radiance(centers, 2 * facing * normals - to_eye, strips_x)
    soft = 0.27 + 0.37 * (0.5 + 0.5 * normals[:, 2:]) + 0.36 * np.clip(normals @ key_xyz, 0, 1)[:, None]
    near_floor = 0.62 + 0.38 * np.clip(centers[:, 2:] / 0.55, 0, 1)  # the car itself keeps light off its sills
    linear = (1 - metal) * albedo * soft * near_floor + metal * albedo * (0.35 * soft + 0.75 * seen) + fresnel * seen
    return np.asarray(np.rint(255 * np.clip(linear, 0, 1) ** (1 / _GAMMA)), dtype=np.uint8)


def _find_radiance(origins: Floats, directions: Floats, strips_x: float) -> Floats:
    """Returns the linear radiance (n, 1) that comes to `origins` from the unit `directions`, both (n, 3)."""
    x, y, z = directions.T
    wall = 0.60 + 0.14 * np.clip(z, 0, 1) - 0.16 * np.clip(-y, 0, 1)  # behind the photographer it is darker
    floor = 0.34 + 0.12 * np.clip(-z, 0, 1)
    room = floor + (wall - floor) * _smoothstep(z, -0.06, 0.10) - 0.22 * np.exp(-((z / 0.09) ** 2))
    # Where the ray meets the ceiling, 4 m up; only rays that rise get there.
    reach = (4.0 - origins[:, 2]) / np.maximum(z, 0.05)
    ceiling_x, ceiling_y = origins[:, 0] + reach * x, origins[:, 1] + reach * y
    across = np.abs(np.abs(ceiling_x) - strips_x)
    lamps = (1 - _smoothstep(across, 0.35, 0.75)) * (1 - _smoothstep(np.abs(ceiling_y), 2.6, 4.2))
    return np.asarray(room + 2.2 * lamps * (z > 0.05))[:, None]


def _smoothstep(values: Floats, low: float, high: float) -> Floats:
    """Returns 0 below `low`, 1 above `high`, and a smooth rise between them."""
    t = np.clip((values - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3 - 2 * t))


@lru_cache(maxsize=2)
def empty_studio(seed: int, size_hw: tuple[int, int]) -> Picture:
    """Returns the studio without a car, with a margin all around, read-only: see `margin_px`."""
    margin, camera = margin_px(size_hw), Camera(size_hw=size_hw)
    columns, rows = (np.arange(side + 2 * margin) + 0.5 - margin for side in size_hw[::-1])
    rays = camera.rays(np.stack(np.meshgrid(columns, rows), axis=-1).astype(np.float32))
    lens = LENS
    # Where the ray meets the floor, and how far up the wall it does.
    down = np.minimum(rays[..., 2], -1e-3)
    x, y = -lens[2] / down * rays[..., 0], lens[1] - lens[2] / down * rays[..., 1]
    reach = (_WALL_Y_M + 1.2 - lens[1]) / rays[..., 1]
    floor, wall = _light_floor(x, y), _light_wall(reach * rays[..., 0], lens[2] + reach * rays[..., 2])
    sweep = _smoothstep(y, _WALL_Y_M - 1.6, _WALL_Y_M + 1.6)
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
    lamps = _band(np.abs(x) - 2.7, 0.75) * _smoothstep(z, 3.05, 3.25)
    return np.asarray(np.minimum(light + 46.0 * lamps, 252.0))


def _band(distance: Floats, half_width: float) -> Floats:
    return 1 - _smoothstep(np.abs(distance), 0.7 * half_width, 1.3 * half_width)


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


def car_shadow(points: Floats, tire_prints: Floats, key_xyz: Floats, camera: Camera) -> Picture:
    """Returns the share of light that reaches the floor, float32 (h, w), for a camera of the coarse grid.

    In the world, `points` (n, 3) are the body's corners, `tire_prints` (num_wheels, k, 3) those of the patches of floor
    that the tires stand on; `key_xyz` is the direction towards the main lamp.
    """
    footprint = points * np.array([1.0, 1.0, 0.0])
    middle = footprint.mean(axis=0)
    layers = [  # outlines on the floor, softness in heights of the image, strength
        ([middle + (footprint - middle) * 1.10], 0.040, 0.24),
        ([points - points[:, 2:] * key_xyz / key_xyz[2]], 0.014, 0.17),
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
    floor, and it fades with height. The image is color times opacity, and opacity, float32 (h, w, 4), 0..255.
    """
    flip = np.array([1.0, 1.0, -1.0])
    painting = paint_faces(quads * flip, normals * flip, bias_m, camera)
    fade = strength * np.exp(-quads[:, :, 2].mean(axis=1, keepdims=True) / _REFLECTION_FADE_M)
    rgba = np.rint(np.insert(colors, 3, 255, axis=1) * fade).astype(np.uint8)
    picture = np.zeros((*camera.size_hw, 4), np.float32)
    picture[painting.window] = color_image(painting, rgba)
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), 0.0045 * camera.size_hw[0] + 0.1))
