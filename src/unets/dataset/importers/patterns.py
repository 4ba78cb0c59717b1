"""Images and masks that are found by patterns of their names, as in Carvana; masks may be rows of a csv, too.

train/fff9b3a5373f_01.jpg               images="train/{id}.jpg"
train_masks/fff9b3a5373f_01_mask.gif    masks="train_masks/{id}_mask.gif"
test.zip                                test_images="test/{id}.jpg": a folder may also be a zip of its name
"""

import logging
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from unets.config import DatasetConfig, PatternSource
from unets.data.files import find_file
from unets.data.image import read_size
from unets.data.samples import find_kind
from unets.dataset.importers.assemble import complete_account
from unets.dataset.importers.base import Draw, Import, ImportedSample
from unets.dataset.importers.listing import NO_FILE, Listing, list_input
from unets.dataset.importers.masks import DrawFiles
from unets.dataset.importers.run_lengths import DrawRuns
from unets.dataset.rle_csv import Rles, read_rle_csv
from unets.errors import InputError

logger = logging.getLogger(__name__)

NO_GROUP = "(none)"  # the name of a group whose part of the id is empty
_MAX_FAULTS_SHOWN = 20
_MAX_NAMES_SHOWN = 8

Paths = dict[str, tuple[str, ...]]  # below INPUT, by id


def read_patterns(listing: Listing, source: PatternSource, dataset: DatasetConfig) -> Import:
    """Finds images and masks by the patterns of a data set's source.

    Raises:
        InputError: nothing fits a pattern, a csv is missing or no csv, or names contradict each other: an id that does
            not fit `id_pattern`, two files with one id, an image without its mask or row, or the other way round.
    """
    root, faults = listing.root, list[str]()
    account = {path: "left out: as `source.leave_out` says" for p in source.leave_out for path in _match(listing, p)}
    layers = [_find(listing, pattern, account, faults) for pattern in _list_patterns(source, dataset)]
    account |= {path: "mask" for found in layers for path in found.values()}
    # `a_mask.png` beside `a.png` fits `{id}.png`, too.
    images = _find(listing, source.images, account, faults)
    tests: dict[str, str] = {}
    is_damaged = any("damaged" in why for why in listing.left_out.values())
    if source.test_images is not None and not _match(listing, source.test_images) and not is_damaged:
        logger.warning("no test images: nothing fits %s", root / source.test_images)
    elif source.test_images is not None:
        tests = _find(listing, source.test_images, account, faults)
    account |= dict.fromkeys(tests.values(), "test image") | dict.fromkeys(images.values(), "image")
    rles = read_masks_csv(root, dataset)
    place = f"{root / source.images}"
    if source.masks is not None:
        faults += _compare(set().union(*layers), images, f"{root / source.masks}", place, "a file")
    if source.masks_csv is not None and rles is not None:
        faults += _compare(rles, images, f"{root / source.masks_csv.path}", place, "a row")
        account |= {listing.plain.get(source.masks_csv.path, ""): "annotation"}
    account |= {listing.plain.get(dataset.submission.sample or "", ""): "sample submission"}
    groups = {id_: _find_group(source, id_, path, faults) for id_, path in (images | tests).items()}
    samples = []
    for id_, path in images.items():
        files = tuple((found[id_],) if id_ in found else () for found in layers)
        mask: tuple[str, ...] = ()
        draw: Draw | None = None
        if any(files) and source.is_canonical and len(files) == 1:
            mask = files[0]
        elif any(files):
            draw = DrawFiles(root, files, source, overlapping=dataset.overlapping)
        elif rles is not None and id_ in rles and source.masks_csv is not None:
            size_hw = dataset.size_hw or read_size(root / path, find_kind(dataset))
            cells = tuple((rle,) if rle else () for rle in rles[id_])
            name = f"{source.masks_csv.path}, {id_}"
            draw = DrawRuns(size_hw, cells, source.masks_csv.order, overlapping=dataset.overlapping, name=name)
        group, view = groups[id_]
        samples.append(ImportedSample(id=id_, split="train", image=path, mask=mask, draw=draw, group=group, view=view))
    for id_, path in tests.items():
        group, view = groups[id_]
        samples.append(ImportedSample(id=id_, split="test", image=path, group=group, view=view))
    if faults:
        shown = "\n".join(f"  {fault}" for fault in faults[:_MAX_FAULTS_SHOWN])
        more = f"\n  ... and {len(faults) - _MAX_FAULTS_SHOWN} more" if len(faults) > _MAX_FAULTS_SHOWN else ""
        raise InputError(f"{root} must hold a consistent data set. Received: {len(faults)} faults:\n{shown}{more}")
    return Import(
        source=source,
        samples=tuple(samples),
        classes=dataset.classes,
        overlapping=dataset.overlapping,
        account=complete_account(listing, account),
    )


def read_masks_csv(input_dir: Path, dataset: DatasetConfig) -> Rles | None:
    """Reads the run lengths of the training masks; None where the source has no csv.

    Raises:
        InputError: see `read_rle_csv`.
    """
    form = dataset.source.masks_csv if isinstance(dataset.source, PatternSource) else None
    return read_rle_csv(find_file(input_dir, form.path), form, dataset.classes) if form is not None else None


def find_mask_files(folder: Path, dataset: DatasetConfig) -> dict[str, tuple[tuple[str, ...], ...]]:
    """Finds masks in another folder, named as the training masks are in theirs: `a.png` where no pattern says how.

    Returns:
        For each id the files of each class, or of all, below the folder; see `DrawFiles`.

    Raises:
        InputError: the source has patterns, but none of mask files.
    """
    patterns = ["{id}.png"]
    if isinstance(dataset.source, PatternSource):
        patterns = _list_patterns(dataset.source, dataset)
    if not patterns:
        raise InputError("`source.masks` must say how mask files are named. Received: None")
    listing = list_input(folder)
    found = [find_ids(listing, Path(pattern).name) for pattern in patterns]
    return {id_: tuple(of.get(id_, ()) for of in found) for id_ in sorted(set().union(*found))}


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


def _find_group(source: PatternSource, id_: str, path: str, faults: list[str]) -> tuple[str, str]:
    """Returns (group, view); an id that does not fit is added to `faults`."""
    match = re.fullmatch(source.id_pattern, id_)
    if match is None:
        faults.append(f"{path}: `id_pattern` must fit the id: {source.id_pattern}. Received: {id_!r}")
        return "", ""
    # Interned: 16 images share a group's name, 6,254 a view's, and strings are a third of what a sample takes.
    return sys.intern(match["group"] or NO_GROUP), sys.intern(match.groupdict().get("view") or "")


def _list_patterns(source: PatternSource, dataset: DatasetConfig) -> list[str]:
    """Returns the pattern of mask files; with `{class}` one for each class."""
    if source.masks is None:
        return []
    return list(dict.fromkeys(source.masks.replace("{class}", name) for name in dataset.classes))


def _find(listing: Listing, pattern: str, taken: Iterable[str], faults: list[str]) -> dict[str, str]:
    """Finds the file of each id; adds ids of several to `faults`.

    Raises:
        InputError: there are none at all.
    """
    found = {id_: [p for p in paths if p not in taken] for id_, paths in find_ids(listing, pattern).items()}
    found = {id_: paths for id_, paths in found.items() if paths}
    if not found:
        raise InputError(f"{listing.root / pattern} must match files. Received: none. {_describe(listing, pattern)}")
    for id_, paths in found.items():
        if len(paths) > 1:
            names = ", ".join(paths)
            faults.append(f"{listing.root / pattern} must match one file for {id_}. Received: {len(paths)}: {names}")
    return {id_: paths[0] for id_, paths in found.items()}


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


def _compare(found: Iterable[str], images: Iterable[str], source: str, images_source: str, what: str) -> list[str]:
    """Says which images have no mask or row, and which masks or rows have no image."""
    found, images = set(found), set(images)
    missing = [f"{source} must have {what} for each image. Received: none for {id_}" for id_ in sorted(images - found)]
    unknown = [
        f"{source} must have {what} for images only. Received: {id_}, which {images_source} does not have"
        for id_ in sorted(found - images)
    ]
    return missing + unknown
