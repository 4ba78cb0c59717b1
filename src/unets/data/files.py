"""Files of a competition, in folders or in the zips that the competition packed them in, and pages of TIFF stacks.

Kaggle's own folder holds `train.zip` where a user who unpacked it has `train/`. A path through a zip,
`input/train.zip/train/a.jpg`, names a member; one through a TIFF of several pages, `input/volume.tif/007.png`, names a
page. Everything that reads images reads through here and need not know.
"""

import gzip
import hashlib
import os
import re
import stat
import zipfile
from collections.abc import Iterator
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import IO

from PIL import Image, UnidentifiedImageError

from unets.errors import DECODER_FAULTS, InputError, naming
from unets.workers.machine import find_free_memory

STACK_ENDINGS = (".tif", ".tiff")
_HOLDERS = (".zip", *STACK_ENDINGS)
_JUNK = {"__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "lost+found"}
_BLOCK_BYTES = 2**20
_SURELY_FITS = 2**27  # bytes for which the free memory is not asked
_OWN_HASH = re.compile(r"[0-9a-f]{64}")
_zip_lock = Lock()


def read_bytes(path: Path, *, may_be_empty: bool = False) -> bytes:
    """Reads a file, or a member of a zip, whole. Raises InputError where it is missing, empty or damaged."""
    holder = _find_container(path)
    with naming(path, "be readable"):
        if holder is None:
            check_fits(path, path.stat().st_size)
            content = path.read_bytes()
        elif _is_stack(holder):
            content = _read_page(holder, path.name)
        else:
            member = _find_member(holder, path)
            check_fits(path, member.file_size)
            content = _open_archive(holder).read(member)
    if not content and not may_be_empty:
        raise InputError(f"{path} must not be empty. Received: 0 bytes")
    return content


def unpack_gzip(path: Path, content: bytes) -> bytes:
    """Unpacks a gzip file. Raises InputError where it is damaged, or does not fit into memory once it is unpacked."""
    blocks, num_bytes = list[bytes](), 0
    with naming(path), gzip.open(BytesIO(content)) as file:
        while block := file.read(_BLOCK_BYTES):
            blocks.append(block)
            num_bytes += len(block)
            check_fits(path, num_bytes)
    return b"".join(blocks)


def read_stamp(path: Path) -> tuple[int, int]:
    """Returns what changes when a file does, (bytes, time of change in ns); of a zip's member or a page, the holder's.

    Raises InputError where there is no such file or member.
    """
    holder = _find_container(path)
    with naming(path, "be readable"):
        if holder is not None and not _is_stack(holder):
            _find_member(holder, path)
        status = (holder or path).stat()
        return status.st_size, status.st_mtime_ns


def check_content(path: Path, content: bytes, expected: str) -> None:
    """Compares a file's bytes with its hash in a table, see `hash_content`; a page of a stack has none of its own.

    Raises InputError where they differ.
    """
    if _OWN_HASH.fullmatch(expected) and hashlib.sha256(content).hexdigest() != expected:
        raise InputError(f"{path} must be as it was imported. Received: other bytes. Run `unets import`")


def hash_content(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes in hex; the same in a folder and in a zip.

    No CRC-32: of 50,000 PNGs of one size 34,991 had different ones, as a PNG's chunks end with their own. Raises
    InputError where there is no such file or member.
    """
    holder = _find_container(path)
    with naming(path, "be readable"):
        if holder is None or _is_stack(holder):
            file: IO[bytes] = (holder or path).open("rb")
        else:
            file = _open_archive(holder).open(_find_member(holder, path))
        digest = hashlib.sha256()
        with file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest() + (f"-{path.name}" if holder is not None and _is_stack(holder) else "")


def check_fits(path: Path, num_bytes: int) -> None:
    """Refuses a file that takes more bytes than memory has, by an InputError."""
    if num_bytes > _SURELY_FITS and num_bytes > find_free_memory():
        raise InputError(f"{path} must fit into memory. Received: {num_bytes / 2**30:.1f} GiB")


def is_junk(name: str) -> bool:
    """Tells whether a file or folder is what systems leave beside data: hidden files, `Thumbs.db`, `__MACOSX`."""
    return name.startswith(".") or name.lower() in _JUNK


def walk_files(root: Path, junk: list[str] | None = None) -> Iterator[tuple[str, int, int]]:
    """Yields (path below `root`, bytes, time of change in ns) of all files that are no junk; symlinks are followed.

    A symlink to nothing has no time. `junk` gets the paths of files that are left out.
    """
    seen = set[str]()
    folders = [(root, "", False)]
    while folders:
        folder, prefix, is_left = folders.pop()
        real = os.path.realpath(folder)
        if real in seen:  # a symlink to a folder above
            continue
        seen.add(real)
        with os.scandir(folder) as entries:
            for entry in entries:
                leaves = is_left or is_junk(entry.name)
                if leaves and junk is None:
                    continue
                try:
                    status = entry.stat()
                except OSError:  # a link to nothing or in a circle, as reading it will say
                    status = None
                if status is not None and stat.S_ISDIR(status.st_mode):
                    folders.append((Path(entry.path), f"{prefix}{entry.name}/", leaves))
                elif leaves and junk is not None:
                    junk.append(f"{prefix}{entry.name}")
                elif status is None:
                    yield f"{prefix}{entry.name}", 0, 0
                else:  # pipes and devices, too: reading them is refused
                    yield f"{prefix}{entry.name}", status.st_size, status.st_mtime_ns


def find_file(root: Path, name: str) -> Path:
    """Returns the path of the file `name` below `root`, or of the member of a zip: `<name>.zip`, or its folder's.

    Raises InputError where there is neither.
    """
    path = root / name
    if path.is_file():
        return path
    archive_path = path.with_name(path.name + ".zip")
    if archive_path.is_file():
        for member in list_members(archive_path):
            if Path(member).name == path.name:
                return archive_path / member
    for folder in Path(name).parents[:-1]:
        packed_path, rest = root / f"{folder}.zip", Path(name).relative_to(folder)
        if packed_path.is_file():
            members = set(list_members(packed_path))
            for member in (rest.as_posix(), (folder.name / rest).as_posix()):
                if member in members:
                    return packed_path / member
    raise InputError(f"{path} must exist (or {archive_path.name} beside it). Received: no such file")


def list_members(archive_path: Path) -> list[str]:
    """Lists the files in a zip, without folders and junk."""
    names = _open_archive(archive_path).namelist()
    return [name for name in names if not name.endswith("/") and not any(map(is_junk, name.split("/")))]


def list_pages(path: Path) -> list[str]:
    """Names the pages of a TIFF of several: `000.png`, `001.png`; none where there is one page or no TIFF.

    Raises InputError where the file is damaged.
    """
    with naming(path, "be a whole TIFF", damage=DECODER_FAULTS):
        try:
            with Image.open(path) as picture:
                count = getattr(picture, "n_frames", 1)
        except UnidentifiedImageError:
            return []
    digits = len(str(count - 1))
    return [f"{page:0{digits}}.png" for page in range(count)] if count > 1 else []


def _read_page(path: Path, name: str) -> bytes:
    """Reads a page of a TIFF as a PNG, which holds the same values."""
    if name not in list_pages(path):
        raise InputError(f"{path}/{name} must exist. Received: no such page")
    content = BytesIO()
    expected = "be a whole page of 1, 8 or 16 bits"
    with naming(f"{path}/{name}", expected, damage=DECODER_FAULTS), Image.open(path) as picture:
        picture.seek(int(Path(name).stem))
        picture.save(content, format="PNG", compress_level=1)
    return content.getvalue()


def _find_container(path: Path) -> Path | None:
    """Returns the zip, or the TIFF of several pages, that a path leads through, if any."""
    return next((parent for parent in path.parents if parent.suffix.lower() in _HOLDERS and parent.is_file()), None)


def _is_stack(holder: Path) -> bool:
    return holder.suffix.lower() in STACK_ENDINGS


def _find_member(archive_path: Path, path: Path) -> zipfile.ZipInfo:
    try:
        return _open_archive(archive_path).getinfo(path.relative_to(archive_path).as_posix())
    except KeyError as error:
        raise InputError(f"{path} must exist. Received: no such file") from error


@lru_cache(maxsize=8)
def _cached_archive(path: Path, stamp: tuple[int, int]) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


def _open_archive(path: Path) -> zipfile.ZipFile:
    # lru_cache may run a miss twice; one open handle a process is enough.
    with _zip_lock, naming(path, "be a whole zip"):
        status = path.stat()
        return _cached_archive(path, (status.st_size, status.st_mtime_ns))  # another file may take its name
