"""One image: a car on the turntable, photographed, with the mask of what it covers."""

import cv2
import numpy as np

from unets.data.image import ImageU8
from unets.studio import scene
from unets.studio.camera import Camera, car_mask, color_image, paint_faces, turn
from unets.studio.cars import Car
from unets.studio.mesh import build_mesh

_SOFTNESS_SHARE = 0.004  # of the height: how far facets are shaded into each other
_NOISE_TILE_HW = (331, 487)  # pixels; primes, so that its repeats fall on no grid of the JPEG's 8 x 8 blocks


def render_image(car: Car, view: int, seed: int, size_hw: tuple[int, int]) -> tuple[ImageU8, ImageU8]:
    """Photographs a car, of `build_car(seed, index)`, at a position of the turntable, `view` 1 to 16.

    All lengths scale with the height of `size_hw`. Equal arguments give equal bytes. Returns the image, uint8 RGB
    (height, width, 3), and its mask, uint8 (height, width) of {0, 1}.
    """
    shot = _Shot(car, view, seed, size_hw)
    colors = scene.shade(shot.mesh, shot.quads.mean(axis=1), shot.normals, shot.key_xyz, shot.strips_x)
    picture, window = _render_backdrop(shot, colors, seed), shot.painting.window
    exposed = np.clip(np.rint(colors * shot.gain_rgb), 0, 255).astype(np.uint8)
    softness_px = round(_SOFTNESS_SHARE * size_hw[0])
    seen = color_image(shot.painting, np.insert(exposed, 3, 255, axis=1), shot.mesh.smooth_groups, softness_px)
    picture[window] *= 1.0 - seen[..., 3:] / np.float32(255)
    picture[window] += seen[..., :3]
    # One tile of noise, repeated: seven million draws cost 0.1 s.
    tile = shot.rng.standard_normal((*_NOISE_TILE_HW, 3), dtype=np.float32) * np.float32(shot.noise)
    counts = (-(-side // tile_side) for side, tile_side in zip(size_hw, _NOISE_TILE_HW, strict=True))
    picture += np.tile(tile, (*counts, 1))[: size_hw[0], : size_hw[1]]
    image = np.clip(picture, 0.0, 255.0, out=picture).round(out=picture).astype(np.uint8)
    return image, car_mask(shot.painting, size_hw)


def render_mask(car: Car, view: int, seed: int, size_hw: tuple[int, int]) -> ImageU8:
    """Returns the mask of `render_image` alone, at a fraction of its cost: uint8 (height, width)."""
    return car_mask(_Shot(car, view, seed, size_hw).painting, size_hw)


class _Shot:
    """A car as it stands before the camera, in world coordinates, and what differs between two images of one studio."""

    def __init__(self, car: Car, view: int, seed: int, size_hw: tuple[int, int]) -> None:
        # The image's stream first gives its conditions; the light and the grain of the picture continue it.
        self.rng = rng = np.random.default_rng([seed, car.index, view])
        # A session photographs one car: its 16 images share most of what the day brought.
        session = np.random.default_rng([seed, car.index, 0, 1])
        angle, height = session.uniform(0, 2 * np.pi), session.uniform(0.75, 0.92)
        flat = np.sqrt(1 - height**2)
        self.key_xyz = np.array([flat * np.cos(angle), flat * np.sin(angle), height])
        exposure = np.exp(session.normal(0, 0.03) + rng.normal(0, 0.015))
        margin = 0.8 * scene.MARGIN_SHARE * size_hw[0]
        self.shift_yx = [round(shift) for shift in session.uniform(-margin, margin, size=2).tolist()]  # pixels
        offset_x, offset_y = session.normal(0, 0.03, size=2).tolist()  # the car stands a little off the middle
        swing = session.normal(0, 1.0) + rng.normal(0, 0.5)  # the turntable stops a little off its mark
        self.gain_rgb = exposure * np.exp(session.normal(0, 0.008, size=3) + rng.normal(0, 0.004, size=3))
        self.strips_x = session.uniform(1.2, 1.9)
        self.unevenness = session.uniform(0.010, 0.025)  # of the light over the picture, a share of it
        self.reflection = session.uniform(0.2, 0.4)  # of the car in the floor where it touches it
        self.noise = session.uniform(1.3, 2.3)  # standard deviation, levels of 255
        self.mesh = mesh = build_mesh(car)
        self.quads, self.tire_prints = (
            turn(points, view, swing_deg=swing, offset_xy=(offset_x, offset_y))
            for points in (mesh.quads, mesh.tire_prints)
        )
        self.normals = turn(mesh.normals, view, swing_deg=swing)
        self.camera = Camera(size_hw=size_hw, shift_yx=(self.shift_yx[0] / size_hw[0], self.shift_yx[1] / size_hw[0]))
        self.painting = paint_faces(self.quads, self.normals, mesh.bias_m, self.camera)


def _render_backdrop(shot: _Shot, colors: ImageU8, seed: int) -> scene.Picture:
    """Returns the studio with the car's shadow and reflection, but without the car."""
    height, width = size_hw = shot.camera.size_hw
    coarse_hw = (-(-height // scene.COARSENESS), -(-width // scene.COARSENESS))
    camera, mesh = Camera(size_hw=coarse_hw, shift_yx=shot.camera.shift_yx), shot.mesh
    light = scene.uneven_light(shot.rng, coarse_hw, shot.unevenness) * shot.gain_rgb.astype(np.float32)
    light *= scene.car_shadow(shot.quads[~mesh.is_wheel][:, 0], shot.tire_prints, shot.key_xyz, camera)[..., None]
    mirror = scene.floor_reflection(shot.quads, shot.normals, mesh.bias_m, colors, shot.reflection, camera)
    added = mirror[..., :3] * light
    light *= 1.0 - mirror[..., 3:] / np.float32(255)
    top, left = (scene.margin_px(size_hw) - shift for shift in shot.shift_yx)
    empty = scene.empty_studio(seed, size_hw)[top : top + height, left : left + width]
    picture = cv2.resize(light, (width, height)) * empty
    picture += cv2.resize(added, (width, height))
    return np.asarray(picture, dtype=np.float32)
