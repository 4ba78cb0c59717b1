"""Prediction end to end: against its own parts, against a net that only sleeps, and against a public baseline."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import keras
import numpy as np
import numpy.typing as npt
from baselines import predict_public
from crowd import name_folders, soften
from keras import ops
from measure import Row, compare, drop_from_cache, pick_evenly, time_rounds
from submitting import CARVANA

from unets.config import DatasetConfig, ExperimentConfig
from unets.data.geometry import SizeHW
from unets.data.io import read_image
from unets.data.rle import encode_rle
from unets.data.samples import Sample, read_full_size, read_mask
from unets.dataset.catalog import Catalog
from unets.dataset.folds import hash_folds
from unets.ensemble.blend import blend
from unets.ensemble.postprocess import to_masks
from unets.nets import predictor as nets_of_predictor
from unets.nets.backend import choose_precision
from unets.nets.predictor import Predictor
from unets.nets.unet import build_unet
from unets.prediction import pipeline
from unets.prediction.loading import load_predictor
from unets.prediction.maps import encode_map, from_u8, open_maps
from unets.prediction.predict import predict_experiments
from unets.store.fingerprint import take_snapshot
from unets.store.paths import Project
from unets.store.runs import write_json
from unets.tables import render_table
from unets.workers.machine import count_cores
from unets.workers.pool import map_ahead

# The first batch is always waited for, and a start takes 0.25 s of Keras: both must weigh little, as in earnest.
# By the size of the net's photos: the more pixels, the fewer photos a round.
_NUM_PHOTOS = {(640, 959): 96, (1024, 1024): 48, (1280, 1918): 24}
_NUM_SLEEPING = 2048
_NAME = "random_weights"
_FOLDS = 5  # of an experiment in earnest; one is planted here

MapsU8 = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Stand:
    """Stands in a net's place: sleeps, as one on a device of its own would have us wait, and returns maps made before.

    Args:
        batch_size: photos a batch.
        maps_nhwc: uint8 (batch_size, height, width, classes).
        seconds: a photo.
    """

    batch_size: int
    maps_nhwc: MapsU8
    seconds: float = 0.0

    def __call__(self, images_nhwc: npt.NDArray[np.uint8]) -> tuple[MapsU8, MapsU8]:
        """See `Predictor`."""
        time.sleep(self.seconds * len(images_nhwc))
        return self.maps_nhwc[: len(images_nhwc)], self.maps_nhwc[: len(images_nhwc)]


@dataclass(frozen=True, kw_only=True)
class Pace:
    """What a photo takes with one fold's net and TTA, and what follows for all of Carvana's test photos."""

    size_hw: SizeHW
    num_flips: int  # flips that are averaged
    whole_ms: float  # a photo, from its file to its map in a shard
    net_ms: float  # a photo, of that the net alone with all its flips

    @property
    def photos_per_second(self) -> float:
        """Of the whole, with one fold; starts weigh in, as little as the number of photos a round lets them."""
        return 1000 / self.whole_ms

    @property
    def net_photos_per_second(self) -> float:
        """Of the bare net, with one fold: what the whole cannot exceed."""
        return 1000 / self.net_ms

    @property
    def hours_for_carvana(self) -> float:
        """Hours of 100,064 photos with five folds: 100,064 x (whole_ms + 4 x net_ms) / 3,600,000.

        A test photo is read once and its mean map written once, whatever the number of folds: the other four cost their
        nets alone. Exact where all of it shares the cores; where the net has a device of its own and had to wait for
        our work, four nets more fill that wait first, and it is at most this.
        """
        return CARVANA * (self.whole_ms + (_FOLDS - 1) * self.net_ms) / 3_600_000

    def to_dict(self) -> dict[str, Any]:
        """Returns what was measured and what follows, for JSON."""
        return {
            "size_hw": self.size_hw,
            "tta": self.num_flips,
            "whole_ms": self.whole_ms,
            "net_ms": self.net_ms,
            "photos_per_second": self.photos_per_second,
            "net_photos_per_second": self.net_photos_per_second,
            "hours_for_carvana": self.hours_for_carvana,
        }


def format_paces(paces: Sequence[Pace]) -> str:
    """Lays out a line a size."""
    header = [
        "one fold predicts",
        "tta",
        "ms/photo",
        "of it net",
        "photos/s",
        "net alone",
        f"hours of {CARVANA:,} photos, {_FOLDS} folds",
    ]
    lines = [
        [
            f"{pace.size_hw[0]} x {pace.size_hw[1]}",
            str(pace.num_flips),
            f"{pace.whole_ms:.1f}",
            f"{pace.net_ms:.1f}",
            f"{pace.photos_per_second:.2f}",
            f"{pace.net_photos_per_second:.2f}",
            f"{pace.hours_for_carvana:.1f}",
        ]
        for pace in paces
    ]
    return render_table(header, lines, right=header[1:])


def measure_prediction(
    samples: Sequence[Sample], dataset: DatasetConfig, experiment: ExperimentConfig, seconds: float
) -> Iterator[tuple[list[Row], Pace]]:
    """Compares ways to predict photos, from cold files to maps in shards, at each of Carvana's three sizes.

    Before every round of every way, ours, our parts and the public one alike, the photos are dropped from the page
    cache, where the system lets us (`drop_from_cache`). Where a round has more photos than there are files, files are
    repeated, and are cold at first alone.

    Building and tracing the net, which happens once whatever the number of photos, is left out. On one CPU, reading,
    net and PNGs share the cores: the whole is held against the sum of all three. A net that sleeps stands for one on a
    device of its own: the whole should take as long as the slower of it and our own work.

    Args:
        samples: photos with masks, to make maps of for the net that sleeps.
        dataset: their declaration.
        experiment: whose net predicts; its weights are random.
        seconds: of each measurement.

    Yields:
        The rows of a size, and how fast it was.
    """
    for size_hw, num_photos in _NUM_PHOTOS.items():
        data = experiment.data.model_copy(update={"size_hw": size_hw, "crop_hw": None})
        at_size = experiment.model_copy(update={"data": data})
        rows, pace = _measure_net(pick_evenly(samples, num_photos), dataset, at_size, seconds)
        yield [*rows, *_measure_sleep(samples, dataset, at_size, seconds)], pace


def _measure_net(
    chosen: Sequence[Sample], dataset: DatasetConfig, experiment: ExperimentConfig, seconds: float
) -> tuple[list[Row], Pace]:
    size_hw, batch_size = experiment.data.size_hw, experiment.prediction.batch_size
    with tempfile.TemporaryDirectory() as folder:
        project = name_folders(Path(folder))
        plant_run(project, dataset, experiment)
        weights_paths = [project.run_dir(_NAME, 0) / "best.weights.h5"]
        predictor = load_predictor(weights_paths, experiment, size_hw, len(dataset.classes))
        photos = np.stack([read_image(sample.photo_path, size_hw) for sample in chosen])
        maps = list(predictor(photos[:batch_size])[0])

        def run_net(_: int) -> None:
            for start in range(0, len(photos), batch_size):
                predictor(photos[start : start + batch_size])

        def run_all(_: int) -> None:
            predict_all(project, chosen, dataset, experiment, predictor)

        def run_to_rows(_: int) -> None:
            _predict_to_rows(project, chosen, dataset, experiment, predictor)

        with patch.object(nets_of_predictor, "fold_batch_norm", lambda net: net):  # as it was trained, as all run it
            plain = load_predictor(weights_paths, experiment, size_hw, len(dataset.classes))
        paths, takes_floats = [sample.photo_path for sample in chosen], _take_floats(plain, size_hw)
        ways: dict[str, Callable[[int], object]] = {
            "all": run_all,
            "net": run_net,
            "reading": lambda _: _read(chosen, size_hw),
            "compressing": lambda _: _compress(maps, len(chosen)),
            "rows": run_to_rows,
            "public": lambda _: predict_public(
                paths, takes_floats.predict_on_batch, batch_size, size_hw, read_full_size(chosen[0], dataset)
            ),
        }
        rounds = time_rounds(ways, seconds, prepare=partial(drop_from_cache, paths))
    total = [sum(parts) for parts in zip(rounds["reading"], rounds["net"], rounds["compressing"], strict=True)]
    scale, where = 1000 / len(chosen), f"prediction at {size_hw[0]} x {size_hw[1]}"
    pace = Pace(
        size_hw=size_hw,
        num_flips=len(experiment.prediction.tta),
        whole_ms=scale * median(rounds["all"]),
        net_ms=scale * median(rounds["net"]),
    )
    return [
        compare(f"{where} / net + reading + PNGs", rounds["all"], total, unit="ms/photo", scale=scale, aim=1 / 1.05),
        compare(f"{where} / net alone", rounds["all"], rounds["net"], unit="ms/photo", scale=scale),
        compare(
            f"{where} and rows / public threads",
            rounds["rows"],
            rounds["public"],
            unit="ms/photo",
            scale=scale,
            aim=1.5,
        ),
    ], pace


def _measure_sleep(
    samples: Sequence[Sample], dataset: DatasetConfig, experiment: ExperimentConfig, seconds: float
) -> Iterator[Row]:
    """Holds prediction with a net that sleeps against the slower of it and our own work: a third more, a third less."""
    size_hw, batch_size = experiment.data.size_hw, experiment.prediction.batch_size
    few = pick_evenly(samples, 16)
    maps = np.stack([soften(read_mask(sample, dataset), size_hw, [0]) for sample in few])[:batch_size]
    num_photos = _NUM_SLEEPING * 640 * 959 // (size_hw[0] * size_hw[1])
    scale = 1000 / num_photos
    files = pick_evenly(samples, num_photos)
    many = [Sample(id=f"{i}", group="", view=None, photo=files[i % len(files)].photo) for i in range(num_photos)]
    forget = partial(drop_from_cache, [sample.photo_path for sample in files])
    with tempfile.TemporaryDirectory() as folder:
        project = name_folders(Path(folder))
        plant_run(project, dataset, experiment)

        def run_work(_: int) -> None:
            # Both at once, as they must where the net has a device of its own.
            read = map_ahead(lambda s: read_image(s.photo_path, size_hw), many, workers=count_cores(), ahead=8)
            shown = (maps[index % len(maps)] for index, _ in enumerate(read))
            _exhaust(map_ahead(encode_map, shown, workers=count_cores(), ahead=8))

        forget()
        began = time.perf_counter()
        run_work(0)
        work_seconds = time.perf_counter() - began
        for word, share in (("slower", 4 / 3), ("faster", 2 / 3)):
            stand = Stand(batch_size=batch_size, maps_nhwc=maps, seconds=share * work_seconds / num_photos)

            def run_all(_: int, stand: Stand = stand) -> None:
                predict_all(project, many, dataset, experiment, stand)

            def run_to_rows(_: int, stand: Stand = stand) -> None:
                _predict_to_rows(project, many, dataset, experiment, stand)

            def run_public(_: int, stand: Stand = stand) -> None:
                paths, full_hw = [sample.photo_path for sample in many], read_full_size(many[0], dataset)
                predict_public(paths, lambda photos: from_u8(stand(photos)[0]), batch_size, size_hw, full_hw)

            ways: dict[str, Callable[[int], object]] = {"all": run_all, "work": run_work}
            if word == "faster":  # else both wait for the net
                ways |= {"rows": run_to_rows, "public": run_public}
            rounds = time_rounds(ways, seconds / 2, prepare=forget)
            slower = [max(work, stand.seconds * num_photos) for work in rounds["work"]]
            what = f"prediction at {size_hw[0]} x {size_hw[1]}, {word} net asleep / slower of it, our work"
            yield compare(what, rounds["all"], slower, unit="ms/photo", scale=scale, aim=1 / 1.05)
            if word == "faster":
                what = "the same and rows / public threads"
                yield compare(what, rounds["rows"], rounds["public"], unit="ms/photo", scale=scale, aim=1.5)


def predict_all(
    project: Project,
    samples: Sequence[Sample],
    dataset: DatasetConfig,
    experiment: ExperimentConfig,
    predictor: Predictor | Stand,
) -> None:
    """Predicts test photos, whatever is there, with the run that `plant_run` made, but with a net that is there."""
    catalog = Catalog(dataset=dataset, train=(), test=tuple(samples))
    shutil.rmtree(project.maps_dir(_NAME, "test"), ignore_errors=True)
    with patch.object(pipeline, "load_predictor", return_value=predictor):
        predict_experiments(project, catalog, {_NAME: experiment}, folds={}, use_folds={_NAME: (0,)})


def plant_run(project: Project, dataset: DatasetConfig, experiment: ExperimentConfig) -> None:
    """Writes the run folder of a trained net, of random weights, and folds if there are none."""
    run_dir = project.run_dir(_NAME, 0)
    run_dir.mkdir(parents=True)
    precision = choose_precision(experiment.training.precision)
    net = build_unet(experiment.model, experiment.data.size_hw, len(dataset.classes), precision)
    # Maps of plain random weights are noise around one half, whose PNGs take 16 ms each. These are nearly all 0 or 255
    # and take 5, as those of a trained net.
    classify = net.get_layer("classify")
    kernel, bias = classify.get_weights()
    classify.set_weights([1000 * kernel, bias])
    net.save_weights(run_dir / "best.weights.h5")
    if not project.folds_path.exists():
        project.folds_path.write_text("id,group,fold\n")
    write_json(run_dir / "metrics.json", {"is_finished": True})
    snapshot = take_snapshot(experiment, dataset, 0, hash_folds(project.folds_path))
    write_json(run_dir / "config.json", snapshot)


def _predict_to_rows(
    project: Project,
    samples: Sequence[Sample],
    dataset: DatasetConfig,
    experiment: ExperimentConfig,
    predictor: Predictor | Stand,
) -> None:
    """Goes on to run lengths, as the public baseline does, by way of the maps on disk."""
    predict_all(project, samples, dataset, experiment, predictor)
    reader = open_maps(project.maps_dir(_NAME, "test"))

    def encode(sample: Sample) -> str:
        probs_hwc = blend([reader.read_map(sample.id)], [1.0], read_full_size(sample, dataset))
        return encode_rle(to_masks(probs_hwc, 0.5))

    _exhaust(map_ahead(encode, samples, workers=count_cores(), ahead=8))


def _take_floats(predictor: Predictor, size_hw: SizeHW) -> keras.Model:
    """Returns the same nets and flips as a model from float32 photos 0..1 to float32 maps 0..1."""
    photos = keras.Input((*size_hw, 3), batch_size=predictor.batch_size, dtype="float32")
    mean, _ = predictor._model(ops.cast(photos * 255.0, "uint8"))
    return keras.Model(photos, ops.cast(mean, "float32") / 255.0)


def _read(samples: Sequence[Sample], size_hw: SizeHW) -> None:
    cores = count_cores()
    _exhaust(map_ahead(lambda s: read_image(s.photo_path, size_hw), samples, workers=cores, ahead=cores))


def _compress(maps: Sequence[MapsU8], count: int) -> None:
    cores = count_cores()
    _exhaust(map_ahead(encode_map, islice(cycle(maps), count), workers=cores, ahead=cores))


def _exhaust(items: Iterable[object]) -> None:
    for _ in items:
        pass
