"""Two experiments or ensembles, photo by photo: is one better than the other, and what did each cost.

Only photos count that are out-of-fold in both. A difference is paired (the same photo under both), and its interval is
drawn over groups, so that it holds for cars, not for the views of these.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from unets.config import Config
from unets.errors import InputError
from unets.evaluation.evaluated import Evaluated, list_all_evaluated, load_evaluated
from unets.evaluation.runs import PhotoScore, find_cost
from unets.metrics.intervals import Interval, bootstrap_mean, note_few_groups
from unets.store.paths import Project
from unets.tables import render_table

MAX_CHANGES = 10
_ONE_RUN = "the difference is of two runs with one seed each, not of two configs: another seed may differ as much"


class Side(Config):
    """One of the two."""

    name: str  # as it was asked for
    mean: float  # over the photos compared
    training_hours: float | None  # of the folds compared, all members; None: their metrics.json is gone
    photos_trained: int | None
    runs: int | None
    devices: tuple[str, ...]


class Change(Config):
    """A photo under both."""

    id: str
    a: float
    b: float
    difference: float  # b - a


class Comparison(Config):
    """What `compare` finds."""

    competition: str
    metric: str
    folds: tuple[int, ...]
    num_photos: int
    num_groups: int
    a: Side
    b: Side
    difference: Interval  # mean of b - a over photos
    share_better: float  # of the photos, those that b scores higher
    share_equal: float
    share_worse: float
    changes: tuple[Change, ...]  # the largest first
    notes: tuple[str, ...]  # what to keep in mind

    @property
    def verdict(self) -> str:
        """The answer, in a sentence."""
        a, b, difference = self.a.name, self.b.name, self.difference
        if not difference.excludes_zero:
            return f"no difference shown: {b} minus {a} is {difference.format_gain()}"
        if difference.mean > 0:
            return f"{b} is better than {a} by {difference.format_gain()}"
        return f"{b} is worse than {a} by {_negate(difference).format_gain()}"


def compare(project: Project, metric: str, name_a: str, name_b: str) -> Comparison:
    """Compares two experiments or ensembles on the photos that are out-of-fold in both.

    Args:
        project: the folders.
        metric: of the competition.
        name_a: an experiment, `ensemble` or `ensemble_<...>`; of another models folder with that before it,
            `models/cpu/unet_cpu`.
        name_b: the same.

    Raises:
        InputError: one of them was not evaluated yet, or on folds other than the present; the two stand on different
            folds, so that photos of one were trained on by the other; or they have no photo in common.
    """
    a, b = _load(project, metric, "A", name_a), _load(project, metric, "B", name_b)
    if a.folds_hash != b.folds_hash:
        raise InputError(
            f"`A` and `B` must stand on the same folds, or one was trained on photos that the other is evaluated by. "
            f"Received: {a.project.folds_path} and {b.project.folds_path}, which differ"
        )
    ids = sorted(a.scores.keys() & b.scores.keys())
    if not ids:
        raise InputError(
            f"`A` and `B` must have out-of-fold photos in common. Received: {a.name} with folds "
            f"{_join(a.scores.values())}, {b.name} with folds {_join(b.scores.values())}"
        )
    rows_a, rows_b = [a.scores[id_] for id_ in ids], [b.scores[id_] for id_ in ids]
    folds = tuple(sorted({row.fold for row in rows_a}))
    values_a, values_b = (np.array([row.score for row in rows]) for rows in (rows_a, rows_b))
    # Both are written with six digits: what the subtraction adds beyond them is no difference.
    differences = np.round(values_b - values_a, 6)
    groups = [row.group for row in rows_a]
    num_groups = len(set(groups))
    return Comparison(
        competition=project.competition,
        metric=metric,
        folds=folds,
        num_photos=len(ids),
        num_groups=num_groups,
        a=_describe(a, float(values_a.mean()), folds),
        b=_describe(b, float(values_b.mean()), folds),
        difference=bootstrap_mean(differences, groups),
        share_better=float(np.mean(differences > 0)),
        share_equal=float(np.mean(differences == 0)),
        share_worse=float(np.mean(differences < 0)),
        changes=_find_changes(ids, values_a.tolist(), values_b.tolist(), differences.tolist()),
        notes=(_ONE_RUN, *a.notes, *b.notes, *_note_photos(a, b, len(ids)), *note_few_groups(num_groups)),
    )


def render_comparison(comparison: Comparison) -> str:
    """Renders a comparison for people: the two, the verdict, the photos that changed most."""
    a, b = comparison.a, comparison.b
    header = ["", comparison.metric, "hours", "photos trained", "runs", "device"]
    rows = [
        [
            f"{letter}  {side.name}",
            f"{side.mean:.6f}",
            "?" if side.training_hours is None else f"{side.training_hours:.2f}",
            "?" if side.photos_trained is None else str(side.photos_trained),
            "?" if side.runs is None else str(side.runs),
            ", ".join(side.devices),
        ]
        for letter, side in (("A", a), ("B", b))
    ]
    shares = comparison.share_better, comparison.share_equal, comparison.share_worse
    better, equal, worse = (f"{100 * share:.1f} %" for share in shares)
    parts = [
        f"{comparison.competition}, {comparison.num_photos} out-of-fold photos of {comparison.num_groups} groups, "
        f"folds {','.join(map(str, comparison.folds))}",
        render_table(header, rows, right=set(header[1:5])),
        f"{comparison.verdict}\nphotos: better {better}, equal {equal}, worse {worse}",
    ]
    if comparison.changes:
        header = ["changed most", "A", "B", "B - A"]
        changes = [[row.id, f"{row.a:.6f}", f"{row.b:.6f}", f"{row.difference:+.6f}"] for row in comparison.changes]
        parts.append(render_table(header, changes, right=set(header[1:])))
    if comparison.notes:
        parts.append("\n".join(f"note: {note}" for note in comparison.notes))
    return "\n\n".join(parts)


def _load(project: Project, metric: str, variable: str, given: str) -> Evaluated:
    folder, slash, name = given.rstrip("/").rpartition("/")
    if slash:
        project = replace(project, models_dir=Path(folder or "/"))
    known = list_all_evaluated(project)
    if name not in known:
        hint = f". Run `unets predict --exp {name}`" if project.experiment_dir(name).is_dir() and name else ""
        if not given:
            hint = ". Name both, as `unets compare unet_1024 unet_640x959`"
        raise InputError(
            f"`{variable}` must be evaluated out-of-fold, in {project.models_dir} one of "
            f"{', '.join(known) or '(none)'}. Received: {given or '(nothing)'}{hint}"
        )
    return load_evaluated(project, metric, name, label=given.rstrip("/"))


def _describe(side: Evaluated, mean: float, folds: Sequence[int]) -> Side:
    cost = find_cost(side.project, side.experiments, folds)
    return Side(
        name=side.name,
        mean=mean,
        training_hours=cost and cost["training_hours"],
        photos_trained=cost and cost["photos"],
        runs=cost and cost["runs"],
        devices=tuple(cost["devices"]) if cost else (),
    )


def _find_changes(
    ids: Sequence[str], values_a: Sequence[float], values_b: Sequence[float], differences: Sequence[float]
) -> tuple[Change, ...]:
    rows = zip(ids, values_a, values_b, differences, strict=True)
    changes = [Change(id=id_, a=a, b=b, difference=difference) for id_, a, b, difference in rows if difference != 0]
    return tuple(sorted(changes, key=lambda change: (-abs(change.difference), change.id))[:MAX_CHANGES])


def _note_photos(a: Evaluated, b: Evaluated, num_common: int) -> list[str]:
    sides = ((side.name, len(side.scores) - num_common) for side in (a, b))
    return [f"{count} photos of {name} alone are left out" for name, count in sides if count]


def _negate(interval: Interval) -> Interval:
    if interval.low is None or interval.high is None:
        return Interval(mean=-interval.mean, low=None, high=None)
    return Interval(mean=-interval.mean, low=-interval.high, high=-interval.low)


def _join(rows: Iterable[PhotoScore]) -> str:
    return ",".join(str(fold) for fold in sorted({row.fold for row in rows}))
