"""Tiny competitions: one with maps made from its true masks, so that no net is needed, and one that nets predicted."""

import math
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from tests.submissions import read_submission, write_submission
from unets.config import (
    Config,
    DataConfig,
    DatasetConfig,
    EnsembleConfig,
    ExperimentConfig,
    ModelConfig,
    Postprocessing,
    PredictionConfig,
    TrainingConfig,
    load_dataset,
)
from unets.data.geometry import cover
from unets.data.rle import decode_rle
from unets.data.samples import read_full_size, read_mask
from unets.dataset.folds import read_folds, write_folds
from unets.dataset.manifest import read_manifest
from unets.ensemble.ensemble import Ensemble, Member
from unets.ensemble.recipe import Recipe, average_maps
from unets.metrics.intervals import Interval
from unets.metrics.masks import dice
from unets.prediction.maps import encode_map, join_nets, open_maps, write_shard
from unets.store.paths import Project
from unets.store.run_folder import take_snapshot, write_snapshot
from unets.store.runs import hash_file, write_json
from unets.workers.pool import in_chunks

NETS = {"0": "0123456789abcdef"}  # that made the maps
FINGERPRINT = join_nets(NETS)
# Options of a competition whose every pixel is of a class: a map is not cut, the most probable class is taken.
NO_BACKGROUND: dict[str, Any] = {
    "classes": ("ground", "car"),
    "source": {"values": (0, 2), "background": ()},
    "has_background": False,
    "mask_format": "png",
    "with_csv": False,
}
# Of nets that are planted, and of runs whose weights nobody reads.
TINY = ExperimentConfig(
    data=DataConfig(size_hw=(32, 48)),
    model=ModelConfig(depth=1, base_filters=2, normalization="none"),
    training=TrainingConfig(precision="float32"),
    prediction=PredictionConfig(batch_size=4, shard_size=5, tile_overlap_px=8),
)
# Trained in seconds, to find ellipses.
SMALL = ExperimentConfig(
    data=DataConfig(size_hw=(32, 48), batch_size=2),
    model=ModelConfig(depth=1, base_filters=4, dropout=0.1),
    training=TrainingConfig(epochs=8, learning_rate=3e-2, precision="float32"),
    prediction=PredictionConfig(batch_size=2, shard_size=4),
)
# Of the competition that nets have predicted.
EXPERIMENTS = {
    "unet_a": ExperimentConfig(
        data=DataConfig(size_hw=(37, 50)),
        model=ModelConfig(depth=2, base_filters=4, stride=2, dropout=0.1),
        training=TrainingConfig(precision="float32"),
        prediction=PredictionConfig(batch_size=3, shard_size=6),
    ),
    "unet_b": ExperimentConfig(
        data=DataConfig(size_hw=(48, 48)),
        model=ModelConfig(depth=2, base_filters=4, normalization="group", upsampling="nearest", block="residual"),
        training=TrainingConfig(precision="float32"),
        prediction=PredictionConfig(batch_size=3, shard_size=6, tta=("identity", "hflip", "vflip")),
    ),
}
# What a run reached, as metrics.json has it.
METRICS: dict[str, Any] = {
    **{"is_finished": True, "epochs": 50, "best_dice": 0.98765, "best_epoch": 41, "seconds": 5400.0},
    **{"images": 1000, "starts": 1, "devices": ["a CPU, 2 cores"], "commits": ["012345678"]},
}


def write_config(project: Project, name: str, config: Config) -> None:
    """Writes the file of a config: of the dataset, an experiment, or an ensemble."""
    variable = {DatasetConfig: "DATASET", EnsembleConfig: "ENSEMBLE"}.get(type(config), "EXPERIMENT")
    project.configs_dir.mkdir(parents=True, exist_ok=True)
    (project.configs_dir / f"{name}.py").write_text(f"from unets.config import *\n\n{variable} = {config!r}\n")


def write_metrics(run_dir: Path, **changes: Any) -> None:
    """Writes metrics.json of a run whose weights are there, if they are."""
    weights_path = run_dir / "net.weights.h5"
    hashes = {"weights_sha256": hash_file(weights_path)} if weights_path.exists() else {}
    write_json(run_dir / "metrics.json", METRICS | hashes | changes)


def write_run(
    project: Project,
    name: str,
    fold: int,
    experiment: ExperimentConfig | None = None,
    dataset: DatasetConfig | None = None,
    *,
    weights: Any = b"weights",
    **metrics: Any,
) -> Path:
    """Writes the folder of a run on the present folds: config, weights (bytes, or a net's), and what it reached."""
    run_dir, folds_path = project.run_dir(name, fold), project.folds_path
    run_dir.mkdir(parents=True, exist_ok=True)
    folds_hash = hash_file(folds_path) if folds_path.exists() else "folds"
    snapshot = take_snapshot(experiment or ExperimentConfig(), dataset or DatasetConfig(), fold, folds_hash)
    write_snapshot(run_dir, snapshot)
    path = run_dir / "net.weights.h5"
    path.write_bytes(weights) if isinstance(weights, bytes) else weights.save_weights(path)
    write_metrics(run_dir, **metrics)
    return run_dir


def build_constant_net(experiment: ExperimentConfig, prob: float) -> Any:
    """Builds a net that says `prob` everywhere."""
    from unets.nets.unet import LOGIT_SCALE, build_unet

    net = build_unet(experiment.model, experiment.data.size_hw)
    for variable in net.variables:
        variable.assign(np.zeros(variable.shape))
    net.get_layer("classify").bias.assign([math.log(prob / (1 - prob)) / LOGIT_SCALE])
    return net


@pytest.fixture(scope="session")
def predicted(tmp_path_factory: pytest.TempPathFactory, write_competition: Callable[..., Project]) -> Project:
    """Two experiments of two folds, predicted, an ensemble of them with all kinds of steps, and the submission `ours`.

    Nets have random weights, moving statistics included. Tests may add files, and change none.
    """
    import keras

    from unets.ensemble.fit import fit_ensemble
    from unets.nets.unet import build_unet
    from unets.prediction.pipeline import predict_experiments

    config = EnsembleConfig(
        experiments=tuple(EXPERIMENTS),
        weights=(0.7, 0.3),
        threshold=0.46,
        postprocessing=Postprocessing(blur_px=1.5, max_hole_px=20, max_components=3, min_area_px=5),
    )
    root, configs = tmp_path_factory.mktemp("predicted"), EXPERIMENTS | {"ensemble": config}
    project = write_competition(root, configs=configs, num_groups=4, kaggle="tiny-masks")
    dataset = load_dataset(project.configs_dir)
    manifest = read_manifest(project, dataset)
    fold_of = write_folds(project, manifest)
    for name, experiment in EXPERIMENTS.items():
        for fold in (0, 1):
            keras.utils.set_random_seed(fold + 10 * len(name))
            net, rng = build_unet(experiment.model, experiment.data.size_hw), np.random.default_rng(fold)
            for variable in net.weights:
                if "moving_variance" in variable.path:
                    variable.assign(rng.uniform(0.5, 2, variable.shape))
                elif "moving_mean" in variable.path or "beta" in variable.path:
                    variable.assign(rng.normal(0, 0.3, variable.shape))
            run_dir = write_run(project, name, fold, experiment, dataset, weights=net, best_dice=0.5)
            (run_dir / "last").mkdir()  # what only a training that goes on needs
        predict_experiments(project, manifest, {name: experiment}, fold_of=fold_of, folds={name: (0, 1)})
    fit_ensemble(project, dataset, config)
    write_submission(project, dataset, "ours")
    return project


@pytest.fixture
def make_scene(make_competition: Callable[..., Project]) -> Callable[..., tuple[Project, DatasetConfig]]:
    """A competition with folds and, for each experiment, out-of-fold and test maps."""

    def make(*, experiments: Iterable[str] = ("a",), **options: Any) -> tuple[Project, DatasetConfig]:
        project = make_competition(**options)
        dataset = load_dataset(project.configs_dir)
        write_folds(project, read_manifest(project, dataset))
        for seed, experiment in enumerate(experiments):
            write_maps(project, dataset, experiment, seed=seed)
        return project, dataset

    return make


def write_maps(
    project: Project,
    dataset: DatasetConfig,
    experiment: str,
    *,
    seed: int = 0,
    net: str = NETS["0"],
    size_hw: tuple[int, int] = (32, 48),
    kinds: Iterable[str] = ("oof", "oof_no_tta", "test"),
    shard_size: int = 5,
    shift: float | Callable[[str], float] = 0.0,
    noise: float = 30.0,
    speck: bool = False,
    folds: Iterable[int] | None = None,
) -> None:
    """Writes maps: the mask's soft target, blurred, with noise of `noise` levels, twice as strong without TTA.

    `net` is the fingerprint of what made them; `shift` adds levels everywhere, to all or by id; `speck` spoils a few
    pixels in the lower left corner; out-of-fold maps are of `folds`. Maps that the experiment has are replaced.
    """
    manifest = read_manifest(project, dataset)
    fold_of = read_folds(project.folds_path, manifest)
    get_shift = shift if callable(shift) else lambda _: shift
    true_test = read_submission(project.input_dir / "truth" / "test_masks.csv", dataset)

    def blur(id_: str, mask_hw: npt.NDArray[np.uint8], strength: float) -> npt.NDArray[np.uint8]:
        rng, layers = np.random.default_rng([seed, *id_.encode()]), []
        for layer in np.moveaxis(cover(mask_hw, len(dataset.classes), size_hw), -1, 0):
            blurred = cv2.GaussianBlur(layer.astype(np.float32), (0, 0), 1.0)
            layers.append(blurred + get_shift(id_) + rng.normal(0, strength, size_hw))
            if speck:
                layers[-1][-4:, :4] = 255
        return np.clip(np.stack(layers, axis=-1), 0, 255).astype(np.uint8)

    for kind in kinds:
        shutil.rmtree(project.maps_dir(experiment, kind), ignore_errors=True)
        samples = manifest.test if kind == "test" else manifest.train
        if kind != "test" and folds is not None:
            samples = tuple(sample for sample in samples if fold_of[sample.id] in folds)
        masks: dict[str, npt.NDArray[np.uint8]] = {}
        for sample in samples:
            if kind != "test":
                masks[sample.id] = read_mask(sample)
                continue
            full_hw = read_full_size(sample, dataset)
            masks[sample.id] = np.zeros(full_hw, dtype=np.uint8)
            for index, rle in enumerate(true_test[sample.id], start=1):
                masks[sample.id][decode_rle(rle, full_hw, dataset.submission.order) > 0] = index
        strength = 2 * noise if kind == "oof_no_tta" else noise
        for index, ids in enumerate(in_chunks(list(masks), shard_size)):
            write_shard(
                project.maps_dir(experiment, kind),
                index,
                nets={"0": net},
                classes=dataset.classes,
                maps=((id_, encode_map(blur(id_, masks[id_], strength))) for id_ in ids),
            )


def rewrite_maps(folder: Path, change: Callable[[str, Any], Any] = lambda id_, map_u8: map_u8, **fields: Any) -> None:
    """Writes the maps of a folder again, in one shard, each as `change(id, map)` has it; `fields` of `write_shard`."""
    reader = open_maps(folder)
    maps = [(id_, encode_map(change(id_, reader.read_map(id_)))) for id_ in reader.ids]
    shutil.rmtree(folder)
    write_shard(folder, 0, nets=reader.nets, classes=reader.classes, maps=maps, **fields)


def score_by_hand(truth_hw: npt.NDArray[np.uint8], mask_hw: npt.NDArray[np.uint8], num_classes: int = 1) -> float:
    """Mean Dice over the classes of one image; 255 in the truth is left out."""
    mask_hw = np.where(truth_hw == 255, 0, mask_hw)
    return float(np.mean([dice(truth_hw == index, mask_hw == index) for index in range(1, num_classes + 1)]))


def flip_bit(path: Path, position: int) -> None:
    """Damages one bit of a file."""
    content = bytearray(path.read_bytes())
    content[position] ^= 0x10
    path.write_bytes(content)


def blend(maps: Sequence[Any], weights: Sequence[float], full_hw: tuple[int, int]) -> Any:
    """Averages maps of one image, as `average_maps` does by a recipe of these weights."""
    return average_maps(Recipe(weights=tuple(weights)), maps, full_hw)


def build_ensemble(weights: dict[str, float], **fields: Any) -> Ensemble:
    """Returns what an ensemble of these members' weights might have reached; `fields` change what it says."""
    nothing = Interval(mean=0.0, low=-0.0001, high=0.0001)
    about: dict[str, Any] = {"fingerprint": join_nets({"0": "0"}), "score": nothing, "score_no_tta": None, "gain": None}
    members = tuple(Member(experiment=name, weight=weight, **about) for name, weight in weights.items())
    start = Recipe(weights=(1 / len(weights),) * len(weights))
    said: dict[str, Any] = {
        "competition": "tiny",
        "name": "ensemble",
        "config": EnsembleConfig(experiments=tuple(weights)),
        "members": members,
        **start.model_dump(exclude={"weights"}),
        "metric": "dice",
        "ground_truth": {},
        "folds": (0,),
        "folds_sha256": "",
        "num_images": 8,
        "num_groups": 4,
        "num_parts": 2,
        "score": nothing,
        "gain_over_start": nothing,
        "best_member": next(iter(weights)),
        "gain_over_best_member": nothing,
        "gain_of_tta": None,
        "candidates": (),
        "start": start,
        "recipes_by_part": (),
    }
    return Ensemble(**said | fields)
