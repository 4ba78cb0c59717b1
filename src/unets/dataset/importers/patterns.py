"""Images and masks that are found by patterns of their names, as in Carvana; masks may be rows of a csv, too.

train/fff9b3a5373f_01.jpg               images="train/{id}.jpg"
train_masks/fff9b3a5373f_01_mask.gif    masks="train_masks/{id}_mask.gif"
test.zip                                test_images="test/{id}.jpg": a folder may also be a zip of its name
"""

import logging
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from unets.config import DatasetConfig, MaskFiles, PatternSource
from unets.data.files import find_file
from unets.data.image import read_size
from unets.data.samples import find_kind
from unets.dataset.importers.assemble import complete_account
from unets.dataset.importers.base import Import, ImportedSample
from unets.dataset.importers.listing import NO_FILE, Listing, list_input
from unets.dataset.importers.masks import DrawFiles
from unets.dataset.importers.meaning import Coding
from unets.dataset.importers.run_lengths import DrawRuns
from unets.dataset.rle_csv import Rles, read_columns, read_rle_csv
from unets.errors import InputError

logger = logging.getLogger(__name__)

NO_GROUP = "(none)"  # the name of a group whose part of the id is empty
_MAX_FAULTS_SHOWN = 20
_MAX_NAMES_SHOWN = 8

Paths = dict[str, tuple[str, ...]]  # below INPUT, by id


def read_patterns(input_dir: Path, dataset: DatasetConfig, config_dir: Path) -> Import:
    """Finds images and masks by the patterns of `dataset.source`, a `PatternSource`.

    Args:
        input_dir: the data set's folder.
        dataset: whose source it is.
        config_dir: the folder of `dataset.py`, which is not needed here.

    Raises:
        InputError: nothing fits a pattern, a csv is missing or no csv, or names contradict each other: an id that does
            not fit `id_pattern`, two files with one id, an image without its mask or row, or the other way round.
    """
    source, listing = get_patterns(dataset), list_input(input_dir)
    faults: list[str] = []
    account = {path: "left out: as `source.leave_out` says" for p in source.leave_out for path in _match(listing, p)}
    masks = [_find(listing, pattern, set(account), faults, source.unite_masks) for pattern in _list_patterns(dataset)]
    account |= {path: "mask" for found in masks for paths in found.values() for path in paths}
    # `a_mask.png` beside `a.png` fits `{id}.png`, too.
    images = {id_: paths[0] for id_, paths in _find(listing, source.images, set(account), faults).items()}
    tests: dict[str, str] = {}
    is_damaged = any("damaged" in why for why in listing.left_out.values())
    if source.test_images is not None and not _match(listing, source.test_images) and not is_damaged:
        logger.warning("no test images: nothing fits %s", input_dir / source.test_images)
    elif source.test_images is not None:
        tests = {id_: paths[0] for id_, paths in _find(listing, source.test_images, set(account), faults).items()}
    account |= dict.fromkeys(tests.values(), "test image") | dict.fromkeys(images.values(), "image")
    rles = read_masks_csv(input_dir, dataset)
    place = f"{input_dir / source.images}"
    if source.masks is not None:
        faults += _compare(set().union(*masks), images, f"{input_dir / source.masks}", place, "a file")
    if source.masks_csv is not None and rles is not None:
        if source.masks_csv.omits_empty:
            rles = dict.fromkeys(images, ("",) * len(dataset.classes)) | rles
        faults += _compare(rles, images, f"{input_dir / source.masks_csv.path}", place, "a row")
    csv = source.masks_csv.path if source.masks_csv else None
    tables = {csv: "annotation", source.groups_csv: "groups", dataset.submission.sample: "sample submission"}
    account |= {listing.plain[name]: what for name, what in tables.items() if name in listing.plain}
    groups = _Grouping(source, input_dir)
    samples = []
    for id_, path in images.items():
        mask: tuple[str, ...] = ()
        draw: DrawFiles | DrawRuns | None = None
        layers = tuple(found.get(id_, ()) for found in masks)
        if any(layers):
            is_canonical = source.is_canonical and len(layers) == len(layers[0]) == 1
            mask = layers[0] if is_canonical else ()
            draw = None if is_canonical else make_draw(input_dir, layers, source, dataset)
        elif rles is not None and id_ in rles and source.masks_csv is not None:
            size_hw = dataset.size_hw or read_size(input_dir / path, find_kind(dataset))
            cells = tuple((rle,) if rle else () for rle in rles[id_])
            name = f"{source.masks_csv.path}, {id_}"
            draw = DrawRuns(size_hw, cells, source.masks_csv.order, overlapping=dataset.overlapping, name=name)
        else:
            continue  # a fault already
        group, view = groups.find(id_, path, faults)
        samples.append(ImportedSample(id=id_, split="train", image=path, mask=mask, draw=draw, group=group, view=view))
    for id_, path in tests.items():
        group, view = groups.find(id_, path, faults)
        samples.append(ImportedSample(id=id_, split="test", image=path, group=group, view=view))
    if faults:
        shown = "\n".join(f"  {fault}" for fault in faults[:_MAX_FAULTS_SHOWN])
        more = f"\n  ... and {len(faults) - _MAX_FAULTS_SHOWN} more" if len(faults) > _MAX_FAULTS_SHOWN else ""
        raise InputError(f"{input_dir} must hold a consistent data set. Received: {len(faults)} faults:\n{shown}{more}")
    return Import(
        samples=tuple(samples),
        classes=dataset.classes,
        overlapping=dataset.overlapping,
        account=complete_account(listing, account),
    )


def get_patterns(dataset: DatasetConfig) -> PatternSource:
    """Returns the data set's source.

    Raises:
        InputError: it is of another format.
    """
    if not isinstance(dataset.source, PatternSource):
        raise InputError(f"`source` must be a PatternSource. Received: {dataset.source.format}")
    return dataset.source


def read_masks_csv(input_dir: Path, dataset: DatasetConfig) -> Rles | None:
    """Reads the run lengths of the training masks; None where the source has no csv.

    Raises:
        InputError: see `read_rle_csv`.
    """
    source = get_patterns(dataset)
    if source.masks_csv is None:
        return None
    path = find_file(input_dir, source.masks_csv.path)
    return read_rle_csv(path, source.masks_csv, dataset.classes, unite=source.unite_masks)


def find_mask_files(folder: Path, dataset: DatasetConfig) -> dict[str, tuple[tuple[str, ...], ...]]:
    """Finds masks in another folder, named as the training masks are in theirs.

    Returns:
        For each id the files of each class, or of all, below the folder; see `make_draw`.

    Raises:
        InputError: the source has no mask files.
    """
    patterns = _list_patterns(dataset)
    if not patterns:
        raise InputError("`source.masks` must say how mask files are named. Received: None")
    listing = list_input(folder)
    found = [find_ids(listing, Path(pattern).name) for pattern in patterns]
    return {id_: tuple(of.get(id_, ()) for of in found) for id_ in sorted(set().union(*found))}


def make_draw(root: Path, layers: tuple[tuple[str, ...], ...], files: MaskFiles, dataset: DatasetConfig) -> DrawFiles:
    """Makes what draws a mask from its files, whose values are declared.

    Args:
        root: the folder.
        layers: files below it: those of each class, or of all.
        files: what their values mean.
        dataset: says whether classes overlap.
    """
    coding = Coding(
        classes=files.mask_values if len(layers) == 1 else files.mask_values[:1],
        background=files.background_values,
        ignored=files.ignore_values,
        threshold=files.mask_threshold,
        colors=files.has_colors,
    )
    return DrawFiles(root, layers, coding, overlapping=dataset.overlapping)


def find_ids(listing: Listing, pattern: str) -> Paths:
    """Lists the files that fit a pattern, by the id in their name.

    Args:
        listing: of a folder.
        pattern: a path below it with `{id}` once and `*` for anything within a name, as `train/{id}.jpg`; `{a,b}` is
            either of two.

    Returns:
        The paths of each id, more than one where a `*` lets two files have it; ids sorted.
    """
    found: dict[str, list[str]] = {}
    for path, id_ in _match(listing, pattern).items():
        found.setdefault(id_, []).append(path)
    return {id_: tuple(found[id_]) for id_ in sorted(found)}


def _match(listing: Listing, pattern: str) -> dict[str, str]:
    """Returns the ids of the files that fit a pattern, by their paths; empty ids of a pattern without `{id}`."""
    parts = re.split(r"(\{id\}|\{[^{}]*\}|\*)", pattern)
    known = {"{id}": "(?P<id>[^/]+)", "*": "[^/]*"}
    choices = {
        p: f"(?:{'|'.join(map(re.escape, p[1:-1].split(',')))})" for p in parts if p.startswith("{") and "," in p
    }
    matches = re.compile("".join((known | choices).get(part, re.escape(part)) for part in parts)).fullmatch
    broken = {path: path for path, why in listing.left_out.items() if why == NO_FILE}  # reading them says why
    found = {path: matches(plain) for plain, path in (listing.plain | broken).items()}
    return {path: match.groupdict().get("id", "") for path, match in found.items() if match}


class _Grouping:
    """Finds the group and the camera view of an id."""

    def __init__(self, source: PatternSource, input_dir: Path) -> None:
        self._source, self._matches = source, re.compile(source.id_pattern).fullmatch
        self._group_of: dict[str, str] = {}
        if source.groups_csv is not None:
            rows = read_columns(find_file(input_dir, source.groups_csv), source.groups_columns)
            plain = {cell: group for cell, group in rows if group}
            self._group_of = {Path(cell).stem: group for cell, group in plain.items()} | plain

    def find(self, id_: str, path: str, faults: list[str]) -> tuple[str, str]:
        """Returns (group, view); an id that does not fit is added to `faults`."""
        match = self._matches(id_)
        if match is None:
            faults.append(f"{path}: `id_pattern` must fit the id: {self._source.id_pattern}. Received: {id_!r}")
            return "", ""
        # Interned: 16 images share a group's name, 6,254 a view's, and strings are a third of what a sample takes.
        group = sys.intern(self._group_of.get(id_) or match["group"] or NO_GROUP)
        return group, sys.intern(match.groupdict().get("view") or "")


def _list_patterns(dataset: DatasetConfig) -> list[str]:
    """Returns the pattern of mask files; with `{class}` one for each class."""
    pattern = get_patterns(dataset).masks
    if pattern is None:
        return []
    return [pattern.replace("{class}", name) for name in dataset.classes] if "{class}" in pattern else [pattern]


def _find(listing: Listing, pattern: str, taken: set[str], faults: list[str], unite: bool = False) -> Paths:
    """Finds the files of each id; adds ids of several to `faults`, unless these are united.

    Raises:
        InputError: there are none at all.
    """
    found = {id_: tuple(p for p in paths if p not in taken) for id_, paths in find_ids(listing, pattern).items()}
    found = {id_: paths for id_, paths in found.items() if paths}
    if not found:
        raise InputError(f"{listing.root / pattern} must match files. Received: none. {_describe(listing, pattern)}")
    for id_, paths in found.items():
        if len(paths) > 1 and not unite:
            names = ", ".join(paths)
            faults.append(f"{listing.root / pattern} must match one file for {id_}. Received: {len(paths)}: {names}")
    return found


def _describe(listing: Listing, pattern: str) -> str:
    """Says what lies in the nearest folder of a pattern that is there."""
    folder = re.split(r"[{*]", pattern)[0].rpartition("/")[0]
    while folder and not any(name.startswith(f"{folder}/") for name in listing.plain):
        folder = folder.rpartition("/")[0]
    prefix = f"{folder}/" if folder else ""
    names = sorted({name.removeprefix(prefix).split("/")[0] for name in listing.plain if name.startswith(prefix)})
    more = ", ..." if len(names) > _MAX_NAMES_SHOWN else ""
    left = "".join(f"; {path} is left out: {why}" for path, why in listing.left_out.items() if path.endswith(".zip"))
    return f"{listing.root / folder} holds {', '.join(names[:_MAX_NAMES_SHOWN])}{more}{left}"


def _compare(found: Iterable[str], images: Iterable[str], source: str, images_source: str, what: str) -> Sequence[str]:
    """Says which images have no mask or row, and which masks or rows have no image."""
    found, images = set(found), set(images)
    missing = [f"{source} must have {what} for each image. Received: none for {id_}" for id_ in sorted(images - found)]
    unknown = [
        f"{source} must have {what} for images only. Received: {id_}, which {images_source} does not have"
        for id_ in sorted(found - images)
    ]
    return missing + unknown
