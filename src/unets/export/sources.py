"""Whatever may stand for MODEL: a run, an experiment's runs, an ensemble with its runs, a model file, or `demo`.

Opening one reads what it is made of, and no number of its weights but to name them by their hash.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unets import __version__
from unets.config import ExperimentConfig, check_name
from unets.ensemble.ensemble import Ensemble, Member
from unets.ensemble.recipe import DEFAULT_THRESHOLD, Recipe
from unets.errors import InputError
from unets.evaluation.scores import read_scores
from unets.export.card import MemberCard, ModelCard, NetCard
from unets.metrics.intervals import Interval, bootstrap_mean
from unets.prediction.sources import StoredWeights, fingerprint_nets
from unets.store.fingerprint import SNAPSHOT, find_weights, read_metrics, read_snapshot
from unets.store.runs import hash_file, read_config
from unets.store.tensors import TensorFile

Weights = Path | StoredWeights

DEMO_PATH = Path(__file__).with_name("demo.safetensors")  # finds the studio's cars; docs/how-to/use-a-model.md
FORMAT_VERSION = 3  # of model files; raised when older code could not read a newer file
VERSION_KEY, CARD_KEY = "version", "card"
_ACCEPTED = (
    "a run (models/<competition>/<experiment>/fold<k>), an experiment's folder, an ensemble's json beside its runs, "
    "a file that `unets export` wrote, or `demo`"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSource:
    """A model that was opened: what it is, and where its weights are."""

    card: ModelCard
    weights: tuple[tuple[Weights, ...], ...]  # of each member, one a fold


@dataclass(frozen=True, kw_only=True, slots=True)
class _Run:
    """A trained run, as its folder has it."""

    folder: Path
    net: NetCard
    weights_path: Path
    experiment: ExperimentConfig
    dataset: dict[str, Any]  # fields of the card: classes, channels, ...
    recipe: Recipe  # the default of its data set, for one member


def open_model(path: Path) -> ModelSource:
    """Opens a model of whatever kind; see the module.

    Raises:
        InputError: it is none of those, unfinished, damaged, of a newer version, or its parts do not belong together.
    """
    path = DEMO_PATH if path == Path("demo") and not path.exists() else path
    if path.is_file():
        if path.suffix != ".json":
            return open_model_file(path)
        return open_ensemble(path, read_config(path, Ensemble, remedy="`unets ensemble` writes it again"), {})
    if not path.is_dir():
        raise InputError(f"`MODEL` must be {_ACCEPTED}. Received: {path}, which does not exist")
    if (path / SNAPSHOT).is_file():
        return open_runs([path])
    folders = sorted(path.glob("fold[0-9]*"), key=lambda folder: (len(folder.name), folder.name))
    if folders:
        return open_runs(folders)
    inside = sorted(file.name for file in path.glob("ensemble*.json"))
    hint = f". It holds {', '.join(inside)}: name one of these" if inside else ""
    raise InputError(f"`MODEL` must be {_ACCEPTED}. Received: {path}, a folder of something else{hint}")


def open_model_file(path: Path) -> ModelSource:
    """Opens a model file: a card and the weights of all its nets, as safetensors. Reads it once from end to end.

    Raises:
        InputError: it is something else, damaged, of a newer version, or lacks the weights of a net.
    """
    file = TensorFile(path)
    version, said = file.metadata.get(VERSION_KEY), file.metadata.get(CARD_KEY)
    if not isinstance(version, int) or said is None:
        raise InputError(f"{path} must be a model file of unets. Received: arrays that another program wrote")
    if version > FORMAT_VERSION:
        raise InputError(
            f"{path} must be a model file of version {FORMAT_VERSION} at most. Received: version {version}. "
            f"A newer unets reads it"
        )
    file.check_numbers()
    text = json.dumps(said)
    try:
        card = ModelCard.from_json(text, str(path))
    except InputError as error:
        match = re.search(r'"unets":\s*"([\w.+-]+)"', text)  # a newer one's configs may have fields that we do not know
        by = f". unets {match[1]} wrote it, this is {__version__}" if match and match[1] != __version__ else ""
        raise InputError(f"{error}{by}") from error
    weights = tuple(
        tuple(StoredWeights(file=file, name=name_net(member, net)) for net in member.nets) for member in card.members
    )
    known = {stored.name for nets in weights for stored in nets}
    held = {"/".join(name.split("/")[:2]) for name in file.shapes}
    if held != known:
        raise InputError(f"{path} must hold the weights of {sorted(known)}. Received: those of {sorted(held)}")
    return ModelSource(card=card, weights=weights)


def name_net(member: MemberCard, net: NetCard) -> str:
    """Returns what the names of a net's arrays begin with in a model file."""
    return f"{member.name}/fold{net.fold}"


def open_runs(folders: Sequence[Path]) -> ModelSource:
    """Opens runs of one experiment as one model: the mean of their maps, with the default threshold of their dataset.

    Args:
        folders: run folders of one experiment, one a fold.

    Raises:
        InputError: one is unfinished, or they are of different configs or classes.
    """
    experiment_dir = folders[0].absolute().parent
    runs = [_read_run(folder.absolute()) for folder in folders]
    folds = [run.net.fold for run in runs]
    metric, score = _read_score(experiment_dir, folds)
    return _join(
        folders[0],
        [runs],
        name=experiment_dir.name + (f"_fold{folds[0]}" if len(folds) == 1 else ""),
        competition=experiment_dir.parent.name,
        recipe=runs[0].recipe,
        metric=metric,
        score=score,
    )


def open_ensemble(path: Path, ensemble: Ensemble, experiments: dict[str, ExperimentConfig]) -> ModelSource:
    """Opens an ensemble and the runs of its members beside it.

    Args:
        path: of its json, in the models folder.
        ensemble: what stands in it.
        experiments: configs by name, where they are known: how a run predicts may have changed since it was trained.

    Raises:
        InputError: a member's run is missing, or not the one that the ensemble was fitted on.
    """
    return _join(
        path,
        [_find_runs(path, ensemble, member, experiments.get(member.experiment)) for member in ensemble.used_members],
        name=f"{ensemble.competition}_{ensemble.name}",
        competition=ensemble.competition,
        recipe=ensemble.recipe,
        metric=ensemble.metric,
        score=ensemble.score,
    )


def _find_runs(path: Path, ensemble: Ensemble, member: Member, experiment: ExperimentConfig | None) -> list[_Run]:
    """Finds the runs that made a member's probability maps: those of the ensemble's folds, or all that there are."""
    experiment_dir = path.absolute().parent / check_name(member.experiment, f"`experiment` in {path}")
    present = sorted(int(folder.name[4:]) for folder in experiment_dir.glob("fold*") if folder.name[4:].isdecimal())
    for folds in (list(ensemble.folds), present):
        runs = [_read_run(experiment_dir / f"fold{fold}", experiment) for fold in folds]
        hashes = {run.net.fold: run.net.weights_sha256 for run in runs}
        if runs and fingerprint_nets(runs[0].experiment, runs[0].dataset["classes"], hashes) == member.fingerprint:
            return runs
    raise InputError(
        f"{experiment_dir} must hold the runs that {path.name} was made of. Received: runs that were trained again, or "
        f"that predict in another way now. Run `unets predict && unets ensemble`; `unets export` knows how they predict"
    )


def _read_run(run_dir: Path, experiment: ExperimentConfig | None = None) -> _Run:
    """Reads what a run folder says of its net.

    Args:
        run_dir: the folder.
        experiment: how it predicts, where that may have changed since; all else must be as it was trained.
    """
    if not (run_dir / SNAPSHOT).is_file():
        raise InputError(f"{run_dir} must hold a trained run. Received: no {SNAPSHOT} in it")
    snapshot = read_snapshot(run_dir)
    weights_path = find_weights(run_dir, snapshot)
    fields = {name: snapshot[name] for name in ("data", "model", "training", "prediction")}
    trained = ExperimentConfig.from_json(json.dumps(fields), str(run_dir / SNAPSHOT))
    if experiment is not None:
        trained = trained.model_copy(update={"prediction": experiment.prediction})
    metrics, told = read_metrics(run_dir), snapshot["told"]
    return _Run(
        folder=run_dir,
        net=NetCard(
            fold=snapshot["fold"],
            weights_sha256=hash_file(weights_path),
            best_dice=metrics["best_dice"],
            commits=tuple(metrics["commits"]),
        ),
        weights_path=weights_path,
        experiment=trained,
        dataset={
            "classes": tuple(snapshot["classes"]),
            "image_hw": told["size_hw"] and tuple(told["size_hw"]),
            **{name: snapshot["dataset"][name] for name in ("channels", "value_range")},
        },
        recipe=Recipe(
            weights=(1.0,),
            threshold=DEFAULT_THRESHOLD if told["has_background"] else 0.0,
            overlapping=snapshot["dataset"]["overlapping"],
        ),
    )


def _join(path: Path, runs_of: Sequence[Sequence[_Run]], **fields: Any) -> ModelSource:
    """Joins the runs of each member, which must agree in all that decides whether maps can be averaged."""
    (first, *_), *_ = runs_of
    for runs in runs_of:
        config = runs[0].experiment.model_copy(update={"training": runs[0].experiment.training.precision})
        for run in runs:
            same = run.experiment.model_copy(update={"training": run.experiment.training.precision}) == config
            if not same or run.dataset != first.dataset:
                raise InputError(
                    f"{path} must be of runs of one data set, those of an experiment of one config. Received: "
                    f"{runs[0].folder} and {run.folder}, which differ"
                )
    members = tuple(
        MemberCard(name=runs[0].folder.parent.name, experiment=runs[0].experiment, nets=tuple(run.net for run in runs))
        for runs in runs_of
    )
    weights = tuple(tuple(run.weights_path for run in runs) for runs in runs_of)
    return ModelSource(card=ModelCard(**first.dataset, members=members, **fields), weights=weights)


def _read_score(experiment_dir: Path, folds: Sequence[int]) -> tuple[str | None, Interval | None]:
    """Reads what the runs reached out-of-fold, from the experiment's csv; nothing where there is none of them."""
    path = experiment_dir / "oof_scores.csv"
    if not path.is_file():
        return None, None
    with path.open(encoding="utf-8") as file:
        metric = file.readline().strip().split(",")[3:4]
    if not metric:
        return None, None
    table = read_scores(path, metric[0])
    table = table[table["fold"].isin(folds)]
    if set(table["fold"]) != set(folds):
        return None, None
    return metric[0], bootstrap_mean(table["score"].to_numpy(), table["group"].tolist())
