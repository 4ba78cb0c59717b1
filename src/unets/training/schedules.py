"""The learning rate over the updates of a training: a linear warm-up, then one of Keras's schedules; or one cycle."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule

from unets.config import TrainingConfig
from unets.errors import InputError

Tensor = Any
RateOf = Callable[[Tensor], Tensor]  # from the number of an update, from 0, to its learning rate

_FIRST_SHARE = 0.01  # of the peak: where the warm-up begins


class Schedule(LearningRateSchedule):  # type: ignore[misc]
    """The learning rate of updates, for an optimizer that counts steps.

    With gradient accumulation Keras's optimizers look at the number of steps, of which an update has several.
    """

    def __init__(self, rate_of: RateOf, steps_per_update: int = 1) -> None:
        self.rate_of, self.steps_per_update = rate_of, steps_per_update

    def __call__(self, step: Tensor) -> Tensor:
        """Returns the rate of step `step`, counted from 0."""
        return self.rate_of(ops.floor_divide(ops.cast(step, "int32"), self.steps_per_update))


def one_cycle(
    peak: float, num_updates: int, *, divide: float = 10.0, end_divide: float = 100.0, end: float = 0.1
) -> RateOf:
    """Returns a straight line up, one down, and a further one down at the end.

    Smith and Topin 2019 (arXiv 1708.07120). It has its own warm-up: the cycle's first half.

    Args:
        peak: highest rate, between the two lines.
        num_updates: length of the training.
        divide: the cycle begins and ends at peak / divide.
        end_divide: the training ends at peak / divide / end_divide.
        end: share of the updates after the cycle, "annihilation" in the paper; each line takes half of the rest.

    Raises:
        InputError: an argument is out of range.
    """
    for name, value in (("divide", divide), ("end_divide", end_divide)):
        if value < 1:
            raise InputError(f"`schedule_args` must hold a {name} of at least 1. Received: {name}={value}")
    if not 0 <= end < 1:
        raise InputError(f"`schedule_args` must hold an end from 0 to below 1. Received: end={end}")
    low, line = peak / divide, (1 - end) * num_updates / 2

    def find_rate(update: Tensor) -> Tensor:
        update = ops.cast(update, "float32")
        cycle = low + (peak - low) * (1 - ops.abs(update / line - 1))
        ended = (update - 2 * line) / max(end * num_updates, 1)
        ending = low + (low / end_divide - low) * ops.minimum(ended, 1.0)
        return ops.where(update < 2 * line, cycle, ending)

    return find_rate


def build_schedule(config: TrainingConfig, updates_per_epoch: int, *, steps_per_update: int = 1) -> Schedule:
    """Builds the schedule of a training; see `build_optimizer` for the arguments.

    Raises:
        InputError: `schedule_args` has an argument that the schedule does not take.
    """
    peak, num_updates = config.learning_rate, config.epochs * updates_per_epoch
    num_warmup = round(config.warmup * num_updates)
    try:
        if config.schedule == "one_cycle":
            return Schedule(one_cycle(peak, num_updates, **config.schedule_args), steps_per_update)
        decay = _DECAYS[config.schedule](peak, max(num_updates - num_warmup, 1), **config.schedule_args)
    except TypeError as error:
        raise InputError(
            f"`schedule_args` must hold arguments of the schedule {config.schedule} alone. "
            f"Received: {config.schedule_args} ({error})"
        ) from error

    def find_rate(update: Tensor) -> Tensor:
        """A straight line from a hundredth of the peak to the peak, then the decay, which counts from there."""
        update = ops.cast(update, "float32")
        rising = peak * (_FIRST_SHARE + (1 - _FIRST_SHARE) * update / max(num_warmup, 1))
        return ops.where(update < num_warmup, rising, decay(ops.maximum(update - num_warmup, 0.0)))

    return Schedule(find_rate, steps_per_update)


def _hold(peak: float, num_updates: int) -> RateOf:
    return lambda update: ops.convert_to_tensor(peak, "float32")


def _fall(kind: Any, **defaults: float) -> Callable[..., RateOf]:
    return lambda peak, num_updates, **args: kind(peak, num_updates, **(defaults | args))


_DECAYS: dict[str, Callable[..., RateOf]] = {
    "cosine": keras.optimizers.schedules.CosineDecay,
    "polynomial": _fall(keras.optimizers.schedules.PolynomialDecay, end_learning_rate=0.0),  # Keras's own end is 0.0001
    # `decay_rate` is what is left of the peak at the end; Keras's own counts in steps.
    "exponential": _fall(keras.optimizers.schedules.ExponentialDecay, decay_rate=0.01),
    "constant": _hold,
}
