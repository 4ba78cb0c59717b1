"""A dump: what is read of a data set, in the plainest form, to compare with what was meant.

DIR/
    classes.txt    a class a line; the first is index 1
    index.csv      split,id,image,mask: paths below INPUT and below DIR
    masks/         a PNG of class indices for each training image, 255 for ignored pixels; where classes overlap, one of
                   0 and 255 a class, whose paths are joined by `|`
"""

import os
from pathlib import Path

import numpy as np

from unets.data.io import encode_png
from unets.data.samples import Sample, read_mask
from unets.dataset.manifest import Manifest
from unets.errors import InputError
from unets.store.paths import Project
from unets.store.runs import write_csv
from unets.workers.pool import run_tasks


def write_dump(project: Project, manifest: Manifest, out: Path) -> None:
    """Writes a dump of all images and masks; raises InputError where the folder `out` holds something else."""
    if out.is_dir() and any(out.iterdir()) and not (out / "index.csv").exists():
        raise InputError(f"`--dump` must be a folder that is missing or empty. Received: {out}")
    (out / "masks").mkdir(parents=True, exist_ok=True)
    for path in (out / "masks").glob("*.png"):  # of an earlier dump, of other images or classes
        path.unlink()
    (out / "classes.txt").write_text("\n".join(manifest.dataset.classes) + "\n", encoding="utf-8")
    # Numbered: ids of folders hold characters that names of files cannot.
    tasks = ((sample, f"masks/{index:06d}", out.absolute()) for index, sample in enumerate(manifest.train))
    written = run_tasks(_write_mask, tasks, what="dump", total=len(manifest.train), unit="mask")
    listed = [("train", sample, names) for sample, names in zip(manifest.train, written, strict=True)]
    listed += [("test", sample, "") for sample in manifest.test]
    rows = ((split, s.id, os.path.relpath(s.image, project.input_dir), names) for split, s, names in listed)
    write_csv(out / "index.csv", ["split", "id", "image", "mask"], rows)


def _write_mask(task: tuple[Sample, str, Path]) -> str:
    """Writes the mask of an image; returns its paths below `out`."""
    sample, stem, out = task
    mask = read_mask(sample)
    layers = {f"{stem}.png": mask}
    if mask.ndim == 3:
        layers = {f"{stem}_{k}.png": (mask[..., k] == 1) * np.uint8(255) for k in range(mask.shape[-1])}
    for name, layer in layers.items():
        (out / name).write_bytes(encode_png(layer))
    return "|".join(layers)
