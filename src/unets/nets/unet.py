"""The U-Net: an encoder that halves, a decoder that doubles, and skips between them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras import layers

from unets.config import DatasetConfig, ModelConfig
from unets.nets.blocks import BLOCKS, DepthToSpace, ReflectPad, SpaceToDepth, convolve, upsample
from unets.nets.encoders import build_encoder

SizeHW = tuple[int, int]
Tensor = Any

# The head's logits are multiplied by 8, and its initial weights divided by 8: Adam then needs an eighth of the steps to
# reach confident logits (it moves a weight by its learning rate at most a step). Until then the many pixels that are
# certain drown the few at the contour: after 96 steps of 4 images the loss was 0.06 in place of 0.44 (docs/log).
LOGIT_SCALE = 8.0
ONE_CLASS = DatasetConfig()  # in images of three channels


def build_unet(
    config: ModelConfig,
    size_hw: SizeHW,
    dataset: DatasetConfig = ONE_CLASS,
    precision: str = "float32",
    name: str = "unet",
) -> keras.Model:
    """Builds a U-Net for images of one size, of the channels and classes of a data set; weights fit every size. It
    reads no file: pretrained weights come later.

    Sides may be any from 32 px up: what the poolings cannot halve is padded inside by reflection and cropped again.
    `precision` is a Keras dtype policy; variables and logits stay float32 whatever it is. Nets that are joined into one
    need different names.

    Returns a model from uint8 images (batch, height, width, dataset.num_channels) to float32 logits (batch, height,
    width, dataset.num_logits). Raises InputError where a pretrained encoder has no features at the deepest level's
    stride.
    """
    deepest_stride = config.stride * 2**config.depth
    before, after = measure_padding(size_hw, deepest_stride)
    top_bottom, left_right = zip(before, after, strict=True)
    with _policy(precision):
        images = keras.Input((*size_hw, dataset.num_channels), dtype="uint8", name="images")
        padded = ReflectPad(top_bottom, left_right, name="pad")(images)
        encode = _encode if config.encoder == "unet" else _encode_pretrained
        logits = _head(_decode(*encode(padded, config), config), dataset.num_logits, config.stride)
        logits = layers.Cropping2D((top_bottom, left_right), dtype="float32", name="logits")(logits)
        return keras.Model(images, logits, name=name)


def count_least_weights(config: ModelConfig) -> int:
    """Returns how many weights a net has at the least, without building it.

    Those are of the convolutions of 3 x 3 from a level's own width to its own: one on the way up, and of the encoder
    unet two on the way down.
    """
    widths = [_find_filters(config, level) for level in range(config.depth)]
    return 9 * (3 if config.encoder == "unet" else 1) * sum(width**2 for width in widths)


def measure_padding(size_hw: SizeHW, multiple: int) -> tuple[SizeHW, SizeHW]:
    """Returns what (height, width) lack before and after to be divisible by `multiple`."""
    missing = [-side % multiple for side in size_hw]
    (top, bottom), (left, right) = ((lacks // 2, lacks - lacks // 2) for lacks in missing)  # an odd pixel goes after
    return (top, left), (bottom, right)


def _encode(padded: Tensor, config: ModelConfig) -> tuple[Tensor, list[Tensor]]:
    """Returns the deepest features and those of each level above, finest first."""
    x = _to_depth(_rescale(padded), config.stride, "space_to_depth")
    build_block = BLOCKS[config.block]
    skips = []
    for level in range(config.depth):
        x = build_block(x, _find_filters(config, level), config, f"down{level}")
        skips.append(x)
        x = layers.MaxPooling2D(2, name=f"down{level}_pool")(x)
    x = build_block(x, _find_filters(config, config.depth), config, "bottom")
    return _dropout(x, config), skips


def _encode_pretrained(padded: Tensor, config: ModelConfig) -> tuple[Tensor, list[Tensor]]:
    """Returns what `_encode` does, of a net made for classification, which scales images itself.

    Its deepest features go on as they are. Levels for which it has no features (all but VGG begin with a stride) get
    one convolution of the image, or the contour would come from larger pixels.
    """
    deepest_stride = config.stride * 2**config.depth
    encoder = build_encoder(config.encoder, tuple(padded.shape[1:3]), deepest_stride, padded.shape[3])
    # Keras unpacks a list of one output.
    features = {padded.shape[1] // feature.shape[1]: feature for feature in keras.tree.flatten(encoder(padded))}
    x = features[deepest_stride]
    skips, image = [], None
    for level in range(config.depth):
        stride = config.stride << level
        if stride not in features:
            image = _rescale(padded) if image is None else image
            blocks = _to_depth(image, stride, f"image{level}_space_to_depth")
            features[stride] = convolve(blocks, _find_filters(config, level), config, f"image{level}")
        skips.append(features[stride])
    return _dropout(x, config), skips


def _decode(x: Tensor, skips: list[Tensor], config: ModelConfig) -> Tensor:
    """Returns the features of the finest level."""
    for level in reversed(range(config.depth)):
        filters = _find_filters(config, level)
        x = upsample(x, filters, config, f"up{level}")
        x = layers.Concatenate(name=f"up{level}_join")([skips[level], x])
        x = BLOCKS[config.block](x, filters, config, f"up{level}")
    return x


def _head(x: Tensor, channels: int, stride: int) -> Tensor:
    """Returns float32 logits, `stride` times as high and wide as `x`; they begin as small as a plain convolution's."""
    small = keras.initializers.VarianceScaling(LOGIT_SCALE**-2, "fan_avg", "uniform")
    x = layers.Conv2D(channels * stride**2, 1, kernel_initializer=small, dtype="float32", name="classify")(x)
    x = layers.Rescaling(LOGIT_SCALE, dtype="float32", name="amplify")(x)
    return DepthToSpace(stride, dtype="float32", name="depth_to_space")(x) if stride > 1 else x


def _rescale(images: Tensor) -> Tensor:
    """Scales 0..255 to -1..1, in float32: bfloat16 would be off by up to 1.24 gray levels."""
    return layers.Rescaling(1 / 127.5, offset=-1, dtype="float32", name="normalize")(images)


def _to_depth(x: Tensor, stride: int, name: str) -> Tensor:
    return SpaceToDepth(stride, name=name)(x) if stride > 1 else x


def _dropout(x: Tensor, config: ModelConfig) -> Tensor:
    return layers.SpatialDropout2D(config.dropout, name="bottom_dropout")(x) if config.dropout > 0 else x


def _find_filters(config: ModelConfig, level: int) -> int:
    """Returns the channels of a level."""
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
