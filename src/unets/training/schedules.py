"""The learning rate over the updates of a training."""

from typing import Any

import keras
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule

from unets.config import TrainingConfig
from unets.errors import InputError

Tensor = Any
Schedule = Any  # from the number of an update to a rate

# Of the peak: where the warm-up begins.
_FIRST_SHARE = 0.01


class WarmUp(LearningRateSchedule):  # type: ignore[misc]
    """A straight line from a hundredth of the peak to the peak, then another schedule, which counts from there.

    Args:
        peak: learning rate at the end of the line.
        num_updates: length of the line.
        then: schedule of the updates after it.
    """

    def __init__(self, peak: float, num_updates: int, then: Schedule) -> None:
        self.peak, self.num_updates, self.then = peak, num_updates, then

    def __call__(self, step: Tensor) -> Tensor:
        """Returns the rate of update `step`, counted from 0."""
        step = ops.cast(step, "float32")
        share = step / max(self.num_updates, 1)
        rising = self.peak * (_FIRST_SHARE + (1 - _FIRST_SHARE) * share)
        return ops.where(step < self.num_updates, rising, self.then(ops.maximum(step - self.num_updates, 0.0)))


class Constant(LearningRateSchedule):  # type: ignore[misc]
    """The same rate always."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def __call__(self, step: Tensor) -> Tensor:
        """Returns the rate."""
        return ops.convert_to_tensor(self.rate, "float32")


class OneCycle(LearningRateSchedule):  # type: ignore[misc]
    """Up in a straight line, down in a straight line, and further down at the end.

    Smith and Topin 2019 (arXiv 1708.07120). It has its own warm-up: the cycle's first half.

    Args:
        peak: highest rate, between the two lines.
        num_updates: length of the training.
        divide: the cycle begins and ends at peak / divide.
        end_divide: the training ends at peak / divide / end_divide.
        end: share of the updates after the cycle, "annihilation" in the paper; each line takes half of the rest.
    """

    def __init__(
        self, peak: float, num_updates: int, *, divide: float = 10.0, end_divide: float = 100.0, end: float = 0.1
    ) -> None:
        for name, value in (("divide", divide), ("end_divide", end_divide)):
            if value < 1:
                raise InputError(f"`schedule_args` must hold a {name} of at least 1. Received: {name}={value}")
        if not 0 <= end < 1:
            raise InputError(f"`schedule_args` must hold an end from 0 to below 1. Received: end={end}")
        self.peak, self.num_updates = peak, num_updates
        self.divide, self.end_divide, self.end = divide, end_divide, end

    def __call__(self, step: Tensor) -> Tensor:
        """Returns the rate of update `step`, counted from 0."""
        low = self.peak / self.divide
        line = (1 - self.end) * self.num_updates / 2
        step = ops.cast(step, "float32")
        cycle = low + (self.peak - low) * (1 - ops.abs(step / line - 1))
        ended = (step - 2 * line) / max(self.end * self.num_updates, 1)
        ending = low + (low / self.end_divide - low) * ops.minimum(ended, 1.0)
        return ops.where(step < 2 * line, cycle, ending)


class InUpdates(LearningRateSchedule):  # type: ignore[misc]
    """A schedule of updates for an optimizer that counts steps: with gradient accumulation, Keras's own looks at those.

    Args:
        schedule: of updates.
        steps_per_update: steps whose gradients are added up to an update.
    """

    def __init__(self, schedule: Schedule, steps_per_update: int) -> None:
        self.schedule, self.steps_per_update = schedule, steps_per_update

    def __call__(self, step: Tensor) -> Tensor:
        """Returns the rate of step `step`, counted from 0."""
        return self.schedule(ops.floor_divide(ops.cast(step, "int32"), self.steps_per_update))


def build_schedule(config: TrainingConfig, updates_per_epoch: int) -> Schedule:
    """Builds the schedule of a training, over its updates.

    Raises:
        InputError: `schedule_args` has an argument that the schedule does not take.
    """
    peak, num_updates = config.learning_rate, config.epochs * updates_per_epoch
    num_warmup = round(config.warmup_epochs * updates_per_epoch)
    num_left = max(num_updates - num_warmup, 1)
    kinds = keras.optimizers.schedules
    args: dict[str, Any] = dict(config.schedule_args)
    try:
        if config.schedule == "one_cycle":
            return OneCycle(peak, num_updates, **args)
        if config.schedule == "cosine":
            return WarmUp(peak, num_warmup, kinds.CosineDecay(peak, num_left, **args))
        if config.schedule == "polynomial":
            # Keras's own end is 0.0001, whatever the peak.
            return WarmUp(
                peak, num_warmup, kinds.PolynomialDecay(peak, num_left, **({"end_learning_rate": 0.0} | args))
            )
        if config.schedule == "exponential":
            # Keras's own counts in steps; here `decay_rate` is what is left of the peak at the end.
            return WarmUp(peak, num_warmup, kinds.ExponentialDecay(peak, num_left, **({"decay_rate": 0.01} | args)))
        return WarmUp(peak, num_warmup, Constant(peak, **args))
    except TypeError as error:
        raise InputError(
            f"`schedule_args` must hold arguments of the schedule {config.schedule} alone. "
            f"Received: {config.schedule_args} ({error})"
        ) from error
