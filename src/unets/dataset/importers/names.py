"""Names: what file names have in common, which words say what a file is, and which file belongs to which.

The shape of a path is its text with `#` for what changes from file to file: `train/images/#.png`. Files of one shape
are of one kind. Two shapes belong together where the changing parts of one pick out files of the other.
"""

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from unets.dataset.importers.listing import ending


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


MASK_WORDS = _words(
    "mask masks msk label labels lbl annot annots annotation annotations gt groundtruth ground truth seg segmentation "
    "segmentations segmented target targets manual labelids matte alpha gtfine segmentationclass labelstr"
)
IMAGE_WORDS = _words(
    "image images img imgs im photo photos frame frames picture pictures pic pics jpegimages input inputs raw rgb orig "
    "original originals sat scan scans leftimg8bit imagestr"
)
# What others made of images or masks, and nobody means to train on.
DERIVED_WORDS = _words(
    "aug augmented augmentation predict prediction predictions pred preds result results output outputs overlay "
    "overlays preview previews visualization visualizations segmentationclassvisualization viz vis thumbnail "
    "thumbnails thumb thumbs blend blended"
)
SPLITS = {"train": "training train tr", "val": "validation valid val dev", "test": "testing test ts"}
_SPLIT_WORDS = {word: split for split, words in SPLITS.items() for word in words.split()}
ItemT = TypeVar("ItemT")
_COMMON = (0.04, 0.1, 0.25)  # of the files have a word that is no name of its own
_MOST_SHAPES = 80
_SAMPLE = 80


@dataclass(frozen=True, slots=True)
class Name:
    """A path, its shape, and its changing parts in their order."""

    path: str
    shape: str
    values: tuple[str, ...]


def find_words(text: str) -> list[str]:
    """Returns the words of a name in small letters; digits, signs and capitals part them."""
    parted = re.sub(r"([a-z])([A-Z])", r"\1 \2", text)
    return [word.lower() for word in re.findall(r"[A-Za-z]+", parted)]


def is_called(text: str, words: frozenset[str]) -> bool:
    """Tells whether a name holds one of the words, alone, or run together with another as in `trainannot`."""
    found = {*find_words(text), *re.findall(r"[a-z0-9]+", text.lower())}
    long = tuple(word for word in words if len(word) >= 4)
    return bool(found & words) or any(word.endswith(long) for word in found)


def find_split(text: str) -> str:
    """Returns train, val or test, as the words of a name say; empty where they say none, or two."""
    found = set()
    for word in {*find_words(text), *re.findall(r"[A-Za-z]+", text.lower())}:
        for name, split in _SPLIT_WORDS.items():
            rest = word[len(name) :] if word.startswith(name) else None
            known = rest is not None and (rest in ("", "set") or rest in IMAGE_WORDS | MASK_WORDS)
            before = word.removesuffix(name)
            if (known and (len(name) > 2 or rest)) or (word.endswith(name) and before in IMAGE_WORDS | MASK_WORDS):
                found.add(split)
    return found.pop() if len(found) == 1 else ""


def find_splits(names: Mapping[str, str]) -> dict[str, str]:
    """Returns the split that each name says by parts, between `/`, that not all names share; see `find_split`.

    Args:
        names: by path: its folder, or its shape.
    """
    parts = {path: name.split("/") for path, name in names.items()}
    common = set.intersection(*({part.lower() for part in of} for of in parts.values())) if parts else set()
    return {path: find_split("/".join(p for p in of if p.lower() not in common)) for path, of in parts.items()}


def find_shapes(paths: Sequence[str]) -> dict[str, list[Name]]:
    """Sorts paths by their shape; each shape's files in the order of their names."""
    counts: Counter[str] = Counter()
    for path in paths:
        counts.update(set(re.findall(r"[A-Za-z0-9]+", path)) | set(re.findall(r"[A-Za-z]+", path)))
    shapes: dict[str, list[Name]] = {}
    for share in _COMMON:
        shapes = defaultdict(list)
        for name in _open_long_folders([_shape(path, counts, max(2, share * len(paths))) for path in paths]):
            shapes[name.shape].append(name)
        if len(shapes) <= _MOST_SHAPES:
            break
    return dict(sorted(shapes.items()))


def _shape(path: str, counts: Mapping[str, int], least: float) -> Name:
    """Makes a path's shape: words that are common, or known, stay; numbers and rare words are `#`."""
    stem, end = path[: len(path) - len(path.rpartition("/")[2].rpartition(".")[2]) - 1], ending(path)
    if "." not in path.rpartition("/")[2]:
        stem, end = path, ""
    parts: list[str] = []
    values: list[str] = []
    for run in re.findall(r"[A-Za-z0-9]+|[^A-Za-z0-9]", stem):
        letters = sum(map(str.isalpha, run))
        mixed = letters and letters < len(run)
        if (
            not run[0].isalnum()
            or re.fullmatch(r"\d+(st|nd|rd|th)([A-Z]\w*)?", run)
            or (letters * 2 > len(run) and _stays(run, counts, least * (4 if mixed else 1)))
        ):
            parts.append(run)
            continue
        pieces = re.fullmatch(r"([A-Za-z]+)(\d+)|(\d+)([A-Za-z]+)", run)
        for piece in [piece for piece in pieces.groups() if piece] if pieces else [run]:
            part = 2.5 * least if len(piece) > 1 else 8 * least  # letters of hexadecimal ids are common, too
            if piece.isalpha() and _stays(piece, counts, part if mixed else least):
                parts.append(piece)
            elif parts and parts[-1] == "#":
                values[-1] += piece
            else:
                parts.append("#")
                values.append(piece)
    return Name(path, "".join(parts) + end, tuple(values))


def _stays(word: str, counts: Mapping[str, int], least: float) -> bool:
    known = MASK_WORDS | IMAGE_WORDS | DERIVED_WORDS | _SPLIT_WORDS.keys()
    return not word.isdigit() and (word.lower() in known or counts[word] >= least)


def _open_long_folders(names: Sequence[Name]) -> Iterable[Name]:
    """Takes whole stems as what changes, but for words that many share, in folders of names in plain words."""
    folders: dict[str, list[Name]] = defaultdict(list)
    for name in names:
        folders[name.shape.rpartition("/")[0]].append(name)
    for folder, inside in folders.items():
        shapes = Counter(name.shape for name in inside)
        if len(shapes) <= max(8, 0.2 * len(inside)):
            yield from inside
            continue
        count = folder.count("#")
        stems = {name: name.path.rpartition("/")[2].rpartition(".")[0] for name in inside}
        affixes = Counter(match[0] for stem in stems.values() if (match := re.search(r"[_\-. ]*[A-Za-z]+$", stem)))
        tails = {affix for affix, number in affixes.items() if number >= 0.3 * len(inside)}
        for name in inside:
            stem = stems[name]
            tail = next((affix for affix in tails if stem.endswith(affix) and stem != affix), "")
            shape = f"{folder}/#{tail}{ending(name.path)}" if folder else f"#{tail}{ending(name.path)}"
            yield Name(name.path, shape, (*name.values[:count], stem.removesuffix(tail)))


def match_names(masks: Sequence[Name], images: Sequence[Name]) -> dict[str, str]:
    """Finds the image of each mask, of two shapes.

    Changing parts of the images that together pick out each of them must be among the masks' parts, in their order.

    Returns:
        The image's path by the mask's, of as many masks as have one; empty where few have.
    """
    if not masks or not images:
        return {}
    best: dict[str, str] = {}
    most = 0
    for columns in _list_keys(images):
        index = {_key(name, columns): name.path for name in images}
        plain = {tuple(map(_shorten, key)): path for key, path in index.items()}
        for places in itertools.combinations(range(len(masks[0].values)), len(columns)):
            sample = [_key(name, places) for name in spread(masks, _SAMPLE)]
            exact = [index[key] for key in sample if key in index]
            loose = [plain[key] for key in (tuple(map(_shorten, key)) for key in sample) if key in plain]
            found = max(exact, loose, key=lambda paths: len(set(paths)))
            if len(found) < max(1, 0.2 * len(sample)) or len(set(found)) <= most:
                continue
            most = len(set(found))
            keys = {name.path: _key(name, places) for name in masks}
            images_of = {
                mask: index.get(key) if found is exact else plain.get(tuple(map(_shorten, key)))
                for mask, key in keys.items()
            }
            best = {mask: image for mask, image in images_of.items() if image is not None}
    return best


def _list_keys(images: Sequence[Name]) -> list[tuple[int, ...]]:
    """Lists the parts that together pick out each image, those with more parts first."""
    columns = list(zip(*(name.values for name in images), strict=True))
    useful: list[int] = []
    for place, column in enumerate(columns):
        is_copy = any(column == columns[other] for other in useful)
        if not is_copy and (len(set(column)) > 1 or len(images) == 1):
            useful.append(place)
    if not columns:  # `image.png` beside `mask.png`
        return [()]
    keys = []
    for count in range(min(len(useful), 6), 0, -1):
        for places in itertools.combinations(useful, count):
            if len({_key(name, places) for name in images}) == len(images):
                keys.append(places)
    return keys[:20]


def compare_shapes(one: str, other: str) -> tuple[int, int]:
    """Returns (how many words two shapes share, minus how many they do not): higher is nearer."""
    first, second = (Counter(re.findall(r"[A-Za-z0-9]+|/", shape.rpartition(".")[0])) for shape in (one, other))
    shared = sum((first & second).values())
    return shared, 2 * shared - first.total() - second.total()


def name_role(shape: str, other: str) -> tuple[str, ...]:
    """Returns the words of a shape that another has not: what tells masks from their images, `masks`, `cat`."""
    words, known = (re.findall(r"[A-Za-z0-9]*[A-Za-z][A-Za-z0-9]*", text.rpartition(".")[0]) for text in (shape, other))
    rest = Counter(words) - Counter(known)
    return tuple(word for word in dict.fromkeys(words) if rest[word])


def spread(items: Sequence[ItemT], count: int) -> list[ItemT]:
    """Returns that many, spread evenly, or all."""
    if len(items) <= count:
        return list(items)
    return [items[int((i + 0.5) * len(items) / count)] for i in range(count)]


def sort_naturally(names: Iterable[str]) -> list[str]:
    """Sorts so that 2 comes before 10."""
    return sorted(names, key=lambda name: [(int(p), "") if p.isdigit() else (-1, p) for p in re.split(r"(\d+)", name)])


def _key(name: Name, places: Sequence[int]) -> tuple[str, ...]:
    return tuple(name.values[place].lower() for place in places)


def _shorten(text: str) -> str:
    return text.lstrip("0") or "0" if text.isdecimal() else text
