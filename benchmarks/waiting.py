"""What an epoch's steps wait for their batches: training as it is against the same steps on batches that are ready."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
from measure import Rounds, Row, compare, pick_evenly

from unets.config import DatasetConfig, ExperimentConfig
from unets.data.batches import Batches
from unets.data.cache import open_reader
from unets.data.samples import Sample
from unets.training.learner import build_learner
from unets.workers.machine import count_cores

_NUM_STEPS = 32  # the first batch, which is always waited for, must weigh little, as in a real epoch
_MIN_ROUNDS = 3


class Ready(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches that were made before, handed on by as many workers: Keras's own part is the same on both sides."""

    def __init__(self, batches: Batches) -> None:
        super().__init__(workers=batches.workers, max_queue_size=batches.max_queue_size)
        self.made = [batches[index] for index in range(len(batches))]

    def __len__(self) -> int:
        return len(self.made)

    def __getitem__(self, index: int) -> Any:
        return self.made[index]


class Watch(keras.callbacks.Callback):  # type: ignore[misc]
    """Measures the seconds of an epoch, without what Keras does once in a `fit`."""

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.seconds = time.perf_counter() - self.began


def measure_waiting(
    samples: Sequence[Sample], dataset: DatasetConfig, experiment: ExperimentConfig, seconds: float
) -> list[Row]:
    """Compares an epoch of photos from memory, changed at random as the experiment says, with ready batches.

    Without a GPU those who prepare batches share the cores with the net: what they take is lost to it, not waited for.
    """
    data = experiment.data
    num_photos = _NUM_STEPS * data.batch_size
    chosen = pick_evenly(samples, num_photos)
    batches = Batches(
        open_reader(chosen, dataset, data.size_hw, "ram", Path("unused")),
        [index % len(chosen) for index in range(num_photos)],
        batch_size=data.batch_size,
        targets=data.targets,
        augment_config=data.augment,
        crop_hw=data.crop_hw,
        shuffle=True,
        workers=count_cores(),
    )
    epochs = {"as it is": batches, "ready": Ready(batches)}
    learner, watch = build_learner(experiment, len(dataset.classes), _NUM_STEPS), Watch()

    def run(epoch: int, batches: keras.utils.PyDataset) -> float:
        if isinstance(batches, Batches):
            batches.start_epoch(epoch)
        learner.fit(batches, epochs=1, callbacks=[watch], shuffle=False, verbose=0)
        return watch.seconds

    for batches_of_way in epochs.values():
        run(0, batches_of_way)  # the first compiles the step
    rounds: Rounds = {name: [] for name in epochs}
    began = time.perf_counter()
    while len(rounds["ready"]) < _MIN_ROUNDS or time.perf_counter() - began < seconds:
        for name, batches_of_way in epochs.items():
            rounds[name].append(run(len(rounds[name]), batches_of_way))
    what, scale = f"epoch at {data.size_hw[0]} x {data.size_hw[1]} / on ready batches", 1000 / num_photos
    return [compare(what, rounds["as it is"], rounds["ready"], unit="ms/photo", scale=scale, aim=1 / 1.03)]
