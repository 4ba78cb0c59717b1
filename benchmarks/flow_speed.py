"""Prediction and submission: the pipeline against one image after the other, as public scripts do it."""

import shutil
import tempfile
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import cv2
import keras
import numpy as np
from measure import Row, compare, pick_evenly, time_rounds
from public import encode_public_rle

from unets.config import DatasetConfig, ExperimentConfig
from unets.data.rle import encode_rle
from unets.data.samples import Sample, read_full_size, read_image
from unets.ensemble.recipe import Recipe, make_mask
from unets.nets.unet import build_unet
from unets.prediction.loading import load_predictor
from unets.prediction.pipeline import plan_job, run_jobs

_NUM_IMAGES = 32  # a round
_MEMBERS = 2  # of the submission's ensemble


def measure_prediction(
    samples: Sequence[Sample], dataset: DatasetConfig, experiment: ExperimentConfig, seconds: float
) -> list[Row]:
    """Compares images a second from files to probability maps on disk, with a net of random weights.

    The baseline reads an image, calls the same nets and flips on it alone, writes its map, and goes on to the next.
    """
    chosen, size_hw = pick_evenly(samples, _NUM_IMAGES), experiment.data.size_hw
    folder = Path(tempfile.mkdtemp(prefix="unets-bench-"))
    weights_path = folder / "fold0" / "best.weights.h5"
    weights_path.parent.mkdir()
    keras.utils.set_random_seed(0)
    build_unet(experiment.model, size_hw, len(dataset.classes)).save_weights(weights_path)
    rounds = count()
    predictor = load_predictor([weights_path], experiment, size_hw, len(dataset.classes))

    def predict_pipeline(_: int) -> None:
        place = folder / f"round{next(rounds)}"
        run_jobs([plan_job("net", experiment, dataset, {0: weights_path}, place, chosen, command="")], what="bench")
        shutil.rmtree(place)

    def predict_alone(_: int) -> None:
        place = folder / "alone"
        place.mkdir(exist_ok=True)
        for sample in chosen:
            mean, _ = predictor(read_image(sample, size_hw)[None])
            for index, layer_hw in enumerate(np.moveaxis(mean[0], -1, 0)):
                cv2.imwrite(str(place / f"{sample.id}_{index}.png"), layer_hw)

    taken = time_rounds({"ours": predict_pipeline, "alone": predict_alone}, seconds)
    shutil.rmtree(folder)
    ours, alone = ([round_ / len(chosen) for round_ in taken[name]] for name in ("ours", "alone"))
    return [compare("prediction / image by image", ours, alone, unit="1/s", is_rate=True, aim=1.0)]


def measure_submission(samples: Sequence[Sample], dataset: DatasetConfig, seconds: float) -> list[Row]:
    """Compares ms an image from the 8-bit maps of two nets to its run lengths, one process each.

    The baseline enlarges each map, takes the mean, applies the threshold, and encodes as public repositories do.
    """
    chosen, rng = pick_evenly(samples, _NUM_IMAGES), np.random.default_rng(0)
    sizes = [read_full_size(sample, dataset) for sample in chosen]
    maps = []
    for _ in range(_MEMBERS):
        coarse = rng.random((10, 15), dtype=np.float32)
        maps.append(np.rint(255 * np.clip(cv2.resize(coarse, (480, 320)), 0, 1)).astype(np.uint8)[..., None])
    recipe = Recipe(weights=(1 / _MEMBERS,) * _MEMBERS)

    def encode_ours(_: int) -> None:
        for full_hw in sizes:
            encode_rle(make_mask(recipe, maps, full_hw) == 1)

    def encode_public(_: int) -> None:
        for height, width in sizes:
            enlarged = [cv2.resize(one[..., 0].astype(np.float32) / 255, (width, height)) for one in maps]
            encode_public_rle((np.mean(enlarged, axis=0) > 0.5).astype(np.uint8))

    taken = time_rounds({"ours": encode_ours, "public": encode_public}, seconds)
    ours, public = ([round_ / len(chosen) for round_ in taken[name]] for name in ("ours", "public"))
    return [compare("submission / public", ours, public, unit="ms", scale=1000, aim=1.0)]
