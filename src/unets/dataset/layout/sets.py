"""Sets of pictures: which files of a folder are of one kind, and how their names hold an id.

Names alone decide; no picture is opened. A set is a pattern with `{id}`, and the files that fit it.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from unets.data.files import STACK_ENDINGS
from unets.dataset.layout.inventory import File

SPLITS: dict[str, tuple[str, ...]] = {
    "train": ("training", "train"),
    "val": ("validation", "valid", "val", "dev"),
    "test": ("testing", "test"),
}
# What others made of the photos or masks, and nobody means to train on.
DERIVED = (
    "aug",
    "augmented",
    "augmentation",
    "predict",
    "prediction",
    "pred",
    "result",
    "output",
    "overlay",
    "preview",
)
MASK_WORDS = (
    *("mask", "masks", "label", "labels", "annot", "annotation", "annotations", "gt", "groundtruth", "ground", "truth"),
    *("seg", "segmentation", "segmented", "target", "targets", "manual", "labelids"),
)
_PHOTO_WORDS = ("image", "images", "img", "imgs", "photo", "photos", "frame", "frames", "picture", "pictures")
_LEAST_SHARE = 0.9  # of the folders of photos that must be alike
_MOST_ALIKE = 8  # files a folder of one photo; more, and it is a folder of many photos
_SAMPLE = 50  # names that an alignment is tried on


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureSet:
    """Files of one kind. `before` + id + `after` is a file's stem; of a folder a photo, the folder's name is the id."""

    folder: str  # pattern; holds `{id}` where a photo has a folder of its own
    files: Mapping[str, tuple[File, ...]]  # by id
    before: str = ""
    after: str = ""
    stem: str = "{id}"  # pattern of the name without its ending; `*` where the folder holds the id

    @property
    def pattern(self) -> str:
        """The pattern of the dataset's config that finds these files and no others."""
        endings = sorted({file.ending for files in self.files.values() for file in files})
        ending = endings[0] if len(endings) == 1 else ".{" + ",".join(name[1:] for name in endings) + "}"
        folder = f"{self.folder}/" if self.folder else ""
        return f"{folder}{self.before}{self.stem}{self.after}{ending}"

    @property
    def words(self) -> frozenset[str]:
        """The words of folder and name, in lower case."""
        return find_words(f"{self.folder}/{self.before}/{self.after}/{self.stem}")

    @property
    def split(self) -> str:
        """train, val or test, as the words say; empty where they say nothing."""
        found = [split for split, names in SPLITS.items() if any(_starts(word, names) for word in self.words)]
        return found[0] if len(found) == 1 else ""

    @property
    def is_derived(self) -> bool:
        """Whether others made these files of photos or masks."""
        return bool(self.words & set(DERIVED))

    @property
    def is_called_mask(self) -> bool:
        """Whether the words say that these are masks."""
        return any(word in MASK_WORDS or word.endswith(("annot", "mask", "masks", "labels")) for word in self.words)

    @property
    def has_several(self) -> bool:
        """Whether an id has several files."""
        return any(len(files) > 1 for files in self.files.values())

    def rename(self, before: str, after: str) -> "PictureSet":
        """Returns the same files with shorter ids, without what then stands before and after them."""
        shorter = {id_[len(before) : len(id_) - len(after)]: files for id_, files in self.files.items()}
        return PictureSet(
            folder=self.folder, files=shorter, before=self.before + before, after=after + self.after, stem=self.stem
        )


def find_words(text: str) -> frozenset[str]:
    """Returns the words of a name in lower case; digits, signs and capitals part them."""
    parted = re.sub(r"([a-z])([A-Z])", r"\1 \2", text)
    return frozenset(word.lower() for word in re.findall(r"[A-Za-z]+", parted))


def make_sets(pictures: Sequence[File]) -> list[PictureSet]:
    """Groups pictures into sets, by folder and by what their names have in common."""
    by_folder: dict[str, list[File]] = defaultdict(list)
    for file in pictures:
        by_folder[file.folder].append(file)
    parents = _find_parents_of_photo_folders(by_folder)
    sets: list[PictureSet] = []
    for parent in parents:
        inside = [file for folder, files in by_folder.items() if _lies_in(folder, parent) for file in files]
        sets += _make_sets_of_photo_folders(parent, inside)
    flat = {f: files for f, files in by_folder.items() if not any(_lies_in(f, parent) for parent in parents)}
    for folder, files in sorted(_merge_folders(flat).items()):
        sets += _split_folder(folder, files)
    return sets


def align(photos: PictureSet, masks: PictureSet) -> tuple[PictureSet, PictureSet]:
    """Finds what to take off the names of both sets so that ids agree; as little as possible.

    Returns:
        Both sets with such ids, or as they were where nothing helps.
    """
    if "{id}" in photos.folder or "{id}" in masks.folder:
        return photos, masks
    sample = _spread(sorted(photos.files), _SAMPLE)
    known = set(masks.files)
    ways = [(*photo_cut, *mask_cut) for photo_cut in _list_cuts(photos.files) for mask_cut in _list_cuts(masks.files)]

    def judge(way: tuple[str, str, str, str]) -> tuple[int, int]:
        before, after, mask_before, mask_after = way
        hits = sum(
            f"{mask_before}{id_[len(before) : len(id_) - len(after)]}{mask_after}" in known
            for id_ in sample
            if len(id_) > len(before) + len(after)
        )
        return hits, -sum(map(len, way))

    before, after, mask_before, mask_after = max(ways, key=judge)
    if judge((before, after, mask_before, mask_after))[0] == 0:
        return photos, masks
    return photos.rename(before, after), masks.rename(mask_before, mask_after)


def _list_cuts(names: Iterable[str]) -> list[tuple[str, str]]:
    """Lists what could stand before and after the ids: beginnings and ends that all names share, cut between words."""
    names = list(names)
    if len(names) < 2:
        # One name shares all of itself: words of masks are all that may go.
        return [("", ""), *_list_word_cuts(names[0])] if names else [("", "")]
    first = _find_common_start(names)
    last = _find_common_start([name[::-1] for name in names])[::-1]
    # All of it may go unless it ends, or begins, with a digit: that is the first of numbers that begin alike.
    befores = ["", *(first[:end] for end in range(1, len(first)) if _is_border(first, end) and first[end].isalnum())]
    afters = ["", *(last[at:] for at in range(1, len(last)) if _is_border(last, at) and last[at - 1].isalnum())]
    befores += [first] if first and not first[-1].isdigit() else []
    afters += [last] if last and not last[0].isdigit() else []
    shortest = min(map(len, names))
    return [(before, after) for before in befores for after in afters if len(before) + len(after) < shortest]


def _list_word_cuts(name: str) -> list[tuple[str, str]]:
    cuts = []
    for match in re.finditer(r"[A-Za-z]+", name):
        if match[0].lower() in (*MASK_WORDS, *_PHOTO_WORDS):
            if match.start() == 0 and match.end() < len(name):
                cuts.append((name[: match.end() + (name[match.end()] in "_-. ")], ""))
            elif match.end() == len(name) and match.start() > 0:
                cuts.append(("", name[match.start() - (name[match.start() - 1] in "_-. ") :]))
    return cuts


def _is_border(text: str, place: int) -> bool:
    """Tells whether a name may be cut here: beside a sign, between letters and digits."""
    left, right = text[place - 1], text[place]
    return not left.isalnum() or not right.isalnum() or left.isdigit() != right.isdigit()


def _find_common_start(names: Sequence[str]) -> str:
    low, high = min(names), max(names)
    length = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    return low[:length]


def _find_parents_of_photo_folders(by_folder: Mapping[str, Sequence[File]]) -> list[str]:
    """Finds folders whose folders hold one photo each, with its mask or masks: alike but for their names."""
    found: list[str] = []
    for parent, children in _list_children(by_folder).items():
        if any(parent == other or _lies_in(parent, other) for other in found) or len(children) < 3:
            continue
        if any(_is_plain_word(name) for name in children):
            continue
        counts: Counter[str] = Counter()
        for child, files in children.items():
            start = f"{parent}/{child}" if parent else child
            counts.update({_template(file, start, child) for file in files})
        shared = [template for template, count in counts.items() if count >= _LEAST_SHARE * len(children)]
        if 1 <= len(shared) <= _MOST_ALIKE:
            found.append(parent)
    return found


def _list_children(by_folder: Mapping[str, Sequence[File]]) -> dict[str, dict[str, list[File]]]:
    """Returns the files below each folder's folders, the outermost folder first."""
    children: dict[str, dict[str, list[File]]] = defaultdict(lambda: defaultdict(list))
    for folder, files in by_folder.items():
        parts = folder.split("/") if folder else []
        for depth, part in enumerate(parts):
            children["/".join(parts[:depth])][part] += files
    return dict(sorted(children.items(), key=lambda item: (item[0].count("/") + bool(item[0]), item[0])))


def _merge_folders(by_folder: Mapping[str, Sequence[File]]) -> dict[str, list[File]]:
    """Joins folders of one folder (of patients, videos) into `parent/*`, where no name comes twice."""
    merged = {folder: list(files) for folder, files in by_folder.items()}
    siblings: dict[str, list[str]] = defaultdict(list)
    for folder in by_folder:
        parent, _, name = folder.rpartition("/")
        if folder and not _is_plain_word(name) and not name.lower().endswith(STACK_ENDINGS):
            siblings[parent].append(folder)
    for parent, folders in siblings.items():
        files = [file for folder in folders for file in by_folder[folder]]
        names = {file.name.rpartition("/")[2] for file in files}
        if len(folders) >= 3 and len(names) == len(files):
            for folder in folders:
                del merged[folder]
            merged[f"{parent}/*" if parent else "*"] = files
    return merged


def _is_plain_word(name: str) -> bool:
    """Tells whether a folder's name says what it holds, and so is no photo's, patient's or video's."""
    return _names_split(name) or bool(find_words(name) & {*MASK_WORDS, *DERIVED, *_PHOTO_WORDS})


def _template(file: File, start: str, child: str) -> str:
    below = file.name[len(start) + 1 :]
    return below.rpartition(".")[0].replace(child, "{id}")


def _make_sets_of_photo_folders(parent: str, files: Sequence[File]) -> list[PictureSet]:
    by_template: dict[str, dict[str, list[File]]] = defaultdict(lambda: defaultdict(list))
    prefix = f"{parent}/" if parent else ""
    ids = {file.name[len(prefix) :].split("/")[0] for file in files if "/" in file.name[len(prefix) :]}
    counts: Counter[str] = Counter()
    templates = {}
    for file in files:
        child = file.name[len(prefix) :].split("/")[0]
        templates[file] = _template(file, f"{prefix}{child}", child)
    counts.update(templates.values())
    for file, template in templates.items():
        child = file.name[len(prefix) :].split("/")[0]
        below, _, stem = template.rpartition("/")
        is_shared = counts[template] >= _LEAST_SHARE * len(ids)
        by_template[f"{below}|{stem.replace('{id}', '*') if is_shared else '*'}"][child].append(file)
    sets = []
    for key, by_id in sorted(by_template.items()):
        below, _, stem = key.partition("|")
        folder = f"{prefix}{{id}}" + (f"/{below}" if below else "")
        files_of = {id_: tuple(sorted(found, key=lambda f: f.name)) for id_, found in sorted(by_id.items())}
        sets.append(PictureSet(folder=folder, files=files_of, stem=stem))
    return sets


def _split_folder(folder: str, files: Sequence[File]) -> list[PictureSet]:
    """Splits the files of one folder into sets: by what is added to another file's name, by a word, by the ending."""
    stems = {file.stem for file in files}
    for split in (_split_by_addition(stems), _split_by_word(stems)):
        if len(set(split.values())) > 1:
            return _build_sets(folder, files, lambda file: split[file.stem])  # noqa: B023
    by_ending: dict[str, set[str]] = defaultdict(set)
    for file in files:
        by_ending[file.ending].add(file.stem)
    if len(by_ending) > 1 and len(files) > len(stems):  # some name has two endings
        return _build_sets(folder, files, lambda file: file.ending)
    return _build_sets(folder, files, lambda _: "")


def _build_sets(folder: str, files: Sequence[File], key: Callable[[File], str]) -> list[PictureSet]:
    """Makes one set a key; ids are whole stems."""
    by_key: dict[str, dict[str, list[File]]] = defaultdict(lambda: defaultdict(list))
    for file in files:
        by_key[key(file)][file.stem].append(file)
    built = []
    for name, by_stem in sorted(by_key.items()):
        whole = PictureSet(folder=folder, files={stem: tuple(found) for stem, found in sorted(by_stem.items())})
        before, _, after = name.partition("|")
        is_affix = "|" in name and all(stem.startswith(before) and stem.endswith(after) for stem in by_stem)
        built.append(whole.rename(before, after) if is_affix else whole)
    return built


def _split_by_addition(stems: set[str]) -> dict[str, str]:
    """Finds what stands after or before other files' names: `a` and `a_mask`; returns `before|after` of each stem."""
    counts: Counter[str] = Counter()
    for stem in stems:
        counts.update(f"|{stem[end:]}" for end in range(1, len(stem)) if stem[:end] in stems)
        counts.update(f"{stem[:start]}|" for start in range(1, len(stem)) if stem[start:] in stems)
    usual = [mark for mark, count in counts.items() if count >= max(2, 0.1 * len(stems)) or len(stems) <= 4]
    kept = [mark for mark in usual if re.search("[A-Za-z]", mark)]
    split = dict.fromkeys(stems, "|")
    for stem in stems:
        for mark in kept:
            before, _, after = mark.partition("|")
            if stem.startswith(before) and stem.endswith(after) and stem[len(before) : len(stem) - len(after)] in stems:
                split[stem] = mark
    return split


def _split_by_word(stems: set[str]) -> dict[str, str]:
    """Finds a first or last word that differs where the rest of the names agrees: `image_1` and `mask_1`."""
    for pattern in (r"(?P<word>[A-Za-z]+[_\-. ]?)(?P<rest>.*\d.*)", r"(?P<rest>.*\d.*?)(?P<word>[_\-. ]?[A-Za-z]+)"):
        matches = {stem: re.fullmatch(pattern, stem) for stem in stems}
        rests: dict[str, set[str]] = defaultdict(set)
        for match in matches.values():
            if match:
                rests[match["word"]].add(match["rest"])
        if not 2 <= len(rests) <= 4 or not all(matches.values()):
            continue
        largest = max(rests.values(), key=len)
        if all(len(found & largest) >= 0.8 * len(found) and len(found) >= 2 for found in rests.values()):
            is_first = pattern.startswith("(?P<word>")
            return {
                stem: f"{match['word']}|" if is_first else f"|{match['word']}"
                for stem, match in matches.items()
                if match
            }
    return dict.fromkeys(stems, "|")


def _names_split(name: str) -> bool:
    return any(_starts(word, names) for word in find_words(name) for names in SPLITS.values())


def _starts(word: str, names: Sequence[str]) -> bool:
    """Tells whether a word is one of these names, or one that a word of masks or photos follows, as in trainannot."""
    rests = {word[len(name) :] for name in names if word.startswith(name)}
    return bool(rests & {"", "ing", "set", "s", *_PHOTO_WORDS, *MASK_WORDS})


def _lies_in(folder: str, parent: str) -> bool:
    """Tells whether a folder lies below another."""
    return folder.startswith(f"{parent}/") if parent else bool(folder)


def _spread(names: Sequence[str], count: int) -> list[str]:
    step = max(len(names) / count, 1)
    return [names[int(place * step)] for place in range(min(count, len(names)))]
