"""Predictors from files of weights, for whole images or by overlapping tiles, where these do not fit into memory."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from unets.config import DatasetConfig, ExperimentConfig, PredictionConfig
from unets.data.geometry import SizeHW
from unets.data.image import ImageU8
from unets.errors import DECODER_FAULTS, InputError, naming
from unets.nets.backend import choose_precision, fix_order, has_gpu
from unets.nets.cost import measure_cost
from unets.nets.predictor import Predictor
from unets.nets.unet import build_unet, count_least_weights
from unets.nets.weights import set_weights
from unets.prediction.sources import StoredWeights
from unets.workers.machine import find_free_memory

Corner = tuple[int, int]


def load_predictor(
    weights: Sequence[Path | StoredWeights], experiment: ExperimentConfig, size_hw: SizeHW, dataset: DatasetConfig
) -> Predictor:
    """Builds the nets of one experiment's folds, for images or tiles of a size, and loads their weights.

    Raises InputError where weights are missing, damaged, or of another net, or memory does not hold a batch.
    """
    precision, prediction = choose_precision(experiment.training.precision), experiment.prediction
    if experiment.training.deterministic:
        fix_order()
    sizes = [(round(scale * size_hw[0]), round(scale * size_hw[1])) for scale in prediction.scales]
    nets, *scaled = [
        [load_net(source, experiment, one_hw, dataset, precision) for source in weights] for one_hw in sizes
    ]
    num_images = prediction.batch_size * len(prediction.tta)
    largest = max(measure_cost(of_size[0]).prediction_bytes for of_size in (nets, *scaled))
    needed, free = num_images * largest, find_free_memory()
    if not has_gpu() and needed > free:
        height, width = max(sizes)
        raise InputError(
            f"memory must hold {num_images} images and flips of {height} x {width} at a time: about "
            f"{needed / 2**30:.1f} GiB. Received: {free / 2**30:.1f} GiB free. A smaller `prediction.batch_size`, or "
            f"`prediction.tile_hw`, takes less"
        )
    return Predictor(nets, prediction.tta, prediction.batch_size, overlapping=dataset.overlapping, scaled=scaled)


def load_net(
    weights: Path | StoredWeights, experiment: ExperimentConfig, size_hw: SizeHW, dataset: DatasetConfig, precision: str
) -> keras.Model:
    """Builds the net of one fold under a dtype policy and loads its weights; see `load_predictor`."""
    with naming(weights if isinstance(weights, Path) else weights.file.path, "be readable"):
        if isinstance(weights, Path):
            name, where, held = weights.parent.name, str(weights), weights.stat().st_size // 4
        else:
            name, where, held = (
                weights.name.rpartition("/")[-1],
                f"{weights.file.path}, {weights.name},",
                weights.count(),
            )
    # A card may ask for any net: none is built that is larger than the weights that came with it.
    if (least := count_least_weights(experiment.model)) > held:
        raise InputError(f"{where} must hold weights of this net, at least {least:,} numbers. Received: {held:,}")
    # A model of nets for several sizes wants a name for each.
    net = build_unet(experiment.model, size_hw, dataset, precision, f"{name}_{size_hw[0]}x{size_hw[1]}")
    with naming(where, "hold weights of this net", damage=DECODER_FAULTS):
        if isinstance(weights, Path):
            net.load_weights(weights)
        else:
            set_weights(net, weights.read())
    return net


def predict_batch(
    predictor: Predictor, images_nhwc: ImageU8, prediction: PredictionConfig
) -> list[tuple[ImageU8, ImageU8]]:
    """Predicts at most a batch of images, uint8 RGB (images, height, width, 3), whole or tile by tile.

    Returns (mean map, map without TTA) of each, uint8 (height, width, classes), 0..255.
    """
    if prediction.tile_hw is None:
        return list(zip(*predictor(images_nhwc), strict=True))
    predict = partial(_predict_tiles, predictor, prediction.tile_hw, prediction.tile_overlap_px)
    return list(map(predict, images_nhwc))


def _predict_tiles(
    predictor: Predictor, tile_hw: SizeHW, overlap_px: int, image_hwc: ImageU8
) -> tuple[ImageU8, ImageU8]:
    size_hw = (image_hwc.shape[0], image_hwc.shape[1])
    corners, step = plan_tiles(size_hw, tile_hw, overlap_px), predictor.batch_size
    tiles = cut_tiles(image_hwc, corners, tile_hw)
    batches = [predictor(tiles[start : start + step]) for start in range(0, len(tiles), step)]
    mean, first = (join_tiles(np.concatenate(k), corners, size_hw, overlap_px) for k in zip(*batches, strict=True))
    return mean, first


def plan_tiles(size_hw: SizeHW, tile_hw: SizeHW, overlap_px: int) -> list[Corner]:
    """Places tiles, none larger than the image, so that they cover it, neighbors overlapping by `overlap_px` or more.

    The tiles are spread evenly, the first and last flush with the border, so that none needs padding. Returns (top,
    left) of each, row by row.
    """
    tops, lefts = (_spread(side, tile_side, overlap_px) for side, tile_side in zip(size_hw, tile_hw, strict=True))
    return [(top, left) for top in tops for left in lefts]


def cut_tiles(image_hwc: ImageU8, corners: list[Corner], tile_hw: SizeHW) -> ImageU8:
    """Cuts tiles out of an image; uint8 (tiles, tile height, tile width, channels)."""
    return np.stack([image_hwc[top : top + tile_hw[0], left : left + tile_hw[1]] for top, left in corners])


def join_tiles(tiles_u8: ImageU8, corners: list[Corner], size_hw: SizeHW, overlap_px: int) -> ImageU8:
    """Blends the maps of tiles into one map.

    Where tiles overlap, each counts by its distance to its own border, up to `overlap_px`: a net knows least about what
    lies at the border of what it sees. Tiles are uint8 (tiles, tile height, tile width, classes), the map is uint8
    (height, width, classes).
    """
    _, height, width, classes = tiles_u8.shape
    weight_hw1 = np.minimum.outer(_ramp(height, overlap_px), _ramp(width, overlap_px))[..., None]
    total = np.zeros((*size_hw, classes), dtype=np.float32)
    weights = np.zeros((*size_hw, 1), dtype=np.float32)
    for tile_u8, (top, left) in zip(tiles_u8, corners, strict=True):
        total[top : top + height, left : left + width] += weight_hw1 * tile_u8
        weights[top : top + height, left : left + width] += weight_hw1
    return np.asarray(np.rint(total / weights), dtype=np.uint8)


def _spread(side: int, tile_side: int, overlap_px: int) -> list[int]:
    gaps = -(-(side - tile_side) // (tile_side - overlap_px))
    return [round(index * (side - tile_side) / max(gaps, 1)) for index in range(gaps + 1)]


def _ramp(side: int, overlap_px: int) -> npt.NDArray[np.float32]:
    """1, 2, ... up to overlap_px + 1 from either end."""
    from_start = np.arange(1, side + 1)
    return np.minimum(np.minimum(from_start, from_start[::-1]), overlap_px + 1).astype(np.float32)
