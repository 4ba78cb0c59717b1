"""What a run is: its config.json, by which training and prediction know a run folder as theirs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unets.config import ExperimentConfig
from unets.errors import InputError
from unets.runs import fingerprint, read_json, write_json

SNAPSHOT = "config.json"

_PARTS = ("data", "model", "training")
# What suits a machine: where photos are kept, and how many a step takes of an update.
_MACHINE = {("data", "cache"), ("training", "micro_batch")}


def take_snapshot(experiment: ExperimentConfig, classes: Sequence[str], fold: int, folds_hash: str) -> dict[str, Any]:
    """Returns what a run is: all that decides its weights, its fingerprint, and how it predicts."""
    decisive = {
        "fold": fold,
        "folds_hash": folds_hash,
        "classes": list(classes),
        **experiment.model_dump(mode="json", include=set(_PARTS)),
    }
    identity = {
        part: {key: value for key, value in fields.items() if (part, key) not in _MACHINE} if part in _PARTS else fields
        for part, fields in decisive.items()
    }
    prediction = experiment.prediction.model_dump(mode="json")
    return {**decisive, "prediction": prediction, "fingerprint": fingerprint(**identity)}


def write_snapshot(run_dir: Path, snapshot: dict[str, Any]) -> None:
    """Writes what a run is into its folder."""
    write_json(run_dir / SNAPSHOT, snapshot)


def check_snapshot(run_dir: Path, snapshot: dict[str, Any]) -> None:
    """Refuses a folder that holds a run of another config.

    Raises:
        InputError: it does; the message names the fields that differ and the command that starts anew.
    """
    path = run_dir / SNAPSHOT
    if not path.exists():
        return
    found = read_json(path)
    if found.get("fingerprint") == snapshot["fingerprint"]:
        return
    changed = [key for key in snapshot if found.get(key) != snapshot[key] and key not in ("fingerprint", "prediction")]
    details = "; ".join(f"{key}: {found.get(key)} there, {snapshot[key]} here" for key in changed)
    experiment, fold = run_dir.parent.name, run_dir.name.removeprefix("fold")
    raise InputError(
        f"{run_dir} must hold a run of this config. Received: {details}. "
        f"`make clean-runs EXP={experiment} FOLD={fold}` deletes it, so that training starts anew"
    )
