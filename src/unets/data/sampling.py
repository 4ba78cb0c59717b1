"""How often each image is drawn, so that groups, or classes, are equally frequent."""

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from unets.config import DatasetConfig
from unets.data.samples import Sample, find_classes_in, read_mask
from unets.workers.pool import run_tasks

Weights = npt.NDArray[np.float64]


def weigh_samples(
    samples: Sequence[Sample],
    dataset: DatasetConfig,
    balance: Literal["none", "group", "class"],
) -> Weights | None:
    """Weighs the images that a net is trained on, without those held out, for `Batches(draw_weights=)`.

    `balance` "group" draws every group equally often; "class": see `weigh_classes`. Returns float64 (samples), summing
    to 1; None where every image weighs the same: each is then seen once an epoch, where drawing with replacement would
    leave out one in three.
    """
    if balance == "none":
        return None
    if balance == "group":
        sizes = Counter(sample.group for sample in samples)
        weights = np.array([1 / sizes[sample.group] for sample in samples])
    else:
        num_classes = len(dataset.classes)
        found = run_tasks(
            lambda sample: find_classes_in(read_mask(sample), num_classes),
            samples,
            what="classes",
            unit="mask",
            threads=True,
        )
        weights = weigh_classes(np.array(list(found), dtype=np.bool_))
    return None if np.allclose(weights, weights[0], rtol=1e-9, atol=0) else weights / weights.sum()


def weigh_classes(has_class: npt.NDArray[np.bool_]) -> Weights:
    """Weighs images so that classes, and images without any, are drawn equally often; bool (images, classes) in.

    An image weighs 1 / (images that hold the rarest of its classes); those that hold nothing count as a class of their
    own. Where each image holds one class at most, all are equally frequent. Where images hold several, a frequent class
    comes along with the rare ones: the greatest weight decides, as in repeat-factor sampling (Gupta et al. 2019, arXiv
    1908.03195), though in full proportion, not by the square root.
    """
    holds = np.concatenate([has_class, ~has_class.any(axis=1, keepdims=True)], axis=1)  # each image at least one
    return np.asarray(np.where(holds, 1 / np.maximum(holds.sum(axis=0), 1), 0.0).max(axis=1))
