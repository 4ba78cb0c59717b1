"""What out-of-fold images tell of a model: its usual masks, and how well the files for other programs do."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from unets.config import DatasetConfig
from unets.data.geometry import SizeHW
from unets.data.image import ImageU8
from unets.data.samples import Sample, read_full_size, read_image, read_mask, read_objects
from unets.dataset.folds import read_folds
from unets.dataset.manifest import read_manifest
from unets.ensemble.mask_scores import score_map
from unets.errors import InputError
from unets.evaluation.predictions import open_prediction
from unets.export.card import Usual
from unets.export.model import find_result
from unets.store.paths import Project
from unets.workers.pool import run_tasks

logger = logging.getLogger(__name__)

_MAX_MEASURED = 1024  # images whose masks tell what is usual
_MAX_CALIBRATION = 64  # images; ranges of values hardly move beyond
_LEAST_SHARE = 1e-5  # added before the logarithm, as shares may be 0
_OUTSIDE = 0.5  # percent of training images beyond each end of what is usual


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleImages:
    """Images to compare the files of one net on, uint8 RGB (height, width, 3) of the net's size."""

    # (image, the score of its probabilities); None in place of a score: there is no mask
    images: Iterable[tuple[ImageU8, Callable[[npt.NDArray[np.float32]], float] | None]]
    total: int  # how many there are
    metric: str = ""  # of the scores
    calibration: Sequence[ImageU8] = ()  # shown to the int8 converter; none: there is no int8 file


def find_usual(project: Project, dataset: DatasetConfig, name: str) -> Usual | None:
    """Measures the out-of-fold masks of an experiment or ensemble; None of so few images that any mask is usual.

    So it is, with a warning, where there are no maps.
    """
    try:
        prediction = open_prediction(project, dataset, name)
    except InputError as error:
        logger.warning("the file of %s cannot name images unlike those of training: %s", name, error)
        return None
    samples = [sample for sample in read_manifest(project, dataset).train if sample.id in prediction.recipes]
    if len(samples) < 2:
        return None
    chosen = samples[:: -(-len(samples) // _MAX_MEASURED)]

    def measure(sample: Sample) -> tuple[float, float]:
        result = find_result(*prediction.read(sample.id), read_full_size(sample, dataset))
        return result.area, result.confidence

    found = np.array(list(run_tasks(measure, chosen, what="measure usual masks", unit="image", threads=True)))
    area, uncertain = find_range(found[:, 0]), find_range(1 - found[:, 1])
    usual = Usual(num_images=len(chosen), area=area, confidence=round(1 - uncertain[1], 6))
    return None if (usual.area, usual.confidence) == ((0, 1), 0) else usual


def find_range(shares: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Returns the ends within which 99 of 100 further values lie, each 0..1, about: their percentiles.

    Of few values, where those are the least and the greatest alone, the ends of Student's prediction interval for the
    logarithm stand in where they lie farther out.
    """
    low, high = np.percentile(shares, [_OUTSIDE, 100 - _OUTSIDE])
    if 1 < (count := len(shares)) < 100 / _OUTSIDE:
        logs = np.log(shares + _LEAST_SHARE)
        reach = stdtrit(count - 1, 1 - _OUTSIDE / 100) * logs.std(ddof=1) * (1 + 1 / count) ** 0.5
        ends = np.exp(logs.mean() + reach * np.array([-1, 1])) - _LEAST_SHARE
        low, high = min(low, max(ends[0], 0)), max(high, min(ends[1], 1))
    return round(float(low), 6), round(float(high), 6)


def find_oof_images(
    project: Project, dataset: DatasetConfig, num_images: int, fold: int, size_hw: SizeHW
) -> SampleImages:
    """Picks images of a fold, which its net did not see: every other one for calibration, others to be scored.

    Both are spread evenly over the fold; at most `num_images` are scored. Of a single image there is no calibration.
    """
    manifest = read_manifest(project, dataset)
    fold_of = read_folds(project.folds_path, manifest)
    samples = [sample for sample in manifest.train if fold_of[sample.id] == fold]

    def spread(some: Sequence[Sample], most: int) -> list[Sample]:
        return [some[index] for index in np.linspace(0, len(some) - 1, min(len(some), most)).round().astype(int)]

    def find_score(sample: Sample) -> Callable[[npt.NDArray[np.float32]], float]:
        """Scores as every out-of-fold map is: in 8 bits, enlarged, with a threshold of one half."""
        target, objects = read_mask(sample), read_objects(sample)
        return lambda probs_hwc: score_map(target, np.rint(probs_hwc * 255).astype(np.uint8), dataset, objects)

    scored = spread(samples[::2], num_images)
    calibration = [read_image(sample, size_hw) for sample in spread(samples[1::2], _MAX_CALIBRATION)]
    images = ((read_image(sample, size_hw), find_score(sample)) for sample in scored)
    return SampleImages(images=images, total=len(scored), metric=dataset.metric, calibration=calibration)
