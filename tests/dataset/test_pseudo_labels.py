"""Reading pseudo-labels: what may train a fold does, and nothing that could leak into its validation."""

import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from unets.config import load_dataset
from unets.data.io import encode_png
from unets.data.samples import read_mask
from unets.dataset.manifest import Manifest, read_manifest
from unets.dataset.pseudo_labels import (
    count_pseudo_labels,
    hash_pseudo_labels,
    list_unlabeled,
    read_pseudo_labels,
)
from unets.errors import InputError
from unets.store.paths import Project
from unets.store.runs import hash_file


@pytest.fixture
def project(make_competition: Callable[..., Project]) -> Project:
    project = make_competition(num_groups=2, num_views=2, size_hw=(32, 32), mask_format="png", with_csv=False)
    project.models_dir.mkdir(parents=True)
    project.folds_path.write_text("id,group,fold\n")
    return project


@pytest.fixture
def manifest(project: Project) -> Manifest:
    return read_manifest(project, load_dataset(project.configs_dir))


def write_labels(project: Project, rows: dict[str, int], fold: int = 0) -> Path:
    """Writes labels as `unets pseudo-labels` does: for each id a mask whose first so many rows are object."""
    path = project.pseudo_labels_path("round1", fold)
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for id_, height in rows.items():
            mask_hw = np.repeat(np.arange(32)[:, None] < height, 32, axis=1)
            archive.writestr(f"{id_}.png", encode_png(mask_hw.astype(np.uint8)))
    record = {"file_sha256": hash_file(path), "folds_hash": hash_file(project.folds_path)}
    record |= {"num_images": 4, "num_kept": len(rows), "confidence": 0.9}
    project.pseudo_labels_record_path("round1", fold).write_text(json.dumps(record))
    return path


def test_labels_are_test_images_with_masks(project: Project, manifest: Manifest) -> None:
    write_labels(project, {"test001_02": 1, "test000_01": 0})
    write_labels(project, {"test000_02": 2}, fold=1)
    samples = read_pseudo_labels(project, manifest, "round1", 0)
    assert [sample.id for sample in samples] == ["test000_01", "test001_02"]
    images = {sample.id: sample.image_path for sample in manifest.test}
    assert [sample.image_path for sample in samples] == [images[sample.id] for sample in samples]
    np.testing.assert_array_equal(read_mask(samples[0]), np.zeros((32, 32)))
    np.testing.assert_array_equal(read_mask(samples[1]), np.arange(32)[:, None] * np.ones(32) < 1)
    # each fold has its own
    assert [count_pseudo_labels(project, "round1", fold) for fold in range(3)] == [2, 1, 0]
    assert [sample.id for sample in read_pseudo_labels(project, manifest, "round1", 1)] == ["test000_02"]


def test_missing_labels_name_the_command(project: Project, manifest: Manifest) -> None:
    wanted = r"fold0\.zip must exist, whole\. Received: .*`unets pseudo-labels --name round1 --fold 0`"
    for read in (
        lambda: read_pseudo_labels(project, manifest, "round1", 0),
        lambda: hash_pseudo_labels(project, "round1", 0),
    ):
        with pytest.raises(InputError, match=wanted):
            read()
    write_labels(project, {"test000_01": 1})
    hash_pseudo_labels(project, "round1", 0)
    # as a kill leaves them: the record comes last
    project.pseudo_labels_record_path("round1", 0).unlink()
    with pytest.raises(InputError, match=wanted):
        read_pseudo_labels(project, manifest, "round1", 0)


def test_the_leak_by_name(project: Project, manifest: Manifest) -> None:
    """A label of a training image, or of its group, would stand on both sides of a split."""
    for faulty in ("car000_01", "nobody_01"):
        write_labels(project, {"test000_01": 1, faulty: 1})
        with pytest.raises(InputError, match=rf"groups without training images. Received: 1 others, {faulty} first"):
            read_pseudo_labels(project, manifest, "round1", 0)
    # test image test001_01 shows a car that training images show too
    write_labels(project, {"test000_01": 1, "test001_01": 1})
    train = (*manifest.train[:-1], replace(manifest.train[-1], group="test001"))
    with pytest.raises(InputError, match=r"Received: 1 others, test001_01 first"):
        read_pseudo_labels(project, replace(manifest, train=train), "round1", 0)
    assert len(read_pseudo_labels(project, manifest, "round1", 0)) == 2


def test_labels_that_changed_or_are_of_other_folds_or_none_are_refused(project: Project, manifest: Manifest) -> None:
    path = write_labels(project, {"test000_01": 1})
    before = hash_pseudo_labels(project, "round1", 0)
    path.write_bytes(path.read_bytes() + b"\0")
    assert hash_pseudo_labels(project, "round1", 0) != before
    with pytest.raises(InputError, match=r"must be as it was made.*pseudo-labels --name round1 --fold 0 --force`"):
        read_pseudo_labels(project, manifest, "round1", 0)
    write_labels(project, {})
    with pytest.raises(InputError, match=r"none of 4 images reached a confidence of 0.9.*with a lower --confidence"):
        read_pseudo_labels(project, manifest, "round1", 0)
    # made by nets that may have seen what this fold holds out now
    project.folds_path.write_text("id,group,fold\ncar000_01,car000,0\n")
    with pytest.raises(InputError, match=r"labels made on other folds.*--name round1 --fold 0 --force`"):
        read_pseudo_labels(project, manifest, "round1", 0)


def test_candidates_are_of_groups_without_training_images(manifest: Manifest) -> None:
    assert list_unlabeled(manifest) == manifest.test
    train = (*manifest.train[:-1], replace(manifest.train[-1], group="test001"))
    assert [sample.id for sample in list_unlabeled(replace(manifest, train=train))] == ["test000_01", "test000_02"]
    for changed in (replace(manifest, test=()), replace(manifest, test=manifest.train)):
        with pytest.raises(InputError, match=rf"Received: {len(changed.test)} test images, none such"):
            list_unlabeled(changed)
