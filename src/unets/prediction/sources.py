"""What maps come from: the weights of trained runs, and the fingerprint of all that decides a map."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unets.config import ExperimentConfig
from unets.dataset.manifest import Manifest
from unets.prediction.maps import join_nets
from unets.store.paths import Project
from unets.store.run_folder import find_weights, take_snapshot
from unets.store.runs import fingerprint, hash_file
from unets.store.tensors import TensorFile

# Raised by what changes maps of the same weights, so that none are mixed.
ARITHMETIC = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredWeights:
    """The weights of one net in a model file, which holds those of several."""

    file: TensorFile
    name: str  # of the net; what the names of its arrays begin with, a slash behind

    def read(self) -> dict[str, npt.NDArray[np.generic]]:
        """Reads them, by their names within the net."""
        return {name.removeprefix(f"{self.name}/"): self.file.read(name) for name in self._names}

    def count(self) -> int:
        """Returns how many numbers they are, without reading them."""
        return sum(math.prod(self.file.shapes[name]) for name in self._names)

    @property
    def _names(self) -> list[str]:
        return [name for name in self.file.shapes if name.startswith(f"{self.name}/")]


def find_fold_weights(project: Project, manifest: Manifest, name: str, experiment: ExperimentConfig, fold: int) -> Path:
    """Does `find_weights` for a fold of an experiment, trained on the present folds and images."""
    folds_hash = hash_file(project.folds_path)
    snapshot = take_snapshot(experiment, manifest.dataset, fold, folds_hash, manifest.train_hashes)
    return find_weights(project.run_dir(name, fold), snapshot, manifest.train_hashes)


def list_nets(
    experiment: ExperimentConfig, classes: Sequence[str], weights_sha256: Mapping[int, str]
) -> dict[str, str]:
    """Returns the fingerprint of all that decides the maps of each fold's net: weights, config, size, TTA."""
    undecided = {"batch_size", "shard_size"} | ({"scales"} if experiment.prediction.scales == (1.0,) else set())
    decisive = {
        "size_hw": experiment.data.size_hw,
        "model": experiment.model.model_dump(mode="json"),
        "precision": experiment.training.precision,
        "prediction": experiment.prediction.model_dump(mode="json", exclude=undecided),
        "classes": list(classes),
        "arithmetic": ARITHMETIC,
    }
    return {str(fold): fingerprint(weights=weights_sha256[fold], **decisive) for fold in sorted(weights_sha256)}


def fingerprint_nets(experiment: ExperimentConfig, classes: Sequence[str], weights_sha256: Mapping[int, str]) -> str:
    """Returns one fingerprint of all that decides the mean of the folds' maps; see `list_nets`."""
    return join_nets(list_nets(experiment, classes, weights_sha256))


def hash_weights(weights_paths: Mapping[int, Path]) -> dict[int, str]:
    """Returns the hash of each fold's file of weights."""
    return {fold: hash_file(path) for fold, path in weights_paths.items()}
