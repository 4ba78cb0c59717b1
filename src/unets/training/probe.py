"""How fast this machine trains, predicts and reads, from a few seconds of each."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from unets.config import DatasetConfig, ExperimentConfig
from unets.data.batches import Batches
from unets.data.cache import ArrayReader, DiskReader, PairReader
from unets.data.geometry import SizeHW
from unets.data.samples import Sample
from unets.nets.cost import count_multiply_adds
from unets.nets.predictor import Predictor
from unets.nets.tta import FLIPS
from unets.nets.unet import build_unet
from unets.training.learner import build_learner
from unets.workers.machine import count_cores
from unets.workers.pool import map_ahead

# Multiply-adds of a photo's forward pass in a probe on a CPU: two cores train some 15 G of them a second.
_CPU_MULTIPLY_ADDS = 4e9
_CPU_PHOTOS = 3
_STEPS = 3  # timed, after one that compiles
_READ_SECONDS = 2.0
_MAX_PHOTOS = 32  # that are read, again and again


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """Seconds a photo, as a probe measured them; every one with all cores at work."""

    train_seconds: float  # of forward and backward pass, without reading
    update_seconds: float  # of a step, whatever its photos: the update of the weights
    predict_seconds: float  # of a forward pass
    map_seconds: float  # of a prediction under one view, by nets that are simplified for it
    augment_seconds: float  # of cropping and changing a photo at hand: all that is left to read from a cache
    read_seconds: float | None  # of reading, decoding and changing; None: photos were not at hand
    probe_hw: SizeHW  # the size that was timed; seconds are scaled from it by multiply-adds


def probe_speed(
    experiment: ExperimentConfig, dataset: DatasetConfig, samples: Sequence[Sample], *, is_gpu: bool, micro_batch: int
) -> Speed:
    """Times some training steps and forward passes on random photos, and the reading of real ones.

    A card is timed at the experiment's own size and step. On a CPU, whose seconds follow the multiply-adds, photos are
    small enough for a probe of seconds, and steps of one and of several tell what a photo and what an update takes.

    Args:
        experiment: which.
        dataset: how photos are read.
        samples: training photos at hand; reading is not timed without.
        is_gpu: whether a card computes.
        micro_batch: photos a step, on a card.
    """
    data, classes = experiment.data, len(dataset.classes)
    fed_hw = data.crop_hw or data.size_hw
    fed_multiply_adds = count_multiply_adds(build_unet(experiment.model, fed_hw, classes))
    probe_hw = fed_hw if is_gpu else _choose_size(experiment, fed_hw, fed_multiply_adds)
    batch = micro_batch if is_gpu else _CPU_PHOTOS
    small = experiment.model_copy(update={"data": data.model_copy(update={"size_hw": probe_hw, "crop_hw": None})})
    learner = build_learner(small, classes, updates_per_epoch=1000)
    rng = np.random.default_rng(0)
    photos = rng.integers(0, 256, (batch, *probe_hw, 3), dtype=np.uint8)
    targets = rng.integers(0, 256, (batch, *probe_hw, classes), dtype=np.uint8)
    multiply_adds = count_multiply_adds(learner.net)
    scale = fed_multiply_adds / multiply_adds
    whole_scale = scale * data.size_hw[0] * data.size_hw[1] / (fed_hw[0] * fed_hw[1])
    step_seconds = _time(lambda: learner.train_on_batch(photos, targets))
    update_seconds = 0.0
    if not is_gpu:
        alone_seconds = _time(lambda: learner.train_on_batch(photos[:1], targets[:1]))
        if alone_seconds < step_seconds:  # else other work came between, and the two tell nothing
            update_seconds = max((batch * alone_seconds - step_seconds) / (batch - 1), 0.0)
    predict_seconds = _time(lambda: learner.predict_on_batch(photos)) / batch
    predictor = Predictor([learner.net], [FLIPS["identity"]], batch)
    map_seconds = _time(lambda: predictor(photos)) / batch
    keras.utils.clear_session()
    return Speed(
        train_seconds=(step_seconds - update_seconds) / batch * scale,
        update_seconds=update_seconds,
        predict_seconds=predict_seconds * whole_scale,
        map_seconds=map_seconds * whole_scale,
        augment_seconds=_time_reading(_draw_pairs(data.size_hw, classes), experiment, 8),
        read_seconds=_time_reader(samples, experiment, dataset) if samples else None,
        probe_hw=probe_hw,
    )


def _choose_size(experiment: ExperimentConfig, fed_hw: SizeHW, multiply_adds: int) -> SizeHW:
    """Returns the largest size of about the same shape that a probe can afford, a multiple of what the net pads to."""
    share = (_CPU_MULTIPLY_ADDS / multiply_adds) ** 0.5
    if share >= 1:
        return fed_hw
    multiple = experiment.model.stride * 2**experiment.model.depth
    height, width = (max(round(side * share / multiple), 1) * multiple for side in fed_hw)
    return min((height, width), fed_hw, key=lambda hw: hw[0] * hw[1])


def _time(step: Callable[[], object]) -> float:
    """Returns the least seconds of some calls after the first, which compiles: other work only ever adds."""
    step()
    seconds = []
    for _ in range(_STEPS):
        began = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def _time_reader(samples: Sequence[Sample], experiment: ExperimentConfig, dataset: DatasetConfig) -> float:
    # Spread over all: neighbours are views of one car.
    chosen = list(samples)[:: max(len(samples) // _MAX_PHOTOS, 1)][:_MAX_PHOTOS]
    return _time_reading(DiskReader(chosen, dataset, experiment.data.size_hw), experiment, len(chosen))


def _draw_pairs(size_hw: SizeHW, classes: int) -> ArrayReader:
    rng = np.random.default_rng(0)
    photos = rng.integers(0, 256, (8, *size_hw, 3), dtype=np.uint8)
    return ArrayReader(photos, np.repeat(photos[..., :1], classes, axis=-1))


def _time_reading(reader: PairReader, experiment: ExperimentConfig, num_photos: int) -> float:
    """Returns the seconds of a photo through the generator that training uses, with one thread a core."""
    data, workers = experiment.data, count_cores()
    batches = Batches(
        reader,
        range(num_photos),
        batch_size=1,
        targets=data.targets,
        augment_config=data.augment,
        crop_hw=data.crop_hw,
        shuffle=True,
    )
    began, read = time.perf_counter(), 0
    while time.perf_counter() - began < _READ_SECONDS:
        read += sum(1 for _ in map_ahead(batches.__getitem__, range(num_photos), workers=workers, ahead=0))
    return (time.perf_counter() - began) / read
