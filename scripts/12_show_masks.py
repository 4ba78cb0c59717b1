"""Draws a sheet of test photos with the contours of a submission, to look at before uploading."""

import dataclasses
from pathlib import Path

import numpy as np

from unets import cli
from unets.data.drawing import Image, draw_contours, make_sheet
from unets.data.geometry import SizeHW
from unets.data.io import read_size, write_image
from unets.data.samples import Sample, read_csv_mask, read_photo
from unets.dataset.catalog import load_catalog, read_rle_csv
from unets.submission.submission import find_submission

TILE_WIDTH = 480


def main(stage: cli.Stage) -> None:
    """Takes photos spread evenly over the test set."""
    dataset, count = stage.dataset, stage.args.count
    path = find_submission(stage.project, stage.args.submission)
    rles = read_rle_csv(path, dataset)
    test = load_catalog(dataset, stage.project.input_dir).test
    chosen = [test[index] for index in np.linspace(0, len(test) - 1, min(count, len(test))).round().astype(int)]
    height, width = read_size(chosen[0].photo_path)
    tile_hw = (round(height * TILE_WIDTH / width), TILE_WIDTH)

    def draw(sample: Sample, size_hw: SizeHW) -> Image:
        mask_hw = read_csv_mask(dataclasses.replace(sample, mask_rles=rles[sample.id]), dataset)
        return draw_contours(read_photo(sample, size_hw), mask_hw)

    sheet = make_sheet([draw(sample, tile_hw) for sample in chosen], columns=stage.args.columns, tile_hw=tile_hw)
    out = stage.args.out or stage.project.models_dir / "sheet.jpg"
    write_image(out, sheet)
    print(f"{out}: {len(chosen)} photos with the contours of {path.name}")


if __name__ == "__main__":
    parser = cli.build_parser(__doc__)
    parser.add_argument("--submission", help="csv or csv.gz (default: the newest)")
    parser.add_argument("--count", type=int, default=12, help="number of photos")
    parser.add_argument("--columns", type=int, default=4, help="photos a row")
    parser.add_argument("--out", type=Path, help="the picture (default: models/<competition>/sheet.jpg)")
    cli.run(main, parser)
