"""One photo: a car on the turntable, photographed, with the mask of what it covers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from unets.studio import scene
from unets.studio.camera import Camera, turn
from unets.studio.cars import Car
from unets.studio.materials import Lighting, shade
from unets.studio.mesh import Mesh, build_mesh
from unets.studio.painter import Painting, colour_image, paint_faces, part_image
from unets.studio.shells import Floats
from unets.studio.wheels import tyre_prints

FULL_SIZE_HW = (1280, 1918)
SOFTNESS_SHARE = 0.004  # of the height: how far facets are shaded into each other
NOISE_TILE_HW = (331, 487)  # pixels; primes, so that its repeats fall on no grid of the JPEG's 8 x 8 blocks


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditions:
    """What differs between two photos of one studio, besides the car."""

    swing_deg: float  # the turntable stops a little off its mark
    offset_xy: tuple[float, float]  # the car stands a little off the middle, metres in its own frame
    shift_yx: tuple[int, int]  # the tripod was touched, pixels
    gain_rgb: tuple[float, float, float]  # exposure and white balance
    light: Lighting
    unevenness: float  # of the light over the picture, a share of it
    reflection: float  # of the car in the floor where it touches it, 0..1
    noise: float  # standard deviation, levels of 255


class View(NamedTuple):
    """The car as it stands before the camera, world coordinates."""

    quads: Floats
    normals: Floats
    tyre_prints: Floats
    camera: Camera
    painting: Painting


def render_photo(
    car: Car, view: int, seed: int, size_hw: tuple[int, int] = FULL_SIZE_HW, *, in_parts: bool = False
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Photographs a car.

    Args:
        car: from `build_car(seed, index)`.
        view: position of the turntable, 1 to 16.
        seed: of the studio. Equal arguments give equal bytes.
        size_hw: (height, width) in pixels; all lengths scale with the height.
        in_parts: whether the mask tells the car's parts.

    Returns:
        The image, uint8 RGB (H, W, 3), and its mask, uint8 (H, W) of {0, 1}, or the index into PARTS: a pixel is the
        car's by the same rule, and then the part's that owns most of it.
    """
    # The photo's stream first deals its conditions; the grain of the picture continues it.
    rng = np.random.default_rng([seed, car.index, view])
    conditions = _deal_conditions(car, seed, size_hw, rng)
    mesh = build_mesh(car)
    placed = _place(car, mesh, view, conditions, size_hw)
    colours = shade(
        mesh.materials,
        mesh.material_index,
        placed.quads.mean(axis=1),
        placed.normals,
        placed.camera.position,
        conditions.light,
    )
    picture = _backdrop(mesh, placed, colours, conditions, seed, rng)
    exposed = np.clip(np.rint(colours * np.array(conditions.gain_rgb)), 0, 255).astype(np.uint8)
    softness_px = round(SOFTNESS_SHARE * size_hw[0])
    opaque = np.concatenate([exposed, np.full_like(exposed[:, :1], 255)], axis=1)
    seen = colour_image(placed.painting, opaque, mesh.smooth_groups, softness_px)
    window = placed.painting.window
    picture[window] *= 1.0 - seen[..., 3:] / np.float32(255)
    picture[window] += seen[..., :3]
    picture += _grain(rng, size_hw, conditions.noise)
    image = np.clip(picture, 0.0, 255.0, out=picture).round(out=picture).astype(np.uint8)
    return image, _mask(placed.painting, mesh, size_hw, in_parts)


def render_mask(
    car: Car, view: int, seed: int, size_hw: tuple[int, int] = FULL_SIZE_HW, *, in_parts: bool = False
) -> NDArray[np.uint8]:
    """Returns the mask of `render_photo` alone, at a fraction of its cost: uint8 (H, W)."""
    conditions = _deal_conditions(car, seed, size_hw, np.random.default_rng([seed, car.index, view]))
    mesh = build_mesh(car)
    return _mask(_place(car, mesh, view, conditions, size_hw).painting, mesh, size_hw, in_parts)


def render_empty(seed: int, size_hw: tuple[int, int] = FULL_SIZE_HW) -> NDArray[np.uint8]:
    """Returns the studio's picture without a car and without noise, uint8 RGB (H, W, 3)."""
    margin = scene.margin_px(size_hw)
    studio = scene.empty_studio(seed, size_hw)[margin : margin + size_hw[0], margin : margin + size_hw[1]]
    return np.rint(np.clip(studio, 0, 255)).astype(np.uint8)


def _mask(painting: Painting, mesh: Mesh, size_hw: tuple[int, int], in_parts: bool) -> NDArray[np.uint8]:
    parts_hw = part_image(painting, mesh.part_index, size_hw)
    return parts_hw if in_parts else (parts_hw > 0).astype(np.uint8)


def _deal_conditions(car: Car, seed: int, size_hw: tuple[int, int], rng: np.random.Generator) -> Conditions:
    # A session photographs one car: its 16 photos share most of what the day brought.
    session = np.random.default_rng([seed, car.index, 0, 1])
    angle, height = session.uniform(0, 2 * np.pi), session.uniform(0.75, 0.92)
    flat = np.sqrt(1 - height**2)
    exposure = np.exp(session.normal(0, 0.03) + rng.normal(0, 0.015))
    balance = np.exp(session.normal(0, 0.008, size=3) + rng.normal(0, 0.004, size=3))
    red, green, blue = (float(gain) for gain in exposure * balance)
    margin = 0.8 * scene.MARGIN_SHARE * size_hw[0]
    shift = session.uniform(-margin, margin, size=2)
    offset = session.normal(0, 0.03, size=2)
    return Conditions(
        swing_deg=float(session.normal(0, 1.0) + rng.normal(0, 0.5)),
        offset_xy=(float(offset[0]), float(offset[1])),
        shift_yx=(round(float(shift[0])), round(float(shift[1]))),
        gain_rgb=(red, green, blue),
        light=Lighting(
            key_xyz=(float(flat * np.cos(angle)), float(flat * np.sin(angle)), float(height)),
            strips_x=float(session.uniform(1.2, 1.9)),
        ),
        unevenness=float(session.uniform(0.010, 0.025)),
        reflection=float(session.uniform(0.2, 0.4)),
        noise=float(session.uniform(1.3, 2.3)),
    )


def _place(car: Car, mesh: Mesh, view: int, conditions: Conditions, size_hw: tuple[int, int]) -> View:
    swing = conditions.swing_deg
    quads = turn(mesh.quads, view, swing_deg=swing, offset_xy=conditions.offset_xy)
    normals = turn(mesh.normals, view, swing_deg=swing)
    shift_y, shift_x = (shift / size_hw[0] for shift in conditions.shift_yx)
    camera = Camera(size_hw=size_hw, shift_yx=(shift_y, shift_x))
    prints = turn(tyre_prints(car), view, swing_deg=swing, offset_xy=conditions.offset_xy)
    return View(quads, normals, prints, camera, paint_faces(quads, normals, mesh.bias_m, camera))


def _backdrop(
    mesh: Mesh,
    placed: View,
    colours: NDArray[np.uint8],
    conditions: Conditions,
    seed: int,
    rng: np.random.Generator,
) -> scene.Picture:
    """Returns the studio with the car's shadow and reflection, but without the car."""
    height, width = size_hw = placed.camera.size_hw
    coarse_hw = (-(-height // scene.COARSENESS), -(-width // scene.COARSENESS))
    camera = Camera(size_hw=coarse_hw, shift_yx=placed.camera.shift_yx)
    is_body = mesh.part_index != 3
    corners = placed.quads[is_body][:, 0]
    light = scene.uneven_light(rng, coarse_hw, conditions.unevenness) * np.array(conditions.gain_rgb, np.float32)
    light *= scene.car_shadow(corners, placed.tyre_prints, conditions.light.key_xyz, camera)[..., None]
    mirror = scene.floor_reflection(placed.quads, placed.normals, mesh.bias_m, colours, conditions.reflection, camera)
    added = mirror[..., :3] * light
    light *= 1.0 - mirror[..., 3:] / np.float32(255)
    margin = scene.margin_px(size_hw)
    top, left = margin - conditions.shift_yx[0], margin - conditions.shift_yx[1]
    studio = scene.empty_studio(seed, size_hw)[top : top + height, left : left + width]
    picture: scene.Picture = np.asarray(
        cv2.resize(light, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32
    )
    picture *= studio
    picture += np.asarray(cv2.resize(added, (width, height), interpolation=cv2.INTER_LINEAR))
    return picture


def _grain(rng: np.random.Generator, size_hw: tuple[int, int], noise: float) -> scene.Picture:
    """Returns sensor noise (H, W, 3): one tile repeated, as seven million draws cost 0.1 s."""
    height, width = size_hw
    tile = rng.standard_normal((*NOISE_TILE_HW, 3), dtype=np.float32) * np.float32(noise)
    rows, columns = min(height, NOISE_TILE_HW[0]), min(width, NOISE_TILE_HW[1])
    return np.asarray(cv2.copyMakeBorder(tile[:rows, :columns], 0, height - rows, 0, width - columns, cv2.BORDER_WRAP))
