"""Ratios of speeds, measured so that a busy machine hits both sides."""

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from unets.config import DatasetConfig
from unets.data.samples import Sample
from unets.dataset.manifest import Manifest, read_manifest
from unets.store.paths import Project
from unets.tables import render_table


def import_samples(dataset: DatasetConfig, input_dir: Path) -> Manifest:
    """Imports a data set into a folder of this process's own."""
    models_dir = Path(tempfile.mkdtemp(prefix="unets-bench-"))
    return read_manifest(Project.below(Path(), "bench", input_dir=input_dir, models_dir=models_dir), dataset)


Rounds = dict[str, list[float]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One line of the table: two ways of doing the same, in one run."""

    what: str
    ours: float  # median, in `unit`
    baseline: float  # median, in `unit`
    unit: str
    ratio: float  # how many times as fast as the baseline ours is: median over rounds
    quartiles: tuple[float, float]  # of the rounds' ratios
    aim: float | None  # of the ratio; None: shown for comparison

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def time_rounds(
    ways: Mapping[str, Callable[[int], object]],
    seconds: float,
    min_rounds: int = 3,
    clock: Callable[[], float] = time.perf_counter,
    prepare: Callable[[], object] = lambda: None,
) -> Rounds:
    """Runs the ways in turn, A B C A B C, until `seconds` have passed.

    Args:
        ways: each is called with the number of the round; before the first, each once untimed.
        seconds: of all rounds together.
        min_rounds: made in any case.
        clock: what is measured, in seconds; CPU time where other processes should not count.
        prepare: called before each way each time, outside what is measured, so that all find the same.

    Returns:
        Seconds of each way, one a round.
    """
    rounds: Rounds = {name: [] for name in ways}
    for way in ways.values():
        prepare()
        way(0)
    began = time.perf_counter()
    while len(next(iter(rounds.values()))) < min_rounds or time.perf_counter() - began < seconds:
        for name, way in ways.items():
            prepare()
            start = clock()
            way(len(rounds[name]))
            rounds[name].append(clock() - start)
    return rounds


def drop_from_cache(paths: Iterable[Path]) -> None:
    """Makes files cold: the next read of them goes to the disk, not to the system's page cache.

    Needs no root. Pages that another process maps, or that were written a moment ago and are not on the disk yet, stay;
    so do all where the system has no `posix_fadvise` (macOS, Windows), and in a file system that is memory itself.

    Args:
        paths: a file each, or a path through a zip or a stack, which is dropped whole.
    """
    if not hasattr(os, "posix_fadvise"):
        return
    files = {next(holder for holder in (path, *path.parents) if holder.is_file()) for path in paths}
    for file in sorted(files):
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def compare(
    what: str,
    ours: list[float],
    baseline: list[float],
    *,
    unit: str,
    scale: float = 1.0,
    is_rate: bool = False,
    aim: float | None = None,
) -> Row:
    """Makes a row of seconds, round by round, for the same work.

    Args:
        what: the row's name.
        ours: seconds of each round.
        baseline: seconds of each round.
        unit: of the medians shown.
        scale: the medians times this are in `unit`; with `is_rate`, this over the medians.
        is_rate: whether more is better.
        aim: of the ratio.
    """
    ratios = [theirs / own for own, theirs in zip(ours, baseline, strict=True)]
    shown = [scale / median(times) if is_rate else scale * median(times) for times in (ours, baseline)]
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


def pick_evenly(samples: Sequence[Sample], count: int) -> list[Sample]:
    """Picks samples spread over the whole list; all where there are fewer."""
    return list(samples[:: max(1, len(samples) // count)][:count])


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
            "" if row.aim is None else f"{row.aim:.2f}",
            "" if row.aim is None else "reached" if row.ratio >= row.aim else "missed",
        ]
        for row in rows
    ]
    return render_table(header, lines, right=header[1:])
