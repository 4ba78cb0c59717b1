"""Run lengths: a csv with a row an image, a class or an object, of any dialect; and the sample of a submission.

train.csv                ImageId,ClassId,EncodedPixels
                         a.jpg,1,29102 12 29346 24
train_images/a.jpg
sample_submission.csv    ImageId,ClassId,EncodedPixels
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from unets.config import CsvSource, SizeHW
from unets.data.rle import Order, decode_rle, read_runs, to_absolute, unite_rles
from unets.dataset.importers.assemble import Drawn, assemble, select
from unets.dataset.importers.base import Import, MaskHW, Questions
from unets.dataset.importers.edges import find_border, measure_fit, read_colors
from unets.dataset.importers.listing import Listing
from unets.dataset.importers.meaning import merge_layers
from unets.dataset.importers.names import Finder, find_split, sort_naturally, spread
from unets.dataset.importers.tables import (
    Naming,
    Table,
    clean_runs,
    find_class_column,
    find_naming,
    find_rle_column,
    read_tables,
)
from unets.errors import InputError

_ORDERS: tuple[Order, Order] = ("row", "column")
_ENDING = re.compile(r"\.[A-Za-z]{2,5}(?=$|_)")
_LOOKED_AT = 40  # masks by which the order is decided
_CLEAR = 1.3  # how much longer borders are in the wrong order, at least
_CLEAR_EDGE = 1.15  # how much stronger the image's edges are along the right ones


@dataclass(frozen=True, slots=True)
class DrawRuns:
    """Draws a mask of run lengths, several of a class united."""

    size_hw: SizeHW
    layers: tuple[tuple[str, ...], ...]  # of each class, absolute and counted from 1
    order: Order
    overlapping: bool = False
    name: str = "run lengths"  # of the mask, for errors

    def __call__(self) -> MaskHW | tuple[MaskHW, ...]:
        """Draws the mask; see `ImportedSample.draw`.

        Raises:
            InputError: run lengths leave the image.
        """
        try:
            united = [cells[0] if len(cells) == 1 else unite_rles(cells) for cells in self.layers]
            layers = tuple(decode_rle(rle, self.size_hw, self.order) for rle in united)
        except InputError as error:
            raise InputError(f"{self.name}: {error}") from error
        return layers if self.overlapping else merge_layers(layers, self.name)


def propose(listing: Listing) -> Import | None:
    """Reads the csv with run lengths of most images; None where there is none.

    Raises:
        InputError: a csv is there, and cannot be read rightly.
    """
    images = Finder(listing.rasters)
    best: tuple[int, CsvSource, Questions] | None = None
    for table in read_tables(listing):
        column = None if table.is_sample else find_rle_column(table)
        naming = find_naming(table, images, skip=(column,)) if column else None
        if column and naming:
            questions = Questions()
            source = _describe_csv(listing, table, column, naming, questions)
            if best is None or len(naming.ids) > best[0]:
                best = len(naming.ids), source, questions
    if best is None:
        return None
    result = read(listing, best[1])
    return replace(result, questions=(*best[2], *result.questions))


def _describe_csv(listing: Listing, table: Table, column: str, naming: Naming, questions: Questions) -> CsvSource:
    """Decides how runs are counted, and what an image without a row is."""
    class_column = None if naming.labels else find_class_column(table, naming.images, {column, naming.column})
    cells: dict[str, list[str]] = defaultdict(list)
    for image, cell in zip(naming.images, table.cells[column], strict=True):
        if image is not None:
            cells[image].append(clean_runs(cell))
    sizes = {image: listing.header(image).size_hw for image in spread(list(cells), _LOOKED_AT * 10)}
    filled = [(image, cell) for image in sizes for cell in cells[image] if cell]
    misfits = [image for image, cell in filled if not _fits(cell, sizes[image])]
    relative = bool(misfits)
    if relative and not all(_fits(cell, sizes[image], relative=True) for image, cell in filled):
        image = misfits[0]
        raise InputError(
            f"run lengths of {table.path} must fit into their images, counted from the first pixel or from the run "
            f"before. Received: runs that leave {image}, {sizes[image][0]} x {sizes[image][1]}"
        )
    if relative:
        text = f"run lengths of {table.path} count each start from the end of the run before, as SIIM-ACR's"
        questions.ask("source.relative", text, "False")
    start: Literal[0, 1] = 0 if not relative and any(cell.split()[0] == "0" for _, cell in filled) else 1
    absolute = {i: [to_absolute(c, start=start, relative=relative) for c in cells[i] if c] for i in sizes}
    order, is_sure, why = find_order(listing, absolute, sizes)
    if not is_sure:
        other = "row" if order == "column" else "column"
        questions.ask("source.order", f"pixels are counted along {order}s: {why}", f'"{other}"')
    has_empty = any(not cell for many in cells.values() for cell in many)
    return CsvSource(
        path=table.path,
        image_column=naming.column,
        rle_column=column,
        class_column=class_column,
        cell=naming.cell,
        order=order,
        start=start,
        relative=relative,
        missing="leave_out" if has_empty else "empty",
        labels=tuple(sort_naturally(set(naming.labels or table.cells.get(class_column or "", ())))),
    )


def _fits(cell: str, size_hw: SizeHW, *, relative: bool = False) -> bool:
    start = 0 if cell.split()[0] == "0" else 1
    try:
        read_runs(to_absolute(cell, start=start, relative=relative), size_hw[0] * size_hw[1])
    except InputError:
        return False
    return True


def find_order(
    listing: Listing, cells: Mapping[str, Sequence[str]], sizes: Mapping[str, SizeHW]
) -> tuple[Order, bool, str]:
    """Finds the order in which pixels are counted; returns (order, whether that is sure, why).

    In the wrong order a mask falls into stripes, and its border grows: the order with the shorter borders is right.
    Where an image is square, the wrong one only mirrors the mask at its diagonal: then the image's own edges decide.
    """
    borders = dict.fromkeys(_ORDERS, 0.0)
    fits: dict[Order, list[float]] = {"row": [], "column": []}
    for image in spread([image for image in cells if cells[image]], _LOOKED_AT):
        colors, united = read_colors(listing.root / image), unite_rles(cells[image][:8])
        for order in _ORDERS:
            mask = decode_rle(united, sizes[image], order)
            borders[order] += float(find_border(mask).sum())
            fits[order].append(measure_fit(mask, colors))
    if min(borders.values()) == 0:
        return "column", False, "no row has a mask with a border"
    better: Order = "row" if borders["row"] < borders["column"] else "column"
    factor = max(borders.values()) / min(borders.values())
    if factor >= _CLEAR:
        return better, True, f"the other order makes borders {factor:.1f} times as long"
    means = {order: float(np.mean(values)) for order, values in fits.items()}
    sharper: Order = "row" if means["row"] > means["column"] else "column"
    factor = max(means.values()) / max(min(means.values()), 1e-9)
    if factor >= _CLEAR_EDGE:
        return sharper, factor >= 1.5, f"along these borders the images' edges are {factor:.2f} times as strong"
    return "column", False, "both orders give compact masks, and the images' edges do not tell"


def read(listing: Listing, source: CsvSource) -> Import:
    """Reads a csv of run lengths as `source` says.

    Raises:
        InputError: see `assemble`; the file or a column is not there, or a run leaves its image.
    """
    table = next((table for table in read_tables(listing) if table.path == source.path), None)
    if table is None:
        raise InputError(f"`source.path` must be a csv below `--input`. Received: {source.path!r}")
    for column in (source.image_column, source.rle_column, source.class_column):
        if column is not None and column not in table.columns:
            raise InputError(f"{source.path} must have the column {column!r}. Received: {', '.join(table.columns)}")
    left = set(select(listing.rasters, source.leave_out))
    images = Finder([path for path in listing.rasters if path not in left])
    naming = find_naming(table, images, skip=[c for c in table.columns if c != source.image_column], least=0)
    if naming is None:
        raise InputError(
            f"the column {source.image_column!r} of {source.path} must name images. Received: none that is here"
        )
    labels = naming.labels or table.cells.get(source.class_column or "", ("",) * len(naming.images))
    classes = source.labels or ("",)
    questions, account = Questions(), {source.path: "annotation"}
    cells: dict[str, tuple[list[str], ...]] = {}
    for image, label, cell in zip(naming.images, labels, table.cells[source.rle_column], strict=True):
        if image is not None and label in classes:
            layers = cells.setdefault(image, tuple([] for _ in classes))
            if runs := clean_runs(cell):
                runs = to_absolute(runs, start=source.start, relative=source.relative)
                layers[classes.index(label)].append(runs)
    if absent := naming.images.count(None):
        text = f"{absent} rows of {source.path} name images that are not there"
        questions.ask("source.path", text, "nothing, if that is right")
    sample, test = find_sample(listing, set(cells), left)
    account |= {sample.path: "sample submission"} if sample else {}
    known, folders = {*cells, *test, *left}, {image.rpartition("/")[0] for image in cells}
    if bare := [path for path in listing.rasters if path.rpartition("/")[0] in folders and path not in known]:
        is_empty = source.missing == "empty"
        what, choice = (
            ("hold no object", '"leave_out"') if is_empty else ("are left out", '"empty", if they hold no object')
        )
        text = f"{len(bare)} of {len(bare) + len(cells)} images have no row in {source.path} and {what}: {bare[0]}, ..."
        questions.ask("source.missing", text, choice)
        account |= dict.fromkeys(bare, "left out: an image without a row")
        cells |= {image: tuple([] for _ in classes) for image in bare if is_empty}
    draws = {
        image: DrawRuns(
            listing.header(image).size_hw, tuple(map(tuple, layers)), source.order, True, f"{source.path}, {image}"
        )
        for image, layers in cells.items()
    }
    overlapping = any(sum(map(bool, draw.layers)) > 1 and _do_overlap(draw) for draw in draws.values())
    if overlapping:
        text = "some pixels are of two classes: each class has a mask of its own"
        questions.ask("overlapping", text, "a csv without overlaps")
    drawn = {image: Drawn(draw=replace(draw, overlapping=overlapping)) for image, draw in draws.items()}
    per_class = Counter(zip(naming.images, labels, strict=True))
    row = "object" if max(per_class.values()) > 1 else "class" if len(classes) > 1 else "image"
    fields = describe_submission(sample, test, source, naming, row)
    if row == "object":
        text = f"{source.path} has a row an object: a mask is all of them together, a submission has a row each"
        questions.ask("submission.row", text, '"image"', '"class"')
    return assemble(
        listing,
        source,
        train=drawn,
        test=test,
        classes=tuple(label or "object" for label in classes),
        overlapping=overlapping,
        account=account,
        questions=questions,
        ids={image: id_ for image, id_ in naming.ids.items() if image in drawn} if _are_unique(naming.ids) else None,
        fields={"has_background": True, "has_ignored": False, "submission": fields},
    )


def _are_unique(ids: Mapping[str, str]) -> bool:
    return len(set(ids.values())) == len(ids)


def find_sample(listing: Listing, train: set[str], left: set[str]) -> tuple[Table | None, list[str]]:
    """Returns the sample of a submission, if there is one, and the test images: its own, and those called so."""
    rest = [path for path in listing.rasters if path not in train and path not in left]
    called = [path for path in rest if find_split(path.rpartition("/")[0]) == "test"]
    samples = sorted((table for table in read_tables(listing) if table.is_sample), key=lambda table: table.path)
    named = []
    for sample in samples:
        naming = find_naming(sample, Finder(rest), least=0.5)
        named += [image for image in (naming.images if naming else ()) if image is not None]
    return (samples[0] if samples else None), sorted({*called, *named})


def describe_submission(
    sample: Table | None, test: Sequence[str], source: CsvSource, naming: Naming, row: str
) -> dict[str, Any]:
    """Returns the fields of SubmissionConfig: the sample's columns, and how its cells are written."""
    fields: dict[str, Any] = source.model_dump(
        include={"image_column", "rle_column", "class_column", "order", "relative"}
    )
    cell = naming.cell if "{class}" in naming.cell or _are_unique(naming.ids) else "{id}"
    fields |= {"sample": sample.path if sample else None, "cell": cell, "row": row}
    if sample is None:
        return fields
    if source.image_column not in sample.columns:
        named = find_naming(sample, Finder(test), least=0.5)
        if named is None:
            return fields
        fields |= {"image_column": named.column, "cell": named.cell}
    rest = [name for name in sample.columns if name not in (fields["image_column"], source.class_column)]
    fields["rle_column"] = source.rle_column if source.rle_column in rest else (rest[-1] if rest else source.rle_column)
    if source.class_column is not None and source.class_column not in sample.columns:
        fields["class_column"] = None
    if fields["image_column"] != source.image_column:
        return fields
    endings = {match[0] for cell in sample.cells[source.image_column] if (match := _ENDING.search(cell))}
    own = _ENDING.search(naming.cell.replace("{id}", ""))
    if own and len(endings) == 1 and own[0] not in endings:
        fields["cell"] = naming.cell.replace(own[0], endings.pop())
    return fields


def _do_overlap(draw: DrawRuns) -> bool:
    """Tells whether a pixel is of two classes: the union is then smaller than its parts."""
    united = [unite_rles(cells) for cells in draw.layers]
    return _count(unite_rles(united)) < sum(map(_count, united))


def _count(rle: str) -> int:
    return sum(map(int, rle.split()[1::2]))
