"""How far a run has come, and the files of its folder that change as it goes on."""

import csv
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from unets.errors import naming
from unets.nets.weights import save_weights
from unets.store.fingerprint import METRICS, WEIGHTS
from unets.store.runs import atomic_path, hash_file, write_json, write_text
from unets.training.learner import Learner


@dataclass(kw_only=True, slots=True)
class Progress:
    """How far a run has come. It is saved with the weights, so that both always belong together."""

    history: list[dict[str, float]] = field(default_factory=list)  # one row an epoch
    updates: int = 0  # of the weights in the epoch that was begun
    best_dice: float = -1.0  # of validation, by the weights that predict
    best_epoch: int = -1  # that they are of, from 0
    best_score: float = -1.0  # what it was chosen by
    sources: dict[str, str] = field(default_factory=dict)  # files that made this run: name and SHA-256
    computed: dict[str, str] = field(default_factory=dict)  # by which backend, in which precision
    images: int = 0  # images trained on, over all restarts
    micro_batches: list[int] = field(default_factory=list)  # images a step, of each start that changed it
    seconds: float = 0.0  # spent in training and validation, over all restarts
    starts: int = 0  # 1, and one more for each restart
    devices: list[str] = field(default_factory=list)
    commits: list[str] = field(default_factory=list)  # of the code, of each start that changed it

    @property
    def next_epoch(self) -> int:
        """The first epoch that is not finished, from 0."""
        return len(self.history)

    def is_finished(self, num_epochs: int, patience: int | None) -> bool:
        """Tells whether nothing is left to train: all epochs are done, or `patience` of them were no better."""
        is_out_of_patience = patience is not None and self.next_epoch - 1 - self.best_epoch >= patience
        return is_out_of_patience or self.next_epoch >= num_epochs

    def add_epoch(self, values: Mapping[str, float], images: int, *, metric: str = "dice", keep: str = "best") -> bool:
        """Notes a finished epoch.

        Args:
            values: of losses and metrics, `val_dice` and `val_<metric>` among them.
            images: trained on.
            metric: that the best epoch is chosen by.
            keep: "best", or "last": every epoch in the place of the one before.

        Returns:
            Whether its weights are to predict.
        """
        self.history.append({"epoch": self.next_epoch + 1, **values})
        self.updates = 0
        self.images += images
        score = values[f"val_{metric}"]
        is_kept = keep == "last" or score > self.best_score
        if is_kept:
            self.best_dice, self.best_epoch, self.best_score = values["val_dice"], self.next_epoch - 1, score
        return is_kept

    def note_start(self, device: str, micro_batch: int, commit: str) -> None:
        """Notes that a process begins or goes on."""
        self.starts += 1
        if device not in self.devices:
            self.devices.append(device)
        if self.micro_batches[-1:] != [micro_batch]:
            self.micro_batches.append(micro_batch)
        if self.commits[-1:] != [commit]:
            self.commits.append(commit)


class RunFiles:
    """The files of a run folder that change as the training goes on."""

    def __init__(self, run_dir: Path) -> None:
        self.best_path = run_dir / WEIGHTS
        self.last_path = run_dir / "last" / "state.npz"
        self.history_path = run_dir / "history.csv"
        self.metrics_path = run_dir / METRICS
        self.panel_dir = run_dir / "panel"
        name, fold = run_dir.parent.name, run_dir.name.removeprefix("fold")
        self.what = f"{name} fold {fold}"
        self.start_again = f"`unets clean --exp {name} --fold {fold}`"

    def save_last(self, learner: Learner, progress: Progress) -> None:
        """Writes all that going on needs into one file, at once: the learner's state, and the progress."""
        arrays: dict[str, npt.NDArray[Any]] = {
            "progress": np.frombuffer(json.dumps(asdict(progress)).encode(), dtype=np.uint8),
            **learner.read_state(),
        }
        with atomic_path(self.last_path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    def find_micro_batch(self) -> int | None:
        """Returns the images a step that a run went on with last, which memory may have chosen; None without one.

        Raises:
            InputError: the file is damaged.
        """
        if not self.last_path.exists():
            return None
        with self._open_last() as arrays:
            return int(json.loads(arrays["progress"].tobytes())["micro_batches"][-1])

    def load_last(self, learner: Learner) -> Progress:
        """Restores what `save_last` wrote; a new `Progress` where there is none.

        Raises:
            InputError: the file is damaged or belongs to another net.
        """
        if not self.last_path.exists():
            return Progress()
        with self._open_last() as arrays:
            progress = Progress(**json.loads(arrays["progress"].tobytes()))
            learner.write_state(arrays)
        return progress

    @contextmanager
    def _open_last(self) -> Iterator[Any]:
        remedy = f"{self.start_again} deletes the run, so that training starts again"
        with naming(self.last_path, "hold this net's state", remedy=remedy), np.load(self.last_path) as arrays:
            yield arrays

    def save_best(self, net: keras.Model) -> None:
        """Writes the weights that predict."""
        save_weights(net, self.best_path)

    def write_history(self, progress: Progress) -> None:
        """Writes one csv row an epoch."""
        text = StringIO()
        writer = csv.DictWriter(text, fieldnames=list(progress.history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(progress.history)
        write_text(self.history_path, text.getvalue())

    def write_metrics(self, progress: Progress, *, is_finished: bool) -> None:
        """Writes what the run reached and what it cost so far; at the end also the SHA-256 of its weights."""
        metrics = {key: value for key, value in asdict(progress).items() if key not in ("history", "updates")}
        if is_finished:
            metrics["weights_sha256"] = hash_file(self.best_path)
        write_json(
            self.metrics_path, {"is_finished": is_finished, "epochs": progress.next_epoch, **metrics}, sealed=True
        )
