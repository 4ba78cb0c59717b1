"""Csv files of run lengths: how they are written, and what is refused."""

import gzip
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.submissions import read_submission
from unets.config import DatasetConfig, MasksSource, RleFormat, load_dataset
from unets.dataset.manifest import read_manifest
from unets.dataset.rle_csv import (
    clean_runs,
    default_rows,
    image_cell,
    list_columns,
    parse_row,
    read_sample,
)
from unets.errors import InputError
from unets.store.paths import Project


def read(path: Path, classes: Sequence[str] = ("car",), **form: object) -> dict[str, tuple[str, ...]]:
    source = MasksSource(values=tuple(range(1, len(classes) + 1)))
    submission = {"class_column": None, **form}
    return read_submission(path, DatasetConfig(classes=tuple(classes), source=source, submission=submission))


def test_packed_csv_with_quotes(tmp_path: Path) -> None:
    (tmp_path / "masks.csv.gz").write_bytes(gzip.compress(b'img,rle_mask\na.jpg,1 2 5 1\nb.jpg,\n"NA.jpg","3 1"\n'))
    assert read(tmp_path / "masks.csv.gz") == {"a": ("1 2 5 1",), "b": ("",), "NA": ("3 1",)}


def test_ids_that_look_like_numbers_or_nothing_stay_text(tmp_path: Path) -> None:
    (tmp_path / "masks.csv").write_text("img,rle_mask\nNA,1 1\n007,2 1\nnull,3 1\n")
    assert list(read(tmp_path / "masks.csv", cell="{id}")) == ["NA", "007", "null"]


@pytest.mark.parametrize("cell", ["", " ", "-1", "-", "NaN", "None", "[]", "1 0"])
def test_an_empty_mask_is_written_in_many_ways(cell: str) -> None:
    assert clean_runs(cell) == ""


def test_lists_and_relative_starts_become_pairs(tmp_path: Path) -> None:
    path = tmp_path / "masks.csv"
    path.write_text('img,rle_mask\na.jpg,"[1, 3, 10, 5]"\n')
    assert read(path) == {"a": ("1 3 10 5",)}
    # from 0: 4 pixels on begins pixel 5 of 2 pixels; 3 after its end, at pixel 10, one of 1
    path.write_text("img,rle_mask\na.jpg,4 2 3 1\n")
    assert read(path, relative=True) == {"a": ("5 2 10 1",)}
    path.write_text("img,rle_mask\na.jpg,4 x\n")
    with pytest.raises(InputError, match=r"`rle` must hold whole numbers only. Received: '4 x'"):
        read(path, relative=True)


def test_a_cell_longer_than_the_csv_modules_limit(tmp_path: Path) -> None:
    rle = " ".join(f"{start} 1" for start in range(1, 100_000, 2))  # more than 131,072 characters
    (tmp_path / "masks.csv").write_text(f"img,rle_mask\na.jpg,{rle}\n")
    assert read(tmp_path / "masks.csv")["a"] == (rle,)


def test_missing_columns(tmp_path: Path) -> None:
    (tmp_path / "masks.csv").write_text("image,rle_mask\na.jpg,1 1\n")
    with pytest.raises(InputError, match=r"masks.csv must have the columns \['img', 'rle_mask'\]. Received: \['image'"):
        read(tmp_path / "masks.csv")


@pytest.mark.parametrize(
    "content",
    [b"img,rle_mask\na.jpg,1 1\nb.jpg,1 1,2\n", b"img,rle_mask\na.jpg,1 1,2\n", b"\xff\xfe\x00", b"\x1f\x8b\x08"],
    ids=["too many cells", "too many cells at once", "no text", "torn gz"],
)
def test_damaged_csv(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "masks.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"masks.csv must be (a csv file|whole)"):
        read(tmp_path / "masks.csv")


@pytest.mark.parametrize("cell", ["{id}.jpg_{class}", "{class}/{id}", "{id}_{class}.png"])
def test_class_within_the_image_cell(tmp_path: Path, cell: str) -> None:
    form, classes = RleFormat(cell=cell), ("1", "2.x")
    rows = [f"{image_cell(form, classes, 'a_1', '2.x')},7 1", f"{image_cell(form, classes, 'a_1', '1')},1 2"]
    rows += [f"{image_cell(form, classes, 'b', '2.x')},3 1"]
    (tmp_path / "masks.csv").write_text("\n".join(["img,rle_mask", *rows]))
    # one run-length string a class, in the order of the classes; b has no row of class 1
    assert read(tmp_path / "masks.csv", classes, **form.model_dump()) == {"a_1": ("1 2", "7 1"), "b": ("", "3 1")}
    for id_ in ("a_1", "b", "x.jpg_1"):
        for name in classes:
            assert parse_row(form, classes, image_cell(form, classes, id_, name), None) == (id_, name)


@pytest.mark.parametrize("cell", ["{id}_{class}", "{class}_{id}", "{id}{class}", "{class}/{id}.png"])
def test_a_class_that_ends_or_begins_as_another(cell: str) -> None:
    form, classes = RleFormat(cell=cell), ("soil", "dry_soil", "soil_wet")
    for name in classes:
        assert parse_row(form, classes, image_cell(form, classes, "a_1", name), None) == ("a_1", name)


def test_class_column_and_classes_as_numbers(tmp_path: Path) -> None:
    form, classes = RleFormat(class_column="class", class_cells=("7", "9")), ("a", "b")
    path = tmp_path / "masks.csv"
    path.write_text("img,class,rle_mask\nx.jpg,9,1 1\nx.jpg,7,\ny.jpg,9,5 2\n")
    assert read(path, classes, **form.model_dump()) == {"x": ("", "1 1"), "y": ("", "5 2")}
    assert read_sample(path, form)[1] == [("x.jpg", "9"), ("x.jpg", "7"), ("y.jpg", "9")]
    path.write_text("img,class,rle_mask\nx.jpg,8,1 1\n")
    with pytest.raises(InputError, match=r"`class` must be one of \('7', '9'\). Received: '8'"):
        read(path, classes, **form.model_dump())


def test_rows_that_are_at_fault_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "masks.csv"
    path.write_text("img,rle_mask\na.png,1 1\nb.png,1 1\nc.png,\nd.png,\ne.jpg,1 1\n")
    with pytest.raises(InputError, match=r"`img` must be written as \{id\}.jpg. Received: 'a.png'.*\(4 such rows\)"):
        read(path)


def test_rows_of_one_object_each_are_united(tmp_path: Path) -> None:
    path = tmp_path / "masks.csv"
    path.write_text("img,rle_mask\na.jpg,1 2\na.jpg,2 5 20 1\nb.jpg,-1\n")
    with pytest.raises(InputError, match=r"must have one row a mask. Received: two for a.jpg"):
        read(path)
    assert read(path, row="object") == {"a": ("1 6 20 1",), "b": ("",)}


def test_rows_without_a_sample_submission(make_competition: Callable[..., Project]) -> None:
    project = make_competition(num_groups=2, num_test_groups=1, num_views=2, classes=("a", "b"))
    dataset = load_dataset(project.configs_dir)
    assert list_columns(dataset.submission) == ["img", "class", "rle_mask"]
    assert default_rows(dataset, read_manifest(project, dataset).test) == [
        ("test000_01.jpg", "a"),
        ("test000_01.jpg", "b"),
        ("test000_02.jpg", "a"),
        ("test000_02.jpg", "b"),
    ]
