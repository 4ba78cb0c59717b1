"""A test set of any size: a few images, repeated under new ids."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from measure import pick_evenly

from unets.config import DatasetConfig, MasksCsv, PatternSource
from unets.data.files import read_bytes
from unets.data.geometry import SizeHW, shrink
from unets.data.io import read_image_file, write_image
from unets.data.rle import encode_rle
from unets.data.samples import Sample, read_mask
from unets.dataset.folds import write_folds
from unets.dataset.importers.patterns import get_patterns
from unets.dataset.manifest import read_manifest
from unets.dataset.rle_csv import image_cell
from unets.store.paths import Project

_NUM_FILES = 64  # different photos; a file takes 65,000 hard links at most
_NUM_TRAIN = 32  # of them are training photos too, for the ensemble's fit


@dataclass(frozen=True, kw_only=True)
class Crowd:
    """A competition laid out, and the masks that its photos have in turn."""

    project: Project
    dataset: DatasetConfig
    masks: tuple[npt.NDArray[np.uint8], ...]


def lay_out_crowd(
    folder: Path, samples: Sequence[Sample], dataset: DatasetConfig, num_photos: int, full_hw: SizeHW | None = None
) -> Crowd:
    """Writes `num_photos` test photos, as hard links to a few files, and a few training photos, dealt to two folds.

    Args:
        folder: missing or empty.
        samples: photos with masks.
        dataset: their declaration, with csv masks of one class.
        num_photos: test photos; named as Carvana's are, sixteen views a car.
        full_hw: (height, width) that photos and masks are shrunk to first; None leaves them as they are.
    """
    chosen = pick_evenly(samples, _NUM_FILES)
    project = name_folders(folder)
    masks = [read_mask(sample) for sample in chosen]
    files = [folder / "files" / f"{index}.jpg" for index in range(len(chosen))]
    for kind in (folder / "files", project.input_dir / "train", project.input_dir / "test"):
        kind.mkdir(parents=True)
    for path, sample in zip(files, chosen, strict=True):
        if full_hw is None:
            path.write_bytes(read_bytes(sample.image_path))
        else:
            write_image(path, read_image_file(sample.image_path, size_hw=full_hw))
    if full_hw is not None:
        masks = [(shrink(255 * mask_hw, full_hw) >= 128).astype(np.uint8) for mask_hw in masks]
    train_ids = [f"{index // 16 + 0xFFFF:012x}_{index % 16 + 1:02d}" for index in range(_NUM_TRAIN)]
    test_ids = [f"{index // 16:012x}_{index % 16 + 1:02d}" for index in range(num_photos)]
    for kind, ids in (("train", train_ids), ("test", test_ids)):
        for index, id_ in enumerate(ids):
            os.link(files[index % len(files)], project.input_dir / kind / f"{id_}.jpg")
    source = PatternSource(masks=None, masks_csv=MasksCsv(), id_pattern=get_patterns(dataset).id_pattern)
    update = {"source": source, "num_folds": 2, "size_hw": full_hw or dataset.size_hw}
    dataset, form = dataset.model_copy(update=update), dataset.submission
    cell_of = {id_: image_cell(form, dataset.classes, id_) for id_ in (*test_ids, *train_ids)}
    _write_rows(project.input_dir / "sample_submission.csv", ((cell_of[id_], "1 1") for id_ in test_ids))
    true_rows = ((cell_of[id_], encode_rle(masks[index % len(masks)])) for index, id_ in enumerate(train_ids))
    _write_rows(project.input_dir / "train_masks.csv", true_rows)
    write_folds(project, read_manifest(project, dataset), jobs=1)
    return Crowd(project=project, dataset=dataset, masks=tuple(masks))


def name_folders(folder: Path) -> Project:
    """Names the folders of a competition below one."""
    return Project(
        competition="crowd",
        input_dir=folder / "input",
        models_dir=folder / "models",
        configs_dir=folder,
        submissions_dir=folder / "submissions",
        results_dir=folder,
    )


def _write_rows(path: Path, rows: Iterable[tuple[str, str]]) -> None:
    path.write_text("".join(f"{cell},{rle}\n" for cell, rle in [("img", "rle_mask"), *rows]), encoding="utf-8")
