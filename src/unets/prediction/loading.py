"""Predictors from files of weights, for whole images or tile by tile."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from unets.config import ExperimentConfig, PredictionConfig
from unets.data.geometry import SizeHW
from unets.errors import DECODER_FAULTS, naming
from unets.nets.backend import choose_precision, fix_order
from unets.nets.predictor import Predictor
from unets.nets.unet import build_unet
from unets.nets.weights import set_weights
from unets.prediction.sources import StoredWeights
from unets.prediction.tiles import cut_tiles, join_tiles, plan_tiles

ImageU8 = npt.NDArray[np.uint8]


def load_predictor(
    weights: Sequence[Path | StoredWeights],
    experiment: ExperimentConfig,
    size_hw: SizeHW,
    num_classes: int,
    *,
    overlapping: bool = False,
    num_channels: int = 3,
) -> Predictor:
    """Builds the nets of one experiment's folds, for images or tiles of a size, and loads their weights.

    Raises:
        InputError: weights are missing, damaged, or of another net.
    """
    precision = choose_precision(experiment.training.precision)
    if experiment.training.deterministic:
        fix_order()
    load = partial(load_net, overlapping=overlapping, num_channels=num_channels)
    nets = [load(source, experiment, size_hw, num_classes, precision) for source in weights]
    return Predictor(nets, experiment.prediction.tta, experiment.prediction.batch_size, overlapping=overlapping)


def load_net(
    weights: Path | StoredWeights,
    experiment: ExperimentConfig,
    size_hw: SizeHW,
    num_classes: int,
    precision: str,
    *,
    overlapping: bool = False,
    num_channels: int = 3,
) -> keras.Model:
    """Builds the net of one fold under a dtype policy and loads its weights; see `load_predictor`."""
    if isinstance(weights, Path):
        name, where = weights.parent.name, str(weights)
    else:
        name, where = weights.name.rpartition("/")[-1], f"{weights.file.path}, {weights.name},"
    net = build_unet(
        *(experiment.model, size_hw, num_classes, precision),
        name=name,
        overlapping=overlapping,
        num_channels=num_channels,
    )
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
    return [
        _predict_tiles(predictor, image_hwc, prediction.tile_hw, prediction.tile_overlap_px)
        for image_hwc in images_nhwc
    ]


def _predict_tiles(
    predictor: Predictor, image_hwc: ImageU8, tile_hw: SizeHW, overlap_px: int
) -> tuple[ImageU8, ImageU8]:
    """Predicts one image tile by tile."""
    size_hw = (image_hwc.shape[0], image_hwc.shape[1])
    corners = plan_tiles(size_hw, tile_hw, overlap_px)
    tiles = cut_tiles(image_hwc, corners, tile_hw)
    step = predictor.batch_size
    batches = [predictor(tiles[start : start + step]) for start in range(0, len(tiles), step)]
    mean, first = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    return join_tiles(mean, corners, size_hw, overlap_px), join_tiles(first, corners, size_hw, overlap_px)
