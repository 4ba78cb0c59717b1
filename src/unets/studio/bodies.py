"""Car bodies: the measures of each kind, and the two shells they make, hull and cabin."""

from __future__ import annotations

from dataclasses import dataclass

from unets.studio.shells import Curve, Shell

CABIN_SUNK_M = 0.015  # how deep the cabin stands in the hull, so that no floor shows between them


@dataclass(frozen=True, kw_only=True, slots=True)
class Body:
    """The measures of a car body, in metres; x counts forward from the middle of the car's length."""

    kind: str  # what it is called in metadata.csv
    length: float
    width: float
    height: float  # to the roof's highest point
    clearance: float  # height of the sill
    wheel_radius: float
    axles_x: tuple[float, float]  # front, rear
    deck: tuple[tuple[float, float], ...]  # (x, z) of bonnet, belt and boot, from the rear forward
    roof_x: tuple[float, float]  # where the roof begins behind the windscreen, where it ends
    cabin_x: tuple[float, float]  # foot of the windscreen, foot of the rear window
    roof_drop: float  # how much lower the roof's end is than its middle
    roof_narrowing: float  # width lost between belt and roof, both sides together
    pillars: tuple[float, ...]  # side windows' borders, as fractions of the cabin from its front
    nose_exponent: float  # roundness of the plan at the front, see Shell
    tail_exponent: float
    nose_slope: float  # how far the bonnet's edge stands behind the bumper
    tail_slope: float
    has_bed: bool = False
    has_tall_tail: bool = False  # a hatch from roof to bumper
    is_rugged: bool = False  # plastic wheel arches and sills


BODIES: dict[str, Body] = {
    "saloon": Body(
        kind="saloon",
        length=4.80,
        width=1.84,
        height=1.46,
        clearance=0.21,
        wheel_radius=0.335,
        axles_x=(1.47, -1.36),
        cabin_x=(1.12, -1.90),
        roof_x=(0.30, -1.05),
        roof_drop=0.05,
        roof_narrowing=0.44,
        deck=((-2.40, 0.99), (-1.9, 1.04), (-0.5, 0.97), (1.05, 0.95), (1.7, 0.89), (2.40, 0.74)),
        pillars=(0.13, 0.46, 0.52, 0.83),
        nose_exponent=3.7,
        tail_exponent=4.0,
        nose_slope=0.16,
        tail_slope=0.14,
    ),
    "hatchback": Body(
        kind="hatchback",
        length=4.15,
        width=1.77,
        height=1.49,
        clearance=0.20,
        wheel_radius=0.32,
        axles_x=(1.25, -1.33),
        cabin_x=(1.08, -1.99),
        roof_x=(0.28, -1.45),
        roof_drop=0.08,
        roof_narrowing=0.42,
        deck=((-2.08, 1.04), (-0.5, 0.99), (1.0, 0.98), (1.5, 0.90), (2.08, 0.73)),
        pillars=(0.13, 0.47, 0.53, 0.80),
        nose_exponent=3.3,
        tail_exponent=4.2,
        nose_slope=0.19,
        tail_slope=0.07,
        has_tall_tail=True,
    ),
    "estate": Body(
        kind="estate",
        length=4.82,
        width=1.84,
        height=1.48,
        clearance=0.20,
        wheel_radius=0.335,
        axles_x=(1.48, -1.36),
        cabin_x=(1.12, -2.33),
        roof_x=(0.30, -1.92),
        roof_drop=0.05,
        roof_narrowing=0.42,
        deck=((-2.41, 1.02), (-0.5, 0.98), (1.05, 0.95), (1.7, 0.89), (2.41, 0.74)),
        pillars=(0.11, 0.38, 0.42, 0.64, 0.68, 0.90),
        nose_exponent=3.7,
        tail_exponent=4.6,
        nose_slope=0.16,
        tail_slope=0.07,
        has_tall_tail=True,
    ),
    "suv": Body(
        kind="suv",
        length=4.72,
        width=1.93,
        height=1.76,
        clearance=0.29,
        wheel_radius=0.385,
        axles_x=(1.42, -1.36),
        cabin_x=(1.20, -2.28),
        roof_x=(0.48, -1.86),
        roof_drop=0.06,
        roof_narrowing=0.40,
        deck=((-2.36, 1.18), (-0.5, 1.15), (1.15, 1.13), (1.8, 1.06), (2.36, 0.90)),
        pillars=(0.12, 0.41, 0.46, 0.69, 0.74, 0.92),
        nose_exponent=3.8,
        tail_exponent=4.4,
        nose_slope=0.13,
        tail_slope=0.06,
        has_tall_tail=True,
        is_rugged=True,
    ),
    "pickup": Body(
        kind="pickup",
        length=5.06,
        width=1.95,
        height=1.83,
        clearance=0.34,
        wheel_radius=0.405,
        axles_x=(1.58, -1.50),
        cabin_x=(1.22, -0.95),
        roof_x=(0.50, -0.70),
        roof_drop=0.03,
        roof_narrowing=0.36,
        deck=((-2.53, 1.18), (-0.8, 1.18), (1.15, 1.18), (1.9, 1.12), (2.53, 1.02)),
        pillars=(0.19, 0.52, 0.59, 0.90),
        nose_exponent=5.5,
        tail_exponent=8.0,
        nose_slope=0.08,
        tail_slope=0.03,
        has_bed=True,
        is_rugged=True,
    ),
    "coupe": Body(
        kind="coupe",
        length=4.45,
        width=1.86,
        height=1.31,
        clearance=0.17,
        wheel_radius=0.345,
        axles_x=(1.36, -1.24),
        cabin_x=(0.86, -2.02),
        roof_x=(0.00, -0.72),
        roof_drop=0.04,
        roof_narrowing=0.52,
        deck=((-2.22, 0.93), (-1.6, 0.95), (-0.5, 0.88), (0.8, 0.86), (1.6, 0.78), (2.22, 0.58)),
        pillars=(0.14, 0.55),
        nose_exponent=3.7,
        tail_exponent=3.9,
        nose_slope=0.20,
        tail_slope=0.12,
    ),
}


def build_hull(body: Body) -> Shell:
    """Returns the lower shell: bumpers, wings, doors, bonnet and boot lid."""
    nose, tail, half = body.length / 2, -body.length / 2, body.width / 2
    rise = body.clearance
    slope, fall = body.nose_slope, body.tail_slope
    return Shell(
        front=Curve(
            at=(0.0, 0.2, 0.5, 0.8, 1.0),
            values=(nose - 0.10, nose, nose, nose - 0.45 * slope, nose - slope),
        ),
        rear=Curve(
            at=(0.0, 0.2, 0.45, 0.8, 1.0),
            values=(tail + 0.10, tail, tail, tail + 0.5 * fall, tail + fall),
        ),
        half_width=Curve(at=(0.0, 0.25, 0.62, 1.0), values=(half - 0.06, half - 0.015, half, half - 0.045)),
        bottom=Curve(
            at=(tail, tail + 0.7, nose - 0.7, nose),
            values=(rise + 0.09, rise, rise, rise + 0.05),
        ),
        top=Curve(at=tuple(x for x, _ in body.deck), values=tuple(z for _, z in body.deck), softness=0.22),
        front_exponent=body.nose_exponent,
        rear_exponent=body.tail_exponent,
        edge_h=0.17,
        edge_m=0.10,
        crown_m=0.05,
    )


def build_cabin(body: Body) -> Shell:
    """Returns the upper shell: windows, pillars and roof. Its foot is sunk a little into the hull."""
    foot_front, foot_rear = body.cabin_x
    roof_front, roof_rear = body.roof_x
    roof_front, roof_rear = roof_front + 0.22, roof_rear - 0.22  # the rounded edge takes these back
    half = body.width / 2 - 0.085
    deck_x, deck_z = tuple(x for x, _ in body.deck), tuple(z - CABIN_SUNK_M for _, z in body.deck)
    crown_x = (roof_front + roof_rear) / 2 + 0.15
    return Shell(
        front=Curve(at=(0.0, 0.5, 1.0), values=(foot_front, 0.46 * foot_front + 0.54 * roof_front, roof_front)),
        rear=Curve(at=(0.0, 0.5, 1.0), values=(foot_rear, 0.56 * foot_rear + 0.44 * roof_rear, roof_rear)),
        half_width=Curve(
            at=(0.0, 0.4, 1.0),
            values=(half, half - 0.13 * body.roof_narrowing, half - 0.5 * body.roof_narrowing + 0.08),
        ),
        bottom=Curve(at=deck_x, values=deck_z, softness=0.22),
        top=Curve(
            at=(roof_rear, crown_x, roof_front),
            values=(body.height - 0.05 - body.roof_drop, body.height - 0.035, body.height - 0.075),
            softness=0.3,
        ),
        front_exponent=3.4,
        rear_exponent=4.0 if not body.has_bed else 7.0,
        edge_h=0.20,
        edge_m=0.16,
        crown_m=0.035,
    )
