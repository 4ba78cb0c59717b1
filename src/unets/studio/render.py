"""One image: a car on the turntable, photographed, with the mask of what it covers."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from unets.studio import scene
from unets.studio.camera import Camera, turn
from unets.studio.cars import Car
from unets.studio.materials import Lighting, shade
from unets.studio.mesh import Mesh, build_mesh
from unets.studio.painter import Painting, car_mask, color_image, paint_faces
from unets.studio.shells import Floats

FULL_SIZE_HW = (1280, 1918)
_SOFTNESS_SHARE = 0.004  # of the height: how far facets are shaded into each other
_NOISE_TILE_HW = (331, 487)  # pixels; primes, so that its repeats fall on no grid of the JPEG's 8 x 8 blocks

ImageU8 = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Conditions:
    """What differs between two images of one studio, besides the car."""

    swing_deg: float  # the turntable stops a little off its mark
    offset_xy: tuple[float, float]  # the car stands a little off the middle, meters in its own frame
    shift_yx: tuple[int, int]  # the tripod was touched, pixels
    gain_rgb: Floats  # exposure and white balance
    light: Lighting
    unevenness: float  # of the light over the picture, a share of it
    reflection: float  # of the car in the floor where it touches it, 0..1
    noise: float  # standard deviation, levels of 255


@dataclass(frozen=True, kw_only=True, slots=True)
class _View:
    """A car as it stands before the camera, world coordinates."""

    mesh: Mesh
    quads: Floats
    normals: Floats
    tire_prints: Floats
    camera: Camera
    painting: Painting


def render_image(car: Car, view: int, seed: int, size_hw: tuple[int, int] = FULL_SIZE_HW) -> tuple[ImageU8, ImageU8]:
    """Photographs a car.

    Args:
        car: from `build_car(seed, index)`.
        view: position of the turntable, 1 to 16.
        seed: of the studio. Equal arguments give equal bytes.
        size_hw: (height, width) in pixels; all lengths scale with the height.

    Returns:
        The image, uint8 RGB (height, width, 3), and its mask, uint8 (height, width) of {0, 1}.
    """
    # The image's stream first gives its conditions; the grain of the picture continues it.
    rng = np.random.default_rng([seed, car.index, view])
    conditions = _draw_conditions(car, seed, size_hw, rng)
    placed = _place(car, view, conditions, size_hw)
    mesh, window = placed.mesh, placed.painting.window
    colors = shade(
        mesh.materials,
        mesh.material_index,
        placed.quads.mean(axis=1),
        placed.normals,
        placed.camera.position,
        conditions.light,
    )
    picture = _render_backdrop(placed, colors, conditions, seed, rng)
    exposed = np.clip(np.rint(colors * conditions.gain_rgb), 0, 255).astype(np.uint8)
    softness_px = round(_SOFTNESS_SHARE * size_hw[0])
    seen = color_image(placed.painting, np.insert(exposed, 3, 255, axis=1), mesh.smooth_groups, softness_px)
    picture[window] *= 1.0 - seen[..., 3:] / np.float32(255)
    picture[window] += seen[..., :3]
    # One tile of noise, repeated: seven million draws cost 0.1 s.
    tile = rng.standard_normal((*_NOISE_TILE_HW, 3), dtype=np.float32) * np.float32(conditions.noise)
    counts = (-(-side // tile_side) for side, tile_side in zip(size_hw, _NOISE_TILE_HW, strict=True))
    picture += np.tile(tile, (*counts, 1))[: size_hw[0], : size_hw[1]]
    image = np.clip(picture, 0.0, 255.0, out=picture).round(out=picture).astype(np.uint8)
    return image, car_mask(placed.painting, size_hw)


def render_mask(car: Car, view: int, seed: int, size_hw: tuple[int, int] = FULL_SIZE_HW) -> ImageU8:
    """Returns the mask of `render_image` alone, at a fraction of its cost: uint8 (height, width)."""
    conditions = _draw_conditions(car, seed, size_hw, np.random.default_rng([seed, car.index, view]))
    return car_mask(_place(car, view, conditions, size_hw).painting, size_hw)


def _draw_conditions(car: Car, seed: int, size_hw: tuple[int, int], rng: np.random.Generator) -> _Conditions:
    # A session photographs one car: its 16 images share most of what the day brought.
    session = np.random.default_rng([seed, car.index, 0, 1])
    angle, height = session.uniform(0, 2 * np.pi), session.uniform(0.75, 0.92)
    flat = np.sqrt(1 - height**2)
    exposure = np.exp(session.normal(0, 0.03) + rng.normal(0, 0.015))
    margin = 0.8 * scene.MARGIN_SHARE * size_hw[0]
    shift_y, shift_x = session.uniform(-margin, margin, size=2)
    offset_x, offset_y = session.normal(0, 0.03, size=2)
    return _Conditions(
        swing_deg=float(session.normal(0, 1.0) + rng.normal(0, 0.5)),
        offset_xy=(float(offset_x), float(offset_y)),
        shift_yx=(round(float(shift_y)), round(float(shift_x))),
        gain_rgb=exposure * np.exp(session.normal(0, 0.008, size=3) + rng.normal(0, 0.004, size=3)),
        light=Lighting(
            key_xyz=(float(flat * np.cos(angle)), float(flat * np.sin(angle)), float(height)),
            strips_x=float(session.uniform(1.2, 1.9)),
        ),
        unevenness=float(session.uniform(0.010, 0.025)),
        reflection=float(session.uniform(0.2, 0.4)),
        noise=float(session.uniform(1.3, 2.3)),
    )


def _place(car: Car, view: int, conditions: _Conditions, size_hw: tuple[int, int]) -> _View:
    mesh, swing, offset = build_mesh(car), conditions.swing_deg, conditions.offset_xy
    quads = turn(mesh.quads, view, swing_deg=swing, offset_xy=offset)
    normals = turn(mesh.normals, view, swing_deg=swing)
    shift_y, shift_x = (shift / size_hw[0] for shift in conditions.shift_yx)
    camera = Camera(size_hw=size_hw, shift_yx=(shift_y, shift_x))
    return _View(
        mesh=mesh,
        quads=quads,
        normals=normals,
        tire_prints=turn(mesh.tire_prints, view, swing_deg=swing, offset_xy=offset),
        camera=camera,
        painting=paint_faces(quads, normals, mesh.bias_m, camera),
    )


def _render_backdrop(
    placed: _View, colors: ImageU8, conditions: _Conditions, seed: int, rng: np.random.Generator
) -> scene.Picture:
    """Returns the studio with the car's shadow and reflection, but without the car."""
    height, width = size_hw = placed.camera.size_hw
    coarse_hw = (-(-height // scene.COARSENESS), -(-width // scene.COARSENESS))
    camera, mesh = Camera(size_hw=coarse_hw, shift_yx=placed.camera.shift_yx), placed.mesh
    corners = placed.quads[~mesh.is_wheel][:, 0]
    light = scene.uneven_light(rng, coarse_hw, conditions.unevenness) * conditions.gain_rgb.astype(np.float32)
    light *= scene.car_shadow(corners, placed.tire_prints, conditions.light.key_xyz, camera)[..., None]
    mirror = scene.floor_reflection(placed.quads, placed.normals, mesh.bias_m, colors, conditions.reflection, camera)
    added = mirror[..., :3] * light
    light *= 1.0 - mirror[..., 3:] / np.float32(255)
    margin = scene.margin_px(size_hw)
    top, left = margin - conditions.shift_yx[0], margin - conditions.shift_yx[1]
    picture = (
        cv2.resize(light, (width, height)) * scene.empty_studio(seed, size_hw)[top : top + height, left : left + width]
    )
    picture += cv2.resize(added, (width, height))
    return np.asarray(picture, dtype=np.float32)
