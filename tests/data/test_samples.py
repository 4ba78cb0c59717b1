"""Masks as every stage reads them, soft targets and weights of images worked by hand."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unets.config import DatasetConfig, MasksSource, load_dataset
from unets.data.samples import (
    IGNORE,
    Sample,
    check_mask,
    count_object_pixels,
    find_classes_in,
    read_full_size,
    read_image,
    read_mask,
    read_soft_target,
)
from unets.data.sampling import weigh_samples
from unets.dataset.manifest import import_data, read_manifest
from unets.errors import InputError
from unets.store.paths import Project
from unets.workers.pool import use_jobs

TWO = DatasetConfig(
    classes=("sky", "road"),
    source=MasksSource(values=(1, 2), ignored=(255,)),
    has_ignored=True,
    submission={"sample": None},  # type: ignore[arg-type]
)


def make_sample(folder: Path, *masks: object) -> Sample:
    Image.fromarray(np.zeros((2, 4, 3), dtype=np.uint8)).save(folder / "a.png")
    for index, values in enumerate(masks):
        Image.fromarray(np.array(values, dtype=np.uint8)).save(folder / f"mask{index}.png")
    paths = tuple(str(folder / f"mask{index}.png") for index in range(len(masks)))
    return Sample(id="a", group="a", view=None, image=str(folder / "a.png"), masks=paths)


def test_a_mask_of_class_indices(tmp_path: Path) -> None:
    sample = make_sample(tmp_path, [[1, 2, 255, 0], [2, 2, 1, 1]])
    mask_hw = read_mask(sample)
    assert mask_hw.tolist() == [[1, 2, IGNORE, 0], [2, 2, 1, 1]]
    assert count_object_pixels(mask_hw) == 6
    assert find_classes_in(mask_hw, 3).tolist() == [True, True, False]
    check_mask(mask_hw, TWO, ["a"])
    # blocks of 2 x 2: 1 of 4 sky, 3 of 4 road; 2 of 4 sky, 1 of 4 ignored
    assert read_soft_target(sample, TWO, (1, 2)).tolist() == [[[64, 191, 0], [128, 0, 64]]]


def test_a_mask_a_class(tmp_path: Path) -> None:
    sample = make_sample(tmp_path, [[1, 1, 0, 0], [1, 1, 0, 255]], [[1, 0, 0, 0], [1, 0, 0, 0]])
    dataset = TWO.model_copy(update={"overlapping": True})
    mask_hwc = read_mask(sample)
    assert mask_hwc.shape == (2, 4, 2) and count_object_pixels(mask_hwc) == 4
    assert find_classes_in(mask_hwc, 2).tolist() == [True, True]
    # 4 of 4 and 2 of 4; nothing, with 1 of 4 of the first class ignored
    assert read_soft_target(sample, dataset, (1, 2)).tolist() == [[[255, 128, 0, 0], [0, 0, 64, 0]]]


@pytest.mark.parametrize("value", [3, 254])
def test_values_of_no_class_are_refused(tmp_path: Path, value: int) -> None:
    sample = make_sample(tmp_path, [[0, value]])
    with pytest.raises(InputError, match=rf"mask0.png must hold 0 to 2 for .* Received: also \[{value}\]"):
        read_soft_target(sample, TWO, (1, 2))


def test_the_file_that_holds_the_wrong_value_is_named(tmp_path: Path) -> None:
    sample = make_sample(tmp_path, [[0, 1]], [[0, 7]])
    dataset = TWO.model_copy(update={"overlapping": True})
    with pytest.raises(InputError, match=r"mask1\.png must hold 0 to 1 .* Received: also \[7\]"):
        check_mask(read_mask(sample), dataset, sample.masks)
    sample = make_sample(tmp_path, [[0, 255]], [[0, 7]])
    with pytest.raises(InputError, match=r"mask1\.png"):
        check_mask(read_mask(sample), dataset, sample.masks)


def test_ignored_pixels_must_be_declared(tmp_path: Path) -> None:
    sample = make_sample(tmp_path, [[0, 255]])
    with pytest.raises(InputError, match=r"no ignored pixels \(255\) where `has_ignored`.* Received: 1 of them"):
        read_soft_target(sample, TWO.model_copy(update={"has_ignored": False}), (1, 2))


def test_missing_masks_and_masks_of_two_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a.png must have a mask. Received: none for a"):
        read_mask(make_sample(tmp_path))
    with pytest.raises(InputError, match=r"mask1.png must have the size of .*mask0.png. Received: \(1, 2\)"):
        read_mask(make_sample(tmp_path, [[0, 0, 0]], [[0, 0]]))


def test_the_size_is_the_declared_one_or_the_images(tmp_path: Path) -> None:
    sample = make_sample(tmp_path)
    assert read_full_size(sample, DatasetConfig()) == (2, 4)
    assert read_full_size(sample, DatasetConfig(size_hw=(1280, 1918))) == (1280, 1918)
    assert read_image(sample, (1, 2)).shape == (1, 2, 3)


def test_weights_of_samples(make_competition: Callable[..., Project]) -> None:
    project = make_competition(num_groups=2, num_views=2, classes=("car", "bus"), mask_format="png")
    dataset = load_dataset(project.configs_dir)
    for sample, value in zip(read_manifest(project, dataset).train, (0, 1, 2), strict=False):  # the fourth keeps both
        Image.fromarray(np.full((64, 96), value, dtype=np.uint8)).save(sample.mask_paths[0])
    import_data(project, dataset)
    samples = read_manifest(project, dataset).train
    # none, car, bus each 1 of 4 images or 2 of 4: 1, 1/2, 1/2, 1/2
    with use_jobs(2):
        weights = weigh_samples(samples, dataset, "class")
    np.testing.assert_allclose(weights, np.array([1, 1 / 2, 1 / 2, 1 / 2]) / 2.5)  # type: ignore[arg-type]
    weights = weigh_samples(samples[1:], dataset, "group")
    np.testing.assert_allclose(weights, [1 / 2, 1 / 4, 1 / 4])  # type: ignore[arg-type]
    # all equal: nothing to balance, and every image is to be seen once
    assert weigh_samples(samples, dataset, "group") is None
    assert weigh_samples(samples[1:3], dataset, "class") is None
    assert weigh_samples(samples, dataset, "none") is None
