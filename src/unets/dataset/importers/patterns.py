"""Images and masks that are found by patterns of their names, as in Carvana; every image must have its mask.

train/fff9b3a5373f_01.jpg               images="train/{id}.jpg"
train_masks/fff9b3a5373f_01_mask.gif    masks="train_masks/{id}_mask.gif"
test.zip                                test_images="test/{id}.jpg": a folder may also be a zip of its name
"""

import logging
import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import Literal

from unets.config import DatasetConfig, PatternSource
from unets.dataset.importers.assemble import complete_account, fit_sizes
from unets.dataset.importers.base import Import, ImportedSample
from unets.dataset.importers.draws import DrawFiles, Drawn
from unets.dataset.importers.listing import NO_FILE, Listing, list_input
from unets.dataset.importers.names import list_some
from unets.errors import InputError

logger = logging.getLogger(__name__)


def read_patterns(listing: Listing, source: PatternSource, dataset: DatasetConfig) -> Import:
    """Finds images and masks by the patterns of a data set's source.

    Raises:
        InputError: nothing fits a pattern, or names contradict each other: an id that does not fit `id_pattern`, two
            files with one id, an image without its mask, or the other way round.
    """
    root, faults = listing.root, list[str]()
    found = Import(listing=listing, source=source, classes=dataset.classes, overlapping=dataset.overlapping)
    found.leave((path for p in source.leave_out for path in _match(listing, p)), "as `source.leave_out` says")
    layers = [_find(found, pattern, "mask", faults) for pattern in _list_patterns(source, dataset)]
    # After masks: `a_mask.png` beside `a.png` fits `{id}.png`, too.
    images = _find(found, source.images, "image", faults)
    tests: dict[str, str] = {}
    is_damaged = any("damaged" in why for why in listing.left_out.values())
    if source.test_images is not None and not _match(listing, source.test_images) and not is_damaged:
        logger.warning("no test images: nothing fits %s", root / source.test_images)
    elif source.test_images is not None:
        tests = _find(found, source.test_images, "test image", faults)
    found.account[listing.plain.get(dataset.submission.sample or "", "")] = "sample submission"
    masked, place = set[str]().union(*layers), root / source.masks
    faults += [
        f"{place} must have a file for each image. Received: none for {id_}" for id_ in sorted(images.keys() - masked)
    ]
    faults += [
        f"{place} must have a file for images only. Received: {id_}, which {root / source.images} does not have"
        for id_ in sorted(masked - images.keys())
    ]
    drawn = dict[str, Drawn]()
    for id_ in () if faults else images:
        files = tuple((of[id_],) if id_ in of else () for of in layers)
        draw, is_canonical = DrawFiles(root, files, source), source.is_canonical and len(layers) == 1
        size_hw = listing.header(next(of[id_] for of in layers if id_ in of)).size_hw if source.stretch_masks else None
        drawn[images[id_]] = Drawn(draw=draw, mask=files[0] if is_canonical else (), size_hw=size_hw)
    if source.stretch_masks:
        found.fields["orientation"] = dataset.orientation
        drawn = fit_sizes(found, drawn, {path: listing.header(path) for path in drawn})
    samples = []
    named: list[tuple[Literal["train", "test"], str, str]]
    named = [("train", *item) for item in images.items()] + [("test", *item) for item in tests.items()]
    for split, id_, path in named:
        match = re.fullmatch(source.id_pattern, id_)
        if match is None:
            faults.append(f"{path}: `id_pattern` must fit the id: {source.id_pattern}. Received: {id_!r}")
            continue
        samples.append(
            ImportedSample(
                id=id_,
                split=split,
                image=path,
                draw=drawn.get(path),
                mask=drawn[path].mask if path in drawn else (),
                # Interned: 16 images share a group, 6,254 a view, and strings are a third of what a sample takes.
                group=sys.intern(match["group"] or "(none)"),
                view=sys.intern(match.groupdict().get("view") or ""),
            )
        )
    if faults:
        shown = list_some(faults, "\n  ", 20)
        raise InputError(f"{root} must hold a consistent data set. Received: {len(faults)} faults:\n  {shown}")
    found.samples, found.account = tuple(samples), complete_account(listing, found.account)
    return found


def find_mask_files(folder: Path, dataset: DatasetConfig) -> dict[str, tuple[tuple[str, ...], ...]]:
    """Finds masks in another folder, named as the training masks are in theirs.

    Where no pattern says how, they are called `a.png`, of overlapping classes `cat/a.png` and `dog/a.png`.

    Returns for each id the files of each class, or of all, below the folder; see `DrawFiles`.
    """
    source = dataset.source
    if isinstance(source, PatternSource):
        patterns = [Path(pattern).name for pattern in _list_patterns(source, dataset)]
    else:
        patterns = [f"{name}/{{id}}.png" for name in dataset.classes] if dataset.overlapping else ["{id}.png"]
    listing = list_input(folder)
    found = [find_ids(listing, pattern) for pattern in patterns]
    return {id_: tuple(of.get(id_, ()) for of in found) for id_ in sorted(set().union(*found))}


def find_ids(listing: Listing, pattern: str) -> dict[str, tuple[str, ...]]:
    """Lists the files that fit a pattern, by the id in their name, sorted; a `*` may let two files have an id.

    A pattern is a path with `{id}` once and `*` for anything within a name, as `train/{id}.jpg`; `{a,b}` is either of
    two.
    """
    found: dict[str, list[str]] = defaultdict(list)
    for path, id_ in _match(listing, pattern).items():
        found[id_].append(path)
    return {id_: tuple(found[id_]) for id_ in sorted(found)}


def _match(listing: Listing, pattern: str) -> dict[str, str]:
    """Returns the ids of the files that fit a pattern, by their paths; empty ids of a pattern without `{id}`."""

    def translate(part: str) -> str:
        if part.startswith("{") and "," in part:
            return f"(?:{'|'.join(map(re.escape, part[1:-1].split(',')))})"
        return {"{id}": "(?P<id>[^/]+)", "*": "[^/]*"}.get(part, re.escape(part))

    matches = re.compile("".join(map(translate, re.split(r"(\{[^{}]*\}|\*)", pattern)))).fullmatch
    broken = {path: path for path, why in listing.left_out.items() if why == NO_FILE}  # reading them says why
    found = {path: matches(plain) for plain, path in (listing.plain | broken).items()}
    return {path: match.groupdict().get("id", "") for path, match in found.items() if match}


def _list_patterns(source: PatternSource, dataset: DatasetConfig) -> list[str]:
    """Returns the pattern of mask files; with `{class}` one for each class."""
    return list(dict.fromkeys(source.masks.replace("{class}", name) for name in dataset.classes))


def _find(found: Import, pattern: str, what: str, faults: list[str]) -> dict[str, str]:
    """Finds the file of each id among those without account, each now `what`; adds ids of several to `faults`.

    Raises:
        InputError: there are none at all.
    """
    place, files = found.listing.root / pattern, dict[str, str]()
    for id_, paths in find_ids(found.listing, pattern).items():
        free = [path for path in paths if path not in found.account]
        if free:
            files[id_] = free[0]
        if len(free) > 1:
            faults.append(f"{place} must match one file for {id_}. Received: {len(free)}: {', '.join(free)}")
    if not files:
        raise InputError(f"{place} must match files. Received: none. {_describe(found.listing, pattern)}")
    found.account |= dict.fromkeys(files.values(), what)
    return files


def _describe(listing: Listing, pattern: str) -> str:
    """Says what lies in the nearest folder of a pattern that is there."""
    folder = re.split(r"[{*]", pattern)[0].rpartition("/")[0]
    while folder and not any(name.startswith(f"{folder}/") for name in listing.plain):
        folder = folder.rpartition("/")[0]
    prefix = f"{folder}/" if folder else ""
    names = sorted({name.removeprefix(prefix).split("/")[0] for name in listing.plain if name.startswith(prefix)})
    left = "".join(f"; {path} is left out: {why}" for path, why in listing.left_out.items() if path.endswith(".zip"))
    return f"{listing.root / folder} holds {list_some(names, count=8)}{left}"
