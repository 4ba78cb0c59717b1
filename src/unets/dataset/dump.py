"""A dump: what is read of a data set, in the plainest form, to compare with what was meant.

DIR/
    classes.txt    a class a line; the first is index 1
    index.csv      split,id,image,mask: paths below INPUT and below DIR
    masks/         a PNG of class indices for each training image, 255 for ignored pixels; where classes overlap, one of
                   0 and 255 a class, whose paths are joined by `|`
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unets.config import DatasetConfig
from unets.data.io import encode_png
from unets.data.samples import Sample, read_mask
from unets.dataset.manifest import Manifest
from unets.errors import InputError
from unets.store.paths import Project
from unets.store.runs import write_csv
from unets.workers.pool import run_tasks

_CHUNK = 32  # images a task


def write_dump(project: Project, manifest: Manifest, out: Path, *, jobs: int | None = None) -> None:
    """Writes a dump of all images and masks.

    Args:
        project: the folders.
        manifest: what is read.
        out: the folder; missing or empty, or of an earlier dump.
        jobs: worker processes; None is one a core.

    Raises:
        InputError: `out` holds something else.
    """
    if out.is_dir() and any(out.iterdir()) and not (out / "index.csv").exists():
        raise InputError(f"`--dump` must be a folder that is missing or empty. Received: {out}")
    (out / "masks").mkdir(parents=True, exist_ok=True)
    (out / "classes.txt").write_text("\n".join(manifest.dataset.classes) + "\n", encoding="utf-8")
    chunks = [manifest.train[start : start + _CHUNK] for start in range(0, len(manifest.train), _CHUNK)]
    tasks = ((chunk, start * _CHUNK, out.absolute(), manifest.dataset) for start, chunk in enumerate(chunks))
    written = run_tasks(_write_masks, tasks, what="dump", jobs=jobs, total=len(chunks), unit="chunk")
    masks = [names for chunk in written for names in chunk]
    listed = [("train", sample, names) for sample, names in zip(manifest.train, masks, strict=True)]
    listed += [("test", sample, "") for sample in manifest.test]
    rows = ((split, s.id, os.path.relpath(s.image, project.input_dir), names) for split, s, names in listed)
    write_csv(out / "index.csv", ["split", "id", "image", "mask"], rows)


def _write_masks(task: tuple[Sequence[Sample], int, Path, DatasetConfig]) -> list[str]:
    """Writes the masks of some images; returns their paths below `out`."""
    samples, start, out, dataset = task
    return [_write_mask(sample, f"masks/{index:06d}", out, dataset) for index, sample in enumerate(samples, start)]


def _write_mask(sample: Sample, stem: str, out: Path, dataset: DatasetConfig) -> str:
    # Numbered: ids of folders hold characters that names of files cannot.
    mask = read_mask(sample)
    if mask.ndim == 2:
        layers = {f"{stem}.png": mask}
    else:
        layers = {
            f"{stem}_{index}.png": np.where(mask[..., index] == 1, np.uint8(255), np.uint8(0))
            for index in range(len(dataset.classes))
        }
    for name, layer in layers.items():
        (out / name).write_bytes(encode_png(layer))
    return "|".join(layers)
