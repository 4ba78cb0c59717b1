"""Nets without batch normalization: the same predictions, by hand and for every net there is."""

from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
from keras import layers

from unets.config import ModelConfig
from unets.nets.graph import fuse_batch_norm
from unets.nets.layers import BatchNorm
from unets.nets.unet import build_unet

SIZE_HW = (32, 64)


def unsettle(net: keras.Model, seed: int = 0) -> None:
    """Draws statistics, scales and shifts: those of a new net are 0 and 1, which anything folds right."""
    rng = np.random.default_rng(seed)
    for layer in net._flatten_layers():
        if isinstance(layer, layers.BatchNormalization):
            for weight in (layer.gamma, layer.moving_variance):
                if weight is not None:
                    weight.assign(rng.uniform(0.5, 1.5, weight.shape))
            for weight in (layer.beta, layer.moving_mean):
                if weight is not None:
                    weight.assign(rng.uniform(-0.5, 0.5, weight.shape))


def count_norms(net: keras.Model) -> int:
    return sum(isinstance(layer, layers.BatchNormalization) for layer in net._flatten_layers())


def draw(shape: tuple[int, ...], high: int = 256) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, high, shape, dtype=np.uint8)


def test_by_hand() -> None:
    x = keras.Input((1, 1, 2))
    y = layers.Conv2D(2, 1, use_bias=True, name="conv")(x)
    net = keras.Model(x, layers.BatchNormalization(epsilon=0.25, name="norm")(y))
    net.get_layer("conv").set_weights([np.array([[[[1.0, 2.0], [3.0, 4.0]]]]), np.array([5.0, 6.0])])
    # gamma, beta, mean, variance: factors 3 / sqrt(2 + 0.25) = 2 and 1 / sqrt(0 + 0.25) = 2
    net.get_layer("norm").set_weights([np.array(v) for v in ([3.0, 1.0], [0.5, 0.0], [1.0, -1.0], [2.0, 0.0])])
    folded = fuse_batch_norm(net)
    kernel, bias = folded.get_layer("conv").get_weights()
    np.testing.assert_allclose(kernel[0, 0], [[2.0, 4.0], [6.0, 8.0]])
    np.testing.assert_allclose(bias, [0.5 + (5 - 1) * 2, 0 + (6 + 1) * 2])
    assert count_norms(folded) == 0 and count_norms(net) == 1
    np.testing.assert_array_equal(net.get_layer("conv").get_weights()[1], [5.0, 6.0])  # left as it was


NETS = {
    "plain": ModelConfig(depth=2, base_filters=4),
    "residual": ModelConfig(depth=2, base_filters=4, block="residual"),
    "lite0": ModelConfig(encoder="efficientnet_lite0", stride=2, depth=4, base_filters=4),
    "densenet": ModelConfig(encoder="densenet121", stride=2, depth=2, base_filters=4),
}


@pytest.mark.parametrize("name", NETS)
def test_every_net_predicts_the_same(name: str) -> None:
    keras.utils.set_random_seed(1)  # of some draws, narrow nets say the same of every pixel
    net = build_unet(NETS[name], SIZE_HW)
    unsettle(net)
    before = [weight.copy() for weight in net.get_weights()]
    folded, photos = fuse_batch_norm(net), draw((2, *SIZE_HW, 3))
    # Those before the activation follow a concatenation or a pooling.
    assert count_norms(net) > 0 and (count_norms(folded) > 0) == (name == "densenet")
    wanted, found = net.predict_on_batch(photos), folded.predict_on_batch(photos)
    assert np.ptp(wanted) > 0
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3 * float(np.abs(wanted).max()))
    for weight, kept in zip(net.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, kept)


@pytest.mark.parametrize("normalization", ["none", "group"])
def test_without_batch_normalization_it_is_the_net_itself(normalization: Any) -> None:
    net = build_unet(ModelConfig(depth=2, base_filters=4, normalization=normalization), SIZE_HW)
    assert fuse_batch_norm(net) is net


def build(case: str) -> keras.Model:
    x = keras.Input((8, 8, 3), dtype="float32")
    convolution = layers.Conv2D(4, 3, padding="same", activation="relu" if case == "activation" else None, name="conv")
    y = convolution(x)
    norm = BatchNorm(name="norm", trainable=False)
    if case == "another reader":
        return keras.Model(x, layers.Add()([norm(y), y]))
    if case == "an output":
        return keras.Model(x, [norm(y), y])
    if case == "called twice":
        return keras.Model(x, layers.Add()([norm(y), norm(convolution(layers.ReLU()(x)))]))
    if case == "not a convolution":
        return keras.Model(x, norm(layers.AveragePooling2D(2)(y)))
    if case == "transposed":
        return keras.Model(x, norm(layers.Conv2DTranspose(4, 2, strides=2)(layers.ReLU()(y))))
    return keras.Model(x, norm(y))


@pytest.mark.parametrize(
    "case", ["activation", "another reader", "an output", "called twice", "not a convolution", "transposed"]
)
def test_what_cannot_be_folded_stays(case: str) -> None:
    net = build(case)
    assert fuse_batch_norm(net) is net
