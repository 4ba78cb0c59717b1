"""A sheet of images with the contours of their masks, to look at."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from unets.config import DatasetConfig
from unets.data.drawing import draw_contours, make_sheet
from unets.data.io import read_size, write_image
from unets.data.samples import Sample, read_csv_mask, read_photo
from unets.dataset.catalog import load_catalog, read_rle_csv

TILE_WIDTH = 480  # pixels of an image in the sheet
COLUMNS = 4


def draw_submission(out: Path, submission_path: Path, dataset: DatasetConfig, input_dir: Path, count: int) -> int:
    """Draws test images, spread evenly over all, with a submission's contours; returns how many.

    Args:
        out: the picture that is written.
        submission_path: csv or csv.gz.
        dataset: the competition's.
        input_dir: its files.
        count: how many images at most.
    """
    rles = read_rle_csv(submission_path, dataset)
    chosen = _pick_evenly(load_catalog(dataset, input_dir).test, count)
    height, width = read_size(chosen[0].photo_path)
    tile_hw = (round(height * TILE_WIDTH / width), TILE_WIDTH)
    tiles = [
        draw_contours(read_photo(sample, tile_hw), read_csv_mask(replace(sample, mask_rles=rles[sample.id]), dataset))
        for sample in chosen
    ]
    write_image(out, make_sheet(tiles, columns=COLUMNS, tile_hw=tile_hw))
    return len(chosen)


def _pick_evenly(samples: Sequence[Sample], count: int) -> list[Sample]:
    return [samples[k] for k in np.linspace(0, len(samples) - 1, min(count, len(samples))).round().astype(int)]
