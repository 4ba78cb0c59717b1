"""Where a run's first weights come from besides chance: the same fold of another experiment; and the order it asks for.

It loads no Keras.
"""

from collections.abc import Mapping
from pathlib import Path

from unets.config import DatasetConfig, ExperimentConfig
from unets.errors import InputError
from unets.store.run_folder import find_weights, is_trained, name_command, read_snapshot

_SHAPES = {"classes", "overlapping", "channels"}  # what of a data set decides which weights a net has


def order_experiments(experiments: Mapping[str, ExperimentConfig]) -> list[list[str]]:
    """Sorts experiments, by name, into generations: all that one starts from is in an earlier one, or not asked for.

    Raises InputError where experiments start from each other in a circle.
    """
    left, generations = list(experiments), []
    while left:
        ready = [name for name in left if experiments[name].training.start_from not in left]
        if not ready:
            raise InputError(f"`start_from` must not lead back to where it began. Received: {', '.join(left)}")
        generations.append(ready)
        left = [name for name in left if name not in ready]
    return generations


def find_source(run_dir: Path, experiment: ExperimentConfig, dataset: DatasetConfig, folds_hash: str) -> Path | None:
    """Returns the weights that the `start_from` of a run names, whose experiment lies beside its own; None without it.

    Raises InputError where the other run is not finished, or of other folds, classes, channels or another net.
    """
    name = experiment.training.start_from
    if name is None:
        return None
    if name == run_dir.parent.name:
        raise InputError(f"`start_from` must be another experiment. Received: {name}")
    source_dir = run_dir.parents[1] / name / run_dir.name
    clean, train = (f"`{name_command(command, source_dir)}`" for command in ("clean", "train"))
    if not is_trained(source_dir):
        raise InputError(f"`start_from` must be trained first: {train}. Received: {name} without it")
    snapshot = read_snapshot(source_dir)
    # Images that are held out here must have been held out there. What decides no more than a net's first weights may
    # differ.
    found = snapshot | snapshot["dataset"] | {"model": snapshot["model"] | {"weights": None}}
    model = experiment.model.model_dump() | {"weights": None}
    wanted = {"folds_hash": folds_hash, **dataset.model_dump(mode="json", include=_SHAPES), "model": model}
    for key, value in wanted.items():
        if found[key] != value:
            raise InputError(
                f"`start_from` must be of the same folds, classes, channels and net. Received: {name} with "
                f"{key}={found[key]}, not {value}. {clean}, then {train}"
            )
    return find_weights(source_dir, snapshot)
