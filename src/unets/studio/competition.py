"""The demo competition: its folder, in Carvana's layout, and the settings that made it.

train/<car>_<view>.jpg  train_masks/<car>_<view>_mask.gif  train_masks.csv  metadata.csv
test/<car>_<view>.jpg   sample_submission.csv              truth/test_masks.csv   studio.json

Or with the car's parts as classes: the same photos, masks as PNGs of a class index, a row a photo and class.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unets.data.rle import encode_rle
from unets.errors import InputError
from unets.store.runs import atomic_path, read_json, write_json, write_text
from unets.studio.camera import NUM_VIEWS
from unets.studio.cars import Car, build_car
from unets.studio.materials import PARTS
from unets.studio.render import FULL_SIZE_HW, render_mask, render_photo
from unets.workers.pool import run_tasks

RENDERER_VERSION = 1  # raise it whenever a photo's bytes change
SETTINGS_NAME = "studio.json"
JPEG_QUALITY = 78  # gives about 100 KB a photo of full size, as Carvana's have
TABLE_NAMES = ("train_masks.csv", "truth/test_masks.csv", "sample_submission.csv", "metadata.csv")
MASK_PALETTE = [0, 0, 0, 255, 255, 255]
PARTS_PALETTE = [0, 0, 0, 230, 159, 0, 86, 180, 233, 0, 158, 115]  # nothing, body, glass, wheel
CLASSES = PARTS[1:]

Split = Literal["train", "test"]
Row = tuple[str, ...]


class CarTask(NamedTuple):
    """The photos of one car, to be written by one worker."""

    out: Path
    split: Split
    car_index: int
    seed: int
    size_hw: tuple[int, int]
    in_parts: bool

    @property
    def mask_ending(self) -> str:
        """How the name of a mask file ends."""
        return _mask_ending(self.in_parts)


def write_competition(
    out: Path,
    num_train_cars: int,
    num_test_cars: int,
    seed: int,
    jobs: int | None = None,
    size_hw: tuple[int, int] = FULL_SIZE_HW,
    *,
    in_parts: bool = False,
) -> None:
    """Renders the competition into a folder; a second call goes on where the first was interrupted.

    Args:
        out: the folder; missing, empty, or begun with the same settings.
        num_train_cars: cars whose photos come with masks, 16 photos each.
        num_test_cars: cars whose masks go to `truth/`.
        seed: equal settings give equal bytes, whatever the number of workers.
        jobs: worker processes; None is one a core.
        size_hw: (height, width) of the photos in pixels.
        in_parts: whether masks tell body, glass and wheels apart; the photos are the same.

    Raises:
        InputError: an argument is out of range, or `out` holds something else.
    """
    _check_settings(num_train_cars, num_test_cars, seed, size_hw)
    settings = {
        "renderer_version": RENDERER_VERSION,
        "seed": seed,
        "num_train_cars": num_train_cars,
        "num_test_cars": num_test_cars,
        "size_hw": list(size_hw),
        **({"classes": list(CLASSES)} if in_parts else {}),
    }
    _claim_folder(out, settings)
    # The tables are written last: where all stand, the photos do.
    has_tables = all((out / name).is_file() for name in TABLE_NAMES)
    if has_tables and _has_all_photos(out, num_train_cars, num_test_cars, _mask_ending(in_parts)):
        return
    num_cars = num_train_cars + num_test_cars
    splits: list[Split] = ["train" if index < num_train_cars else "test" for index in range(num_cars)]
    tasks = [CarTask(out, split, index, seed, size_hw, in_parts) for index, split in enumerate(splits)]
    rows: dict[Split, list[Row]] = {"train": [], "test": []}
    for task, car_rows in zip(tasks, run_tasks(_write_car, tasks, jobs=jobs, what="studio", unit="car"), strict=True):
        rows[task.split] += car_rows
    masks_header = ("img", "class", "rle_mask") if in_parts else ("img", "rle_mask")
    _write_tables(out, masks_header, rows, [build_car(seed, index) for index in range(num_cars)])


def photo_name(car: Car, view: int) -> str:
    """Returns the name of a photo without its suffix."""
    return f"{car.id}_{view:02d}"


def _check_settings(num_train_cars: int, num_test_cars: int, seed: int, size_hw: tuple[int, int]) -> None:
    for name, value, least in (("num_train_cars", num_train_cars, 1), ("num_test_cars", num_test_cars, 0)):
        if value < least:
            raise InputError(f"`{name}` must be at least {least}. Received: {name}={value}")
    if seed < 0:
        raise InputError(f"`seed` must be at least 0. Received: seed={seed}")
    if min(size_hw) < 64:
        raise InputError(f"`size_hw` must be at least 64 x 64 pixels. Received: size_hw={size_hw}")


def _claim_folder(out: Path, settings: dict[str, object]) -> None:
    """Writes the settings before anything else, or checks that the folder was made with the same ones."""
    settings_path = out / SETTINGS_NAME
    if settings_path.is_file():
        found = read_json(settings_path)
        if found != settings:
            raise InputError(
                f"`out` must be a new folder or one rendered with these settings: {settings}. "
                f"Received: {out}, rendered with {found}; choose another folder or delete this one"
            )
    elif out.is_dir() and any(out.iterdir()):
        raise InputError(
            f"`out` must be a new folder or hold a {SETTINGS_NAME}. "
            f"Received: {out}, which holds other files; choose another folder"
        )
    else:
        write_json(settings_path, settings)


def _mask_ending(in_parts: bool) -> str:
    return "_mask.png" if in_parts else "_mask.gif"


def _has_all_photos(out: Path, num_train_cars: int, num_test_cars: int, mask_ending: str) -> bool:
    counts = [
        len(list((out / pattern[0]).glob(pattern[1])))
        for pattern in (("train", "*.jpg"), ("train_masks", f"*{mask_ending}"), ("test", "*.jpg"))
    ]
    return counts == [NUM_VIEWS * num for num in (num_train_cars, num_train_cars, num_test_cars)]


def _write_car(task: CarTask) -> list[Row]:
    """Writes a car's photos, those that are missing, and returns the rows of all, (img, rle_mask) or with a class."""
    car = build_car(task.seed, task.car_index)
    return [row for view in range(1, NUM_VIEWS + 1) for row in _write_photo(task, car, view)]


def _write_photo(task: CarTask, car: Car, view: int) -> list[Row]:
    name = photo_name(car, view)
    photo_path = task.out / task.split / f"{name}.jpg"
    mask_path = task.out / "train_masks" / f"{name}{task.mask_ending}"
    # Files appear by renaming under settings that match ours: what is there is whole and what we would write.
    if photo_path.is_file() and (task.split == "test" or mask_path.is_file()):
        mask_hw = render_mask(car, view, task.seed, task.size_hw, in_parts=task.in_parts)
    else:
        image_hwc, mask_hw = render_photo(car, view, task.seed, task.size_hw, in_parts=task.in_parts)
        if task.split == "train":
            write_mask(mask_path, mask_hw)
        with atomic_path(photo_path) as temporary:
            Image.fromarray(image_hwc).save(temporary, format="JPEG", quality=JPEG_QUALITY)
    if not task.in_parts:
        return [(f"{name}.jpg", encode_rle(mask_hw))]
    return [(f"{name}.jpg", part, encode_rle(mask_hw == index)) for index, part in enumerate(CLASSES, start=1)]


def write_mask(path: Path, mask_hw: NDArray[np.uint8]) -> None:
    """Writes a mask, uint8 (H, W): as a GIF of palette colours 0 (black) and 1 (white), as a PNG with one a part."""
    picture = Image.fromarray(mask_hw)
    if path.suffix == ".png":
        picture.putpalette(PARTS_PALETTE)
        with atomic_path(path) as temporary:
            picture.save(temporary, format="PNG", optimize=True)
        return
    picture.putpalette(MASK_PALETTE)
    with atomic_path(path) as temporary:
        # An optimizing writer would drop a colour that is not used, and 1 would be read as 0.
        picture.save(temporary, format="GIF", optimize=False)


def _write_tables(out: Path, masks: Row, rows: dict[Split, list[Row]], cars: Sequence[Car]) -> None:
    write_text(out / "train_masks.csv", _csv_text(masks, rows["train"]))
    write_text(out / "truth" / "test_masks.csv", _csv_text(masks, rows["test"]))
    write_text(out / "sample_submission.csv", _csv_text(masks, [(*row[:-1], "1 1") for row in rows["test"]]))
    described = [(car.id, str(car.year), car.make, car.model, *car.trims) for car in cars]
    columns = ("id", "year", "make", "model", "trim1", "trim2")
    write_text(out / "metadata.csv", _csv_text(columns, described, quote_all=True))


def _csv_text(header: Row, rows: Iterable[Row], quote_all: bool = False) -> str:
    buffer = io.StringIO()
    quoting: Literal[0, 1] = csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL
    csv.writer(buffer, quoting=quoting, lineterminator="\n").writerows([header, *sorted(rows)])
    return buffer.getvalue()
