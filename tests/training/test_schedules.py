from typing import Any

import pytest

from unets.config import TrainingConfig
from unets.errors import InputError
from unets.training.schedules import build_schedule, one_cycle


def rate(step: int, updates_per_epoch: int = 5, **fields: Any) -> float:
    """Returns the rate of an update; 10 epochs of 5 updates, peak 0.01."""
    config = TrainingConfig(**({"epochs": 10, "learning_rate": 0.01, "warmup": 0} | fields))
    return float(build_schedule(config, updates_per_epoch)(step))


@pytest.mark.parametrize("schedule", ["cosine", "polynomial", "exponential", "constant"])
def test_the_warm_up_is_a_straight_line_whatever_comes_after(schedule: str) -> None:
    # A fifth of 50 updates, from a hundredth of the peak.
    rates = [rate(step, schedule=schedule, warmup=0.2) for step in (0, 5, 10)]
    assert rates == pytest.approx([0.0001, 0.0001 + 0.5 * 0.0099, 0.01], abs=1e-8)


@pytest.mark.parametrize(
    ("fields", "step", "expected"),
    [
        ({"schedule": "constant"}, 37, 0.01),
        # 40 updates after the warm-up: (1 - t)^power of the peak.
        ({"schedule": "polynomial", "warmup": 0.2}, 30, 0.005),
        ({"schedule": "polynomial", "warmup": 0.2, "schedule_args": {"power": 2.0}}, 30, 0.0025),
        ({"schedule": "polynomial"}, 50, 0.0),
        ({"schedule": "polynomial", "schedule_args": {"end_learning_rate": 0.002}}, 25, 0.006),
        # decay_rate is what is left at the end: its root is left halfway.
        ({"schedule": "exponential"}, 25, 0.001),
        ({"schedule": "exponential", "schedule_args": {"decay_rate": 0.25}}, 25, 0.005),
        ({"schedule": "exponential", "schedule_args": {"decay_rate": 0.25}}, 50, 0.0025),
        # Half of the peak is a cosine's middle; alpha is its floor, as a share of the peak.
        ({"schedule": "cosine", "warmup": 0.2}, 20, 0.01 * (1 + 0.5**0.5) / 2),
        ({"schedule": "cosine", "warmup": 0.2}, 50, 0.0),
        # 4 % of 50 updates are 2.
        ({"schedule": "cosine", "warmup": 0.04}, 2, 0.01),
        ({"schedule": "cosine", "warmup": 0.04}, 26, 0.005),
        ({"schedule": "cosine", "schedule_args": {"alpha": 0.1}}, 50, 0.001),
        ({"schedule": "cosine", "schedule_args": {"alpha": 0.1}}, 25, 0.001 + 0.009 * 0.5),
        ({"schedule": "one_cycle", "schedule_args": {"divide": 5.0}}, 0, 0.002),
    ],
)
def test_schedules_by_hand(fields: dict[str, Any], step: int, expected: float) -> None:
    assert rate(step, **fields) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        # 100 updates, a fifth of them after the cycle: lines of 40 each, between 0.1 and 1, then down to 0.1 / 100.
        (0, 0.1),
        (20, 0.55),
        (40, 1.0),
        (60, 0.55),
        (80, 0.1),
        (90, 0.1 - 0.5 * 0.099),
        (100, 0.001),
        (120, 0.001),
    ],
)
def test_one_cycle_goes_up_down_and_further_down(step: int, expected: float) -> None:
    schedule = one_cycle(1.0, 100, divide=10.0, end_divide=100.0, end=0.2)
    assert float(schedule(step)) == pytest.approx(expected, abs=1e-6)


def test_steps_of_an_update_have_its_rate() -> None:
    updates = build_schedule(TrainingConfig(epochs=1, warmup=0), 4, steps_per_update=3)
    whole = build_schedule(TrainingConfig(epochs=1, warmup=0), 4)
    assert [float(updates(step)) for step in range(12)] == [float(whole(step // 3)) for step in range(12)]
    assert len({float(updates(step)) for step in range(12)}) == 4


@pytest.mark.parametrize("schedule", ["cosine", "polynomial", "exponential", "constant", "one_cycle"])
def test_an_unknown_argument_is_refused(schedule: str) -> None:
    with pytest.raises(InputError, match=rf"`schedule_args` must hold arguments of the schedule {schedule} alone"):
        rate(0, schedule=schedule, schedule_args={"strength": 2.0})


@pytest.mark.parametrize("args", [{"divide": 0.5}, {"end_divide": 0.0}, {"end": 1.0}, {"end": -0.1}])
def test_an_impossible_cycle_is_refused(args: dict[str, float]) -> None:
    with pytest.raises(InputError, match=rf"`schedule_args` must hold an? {next(iter(args))} "):
        rate(0, schedule="one_cycle", schedule_args=args)
