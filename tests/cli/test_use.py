"""`unets mask`, `info`, `export MODEL`. Models here have no net; tests/export has real ones."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests import run_unets as run
from tests.export.conftest import models_dir, plant_run
from unets import __version__
from unets.errors import InputError
from unets.export.model import TrainedModel
from unets.nets import startup

__all__ = ["models_dir", "plant_run"]  # fixtures

Plant = Callable[..., Path]


@pytest.fixture
def without_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that says bright is object, in place of one of nets."""

    def predict(model: TrainedModel, photos: Sequence[Mapping[tuple[int, int], Any]]) -> list[list[Any]]:
        return [[photo[member.size_hw][..., :1] for member in model.card.members] for photo in photos]

    monkeypatch.setattr("unets.cli.load_backend", lambda: None)
    monkeypatch.setattr(TrainedModel, "predict", predict)


def save(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((64, 96, 3), 255, dtype=np.uint8)).save(path)
    return path


def test_info_says_what_a_model_is(plant_run: Plant, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = plant_run()
    assert run("info", run_dir) == 0
    assert "threshold        0.5," in capsys.readouterr().out
    assert run("info", run_dir, "--json") == 0
    assert json.loads(capsys.readouterr().out)["classes"] == ["car"]
    assert run("info", run_dir, "--out", run_dir / "card.png") == 1
    assert "`--out` must end in .jpg, as a card's picture is a JPEG" in capsys.readouterr().err
    assert run("info", run_dir, "--out", run_dir / "card.jpg") == 1
    assert "`MODEL` must have a picture" in capsys.readouterr().err
    assert run("info", run_dir / "none") == 1
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert re.match(r"\d\d:\d\d:\d\d error: `MODEL` must be", line) and not said.out


def test_a_reader_that_has_enough_is_no_error(plant_run: Plant) -> None:
    """As `unets info MODEL | head -1`, with a reader that ends before anything is written."""
    reading, writing = os.pipe()
    os.close(reading)
    words = [sys.executable, "-m", "unets", "info", str(plant_run())]
    done = subprocess.run(words, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.usefixtures("without_keras")
def test_masks_are_made_and_kept(plant_run: Plant, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir, out = plant_run(), tmp_path / "out"
    for name in "ab":
        save(tmp_path / "photos" / f"{name}.png")
    assert run("mask", run_dir, tmp_path / "photos", "--out", out, "--cutout", "--overlay") == 0
    said = capsys.readouterr()
    assert said.out == f"{out}: 2 masks made\n" and not said.err
    names = ["a.png", "a_cutout.png", "a_overlay.jpg", "b.png", "b_cutout.png", "b_overlay.jpg"]
    assert sorted(path.name for path in out.iterdir()) == names
    save(tmp_path / "photos" / "c.png")
    assert run("mask", run_dir, tmp_path / "photos", "--out", out) == 0
    assert capsys.readouterr().out == f"{out}: 1 mask made, 2 there before\n"
    assert run("mask", run_dir, tmp_path / "photos", "--out", out) == 0
    assert capsys.readouterr().out == f"{out}: all 3 masks are there\n"
    assert run("mask", run_dir, tmp_path / "photos" / "a.png", "--out", tmp_path / "a.json", "--format", "coco") == 0
    assert run("mask", run_dir, tmp_path / "photos" / "a.png", "--out", tmp_path / "one.png", "--json") == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == str(tmp_path / "a.json") and json.loads(second)["files"] == [str(tmp_path / "one.png")]
    assert len(json.loads((tmp_path / "a.json").read_text())["annotations"]) == 1
    assert run("mask", run_dir, tmp_path / "photos", "--out", "-") == 1
    assert "`images` must be one image where --out is -" in capsys.readouterr().err


@pytest.mark.usefixtures("without_keras")
def test_photos_at_fault_are_named_and_end_with_1(
    plant_run: Plant, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "photos" / "a.png")
    (tmp_path / "photos" / "b.png").write_text("no photo")
    assert run("mask", plant_run(), tmp_path / "photos", "--out", tmp_path / "out") == 1
    said = capsys.readouterr()
    assert said.out.endswith("out: 1 mask made\n")
    first, last = said.err.splitlines()
    assert "no mask: " in first and "photos/b.png must be a whole image" in first
    assert "Received: 1 of 2 that are not" in last
    assert (tmp_path / "out" / "a.png").exists()


def test_it_is_installed_as_a_command(tmp_path: Path) -> None:
    """Anywhere, and without colours or notes that nobody asked for."""
    env = {**os.environ, "NO_COLOR": "1"}
    for program in ([str(Path(sys.executable).parent / "unets")], [sys.executable, "-m", "unets"]):
        if not Path(program[0]).exists():
            pytest.skip("the package was installed before it had a command: `make setup`")
        done = subprocess.run([*program, "--version"], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"unets {__version__}\n", "")


@pytest.mark.usefixtures("without_keras")
def test_labels_are_written_to_be_corrected(
    plant_run: Plant, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("labels", plant_run(), save(tmp_path / "photos" / "a.png").parent, "--out", tmp_path / "out")
    assert run(*given, "--format", "yolo") == 1
    assert run(*given) == 0
    assert "next: correct them, then `unets new" in capsys.readouterr().out
    names = ["1_a.json", "1_a.png", "classes.txt", "labels.csv"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names


def test_what_is_mistyped_is_told_before_keras_is_loaded(
    plant_run: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unets.cli.load_backend", lambda: pytest.fail("loads Keras"))
    assert run("mask", tmp_path / "none", save(tmp_path / "a.png"), "--out", tmp_path / "out") == 1
    assert run("mask", plant_run(), tmp_path / "none.png", "--out", tmp_path / "out") == 1
    assert run("export", plant_run(), "--out", tmp_path / "out", "--formats", "keras,torch") == 1


def test_a_missing_backend_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    for there, wanted in (
        (None, r"must have a backend. .* `pip install '\.\[tensorflow\]'` in the folder of unets"),
        ("jax", "KERAS_BACKEND=jax uses what is there"),
    ):
        monkeypatch.setattr(startup, "find_spec", lambda name, there=there: name == there or None)
        with pytest.raises(InputError, match=wanted):
            startup.load_backend()
