"""A tiny competition with runs, scores and an ensemble as the stages leave them, without a net."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pytest

from tests import trained_competition
from tests.trained_competition import write_config, write_maps
from unets.config import DatasetConfig, EnsembleConfig, ExperimentConfig, Postprocessing, load_dataset
from unets.dataset.folds import write_folds
from unets.dataset.manifest import read_manifest
from unets.ensemble.fit import fit_ensemble
from unets.ensemble.oof import score_oof
from unets.pages.report import Report, write_report
from unets.store.paths import Project

GIVEN: dict[str, Any] = {"weights": "equal", "threshold": 0.5, "postprocessing": Postprocessing()}
Trained = tuple[Project, DatasetConfig]


def write_run(project: Project, dataset: DatasetConfig, experiment: str, fold: int, *, epochs: int = 3) -> None:
    """Writes a finished run's folder: history, cost, config; its weights are a name only."""
    reached = {"epochs": epochs, "best_dice": 1 - 0.6 / epochs, "best_epoch": epochs - 1}
    cost = {"seconds": 1800.0, "images": 100, "devices": ["a CPU"]}
    run_dir = trained_competition.write_run(project, experiment, fold, dataset=dataset, **cost, **reached)
    rows = [
        f"{epoch},{1 / epoch:.4f},{1 - 0.5 / epoch:.4f},{1.1 / epoch:.4f},{1 - 0.6 / epoch:.4f}\n"
        for epoch in range(1, epochs + 1)
    ]
    (run_dir / "history.csv").write_text("epoch,loss,dice,val_loss,val_dice\n" + "".join(rows))


def leave_trained(
    project: Project,
    *,
    experiments: Iterable[str] = "ab",
    chosen_folds: Mapping[str, Sequence[int]] | None = None,
    ensemble: bool = True,
    spoil: Callable[[str], float] | None = None,
    ensemble_name: str = "ensemble",
) -> Trained:
    """Leaves what the stages would, from folds to ensemble; `spoil` adds levels to the maps of the first experiment."""
    names, dataset = tuple(experiments), load_dataset(project.configs_dir)
    write_folds(project, read_manifest(project, dataset))
    for seed, name in enumerate(names):
        folds = (chosen_folds or {}).get(name, (0, 1))
        write_config(project, name, ExperimentConfig())
        for fold in folds:
            write_run(project, dataset, name, fold)
        shift = spoil if spoil is not None and seed == 0 else 0.0
        write_maps(project, dataset, name, seed=seed, folds=folds, shift=shift, kinds=("oof",))
        score_oof(project, dataset, name)
    if ensemble:
        config = EnsembleConfig(experiments=names, **GIVEN)
        fit_ensemble(project, dataset, config, name=ensemble_name)
    return project, dataset


@pytest.fixture
def make_trained(make_competition: Callable[..., Project]) -> Callable[..., Trained]:
    """`make_trained(chosen_folds={"b": (0,)}, ...)`: what a pipeline leaves; takes options of the competition, too."""
    own = inspect.signature(leave_trained).parameters

    def make(**options: Any) -> Trained:
        project = make_competition(
            num_groups=4, num_views=3, **{name: value for name, value in options.items() if name not in own}
        )
        return leave_trained(project, **{name: value for name, value in options.items() if name in own})

    return make


def report(project: Project, dataset: DatasetConfig, names: Iterable[str] = "ab", **options: Any) -> Report:
    """Writes the report of some experiments and their ensemble."""
    config = EnsembleConfig(experiments=tuple(names), **GIVEN)
    options = {"chosen_folds": dict.fromkeys(names, (0, 1))} | options
    return write_report(project, dataset, config, **options)
