"""Trained nets with test-time augmentation (TTA), as one function from images to 8-bit maps."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from unets.nets.backend import prefers_xla
from unets.nets.graph import fuse_batch_norm
from unets.nets.losses import to_probs

Tensor = Any
ImagesU8 = npt.NDArray[np.uint8]
MapsU8 = npt.NDArray[np.uint8]

# The axes of (images, height, width, channels) that each flip turns round.
FLIPS: dict[str, tuple[int, ...]] = {"identity": (), "hflip": (2,), "vflip": (1,), "hvflip": (1, 2)}


class Predictor:
    """Nets of one architecture, from uint8 images to logits (see `build_unet`), averaged over nets and flips.

    All flips (`tta`, of which the first is also returned alone) of an image share a batch; probabilities are averaged
    on the device and leave it as 8 bits. Nets of `scaled`, the same ones for other sizes, see the images stretched to
    these; what they say is stretched back. A smaller batch than `batch_size` is filled up, so that the net is compiled
    for one shape only. Batch normalizations are fused into convolutions where that is faster. XLA fuses them by itself,
    and what is left is rounding: in bfloat16 it moves Dice by -0.00008 (-0.00022 to 0.00002; docs/log), in float32 by
    nothing.
    """

    def __init__(
        self,
        nets: Sequence[keras.Model],
        tta: Sequence[str],
        batch_size: int,
        *,
        overlapping: bool = False,
        scaled: Sequence[Sequence[keras.Model]] = (),
    ) -> None:
        self.tta, self.batch_size, self.overlapping = tuple(tta), batch_size, overlapping
        images = keras.Input(nets[0].input_shape[1:], batch_size=batch_size, dtype="uint8")
        views = list[Tensor]()
        for of_size in (nets, *scaled):
            seen = _to_u8(_stretch(images, of_size[0].input_shape[1:3]))
            fused = [net if prefers_xla() else fuse_batch_norm(net) for net in of_size]
            by_net = [self._predict_flips(net, seen) for net in fused]
            views += [_stretch(_average(list(parts)), images.shape[1:3]) for parts in zip(*by_net, strict=True)]
        self._model = keras.Model(images, [_to_u8(255.0 * _average(views)), _to_u8(255.0 * views[0])])
        self._model.compile(jit_compile=prefers_xla())

    def __call__(self, images_nhwc: ImagesU8) -> tuple[MapsU8, MapsU8]:
        """Predicts at most a batch of images, uint8 RGB (images, height, width, 3).

        Returns (with TTA, without), uint8 (images, height, width, classes) each, 0..255.
        """
        num_images = len(images_nhwc)
        if num_images < self.batch_size:
            filling = np.zeros((self.batch_size - num_images, *images_nhwc.shape[1:]), dtype=np.uint8)
            images_nhwc = np.concatenate([images_nhwc, filling])
        mean, first = self._model.predict_on_batch(images_nhwc)
        return np.asarray(mean)[:num_images], np.asarray(first)[:num_images]

    def _predict_flips(self, net: keras.Model, images: Tensor) -> list[Tensor]:
        """Returns the probabilities under each flip, float32 (images, height, width, classes), flipped back."""
        flipped = [flip(images, name) for name in self.tta]
        logits = net(ops.concatenate(flipped, axis=0) if len(flipped) > 1 else flipped[0])
        parts = ops.split(to_probs(logits, overlapping=self.overlapping), len(self.tta), axis=0)
        return [flip(part, name) for name, part in zip(self.tta, parts, strict=True)]


def flip(images_nhwc: Tensor, name: str) -> Tensor:
    """Flips images or maps of a known shape, (images, height, width, channels); again, and it is as it was."""
    shape = tuple(images_nhwc.shape)
    for axis in FLIPS[name]:
        # As the middle one of three axes, where TensorFlow copies rows: four images of 640 x 959 take 1.3 ms, by
        # `x[:, :, ::-1]` 48.5, which was an eighth of the compact net's time.
        rows = (math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :]))
        images_nhwc = ops.reshape(ops.flip(ops.reshape(images_nhwc, rows), axis=1), shape)
    return images_nhwc


def _average(tensors: list[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else sum(tensors[1:], tensors[0]) / len(tensors)


def _stretch(values_nhwc: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Returns images or maps of a size: linear, of the mean of pixels where it is smaller; as they are, or float32."""
    if tuple(values_nhwc.shape[1:3]) == tuple(size_hw):
        return values_nhwc
    return ops.image.resize(ops.cast(values_nhwc, "float32"), size_hw, antialias=True, data_format="channels_last")


def _to_u8(values: Tensor) -> Tensor:
    return values if values.dtype == "uint8" else ops.cast(ops.round(values), "uint8")
