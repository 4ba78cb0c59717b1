"""Ratios of speeds, measured so that a busy machine hits both sides."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median, quantiles

from unets.tables import render_table


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One line of the table: two ways of doing the same, in one run."""

    what: str
    ours: float  # median, in `unit`
    baseline: float  # median, in `unit`
    unit: str
    ratio: float  # how many times as fast as the baseline ours is: median over rounds
    quartiles: tuple[float, float]  # of the rounds' ratios
    aim: float  # of the ratio


def time_rounds(
    ways: Mapping[str, Callable[[int], object]], seconds: float, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Runs the ways in turn, A B C A B C, until `seconds` have passed, three times at least.

    Each is called with the number of the round; before the first, each once untimed. The clock measures CPU time where
    other processes should not count. Returns the seconds of each way, one a round.
    """
    rounds: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way(0)
    began = time.perf_counter()
    while len(next(iter(rounds.values()))) < 3 or time.perf_counter() - began < seconds:
        for name, way in ways.items():
            start = clock()
            way(len(rounds[name]))
            rounds[name].append(clock() - start)
    return rounds


def compare(what: str, ours: list[float], baseline: list[float], *, unit: str, count: float = 1, aim: float) -> Row:
    """Makes a row of seconds, round by round, for the same work, of `count` pieces: ms, or pieces a second (1/s)."""
    ratios = [theirs / own for own, theirs in zip(ours, baseline, strict=True)]
    shown = [count / median(times) if unit == "1/s" else 1000 * median(times) / count for times in (ours, baseline)]
    lower, _, upper = quantiles(ratios, method="inclusive")
    return Row(
        what=what,
        ours=shown[0],
        baseline=shown[1],
        unit=unit,
        ratio=median(ratios),
        quartiles=(lower, upper),
        aim=aim,
    )


def format_rows(rows: list[Row]) -> str:
    """Lays out rows, and whether each reached its aim."""
    header = ["what", "ours", "baseline", "unit", "ratio", "quartiles", "aim", "verdict"]
    lines = [
        [
            row.what,
            f"{row.ours:.3g}",
            f"{row.baseline:.3g}",
            row.unit,
            f"{row.ratio:.2f}",
            f"{row.quartiles[0]:.2f}..{row.quartiles[1]:.2f}",
            f"{row.aim:.2f}",
            "reached" if row.ratio >= row.aim else "missed",
        ]
        for row in rows
    ]
    return render_table(header, lines, right=header[1:])
