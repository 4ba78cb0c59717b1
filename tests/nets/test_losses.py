"""Losses: values by hand, minima, and logits far out."""

from math import exp, log
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from unets.nets.losses import LOSSES, bce, bce_dice, build_loss, dice, to_probs, with_background

LOG_3 = log(3.0)  # a logit of log 3 is a probability of 3 / (3 + 1) = 0.75, of -log 3 is 0.25


def make_batch(*photos: list[list[list[float]]]) -> npt.NDArray[np.float32]:
    """Makes (photos, height, width, channels) of nested lists."""
    return np.array(photos, dtype=np.float32)


def evaluate(loss: Any, targets: Any, logits: Any) -> npt.NDArray[np.float32]:
    return np.asarray(ops.convert_to_numpy(loss(ops.convert_to_tensor(targets), ops.convert_to_tensor(logits))))


def find_gradient(loss: Any, targets: npt.NDArray[np.float32], logits: npt.NDArray[np.float32]) -> Any:
    """Returns the gradient of the summed loss in the logits."""
    if keras.backend.backend() == "jax":
        import jax

        return np.asarray(jax.grad(lambda z: ops.sum(loss(ops.convert_to_tensor(targets), z)))(logits))
    import tensorflow as tf

    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        value = ops.sum(loss(tf.constant(targets), variable))
    return tape.gradient(value, variable).numpy()


def test_probabilities_by_hand() -> None:
    np.testing.assert_allclose(
        to_probs(ops.convert_to_tensor(make_batch([[[0.0], [LOG_3], [-LOG_3]]])))[0, 0, :, 0], [0.5, 0.75, 0.25]
    )
    # e^0 + e^log 3 + e^0 = 5: background 1/5, left out; classes 3/5 and 1/5
    probs = to_probs(ops.convert_to_tensor(make_batch([[[0.0, LOG_3, 0.0]]])))
    np.testing.assert_allclose(probs[0, 0], [[0.6, 0.2]], rtol=1e-6)


def test_background_is_the_rest() -> None:
    shares = with_background(ops.convert_to_tensor(make_batch([[[0.25, 0.5], [0.0, 0.0], [0.0, 1.0]]])))
    np.testing.assert_allclose(shares[0, 0], [[0.25, 0.25, 0.5], [1, 0, 0], [0, 0, 1]])
    # warping rounds each class by itself: 128 + 128 of 255
    over = with_background(ops.convert_to_tensor(make_batch([[[128 / 255, 128 / 255]]])))
    assert float(over[0, 0, 0, 0]) == 0.0


def test_bce_by_hand() -> None:
    targets = make_batch([[[1.0], [0.0]], [[1.0], [0.5]]])
    logits = make_batch([[[LOG_3], [LOG_3]], [[0.0], [LOG_3]]])
    # -log .75, -log .25, -log .5, -(log .75 + log .25) / 2; the mean over 4 pixels
    wanted = (-log(0.75) - log(0.25) - log(0.5) - (log(0.75) + log(0.25)) / 2) / 4
    np.testing.assert_allclose(evaluate(bce, targets, logits), [wanted], rtol=1e-6)


def test_bce_of_several_classes_by_hand() -> None:
    # background, first, second: 1/5, 3/5, 1/5 in both pixels
    logits = make_batch([[[0.0, LOG_3, 0.0], [0.0, LOG_3, 0.0]]])
    # first pixel: all first class, -log .6; second: half background, half second class, -log .2
    targets = make_batch([[[1.0, 0.0], [0.0, 0.5]]])
    np.testing.assert_allclose(evaluate(bce, targets, logits), [(-log(0.6) - log(0.2)) / 2], rtol=1e-6)


def test_dice_by_hand() -> None:
    targets = make_batch([[[1.0], [0.0], [0.5], [0.0]]])
    logits = make_batch([[[LOG_3], [LOG_3], [0.0], [-LOG_3]]])
    # p 3/4, 3/4, 1/2, 1/4; sum p t = 3/4 + 1/4 = 1, sum p = 9/4, sum t = 3/2
    # 1 - (2 * 1 + 1) / (9/4 + 3/2 + 1) = 1 - 3 / 4.75
    np.testing.assert_allclose(evaluate(dice, targets, logits), [1 - 3 / 4.75], rtol=1e-6)


def test_dice_of_several_classes_by_hand() -> None:
    logits = make_batch([[[0.0, LOG_3, 0.0], [0.0, LOG_3, 0.0]]])
    targets = make_batch([[[1.0, 0.0], [0.0, 0.5]]])
    # first class: p .6, .6, t 1, 0: (2 * .6 + 1) / (1.2 + 1 + 1) = 2.2 / 3.2
    # second: p .2, .2, t 0, .5: (2 * .1 + 1) / (.4 + .5 + 1) = 1.2 / 1.9
    wanted = 1 - (2.2 / 3.2 + 1.2 / 1.9) / 2
    np.testing.assert_allclose(evaluate(dice, targets, logits), [wanted], rtol=1e-6)


def test_dice_of_empty_and_perfect() -> None:
    # all of 4 x 4 right, or nothing there and nothing found: 1 - (2 n + 1) / (2 n + 1) = 0
    for share in (0.0, 1.0):
        targets = np.full((1, 4, 4, 1), share, dtype=np.float32)
        np.testing.assert_allclose(evaluate(dice, targets, (targets - 0.5) * 200), [0], atol=1e-6)
        # all wrong: 1 - 1 / (16 + 1)
        np.testing.assert_allclose(evaluate(dice, targets, (0.5 - targets) * 200), [16 / 17], rtol=1e-6)


def test_bce_dice_is_the_sum() -> None:
    rng = np.random.default_rng(0)
    targets, logits = rng.random((3, 4, 5, 1), np.float32), rng.normal(size=(3, 4, 5, 1)).astype(np.float32)
    wanted = evaluate(bce, targets, logits) + evaluate(dice, targets, logits)
    np.testing.assert_allclose(evaluate(bce_dice, targets, logits), wanted, rtol=1e-6)
    assert list(LOSSES.items()) == [("bce", bce), ("dice", dice), ("bce_dice", bce_dice)]


@given(target=st.floats(0.02, 0.98))
def test_bce_is_smallest_where_the_probability_is_the_target(target: float) -> None:
    probs = np.linspace(0.01, 0.99, 99, dtype=np.float32)
    targets = np.full((99, 1, 1, 1), target, dtype=np.float32)
    by_prob = evaluate(bce, targets, np.log(probs / (1 - probs)).reshape(99, 1, 1, 1))
    assert abs(probs[by_prob.argmin()] - target) <= 0.0051  # half a step of the grid
    # two classes: background 1 - p, the class p
    logits = np.stack([np.log(1 - probs), np.log(probs), np.full(99, -50, np.float32)], axis=-1)
    by_prob = evaluate(bce, np.concatenate([targets, 0 * targets], axis=-1), logits.reshape(99, 1, 1, 3))
    assert abs(probs[by_prob.argmin()] - target) <= 0.0051


@given(z=st.floats(-30, 30), target=st.sampled_from([0.0, 0.3, 1.0]))
def test_the_gradient_of_bce_is_the_error(z: float, target: float) -> None:
    # d/dz [log(1 + e^z) - z t] = p - t, at z = 0 too
    gradient = find_gradient(bce, make_batch([[[target]]]), make_batch([[[z]]]))
    np.testing.assert_allclose(gradient[0, 0, 0], [1 / (1 + exp(-z)) - target], atol=1e-6)


def test_the_gradient_of_bce_at_zero() -> None:
    # where units are dead the logit is exactly 0: 0.5 - 0 and 0.5 - 1
    gradient = find_gradient(bce, make_batch([[[0.0]]], [[[1.0]]]), make_batch([[[0.0]]], [[[0.0]]]))
    np.testing.assert_allclose(gradient[:, 0, 0, 0], [0.5, -0.5], atol=1e-6)


@pytest.mark.parametrize("name", list(LOSSES))
@pytest.mark.parametrize("num_classes", [1, 2])
def test_far_logits_neither_overflow_nor_stop_the_gradient(name: str, num_classes: int) -> None:
    channels = 1 if num_classes == 1 else num_classes + 1
    rng = np.random.default_rng(0)
    logits = rng.choice(np.array([-1e4, 0, 1e4], dtype=np.float32), (4, 8, 8, channels))
    targets = rng.choice(np.array([0, 0.5, 1], dtype=np.float32), (4, 8, 8, 1))
    targets = np.concatenate([targets] + [(1 - targets) / 2] * (num_classes - 1), axis=-1)
    assert np.isfinite(evaluate(LOSSES[name], targets, logits)).all()
    gradient = find_gradient(LOSSES[name], targets, logits)
    assert np.isfinite(gradient).all() and abs(gradient).max() > 0


def test_the_cost_of_a_far_wrong_logit() -> None:
    # log(1 + e^10000) - 0 = 10000; the right side costs nothing
    logits = make_batch([[[1e4]]], [[[-1e4]]], [[[1e4]]])
    np.testing.assert_allclose(evaluate(bce, make_batch([[[0.0]]], [[[1.0]]], [[[1.0]]]), logits), [1e4, 1e4, 0])


@pytest.mark.parametrize("name", list(LOSSES))
@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_is_its_photos_apart(name: str, channels: int) -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(2, 6, 7, channels)).astype(np.float32)
    targets = rng.random((2, 6, 7, max(channels - 1, 1))).astype(np.float32) / 2
    together = evaluate(LOSSES[name], targets, logits)
    assert together.shape == (2,) and together.dtype == np.float32
    apart = [evaluate(LOSSES[name], targets[i : i + 1], logits[i : i + 1])[0] for i in range(2)]
    np.testing.assert_allclose(together, apart, rtol=1e-6)
    assert abs(together[0] - together[1]) > 1e-4


@pytest.mark.parametrize("name", list(LOSSES))
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_built_losses_take_batches_as_they_come(name: str, dtype: str) -> None:
    # 51 of 255 is 0.2; a logit of 0 and of 2 is exact in every dtype
    targets_u8 = np.array([[[[0], [51], [255]]]], dtype=np.uint8)
    logits = make_batch([[[0.0], [2.0], [-2.0]]])
    loss = build_loss(name)
    assert loss.__name__ == name
    made = loss(ops.convert_to_tensor(targets_u8), ops.cast(ops.convert_to_tensor(logits), dtype))
    assert keras.backend.standardize_dtype(made.dtype) == "float32"
    wanted = evaluate(LOSSES[name], make_batch([[[0.0], [0.2], [1.0]]]), logits)
    np.testing.assert_allclose(made, wanted, rtol=1e-6)


def test_keras_averages_over_photos() -> None:
    # what `fit` reports: the mean of the photos' losses, also where the class dimension is one
    rng = np.random.default_rng(2)
    net = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Conv2D(1, 1, kernel_initializer="ones")])
    net.compile(loss=build_loss("bce_dice"))
    logits = rng.normal(size=(3, 4, 4, 1)).astype(np.float32)
    targets_u8 = rng.integers(0, 256, (3, 4, 4, 1), dtype=np.uint8)
    wanted = evaluate(bce_dice, targets_u8.astype(np.float32) / 255, logits).mean()
    np.testing.assert_allclose(net.test_on_batch(logits, targets_u8), wanted, rtol=1e-5)
