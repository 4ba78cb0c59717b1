"""The ledger: every photo that was judged out-of-fold, and what each subject, experiment or ensemble, reached on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unets.data.samples import Sample
from unets.evaluation.runs import PhotoScore

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ledger:
    """Scores of photos; arrays in the order of `samples` and `subjects`."""

    samples: tuple[Sample, ...]
    folds: tuple[int, ...]  # of each photo
    subjects: tuple[str, ...]
    scores: Scores  # (photos, subjects); NaN where a subject was not judged on a photo
    agreement: Scores  # (photos,) lowest Dice of a member's mask with the blend's; NaN where it was not measured


def build_ledger(samples: Sequence[Sample], scores_of: Mapping[str, Mapping[str, PhotoScore]]) -> Ledger:
    """Gathers the photos that any subject was judged on.

    Args:
        samples: all training photos, sorted by id.
        scores_of: by subject, then by id.
    """
    fold_of = {row.id: row.fold for scores in scores_of.values() for row in scores.values()}
    judged = tuple(sample for sample in samples if sample.id in fold_of)
    rows = [
        [scores[sample.id].score if sample.id in scores else np.nan for scores in scores_of.values()]
        for sample in judged
    ]
    return Ledger(
        samples=judged,
        folds=tuple(fold_of[sample.id] for sample in judged),
        subjects=tuple(scores_of),
        scores=np.array(rows, dtype=np.float64).reshape(len(judged), len(scores_of)),
        agreement=np.full(len(judged), np.nan),
    )


def choose_photos(ledger: Ledger, top: int) -> list[int]:
    """Chooses the photos that are worth a picture: the worst of each subject, and those most disputed.

    `top` of each over all photos, a quarter of that (at least one) of each view, and the worst photo of each of the
    `top` groups that are worst on the mean: whatever the page is filtered by, the worst that is left has a picture.

    Returns:
        Numbers of photos, ascending.
    """
    views, groups = ([getattr(sample, name) or "" for sample in ledger.samples] for name in ("view", "group"))
    by_view = [np.flatnonzero(np.array(views) == view) for view in sorted(set(views))]
    group_names, group_of = np.unique(np.array(groups), return_inverse=True)
    chosen: set[int] = set()
    for values in (*ledger.scores.T, ledger.agreement):
        everything = _order(values, np.arange(len(values)))
        chosen.update(everything[:top])
        for members in by_view if len(by_view) > 1 else []:
            chosen.update(_order(values, members)[: max(top // 4, 1)])
    for values in ledger.scores.T:
        means = [_mean(values[group_of == number]) for number in range(len(group_names))]
        for number in _order(np.array(means), np.arange(len(means)))[:top]:
            chosen.update(_order(values, np.flatnonzero(group_of == number))[:1])
    return sorted(chosen)


def _order(values: Scores, numbers: npt.NDArray[np.intp]) -> list[int]:
    """Sorts numbers by their values, the lowest first, equal ones by number; those without a value are left out."""
    known = numbers[~np.isnan(values[numbers])]
    return [int(number) for number in known[np.argsort(values[known], kind="stable")]]


def _mean(values: Scores) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
