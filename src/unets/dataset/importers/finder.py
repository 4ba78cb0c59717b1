"""The finder: which image a file means by a name: a path, a name, a stem, or parts of a path."""

import re
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import unquote

from unets.dataset.importers.names import IMAGE_WORDS, MASK_WORDS, find_split, is_called
from unets.errors import InputError

_ENDING = re.compile(r"\.[a-z]{2,4}\d?$")


class Finder:
    """Finds images by what files call them.

    Args:
        paths: of the images.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._by_name: dict[str, list[str]] = defaultdict(list)
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        self._by_token: dict[str, set[str]] = defaultdict(set)
        for path in paths:
            name = path.rpartition("/")[2].lower()
            self._by_name[name].append(path)
            self._by_stem[name.rpartition(".")[0]].append(path)
            for token in _list_tokens(path):
                self._by_token[token].add(path)

    def find(self, name: str, beside: str = "") -> str | None:
        """Returns the path of an image, None where there is none.

        Args:
            name: as a file calls it; folders in it count where names repeat, those of other machines do not.
            beside: the path of the file that says so: nearer images count first.

        Raises:
            InputError: several are equally near.
        """
        wanted = unquote(name).replace("\\", "/").rpartition("?d=")[2].lower()
        last = wanted.rpartition("/")[2]
        found = self._look_up(last) or self._look_up(re.sub(r"^[0-9a-f]{8}-", "", last))  # Label Studio's upload mark
        if len(found) > 1:
            ranks = {path: _rank(path, wanted, beside) for path in found}
            best = max(ranks.values())
            found = [path for path in found if ranks[path] == best]
        if len(found) > 1:
            raise InputError(f"`{name}` must mean one image. Received: {', '.join(sorted(found)[:4])}; rename them")
        return found[0] if found else None

    def find_cell(self, cell: str) -> str | None:
        """Returns the image of a table's cell; None where there is none, or two."""
        try:
            found = self.find(cell)
        except InputError:
            found = None
        return found or (self.find_parts(cell) if "/" in cell else None)

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
    split, called_image, called_mask = _describe(folder)
    agrees = not beside or not _describe(near)[0] or split == _describe(near)[0]
    shared = _count_shared(folder.split("/"), near.split("/"))
    is_exact = path.rpartition("/")[2].lower() == wanted.rpartition("/")[2]
    return tail, agrees, not called_mask, shared, is_exact, called_image, split == "train"


@lru_cache(maxsize=4096)
def _describe(folder: str) -> tuple[str, bool, bool]:
    """Returns (the split that a folder's name says, whether it is called images, whether masks)."""
    return find_split(folder), is_called(folder, IMAGE_WORDS), is_called(folder, MASK_WORDS)


def _count_shared(one: Sequence[str], other: Sequence[str]) -> int:
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
