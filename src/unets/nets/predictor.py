"""Trained nets with test-time augmentation (TTA), as one function from images to 8-bit maps."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from unets.nets.backend import prefers_xla
from unets.nets.fusion import fuse_batch_norm
from unets.nets.losses import to_probs
from unets.nets.tta import Flip
from unets.nets.unet import take_logits

ImagesU8 = npt.NDArray[np.uint8]
MapsU8 = npt.NDArray[np.uint8]


class Predictor:
    """Nets of one architecture, averaged over nets and flips.

    All flips of an image share a batch; probabilities are averaged on the device and leave it as 8 bits.

    Args:
        nets: from uint8 images to logits (see `build_unet`), with their weights; coarser logits are left out, and batch
            normalizations fused into convolutions where that is faster.
        tta: flips that are averaged; the first is also returned alone.
        batch_size: images a batch. A smaller batch is filled up, so that the net is compiled for one shape only.
        overlapping: whether a pixel may be of several classes.
    """

    def __init__(
        self, nets: Sequence[keras.Model], tta: Sequence[Flip], batch_size: int, *, overlapping: bool = False
    ) -> None:
        self.tta, self.batch_size, self.overlapping = tuple(tta), batch_size, overlapping
        images = keras.Input(nets[0].input_shape[1:], batch_size=batch_size, dtype="uint8")
        by_flip = _average([self._predict_flips(_simplify(take_logits(net)), images) for net in nets])
        outputs = [_to_u8(_average(by_flip)), _to_u8(by_flip[0])]
        self._model = keras.Model(images, outputs)
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
        flipped = [flip.apply(images) for flip in self.tta]
        probs = to_probs(
            net(ops.concatenate(flipped, axis=0) if len(flipped) > 1 else flipped[0]), overlapping=self.overlapping
        )
        parts = ops.split(probs, len(self.tta), axis=0)
        return [flip.undo(part) for flip, part in zip(self.tta, parts, strict=True)]


def _simplify(net: keras.Model) -> keras.Model:
    """Fuses batch normalizations, except under XLA: it fuses them by itself, and what is left is rounding.

    In bfloat16 that moves Dice by -0.00008 (-0.00022 to 0.00002; docs/log), in float32 by nothing.
    """
    return net if prefers_xla() else fuse_batch_norm(net)


def _average(items: list[Any]) -> Any:
    """Averages tensors, or lists of tensors item by item."""
    if isinstance(items[0], list):
        return [_average(list(parts)) for parts in zip(*items, strict=True)]
    return items[0] if len(items) == 1 else sum(items[1:], items[0]) / len(items)


def _to_u8(probs: Any) -> Any:
    return ops.cast(ops.round(probs * 255.0), "uint8")
