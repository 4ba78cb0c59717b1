"""The score of a whole submission against known masks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from unets.config import Coding, DatasetConfig
from unets.data.io import read_index_image
from unets.data.rle import decode_rle
from unets.data.samples import HALF, Sample, check_mask, read_full_size
from unets.dataset.importers.draws import DrawFiles, merge_layers
from unets.dataset.importers.patterns import find_mask_files
from unets.dataset.rle_csv import read_submission
from unets.ensemble.mask_scores import Fractions, Scores
from unets.ensemble.postprocess import ClassMask
from unets.errors import InputError
from unets.metrics.intervals import Interval, bootstrap_mean
from unets.metrics.masks import find_metric
from unets.metrics.pixels import Counts, describe_pixels, pair_masks, sum_counts
from unets.workers.pool import run_tasks

_Read = Callable[[], ClassMask]  # the ground truth of an image, as `pick_class` takes it
_MAX_SHOWN = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class SubmissionScore:
    """What a submission reached."""

    metric: str
    interval: Interval  # mean over images, 95 % interval over groups
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    values: Scores  # one an image, mean over the classes
    pixels: dict[str, Any]  # Dice and IoU of each class over the pixels of all images, see `describe_pixels`

    def summarize(self) -> dict[str, Any]:
        """Returns the score without its images, as JSON can write it."""
        counted = {"num_images": len(self.ids), "num_groups": len(set(self.groups)), "pixels": self.pixels}
        return {"metric": self.metric, **self.interval.model_dump(), **counted}


def score_submission(
    submission_path: Path,
    ground_truth_path: Path,
    dataset: DatasetConfig,
    images: Sequence[Sample],
    *,
    jobs: int | None = None,
) -> SubmissionScore:
    """Scores a submission at full size with the competition's metric.

    The ground truth is a csv or csv.gz of run lengths, or a folder of masks, see `find_mask_files`, which hold what the
    dataset's masks do; where these are no files, class indices, or 0 and 255 for a single class. Test images are asked
    for their group, and for their size where the dataset has no common one and the ground truth is a csv; one that is
    not among them is a group of its own. Raises InputError where ids of the two differ, or a mask cannot be read.
    """
    submitted, known = read_submission(submission_path, dataset), {image.id: image for image in images}
    reads = _find_ground_truth(ground_truth_path, dataset, known)
    _check_ids(submission_path, set(submitted), ground_truth_path, set(reads))
    ids = tuple(sorted(submitted))
    tasks = [(id_, submitted[id_], reads[id_]) for id_ in ids]
    scored = list(run_tasks(partial(_score_image, dataset), tasks, what="score", jobs=jobs, unit="image"))
    values = find_metric(dataset.metric).to_values(np.stack([fractions for fractions, _ in scored])).mean(axis=-1)
    groups = tuple(known[id_].group if id_ in known else id_ for id_ in ids)
    pixels = describe_pixels(sum_counts(counts for _, counts in scored), dataset.classes)
    interval, about = bootstrap_mean(values, groups), {"metric": dataset.metric, "pixels": pixels}
    return SubmissionScore(interval=interval, ids=ids, groups=groups, values=values, **about)  # type: ignore[arg-type]


def _find_ground_truth(path: Path, dataset: DatasetConfig, known: Mapping[str, Sample]) -> dict[str, _Read]:
    """Returns what reads the ground truth of each id."""
    if not path.exists():
        raise InputError(
            f"`--ground-truth` must be a csv of run lengths or a folder of masks. Received: {path}, missing"
        )
    if path.is_dir():
        found = find_mask_files(path, dataset)
        return {id_: partial(_read_files, path, names, dataset) for id_, names in found.items()}
    if dataset.has_ignored:
        raise InputError(
            f"`--ground-truth` must be a folder of masks where the data set has ignored pixels, which run lengths "
            f"cannot tell. Received: {path}"
        )
    submitted = read_submission(path, dataset)
    return {id_: partial(_read_rles, id_, rles, known.get(id_), dataset) for id_, rles in submitted.items()}


def _check_ids(submission_path: Path, submitted: set[str], ground_truth_path: Path, known: set[str]) -> None:
    if not known:
        wanted = "masks, a.png of the id a; of overlapping classes in a folder of each class's name"
        raise InputError(f"{ground_truth_path} must hold {wanted}. Received: none")
    said = [
        f"{len(ids)} {what}: {', '.join(sorted(ids)[:_MAX_SHOWN])}{', ...' * (len(ids) > _MAX_SHOWN)}"
        for what, ids in (("missing", known - submitted), ("unknown", submitted - known))
        if ids
    ]
    if said:
        wanted = f"the {len(known)} ids of {ground_truth_path}"
        raise InputError(f"{submission_path} must hold {wanted}. Received: {'; '.join(said)}")


def _score_image(dataset: DatasetConfig, task: tuple[str, tuple[str, ...], _Read]) -> tuple[Fractions, Counts]:
    """Scores each class on its own mask, as a csv, unlike a mask file, may let classes overlap."""
    id_, rles, read = task
    target = read()
    mask = _decode(f"the submission's mask of {id_}", rles, (target.shape[0], target.shape[1]), dataset)
    fractions, counts = [], []
    for target_hw, predicted_hw in pair_masks(target, mask, len(dataset.classes)):
        fractions.append(find_metric(dataset.metric).measure(target_hw, predicted_hw))
        counts.append([np.count_nonzero(pixels) for pixels in (target_hw & predicted_hw, target_hw, predicted_hw)])
    return np.array(fractions, dtype=np.float64), np.array(counts, dtype=np.int64)


def _read_files(folder: Path, names: tuple[tuple[str, ...], ...], dataset: DatasetConfig) -> ClassMask:
    """Reads mask files: one of all classes, or some of each."""
    source = dataset.source
    coding = source if isinstance(source, Coding) and source.values else None
    if coding is not None or len(names) > 1:
        layers = DrawFiles(folder, names, coding or Coding(values=(255,)))()
        if dataset.has_shares:
            layers = tuple(np.asarray(layer >= HALF, dtype=np.uint8) for layer in layers)
        is_stack = dataset.overlapping and len(layers) > 1
        return np.stack(layers, axis=-1) if is_stack else merge_layers(layers, f"a mask in {folder}")[0]
    drawn = read_index_image(path := folder / names[0][0])
    if len(dataset.classes) == 1 and not dataset.has_ignored and not (drawn % 255).any():
        return drawn // 255  # as `unets mask` writes them
    check_mask(drawn, dataset, str(path))
    return drawn


def _read_rles(id_: str, rles: Sequence[str], sample: Sample | None, dataset: DatasetConfig) -> ClassMask:
    size_hw = dataset.size_hw if sample is None else read_full_size(sample, dataset)
    if size_hw is None:
        raise InputError(f"the ground truth of {id_} must have an image that tells its size. Received: none")
    return _decode(f"the ground truth of {id_}", rles, size_hw, dataset)


def _decode(what: str, rles: Sequence[str], size_hw: tuple[int, int], dataset: DatasetConfig) -> ClassMask:
    """Decodes the mask of each class, uint8 (height, width, classes) of 0 and 1: in a csv, they may overlap."""
    try:
        return np.stack([decode_rle(rle, size_hw, dataset.submission.order) for rle in rles], axis=-1)
    except InputError as error:
        raise InputError(f"{what}: {error}") from error
