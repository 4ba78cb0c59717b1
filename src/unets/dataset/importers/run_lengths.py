"""Run lengths: a csv with a row an image, a class or an object, of any dialect; and the sample of a submission.

train.csv                ImageId,ClassId,EncodedPixels
                         a.jpg,1,29102 12 29346 24
train_images/a.jpg
sample_submission.csv    ImageId,ClassId,EncodedPixels
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from unets.config import CsvSource, SizeHW
from unets.data.rle import Order, decode_rle, read_runs, to_absolute, unite_rles
from unets.dataset.importers.assemble import assemble, list_rasters
from unets.dataset.importers.base import Import, ImportedSample
from unets.dataset.importers.draws import DrawRuns
from unets.dataset.importers.edges import find_border, measure_fit, read_colors
from unets.dataset.importers.listing import Listing, stem_of
from unets.dataset.importers.names import Finder, find_split, list_some, sort_naturally, spread
from unets.dataset.importers.table import find_test_images, join_parts, read_parts
from unets.dataset.rle_csv import clean_runs, list_columns
from unets.errors import InputError

_ORDERS: tuple[Order, Order] = ("row", "column")
_RUNS = re.compile(r"\d+ \d+(?: \d+ \d+)*")
_ENDING = re.compile(r"\.[A-Za-z]{2,5}(?=$|_)")
_NO_CLASS = frozenset(("", "nan", "none", "null", "na", "n/a", "-", "-1"))  # in small letters
_MANY = 4000  # cells that a column is looked at by
_MOST_CLASSES = 64
_LOOKED_AT = 40  # masks by which the order is decided
_CLEAR = 1.3  # how much longer borders are in the wrong order, at least
_CLEAR_EDGE = 1.15  # how much stronger the image's edges are along the right ones


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


def propose(listing: Listing) -> Import | None:
    """Reads the csv with run lengths of most images; None where there is none. Raises as `read`.

    Of a large table, the images may be a few that somebody took out.
    """
    images, best = Finder(listing.rasters), dict[str, tuple[Naming, list[str]]]()

    def find_naming(table: pd.DataFrame, column: str) -> Naming | None:
        least = 0.5 * min(1.0, len(listing.rasters) / max(len(table), 1))
        return _find_naming(table, images, skip=[column], least=least)

    for path, table in listing.tables.items():
        columns = [] if _is_sample(path) else _find_rle_columns(table)
        if any(_RUNS.fullmatch(column) for column in columns):
            raise InputError(
                f"{path} must begin with the names of its columns. Received: {', '.join(table.columns)[:80]}"
            )
        if columns and (naming := find_naming(table, columns[0])):
            best[path] = naming, columns
    if not best:
        return None
    path = max(best, key=lambda path: len(best[path][0].ids))
    naming, (column, *others) = best[path]

    def find(path: str) -> set[str | None]:
        naming = None if _is_sample(path) else find_naming(listing.tables[path], column)
        return {*naming.images} if naming else set()

    found = Import(listing=listing, source=CsvSource(path=path))
    joined = join_parts(found, path, find)
    if joined != path and (whole := find_naming(read_tables(listing, joined), column)):
        path, naming = joined, whole
    table = read_tables(listing, path)
    if others := [name for name in others if table[name].str.count(" ").max() > 3]:  # no boxes
        text = f"{path} has run lengths in {column}, which is read, and in {', '.join(others)}"
        found.ask("source.rle_column", text, "another", "a csv with a row a class (pandas.melt)")
    found.source = _describe_csv(found, path, table, column, naming)
    return _read(found, found.source)


def read_tables(listing: Listing, path: str) -> pd.DataFrame:
    """Returns the tables of paths that `|` joins, one below the other; raises as `read_parts`."""
    return pd.concat(read_parts(listing, path).values(), ignore_index=True)


def _describe_csv(found: Import, path: str, table: pd.DataFrame, column: str, naming: Naming) -> CsvSource:
    """Decides how runs are counted, and what an image without a row is."""
    listing = found.listing
    class_column = None if naming.labels else _find_class_column(table, naming.images, {column, naming.column})
    cells: dict[str, list[str]] = defaultdict(list)
    for image, cell in zip(naming.images, table[column], strict=True):
        if image is not None:
            cells[image].append(clean_runs(cell))
    sizes = {image: listing.header(image).size_hw for image in spread(list(cells), _LOOKED_AT * 10)}
    filled = [(image, cell) for image in sizes for cell in cells[image] if cell]
    misfits = [image for image, cell in filled if not _fits(cell, sizes[image])]
    relative = bool(misfits)
    if relative and not all(_fits(cell, sizes[image], relative=True) for image, cell in filled):
        image = misfits[0]
        raise InputError(
            f"run lengths of {path} must fit into their images, counted from the first pixel or from the run "
            f"before. Received: runs that leave {image}, {sizes[image][0]} x {sizes[image][1]}"
        )
    if relative:
        text = f"run lengths of {path} count each start from the end of the run before, as SIIM-ACR's"
        found.ask("source.relative", text, "False")
    start: Literal[0, 1] = 0 if not relative and any(cell.split()[0] == "0" for _, cell in filled) else 1
    absolute = {i: [to_absolute(c, start=start, relative=relative) for c in cells[i] if c] for i in sizes}
    order, unsure = _find_order(listing, absolute, sizes)
    if unsure:
        other = "row" if order == "column" else "column"
        found.ask("source.order", f"pixels are counted along {order}s: {unsure}", f'"{other}"')
    has_empty = any(not cell for many in cells.values() for cell in many)
    labels = naming.labels or (table[class_column] if class_column else ())
    return CsvSource(
        path=path,
        image_column=naming.column,
        rle_column=column,
        class_column=class_column,
        cell=naming.cell,
        class_cells=_list_classes(labels, table[column]),
        order=order,
        start=start,
        relative=relative,
        missing="leave_out" if has_empty else "empty",
    )


def _fits(cell: str, size_hw: SizeHW, *, relative: bool = False) -> bool:
    start = 0 if cell.split()[0] == "0" else 1
    try:
        read_runs(to_absolute(cell, start=start, relative=relative), size_hw[0] * size_hw[1])
    except InputError:
        return False
    return True


def _find_order(listing: Listing, cells: Mapping[str, Sequence[str]], sizes: Mapping[str, SizeHW]) -> tuple[Order, str]:
    """Finds the order in which pixels are counted; returns (order, why it is unsure, empty where it is sure).

    In the wrong order a mask falls into stripes, and its border grows: the order with the shorter borders is right.
    Where an image is square, the wrong one only mirrors the mask at its diagonal: then the image's own edges decide.
    """
    borders = dict.fromkeys(_ORDERS, 0.0)
    fits: dict[Order, list[float]] = {"row": [], "column": []}
    for image in spread([image for image in cells if cells[image]], _LOOKED_AT):
        some = cells[image][: min(-(-len(cells[image]) // 2), 8)]  # all classes together may cover the image
        colors, united = read_colors(listing.root / image), unite_rles(some)
        for order in _ORDERS:
            mask = decode_rle(united, sizes[image], order)
            borders[order] += float(find_border(mask).sum())
            fits[order].append(measure_fit(mask, colors))
    if min(borders.values()) == 0:
        return "column", "no row has a mask with a border"
    if max(borders.values()) / min(borders.values()) >= _CLEAR:
        return min(_ORDERS, key=lambda order: borders[order]), ""
    means = {order: float(np.mean(fits[order])) for order in _ORDERS}
    factor = max(means.values()) / max(min(means.values()), 1e-9)
    if factor < _CLEAR_EDGE:
        return "column", "both orders give compact masks, and the images' edges do not tell"
    unsure = "" if factor >= 1.5 else f"along these borders the images' edges are {factor:.2f} times as strong"
    return max(_ORDERS, key=lambda order: means[order]), unsure


def read(listing: Listing, source: CsvSource) -> Import:
    """Reads a csv of run lengths as `source` says.

    Raises:
        InputError: see `assemble`; the file or a column is not there, or a run leaves its image.
    """
    return _read(Import(listing=listing, source=source), source)


def _read(found: Import, source: CsvSource) -> Import:
    listing = found.listing
    table = read_tables(listing, source.path)
    for column in list_columns(source):
        if column not in table.columns:
            raise InputError(f"{source.path} must have the column {column!r}. Received: {', '.join(table.columns)}")
    found.account |= dict.fromkeys((listing.plain.get(part, part) for part in source.path.split("|")), "annotation")
    rasters = list_rasters(found)
    naming = _find_naming(table, Finder(rasters), skip=[c for c in table.columns if c != source.image_column], least=0)
    if naming is None:
        raise InputError(
            f"the column {source.image_column!r} of {source.path} must name images. Received: none that is here"
        )
    labels = naming.labels or (table[source.class_column] if source.class_column else ("",) * len(table))
    classes = source.class_cells or _list_classes(labels, table[source.rle_column])
    cells: dict[str, tuple[list[str], ...]] = {}
    for image, label, cell in zip(naming.images, labels, table[source.rle_column], strict=True):
        if image is not None and (label in classes or _is_bare(label, cell)):
            layers = cells.setdefault(image, tuple([] for _ in classes))
            if runs := clean_runs(cell):
                runs = to_absolute(runs, start=source.start, relative=source.relative)
                layers[classes.index(label)].append(runs)
    cells_of = zip(table[naming.column], naming.images, strict=True)
    if absent := [cell for cell, image in cells_of if image is None]:
        text = f"{len(absent)} rows of {source.path} name images that are not there: {list_some(absent)}"
        found.ask("source.path", text, "nothing, if that is right", at_imports=True)
    rest = [path for path in rasters if path not in cells]
    named, test_ids = _find_test_images(listing, rest)
    test = sorted(named | find_test_images(found, rest))
    known, folders = {*cells, *test}, {image.rpartition("/")[0] for image in cells}
    bare, are_empty = (
        [p for p in rasters if p.rpartition("/")[0] in folders and p not in known],
        source.missing == "empty",
    )
    empty = found.ask_bare(bare, len(bare) + len(cells), f"row in {source.path}", are_empty=are_empty)
    cells |= {image: tuple([] for _ in classes) for image in empty}
    draws = {
        image: DrawRuns(listing.header(image).size_hw, tuple(map(tuple, of)), source.order, f"{source.path}, {image}")
        for image, of in cells.items()
    }
    found.overlapping = any(map(_do_overlap, draws.values()))
    if found.overlapping:
        text = "some pixels are of two classes: each class has a mask of its own"
        found.ask("overlapping", text, "a csv without overlaps")
    most = _count_rows(naming.images, labels)
    row = "object" if most > 1 else "class" if len(classes) > 1 else "image"
    if row == "object":
        text = f"{source.path} has a row an object: a mask is all of them together, a submission has a row each"
        found.ask("submission.row", text, '"image"', '"class"')
    form = source.model_dump(include={"image_column", "rle_column", "class_column", "order", "relative"})
    form |= {"cell": naming.cell if "{class}" in naming.cell or naming.unique_ids else "{id}", "row": row}
    found.fields = {"has_background": True, "has_ignored": False, "submission": form}
    found.classes = tuple(label or "object" for label in classes)
    ids = {image: id_ for image, id_ in (naming.unique_ids or {}).items() if image in draws}
    taken = set(ids.values())
    ids |= {image: id_ for image, id_ in test_ids.items() if id_ not in taken}
    return assemble(
        found, [ImportedSample(image=image, id=ids.get(image, ""), draw=draws.get(image)) for image in [*draws, *test]]
    )


def _find_test_images(listing: Listing, rest: list[str]) -> tuple[set[str], dict[str, str]]:
    """Returns of the rest those called test and those that a submission's sample names, and ids as it writes them."""
    test, ids = {path for path in rest if find_split(path.rpartition("/")[0]) == "test"}, dict[str, str]()
    for sample in filter(_is_sample, sorted(listing.tables)):
        naming = _find_naming(listing.tables[sample], Finder(rest))
        test |= {image for image in (naming.images if naming else ()) if image is not None}
        ids |= (naming and naming.unique_ids) or {}
    return test, ids


def describe_sample(found: Import, like: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Returns the fields of SubmissionConfig, as a sample of a submission has them.

    `like` has those of training masks that are run lengths, which say what a sample does not tell; without them that is
    asked. A csv that is called a sample and names no test image is passed over; where there is `like`, the columns of
    the first count all the same: test images may be elsewhere.
    """
    tables, id_of = found.listing.tables, {one.image: one.id for one in found.samples if one.split == "test"}
    samples = sorted(filter(_is_sample, tables))
    for path in samples:
        table = tables[path]
        if (naming := _find_naming(table, Finder(list(id_of)))) is None:
            continue
        rest = [name for name in table.columns if name != naming.column] or [naming.column]
        column = like["rle_column"] if like and like["rle_column"] in rest else rest[-1]
        more = [name for name in rest if name != column]
        is_known = like is not None and more == [like["class_column"]]
        has_classes = len(more) == 1 and not naming.labels and (len(found.classes) > 1 or is_known)
        class_column = more[0] if has_classes else None
        labels = naming.labels or (table[class_column] if class_column else ("",) * len(table))
        cells = tuple(sort_naturally(set(labels) - {""}))
        are_runs = like or all(_RUNS.fullmatch(runs) for cell in table[column] if (runs := clean_runs(cell)))
        are_ids = all(id_of[image] == id_ for image, id_ in naming.ids.items())
        are_classes = len(cells) in (0, len(found.classes)) or (like and {*cells} <= {*found.classes})
        if not (are_runs and are_ids and are_classes) or len(more) > bool(class_column):
            form_of = (
                "but for its columns, the form of the training masks is taken" if like else "its form is not followed"
            )
            text = f"{path} is called a sample of a submission, and cannot be read as one: {form_of}"
            found.ask("submission", text, "sample=..., image_column=..., rle_column=..., cell=...")
            continue
        if is_renamed := not {*cells} <= {*found.classes}:
            text = f"{path} calls the classes {', '.join(cells)}, in the order of `classes`"
            found.ask("submission.class_cells", text, "another order")
        found.account[path] = "sample submission"
        form: dict[str, Any] = {"sample": path, "image_column": naming.column, "cell": naming.cell}
        form |= {"class_column": class_column, "class_cells": cells if is_renamed else (), "rle_column": column}
        row = "object" if _count_rows(naming.images, labels) > 1 else "class" if cells else "image"
        is_grid = row == "class" and len(cells) > 1 and naming.hits == len(naming.ids) * len(cells)
        if like and like["row"] == "object" and is_grid:
            found.questions = [question for question in found.questions if question.field != "submission.row"]
            text = f"training masks have a row an object, {path} one for each class of each image: it is followed"
            found.ask("submission.row", text, '"object"')
            form["row"] = row
        if like:
            return {**like, **form}
        text = f"{path} does not tell how pixels are counted: along columns, as Kaggle mostly has it"
        found.ask("submission.order", text, '"row"')
        return {**form, "order": "column", "row": row}
    if not like or not samples:
        return {**(like or {}), "sample": None}
    found.account[samples[0]] = "sample submission"
    return {**like, **_follow_columns(tables[samples[0]], like), "sample": samples[0]}


def _follow_columns(sample: pd.DataFrame, like: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a sample's columns tell, where one is called as that of the images in the csv of training masks."""
    names = list(sample.columns)
    if like["image_column"] not in names:
        return {}
    rest = [name for name in names if name not in (like["image_column"], like["class_column"])]
    rle_column = like["rle_column"] if like["rle_column"] in rest else (rest or [like["rle_column"]])[-1]
    class_column = like["class_column"] if like["class_column"] in names else None
    form = {"rle_column": rle_column, "class_column": class_column}
    endings = {match[0] for cell in sample[like["image_column"]] if (match := _ENDING.search(cell))}
    own = _ENDING.search(like["cell"].replace("{id}", ""))
    if own and len(endings) == 1 and own[0] not in endings:  # training images are png, test images jpg
        form["cell"] = like["cell"].replace(own[0], endings.pop())
    return form


def _do_overlap(draw: DrawRuns) -> bool:
    """Tells whether a pixel is of two classes: the union is then smaller than its parts."""
    united = [unite_rles(cells) for cells in draw.layers if cells]
    return len(united) > 1 and _count(unite_rles(united)) < sum(map(_count, united))


def _count(rle: str) -> int:
    return sum(map(int, rle.split()[1::2]))


def _count_rows(images: Sequence[str | None], labels: Iterable[str]) -> int:
    """Returns the most rows that an image has of a class; those of images that are not there tell nothing."""
    counts = Counter(pair for pair in zip(images, labels, strict=True) if pair[0] is not None)
    return max(counts.values(), default=1)


def _list_classes(labels: Iterable[str], cells: Iterable[str]) -> tuple[str, ...]:
    """Lists the classes that rows name, one of "" where labels say nothing; rows of empty images may name none."""
    rows = list(zip(labels, cells, strict=False))  # without a column of classes there are no labels
    return tuple(sort_naturally({label for label, cell in rows if not _is_bare(label, cell)} or {*labels}))


def _is_bare(label: str, cell: str) -> bool:
    """Tells whether a row says that its image is empty: it names neither a class nor a run."""
    return label.strip().lower() in _NO_CLASS and not clean_runs(cell)


def _is_sample(path: str) -> bool:
    """Tells whether the name of a csv says that it is a sample of a submission."""
    return re.search(r"sample|submission|submit", path.rpartition("/")[2].lower()) is not None


def _find_rle_columns(table: pd.DataFrame) -> list[str]:
    """Returns the columns of run lengths, pairs of whole numbers or nothing in nearly every cell; the longest first."""
    lengths: dict[str, int] = {}
    for column in table.columns:
        cells = [clean_runs(cell) for cell in spread(table[column].tolist(), _MANY)]
        filled = [cell for cell in cells if cell]
        if filled and sum(_RUNS.fullmatch(cell) is not None for cell in filled) >= 0.98 * len(filled):
            lengths[column] = sum(map(len, filled))
    return sorted(lengths, key=lambda column: -lengths[column])


def _find_naming(table: pd.DataFrame, images: Finder, skip: Sequence[str] = (), least: float = 0.5) -> Naming | None:
    """Finds the column whose cells name images, and how they do; None where no column names many.

    A number without its zeros counts where nothing else names images: of a row it may be, too.
    """
    columns = [name for name in table.columns if name not in skip]
    namings = (naming for column in columns for naming in _list_namings(column, table[column].tolist(), images))
    numbered = (_build(column, table[column].tolist(), images.find_number) for column in columns)
    for group in (namings, numbered):
        if fitting := [naming for naming in group if naming.hits >= max(1, least * len(table))]:
            return max(fitting, key=lambda naming: naming.hits)
    return None


def _list_namings(column: str, cells: Sequence[str], images: Finder) -> list[Naming]:
    """Lists the ways in which a column's cells may name images: whole, before a class, in parts."""
    namings = [_build(column, cells, images.find_cell)]
    parted = [parts for cell in cells if (parts := _part_cell(cell, images))]
    marks, labels = {mark for _, mark, _ in parted}, tuple(label for _, _, label in parted)
    if len(parted) == len(cells) and len(marks) == 1 and len(set(labels)) <= min(_MOST_CLASSES, len(labels) - 1):
        namings.append(_build(column, [name for name, _, _ in parted], images.find_cell, labels, marks.pop()))
    if max(naming.hits for naming in namings) < 0.5 * len(cells):
        namings.append(_build(column, cells, images.find_parts))
    return namings


def _part_cell(cell: str, images: Finder) -> tuple[str, str, str] | None:
    """Parts a cell into image, mark and class: at the last mark before which an image is named, else at the last."""
    ways = [(cell[: m.start()], m[0], cell[m.end() :]) for m in re.finditer(r"(?<=.)[_\- ](?=[^/]+$)", cell)][::-1]
    return next((way for way in ways if images.find_cell(way[0])), ways[0] if ways else None)


def _build(
    column: str, cells: Sequence[str], find: Callable[[str], str | None], labels: tuple[str, ...] = (), mark: str = ""
) -> Naming:
    image_of = {cell: find(cell) for cell in dict.fromkeys(cells)}
    known = {cell: image for cell, image in image_of.items() if image is not None}
    tails = {_find_ending(cell, image) for cell, image in known.items()}
    tail = tails.pop() if len(tails) == 1 else ""
    heads = {cell[: max(cell.rfind("/"), cell.rfind("\\")) + 1] for cell in known}
    head = heads.pop() if len(heads) == 1 else ""
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


def _find_class_column(table: pd.DataFrame, images: Sequence[str | None], others: set[str]) -> str | None:
    """Finds a column of few values in which rows of one image differ, or which is called class, label or category.

    A single value counts where it is a name.
    """
    for column in table.columns:
        names = set(table[column])
        tells = len(names) > 1 or any(map(str.isalpha, "".join(names)))
        if column in others or not tells or len(names) > _MOST_CLASSES:
            continue
        by_image = (
            pd.DataFrame({"image": images, "cell": table[column]}).groupby("image")["cell"].agg(["size", "nunique"])
        )
        several = by_image[by_image["size"] > 1]
        differ = len(several) > 0 and (several["nunique"] > 1).mean() >= 0.9
        if differ or re.search(r"class|label|categ", column.lower()):
            return column
    return None
