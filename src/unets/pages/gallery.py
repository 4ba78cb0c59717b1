"""The gallery: what is measured of an image, and the pictures and figures of it that the page gets.

A mask travels as bits, not as a painted picture: the page lays it over the image as a tint or a contour, compares two
of them, and enlarges both. The planes of an image stand below each other in one PNG, opaque where the mask is: those
of the ground truth, one a class, then those of each prediction, then the ignored pixels of the ground truth.
"""

import hashlib
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from unets.config import DatasetConfig
from unets.data.drawing import COLORS_RGB
from unets.data.geometry import SizeHW, shrink
from unets.data.io import encode_jpeg, encode_layer
from unets.data.samples import IGNORE, Sample, count_object_pixels, read_full_size, read_image, read_mask
from unets.ensemble.agreement import blend_small, compare_members
from unets.ensemble.mask_scores import count_thresholds
from unets.ensemble.postprocess import ClassMask
from unets.ensemble.recipe import Recipe, average_maps, make_mask
from unets.ensemble.shape import measure_shape
from unets.evaluation.predictions import MapU8, Prediction
from unets.metrics.intervals import Interval
from unets.metrics.masks import divide, find_metric
from unets.metrics.pixels import pick_class
from unets.store.runs import atomic_path
from unets.workers.pool import run_tasks

Values = npt.NDArray[np.float64]

SMALL_PX, LARGE_PX = 320, 1920  # longest sides
UNCERTAIN = (0.1, 0.9)  # a probability between these is uncertain
THRESHOLDS = tuple(step / 20 for step in range(1, 20))
NUM_BINS = 10  # of the calibration curve
METRICS = {"dice": "Dice", "iou": "IoU"}
_CHUNK = 16  # images a task
_STEP = 4  # of a row's and a column's pixels, one in so many counts for the calibration curve


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """Some images, and the predictions of them."""

    samples: tuple[Sample, ...]
    predictions: tuple[Prediction, ...]
    large: tuple[bool, ...] = ()  # which of them get a large picture, too


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """What is measured of one image; parts, holes and contours are those of all classes together."""

    area: float  # share of the image that is object
    parts: int
    holes: int
    loose: float  # share of the object's area that lies outside the largest part of its class
    contour: float  # pixels of contour for each pixel of the side of a square of that area: 4 for the square itself
    band: float  # width of what is uncertain: its pixels for each pixel of contour
    difference: float  # mean |p of a member - p of the blend| over members and pixels; NaN: a single member
    agreement: float  # lowest Dice of a member's mask with the blend's; NaN: a single member


FIGURES = tuple(field.name for field in fields(Figures))


@dataclass(frozen=True, slots=True)
class Curves:
    """How the predictions of some images depend on the threshold, and what their probabilities mean."""

    num_images: int
    scores: Values  # (thresholds,) sum over the images of the metric
    pixels: npt.NDArray[np.int64]  # (3, thresholds) of all images and classes: true positives, predicted, true
    calibration: npt.NDArray[np.int64]  # (2, bins) pixels whose probability lies in a bin, and those that are object

    def __add__(self, other: "Curves") -> "Curves":
        """Adds the curves of other images."""
        return Curves(*(own + others for own, others in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A figure that every image has, by which the gallery is ordered and filtered."""

    label: str
    values: Values  # NaN where there is none
    worst: Literal["low", "high"] = "low"
    style: Literal["score", "percent", "change", "number"] = "number"
    meaning: str = ""
    prediction: int | None = None  # whose masks it is about
    distances: Values | None = None  # how odd each value is; orders the gallery in place of the values


@dataclass(frozen=True, kw_only=True, slots=True)
class Gallery:
    """The images of a page, and what is known of them; arrays in the order of `samples`."""

    name: str  # what marks are kept under in the browser
    samples: Sequence[Sample]
    folds: Sequence[int | None]  # None is the test set
    predictions: Sequence[Prediction]  # whose masks are shown
    columns: Sequence[Column]  # the first orders the gallery at first
    areas: Values  # share of each image that is object
    has_ground_truth: bool  # else the pixels of which the first prediction is uncertain are shown, as one more mask


def split(samples: Sequence[Sample], predictions: Sequence[Prediction], large: Collection[int] = ()) -> Iterator[Task]:
    """Splits images among workers, in their order; each task carries the way to its own probability maps."""
    for start in range(0, len(samples), _CHUNK):
        part = slice(start, start + _CHUNK)
        ids = [sample.id for sample in samples[part]]
        yield Task(
            samples=tuple(samples[part]),
            predictions=tuple(prediction.select(ids) for prediction in predictions),
            large=tuple(start + number in large for number in range(len(ids))),
        )


def measure_all(
    dataset: DatasetConfig,
    samples: Sequence[Sample],
    predictions: Sequence[Prediction],
    *,
    has_ground_truth: bool,
    jobs: int | None = None,
) -> tuple[Values, Curves | None]:
    """Measures images in workers; see `measure`."""
    results = run_tasks(
        partial(measure, dataset, has_ground_truth),
        split(samples, predictions),
        what="measure",
        jobs=jobs,
        total=math.ceil(len(samples) / _CHUNK),
        unit="chunk",
    )
    rows, curves = zip(*results, strict=True)
    return np.concatenate(rows), _add(curves)


def measure(dataset: DatasetConfig, has_ground_truth: bool, task: Task) -> tuple[Values, Curves | None]:
    """Measures the first prediction of some images that has a mask of each.

    Args:
        dataset: how masks are read.
        has_ground_truth: whether ground truth is there: the area is its area, and there are curves.
        task: a worker's share.

    Returns:
        float64 (images, `FIGURES`), NaN where nothing predicted an image; the curves.
    """
    rows, curves = np.full((len(task.samples), len(FIGURES)), np.nan), list[Curves]()
    for number, sample in enumerate(task.samples):
        own = next((prediction for prediction in task.predictions if sample.id in prediction.recipes), None)
        target = read_mask(sample) if has_ground_truth else None
        if own is not None:
            recipe, maps = own.read(sample.id)
            rows[number] = astuple(measure_image(recipe, maps, read_full_size(sample, dataset)))
            if target is not None:
                curves.append(measure_curves(target, recipe, maps, dataset.metric))
        if target is not None:
            rows[number, FIGURES.index("area")] = count_object_pixels(target) / (target.shape[0] * target.shape[1])
    return rows, _add(curves)


def measure_image(recipe: Recipe, maps: Sequence[MapU8], full_hw: SizeHW) -> Figures:
    """Measures what needs no ground truth: how far members differ, how sure they are, what the mask looks like.

    The mask is the final one, at the image's own size; maps are compared at the size of the largest of them.

    Args:
        recipe: how probability maps become the mask.
        maps: one a member, uint8 (height, width, classes); sizes may differ.
        full_hw: (height, width) of the image.
    """
    mask_hw, probs_hwc = make_mask(recipe, maps, full_hw), blend_small(maps, recipe)
    shapes = [measure_shape(mask_hw == index) for index in range(1, probs_hwc.shape[-1] + 1)]
    area_px, contour_px = sum(shape.area_px for shape in shapes), sum(shape.contour_px for shape in shapes)
    loose_px = sum(shape.area_px - shape.largest_px for shape in shapes)
    uncertain_px = float(find_uncertain(probs_hwc).mean()) * mask_hw.size
    difference, agreement = compare_members(maps, recipe, probs_hwc)
    return Figures(
        area=area_px / mask_hw.size,
        parts=sum(shape.parts for shape in shapes),
        holes=sum(shape.holes for shape in shapes),
        loose=loose_px / max(area_px, 1),
        contour=contour_px / max(area_px, 1) ** 0.5,
        band=uncertain_px / max(contour_px, 1),
        difference=difference,
        agreement=agreement,
    )


def find_uncertain(probs_hwc: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Finds the pixels where a class's probability lies between those of `UNCERTAIN`; bool (height, width)."""
    low, high = np.float32(UNCERTAIN[0]), np.float32(UNCERTAIN[1])
    return np.asarray(((probs_hwc > low) & (probs_hwc < high)).any(axis=-1))


def measure_curves(target: ClassMask, recipe: Recipe, maps: Sequence[MapU8], metric: str) -> Curves:
    """Measures an image at each of `THRESHOLDS`, each class against all else, before any post-processing.

    Args:
        target: as `read_mask` gives it; ignored pixels count nowhere.
        recipe: whose mean of the maps is thresholded.
        maps: one a member.
        metric: its name; Dice stands in for one that needs more than pixel counts.
    """
    probs_hwc = average_maps(recipe, maps, (target.shape[0], target.shape[1]))
    *target_planes, ignored_hw = list_planes([target], probs_hwc.shape[-1])
    is_known_hw = ~ignored_hw
    some = np.zeros_like(is_known_hw)
    some[::_STEP, ::_STEP] = is_known_hw[::_STEP, ::_STEP]
    sums, scores = np.zeros((3, len(THRESHOLDS)), dtype=np.int64), np.zeros(len(THRESHOLDS))
    calibration = np.zeros((2, NUM_BINS), dtype=np.int64)
    for true_hw, probs_hw in zip(target_planes, np.moveaxis(probs_hwc, -1, 0), strict=True):
        both, predicted = count_thresholds(true_hw, probs_hw, is_known_hw, THRESHOLDS)
        num_true = int(np.count_nonzero(true_hw))
        sums += np.stack([both, predicted, np.full_like(both, num_true)])
        fractions = find_metric(metric).counted.count(both, num_true, predicted)
        scores += divide(fractions[:, 0], fractions[:, 1]) / probs_hwc.shape[-1]
        bins = np.minimum((probs_hw[some] * NUM_BINS).astype(np.int64), NUM_BINS - 1)
        calibration[0] += np.bincount(bins, minlength=NUM_BINS)
        calibration[1] += np.bincount(bins[true_hw[some]], minlength=NUM_BINS)
    return Curves(num_images=1, scores=scores, pixels=sums, calibration=calibration)


def draw(dataset: DatasetConfig, has_ground_truth: bool, task: Task) -> list[tuple[SizeHW, list[tuple[bytes, bytes]]]]:
    """Draws some images.

    Args:
        dataset: how masks are read.
        has_ground_truth: see `Gallery`; without it, its planes are empty.
        task: a worker's share.

    Returns:
        For each image its size, and the small and perhaps the large picture: JPEG of the image, PNG of the planes.
    """
    drawn = []
    for sample, large in zip(task.samples, task.large, strict=True):
        full_hw = read_full_size(sample, dataset)
        empty = np.zeros(full_hw, dtype=np.uint8)
        masks: list[ClassMask] = [read_mask(sample) if has_ground_truth else empty]
        for prediction in task.predictions:
            masks.append(prediction.make_mask(sample.id, full_hw) if sample.id in prediction.recipes else empty)
        if not has_ground_truth:
            recipe, maps = task.predictions[0].read(sample.id)
            uncertain_hw = find_uncertain(blend_small(maps, recipe)).astype(np.uint8) * np.uint8(255)
            masks.append((shrink(uncertain_hw, full_hw) >= 128).astype(np.uint8))
        planes = list_planes(masks, len(dataset.classes))
        sizes = [fit(full_hw, SMALL_PX), *([fit(full_hw, LARGE_PX)] if large else [])]
        drawn.append(
            (full_hw, [(encode_jpeg(read_image(sample, size)), encode_planes(planes, size)) for size in sizes])
        )
    return drawn


def list_planes(masks: Sequence[ClassMask], num_classes: int) -> list[npt.NDArray[np.bool_]]:
    """Lists the planes of masks, the ground truth first: one a mask and class, then the ignored pixels.

    Args:
        masks: uint8 (height, width) class index; or, where classes overlap, (height, width, classes) of 0 and 1.
        num_classes: how many classes there are.

    Returns:
        bool (height, width) each.
    """
    planes = [pick_class(mask, index) for mask in masks for index in range(num_classes)]
    is_ignored = masks[0] == IGNORE
    return [*planes, is_ignored.any(axis=-1) if is_ignored.ndim == 3 else is_ignored]


def encode_planes(planes: Sequence[npt.NDArray[np.bool_]], size_hw: SizeHW) -> bytes:
    """Writes planes below each other as a PNG of one bit a pixel, opaque where a plane is true.

    Args:
        planes: bool (height, width) each.
        size_hw: that they are shrunk to; a small pixel is true where half of it or more is.
    """
    small = [shrink(plane.astype(np.uint8) * np.uint8(255), size_hw) >= 128 for plane in planes]
    return encode_layer(np.concatenate(small).astype(np.uint8), [(0, 0, 0, 0), (255, 255, 255, 255)])


def fit(full_hw: SizeHW, longest_px: int) -> SizeHW:
    """Returns the size of an image whose longest side is shrunk to `longest_px`; its own where it is no longer."""
    scale = min(longest_px / max(full_hw), 1.0)
    return max(round(full_hw[0] * scale), 1), max(round(full_hw[1] * scale), 1)


def write_gallery(
    folder: Path,
    dataset: DatasetConfig,
    gallery: Gallery,
    *,
    shown: Sequence[int],
    large: Collection[int],
    jobs: int | None = None,
) -> dict[str, Any]:
    """Draws images in workers and writes their files, named by their content: a page that is there stays whole.

    Args:
        folder: of the files.
        dataset: how masks are read.
        gallery: what the page shows.
        shown: numbers of the images that get a picture, ascending.
        large: numbers of the images that get a large one, too.
        jobs: worker processes; None is one a core.

    Returns:
        What the page's script works with, as JSON can write it; names of groups are stored once.
    """
    samples = [gallery.samples[number] for number in shown]
    tasks = split(samples, gallery.predictions, [k for k, number in enumerate(shown) if number in large])
    function = partial(draw, dataset, gallery.has_ground_truth)
    total = math.ceil(len(samples) / _CHUNK)
    drawn = run_tasks(function, tasks, what="pictures", jobs=jobs, total=total, unit="chunk")
    pictures = {}
    for number, (size_hw, pairs) in zip(shown, (row for chunk in drawn for row in chunk), strict=True):
        names = [_write_pair(folder, *pair) for pair in pairs]
        pictures[str(number)] = [*size_hw, names[0], names[-1]]
    return build_data(dataset, gallery, pictures)


def build_data(dataset: DatasetConfig, gallery: Gallery, pictures: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Returns what the page's script works with.

    Args:
        dataset: its classes are those of the planes.
        gallery: what the page shows.
        pictures: by number of the image: height, width, and the names of the small and the large picture, without their
            suffixes .jpg (image) and .png (planes).
    """
    groups = sorted({sample.group for sample in gallery.samples})
    number_of = {group: number for number, group in enumerate(groups)}
    more = [] if gallery.has_ground_truth else ["uncertain pixels"]
    return {
        "page": gallery.name,
        "classes": [
            [name, "#{:02x}{:02x}{:02x}".format(*COLORS_RGB[index % len(COLORS_RGB)])]
            for index, name in enumerate(dataset.classes)
        ],
        "predictions": [*(prediction.name for prediction in gallery.predictions), *more],
        "hasTarget": gallery.has_ground_truth,
        "columns": [
            asdict(column)
            | {
                "values": list(map(to_json, column.values)),
                "distances": None if column.distances is None else list(map(to_json, column.distances)),
            }
            for column in gallery.columns
        ],
        "groups": groups,
        "images": {
            "id": [sample.id for sample in gallery.samples],
            "group": [number_of[sample.group] for sample in gallery.samples],
            "view": [sample.view or "" for sample in gallery.samples],
            "fold": [-1 if fold is None else fold for fold in gallery.folds],
            "area": list(map(to_json, gallery.areas)),
        },
        "pictures": dict(pictures),
        "training": [],
        "curves": None,
    }


def drop_other_pictures(folder: Path, data: Mapping[str, Any]) -> None:
    """Deletes the pictures that a page does not show; `data` is what `write_gallery` returned."""
    kept = {name for picture in data["pictures"].values() for name in picture[2:]}
    for path in folder.glob("*"):
        if path.stem not in kept:
            path.unlink()


def describe_interval(interval: Interval) -> str:
    """Writes `95 % interval 0.98765 to 0.98901`; says where there is none."""
    if interval.low is None or interval.high is None:
        return "too few groups for an interval"
    return f"95 % interval {interval.low:.5f} to {interval.high:.5f}"


def to_json(value: float) -> float | None:
    """Rounds to six digits; None where it is no number."""
    return float(f"{value:.6g}") if np.isfinite(value) else None


def _add(curves: Sequence[Curves | None]) -> Curves | None:
    known = [one for one in curves if one is not None]
    return sum(known[1:], known[0]) if known else None


def _write_pair(folder: Path, image: bytes, planes: bytes) -> str:
    name = hashlib.sha256(image + planes).hexdigest()[:16]
    for suffix, content in ((".jpg", image), (".png", planes)):
        path = folder / f"{name}{suffix}"
        if not path.exists():
            with atomic_path(path) as temporary:
                temporary.write_bytes(content)
    return name
