"""Whether a submission file is one that the competition accepts."""

import csv
import gzip
import zlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path

from unets.config import DatasetConfig
from unets.data.files import find_file, read_bytes
from unets.data.rle import read_runs
from unets.data.samples import Sample, read_full_size
from unets.dataset.manifest import read_manifest
from unets.dataset.rle_csv import clean_rle, default_rows, list_columns, parse_row, read_sample_rows
from unets.errors import InputError
from unets.store.paths import Project
from unets.workers.pool import run_tasks

_CHUNK = 256  # rows a task
_MAX_FAULTS = 20
_GZIP_START = b"\x1f\x8b"
# What reading a csv or csv.gz raises: not compressed right, cut off, not text, not a table.
_DAMAGE = (OSError, EOFError, zlib.error, ValueError, csv.Error)

Key = tuple[str, str]  # image cell, class cell ("" without such a column)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    number: int | None  # line in the file, the header's is 1; None: there is no such row
    key: Key
    rle: str
    photo: Sample | None
    fault: str | None  # what the row's place and name are at fault for


def check_submission(
    path: Path,
    sample_path: Path | None,
    dataset: DatasetConfig,
    *,
    photos: Sequence[Sample] = (),
    jobs: int | None = None,
) -> None:
    """Checks every row of a submission; memory does not grow with it.

    The header and the rows' names must be those of the sample submission, in its order, each once; each mask must be an
    even count of numbers, runs that increase, do not overlap, and stay within the photo.

    Args:
        path: csv or csv.gz.
        sample_path: the competition's sample submission; None: rows as `default_rows` has them.
        dataset: the dataset's declaration.
        photos: the test photos, asked for their size where the dataset has no common one, and for their names where
            there is no sample submission.
        jobs: worker processes; None is one a core.

    Raises:
        InputError: the file is damaged or at fault; names the first 20 faults by row.
    """
    header, wanted = read_wanted(sample_path, dataset, photos)
    keys = [(cell, class_name or "") for cell, class_name in wanted]
    del wanted
    photo_of = {} if dataset.size_hw else {photo.id: photo for photo in photos}
    chunks = _read_chunks(path, header, keys, photo_of, dataset)
    total = len(keys) // _CHUNK + 1
    faults: list[str] = []
    num_faults = 0
    for found in run_tasks(partial(_check_rows, dataset), chunks, what="check", jobs=jobs, total=total, unit="chunk"):
        num_faults += len(found)
        faults += found[: _MAX_FAULTS - len(faults)]
    if num_faults:
        more = f"\n  ... and {num_faults - len(faults)} more" if num_faults > len(faults) else ""
        listed = "".join(f"\n  {fault}" for fault in faults)
        raise InputError(f"{path} must be a valid submission. Received: {num_faults} faults:{listed}{more}")


def read_wanted(
    sample_path: Path | None, dataset: DatasetConfig, photos: Sequence[Sample]
) -> tuple[list[str], list[tuple[str, str | None]]]:
    """Returns the header and the (image cell, class) of the rows that a submission must have, in their order."""
    if sample_path is None:
        return list_columns(dataset.submission), default_rows(dataset, photos)
    return read_header(sample_path), read_sample_rows(sample_path, dataset.submission)


def find_reference(project: Project, dataset: DatasetConfig) -> tuple[Path | None, Sequence[Sample]]:
    """Finds what a submission is held against: the sample submission (None: there is none), and the test images.

    Raises:
        InputError: there are no test images and so no submission, or the sample submission does not exist.
    """
    test = read_manifest(project, dataset).test
    if not test:
        raise InputError(f"{project.input_dir} must have test images for a submission. Received: none")
    sample = dataset.submission.sample
    return None if sample is None else find_file(project.input_dir, sample), test


def read_header(path: Path) -> list[str]:
    """Reads the names of a csv's columns.

    Raises:
        InputError: the file is missing, empty or not text.
    """
    content = read_bytes(path)
    try:
        with gzip.open(BytesIO(content)) if content.startswith(_GZIP_START) else BytesIO(content) as file:
            line = file.readline().decode("utf-8-sig")
    except _DAMAGE as error:
        raise InputError(f"{path} must be a csv file. Received: {error}") from error
    return next(csv.reader(StringIO(line)), [])


def _read_chunks(
    path: Path, header: list[str], keys: Sequence[Key], photo_of: dict[str, Sample], dataset: DatasetConfig
) -> Iterator[list[_Row]]:
    """Reads the submission bit by bit; compares its rows' names with the sample's as they come."""
    places, form = _Places(keys), dataset.submission
    rows: list[_Row] = []
    for number, cells in _read_cells(path, header):
        row = dict(zip(header, cells, strict=False))
        key = (row.get(form.image_column, ""), row.get(form.class_column or "", ""))
        fault = places.find_fault(key, number)
        if len(cells) != len(header):
            fault = f"must have {len(header)} cells, has {len(cells)}"
        photo = (
            photo_of.get(parse_row(form, dataset.classes, key[0], key[1] or None)[0])
            if photo_of and fault is None
            else None
        )
        rle = row.get(form.rle_column, "")
        rows.append(_Row(number=number, key=key, rle=rle, photo=photo, fault=fault))
        if len(rows) == _CHUNK:
            yield rows
            rows = []
    missing = [_Row(number=None, key=key, rle="", photo=None, fault="has no row") for key in places.list_missing()]
    yield rows + missing


class _Places:
    """Where each row of the sample submission was found."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = keys
        self._position_of: dict[Key, int] | None = None  # 20 MB of Carvana's: not before a row is out of its place
        self._numbers = array("q", bytes(8 * len(keys)))  # row of each key; 0: none yet
        self._last = -1  # position of the latest row that stood in its place

    def find_fault(self, key: Key, number: int) -> str | None:
        """Notes a row; returns what is wrong with its name or place."""
        position = self._find(key)
        if position is None:
            return "is not in the sample submission"
        if self._numbers[position]:
            return f"stands in row {self._numbers[position]} already"
        self._numbers[position] = number
        if position < self._last:
            return f"must stand before {_name(self._keys[self._last])}"
        self._last = position
        return None

    def _find(self, key: Key) -> int | None:
        following = self._last + 1
        if following < len(self._keys) and self._keys[following] == key:
            return following
        if self._position_of is None:
            self._position_of = {key: position for position, key in enumerate(self._keys)}
        return self._position_of.get(key)

    def list_missing(self) -> list[Key]:
        """Lists what was not found, in the sample's order."""
        return [key for key, number in zip(self._keys, self._numbers, strict=True) if not number]


def _read_cells(path: Path, header: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Reads (row number, cells) of all rows below the header, skipping blank lines."""
    if not path.is_file():
        raise InputError(f"{path} must exist. Received: no such file")
    csv.field_size_limit(2**31 - 1)  # run lengths may exceed the usual limit, 131,072 characters
    try:
        with path.open("rb") as file:
            is_gzip = file.peek(2).startswith(_GZIP_START)
            with TextIOWrapper(gzip.open(file) if is_gzip else file, encoding="utf-8-sig", newline="") as text:
                reader = csv.reader(text, strict=True)
                found = next(reader, [])
                if found != header:
                    raise InputError(f"{path} must have the columns {header}. Received: {found}")
                for cells in reader:
                    if cells:
                        yield reader.line_num, cells
    except InputError:
        raise
    except _DAMAGE as error:
        raise InputError(f"{path} must be a whole csv or csv.gz file. Received: {error}") from error


def _check_rows(dataset: DatasetConfig, rows: Sequence[_Row]) -> list[str]:
    """Returns a sentence for each row at fault."""
    faults = []
    for row in rows:
        fault = row.fault or _find_run_fault(dataset, row)
        if fault:
            where = "" if row.number is None else f"row {row.number}: "
            faults.append(f"{where}{_name(row.key)} {fault}")
    return faults


def _find_run_fault(dataset: DatasetConfig, row: _Row) -> str | None:
    size_hw = dataset.size_hw if row.photo is None else read_full_size(row.photo, dataset)
    if size_hw is None:
        return "has no photo that tells its size"
    try:
        read_runs(clean_rle(row.rle, dataset.submission), size_hw[0] * size_hw[1])
    except InputError as error:
        return str(error)
    return None


def _name(key: Key) -> str:
    return " ".join(part for part in key if part)
