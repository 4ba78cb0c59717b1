"""Zips from outside: nothing in them is trusted unchecked, nothing leaves the folder they are unpacked to."""

import lzma
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from unets.errors import InputError
from unets.log import show_progress

_CHUNK = 2**20
_ENCRYPTED = 1  # bit 0 of a member's flags (APPNOTE.TXT, 4.4.4)
# What reading a member raises: not a zip, cut off, not compressed right, in a way that Python does not know, encrypted.
_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError)
_JUNK = "__MACOSX/"  # a Mac's notes on files, which no other system reads

Members = dict[PurePosixPath, zipfile.ZipInfo]  # where each file would be unpacked


def list_members(path: Path) -> Members:
    """Lists the files of a zip, after a look at each name; nothing is unpacked or read.

    Raises:
        InputError: it is no zip, or holds what must not be unpacked: an absolute path, one that climbs out with `..`,
            one with a drive letter, a link or device, an encrypted file, two of one name, a file that is a folder too.
    """
    with _open(path) as archive:
        infos = archive.infolist()
    members: Members = {}
    for info in infos:
        place = _check_member(path, info)
        if info.is_dir() or info.filename.startswith(_JUNK):
            continue
        if place in members:
            raise _refuse(path, f"two files of one name, {place}")
        members[place] = info
    folders = {parent for place in members for parent in place.parents}
    if clash := members.keys() & folders:
        raise _refuse(path, f"{min(clash)} both as a file and as a folder")
    return members


def count_bytes(members: Members) -> int:
    """Returns how many bytes the files take once they are unpacked."""
    return sum(info.file_size for info in members.values())


def check_archive(path: Path) -> None:
    """Reads a zip through: names as `list_members` does, and the size and CRC-32 of each file.

    Raises:
        InputError: something in it is damaged, or must not be unpacked.
    """
    members = list_members(path)
    with _open(path) as archive:
        for place, info in show_progress(members.items(), what=f"check {path.name}", total=len(members), unit="file"):
            for _ in _read_member(path, archive, place, info):
                pass


def unpack_archive(path: Path, folder: Path) -> Members:
    """Unpacks a zip, checked as by `check_archive` on the way; a file that is there with its CRC-32 is kept.

    Args:
        path: the zip.
        folder: gets its files; each appears whole or not at all.

    Returns:
        The files in it.

    Raises:
        InputError: something in it is damaged, or must not be unpacked; what was whole stays.
    """
    members = list_members(path)
    with _open(path) as archive:
        for place, info in show_progress(members.items(), what=f"unpack {path.name}", total=len(members), unit="file"):
            target = folder / place
            if _is_unpacked(info, target):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f".part-{target.name}")
            with temporary.open("wb") as file:
                file.writelines(_read_member(path, archive, place, info))
            temporary.replace(target)
    os.sync()  # once, not after each of 100,000 images: that takes longer than unpacking them
    return members


def _is_unpacked(info: zipfile.ZipInfo, target: Path) -> bool:
    if not target.is_file() or target.stat().st_size != info.file_size:
        return False
    crc = 0
    with target.open("rb") as file:
        while chunk := file.read(_CHUNK):
            crc = zlib.crc32(chunk, crc)
    return crc == info.CRC


def _check_member(path: Path, info: zipfile.ZipInfo) -> PurePosixPath:
    """Returns a member's path below the folder; refuses one that leads elsewhere, or that is no plain file."""
    name = info.filename.replace("\\", "/")  # as some programs of Windows write them, against the specification
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in parts or not parts:
        raise _refuse(path, f"{info.filename!r}, a path that leaves the folder")
    kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where the program that made it knows no such thing
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _refuse(path, f"{info.filename!r}, a link or device")
    if info.flag_bits & _ENCRYPTED:
        raise _refuse(path, f"{info.filename!r}, which is encrypted")
    return PurePosixPath(*parts)


def _read_member(path: Path, archive: zipfile.ZipFile, place: PurePosixPath, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """Yields a member's bytes; zipfile compares their CRC-32 at the end."""
    num_bytes = 0
    try:
        with archive.open(info) as file:
            while chunk := file.read(_CHUNK):
                num_bytes += len(chunk)
                yield chunk
    except _DAMAGE as error:
        raise InputError(f"{path} must be a whole zip. Received: {place} is damaged: {error}") from error
    if num_bytes != info.file_size:
        raise InputError(f"{path} must be a whole zip. Received: {num_bytes} of {info.file_size} bytes of {place}")


@contextmanager
def _open(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        archive = zipfile.ZipFile(path)
    except FileNotFoundError as error:
        raise InputError(f"{path} must exist. Received: no such file") from error
    except _DAMAGE as error:
        raise InputError(f"{path} must be a whole zip. Received: {error}") from error
    with archive:
        yield archive


def _refuse(path: Path, received: str) -> InputError:
    return InputError(f"{path} must hold plain files that stay within its folder. Received: {received}")
