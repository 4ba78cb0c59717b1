"""Groups: which images must never stand on two sides of a fold, as folders, names, a table or their likeness say."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
from PIL import Image

from unets.config import MasksSource
from unets.dataset.importers.base import Import, ImportedSample
from unets.dataset.importers.draws import Draw
from unets.dataset.importers.edges import read_colors
from unets.dataset.importers.listing import Listing, ending, stem_of
from unets.dataset.importers.names import find_kinds, find_split, list_some, sort_naturally, spread
from unets.errors import InputError

_COLUMNS = r"patient|subject|person|case|study|group|video|scene|site|plate|slide|well|animal|car(_|$)"
_KINDS = (
    r"class|label|categor|species|diagnos|kind|type|^\d$"  # columns that may tell classes; of a list without header
)
_LEAST_FOLDERS = 5
_MOST_KINDS = 10  # of images, each of a folder or a name's beginning
_LEAST_IMAGES = 5  # of a kind
_MOST_VIEWS = 64
# The median distance of neighbors as a share of that of any two images. CamVid's frames, a second apart, have 0.54,
# slices of ISBI's membranes 0.63; images in no order 1.0, give or take 0.1.
_ALIKE = 0.75
_COMPARED = 10  # images, and images of one name, that are looked at for copies
_MOST_COPIES = 32  # images of one name
_SAME = 0.1  # of an image's contrast is the distance of its copy, at most
_THUMB = 24  # pixels a side of what is compared


def find_groups(found: Import, samples: Sequence[ImportedSample]) -> dict[str, tuple[str, str]]:
    """Finds (group, view) of images, by their paths; an image that is its own group has none. Asks what is uncertain.

    Raises InputError where an id does not fit `source.group`, or a mask cannot be read.
    """
    given, named = found.source.group, {sample.image: sample.id for sample in samples}
    train = {sample.image: sample.draw for sample in samples if sample.draw}
    ids, kinds = [named[path] for path in train], find_kinds(list(train))
    are_classes = len(found.classes) > 1 and {*found.classes} <= {*kinds.values()}
    can_be = kinds and len(found.classes) == 1 and isinstance(found.source, MasksSource)
    as_classes = ['source.files="class", if each is a class'] if can_be else []

    def ask(text: str, *choices: str) -> None:
        found.ask("source.group", text, 'r"(?P<group>.+)": none', *choices)

    def ask_kinds(groups: Iterable[str], *choices: str, what: str = "folders or names") -> dict[str, tuple[str, str]]:
        none = "no image has a group, and " if what == "folders or names" else ""
        text = f"{what} may tell kinds of images ({list_some(sorted({*groups}), count=3)}): {none}all "
        other = "a table samples.csv with groups, if each is a place or a person"
        found.ask("source.group", f"{text}objects are of the same classes", *as_classes, *choices or (other,))
        return {}

    if given is not None:
        return {path: _match(given, id_) for path, id_ in named.items()}
    if len(found.classes) == 1 and (column := _find_column(found.listing, set(ids), _KINDS)):
        ask_kinds(column[1].values(), what=column[0])
    if column := _find_column(found.listing, set(ids), _COLUMNS):
        name, groups = column
        ask(f"groups are those of {name}")
        return {path: (groups[id_], "") for path, id_ in named.items() if id_ in groups}
    told = {} if are_classes else _find_folders(list(train), list(named))
    words = "the folders that images lie in ({}): images of one stay on one side of a fold"
    pattern = None if told or are_classes else _find_pattern(ids)
    if pattern:
        told = {path: _match(pattern, id_, strict=False) for path, id_ in named.items()}
        words = "the beginnings of ids ({}): are they patients, cars, videos, copies of an image?"
    if told:
        own = {path: told[path][0] for path in train}
        if _are_kinds(train, own):
            return ask_kinds(own.values(), *filter(None, [pattern]))
        ask(f"groups are {words.format(list_some(sorted({*own.values()}), count=3))}", *as_classes)
        return told
    if kinds and not are_classes:
        ask_kinds(kinds.values())
    if len({id_[:-1] for id_ in ids}) >= 2 and all(re.search(r"\d$", id_) for id_ in named.values()):
        paths = {named[path]: path for path in train}
        distance = _compare_neighbors(found.listing, [paths[id_] for id_ in sort_naturally(ids)])
        if distance < _ALIKE:
            ask(
                f"images with neighboring numbers look alike (distance {distance:.2f} of that of any two), as "
                "frames or slices do: ten neighbors are one group",
                "other digits",
            )
            return {path: (id_[:-1] or "0", "") for path, id_ in named.items()}
    return {}


def find_copies(listing: Listing, paths: Iterable[str], rank: Callable[[str], tuple[bool, ...]]) -> dict[str, str]:
    """Finds images that lie in two folders under one name, in another format or size.

    Returns the image that is kept by its copy. Of two the image of the lower `rank` is kept, or the first.
    """
    by_stem: dict[str, list[str]] = defaultdict(list)
    for path in sorted(paths):
        by_stem[stem_of(path).lower()].append(path)
    pairs: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)  # by the folders in which the two differ
    for names in by_stem.values():
        for pair in combinations(names, 2) if len(names) <= _MOST_COPIES else ():  # more are frames of as many videos
            upper_first = sorted(pair, key=lambda path: (path.count("/"), path))  # one key, whatever names begin with
            pairs[_find_swap(*upper_first)].append(pair)
    pairs.pop(("", ""), None)  # of one folder
    copies: dict[str, str] = {}
    for several in pairs.values():
        are_copies = [_are_alike(listing, *pair) for pair in spread(several, _COMPARED)]
        for pair in several if len(several) > 1 and sum(are_copies) >= 0.9 * len(are_copies) else ():
            if not {*pair} & copies.keys():
                kept, copy = sorted(pair, key=rank)
                copies[copy] = kept
    return copies


def _find_swap(one: str, other: str) -> tuple[str, str]:
    """Returns the folders in which two paths differ: `PNG` and `TIF` of `PNG/old/1.png` and `TIF/old/1.tif`."""
    parts = [path.split("/")[:-1] for path in (one, other)]
    for place in (0, -1):
        while all(parts) and parts[0][place] == parts[1][place]:
            parts = [part[1:] if place == 0 else part[:-1] for part in parts]
    return "/".join(parts[0]), "/".join(parts[1])


def _are_alike(listing: Listing, one: str, other: str) -> bool:
    """Tells whether one image is a copy of another in a folder above it, or of another ending or size."""
    first, second = listing.header(one), listing.header(other)
    is_one_size = first.size_hw == second.size_hw
    if (
        (is_one_size and ending(one) == ending(other) and all(_find_swap(one, other)))
        or first.channels != second.channels
        or {find_split(one), find_split(other)} >= {"train", "test"}
    ):
        return False
    see = _read_grey if is_one_size else _make_thumb
    grey = see(listing, one)
    return bool(np.abs(grey - see(listing, other)).mean() < _SAME * np.abs(grey - grey.mean()).mean())


def _match(pattern: str, id_: str, *, strict: bool = True) -> tuple[str, str]:
    match = re.fullmatch(pattern, id_)
    if match is None and strict:
        raise InputError(f"`source.group` must fit every id. Received: {pattern!r}, which does not fit {id_!r}")
    return (match["group"], match.groupdict().get("view") or "") if match else (id_, "")


def _are_kinds(train: Mapping[str, Draw], group_of: Mapping[str, str]) -> bool:
    """Tells kinds of images, as `crack` and `good`, from places or patients: all masks of one are empty, or none is."""
    paths: dict[str, list[str]] = defaultdict(list)
    for path in train:
        paths[group_of[path]].append(path)
    if not 2 <= len(paths) <= _MOST_KINDS:
        return False
    empty = set()
    for own in paths.values():
        are_empty = {not any(layer.any() for layer in train[path]()) for path in spread(own, _COMPARED)}
        if len(own) < _LEAST_IMAGES or len(are_empty) > 1:
            return False
        empty |= are_empty
    return len(empty) == 2


def _find_folders(train: Sequence[str], named: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Finds the first folder of the paths that differs from image to image, where several images lie in each."""
    parts = [path.split("/")[:-1] for path in train]
    depth = min(map(len, parts))
    for place in range(depth):
        names = Counter(part[place] for part in parts)
        are_numbered = len(names) > 1 and all(re.search(r"\d", name) for name in names)
        if any(find_split(name) for name in names) or (len(names) < _LEAST_FOLDERS and not are_numbered):
            continue
        if len(names) > len(train) // 2:
            return {}  # a folder an image
        return {path: (path.split("/")[place], "") for path in named if path.count("/") > place}
    return {}


def _find_pattern(ids: Sequence[str]) -> str | None:
    """Finds a group in ids like `car01_05`: what stands before the last number, or Roboflow's mark of copies."""
    if all(".rf." in id_ for id_ in ids) and len({id_.rpartition(".rf.")[0] for id_ in ids}) < len(ids):
        return r"(?P<group>.+)\.rf\..+"
    parted = [re.fullmatch(r"(.+?)([_\-. ]+[A-Za-z]*|(?<=\d)[A-Za-z]+)(\d+)", id_) for id_ in ids]
    matches = [match for match in parted if match]
    sizes = Counter(match[1] for match in matches)
    if len(matches) < len(ids) or not 3 <= len(sizes) <= len(ids) // 2:
        return None
    marks = sorted({match[2] for match in matches})
    mark = "(?:" + "|".join(map(re.escape, marks)) + ")" if len(marks) > 1 else re.escape(marks[0])
    views: dict[str, set[str]] = defaultdict(set)
    for match in matches:
        views[match[1]].add(match[3])
    same, count = Counter(frozenset(found) for found in views.values()).most_common(1)[0]
    has_views = 2 <= len(same) <= _MOST_VIEWS and count >= 0.9 * len(views) and len({len(view) for view in same}) == 1
    pattern = rf"(?P<group>.+){mark}" + (r"(?P<view>\d+)" if has_views else r"\d+")
    found = {_match(pattern, id_, strict=False)[0] for id_ in ids}
    return pattern if found == set(sizes) else None


def _find_column(listing: Listing, known: set[str], called: str) -> tuple[str, dict[str, str]] | None:
    """Finds a table with a row an image, of the known ids, and a column whose name fits, as of patients or places."""
    for path, table in listing.tables.items():
        for group in (column for column in table.columns if re.search(called, column.lower())):
            for column in (column for column in table.columns if column != group):
                pairs = zip(table[column], table[group], strict=True)
                groups = {
                    id_: name for cell, name in pairs if (id_ := cell if cell in known else stem_of(cell)) in known
                }
                if len(groups) >= 0.9 * len(known) and 2 <= len(set(groups.values())) <= len(known) // 2:
                    return f"the column {group} of {path}", groups
    return None


def _compare_neighbors(listing: Listing, paths: Sequence[str], count: int = 24) -> float:
    """Measures how alike neighbors are; see `_ALIKE`. 1 for few images."""
    if len(paths) < 8:
        return 1.0
    places = sorted({int(place) for place in np.linspace(0, len(paths) - 2, min(count, len(paths) - 1))})
    thumbs = [_make_thumb(listing, paths[place]) for place in places]
    following = [_make_thumb(listing, paths[place + 1]) for place in places]
    near = [np.abs(one - other).mean() for one, other in zip(thumbs, following, strict=True)]
    far = [np.abs(thumb - other).mean() for i, thumb in enumerate(thumbs) for other in thumbs[i + 2 :]]
    return float(np.median(near) / max(float(np.median(far)), 1e-6)) if far else 1.0


def _read_grey(listing: Listing, path: str) -> npt.NDArray[np.float32]:
    return np.asarray(read_colors(listing.root / path).mean(axis=-1), dtype=np.float32)


def _make_thumb(listing: Listing, path: str) -> npt.NDArray[np.float32]:
    small = np.asarray(
        Image.fromarray(_read_grey(listing, path)).resize((_THUMB, _THUMB), Image.Resampling.BOX), dtype=np.float32
    )
    return np.asarray(small - small.mean(), dtype=np.float32)
