"""What benchmarks say of themselves: kills that strike, figures that last, cold files, arithmetic by hand."""

import argparse
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests import ROOT
from unets.config import list_experiments, load_dataset

BENCHMARKS_DIR = ROOT / "benchmarks"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="benchmarks read /proc")


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Imports a module of benchmarks/, where they import each other by their bare names."""
    monkeypatch.syspath_prepend(BENCHMARKS_DIR)
    return import_module


@pytest.mark.parametrize(("takes", "measured"), [(0.4, 0.2), (0.1, 0.5)])  # the second: a fifth of what it took before
def test_every_kill_strikes_a_stage_at_work(load: Callable[[str], Any], takes: float, measured: float) -> None:
    rehearsal, started = load("rehearsal"), list[str]()

    def run(stage: str, delay: float | None) -> bool:
        started.append(stage)
        return delay is not None and delay < takes

    struck = rehearsal.strike(run, dict.fromkeys(rehearsal.STAGES, measured), 4, seed=1)
    assert len(struck) == 4 and list(dict.fromkeys(started)) == list(rehearsal.STAGES)


def test_a_stage_is_struck_at_work_or_not_at_all(
    load: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rehearsal = load("rehearsal")
    (tmp_path / "unets.py").write_text(
        "import sys, time\ntime.sleep(60 if sys.argv[1] == 'train' else 0)\nsys.exit(3 * (sys.argv[1] == 'split'))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert rehearsal.run_stage(tmp_path, "train", 1.0)
    assert not rehearsal.run_stage(tmp_path, "check", 30.0)
    with pytest.raises(SystemExit, match=r"must succeed or be killed by us\. Received: exit code 3"):
        rehearsal.run_stage(tmp_path, "split", 30.0)


def test_crowds_repeat_images_under_new_ids(load: Callable[[str], Any], tmp_path: Path) -> None:
    rehearsal, input_dir = load("rehearsal"), tmp_path / "data"
    (input_dir / "train").mkdir(parents=True)
    for name in ("a.jpg", "b.jpg"):
        cv2.imwrite(str(input_dir / "train" / name), np.zeros((8, 12, 3), np.uint8))
    (input_dir / "train_masks.csv").write_text("img,rle_mask\na.jpg,1 96\nb.jpg,\n")
    root = rehearsal.lay_out(tmp_path / "crowd", input_dir, 5, (4, 6))
    data_dir = root / "input" / "crowd"
    assert len(list((data_dir / "test").iterdir())) == 5
    assert (data_dir / "train_masks.csv").read_text().splitlines()[1:3] == [
        "00000000ffff_01.jpg,1 24",
        "00000000ffff_02.jpg,",
    ]
    assert set(list_experiments(root / "configs" / "crowd")) == {"small", "larger"}
    assert load_dataset(root / "configs" / "crowd").size_hw == (4, 6)
    assert rehearsal.lay_out(tmp_path / "crowd", input_dir, 5, (4, 6)) == root  # it is there


def start_python(text: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(text)], start_new_session=True)


def test_costs_are_of_a_stage_and_its_children(load: Callable[[str], Any], tmp_path: Path) -> None:
    rehearsal = load("rehearsal")
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "a").write_bytes(bytes(2_000_000))
    hold = "import time; held = bytearray(b'a' * (150 << 20)); time.sleep(1.5)"
    family = f"""
        import subprocess, sys
        child = subprocess.Popen([sys.executable, "-c", {hold!r}])
        {hold}
        child.wait()
    """
    cost = rehearsal.run_watched("predict", lambda: start_python(family), [tmp_path / "made"])
    # The string and its copy for a moment, 300 MiB, then 150 MiB in each of two.
    assert 300 <= cost.peak_mib < 650
    assert 150 <= cost.largest_mib <= cost.peak_mib
    assert 1.5 <= cost.seconds < 30
    assert cost.disk_gb == 0.002
    with pytest.raises(SystemExit, match=r"train must succeed\. Received: exit code 2"):
        rehearsal.run_watched("train", lambda: start_python("raise SystemExit(2)"), [])


@pytest.mark.slow
@pytest.mark.skipif(find_spec("jax") is None, reason="jax is not installed")
def test_the_card_s_script_runs_whole_on_a_cpu_without_tensorflow(load: Callable[[str], Any], tmp_path: Path) -> None:
    words = [sys.executable, str(BENCHMARKS_DIR / "card.py"), "--smoke", "--minutes", "60"]
    done = subprocess.run([*words, "--out", str(tmp_path / "card.json")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((tmp_path / "card.json").read_text())
    parts = record["parts"]
    assert list(parts) == list(load("card").BUDGETS)
    assert parts["correctness"]["within_tolerance"] and parts["correctness"]["images"] > 3
    assert parts["correctness"]["resumed_differing"] == 0 < parts["correctness"]["resumed_arrays"]
    assert [row["what"] for row in parts["prediction"]["rows"]] == [
        "prediction / image by image",
        "prediction / forward pass alone",
    ]
    assert bool(parts["speed_640x959"]["rows"]) == (find_spec("torch") is not None)
    assert parts["memory"]["rows"][-1]["measured_gib"] > 0
    assert 0 <= parts["training"]["score"] <= 1
    assert "## training" in load("card").render_page(record)


def test_a_part_of_the_card_s_script_that_fails_or_takes_too_long_costs_itself_alone(
    load: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "KERAS_BACKEND", "none")
    card = load("card")
    args = argparse.Namespace(input=tmp_path, work=tmp_path, seconds=1.0, smoke=True)
    assert card.run_part("maps", args, 0.2) == {"failed": "it took more than 0.2 s"}
    assert "none" in card.run_part("memory", args, 600.0)["failed"]
    failed = {"origin": {"date": "today", "git_commit": "0"}, "parts": {"maps": {"failed": "why", "seconds": 1.0}}}
    assert "| why | 1 |" in card.render_page(failed)


def test_the_card_s_page_is_what_its_record_renders_to(load: Callable[[str], Any]) -> None:
    card = load("card")
    record = json.loads(card.RESULT.read_text()) if card.RESULT.exists() else None
    assert card.PAGE.read_text(encoding="utf-8") == card.render_page(record)
