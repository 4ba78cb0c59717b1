"""Names: what file names have in common, which words say what a file is, and which file belongs to which.

The shape of a path is its text with `#` for what changes from file to file: `train/images/#.png`. Files of one shape
are of one kind. Two shapes belong together where the changing parts of one pick out files of the other. A finder tells
which image a file means by a name: a path, a stem, or parts of a path.
"""

import itertools
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar
from urllib.parse import unquote

from unets.dataset.importers.listing import ending
from unets.errors import InputError


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
_SPLITS = {"train": "training train tr", "val": "validation valid val dev", "test": "testing test ts"}
_KNOWN_WORDS = MASK_WORDS | IMAGE_WORDS | DERIVED_WORDS | _words(" ".join(_SPLITS.values()))
# `train`, `trainset`, `testcrop`, `imagesTr`; two letters alone say nothing.
_SPLIT_OF = {
    word: split
    for split, names in _SPLITS.items()
    for name in names.split()
    for word in (
        *([name] if len(name) > 2 else []),
        *(name + after for after in IMAGE_WORDS | MASK_WORDS | _words("set data crop crops tiles")),
        *(before + name for before in IMAGE_WORDS | MASK_WORDS),
    )
}
ItemT = TypeVar("ItemT")
_COMMON = (0.04, 0.1, 0.25)  # of the files have a word that is no name of its own
_MOST_SHAPES = 80
_MOST_KINDS = 25
_SAMPLE = 80
_ENDING = re.compile(r"\.[a-z]{2,4}\d?$")


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
    words = {*find_words(text), *re.findall(r"[A-Za-z]+", text.lower())}
    found = {_SPLIT_OF[word] for word in words & _SPLIT_OF.keys()}
    return found.pop() if len(found) == 1 else ""


def find_splits(names: Mapping[str, str]) -> dict[str, str]:
    """Returns the split that each name, by its path, says by parts that not all names share; see `find_split`."""
    parts = {path: name.split("/") for path, name in names.items()}
    common = set.intersection(*({part.lower() for part in of} for of in parts.values())) if parts else set()
    return {path: find_split("/".join(p for p in of if p.lower() not in common)) for path, of in parts.items()}


def find_shapes(paths: Sequence[str]) -> dict[str, list[Name]]:
    """Sorts paths by their shape; each shape's files in the order of their names."""
    counts: Counter[str] = Counter()
    plain = {path: _plain(path) for path in paths}
    for text in plain.values():
        counts.update({*re.findall(r"[^\W_]+", text), *re.findall(r"[^\W\d_]+", text)})
    shapes: dict[str, list[Name]] = {}
    for share in _COMMON:
        shapes = defaultdict(list)
        named = [_shape(path, text, counts, max(2, share * len(paths))) for path, text in plain.items()]
        for name in _open_long_folders(named):
            shapes[name.shape].append(name)
        if len(shapes) <= _MOST_SHAPES:
            break
    return dict(sorted(shapes.items()))


def _plain(text: str) -> str:
    """Writes a name in one way: accents composed, and `?` for signs that patterns and shapes are made of."""
    return re.sub(r"[#*\[\]]", "?", unicodedata.normalize("NFC", text))


def _shape(path: str, text: str, counts: Mapping[str, int], least: float) -> Name:
    """Makes the shape of a path, in plain text: words that are common, or known, stay; numbers and others are `#`."""
    end = ending(text)
    stem = text.rpartition(".")[0] if end else text
    parts: list[str] = []
    values: list[str] = []
    for run in re.findall(r"[^\W_]+|[\W_]", stem):
        letters = sum(map(str.isalpha, run))
        mixed = letters and letters < len(run)
        if (
            not run[0].isalnum()
            or re.fullmatch(r"\d+(st|nd|rd|th)([A-Z]\w*)?", run)
            or (
                letters * 2 > len(run)
                and not re.search(r"\d\d$", run)
                and _stays(run, counts, least * (4 if mixed else 1))
            )
        ):
            parts.append(run)
            continue
        pieces = re.fullmatch(r"([^\W\d_]+)(\d+)|(\d+)([^\W\d_]+)", run)
        for piece in [piece for piece in pieces.groups() if piece] if pieces else [run]:
            part = 8 * least if piece in "abcdefABCDEF" else 2.5 * least  # hexadecimal ids have these letters, too
            if piece.isalpha() and _stays(piece, counts, part if mixed else least):
                parts.append(piece)
            elif parts and parts[-1] == "#":
                values[-1] += piece
            else:
                parts.append("#")
                values.append(piece)
    return Name(path, "".join(parts) + end, tuple(values))


def _stays(word: str, counts: Mapping[str, int], least: float) -> bool:
    return not word.isdigit() and (word.lower() in _KNOWN_WORDS or counts[word] >= least)


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
        stems = {name: _plain(name.path).rpartition("/")[2].rpartition(".")[0] for name in inside}
        affixes = Counter(match[0] for stem in stems.values() if (match := re.search(r"[_\-. ]*[A-Za-z]+$", stem)))
        tails = {affix for affix, number in affixes.items() if number >= 0.3 * len(inside)}
        for name in inside:
            stem = stems[name]
            tail = next((affix for affix in tails if stem.endswith(affix) and stem != affix), "")
            shape = f"{folder}/#{tail}{ending(name.path)}" if folder else f"#{tail}{ending(name.path)}"
            yield Name(name.path, shape, (*name.values[:count], stem.removesuffix(tail)))


def find_kinds(paths: Sequence[str]) -> dict[str, str]:
    """Finds the words in which the folders or names of images differ, as `cat` and `dog` of `cat/1.png`, `dog/1.png`.

    Empty where some image has none; words of splits, images and masks do not count.
    """
    shapes = {name.path: name.shape for names in find_shapes(paths).values() for name in names}
    words = {shape: re.findall(r"[^\W\d_]+", shape.rpartition(".")[0]) for shape in set(shapes.values())}
    known = _KNOWN_WORDS.union(set.intersection(*map(set, words.values())))
    own = {shape: [w for w in of if not {w, w.lower()} & known and not find_split(w)] for shape, of in words.items()}
    kinds = {path: "_".join(dict.fromkeys(own[shape])) for path, shape in shapes.items()}
    counts = Counter(kinds.values())
    return kinds if 1 < len(counts) <= _MOST_KINDS and counts[""] == 0 and min(counts.values()) > 1 else {}


def match_names(masks: Sequence[Name], images: Sequence[Name]) -> dict[str, str]:
    """Finds the image of each mask, of two shapes; as many masks as have one, none where few have.

    Changing parts of the images that together pick out each of them must be among the masks' parts, in their order.
    Where half of the images have a mask of all their parts, others have none: what does not tell these images apart
    may tell them from images that are not here.
    """
    best: dict[str, str] = {}
    most = 0
    sample = spread(masks, _SAMPLE)
    for columns in _list_keys(images) if masks and images else ():
        indexes = [{_key(name, columns, shorten): name.path for name in images} for shorten in (False, True)]
        for places in itertools.combinations(range(len(masks[0].values)), len(columns)):
            for shorten, index in enumerate(indexes):
                found = [index[key] for name in sample if (key := _key(name, places, bool(shorten))) in index]
                if len(found) >= max(1, 0.2 * len(sample)) and len(set(found)) > most:
                    most = len(set(found))
                    keys = {name.path: _key(name, places, bool(shorten)) for name in masks}
                    best = {mask: index[key] for mask, key in keys.items() if key in index}
    whole = {tuple(map(str.lower, name.values)): name.path for name in images}
    same = {name.path: image for name in masks if (image := whole.get(tuple(map(str.lower, name.values))))}
    return same if best and 2 * len(set(same.values())) >= len(images) else best


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
    counts = range(min(len(useful), 6), 0, -1)
    found = (places for count in counts for places in itertools.combinations(useful, count))
    return [places for places in found if len({_key(name, places) for name in images}) == len(images)][:20]


def compare_shapes(one: str, other: str) -> tuple[int, int]:
    """Returns (how many words two shapes share, minus how many they do not): higher is nearer."""
    first, second = (Counter(re.findall(r"[^\W_]+|/", shape.rpartition(".")[0])) for shape in (one, other))
    shared = sum((first & second).values())
    return shared, 2 * shared - first.total() - second.total()


def name_role(shape: str, other: str) -> tuple[str, ...]:
    """Returns the words of a shape that another has not: what tells masks from their images, `masks`, `cat`."""
    words, known = (re.findall(r"[^\W_]*[^\W\d_][^\W_]*", text.rpartition(".")[0]) for text in (shape, other))
    rest = Counter(words) - Counter(known)
    return tuple(word for word in dict.fromkeys(words) if rest[word])


def spread(items: Sequence[ItemT], count: int) -> list[ItemT]:
    """Returns that many, spread evenly, or all."""
    if len(items) <= count:
        return list(items)
    return [items[int((i + 0.5) * len(items) / count)] for i in range(count)]


def list_some(items: Sequence[object], gap: str = ", ", count: int = 6) -> str:
    """Writes the first of some items, and how many more there are."""
    more = [f"and {len(items) - count} more"] if len(items) > count else []
    return gap.join([*map(str, items[:count]), *more])


def sort_naturally(names: Iterable[str]) -> list[str]:
    """Sorts so that 2 comes before 10."""
    return sorted(names, key=lambda name: [(int(p), "") if p.isdigit() else (-1, p) for p in re.split(r"(\d+)", name)])


def _key(name: Name, places: Sequence[int], shorten: bool = False) -> tuple[str, ...]:
    """Returns the parts at some places, in small letters; `shorten` takes zeros before numbers away."""
    parts = (name.values[place].lower() for place in places)
    return tuple(str(int(part)) if shorten and part.isdecimal() else part for part in parts)


class Finder:
    """Finds images by what files call them.

    Args:
        paths: of the images.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._by_name: dict[str, list[str]] = defaultdict(list)
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        self._by_number: dict[str, list[str]] = defaultdict(list)  # without zeros in front, which spreadsheets drop
        self._by_token: dict[str, set[str]] = defaultdict(set)
        for path in paths:
            name = _plain(path).rpartition("/")[2].lower()
            self._by_name[name].append(path)
            self._by_stem[name.rpartition(".")[0]].append(path)
            self._by_number[name.rpartition(".")[0].lstrip("0")].append(path)
            for token in _list_tokens(path):
                self._by_token[token].add(path)

    def find(self, name: str, beside: str = "") -> str | None:
        """Returns the path of the image that a file calls `name`, None where there is none.

        Folders in the name count where names repeat, those of other machines do not; images near the file `beside`,
        which says so, count first. Raises InputError where several are equally near.
        """
        address = name.rpartition("?d=")[2].partition("?")[0] if "://" in name or "?d=" in name else name
        wanted = _plain(unquote(address)).replace("\\", "/").lower()
        last = wanted.rpartition("/")[2]
        found = self._look_up(last) or self._look_up(re.sub(r"^[0-9a-f]{8}-", "", last))  # Label Studio's upload mark
        if len(found) > 1:
            ranks = {path: _rank(path, wanted, beside) for path in found}
            best = max(ranks.values())
            found = [path for path in found if ranks[path] == best]
        if len(found) > 1:
            raise InputError(f"`{name}` must mean one image. Received: {', '.join(sorted(found)[:4])}; rename them")
        return found[0] if found else None

    def find_cell(self, cell: str, beside: str = "") -> str | None:
        """Returns the image of a cell of the table `beside`; None where there is none, or two."""
        try:
            found = self.find(cell, beside)
        except InputError:
            found = None
        return found or (self.find_parts(cell) if "/" in cell else None)

    def find_number(self, cell: str) -> str | None:
        """Returns the only image whose name is the number of a cell, but for zeros in front; None of other cells."""
        found = self._by_number.get(cell.lstrip("0"), []) if cell.isdecimal() else []
        return found[0] if len(found) == 1 else None

    def find_parts(self, cell: str) -> str | None:
        """Returns the only image whose path holds all parts of a cell in their order, as `case2_day0_slice_0001`."""
        parts = _list_tokens(cell)
        if len(parts) > 1 and len(parts[-1]) <= 4 and "." in cell[-5:]:
            parts = parts[:-1]
        groups = [self._by_token.get(part, set()) for part in parts]
        if not groups or not all(groups):
            return None
        found = [path for path in set.intersection(*groups) if _follows(parts, _list_tokens(path))]
        return found[0] if len(found) == 1 else None

    def _look_up(self, name: str) -> list[str]:
        return self._by_name.get(name) or self._by_stem.get(name) or self._by_stem.get(_ENDING.sub("", name)) or []


def _list_tokens(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def _follows(parts: Sequence[str], tokens: Sequence[str]) -> bool:
    rest = iter(tokens)
    return all(part in rest for part in parts)


def _rank(path: str, wanted: str, beside: str) -> tuple[int, bool, bool, int, bool, bool, bool]:
    """Ranks an image among those of one name: by its folders, by what they are called, and by the case of its name."""
    folder, asked, near = (name.lower().rpartition("/")[0] for name in (path, wanted, beside))
    tail = _count_shared(folder.split("/")[::-1], asked.split("/")[::-1]) if asked else 0
    split, called_image, called_mask = _describe_folder(folder)
    agrees = not beside or find_split(beside) in ("", split)
    shared = _count_shared(folder.split("/"), near.split("/"))
    is_exact = path.rpartition("/")[2].lower() == wanted.rpartition("/")[2]
    return tail, agrees, not called_mask, shared, is_exact, called_image, split == "train"


@lru_cache(maxsize=4096)
def _describe_folder(folder: str) -> tuple[str, bool, bool]:
    """Returns (the split that a folder's name says, whether it is called images, whether masks)."""
    return find_split(folder), is_called(folder, IMAGE_WORDS), is_called(folder, MASK_WORDS)


def _count_shared(one: Sequence[str], other: Sequence[str]) -> int:
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
