"""A fold that is killed, for real and again and again, ends with the bits of one that was not."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests import ROOT
from unets.config import load_dataset
from unets.dataset.folds import write_folds
from unets.dataset.manifest import read_manifest
from unets.store.paths import Project

pytestmark = pytest.mark.slow

Kill = tuple[str, str, int, str]
KILLED = -9
OF_TIME = {"seconds", "starts", "devices", "commits", "seal"}  # what a restart may change, and the hash of all

# 3 updates of 2 steps an epoch. Patience leaves it three epochs at least, as the first is always the best so far.
EVERYTHING = {"epochs": 4, "patience": 2, "ema": 0.9, "deterministic": True}


@dataclass
class Trainer:
    """Trains runs of a tiny competition in processes of their own."""

    project: Project
    backend: str

    def train(self, *jobs: tuple[str, Kill | None], training: dict[str, Any]) -> list[int]:
        """Does jobs (name of the run, where it is killed) one after the other; returns how each ended."""
        lines = [json.dumps({"run": run, "training": training, "kill": kill}) for run, kill in jobs]
        root = self.project.input_dir.parent
        # XLA's time goes into compiling; the work itself takes milliseconds.
        environment = {"KERAS_BACKEND": self.backend, "XLA_FLAGS": "--xla_backend_optimization_level=0"}
        done = subprocess.run(
            [sys.executable, "-m", "tests.training.fold_process", str(root)],
            input="\n".join(lines),
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | environment | {"TF_CPP_MIN_LOG_LEVEL": "2"},
            cwd=ROOT,
        )
        codes = [int(line) for line in done.stdout.split()]
        assert set(codes) <= {0, KILLED}, done.stderr
        return codes

    def read(self, run: str) -> dict[str, Any]:
        """Returns all that must not differ: weights, history, metrics, state."""
        run_dir = self.project.run_dir(run, 0)
        kept: dict[str, Any] = {"history": (run_dir / "history.csv").read_bytes()}
        metrics = json.loads((run_dir / "metrics.json").read_text())
        kept["metrics"] = {key: value for key, value in metrics.items() if key not in OF_TIME}
        with h5py.File(run_dir / "net.weights.h5") as file:
            file.visititems(
                lambda name, item: kept.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
            )
        with np.load(run_dir / "last" / "state.npz") as state:
            kept |= {name: state[name] for name in state.files if name != "progress"}
            progress = json.loads(state["progress"].tobytes())
        kept["progress"] = {key: value for key, value in progress.items() if key not in OF_TIME}
        return kept

    def list_files(self, run: str) -> set[str]:
        run_dir = self.project.run_dir(run, 0)
        return {str(path.relative_to(run_dir)) for path in run_dir.rglob("*") if path.is_file()}


@pytest.fixture
def start(tmp_path: Path, write_competition: Callable[..., Project]) -> Callable[[str], Trainer]:
    def start(backend: str) -> Trainer:
        project = write_competition(tmp_path, image_format="png")
        dataset = load_dataset(project.configs_dir)
        write_folds(project, read_manifest(project, dataset))
        return Trainer(project, backend)

    return start


def assert_same(run: dict[str, Any], other: dict[str, Any]) -> None:
    assert run.keys() == other.keys() and len(run) > 40
    for name, value in run.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)


def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bits(start: Callable[[str], Trainer]) -> None:
    trainer = start("tensorflow")
    kills: list[Kill] = [
        ("state.npz", "before", 2, ""),  # in the first epoch, while its state is written over an older one
        ("net.weights.h5", "after", 1, ""),  # as the first epoch ends, before its state: it is repeated
        ("state.npz", "after", 1, ""),  # after its state, before all that is written from it
        ("state.npz", "after", 5, ""),  # two updates into the third epoch
        ("metrics.json", "before", 1, '"is_finished": true'),  # when the last weights are written
    ]
    codes = trainer.train(("whole", None), *(("torn", kill) for kill in kills), ("torn", None), training=EVERYTHING)
    assert codes == [0] + [KILLED] * len(kills) + [0]
    whole, torn = trainer.read("whole"), trainer.read("torn")
    assert whole["metrics"]["is_finished"]
    assert_same(torn, whole)
    assert not [name for name in trainer.list_files("torn") if ".part-" in name]


@pytest.mark.skipif(find_spec("jax") is None, reason="needs jax")
def test_a_run_that_is_killed_within_an_epoch_ends_with_the_same_bits_on_jax(start: Callable[[str], Trainer]) -> None:
    trainer = start("jax")
    training = {"epochs": 2, "ema": 0.9, "steps_per_epoch": 2}  # an epoch ends within a pass over the 12 images
    codes = trainer.train(("whole", None), ("torn", ("state.npz", "after", 3, "")), ("torn", None), training=training)
    assert codes == [0, KILLED, 0]
    assert_same(trainer.read("torn"), trainer.read("whole"))
    assert trainer.read("whole")["metrics"]["images"] == 2 * 2 * 4
