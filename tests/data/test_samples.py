"""Masks of samples: files and run lengths say the same, and what is not declared is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unets.config import DatasetConfig, load_dataset
from unets.data.samples import (
    VOID,
    Sample,
    count_object_pixels,
    read_coverage,
    read_csv_mask,
    read_file_mask,
    read_full_size,
    read_mask,
)
from unets.dataset.catalog import load_catalog
from unets.errors import InputError
from unets.store.paths import Project


def make_sample(folder: Path, values: list[list[int]] | None = None, rles: tuple[str, ...] | None = None) -> Sample:
    """Writes a mask file, and a photo of its size (2 x 4 without a mask)."""
    mask_path = None
    if values is not None:
        mask_path = folder / "a_mask.png"
        Image.fromarray(np.array(values, dtype=np.uint8)).save(mask_path)
    photo = np.zeros((2, 4, 3) if values is None else (*np.shape(values), 3), dtype=np.uint8)
    Image.fromarray(photo).save(folder / "a.png")
    return Sample(id="a", group="a", view=None, photo=str(folder / "a.png"), mask_path=mask_path, mask_rles=rles)


THREE = DatasetConfig(
    classes=("cat", "dog", "owl"), mask_values=(10, 255, 7), masks_csv="masks.csv", csv_class_column="class"
)


def test_values_become_classes_in_the_order_of_the_config(tmp_path: Path) -> None:
    sample = make_sample(tmp_path, [[0, 10, 255, 7], [7, 0, 0, 255]])
    mask_hw = read_mask(sample, THREE)
    assert mask_hw.dtype == np.uint8
    np.testing.assert_array_equal(mask_hw, [[0, 1, 2, 3], [3, 0, 0, 2]])


def test_run_lengths_become_classes_in_the_order_of_the_config(tmp_path: Path) -> None:
    # pixels are counted from 1 along rows of 4: cat 2, dog 3 and 8, owl 4 and 5
    sample = make_sample(tmp_path, rles=("2 1", "3 1 8 1", "4 2"))
    from_csv = THREE.model_copy(update={"read_masks_from": "csv"})
    np.testing.assert_array_equal(read_mask(sample, from_csv), [[0, 1, 2, 3], [3, 0, 0, 2]])


def test_one_class_of_run_lengths(tmp_path: Path) -> None:
    dataset = DatasetConfig(masks=None, masks_csv="masks.csv", read_masks_from="csv", rle_order="column")
    # down columns of 2: pixels 2, 3, 4 are (1, 0), (0, 1), (1, 1)
    np.testing.assert_array_equal(
        read_mask(make_sample(tmp_path, rles=("2 3",)), dataset), [[0, 1, 0, 0], [1, 1, 0, 0]]
    )
    np.testing.assert_array_equal(read_mask(make_sample(tmp_path, rles=("",)), dataset), np.zeros((2, 4)))


def test_coverage_by_hand(tmp_path: Path) -> None:
    sample = make_sample(tmp_path, [[10, 10, 255, 7], [10, 0, 7, 7]])
    # blocks of 2 x 2: 3 of 4 cat; 1 of 4 dog, 3 of 4 owl. 1/4 is 63.75, 3/4 is 191.25.
    coverage = read_coverage(sample, THREE, (1, 2))
    assert coverage.dtype == np.uint8
    np.testing.assert_array_equal(coverage, [[[191, 0, 0], [0, 64, 191]]])


@pytest.mark.parametrize("classes", [("car",), ("car", "bus", "tram")])
@pytest.mark.parametrize("rle_order", ["row", "column"])
def test_files_and_csv_agree(
    make_competition: Callable[..., Project], classes: tuple[str, ...], rle_order: str
) -> None:
    project = make_competition(num_groups=2, num_views=2, classes=classes, rle_order=rle_order, mask_format="png")
    dataset = load_dataset(project.configs_dir)
    for sample in load_catalog(dataset, project.input_dir).train:
        from_file, from_csv = read_file_mask(sample, dataset), read_csv_mask(sample, dataset)
        assert set(np.unique(from_file)) == set(range(len(classes) + 1))
        np.testing.assert_array_equal(from_file, from_csv)


def test_undeclared_values_are_refused(tmp_path: Path) -> None:
    sample = make_sample(tmp_path, [[0, 10, 254, 7], [1, 0, 0, 255]])
    with pytest.raises(InputError, match=r"a_mask.png must hold 0 and \[10, 255, 7\] only. Received: also \[1, 254\]"):
        read_mask(sample, THREE)


def test_every_value_but_the_declared_is_refused(tmp_path: Path) -> None:
    dataset = DatasetConfig(mask_values=(255,))
    for value in range(256):
        sample = make_sample(tmp_path, [[0, value]])
        if value in (0, 255):
            np.testing.assert_array_equal(read_mask(sample, dataset), [[0, value == 255]])
        else:
            with pytest.raises(InputError, match=rf"Received: also \[{value}\]"):
                read_mask(sample, dataset)


def test_run_lengths_stand_in_for_a_file_alone(tmp_path: Path) -> None:
    """A pseudo-label has no file; where there is one, the dataset decides."""
    from_files = THREE.model_copy(update={"masks_csv": None, "csv_class_column": None, "csv_image": "{id}_{class}"})
    label = make_sample(tmp_path, rles=("2 1", "3 1 8 1", "4 2"))
    np.testing.assert_array_equal(read_mask(label, from_files), [[0, 1, 2, 3], [3, 0, 0, 2]])
    with pytest.raises(InputError, match=r"^run lengths, a: "):
        read_mask(make_sample(tmp_path, rles=("7 9", "", "")), from_files)  # ends at 15 of 8 pixels
    both = make_sample(tmp_path, [[10, 10], [0, 0]], rles=("", "1 4", ""))
    np.testing.assert_array_equal(read_mask(both, from_files), [[1, 1], [0, 0]])


def test_missing_masks_are_refused(tmp_path: Path) -> None:
    sample = make_sample(tmp_path)
    with pytest.raises(InputError, match=r"train_masks/\{id\}_mask.png must exist .* Received: none for a"):
        read_file_mask(sample, THREE)
    with pytest.raises(InputError, match=r"masks.csv must have a row .* Received: none for a"):
        read_csv_mask(sample, THREE)


def test_faulty_run_lengths_name_file_and_photo(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"masks.csv, a: .*"):
        read_csv_mask(make_sample(tmp_path, rles=("7 9", "", "")), THREE)  # ends at 15 of 8 pixels


def test_the_size_is_the_declared_one_or_the_photos(tmp_path: Path) -> None:
    sample = make_sample(tmp_path)
    assert read_full_size(sample, DatasetConfig()) == (2, 4)
    assert read_full_size(sample, DatasetConfig(size_hw=(1280, 1918))) == (1280, 1918)


def test_0_may_be_a_class_and_some_values_nobodys(tmp_path: Path) -> None:
    """As in CamVid: every pixel has a class, or nobody labelled it."""
    dataset = DatasetConfig(
        classes=("sky", "road"),
        mask_values=(0, 1),
        background_values=(),
        ignore_values=(11, 12),
        csv_class_column="class",
    )
    sample = make_sample(tmp_path, [[0, 1, 11, 12], [1, 1, 0, 0]])
    mask_hw = read_mask(sample, dataset)
    assert mask_hw.tolist() == [[1, 2, VOID, VOID], [2, 2, 1, 1]]
    assert count_object_pixels(mask_hw) == 6
    # blocks of 2 x 2: 1 of 4 sky, 3 of 4 road; 2 of 4 sky, 2 of 4 nobody's
    assert dataset.num_layers == 3
    assert read_coverage(sample, dataset, (1, 2)).tolist() == [[[64, 191, 0], [128, 0, 127]]]


def test_colours(tmp_path: Path) -> None:
    dataset = DatasetConfig(
        classes=("road", "tree"),
        mask_values=((128, 64, 128), 200),
        background_values=((0, 0, 0),),
        ignore_values=((255, 0, 0),),
        csv_class_column="class",
    )
    pixels = np.array([[[128, 64, 128], [200, 200, 200]], [[0, 0, 0], [255, 0, 0]]], dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    sample = Sample(id="a", group="a", view=None, photo=str(tmp_path / "a.png"), mask_path=tmp_path / "a.png")
    assert read_mask(sample, dataset).tolist() == [[1, 2], [0, VOID]]
    pixels[0, 0] = (128, 64, 129)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a.png must hold .* only. Received: also \[\(128, 64, 129\)\]"):
        read_mask(sample, dataset)


@pytest.mark.parametrize(("classes_are", "wanted"), [((255,), [[0, 0, 1, 1]]), ((0,), [[1, 1, 0, 0]])])
def test_shades_are_cut(tmp_path: Path, classes_are: tuple[int], wanted: list[list[int]]) -> None:
    sample = make_sample(tmp_path, [[0, 127, 128, 251]])
    background = (255 - classes_are[0],)
    dataset = DatasetConfig(mask_values=classes_are, background_values=background, mask_threshold=128)
    assert read_mask(sample, dataset).tolist() == wanted


def test_files_of_one_object_each_are_united(tmp_path: Path) -> None:
    objects = {"a": [[255, 0, 0]], "b": [[0, 255, 0]]}
    for name, values in objects.items():
        Image.fromarray(np.array(values, dtype=np.uint8)).save(tmp_path / f"{name}.png")
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    dataset = DatasetConfig(mask_values=(255,), unite_masks=True)
    sample = Sample(id="a", group="a", view=None, photo=str(first), mask_path=first, more_mask_paths=(second,))
    assert read_mask(sample, dataset).tolist() == [[1, 1, 0]]
    Image.new("L", (2, 1)).save(second)
    with pytest.raises(InputError, match=r"b.png must have the size of .*a.png. Received: \(1, 2\)"):
        read_mask(sample, dataset)
