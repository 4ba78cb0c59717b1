"""Whatever may stand for MODEL: a run, an experiment's runs, an ensemble with its runs, or one model file.

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
from unets.prediction.sources import StoredWeights, find_weights, fingerprint_nets
from unets.store.fingerprint import SNAPSHOT
from unets.store.runs import hash_file, read_config, read_json
from unets.store.tensors import TensorFile

Weights = Path | StoredWeights

FORMAT_VERSION = 2  # of model files; raised when older code could not read a newer file
VERSION_KEY, CARD_KEY = "version", "card"
_MAX_CARD_CHARACTERS = 2**22  # a card of five nets has 10,000
_ACCEPTED = (
    "a run (models/<competition>/<experiment>/fold<k>), an experiment's folder, an ensemble's json beside its runs, or "
    "a file that `unets export` wrote"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSource:
    """A model that was opened: what it is, and where its weights are."""

    path: Path
    card: ModelCard
    weights: tuple[tuple[Weights, ...], ...]  # of each member, one a fold


@dataclass(frozen=True, kw_only=True, slots=True)
class _Run:
    """A trained run, as its folder has it."""

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
    card = _read_card(path, said)
    weights = tuple(
        tuple(StoredWeights(file=file, name=name_net(member, net)) for net in member.nets) for member in card.members
    )
    known = {stored.name for nets in weights for stored in nets}
    held = {"/".join(name.split("/")[:2]) for name in file.shapes}
    if held != known:
        raise InputError(f"{path} must hold the weights of {sorted(known)}. Received: those of {sorted(held)}")
    for member, (stored, *_) in zip(card.members, weights, strict=True):
        _check_width(member, stored)
    return ModelSource(path=path, card=card, weights=weights)


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
    member = _join(experiment_dir, runs)
    folds = [run.net.fold for run in runs]
    metric, score = _read_score(experiment_dir, folds)
    suffix = f"_fold{folds[0]}" if len(folds) == 1 else ""
    card = ModelCard(
        name=f"{experiment_dir.name}{suffix}",
        competition=experiment_dir.parent.name,
        **runs[0].dataset,
        members=(member,),
        recipe=runs[0].recipe,
        metric=metric,
        score=score,
    )
    return ModelSource(path=folders[0], card=card, weights=(tuple(run.weights_path for run in runs),))


def _read_card(path: Path, card: object) -> ModelCard:
    text = json.dumps(card)
    if len(text) > _MAX_CARD_CHARACTERS:
        raise InputError(f"{path} must have a card of {_MAX_CARD_CHARACTERS} characters at most. Received: {len(text)}")
    try:
        return ModelCard.from_json(text, str(path))
    except InputError as error:
        match = re.search(r'"unets":\s*"([\w.+-]+)"', text)  # a newer one's configs may have fields that we do not know
        by = f". unets {match[1]} wrote it, this is {__version__}" if match and match[1] != __version__ else ""
        raise InputError(f"{error}{by}") from error


def _check_width(member: MemberCard, stored: StoredWeights) -> None:
    """Checks that a net is no wider than its weights, before one is built that the memory does not hold."""
    model = member.experiment.model
    width = min(model.base_filters << (model.depth - 1), model.max_filters)
    shapes = [shape for name, shape in stored.file.shapes.items() if name.startswith(f"{stored.name}/")]
    widest = max((max(shape, default=1) for shape in shapes), default=0)
    if widest < width:
        raise InputError(
            f"{stored.file.path} must hold weights of the nets on its card, {width} channels wide. Received: {widest} "
            f"at most, of {stored.name}"
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
    runs_of = {
        member.experiment: _find_runs(path, ensemble, member, experiments.get(member.experiment))
        for member in ensemble.used_members
    }
    (first, *_), *others = runs_of.values()
    for other, *_ in others:
        if other.dataset != first.dataset:
            raise InputError(f"{path} must be of nets of one data set. Received: {first.dataset}, {other.dataset}")
    card = ModelCard(
        name=f"{ensemble.competition}_{ensemble.name}",
        competition=ensemble.competition,
        **first.dataset,
        members=tuple(_join(path.absolute().parent / name, runs) for name, runs in runs_of.items()),
        recipe=ensemble.recipe,
        metric=ensemble.metric,
        score=ensemble.score,
    )
    weights = tuple(tuple(run.weights_path for run in runs) for runs in runs_of.values())
    return ModelSource(path=path, card=card, weights=weights)


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
    keys = ("fold", "classes", "dataset", "data", "model", "training", "prediction", "told")
    snapshot = read_json(run_dir / SNAPSHOT, *keys)
    weights_path = find_weights(run_dir, snapshot)
    fields = {name: snapshot[name] for name in ("data", "model", "training", "prediction")}
    trained = ExperimentConfig.from_json(json.dumps(fields), str(run_dir / SNAPSHOT))
    if experiment is not None:
        trained = trained.model_copy(update={"prediction": experiment.prediction})
    metrics, told = read_json(run_dir / "metrics.json"), snapshot["told"]
    return _Run(
        net=NetCard(
            fold=snapshot["fold"],
            weights_sha256=hash_file(weights_path),
            best_dice=metrics.get("best_dice"),
            commits=tuple(metrics.get("commits", ())),
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


def _join(experiment_dir: Path, runs: Sequence[_Run]) -> MemberCard:
    first = runs[0]
    for run in runs:
        if _list_shared(run) != _list_shared(first):
            raise InputError(
                f"{experiment_dir} must hold runs of one config. Received: fold {first.net.fold} and fold "
                f"{run.net.fold} of different ones"
            )
    return MemberCard(name=experiment_dir.name, experiment=first.experiment, nets=tuple(run.net for run in runs))


def _list_shared(run: _Run) -> tuple[object, ...]:
    """Returns what must agree for probability maps to be averaged."""
    experiment = run.experiment
    return run.dataset, experiment.data.size_hw, experiment.model, experiment.training.precision, experiment.prediction


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
