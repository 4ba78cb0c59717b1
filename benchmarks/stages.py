"""A stage's cost: seconds, memory and disk of a process that is watched from outside, with all its children."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from unets.tables import render_table

# Seconds between two looks at a stage's memory. They begin short, or a stage of a second would not be seen at all, and
# double, because a look takes some 0.1 s.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
MIB, _GB = 2**20, 1e9


@dataclass(frozen=True, kw_only=True, slots=True)
class StageCost:
    """What a stage took."""

    stage: str
    seconds: float
    peak_mib: float  # of all its processes together, the most at a look, and no less than the next
    largest_mib: float  # of its largest process alone, resident, between looks too (VmHWM at the last look)
    disk_gb: float  # of the folders that it writes to, when it had ended


def run_watched(stage: str, start: Callable[[], "subprocess.Popen[bytes]"], folders: Sequence[Path]) -> StageCost:
    """Runs a stage to its end and watches it.

    Args:
        stage: its name.
        start: starts its process, in a session of its own.
        folders: that it writes to.

    Raises:
        SystemExit: it failed; it has said why.
    """
    began, pause, process = time.monotonic(), _FIRST_PAUSE, start()
    peak = largest = 0.0
    try:
        while True:
            try:
                process.wait(pause)
                break
            except subprocess.TimeoutExpired:
                together, one = measure_family(process.pid)
                peak, largest = max(peak, together, one), max(largest, one)
                pause = min(2 * pause, _LONGEST_PAUSE)
    finally:
        if process.poll() is None:  # Ctrl-C does not reach another session
            os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        sys.exit(f"error: {stage} must succeed. Received: exit code {process.returncode}, see above")
    disk = sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())
    return StageCost(
        stage=stage,
        seconds=time.monotonic() - began,
        peak_mib=peak / MIB,
        largest_mib=largest / MIB,
        disk_gb=disk / _GB,
    )


def measure_family(pid: int) -> tuple[float, float]:
    """Measures a process and all below it.

    Memory that processes share counts once: of their own (Pss_Anon, Pss_Shmem) each has its part. Of the libraries'
    files (RssFile), which strangers share too, those of the process with the most stand for all: PSS would say less the
    more other Pythons run on the machine.

    Returns:
        (bytes of all now; bytes that the largest has held at most), without what has ended.
    """
    own = files = largest = 0.0
    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return own, largest
    for process in family:
        folder = Path("/proc") / str(process.pid)
        try:
            rollup, status = _read_sizes(folder / "smaps_rollup"), _read_sizes(folder / "status")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it ended meanwhile
        own += rollup.get("Pss_Anon", 0) + rollup.get("Pss_Shmem", 0)
        files, largest = max(files, status.get("RssFile", 0)), max(largest, status.get("VmHWM", 0))
    return own + files, largest


def _read_sizes(path: Path) -> dict[str, int]:
    """Reads the lines `Name:  123 kB` of a file of /proc: bytes by name."""
    words = [line.split() for line in path.read_text().splitlines()]
    return {line[0].rstrip(":"): 1024 * int(line[1]) for line in words if len(line) == 3 and line[2] == "kB"}


def render_costs(costs: Sequence[StageCost]) -> str:
    """Lays out a line a stage, and one of all: seconds added, the highest peaks, the disk at the end."""
    header = ["stage", "seconds", "peak MiB, all processes", "peak MiB, largest one", "GB on disk"]
    total = StageCost(
        stage="all",
        seconds=sum(cost.seconds for cost in costs),
        peak_mib=max(cost.peak_mib for cost in costs),
        largest_mib=max(cost.largest_mib for cost in costs),
        disk_gb=costs[-1].disk_gb,
    )
    lines = [
        [
            cost.stage,
            f"{cost.seconds:.1f}",
            f"{cost.peak_mib:.0f}",
            f"{cost.largest_mib:.0f}",
            f"{cost.disk_gb:.3f}",
        ]
        for cost in (*costs, total)
    ]
    return render_table(header, lines, right=header[1:])
