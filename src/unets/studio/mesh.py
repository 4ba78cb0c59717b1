"""The mesh: a car as small faces, each of a material.

Faces are small (3 to 8 cm) because they are shaded flat and sorted by their centers; both are then exact enough for the
eye. What lies on another face (a window on the cabin) carries a `bias_m`: meters it is sorted nearer to the lens.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unets.studio.cars import PAINTS, Body, Car, build_cabin, build_hull
from unets.studio.shells import Floats, Range, Shell, patch, quads_of_grid, skin

_DETAIL_BIAS_M = 0.06  # more than half a face, less than anything that could stand before it
_CABIN_BIAS_M = 0.16  # the cabin stands in the hull; where both meet it wins, and its foot is one clean line
_MIRROR_BIAS_M = 0.30  # above the window frame it is fixed to
_LIFT_M = 0.003  # of each layer of details above the one below
_TIRE_WIDTH_M = 0.215
_RIM_SHARE = 0.68  # of the wheel's radius
_NUM_AROUND = 44  # faces around a wheel; fewer show as corners in an image of full size


@dataclass(frozen=True, slots=True)
class Material:
    """How a face answers light."""

    rgb: tuple[int, int, int]  # sRGB 0..255, in the studio's white light
    gloss: float = 0.0  # mirror reflectance seen straight on; it rises to 1 at grazing angles
    scale: float = 1.0  # damps the mirror, 0 for a matt face
    metal: float = 0.0  # share of the color that comes by mirror reflection instead of diffusely
    is_smooth: bool = False  # the image shows no facets of it
    is_wheel: bool = False


_MATERIALS: dict[str, Material] = {
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


class _Layer(NamedTuple):
    """Some faces of one material."""

    material: str
    quads: Floats
    bias_m: float = 0.0  # how much nearer to the lens they are sorted


@dataclass(frozen=True, kw_only=True, slots=True)
class Mesh:
    """The faces of one car, in its own frame."""

    quads: Floats  # (num_faces, 4, 3), meters
    normals: Floats  # (num_faces, 3), unit, outwards
    material_index: NDArray[np.intp]  # (num_faces,), into `materials`
    bias_m: Floats  # (num_faces,)
    materials: tuple[Material, ...]
    tire_prints: Floats  # (4, 4, 3): the patches of floor under the tires

    @property
    def smooth_groups(self) -> list[NDArray[np.bool_]]:
        """The faces of each curved material, bool (num_faces,): shading that runs on from face to face."""
        return [self.material_index == index for index, material in enumerate(self.materials) if material.is_smooth]

    @property
    def is_wheel(self) -> NDArray[np.bool_]:
        """Which faces are the wheels', bool (num_faces,)."""
        return np.array([material.is_wheel for material in self.materials])[self.material_index]


# A car's 16 images follow one another, so one car is enough to remember; two cost nothing.
@lru_cache(maxsize=2)
def build_mesh(car: Car) -> Mesh:
    """Returns the mesh of a car."""
    rim = (car.rim_level, car.rim_level, car.rim_level + 4)
    materials = {
        **_MATERIALS,
        "paint": Material(car.paint_rgb, gloss=0.05, scale=0.8, metal=0.45 * PAINTS[car.paint][2], is_smooth=True),
        "rim": Material(rim, gloss=0.10, scale=0.5, metal=0.4, is_wheel=True),
    }
    body, hull, cabin = car.body, build_hull(car.body), build_cabin(car.body)
    layers = [
        _Layer("paint", skin(hull, num_around=220, num_up=18, num_edge=12, num_over=28)),
        _Layer("paint", skin(cabin, num_around=180, num_up=14, num_edge=12, num_over=16), _CABIN_BIAS_M),
        *_windows(body, cabin),
        *_ends(body, hull),
        *_sides(body, hull),
        *_mirrors(body, cabin),
        *(layer for x in body.axles_x for side in (-1.0, 1.0) for layer in _wheel(car, hull, x, side)),
    ]
    counts, names = [len(layer.quads) for layer in layers], list(materials)
    quads = np.concatenate([layer.quads for layer in layers])
    normals = np.cross(quads[:, 2] - quads[:, 0], quads[:, 3] - quads[:, 1])
    sizes = np.linalg.norm(normals, axis=1)
    solid = sizes > 1e-9  # the ends of a shell's top close in faces without an area
    corners = np.array([(-0.16, -0.11, 0.0), (0.16, -0.11, 0.0), (0.16, 0.11, 0.0), (-0.16, 0.11, 0.0)])
    y = body.width / 2 - 0.13
    return Mesh(
        quads=quads[solid],
        normals=normals[solid] / sizes[solid, None],
        material_index=np.repeat([names.index(layer.material) for layer in layers], counts)[solid],
        bias_m=np.repeat([layer.bias_m for layer in layers], counts)[solid],
        materials=tuple(materials.values()),
        tire_prints=np.stack([corners + np.array([x, side * y, 0.0]) for x in body.axles_x for side in (-1, 1)]),
    )


def _detail(
    material: str, shell: Shell, us: Range, vs: Range, *, above: int = 1, bias_m: float = 0.0, **form: Any
) -> _Layer:
    """Returns a patch `above` layers above the skin."""
    quads = patch(shell, us, vs, lift_m=_LIFT_M * above, **form)
    return _Layer(material, quads, _DETAIL_BIAS_M * above + bias_m)


def _both_sides(material: str, shell: Shell, us: Range, vs: Range, **form: Any) -> Iterator[_Layer]:
    """Yields a patch on the left side and its mirror image on the right."""
    yield _detail(material, shell, us, vs, **form)
    yield _detail(material, shell, (1 - us[1], 1 - us[0]), vs, **form)


def _windows(body: Body, cabin: Shell) -> Iterator[_Layer]:
    """Yields windshield, rear window and side windows, each in a frame."""
    low, high = cabin.v_at_h(0.08), cabin.v_at_h(0.80)
    front_u, rear_u = cabin.u_at_y(0.81, at_rear=False), cabin.u_at_y(0.78, at_rear=True)
    # A hatch's window begins higher than a sedan's, above the number plate's door.
    rear_low = cabin.v_at_h(0.30 if body.has_tall_tail else 0.12)
    for (u_low, u_high), v_low in (((-front_u, front_u), low), ((rear_u, 1 - rear_u), rear_low)):
        for material, above, margin_u, margin_v in (("trim", 1, 0.008, 0.025), ("glass", 2, 0.0, 0.0)):
            us, vs = (u_low - margin_u, u_high + margin_u), (v_low - margin_v, high + margin_v)
            quads = patch(cabin, us, vs, counts=(36, 14), roundness=14, lift_m=_LIFT_M)
            yield _Layer(material, quads, _DETAIL_BIAS_M * above + _CABIN_BIAS_M)
    foot_front, foot_rear = body.cabin_x
    borders = [cabin.u_at_x(foot_front + share * (foot_rear - foot_front), 0.05) for share in body.pillars]
    low, frame_u = cabin.v_at_h(0.13), (borders[0] - 0.008, borders[-1] + 0.008)
    both_sides = partial(_both_sides, shell=cabin, roundness=12, bias_m=_CABIN_BIAS_M)
    yield from both_sides("trim", us=frame_u, vs=(low - 0.02, high + 0.03), counts=(40, 10))
    for ends in zip(borders[::2], borders[1::2], strict=True):
        yield from both_sides("glass", us=ends, vs=(low, high), counts=(18, 10), above=2)


def _ends(body: Body, hull: Shell) -> Iterator[_Layer]:
    """Yields grilles, lamps, bumpers and number plates."""
    v = hull.v_at_h

    def across(material: str, middle: float, reach: float, low: float, high: float, above: int = 1) -> _Layer:
        return _detail(material, hull, (middle - reach, middle + reach), (v(low), v(high)), counts=(20, 4), above=above)

    corner = hull.u_at_x(body.length / 2 - 0.38, 0.7)  # where the front turns into the side
    yield across("grille", 0.0, corner * 0.52, 0.50, 0.70)
    yield across("chrome", 0.0, corner * 0.53, 0.70, 0.725, above=2)
    yield across("grille", 0.0, corner * 0.70, 0.06, 0.24)
    yield across("plate", 0.0, 0.016, 0.31, 0.43, above=4)
    lamp, bulb = (corner * 0.62, corner * 1.12), (corner * 0.70, corner * 0.88)
    yield from _both_sides("headlamp", hull, lamp, (v(0.56), v(0.76)), counts=(12, 6), roundness=4)
    yield from _both_sides("lens", hull, bulb, (v(0.59), v(0.72)), roundness=2, above=2)
    inward = 0.5 - hull.u_at_x(-body.length / 2 + 0.30, 0.7)
    outer, inner, low, high = (0.98, 0.72, 0.50, 0.93) if body.has_tall_tail else (1.08, 0.52, 0.60, 0.82)
    ends = (0.5 - inward * outer, 0.5 - inward * inner)
    yield from _both_sides("tail_lamp", hull, ends, (v(low), v(high)), counts=(10, 8), roundness=5)
    yield across("trim", 0.5, inward * 0.9, 0.03, 0.17)
    yield across("plate", 0.5, 0.016, *((0.44, 0.56) if body.has_tall_tail else (0.58, 0.70)), above=4)
    yield across("gap", 0.5, inward * 0.85, 0.33, 0.345)


def _sides(body: Body, hull: Shell) -> Iterator[_Layer]:
    """Yields the lines between doors, their handles, and the sills."""
    v, (foot_front, foot_rear), axle_x = hull.v_at_h, body.cabin_x, body.axles_x
    doors = [foot_front + share * (foot_rear - foot_front) for share in (0.06, *body.pillars[1:-1:2], 0.78)]
    doors[-1] = max(doors[-1], axle_x[1] + 0.35)
    if len(doors) > 2 and doors[-2] - doors[-1] < 0.4:
        doors.pop(-2)
    for x in doors:
        u = hull.u_at_x(x, 0.5)
        yield from _both_sides("gap", hull, (u - 0.0005, u + 0.0005), (v(0.10), 0.97), counts=(1, 14), roundness=40)
    for x in doors[1:]:
        u = hull.u_at_x(x + 0.17, 0.7)
        yield from _both_sides("chrome", hull, (u - 0.007, u + 0.007), (v(0.73), v(0.76)), counts=(4, 2), above=3)
    sill = (hull.u_at_x(axle_x[0] - 0.35, 0.1), hull.u_at_x(axle_x[1] + 0.35, 0.1))
    yield from _both_sides("trim", hull, sill, (0.0, v(0.06)), counts=(40, 3), roundness=40)


def _mirrors(body: Body, cabin: Shell) -> Iterator[_Layer]:
    x = body.cabin_x[0] - 0.50
    y, z = body.width / 2 - 0.01, float(cabin.bottom(x)) + 0.16
    around, up = np.meshgrid(np.linspace(0, 2 * np.pi, 25), np.linspace(-np.pi / 2, np.pi / 2, 13), indexing="ij")
    ball = np.stack([np.cos(up) * np.cos(around), np.cos(up) * np.sin(around), np.sin(up)], axis=-1)
    bulb = np.sign(ball) * np.abs(ball) ** 0.7  # swollen halfway towards a box
    for side in (-1.0, 1.0):
        for material, radii, center in (
            ("trim", (0.05, 0.08, 0.035), (x, side * (y - 0.10), z - 0.06)),
            ("paint", (0.07, 0.115, 0.075), (x, side * y, z)),
            ("glass", (0.045, 0.095, 0.058), (x - 0.035, side * y, z)),
        ):
            yield _Layer(material, quads_of_grid(bulb * np.array(radii) + np.array(center)), _MIRROR_BIAS_M)


def _wheel(car: Car, hull: Shell, axle_x: float, side: float) -> Iterator[_Layer]:
    """Yields tire, rim and spokes, and the dark opening in the body's side, cut off where the body ends."""
    radius = car.body.wheel_radius
    face_y = float(hull.side_y(np.array(axle_x), np.array(radius * 1.3))) - 0.012

    def face(material: str, x: Floats, y: Floats, z: Floats, bias_m: float) -> _Layer:
        quads = quads_of_grid(np.stack([axle_x + x, side * y, z], axis=-1))
        return _Layer(material, quads[:, ::-1] if side < 0 else quads, bias_m)

    def ring(material: str, profile: list[Range], bias_m: float) -> _Layer:
        # (share of the radius, meters inwards), from the hub outwards and around the tread
        shares, depths = (np.array(column) for column in zip(*profile, strict=True))
        angle = np.linspace(0, 2 * np.pi, _NUM_AROUND + 1)[:, None]
        y = (face_y - depths) * np.ones_like(angle)
        return face(material, radius * shares * np.cos(angle), y, radius * (1 + shares * np.sin(angle)), bias_m)

    angle, reach = np.meshgrid(np.linspace(0, 2 * np.pi, 49), radius * np.linspace(0, 1.13, 8), indexing="ij")
    x = reach * np.cos(angle)
    z = np.maximum(radius + reach * np.sin(angle), hull.bottom(axle_x + x))
    yield face("well", x, hull.side_y(axle_x + x, z) + 0.004, z, 0.10)
    inner, rim = _TIRE_WIDTH_M, _RIM_SHARE
    tread = [(0.96, 0.012), (0.99, 0.035), (1.0, 0.06), (1.0, inner - 0.05), (0.96, inner), (0.01, inner)]
    yield ring("tire", tread, 0)
    yield ring("tire", [(rim, 0.012), (0.76, 0.0), (0.86, 0.0), (0.93, 0.004), (0.97, 0.015)], 0.25)
    yield ring("rim_dark", [(0.01, 0.05), (0.5, 0.05), (rim, 0.03), (rim + 0.005, 0.01)], 0.27)
    yield ring("rim", [(rim - 0.05, 0.012), (rim, 0.004), (rim + 0.012, 0.006)], 0.32)
    yield ring("rim", [(0.01, 0.015), (0.08, 0.018), (0.17, 0.03)], 0.33)
    reach_m = radius * np.linspace(0.10, rim - 0.02, 5)
    half_m = radius * np.linspace(0.085, 0.062, 5) * (6.5 / (car.num_spokes + 1.5)) * np.array([[-1], [1]])
    for turn in np.arange(car.num_spokes) * 2 * np.pi / car.num_spokes + 0.3:
        cos, sin = np.cos(turn), np.sin(turn)
        x, z = reach_m * cos - half_m * sin, reach_m * sin + half_m * cos
        yield face("rim", x, np.full_like(x, face_y - 0.018), radius + z, 0.30)
