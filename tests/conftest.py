"""What all tests share: a tiny competition in Carvana's layout, rendered in a blink."""

import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import settings
from PIL import Image

from unets.config import Config, DatasetConfig, SizeHW
from unets.data.rle import encode_rle
from unets.dataset.rle_csv import image_cell, list_columns
from unets.store.paths import Project
from unets.workers.pool import use_jobs

from .trained_competition import make_scene as make_scene
from .trained_competition import predicted as predicted
from .trained_competition import write_config

# Before any test loads it: TensorFlow notes each batch that a test makes fail ("Error occurred when finalizing ...").
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# `make test` hands its own variables on; commands that tests call are not called by `make`.
for _name in [name for name in os.environ if name.startswith("UNETS_")]:
    del os.environ[_name]
os.environ["COLUMNS"] = "80"  # of the terminal, whatever tests run in
# A shell, or nohup, has what it starts aside ignore these; tests and the processes that they start do not.
for _number, _handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)
# Two test processes share the cores with whatever else is at work: a slow example is no fault.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture(scope="session", autouse=True)
def _work_in_this_process() -> Iterator[None]:
    """Most tests need no worker processes, which take seconds to start."""
    with use_jobs(1):
        yield


@pytest.fixture
def make_competition(tmp_path: Path) -> Callable[..., Project]:
    """`make_competition(num_groups=6, ...)`, as `_write_competition`, below the test's own folder."""
    return partial(_write_competition, tmp_path)


@pytest.fixture(scope="session")
def write_competition() -> Callable[..., Project]:
    """The same with the folder as its first argument, for fixtures of wider scope."""
    return _write_competition


def _write_competition(
    root: Path,
    *,
    num_groups: int = 6,
    num_test_groups: int = 2,
    num_views: int = 4,
    size_hw: SizeHW = (64, 96),
    classes: Sequence[str] = ("car",),
    mask_format: str = "gif",
    with_csv: bool = True,
    image_format: str = "jpg",
    order: str = "row",
    seed: int = 0,
    source: dict[str, Any] | None = None,
    configs: Mapping[str, Config] | None = None,
    **dataset_fields: Any,
) -> Project:
    """Writes images, masks, csv files and `configs/tiny/dataset.py` below `root`; masks of tests in `input/truth/`.

    Training ids are `car000_01`, `car000_02`, ... (group `car000`, view `01`), test ids `test000_01`, ...; an image is
    dark noise with one bright ellipse a class, so a net learns it in a few steps. Each group has its own ellipse, which
    a view moves a little. Class k has the value k in mask files; with several classes the csv files have a column
    `class` and a row a class.

    `source` overrides fields of the `MasksSource`, `dataset_fields` those of the `DatasetConfig`; `configs` are those
    of experiments and ensembles by their names.
    """
    form: dict[str, Any] = {"cell": f"{{id}}.{image_format}", "order": order}
    form["class_column"] = "class" if len(classes) > 1 else None
    options: dict[str, Any] = {
        "format": "masks",
        "masks": ("train_masks*",),
        "values": tuple(range(1, len(classes) + 1)),
        "group": r"(?P<group>[a-z0-9]+)_(?P<view>\d\d)",
    } | (source or {})
    fields: dict[str, Any] = {
        **{"source": options, "size_hw": size_hw, "classes": tuple(classes), "num_folds": 2},
        "submission": {**form, "row": "class" if len(classes) > 1 else "image"},
    }
    dataset = DatasetConfig(**fields | dataset_fields)
    project = Project.below(root, "tiny", input_dir=root / "input")
    for name, config in {"dataset": dataset, **(configs or {})}.items():
        write_config(project, name, config)

    train, test = (
        [f"{name}{group:03d}_{view:02d}" for group in range(number) for view in range(1, num_views + 1)]
        for name, number in (("car", num_groups), ("test", num_test_groups))
    )
    masks = {id_: _draw_mask(id_, dataset, size_hw, seed) for id_ in train + test}
    found = dataset.source
    for id_, mask_hw in masks.items():
        folder = "train" if id_ in train else "test"
        _save(_draw_image(id_, mask_hw, dataset, seed), project.input_dir / folder / f"{id_}.{image_format}")
        if id_ in train:
            background = found.background[0] if found.background else 0
            values = np.array([background, *found.values], dtype=np.uint8)
            path = project.input_dir / "train_masks" / f"{id_}_mask.{mask_format}"
            _save(values[mask_hw], path, is_mask=True)
    if with_csv:
        _write_rles(project.input_dir / "train_masks.csv", dataset, {id_: masks[id_] for id_ in train})
    _write_rles(project.input_dir / "truth" / "test_masks.csv", dataset, {id_: masks[id_] for id_ in test})
    if dataset.submission.sample:
        _write_rles(project.input_dir / dataset.submission.sample, dataset, dict.fromkeys(test))
    groups = sorted({id_.rpartition("_")[0] for id_ in masks})
    table = pd.DataFrame({"id": groups, "year": 2017, "make": "Tiny"})
    table.to_csv(project.input_dir / "metadata.csv", index=False)
    return project


def _draw_mask(id_: str, dataset: DatasetConfig, size_hw: SizeHW, seed: int) -> npt.NDArray[np.uint8]:
    """Draws an ellipse a class, side by side; uint8 (height, width) class index."""
    group, _, view = id_.rpartition("_")
    rng = np.random.default_rng([seed, *group.encode()])
    height, width = size_hw
    rows, columns = np.mgrid[:height, :width] + 0.5
    num_classes = len(dataset.classes)
    mask_hw = np.zeros(size_hw, dtype=np.uint8)
    for class_index in range(1, num_classes + 1):
        center_x = width * (class_index - 0.5) / num_classes + int(view) % 5 - 2
        radius_y, radius_x = height * rng.uniform(0.2, 0.4), width / num_classes * rng.uniform(0.2, 0.4)
        inside = ((rows - height / 2) / radius_y) ** 2 + ((columns - center_x) / radius_x) ** 2 < 1
        mask_hw[inside & (mask_hw == 0)] = class_index
    return mask_hw


def _draw_image(id_: str, mask_hw: npt.NDArray[np.uint8], dataset: DatasetConfig, seed: int) -> npt.NDArray[np.uint8]:
    """Draws dark noise, and brighter the higher the class; uint8 (height, width, 3), or (height, width) of grey."""
    rng = np.random.default_rng([seed + 1, *id_.encode()])
    noise = rng.integers(30, 90, size=(*mask_hw.shape, 3), dtype=np.uint8)
    brightness = np.linspace(0, 160, len(dataset.classes) + 1).astype(np.uint8)
    image = noise + brightness[mask_hw][..., None]
    return image if dataset.channels == "rgb" else np.ascontiguousarray(image[..., 0])


def _save(array: npt.NDArray[np.uint8], path: Path, *, is_mask: bool = False) -> None:
    """Saves pixels; a mask's values as palette indices (GIF: mode P, as Carvana's) or grey levels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(array)
    if is_mask and path.suffix == ".gif":
        picture.putpalette([level for index in range(256) for level in (index, index, index)])
        picture.save(path, optimize=False)  # optimizing would renumber the palette
    else:
        picture.save(path, **({"quality": 90} if path.suffix == ".jpg" else {}))


def _write_rles(path: Path, dataset: DatasetConfig, masks: dict[str, npt.NDArray[np.uint8] | None]) -> None:
    """Writes a row an image and class; `1 1`, as sample submissions have it, where there is no mask."""
    rows, form = [], dataset.submission
    for id_, mask_hw in masks.items():
        for class_index, name in enumerate(dataset.classes, start=1):
            rle = "1 1" if mask_hw is None else encode_rle(mask_hw == class_index, form.order)
            cell = image_cell(form, dataset.classes, id_, name)
            rows.append([cell, *([name] if form.class_column else []), rle])
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows, columns=list_columns(form)).to_csv(path, index=False)
