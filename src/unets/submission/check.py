"""Whether a submission file is one that the competition accepts."""

import csv
import gzip
import re
from collections.abc import Iterator, Sequence
from functools import partial
from io import TextIOWrapper
from itertools import chain, groupby, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from unets.config import DatasetConfig
from unets.data.files import find_file
from unets.data.rle import read_runs, to_absolute
from unets.data.samples import Sample, read_full_size
from unets.dataset.manifest import Manifest
from unets.dataset.rle_csv import default_rows, list_columns, parse_row, read_sample
from unets.errors import InputError, naming
from unets.store.paths import Project
from unets.workers.pool import run_tasks

_CHUNK = 256  # rows a task
_MAX_FAULTS = 20
_GZIP_START = b"\x1f\x8b"
_MAX_CELL = 2**26  # characters; of a chessboard of 2,000 x 2,000 pixels, run lengths have 2**24
# What every parser takes: ASCII digits, single spaces.
_PLAIN_RLE = re.compile(r"([0-9]+( [0-9]+)*)?")

Key = tuple[str, str]  # image cell, class cell ("" without such a column)


class _Row(NamedTuple):
    number: int | None  # line in the file, the header's is 1; None: there is no such row
    key: Key
    rle: str
    image: Sample | None  # asked for its size, where the data set has no common one
    fault: str | None  # what is wrong with the row's place or name


def check_submission(
    path: Path, sample_path: Path | None, dataset: DatasetConfig, *, images: Sequence[Sample] = ()
) -> None:
    """Checks every row of a submission.

    The header and the rows' names must be those of the sample submission, in its order, each once; where a row is of an
    object, a mask may have several rows, one behind the other, that share no pixel. Each mask must be pairs of numbers
    in ASCII digits with single spaces between, of runs that increase, do not overlap, and stay within the image.

    Without a sample submission, rows are as `default_rows` has them. Test images are asked for their size where the
    data set has no common one, and for their names where there is no sample submission. Raises InputError where the
    file is damaged or at fault; names the first 20 faults by row.
    """
    header, wanted = read_wanted(sample_path, dataset, images)
    keys = [(cell, class_cell or "") for cell, class_cell in wanted]
    image_of = {} if dataset.size_hw else {image.id: image for image in images}
    chunks = _read_chunks(path, header, keys, image_of, dataset)
    total = len(keys) // _CHUNK + 1
    found = run_tasks(partial(_check_rows, dataset), chunks, what="check", total=total, unit="chunk")
    if faults := list(chain.from_iterable(found)):
        more = f"\n  ... and {len(faults) - _MAX_FAULTS} more" if len(faults) > _MAX_FAULTS else ""
        listed = "".join(f"\n  {fault}" for fault in faults[:_MAX_FAULTS])
        raise InputError(f"{path} must be a valid submission. Received: {len(faults)} faults:{listed}{more}")


def read_wanted(
    sample_path: Path | None, dataset: DatasetConfig, images: Sequence[Sample]
) -> tuple[list[str], list[tuple[str, str | None]]]:
    """Returns the header and the (image cell, class cell) that a submission must have rows of, each once, in order."""
    form = dataset.submission
    if sample_path is None:
        return list_columns(form), default_rows(dataset, images)
    header, rows = read_sample(sample_path, form)
    return header, list(dict.fromkeys(rows)) if form.row == "object" else rows


def find_sample(project: Project, manifest: Manifest) -> Path | None:
    """Finds the sample submission, with which a submission is compared; None: the data set has none.

    Raises InputError where there are no test images and so no submission, or the sample submission does not exist.
    """
    if not manifest.test:
        raise InputError(f"{project.input_dir} must have test images for a submission. Received: none")
    sample = manifest.dataset.submission.sample
    return None if sample is None else find_file(project.input_dir, sample)


def _read_chunks(
    path: Path, header: list[str], keys: Sequence[Key], image_of: dict[str, Sample], dataset: DatasetConfig
) -> Iterator[list[_Row]]:
    """Reads the submission bit by bit, rows of one key together; compares their names with the sample's."""
    form, position_of = dataset.submission, {key: position for position, key in enumerate(keys)}
    seen: dict[Key, int] = {}  # number of the first row of each key
    rows: list[_Row] = []
    last_key, last_position = None, -1
    for number, cells in _read_cells(path, header):
        row = dict(zip(header, cells, strict=False))
        key = (row.get(form.image_column, ""), row.get(form.class_column or "", ""))
        fault, image = None, None
        if not cells:
            fault = "must have cells, is a blank line"
        elif len(cells) != len(header):
            fault = f"must have {len(header)} cells, has {len(cells)}"
        elif key not in position_of:
            fault = "is not in the sample submission"
        elif key in seen and not (form.row == "object" and key == last_key):
            fault = f"stands in row {seen[key]} already"
        elif position_of[key] < last_position:
            fault = f"must stand before {_name(keys[last_position])}"
        elif image_of:
            image = image_of.get(parse_row(form, dataset.classes, key[0], key[1] or None)[0])
        if key in position_of:
            seen.setdefault(key, number)
            last_position = max(last_position, position_of[key])
        if len(rows) >= _CHUNK and key != last_key:
            yield rows
            rows = []
        rows.append(_Row(number=number, key=key, rle=row.get(form.rle_column, ""), image=image, fault=fault))
        last_key = key
    missing = [_Row(number=None, key=key, rle="", image=None, fault="has no row") for key in keys if key not in seen]
    yield rows + missing


def _read_cells(path: Path, header: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Reads (row number, cells) of all rows below the header; a blank line has none."""
    if not path.is_file():
        raise InputError(f"{path} must exist. Received: no such file")
    csv.field_size_limit(_MAX_CELL)
    with naming(path, "be a whole csv or csv.gz file"), path.open("rb") as file:
        is_gzip = file.peek(2).startswith(_GZIP_START)
        with TextIOWrapper(gzip.open(file) if is_gzip else file, encoding="utf-8", newline="") as text:
            reader = csv.reader(text, strict=True)
            found = next(reader, [])
            if found != header:
                raise InputError(f"{path} must have the columns {header}. Received: {str(found)[:200]}")
            for cells in reader:
                yield reader.line_num, cells


def _check_rows(dataset: DatasetConfig, rows: Sequence[_Row]) -> list[str]:
    """Returns a sentence for each row at fault; where a row is of an object, the rows of a mask must share no pixel."""
    faults = []
    for key, same in groupby(rows, key=lambda row: row.key):
        runs: list[tuple[int, int]] = []
        for row in same:
            fault = row.fault or _find_run_fault(dataset, row, runs)
            if fault:
                where = "" if row.number is None else f"row {row.number}: "
                faults.append(where + " ".join(filter(None, (*key, fault))))
        runs.sort()
        if any(end > start for (_, end), (start, _) in pairwise(runs)):
            faults.append(f"{_name(key)} must have objects that share no pixel")
    return faults


def _find_run_fault(dataset: DatasetConfig, row: _Row, runs: list[tuple[int, int]]) -> str | None:
    """Returns what is wrong with a row's mask; adds its runs (first pixel, pixel behind the last) to `runs`."""
    form = dataset.submission
    size_hw = dataset.size_hw if row.image is None else read_full_size(row.image, dataset)
    if size_hw is None:
        return "has no image that tells its size"
    rle = "" if form.relative and row.rle == "-1" else row.rle
    if not _PLAIN_RLE.fullmatch(rle):
        return f"must be ASCII digits with single spaces between, is {rle[:40]!r}"
    try:
        starts, ends = read_runs(to_absolute(rle, relative=form.relative), size_hw[0] * size_hw[1])
    except InputError as error:
        return str(error)
    if form.row == "object":
        runs += np.stack([starts, ends], axis=-1).tolist()
    return None


def _name(key: Key) -> str:
    return " ".join(part for part in key if part)
