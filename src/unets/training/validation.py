"""Loss and scores of the held-out images, whole, by the weights that would predict."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from unets.config import DatasetConfig
from unets.data.batches import Batches
from unets.data.samples import HALF
from unets.metrics.masks import find_metric
from unets.nets.backend import count_replicas, prefers_xla
from unets.nets.losses import Loss, to_probs
from unets.nets.unet import ONE_CLASS
from unets.training.learner import Scored


class Validator:
    """Scores the weights of a net, which takes whole images, on batches that have every held-out image once.

    Its loss, of targets and logits, gives one value an image. The best epoch is chosen by the data set's metric
    (`metric`); Dice takes its place where it needs more than counts of pixels.
    """

    def __init__(self, net: keras.Model, loss: Loss, batches: Batches, dataset: DatasetConfig = ONE_CLASS) -> None:
        self.metric = find_metric(dataset.metric).counted.name
        self.net, self.batches, self.overlapping = net, batches, dataset.overlapping
        self._scored = Scored(net, loss, dataset, metrics=list(dict.fromkeys(["dice", self.metric])))
        self._scored.compile(jit_compile=prefers_xla())

    def take_weights(self, weights: Sequence[npt.NDArray[Any]]) -> None:
        """Sets the weights that are scored, in the order of `net.weights`."""
        for variable, value in zip(self.net.weights, weights, strict=True):
            variable.assign(value)

    def score(self) -> dict[str, float]:
        """Returns `val_loss`, `val_dice`, and the score by the metric's name.

        Each is a mean over images; of a metric over all pixels, where devices share them, one of its parts.
        """
        sums: dict[str, float] = defaultdict(float)
        for batches, num_images in split_equally(self.batches, count_replicas()):
            try:
                means = self._scored.evaluate(batches, verbose=0, return_dict=True)
            finally:
                self.batches.failure = batches.failure
            for key, mean in means.items():
                sums[f"val_{key}"] += float(mean) * num_images
        return {key: value / len(self.batches.indices) for key, value in sums.items()}

    def predict(self, images_nhwc: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Returns probabilities, float32 (batch, height, width, classes), of uint8 images (batch, height, width, 3)."""
        logits = self._scored.predict_on_batch(images_nhwc)
        return np.asarray(ops.convert_to_numpy(to_probs(logits, overlapping=self.overlapping)))


def score_nothing(batches: Batches, num_classes: int) -> float:
    """Returns the Dice of masks without any object: the share of the images, or of their classes, that hold none."""
    held = [batches.reader[index][1][..., :num_classes].max(axis=(0, 1)) >= HALF for index in batches.indices.tolist()]
    return 1 - float(np.mean(held))


def split_equally(batches: Batches, num_devices: int) -> list[tuple[Batches, int]]:
    """Splits batches of whole images into those that devices share equally, and images that every device takes alike.

    A mean over devices is then the mean over images: JAX takes no batch of five on two devices. Returns
    (batches, images in them) whose means, weighted by the images, are the mean over all.
    """
    if num_devices == 1:
        return [(batches, len(batches.indices))]
    num_equal = len(batches.indices) // num_devices * num_devices
    shared, rest = np.split(batches.indices, [num_equal])
    size = max(batches.micro_batch // num_devices, 1) * num_devices
    parts = ((shared, len(shared), size), (np.repeat(rest, num_devices), len(rest), num_devices))
    return [
        (Batches(batches.reader, indices.tolist(), micro_batch=micro_batch, workers=batches.workers), num_images)
        for indices, num_images, micro_batch in parts
        if num_images
    ]
