"""A sheet of images with the contours of their masks, to look at."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unets.config import DatasetConfig
from unets.data.drawing import draw_contours, make_sheet
from unets.data.io import write_image
from unets.data.samples import Sample, read_full_size, read_image
from unets.dataset.manifest import read_manifest
from unets.dataset.rle_csv import decode_rles, read_submission
from unets.store.paths import Project

TILE_WIDTH = 480  # pixels of an image in the sheet
COLUMNS = 4


def draw_submission(out: Path, submission_path: Path, project: Project, dataset: DatasetConfig, count: int) -> int:
    """Draws test images, spread evenly over all, with a submission's contours; returns how many.

    Args:
        out: the picture that is written.
        submission_path: csv or csv.gz.
        project: the folders.
        dataset: the competition's.
        count: how many images at most.
    """
    rles = read_submission(submission_path, dataset)
    chosen = _pick_evenly(read_manifest(project, dataset).test, count)
    height, width = read_full_size(chosen[0], dataset)
    tile_hw = (round(height * TILE_WIDTH / width), TILE_WIDTH)
    tiles = [
        draw_contours(
            read_image(sample, tile_hw), decode_rles(rles[sample.id], read_full_size(sample, dataset), dataset)
        )
        for sample in chosen
    ]
    write_image(out, make_sheet(tiles, columns=COLUMNS, tile_hw=tile_hw))
    return len(chosen)


def _pick_evenly(samples: Sequence[Sample], count: int) -> list[Sample]:
    return [samples[k] for k in np.linspace(0, len(samples) - 1, min(count, len(samples))).round().astype(int)]
