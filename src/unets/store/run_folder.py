"""What a run is and reached: config.json, metrics.json and weights, by which stages know a run folder as theirs."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from unets.config import DatasetConfig, ExperimentConfig
from unets.errors import InputError
from unets.log import format_count
from unets.store.runs import fingerprint, hash_file, read_csv, read_json, write_csv, write_json

SNAPSHOT, METRICS, WEIGHTS = "config.json", "metrics.json", "net.weights.h5"
Hashes = Mapping[str, tuple[str, str]]  # of the bytes of each training image and of its mask, by id
_FILES, _FILE_COLUMNS = "files.csv", ["id", "image", "mask"]  # the hashes of what a run was trained on
_MOST_NAMED = 3  # images of a change
_Fields = dict[str, Any]

_PARTS = ("data", "model", "training")

# What of a data set decides how its images and masks are seen; what they are is in the digest of their bytes.
_SEEN = {"overlapping", "has_ignored", "channels", "value_range", "orientation"}
_DIGEST = "images_and_masks"
# What of it an exported model tells, though it decides no weights.
_TOLD = {"size_hw", "has_background"}


def take_snapshot(
    experiment: ExperimentConfig, dataset: DatasetConfig, fold: int, folds_hash: str, hashes: Hashes | None = None
) -> dict[str, Any]:
    """Returns what a run is: all that decides its weights, how it predicts, and what is told of it.

    `hashes` are those of the training images and masks; none, where they are not at hand: they are then not compared.
    """
    digest = {_DIGEST: digest_hashes(hashes)} if hashes else {}
    return {
        "fold": fold,
        "folds_hash": folds_hash,
        "classes": list(dataset.classes),
        "dataset": dataset.model_dump(mode="json", include=_SEEN) | digest,
        **experiment.model_dump(mode="json", include={*_PARTS, "prediction"}),
        "told": dataset.model_dump(mode="json", include=_TOLD),
    }


def digest_hashes(hashes: Hashes) -> str:
    """Returns 16 hex digits that change when a training image or mask does: its bytes, not its place or time."""
    return fingerprint(samples=[(id_, *pair) for id_, pair in hashes.items()])


def write_snapshot(run_dir: Path, snapshot: dict[str, Any], hashes: Hashes | None = None) -> None:
    """Writes what a run is into its folder, and the hashes of what it is trained on, by which a change is told."""
    if hashes:
        write_csv(run_dir / _FILES, _FILE_COLUMNS, ((id_, *pair) for id_, pair in hashes.items()))
    write_json(run_dir / SNAPSHOT, snapshot, sealed=True)


def read_snapshot(run_dir: Path) -> dict[str, Any]:
    """Reads what `write_snapshot` wrote; raises InputError where there is none, or something else stands in it."""
    return read_json(
        run_dir / SNAPSHOT,
        remedy=f"`{name_command('clean', run_dir)}` deletes the run",
        **{"fold": int, "folds_hash": str, "classes": list[str]},
        **dict.fromkeys(("dataset", *_PARTS, "prediction", "told"), _Fields),
    )


def read_metrics(run_dir: Path) -> dict[str, Any]:
    """Reads what a run reached and cost so far.

    Raises InputError where there is nothing yet, or something else stands in it.
    """
    return read_json(
        run_dir / METRICS,
        remedy=f"Run `{name_command('train', run_dir)}`",
        **{"is_finished": bool, "epochs": int, "best_dice": float, "best_epoch": int},
        **{"seconds": float, "images": int, "devices": list[str], "commits": list[str]},
    )


def is_trained(run_dir: Path) -> bool:
    """Tells whether a run was trained to its end; see `read_metrics` for the errors."""
    has_both = (run_dir / METRICS).exists() and (run_dir / WEIGHTS).exists()
    return has_both and bool(read_metrics(run_dir)["is_finished"])


def find_weights(run_dir: Path, snapshot: dict[str, Any], hashes: Hashes | None = None) -> Path:
    """Returns the weights of a run that was trained to its end, with this config and on these folds.

    Raises InputError where it was not: on other folds, its net may have seen the very images that it is to predict; or
    they are not the weights that the training ended with.
    """
    command, path = f"`{name_command('train', run_dir)}`", run_dir / WEIGHTS
    if not (run_dir / METRICS).exists() or not path.exists():
        raise InputError(f"{run_dir} must hold a trained run. Received: none. Run {command}")
    if not is_trained(run_dir):
        raise InputError(f"{run_dir} must hold a run trained to its end. Received: an unfinished one. Run {command}")
    check_snapshot(run_dir, snapshot, hashes)
    if read_json(run_dir / METRICS, weights_sha256=str)["weights_sha256"] != hash_file(path):
        raise InputError(
            f"{path} must be the weights that this run was trained to. Received: other bytes; the file is damaged, or "
            f"another run's. Put it back, or delete {run_dir} and run {command}"
        )
    return path


def check_snapshot(run_dir: Path, snapshot: dict[str, Any], hashes: Hashes | None = None) -> None:
    """Refuses a folder that holds a run of another config, or of other training images or masks.

    Raises InputError where it does; the message names the fields that differ, by `hashes` the images whose files do,
    and the command that deletes it.
    """
    if not (run_dir / SNAPSHOT).exists():
        return
    here, there = _find_identity(snapshot), _find_identity(read_snapshot(run_dir))
    digests = {here["dataset"].pop(_DIGEST, None), there["dataset"].pop(_DIGEST, None)}
    has_others = None not in digests and len(digests) > 1
    details = [_describe(key, there[key], here[key]) for key in here if there[key] != here[key]]
    details += [_describe_files(run_dir, hashes or {})] if has_others else []
    if details:
        back = "Put the files back, or train again: " if has_others else ""
        more = " (without --fold: of all folds)" if has_others else ""
        raise InputError(
            f"{run_dir} must hold a run of this config and data. Received: {'; '.join(details)}. "
            f"{back}`{name_command('clean', run_dir)}`{more} deletes it, so that training starts from the beginning"
        )


def name_command(command: str, run_dir: Path) -> str:
    """Returns the command line that does something to a run: `unets train --exp unet_512 --fold 0`."""
    return f"unets {command} --exp {run_dir.parent.name} --fold {run_dir.name.removeprefix('fold')}"


def _find_identity(snapshot: dict[str, Any]) -> dict[str, Any]:
    """Returns what makes a run another: all but where images are kept, how it predicts, and what is told of it."""
    identity = {key: snapshot[key] for key in ("fold", "folds_hash", "classes", "dataset", *_PARTS)}
    data = {name: value for name, value in snapshot["data"].items() if name != "cache"}
    return identity | {"data": data, "dataset": dict(snapshot["dataset"])}


def _describe(key: str, there: Any, here: Any) -> str:
    """Says how a part differs; of one with fields, those alone that do."""
    if key == "folds_hash":
        return "other folds: folds.csv is not the file that it was trained on"
    if isinstance(there, dict) and isinstance(here, dict):
        names = [name for name in {**there, **here} if there.get(name) != here.get(name)]
        there, here = ({name: fields[name] for name in names if name in fields} for fields in (there, here))
    return f"{key}: {there} there, {here} here"


def _describe_files(run_dir: Path, here: Hashes) -> str:
    """Says which training images and masks are not those of a run; of one without a record of them, that some are."""
    changes = ""
    with suppress(InputError):  # the record of a run of before is not there, or it is damaged
        there = {id_: (image, mask) for id_, image, mask in read_csv(run_dir / _FILES, _FILE_COLUMNS)}
        changes = "; ".join(_list_changes(there, here))
    return "training images or masks that changed since" + (f": {changes}" if changes else "")


def _list_changes(there: Hashes, here: Hashes) -> Iterator[str]:
    both = [id_ for id_ in here if id_ in there]
    for what, how, ids in (
        ("mask", "changed", [id_ for id_ in both if here[id_][1] != there[id_][1]]),
        ("image", "changed", [id_ for id_ in both if here[id_][0] != there[id_][0]]),
        ("image", "added", [id_ for id_ in here if id_ not in there]),
        ("image", "removed", [id_ for id_ in there if id_ not in here]),
    ):
        if ids:
            named = ", ".join(ids[:_MOST_NAMED]) + ", ..." * (len(ids) > _MOST_NAMED)
            yield f"{format_count(len(ids), what)} {how} ({named})"
