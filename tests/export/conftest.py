"""Runs whose files are there, but whose weights are no net's: opening a model reads no number."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from unets.config import DatasetConfig, load_dataset
from unets.data.samples import read_mask
from unets.dataset.manifest import read_manifest
from unets.dataset.scaffold import write_scaffold
from unets.metrics.intervals import Interval
from unets.metrics.pixels import pick_class
from unets.prediction.sources import fingerprint_nets
from unets.store.paths import Project
from unets.store.runs import hash_file

from ..trained_competition import TINY, build_ensemble, write_run

DATASET = DatasetConfig(size_hw=(64, 96), classes=("car",))


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    return tmp_path / "models" / "tiny"


@pytest.fixture
def plant_run(models_dir: Path) -> Callable[..., Path]:
    """Writes a run folder: `plant_run("unet_a", 0, experiment=..., dataset=..., is_finished=..., weights=...)`."""

    def plant(name: str = "unet_a", fold: int = 0, **fields: Any) -> Path:
        project = Project.below(models_dir.parents[1], models_dir.name)
        given = {"experiment": TINY, "dataset": DATASET, "weights": f"{name} {fold}".encode()}
        return write_run(project, name, fold, **given | {"best_dice": 0.9 + fold / 100} | fields)

    return plant


@pytest.fixture
def plant_ensemble(models_dir: Path, plant_run: Callable[..., Path]) -> Callable[..., Path]:
    """Writes an ensemble's json, and runs that are not there: `plant_ensemble({"unet_a": 0.75, "unet_b": 0.25})`."""

    def plant(weights: dict[str, float], *, folds: Sequence[int] = (0, 1)) -> Path:
        steps = {"threshold": 0.44, "postprocessing": {"max_components": 1}}
        ensemble = build_ensemble(weights, folds=tuple(folds), score=Interval(mean=0.9, low=0.8, high=0.95), **steps)
        members = []
        for member in ensemble.members:
            hashes = {}
            for fold in folds:
                path = models_dir / member.experiment / f"fold{fold}" / "net.weights.h5"
                if not path.exists():
                    plant_run(member.experiment, fold)
                hashes[fold] = hash_file(path)
            made_by = fingerprint_nets(TINY, DATASET.classes, hashes)
            members.append(member.model_copy(update={"fingerprint": made_by}))
        path = models_dir / "ensemble.json"
        path.write_text(ensemble.model_copy(update={"members": tuple(members)}).to_json())
        return path

    return plant


@pytest.fixture
def read_import(tmp_path: Path) -> Callable[[Path], dict[str, list[Any]]]:
    """Reads a folder as `unets new` and `unets import` do: by the image's name, where each class is."""

    def read(folder: Path) -> dict[str, list[Any]]:
        project = Project.below(tmp_path / "root", "mine", input_dir=folder)
        (project.configs_dir / "dataset.py").unlink(missing_ok=True)
        write_scaffold(project, force=True)
        dataset = load_dataset(project.configs_dir)
        found = {}
        for sample in read_manifest(project, dataset).train:
            mask = read_mask(sample)
            found[sample.image_path.stem] = [pick_class(mask, index) for index in range(len(dataset.classes))]
        return found

    return read
