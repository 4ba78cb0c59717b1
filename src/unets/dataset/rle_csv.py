"""Csv files of run lengths: training masks, submissions, sample submissions. What a row is of, and what its mask is."""

import re
import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import pandas as pd

from unets.config import DatasetConfig, RleFormat
from unets.data.files import find_file, read_bytes, unpack_gzip
from unets.data.rle import to_absolute
from unets.data.samples import Sample
from unets.errors import DAMAGE, InputError, naming

# How an empty mask is written, in small letters.
_NO_OBJECT = frozenset(("", "nan", "none", "null", "na", "n/a", "-", "-1", "0", "0 0", "1 0", "-1 -1"))
_GZIP_START = b"\x1f\x8b"
_UTF16_STARTS = (b"\xff\xfe", b"\xfe\xff")


def read_frame(path: Path) -> pd.DataFrame:
    """Reads a csv or csv.gz as text, with commas, semicolons, tabs or bars (a txt also blanks), in UTF-8 or UTF-16.

    A cell that is not there, or of a row that ends early, is empty. Raises InputError where the file is missing or no
    csv.
    """
    content = read_bytes(path)
    if content.startswith(_GZIP_START):
        content = unpack_gzip(path, content)
    with naming(path, "be a csv file", damage=(*DAMAGE, pd.errors.ParserWarning)):
        encoding = "utf-16" if content.startswith(_UTF16_STARTS) else "utf-8-sig"
        header = content[:10_000].decode(encoding, errors="ignore").partition("\n")[0]
        separator = max(",;\t|", key=header.count)
        separator = r"\s+" if separator not in header and path.suffix.lower() in (".txt", ".lst") else separator
        # pandas, not the csv module: that one stops at cells of 131,072 characters, which run lengths reach.
        with warnings.catch_warnings(action="error", category=pd.errors.ParserWarning):  # a row of too many cells
            frame = pd.read_csv(
                BytesIO(content),
                dtype=str,
                keep_default_na=False,
                encoding=encoding,
                index_col=False,
                sep=separator,
                skipinitialspace=True,
            )
    return frame.rename(columns=lambda name: str(name).strip()).fillna("")


def read_metadata(input_dir: Path, name: str = "metadata.csv") -> pd.DataFrame:
    """Reads what is known of groups beside their images as text, by their `id`; empty where there is no such file.

    Raises InputError where it is no csv, lacks the column `id`, or has two rows for a group.
    """
    try:
        path = find_file(input_dir, name)
    except InputError:
        return pd.DataFrame(index=pd.Index([], name="id", dtype=str))
    frame = read_frame(path)
    if "id" not in frame.columns:
        raise InputError(f"{path} must have a column id. Received: {list(frame.columns)}")
    if not frame["id"].is_unique:
        raise InputError(f"{path} must have one row a group. Received: two for {frame['id'].mode()[0]}")
    return frame.set_index("id")


def image_cell(form: RleFormat, classes: Sequence[str], id_: str, class_name: str | None = None) -> str:
    """Writes an id (and class, where `cell` names it) as the image column does."""
    written = class_cell(form, classes, class_name) if class_name else ""
    return form.cell.replace("{id}", id_).replace("{class}", written)


def class_cell(form: RleFormat, classes: Sequence[str], class_name: str) -> str:
    """Writes a class as the csv does."""
    return form.class_cells[classes.index(class_name)] if form.class_cells else class_name


def parse_row(form: RleFormat, classes: Sequence[str], cell: str, of_class: str | None) -> tuple[str, str]:
    """Reads (id, class) of a row from its image cell and, where there is such a column, its class cell.

    Raises InputError where the cell is not written as `form.cell` says, or the class is none of `classes`.
    """
    cells = form.class_cells or tuple(classes)
    match = _compile_cell(form.cell, cells).fullmatch(cell)
    if match is None:
        raise InputError(f"`{form.image_column}` must be written as {form.cell}. Received: {cell!r}")
    written = of_class if of_class is not None else match.groupdict().get("class")
    if written is None:
        return match["id"], classes[0]
    if written not in cells:
        raise InputError(f"`{form.class_column}` must be one of {tuple(cells)}. Received: {written!r}")
    return match["id"], classes[cells.index(written)]


def read_rows(path: Path, dataset: DatasetConfig) -> dict[str, tuple[tuple[str, ...], ...]]:
    """Reads the run lengths of a submission, or of masks in that form: a csv or csv.gz, in a folder or in a zip.

    Returns for each id the rows of each class, strings of `start length` pairs; of a class without a row there is none,
    and several only where a row is of an object. Raises InputError: the file is missing or no csv, lacks a column, or
    has rows that are at fault, see `parse_row`, or two of one mask; up to three are named.
    """
    form, classes, frame = dataset.submission, dataset.classes, read_frame(path)
    columns = list_columns(form)
    if not {*columns} <= {*frame.columns}:
        raise InputError(f"{path} must have the columns {columns}. Received: {list(frame.columns)}")
    parts = defaultdict[str, dict[str, list[str]]](lambda: defaultdict(list))
    faults = []
    for row in zip(*(frame[column].tolist() for column in columns), strict=True):
        try:
            id_, name = parse_row(form, classes, row[0], row[1] if form.class_column else None)
            parts[id_][name].append(to_absolute(clean_runs(row[-1]), relative=form.relative))
            if len(parts[id_][name]) == 2 and form.row != "object":
                faults.append(f"must have one row a mask. Received: two for {' '.join(row[:-1])}")
        except InputError as error:
            faults.append(str(error))
    if faults:
        more = f" ({len(faults)} such rows)" if len(faults) > 3 else ""
        raise InputError(f"{path}: {'; '.join(faults[:3])}{more}")
    return {id_: tuple(tuple(filter(None, of_class[name])) for name in classes) for id_, of_class in parts.items()}


def clean_runs(cell: str) -> str:
    """Returns run lengths separated by blanks, without brackets, quotes and commas; what means nothing is empty."""
    plain = " ".join(re.sub(r"[\[\](){}\"',;:]+", " ", cell).split())
    return "" if plain.lower() in _NO_OBJECT else plain


def read_sample(path: Path, form: RleFormat) -> tuple[list[str], list[tuple[str, str | None]]]:
    """Reads a sample submission: its header, and (image cell, class cell) of each row, None without such a column.

    Raises InputError where it is missing or no csv, or has other columns than `form` says.
    """
    frame, expected = read_frame(path), list_columns(form)
    header = list(frame.columns)
    if sorted(header) != sorted(expected):
        raise InputError(f"{path} must have the columns {expected}. Received: {header}")
    images = frame[form.image_column]
    classes = frame[form.class_column] if form.class_column else [None] * len(images)
    return header, list(zip(images, classes, strict=True))


def default_rows(dataset: DatasetConfig, test: Iterable[Sample]) -> list[tuple[str, str | None]]:
    """Returns the rows of a submission where the competition gave no sample: one an image and class, in that order."""
    form, classes = dataset.submission, dataset.classes
    return [
        (image_cell(form, classes, sample.id, name), class_cell(form, classes, name) if form.class_column else None)
        for sample in test
        for name in classes
    ]


def list_columns(form: RleFormat) -> list[str]:
    """Returns the names of the columns: image, class where there is such a column, run lengths."""
    return [form.image_column, *([form.class_column] if form.class_column else []), form.rle_column]


@lru_cache(maxsize=16)
def _compile_cell(form_cell: str, class_cells: tuple[str, ...]) -> re.Pattern[str]:
    names = "|".join(re.escape(name) for name in sorted(class_cells, key=len, reverse=True))
    before, *after = re.escape(form_cell).split(r"\{id\}")
    # The longest class counts, as `dry soil` beside `soil`; an id written twice must be the same twice.
    pattern = before + "(?P<id>.+?)" + "(?P=id)".join(after)
    return re.compile(pattern.replace(r"\{class\}", f"(?P<class>{names})", 1))
