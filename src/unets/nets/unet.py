"""The U-Net: an encoder that halves, a decoder that doubles, and skips between them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras import layers

from unets.config import ModelConfig
from unets.nets.blocks import DepthToSpace, ReflectPad, SpaceToDepth, convolve_twice, upsample

SizeHW = tuple[int, int]


def build_unet(
    config: ModelConfig, size_hw: SizeHW, num_classes: int = 1, precision: str = "float32", name: str = "unet"
) -> keras.Model:
    """Builds a U-Net for photos of one size; weights fit every size.

    Args:
        config: depth, filters and the like.
        size_hw: (height, width) of the photos, any from 32 px up; what the poolings cannot halve is padded inside by
            reflection and cropped again.
        num_classes: number of foreground classes.
        precision: a Keras dtype policy; variables and logits stay float32 whatever it is.
        name: of the model; nets that are joined into one need different ones.

    Returns:
        A model from uint8 RGB (batch, height, width, 3) to float32 logits (batch, height, width, channels): one channel
        for one class, background and the classes for several.

    Raises:
        ValueError: the poolings need more padding than a reflection gives.
    """
    before, after = measure_padding(size_hw, config.stride * 2**config.depth)
    channels = 1 if num_classes == 1 else num_classes + 1
    block = config.stride
    with _policy(precision):
        photos = keras.Input((*size_hw, 3), dtype="uint8", name="photos")
        x = layers.Rescaling(1 / 127.5, offset=-1, name="normalize")(photos)  # to -1..1
        x = ReflectPad((before[0], after[0]), (before[1], after[1]), name="pad")(x)
        if block > 1:
            x = SpaceToDepth(block, name="fold")(x)
        x = _decode(*_encode(x, config), config)
        x = layers.Conv2D(channels * block**2, 1, dtype="float32", name="classify")(x)
        if block > 1:
            x = DepthToSpace(block, dtype="float32", name="unfold")(x)
        crop = ((before[0], after[0]), (before[1], after[1]))
        logits = layers.Cropping2D(crop, dtype="float32", name="logits")(x)
        return keras.Model(photos, logits, name=name)


def measure_padding(size_hw: SizeHW, multiple: int) -> tuple[SizeHW, SizeHW]:
    """Returns what (height, width) lack before and after to be divisible by `multiple`.

    Raises:
        ValueError: a side is not longer than its padding, so it cannot be reflected.
    """
    missing = [-side % multiple for side in size_hw]
    before = (missing[0] // 2, missing[1] // 2)
    after = (missing[0] - before[0], missing[1] - before[1])
    if any(pad >= side for pad, side in zip(after, size_hw, strict=True)):
        raise ValueError(
            f"`depth` and `stride` must suit the size: stride * 2^depth at most twice a side. "
            f"Received: {multiple} for size_hw={size_hw}"
        )
    return before, after


def _encode(x: Any, config: ModelConfig) -> tuple[Any, list[Any]]:
    """Returns the deepest features and those of each level above, finest first."""
    skips = []
    for level in range(config.depth):
        x = convolve_twice(x, _count_filters(config, level), config, f"down{level}")
        skips.append(x)
        x = layers.MaxPooling2D(2, name=f"down{level}_pool")(x)
    x = convolve_twice(x, _count_filters(config, config.depth), config, "bottom")
    if config.dropout > 0:
        x = layers.SpatialDropout2D(config.dropout, name="bottom_dropout")(x)
    return x, skips


def _decode(x: Any, skips: list[Any], config: ModelConfig) -> Any:
    for level in reversed(range(config.depth)):
        filters = _count_filters(config, level)
        x = upsample(x, filters, config, f"up{level}")
        x = layers.Concatenate(name=f"up{level}_join")([skips[level], x])
        x = convolve_twice(x, filters, config, f"up{level}")
    return x


def _count_filters(config: ModelConfig, level: int) -> int:
    return min(config.base_filters << level, config.max_filters)


@contextmanager
def _policy(name: str) -> Iterator[None]:
    """Sets Keras's dtype policy for the layers built inside the block."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
