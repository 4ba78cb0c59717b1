"""Loads the config files of a competition's folder."""

import runpy
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from unets.config.base import Config, describe
from unets.config.dataset import DatasetConfig
from unets.config.ensemble import EnsembleConfig
from unets.config.experiment import ExperimentConfig
from unets.config.overrides import name_experiment, override, split_name
from unets.errors import InputError, suggest

ConfigT = TypeVar("ConfigT", bound=Config)


def load_dataset(folder: Path) -> DatasetConfig:
    """Loads `DATASET` from a competition's config folder."""
    return _load(folder / "dataset.py", "DATASET", DatasetConfig)


def load_ensemble(folder: Path, name: str = "ensemble") -> EnsembleConfig:
    """Loads `ENSEMBLE` from the file of that name, `ensemble` or `ensemble_<...>`, in a competition's config folder.

    Raises InputError where there is no such file, or it is faulty.
    """
    known = list_ensembles(folder)
    if known and name not in known:
        words = ", ".join(other.removeprefix("ensemble_") for other in known if other != "ensemble")
        raise InputError(
            f"`--ensemble` must name a file ensemble_<name>.py in {folder}, one of {words or '(none)'}, or be left out."
            f" Received: {name.removeprefix('ensemble_')}"
        )
    return _load(folder / f"{name}.py", "ENSEMBLE", EnsembleConfig)


def is_ensemble(name: str) -> bool:
    """Tells whether a name is an ensemble's, `ensemble` or `ensemble_<...>`, and so no experiment's."""
    return name == "ensemble" or name.startswith("ensemble_")


def list_ensembles(folder: Path) -> list[str]:
    """Returns the names of a competition's ensembles, sorted: `ensemble`, `ensemble_<...>`."""
    return sorted(path.stem for path in folder.glob("*.py") if is_ensemble(path.stem))


def load_experiment(folder: Path, name: str) -> ExperimentConfig:
    """Loads the experiment `name`, which may hold overrides (`unet+training.epochs=3`), from a competition's folder.

    Raises InputError where there is none of that name, its file is faulty, or an override is.
    """
    base, known = split_name(name), list_experiments(folder)
    if base not in known:
        raise InputError(f"`--exp` must be one of {', '.join(known)}. Received: {base}{suggest(base, known)}")
    return override(_load(folder / f"{base}.py", "EXPERIMENT", ExperimentConfig), name)


def list_seeds(folder: Path, name: str, count: int) -> list[str]:
    """Returns the names of an experiment's runs with `count` seeds: its own, then `<name>+training.seed=1`, ..."""
    if count == 1:
        return [name]
    seed = load_experiment(folder, name).training.seed
    return [name, *(name_experiment(name, [f"training.seed={seed + more}"]) for more in range(1, count))]


def list_experiments(folder: Path) -> list[str]:
    """Returns the names of a competition's experiments, sorted. Raises InputError: the competition has no folder."""
    _check_competition(folder)
    return sorted(path.stem for path in folder.glob("*.py") if path.stem != "dataset" and not is_ensemble(path.stem))


def _check_competition(folder: Path) -> None:
    if not folder.is_dir():
        known = sorted(path.name for path in folder.parent.glob("*/") if (path / "dataset.py").exists())
        raise InputError(
            f"`COMPETITION` must be one of {', '.join(known) or '(none)'}. Received: {folder.name} ({folder})"
            f"{suggest(folder.name, known)}"
        )


def _load(path: Path, variable: str, kind: type[ConfigT]) -> ConfigT:
    _check_competition(path.parent)
    if not path.is_file():
        raise InputError(f"{path} must exist and define {variable} = {kind.__name__}(...). Received: no such file")
    try:
        found: Any = runpy.run_path(str(path)).get(variable)
    except ValidationError as error:
        raise InputError(f"{path}: {describe(error)}") from error
    # The file is the user's own code: whatever it raises is about that file, exit() too.
    except (Exception, SystemExit) as error:
        raise InputError(f"{path} must run as Python. Received: {type(error).__name__}: {error}") from error
    if not isinstance(found, kind):
        raise InputError(f"{path} must define {variable} = {kind.__name__}(...). Received: {type(found).__name__}")
    return found
