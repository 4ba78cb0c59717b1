"""Keras's optimizers, with a slower encoder, decay that follows it, the running mean of the weights, and the learning
rate over the updates: a linear warm-up, then one of Keras's schedules.
"""

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import keras
from keras import ops
from keras.optimizers import schedules

from unets.config import TrainingConfig

Tensor = Any
RateOf = Callable[[Tensor], Tensor]  # from the number of an update, from 0, to its learning rate

_FIRST_SHARE = 0.01  # of the peak: where the warm-up begins


class _Refined:
    """What is added to an optimizer class of Keras: per weight, after gradients are added up and clipped.

    All of it happens in `update_step`, which runs once an update, so that it is right with gradient accumulation on
    both backends (Keras's own `use_ema` averages at every step of one).
    """

    slow_paths: frozenset[str]  # of the weights whose learning rate is scaled
    slow_rate: float  # their learning rate, as a share of the others'
    frozen_updates: int  # at the start, during which they stand still
    ema: float | None  # momentum of the running mean

    def build(self: Any, variables: list[Any]) -> None:
        """Makes the optimizer's variables."""
        super().build(variables)  # type: ignore[misc]
        self._slow_indices = frozenset(i for i, variable in enumerate(variables) if variable.path in self.slow_paths)
        self.averages = [] if self.ema is None else self.add_optimizer_variables(variables, "average")

    def update_step(self: Any, gradient: Tensor, variable: Any, learning_rate: Tensor) -> None:
        """Updates one weight."""
        index = self._get_variable_index(variable)
        if index in self._slow_indices:
            is_moving = ops.cast(self.iterations >= self.frozen_updates, "float32")
            learning_rate = ops.cast(learning_rate, "float32") * self.slow_rate * is_moving
        if self.weight_decay and self._use_weight_decay(variable):
            rate = ops.cast(learning_rate, variable.dtype)
            self.assign_sub(variable, variable * ops.cast(self.weight_decay, variable.dtype) * rate)
        super().update_step(gradient, variable, learning_rate)  # type: ignore[misc]
        if self.ema is not None:
            share = 1 - find_momentum(self.ema, self.iterations)
            average = self.averages[index]
            self.assign_add(average, ops.cast(share, variable.dtype) * (variable - average))

    def _apply_weight_decay(self, variables: list[Any]) -> None:
        """Keras's own, at the same rate for all; `update_step` does it here."""


def find_momentum(ema: float, updates: Tensor) -> Tensor:
    """Returns the momentum of a running mean after `updates` updates: min(ema, updates / (updates + 9)).

    It grows with the mean's age, as TensorFlow's `ExponentialMovingAverage(num_updates=)` has it, so that the first
    weights, which know nothing, are forgotten soon; the first update's is 0.
    """
    updates = ops.cast(updates, "float32")
    return ops.minimum(ema, updates / (updates + 9))


def build_optimizer(
    config: TrainingConfig, updates_per_epoch: int, *, steps_per_update: int = 1, slow: Collection[str] = ()
) -> keras.optimizers.Optimizer:
    """Builds the optimizer of a training, with its schedule; the gradients of `steps_per_update` steps are averaged.

    `slow` are the paths of the encoder's weights, which `encoder_rate` and `frozen_epochs` are about.
    """
    added = {
        "slow_paths": frozenset(slow),
        "slow_rate": config.encoder_rate,
        "frozen_updates": round(config.frozen_epochs * updates_per_epoch),
        "ema": config.ema,
    }
    optimizer = type(config.optimizer, (_Refined, getattr(keras.optimizers, config.optimizer)), added)(
        learning_rate=build_schedule(config, updates_per_epoch, steps_per_update=steps_per_update),
        weight_decay=config.weight_decay,
        global_clipnorm=config.clip_norm,
        gradient_accumulation_steps=steps_per_update if steps_per_update > 1 else None,
    )
    # Decay pulls filters towards zero; pulling shifts and scales of a normalization has no such meaning.
    optimizer.exclude_from_weight_decay(var_names=["bias", "beta", "gamma"])
    return optimizer


class Schedule(schedules.LearningRateSchedule):  # type: ignore[misc]
    """The learning rate of updates, for an optimizer that counts steps.

    With gradient accumulation Keras's optimizers look at the number of steps, of which an update has several.
    """

    def __init__(self, rate_of: RateOf, steps_per_update: int = 1) -> None:
        self.rate_of, self.steps_per_update = rate_of, steps_per_update

    def __call__(self, step: Tensor) -> Tensor:
        """Returns the rate of step `step`, counted from 0."""
        return self.rate_of(ops.floor_divide(ops.cast(step, "int32"), self.steps_per_update))


def build_schedule(config: TrainingConfig, updates_per_epoch: int, *, steps_per_update: int = 1) -> Schedule:
    """Builds the schedule of a training; see `build_optimizer` for the arguments."""
    peak, num_updates = config.learning_rate, config.epochs * updates_per_epoch
    num_warmup = round(config.warmup * num_updates)
    decay = _DECAYS[config.schedule](peak, max(num_updates - num_warmup, 1))

    def find_rate(update: Tensor) -> Tensor:
        """A straight line from a hundredth of the peak to the peak, then the decay, which counts from there."""
        update = ops.cast(update, "float32")
        rising = peak * (_FIRST_SHARE + (1 - _FIRST_SHARE) * update / max(num_warmup, 1))
        return ops.where(update < num_warmup, rising, decay(ops.maximum(update - num_warmup, 0.0)))

    return Schedule(find_rate, steps_per_update)


_DECAYS: dict[str, Callable[..., RateOf]] = {
    "cosine": schedules.CosineDecay,
    "polynomial": partial(schedules.PolynomialDecay, end_learning_rate=0.0),  # Keras's own end is 0.0001
    "constant": lambda peak, _: lambda update: ops.convert_to_tensor(peak, "float32"),
}
