"""A dump says what is read: compared with what the masks are drawn from."""

import csv
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from unets.config import load_dataset
from unets.data.samples import read_mask
from unets.dataset.dump import write_dump
from unets.dataset.manifest import read_manifest
from unets.errors import InputError
from unets.store.paths import Project


@pytest.mark.parametrize("classes", [("car",), ("body", "glass")])
def test_a_dump_holds_every_image_with_its_mask(
    classes: tuple[str, ...], make_competition: Callable[..., Project]
) -> None:
    project = make_competition(num_groups=2, num_test_groups=1, num_views=3, classes=classes)
    manifest = read_manifest(project, load_dataset(project.configs_dir))
    out = project.models_dir / "dump"
    write_dump(project, manifest, out)
    assert (out / "classes.txt").read_text().split() == list(classes)
    with (out / "index.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["split"], row["id"]) for row in rows] == [
        *(("train", sample.id) for sample in manifest.train),
        *(("test", sample.id) for sample in manifest.test),
    ]
    for row, sample in zip(rows, manifest.train, strict=False):
        assert project.input_dir / row["image"] == sample.image_path
        np.testing.assert_array_equal(np.asarray(Image.open(out / row["mask"])), read_mask(sample))
    assert all(row["mask"] == "" for row in rows if row["split"] == "test")
    (out / "masks" / "000099.png").write_bytes(b"of an image that is gone")
    write_dump(project, manifest, out)  # over the earlier one
    assert sorted(f"masks/{path.name}" for path in (out / "masks").iterdir()) == [row["mask"] for row in rows[:6]]
    with pytest.raises(InputError, match="`--dump` must be a folder that is missing or empty"):
        write_dump(project, manifest, project.input_dir)
