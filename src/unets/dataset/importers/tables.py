"""Tables: csv files of any dialect as text, and how their cells name images and classes."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from unets.dataset.importers.listing import Listing
from unets.dataset.importers.names import Finder, spread
from unets.dataset.rle_csv import read_frame
from unets.errors import InputError

EMPTY_CELLS = frozenset(("", "nan", "none", "null", "na", "n/a", "-", "-1", "0", "0 0", "1 0", "-1 -1", "[]"))
_RUNS = re.compile(r"\d+ \d+(?: \d+ \d+)*")
_MANY = 4000  # cells that a column is looked at by
_MOST_CLASSES = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A csv file: its rows as text, without blanks around cells and names of columns."""

    path: str
    cells: Mapping[str, Sequence[str]]  # by column

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(self.cells)

    @property
    def is_sample(self) -> bool:
        """Whether the name says that it is a sample of a submission."""
        return re.search(r"sample|submission|submit", self.path.rpartition("/")[2].lower()) is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class Naming:
    """How the cells of a column name images.

    Attributes:
        column: its name.
        cell: `{id}` and `{class}` in what else a cell holds: `{id}.jpg_{class}`.
        images: the path of each cell's image; None where there is none.
        labels: the class of each cell; empty where cells name none.
        ids: of each image as the cells write it.
    """

    column: str
    cell: str
    images: tuple[str | None, ...]
    labels: tuple[str, ...]
    ids: Mapping[str, str]

    @property
    def hits(self) -> int:
        """Rows that name an image."""
        return sum(image is not None for image in self.images)


def read_tables(listing: Listing) -> list[Table]:
    """Reads all csv files of a folder; what is none is left out."""
    tables = []
    for path in listing.select(".csv", ".tsv", ".gz"):
        if re.search(r"\.[ct]sv(\.gz)?$", path.lower()):
            with suppress(InputError):
                tables.append(listing.once(read_table, path, path))
    return tables


def read_table(path: Path, name: str) -> Table:
    """Reads a csv file, which is called `name`.

    Raises:
        InputError: it is missing or no csv.
    """
    frame = read_frame(path)
    cells = {column: tuple(frame[column].str.strip()) for column in frame.columns if not column.startswith("Unnamed:")}
    return Table(path=name, cells=cells)


def clean_runs(cell: str) -> str:
    """Returns run lengths separated by blanks, without brackets, quotes and commas; what means nothing is empty."""
    plain = re.sub(r"[\[\](){}\"',;:]+", " ", cell)
    plain = " ".join(plain.split())
    return "" if plain.lower() in EMPTY_CELLS else plain


def find_rle_column(table: Table) -> str | None:
    """Returns the column of run lengths: pairs of whole numbers, or nothing, in nearly every cell."""
    best: tuple[int, str | None] = (0, None)
    for column in table.columns:
        cells = [clean_runs(cell) for cell in spread(table.cells[column], _MANY)]
        filled = [cell for cell in cells if cell]
        if filled and sum(_RUNS.fullmatch(cell) is not None for cell in filled) >= 0.98 * len(filled):
            best = max(best, (sum(map(len, filled)), column), key=lambda pair: pair[0])
    return best[1]


def find_naming(table: Table, images: Finder, skip: Sequence[str] = (), least: float = 0.5) -> Naming | None:
    """Finds the column whose cells name images, and how they do; None where no column names many."""
    best: Naming | None = None
    for column in (name for name in table.columns if name not in skip):
        cells = table.cells[column]
        for naming in _list_namings(column, cells, images):
            if naming.hits >= max(1, least * len(cells)) and (best is None or naming.hits > best.hits):
                best = naming
        if best is not None and best.hits == len(cells):
            break
    return best


def _list_namings(column: str, cells: Sequence[str], images: Finder) -> list[Naming]:
    """Lists the ways in which a column's cells may name images: whole, before a class, in parts."""
    namings = [_build(column, cells, ("",) * len(cells), images.find_cell, "")]
    parted = [re.fullmatch(r"(.+)([_\- ])([^_/\-]+)", cell) for cell in cells]
    marks = {match[2] for match in parted if match}
    if all(parted) and len(marks) == 1:
        labels = tuple(match[3] for match in parted if match)
        if len(set(labels)) <= _MOST_CLASSES and len(set(labels)) < len(labels):
            fronts = tuple(match[1] for match in parted if match)
            namings.append(_build(column, fronts, labels, images.find_cell, marks.pop()))
    if max(naming.hits for naming in namings) < 0.5 * len(cells):
        namings.append(_build(column, cells, ("",) * len(cells), images.find_parts, ""))
    return namings


def _build(column: str, cells: Sequence[str], labels: tuple[str, ...], find, mark: str) -> Naming:  # type: ignore[no-untyped-def]
    known = {cell: find(cell) for cell in dict.fromkeys(cells)}
    found = tuple(known[cell] for cell in cells)
    endings = {_find_ending(cell, image) for cell, image in known.items() if image is not None}
    tail = endings.pop() if len(endings) == 1 else ""
    folders = {cell.rpartition("/")[0] for cell, image in known.items() if image is not None}
    head = f"{next(iter(folders))}/" if len(folders) == 1 and next(iter(folders)) else ""
    ids = {image: cell.removesuffix(tail).removeprefix(head) for cell, image in known.items() if image is not None}
    return Naming(
        column=column,
        cell=f"{head}{{id}}{tail}" + (f"{mark}{{class}}" if mark else ""),
        images=found,
        labels=labels if mark else (),
        ids=ids,
    )


def _find_ending(cell: str, image: str) -> str:
    """Returns the ending that a cell has, where the image has one too: `.jpg`."""
    ending = re.search(r"\.[A-Za-z]{2,5}$", cell)
    stem = image.rpartition("/")[2].rpartition(".")[0]
    return ending[0] if ending and not stem.lower().endswith(ending[0].lower()) else ""


def find_class_column(table: Table, images: Sequence[str | None], others: set[str]) -> str | None:
    """Finds a column of few values in which rows of one image differ, or which is called class, label or category."""
    for column, cells in table.cells.items():
        if column in others or not 2 <= len(set(cells)) <= _MOST_CLASSES:
            continue
        by_image = pd.DataFrame({"image": images, "cell": cells}).groupby("image")["cell"].agg(["size", "nunique"])
        several = by_image[by_image["size"] > 1]
        differ = len(several) > 0 and (several["nunique"] > 1).mean() >= 0.9
        if differ or re.search(r"class|label|categ", column.lower()):
            return column
    return None
