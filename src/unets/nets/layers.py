"""Layers of Keras that cost what they must: batch normalization in one pass, fast depthwise gradients on CPUs."""

from typing import Any

import keras
from keras import layers, ops

from unets.nets.backend import depthwise_conv, fused_batch_norm

Tensor = Any


@keras.saving.register_keras_serializable("unets")
class BatchNorm(layers.BatchNormalization):  # type: ignore[misc]
    """`keras.layers.BatchNormalization` (Ioffe and Szegedy 2015, arXiv 1502.03167) over the last axis, but faster.

    Keras 3 computes mean, variance, scale and shift one after the other, each a pass over the memory. TensorFlow has
    one kernel for all: at (4, 160, 240, 96) in float32 on two cores 15 ms forward and backward in place of 85. Where it
    does not apply (JAX, whose compiler fuses by itself) Keras's own code runs. Weights, their names and results are the
    same: the kernel's variance divides by n - 1, the moving variance here by n, as everywhere in Keras 3.
    """

    def call(self, inputs: Tensor, training: bool | None = None, mask: Tensor | None = None) -> Tensor:
        """Normalizes over batch, height and width; by the moving statistics outside training or where frozen."""
        is_training, moving = bool(training) and self.trainable, (self.moving_mean, self.moving_variance)
        fused = None
        if len(inputs.shape) == 4:
            fused = fused_batch_norm(inputs, self.gamma, self.beta, moving, self.epsilon, is_training=is_training)
        if fused is None:
            return super().call(inputs, training=training, mask=mask)
        normalized, *found = fused
        if is_training:
            for average, value in zip(moving, found, strict=True):
                average.assign(average * self.momentum + ops.cast(value, "float32") * (1.0 - self.momentum))
        return normalized


@keras.saving.register_keras_serializable("unets")
class DepthwiseConv2D(layers.DepthwiseConv2D):  # type: ignore[misc]
    """`keras.layers.DepthwiseConv2D` with gradients that are fast on CPUs; weights, names and results are the same."""

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """Convolves each channel; by Keras's own code outside training, and where ours does not apply."""
        (stride, *others), (side, *sides) = set(self.strides), set(self.kernel_size)
        is_plain = self.depth_multiplier == 1 and set(self.dilation_rate) == {1}
        made = None
        if training and is_plain and not others and not sides and side % 2:
            kernel = ops.convert_to_tensor(self.kernel)
            made = depthwise_conv(inputs, kernel, stride=stride, padding=self.padding)
        if made is None:
            return super().call(inputs)
        return self.activation(made if self.bias is None else made + ops.reshape(self.bias, (1, 1, 1, -1)))


def set_statistics_window(net: keras.Model, num_steps: int) -> None:
    """Makes the statistics that predict means over about a quarter of a training, 10 to 100 steps.

    A window as long as the training leaves ImageNet's statistics in it; a short one is noise of a few images. One seed:
    membranes after 150 steps, Dice 0.72 by a window of 100 where training had 0.83; persons after 400 steps, 0.917 by
    100, 0.899 by 10 (docs/log/2026-11-29.md). All layers of the net that normalize batches are set, nested ones too.
    """
    for layer in net._flatten_layers():  # of keras-hub, the encoder is a model within
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 1 - 1 / min(max(num_steps / 4, 10), 100)
