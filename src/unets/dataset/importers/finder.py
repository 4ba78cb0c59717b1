"""The finder: which image an annotation file means by a name."""

import re
from collections import defaultdict
from urllib.parse import unquote

from unets.dataset.importers.listing import Listing
from unets.dataset.importers.names import MASK_WORDS, find_split, is_called
from unets.errors import InputError


class Finder:
    """Finds images by what annotation files call them: a path, a name, with or without ending.

    Args:
        listing: of INPUT.
    """

    def __init__(self, listing: Listing) -> None:
        self.listing = listing
        self._by_name: dict[str, list[str]] = defaultdict(list)
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        for path in listing.rasters:
            name = path.rpartition("/")[2].lower()
            self._by_name[name].append(path)
            self._by_stem[name.rpartition(".")[0]].append(path)

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
        found = self._by_name.get(last) or self._by_stem.get(last) or self._by_stem.get(last.rpartition(".")[0])
        if not found:
            bare = re.sub(r"^[0-9a-f]{8}-", "", last)  # Label Studio's mark of an upload
            found = self._by_name.get(bare) or self._by_stem.get(bare.rpartition(".")[0])
        if not found:
            return None
        if len(found) == 1:
            return found[0]
        ranks = {path: self._rank(path, wanted, beside) for path in found}
        best = max(ranks.values())
        nearest = [path for path in found if ranks[path] == best]
        if len(nearest) > 1:
            raise InputError(f"`{name}` must mean one image. Received: {', '.join(sorted(nearest)[:4])}; rename them")
        return nearest[0]

    @staticmethod
    def _rank(path: str, wanted: str, beside: str) -> tuple[int, bool, bool, int, bool]:
        folders, asked = path.lower().split("/")[:-1], wanted.split("/")[:-1]
        tail = 0
        while tail < min(len(folders), len(asked)) and folders[-1 - tail] == asked[-1 - tail]:
            tail += 1
        near = beside.lower().split("/")[:-1]
        shared = 0
        while shared < min(len(folders), len(near)) and folders[shared] == near[shared]:
            shared += 1
        split = find_split(beside)
        agrees = not split or find_split(path.rpartition("/")[0]) == split
        is_image = not is_called(path.rpartition("/")[0], MASK_WORDS)
        return tail, agrees, is_image, shared, path.lower().rpartition("/")[2] == wanted.rpartition("/")[2]
