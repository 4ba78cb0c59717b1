"""A table with a row an image: by hand, the way for layouts that no importer knows, or a competition's csv of paths.

samples.csv    id,split,image,mask,group             train.csv         image_path,mask_path
               a,train,photos/a.jpg,drawn/a.png,p1                     images/a.jpg,masks/a.png
dataset.json   {"training": [{"image": "images/a.jpg", "label": "masks/a.png"}]}
train_list.txt                                                         images/a.jpg masks/a.png
"""

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from unets.config import DatasetConfig, TableSource
from unets.data.files import find_file
from unets.dataset.importers.assemble import assemble, list_rasters
from unets.dataset.importers.base import Import, ImportedSample
from unets.dataset.importers.listing import Listing, read_table, stem_of
from unets.dataset.importers.meaning import find_coding, look_at
from unets.dataset.importers.names import IMAGE_WORDS, MASK_WORDS, Finder, find_split, is_called, list_some, spread
from unets.errors import InputError


def propose(listing: Listing) -> Import | None:
    """Reads the csv in which a column names most images and another their masks; None without one. Raises as `read`."""
    images = Finder(listing.rasters)

    def find(path: str, column: str) -> list[str | None]:
        return [images.find_cell(cell, path) for cell in listing.tables[path][column]]

    best: tuple[int, TableSource | None] = (0, None)
    unread: list[str] = []
    for path, table in sorted(listing.tables.items(), key=lambda item: find_split(item[0]) == "test"):
        if best[0] and find_split(path) == "test":
            break
        columns = {name: find(path, name) for name in table.columns}
        found = {name: paths for name, paths in columns.items() if len(paths) - paths.count(None) >= 2}
        masks = [name for name, paths in found.items() if _is_mask(listing, name, paths)]
        for mask, image in itertools.product(masks, [name for name in found if name not in masks]):
            pairs = zip(found[image], found[mask], strict=True)
            hits = sum(a is not None and b is not None and a != b for a, b in pairs)
            if hits > best[0] and 2 * hits >= len(found[mask]) - found[mask].count(None):
                options = {"path": path, "image_column": image, "mask_column": mask}
                best = hits, TableSource(**options, values=None, stretch_masks=True)
                unread = [name for name in masks if name != mask]
    source = best[1]
    if source is None:
        return None
    asked = Import(listing=listing, source=source)
    path = join_parts(asked, source.path, lambda path: {*find(path, source.image_column)})
    result = read(listing, source.model_copy(update={"path": path}))
    result.questions += asked.questions
    if unread:
        text = f"{path} also has masks in {', '.join(unread)}, which are not read: are they of other classes?"
        result.ask("source.mask_column", text, "masks of a value a class", "a samples.csv with a file a class")
    return result


def _is_mask(listing: Listing, column: str, paths: Sequence[str | None]) -> bool:
    """Tells whether a column names masks: by its name, or by what the files hold."""
    looked = spread([path for path in paths if path], 8)
    return is_called(column, MASK_WORDS) or (not is_called(column, IMAGE_WORDS) and look_at(listing, looked).is_mask)


def find_test_images(found: Import, images: Sequence[str]) -> set[str]:
    """Returns the images that a list or csv called `test` names, in the first word of a line, and accounts for it."""
    lists = found.listing.select(".txt", ".lst", ".csv", ".tsv")
    lines = {path: found.listing.read_text(path).splitlines() for path in lists if find_split(stem_of(path)) == "test"}
    finder, named = Finder(images if lines else ()), set[str]()
    for path, of in lines.items():
        words = (re.split(r"[\s,;]", line)[0] for line in of if len(line.split()) < 4)
        own = {image for word in words if (image := finder.find_cell(word, path))}
        found.account |= {path: "list of test images"} if own else {}
        named |= own
    return named


def ask_trained(found: Import, trained: Sequence[str]) -> None:
    """Asks about training images that a list called `test` names."""
    if trained:
        text = f"{len(trained)} images of a list called test have masks, and are taken for training: {trained[0]}, ..."
        found.ask("source.test_images", text, "patterns of these images")


def join_parts(found: Import, path: str, find: Callable[[str], set[str | None]]) -> str:
    """Joins the path of a table by `|` with those of the same columns that name other images, as those of other splits.

    `find` returns the images that a table names. Asks about those that name some of the same images, and more.
    """
    parts, known, tables = [path], find(path), found.listing.tables
    for other, table in tables.items():
        if other == path or list(table.columns) != list(tables[path].columns) or find_split(other) == "test":
            continue
        named = find(other)
        if not (more := named - known - {None}):
            continue
        if named & known - {None}:
            text = f"{other} names {len(more)} images that {path} does not, and some of the same: it is left out"
            found.ask("source.path", text, repr(other), "one table of all rows")
        else:
            parts.append(other)
            known |= more
    return "|".join(sorted(parts))


def read(
    listing: Listing, source: TableSource, dataset: DatasetConfig | None = None, config_dir: Path | None = None
) -> Import:
    """Reads a table, below INPUT or in `config_dir`, as `source` says; `dataset` tells the classes, if known.

    Every row of a table with the columns `id` and `split` must be right. In others, files that are not there are a
    question, and images without a mask are test images where a cell or folder says so.

    Raises:
        InputError: see `assemble`; there is no such table, a column is missing, or rows are at fault: another split
            than `train` and `test`, a training image without a mask, a file that is not there, an image twice.
    """
    tables = read_parts(listing, source.path, config_dir)
    table = pd.concat(tables.values()).fillna("")
    if not {source.image_column, source.mask_column} <= set(table.columns):
        raise InputError(
            f"{source.path} must have the columns {source.image_column},{source.mask_column} and, if any, "
            f"id,split,group,view. Received: {','.join(table.columns)}"
        )
    is_by_hand = {"id", "split"} <= set(table.columns)
    found = Import(listing=listing, source=source)
    images = Finder(list_rasters(found))
    masks_of: dict[str, list[str]] = {}
    rows: dict[str, Mapping[str, str]] = {}
    test, faults = dict[str, list[str]](), list[str]()
    first = 1 if "1" in table.columns else 2  # a list has no header
    places = [(part, first + row) for part, of in tables.items() for row in range(len(of))]
    for (part, number), cells in zip(places, table.itertuples(index=False), strict=True):
        where = f"row {number}" + f" of {part}" * (len(tables) > 1)
        row = dict(zip(table.columns, cells, strict=True))
        names = [row[source.image_column], *filter(None, row[source.mask_column].split("|"))]
        paths = {name: images.find_cell(name, part) for name in names}
        image, *masks = [path for name in names if (path := paths[name]) is not None] or [""]
        is_test = row["split"] == "test" if is_by_hand else _is_test(row, image)
        absent = [name for name, path in paths.items() if path is None]
        if absent:
            faults.append(f"{where}: no file {absent[0]!r} below `--input`")
        elif is_by_hand and row["split"] not in ("train", "test"):
            faults.append(f"{where}: `split` must be train or test. Received: {row['split']!r}")
        elif is_by_hand and not is_test and not masks:
            faults.append(f"{where}: `{source.mask_column}` must be given for a training image. Received: none")
        elif is_by_hand and image in rows:
            faults.append(f"{where}: an image must have one row. Received: {image} twice")
        elif is_test:
            test.setdefault(image, []).extend(masks)
        elif masks:
            masks_of.setdefault(image, []).extend(masks)
        rows[image] = row
    if len(faults) > (0 if is_by_hand else len(masks_of)):
        shown = list_some(faults, "\n  ", 20)
        raise InputError(f"{source.path} must be a table of samples. Received: {len(faults)} faults:\n  {shown}")
    if faults:
        text = f"{len(faults)} rows of {source.path} name files that are not there: {list_some(faults)}"
        found.ask("source.path", text, "nothing, if that is right", at_imports=True)
    held = {image: masks for image, masks in test.items() if masks and not is_by_hand}
    if not masks_of:  # all masks are of images called test
        masks_of = held
    elif held:
        text = f"{len(held)} images called test have masks, and are not trained on: {next(iter(held))}"
        found.ask("source.path", text, "a table samples.csv, if they are for training")
    found.leave({mask for masks in test.values() for mask in masks}, "the mask of a test image")
    files = [mask for masks in masks_of.values() for mask in masks]
    if not files:
        raise InputError(f"{source.path} must name masks in `{source.mask_column}`. Received: none")
    is_single = any(len(masks) > 1 for masks in masks_of.values())
    coding = find_coding(found, source, files, is_single=is_single)
    if dataset is not None:
        found.classes, found.overlapping = dataset.classes, dataset.overlapping

    def describe(image: str) -> dict[str, Any]:
        return {name: rows[image].get(name, "") for name in ("id", "group", "view") if is_by_hand}

    samples = []
    for image, masks in masks_of.items():
        a_class_each = len(found.classes) > 1 and (found.overlapping or len(masks) == len(found.classes))
        layers = tuple((mask,) for mask in masks) if a_class_each else (tuple(masks),)
        samples.append(found.take_files(image, layers, coding, **describe(image)))
    samples += [ImportedSample(image=image, **describe(image)) for image in test if image not in masks_of]
    found.account |= dict.fromkeys(tables, "annotation")
    if is_by_hand:
        return assemble(found, samples, has_groups=True)
    rest = [path for path in listing.rasters if path not in found.account and path not in masks_of]
    listed = find_test_images(found, [*rest, *masks_of])
    ask_trained(found, [image for image in masks_of if image in listed])
    further = [p for p in rest if (p in listed or _is_test({}, p)) and not is_called(p, MASK_WORDS)]
    folders, tested = {image.rpartition("/")[0] for image in rows}, {*test, *further}
    if bare := [path for path in rest if path.rpartition("/")[0] in folders and path not in tested]:
        found.leave(bare, "an image without a mask")
        text = f"{len(bare)} images have no mask in {source.path}, and are left out: {bare[0]}, ..."
        found.ask("source.test_images", text, "patterns of test images", "a table of all images")
    return assemble(found, [*samples, *(ImportedSample(image=image) for image in further)])


def read_parts(listing: Listing, path: str, config_dir: Path | None = None) -> dict[str, pd.DataFrame]:
    """Reads the tables that `|` joins, in `config_dir` or below INPUT; raises InputError where one is not there."""
    parts = {}
    for part in path.split("|"):
        if config_dir is not None and (config_dir / part).is_file():
            parts[part] = read_table(config_dir / part)
        elif (known := listing.tables.get(listing.plain.get(part, part))) is not None:
            parts[part] = known
        else:  # says what is wrong
            parts[part] = read_table(find_file(listing.root, part))
    return parts


def _is_test(row: Mapping[str, str], image: str) -> bool:
    """Tells whether a cell, or the image's folder, is called test."""
    called = [image.rpartition("/")[0], *(cell for cell in row.values() if "/" not in cell)]
    return any(find_split(text) == "test" for text in called)
