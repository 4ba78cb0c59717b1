"""A fold: all that decides its weights, how far it has come, and the files of its folder.

models/<competition>/<experiment>/fold<k>/
    config.json        what the run is; a run of another config is refused
    files.csv          the hashes of the images and masks that it is trained on
    net.weights.h5    the weights that predict: of the best epoch, or of the last
    last/state.npz     all that going on needs, bit for bit: the learner's state, and the progress
    history.csv        one row an epoch
    metrics.json       what it reached and what it cost, over all restarts
    panel/             the worst validation images, worst.jpg, and which they are
"""

import json
from collections.abc import Callable, Mapping, Sequence
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
from unets.store.run_folder import METRICS, WEIGHTS, name_command, take_snapshot
from unets.store.runs import atomic_path, hash_file, write_csv, write_json
from unets.training.learner import Learner
from unets.training.source import find_source


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
    micro_batches: list[int] = field(default_factory=list)  # images per step, of each start that changed it
    gpu_bytes: int = 0  # the most of a GPU's memory that was used at once; 0 without one
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
        """Notes a finished epoch, trained on so many images; returns whether its weights are to predict.

        The values of losses and metrics have `val_dice`, and `val_<metric>`, which the best epoch is chosen by, and of
        equal ones by `val_loss`: all may be 0, or 1 where no held-out image has an object. To keep the "last" puts
        every epoch in the place of the one before.
        """
        score, loss = values[f"val_{metric}"], values.get("val_loss", 0.0)
        is_equal = score == self.best_score and loss < self.history[self.best_epoch].get("val_loss", 0.0)
        self.history.append({"epoch": self.next_epoch + 1, **values})
        self.updates, self.images = 0, self.images + images
        is_kept = keep == "last" or score > self.best_score or is_equal
        if is_kept:
            self.best_dice, self.best_epoch, self.best_score = values["val_dice"], self.next_epoch - 1, score
        return is_kept

    def note_start(self, device: str, micro_batch: int, commit: str) -> None:
        """Notes that a process begins or goes on."""
        self.starts += 1
        self.devices += [device] if device not in self.devices else []
        self.micro_batches += [micro_batch] if self.micro_batches[-1:] != [micro_batch] else []
        self.commits += [commit] if self.commits[-1:] != [commit] else []


@dataclass(frozen=True, kw_only=True)
class Fold:
    """One fold of one experiment: all that decides its weights, and where they lie."""

    run_dir: Path  # models/<competition>/<experiment>/fold<k>
    manifest: Manifest  # the data set with its training samples
    experiment: ExperimentConfig
    number: int  # of the fold, which is left out for validation
    fold_of: Mapping[str, int]  # fold of each training id
    folds_hash: str  # of the file they come from; a run goes on with the same folds only
    pseudo_labels: tuple[Sample, ...] = ()  # test images that it is trained on too
    pseudo_labels_hash: str = ""  # SHA-256 of their file
    # Each is called with the run's folder after an epoch, whose files are written then, and at the end.
    on_epoch: Sequence[Callable[[Path], object]] = ()

    def __str__(self) -> str:
        """Returns what people call it: `unet_512 fold 0`."""
        return f"{self.run_dir.parent.name} fold {self.run_dir.name.removeprefix('fold')}"

    @property
    def remedy(self) -> str:
        """What to do where its files cannot be gone on with."""
        return f"`{name_command('clean', self.run_dir)}` deletes the run, so that training starts again"

    @property
    def panel_dir(self) -> Path:
        """The folder of the worst validation images."""
        return self.run_dir / "panel"

    @property
    def weights_path(self) -> Path:
        """The weights that predict."""
        return self.run_dir / WEIGHTS

    @property
    def last_path(self) -> Path:
        """All that going on needs."""
        return self.run_dir / "last" / "state.npz"

    @cached_property
    def snapshot(self) -> dict[str, Any]:
        """What the run is, as `config.json` has it."""
        manifest = self.manifest
        return take_snapshot(self.experiment, manifest.dataset, self.number, self.folds_hash, manifest.train_hashes)

    @cached_property
    def source_path(self) -> Path | None:
        """The weights of another experiment that it starts from; see `find_source` for the errors."""
        return find_source(self.run_dir, self.experiment, self.manifest.dataset, self.folds_hash)

    def check_source(self) -> None:
        """Raises as `find_source` where the weights that it starts from are not there."""
        find_source(self.run_dir, self.experiment, self.manifest.dataset, self.folds_hash)

    @property
    def samples(self) -> tuple[Sample, ...]:
        """All samples, in the order of the reader: those of the data set, then those with pseudo-labels."""
        return (*self.manifest.train, *self.pseudo_labels)

    def hash_sources(self) -> dict[str, str]:
        """Returns the SHA-256 by name of all that it is made from besides its config and the training images."""
        weights_path = Path(self.experiment.model.weights)  # none and imagenet are no files
        hashes = {} if self.source_path is None else {"start_from": hash_file(self.source_path)}
        if self.pseudo_labels:
            hashes["pseudo_labels"] = self.pseudo_labels_hash
        if self.source_path is None and weights_path.is_file():
            hashes["weights"] = hash_file(weights_path)
        return hashes

    def build_batches(self, reader: PairReader, micro_batch: int, workers: int) -> tuple[Batches, Batches]:
        """Returns the batches of training, a step of `micro_batch` images each, and of validation.

        A batch for validation, of whole images, takes no more memory than one for training. The reader gives image and
        soft target of each of `samples`; `workers` threads prepare batches.
        """
        data, config, train = self.experiment.data, self.experiment.training, self.manifest.train
        inside = [index for index, sample in enumerate(train) if self.fold_of[sample.id] == self.number]
        if (most := config.validation_images) is not None and most < len(inside):
            inside = [inside[place * len(inside) // most] for place in range(most)]
        outside = [index for index, sample in enumerate(train) if self.fold_of[sample.id] != self.number]
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
            draw_weights=weigh_samples(trained, self.manifest.dataset, data.balance),
            micro_batch=micro_batch,
            steps_per_update=data.batch_size // micro_batch,
            updates_per_epoch=config.steps_per_epoch,
            targets=data.targets,
            augment_config=augment,
            crop_hw=data.crop_hw,
            crop_objects=data.crop_objects,
            num_classes=len(self.manifest.dataset.classes),
            overlapping=self.manifest.dataset.overlapping,
            shuffle=True,
            seed=config.seed,
            workers=workers,
        )
        return batches, Batches(reader, inside, micro_batch=max(fitting, 1), workers=workers)

    def save_last(self, learner: Learner, progress: Progress) -> None:
        """Writes all that going on needs into one file, at once: the learner's state, and the progress."""
        words = np.frombuffer(json.dumps(asdict(progress)).encode(), dtype=np.uint8)
        arrays: dict[str, npt.NDArray[Any]] = {"progress": words, **learner.read_state()}
        with atomic_path(self.last_path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    def load_last(self, learner: Learner | None = None) -> Progress:
        """Restores what `save_last` wrote, into a learner if there is one; a new `Progress` where there is none.

        Raises InputError where the file is damaged or belongs to another net.
        """
        if not self.last_path.exists():
            return Progress()
        expected = "hold this net's state"
        with (
            naming(self.last_path, expected, remedy=self.remedy, damage=DECODER_FAULTS),
            np.load(self.last_path) as arrays,
        ):
            progress = Progress(**json.loads(arrays["progress"].tobytes()))
            if learner is not None:
                learner.write_state(arrays)
            return progress

    def write_scores(self, progress: Progress, *, is_finished: bool = False) -> None:
        """Writes the history, what the run reached and what it cost so far, and calls each of `on_epoch`.

        At the end the SHA-256 of its weights is among it.
        """
        rows = (row.values() for row in progress.history)
        write_csv(self.run_dir / "history.csv", list(progress.history[0]), rows)
        metrics: dict[str, Any] = {"is_finished": is_finished, "epochs": progress.next_epoch, **asdict(progress)}
        if is_finished:
            metrics["weights_sha256"] = hash_file(self.weights_path)
        del metrics["history"], metrics["updates"]
        write_json(self.run_dir / METRICS, metrics, sealed=True)
        for call in self.on_epoch:
            call(self.run_dir)
