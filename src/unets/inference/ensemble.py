"""The ensemble: which maps are averaged, at which threshold they are cut, and what that reached out-of-fold."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from unets.config import Config, DatasetConfig, EnsembleConfig, Share
from unets.errors import InputError
from unets.folds import hash_folds
from unets.inference.blend import blend
from unets.inference.oof import OofTask, open_oof, run_oof, score_map, write_scores
from unets.inference.score import DEFAULT_THRESHOLD, Scores, score_thresholds
from unets.intervals import Interval, bootstrap_mean
from unets.paths import Project
from unets.runs import write_text

logger = logging.getLogger(__name__)

THRESHOLDS = tuple(percent / 100 for percent in range(30, 72, 2))  # tried by `threshold="fit"`


class Member(Config):
    """One experiment of an ensemble."""

    experiment: str
    weight: float  # all members' weights sum to 1
    fingerprint: str  # of its maps


class MemberScore(Config):
    """What a member reaches alone, out-of-fold, cut at 0.5; mean over photos."""

    experiment: str
    score: float
    score_first_view: float | None  # its first view alone, without averaging over flips; None: no such maps


class ThresholdScore(Config):
    """What the ensemble reaches at a threshold, out-of-fold; mean over photos."""

    threshold: float
    score: float


class Ensemble(Config):
    """What the final masks are made of, and what they reached out-of-fold; `ensemble.json`."""

    competition: str
    members: tuple[Member, ...]
    threshold: Share
    min_area_px: int
    metric: str
    folds: tuple[int, ...]  # whose photos it was judged on
    folds_sha256: str  # of the fold file
    num_photos: int
    num_groups: int
    score: Interval  # at the threshold
    best_member: str
    gain_over_best_member: Interval  # paired, photo by photo
    gain_of_threshold: Interval  # of the best threshold over 0.5, paired; whether or not it was taken
    member_scores: tuple[MemberScore, ...]
    threshold_scores: tuple[ThresholdScore, ...]


def fit_ensemble(
    project: Project,
    dataset: DatasetConfig,
    config: EnsembleConfig,
    *,
    folds: Sequence[int] | None = None,
    jobs: int | None = None,
) -> Ensemble:
    """Judges an ensemble on its out-of-fold maps, chooses its threshold; writes `ensemble.json`, `ensemble_oof.csv`.

    Every photo is scored at full size with the competition's metric, by nets that did not see its group. Where
    `config.threshold` is "fit", each of `THRESHOLDS` is tried, and the best takes the place of 0.5 only if the 95 %
    interval of its gain over 0.5 (paired, drawn over groups) excludes zero. The best of many is favoured by chance, so
    the interval flatters it: a gain that does not even pass this is noise.

    Args:
        project: the folders.
        dataset: the dataset's declaration.
        config: members, weights, threshold, smallest area.
        folds: those to judge on; None is all that every member has maps of.
        jobs: worker processes; None is one a core.

    Raises:
        InputError: a member lacks out-of-fold maps of a photo, or they are damaged.
    """
    oof = open_oof(project, dataset, config.experiments, folds)
    weights = config.weights or (1.0,) * len(config.experiments)
    total = sum(weights)
    thresholds = THRESHOLDS if config.threshold == "fit" else tuple(sorted({DEFAULT_THRESHOLD, config.threshold}))
    judge = _Judge(weights=tuple(weights), thresholds=thresholds, min_area_px=config.min_area_px)
    table = _Table(run_oof(judge, oof, what="ensemble", jobs=jobs), len(weights))
    groups = [sample.group for sample in oof.samples]
    threshold, gain = _choose_threshold(table.blended, thresholds, groups, config.threshold)
    score = table.blended[:, thresholds.index(threshold)]
    member_means = table.members.mean(axis=0)
    best = int(np.argmax(member_means))
    ensemble = Ensemble(
        competition=project.competition,
        members=tuple(
            Member(experiment=name, weight=weight / total, fingerprint=reader.fingerprint)
            for name, weight, reader in zip(config.experiments, weights, oof.readers, strict=True)
        ),
        threshold=threshold,
        min_area_px=config.min_area_px,
        metric=dataset.metric,
        folds=oof.folds,
        folds_sha256=hash_folds(project.folds_path),
        num_photos=len(groups),
        num_groups=len(set(groups)),
        score=bootstrap_mean(score, groups),
        best_member=config.experiments[best],
        gain_over_best_member=bootstrap_mean(score - table.members[:, best], groups),
        gain_of_threshold=gain,
        member_scores=tuple(
            MemberScore(experiment=name, score=float(mean), score_first_view=first)
            for name, mean, first in zip(config.experiments, member_means, table.mean_first_views(), strict=True)
        ),
        threshold_scores=tuple(
            ThresholdScore(threshold=tried, score=float(mean))
            for tried, mean in zip(thresholds, table.blended.mean(axis=0), strict=True)
        ),
    )
    write_scores(project.ensemble_oof_path, oof, {dataset.metric: score})
    write_text(project.ensemble_path, ensemble.to_json() + "\n")
    logger.info("%s of the ensemble, out-of-fold: %s", dataset.metric, ensemble.score)
    return ensemble


def read_ensemble(project: Project) -> Ensemble:
    """Reads what `fit_ensemble` wrote.

    Raises:
        InputError: there is none, or it is something else.
    """
    path = project.ensemble_path
    if not path.is_file():
        raise InputError(f"{path} must exist. Received: no such file. Run `make ensemble`")
    return Ensemble.from_json(path.read_text(encoding="utf-8"), str(path))


def check_ensemble(ensemble: Ensemble, experiments: Sequence[str], folds: Sequence[int]) -> None:
    """Checks that an ensemble is made of the experiments and folds asked for.

    Raises:
        InputError: it is made of others; names the command that makes the one asked for.
    """
    found = [member.experiment for member in ensemble.members]
    if sorted(found) != sorted(experiments) or sorted(ensemble.folds) != sorted(folds):
        names, numbers = ",".join(experiments), ",".join(map(str, folds))
        raise InputError(
            f"The ensemble must be of {names}, folds {numbers}. Received: one of {','.join(found)}, folds "
            f"{','.join(map(str, ensemble.folds))}. Run `make ensemble EXP={names} FOLD={numbers}`"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Judge:
    """Scores photos: each member with flips, each by its first view, the blend at each threshold; one row a photo."""

    weights: tuple[float, ...]
    thresholds: tuple[float, ...]
    min_area_px: int

    def __call__(self, task: OofTask) -> Scores:
        return np.array([list(self._score(task, index)) for index in range(len(task.samples))])

    def _score(self, task: OofTask, index: int) -> Iterator[float]:
        truth_hw, maps, first_views = task.read(index)
        for probs_u8_hwc in (*maps, *first_views):
            yield score_map(truth_hw, probs_u8_hwc, task.dataset, min_area_px=self.min_area_px)
        height, width = truth_hw.shape
        blended = blend(maps, self.weights, (height, width))
        yield from score_thresholds(
            truth_hw, blended, self.thresholds, metric=task.dataset.metric, min_area_px=self.min_area_px
        )


class _Table:
    """The rows of `_Judge`, taken apart."""

    def __init__(self, rows: Scores, num_members: int) -> None:
        self.members = rows[:, :num_members]
        self.first_views = rows[:, num_members : 2 * num_members]
        self.blended = rows[:, 2 * num_members :]

    def mean_first_views(self) -> list[float | None]:
        means = self.first_views.mean(axis=0)
        return [None if np.isnan(mean) else float(mean) for mean in means]


def _choose_threshold(
    scores: Scores, thresholds: Sequence[float], groups: Sequence[str], wanted: float | Literal["fit"]
) -> tuple[float, Interval]:
    """Returns the threshold to use, and the gain of the best (or of the one wanted) over 0.5."""
    at_default = scores[:, thresholds.index(DEFAULT_THRESHOLD)]
    if wanted != "fit":
        return wanted, bootstrap_mean(scores[:, thresholds.index(wanted)] - at_default, groups)
    best = int(np.argmax(scores.mean(axis=0)))
    gain = bootstrap_mean(scores[:, best] - at_default, groups)
    return (thresholds[best] if gain.excludes_zero else DEFAULT_THRESHOLD), gain
