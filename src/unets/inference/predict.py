"""Maps of every photo: out-of-fold for training photos, the mean over folds for test photos.

Photos stream: threads read and shrink ahead, the net works in a thread, others compress its maps, one writes shards
behind. Memory does not grow with the number of photos.
"""

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from unets.catalog import Catalog
from unets.cluster import find_cluster
from unets.config import ExperimentConfig, PredictionConfig
from unets.data.geometry import SizeHW
from unets.data.io import read_image
from unets.data.samples import Sample
from unets.errors import InputError
from unets.folds import hash_folds
from unets.inference.maps import EncodedMap, encode_map, find_missing_shards, shard_path, split_shards, write_shard
from unets.inference.sources import StoredWeights, find_weights, fingerprint_maps
from unets.inference.tiles import cut_tiles, join_tiles, plan_tiles
from unets.inference.views import VIEWS
from unets.log import show_progress
from unets.nets.backend import choose_precision, fix_order
from unets.nets.predictor import Predictor
from unets.nets.unet import build_unet
from unets.nets.weights import set_weights
from unets.parallel import count_cores, map_ahead, run_tasks
from unets.paths import Project
from unets.runs import hold
from unets.snapshot import take_snapshot

logger = logging.getLogger(__name__)

_RUNS = 4  # of shards, a GPU of a cluster

ImageU8 = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Shard:
    """A planned shard: its number and the photos in it."""

    index: int
    samples: tuple[Sample, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Store:
    """Where maps of one kind go: the mean over all views and, for out-of-fold maps, the first view alone."""

    folder: Path
    first_view_folder: Path | None
    fingerprint: str
    classes: tuple[str, ...]
    start_anew: str


def predict_experiment(
    project: Project,
    catalog: Catalog,
    name: str,
    experiment: ExperimentConfig,
    *,
    folds: Mapping[str, int],
    use_folds: Sequence[int],
    anew: bool = False,
) -> None:
    """Predicts every training photo by the fold that did not see it, and every test photo by the mean of the folds.

    Shards that are there, whole and of the same origin are kept; damaged ones are made again.

    Args:
        project: the folders.
        catalog: the photos.
        name: of the experiment.
        experiment: its config.
        folds: fold of each training id.
        use_folds: folds whose nets predict; out-of-fold maps are made of their photos only.
        anew: delete what is there first.

    Raises:
        InputError: a fold is not trained to its end, with this config and on these folds; a photo cannot be read; there
            are maps of another origin.
    """
    maps_dir = project.maps_dir(name, "test").parent
    with hold(maps_dir):
        folds_hash = hash_folds(project.folds_path)
        classes = catalog.dataset.classes
        weights_paths = {
            fold: find_weights(
                project.run_dir(name, fold), take_snapshot(experiment, catalog.dataset, fold, folds_hash)
            )
            for fold in use_folds
        }
        if anew:
            for kind in ("oof", "oof_first_view", "test"):
                shutil.rmtree(project.maps_dir(name, kind), ignore_errors=True)
        origin = fingerprint_maps(experiment, classes, weights_paths)
        several_views = len(experiment.prediction.views) > 1
        store = partial(
            Store,
            fingerprint=origin,
            classes=classes,
            start_anew=f"`make predict EXP={name} FOLD={','.join(map(str, use_folds))} ANEW=1`",
        )
        shard_size = experiment.prediction.shard_size
        oof_shards = {fold: [s for s in catalog.train if folds[s.id] == fold] for fold in use_folds}
        oof = store(
            folder=project.maps_dir(name, "oof"),
            first_view_folder=project.maps_dir(name, "oof_first_view") if several_views else None,
        )
        plan = [samples for fold in use_folds for samples in split_shards(oof_shards[fold], shard_size)]
        for fold in use_folds:
            _predict_store(
                [_Shard(index=i, samples=s) for i, s in enumerate(plan) if folds[s[0].id] == fold],
                plan,
                oof,
                {fold: weights_paths[fold]},
                experiment,
                what=f"{name} fold {fold} out-of-fold",
            )
        test = store(folder=project.maps_dir(name, "test"), first_view_folder=None)
        predict_samples(catalog.test, test, weights_paths, experiment, what=f"{name} test")


def load_predictor(
    weights: Sequence[Path | StoredWeights], experiment: ExperimentConfig, size_hw: SizeHW, num_classes: int
) -> Predictor:
    """Builds the nets of one experiment's folds and loads their weights.

    Args:
        weights: `best.weights.h5` of each fold, or what a model file holds of it.
        experiment: net, precision, views and batch size.
        size_hw: (height, width) of the photos, or of the tiles.
        num_classes: number of foreground classes.

    Raises:
        InputError: weights are missing, damaged, or of another net.
    """
    precision = choose_precision(experiment.training.precision)
    if experiment.training.deterministic:
        fix_order()
    nets = [load_net(source, experiment, size_hw, num_classes, precision) for source in weights]
    views = [VIEWS[view] for view in experiment.prediction.views]
    return Predictor(nets, views, experiment.prediction.batch_size)


def load_net(
    weights: Path | StoredWeights, experiment: ExperimentConfig, size_hw: SizeHW, num_classes: int, precision: str
) -> keras.Model:
    """Builds the net of one fold under a dtype policy and loads its weights; see `load_predictor`."""
    name, where = (
        (weights.parent.name, str(weights))
        if isinstance(weights, Path)
        else (weights.name.rpartition("/")[-1], f"{weights.file.path}, {weights.name},")
    )
    net = build_unet(experiment.model, size_hw, num_classes, precision, name=name)
    try:
        if isinstance(weights, Path):
            net.load_weights(weights)
        else:
            set_weights(net, weights.read())
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{where} must hold weights of this net. Received: {error}") from error
    return net


def predict_batch(
    predictor: Predictor, images_nhwc: ImageU8, prediction: PredictionConfig
) -> list[tuple[ImageU8, ImageU8]]:
    """Predicts at most a batch of photos, whole or tile by tile.

    Args:
        predictor: for photos or tiles of the config's size.
        images_nhwc: uint8 RGB (photos, height, width, 3).
        prediction: says whether there are tiles.

    Returns:
        (mean map, first view's map) of each photo, uint8 (height, width, classes), 0..255.
    """
    if prediction.tile_hw is None:
        return list(zip(*predictor(images_nhwc), strict=True))
    return [
        _predict_tiles(predictor, image_hwc, prediction.tile_hw, prediction.tile_overlap_px)
        for image_hwc in images_nhwc
    ]


def predict_samples(
    samples: Sequence[Sample],
    store: Store,
    weights_paths: Mapping[int, Path],
    experiment: ExperimentConfig,
    *,
    what: str,
) -> None:
    """Predicts photos by the mean of some folds' nets; makes the shards of their store that are missing or damaged.

    Args:
        samples: all photos of the store.
        store: where the maps go.
        weights_paths: weights by fold.
        experiment: its config.
        what: the words before the progress bar.

    Raises:
        InputError: a photo or weights cannot be read, or the store holds maps of another origin.
    """
    plan = split_shards(samples, experiment.prediction.shard_size)
    shards = [_Shard(index=i, samples=s) for i, s in enumerate(plan)]
    _predict_store(shards, plan, store, weights_paths, experiment, what=what)


def _predict_store(
    shards: Sequence[_Shard],
    plan: Sequence[Sequence[Sample]],
    store: Store,
    weights_paths: Mapping[int, Path],
    experiment: ExperimentConfig,
    *,
    what: str,
) -> None:
    """Makes the shards that are missing; `plan` is every shard of the store, of which these are some."""
    missing = _find_missing(plan, store, experiment.data.size_hw)
    todo = [shard for shard in shards if shard.index in missing]
    if not todo:
        logger.info("%s: all maps are there", what)
        return
    for folder in (store.folder, store.first_view_folder):
        for shard in todo:  # damaged or of other ids: from here on, a shard that exists is right
            if folder is not None:
                shard_path(folder, shard.index).unlink(missing_ok=True)
    predict = partial(predict_shards, store, tuple(weights_paths.values()), experiment, what)
    cluster = find_cluster()
    if cluster is None:
        predict(todo)
        return
    # A run loads its nets once; some runs a GPU, so that a slow one, or one that is lost, is not waited for.
    runs = split_shards(todo, -(-len(todo) // (_RUNS * cluster.count_gpus())))
    for _ in run_tasks(predict, runs, what=what, unit="run", on_gpu=True):
        pass


def predict_shards(
    store: Store, weights_paths: Sequence[Path], experiment: ExperimentConfig, what: str, shards: Sequence[_Shard]
) -> None:
    """Makes a run of shards, those that are not there: reading, net and writing overlap from the first to the last."""
    # The main folder's is written last: it is there where another worker made it before it was lost.
    todo = [shard for shard in shards if not shard_path(store.folder, shard.index).exists()]
    if not todo:
        return
    num_photos = sum(len(shard.samples) for shard in todo)
    keras.utils.clear_session()  # nets of other folds
    size_hw, tile_hw = experiment.data.size_hw, experiment.prediction.tile_hw
    predictor = load_predictor(weights_paths, experiment, tile_hw or size_hw, len(store.classes))
    samples = [sample for shard in todo for sample in shard.samples]
    workers = count_cores()
    ahead = 2 * experiment.prediction.batch_size + workers
    images = map_ahead(lambda sample: read_image(sample.photo_path, size_hw), samples, workers=workers, ahead=ahead)
    shown = show_progress(images, what=what, total=num_photos, unit="photo")
    maps = _predict_images(predictor, todo, shown, experiment)
    num_kinds = 1 if store.first_view_folder is None else 2  # (mean, first view): the latter is kept out-of-fold only
    encoded = map_ahead(
        lambda pair: [encode_map(layers) for layers in pair[:num_kinds]], maps, workers=workers, ahead=ahead
    )
    finished = ((shard, list(islice(encoded, len(shard.samples)))) for shard in todo)
    for _ in map_ahead(lambda item: _write(store, *item), finished, workers=1, ahead=1):
        pass


def _find_missing(plan: Sequence[Sequence[Sample]], store: Store, size_hw: SizeHW) -> set[int]:
    """Returns the numbers of the shards that are missing from either folder."""
    missing: set[int] = set()
    for folder in (store.folder, store.first_view_folder):
        if folder is not None:
            missing |= set(
                find_missing_shards(
                    folder,
                    [[sample.id for sample in samples] for samples in plan],
                    fingerprint=store.fingerprint,
                    classes=store.classes,
                    size_hw=size_hw,
                    start_anew=store.start_anew,
                )
            )
    return missing


def _predict_images(
    predictor: Predictor, shards: Sequence[_Shard], images: Iterator[ImageU8], experiment: ExperimentConfig
) -> Iterator[tuple[ImageU8, ImageU8]]:
    """Yields (mean map, first view's map) of each photo; batches never cross shards, so that a shard made again after a
    kill has the same bytes.
    """
    prediction = experiment.prediction
    batch_size = prediction.batch_size

    def draw() -> Iterator[ImageU8]:
        for shard in shards:
            for start in range(0, len(shard.samples), batch_size):
                yield np.stack(list(islice(images, min(batch_size, len(shard.samples) - start))))

    # In a thread of its own: while the net works on a batch, the next is stacked and the last one's maps are handed on.
    predict = partial(predict_batch, predictor, prediction=prediction)
    for maps in map_ahead(predict, draw(), workers=1, ahead=1):
        yield from maps


def _predict_tiles(
    predictor: Predictor, image_hwc: ImageU8, tile_hw: SizeHW, overlap_px: int
) -> tuple[ImageU8, ImageU8]:
    """Predicts one photo tile by tile."""
    size_hw = (image_hwc.shape[0], image_hwc.shape[1])
    corners = plan_tiles(size_hw, tile_hw, overlap_px)
    tiles = cut_tiles(image_hwc, corners, tile_hw)
    step = predictor.batch_size
    batches = [predictor(tiles[start : start + step]) for start in range(0, len(tiles), step)]
    mean, first = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    return join_tiles(mean, corners, size_hw, overlap_px), join_tiles(first, corners, size_hw, overlap_px)


def _write(store: Store, shard: _Shard, pairs: Sequence[Sequence[EncodedMap]]) -> None:
    """Writes one shard. The first view goes before the mean: a store is whole when its main folder is."""
    ids = [sample.id for sample in shard.samples]
    for folder, position in ((store.first_view_folder, 1), (store.folder, 0)):
        if folder is not None:
            maps = zip(ids, (pair[position] for pair in pairs), strict=True)
            write_shard(folder, shard.index, fingerprint=store.fingerprint, classes=store.classes, maps=maps)
