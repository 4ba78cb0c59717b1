"""What benchmarks say of themselves: kills that strike, figures that last, cold files, arithmetic by hand."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import ROOT

BENCHMARKS_DIR = ROOT / "benchmarks"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="benchmarks read /proc")

LAST = "submission"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Imports a module of benchmarks/, where they import each other by their bare names."""
    monkeypatch.syspath_prepend(BENCHMARKS_DIR)
    return import_module


@dataclass
class Stages:
    """Stands in for the scripts: each only takes its time, and may end badly."""

    seconds: dict[str, float] = field(default_factory=dict)  # by stage; the others end at once
    codes: dict[str, int] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)

    def start(self, _: object, stage: str) -> "subprocess.Popen[bytes]":
        self.started.append(stage)
        shell = f"sleep {self.seconds.get(stage, 0)}; exit {self.codes.get(stage, 0)}"
        return subprocess.Popen(["sh", "-c", shell], start_new_session=True)

    def kill(self, _: object, stage: str, delay: float) -> bool:
        """Kills as the real one does where starting takes no time, which no busy machine grants."""
        self.started.append(stage)
        return delay < self.seconds.get(stage, 0.0)

    def finish(self, _: object, stage: str) -> None:
        self.started.append(stage)


def strike(rehearsal: Any, monkeypatch: pytest.MonkeyPatch, stages: Stages, num_kills: int, priced: float) -> list[str]:
    """Strikes stages that took `priced` seconds each when they were measured."""
    monkeypatch.setattr(rehearsal, "_start", stages.start)
    prices = [SimpleNamespace(stage=stage, seconds=priced) for stage in rehearsal.STAGES]
    struck: list[str] = rehearsal.strike(None, prices, num_kills, seed=1)
    return struck


def strike_by_the_book(
    rehearsal: Any, monkeypatch: pytest.MonkeyPatch, stages: Stages, num_kills: int, priced: float
) -> list[str]:
    """Does the same without processes."""
    monkeypatch.setattr(rehearsal, "_kill", stages.kill)
    monkeypatch.setattr(rehearsal, "_finish", stages.finish)
    return strike(rehearsal, monkeypatch, stages, num_kills, priced)


def test_every_kill_strikes_where_all_stages_run_as_long_as_before(
    load: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rehearsal = load("rehearsal")
    stages = Stages(seconds=dict.fromkeys(rehearsal.STAGES, 0.4))
    struck = strike(rehearsal, monkeypatch, stages, num_kills=4, priced=0.2)
    assert len(struck) == 4
    # Each stage once to its end, in order, and once more a kill.
    assert len(stages.started) == 6 + 4
    assert list(dict.fromkeys(stages.started)) == list(rehearsal.STAGES)
    names = [line.split()[0] for line in struck]
    assert names == sorted(names, key=rehearsal.STAGES.index)


def test_moments_that_find_their_stage_ended_are_drawn_again(
    load: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # All but the last end at once: six moments over all of them must strike the last.
    stages = Stages(seconds={LAST: 2.0})
    struck = strike_by_the_book(load("rehearsal"), monkeypatch, stages, num_kills=6, priced=0.1)
    assert [line.split()[0] for line in struck] == [LAST] * 6


def test_moments_of_the_last_stage_are_drawn_again_too(
    load: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A fifth of what it took before, and nothing comes after it.
    stages = Stages(seconds={LAST: 0.1})
    struck = strike_by_the_book(load("rehearsal"), monkeypatch, stages, num_kills=2, priced=0.5)
    assert [line.split()[0] for line in struck] == [LAST] * 2


def test_tries_have_a_bound_and_too_few_kills_are_told(
    load: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rehearsal, stages = load("rehearsal"), Stages()
    assert strike_by_the_book(rehearsal, monkeypatch, stages, num_kills=1, priced=0.5) == []
    assert len(stages.started) <= rehearsal.MISSES + len(rehearsal.STAGES)


def test_a_rehearsal_fails_by_rows_by_kills_and_by_bytes(load: Callable[[str], Any]) -> None:
    list_faults = load("rehearsal").list_faults
    assert list_faults(differing=0, asked=0, struck=0, unequal=0) == []
    assert list_faults(differing=0, asked=10, struck=10, unequal=0) == []
    assert list_faults(differing=0, asked=10, struck=8, unequal=0) == ["10 kills must strike a stage at work, not 8"]
    assert len(list_faults(differing=1, asked=1, struck=0, unequal=1)) == 3


def test_a_stage_that_fails_by_itself_is_no_kill(load: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    rehearsal = load("rehearsal")
    stages = Stages(codes=dict.fromkeys(rehearsal.STAGES, 3))
    with pytest.raises(SystemExit, match=r"must succeed or be killed by us\. Received: exit code 3"):
        strike(rehearsal, monkeypatch, stages, num_kills=6, priced=0.5)


def start_python(text: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(text)], start_new_session=True)


def test_prices_are_of_a_stage_and_its_children(load: Callable[[str], Any], tmp_path: Path) -> None:
    prices = load("prices")
    ledger = prices.Ledger.open(tmp_path / "rehearsal.json", {"photos": 3}, "abc")
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "a").write_bytes(bytes(2_000_000))
    hold = "import time; held = bytearray(b'a' * (150 << 20)); time.sleep(1.5)"
    family = f"""
        import subprocess, sys
        child = subprocess.Popen([sys.executable, "-c", {hold!r}])
        {hold}
        child.wait()
    """
    price = prices.pay("predict", lambda: start_python(family), [tmp_path / "made"], ledger)
    # The string and its copy for a moment, 300 MiB, then 150 MiB in each of two.
    assert 300 <= price.peak_mib < 650
    assert 150 <= price.largest_mib <= price.peak_mib
    assert 1.5 <= price.seconds < 30
    assert price.disk_gb == 0.002
    assert price.starts == 1


def test_a_rehearsal_that_goes_on_keeps_what_was_paid(load: Callable[[str], Any], tmp_path: Path) -> None:
    prices, path, about = load("prices"), tmp_path / "rehearsal.json", {"photos": 3}

    def refuse() -> Any:
        raise AssertionError("a stage that has ended must not run again")

    ledger = prices.Ledger.open(path, about, "old")
    done = prices.pay("check", lambda: start_python("import time; time.sleep(0.3)"), [], ledger)
    # The second is cut short, having looked; then it fails; then it ends.
    ledger.put(prices.Price(stage="train", seconds=100.0, peak_mib=5000.0, largest_mib=4000.0, starts=1, commit="old"))
    with pytest.raises(SystemExit, match=r"train must succeed\. Received: exit code 2"):
        prices.pay("train", lambda: start_python("raise SystemExit(2)"), [], prices.Ledger.open(path, about, "new"))
    again = prices.Ledger.open(path, about, "new")
    assert prices.pay("check", refuse, [], again) == done
    train = prices.pay("train", lambda: start_python("import time; time.sleep(0.3)"), [], again)
    assert (train.peak_mib, train.largest_mib, train.starts, train.commit) == (5000.0, 4000.0, 3, "new")
    assert 100.3 <= train.seconds < 130
    assert list(prices.Ledger.open(path, about, "new").prices.values()) == [done, train]


def test_prices_of_another_rehearsal_are_refused(load: Callable[[str], Any], tmp_path: Path) -> None:
    ledger = load("prices").Ledger
    ledger.open(tmp_path / "rehearsal.json", {"photos": 3}, "abc")
    with pytest.raises(ValueError, match="'photos': 4"):
        ledger.open(tmp_path / "rehearsal.json", {"photos": 4}, "abc")


def test_the_total_adds_seconds_and_takes_the_highest_peak(load: Callable[[str], Any]) -> None:
    prices = load("prices")
    rows = [
        prices.Price(stage="a", seconds=1.0, peak_mib=9.0, largest_mib=3.0, disk_gb=0.5, starts=1, commit=""),
        prices.Price(stage="b", seconds=2.5, peak_mib=7.0, largest_mib=4.0, disk_gb=0.75, starts=2, commit=""),
    ]
    assert prices.render_prices(rows).splitlines()[-1].split() == ["all", "3.5", "9", "4", "0.750", "3"]


def test_a_folder_of_something_else_is_refused(load: Callable[[str], Any], tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    args = SimpleNamespace(input=Path("in"), photos=3, full_size=None)
    with pytest.raises(SystemExit, match="must be missing, empty or an earlier rehearsal's"):
        load("rehearsal")._open_ledger(tmp_path, args)


def test_preparing_comes_before_each_way_and_is_not_timed(load: Callable[[str], Any]) -> None:
    now, calls = [0.0], list[str]()

    def act(name: str, seconds: float) -> None:
        calls.append(name)
        now[0] += seconds

    rounds = load("measure").time_rounds(
        {"a": lambda _: act("a", 1), "b": lambda _: act("b", 2)},
        seconds=0,
        min_rounds=2,
        clock=lambda: now[0],
        prepare=lambda: act("-", 100),
    )
    assert rounds == {"a": [1, 1], "b": [2, 2]}
    assert "".join(calls) == "-a-b" * 3


def test_files_are_dropped_whole_each_once(
    load: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.jpg", "b.zip"):
        (tmp_path / name).write_bytes(b"x" * 10_000)
    dropped = []

    def advise(descriptor: int, offset: int, length: int, advice: int) -> None:
        assert (offset, length, advice) == (0, 0, os.POSIX_FADV_DONTNEED)  # length 0: to the end
        dropped.append(Path(f"/proc/self/fd/{descriptor}").resolve().name)

    monkeypatch.setattr(os, "posix_fadvise", advise)
    load("measure").drop_from_cache(
        [tmp_path / "a.jpg", tmp_path / "b.zip/train/1.jpg", tmp_path / "b.zip/train/2.jpg"]
    )
    assert dropped == ["a.jpg", "b.zip"]
    monkeypatch.delattr(os, "posix_fadvise")
    load("measure").drop_from_cache([tmp_path / "a.jpg"])  # warm it stays, but nothing fails
