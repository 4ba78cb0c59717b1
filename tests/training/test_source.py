from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from tests.trained_competition import write_metrics, write_run
from unets.config import DataConfig, DatasetConfig, ExperimentConfig, ModelConfig, SubmissionConfig, TrainingConfig
from unets.errors import InputError
from unets.store.paths import Project
from unets.training.source import find_source, order_experiments

MODEL = {"depth": 2, "base_filters": 2}
FOLDS_HASH = "folds"
DATASET = DatasetConfig(classes=("car",))


def build(size_hw: tuple[int, int] = (64, 64), *, start_from: str | None = None, **model: Any) -> ExperimentConfig:
    return ExperimentConfig(
        data=DataConfig(size_hw=size_hw),
        model=ModelConfig(**(MODEL | model)),
        training=TrainingConfig(start_from=start_from, epochs=5),
    )


@pytest.fixture
def source_dir(tmp_path: Path) -> Path:
    """A finished run of small photos."""
    project = Project.below(tmp_path, "tiny", models_dir=tmp_path)
    return write_run(project, "unet_small", 1, build((32, 48)), DATASET)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "unet_large" / "fold1"


def test_a_run_starts_from_one_of_smaller_photos_or_from_nothing(source_dir: Path, run_dir: Path) -> None:
    path = find_source(run_dir, build((64, 96), start_from="unet_small"), DATASET, FOLDS_HASH)
    assert path == source_dir / "net.weights.h5"
    assert find_source(run_dir, build(), DATASET, FOLDS_HASH) is None


@pytest.mark.parametrize("missing", ["folder", "metrics.json", "net.weights.h5", "the end", "the fold"])
def test_a_source_that_is_not_trained_to_its_end_is_refused(missing: str, source_dir: Path, run_dir: Path) -> None:
    if missing == "folder":
        source_dir.parent.rename(source_dir.parent.with_name("other"))
    elif missing == "the end":
        write_metrics(source_dir, is_finished=False)
    elif missing == "the fold":
        source_dir.rename(source_dir.with_name("fold0"))
    else:
        (source_dir / missing).unlink()
    with pytest.raises(InputError, match=r"must be trained first: `unets train --exp unet_small --fold 1`"):
        find_source(run_dir, build(start_from="unet_small"), DATASET, FOLDS_HASH)


@pytest.mark.parametrize(
    ("model", "dataset", "folds_hash", "named"),
    [
        ({}, {}, "cd34", "folds_hash=folds, not cd34"),
        ({}, {"classes": ("car", "bus")}, FOLDS_HASH, r"classes=\['car'\], not \['car', 'bus'\]"),
        ({}, {"overlapping": True}, FOLDS_HASH, "overlapping=False, not True"),
        ({}, {"channels": 5}, FOLDS_HASH, "channels=rgb, not 5"),
        ({"base_filters": 4}, {}, FOLDS_HASH, r"model=.*'base_filters': 2.*, not .*'base_filters': 4"),
        ({"depth": 3}, {}, FOLDS_HASH, r"model=.*'depth': 2.*, not .*'depth': 3"),
    ],
)
def test_a_source_of_another_kind_is_refused(
    model: dict[str, Any], dataset: dict[str, Any], folds_hash: str, named: str, source_dir: Path, run_dir: Path
) -> None:
    with pytest.raises(InputError, match=rf"`start_from` must be of the same .* unet_small with {named}"):
        find_source(
            run_dir,
            build(start_from="unet_small", **model),
            DatasetConfig(**{"classes": ("car",), "submission": SubmissionConfig(sample=None)} | dataset),
            folds_hash,
        )


def test_a_run_cannot_start_from_itself(source_dir: Path) -> None:
    with pytest.raises(InputError, match=r"`start_from` must be another experiment\. Received: unet_small"):
        find_source(source_dir, build(start_from="unet_small"), DATASET, FOLDS_HASH)


SOURCES = {"a": None, "b": "a", "c": "b", "d": "a", "e": "elsewhere"}


def name_sources(sources: dict[str, str | None]) -> dict[str, ExperimentConfig]:
    return {name: build(start_from=source) for name, source in sources.items()}


def test_no_order_of_asking_puts_one_before_its_source() -> None:
    assert order_experiments(name_sources({"high": "low"})) == [["high"]]  # low is not asked for: it must be there
    for names in permutations(SOURCES):
        generations = order_experiments(name_sources({name: SOURCES[name] for name in names}))
        assert [sorted(generation) for generation in generations] == [["a", "e"], ["b", "d"], ["c"]]
        assert all(generation == sorted(generation, key=names.index) for generation in generations)


@pytest.mark.parametrize("sources", [{"a": "a"}, {"a": "b", "b": "a"}, {"x": None, "a": "c", "b": "a", "c": "b"}])
def test_circles_are_refused(sources: dict[str, str | None]) -> None:
    with pytest.raises(InputError, match=r"`start_from` must not lead back") as caught:
        order_experiments(name_sources(sources))
    assert "x" not in str(caught.value).partition("Received: ")[2]
