"""Tables: csv files that hold run lengths of masks, a sample submission, or groups."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

import pandas as pd

from unets.data.files import read_bytes
from unets.dataset.layout.inventory import File
from unets.errors import InputError

NO_OBJECT = "-1"
_MANY = 4000  # cells that a column is judged by
_RUNS = re.compile(r"\d+ \d+(?: \d+ \d+)*")
_MOST_CLASSES = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A csv file: its rows as text."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[dict[str, str], ...]

    def list_cells(self, column: str) -> list[str]:
        """Returns a column."""
        return [row[column] for row in self.rows]


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskTable:
    """Which columns of a table hold masks, and how its cells name photos and classes."""

    table: Table
    image_column: str
    rle_column: str
    class_column: str | None
    image_cell: str  # as `csv_image`
    classes: tuple[str, ...]  # empty: one without a name
    has_several_rows: bool  # for one mask
    ids: frozenset[str]  # of photos that have a row


def read_table(file: File) -> Table | None:
    """Reads a csv file as text; None where it is none."""
    try:
        frame = pd.read_csv(
            BytesIO(read_bytes(file.path)),
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
            compression=_find_compression(file.path),
        )
    except (ValueError, OSError, InputError):
        return None
    rows = [dict(zip(frame.columns, row, strict=True)) for row in frame.fillna("").itertuples(index=False, name=None)]
    return Table(name=file.name, columns=tuple(map(str, frame.columns)), rows=tuple(rows))


def find_rle_column(table: Table) -> str | None:
    """Returns the column of run lengths: pairs of whole numbers, or nothing, in nearly every cell."""
    for column in table.columns:
        cells = [cell.strip() for cell in table.list_cells(column)[:_MANY]]
        filled = [cell for cell in cells if cell not in ("", NO_OBJECT)]
        if filled and sum(_RUNS.fullmatch(cell) is not None for cell in filled) >= 0.98 * len(filled):
            return column
    return None


def find_masks(table: Table, photo_names: Mapping[str, str], rle_column: str | None = None) -> MaskTable | None:
    """Finds how a table's rows name photos and classes.

    Args:
        table: any.
        photo_names: file name of each photo, with its ending, by id.
        rle_column: of run lengths, where it is known; None looks for it.

    Returns:
        None where the table has no run lengths, or names none of the photos.
    """
    rle_column = rle_column or find_rle_column(table)
    if rle_column is None:
        return None
    best: tuple[int, str, str, list[tuple[str, str | None]]] = (0, "", "", [])
    for column in table.columns:
        if column == rle_column:
            continue
        for image_cell, parsed in _parse_cells(table.list_cells(column), photo_names):
            hits = sum(id_ in photo_names for id_, _ in parsed)
            if hits > best[0]:
                best = (hits, column, image_cell, parsed)
    hits, image_column, image_cell, parsed = best
    if hits < 0.5 * len(table.rows) or not hits:
        return None
    ids = [id_ for id_, _ in parsed]
    class_column, classes = None, tuple(sorted({name for _, name in parsed if name}))
    if not classes:
        class_column = _find_class_column(table, ids, {image_column, rle_column})
        classes = tuple(sorted(set(table.list_cells(class_column)), key=_by_number)) if class_column else ()
    names = table.list_cells(class_column) if class_column else [name or "" for _, name in parsed]
    return MaskTable(
        table=table,
        image_column=image_column,
        rle_column=rle_column,
        class_column=class_column,
        image_cell=image_cell,
        classes=classes,
        has_several_rows=max(Counter(zip(ids, names, strict=True)).values()) > 1,
        ids=frozenset(ids) & photo_names.keys(),
    )


def _parse_cells(
    cells: Sequence[str], photo_names: Mapping[str, str]
) -> list[tuple[str, list[tuple[str, str | None]]]]:
    """Reads cells in each way that names photos; returns (`csv_image`, [(id, class)]) of each."""
    endings = {name[len(id_) :] for id_, name in photo_names.items() if name.startswith(id_)}
    ways: list[tuple[str, list[tuple[str, str | None]]]] = [("{id}", [(cell, None) for cell in cells])]
    for ending in sorted(endings):
        if all(cell.endswith(ending) for cell in cells):
            ways.append((f"{{id}}{ending}", [(cell.removesuffix(ending), None) for cell in cells]))
    parted = [cell.rpartition("_") for cell in cells]
    if all(mark for _, mark, _ in parted):
        ways.append(("{id}_{class}", [(id_, name) for id_, _, name in parted]))
        for ending in sorted(endings):
            if all(id_.endswith(ending) for id_, _, _ in parted):
                ways.append((f"{{id}}{ending}_{{class}}", [(i.removesuffix(ending), name) for i, _, name in parted]))
    few = len({name for _, _, name in parted}) <= _MOST_CLASSES
    return [way for way in ways if "{class}" not in way[0] or few]


def _find_class_column(table: Table, ids: Sequence[str], others: set[str]) -> str | None:
    """Finds a column of few values, by which the rows of one photo differ."""
    if len(set(ids)) == len(ids):
        candidates = [c for c in table.columns if re.search(r"class|label|categ", c.lower())]
    else:
        candidates = list(table.columns)
    for column in candidates:
        cells = table.list_cells(column)
        if column not in others and 2 <= len(set(cells)) <= _MOST_CLASSES and len(set(cells)) < len(cells):
            keys = set(zip(ids, cells, strict=True))
            if len(keys) == len(ids) or re.search(r"class|label|categ", column.lower()):
                return column
    return None


def _by_number(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdecimal() else (10**9, name)


def _find_compression(path: Path) -> Literal["zip", "gzip"] | None:
    if path.suffix == ".zip":
        return "zip"
    return "gzip" if path.suffix == ".gz" else None
