"""Wheels: tyre, rim and spokes, and the dark well that each stands in."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from unets.studio.cars import Car
from unets.studio.shells import Floats, Layer, Shell, quads_of_grid

TYRE_WIDTH_M = 0.215
RIM_SHARE = 0.68  # of the wheel's radius
NUM_AROUND = 44  # faces around a wheel; fewer show as corners in a photo of full size


def wheel_layers(car: Car, hull: Shell) -> Iterator[Layer]:
    """Yields the faces of a car's four wheels and their wells."""
    for axle_x in car.body.axles_x:
        for side in (-1.0, 1.0):
            yield from _well(car, hull, axle_x, side)
            yield from _wheel(car, hull, axle_x, side)


def _well(car: Car, hull: Shell, axle_x: float, side: float) -> Iterator[Layer]:
    """Yields the opening in the body's side: a dark disc laid on it, cut off where the body ends."""
    radius = car.body.wheel_radius * 1.11
    rings = [("well", 0.0, radius, 0.10, 0.004)]
    rings.append(
        ("trim", radius, radius + 0.055, 0.10, 0.012)
        if car.body.is_rugged
        else ("gap", radius, radius + 0.007, 0.08, 0.004)
    )
    for material, inner, outer, bias_m, lift in rings:
        angle, reach = np.meshgrid(np.linspace(0, 2 * np.pi, 49), np.linspace(inner, outer, 7), indexing="ij")
        x = axle_x + reach * np.cos(angle)
        z = np.maximum(car.body.wheel_radius + reach * np.sin(angle), hull.bottom(x))
        points = np.stack([x, side * (hull.side_y(x, z) + lift), z], axis=-1)
        quads = quads_of_grid(points)
        yield Layer(material, quads[:, ::-1] if side < 0 else quads, bias_m)


def _wheel(car: Car, hull: Shell, axle_x: float, side: float) -> Iterator[Layer]:
    radius = car.body.wheel_radius
    centre = np.array([axle_x, 0.0, radius])
    face_y = float(hull.side_y(np.array([axle_x]), np.array([radius * 1.3]))[0]) - 0.012

    def ring(material: str, profile: list[tuple[float, float]], bias_m: float) -> Layer:
        # (share of the radius, metres inwards), from the hub outwards and around the tread
        shares, depths = (np.array(column) for column in zip(*profile, strict=True))
        angle = np.linspace(0, 2 * np.pi, NUM_AROUND + 1)[:, None]
        y = side * (face_y - depths) * np.ones_like(angle)
        points = np.stack([radius * shares * np.cos(angle), y, radius * shares * np.sin(angle)], axis=-1) + centre
        quads = quads_of_grid(points)
        return Layer(material, quads[:, ::-1] if side < 0 else quads, bias_m)

    inner = TYRE_WIDTH_M
    yield ring(
        "tyre",
        [(0.96, 0.012), (0.99, 0.035), (1.0, 0.06), (1.0, inner - 0.05), (0.96, inner), (0.01, inner)],
        0,
    )
    yield ring("tyre", [(RIM_SHARE, 0.012), (0.76, 0.0), (0.86, 0.0), (0.93, 0.004), (0.97, 0.015)], 0.25)
    yield ring(
        "rim_dark",
        [(0.01, 0.05), (0.3, 0.05), (0.5, 0.05), (RIM_SHARE, 0.03), (RIM_SHARE + 0.005, 0.01)],
        0.27,
    )
    yield ring("rim", [(RIM_SHARE - 0.05, 0.012), (RIM_SHARE, 0.004), (RIM_SHARE + 0.012, 0.006)], 0.32)
    yield ring("rim", [(0.01, 0.015), (0.08, 0.018), (0.17, 0.03)], 0.33)
    yield Layer("rim", _spokes(car.num_spokes, radius, face_y, side) + centre, 0.30)


def tyre_prints(car: Car) -> Floats:
    """Returns the patches of floor under the tyres, (4, 4, 3), metres in the car's frame."""
    corners = np.array([(-0.16, -0.11, 0.0), (0.16, -0.11, 0.0), (0.16, 0.11, 0.0), (-0.16, 0.11, 0.0)])
    y = car.body.width / 2 - 0.13
    return np.stack([corners + np.array([x, side * y, 0.0]) for x in car.body.axles_x for side in (-1, 1)])


def _spokes(count: int, radius: float, face_y: float, side: float) -> Floats:
    reach = np.linspace(0.10, RIM_SHARE - 0.02, 5)
    half = np.linspace(0.085, 0.062, 5) * (6.5 / (count + 1.5))
    spokes = []
    for turn in np.arange(count) * 2 * np.pi / count + 0.3:
        ahead, aside = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
        rims = [reach[:, None] * ahead + sign * half[:, None] * aside for sign in (-1, 1)]
        y = np.full(5, side * (face_y - 0.018))
        points = np.stack([np.stack([radius * rim[:, 0], y, radius * rim[:, 1]], axis=-1) for rim in rims])
        quads = quads_of_grid(points)
        spokes.append(quads[:, ::-1] if side < 0 else quads)
    return np.concatenate(spokes)
