"""The pieces a U-Net is built of, as functions from tensor to tensor."""

from typing import Any

import keras
from keras import layers

from unets.config import ModelConfig

Tensor = Any  # a keras.KerasTensor; keras carries no types


@keras.saving.register_keras_serializable("unets")
class ReflectPad(layers.Layer):  # type: ignore[misc]
    """Pads height and width by reflection, so that the border looks like more of the same photo.

    Args:
        top_bottom: rows added above and below; each below the image's height.
        left_right: columns added at the left and right; each below the image's width.
    """

    def __init__(self, top_bottom: tuple[int, int], left_right: tuple[int, int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.top_bottom, self.left_right = tuple(top_bottom), tuple(left_right)

    def call(self, images_nhwc: Tensor) -> Tensor:
        """Returns (batch, height + top + bottom, width + left + right, channels)."""
        return keras.ops.pad(images_nhwc, [(0, 0), self.top_bottom, self.left_right, (0, 0)], mode="reflect")

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        """Returns the padded shape."""
        batch, height, width, channels = input_shape
        return (batch, height + sum(self.top_bottom), width + sum(self.left_right), channels)

    def get_config(self) -> dict[str, Any]:
        """Returns what rebuilds the layer."""
        return {**super().get_config(), "top_bottom": self.top_bottom, "left_right": self.left_right}


def convolve(x: Tensor, filters: int, config: ModelConfig, name: str) -> Tensor:
    """3 x 3 convolution, batch normalization if configured, ReLU."""
    # A bias before batch normalization is subtracted again by it.
    x = layers.Conv2D(
        filters,
        3,
        padding="same",
        use_bias=config.normalization == "none",
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    if config.normalization == "batch":
        x = layers.BatchNormalization(momentum=0.9, epsilon=1e-3, name=f"{name}_norm")(x)
    return layers.Activation("relu", name=f"{name}_relu")(x)


def convolve_twice(x: Tensor, filters: int, config: ModelConfig, name: str) -> Tensor:
    """Two `convolve` in a row, the unit of every level of a U-Net."""
    return convolve(convolve(x, filters, config, f"{name}a"), filters, config, f"{name}b")


def upsample(x: Tensor, filters: int, config: ModelConfig, name: str) -> Tensor:
    """Doubles height and width and changes the channels to `filters`."""
    if config.upsampling == "transpose":
        return layers.Conv2DTranspose(filters, 2, strides=2, kernel_initializer="he_normal", name=f"{name}_up")(x)
    # Mixing channels first is the same linear map as mixing them after, on a quarter of the pixels.
    x = layers.Conv2D(filters, 1, kernel_initializer="he_normal", name=f"{name}_mix")(x)
    return layers.UpSampling2D(2, interpolation=config.upsampling, name=f"{name}_up")(x)


@keras.saving.register_keras_serializable("unets")
class SpaceToDepth(layers.Layer):  # type: ignore[misc]
    """Folds blocks of pixels into channels: (h, w, c) to (h / block, w / block, block^2 c).

    Args:
        block: side of a block; divides height and width.
    """

    def __init__(self, block: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.block = block

    def call(self, x: Tensor) -> Tensor:
        """Returns the folded tensor."""
        _, height, width, channels = x.shape
        rows, columns, block = height // self.block, width // self.block, self.block
        x = keras.ops.reshape(x, (-1, rows, block, columns, block, channels))
        x = keras.ops.transpose(x, (0, 1, 3, 2, 4, 5))
        return keras.ops.reshape(x, (-1, rows, columns, block * block * channels))

    def get_config(self) -> dict[str, Any]:
        """Returns what rebuilds the layer."""
        return {**super().get_config(), "block": self.block}


@keras.saving.register_keras_serializable("unets")
class DepthToSpace(SpaceToDepth):
    """Unfolds channels into blocks of pixels; the inverse of `SpaceToDepth` (Shi et al. 2016, arXiv 1609.05158)."""

    def call(self, x: Tensor) -> Tensor:
        """Returns the unfolded tensor."""
        _, rows, columns, folded = x.shape
        block, channels = self.block, folded // self.block**2
        x = keras.ops.reshape(x, (-1, rows, columns, block, block, channels))
        x = keras.ops.transpose(x, (0, 1, 3, 2, 4, 5))
        return keras.ops.reshape(x, (-1, rows * block, columns * block, channels))
