"""Where a run's first weights come from: chance, a file of pretrained ones, or the same fold of another experiment."""

import logging
from pathlib import Path

import keras

from unets.config import ExperimentConfig
from unets.errors import InputError
from unets.nets.encoders import load_pretrained
from unets.store.fingerprint import find_weights, is_trained, read_snapshot

logger = logging.getLogger(__name__)


def find_source(run_dir: Path, experiment: ExperimentConfig, classes: tuple[str, ...], folds_hash: str) -> Path | None:
    """Returns the weights that `start_from` names, or None without it.

    Args:
        run_dir: of the run that is to start; the other experiment's lies beside it.
        experiment: what is to be trained.
        classes: its foreground classes.
        folds_hash: of the folds file.

    Raises:
        InputError: the other run is not finished, or of other folds, classes or another net.
    """
    name = experiment.training.start_from
    if name is None:
        return None
    if name == run_dir.parent.name:
        raise InputError(f"`start_from` must be another experiment. Received: {name}")
    source_dir = run_dir.parent.parent / name / run_dir.name
    fold = run_dir.name.removeprefix("fold")
    if not is_trained(source_dir):
        raise InputError(
            f"`start_from` must be trained first: `unets train --exp {name} --fold {fold}`. Received: {name} without it"
        )
    snapshot = read_snapshot(source_dir)
    # Photos that are held out here must have been held out there.
    wanted = {"folds_hash": folds_hash, "classes": list(classes), "model": _describe_net(experiment.model.model_dump())}
    found = snapshot | {"model": _describe_net(snapshot["model"])}
    for key, value in wanted.items():
        if found[key] != value:
            raise InputError(
                f"`start_from` must be of the same folds, classes and net. Received: {name} with {key}={found[key]}, "
                f"not {value}. `unets clean --exp {name} --fold {fold}`, then `unets train --exp {name} --fold {fold}`"
            )
    return find_weights(source_dir, snapshot)


def load_first_weights(net: keras.Model, experiment: ExperimentConfig, source_path: Path | None) -> None:
    """Sets the first weights of a net that chance has set so far.

    Raises:
        InputError: there are no such weights.
    """
    model = experiment.model
    if source_path is not None:
        net.load_weights(source_path)
        logger.info("first weights: those of %s", source_path)
    elif model.weights != "none":
        load_pretrained(net, model.encoder, model.weights)


def _describe_net(model: dict[str, object]) -> dict[str, object]:
    """Leaves out what decides nothing but a net's first weights."""
    return {key: value for key, value in model.items() if key != "weights"}
