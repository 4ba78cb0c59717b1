import keras
import numpy as np
import pytest
from keras import ops

from unets.nets.backend import depthwise_conv
from unets.nets.layers import BatchNorm, DepthwiseConv2D, set_statistics_window

SHAPE = (3, 6, 5, 4)


def build_both(policy: str = "float32") -> tuple[keras.layers.Layer, keras.layers.Layer]:
    """Ours and Keras's, with the same weights that leave nothing as it is."""
    rng = np.random.default_rng(0)
    pair = tuple(
        kind(momentum=0.9, epsilon=1e-3, dtype=policy) for kind in (BatchNorm, keras.layers.BatchNormalization)
    )
    for layer in pair:
        layer.build(SHAPE)
    values = [rng.uniform(0.5, 2, weight.shape) for weight in pair[0].weights]
    for layer in pair:
        layer.set_weights(values)
    return pair


def draw(dtype: str = "float32") -> keras.KerasTensor:
    return ops.cast(np.random.default_rng(1).normal(3, 2, SHAPE), dtype)


@pytest.mark.parametrize(("policy", "tolerance"), [("float32", 1e-5), ("mixed_bfloat16", 3e-2)])
@pytest.mark.parametrize("training", [False, True])
def test_it_gives_what_keras_gives(policy: str, tolerance: float, training: bool) -> None:
    dtype = "bfloat16" if policy == "mixed_bfloat16" else "float32"
    ours, keras_own = build_both(policy)
    results = [layer(draw(dtype), training=training) for layer in (ours, keras_own)]
    assert keras.backend.standardize_dtype(results[0].dtype) == dtype
    found, expected = (ops.convert_to_numpy(ops.cast(result, "float32")) for result in results)
    np.testing.assert_allclose(found, expected, atol=tolerance * 10, rtol=tolerance)
    for weight, other in zip(ours.weights, keras_own.weights, strict=True):
        assert weight.name == other.name
        np.testing.assert_allclose(weight.numpy(), other.numpy(), rtol=1e-5, err_msg=weight.name)


def test_a_frozen_layer_uses_and_keeps_its_statistics() -> None:
    ours, keras_own = build_both()
    ours.trainable = keras_own.trainable = False
    before = [weight.numpy() for weight in ours.weights]
    found, expected = (ops.convert_to_numpy(layer(draw(), training=True)) for layer in (ours, keras_own))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    for weight, values in zip(ours.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), values)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="gradients are taken with TensorFlow's tape")
def test_gradients_are_those_of_keras() -> None:
    import tensorflow as tf

    gradients = []
    for layer in build_both():
        x = draw()
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(layer(x, training=True) ** 3)
        gradients.append(tape.gradient(total, [x, *(weight.value for weight in layer.trainable_variables)]))
    for found, expected in zip(*gradients, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("num_steps", "momentum"), [(4, 0.9), (150, 1 - 1 / 37.5), (400, 0.99), (100_000, 0.99)])
def test_statistics_follow_a_quarter_of_the_training(num_steps: int, momentum: float) -> None:
    found = [BatchNorm(momentum=0.5), keras.layers.BatchNormalization(momentum=0.5)]
    images = keras.Input(SHAPE[1:])
    body = keras.Model(images, found[1](images))  # as a backbone of keras-hub lies within its encoder
    set_statistics_window(keras.Model(images, body(found[0](images))), num_steps)
    assert [layer.momentum for layer in found] == pytest.approx([momentum] * 2)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="other backends have Keras's own")
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize(
    ("side", "stride", "padding"), [(3, 1, "same"), (3, 2, "valid"), (5, 2, "same"), (7, 1, "valid")]
)
def test_gradients_of_depthwise_convolutions_are_those_of_keras(
    side: int, stride: int, padding: str, policy: str
) -> None:
    import tensorflow as tf

    kinds = (DepthwiseConv2D, keras.layers.DepthwiseConv2D)
    ours, keras_own = (kind(side, stride, padding=padding, use_bias=False, dtype=policy) for kind in kinds)
    rng = np.random.default_rng(0)
    images = tf.constant(rng.normal(size=(2, 12, 9, 4)), "float32")
    factors = rng.normal(size=keras_own(images).shape)
    ours.build(images.shape)
    ours.set_weights(keras_own.get_weights())
    if not tf.config.list_physical_devices("GPU"):  # else Keras's own would be compared with itself
        assert depthwise_conv(images, ours.kernel, stride=stride, padding=padding) is not None
    results = []
    for layer in (ours, keras_own):
        with tf.GradientTape() as tape:
            tape.watch(images)
            made = layer(images, **({"training": True} if layer is ours else {}))
            loss = tf.reduce_sum(tf.cast(made, "float32") * factors.astype("float32"))
        results.append([made, *tape.gradient(loss, [images, layer.kernel.value])])
    for found, expected in zip(*results, strict=True):
        np.testing.assert_allclose(
            tf.cast(found, "float32"),
            tf.cast(expected, "float32"),
            rtol=2e-2 if policy != "float32" else 1e-4,
            atol=1e-5,
        )
