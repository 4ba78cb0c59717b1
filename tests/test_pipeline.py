"""Whole processes: the commands as `make` calls them, killed at any moment and started again."""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from unets.store.paths import Project

pytestmark = pytest.mark.slow

SUBMISSION = "submissions/tiny/tiny_ensemble.csv.gz"
STAGES = ("import", "check", "split", "train", "predict", "ensemble", "submission")
EXPERIMENT = """from unets.config import DataConfig, ExperimentConfig, ModelConfig, PredictionConfig, TrainingConfig

EXPERIMENT = ExperimentConfig(
    data=DataConfig(size_hw={size_hw}, batch_size=2),
    model=ModelConfig(depth=1, base_filters=4, dropout=0.1),
    training=TrainingConfig(epochs=4, learning_rate=3e-2, precision="float32"),
    prediction=PredictionConfig(batch_size=2, shard_size=4),
)
"""
ENSEMBLE = """from unets.config import EnsembleConfig

ENSEMBLE = EnsembleConfig(experiments=("small", "large"))
"""


@dataclass(frozen=True, kw_only=True)
class House:
    """A root folder to start stages in."""

    root: Path
    input_dir: Path
    environment: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)  # of each stage's last whole run

    @property
    def models_dir(self) -> Path:
        return self.root / "models" / "tiny"

    def start(self, stage: str, *arguments: str) -> subprocess.Popen[str]:
        """Starts a stage, in a group of its own with its workers."""
        given = [stage, "tiny", "--root", str(self.root), "--input", str(self.input_dir)]
        # On the CPU, where the same photos give the same bits.
        environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1", **self.environment}
        return subprocess.Popen(
            [sys.executable, "-m", "unets", *given, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            start_new_session=True,
        )

    def run(self, stage: str, *arguments: str, code: int = 0) -> str:
        """Runs a stage to its end, checks its exit code, and returns what it said."""
        began = time.monotonic()
        with self.start(stage, *arguments) as process:
            said, _ = process.communicate()
        assert process.returncode == code, said
        assert "Traceback" not in said, said
        self.seconds[stage] = time.monotonic() - began
        return said

    def stop_when(
        self, is_time: Callable[[], bool], stage: str, *arguments: str, by: signal.Signals = signal.SIGKILL
    ) -> tuple[bool, str]:
        """Stops a stage and its workers at a moment; returns whether it was still at work, and what it said."""
        with self.start(stage, *arguments) as process:
            while process.poll() is None and not is_time():
                time.sleep(0.002)
            was_at_work = process.poll() is None
            if was_at_work:
                # Ctrl-C reaches the whole group, and so does the kernel when memory runs out in a container.
                os.killpg(process.pid, by)
            said, _ = process.communicate()
        return was_at_work, said

    def read_maps(self) -> dict[str, bytes]:
        """Returns the content of every shard."""
        return {str(path.relative_to(self.models_dir)): path.read_bytes() for path in self.models_dir.rglob("*.zip")}


def after(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def there_is(folder: Path, pattern: str) -> Callable[[], bool]:
    return lambda: next(folder.glob(pattern), None) is not None


def read_history(run_dir: Path) -> list[dict[str, Any]]:
    path = run_dir / "history.csv"
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def competition(tmp_path_factory: pytest.TempPathFactory, write_competition: Callable[..., Project]) -> Project:
    """24 training photos in two folds, 8 test photos; two small experiments."""
    project = write_competition(tmp_path_factory.mktemp("pipeline"))
    for name, size_hw in {"small": (32, 48), "large": (48, 64)}.items():
        (project.configs_dir / f"{name}.py").write_text(EXPERIMENT.format(size_hw=size_hw))
    (project.configs_dir / "ensemble.py").write_text(ENSEMBLE)
    return project


@pytest.fixture
def house(competition: Project, tmp_path: Path) -> House:
    """A root with the competition's configs, and nothing made yet."""
    shutil.copytree(competition.configs_dir, tmp_path / "configs" / "tiny")
    return House(root=tmp_path, input_dir=competition.input_dir)


@pytest.fixture(scope="module")
def finished(competition: Project) -> House:
    """A root in which the whole pipeline ran, each stage at one go. Not to be written to."""
    house = House(root=competition.configs_dir.parents[1], input_dir=competition.input_dir)
    for stage in STAGES:
        house.run(stage, "--jobs", "1")
    return house


def test_the_pipeline_gives_a_valid_submission_that_finds_the_ellipses(finished: House) -> None:
    assert (finished.root / SUBMISSION).is_file()
    assert "valid" in finished.run("check-submission")
    truth_path = finished.input_dir / "truth" / "test_masks.csv"
    finished.run("score", "--ground-truth", str(truth_path))
    (score_path,) = (finished.models_dir / "scores").iterdir()
    score = json.loads(score_path.read_text())
    assert score["submission"] == "tiny_ensemble.csv.gz"
    ensemble = json.loads((finished.models_dir / "ensemble.json").read_text())
    assert [member["experiment"] for member in ensemble["members"]] == ["small", "large"]
    assert ensemble["score"]["mean"] > 0.9
    assert score["mean"] > 0.9
    stages = [json.loads(line)["stage"] for line in (finished.models_dir / "stages.jsonl").read_text().splitlines()]
    assert stages[:7] == list(STAGES)


def test_a_pipeline_that_is_killed_again_and_again_gives_the_same_bytes(finished: House, house: House) -> None:
    for run in ("small/fold1", "large/fold0", "large/fold1"):  # small's fold 0 is trained here
        shutil.copytree(finished.models_dir / run, house.models_dir / run)
    rng = random.Random(2017)

    def kill(stage: str, is_time: Callable[[], bool] | None = None) -> bool:
        # The first half of a stage is Python's start; the later the kill, the more there is to tear.
        moment = is_time or after(finished.seconds[stage] * rng.uniform(0.4, 1.0))
        return house.stop_when(moment, stage, "--jobs", "2")[0]

    kill("check")
    house.run("check")
    kill("split")
    house.run("split")
    assert (house.models_dir / "folds.csv").read_bytes() == (finished.models_dir / "folds.csv").read_bytes()
    train_with_two_stops(house, finished)
    assert kill("predict", there_is(house.models_dir, "*/maps/*/*.zip"))
    made_first = house.read_maps()
    kill("predict")
    house.run("predict")
    assert 0 < len(made_first) < len(house.read_maps())
    assert house.read_maps() == finished.read_maps()
    kill("ensemble")
    kill("ensemble")
    house.run("ensemble")
    assert (house.models_dir / "ensemble.json").read_bytes() == (finished.models_dir / "ensemble.json").read_bytes()
    for _ in range(5):  # on a busy machine the moment may be missed
        shutil.rmtree(house.root / "submissions", ignore_errors=True)
        kill("submission", there_is(house.root, "submissions/tiny/.part-*"))
        if not (house.root / SUBMISSION).exists():
            break
    assert not (house.root / SUBMISSION).exists()
    kill("submission")
    house.run("submission")
    assert (house.root / SUBMISSION).read_bytes() == (finished.root / SUBMISSION).read_bytes()
    assert not list(house.root.rglob(".part-*"))


def train_with_two_stops(house: House, finished: House) -> None:
    """Trains small's fold 0, stopped by Ctrl-C after an epoch and killed after another."""
    run_dir, whole_dir = (models_dir / "small" / "fold0" for models_dir in (house.models_dir, finished.models_dir))
    choice = ("--exp", "small", "--fold", "0")

    def has_epochs(count: int) -> Callable[[], bool]:
        return lambda: len(read_history(run_dir)) >= count

    was_at_work, said = house.stop_when(has_epochs(1), "train", *choice, by=signal.SIGINT)
    assert was_at_work and "error: stopped by Ctrl-C" in said and "Traceback" not in said, said
    was_at_work, _ = house.stop_when(has_epochs(len(read_history(run_dir)) + 1), "train", *choice)
    # Either stop may have come after the epoch's row and before its metrics.
    metrics_path = run_dir / "metrics.json"
    assert was_at_work and not (metrics_path.exists() and json.loads(metrics_path.read_text())["is_finished"])
    assert "goes on after epoch" in house.run("train", *choice)
    assert [row["epoch"] for row in read_history(run_dir)] == ["1", "2", "3", "4"]
    metrics = json.loads(metrics_path.read_text())
    assert (metrics["is_finished"], metrics["starts"], metrics["images"]) == (True, 3, 4 * 12)
    assert (run_dir / "history.csv").read_bytes() == (whole_dir / "history.csv").read_bytes()


@pytest.mark.skipif(find_spec("jax") is None, reason="needs jax")
def test_a_fold_is_trained_and_predicts_on_jax(house: House) -> None:
    # XLA's time goes into compiling; the work itself takes milliseconds.
    flags = "--xla_backend_optimization_level=0"
    on_jax = replace(house, environment={"KERAS_BACKEND": "jax", "XLA_FLAGS": flags})
    on_jax.run("split")
    choice = ("--exp", "small", "--fold", "0")
    on_jax.run("train", *choice)
    metrics = json.loads((house.models_dir / "small" / "fold0" / "metrics.json").read_text())
    assert metrics["is_finished"] and metrics["devices"][0].endswith("(jax)")
    said = on_jax.run("predict", *choice)
    assert float(said.split("out-of-fold dice ")[1].split()[0]) > 0.9
