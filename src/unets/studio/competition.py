"""The demo competition: its folder, in Carvana's layout, and the settings that made it.

train/<car>_<view>.jpg  train_masks/<car>_<view>_mask.gif  train_masks.csv
test/<car>_<view>.jpg   sample_submission.csv              truth/test_masks.csv   studio.json
"""

from functools import partial
from pathlib import Path

from PIL import Image

from unets.data.rle import encode_rle
from unets.errors import InputError
from unets.store.runs import atomic_path, read_json, write_csv, write_json
from unets.studio.camera import NUM_VIEWS
from unets.studio.cars import build_car
from unets.studio.render import render_image, render_mask
from unets.workers.pool import run_tasks

_RENDERER_VERSION = 2  # raise it whenever an image's bytes change
_QUALITY = 78  # gives about 100 KB a JPEG of full size, as Carvana's have
_TABLES = ("train_masks.csv", "truth/test_masks.csv", "sample_submission.csv")


def write_competition(out: Path, num_train_cars: int, num_test_cars: int, seed: int, size_hw: tuple[int, int]) -> None:
    """Renders the competition into a folder; a second call goes on where the first was interrupted.

    Of each car there are 16 images; masks of those to train on come with them, the others go to `truth/`. Equal
    settings give equal bytes, whatever the number of worker processes. Raises InputError where `out`
    holds something else than what was begun with the same settings.
    """
    settings = {
        "renderer_version": _RENDERER_VERSION,
        "seed": seed,
        "num_train_cars": num_train_cars,
        "num_test_cars": num_test_cars,
        "size_hw": list(size_hw),
        "classes": ["car"],
    }
    path = out / "studio.json"
    found = read_json(path) if path.is_file() else None
    if found is None and not (out.is_dir() and any(out.iterdir())):
        write_json(path, settings)
    elif found != settings:
        raise InputError(
            f"`out` must be a new folder or one rendered with these settings: {settings}. Received: {out}, "
            f"{'which holds other files' if found is None else f'rendered with {found}'}; choose another folder or "
            f"delete this one"
        )
    counts = [len(list((out / name).glob("[!.]*"))) for name in ("train", "train_masks", "test")]
    is_complete = counts == [NUM_VIEWS * num for num in (num_train_cars, num_train_cars, num_test_cars)]
    if is_complete and all((out / name).is_file() for name in _TABLES):
        return
    tasks = [("train" if index < num_train_cars else "test", index) for index in range(num_train_cars + num_test_cars)]
    made = run_tasks(partial(_write_car, out, seed, size_hw), tasks, what="studio", unit="car")
    rows: dict[str, list[tuple[str, str]]] = {"train": [], "test": []}
    for (split, _), car_rows in zip(tasks, made, strict=True):
        rows[split] += car_rows
    sample = [(name, "1 1") for name, _ in rows["test"]]
    for name, content in zip(_TABLES, (rows["train"], rows["test"], sample), strict=True):
        write_csv(out / name, ("img", "rle_mask"), sorted(content))


def _write_car(out: Path, seed: int, size_hw: tuple[int, int], task: tuple[str, int]) -> list[tuple[str, str]]:
    """Writes those of a car's images that are missing; returns the rows (img, rle_mask) of all."""
    split, index = task
    car, rows = build_car(seed, index), []
    for view in range(1, NUM_VIEWS + 1):
        stem = f"{car.id}_{view:02d}"
        image_path, mask_path = out / split / f"{stem}.jpg", out / "train_masks" / f"{stem}_mask.gif"
        # Files appear by renaming under settings that match ours: what is there is whole and what we would write.
        if image_path.is_file() and (split == "test" or mask_path.is_file()):
            mask_hw = render_mask(car, view, seed, size_hw)
        else:
            image_hwc, mask_hw = render_image(car, view, seed, size_hw)
            if split == "train":  # palette colors 0 and 1, black and white
                picture = Image.fromarray(mask_hw)
                picture.putpalette([0, 0, 0, 255, 255, 255])
                with atomic_path(mask_path) as temporary:
                    # An optimizing writer would drop a color that is not used, and 1 would be read as 0.
                    picture.save(temporary, format="GIF", optimize=False)
            with atomic_path(image_path) as temporary:
                Image.fromarray(image_hwc).save(temporary, format="JPEG", quality=_QUALITY)
        rows.append((f"{stem}.jpg", encode_rle(mask_hw)))
    return rows
