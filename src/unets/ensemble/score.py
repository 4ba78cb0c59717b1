"""The score of a mask, of a map at many thresholds, and of a whole submission against known masks."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unets.config import DatasetConfig, PatternSource
from unets.data.files import find_ids
from unets.data.io import read_index_image
from unets.data.rle import decode_rle
from unets.data.samples import IGNORE, Sample, read_full_size
from unets.dataset.importers.patterns import draw_files, find_mask_files
from unets.dataset.rle_csv import read_submission
from unets.ensemble.postprocess import ClassMask, drop_small, pick_classes, to_masks
from unets.errors import InputError
from unets.metrics.intervals import Interval, bootstrap_mean
from unets.metrics.masks import METRICS
from unets.metrics.pixels import describe_pixels, sum_counts
from unets.workers.pool import run_tasks

Counts = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]
Cut = tuple[float, int]  # (threshold, pixels that a class must have not to be emptied)
DEFAULT_THRESHOLD = 0.5  # where a map is cut, unless another threshold is shown to be better
_CHUNK = 16  # photos a task
_MAX_SHOWN = 10


def _dice_from_counts(both: Counts, true_px: int, predicted_px: Counts) -> Scores:
    return _divide(2 * both, true_px + predicted_px)


def _iou_from_counts(both: Counts, true_px: int, predicted_px: Counts) -> Scores:
    return _divide(both, true_px + predicted_px - both)


def _divide(above: Counts, below: Counts) -> Scores:
    """Divides; 1 where both masks are empty, as `unets.metrics.masks` has it."""
    return np.asarray(np.where(below == 0, 1.0, above / np.maximum(below, 1)), dtype=np.float64)


# Metrics that need no more than pixel counts get all thresholds from one pass; a test holds them to `METRICS`.
FROM_COUNTS: dict[str, Callable[[Counts, int, Counts], Scores]] = {"dice": _dice_from_counts, "iou": _iou_from_counts}


def default_threshold(dataset: DatasetConfig) -> float:
    """Returns where a map is cut before anything is fitted: 0 where every pixel is of a class, else 0.5."""
    return DEFAULT_THRESHOLD if dataset.has_background else 0.0


def score_mask(truth_hw: ClassMask, mask_hw: ClassMask, *, num_classes: int, metric: str) -> float:
    """Scores a mask with a metric, mean over the classes.

    Args:
        truth_hw: uint8 (height, width) class index; 0 is background, IGNORE is left out.
        mask_hw: the same, without IGNORE.
        num_classes: number of foreground classes.
        metric: a name in `METRICS`.
    """
    mask_hw = np.where(truth_hw == IGNORE, np.uint8(0), mask_hw)
    scores = [METRICS[metric](truth_hw == index, mask_hw == index) for index in range(1, num_classes + 1)]
    return float(np.mean(scores))


def score_cuts(truth_hw: ClassMask, probs_hwc: npt.NDArray[np.float32], cuts: Sequence[Cut], *, metric: str) -> Scores:
    """Scores a map under each cut: `score_mask` of `drop_small` of `to_masks`, but in one pass where it can.

    Args:
        truth_hw: uint8 (height, width) class index; 0 is background, IGNORE is left out.
        probs_hwc: float32 (height, width, classes), 0..1.
        cuts: at least one, in any order.
        metric: a name in `METRICS`.

    Returns:
        float64 (cuts,).
    """
    num_classes = probs_hwc.shape[-1]
    if metric not in FROM_COUNTS:
        masks = (drop_small(to_masks(probs_hwc, threshold), min_area_px) for threshold, min_area_px in cuts)
        return np.array([score_mask(truth_hw, mask, num_classes=num_classes, metric=metric) for mask in masks])
    thresholds = sorted({threshold for threshold, _ in cuts})
    threshold_of = [thresholds.index(threshold) for threshold, _ in cuts]
    min_areas_px = np.array([min_area_px for _, min_area_px in cuts])
    class_hw, best_hw = pick_classes(probs_hwc)
    is_void = truth_hw == IGNORE
    if is_void.any():
        best_hw = np.where(is_void, np.float32(-1), best_hw)  # below every threshold
    by_class = []
    for index in range(1, num_classes + 1):
        truth = truth_hw == index
        candidates = None if num_classes == 1 else class_hw == index
        both, predicted_px = (
            counts[threshold_of] for counts in count_thresholds(truth, best_hw, candidates, thresholds)
        )
        is_dropped = predicted_px < min_areas_px
        both, predicted_px = np.where(is_dropped, 0, both), np.where(is_dropped, 0, predicted_px)
        by_class.append(FROM_COUNTS[metric](both, int(np.count_nonzero(truth)), predicted_px))
    return np.asarray(np.mean(by_class, axis=0), dtype=np.float64)


def count_thresholds(
    truth_hw: npt.NDArray[np.bool_],
    probs_hw: npt.NDArray[np.float32],
    candidates_hw: npt.NDArray[np.bool_] | None,
    thresholds: Sequence[float],
) -> tuple[Counts, Counts]:
    """Counts the pixels that reach each threshold.

    Args:
        truth_hw: (height, width), whether a pixel is foreground.
        probs_hw: float32 (height, width).
        candidates_hw: (height, width), which pixels count at all; None: all.
        thresholds: ascending.

    Returns:
        (those of them that are true, all of them), int64 (thresholds,) each.
    """
    # Compared as float32, as `to_masks` does: 0.42 as float64 is above 0.42 as float32.
    edges = np.asarray(thresholds, dtype=np.float32)
    if len(edges) == 0 or (np.diff(edges) <= 0).any():
        raise ValueError(f"`thresholds` must ascend. Received: {thresholds}")
    # Of a car's map all but some 2 % of the pixels lie below all thresholds or above; only the others are sorted.
    reaches_all, reaches_any = probs_hw >= edges[-1], probs_hw >= edges[0]
    if candidates_hw is not None:
        reaches_all, reaches_any = reaches_all & candidates_hw, reaches_any & candidates_hw
    unsure = reaches_any & ~reaches_all
    num_reached = np.searchsorted(edges, probs_hw[unsure], side="right")
    is_true = truth_hw[unsure]
    return (
        _count_reached(num_reached[is_true], len(edges)) + np.count_nonzero(reaches_all & truth_hw),
        _count_reached(num_reached, len(edges)) + np.count_nonzero(reaches_all),
    )


def _count_reached(num_reached: npt.NDArray[np.intp], num_thresholds: int) -> Counts:
    """Counts, for threshold j, the pixels that reach more than j thresholds."""
    counts = np.bincount(num_reached, minlength=num_thresholds + 1)
    return counts[::-1].cumsum()[::-1][1:].astype(np.int64)


@dataclass(frozen=True, kw_only=True, slots=True)
class SubmissionScore:
    """What a submission reached."""

    metric: str
    interval: Interval  # mean over photos, 95 % interval over groups
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    values: Scores  # one a photo, mean over the classes
    pixels: dict[str, Any]  # Dice and IoU of each class over the pixels of all photos, see `describe_pixels`

    def summarize(self) -> dict[str, Any]:
        """Returns the score without its photos, as JSON can write it."""
        photos, groups = len(self.ids), len(set(self.groups))
        counted = {"num_photos": photos, "num_groups": groups, "pixels": self.pixels}
        return {"metric": self.metric, **self.interval.model_dump(), **counted}


def score_submission(
    submission_path: Path,
    truth_path: Path,
    dataset: DatasetConfig,
    *,
    photos: Sequence[Sample] = (),
    jobs: int | None = None,
) -> SubmissionScore:
    """Scores a submission at full size with the competition's metric.

    Args:
        submission_path: csv or csv.gz.
        truth_path: csv or csv.gz of run lengths, or a folder of masks named as the dataset's masks are.
        dataset: the dataset's declaration.
        photos: asked for their size where the dataset has no common one and the truth is a csv.
        jobs: worker processes; None is one a core.

    Raises:
        InputError: ids of the two differ, or a mask cannot be read.
    """
    submitted = read_submission(submission_path, dataset)
    truths = _find_truths(truth_path, dataset, photos)
    _check_ids(submission_path, set(submitted), truth_path, set(truths))
    pairs = [(truth, submitted[id_]) for id_, truth in sorted(truths.items())]
    chunks = [pairs[start : start + _CHUNK] for start in range(0, len(pairs), _CHUNK)]
    results = run_tasks(partial(_score_chunk, dataset), chunks, what="score", jobs=jobs, unit="chunk")
    scored = [photo for chunk in results for photo in chunk]
    values = np.array([value for value, _ in scored])
    pixels = describe_pixels(sum_counts(counts for _, counts in scored), dataset.classes)
    ids, groups = zip(*((truth.id, truth.group) for truth, _ in pairs), strict=True)
    interval = bootstrap_mean(values, groups)
    return SubmissionScore(
        metric=dataset.metric, interval=interval, ids=ids, groups=groups, values=values, pixels=pixels
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Truth:
    """The ground truth of one image: run lengths, a string a class, or mask files (of each class, or of all)."""

    id: str
    group: str
    sample: Sample | None  # asked for its size
    rles: tuple[str, ...] = ()
    files: tuple[tuple[str, ...], ...] = ()


def _find_truths(truth_path: Path, dataset: DatasetConfig, photos: Sequence[Sample]) -> dict[str, _Truth]:
    if not truth_path.exists():
        raise InputError(
            f"`GROUND_TRUTH` must be a csv of run lengths or a folder of masks. Received: {truth_path}, missing"
        )
    known = {photo.id: photo for photo in photos}

    def find_group(id_: str) -> str:
        if id_ in known:
            return known[id_].group
        match = re.fullmatch(dataset.source.id_pattern, id_) if isinstance(dataset.source, PatternSource) else None
        return match["group"] if match else id_

    if not truth_path.is_dir():
        return {
            id_: _Truth(id=id_, group=find_group(id_), sample=known.get(id_), rles=rles)
            for id_, rles in read_submission(truth_path, dataset).items()
        }
    if isinstance(dataset.source, PatternSource):
        files_of = find_mask_files(truth_path, dataset)
    else:
        files_of = {id_: [paths] for id_, paths in find_ids(truth_path, "{id}.png").items()}
    return {
        id_: _Truth(id=id_, group=find_group(id_), sample=known.get(id_), files=tuple(map(tuple, files)))
        for id_, files in files_of.items()
    }


def _check_ids(submission_path: Path, submitted: set[str], truth_path: Path, known: set[str]) -> None:
    if not known:
        raise InputError(f"{truth_path} must hold masks. Received: none")
    if submitted == known:
        return
    parts = []
    for what, ids in (("missing", known - submitted), ("unknown", submitted - known)):
        if ids:
            more = ", ..." if len(ids) > _MAX_SHOWN else ""
            parts.append(f"{len(ids)} {what}: {', '.join(sorted(ids)[:_MAX_SHOWN])}{more}")
    raise InputError(f"{submission_path} must hold the {len(known)} ids of {truth_path}. Received: {'; '.join(parts)}")


def _score_chunk(dataset: DatasetConfig, pairs: Sequence[tuple[_Truth, tuple[str, ...]]]) -> list[tuple[float, Counts]]:
    return [_score_photo(dataset, truth, rles) for truth, rles in pairs]


def _score_photo(dataset: DatasetConfig, truth: _Truth, rles: tuple[str, ...]) -> tuple[float, Counts]:
    """Scores each class on its own mask, as a csv, unlike a mask file, may let classes overlap.

    Returns:
        (mean over the classes, pixels of truth and prediction both, of the truth, of the prediction, by class).
    """
    true_masks, known_hw = _read_true_masks(truth, dataset)
    scores, counts = [], []
    for true_hw, rle in zip(true_masks, rles, strict=True):
        height, width = true_hw.shape
        try:
            predicted_hw = decode_rle(rle, (height, width), dataset.submission.order)
        except InputError as error:
            raise InputError(f"the submission's mask of {truth.id}: {error}") from error
        if known_hw is not None:
            predicted_hw = predicted_hw * known_hw
        scores.append(METRICS[dataset.metric](true_hw, predicted_hw))
        both = np.count_nonzero(true_hw.astype(np.bool_) & predicted_hw.astype(np.bool_))
        counts.append([both, np.count_nonzero(true_hw), np.count_nonzero(predicted_hw)])
    return float(np.mean(scores)), np.array(counts, dtype=np.int64)


def _read_true_masks(
    truth: _Truth, dataset: DatasetConfig
) -> tuple[list[npt.NDArray[np.generic]], npt.NDArray[np.bool_] | None]:
    """Returns (a mask a class, which pixels count, None where all do)."""
    if truth.files:
        source = dataset.source
        if isinstance(source, PatternSource):
            drawn = draw_files(truth.files, source, overlapping=dataset.overlapping)
        else:
            drawn = read_index_image(Path(truth.files[0][0]))
        if isinstance(drawn, tuple):
            return [layer == 1 for layer in drawn], ~np.any([layer == IGNORE for layer in drawn], axis=0)
        known_hw = drawn != IGNORE if dataset.has_ignored else None
        return [drawn == index for index in range(1, len(dataset.classes) + 1)], known_hw
    if truth.sample is None and dataset.size_hw is None:
        raise InputError(f"the ground truth of {truth.id} must have an image that tells its size. Received: none")
    size_hw = dataset.size_hw if truth.sample is None else read_full_size(truth.sample, dataset)
    try:
        return [decode_rle(rle, size_hw or (0, 0), dataset.submission.order) for rle in truth.rles], None
    except InputError as error:
        raise InputError(f"the true mask of {truth.id}: {error}") from error
