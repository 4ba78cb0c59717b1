"""Mask files: images with masks beside them, found by their names and by what they hold.

images/a.jpg     masks/a_mask.png                          a file an image
a/image.png      a/masks/1.png, a/masks/2.png              a file an object
photos/a.jpg     masks/cat/a.png, masks/dog/a.png          a file a class
train/a.png      trainannot/a.png, class_dict.csv          values or colors that a list names
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import numpy.typing as npt

from unets.config import MasksSource
from unets.data.pixels import read_values
from unets.dataset.importers.assemble import assemble, list_rasters, select
from unets.dataset.importers.base import Import, ImportedSample
from unets.dataset.importers.class_lists import BACKGROUND_NAMES, find_class_list
from unets.dataset.importers.draws import DrawFiles, DrawRuns, do_overlap, encode_colors
from unets.dataset.importers.groups import find_copies
from unets.dataset.importers.listing import Listing, ending
from unets.dataset.importers.meaning import MOSTLY, Look, find_coding, look_at
from unets.dataset.importers.names import (
    DERIVED_WORDS,
    IMAGE_WORDS,
    MASK_WORDS,
    Name,
    compare_shapes,
    find_kinds,
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
from unets.dataset.importers.table import ask_trained, find_test_images
from unets.errors import InputError

Files = dict[str, list[str]]  # of masks, by the path of their image
_FEW = 8  # files of a shape that tell masks from images
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
        "{one} and {other} are masks of the same things, by two people or programs: {one} is read; files='annotator' "
        "makes their mean the target",
    ),
    "unclear": (
        "another mask of the same images",
        "{one} and {other} are both masks of the same images, and differ: {one} is read",
    ),
}


def read(listing: Listing, source: MasksSource) -> Import | None:
    """Reads images and their mask files; None where there are none.

    Raises:
        InputError: see `assemble`; or masks hold what is no class, or a file of them cannot be read.
    """
    _refuse_foreign_names(listing)
    reading = _Reading(listing=listing, source=source)
    reading.sort_shapes(find_shapes(list_rasters(reading)))
    train, test = reading.split()
    return reading.build(train, test) if train else None


def _refuse_foreign_names(listing: Listing) -> None:
    """Refuses nnU-Net's images of a file a channel, `a_0000.png` and `a_0001.png`, and Label Studio's masks."""
    if brushed := [path for path in listing.rasters if re.search(r"task-\d+-annotation-\d+-by-", path)]:
        raise InputError(
            f"masks must be called as their images. Received: {brushed[0]}, which Label Studio calls by its task. "
            "Export json, which names the images"
        )
    paths = set(listing.rasters) if any(p.rpartition("/")[2] == "dataset.json" for p in listing.paths) else ()
    split = [path for path in paths if "_0001." in path and path.replace("_0001.", "_0000.") in paths]
    if split:
        raise InputError(
            f"an image must be one file. Received: {min(split)}, one channel, as nnU-Net has it. Stack the "
            "channels of each image: np.save of (height, width, channels)"
        )


@dataclass(kw_only=True)
class _Reading(Import):
    """What files are: images, masks of them by role, and what was left out."""

    source: MasksSource
    shapes: Mapping[str, list[Name]] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)  # shape by path
    links: dict[str, dict[tuple[str, ...], list[str]]] = field(default_factory=dict)  # masks by image and role
    alone: list[str] = field(default_factory=list)  # images that have no mask, and are no test images

    def sort_shapes(self, shapes: Mapping[str, list[Name]]) -> None:
        """Tells masks from images by what they are called and hold, and finds the image of each mask."""
        self.shapes = shapes
        words_of = {shape: {*find_words(shape), *shape.lower().split("/")} for shape in self.shapes}
        common = set.intersection(*words_of.values()) if words_of else set()
        masks, images = list[str](), list[str]()
        for shape, names in self.shapes.items():
            words = " ".join(words_of[shape] - common)
            look = look_at(self.listing, [name.path for name in spread(names, _FEW)])
            called_mask, called_image = is_called(words, MASK_WORDS), is_called(words, IMAGE_WORDS)
            if self.source.masks:
                is_mask = bool(select([names[0].path], self.source.masks))
            elif look.error:
                is_mask = called_mask
            else:
                is_mask = look.is_mask and (called_mask or not called_image or look.num_values <= 16)
                is_share = self.source.full_share is not None  # which may be a fraction
                is_mask |= called_mask and not called_image and (is_share or not look.is_array)
            if is_called(words, DERIVED_WORDS) and not (called_mask and not is_mask):
                self.leave((name.path for name in names), "made from images or masks, as its name says")
            else:
                (masks if is_mask else images).append(shape)
        if not images and len(masks) > 1:  # drawings: names decide alone
            images = [shape for shape in masks if is_called(shape, IMAGE_WORDS) and not is_called(shape, MASK_WORDS)]
        self.images = {name.path: shape for shape in images for name in self.shapes[shape]}
        for shape in masks:
            if shape not in images:
                self._link(shape, images)

    def _link(self, shape: str, images: Sequence[str]) -> None:
        """Finds the images of the masks of one shape, in the shapes that are nearest by name."""
        split, rest = find_split(shape), list(self.shapes[shape])
        near = [other for other in images if not split or find_split(other) in ("", split)]
        near.sort(
            key=lambda other: (compare_shapes(shape, other), len(IMAGE_WORDS & {*find_words(other)})), reverse=True
        )
        used: str | None = None
        for other in near:
            if used is not None and compare_shapes(shape, other) == compare_shapes(shape, used):
                self._ask_rival(shape, used, other)
            found = match_names(rest, self.shapes[other])
            used = used or (other if found else None)
            values = {name.path: name.values for name in self.shapes[other]}
            for name in rest:
                if image := found.get(name.path):
                    extra = list(name.values)
                    for value in values[image]:  # once each: a mask's number may be that of its image
                        if value in extra:
                            extra.remove(value)
                    key = (*name_role(shape, other), "_".join(extra))
                    self.links.setdefault(image, {}).setdefault(key, []).append(name.path)
            rest = [name for name in rest if name.path not in found]
        self.leave((name.path for name in rest), "a mask of no image that is here")
        if rest and images:
            text = f"{len(rest)} masks have no image: {rest[0].path}" + (", ..." if len(rest) > 1 else "")
            self.ask("source.leave_out", text, "patterns of these files")

    def _ask_rival(self, shape: str, used: str, other: str) -> None:
        """Asks where masks could belong to images of two shapes."""
        found = match_names(self.shapes[shape], self.shapes[other])
        taken = {mask: image for image, roles in self.links.items() for paths in roles.values() for mask in paths}
        if any(taken.get(mask, image) != image for mask, image in found.items()):
            text = f"masks of {shape} could belong to images of {used}, which are taken, or of {other}"
            self.ask("source.leave_out", f"{text} ({len(found)} files)", f"{used.replace('#', '*')!r},")
            self.leave(found.values(), "other images of the same masks")

    def split(self) -> tuple[list[str], list[str]]:
        """Returns (training images with masks, test images): those in a folder called so, or without mask and listed.

        Raises:
            InputError: an image with a mask has another's name but for the ending.
        """
        self._drop_copies()
        splits, listed = find_splits(self.images), find_test_images(self, list(self.images))
        linked = [path for path in self.images if path in self.links]
        train = [path for path in linked if splits[path] != "test"]
        if not train:  # all masks are of images called test, as MVTec's: the word tells nothing
            train, splits = linked, dict.fromkeys(self.images, "")
        used = {*train, *self.account}
        free = [path for path in self.images if path not in used]
        test = [path for path in free if splits[path] == "test" or path in listed]
        for image in test:
            for paths in self.links.get(image, {}).values():
                self.leave(paths, "the mask of a test image")
        if held := [image for image in test if image in self.links]:
            text = f"{len(held)} images called test have masks, and are not trained on: {held[0]}, ..."
            self.ask("source.test_images", text, "a table samples.csv, if they are for training")
        bare_names = {path.rpartition(".")[0]: path for path in linked}
        for path in self.images:
            other = bare_names.get(path.rpartition(".")[0], path)
            if other != path and path not in self.account:
                raise InputError(
                    f"each image must have a name of its own, whatever its ending. Received: {other} and {path}; "
                    "rename or remove one of them"
                )
        ask_trained(self, [path for path in train if path in listed])
        tested = set(test)
        alone = self.alone = [path for path in free if path not in tested]
        shapes = {self.images[path] for path in train}
        bare = [path for path in alone if self.images[path] in shapes]
        self.ask_bare(bare, len(bare) + len(train), "mask", are_empty=self.source.missing == "empty")
        others = Counter(self.images[path] for path in alone if self.images[path] not in shapes)
        for shape, count in others.items():
            if count > 1:
                text = f"{count} images {shape.replace('#', '*')} have no masks and are left out: are they test images?"
                choices = (f"({shape.replace('#', '*')!r},)", 'missing="empty", if they hold no object')
                self.ask("source.test_images", text, *choices)
        self.leave(alone, "an image without a mask")
        return train, test

    def _drop_copies(self) -> None:
        """Leaves out images that are there twice, in another format or size, with their masks."""

        def rank(image: str) -> tuple[bool, ...]:
            masks = [path for paths in self.links.get(image, {}).values() for path in paths]
            is_lossy = any(ending(path) == ".jpg" for path in (image, *masks))
            return not masks, not find_split(image), is_lossy

        copies = find_copies(self.listing, self.images, rank)
        for image in copies:
            masks = [path for paths in self.links.pop(image, {}).values() for path in paths]
            self.leave([image, *masks], "a copy of another image, or its mask")
            del self.images[image]
        if copies:
            image, other = next(iter(copies.items()))
            text = f"{len(copies)} images are there twice: {image} is left out for {other}, ..."
            self.ask("source.leave_out", text, "patterns of the others")

    def build(self, train: Sequence[str], test: Sequence[str]) -> Import:
        """Says what a file and its values mean, and makes the import."""
        roles, is_single = self._choose_roles(train)
        files = [path for by_image in roles.values() for paths in by_image.values() for path in paths]
        is_mean = self.source.files == "annotator"
        coding = find_coding(self, self.source, files, is_single=is_single)
        self.classes = tuple(roles) if is_single else self.classes
        layers = {image: tuple(tuple(by_image.get(image, ())) for by_image in roles.values()) for image in train}
        draws = {image: DrawFiles(self.listing.root, of, coding, is_mean) for image, of in layers.items() if any(of)}
        if lost := [image for image in train if image not in draws]:
            self.leave(lost, "an image whose mask is left out")
            text = f"{len(lost)} images have other masks than the rest, and are left out with them: {lost[0]}, ..."
            self.ask("source.masks", text, "patterns of the masks")
        self.overlapping = len(roles) > 1 and (coding.full_share is not None or do_overlap(draws.values()))
        if self.overlapping:
            text = "some pixels are of two classes: each class has a mask of its own"
            self.ask("overlapping", text, "masks without overlaps")
            self.fields["has_background"] = True
        samples = [ImportedSample(image=image) for image in test]
        samples += [self.take_files(image, layers[image], coding, is_mean=is_mean) for image in draws]
        for image in self.alone if self.source.missing == "empty" else ():
            empty = DrawRuns(self.listing.header(image).size_hw, ((),) * len(roles))
            samples.append(ImportedSample(image=image, draw=empty, size_hw=empty.size_hw))
        return assemble(self, samples)

    def _choose_roles(self, train: Sequence[str]) -> tuple[dict[str, Files], bool]:
        """Returns ({name of the class: its files}, whether a file is of one class alone)."""
        roles: dict[str, Files] = defaultdict(dict)
        extras: dict[str, dict[str, Files]] = defaultdict(lambda: defaultdict(dict))
        for image in train:
            for (*words, extra), paths in self.links[image].items():
                role = " ".join(words)
                roles[role].setdefault(image, []).extend(paths)
                extras[role][extra].setdefault(image, []).extend(paths)
        if self.source.files == "annotator":
            return {"object": {i: [p for paths in self.links[i].values() for p in paths] for i in train}}, True
        joined = self._join_disjoint(roles)
        kept = self._drop_doubles(joined, len(train)) if len(joined) > 1 else joined
        if len(kept) > 1:
            return self._name_classes(kept), True
        (role, files), parts = next(iter(kept.items())), extras[next(iter(kept))]
        several = any(len(paths) > 1 for paths in files.values())
        kind = self.source.files
        is_whole = all(len(by_image) >= _ALL * len(files) for by_image in parts.values())
        if several and len(joined) == 1 and is_whole and 2 <= len(parts) <= 20:  # each image has the same
            kind = kind or ("object" if all(map(str.isdecimal, parts)) else "class")
            called = ", ".join(map(repr, sort_naturally(parts)))
            text = f"each image has masks called {called}: taken for a file {'an' if kind == 'object' else 'a'} {kind}"
            self.ask("source.files", text, '"class"' if kind == "object" else '"object"')
        if kind == "class" and len(parts) == 1 and (kinds := find_kinds(list(files))):
            found = sort_naturally({kinds[i] for i, paths in files.items() if self._read(paths).any()}) or [""]
            home = {image: kinds[image] if kinds[image] in found else found[0] for image in files}  # others are empty
            parts = {name: {i: of for i, of in files.items() if home[i] == name} for name in found}
        if kind == "class":
            return {extra or role: parts[extra] for extra in sort_naturally(parts)}, True
        return kept, False

    def _join_disjoint(self, roles: Mapping[str, Files]) -> dict[str, Files]:
        """Joins roles of different images: of splits and videos, whose masks are called differently."""
        joined: dict[str, Files] = {}
        homes: dict[str, set[str]] = {}
        for role, files in sorted(roles.items(), key=lambda item: -len(item[1])):
            shapes = {self.images[image] for image in files}
            host = next((r for r in joined if not joined[r].keys() & files.keys() and not homes[r] & shapes), role)
            joined[host] = joined.get(host, {}) | files
            homes[host] = homes.get(host, set()) | shapes
        return joined

    def _drop_doubles(self, roles: dict[str, Files], num_train: int) -> dict[str, Files]:
        """Leaves out other codings, objects and other people's masks of the same things."""
        names, _ = find_class_list(self.listing)

        def look_of(role: str) -> Look:
            return look_at(self.listing, spread([path for paths in roles[role].values() for path in paths], _FEW))

        def are_parts(role: str) -> bool:
            called = any(word.startswith(("inst", "object")) for word in find_words(role))
            return called or look_of(role).are_numbers

        def rank(role: str) -> tuple[object, ...]:
            """Sorts roles: of most images first, those with named values, not colors, not lossy, whole before parts."""
            look = look_of(role)
            unknown = not names or any(value not in names for value in look.counts)
            covers = len(roles[role]) < _ALL * num_train
            array = any(path.endswith(".npy") for paths in roles[role].values() for path in paths[:1])
            size = (look.num_values <= 2, look.num_values)  # classes tell more than what is of any class
            return covers, are_parts(role), unknown, look.is_lossy, look.is_color, array, *size, role

        kept = {role: roles[role] for role in sorted(roles, key=rank)}
        for one, other in combinations(list(kept), 2):
            if one not in kept or other not in kept:
                continue
            shared = spread([image for image in roles[one] if image in roles[other]], _COMPARED)
            pairs = [(self._read(roles[one][image]), self._read(roles[other][image])) for image in shared]
            pairs = [(a, b) for a, b in pairs if a.shape == b.shape and len(np.unique(b)) > 1]
            relation = compare_masks(pairs) if pairs else "class"
            if relation == "class" and pairs and compare_masks([(b, a) for a, b in pairs]) == "view":
                relation, one, other = "view", other, one
            if relation == "objects" and not are_parts(other):
                relation = "unclear"
            if relation in _DROPPED:
                why, text = (words.format(one=repr(one), other=repr(other)) for words in _DROPPED[relation])
                paths = {path for files in kept.pop(other).values() for path in files}
                self.leave(paths, why)
                shapes = [shape for shape, names in self.shapes.items() if any(name.path in paths for name in names)]
                if text:
                    self.ask("source.masks", text, repr(tuple(shape.replace("#", "*") for shape in shapes)))
        return kept

    def _name_classes(self, roles: Mapping[str, Files]) -> dict[str, Files]:
        """Names classes by the words of their roles that not all of them have."""
        common = set.intersection(*({*role.split()} for role in roles))
        words = {role: [word for word in role.split() if word not in common] for role in roles}
        plain = {role: [word for word in words[role] if word.lower() not in MASK_WORDS] for role in roles}
        titles = {"_".join(plain[role] or words[role]) or role.replace(" ", "_") or "object": role for role in roles}
        order = sort_naturally(titles)
        text = f"{', '.join(order)} are taken for classes: a mask file a class"
        self.ask("source.masks", text, "patterns of the masks alone")
        return {t: roles[titles[t]] for t in order if not re.fullmatch(BACKGROUND_NAMES, t.lower())}

    def _read(self, paths: Sequence[str]) -> npt.NDArray[np.int64]:
        codes = []
        for path in paths:
            values = read_values(self.listing.root / path)
            values = encode_colors(values) if values.ndim == 3 else values.astype(np.int64)
            codes.append(np.where(values > values.max() // 2, 1, 0) if len(paths) > 1 else values)
        return np.asarray(np.max(codes, axis=0), dtype=np.int64)


def compare_masks(pairs: Sequence[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]) -> str:
    """Tells how the second of two masks of the same images relates to the first.

    Returns:
        `recoded`: the same areas with other values; `objects`: the first's areas in parts; `view`: an area that holds
        the first and most of the image; `alike`: about the same areas; `class`: other areas; `unclear`.
    """
    refines = coarsens = binary = True
    measured = []
    for first, second in pairs:
        first, second = (values[:: -(-values.size // _MOST_PX)] for values in (first, second))
        joint = np.unique(np.stack([first.ravel(), second.ravel()]), axis=1)
        num_first, num_second = (len(np.unique(values)) for values in joint)
        refines &= joint.shape[1] == num_second
        coarsens &= joint.shape[1] == num_first
        binary &= max(num_first, num_second) <= 2
        a, b = first != min(first.min(), 0), second != min(second.min(), 0)
        if min(a.mean(), b.mean()) > MOSTLY:  # white around black objects
            a, b = ~a, ~b
        both = (a & b).sum()
        sizes = max((a | b).sum(), 1), max(a.sum(), 1), max(b.sum(), 1)
        overlap, held, inside = (both / size for size in sizes)
        measured.append((overlap, held, max(held, inside), b.mean()))
    overlap, held, inside, cover = np.mean(measured, axis=0)
    if refines and coarsens:
        return "recoded"
    if refines or overlap > 0.98:
        return "objects"
    if coarsens:
        return "unclear"
    if cover > _WHOLE and held > _ALL and overlap < _SAME:
        return "view"
    if binary and inside > 0.98 and overlap < 0.8:
        return "class"  # a part of the other, as a cup of a disc
    if overlap >= _SAME:
        return "alike"
    return "class" if binary or overlap < 0.05 else "unclear"
