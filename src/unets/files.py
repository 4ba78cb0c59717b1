"""Files of a competition, in folders or in the zips that the competition packed them in.

Kaggle's own folder holds `train.zip` where a user who unpacked it has `train/`. A path through a zip,
`input/train.zip/train/a.jpg`, names a member; everything that reads photos reads through here and need not know.
"""

import os
import re
import zipfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from threading import Lock

from unets.errors import InputError

_zip_lock = Lock()


def read_bytes(path: Path) -> bytes:
    """Reads a file, or a member of a zip, whole.

    Raises:
        InputError: there is no such file or member, or it is empty or damaged.
    """
    archive_path = _find_archive(path)
    try:
        if archive_path is None:
            content = path.read_bytes()
        else:
            content = _open_archive(archive_path).read(path.relative_to(archive_path).as_posix())
    except (FileNotFoundError, KeyError) as error:
        raise InputError(f"{path} must exist. Received: no such file") from error
    except zipfile.BadZipFile as error:
        raise InputError(f"{path} must be readable. Received: a damaged zip: {error}") from error
    if not content:
        raise InputError(f"{path} must not be empty. Received: 0 bytes")
    return content


def read_stamp(path: Path) -> tuple[int, int]:
    """Returns what changes when a file does: (bytes, time of change in ns), of a zip's member (bytes, CRC-32).

    Raises:
        InputError: there is no such file or member.
    """
    archive_path = _find_archive(path)
    try:
        if archive_path is None:
            status = path.stat()
            return status.st_size, status.st_mtime_ns
        member = _open_archive(archive_path).getinfo(path.relative_to(archive_path).as_posix())
        return member.file_size, member.CRC
    except (FileNotFoundError, KeyError) as error:
        raise InputError(f"{path} must exist. Received: no such file") from error


def find_file(root: Path, name: str) -> Path:
    """Returns the path of the file `name` below `root`, or of the only member of `<name>.zip`.

    Raises:
        InputError: there is neither.
    """
    path = root / name
    if path.is_file():
        return path
    archive_path = path.with_name(path.name + ".zip")
    if archive_path.is_file():
        for member in _open_archive(archive_path).namelist():
            if Path(member).name == path.name and not member.startswith("__MACOSX/"):
                return archive_path / member
    raise InputError(f"{path} must exist (or {archive_path.name} beside it). Received: no such file")


def find_ids(root: Path, pattern: str) -> dict[str, tuple[str, ...]]:
    """Lists the files that fit a pattern, by the id in their name.

    Args:
        root: the competition's folder.
        pattern: a path below it with `{id}` once and `*` for anything within a name, as `train/{id}.jpg`.

    Returns:
        The paths of each id (more than one where a `*` lets two files have it), ids sorted. As text: a Path takes
        270 bytes more, and there are 100,064.

    Raises:
        InputError: the pattern's folder is missing, and so is a zip of its name.
    """
    escaped = re.escape(pattern).replace(r"\*", "[^/]*").replace(r"\{id\}", "(?P<id>[^/]+)")
    matches = re.compile(escaped).fullmatch
    found: dict[str, tuple[str, ...]] = {}
    for name, path in _list_below(root, _fixed_folder(pattern)):
        if match := matches(name):
            others = found.get(match["id"], ())
            found[match["id"]] = tuple(sorted((*others, path))) if others else (path,)
    return {id_: found[id_] for id_ in sorted(found)}


def _list_below(root: Path, folder: str) -> Iterator[tuple[str, str]]:
    """Yields (name relative to `root`, path) of all files in `root/folder`, or in `root/folder.zip`."""
    if not root.is_dir():
        raise InputError(f"`INPUT` must be a folder with the competition's files. Received: {root} (no such folder)")
    if (root / folder).is_dir():
        # Not rglob and not one Path a name: that takes twice as long for 100,064 photos.
        for here, prefix, names in _walk(root, root / folder):
            yield from ((f"{prefix}{name}", f"{here}{os.sep}{name}") for name in names)
        return
    archive_path = root / f"{folder}.zip"
    if not archive_path.is_file():
        raise InputError(f"{root / folder} must exist (or {archive_path.name} beside it). Received: no such folder")
    files = (m for m in _open_archive(archive_path).namelist() if not m.endswith("/") and not m.startswith("__MACOSX/"))
    # Zips hold either `train/a.jpg` or `a.jpg`.
    yield from ((m if m.startswith(f"{folder}/") else f"{folder}/{m}", str(archive_path / m)) for m in files)


def _walk(root: Path, folder: Path) -> Iterator[tuple[Path, str, list[str]]]:
    """Yields (folder, its name below `root` with a slash behind, names of its files) of `folder` and all below."""
    for parent, _, names in os.walk(folder):
        here = Path(parent)
        yield here, "" if here == root else f"{here.relative_to(root).as_posix()}/", names


def _fixed_folder(pattern: str) -> str:
    """Returns the leading folders of a pattern that are plain names."""
    fixed = []
    for part in Path(pattern).parent.parts:
        if "{id}" in part or "*" in part:
            break
        fixed.append(part)
    return "/".join(fixed) or "."


def _find_archive(path: Path) -> Path | None:
    """Returns the zip that a path leads through, if any."""
    return next((parent for parent in path.parents if parent.suffix == ".zip" and parent.is_file()), None)


@lru_cache(maxsize=8)
def _cached_archive(path: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


def _open_archive(path: Path) -> zipfile.ZipFile:
    with _zip_lock:  # lru_cache may run a miss twice; one open handle a process is enough
        return _cached_archive(path)
