"""A competition of 12 photos a fold, ways to train on it, and to read what a run left."""

import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from unets.config import DataConfig, ExperimentConfig, ModelConfig, TrainingConfig, load_dataset
from unets.data.cache import DiskReader, PairReader, open_reader
from unets.dataset.folds import write_folds
from unets.dataset.manifest import Manifest, read_manifest
from unets.store.paths import Project
from unets.store.runs import hash_file
from unets.training import panel
from unets.training.fold import train_fold
from unets.training.state import Fold

SIZE_HW = (32, 48)
# Dropout, augmentation and batch normalization: all that has a state of its own, or draws at random.
EXPERIMENT = ExperimentConfig(
    data=DataConfig(size_hw=SIZE_HW, batch_size=2, cache="ram"),
    model=ModelConfig(depth=1, base_filters=4, dropout=0.25),
    training=TrainingConfig(epochs=4, learning_rate=3e-2, warmup=0.25, precision="float32"),
)


class Interruption(BaseException):
    """Ends a training as Ctrl-C would."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A competition of 12 photos a fold, and the way to train on it."""

    project: Project
    manifest: Manifest
    fold_of: Mapping[str, int]
    folds_hash: str
    reader: PairReader

    def open_fold(self, run_dir: Path, experiment: ExperimentConfig = EXPERIMENT, **changes: Any) -> Fold:
        of_scene = {"manifest": self.manifest, "fold_of": self.fold_of, "folds_hash": self.folds_hash}
        return Fold(run_dir=run_dir, experiment=experiment, **(of_scene | {"number": 0} | changes))

    def train(self, run_dir: Path, experiment: ExperimentConfig = EXPERIMENT, **changes: Any) -> None:
        keras.utils.clear_session()
        of_fold = {name: changes.pop(name) for name in ("folds_hash", "pseudo_labels", "on_epoch") if name in changes}
        fold = self.open_fold(run_dir, experiment, **of_fold)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(panel, "TILE_WIDTH_PX", SIZE_HW[1])  # a PNG of 2 megapixels takes half a second
            train_fold(fold, **({"reader": self.reader, "workers": 2} | changes))

    @property
    def disk_reader(self) -> DiskReader:
        return DiskReader(self.manifest.train, self.manifest.dataset, SIZE_HW)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, write_competition: Callable[..., Project]) -> Scene:
    # PNG: other versions of the JPEG library would give other losses.
    project = write_competition(tmp_path_factory.mktemp("fold"), image_format="png")
    dataset = load_dataset(project.configs_dir)
    manifest = read_manifest(project, dataset)
    return Scene(
        project=project,
        manifest=manifest,
        fold_of=write_folds(project, manifest),
        folds_hash=hash_file(project.folds_path),
        reader=open_reader(manifest.train, dataset, SIZE_HW, "ram", project.cache_dir),
    )


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "unet_a" / "fold0"


def stop(*args: Any, **kwargs: Any) -> None:
    raise Interruption


def change(part: str, experiment: ExperimentConfig = EXPERIMENT, **fields: Any) -> ExperimentConfig:
    """Returns the experiment with some fields of `data`, `model` or `training` changed."""
    return experiment.model_copy(update={part: getattr(experiment, part).model_copy(update=fields)})


def read_history(run_dir: Path) -> list[dict[str, float]]:
    with (run_dir / "history.csv").open(newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def read_metrics(run_dir: Path) -> dict[str, Any]:
    return json.loads((run_dir / "metrics.json").read_text())


def read_weights(path: Path) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: arrays.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return arrays
