from typing import Any, get_args

import keras
import numpy as np
import pytest
from keras import ops

from unets.config import OptimizerName, TrainingConfig
from unets.training.optimizers import build_optimizer, build_schedule

PLAIN = {"optimizer": "SGD", "schedule": "constant", "learning_rate": 0.5, "warmup": 0, "weight_decay": 0.0}


def build(config: dict[str, Any], *, slow: tuple[str, ...] = (), steps_per_update: int = 1, updates: int = 4) -> Any:
    return build_optimizer(TrainingConfig(**(PLAIN | config)), updates, slow=slow, steps_per_update=steps_per_update)


def learn(optimizer: Any, weights: list[Any], gradients: list[float]) -> list[list[float]]:
    """Applies the same gradient to all weights, a step each; returns the weights after each step."""
    values = []
    for gradient in gradients:
        optimizer.apply([ops.convert_to_tensor([gradient])] * len(weights), weights)
        values.append([float(weight.numpy()[0]) for weight in weights])
    return values


def make_weights() -> list[Any]:
    return [keras.Variable([1.0], name="kernel"), keras.Variable([1.0], name="slow_kernel")]


@pytest.mark.parametrize("name", get_args(OptimizerName))
def test_every_optimizer_learns(name: str) -> None:
    weights = make_weights()
    optimizer = build({"optimizer": name, "learning_rate": 0.01, "weight_decay": 0.01, "ema": 0.9}, steps_per_update=2)
    values = learn(optimizer, weights, [1.0] * 6)
    assert values[0] == [1.0, 1.0], "half an update"
    assert values[-1][0] < values[1][0] < 1.0


def test_gradients_of_several_steps_are_averaged() -> None:
    whole, split = make_weights(), make_weights()
    # Updates by -0.5 x the mean: of 1 and 3, and of 0 and 2.
    assert learn(build({}), whole, [2.0, 1.0]) == [[0.0, 0.0], [-0.5, -0.5]]
    assert learn(build({}, steps_per_update=2), split, [1.0, 3.0, 0.0, 2.0])[1::2] == [[0.0, 0.0], [-0.5, -0.5]]


def test_the_encoder_is_frozen_then_slow_and_decays_as_slowly() -> None:
    weights = make_weights()
    fields = {"encoder_rate": 0.1, "frozen_epochs": 0.5, "weight_decay": 0.2}
    optimizer = build(fields, slow=(weights[1].path,), steps_per_update=2)
    values = learn(optimizer, weights, [1.0] * 6)[1::2]
    # w <- w - rate x 0.2 w - rate, of rate 0.5: 1 - 0.1 - 0.5 = 0.4; 0.4 - 0.04 - 0.5 = -0.14.
    assert [row[0] for row in values[:2]] == pytest.approx([0.4, -0.14])
    # Two of four updates frozen, to the bit; then at rate 0.05: 1 - 0.01 - 0.05.
    assert [row[1] for row in values[:2]] == [1.0, 1.0]
    assert values[2][1] == pytest.approx(0.94)


@pytest.mark.parametrize("steps_per_update", [1, 2])
def test_the_running_mean_is_over_updates(steps_per_update: int) -> None:
    weights = make_weights()
    optimizer = build({"ema": 0.9}, steps_per_update=steps_per_update)
    learn(optimizer, weights, [1.0] * 3 * steps_per_update)
    # Weights 0.5, 0, -0.5. Momenta 0, 1/10, 2/11: 0.5; 0.05; 0.05 x 2/11 - 0.5 x 9/11 = -0.4.
    assert float(optimizer.averages[0].numpy()[0]) == pytest.approx(-0.4)
    assert float(weights[0].numpy()[0]) == -0.5, "the weights themselves are left alone"


@pytest.mark.parametrize("clip_norm", [None, 2.0, 6.0])
@pytest.mark.parametrize("steps_per_update", [1, 2])
def test_long_gradients_are_shortened_over_all_weights_together(clip_norm: float | None, steps_per_update: int) -> None:
    # Gradients of 3 and 4 are 5 long.
    scale = 2 / 5 if clip_norm == 2.0 else 1.0
    weights = make_weights()
    optimizer = build({"clip_norm": clip_norm}, steps_per_update=steps_per_update)
    for _ in range(steps_per_update):
        optimizer.apply([ops.convert_to_tensor([3.0]), ops.convert_to_tensor([4.0])], weights)
    values = [float(weight.numpy()[0]) for weight in weights]
    np.testing.assert_allclose(values, [1 - 0.5 * 3 * scale, 1 - 0.5 * 4 * scale], rtol=1e-6)


def rate(step: int, updates_per_epoch: int = 5, **fields: Any) -> float:
    """Returns the rate of an update; 10 epochs of 5 updates, peak 0.01."""
    config = TrainingConfig(**({"epochs": 10, "learning_rate": 0.01, "warmup": 0} | fields))
    return float(build_schedule(config, updates_per_epoch)(step))


@pytest.mark.parametrize("schedule", ["cosine", "polynomial", "constant"])
def test_the_warm_up_is_a_straight_line_whatever_comes_after(schedule: str) -> None:
    # A fifth of 50 updates, from a hundredth of the peak.
    rates = [rate(step, schedule=schedule, warmup=0.2) for step in (0, 5, 10)]
    assert rates == pytest.approx([0.0001, 0.0001 + 0.5 * 0.0099, 0.01], abs=1e-8)


@pytest.mark.parametrize(
    ("fields", "step", "expected"),
    [
        ({"schedule": "constant"}, 37, 0.01),
        # 40 updates after the warm-up: 1 - t of the peak.
        ({"schedule": "polynomial", "warmup": 0.2}, 30, 0.005),
        ({"schedule": "polynomial"}, 50, 0.0),
        # Half of the peak is a cosine's middle.
        ({"schedule": "cosine", "warmup": 0.2}, 20, 0.01 * (1 + 0.5**0.5) / 2),
        ({"schedule": "cosine", "warmup": 0.2}, 50, 0.0),
        # 4 % of 50 updates are 2.
        ({"schedule": "cosine", "warmup": 0.04}, 2, 0.01),
        ({"schedule": "cosine", "warmup": 0.04}, 26, 0.005),
    ],
)
def test_schedules_by_hand(fields: dict[str, Any], step: int, expected: float) -> None:
    assert rate(step, **fields) == pytest.approx(expected, abs=1e-8)


def test_steps_of_an_update_have_its_rate() -> None:
    updates = build_schedule(TrainingConfig(epochs=1, warmup=0), 4, steps_per_update=3)
    whole = build_schedule(TrainingConfig(epochs=1, warmup=0), 4)
    assert [float(updates(step)) for step in range(12)] == [float(whole(step // 3)) for step in range(12)]
    assert len({float(updates(step)) for step in range(12)}) == 4
