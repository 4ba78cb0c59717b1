"""Panels: the skin of hull and cabin, and what lies flush in it: windows, lamps, grilles, doors."""

from __future__ import annotations

from collections.abc import Iterator

from unets.studio.cars import Car
from unets.studio.shells import Floats, Layer, Shell, patch, skin

DETAIL_BIAS_M = 0.06  # more than half a face, less than anything that could stand before it
CABIN_BIAS_M = 0.16  # the cabin stands in the hull; where both meet it wins, and its foot is one clean line


def panel_layers(car: Car, hull: Shell, cabin: Shell) -> Iterator[Layer]:
    """Yields the faces of a car's skin."""
    yield Layer("paint", skin(hull, num_around=220, num_up=18, num_edge=12, num_over=28))
    yield from _cabin_skin(car, cabin)
    yield from _windows(car, cabin)
    yield from _front(car, hull)
    yield from _rear(car, hull)
    yield from _sides(car, hull)


def _detail(material: str, quads: Floats, *, above: int = 1, base_m: float = 0.0) -> Layer:
    return Layer(material, quads, DETAIL_BIAS_M * above + base_m)


def _both_sides(
    material: str,
    shell: Shell,
    u_range: tuple[float, float],
    v_range: tuple[float, float],
    *,
    counts: tuple[int, int] = (10, 6),
    roundness: float = 8.0,
    lean: float = 0.0,
    above: int = 1,
    base_m: float = 0.0,
) -> Iterator[Layer]:
    """Yields a patch on the left side and its mirror image on the right."""
    for low, high, side_lean in ((*u_range, lean), (1 - u_range[1], 1 - u_range[0], -lean)):
        quads = patch(
            shell,
            (low, high),
            v_range,
            counts=counts,
            roundness=roundness,
            lean=side_lean,
            lift_m=0.003 * above,
        )
        yield _detail(material, quads, above=above, base_m=base_m)


def _cabin_skin(car: Car, cabin: Shell) -> Iterator[Layer]:
    quads = skin(cabin, num_around=180, num_up=14, num_edge=12, num_over=16)
    if not car.has_dark_roof:
        yield Layer("paint", quads, CABIN_BIAS_M)
        return
    is_roof = quads[:, :, 2].mean(axis=1) > car.body.height - 0.13
    yield Layer("paint", quads[~is_roof], CABIN_BIAS_M)
    yield Layer("trim", quads[is_roof], CABIN_BIAS_M)


def _windows(car: Car, cabin: Shell) -> Iterator[Layer]:
    low, high = cabin.v_at_h(0.08), cabin.v_at_h(0.80)
    front_u, rear_u = cabin.u_at_y(0.81, at_rear=False), cabin.u_at_y(0.78, at_rear=True)
    # A hatch's window begins higher than a saloon's, above the number plate's door.
    rear_low = cabin.v_at_h(0.30 if car.body.has_tall_tail else 0.12)
    for u_range, v_range in (((-front_u, front_u), (low, high)), ((rear_u, 1 - rear_u), (rear_low, high))):
        frame_u, frame_v = (u_range[0] - 0.008, u_range[1] + 0.008), (v_range[0] - 0.025, v_range[1] + 0.025)
        frame = patch(cabin, frame_u, frame_v, counts=(36, 14), roundness=14)
        yield _detail("trim", frame, base_m=CABIN_BIAS_M)
        yield _detail(
            "glass",
            patch(cabin, u_range, v_range, counts=(36, 14), roundness=14),
            above=2,
            base_m=CABIN_BIAS_M,
        )
    yield from _side_windows(car, cabin)


def _side_windows(car: Car, cabin: Shell) -> Iterator[Layer]:
    foot_front, foot_rear = car.body.cabin_x
    borders = [cabin.u_at_x(foot_front + share * (foot_rear - foot_front), 0.05) for share in car.body.pillars]
    low, high = cabin.v_at_h(0.13), cabin.v_at_h(0.80)
    frame = (borders[0] - 0.008, borders[-1] + 0.008)
    yield from _both_sides(
        "trim", cabin, frame, (low - 0.02, high + 0.03), counts=(40, 10), roundness=12, base_m=CABIN_BIAS_M
    )
    for start, end in zip(borders[::2], borders[1::2], strict=True):
        yield from _both_sides(
            "glass",
            cabin,
            (start, end),
            (low, high),
            counts=(18, 10),
            roundness=12,
            above=2,
            base_m=CABIN_BIAS_M,
        )


def _front(car: Car, hull: Shell) -> Iterator[Layer]:
    corner = hull.u_at_x(car.body.length / 2 - 0.38, 0.7)  # where the front turns into the side
    v = hull.v_at_h
    lamp = (corner * 0.62, corner * 1.12)
    yield _detail("grille", patch(hull, (-corner * 0.52, corner * 0.52), (v(0.50), v(0.70)), counts=(16, 5)))
    yield _detail("chrome", patch(hull, (-corner * 0.53, corner * 0.53), (v(0.70), v(0.725)), counts=(16, 1)), above=2)
    yield _detail("grille", patch(hull, (-corner * 0.70, corner * 0.70), (v(0.06), v(0.24)), counts=(20, 5)))
    yield from _both_sides("headlamp", hull, lamp, (v(0.56), v(0.76)), counts=(12, 6), roundness=4, lean=0.012)
    bulb = (corner * 0.70, corner * 0.88)
    yield from _both_sides("lens", hull, bulb, (v(0.59), v(0.72)), counts=(6, 6), roundness=2, above=2)
    yield from _both_sides("amber", hull, (corner * 0.98, corner * 1.08), (v(0.60), v(0.70)), counts=(4, 4), above=2)
    yield from _both_sides("lens", hull, (corner * 0.70, corner * 0.82), (v(0.12), v(0.20)), roundness=2, above=2)
    yield _detail("plate", patch(hull, (-0.016, 0.016), (v(0.31), v(0.43)), counts=(6, 3), lift_m=0.012), above=2)


def _rear(car: Car, hull: Shell) -> Iterator[Layer]:
    corner = hull.u_at_x(-car.body.length / 2 + 0.30, 0.7)
    inward = 0.5 - corner
    v = hull.v_at_h
    tall = car.body.has_tall_tail or car.body.has_bed
    lamp = (0.5 - inward * (0.98 if tall else 1.08), 0.5 - inward * (0.72 if tall else 0.52))
    span = (v(0.50), v(0.93)) if tall else (v(0.60), v(0.82))
    yield from _both_sides("tail_lamp", hull, lamp, span, counts=(10, 8), roundness=5)
    lamp_middle = (lamp[0] * 0.55 + lamp[1] * 0.45, lamp[0] * 0.25 + lamp[1] * 0.75)
    white = (span[0] + 0.2 * (span[1] - span[0]), span[0] + 0.42 * (span[1] - span[0]))
    yield from _both_sides("lens", hull, lamp_middle, white, counts=(5, 4), above=2)
    yield _detail("trim", patch(hull, (0.5 - inward * 0.9, 0.5 + inward * 0.9), (v(0.03), v(0.17)), counts=(20, 4)))
    plate = (v(0.58), v(0.70)) if not tall else (v(0.44), v(0.56))
    yield _detail("plate", patch(hull, (0.484, 0.516), plate, counts=(6, 3), lift_m=0.012), above=2)
    lid = (v(0.33), v(0.345))
    yield _detail("gap", patch(hull, (0.5 - inward * 0.85, 0.5 + inward * 0.85), lid, counts=(24, 1), roundness=40))


def _sides(car: Car, hull: Shell) -> Iterator[Layer]:
    body, v = car.body, hull.v_at_h
    foot_front, foot_rear = body.cabin_x
    doors = [foot_front + share * (foot_rear - foot_front) for share in (0.06, *body.pillars[1:-1:2], 0.78)]
    doors[-1] = max(doors[-1], body.axles_x[1] + 0.35)
    if len(doors) > 2 and doors[-2] - doors[-1] < 0.4:
        doors.pop(-2)
    for x in doors:
        u = hull.u_at_x(x, 0.5)
        yield from _both_sides("gap", hull, (u - 0.0005, u + 0.0005), (v(0.10), 0.97), counts=(1, 14), roundness=40)
    for x in doors[1:]:
        u = hull.u_at_x(x + 0.17, 0.7)
        material = "chrome" if car.paint in ("black", "grey") else "paint"
        yield from _both_sides(material, hull, (u - 0.007, u + 0.007), (v(0.73), v(0.765)), counts=(4, 2), above=3)
        yield from _both_sides("gap", hull, (u - 0.008, u + 0.008), (v(0.715), v(0.735)), counts=(4, 1), above=2)
    sill = (hull.u_at_x(body.axles_x[0] - 0.35, 0.1), hull.u_at_x(body.axles_x[1] + 0.35, 0.1))
    height = v(0.15) if body.is_rugged else v(0.06)
    yield from _both_sides("trim", hull, sill, (0.0, height), counts=(40, 3), roundness=40)
