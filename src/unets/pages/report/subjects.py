"""Subjects: the experiments and the ensemble that were judged out-of-fold, and what each reached and cost."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from unets.config import is_ensemble
from unets.errors import InputError
from unets.evaluation.judged import Judged, load_judged
from unets.evaluation.runs import PhotoScore, find_cost
from unets.metrics.intervals import Interval, bootstrap_mean, note_few_groups
from unets.store.paths import Project


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """One experiment, or the ensemble."""

    name: str
    is_ensemble: bool
    experiments: tuple[str, ...]  # it is made of
    folds: tuple[int, ...]
    scores: dict[str, PhotoScore]  # by id
    score: Interval
    num_groups: int
    cost: dict[str, Any] | None  # of the training of its folds, see `sum_cost`; None: a metrics.json is gone
    notes: tuple[str, ...]


def load_subjects(
    project: Project, metric: str, names: Iterable[str], folds: Collection[int] | None
) -> tuple[list[Subject], list[str]]:
    """Loads what was judged.

    Args:
        project: the folders.
        metric: of the competition.
        names: of experiments, and of ensembles.
        folds: whose photos count; None is all.

    Returns:
        The subjects, ensembles first, then by their score; and why others of the names are none.
    """
    subjects, notes = [], []
    for name in names:
        try:
            judged = load_judged(project, metric, name)
        except InputError as error:
            notes.append(f"{name} is left out: {error}")
            continue
        scores = {id_: row for id_, row in judged.scores.items() if folds is None or row.fold in folds}
        if scores:
            subjects.append(_build(project, judged, scores))
        else:
            notes.append(f"{name} is left out: it was judged on none of the folds asked for")
    return sorted(subjects, key=lambda subject: (not subject.is_ensemble, -subject.score.mean, subject.name)), notes


def _build(project: Project, judged: Judged, scores: dict[str, PhotoScore]) -> Subject:
    groups = [row.group for row in scores.values()]
    folds = tuple(sorted({row.fold for row in scores.values()}))
    num_groups = len(set(groups))
    return Subject(
        name=judged.name,
        is_ensemble=is_ensemble(judged.name),
        experiments=judged.experiments,
        folds=folds,
        scores=scores,
        score=bootstrap_mean(np.array([row.score for row in scores.values()]), groups),
        num_groups=num_groups,
        cost=find_cost(project, judged.experiments, folds),
        notes=(*judged.notes, *note_few_groups(num_groups)),
    )
