"""The competition's folder: Carvana's layout, restartable, and the same for any number of workers."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from tests import read_files
from unets.data.rle import decode_rle
from unets.errors import InputError
from unets.studio.cars import build_car
from unets.studio.competition import write_competition
from unets.studio.render import render_mask
from unets.workers.pool import use_jobs

SIZE_HW = (96, 144)
SEED = 7


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("studio") / "demo"
    write_competition(out, 1, 1, SEED, SIZE_HW)
    return out


def read_rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_layout_and_the_formats_are_carvanas(folder):
    train, test = build_car(SEED, 0).id, build_car(SEED, 1).id
    views = [f"{view:02d}" for view in range(1, 17)]
    expected = {f"train/{train}_{view}.jpg" for view in views} | {f"test/{test}_{view}.jpg" for view in views}
    expected |= {f"train_masks/{train}_{view}_mask.gif" for view in views}
    expected |= {"train_masks.csv", "sample_submission.csv", "truth/test_masks.csv", "studio.json"}
    assert set(read_files(folder)) == expected
    for path in folder.glob("t*/*.jpg"):
        photo = Image.open(path)
        assert (photo.format, photo.mode, photo.size) == ("JPEG", "RGB", (144, 96))
    for path in folder.glob("train_masks/*.gif"):
        mask = Image.open(path)
        assert (mask.format, mask.mode, mask.size) == ("GIF", "P", (144, 96))
        assert set(np.unique(np.asarray(mask))) == {0, 1} and mask.getpalette()[:6] == [0, 0, 0, 255, 255, 255]


def test_the_tables_tell_the_masks(folder):
    rows = read_rows(folder / "train_masks.csv")
    assert [row["img"] for row in rows] == sorted(path.name for path in (folder / "train").iterdir())
    for row in rows:
        mask = np.asarray(Image.open(folder / "train_masks" / row["img"].replace(".jpg", "_mask.gif")))
        assert np.array_equal(decode_rle(row["rle_mask"], SIZE_HW), mask)
    truth = read_rows(folder / "truth" / "test_masks.csv")
    car = build_car(SEED, 1)
    for view, row in enumerate(truth, start=1):
        assert row["img"] == f"{car.id}_{view:02d}.jpg"
        assert np.array_equal(decode_rle(row["rle_mask"], SIZE_HW), render_mask(car, view, SEED, SIZE_HW))
    sample = read_rows(folder / "sample_submission.csv")
    assert sample == [{"img": row["img"], "rle_mask": "1 1"} for row in truth]


def test_it_goes_on_where_it_was_interrupted_with_any_number_of_workers(folder, tmp_path):
    whole = read_files(folder)
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    train = build_car(SEED, 0).id
    for name in (f"train/{train}_03.jpg", f"train_masks/{train}_09_mask.gif", "truth/test_masks.csv"):
        (tmp_path / name).unlink()
    kept = tmp_path / "train" / f"{train}_01.jpg"
    written_at = kept.stat().st_mtime_ns
    with use_jobs(2):
        write_competition(tmp_path, 1, 1, SEED, SIZE_HW)
    assert read_files(tmp_path) == whole
    assert kept.stat().st_mtime_ns == written_at


def test_another_studios_folder_is_refused(folder, tmp_path):
    with pytest.raises(InputError, match=r"choose another folder or delete this one"):
        write_competition(folder, 1, 1, SEED + 1, SIZE_HW)
    (tmp_path / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match=r"holds other files"):
        write_competition(tmp_path, 1, 1, SEED, SIZE_HW)
    assert json.loads((folder / "studio.json").read_text())["seed"] == SEED
