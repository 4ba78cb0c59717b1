"""A sheet of images with the contours of their masks, to look at."""

from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unets.config import DatasetConfig
from unets.data.drawing import COLORS_RGB, choose_tile, draw_contours, fit_tile, make_sheet, make_tile
from unets.data.io import write_image
from unets.data.samples import Sample, read_full_size, read_image, read_mask
from unets.dataset.importers.draws import draw_rows
from unets.dataset.manifest import Manifest, read_manifest
from unets.dataset.rle_csv import read_rows
from unets.errors import InputError
from unets.store.paths import Project

TILE_WIDTH = 480  # pixels of an image in the sheet
COLUMNS = 4
Mask = npt.NDArray[np.uint8]  # (height, width) class index; (height, width, classes) of 0 and 1 where classes overlap


def draw_ground_truth(out: Path, manifest: Manifest, count: int) -> int:
    """Draws training images with the contours of their masks, as training sees both; returns how many.

    At most `count` are drawn, spread evenly over all. Raises InputError where the name of `out` is no picture's.
    """
    return _draw_sheet(out, manifest.train, read_mask, manifest.dataset, count)


def draw_submission(out: Path, submission_path: Path, project: Project, dataset: DatasetConfig, count: int) -> int:
    """Draws test images with the contours of a submission, csv or csv.gz, as `draw_ground_truth` does.

    Raises InputError where it has no row of any of them.
    """
    rows = read_rows(submission_path, dataset)
    samples = [sample for sample in read_manifest(project, dataset).test if sample.id in rows]
    if not samples:
        raise InputError(f"{submission_path} must have masks of test images. Received: none")

    def find_mask(sample: Sample) -> Mask:
        return draw_rows(rows[sample.id], read_full_size(sample, dataset), dataset, sample.id)

    return _draw_sheet(out, samples, find_mask, dataset, count)


def name_colors(classes: Sequence[str]) -> str:
    """Says which class has which color in a sheet, after a colon; nothing where there is one class."""
    named = [" ".join(pair) for pair in zip(classes, cycle(COLORS_RGB), strict=False)]
    return f": {', '.join(named)}" if len(named) > 1 else ""


def _draw_sheet(
    out: Path, samples: Sequence[Sample], find_mask: Callable[[Sample], Mask], dataset: DatasetConfig, count: int
) -> int:
    picks = np.linspace(0, len(samples) - 1, min(count, len(samples))).round().astype(int)
    sizes_hw = [read_full_size(samples[index], dataset) for index in picks]
    tile_hw, tiles = choose_tile(sizes_hw, TILE_WIDTH), []
    for sample, size_hw in zip((samples[index] for index in picks), sizes_hw, strict=True):
        drawn, mask = read_image(sample, fit_tile(size_hw, tile_hw)), find_mask(sample)
        # Where classes overlap, each layer in its own color.
        layers = [mask] if mask.ndim == 2 else np.moveaxis(mask, -1, 0)
        for number, layer_hw in enumerate(layers, start=1):
            drawn = draw_contours(drawn, layer_hw if mask.ndim == 2 else (layer_hw == 1) * np.uint8(number))
        tiles.append(make_tile(drawn, tile_hw, sample.id))
    write_image(out, make_sheet(tiles, columns=COLUMNS, tile_hw=tiles[0].shape[:2]))
    return len(picks)
