"""The score of a whole submission against known masks."""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from unets.config import Coding, DatasetConfig
from unets.data.io import read_index_image
from unets.data.samples import HALF, Sample, check_mask, read_full_size
from unets.dataset.importers.draws import DrawFiles, DrawRuns, merge_layers, merge_numbers
from unets.dataset.importers.listing import list_input, stem_of
from unets.dataset.rle_csv import read_rows
from unets.ensemble.mask_scores import Fractions
from unets.ensemble.postprocess import ClassMask
from unets.errors import InputError
from unets.metrics.intervals import Interval, bootstrap_mean
from unets.metrics.masks import Values, find_metric
from unets.metrics.pixels import Counts, Numbers, count_pixels_of, describe_pixels, number_class, pair_masks, sum_counts
from unets.workers.pool import run_tasks

logger = logging.getLogger(__name__)

_Known = tuple[ClassMask, Numbers | None]  # a mask, as `pick_class` takes it, and `read_objects`
_Read = Callable[[], _Known]  # the ground truth of an image
_MAX_SHOWN = 10
_Number = TypeVar("_Number", bound=np.generic)


@dataclass(frozen=True, kw_only=True, slots=True)
class SubmissionScore:
    """What a submission reached."""

    metric: str
    interval: Interval  # mean over images, 95 % interval over groups
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    values: Values  # one an image, mean over the classes
    pixels: dict[str, Any]  # Dice and IoU of each class over the pixels of all images, see `describe_pixels`

    def summarize(self) -> dict[str, Any]:
        """Returns the score without its images, as JSON can write it."""
        counted = {"num_images": len(self.ids), "num_groups": len(set(self.groups)), "pixels": self.pixels}
        return {"metric": self.metric, **self.interval.model_dump(), **counted}


def score_submission(
    submission_path: Path, ground_truth_path: Path, dataset: DatasetConfig, images: Sequence[Sample]
) -> SubmissionScore:
    """Scores a submission at full size with the competition's metric.

    The ground truth is a csv or csv.gz of run lengths, or a folder of masks, `a.png` or `a_mask.png` of the id a, of
    overlapping classes in a folder of each class's name. They hold what the dataset's masks do; where these are no
    files, class indices, or 0 and 255 for a single class. Test images are asked
    for their group, and for their size where the dataset has no common one and the ground truth is a csv; one that is
    not among them is a group of its own. Raises InputError where ids of the two differ, or a mask cannot be read.
    """
    submitted, known = read_rows(submission_path, dataset), {image.id: image for image in images}
    reads = _find_ground_truth(ground_truth_path, dataset, known)
    _check_ids(submission_path, set(submitted), ground_truth_path, set(reads))
    ids = tuple(sorted(submitted))
    tasks = [(id_, submitted[id_], reads[id_]) for id_ in ids]
    scored = list(run_tasks(partial(_score_image, dataset), tasks, what="score", unit="image"))
    values = find_metric(dataset.metric).to_values(np.stack([fractions for fractions, _ in scored])).mean(axis=-1)
    groups = tuple(known[id_].group if id_ in known else id_ for id_ in ids)
    return SubmissionScore(
        metric=dataset.metric,
        interval=bootstrap_mean(values, groups),
        ids=ids,
        groups=groups,
        values=values,
        pixels=describe_pixels(sum_counts(counts for _, counts in scored), dataset.classes),
    )


def _find_ground_truth(path: Path, dataset: DatasetConfig, known: Mapping[str, Sample]) -> dict[str, _Read]:
    """Returns what reads the ground truth of each id."""
    if not path.exists():
        raise InputError(
            f"`--ground-truth` must be a csv of run lengths or a folder of masks. Received: {path}, missing"
        )
    if path.is_dir():
        folders = dataset.classes if dataset.overlapping else ("",)
        if _find_coding(dataset) is None and len(dataset.classes) > len(folders):
            numbers = ", ".join(f"{number} {name}" for number, name in enumerate(dataset.classes, 1))
            logger.info("%s: masks hold numbers of classes, %s", path, numbers)
        found = dict[str, dict[str, tuple[str, ...]]]()  # the file of each id, in each folder that has one
        for file in list_input(path).rasters:
            folder, stem = file.rpartition("/")[0], stem_of(file)
            if folder in folders:
                id_ = stem if stem in known else re.sub("[_-](mask|label|gt|seg)s?$", "", stem)
                (other,) = found.setdefault(id_, {}).setdefault(folder, (file,))
                if other != file:
                    raise InputError(f"{path} must hold one mask of an image. Received: {other} and {file}")
        layers = {id_: tuple(own.get(folder, ()) for folder in folders) for id_, own in found.items()}
        return {id_: partial(_read_files, path, names, dataset) for id_, names in layers.items()}
    if dataset.has_ignored:
        raise InputError(
            f"`--ground-truth` must be a folder of masks where the data set has ignored pixels, which run lengths "
            f"cannot tell. Received: {path}"
        )
    submitted = read_rows(path, dataset)
    return {id_: partial(_read_rows, id_, rows, known.get(id_), dataset) for id_, rows in submitted.items()}


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


def _score_image(
    dataset: DatasetConfig, task: tuple[str, tuple[tuple[str, ...], ...], _Read]
) -> tuple[Fractions, Counts]:
    """Scores each class on its own mask, as a csv, unlike a mask file, may let classes overlap."""
    id_, rows, read = task
    target, objects = read()
    mask, numbers = _decode(f"the submission's mask of {id_}", rows, (target.shape[0], target.shape[1]), dataset)
    fractions, num_classes = [], len(dataset.classes)
    for index, (_, predicted_hw) in enumerate(pair_masks(target, mask, num_classes)):
        true_hw = number_class(target, objects, index)
        found_hw = predicted_hw if numbers is None else np.where(predicted_hw, numbers[..., index], 0)
        fractions.append(find_metric(dataset.metric).measure(true_hw, found_hw))
    return np.array(fractions, dtype=np.float64), count_pixels_of(target, mask, num_classes)


def _find_coding(dataset: DatasetConfig) -> Coding | None:
    """Returns how masks of the data set's own kind are read; None: they hold 0 and numbers of classes from 1."""
    source = dataset.source
    return source if isinstance(source, Coding) and (source.values or source.threshold == 1) else None


def _read_files(folder: Path, names: tuple[tuple[str, ...], ...], dataset: DatasetConfig) -> _Known:
    """Reads mask files: one of all classes, or some of each."""
    coding = _find_coding(dataset)
    if coding is not None or len(names) > 1:
        draw = DrawFiles(folder, names, coding or Coding(values=(255,)))
        layers, numbers = draw(), draw(numbered=True) if dataset.counts_objects else ()
        if dataset.has_shares:
            layers = tuple(np.asarray(layer >= HALF, dtype=np.uint8) for layer in layers)
        if not dataset.overlapping:
            layers, numbers = merge_layers(layers, f"a mask in {folder}"), merge_numbers(numbers)
        return _stack(layers), _stack(numbers) if numbers else None
    drawn = read_index_image(path := folder / names[0][0])
    if len(dataset.classes) == 1 and not dataset.has_ignored and not (drawn % 255).any():
        return drawn // 255, None  # as `unets mask` writes them
    check_mask(drawn, dataset, [str(path)])
    return drawn, None


def _stack(layers: Sequence[npt.NDArray[_Number]]) -> npt.NDArray[_Number]:
    return layers[0] if len(layers) == 1 else np.stack(layers, axis=-1)


def _read_rows(id_: str, rows: tuple[tuple[str, ...], ...], sample: Sample | None, dataset: DatasetConfig) -> _Known:
    size_hw = dataset.size_hw if sample is None else read_full_size(sample, dataset)
    if size_hw is None:
        raise InputError(f"the ground truth of {id_} must have an image that tells its size. Received: none")
    return _decode(f"the ground truth of {id_}", rows, size_hw, dataset)


def _decode(what: str, rows: tuple[tuple[str, ...], ...], size_hw: tuple[int, int], dataset: DatasetConfig) -> _Known:
    """Decodes each class, (height, width, classes): in a csv, they may overlap. Rows are objects where these count."""
    draw = DrawRuns(size_hw, rows, dataset.submission.order, what)
    is_object = dataset.counts_objects and dataset.submission.row == "object"
    return np.stack(draw(), axis=-1), np.stack(draw(numbered=True), axis=-1) if is_object else None
