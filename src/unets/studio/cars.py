"""Cars: which body, which paint, which rims, all drawn from (seed, car index) alone."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from unets.studio.shells import Curve, Range, Shell

# (sRGB 0..255, share in the fleet, metal flake 0..1). White and silver are the wall's own colors.
PAINTS: dict[str, tuple[tuple[int, int, int], float, float]] = {
    "white": ((236, 236, 233), 0.24, 0.0),
    "silver": ((186, 189, 192), 0.18, 0.8),
    "gray": ((104, 108, 113), 0.12, 0.7),
    "black": ((22, 22, 25), 0.16, 0.2),
    "red": ((168, 22, 28), 0.10, 0.2),
    "blue": ((30, 62, 134), 0.10, 0.5),
    "green": ((32, 78, 58), 0.03, 0.5),
    "beige": ((187, 174, 150), 0.04, 0.6),
    "orange": ((206, 92, 24), 0.03, 0.2),
}
_CABIN_SUNK_M = 0.015  # how deep the cabin stands in the hull, so that no floor shows between them
_NOSE_SLOPE_M = 0.16  # how far the hood's edge stands behind the bumper
_ROOF_NARROWING_M = 0.44  # width lost between belt and roof, both sides together


@dataclass(frozen=True, slots=True)
class Body:
    """The measures of a car body, in meters; x counts forward from the middle of the car's length."""

    length: float
    width: float
    height: float  # to the roof's highest point
    clearance: float  # height of the sill
    wheel_radius: float
    axles_x: Range  # front, rear
    cabin_x: Range  # foot of the windshield, foot of the rear window
    roof_x: Range  # where the roof begins behind the windshield, where it ends
    deck_x: tuple[float, ...]  # of hood, belt and trunk, from the rear forward
    deck_z: tuple[float, ...]  # their heights
    pillars: tuple[float, ...]  # side windows' borders, as fractions of the cabin from its front
    has_tall_tail: bool  # a hatch from roof to bumper


# fmt: off
BODIES = {
    "sedan": Body(
        4.80, 1.84, 1.46, 0.21, 0.335, (1.47, -1.36), (1.12, -1.90), (0.30, -1.05),
        (-2.40, -1.9, -0.5, 1.05, 1.7, 2.40), (0.99, 1.04, 0.97, 0.95, 0.89, 0.74),
        (0.13, 0.46, 0.52, 0.83), has_tall_tail=False,
    ),
    "hatchback": Body(
        4.15, 1.77, 1.49, 0.21, 0.335, (1.25, -1.33), (1.08, -1.99), (0.28, -1.45),
        (-2.08, -0.5, 1.0, 1.5, 2.08), (1.04, 0.99, 0.98, 0.90, 0.73),
        (0.13, 0.46, 0.52, 0.83), has_tall_tail=True,
    ),
    "wagon": Body(
        4.80, 1.84, 1.48, 0.21, 0.335, (1.47, -1.36), (1.12, -2.33), (0.30, -1.92),
        (-2.41, -0.5, 1.05, 1.7, 2.41), (1.02, 0.98, 0.95, 0.89, 0.74),
        (0.11, 0.38, 0.42, 0.64, 0.68, 0.90), has_tall_tail=True,
    ),
    "suv": Body(
        4.72, 1.93, 1.76, 0.29, 0.385, (1.42, -1.36), (1.20, -2.28), (0.48, -1.86),
        (-2.36, -0.5, 1.15, 1.8, 2.36), (1.18, 1.15, 1.13, 1.06, 0.90),
        (0.12, 0.41, 0.46, 0.69, 0.74, 0.92), has_tall_tail=True,
    ),
    "coupe": Body(
        4.45, 1.86, 1.31, 0.17, 0.345, (1.36, -1.24), (0.86, -2.02), (0.00, -0.72),
        (-2.22, -1.6, -0.5, 0.8, 1.6, 2.22), (0.93, 0.95, 0.88, 0.86, 0.78, 0.58),
        (0.14, 0.55), has_tall_tail=False,
    ),
}
# fmt: on


@dataclass(frozen=True, kw_only=True, slots=True)
class Car:
    """One car of the competition; two equal cars look alike."""

    index: int  # position in the fleet; seeds the randomness of its images
    id: str  # 12 hexadecimal digits
    body: Body
    paint: str  # of PAINTS
    paint_rgb: tuple[int, int, int]  # sRGB 0..255, a little off the paint's own
    rim_level: int  # 0..255
    num_spokes: int


def build_car(seed: int, index: int) -> Car:
    """Returns the car at `index` of the fleet that `seed` names."""
    # View 0 is no image's: numpy pads seeds with zeros, so [seed, index] would be the same stream.
    rng = np.random.default_rng([seed, index, 0])
    id_ = "".join(f"{digit:x}" for digit in rng.integers(0, 16, size=12))
    paint = str(rng.choice(list(PAINTS), p=[share for _, share, _ in PAINTS.values()]))
    red, green, blue = (int(level) for level in np.clip(PAINTS[paint][0] + rng.integers(-8, 9, size=3), 8, 245))
    return Car(
        index=index,
        id=id_,
        # The kinds take turns, so that even a small fleet has them all.
        body=_vary(list(BODIES.values())[(index + seed) % len(BODIES)], rng),
        paint=paint,
        paint_rgb=(red, green, blue),
        rim_level=int(rng.choice([205, 180, 120, 40], p=[0.4, 0.3, 0.15, 0.15])),
        num_spokes=int(rng.integers(5, 11)),
    )


def _vary(body: Body, rng: np.random.Generator) -> Body:
    """Returns the body stretched a little, so that no two cars of a kind have one outline."""
    along, high = rng.uniform(0.96, 1.04, size=2)
    width, radius = rng.uniform(0.97, 1.03), rng.uniform(0.96, 1.05)
    lengths: dict[str, Any] = {
        name: tuple(x * along for x in getattr(body, name)) for name in ("axles_x", "roof_x", "cabin_x", "deck_x")
    }
    return replace(
        body,
        length=body.length * along,
        width=body.width * width,
        height=body.height * high,
        wheel_radius=body.wheel_radius * radius,
        deck_z=tuple(z * high for z in body.deck_z),
        **lengths,
    )


def build_hull(body: Body) -> Shell:
    """Returns the lower shell: bumpers, fenders, doors, hood and trunk lid."""
    nose, tail, half, rise = body.length / 2, -body.length / 2, body.width / 2, body.clearance
    slope, fall = _NOSE_SLOPE_M, 0.07 if body.has_tall_tail else 0.13
    return Shell(
        front=Curve((0.0, 0.2, 0.5, 0.8, 1.0), (nose - 0.10, nose, nose, nose - 0.45 * slope, nose - slope)),
        rear=Curve((0.0, 0.2, 0.45, 0.8, 1.0), (tail + 0.10, tail, tail, tail + 0.5 * fall, tail + fall)),
        half_width=Curve((0.0, 0.25, 0.62, 1.0), (half - 0.06, half - 0.015, half, half - 0.045)),
        bottom=Curve((tail, tail + 0.7, nose - 0.7, nose), (rise + 0.09, rise, rise, rise + 0.05)),
        top=Curve(body.deck_x, body.deck_z, softness=0.22),
        exponents=(3.7, 4.2),
        edge_h=0.17,
        edge_m=0.10,
        crown_m=0.05,
    )


def build_cabin(body: Body) -> Shell:
    """Returns the upper shell: windows, pillars and roof. Its foot is sunk a little into the hull."""
    (foot_front, foot_rear), half = body.cabin_x, body.width / 2 - 0.085
    front, rear = body.roof_x[0] + 0.22, body.roof_x[1] - 0.22  # the rounded edge takes these back
    narrow, heights = _ROOF_NARROWING_M, (body.height - 0.10, body.height - 0.035, body.height - 0.075)
    return Shell(
        front=Curve((0.0, 0.5, 1.0), (foot_front, 0.46 * foot_front + 0.54 * front, front)),
        rear=Curve((0.0, 0.5, 1.0), (foot_rear, 0.56 * foot_rear + 0.44 * rear, rear)),
        half_width=Curve((0.0, 0.4, 1.0), (half, half - 0.13 * narrow, half - 0.5 * narrow + 0.08)),
        bottom=Curve(body.deck_x, tuple(z - _CABIN_SUNK_M for z in body.deck_z), softness=0.22),
        top=Curve((rear, (front + rear) / 2 + 0.15, front), heights, softness=0.3),
        exponents=(3.4, 4.0),
        edge_h=0.20,
        edge_m=0.16,
        crown_m=0.035,
    )
