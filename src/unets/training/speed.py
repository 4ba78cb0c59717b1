"""How fast this machine trains, predicts and reads, from some seconds of each at the experiment's own size."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from unets.config import DatasetConfig, ExperimentConfig
from unets.data.batches import Batches
from unets.data.cache import ArrayReader, DiskReader, PairReader
from unets.data.samples import Sample
from unets.dataset.first_experiments import Cost
from unets.nets.backend import has_gpu
from unets.nets.predictor import Predictor
from unets.training.learner import build_learner
from unets.training.memory import find_smaller_micro_batch
from unets.workers.machine import count_cores
from unets.workers.pool import map_ahead

Clock = Callable[[], float]

_STEPS, _STEP_SECONDS = 3, 5.0  # timed at most, after one that compiles
_CPU_PX = 4 * 320 * 480  # a step: of larger ones seconds do not depend on it much
_READ_SECONDS = 2.0
_MAX_IMAGES = 32  # that are read, again and again


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """Seconds an image, as measured; every one with all cores at work."""

    train_seconds: float = 0.0  # of a training step, without reading
    predict_seconds: float = 0.0  # of a prediction without TTA
    augment_seconds: float = 0.0  # of cropping and changing an image at hand: all that is left to read from a cache
    read_seconds: float = 0.0  # of reading, decoding and changing
    has_read: bool = True  # False: images were not at hand, so that reading counts nothing
    micro_batch: int = 0  # images of the step that was timed


NOT_MEASURED = Speed()


def measure_speed(
    experiment: ExperimentConfig,
    dataset: DatasetConfig,
    samples: Sequence[Sample],
    *,
    micro_batch: int,
    is_gpu: bool,
    clock: Clock = time.perf_counter,
) -> Speed:
    """Times some training steps and predictions of random images, and the reading of real ones, if there are samples.

    A GPU is timed at the very step of the training on one device, or the largest part of it that its memory holds. On a
    core that others use too the clock is `time.process_time`. Raises InputError where memory does not hold the step of
    a single image.
    """
    data, num_classes, train_seconds = experiment.data, len(dataset.classes), 0.0
    height, width = data.crop_hw or data.size_hw
    micro_batch = micro_batch if is_gpu else min(micro_batch, max(_CPU_PX // (height * width), 1))

    def draw(num_images: int, *shape: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        images = np.random.default_rng(0).integers(0, 256, (num_images, *shape), dtype=np.uint8)
        return images, np.repeat(images[..., :1], num_classes, axis=-1)

    while not train_seconds:
        keras.utils.clear_session()
        learner = build_learner(experiment, dataset, updates_per_epoch=1000)
        images, targets = draw(micro_batch, *learner.net.input_shape[1:])
        try:
            train_seconds = _time(partial(learner.train_on_batch, images, targets), clock) / micro_batch
        except Exception as error:
            micro_batch = find_smaller_micro_batch(error, micro_batch, micro_batch)
    predictor = Predictor([learner.net], ["identity"], 1, overlapping=dataset.overlapping)
    share = data.size_hw[0] * data.size_hw[1] / (height * width)  # predictions are of whole images
    predict_seconds = _time(partial(predictor, images[:1]), clock) * share
    keras.utils.clear_session()
    # Spread over all: neighbors are views of one car.
    chosen = list(samples)[:: max(-(-len(samples) // _MAX_IMAGES), 1)]
    stored, cached = DiskReader(chosen, dataset, data.size_hw), ArrayReader(*draw(8, *data.size_hw, images.shape[-1]))
    augment_seconds = _time_reading(cached, experiment, 8, clock)
    return Speed(
        train_seconds=train_seconds,
        predict_seconds=predict_seconds,
        augment_seconds=augment_seconds,
        read_seconds=_time_reading(stored, experiment, len(chosen), clock) if chosen else augment_seconds,
        has_read=bool(chosen),
        micro_batch=micro_batch,
    )


def time_step(dataset: DatasetConfig, experiment: ExperimentConfig, clock: Clock = time.perf_counter) -> Cost:
    """Times an experiment for `unets new`, in a quarter of a minute; images come from a cache."""
    is_gpu = has_gpu()
    speed = measure_speed(experiment, dataset, (), micro_batch=experiment.data.batch_size, is_gpu=is_gpu, clock=clock)
    beside = 0.0 if is_gpu else speed.augment_seconds
    return Cost(train_seconds=speed.train_seconds + beside, predict_seconds=speed.predict_seconds + beside)


def _time(step: Callable[[], object], clock: Clock) -> float:
    """Returns the least seconds of some calls after the first, which compiles: other work only ever adds."""
    step()
    seconds = list[float]()
    while len(seconds) < _STEPS and sum(seconds) < _STEP_SECONDS:
        began = clock()
        step()
        seconds.append(clock() - began)
    return min(seconds)


def _time_reading(reader: PairReader, experiment: ExperimentConfig, num_images: int, clock: Clock) -> float:
    """Returns the seconds of an image through the generator that training uses, with one thread a core."""
    data, places = experiment.data, range(num_images)
    changes: dict[str, Any] = {"targets": data.targets, "augment_config": data.augment, "crop_hw": data.crop_hw}
    batches = Batches(reader, places, micro_batch=1, shuffle=True, **changes)
    began, read = clock(), 0
    while clock() - began < _READ_SECONDS:
        read += sum(1 for _ in map_ahead(batches.__getitem__, places, workers=count_cores(), ahead=0))
    return (clock() - began) / read
