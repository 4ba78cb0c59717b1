"""Cars: which body, which paint, which fittings, all dealt from (seed, car index) alone."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from unets.studio.bodies import BODIES, Body

# Invented names, so that nothing here can be mistaken for a statement about a real car.
MAKES = ("Aldon", "Brivek", "Corvana", "Dastrel", "Elmira", "Fjord", "Galvani", "Hestia")
MODELS: dict[str, tuple[str, ...]] = {
    "saloon": ("Senator", "Quartet", "Meridian"),
    "hatchback": ("Pip", "Minnow", "Cricket"),
    "estate": ("Tourer", "Caravel", "Longfield"),
    "suv": ("Ridge", "Summit", "Moorland"),
    "pickup": ("Drover", "Haul 250", "Foreman"),
    "coupe": ("Swift GT", "Vesper", "Arrow"),
}
TRIMS = ("Base", "Comfort", "Sport", "Limited")

# (name, sRGB 0..255, share in the fleet, metal flake 0..1). White and silver are the wall's own colours.
PAINTS: tuple[tuple[str, tuple[int, int, int], float, float], ...] = (
    ("white", (236, 236, 233), 0.20, 0.0),
    ("pearl", (224, 222, 214), 0.06, 0.3),
    ("silver", (186, 189, 192), 0.16, 0.8),
    ("grey", (104, 108, 113), 0.12, 0.7),
    ("black", (22, 22, 25), 0.16, 0.2),
    ("red", (168, 22, 28), 0.09, 0.2),
    ("blue", (30, 62, 134), 0.08, 0.5),
    ("sky", (110, 152, 190), 0.03, 0.6),
    ("green", (32, 78, 58), 0.03, 0.5),
    ("beige", (187, 174, 150), 0.04, 0.6),
    ("orange", (206, 92, 24), 0.02, 0.2),
    ("yellow", (222, 182, 40), 0.01, 0.0),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Car:
    """One car of the competition; two equal cars look alike."""

    index: int  # position in the fleet; seeds the randomness of its photos
    id: str  # 12 hexadecimal digits
    year: int
    make: str
    model: str
    trims: tuple[str, str]
    body: Body
    paint: str  # its name
    paint_rgb: tuple[int, int, int]  # sRGB 0..255
    flake: float  # metallic share of the paint, 0..1
    rim_rgb: tuple[int, int, int]
    num_spokes: int
    has_roof_rails: bool
    has_aerial: bool
    has_dark_roof: bool


def build_car(seed: int, index: int) -> Car:
    """Returns the car at `index` of the fleet that `seed` names."""
    # View 0 is no photo's: numpy pads seeds with zeros, so [seed, index] would be the same stream.
    rng = np.random.default_rng([seed, index, 0])
    car_id = "".join(f"{digit:x}" for digit in rng.integers(0, 16, size=12))
    kinds = tuple(BODIES)
    # The kinds take turns, so that even a small fleet has them all.
    kind = kinds[(index + seed) % len(kinds)]
    paint, paint_rgb, _, flake = PAINTS[int(rng.choice(len(PAINTS), p=[share for _, _, share, _ in PAINTS]))]
    jitter = rng.integers(-8, 9, size=3)
    red, green, blue = (int(np.clip(level + step, 8, 245)) for level, step in zip(paint_rgb, jitter, strict=True))
    rim_level = int(rng.choice([205, 180, 120, 40], p=[0.4, 0.3, 0.15, 0.15]))
    return Car(
        index=index,
        id=car_id,
        year=int(rng.integers(2003, 2018)),
        make=str(rng.choice(MAKES)),
        model=str(rng.choice(MODELS[kind])),
        trims=(str(rng.choice(TRIMS)), f"{kind} {paint}"),
        body=_vary(BODIES[kind], rng),
        paint=paint,
        paint_rgb=(red, green, blue),
        flake=flake,
        rim_rgb=(rim_level, rim_level, rim_level + 4),
        num_spokes=int(rng.integers(5, 11)),
        has_roof_rails=bool(rng.random() < {"estate": 0.6, "suv": 0.7}.get(kind, 0.05)),
        has_aerial=bool(rng.random() < 0.3),
        has_dark_roof=bool(rng.random() < 0.08),
    )


def _vary(body: Body, rng: np.random.Generator) -> Body:
    """Returns the body stretched a little, so that no two cars of a kind have one outline."""
    along, high = rng.uniform(0.96, 1.04, size=2)
    return replace(
        body,
        length=body.length * along,
        width=body.width * rng.uniform(0.97, 1.03),
        height=body.height * high,
        wheel_radius=body.wheel_radius * rng.uniform(0.96, 1.05),
        axles_x=(body.axles_x[0] * along, body.axles_x[1] * along),
        deck=tuple((x * along, z * high) for x, z in body.deck),
        roof_x=(body.roof_x[0] * along, body.roof_x[1] * along),
        cabin_x=(body.cabin_x[0] * along, body.cabin_x[1] * along),
        roof_narrowing=body.roof_narrowing * rng.uniform(0.85, 1.15),
        nose_exponent=body.nose_exponent * rng.uniform(0.9, 1.15),
        nose_slope=body.nose_slope * rng.uniform(0.7, 1.3),
    )
