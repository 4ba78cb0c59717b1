"""Csv files of run lengths: how they are written, and what is refused."""

import gzip
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.submissions import read_submission
from unets.config import DatasetConfig, MasksSource, RleFormat
from unets.dataset.importers.draws import draw_rows
from unets.dataset.rle_csv import clean_runs, image_cell, parse_row, read_metadata, read_sample
from unets.errors import InputError
from unets.store.paths import Project

LONG = " ".join(f"{start} 1" for start in range(1, 100_000, 2))  # the csv module's own limit is 131,072 characters


def read(
    path: Path, content: bytes | str, classes: Sequence[str] = ("car",), **form: object
) -> dict[str, tuple[str, ...]]:
    """Reads a csv of this content; a text is that of its rows, without a column of classes."""
    path.write_bytes(content if isinstance(content, bytes) else f"img,rle_mask\n{content}".encode())
    source = MasksSource(values=tuple(range(1, len(classes) + 1)))
    submission = {"class_column": None, **form}
    return read_submission(path, DatasetConfig(classes=tuple(classes), source=source, submission=submission))


@pytest.mark.parametrize(
    ("rows", "form", "masks"),
    [
        ('a.jpg,1 2 5 1\nb.jpg,\n"NA.jpg","3 1"\n', {}, {"a": "1 2 5 1", "b": "", "NA": "3 1"}),
        ("NA,1 1\n007,2 1\nnull,3 1\n", {"cell": "{id}"}, {"NA": "1 1", "007": "2 1", "null": "3 1"}),
        ('a.jpg,"[1, 3, 10, 5]"\n', {}, {"a": "1 3 10 5"}),
        # from 0: 4 pixels on begins pixel 5 of 2 pixels; 3 after its end, at pixel 10, one of 1
        ("a.jpg,4 2 3 1\n", {"relative": True}, {"a": "5 2 10 1"}),
        ("a.jpg,1 2\na.jpg,2 5 20 1\nb.jpg,-1\n", {"row": "object"}, {"a": "1 6 20 1", "b": ""}),
        (f"a.jpg,{LONG}\n", {}, {"a": LONG}),
    ],
    ids=["quotes", "ids that look like numbers or nothing", "a list", "relative", "a row an object", "a long cell"],
)
def test_rows_are_read_packed_or_not(tmp_path: Path, rows: str, form: dict[str, Any], masks: dict[str, str]) -> None:
    wanted = {id_: (rle,) for id_, rle in masks.items()}
    assert read(tmp_path / "masks.csv", rows, **form) == wanted
    assert read(tmp_path / "masks.csv.gz", gzip.compress(f"img,rle_mask\n{rows}".encode()), **form) == wanted


@pytest.mark.parametrize("cell", ["", " ", "-1", "-", "NaN", "None", "[]", "1 0"])
def test_an_empty_mask_is_written_in_many_ways(cell: str) -> None:
    assert clean_runs(cell) == ""


@pytest.mark.parametrize(
    ("content", "form", "message"),
    [
        *((rows, {}, r"masks\.csv must be a csv file") for rows in ("a.jpg,1 1\nb.jpg,1 1,2\n", "a.jpg,1 1,2\n")),
        (b"\xff\xfe\x00", {}, r"masks\.csv must be a csv file"),
        (b"\x1f\x8b\x08", {}, r"masks\.csv must be whole"),
        (b"image,rle_mask\na.jpg,1 1\n", {}, r"must have the columns \['img', 'rle_mask'\]. Received: \['image'"),
        ("a.jpg,4 x\n", {"relative": True}, r"`rle` must hold whole numbers only. Received: '4 x'"),
        (
            "a.png,1 1\nb.png,1 1\nc.png,\nd.png,\ne.jpg,1 1\n",
            {},
            r"`img` must be written as \{id\}.jpg. Received: 'a.png'.*\(4 such rows\)",
        ),
        ("a.jpg,1 2\na.jpg,2 5 20 1\nb.jpg,-1\n", {}, r"must have one row a mask. Received: two for a.jpg"),
    ],
)
def test_what_is_at_fault_is_named(tmp_path: Path, content: bytes | str, form: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path / "masks.csv", content, **form)


@pytest.mark.parametrize("cell", ["{id}.jpg_{class}", "{class}/{id}", "{id}_{class}.png"])
def test_class_within_the_image_cell(tmp_path: Path, cell: str) -> None:
    form, classes = RleFormat(cell=cell), ("1", "2.x")
    rows = [f"{image_cell(form, classes, 'a_1', '2.x')},7 1", f"{image_cell(form, classes, 'a_1', '1')},1 2"]
    rows += [f"{image_cell(form, classes, 'b', '2.x')},3 1"]
    # one run-length string a class, in the order of the classes; b has no row of class 1
    found = read(tmp_path / "masks.csv", "\n".join(rows), classes, **form.model_dump())
    assert found == {"a_1": ("1 2", "7 1"), "b": ("", "3 1")}
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
    path, header = tmp_path / "masks.csv", b"img,class,rle_mask\n"
    found = read(path, header + b"x.jpg,9,1 1\nx.jpg,7,\ny.jpg,9,5 2\n", classes, **form.model_dump())
    assert found == {"x": ("", "1 1"), "y": ("", "5 2")}
    assert read_sample(path, form)[1] == [("x.jpg", "9"), ("x.jpg", "7"), ("y.jpg", "9")]
    with pytest.raises(InputError, match=r"`class` must be one of \('7', '9'\). Received: '8'"):
        read(path, header + b"x.jpg,8,1 1\n", classes, **form.model_dump())


def test_masks_of_rows() -> None:
    dataset = DatasetConfig(classes=("a", "b"), source=MasksSource(values=(1, 2)), submission={"class_column": "c"})
    rows = (("1 1", "2 1"), ("2 2",))  # two objects of the first class
    np.testing.assert_array_equal(draw_rows(rows, (1, 4), dataset, "x"), [[1, 2, 2, 0]])
    overlapping = draw_rows(rows, (1, 4), dataset.model_copy(update={"overlapping": True}), "x")
    np.testing.assert_array_equal(overlapping, [[[1, 0], [1, 1], [0, 1], [0, 0]]])


def test_metadata_is_by_group(make_competition: Callable[..., Project]) -> None:
    project = make_competition(num_groups=1, num_test_groups=1)
    metadata = read_metadata(project.input_dir)
    assert metadata.to_dict("index") == {name: {"year": "2017", "make": "Tiny"} for name in ("car000", "test000")}
    path = project.input_dir / "metadata.csv"
    with zipfile.ZipFile(path.with_name("metadata.csv.zip"), "w") as archive:  # as Kaggle has it
        archive.write(path, "metadata.csv")
    path.unlink()
    assert read_metadata(project.input_dir).equals(metadata)
    path.write_text("id,make\na,X\nb,Y\na,X\n")
    with pytest.raises(InputError, match=r"metadata.csv must have one row a group. Received: two for a"):
        read_metadata(project.input_dir)
