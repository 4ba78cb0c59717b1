"""A shell: the smooth closed surface that half a car body is made of, and the patches that lie on it.

At each height the plan of a shell is a superellipse between a front, a rear and two sides; its upper edge is rounded
into a crowned top. Two numbers name a point on it: `u` runs once around the plan by arc length (0 front, 0.5 rear, left
side between them) and `v` up the side (0..1) and over the top (1..2).

Lengths are meters in the car's frame: x forward, y left, z up. A *quad* is 4 corners, seen anti-clockwise from outside:
float64 (num_faces, 4, 3).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Range = tuple[float, float]

_EDGE_START_V = 0.7  # the upper edge's rounding takes the rest of the way up the side
_OUTLINE_SAMPLES = 400  # points a quarter of a plan outline is tabulated at; the error is below a millimeter


@dataclass(frozen=True, slots=True)
class Curve:
    """A polyline through control points, its corners rounded by a moving average."""

    at: tuple[float, ...]  # where the control points lie, rising
    values: tuple[float, ...]  # the curve's value at each
    softness: float = 0.1  # half width of the moving average, in the unit of `at`

    def __call__(self, where: Floats | float) -> Floats:
        """Returns the curve's values, in the shape of `where`."""
        places = np.asarray(where)[..., None] + np.linspace(-self.softness, self.softness, 9)
        return np.asarray(np.interp(places, self.at, self.values).mean(axis=-1))


@dataclass(frozen=True, kw_only=True, slots=True)
class Shell:
    """The shape of one shell; heights h are fractions of the way from its bottom (0) to its top (1)."""

    front: Curve  # x of the foremost point, over h
    rear: Curve  # x of the rearmost point, over h
    half_width: Curve  # half the width, over h
    bottom: Curve  # z of the lower rim, over x
    top: Curve  # z of the upper edge, over x
    exponents: tuple[float, float]  # of the plan's superellipse, front and rear half: 2 is an ellipse, 8 nearly a box
    edge_h: float  # height fraction that the upper edge's rounding takes
    edge_m: float  # how far that rounding goes inwards
    crown_m: float  # how much higher the top is on the center line than at its sides

    def point(self, u: Floats, v: Floats) -> Floats:
        """Returns the points (..., 3) at the surface coordinates `u` and `v`, which broadcast."""
        u, v = np.broadcast_arrays(np.mod(u, 1.0), v)
        table_u, table_along, table_across = self._outline()
        half_u = np.minimum(u, 1.0 - u)  # the right side is the left one mirrored
        along = np.interp(half_u, table_u, table_along)
        across = np.where(u <= 0.5, 1.0, -1.0) * np.interp(half_u, table_u, table_across)
        angle = np.clip((v - _EDGE_START_V) / (1.0 - _EDGE_START_V), 0.0, 1.0) * np.pi / 2
        h = np.minimum(v / _EDGE_START_V, 1.0) * (1.0 - self.edge_h) + self.edge_h * np.sin(angle)
        inset, over = self.edge_m * (1.0 - np.cos(angle)), np.clip(v - 1.0, 0.0, 1.0)
        front, rear = self.front(h), self.rear(h)
        x = (front + rear) / 2 + along * ((front - rear) / 2 - inset)
        y = across * (self.half_width(h) - inset) * (1.0 - over)
        z = self.bottom(x) + h * (self.top(x) - self.bottom(x))
        return np.stack([x, y, z + self.crown_m * across**2 * (1.0 - (1.0 - over) ** 2)], axis=-1)

    def u_at_x(self, x: float, h: float) -> float:
        """Returns the left side's `u` that lies at `x` meters, height fraction `h`; 1 - u is the right's."""
        front, rear = float(self.front(h)), float(self.rear(h))
        along = np.clip((x - (front + rear) / 2) / ((front - rear) / 2), -1.0, 1.0)
        table_u, table_along, _ = self._outline()
        return float(np.interp(-along, -table_along, table_u))

    def u_at_y(self, share: float, *, at_rear: bool) -> float:
        """Returns the `u` of the front or rear end, left, that lies at `share` (0..1) of the half width."""
        table_u, _, table_across = self._outline()
        widest = int(np.argmax(table_across))
        if at_rear:
            return float(np.interp(-share, -table_across[widest:], table_u[widest:]))
        return float(np.interp(share, table_across[: widest + 1], table_u[: widest + 1]))

    def v_at_h(self, h: float) -> float:
        """Returns the `v` on the side (below the rounded edge) at the height fraction `h`."""
        return h / (1.0 - self.edge_h) * _EDGE_START_V

    def side_y(self, x: Floats, z: Floats) -> Floats:
        """Returns the surface's distance from the center plane, meters, at points (x, z) of the side view."""
        h = np.clip((z - self.bottom(x)) / (self.top(x) - self.bottom(x)), 0.0, 1.0)
        rise = np.clip((h - 1.0 + self.edge_h) / self.edge_h, 0.0, 1.0)
        inset = self.edge_m * (1.0 - np.sqrt(1.0 - rise**2))
        front, rear = self.front(h), self.rear(h)
        along = np.clip((x - (front + rear) / 2) / ((front - rear) / 2 - inset), -1.0, 1.0)
        exponent = np.where(along > 0, *self.exponents)
        return np.asarray((1.0 - np.abs(along) ** exponent) ** (1.0 / exponent) * (self.half_width(h) - inset))

    def _outline(self) -> tuple[Floats, Floats, Floats]:
        length, width = (float(self.front(0.5)) - float(self.rear(0.5))) / 2, float(self.half_width(0.5))
        return _tabulate_outline(self.exponents, length / width)


@lru_cache(maxsize=64)
def _tabulate_outline(exponents: tuple[float, float], aspect: float) -> tuple[Floats, Floats, Floats]:
    """Returns (u, along, across) by arc length of half a superellipse, `aspect` times as long as wide."""
    steps = np.linspace(0.0, 1.0, _OUTLINE_SAMPLES)
    halves = []
    for exponent in exponents:
        # Either coordinate alone leaves one end of the quarter thinly sampled; their union is dense.
        along = np.sort(np.concatenate([steps, (1.0 - steps**exponent) ** (1.0 / exponent)]))
        halves.append((along, (1.0 - along**exponent) ** (1.0 / exponent)))
    (front_along, front_across), (rear_along, rear_across) = halves
    along = np.concatenate([front_along[::-1], -rear_along])
    across = np.concatenate([front_across[::-1], rear_across])
    arc = np.concatenate([[0.0], np.cumsum(np.hypot(aspect * np.diff(along), np.diff(across)))])
    return arc / arc[-1] / 2, along, across


def skin(shell: Shell, *, num_around: int, num_up: int, num_edge: int, num_over: int) -> Floats:
    """Returns the quads of a whole shell but its open underside: faces around it, up its side, edge and top."""
    up = np.linspace(0.0, _EDGE_START_V, num_up + 1)
    edge, over = np.linspace(_EDGE_START_V, 1.0, num_edge + 1)[1:], np.linspace(1.0, 2.0, num_over + 1)[1:]
    around = np.linspace(0.0, 1.0, num_around + 1)[:, None]
    return quads_of_grid(shell.point(around, np.concatenate([up, edge, over])[None, :]))


def patch(
    shell: Shell, us: Range, vs: Range, *, counts: tuple[int, int] = (10, 6), roundness: float = 8.0, lift_m: float
) -> Floats:
    """Returns the quads of a round-cornered patch on a shell, `lift_m` above it: a window, a lamp, a grille.

    `roundness` is the exponent of the superellipse that bounds it: 2 round, large square.
    """
    a, b = np.meshgrid(np.linspace(-1, 1, counts[0] + 1), np.linspace(-1, 1, counts[1] + 1), indexing="ij")
    reach = np.maximum(np.maximum(np.abs(a), np.abs(b)), 1e-9)
    shrink = reach / (np.abs(a) ** roundness + np.abs(b) ** roundness + 1e-30) ** (1.0 / roundness)
    u = (us[0] + us[1]) / 2 + a * shrink * (us[1] - us[0]) / 2
    points = shell.point(u, (vs[0] + vs[1]) / 2 + b * shrink * (vs[1] - vs[0]) / 2)
    normals = np.cross(np.gradient(points, axis=0), np.gradient(points, axis=1))
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
    return quads_of_grid(points + lift_m * normals)


def quads_of_grid(points: Floats) -> Floats:
    """Returns the quads between the neighbors of a grid of points (rows, columns, 3)."""
    corners = [points[:-1, :-1], points[1:, :-1], points[1:, 1:], points[:-1, 1:]]
    return np.stack(corners, axis=2).reshape(-1, 4, 3)
