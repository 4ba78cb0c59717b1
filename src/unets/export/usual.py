"""What masks of images like those trained on are like, so that `unets mask` can name the others."""

import logging

import numpy as np

from unets.config import DatasetConfig
from unets.data.samples import Sample, read_full_size
from unets.dataset.manifest import read_manifest
from unets.errors import InputError
from unets.evaluation.predictions import open_prediction
from unets.export.card import Usual
from unets.export.result import find_result
from unets.store.paths import Project
from unets.workers.pool import run_tasks

logger = logging.getLogger(__name__)

_MAX_IMAGES = 1024  # whose masks are measured
_OUTSIDE = 0.5  # percent of training images beyond each end of what is usual


def find_usual(project: Project, dataset: DatasetConfig, name: str) -> Usual | None:
    """Measures the out-of-fold masks of training images; None, and a warning, where there are no such maps.

    Args:
        project: the folders.
        dataset: the dataset's declaration.
        name: an experiment, or an ensemble's.
    """
    try:
        prediction = open_prediction(project, dataset, name)
    except InputError as error:
        logger.warning("the file of %s cannot name images unlike those of training: %s", name, error)
        return None
    samples = [sample for sample in read_manifest(project, dataset).train if sample.id in prediction.recipes]

    def measure(sample: Sample) -> tuple[float, float]:
        result = find_result(*prediction.read(sample.id), read_full_size(sample, dataset))
        return result.area, result.confidence

    step = -(-len(samples) // _MAX_IMAGES)
    chosen = samples[::step]
    found = list(run_tasks(measure, chosen, what="measure usual masks", unit="image", threads=True))
    areas, confidences = np.array(found).T
    least, most = np.percentile(areas, [_OUTSIDE, 100 - _OUTSIDE]).round(6).tolist()
    lowest = float(np.percentile(confidences, _OUTSIDE).round(6))
    return Usual(num_images=len(chosen), area=(least, most), confidence=lowest)
