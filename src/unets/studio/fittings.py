"""Fittings: what stands out from the body: mirrors, roof rails, an aerial, a pick-up's bed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from unets.studio.cars import Car
from unets.studio.shells import Floats, Layer, Shell, quads_of_grid

MIRROR_BIAS_M = 0.30  # above the window frame it is fixed to
ON_TOP_BIAS_M = 0.06  # for what lies on a roof or a bonnet


def fitting_layers(car: Car, hull: Shell, cabin: Shell) -> Iterator[Layer]:
    """Yields the faces of a car's fittings."""
    body = car.body
    mirror_x = body.cabin_x[0] - 0.50
    mirror_y, mirror_z = body.width / 2 - 0.01, float(cabin.bottom(np.array([mirror_x]))[0]) + 0.16
    for side in (-1.0, 1.0):
        yield Layer(
            "trim",
            _bulb((mirror_x, side * (mirror_y - 0.10), mirror_z - 0.06), (0.05, 0.08, 0.035)),
            MIRROR_BIAS_M,
        )
        yield Layer("paint", _bulb((mirror_x, side * mirror_y, mirror_z), (0.07, 0.115, 0.075)), MIRROR_BIAS_M)
        yield Layer(
            "glass",
            _bulb((mirror_x - 0.035, side * mirror_y, mirror_z), (0.045, 0.095, 0.058)),
            MIRROR_BIAS_M,
        )
        if car.has_roof_rails:
            yield from _rail(car, cabin, side)
    if car.has_aerial:
        top = np.array([body.roof_x[1] - 0.30, 0.0, body.height + 0.28])
        foot = np.array([body.roof_x[1] + 0.02, 0.0, body.height - 0.06])
        yield Layer("gap", _rod(np.stack([foot, top]), 0.007), ON_TOP_BIAS_M)
    if body.has_bed:
        yield from _bed(car, hull)


def _rail(car: Car, cabin: Shell, side: float) -> Iterator[Layer]:
    x = np.linspace(car.body.roof_x[0] - 0.15, car.body.roof_x[1] + 0.05, 24)
    y = side * (cabin.half_width(np.array([0.95])) - 0.16) * np.ones_like(x)
    lift = 0.055 * np.clip(np.sin(np.linspace(0.0, np.pi, 24)) * 5, 0.0, 1.0)
    yield Layer("chrome", _rod(np.stack([x, y, cabin.top(x) + 0.005 + lift], axis=1), 0.016), ON_TOP_BIAS_M)


def _bed(car: Car, hull: Shell) -> Iterator[Layer]:
    """Yields the pick-up's open bed, as the dark floor that a lens at eye's height sees between its walls."""
    x = np.linspace(-car.body.length / 2 + 0.24, car.body.cabin_x[1] - 0.10, 16)[::-1]
    across, half = np.linspace(-1, 1, 11), car.body.width / 2 - 0.26
    grid_x, grid_across = np.meshgrid(x, across, indexing="ij")
    z = hull.top(grid_x) + hull.crown_m * (1 - 0.85 * grid_across**2)
    points = np.stack([grid_x, grid_across * half, z], axis=-1)
    yield Layer("bed", quads_of_grid(points)[:, ::-1], 2 * ON_TOP_BIAS_M)


def _bulb(centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Floats:
    """Returns the quads of an ellipsoid swollen halfway towards its bounding box."""
    around, up = np.meshgrid(np.linspace(0, 2 * np.pi, 25), np.linspace(-np.pi / 2, np.pi / 2, 13), indexing="ij")
    unit = np.stack([np.cos(up) * np.cos(around), np.cos(up) * np.sin(around), np.sin(up)], axis=-1)
    unit = np.sign(unit) * np.abs(unit) ** 0.7
    return quads_of_grid(unit * np.array(radii) + np.array(centre))


def _rod(path: Floats, radius: float) -> Floats:
    """Returns the quads of a thin rod along a path (n, 3) that keeps more or less to one y."""
    angle = np.linspace(0, 2 * np.pi, 7)[:, None, None]
    ahead = np.gradient(path, axis=0)
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    sideways = np.array([0.0, 1.0, 0.0])
    upwards = np.cross(ahead, sideways)
    return quads_of_grid(path + radius * (np.cos(angle) * sideways + np.sin(angle) * upwards))
