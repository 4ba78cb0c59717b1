"""Out-of-fold images that exported files are compared on: some that the int8 converter sees, others that are scored."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from unets.config import DatasetConfig
from unets.data.geometry import SizeHW
from unets.data.samples import Sample, read_image, read_mask
from unets.dataset.folds import read_folds
from unets.dataset.manifest import read_manifest
from unets.ensemble.mask_scores import score_map
from unets.errors import InputError
from unets.export.exporting import SampleImages
from unets.store.paths import Project

_MAX_CALIBRATION = 64  # images; ranges of values hardly move beyond


def find_oof_images(
    project: Project, dataset: DatasetConfig, num_images: int, experiment: str, fold: int, size_hw: SizeHW
) -> SampleImages:
    """Picks images of a fold, spread evenly over it: every other one for calibration, the rest to be scored.

    Args:
        project: the folders.
        dataset: the dataset's declaration.
        num_images: to be scored, at most.
        experiment: its name, for the error.
        fold: whose images its net did not see.
        size_hw: (height, width) of the net.

    Raises:
        InputError: the fold has fewer than two images.
    """
    manifest = read_manifest(project, dataset)
    fold_of = read_folds(project.folds_path, manifest)
    samples = [sample for sample in manifest.train if fold_of[sample.id] == fold]
    if len(samples) < 2:
        raise InputError(f"{experiment} must have images out of fold {fold}. Received: {len(samples)}")
    shown, scored = _spread(samples[1::2], _MAX_CALIBRATION), _spread(samples[::2], num_images)
    images = ((read_image(one, size_hw), one.group, partial(_score, read_mask(one), dataset)) for one in scored)
    return SampleImages(images=images, total=len(scored), calibration=[read_image(one, size_hw) for one in shown])


def _spread(samples: Sequence[Sample], most: int) -> list[Sample]:
    count = min(len(samples), most)
    return [samples[index] for index in np.linspace(0, len(samples) - 1, count).round().astype(int)]


def _score(mask_hw: npt.NDArray[np.uint8], dataset: DatasetConfig, probs_hwc: npt.NDArray[np.float32]) -> float:
    """Scores as every out-of-fold map is: in 8 bits, enlarged, with a threshold of one half."""
    return score_map(mask_hw, np.rint(probs_hwc * 255).astype(np.uint8), dataset)
