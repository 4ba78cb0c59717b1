"""Trained nets with test-time augmentation (TTA), as one function from images to 8-bit maps."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from unets.nets.backend import prefers_xla
from unets.nets.graph import fuse_batch_norm
from unets.nets.losses import to_probs
from unets.nets.tta import flip
from unets.nets.unet import take_logits

ImagesU8 = npt.NDArray[np.uint8]
MapsU8 = npt.NDArray[np.uint8]


class Predictor:
    """Nets of one architecture, averaged over nets and flips.

    All flips of an image share a batch; probabilities are averaged on the device and leave it as 8 bits.

    Args:
        nets: from uint8 images to logits (see `build_unet`), with their weights; coarser logits are left out, and batch
            normalizations fused into convolutions where that is faster. XLA fuses them by itself, and what is left is
            rounding: in bfloat16 it moves Dice by -0.00008 (-0.00022 to 0.00002; docs/log), in float32 by nothing.
        tta: names of the flips that are averaged; the first is also returned alone.
        batch_size: images a batch. A smaller batch is filled up, so that the net is compiled for one shape only.
        overlapping: whether a pixel may be of several classes.
    """

    def __init__(
        self, nets: Sequence[keras.Model], tta: Sequence[str], batch_size: int, *, overlapping: bool = False
    ) -> None:
        self.tta, self.batch_size, self.overlapping = tuple(tta), batch_size, overlapping
        images = keras.Input(nets[0].input_shape[1:], batch_size=batch_size, dtype="uint8")
        by_net = []
        for net in map(take_logits, nets):
            by_net.append(self._predict_flips(net if prefers_xla() else fuse_batch_norm(net), images))
        by_flip = [_average(list(parts)) for parts in zip(*by_net, strict=True)]
        self._model = keras.Model(images, [_to_u8(_average(by_flip)), _to_u8(by_flip[0])])
        self._model.compile(jit_compile=prefers_xla())

    def __call__(self, images_nhwc: ImagesU8) -> tuple[MapsU8, MapsU8]:
        """Predicts a batch.

        Args:
            images_nhwc: uint8 RGB (images, height, width, 3), at most `batch_size` images.

        Returns:
            (with TTA, without), uint8 (images, height, width, classes) each, 0..255.
        """
        num_images = len(images_nhwc)
        if num_images < self.batch_size:
            filling = np.zeros((self.batch_size - num_images, *images_nhwc.shape[1:]), dtype=np.uint8)
            images_nhwc = np.concatenate([images_nhwc, filling])
        mean, first = self._model.predict_on_batch(images_nhwc)
        return np.asarray(mean)[:num_images], np.asarray(first)[:num_images]

    def _predict_flips(self, net: keras.Model, images: Any) -> list[Any]:
        """Returns the probabilities under each flip, float32 (images, height, width, classes), flipped back."""
        flipped = [flip(images, name) for name in self.tta]
        logits = net(ops.concatenate(flipped, axis=0) if len(flipped) > 1 else flipped[0])
        parts = ops.split(to_probs(logits, overlapping=self.overlapping), len(self.tta), axis=0)
        return [flip(part, name) for name, part in zip(self.tta, parts, strict=True)]


def _average(tensors: list[Any]) -> Any:
    return tensors[0] if len(tensors) == 1 else sum(tensors[1:], tensors[0]) / len(tensors)


def _to_u8(probs: Any) -> Any:
    return ops.cast(ops.round(probs * 255.0), "uint8")
