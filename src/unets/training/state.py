"""A fold: all that decides its weights, how far it has come, and the files of its folder.

models/<competition>/<experiment>/fold<k>/
    config.json        what the run is; a run of another config is refused
    best.weights.h5    the weights that predict: of the best epoch, or of the last
    last/state.npz     all that going on needs, bit for bit: the learner's state, and the progress
    history.csv        one row an epoch
    metrics.json       what it reached and what it cost, over all restarts
    panel/             the worst validation images, worst.jpg, and which they are
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unets.config import ExperimentConfig
from unets.data.augment import drop_colors
from unets.data.batches import Batches
from unets.data.cache import PairReader
from unets.data.samples import Sample
from unets.data.sampling import weigh_samples
from unets.dataset.manifest import Manifest
from unets.errors import DECODER_FAULTS, naming
from unets.store.fingerprint import METRICS, WEIGHTS, take_snapshot
from unets.store.runs import atomic_path, hash_file, write_csv, write_json
from unets.training.learner import Learner
from unets.training.source import find_source


@dataclass(frozen=True, kw_only=True)
class Fold:
    """One fold of one experiment: all that decides its weights, and where they lie."""

    run_dir: Path  # models/<competition>/<experiment>/fold<k>
    manifest: Manifest  # the data set with its training samples
    experiment: ExperimentConfig
    number: int  # of the fold, which is left out for validation
    folds: Mapping[str, int]  # fold of each training id
    folds_hash: str  # of the file they come from; a run goes on with the same folds only
    pseudo_labels: tuple[Sample, ...] = ()  # test images that it is trained on too
    pseudo_labels_hash: str = ""  # SHA-256 of their file
    # Each is called with the run's folder after an epoch, whose files are written then, and at the end.
    on_epoch: Sequence[Callable[[Path], object]] = ()

    @cached_property
    def files(self) -> "RunFiles":
        """The files of its folder."""
        return RunFiles(self.run_dir)

    @cached_property
    def snapshot(self) -> dict[str, Any]:
        """What the run is, as `config.json` has it."""
        manifest = self.manifest
        return take_snapshot(self.experiment, manifest.dataset, self.number, self.folds_hash, manifest.train_digest)

    @cached_property
    def source_path(self) -> Path | None:
        """The weights of another experiment that it starts from; see `find_source` for the errors."""
        return find_source(self.run_dir, self.experiment, self.manifest.dataset.classes, self.folds_hash)

    @property
    def samples(self) -> tuple[Sample, ...]:
        """All samples, in the order of the reader: those of the data set, then those with pseudo-labels."""
        return (*self.manifest.train, *self.pseudo_labels)

    def call_on_epoch(self) -> None:
        """Calls each of `on_epoch`."""
        for call in self.on_epoch:
            call(self.run_dir)

    def hash_sources(self) -> dict[str, str]:
        """Returns the SHA-256 by name of all that it is made from besides its config and the training images."""
        hashes = {} if self.source_path is None else {"start_from": hash_file(self.source_path)}
        if self.pseudo_labels:
            hashes["pseudo_labels"] = self.pseudo_labels_hash
        weights_path = Path(self.experiment.model.weights)  # none and imagenet are no files
        if self.source_path is None and weights_path.is_file():
            hashes["weights"] = hash_file(weights_path)
        return hashes

    def build_batches(self, reader: PairReader, micro_batch: int, workers: int) -> tuple[Batches, Batches]:
        """Returns the batches of training, a step each, and of validation.

        A batch for validation, of whole images, takes no more memory than one for training.

        Args:
            reader: gives image and soft target of each of `samples`.
            micro_batch: images a step.
            workers: threads that prepare batches.
        """
        data, config, train = self.experiment.data, self.experiment.training, self.manifest.train
        inside = [index for index, sample in enumerate(train) if self.folds[sample.id] == self.number]
        if (most := config.validation_images) is not None and most < len(inside):
            inside = [inside[place * len(inside) // most] for place in range(most)]
        outside = [index for index, sample in enumerate(train) if self.folds[sample.id] != self.number]
        outside += range(len(train), len(self.samples))
        trained = [self.samples[index] for index in outside]
        (height, width), (crop_height, crop_width) = data.size_hw, data.crop_hw or data.size_hw
        fitting = micro_batch * crop_height * crop_width // (height * width)
        augment = data.augment
        if augment is not None and isinstance(self.manifest.dataset.channels, int):
            augment = drop_colors(augment)
        batches = Batches(
            reader,
            outside,
            draw_weights=weigh_samples(trained, self.manifest.dataset, data.balance, jobs=workers),
            batch_size=micro_batch,
            steps_per_update=data.batch_size // micro_batch,
            updates_per_epoch=config.steps_per_epoch,
            targets=data.targets,
            augment_config=augment,
            crop_hw=data.crop_hw,
            shuffle=True,
            seed=config.seed,
            workers=workers,
        )
        return batches, Batches(reader, inside, batch_size=max(fitting, 1), workers=workers)


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
        self.best_path, self.last_path = run_dir / WEIGHTS, run_dir / "last" / "state.npz"
        self.history_path, self.metrics_path = run_dir / "history.csv", run_dir / METRICS
        self.panel_dir = run_dir / "panel"
        name, fold = run_dir.parent.name, run_dir.name.removeprefix("fold")
        self.what = f"{name} fold {fold}"
        self.remedy = f"`unets clean --exp {name} --fold {fold}` deletes the run, so that training starts again"

    def save_last(self, learner: Learner, progress: Progress) -> None:
        """Writes all that going on needs into one file, at once: the learner's state, and the progress."""
        words = np.frombuffer(json.dumps(asdict(progress)).encode(), dtype=np.uint8)
        arrays: dict[str, npt.NDArray[Any]] = {"progress": words, **learner.read_state()}
        with atomic_path(self.last_path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    def find_micro_batch(self) -> int | None:
        """Returns the images a step that a run went on with last, which memory may have chosen; None without one.

        Raises:
            InputError: the file is damaged.
        """
        with self._open_last() as (_, progress):
            return progress.micro_batches[-1] if progress.micro_batches else None

    def load_last(self, learner: Learner) -> Progress:
        """Restores what `save_last` wrote; a new `Progress` where there is none.

        Raises:
            InputError: the file is damaged or belongs to another net.
        """
        with self._open_last() as (arrays, progress):
            if arrays:
                learner.write_state(arrays)
        return progress

    @contextmanager
    def _open_last(self) -> Iterator[tuple[Any, Progress]]:
        if not self.last_path.exists():
            yield {}, Progress()
            return
        expected = "hold this net's state"
        with (
            naming(self.last_path, expected, remedy=self.remedy, damage=DECODER_FAULTS),
            np.load(self.last_path) as arrays,
        ):
            yield arrays, Progress(**json.loads(arrays["progress"].tobytes()))

    def write_history(self, progress: Progress) -> None:
        """Writes one csv row an epoch."""
        write_csv(self.history_path, list(progress.history[0]), (row.values() for row in progress.history))

    def write_metrics(self, progress: Progress, *, is_finished: bool) -> None:
        """Writes what the run reached and what it cost so far; at the end also the SHA-256 of its weights."""
        metrics = {key: value for key, value in asdict(progress).items() if key not in ("history", "updates")}
        if is_finished:
            metrics["weights_sha256"] = hash_file(self.best_path)
        write_json(
            self.metrics_path, {"is_finished": is_finished, "epochs": progress.next_epoch, **metrics}, sealed=True
        )
