from typing import Any

import numpy as np
import pytest

from unets.config import DataConfig, DatasetConfig, ExperimentConfig, ModelConfig, TrainingConfig
from unets.training.learner import Learner, build_learner

pytestmark = pytest.mark.slow

SIZE_HW = (32, 32)
RNG = np.random.default_rng(0)
PHOTOS = RNG.integers(0, 255, (4, *SIZE_HW, 3), dtype=np.uint8)
TARGETS = np.repeat(np.repeat(RNG.integers(0, 2, (4, 8, 8, 1)), 4, axis=1), 4, axis=2).astype(np.uint8) * 255


def build(steps_per_update: int = 1, *, model: dict[str, Any] | None = None, **training: Any) -> Learner:
    experiment = ExperimentConfig(
        data=DataConfig(size_hw=SIZE_HW, batch_size=4, augment=None),
        model=ModelConfig(**({"depth": 1, "base_filters": 4, "normalization": "none"} | (model or {}))),
        training=TrainingConfig(**({"precision": "float32", "warmup": 0, "epochs": 10} | training)),
    )
    return build_learner(experiment, DatasetConfig(), updates_per_epoch=3, steps_per_update=steps_per_update)


def learn(learner: Learner, num_updates: int) -> None:
    size = len(PHOTOS) // learner.steps_per_update
    for _ in range(num_updates):
        for begin in range(0, len(PHOTOS), size):
            learner.train_on_batch(PHOTOS[begin : begin + size], TARGETS[begin : begin + size])


def test_an_update_in_steps_is_an_update_at_once() -> None:
    whole, split = build(ema=0.9, clip_norm=0.5), build(4, ema=0.9, clip_norm=0.5)
    for learner in (whole, split):
        learn(learner, 3)
    for left, right in zip(whole.read_weights(), split.read_weights(), strict=True):
        np.testing.assert_allclose(left, right, atol=2e-5)
    states = whole.read_state(), split.read_state()
    added_up = {key for key in states[1] if key.startswith("added_up/")}
    assert states[1].keys() - states[0].keys() == added_up and all((states[1][key] == 0).all() for key in added_up)
    for state, count in zip(states, (3, 12), strict=True):
        counts = [value for key, value in state.items() if key.startswith("optimizer/") and value.dtype.kind == "i"]
        assert counts == [count], "Keras counts steps"


def test_gradients_that_are_added_up_survive_a_step_that_float16_left_out() -> None:
    """Two steps an update; the first overflows, so that a state is saved where the optimizer is within an update."""
    learner = build(2, model={"depth": 1}, precision="mixed_float16")

    def step(begin: int, loss_scale: float) -> None:
        learner.optimizer.dynamic_scale.assign(loss_scale)
        learner.train_on_batch(PHOTOS[begin : begin + 2], TARGETS[begin : begin + 2])

    step(0, 2.0**120)
    assert float(learner.optimizer.dynamic_scale.numpy()) == 2.0**119, "the step was left out"
    step(2, 1024.0)
    saved = learner.read_state()
    assert any((value != 0).any() for key, value in saved.items() if key.startswith("added_up/"))
    step(0, 1024.0)  # an update, after which nothing is added up
    whole = learner.read_state()
    learner.write_state(saved)
    step(0, 1024.0)
    for key, value in learner.read_state().items():
        np.testing.assert_array_equal(value, whole[key], err_msg=key)
    learner.write_state({key: 0 * value if key.startswith("added_up/") else value for key, value in saved.items()})
    step(0, 1024.0)
    state = learner.read_state()
    assert any((state[key] != whole[key]).any() for key in whole if key.startswith("net/")), "both gradients counted"


def test_a_run_with_batch_norm_and_mean_goes_on_with_other_steps_an_update() -> None:
    """Halves of a batch that are the same photos: their statistics are the whole's, whatever the steps."""
    photos, targets = (np.concatenate([half[:2], half[:2]]) for half in (PHOTOS, TARGETS))
    settings: dict[str, Any] = {"model": {"depth": 1, "normalization": "batch"}, "ema": 0.9}
    split, whole = build(2, **settings), build(1, **settings)
    for begin in (0, 2, 0, 2):
        split.train_on_batch(photos[begin : begin + 2], targets[begin : begin + 2])
    whole.write_state(split.read_state())
    assert (float(whole.steps.numpy()), int(whole.optimizer.iterations.numpy())) == (2, 2), "the mean's age, in updates"
    held = [np.array(average.numpy()) for average in whole.averages]
    for begin in (0, 2):
        split.train_on_batch(photos[begin : begin + 2], targets[begin : begin + 2])
    whole.train_on_batch(photos, targets)
    names = [weight.name for weight in whole.net.weights]
    assert {"moving_mean", "moving_variance"} <= set(names)
    for name, left, right in zip(names, split.read_weights(), whole.read_weights(), strict=True):
        if not name.startswith("moving_"):  # Keras lets these follow the batches a step at a time
            np.testing.assert_allclose(left, right, atol=2e-5, err_msg=name)
    # The third update of each: a momentum of min(0.9, 2 / (2 + 9)).
    statistics = [weight.numpy() for weight in whole.net.weights if weight.name.startswith("moving_")]
    for average, before, value in zip(whole.averages, held, statistics, strict=True):
        np.testing.assert_allclose(average.numpy(), before * 2 / 11 + value * 9 / 11, rtol=1e-5, atol=1e-7)


def test_what_predicts_is_the_mean_of_weights_and_of_statistics() -> None:
    learner = build(model={"normalization": "batch"}, ema=0.9, optimizer="SGD", learning_rate=0.1)
    seen = []
    for _ in range(3):
        learn(learner, 1)
        seen.append([np.array(weight.numpy(), dtype=np.float64) for weight in learner.net.weights])
    # Momenta 0, 1/10, 2/11.
    means = [(0.1 * first + 0.9 * second) * 2 / 11 + third * 9 / 11 for first, second, third in zip(*seen, strict=True)]
    names = {weight.name for weight in learner.net.weights}
    assert {"kernel", "gamma", "moving_mean", "moving_variance"} <= names
    for read, mean, last in zip(learner.read_weights(), means, seen[-1], strict=True):
        np.testing.assert_allclose(read, mean, rtol=1e-4, atol=1e-6)
        assert read.shape == last.shape
