"""What a run is: its config.json, by which training and prediction know a run folder as theirs."""

from pathlib import Path
from typing import Any

from unets.config import DatasetConfig, ExperimentConfig
from unets.errors import InputError
from unets.store.runs import fingerprint, read_json, write_json

SNAPSHOT = "config.json"

_PARTS = ("data", "model", "training")
# What suits a machine: where images are kept, and how many a step takes of an update.
_MACHINE = {("data", "cache"), ("training", "micro_batch")}

# What of a dataset decides what a net is taught; `classes` stand by themselves. The others do not: `id_pattern`,
# `num_folds` and `folds_seed` are in the folds file, `channels` only says what `make check` refuses, `metric` and
# `num_*` are of later and earlier stages, and the csv's names of images and classes are how rows find their image.
_TAUGHT = ("photos", "read_masks_from", "value_range", "unite_masks")
_TAUGHT_BY_MASKS_FROM = {
    "files": ("masks", "mask_values", "background_values", "ignore_values", "mask_threshold"),
    "csv": ("masks_csv", "csv_rle_column"),
}
_TAUGHT_BY_RUN_LENGTHS = ("rle_order", "size_hw")  # the same numbers are another mask in another width
_TAUGHT_BY_PSEUDO_LABELS = (*_TAUGHT_BY_RUN_LENGTHS, "test_photos")


def take_snapshot(experiment: ExperimentConfig, dataset: DatasetConfig, fold: int, folds_hash: str) -> dict[str, Any]:
    """Returns what a run is: all that decides its weights, its fingerprint, and how it predicts."""
    decisive = {
        "fold": fold,
        "folds_hash": folds_hash,
        "classes": list(dataset.classes),
        "dataset": dataset.model_dump(mode="json", include=_find_taught(dataset, experiment)),
        **experiment.model_dump(mode="json", include=set(_PARTS)),
    }
    prediction = experiment.prediction.model_dump(mode="json")
    return {**decisive, "prediction": prediction, "fingerprint": fingerprint(**_find_identity(decisive))}


def write_snapshot(run_dir: Path, snapshot: dict[str, Any]) -> None:
    """Writes what a run is into its folder."""
    write_json(run_dir / SNAPSHOT, snapshot)


def check_snapshot(run_dir: Path, snapshot: dict[str, Any]) -> None:
    """Refuses a folder that holds a run of another config.

    Raises:
        InputError: it does; the message names the fields that differ and the command that deletes it.
    """
    path = run_dir / SNAPSHOT
    if not path.exists():
        return
    command = f"`make clean EXP={run_dir.parent.name} FOLD={run_dir.name.removeprefix('fold')}`"
    found = read_json(path, "fingerprint", remedy=f"{command} deletes the run")
    if found["fingerprint"] == snapshot["fingerprint"]:
        return
    here, there = _find_identity(snapshot), _find_identity(found)
    differ = (_describe(key, there.get(key), here[key]) for key in here if there.get(key) != here[key])
    details = "; ".join(differ) or f"{SNAPSHOT} with a fingerprint that is not that of its fields"
    raise InputError(
        f"{run_dir} must hold a run of this config. Received: {details}. {command} deletes it, so that training starts "
        f"from the beginning"
    )


def _find_taught(dataset: DatasetConfig, experiment: ExperimentConfig) -> set[str]:
    """Returns the fields of a dataset that decide what this experiment's nets are taught."""
    taught = {*_TAUGHT, *_TAUGHT_BY_MASKS_FROM[dataset.read_masks_from]}
    if dataset.read_masks_from == "csv":
        taught.update(_TAUGHT_BY_RUN_LENGTHS)
    if experiment.data.pseudo_labels is not None:
        taught.update(_TAUGHT_BY_PSEUDO_LABELS)
    return taught


def _find_identity(snapshot: dict[str, Any]) -> dict[str, Any]:
    """Returns what a fingerprint is of: all but what suits a machine, and how a run predicts."""
    return {
        key: {name: value for name, value in fields.items() if (key, name) not in _MACHINE}
        if key in _PARTS and isinstance(fields, dict)
        else fields
        for key, fields in snapshot.items()
        if key not in ("fingerprint", "prediction")
    }


def _describe(key: str, there: Any, here: Any) -> str:
    """Says how a part differs; of one with fields, those alone that do."""
    if isinstance(there, dict) and isinstance(here, dict):
        names = [name for name in {**there, **here} if there.get(name) != here.get(name)]
        there, here = ({name: fields[name] for name in names if name in fields} for fields in (there, here))
    return f"{key}: {there} there, {here} here"
