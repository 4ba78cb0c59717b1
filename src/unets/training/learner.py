"""The net as it learns: with loss, Dice, optimizer, the running mean of its weights, and all its state by name."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from unets.config import DatasetConfig, ExperimentConfig
from unets.data.geometry import SizeHW
from unets.nets.backend import choose_precision, fix_order, prefers_xla
from unets.nets.encoders import find_encoder
from unets.nets.layers import set_statistics_window
from unets.nets.losses import Loss, build_loss
from unets.nets.metrics import MeanScore
from unets.nets.unet import ONE_CLASS, build_unet
from unets.training.optimizers import build_optimizer, find_momentum

Tensor = Any
State = dict[str, npt.NDArray[Any]]

_STATISTICS = ("moving_mean", "moving_variance")  # of a batch normalization
_COUNTER, _ADDED_UP = "iteration", "gradient_accumulator"  # the steps so far; what an optimizer adds up


class Scored(keras.Model):  # type: ignore[misc]
    """A net with a loss of targets and logits, one value an image, and scores (`metrics`, see `MeanScore`)."""

    def __init__(
        self, net: keras.Model, loss: Loss, dataset: DatasetConfig = ONE_CLASS, *, metrics: Sequence[str] = ("dice",)
    ) -> None:
        super().__init__(net.inputs[0], net.outputs[0])
        # Not given to `compile`, which would build them by a first look at the data.
        self.image_loss = loss
        num_classes, overlapping = len(dataset.classes), dataset.overlapping
        self.scores = [MeanScore(metric, num_classes, overlapping=overlapping) for metric in metrics]

    def compute_loss(self, x: Tensor, y: Tensor, y_pred: Tensor, *_: Any, training: bool = True) -> Tensor:
        """Returns the loss of a batch."""
        return ops.mean(self.image_loss(y, y_pred))

    def compute_metrics(self, x: Tensor, y: Tensor, y_pred: Tensor, sample_weight: Any = None) -> dict[str, Tensor]:
        """Returns loss and scores so far in this epoch."""
        for score in self.scores:
            score.update_state(y, y_pred)
        return self.get_metrics_result()  # type: ignore[no-any-return]


class Learner(Scored):
    """A net with what training adds; the net itself stays as `build_unet` made it, and its weights are what is saved.

    `optimizer` is as `build_optimizer` gives it; it adds up the gradients of `steps_per_update` steps. `ema` is the
    momentum of the running mean of the weights (see `find_momentum`), or None.
    """

    def __init__(
        self,
        net: keras.Model,
        loss: Loss,
        optimizer: keras.optimizers.Optimizer,
        dataset: DatasetConfig = ONE_CLASS,
        *,
        ema: float | None = None,
        steps_per_update: int = 1,
    ) -> None:
        super().__init__(net, loss, dataset)
        self.net, self.metric_state, self.ema, self.steps_per_update = net, State(), ema, steps_per_update

        def add_state(shape: tuple[int, ...], name: str) -> Any:
            return self.add_weight(shape=shape, name=name, initializer="zeros", trainable=False, autocast=False)

        # The optimizer averages the weights, but sees no statistics of batch normalization.
        self.averages = [add_state(v.shape, f"average_{i}") for i, v in enumerate(self._list_statistics())]
        self.steps: Any = add_state((), _COUNTER) if self.averages else None
        self.compile(optimizer=optimizer, jit_compile=prefers_xla(), auto_scale_loss=False)
        self.optimizer.build(self.trainable_variables)
        self.refined: Any = getattr(self.optimizer, "inner_optimizer", self.optimizer)  # within that of float16

    def compute_loss(self, x: Tensor, y: Tensor, y_pred: Tensor, *_: Any, training: bool = True) -> Tensor:
        """Returns the loss of a batch; called once a step, which is where the statistics are averaged too."""
        if training and self.ema is not None and self.averages:
            # A step's momentum, such that the steps of an update together have the momentum of an update.
            momentum = find_momentum(self.ema, self.steps / self.steps_per_update) ** (1 / self.steps_per_update)
            for average, value in zip(self.averages, self._list_statistics(), strict=True):
                average.assign(average + (1 - momentum) * (value - average))
            self.steps.assign(self.steps + 1)
        return super().compute_loss(x, y, y_pred, training=training)

    def read_weights(self) -> list[npt.NDArray[Any]]:
        """Returns the weights that predict, in the order of `net.weights`: the running mean where there is one."""
        self._synchronize()
        average_of: dict[int, Any] = {}
        if self.ema is not None:
            average_of = dict(zip(map(id, self.trainable_variables), self.refined.averages, strict=True))
            average_of |= dict(zip(map(id, self._list_statistics()), self.averages, strict=True))
        return [np.array(average_of.get(id(weight), weight).numpy()) for weight in self.net.weights]

    def read_state(self) -> State:
        """Returns all that going on needs, at the end of an update, and `steps_per_update`.

        Gradients that are added up are usually zero there, but not after a step of float16 that was left out.
        """
        self._synchronize()
        state = {key: np.array(variable.numpy()) for key, variable in self._list_state(with_sums=True).items()}
        return {"steps_per_update": np.array(self.steps_per_update), **state}

    def write_state(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Restores what `read_state` gave. The sums of loss and Dice are kept for `restore_metrics`.

        Where that was with another `steps_per_update`, what counts steps is converted, and gradients that were added up
        are left out. Raises KeyError where a variable is missing, ValueError where one has another shape.
        """
        their_steps = int(state["steps_per_update"])
        variables = self._list_state(with_sums=their_steps == self.steps_per_update)
        values = {key: state[key] for key in variables}
        for key, variable in variables.items():
            if values[key].shape != tuple(variable.shape):
                raise ValueError(f"{key} of shape {values[key].shape}, not {tuple(variable.shape)}")
        for key, variable in variables.items():
            is_converted = variable.name == _COUNTER and their_steps != self.steps_per_update
            variable.assign(values[key] // their_steps * self.steps_per_update if is_converted else values[key])
        self.metric_state = {key: value for key, value in values.items() if key.startswith("metric/")}

    def restore_metrics(self) -> None:
        """Takes up the sums of loss and Dice of an epoch that was begun; Keras forgets them as `fit` begins one."""
        variables = self._list_state(with_sums=False)
        for key, value in self.metric_state.items():
            variables[key].assign(value)

    def _list_state(self, *, with_sums: bool) -> dict[str, Any]:
        """Returns what training changes by name, `added_up/` in front of the sums of gradients."""
        optimizer, sums = list[Any](), list[Any]()
        for variable in self.optimizer.variables:
            (sums if variable.name.endswith(_ADDED_UP) else optimizer).append(variable)
        mean = [*self.averages, *([] if self.steps is None else [self.steps])]
        # `variables`, not `weights`: the random state of dropout is among the former only.
        kinds = {"net": self.net.variables, "mean": mean, "metric": self.metrics_variables, "optimizer": optimizer}
        kinds |= {"added_up": sums} if with_sums else {}
        return {f"{kind}/{i:04d}": v for kind, variables in kinds.items() for i, v in enumerate(variables)}

    def _list_statistics(self) -> list[Any]:
        return [] if self.ema is None else [v for v in self.net.non_trainable_weights if v.name in _STATISTICS]

    def _synchronize(self) -> None:
        # JAX keeps the state of a running `fit` outside the variables.
        if hasattr(self, "jax_state_sync"):
            self.jax_state_sync()


def build_net(experiment: ExperimentConfig, dataset: DatasetConfig, size_hw: SizeHW, name: str = "unet") -> keras.Model:
    """Builds the net of an experiment for images of a size, in the precision that it trains in; see `build_unet`."""
    return build_unet(experiment.model, size_hw, dataset, choose_precision(experiment.training.precision), name)


def build_experiment_loss(experiment: ExperimentConfig, dataset: DatasetConfig) -> Loss:
    """Builds the loss of an experiment; see `build_loss`."""
    config = experiment.training
    weights = config.class_weights
    return build_loss(config.losses, config.loss_args, class_weights=weights, overlapping=dataset.overlapping)


def build_learner(
    experiment: ExperimentConfig, dataset: DatasetConfig, updates_per_epoch: int, *, steps_per_update: int = 1
) -> Learner:
    """Builds the net of an experiment with its loss, metric and optimizer, at the size that training sees.

    Raises InputError where the order of sums cannot be fixed.
    """
    data, config = experiment.data, experiment.training
    keras.utils.set_random_seed(config.seed)
    if config.deterministic:
        fix_order()
    net, slow = build_net(experiment, dataset, data.crop_hw or data.size_hw), list[str]()
    encoder = find_encoder(net) if experiment.model.encoder != "unet" else None
    if encoder is not None:
        set_statistics_window(encoder, config.epochs * updates_per_epoch * steps_per_update)
        if config.frozen_epochs >= config.epochs:
            encoder.trainable = False  # in place of a rate of 0: the backward pass through it is saved
        if config.encoder_rate < 1 or config.frozen_epochs > 0:
            slow = [variable.path for variable in encoder.trainable_variables]
    optimizer = build_optimizer(config, updates_per_epoch, steps_per_update=steps_per_update, slow=slow)
    if choose_precision(config.precision) == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    loss = build_experiment_loss(experiment, dataset)
    return Learner(net, loss, optimizer, dataset, ema=config.ema, steps_per_update=steps_per_update)
