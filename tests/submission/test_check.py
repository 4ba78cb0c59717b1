import gzip
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from unets.config import DatasetConfig, MasksSource, SubmissionConfig
from unets.errors import InputError
from unets.submission.check import check_submission
from unets.workers.pool import use_jobs

DATASET = DatasetConfig(size_hw=(4, 6))
IDS = [f"a_{index}" for index in range(6)]
HEADER = "img,rle_mask"


def write_csv(path: Path, lines: list[str]) -> Path:
    text = "".join(f"{line}\n" for line in lines)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def check(folder: Path, sample: list[str], lines: list[str], dataset: DatasetConfig = DATASET) -> None:
    """Checks a submission of these rows against a sample of those, both below one header."""
    sample_path = write_csv(folder / "sample.csv", [HEADER, *sample])
    check_submission(write_csv(folder / "mine.csv", [HEADER, *lines]), sample_path, dataset)


@pytest.fixture
def sample_path(tmp_path: Path) -> Path:
    return write_csv(tmp_path / "sample.csv", [HEADER, *(f"{id_}.jpg,1 1" for id_ in IDS)])


def build_lines() -> list[str]:
    return [HEADER, *(f"{id_}.jpg,1 2 5 1 23 2" for id_ in IDS)]


@pytest.mark.parametrize("name", ["ok.csv", "ok.csv.gz", ".part-ok.csv.gz"])
def test_a_valid_submission_passes(tmp_path: Path, sample_path: Path, name: str) -> None:
    lines = build_lines()
    lines[2] = "a_1.jpg,"  # an empty mask
    check_submission(write_csv(tmp_path / name, lines), sample_path, DATASET)


def change(row: int, line: str | None) -> Callable[[list[str]], list[str]]:
    return lambda lines: lines[: row - 1] + ([] if line is None else [line]) + lines[row:]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (change(1, "rle_mask,img"), "must have the columns ['img', 'rle_mask']. Received: ['rle_mask', 'img']"),
        (change(1, "image,rle_mask"), "must have the columns ['img', 'rle_mask']. Received: ['image', 'rle_mask']"),
        (lambda lines: [], "must have the columns ['img', 'rle_mask']. Received: []"),
        (change(3, None), "1 faults:\n  a_1.jpg has no row"),
        (change(3, "b_1.jpg,1 1"), "2 faults:\n  row 3: b_1.jpg is not in the sample submission\n  a_1.jpg has no row"),
        (change(3, "a_1,1 1"), "row 3: a_1 is not in the sample submission"),
        (lambda lines: [*lines, lines[2]], "1 faults:\n  row 8: a_1.jpg stands in row 3 already"),
        (lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]], "row 4: a_1.jpg must stand before a_2.jpg"),
        (change(3, "a_1.jpg,1 2 5"), "1 faults:\n  row 3: a_1.jpg `rle` must hold pairs `start length`. Received: 3"),
        (change(3, "a_1.jpg,1 3 3 1"), "row 3: a_1.jpg `rle` must hold increasing runs that do not overlap"),
        (change(3, "a_1.jpg,24 2"), "row 3: a_1.jpg `rle` must stay within pixels 1 to 24"),
        *(
            (change(3, f"a_1.jpg,{rle}"), f"row 3: a_1.jpg must be ASCII digits with single spaces between, is {rle!r}")
            for rle in ("+1 2", "1 -2", "1_0 2", "1  2", " 1 2", "1 2 ", "1\t2", "\u0661 2", "1 2.0", "-1", "nan")
        ),
        (change(3, ""), "row 3: must have cells, is a blank line"),
        (change(1, "\ufeffimg,rle_mask"), "must have the columns ['img', 'rle_mask']. Received: ['\\ufeffimg', "),
        (change(3, "a_1.jpg"), "row 3: a_1.jpg must have 2 cells, has 1"),
        (change(3, "a_1.jpg,1 1,1 1"), "row 3: a_1.jpg must have 2 cells, has 3"),
    ],
)
def test_each_fault_is_named_with_its_row(
    tmp_path: Path, sample_path: Path, spoil: Callable[[list[str]], list[str]], message: str
) -> None:
    path = write_csv(tmp_path / "faulty.csv.gz", spoil(build_lines()))
    with pytest.raises(InputError, match=re.escape(message)):
        check_submission(path, sample_path, DATASET)


def test_the_first_twenty_faults_are_shown(tmp_path: Path) -> None:
    names = [f"a_{index:04d}.jpg" for index in range(600)]
    with pytest.raises(InputError) as caught, use_jobs(2):
        check(tmp_path, [f"{name},1 1" for name in names], [f"{name},1" for name in names])
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("Received: 600 faults:")
    assert [line.split()[1] for line in lines[1:21]] == [f"{row}:" for row in range(2, 22)]
    assert lines[21:] == ["  ... and 580 more"]


def test_a_damaged_file_is_refused(tmp_path: Path, sample_path: Path) -> None:
    path = write_csv(tmp_path / "cut.csv.gz", build_lines())
    for content in (path.read_bytes()[:-12], b"\x1f\x8b\x08 this is no gzip", b"img,rle_mask\na_0.jpg,\xff"):
        path.write_bytes(content)
        with pytest.raises(InputError, match="must be a whole csv"):
            check_submission(path, sample_path, DATASET)
    with pytest.raises(InputError, match="must exist"):
        check_submission(tmp_path / "none.csv", sample_path, DATASET)


def test_a_row_a_class(tmp_path: Path) -> None:
    dataset = DatasetConfig(
        size_hw=(4, 6),
        classes=("cat", "dog"),
        source=MasksSource(values=(1, 2)),
        submission=SubmissionConfig(class_column="class", row="class"),
    )
    lines = ["img,class,rle_mask", "a.jpg,cat,1 1", "a.jpg,dog,1 1"]
    sample_path = write_csv(tmp_path / "sample.csv", lines)
    check_submission(write_csv(tmp_path / "ok.csv", lines), sample_path, dataset)
    path = write_csv(tmp_path / "faulty.csv", [lines[0], lines[2], "a.jpg,owl,1 1"])
    with pytest.raises(InputError, match=r"row 3: a\.jpg owl is not in the sample submission\n  a\.jpg cat has no row"):
        check_submission(path, sample_path, dataset)


def test_long_cells_are_read(tmp_path: Path) -> None:
    dataset = DatasetConfig(size_hw=(300, 300))
    rle = " ".join(f"{start} 1" for start in range(1, 90_000, 2))  # 300 KB; the csv module's own limit is 131,072
    check(tmp_path, ["a.jpg,1 1"], [f"a.jpg,{rle}"], dataset)


OBJECTS = DatasetConfig(size_hw=(4, 6), submission=SubmissionConfig(row="object"))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a_0.jpg,1 2", "a_1.jpg,1 1", "a_0.jpg,5 1"], "row 4: a_0.jpg stands in row 2 already"),
        (["a_0.jpg,1 4 10 2", "a_0.jpg,3 1", "a_1.jpg,"], "a_0.jpg must have objects that share no pixel"),
        (["a_0.jpg,1 4"], "a_1.jpg has no row"),
    ],
)
def test_a_row_an_object(tmp_path: Path, lines: list[str], message: str) -> None:
    sample = ["a_0.jpg,1 1", "a_0.jpg,2 2", "a_1.jpg,1 1"]
    check(tmp_path, sample, ["a_0.jpg,1 2", "a_0.jpg,3 1 9 2", "a_1.jpg,"], OBJECTS)
    with pytest.raises(InputError, match=re.escape(message)):
        check(tmp_path, sample, lines, OBJECTS)


def test_objects_of_one_mask_are_compared_across_chunks(tmp_path: Path) -> None:
    dataset = OBJECTS.model_copy(update={"size_hw": (100, 100)})
    rows = [f"a.jpg,{2 * index + 1} 1" for index in range(600)]
    with pytest.raises(InputError, match=r"1 faults:\n  a\.jpg must have objects that share no pixel"):
        check(tmp_path, ["a.jpg,1 1", "b.jpg,1 1"], [*rows, "a.jpg,1 1", "b.jpg,1 1"], dataset)


def test_an_empty_mask_of_relative_starts_is_minus_one(tmp_path: Path) -> None:
    relative = DATASET.model_copy(update={"submission": SubmissionConfig(relative=True)})
    check(tmp_path, ["a.jpg,-1"], ["a.jpg,-1"], relative)
