"""A csv of paths: a column names images, another their mask files.

train.csv    image_path,mask_path
             images/a.jpg,masks/a.png
"""

from collections.abc import Sequence

from unets.config import PathsSource
from unets.dataset.importers.assemble import Drawn, assemble, select
from unets.dataset.importers.base import Import, Question
from unets.dataset.importers.class_lists import find_class_list
from unets.dataset.importers.finder import Finder
from unets.dataset.importers.listing import Listing
from unets.dataset.importers.masks import DrawFiles, describe_coding, find_files_meaning, write_coding
from unets.dataset.importers.names import MASK_WORDS, find_split, is_called
from unets.dataset.importers.tables import Table, read_tables
from unets.errors import InputError


def propose(listing: Listing) -> list[tuple[PathsSource, Import]]:
    """Proposes the csv whose columns name images and masks.

    Raises:
        InputError: see `read`.
    """
    images = Finder(listing.rasters)
    best: tuple[int, PathsSource | None] = (0, None)
    for table in read_tables(listing):
        columns = {column: _find_all(table.cells[column], images) for column in table.columns}
        named = {column: found for column, found in columns.items() if len(found) >= 2}
        masks = [column for column in named if is_called(column, MASK_WORDS)]
        for mask_column in masks:
            for column, found in named.items():
                pairs = [
                    row for row in found.keys() & named[mask_column].keys() if found[row] != named[mask_column][row]
                ]
                if column not in masks and len(pairs) > best[0] and 2 * len(pairs) >= len(named[mask_column]):
                    best = len(pairs), PathsSource(path=table.path, image_column=column, mask_column=mask_column)
    return [write_coding(best[1], read(listing, best[1]))] if best[1] is not None else []


def _find_all(cells: Sequence[str], images: Finder) -> dict[int, str]:
    found = {row: images.find_cell(cell) for row, cell in enumerate(cells) if cell}
    return {row: path for row, path in found.items() if path is not None}


def read(listing: Listing, source: PathsSource) -> Import:
    """Reads a csv of paths as `source` says; images without a mask are test images where the csv, or a folder, says so.

    Raises:
        InputError: see `assemble`; the file or a column is not there, or names files that are not there.
    """
    table = next((table for table in read_tables(listing) if table.path == source.path), None)
    if table is None or not {source.image_column, source.mask_column} <= set(table.columns):
        raise InputError(f"`source.path` must be a csv with the columns that `source` names. Received: {source.path!r}")
    left = set(select(listing.rasters, source.leave_out))
    images = Finder([path for path in listing.rasters if path not in left])
    pairs: dict[str, list[str]] = {}
    test, missing, account = [], [], dict.fromkeys(left, "left out: as `source.leave_out` says")
    for row, cell in enumerate(table.cells[source.image_column]):
        image, mask_cell = images.find_cell(cell), table.cells[source.mask_column][row]
        mask = images.find_cell(mask_cell) if mask_cell else None
        if image is None or (mask_cell and mask is None):
            missing.append(cell if image is None else mask_cell)
        elif mask is not None:
            pairs.setdefault(image, []).append(mask)
        elif _is_test(table, row) or find_split(image.rpartition("/")[0]) == "test":
            test.append(image)
        else:
            account[image] = "left out: an image without a mask"
    if len(missing) > len(pairs):
        raise InputError(
            f"{source.path} must name files below `--input`. Received: {len(missing)} not there: {missing[:3]}"
        )
    questions = []
    if missing:
        text = f"{len(missing)} files that {source.path} names are not there: {missing[0]}"
        questions.append(Question(field="source.path", text=text, choices=("nothing, if that is right",)))
    names, lists = find_class_list(listing)
    files = [mask for masks in pairs.values() for mask in masks]
    is_single = any(len(masks) > 1 for masks in pairs.values())
    meaning = find_files_meaning(listing, source, files, names, is_single=is_single)
    drawn = {}
    for image, masks in pairs.items():
        draw = DrawFiles(listing.root, (tuple(masks),), meaning.coding)
        drawn[image] = Drawn(draw=draw, size_hw=listing.header(masks[0]).size_hw)
    account |= dict.fromkeys(files, "mask") | dict.fromkeys((source.path, *lists), "annotation")
    rest = [path for path in listing.rasters if path not in account and path not in pairs]
    test += [path for path in rest if find_split(path.rpartition("/")[0]) == "test" and not is_called(path, MASK_WORDS)]
    return assemble(
        listing,
        source,
        train=drawn,
        test=test,
        classes=meaning.classes,
        account=account,
        questions=[*questions, *meaning.questions],
        fields=describe_coding(meaning.coding),
    )


def _is_test(table: Table, row: int) -> bool:
    return any(find_split(cells[row]) == "test" for cells in table.cells.values() if "/" not in cells[row])
