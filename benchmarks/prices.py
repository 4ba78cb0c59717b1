"""What stages take: seconds, memory and disk of processes that are watched from outside, kept from look to look."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import psutil

from unets.store.runs import read_json, write_json
from unets.tables import render_table

# Seconds between two looks at a stage's memory. They begin short, or a stage of a second would not be seen at all, and
# double, because a look takes some 0.1 s.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
MIB, _GB = 2**20, 1e9


@dataclass(frozen=True, kw_only=True, slots=True)
class Price:
    """What a stage took: over all its starts, where it was cut short and begun again."""

    stage: str
    seconds: float = 0.0
    # Of all its processes together, the most at a look, and no less than the next.
    peak_mib: float = 0.0
    # Of its largest process alone, resident, between looks too (VmHWM at the last look).
    largest_mib: float = 0.0
    disk_gb: float | None = None  # of the models folder and the submission when it had ended; None: it has not
    starts: int = 0
    commit: str  # of the code of the last start


@dataclass(kw_only=True)
class Ledger:
    """The prices of a rehearsal, on disk from the first look on: one that is continued knows what was paid before.

    Args:
        path: of the JSON.
        about: what the rehearsal is of; plain JSON.
        commit: of the code at work.
    """

    path: Path
    about: Mapping[str, Any]
    commit: str
    prices: dict[str, Price] = field(default_factory=dict)  # by stage, in their order

    @classmethod
    def open(cls, path: Path, about: Mapping[str, Any], commit: str) -> Self:
        """Reads what was kept, if anything was.

        Raises:
            ValueError: that is of another rehearsal.
        """
        ledger = cls(path=path, about=about, commit=commit)
        if not path.exists():
            ledger._write()
            return ledger
        kept = read_json(path)
        if kept["about"] != about:
            raise ValueError(f"{path} must be of {about}. Received: {kept['about']}")
        ledger.prices = {price["stage"]: Price(**price) for price in kept["stages"]}
        return ledger

    def put(self, price: Price) -> None:
        """Keeps a price, over the stage's present one."""
        self.prices[price.stage] = price
        self._write()

    def _write(self) -> None:
        write_json(self.path, {"about": self.about, "stages": [asdict(price) for price in self.prices.values()]})


def pay(stage: str, start: Callable[[], "subprocess.Popen[bytes]"], folders: Sequence[Path], ledger: Ledger) -> Price:
    """Runs a stage to its end and watches it; one that has ended before keeps its price, and is not run.

    Args:
        stage: its name.
        start: starts its process, in a session of its own.
        folders: that it writes to.
        ledger: where its price is kept; a stage that was cut short begins with what it had.

    Raises:
        SystemExit: it failed; it has said why.
    """
    before = ledger.prices.get(stage, Price(stage=stage, commit=ledger.commit))
    if before.disk_gb is not None:
        return before
    price = replace(before, starts=before.starts + 1, commit=ledger.commit)
    began, pause, process = time.monotonic(), _FIRST_PAUSE, start()
    try:
        while True:
            try:
                process.wait(pause)
                break
            except subprocess.TimeoutExpired:
                together, largest = measure_family(process.pid)
                price = replace(
                    price,
                    seconds=before.seconds + time.monotonic() - began,
                    peak_mib=max(price.peak_mib, together / MIB, largest / MIB),
                    largest_mib=max(price.largest_mib, largest / MIB),
                )
                ledger.put(price)
                pause = min(2 * pause, _LONGEST_PAUSE)
    finally:
        if process.poll() is None:  # Ctrl-C does not reach another session
            os.killpg(process.pid, signal.SIGKILL)
    seconds = before.seconds + time.monotonic() - began
    if process.returncode:
        ledger.put(replace(price, seconds=seconds))
        sys.exit(f"error: {stage} must succeed. Received: exit code {process.returncode}, see above")
    disk = sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())
    price = replace(price, seconds=seconds, disk_gb=disk / _GB)
    ledger.put(price)
    return price


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


def render_prices(prices: Sequence[Price]) -> str:
    """Lays out a line a stage, and one of all: seconds added, the highest peaks, the disk at the end."""
    header = ["stage", "seconds", "peak MiB, all processes", "peak MiB, largest one", "GB on disk", "starts"]
    total = Price(
        stage="all",
        seconds=sum(price.seconds for price in prices),
        peak_mib=max(price.peak_mib for price in prices),
        largest_mib=max(price.largest_mib for price in prices),
        disk_gb=prices[-1].disk_gb,
        starts=sum(price.starts for price in prices),
        commit="",
    )
    lines = [
        [
            price.stage,
            f"{price.seconds:.1f}",
            f"{price.peak_mib:.0f}",
            f"{price.largest_mib:.0f}",
            "" if price.disk_gb is None else f"{price.disk_gb:.3f}",
            str(price.starts),
        ]
        for price in (*prices, total)
    ]
    return render_table(header, lines, right=header[1:])
