"""Out-of-fold scores of an experiment or ensemble, image by image, checked to be of the present folds.

On other folds an image's net may have seen the image's group, and its score would be too good.
"""

import csv
from dataclasses import dataclass

import numpy as np

from unets.config import is_ensemble
from unets.dataset.folds import hash_folds
from unets.ensemble.ensemble import Member, list_fitted, read_ensemble
from unets.errors import InputError
from unets.evaluation.runs import PhotoScore, is_outdated, list_evaluated, read_scores
from unets.prediction.maps import list_shards, open_maps
from unets.store.fingerprint import SNAPSHOT
from unets.store.paths import Project
from unets.store.runs import read_json

_ROUNDING = 1e-6  # of the scores in a csv


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluated:
    """An experiment or an ensemble, as read from its models folder."""

    name: str  # as it was asked for
    project: Project
    experiments: tuple[str, ...]  # it is made of
    scores: dict[str, PhotoScore]  # by id
    folds_hash: str
    notes: tuple[str, ...]  # what to keep in mind


def list_all_evaluated(project: Project) -> list[str]:
    """Returns the names of the experiments, and then of the ensembles, that were evaluated out-of-fold."""
    return list_evaluated(project) + list_fitted(project)


def load_evaluated(project: Project, metric: str, name: str, *, label: str = "") -> Evaluated:
    """Reads the scores of an experiment or an ensemble.

    Args:
        project: the folders.
        metric: of the competition.
        name: one of `list_all_evaluated`.
        label: what messages call it; its name where that is empty.

    Raises:
        InputError: its files are missing or something else stands in them, or it was trained or evaluated on other
            folds than the present ones.
    """
    if not project.folds_path.exists():
        raise InputError(f"{project.folds_path} must exist: it says what is out-of-fold. Received: no such file")
    load = _load_ensemble if is_ensemble(name) else _load_experiment
    evaluated = load(project, metric, label or name, name)
    _check_folds(evaluated)
    return evaluated


def _load_experiment(project: Project, metric: str, label: str, name: str) -> Evaluated:
    path = project.oof_scores_path(name)
    rows = read_scores(path, metric)
    snapshots = [project.run_dir(name, fold) / SNAPSHOT for fold in sorted({row.fold for row in rows})]
    for snapshot in snapshots:
        if not snapshot.exists():
            raise InputError(
                f"{snapshot} must exist, as {label} is evaluated by it. Received: no such file. "
                f"Run `unets train --exp {name} && unets predict --exp {name}`"
            )
    hashes = {read_json(snapshot).get("folds_hash") for snapshot in snapshots}
    present = hash_folds(project.folds_path)
    note = f"{label} has other weights since it was evaluated: `unets predict --exp {name}` evaluates the present ones"
    return Evaluated(
        name=label,
        project=project,
        experiments=(name,),
        scores={row.id: row for row in rows},
        folds_hash=present if hashes == {present} else "",
        notes=(note,) if is_outdated(project, name) else (),
    )


def _load_ensemble(project: Project, metric: str, label: str, name: str) -> Evaluated:
    ensemble = read_ensemble(project, name)
    path = project.ensemble_oof_path(name)
    if not path.exists():
        raise InputError(f"{path} must exist. Received: no such file. Run `unets ensemble`, which writes it")
    rows = read_scores(path, metric)
    mean = float(np.mean([row.score for row in rows]))
    if len(rows) != ensemble.num_photos or abs(mean - ensemble.score.mean) > _ROUNDING:
        raise InputError(
            f"{path} must hold the scores of {project.ensemble_path(name)}, {ensemble.num_photos} photos with mean "
            f"{ensemble.score.mean:.6f}. Received: {len(rows)} with {mean:.6f}. Run `unets ensemble`"
        )
    changed = [
        member.experiment
        for member in ensemble.members
        if is_outdated(project, member.experiment) or _has_other_maps(project, member)
    ]
    others = ", ".join(changed)
    note = (
        f"{label} was evaluated before the present weights or maps of {others}: run `unets predict && unets ensemble`"
    )
    return Evaluated(
        name=label,
        project=project,
        experiments=tuple(member.experiment for member in ensemble.members),
        scores={row.id: row for row in rows},
        folds_hash=ensemble.folds_sha256,
        notes=(note,) if changed else (),
    )


def _has_other_maps(project: Project, member: Member) -> bool:
    """Tells whether a member's out-of-fold maps are not those of its ensemble; deleted ones are no others."""
    folder = project.maps_dir(member.experiment, "oof")
    return bool(list_shards(folder)) and open_maps(folder).fingerprint != member.fingerprint


def _check_folds(evaluated: Evaluated) -> None:
    """Checks that the scores are of the present folds.

    Raises:
        InputError: they are not.
    """
    path = evaluated.project.folds_path
    with path.open(encoding="utf-8-sig", newline="") as file:
        fold_of = {row["id"]: row["fold"] for row in csv.DictReader(file)}
    agree = all(fold_of.get(row.id) == str(row.fold) for row in evaluated.scores.values())
    if not agree or evaluated.folds_hash != hash_folds(path):
        names = ",".join(evaluated.experiments)
        raise InputError(
            f"{evaluated.name} must be trained and evaluated on the present folds, {path}. Received: other folds. "
            f"`unets clean --exp {names}` deletes its runs, so that they can be made again"
        )
