"""Whatever may stand for MODEL: a run, an experiment's runs, an ensemble with its runs, a model file, or `demo`.

Opening one reads what it is made of, and no number of its weights but to name them by their hash.
"""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from unets import __version__
from unets.config import ExperimentConfig, check_name
from unets.ensemble.ensemble import Ensemble, Member
from unets.ensemble.recipe import DEFAULT_THRESHOLD, Recipe
from unets.errors import InputError
from unets.evaluation.scores import read_scores
from unets.export.card import MemberCard, ModelCard, NetCard
from unets.export.model import TrainedModel
from unets.metrics.intervals import bootstrap_mean
from unets.metrics.masks import find_metric
from unets.nets.startup import load_backend
from unets.prediction.sources import StoredWeights, fingerprint_nets
from unets.store.run_folder import SNAPSHOT, find_weights, read_metrics, read_snapshot
from unets.store.runs import hash_file, read_config, read_json
from unets.store.tensors import TensorFile

logger = logging.getLogger(__name__)

DEMO_PATH = Path(__file__).with_name("demo.safetensors")  # finds the studio's cars; docs/how-to/use-a-model.md
FORMAT_VERSION = 4  # of model files
VERSION_KEY, CARD_KEY = "version", "card"
_ACCEPTED = (
    "a run (models/<competition>/<experiment>/fold<k>), an experiment's folder, an ensemble's json beside its runs, "
    "a file that `unets export` wrote, or `demo`"
)


def load_model(path: str | Path) -> TrainedModel:
    """Loads a model: a model file, a run's or an experiment's folder, an ensemble's json beside its runs, or `demo`.

    It loads Keras and its backend, without their notes on stderr. Raises InputError where it is none of those,
    unfinished, damaged, or of a newer version.
    """
    opened = open_model(Path(path))
    load_backend()
    model = TrainedModel(opened.card, opened.weights, batch_size=1)
    _ = model.predictors
    return model


def open_model(path: Path) -> TrainedModel:
    """Opens a model of whatever kind; see the module.

    Raises InputError where it is none of those, unfinished, damaged, of a newer version, or its parts do not belong
    together.
    """
    path = DEMO_PATH if path == Path("demo") and not path.exists() else path
    if path.is_file():
        if path.suffix != ".json":
            return open_model_file(path)
        return open_ensemble(path, read_config(path, Ensemble, remedy="`unets ensemble` writes it again"), {})
    folds = sorted(path.glob("fold[0-9]*"), key=lambda folder: (len(folder.name), folder.name))
    if folders := [path] if (path / SNAPSHOT).is_file() else folds:
        return open_runs(folders)
    inside = sorted(file.name for file in path.glob("ensemble*.json"))
    what = "a folder of something else" if path.is_dir() else "which does not exist"
    hint = f". It holds {', '.join(inside)}: name one of these" if inside else ""
    raise InputError(f"`MODEL` must be {_ACCEPTED}. Received: {path}, {what}{hint}")


def open_model_file(path: Path) -> TrainedModel:
    """Opens a model file: a card and the weights of all its nets, as safetensors. Reads it once from end to end.

    Raises InputError where it is something else, damaged, of a newer version, or lacks the weights of a net.
    """
    file = TensorFile(path)
    version, said = file.metadata.get(VERSION_KEY), file.metadata.get(CARD_KEY)
    if not isinstance(version, int) or said is None:
        raise InputError(f"{path} must be a model file of unets. Received: arrays that another program wrote")
    if version != FORMAT_VERSION:
        remedy = "A newer unets reads it" if version > FORMAT_VERSION else "`unets export` writes it again"
        raise InputError(f"{path} must be a model file of version {FORMAT_VERSION}. Received: {version}. {remedy}")
    file.check()
    text = json.dumps(said)
    try:
        card = ModelCard.from_json(text, str(path))
    except InputError as error:
        match = re.search(r'"unets":\s*"([\w.+-]+)"', text)  # a newer one's configs may have fields that we do not know
        by = f". unets {match[1]} wrote it, this is {__version__}" if match and match[1] != __version__ else ""
        raise InputError(f"{error}{by}") from error
    for member in card.members:
        if "/" in (encoder := member.experiment.model.encoder):  # a file from anywhere fetches nothing
            raise InputError(f"{path} must name a preset of keras-hub itself. Received: {encoder}, of another place")
    names = [[name_net(member, net) for net in member.nets] for member in card.members]
    known, held = set(chain(*names)), {"/".join(name.split("/")[:2]) for name in file.shapes}
    if held != known:
        raise InputError(f"{path} must hold the weights of {sorted(known)}. Received: those of {sorted(held)}")
    return TrainedModel(card, tuple(tuple(StoredWeights(file=file, name=name) for name in nets) for nets in names))


def name_net(member: MemberCard, net: NetCard) -> str:
    """Returns what the names of a net's arrays begin with in a model file."""
    return f"{member.name}/fold{net.fold}"


def open_runs(folders: Sequence[Path]) -> TrainedModel:
    """Opens runs of one experiment, one a fold, as one model: the mean of their maps, with the default threshold.

    Raises InputError where one is unfinished, or they are of different configs or classes.
    """
    runs = [_read_run(folder.absolute()) for folder in folders]
    experiment_dir, snapshot = runs[0].folder.parent, runs[0].snapshot
    threshold = DEFAULT_THRESHOLD if snapshot["told"]["has_background"] else 0.0
    return _join(
        folders[0],
        [runs],
        name=experiment_dir.name + (f"_fold{runs[0].net.fold}" if len(runs) == 1 else ""),
        competition=experiment_dir.parent.name,
        recipe=Recipe(weights=(1.0,), threshold=threshold, overlapping=snapshot["dataset"]["overlapping"]),
        **_read_score(experiment_dir, runs),
    )


def open_ensemble(path: Path, ensemble: Ensemble, experiments: Mapping[str, ExperimentConfig]) -> TrainedModel:
    """Opens an ensemble, whose json lies at `path`, and the runs of its members beside it.

    Of `experiments` configs are taken, where they are known: how a run predicts may have changed since it was trained.
    Raises InputError where a member's run is missing, or not the one that the ensemble was fitted on.
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


@dataclass(frozen=True, kw_only=True, slots=True)
class _Run:
    """A trained run, as its folder has it."""

    folder: Path
    net: NetCard
    weights: Path
    experiment: ExperimentConfig
    snapshot: dict[str, Any]

    @property
    def data(self) -> dict[str, Any]:
        """What the card says of the images and classes."""
        dataset, told = self.snapshot["dataset"], self.snapshot["told"]
        images = {name: dataset[name] for name in ("channels", "value_range")}
        return {"classes": self.snapshot["classes"], "image_hw": told["size_hw"], **images}

    @property
    def way(self) -> tuple[Any, ...]:
        """What runs of one experiment have in common, so that their maps can be averaged."""
        config = self.experiment
        return config.data, config.model, config.prediction, config.training.precision


def _find_runs(path: Path, ensemble: Ensemble, member: Member, experiment: ExperimentConfig | None) -> list[_Run]:
    """Finds the runs that made a member's probability maps: those of the ensemble's folds, or all that there are."""
    experiment_dir = path.absolute().parent / check_name(member.experiment, f"`experiment` in {path}")
    present = sorted(int(folder.name[4:]) for folder in experiment_dir.glob("fold*") if folder.name[4:].isdecimal())
    for folds in (list(ensemble.folds), present):
        runs = [_read_run(experiment_dir / f"fold{fold}", experiment) for fold in folds]
        hashes = {run.net.fold: run.net.weights_sha256 for run in runs}
        if runs and fingerprint_nets(runs[0].experiment, runs[0].snapshot["classes"], hashes) == member.fingerprint:
            return runs
    raise InputError(
        f"{experiment_dir} must hold the runs that {path.name} was made of. Received: runs that were trained again, or "
        f"that predict in another way now. Run `unets predict && unets ensemble`; `unets export` knows how they predict"
    )


def _read_run(run_dir: Path, experiment: ExperimentConfig | None = None) -> _Run:
    """Reads what a run folder says of its net; `experiment` says how it predicts, which may have changed since."""
    if not (run_dir / SNAPSHOT).is_file():
        raise InputError(f"{run_dir} must hold a trained run. Received: no {SNAPSHOT} in it")
    snapshot = read_snapshot(run_dir)
    weights, metrics = find_weights(run_dir, snapshot), read_metrics(run_dir)
    fields = {name: snapshot[name] for name in ("data", "model", "training", "prediction")}
    trained = ExperimentConfig.from_json(json.dumps(fields), str(run_dir / SNAPSHOT))
    if experiment is not None:
        trained = trained.model_copy(update={"prediction": experiment.prediction})
    told = {"best_dice": metrics["best_dice"], "commits": tuple(metrics["commits"])}
    net = NetCard(fold=snapshot["fold"], weights_sha256=hash_file(weights), **told)
    return _Run(folder=run_dir, net=net, weights=weights, experiment=trained, snapshot=snapshot)


def _join(path: Path, runs_of: Sequence[Sequence[_Run]], **fields: Any) -> TrainedModel:
    """Joins the runs of each member, which must agree in all that decides whether maps can be averaged."""
    data = runs_of[0][0].data
    for runs in runs_of:
        for run in runs:
            if run.way != runs[0].way or run.data != data:
                raise InputError(
                    f"{path} must be of runs of one data set, those of an experiment of one config. Received: "
                    f"{runs[0].folder} and {run.folder}, which differ"
                )
    members = tuple(
        MemberCard(name=runs[0].folder.parent.name, experiment=runs[0].experiment, nets=tuple(run.net for run in runs))
        for runs in runs_of
    )
    weights = tuple(tuple(run.weights for run in runs) for runs in runs_of)
    return TrainedModel(ModelCard(**data, members=members, **fields), weights)


def _read_score(experiment_dir: Path, runs: Sequence[_Run]) -> dict[str, Any]:
    """Reads metric and out-of-fold score of runs; nothing where there is none, or it is of other weights."""
    path, record = experiment_dir / "oof_scores.csv", experiment_dir / "oof_pixels.json"
    header = path.read_text(encoding="utf-8").partition("\n")[0].split(",") if path.is_file() else []
    if len(header) < 4 or not record.is_file():
        return {}
    scored = read_json(record, remedy="Run `unets predict`", weights=dict[int, str])["weights"]
    if any(scored.get(run.net.fold) != run.net.weights_sha256 for run in runs):
        logger.warning("%s: its scores are of other weights than the present; `unets predict` scores these", path)
        return {}
    everything = read_scores(path, header[3])
    table = everything[everything["fold"].isin([run.net.fold for run in runs])]
    if len(table) < len(everything) and find_metric(header[3]).over_pixels:  # which says nothing of some images alone
        return {}
    return {"metric": header[3], "score": bootstrap_mean(table["score"].to_numpy(), table["group"].tolist())}
