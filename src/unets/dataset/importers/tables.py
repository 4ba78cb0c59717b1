"""Tables: csv files of any dialect as text, and how their cells name images and classes."""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from unets.dataset.importers.listing import Listing, stem_of
from unets.dataset.importers.names import Finder, spread
from unets.dataset.rle_csv import clean_runs, read_frame
from unets.errors import InputError

_RUNS = re.compile(r"\d+ \d+(?: \d+ \d+)*")
_MANY = 4000  # cells that a column is looked at by
_MOST_CLASSES = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Naming:
    """How the cells of a column name images."""

    column: str
    cell: str  # `{id}` and `{class}` in what else a cell holds: `{id}.jpg_{class}`
    images: tuple[str | None, ...]  # the path of each cell's image; None where there is none
    labels: tuple[str, ...]  # the class of each cell; empty where cells name none
    ids: Mapping[str, str]  # of each image as the cells write it

    @property
    def hits(self) -> int:
        """Rows that name an image."""
        return len(self.images) - self.images.count(None)

    @property
    def unique_ids(self) -> Mapping[str, str] | None:
        """The ids, where no two images have the same."""
        return self.ids if len(set(self.ids.values())) == len(self.ids) else None


def read_tables(listing: Listing) -> dict[str, pd.DataFrame]:
    """Reads all csv files of a folder, by their path; what is none is left out."""
    tables = {}
    for path in listing.select(".csv", ".tsv", ".gz"):
        if re.search(r"\.[ct]sv(\.gz)?$", path.lower()):
            with suppress(InputError):
                tables[path] = listing.once(read_table, path)
    return tables


def read_table(path: Path) -> pd.DataFrame:
    """Reads a csv file as text, without blanks around cells; raises InputError where it is missing or no csv."""
    frame = read_frame(path)
    named = [name for name in frame.columns if not name.startswith("Unnamed:")]
    stripped: pd.DataFrame = frame[named].apply(lambda cells: cells.str.strip())
    return stripped


def is_sample(path: str) -> bool:
    """Tells whether the name of a csv says that it is a sample of a submission."""
    return re.search(r"sample|submission|submit", path.rpartition("/")[2].lower()) is not None


def find_rle_columns(table: pd.DataFrame) -> list[str]:
    """Returns the columns of run lengths, pairs of whole numbers or nothing in nearly every cell; the longest first."""
    lengths: dict[str, int] = {}
    for column in table.columns:
        cells = [clean_runs(cell) for cell in spread(table[column].tolist(), _MANY)]
        filled = [cell for cell in cells if cell]
        if filled and sum(_RUNS.fullmatch(cell) is not None for cell in filled) >= 0.98 * len(filled):
            lengths[column] = sum(map(len, filled))
    return sorted(lengths, key=lambda column: -lengths[column])


def find_naming(table: pd.DataFrame, images: Finder, skip: Sequence[str] = (), least: float = 0.5) -> Naming | None:
    """Finds the column whose cells name images, and how they do; None where no column names many."""
    best: Naming | None = None
    for column in (name for name in table.columns if name not in skip):
        for naming in _list_namings(column, table[column].tolist(), images):
            if naming.hits >= max(1, least * len(table)) and (best is None or naming.hits > best.hits):
                best = naming
        if best is not None and best.hits == len(table):
            break
    return best


def _list_namings(column: str, cells: Sequence[str], images: Finder) -> list[Naming]:
    """Lists the ways in which a column's cells may name images: whole, before a class, in parts."""
    namings = [_build(column, cells, images.find_cell)]
    parted = [match for cell in cells if (match := re.fullmatch(r"(.+)([_\- ])([^_/\-]+)", cell))]
    marks, labels = {match[2] for match in parted}, tuple(match[3] for match in parted)
    if len(parted) == len(cells) and len(marks) == 1 and len(set(labels)) <= min(_MOST_CLASSES, len(labels) - 1):
        namings.append(_build(column, [match[1] for match in parted], images.find_cell, labels, marks.pop()))
    if max(naming.hits for naming in namings) < 0.5 * len(cells):
        namings.append(_build(column, cells, images.find_parts))
    return namings


def _build(
    column: str, cells: Sequence[str], find: Callable[[str], str | None], labels: tuple[str, ...] = (), mark: str = ""
) -> Naming:
    image_of = {cell: find(cell) for cell in dict.fromkeys(cells)}
    known = {cell: image for cell, image in image_of.items() if image is not None}
    tails = {_find_ending(cell, image) for cell, image in known.items()}
    tail = tails.pop() if len(tails) == 1 else ""
    folders = {cell.rpartition("/")[0] for cell in known}
    folder = folders.pop() if len(folders) == 1 else ""
    head = f"{folder}/" if folder else ""
    return Naming(
        column=column,
        cell=f"{head}{{id}}{tail}" + (f"{mark}{{class}}" if mark else ""),
        images=tuple(image_of[cell] for cell in cells),
        labels=labels,
        ids={image: cell.removesuffix(tail).removeprefix(head) for cell, image in known.items()},
    )


def _find_ending(cell: str, image: str) -> str:
    """Returns the ending that a cell has, where the image has one too: `.jpg`."""
    ending = re.search(r"\.[A-Za-z]{2,5}$", cell)
    return ending[0] if ending and not stem_of(image).lower().endswith(ending[0].lower()) else ""


def find_class_column(table: pd.DataFrame, images: Sequence[str | None], others: set[str]) -> str | None:
    """Finds a column of few values in which rows of one image differ, or which is called class, label or category."""
    for column in table.columns:
        if column in others or not 2 <= table[column].nunique() <= _MOST_CLASSES:
            continue
        by_image = (
            pd.DataFrame({"image": images, "cell": table[column]}).groupby("image")["cell"].agg(["size", "nunique"])
        )
        several = by_image[by_image["size"] > 1]
        differ = len(several) > 0 and (several["nunique"] > 1).mean() >= 0.9
        if differ or re.search(r"class|label|categ", column.lower()):
            return column
    return None
