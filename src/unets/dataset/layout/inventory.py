"""The inventory: what files a folder holds, in folders, zips and stacks of pages, by the names that patterns see."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from unets.data.files import STACK_ENDINGS, list_members, list_pages
from unets.errors import InputError

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp")
TABLE_ENDINGS = (".csv", ".csv.gz", ".csv.zip")
NAMES_ENDINGS = (".csv", ".txt", ".json")


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """A file, a member of a zip, or a page."""

    name: str  # as a pattern of the dataset sees it: below the folder, zips and stacks like folders
    path: Path  # as `read_bytes` takes it

    @property
    def folder(self) -> str:
        """The name's folder; empty for the top."""
        return self.name.rpartition("/")[0]

    @property
    def stem(self) -> str:
        """The name without folder and ending."""
        return self.name.rpartition("/")[2].rpartition(".")[0]

    @property
    def ending(self) -> str:
        """The ending with its dot, as it is written."""
        return "." + self.name.rpartition(".")[2]


@dataclass(frozen=True, kw_only=True, slots=True)
class Inventory:
    """All files of a folder, sorted by name."""

    root: Path
    pictures: tuple[File, ...]
    tables: tuple[File, ...]  # csv files
    texts: tuple[File, ...]  # what may name classes
    others: tuple[File, ...]


def take_inventory(root: Path) -> Inventory:
    """Lists what a folder holds; opens zips' directories and TIFFs' headers, no picture.

    Raises:
        InputError: there is no such folder, or it holds no picture.
    """
    if not root.is_dir():
        raise InputError(f"`INPUT` must be a folder with photos and masks. Received: {root} (no such folder)")
    files = sorted(_list_files(root), key=lambda file: file.name)
    pictures = [file for file in files if file.name.lower().endswith(PICTURE_ENDINGS)]
    if not pictures:
        shown = ", ".join(file.name for file in files[:8]) or "nothing"
        raise InputError(f"{root} must hold photos ({', '.join(PICTURE_ENDINGS)}). Received: {shown}")
    rest = [file for file in files if not file.name.lower().endswith(PICTURE_ENDINGS)]
    tables = [file for file in rest if file.name.lower().endswith(TABLE_ENDINGS)]
    return Inventory(
        root=root,
        pictures=tuple(pictures),
        tables=tuple(tables),
        texts=tuple(file for file in rest if file.name.lower().endswith(NAMES_ENDINGS)),
        others=tuple(file for file in rest if not file.name.lower().endswith((*TABLE_ENDINGS, *NAMES_ENDINGS))),
    )


def _list_files(root: Path) -> Iterator[File]:
    for parent, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        here = Path(parent)
        prefix = "" if here == root else f"{here.relative_to(root).as_posix()}/"
        for name in sorted(names):
            path = here / name
            if name.startswith("."):
                continue
            if name.lower().endswith(".csv.zip"):
                yield File(name=f"{prefix}{name[: -len('.zip')]}", path=path)
            elif name.lower().endswith(".zip"):
                yield from _list_zip(path, f"{prefix}{name[: -len('.zip')]}")
            elif name.lower().endswith(STACK_ENDINGS):
                pages = list_pages(path)
                yield from (File(name=f"{prefix}{name}/{page}", path=path / page) for page in pages)
                if not pages:
                    yield File(name=f"{prefix}{name}", path=path)
            else:
                yield File(name=f"{prefix}{name}", path=path)


def _list_zip(path: Path, name: str) -> Iterator[File]:
    """Lists a zip like the folder that it unpacks to, unless that folder is there too."""
    if path.with_suffix("").is_dir():
        return
    start = f"{path.stem}/"
    for member in list_members(path):
        yield File(name=f"{name}/{member.removeprefix(start)}", path=path / member)
