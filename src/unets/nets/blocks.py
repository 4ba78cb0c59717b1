"""The pieces a U-Net is built of, as functions from tensor to tensor."""

from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from unets.config import ModelConfig
from unets.nets.layers import BatchNorm

Tensor = Any  # a keras.KerasTensor; keras carries no types
Block = Callable[[Tensor, int, ModelConfig, str], Tensor]

_MAX_GROUPS = 32  # Wu and He's default
_MIN_GROUP_CHANNELS = 4


@keras.saving.register_keras_serializable("unets")
class ReflectPad(layers.Layer):  # type: ignore[misc]
    """Pads height and width by reflection, so that the border looks like more of the same image; returns floats.

    `top_bottom` rows and `left_right` columns are added, each fewer than the image has.
    """

    def __init__(self, top_bottom: tuple[int, int], left_right: tuple[int, int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.top_bottom, self.left_right = tuple(top_bottom), tuple(left_right)

    def call(self, images_nhwc: Tensor) -> Tensor:
        """Returns (batch, height + top + bottom, width + left + right, channels)."""
        # Images come as uint8, which TensorFlow reflects on CPUs alone; 0..255 is exact in bfloat16 and float16.
        images_nhwc = keras.ops.cast(images_nhwc, self.compute_dtype)
        return keras.ops.pad(images_nhwc, [(0, 0), self.top_bottom, self.left_right, (0, 0)], mode="reflect")

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        """Returns the padded shape."""
        batch, height, width, channels = input_shape
        return (batch, height + sum(self.top_bottom), width + sum(self.left_right), channels)

    def get_config(self) -> dict[str, Any]:
        """Returns what rebuilds the layer."""
        return {**super().get_config(), "top_bottom": self.top_bottom, "left_right": self.left_right}


def convolve(
    x: Tensor, filters: int, config: ModelConfig, name: str, *, side: int = 3, activate: bool = True
) -> Tensor:
    """Convolution of `side` x `side` that keeps the size, normalization as configured, ReLU unless told otherwise."""
    # A normalization subtracts a bias again, and adds its own.
    options = {"use_bias": config.normalization == "none", "kernel_initializer": "he_normal", "name": f"{name}_conv"}
    x = normalize(layers.Conv2D(filters, side, padding="same", **options)(x), config, name)
    return layers.Activation("relu", name=f"{name}_relu")(x) if activate else x


def normalize(x: Tensor, config: ModelConfig, name: str) -> Tensor:
    """Normalizes over the batch (Ioffe and Szegedy 2015, arXiv 1502.03167), or over groups of each image's channels (Wu
    and He 2018, arXiv 1803.08494), or not at all.
    """
    if config.normalization == "batch":
        return BatchNorm(momentum=0.9, epsilon=1e-3, name=f"{name}_norm")(x)
    if config.normalization == "group":
        return layers.GroupNormalization(count_groups(x.shape[-1]), epsilon=1e-3, name=f"{name}_norm")(x)
    return x


def count_groups(channels: int) -> int:
    """Returns the largest divisor of `channels` up to 32 that leaves at least 4 channels a group, or 1.

    Fewer channels come near to instance normalization, which Wu and He (table 3) found worst; and at a deepest level of
    one pixel a group of one channel is its own mean, so that all images would look the same.
    """
    most = max(1, min(_MAX_GROUPS, channels // _MIN_GROUP_CHANNELS))
    return max(groups for groups in range(1, most + 1) if channels % groups == 0)


def convolve_twice(x: Tensor, filters: int, config: ModelConfig, name: str) -> Tensor:
    """Two `convolve` in a row: a level of the U-Net of 2015."""
    return convolve(convolve(x, filters, config, f"{name}a"), filters, config, f"{name}b")


def convolve_residually(x: Tensor, filters: int, config: ModelConfig, name: str) -> Tensor:
    """ReLU(x + F(x)), F being two convolutions; x is projected by a 1 x 1 convolution where its channels differ.

    He et al. 2016 (arXiv 1512.03385, projections B), not their later pre-activation: this one gives positive values as
    `convolve_twice` does, so it takes its place at every level, the one that sees the image and the last included.
    """
    shortcut = x
    if x.shape[-1] != filters:
        shortcut = convolve(x, filters, config, f"{name}_project", side=1, activate=False)
    x = convolve(x, filters, config, f"{name}a")
    x = convolve(x, filters, config, f"{name}b", activate=False)
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    return layers.Activation("relu", name=f"{name}_relu")(x)


BLOCKS: dict[str, Block] = {"plain": convolve_twice, "residual": convolve_residually}


def upsample(x: Tensor, filters: int, config: ModelConfig, name: str) -> Tensor:
    """Doubles height and width and changes the channels to `filters`."""
    if config.upsampling == "transpose":
        return layers.Conv2DTranspose(filters, 2, strides=2, kernel_initializer="he_normal", name=f"{name}_up")(x)
    # Mixing channels first is the same linear map as mixing them after, on a quarter of the pixels.
    x = layers.Conv2D(filters, 1, kernel_initializer="he_normal", name=f"{name}_mix")(x)
    return layers.UpSampling2D(2, interpolation=config.upsampling, name=f"{name}_up")(x)


@keras.saving.register_keras_serializable("unets")
class SpaceToDepth(layers.Layer):  # type: ignore[misc]
    """Puts blocks of pixels into channels: (h, w, c) to (h / block, w / block, block^2 c); `block` divides both."""

    def __init__(self, block: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.block = block

    def call(self, x: Tensor) -> Tensor:
        """Returns (batch, height / block, width / block, block^2 channels)."""
        _, height, width, channels = x.shape
        rows, columns, block = height // self.block, width // self.block, self.block
        x = keras.ops.transpose(keras.ops.reshape(x, (-1, rows, block, columns, block, channels)), (0, 1, 3, 2, 4, 5))
        return keras.ops.reshape(x, (-1, rows, columns, block * block * channels))

    def get_config(self) -> dict[str, Any]:
        """Returns what rebuilds the layer."""
        return {**super().get_config(), "block": self.block}


@keras.saving.register_keras_serializable("unets")
class DepthToSpace(SpaceToDepth):
    """Puts channels into blocks of pixels; the inverse of `SpaceToDepth` (Shi et al. 2016, arXiv 1609.05158)."""

    def call(self, x: Tensor) -> Tensor:
        """Returns (batch, rows block, columns block, channels / block^2)."""
        _, rows, columns, depth = x.shape
        block, channels = self.block, depth // self.block**2
        x = keras.ops.transpose(keras.ops.reshape(x, (-1, rows, columns, block, block, channels)), (0, 1, 3, 2, 4, 5))
        return keras.ops.reshape(x, (-1, rows * block, columns * block, channels))
