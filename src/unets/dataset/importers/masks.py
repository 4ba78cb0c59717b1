"""Mask files: images with masks beside them, found by their names and by what they hold.

images/a.jpg     masks/a_mask.png                          a file an image
a/image.png      a/masks/1.png, a/masks/2.png              a file an object
photos/a.jpg     masks/cat/a.png, masks/dog/a.png          a file a class
train/a.png      trainannot/a.png, class_dict.csv          values or colors that a list names
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from unets.config import MasksSource, MaskValue, PathsSource
from unets.data.pixels import read_values
from unets.data.samples import IGNORE
from unets.dataset.importers.assemble import Drawn, assemble, do_overlap, select
from unets.dataset.importers.base import Import, MaskHW, Question
from unets.dataset.importers.class_lists import BACKGROUND_NAMES, CITYSCAPES, Value, find_class_list
from unets.dataset.importers.listing import Listing
from unets.dataset.importers.meaning import (
    MOSTLY,
    Coding,
    Look,
    Meaning,
    find_meaning,
    look_at,
    merge_layers,
    unite,
)
from unets.dataset.importers.names import (
    DERIVED_WORDS,
    IMAGE_WORDS,
    MASK_WORDS,
    Name,
    compare_shapes,
    find_shapes,
    find_split,
    find_splits,
    find_words,
    is_called,
    match_names,
    name_role,
    sort_naturally,
    spread,
)
from unets.errors import InputError

SourceT = TypeVar("SourceT", MasksSource, PathsSource)
_FEW = 8  # files of a shape that tell masks from images
_MANY_PX = 200_000_000  # pixels of masks whose values are counted: some seconds
_MOST_PX = 5_000_000  # of a mask that are compared
_COMPARED = 6  # images on which two sets of masks are compared
_SAME = 0.5  # intersection over union of two people's masks of one thing, at least
_WHOLE = 0.4  # of an image is a field of view, at least
_ALL = 0.9
# Masks that are left out for others of the same images, by how they relate to them: why, and what is asked.
_DROPPED = {
    "recoded": ("the masks of {one} in other values", ""),
    "objects": ("the objects of the masks of {one}", ""),
    "view": ("the field of view", "{other} is taken for the field of view"),
    "alike": (
        "another mask of the same things",
        "{one} and {other} are masks of the same things, by two people or programs: {one} is read",
    ),
    "unclear": (
        "another mask of the same images",
        "{one} and {other} are both masks of the same images, and differ: {one} is read",
    ),
}


@dataclass(frozen=True, slots=True)
class DrawFiles:
    """Reads a mask from its files: one of all classes, one a class, or one an object."""

    root: Path
    layers: tuple[tuple[str, ...], ...]  # files of each class; one layer where values tell classes
    coding: Coding
    overlapping: bool = False

    def __call__(self) -> MaskHW | tuple[MaskHW, ...]:
        """Draws the mask; see `ImportedSample.draw`.

        Raises:
            InputError: a file cannot be read, or files of one mask have different sizes.
        """
        drawn = {path: self.coding.read(self.root / path) for paths in self.layers for path in paths}
        first, one = next(iter(drawn.items()))
        for path, mask in drawn.items():
            if mask.shape != one.shape:
                raise InputError(f"{path} must have the size of {first}, {one.shape}. Received: {mask.shape}")
        empty = np.zeros_like(one)
        layers = tuple(unite([drawn[path] for path in paths]) if paths else empty for paths in self.layers)
        return layers if self.overlapping else merge_layers(layers, first)


@dataclass(kw_only=True)
class _Sets:
    """What files are: images, masks of them by role, and what was left out."""

    images: dict[str, str] = field(default_factory=dict)  # shape by path
    links: dict[str, dict[tuple[str, ...], list[str]]] = field(default_factory=dict)  # masks by image and role
    account: dict[str, str] = field(default_factory=dict)
    questions: list[Question] = field(default_factory=list)


def propose(listing: Listing) -> list[tuple[MasksSource, Import]]:
    """Proposes the masks that are found by names; nothing where no file looks like one.

    Raises:
        InputError: masks are there, and cannot be read rightly.
    """
    found = read(listing, MasksSource())
    return [write_coding(MasksSource(), found)] if found is not None else []


def write_coding(source: SourceT, found: Import) -> tuple[SourceT, Import]:
    """Returns the options with what masks turned out to hold, for others to read and correct."""
    fields = dict(found.dataset_fields)
    coding: Coding = fields.pop("coding")
    update = {"background": coding.background, "ignored": coding.ignored, "nearest": coding.is_nearest}
    update |= {"threshold": coding.threshold} if coding.threshold is not None else {"values": coding.classes}
    return source.model_copy(update=update), replace(found, dataset_fields=fields)


def read(listing: Listing, source: MasksSource) -> Import | None:
    """Reads images and their mask files; None where there are none.

    Raises:
        InputError: see `assemble`; or masks hold what is no class, or a file of them cannot be read.
    """
    _refuse_split_channels(listing)
    left = set(select(listing.rasters, source.leave_out))
    rasters = [path for path in listing.rasters if path not in left]
    shapes = find_shapes(rasters)
    looks = {shape: look_at(listing, [n.path for n in spread(names, _FEW)]) for shape, names in shapes.items()}
    sets = _sort_shapes(shapes, looks, source)
    if not sets.links:
        return None
    sets.account |= dict.fromkeys(left, "left out: as `source.leave_out` says")
    train, test = _split(sets, read_test_lists(listing, sets))
    if not train:
        return None
    reading = _Reading(listing=listing, source=source, sets=sets, names=find_class_list(listing), train=train)
    roles, classes_from = reading.choose_roles()
    return reading.build(roles, classes_from, test)


def _refuse_split_channels(listing: Listing) -> None:
    """Refuses nnU-Net's folders whose images are a file a channel: `case_0000.png`, `case_0001.png`."""
    paths = set(listing.rasters) if any(p.rpartition("/")[2] == "dataset.json" for p in listing.paths) else ()
    split = [path for path in paths if "_0001." in path and path.replace("_0001.", "_0000.") in paths]
    if split:
        raise InputError(
            f"an image must be one file. Received: {min(split)}, one channel, as nnU-Net has it. Stack the "
            "channels of each image: np.save of (height, width, channels)"
        )


def _sort_shapes(shapes: Mapping[str, list[Name]], looks: Mapping[str, Look], source: MasksSource) -> _Sets:
    """Tells masks from images, and finds the image of each mask."""
    sets = _Sets()
    common = set.intersection(*({*find_words(s), *s.lower().split("/")} for s in shapes)) if shapes else set()
    masks, images = [], []
    for shape, names in shapes.items():
        words = " ".join(word for word in [*find_words(shape), *shape.lower().split("/")] if word not in common)
        look = looks[shape]
        called_mask, called_image = is_called(words, MASK_WORDS), is_called(words, IMAGE_WORDS)
        if source.masks:
            is_mask = bool(select([names[0].path], source.masks))
        elif look.error:
            is_mask = called_mask
        else:
            is_mask = look.is_mask and (called_mask or not called_image or look.num_values <= 16)
            is_mask |= called_mask and not called_image and not look.is_array
        if is_called(words, DERIVED_WORDS) and not (called_mask and not is_mask):
            sets.account |= {n.path: "left out: made from images or masks, as its name says" for n in names}
        elif is_mask:
            masks.append(shape)
        else:
            images.append(shape)
    if not images and len(masks) > 1:  # drawings: names decide alone
        images = [shape for shape in masks if is_called(shape, IMAGE_WORDS) and not is_called(shape, MASK_WORDS)]
        masks = [shape for shape in masks if shape not in images]
    sets.images = {n.path: shape for shape in images for n in shapes[shape]}
    for shape in masks:
        _link(shape, shapes, images, looks, sets)
    return sets


def _link(
    shape: str, shapes: Mapping[str, list[Name]], images: Sequence[str], looks: Mapping[str, Look], sets: _Sets
) -> None:
    """Finds the images of the masks of one shape, in the shapes that are nearest by name."""
    split = find_split(shape)
    rest = list(shapes[shape])
    near = [other for other in images if not split or find_split(other) in ("", split)]
    near.sort(key=lambda other: (compare_shapes(shape, other), is_called(other, IMAGE_WORDS)), reverse=True)
    used: str | None = None
    for other in near:
        is_rival = used is not None and compare_shapes(shape, other) == compare_shapes(shape, used)
        if is_rival:
            _ask_rival(shape, used or "", other, match_names(shapes[shape], shapes[other]), sets)
        found = match_names(rest, shapes[other])
        used = used or (other if found else None)
        role = name_role(shape, other)
        values = {name.path: name.values for name in shapes[other]}
        for name in rest:
            if name.path in found:
                image = found[name.path]
                extra = Counter(name.values) - Counter(values[image])
                key = (*role, "_".join(v for v in name.values if extra[v]))
                sets.links.setdefault(image, {}).setdefault(key, []).append(name.path)
        rest = [name for name in rest if name.path not in found]
    sets.account |= {name.path: "left out: a mask of no image that is here" for name in rest}
    if rest and len(rest) < len(shapes[shape]):
        text = f"{len(rest)} masks have no image: {rest[0].path}" + (", ..." if len(rest) > 1 else "")
        sets.questions.append(Question(field="source.leave_out", text=text, choices=("patterns of these files",)))


def _ask_rival(shape: str, used: str, other: str, found: Mapping[str, str], sets: _Sets) -> None:
    """Asks where masks could belong to images of two shapes."""
    if not found:
        return
    taken = {mask: image for image, roles in sets.links.items() for paths in roles.values() for mask in paths}
    both = [mask for mask in found if mask in taken and taken[mask] != found[mask]]
    if not both:
        return
    text = f"masks of {shape} could belong to images of {used}, which are taken, or of {other} ({len(found)} files)"
    sets.questions.append(Question(field="source.leave_out", text=text, choices=(f"{used.replace('#', '*')!r},",)))
    sets.account |= dict.fromkeys(found.values(), "left out: other images of the same masks")


def read_test_lists(listing: Listing, sets: _Sets) -> set[str]:
    """Returns the names of images that text files called `test` list, a line each, as PASCAL VOC's; without endings."""
    named: set[str] = set()
    stems = {path.rpartition("/")[2].rpartition(".")[0] for path in sets.images}
    for path in listing.select(".txt"):
        if path.rpartition("/")[2].lower() == "test.txt":
            lines = [
                line.split()[0].rpartition("/")[2] for line in listing.read_text(path).splitlines() if line.strip()
            ]
            found = stems & {name.rpartition(".")[0] if "." in name else name for name in lines}
            named |= found
            sets.account |= {path: "list of test images"} if found else {}
    return named


def _split(sets: _Sets, listed: set[str]) -> tuple[list[str], list[str]]:
    """Returns (training images with masks, test images): those in a folder called so, or without mask and `listed`."""
    splits = find_splits(sets.images)
    linked = [path for path in sets.images if path in sets.links]
    train = [path for path in linked if splits[path] != "test"] or linked
    test = [path for path in sets.images if splits[path] == "test" and path not in train and path not in sets.account]
    untold = [path for path in sets.images if path not in {*train, *test} and path not in sets.account]
    test += [path for path in untold if path.rpartition("/")[2].rpartition(".")[0] in listed]
    for image in test:
        paths = [path for files in sets.links.get(image, {}).values() for path in files]
        sets.account |= dict.fromkeys(paths, "left out: the mask of a test image")
    bare_names = {path.rpartition(".")[0]: path for path in linked}
    for path in sets.images:
        other = bare_names.get(path.rpartition(".")[0], path)
        if other != path and path not in sets.account:
            raise InputError(
                f"each image must have a name of its own, whatever its ending. Received: {other} and {path}; rename or "
                "remove one of them"
            )
    alone = [p for p in sets.images if p not in train and p not in test and p not in sets.account]
    shapes = {sets.images[path] for path in train}
    bare = [path for path in alone if sets.images[path] in shapes]
    if bare:
        text = f"{len(bare)} of {len(bare) + len(train)} images have no mask and are left out: {bare[0]}, ..."
        asked = Question(field="source.missing", text=text, choices=('"empty", if they hold no object',))
        sets.questions.append(asked)
    others = Counter(sets.images[path] for path in alone if path not in bare)
    for shape, count in others.items():
        if count > 1 and not test:
            text = f"{count} images {shape.replace('#', '*')} have no masks and are left out: are they test images?"
            choice = (f"({shape.replace('#', '*')!r},)",)
            sets.questions.append(Question(field="source.test_images", text=text, choices=choice))
    sets.account |= dict.fromkeys(alone, "left out: an image without a mask")
    return train, test


@dataclass(kw_only=True)
class _Reading:
    """The roles of masks, compared on the images that they share."""

    listing: Listing
    source: MasksSource
    sets: _Sets
    names: tuple[dict[Value, str], tuple[str, ...]]
    train: list[str]

    def choose_roles(self) -> tuple[dict[str, dict[str, list[str]]], str]:
        """Returns ({name of the class: {image: files}}, what a file is of: image, class or object)."""
        roles: dict[str, dict[str, list[str]]] = defaultdict(dict)
        extras: dict[str, dict[str, dict[str, list[str]]]] = defaultdict(lambda: defaultdict(dict))
        for image in self.train:
            for (*words, extra), paths in self.sets.links[image].items():
                role = " ".join(words)
                roles[role].setdefault(image, []).extend(paths)
                extras[role][extra].setdefault(image, []).extend(paths)
        roles = self._join_disjoint(roles)
        if len(roles) == 1:
            (role, files), parts = next(iter(roles.items())), extras[next(iter(roles))]
            several = any(len(paths) > 1 for paths in files.values())
            whole = [e for e, by_image in parts.items() if len(by_image) >= _ALL * len(files)]
            kind = self.source.files or ("object" if several else "image")
            if several and len(parts) == len(whole) and 2 <= len(parts) <= 20:  # each image has the same
                kind = self.source.files or ("object" if all(map(str.isdecimal, parts)) else "class")
                other = "class" if kind == "object" else "object"
                called = ", ".join(map(repr, sort_naturally(parts)))
                text = (
                    f"each image has masks called {called}: taken for a file {'an' if kind == 'object' else 'a'} {kind}"
                )
                self.sets.questions.append(Question(field="source.files", text=text, choices=(f'"{other}"',)))
            if kind == "class":
                return {extra or role: parts[extra] for extra in sort_naturally(parts)}, "class"
            return roles, kind
        return self._compare(roles)

    def _join_disjoint(self, roles: dict[str, dict[str, list[str]]]) -> dict[str, dict[str, list[str]]]:
        """Joins roles of different images: of splits and videos, whose masks are called differently."""
        joined: dict[str, dict[str, list[str]]] = {}
        homes: dict[str, set[str]] = {}
        for role, files in sorted(roles.items(), key=lambda item: -len(item[1])):
            shapes = {self.sets.images[image] for image in files}
            host = next((r for r in joined if not joined[r].keys() & files.keys() and not homes[r] & shapes), None)
            if host is None:
                joined[role], homes[role] = dict(files), shapes
            else:
                joined[host] |= files
                homes[host] |= shapes
        return joined

    def _compare(self, roles: dict[str, dict[str, list[str]]]) -> tuple[dict[str, dict[str, list[str]]], str]:
        """Tells classes from other codings, objects and other people's masks of the same things."""
        best = sorted(roles, key=self._rank(roles))
        kept = list(best)
        for one, other in combinations(best, 2):
            if one not in kept or other not in kept:
                continue
            shared = spread([image for image in roles[one] if image in roles[other]], _COMPARED)
            pairs = [(self._read(roles[one][image]), self._read(roles[other][image])) for image in shared]
            pairs = [(a, b) for a, b in pairs if a.shape == b.shape and len(np.unique(b)) > 1]
            if not pairs:
                continue
            relation = compare_masks(pairs)
            if relation == "class" and compare_masks([(b, a) for a, b in pairs]) == "view":
                relation, one, other = "view", other, one
            if relation in _DROPPED:
                why, text = (words.format(one=repr(one), other=repr(other)) for words in _DROPPED[relation])
                kept.remove(other)
                paths = [path for files in roles[other].values() for path in files]
                self.sets.account |= dict.fromkeys(paths, f"left out: {why}")
                if text:
                    asked = Question(field="source.masks", text=text, choices=(f"({_glob(paths)!r},)",))
                    self.sets.questions.append(asked)
        left = {role: roles[role] for role in kept}
        if len(left) == 1:
            several = any(len(paths) > 1 for paths in next(iter(left.values())).values())
            return left, self.source.files or ("object" if several else "image")
        words = {role: [w for w in role.split() if all(w in r.split() for r in left) is False] for role in left}
        plain = {role: [w for w in words[role] if w.lower() not in MASK_WORDS] for role in left}
        titles = {role: "_".join(plain[role] or words[role]) or role.replace(" ", "_") or "object" for role in left}
        text = f"{', '.join(sort_naturally(titles.values()))} are taken for classes: a mask file a class"
        self.sets.questions.append(Question(field="source.masks", text=text, choices=("patterns of the masks alone",)))
        order = sort_naturally(titles.values())
        named = {titles[role]: left[role] for role in left if not _is_background(titles[role])}
        return {title: named[title] for title in order if title in named}, "class"

    def _rank(self, roles: Mapping[str, Mapping[str, list[str]]]):  # type: ignore[no-untyped-def]
        """Sorts roles: of most images first, those with named values, not colors, not lossy, whole before parts."""

        def rank(role: str) -> tuple[object, ...]:
            files = [path for paths in roles[role].values() for path in paths]
            look = look_at(self.listing, spread(files, 4))
            instances = any(word.startswith(("inst", "object")) for word in find_words(role))
            known = bool(self.names[0]) and all(value in self.names[0] for value in look.counts)
            covers = len(roles[role]) < _ALL * len(self.train)
            array = any(path.endswith(".npy") for path in files[:1])
            return covers, instances, not known, look.is_lossy, look.is_color, array, look.num_values, role

        return rank

    def _read(self, paths: Sequence[str]) -> npt.NDArray[np.int64]:
        codes = []
        for path in paths:
            values = read_values(self.listing.root / path)
            if values.ndim == 3:
                values = values[..., :3].astype(np.int64) @ np.array([1 << 32, 1 << 16, 1])
            codes.append(np.where(values > values.max() // 2, 1, 0) if len(paths) > 1 else values.astype(np.int64))
        return np.asarray(np.max(codes, axis=0), dtype=np.int64)

    def build(self, roles: Mapping[str, Mapping[str, list[str]]], classes_from: str, test: Sequence[str]) -> Import:
        """Says what values mean, and makes the import."""
        listing, source, sets = self.listing, self.source, self.sets
        files = [path for by_image in roles.values() for paths in by_image.values() for path in paths]
        is_single = classes_from == "class"
        meaning = find_files_meaning(listing, source, files, self.names[0], is_single=is_single)
        names = tuple(roles) if classes_from == "class" else meaning.classes
        by_layer = list(roles.values())
        draws: dict[str, DrawFiles] = {}
        for image in self.train:
            layers = tuple(tuple(by_image.get(image, ())) for by_image in by_layer)
            if any(layers):
                draws[image] = DrawFiles(listing.root, layers, meaning.coding, overlapping=len(layers) > 1)
        overlapping = len(roles) > 1 and do_overlap(list(draws.values()))
        if overlapping:
            text = "some pixels are of two classes: each class has a mask of its own"
            sets.questions.append(Question(field="overlapping", text=text, choices=("masks without overlaps",)))
        drawn: dict[str, Drawn] = {}
        for image, draw in draws.items():
            paths = [path for layer in draw.layers for path in layer]
            header = listing.header(paths[0])
            is_plain = len(paths) == 1 and len(draw.layers) == 1 and meaning.coding.is_canonical
            mask = (paths[0],) if is_plain and header.mode in ("L", "P") else ()
            drawn[image] = Drawn(draw=replace(draw, overlapping=overlapping), mask=mask, size_hw=header.size_hw)
        if source.missing == "empty":
            shapes = {sets.images[image] for image in drawn}
            bare = [path for path, shape in sets.images.items() if shape in shapes and path not in drawn]
            for path in bare:
                size_hw = listing.header(path).size_hw
                drawn[path] = Drawn(draw=DrawEmpty(size_hw, len(names) if overlapping else 1), size_hw=size_hw)
                sets.account.pop(path, None)
        sets.account |= dict.fromkeys(files, "mask") | dict.fromkeys(self.names[1], "annotation")
        return assemble(
            listing,
            source,
            train=drawn,
            test=test,
            classes=names,
            overlapping=overlapping,
            account=sets.account,
            questions=[*sets.questions, *meaning.questions],
            fields=describe_coding(meaning.coding),
        )


def find_files_meaning(
    listing: Listing,
    source: MasksSource | PathsSource,
    files: Sequence[str],
    names: Mapping[Value, str],
    *,
    is_single: bool,
) -> Meaning:
    """Says what mask files hold: as `source` says, else as they look, on as many as some seconds allow.

    Raises:
        InputError: a file cannot be read, or holds no classes.
    """
    if source.values is not None or source.threshold is not None:
        values: tuple[MaskValue, ...] = source.values or (IGNORE,)
        coding = Coding(
            classes=values,
            background=source.background,
            ignored=source.ignored,
            threshold=source.threshold,
            colors=any(isinstance(value, tuple) for value in (*values, *source.background, *source.ignored)),
            is_nearest=source.nearest,
        )
        classes = tuple(f"class_{i}" for i in range(1, len(values) + 1)) if len(values) > 1 else ("object",)
        return Meaning(coding=coding, classes=classes)
    height, width = listing.header(files[0]).size_hw
    paths = spread(files, max(_FEW, _MANY_PX // (height * width)))
    look = look_at(listing, paths, colors=any(isinstance(value, tuple) for value in names) and not is_single)
    if look.error:
        raise InputError(f"every mask must be readable. Received: {look.error}. Repair or remove it and its image")
    if look.is_array:
        raise InputError(
            f"masks must hold whole numbers in one channel, or colors. Received: {files[0]}, and others; write PNGs"
        )
    if not names and not is_single and all("labelIds" in path for path in files):
        present = look.counts
        names = {v: name for v, name in CITYSCAPES.items() if v in present} | {0: "background"}
    return find_meaning(look, names, is_single=is_single)


@dataclass(frozen=True, slots=True)
class DrawEmpty:
    """Draws the mask of an image without an object."""

    size_hw: tuple[int, int]
    num_layers: int = 1

    def __call__(self) -> MaskHW | tuple[MaskHW, ...]:
        """Draws the mask; see `ImportedSample.draw`."""
        empty = np.zeros(self.size_hw, dtype=np.uint8)
        return empty if self.num_layers == 1 else (empty,) * self.num_layers


def compare_masks(pairs: Sequence[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]) -> str:
    """Tells how the second of two masks of the same images relates to the first.

    Returns:
        `recoded`: the same areas with other values; `objects`: the first's areas in parts; `view`: an area that holds
        the first and most of the image; `alike`: about the same areas; `class`: other areas; `unclear`.
    """
    refines = coarsens = True
    overlaps, covers, holds, held, binary = [], [], [], [], True
    for first, second in pairs:
        first, second = (values[:: -(-values.size // _MOST_PX)] for values in (first, second))
        joint = np.unique(np.stack([first.ravel(), second.ravel()]), axis=1)
        refines &= joint.shape[1] == len(np.unique(joint[1]))
        coarsens &= joint.shape[1] == len(np.unique(joint[0]))
        binary &= len(np.unique(joint[0])) <= 2 and len(np.unique(joint[1])) <= 2
        a, b = first != min(first.min(), 0), second != min(second.min(), 0)
        if min(a.mean(), b.mean()) > MOSTLY:  # white around black objects
            a, b = ~a, ~b
        overlaps.append((a & b).sum() / max((a | b).sum(), 1))
        covers.append(b.mean())
        holds.append((a & b).sum() / max(a.sum(), 1))
        held.append((a & b).sum() / max(b.sum(), 1))
    if refines and coarsens:
        return "recoded"
    if refines or np.mean(overlaps) > 0.98:
        return "objects"
    if coarsens:
        return "unclear"
    if np.mean(covers) > _WHOLE and np.mean(holds) > _ALL and np.mean(overlaps) < _SAME:
        return "view"
    inside = np.mean([max(a_in_b, b_in_a) for a_in_b, b_in_a in zip(holds, held, strict=True)])
    if binary and inside > 0.98 and np.mean(overlaps) < 0.8:
        return "class"  # a part of the other, as a cup of a disc
    if np.mean(overlaps) >= _SAME:
        return "alike"
    return "class" if binary or np.mean(overlaps) < 0.05 else "unclear"


def describe_coding(coding: Coding) -> dict[str, Any]:
    """Returns what a coding decides of DatasetConfig, and itself."""
    return {"has_background": bool(coding.background), "has_ignored": bool(coding.ignored), "coding": coding}


def _is_background(title: str) -> bool:
    return re.fullmatch(BACKGROUND_NAMES, title.lower()) is not None


def _glob(paths: Sequence[str]) -> str:
    """Returns a pattern that fits the paths, as `masks/*`."""
    folder = paths[0].rpartition("/")[0]
    tails = {path.rpartition("/")[2] for path in paths}
    last = next(iter(tails))
    end = next((last[i:] for i in range(len(last)) if all(t.endswith(last[i:]) for t in tails)), "")
    common = folder if all(path.startswith(folder) for path in paths) else folder.split("/")[0]
    return f"{common}/*{end}" if common else f"*{end}"
