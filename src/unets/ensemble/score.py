"""The score of a whole submission against known masks."""

import re
from collections.abc import Sequence
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
from unets.ensemble.mask_scores import Fractions, Scores
from unets.errors import InputError
from unets.metrics.intervals import Interval, bootstrap_mean
from unets.metrics.masks import find_metric
from unets.metrics.pixels import Counts, describe_pixels, sum_counts
from unets.workers.pool import run_tasks

_CHUNK = 16  # images a task
_MAX_SHOWN = 10


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
    images: Sequence[Sample] = (),
    jobs: int | None = None,
) -> SubmissionScore:
    """Scores a submission at full size with the competition's metric.

    Args:
        submission_path: csv or csv.gz.
        truth_path: csv or csv.gz of run lengths, or a folder of masks named as the dataset's masks are.
        dataset: the dataset's declaration.
        images: asked for their size where the dataset has no common one and the truth is a csv.
        jobs: worker processes; None is one a core.

    Raises:
        InputError: ids of the two differ, or a mask cannot be read.
    """
    submitted = read_submission(submission_path, dataset)
    truths = _find_truths(truth_path, dataset, images)
    _check_ids(submission_path, set(submitted), truth_path, set(truths))
    pairs = [(truth, submitted[id_]) for id_, truth in sorted(truths.items())]
    chunks = [pairs[start : start + _CHUNK] for start in range(0, len(pairs), _CHUNK)]
    results = run_tasks(partial(_score_chunk, dataset), chunks, what="score", jobs=jobs, unit="chunk")
    scored = [photo for chunk in results for photo in chunk]
    values = find_metric(dataset.metric).to_values(np.stack([fractions for fractions, _ in scored])).mean(axis=-1)
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


def _find_truths(truth_path: Path, dataset: DatasetConfig, images: Sequence[Sample]) -> dict[str, _Truth]:
    if not truth_path.exists():
        raise InputError(
            f"`--ground-truth` must be a csv of run lengths or a folder of masks. Received: {truth_path}, missing"
        )
    known = {image.id: image for image in images}

    def find_group(id_: str) -> str:
        if id_ in known:
            return known[id_].group
        match = re.fullmatch(dataset.source.id_pattern, id_) if isinstance(dataset.source, PatternSource) else None
        return match["group"] if match else id_

    if not truth_path.is_dir():
        if dataset.has_ignored:
            raise InputError(
                f"`--ground-truth` must be a folder of masks where the data set has ignored pixels, which run lengths "
                f"cannot tell. Received: {truth_path}"
            )
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


def _score_chunk(
    dataset: DatasetConfig, pairs: Sequence[tuple[_Truth, tuple[str, ...]]]
) -> list[tuple[Fractions, Counts]]:
    return [_score_image(dataset, truth, rles) for truth, rles in pairs]


def _score_image(dataset: DatasetConfig, truth: _Truth, rles: tuple[str, ...]) -> tuple[Fractions, Counts]:
    """Scores each class on its own mask, as a csv, unlike a mask file, may let classes overlap.

    Returns:
        (fraction of each class, see `unets.metrics.masks`; pixels of truth and prediction both, of the truth, of the
        prediction, by class).
    """
    true_masks, known_hw = _read_true_masks(truth, dataset)
    fractions, counts = [], []
    for true, rle in zip(true_masks, rles, strict=True):
        true_hw = true.astype(np.bool_)
        try:
            decoded = decode_rle(rle, (true_hw.shape[0], true_hw.shape[1]), dataset.submission.order)
            predicted_hw = decoded.astype(np.bool_)
        except InputError as error:
            raise InputError(f"the submission's mask of {truth.id}: {error}") from error
        if known_hw is not None:
            predicted_hw &= known_hw
        fractions.append(find_metric(dataset.metric).measure(true_hw, predicted_hw))
        counts.append([np.count_nonzero(pixels) for pixels in (true_hw & predicted_hw, true_hw, predicted_hw)])
    return np.array(fractions, dtype=np.float64), np.array(counts, dtype=np.int64)


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
