"""Which photos there are, which belong together, and where each one's mask comes from.

Ids come from file names by the dataset's patterns; no photo is opened. Whether the files are whole and say the same is
`unets.dataset.checks`' question.
"""

import gzip
import logging
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import islice
from pathlib import Path

import pandas as pd

from unets.config import DatasetConfig
from unets.data.files import find_file, find_ids, read_bytes
from unets.data.rle import unite_rles
from unets.data.samples import Sample
from unets.errors import InputError

logger = logging.getLogger(__name__)

MAX_FAULTS_SHOWN = 20
NO_OBJECT = "-1"  # how some competitions write an empty mask
NO_GROUP = "(none)"  # the name of a group whose part of the id is empty
_GZIP_START = b"\x1f\x8b"

Rows = list[tuple[str, ...]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Catalog:
    """All photos of a competition, sorted by id."""

    dataset: DatasetConfig
    train: tuple[Sample, ...]
    test: tuple[Sample, ...]


def load_catalog(dataset: DatasetConfig, input_dir: Path, *, with_test: bool = True) -> Catalog:
    """Lists the photos and where their masks come from.

    Args:
        dataset: the dataset's declaration.
        input_dir: the competition's folder.
        with_test: whether to list the test photos too; without, `test` is empty.

    Raises:
        InputError: see `survey`, and each of the faults that it returns.
    """
    catalog, faults = survey(dataset, input_dir, with_test=with_test)
    if faults:
        shown = "\n".join(f"  {fault}" for fault in faults[:MAX_FAULTS_SHOWN])
        more = f"\n  ... and {len(faults) - MAX_FAULTS_SHOWN} more" if len(faults) > MAX_FAULTS_SHOWN else ""
        raise InputError(f"{input_dir} must hold a consistent dataset. Received: {len(faults)} faults:\n{shown}{more}")
    return catalog


def survey(dataset: DatasetConfig, input_dir: Path, *, with_test: bool = True) -> tuple[Catalog, list[str]]:
    """Lists the photos, and what is wrong with their names, masks and rows.

    Returns:
        The catalog of all ids that fit the pattern (a sample whose mask is missing has none), and the faults, one
        sentence each: an id that does not fit, two files with one id, a photo without its mask or row, a mask or row
        without its photo, a photo with two rows.

    Raises:
        InputError: there is nothing to catalog: a folder is missing or holds no file of the pattern, a csv file is
            missing or lacks a column.
    """
    faults: list[str] = []
    left_out = {path for pattern in dataset.leave_out for path in _flatten(find_ids(input_dir, pattern))}
    masks = _find_masks(dataset, input_dir, left_out, faults) if dataset.masks is not None else {}
    no_photos = left_out | set(_flatten(masks))  # `a_mask.png` beside `a.png` fits `{id}.png` too
    train = _list_samples(dataset.photos, dataset, input_dir, no_photos, faults)
    with_test = with_test and dataset.test_photos is not None
    test = _list_samples(dataset.test_photos or "", dataset, input_dir, no_photos, faults) if with_test else {}
    if dataset.masks is not None:
        faults += _compare(masks, train, f"{input_dir / dataset.masks}", f"{input_dir / dataset.photos}", "a file")
        train = {id_: give_masks(sample, masks.get(id_, ())) for id_, sample in train.items()}
    if dataset.masks_csv is not None:
        csv_path = find_file(input_dir, dataset.masks_csv)
        rles, csv_faults = _group_by_id(_read_rle_rows(csv_path, dataset), csv_path, dataset)
        faults += csv_faults
        if dataset.csv_omits_empty:
            rles = dict.fromkeys(train, ("",) * len(dataset.classes)) | rles
        faults += _compare(rles, train, f"{csv_path}", f"{input_dir / dataset.photos}", "a row")
        train = {id_: replace(sample, mask_rles=rles.get(id_)) for id_, sample in train.items()}
    return Catalog(dataset=dataset, train=tuple(train.values()), test=tuple(test.values())), faults


def image_cell(dataset: DatasetConfig, id_: str, class_name: str | None = None) -> str:
    """Writes an id (and class, where `csv_image` names it) as the csv files' image column does."""
    return dataset.csv_image.replace("{id}", id_).replace("{class}", class_name or "")


def parse_image_cell(dataset: DatasetConfig, cell: str) -> tuple[str, str | None]:
    """Reads (id, class) from a cell of the image column; class is None where `csv_image` does not name it.

    Raises:
        InputError: the cell is not written as `csv_image` says.
    """
    match = _compile_cell(dataset).fullmatch(cell)
    if match is None:
        raise InputError(f"`{dataset.csv_image_column}` must be written as {dataset.csv_image}. Received: {cell!r}")
    return match["id"], match.groupdict().get("class")


def read_rle_csv(path: Path, dataset: DatasetConfig) -> dict[str, tuple[str, ...]]:
    """Reads run lengths, as in the training masks' csv or a submission.

    Args:
        path: csv or csv.gz, in a folder or in a zip.
        dataset: names the columns and classes.

    Returns:
        One run-length string a class for each id; a class without a row, or with an empty cell, is "".

    Raises:
        InputError: the file is missing or no csv, lacks a column, has two rows for one mask, or a row that names no
            declared class or is not written as `csv_image` says.
    """
    rles, faults = _group_by_id(_read_rle_rows(path, dataset), path, dataset)
    if faults:
        raise InputError(f"{faults[0]}" + (f" (the first of {len(faults)} such rows)" if len(faults) > 1 else ""))
    return rles


def read_metadata(input_dir: Path, name: str = "metadata.csv") -> pd.DataFrame:
    """Reads what is known of groups beside their photos: make, model and year of Carvana's cars.

    Args:
        input_dir: the competition's folder.
        name: of a csv with a row a group, named in the column `id`.

    Returns:
        Text, one row a group, which is the index. Empty where the competition has no such file, or one of other things.

    Raises:
        InputError: the file is no csv, or has two rows for a group.
    """
    nothing = pd.DataFrame(index=pd.Index([], name="id", dtype=str))
    try:
        path = find_file(input_dir, name)
    except InputError:
        return nothing
    frame = _read_frame(path)
    if "id" not in frame.columns:
        logger.warning("%s has no column id: nothing is known of groups", path)
        return nothing
    repeated = frame["id"][frame["id"].duplicated()]
    if len(repeated):
        raise InputError(f"{path} must have one row a group. Received: two for {repeated.iloc[0]}")
    return frame.set_index("id")


def read_sample_rows(path: Path, dataset: DatasetConfig) -> list[tuple[str, str | None]]:
    """Reads (image cell, class) of each row of the sample submission, in its order.

    The class is that of the class column; None where the dataset has no such column.

    Raises:
        InputError: the file is missing or no csv, or lacks a column.
    """
    if dataset.csv_class_column is None:
        return [(cell, None) for (cell,) in read_columns(path, (dataset.csv_image_column,))]
    rows = read_columns(path, (dataset.csv_image_column, dataset.csv_class_column))
    return [(cell, class_cell) for cell, class_cell in rows]


def default_rows(dataset: DatasetConfig, test: Iterable[Sample]) -> list[tuple[str, str | None]]:
    """Returns the rows of a submission where the competition gave no sample: one a photo and class, in that order."""
    return [
        (image_cell(dataset, sample.id, class_name), class_name if dataset.csv_class_column else None)
        for sample in test
        for class_name in dataset.classes
    ]


def default_header(dataset: DatasetConfig) -> list[str]:
    """Returns the columns of such a submission."""
    class_columns = [dataset.csv_class_column] if dataset.csv_class_column else []
    return [dataset.csv_image_column, *class_columns, dataset.csv_rle_column]


def parse_row(dataset: DatasetConfig, cell: str, class_cell: str | None) -> tuple[str, str]:
    """Reads (id, class) of a csv row from its image cell and, where there is such a column, its class cell.

    Raises:
        InputError: the cell is not written as `csv_image` says, or the class is not declared.
    """
    id_, class_name = parse_image_cell(dataset, cell)
    class_name = class_cell if class_cell is not None else class_name
    if class_name is None:
        class_name = dataset.classes[0]
    if class_name not in dataset.classes:
        raise InputError(f"`{dataset.csv_class_column}` must be one of {dataset.classes}. Received: {class_name!r}")
    return id_, class_name


def _list_samples(
    pattern: str, dataset: DatasetConfig, input_dir: Path, left_out: set[str], faults: list[str]
) -> dict[str, Sample]:
    """Lists the photos of a pattern as samples without masks, by id; adds to `faults` what does not fit."""
    matches = re.compile(dataset.id_pattern).fullmatch
    group_of = read_groups(dataset, input_dir)
    samples = {}
    for id_, path in _find_only(pattern, input_dir, left_out, faults).items():
        if match := matches(id_):
            # Interned: 16 photos share a group's name, 6,254 a view's, and strings are a third of what a sample takes.
            group = sys.intern(group_of.get(id_) or match["group"] or NO_GROUP)
            view = match.groupdict().get("view")
            samples[id_] = Sample(
                id=id_,
                group=group,
                view=view and sys.intern(view),
                photo=path,
                value_range=dataset.value_range,
            )
        else:
            faults.append(f"{path}: `id_pattern` must fit the id: {dataset.id_pattern}. Received: {id_!r}")
    return samples


def give_masks(sample: Sample, paths: Sequence[str]) -> Sample:
    """Returns the sample with the files of its mask: none, one, or several that are united."""
    if not paths:
        return sample
    return replace(sample, mask_path=Path(paths[0]), more_mask_paths=tuple(map(Path, paths[1:])))


def read_groups(dataset: DatasetConfig, input_dir: Path) -> dict[str, str]:
    """Reads the group of each id from `groups_csv`; none without it. An id may stand there with its file's ending.

    Raises:
        InputError: the file is missing or no csv, or lacks a column.
    """
    if dataset.groups_csv is None:
        return {}
    rows = read_columns(find_file(input_dir, dataset.groups_csv), dataset.groups_columns)
    plain = {cell: group for cell, group in rows if group}
    return {Path(cell).stem: group for cell, group in plain.items()} | plain


def _find_masks(
    dataset: DatasetConfig, input_dir: Path, left_out: set[str], faults: list[str]
) -> dict[str, Sequence[str]]:
    """Finds the mask files of each id: one, or those that are united."""
    pattern = dataset.masks or ""
    if dataset.unite_masks:
        return dict(_find_all(pattern, input_dir, left_out))
    return {id_: (path,) for id_, path in _find_only(pattern, input_dir, left_out, faults).items()}


def _flatten(paths: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for found in paths.values():
        yield from found


def _find_only(pattern: str, input_dir: Path, left_out: set[str], faults: list[str]) -> dict[str, str]:
    """Finds the one file of each id, the first where there are several; adds those to `faults`."""
    found = _find_all(pattern, input_dir, left_out)
    for id_, paths in found.items():
        if len(paths) > 1:
            names = ", ".join(paths)
            faults.append(f"{input_dir / pattern} must match one file for {id_}. Received: {len(paths)}: {names}")
    return {id_: paths[0] for id_, paths in found.items()}


def _find_all(pattern: str, input_dir: Path, left_out: set[str]) -> dict[str, tuple[str, ...]]:
    """Finds the files of each id; raises InputError where there are none at all."""
    try:
        found = find_ids(input_dir, pattern)
    except InputError as error:
        raise InputError(f"{error}. {_describe_folder(input_dir)}" if input_dir.is_dir() else str(error)) from error
    if any(path in left_out for path in _flatten(found)):  # seldom: 100,064 test photos are not listed twice for it
        found = {id_: kept for id_, paths in found.items() if (kept := tuple(p for p in paths if p not in left_out))}
    if not found:
        folder = (input_dir / pattern.replace("*", "_")).parent
        folder = folder if folder.is_dir() else input_dir
        raise InputError(f"{input_dir / pattern} must match files. Received: none. {_describe_folder(folder)}")
    return found


def _describe_folder(folder: Path, limit: int = 8) -> str:
    names = sorted(entry.name for entry in islice(folder.iterdir(), 1000))
    more = ", ..." if len(names) > limit else ""
    return f"{folder} holds {', '.join(names[:limit]) or 'nothing'}{more}"


def _compare(found: Iterable[str], photos: Iterable[str], source: str, photos_source: str, what: str) -> list[str]:
    """Says which photos have no mask or row, and which masks or rows have no photo."""
    found, photos = set(found), set(photos)
    missing = [f"{source} must have {what} for each photo. Received: none for {id_}" for id_ in sorted(photos - found)]
    unknown = [
        f"{source} must have {what} for photos only. Received: {id_}, which {photos_source} does not have"
        for id_ in sorted(found - photos)
    ]
    return missing + unknown


def _read_rle_rows(path: Path, dataset: DatasetConfig) -> Rows:
    class_columns = (dataset.csv_class_column,) if dataset.csv_class_column else ()
    return read_columns(path, (dataset.csv_image_column, *class_columns, dataset.csv_rle_column))


def read_columns(path: Path, columns: Sequence[str]) -> Rows:
    """Reads some columns of a csv as text, row by row.

    Raises:
        InputError: the file is missing or no csv, or lacks a column.
    """
    frame = _read_frame(path)
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise InputError(f"{path} must have the columns {list(columns)}. Received: {list(frame.columns)}")
    frame = frame[list(columns)]
    return list(zip(*(frame[column].tolist() for column in columns), strict=True))


def _read_frame(path: Path) -> pd.DataFrame:
    """Reads a csv or csv.gz as text; a cell that is not there, or of a row that ends early, is empty."""
    content = read_bytes(path)
    if content.startswith(_GZIP_START):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError) as error:
            raise InputError(f"{path} must be whole. Received: {error}") from error
    try:
        # pandas, not the csv module: that one stops at cells of 131,072 characters, which run lengths reach.
        with warnings.catch_warnings(action="error", category=pd.errors.ParserWarning):  # a row of too many cells
            frame = pd.read_csv(
                BytesIO(content), dtype=str, keep_default_na=False, encoding="utf-8-sig", index_col=False
            )
    except (ValueError, pd.errors.ParserWarning) as error:
        raise InputError(f"{path} must be a csv file. Received: {error}") from error
    return frame.fillna("")


def _group_by_id(rows: Rows, path: Path, dataset: DatasetConfig) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Gathers the rows of each id; returns (run lengths by id, a sentence for each row that does not fit)."""
    rles: dict[tuple[str, str], str] = {}
    parts: dict[tuple[str, str], list[str]] = {}
    faults = []
    for row in rows:
        try:
            key = parse_row(dataset, row[0], row[1] if dataset.csv_class_column else None)
        except InputError as error:
            faults.append(f"{path}: {error}")
            continue
        rle = row[-1].strip()
        if key in rles and dataset.unite_masks:
            parts.setdefault(key, [rles[key]]).append(rle)
        elif key in rles:
            faults.append(f"{path} must have one row a mask. Received: two for {' '.join(row[:-1])}")
        rles[key] = "" if rle == NO_OBJECT else rle
    for key, strings in parts.items():
        try:
            rles[key] = unite_rles("" if rle == NO_OBJECT else rle for rle in strings)
        except InputError as error:
            faults.append(f"{path}, {' '.join(key)}: {error}")
    ids = dict.fromkeys(id_ for id_, _ in rles)
    return {id_: _pick_classes(rles, id_, dataset.classes) for id_ in ids}, faults


def _pick_classes(rles: Mapping[tuple[str, str], str], id_: str, classes: Sequence[str]) -> tuple[str, ...]:
    return tuple(rles.get((id_, class_name), "") for class_name in classes)


def _compile_cell(dataset: DatasetConfig) -> re.Pattern[str]:
    names = "|".join(re.escape(name) for name in dataset.classes)
    before, *after = re.escape(dataset.csv_image).split(r"\{id\}")
    pattern = before + "(?P<id>.+)" + "(?P=id)".join(after)  # an id written twice must be the same twice
    return re.compile(pattern.replace(r"\{class\}", f"(?P<class>{names})", 1))
