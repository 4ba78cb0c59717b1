"""Prediction end to end: against reading alone and the net alone."""

import tempfile
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from unittest.mock import patch

import numpy as np
from measure import Row, compare, time_rounds
from reading import pick_evenly

from unets.catalog import Catalog
from unets.config import DatasetConfig, ExperimentConfig
from unets.data.io import read_image
from unets.data.samples import Sample
from unets.folds import hash_folds
from unets.inference import predict
from unets.inference.maps import encode_map
from unets.nets.backend import choose_precision
from unets.nets.unet import build_unet
from unets.parallel import count_cores, map_ahead
from unets.paths import Project
from unets.runs import write_json
from unets.snapshot import take_snapshot

_NUM_PHOTOS = 48
_NAME = "random_weights"


def measure_prediction(
    samples: Sequence[Sample], dataset: DatasetConfig, experiment: ExperimentConfig, seconds: float
) -> list[Row]:
    """Compares seconds for 48 test photos, from files to shards, with the net alone and with reading alone.

    Building and tracing the net, which happens once whatever the number of photos, is left out. Where reading and the
    net have processors of their own, the whole should take as long as the slower of the two; on one CPU they share the
    cores, and the whole is also held against the sum of all three, compressing the maps included.
    """
    chosen = pick_evenly(samples, _NUM_PHOTOS)
    size_hw, batch_size = experiment.data.size_hw, experiment.prediction.batch_size
    with tempfile.TemporaryDirectory() as folder:
        project = _lay_out(Path(folder), dataset, experiment)
        weights_paths = [project.run_dir(_NAME, 0) / "best.weights.h5"]
        predictor = predict.load_predictor(weights_paths, experiment, size_hw, len(dataset.classes))
        catalog = Catalog(dataset=dataset, train=(), test=tuple(chosen))
        photos = np.stack([read_image(sample.photo_path, size_hw) for sample in chosen])

        def run_all(_: int) -> None:
            with patch.object(predict, "load_predictor", return_value=predictor):
                predict.predict_experiment(project, catalog, _NAME, experiment, folds={}, use_folds=(0,), anew=True)

        def run_reading(_: int) -> None:
            cores = count_cores()
            read = map_ahead(
                lambda sample: read_image(sample.photo_path, size_hw), chosen, workers=cores, ahead=2 * cores
            )
            for _photo in read:
                pass

        def run_net(_: int) -> None:
            for start in range(0, len(photos), batch_size):
                predictor(photos[start : start + batch_size])

        maps = [layers for pair in zip(*predictor(photos[:batch_size]), strict=True) for layers in pair]

        def run_compressing(_: int) -> None:
            cores = count_cores()
            for _map in map_ahead(encode_map, islice(cycle(maps), 2 * len(photos)), workers=cores, ahead=2 * cores):
                pass

        ways = {"all": run_all, "reading": run_reading, "net": run_net, "compressing": run_compressing}
        rounds = time_rounds(ways, seconds)
    slower = [max(pair) for pair in zip(rounds["reading"], rounds["net"], strict=True)]
    total = [sum(parts) for parts in zip(rounds["reading"], rounds["net"], rounds["compressing"], strict=True)]
    scale = 1000 / len(chosen)
    return [
        compare(
            "prediction / slower of reading, net", rounds["all"], slower, unit="ms/photo", scale=scale, aim=1 / 1.1
        ),
        compare("prediction / reading + net + PNGs", rounds["all"], total, unit="ms/photo", scale=scale),
        compare("prediction / net alone", rounds["all"], rounds["net"], unit="ms/photo", scale=scale),
        compare("prediction / reading alone", rounds["all"], rounds["reading"], unit="ms/photo", scale=scale),
    ]


def _lay_out(folder: Path, dataset: DatasetConfig, experiment: ExperimentConfig) -> Project:
    """Writes the run folder of a trained net, of random weights."""
    project = Project(
        competition="bench",
        input_dir=folder,
        models_dir=folder,
        configs_dir=folder,
        submissions_dir=folder,
        results_dir=folder,
    )
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
    project.folds_path.write_text("id,group,fold\n")
    write_json(run_dir / "metrics.json", {"is_finished": True})
    snapshot = take_snapshot(experiment, dataset, 0, hash_folds(project.folds_path))
    write_json(run_dir / "config.json", snapshot)
    return project
