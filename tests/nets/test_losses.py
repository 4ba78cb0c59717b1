"""Losses: values by hand, minima, and logits far out."""

from functools import partial
from inspect import signature
from math import exp, log
from typing import Any, get_args

import keras
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from keras import ops
from scipy.ndimage import distance_transform_edt

from tests import ROOT
from unets.config import LOSS_ARGS, LossName
from unets.nets.losses import (
    LOSSES,
    bce,
    border_bce,
    boundary,
    build_loss,
    dice,
    find_border_weights,
    focal,
    log_dice,
    lovasz,
    scale_batch,
    to_probs,
    tversky,
)

Array = npt.NDArray[np.float32]
LOG_3 = log(3.0)  # a logit of log 3 is a probability of 3 / (3 + 1) = 0.75, of -log 3 is 0.25


# No deadline: JAX compiles at each first call. Examples are seeds, of which a few dozen are as good as a hundred.
few = settings(deadline=None, max_examples=30)


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


# One class: probabilities 3/4, 3/4, 1/2, 1/4 against 1, 0, 1/2, 0; sum p t = 3/4 + 1/4 = 1, sum p = 9/4, sum t = 3/2.
FOUR = make_batch([[[1.0], [0.0], [0.5], [0.0]]]), make_batch([[[LOG_3], [LOG_3], [0.0], [-LOG_3]]])
# Background, first, second: 1/5, 3/5, 1/5 in both pixels; all first class, and half background, half second class.
PAIR = make_batch([[[1.0, 0.0], [0.0, 0.5]]]), make_batch([[[0.0, LOG_3, 0.0], [0.0, LOG_3, 0.0]]])
# Background, first, second: 1/5 3/5 1/5 | 3/5 1/5 1/5 | 1/5 1/5 3/5; labels first, first, none.
THREE = (
    make_batch([[[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]]),
    make_batch([[[0.0, LOG_3, 0.0], [LOG_3, 0.0, 0.0], [0.0, 0.0, LOG_3]]]),
)
# Hinge errors 1 + 1 = 2, 1 + .5 = 1.5, 1 - .5 = .5, max(1 - 3, 0) = 0, sorted already; t 1 0 1 0, sum 2.
HINGE = make_batch([[[1.0], [0.0], [1.0], [0.0]]]), make_batch([[[-1.0], [0.5], [0.5], [-3.0]]])
# Of the right side 3/4 1/2 3/4 1/4 3/4 1/2; of windows of 3 the border weighs the middle two.
ROW = (
    make_batch([[[0.0], [0.0], [0.0], [1.0], [1.0], [1.0]]]),
    make_batch([[[-LOG_3], [0.0], [-LOG_3], [-LOG_3], [LOG_3], [0.0]]]),
)
ONE_MISSED, ONE_TOO_MANY = make_batch([[[1.0], [0.0]]]), make_batch([[[0.0], [0.0]]])
FAR = make_batch([[[-50.0], [-50.0]]])


@pytest.mark.parametrize(
    ("loss", "batch", "wanted"),
    [
        (bce, FOUR, (-log(0.75) - log(0.25) - log(0.5) - log(0.75)) / 4),
        (bce, PAIR, (-log(0.6) - log(0.2)) / 2),
        # (1 - 3/4)^2, (3/4)^2, 0, (1/4)^2 of these
        (focal, FOUR, (-log(0.75) / 16 - log(0.25) * 9 / 16 - log(0.75) / 16) / 4),
        # (1 - 3/5)^2 (-log 3/5); half background, half second class: (1/2 - 1/5)^2 (-log 1/5) / 2, twice
        (focal, PAIR, (-0.16 * log(0.6) - 0.09 * log(0.2)) / 2),
        # Lin's alpha of 1/4 is a weight of 1/3: 1/3, 1, 2/3, 1 of the four; 3 in all
        (partial(focal, class_weights=[1 / 3]), FOUR, (-log(0.75) / 48 - log(0.25) * 9 / 16 - log(0.75) / 16) / 3),
        # weights 1 1 5 5 1 1, sum 14
        (partial(border_bce, width_px=3, weight=5), ROW, -(7 * log(0.75) + 2 * log(0.5) + 5 * log(0.25)) / 14),
        (dice, FOUR, 1 - 3 / 4.75),  # (2 * 1 + 1) / (9/4 + 3/2 + 1)
        # first class: p .6, .6, t 1, 0: (2 * .6 + 1) / (1.2 + 1 + 1); second: (2 * .1 + 1) / (.4 + .5 + 1)
        (dice, PAIR, 1 - (2.2 / 3.2 + 1.2 / 1.9) / 2),
        (log_dice, FOUR, -log(3 / 4.75)),
        # TP 1, FP 9/4 - 1, FN 3/2 - 1: (1 + .5) / (1 + .3 * 1.25 + .7 * .5 + .5)
        (tversky, FOUR, 1 - 1.5 / 2.225),
        # what is missed costs more than what is too much: .5 / (.5 + cost)
        (tversky, (ONE_MISSED, FAR), 1 - 0.5 / 1.2),
        (tversky, (ONE_TOO_MANY, -FAR), 1 - 0.5 / 1.1),
        # I 1 1 0 0, U 2 3 3 4, J = 1 - I / U = 1/2, 2/3, 1, 1, its steps 1/2, 1/6, 1/3, 0
        (lovasz, HINGE, 2 / 2 + 1.5 / 6 + 0.5 / 3),
        # background: t 0 0 1, errors 1/5 3/5 4/5, downwards 4/5 3/5 1/5 with t 1 0 0: I 0 0 0, J 1 1 1: 4/5;
        # first: t 1 1 0, errors 2/5 4/5 1/5, downwards 4/5 2/5 1/5 with t 1 1 0: J 1/2 1 1: 4/10 + 2/10;
        # the second is absent and does not count
        (lovasz, THREE, (0.8 + 0.6) / 2),
        # signed distances of ROW's targets -2.5 -1.5 -.5 .5 1.5 2.5 the other way round, cut off at 2 (less a half)
        # and divided by it: .75 .75 .25 | -.25 -.75 -.75; p - t: .25 .5 .25 | -.75 -.25 -.5
        (partial(boundary, reach_px=2), ROW, (0.75 * 0.75 + 0.25 * 0.25 + 0.25 * 0.75 + 0.75 * 0.75) / 6),
        # weights of classes: one of 3; pixels of 3 and of (1 + 5) / 2; classes of 3 and 5; background counts 1
        (partial(bce, class_weights=[3.0]), FOUR, -(3 * log(0.75) + log(0.25) + 2 * log(0.5) + log(0.75)) / 7),
        (partial(bce, class_weights=[3.0, 5.0]), PAIR, -(3 * log(0.6) + 3 * log(0.2)) / 6),
        (partial(dice, class_weights=[3.0, 5.0]), PAIR, 1 - (3 * 2.2 / 3.2 + 5 * 1.2 / 1.9) / 8),
        (partial(lovasz, class_weights=[3.0, 5.0]), THREE, (0.8 + 3 * 0.6) / 4),
    ],
)
def test_by_hand(loss: Any, batch: tuple[Array, Array], wanted: float) -> None:
    np.testing.assert_allclose(evaluate(loss, *batch), [wanted], rtol=1e-5)


def test_the_gradient_of_lovasz_is_the_step_towards_the_right_side() -> None:
    # and there is none beyond the margin
    np.testing.assert_allclose(find_gradient(lovasz, *HINGE)[0, 0, :, 0], [-1 / 2, 1 / 6, -1 / 3, 0], rtol=1e-6)


def test_a_sum_of_losses_by_hand() -> None:
    targets_u8, logits = np.array([[[[255], [0]]]], dtype=np.uint8), make_batch([[[LOG_3], [LOG_3]]])
    # bce (-log 3/4 - log 1/4) / 2; Dice: sum(p t) 3/4, sum(p) 3/2, sum(t) 1: (1.5 + 1) / (2.5 + 1)
    entropy, overlap = -(log(0.75) + log(0.25)) / 2, 1 - 2.5 / 3.5
    found = evaluate(build_loss({"bce": 0.5, "dice": 2}), targets_u8, logits)
    np.testing.assert_allclose(found, [0.5 * entropy + 2 * overlap], rtol=1e-6)
    # each takes its own arguments
    both = {"focal": 1.0, "tversky": 1.0}
    args = {"gamma": 0.0, "false_positives": 0.5, "false_negatives": 0.5}
    np.testing.assert_allclose(evaluate(build_loss(both, args), targets_u8, logits), [entropy + overlap], rtol=1e-6)


@few
@given(seed=st.integers(0, 99), width_px=st.sampled_from([3, 5, 9, 21]), share=st.sampled_from([0.02, 0.5, 0.98]))
def test_border_weights_are_those_of_a_square_window(seed: int, width_px: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    mask = (rng.random((9, 14)) < share).astype(np.float32)
    wanted, reach = np.ones_like(mask), width_px // 2
    for row, column in np.ndindex(*mask.shape):
        mean = mask[max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1].mean()
        wanted[row, column] = 3 if 0.01 <= mean <= 0.99 else 1
    np.testing.assert_array_equal(
        find_border_weights(ops.convert_to_tensor(mask[None, :, :, None]), width_px, 3)[0], wanted
    )


@few
@given(seed=st.integers(0, 99), reach_px=st.sampled_from([2, 5, 16]), share=st.sampled_from([0.0, 0.02, 0.5, 1.0]))
def test_boundary_weighs_errors_by_their_distance_from_the_contour(seed: int, reach_px: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    is_object = rng.random((9, 14)) < share
    beyond = np.full((9, 14), float(reach_px))
    inwards = distance_transform_edt(is_object) if not is_object.all() else beyond
    outwards = distance_transform_edt(~is_object) if is_object.any() else beyond
    cut = [np.minimum(one, reach_px) - 0.5 for one in (inwards, outwards)]
    probs = rng.random((9, 14))
    wanted = (np.where(is_object, -cut[0], cut[1]) / reach_px * (probs - is_object)).mean()
    batch = (one[None, :, :, None].astype(np.float32) for one in (is_object, np.log(probs / (1 - probs))))
    found = evaluate(partial(boundary, reach_px=reach_px), *batch)
    np.testing.assert_allclose(found, [wanted], rtol=1e-4)
    assert wanted > 0


def find_lovasz(errors: npt.NDArray[np.float64], targets: npt.NDArray[np.float64]) -> float:
    """Algorithm 1 of Berman et al., as it is printed, in float64."""
    order = np.argsort(-errors, kind="stable")
    sorted_targets = targets[order]
    intersection = sorted_targets.sum() - sorted_targets.cumsum()
    union = sorted_targets.sum() + (1 - sorted_targets).cumsum()
    jaccard = 1 - intersection / union
    return float(errors[order] @ np.diff(jaccard, prepend=0))


@few
@given(seed=st.integers(0, 9999), share=st.sampled_from([0.0, 0.05, 0.5, 1.0]), is_soft=st.booleans())
@example(seed=317, share=0.05, is_soft=True)  # of shares near 0, U_0 as U_1 - 1 + t_1 lost its digits
def test_lovasz_is_the_published_algorithm(seed: int, share: float, is_soft: bool) -> None:
    rng = np.random.default_rng(seed)
    targets = (rng.random((2, 6, 7, 1)) < share) * (rng.random((2, 6, 7, 1)) if is_soft else 1.0)
    logits = rng.normal(scale=2, size=(2, 6, 7, 1)).round(1)  # rounded: there are ties
    errors = np.maximum(1 - (2 * targets - 1) * logits, 0)
    wanted = [find_lovasz(errors[i].ravel(), targets[i].ravel()) for i in range(2)]
    made = evaluate(lovasz, targets.astype(np.float32), logits.astype(np.float32))
    np.testing.assert_allclose(made, wanted, rtol=1e-5, atol=1e-6)


def test_every_configured_loss_exists_with_its_arguments() -> None:
    assert list(LOSSES) == list(get_args(LossName))
    args = {
        name: signature(loss).parameters.keys() - {"targets", "logits", "class_weights"}
        for name, loss in LOSSES.items()
    }
    assert {name: taken for name, taken in args.items() if taken} == {
        name: args.keys() for name, args in LOSS_ARGS.items()
    }


def test_the_page_on_soft_targets_names_every_loss() -> None:
    text = (ROOT / "docs/explanation/soft-targets.md").read_text(encoding="utf-8")
    assert [name for name in LOSSES if f"`{name}`" not in text] == []


@few
@given(z=st.floats(-30, 30), target=st.sampled_from([0.0, 0.3, 1.0]))
@example(z=0.0, target=1.0)  # where units are dead
def test_the_gradient_of_bce_is_the_error(z: float, target: float) -> None:
    # d/dz [log(1 + e^z) - z t] = p - t, at z = 0 too
    gradient = find_gradient(bce, make_batch([[[target]]]), make_batch([[[z]]]))
    np.testing.assert_allclose(gradient[0, 0, 0], [1 / (1 + exp(-z)) - target], atol=1e-6)


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


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_focal_gradient_is_finite_where_there_is_no_error(gamma: float, channels: int) -> None:
    # |t - p|^0.5 has an infinite slope at p = t, which a half, a certain pixel and an underflow all reach exactly
    logits = np.zeros((1, 1, 4, channels), dtype=np.float32)
    logits[..., -1] = [0, 40, 1e4, -1e4]
    targets = np.zeros((1, 1, 4, max(channels - 1, 1)), dtype=np.float32)
    targets[..., -1] = [1 / max(channels, 2), 1, 1, 0]

    def loss(targets: Any, logits: Any) -> Any:
        return focal(targets, logits, gamma=gamma)

    assert np.isfinite(evaluate(loss, targets, logits)).all()
    assert np.isfinite(find_gradient(loss, targets, logits)).all()


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


def make_ignored(num_classes: int, seed: int = 0) -> tuple[npt.NDArray[np.uint8], Array]:
    """Makes targets of 0 and 255 with a layer of ignored pixels in half of the columns, and logits."""
    rng = np.random.default_rng(seed)
    index = rng.integers(0, num_classes + 1, (2, 6, 8))
    targets = np.stack([(index == k) * np.uint8(255) for k in range(1, num_classes + 1)], axis=-1)
    ignored = np.zeros((2, 6, 8, 1), dtype=np.uint8)
    ignored[:, :, ::2] = 255
    targets[ignored[..., 0] > 0] = 0
    channels = 1 if num_classes == 1 else num_classes + 1
    return np.concatenate([targets, ignored], axis=-1), rng.normal(size=(2, 6, 8, channels)).astype(np.float32)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("num_classes", [1, 3])
def test_ignored_pixels_have_no_loss_and_no_gradient(name: str, num_classes: int) -> None:
    targets, logits = make_ignored(num_classes)
    loss = build_loss({name: 1})
    changed = logits.copy()
    changed[:, :, ::2] = np.random.default_rng(1).normal(size=changed[:, :, ::2].shape) * 9
    values = evaluate(loss, targets, logits)
    np.testing.assert_array_equal(values, evaluate(loss, targets, changed))
    gradient = find_gradient(loss, targets, logits)  # type: ignore[arg-type]
    assert (gradient[:, :, ::2] == 0).all() and (gradient[:, :, 1::2] != 0).any()


def test_of_a_pixel_that_is_partly_labeled_that_part_stands_for_the_whole() -> None:
    targets = ops.convert_to_tensor(np.array([[[[51, 85], [51, 128]]]], dtype=np.uint8))
    logits = ops.convert_to_tensor(make_batch([[[1], [1]]]))
    known, seen = map(ops.convert_to_numpy, scale_batch(targets, logits, overlapping=False))
    # 0.2 of the 2 / 3 that are labeled; half or more ignored is left out: background that the net is sure of
    np.testing.assert_allclose(known, make_batch([[[0.3], [0.0]]]), rtol=1e-6)
    assert seen.ravel().tolist() == [1.0, -30.0]


@pytest.mark.parametrize("name", [name for name in LOSSES if not name.startswith("border")])
def test_of_overlapping_classes_the_loss_is_the_mean_of_theirs(name: str) -> None:
    rng = np.random.default_rng(3)
    targets = rng.integers(0, 2, (2, 6, 8, 3), dtype=np.uint8) * 255  # a pixel may be of all three
    logits = rng.normal(size=(2, 6, 8, 3)).astype(np.float32)
    alone = [evaluate(build_loss({name: 1}), targets[..., k : k + 1], logits[..., k : k + 1]) for k in range(3)]
    found = evaluate(build_loss({name: 1}, overlapping=True), targets, logits)
    np.testing.assert_allclose(found, np.mean(alone, axis=0), rtol=1e-5)
    # one class ignores the left half: it is left out of its loss, and of no other's
    ignored = np.zeros((2, 6, 8, 3), dtype=np.uint8)
    ignored[:, :, :4, 1] = 255
    own = np.concatenate([targets[..., 1:2], ignored[..., 1:2]], axis=-1)
    alone[1] = evaluate(build_loss({name: 1}, overlapping=True), own, logits[..., 1:2])
    again = evaluate(build_loss({name: 1}, overlapping=True), np.concatenate([targets, ignored], axis=-1), logits)
    np.testing.assert_allclose(again, np.mean(alone, axis=0), rtol=1e-5)
