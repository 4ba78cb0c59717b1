"""Zips from outside: nothing in them is trusted unchecked, nothing leaves the folder they are unpacked to."""

import lzma
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm import tqdm

from unets.errors import InputError

_CHUNK = 2**20
_ENCRYPTED = 1  # bit 0 of a member's flags (APPNOTE.TXT, 4.4.4)
# What reading a member raises: not a zip, cut off, not compressed right, in a way that Python does not know, encrypted.
_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError)
_JUNK = "__MACOSX"  # a Mac's notes on files, which no other system reads


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A file in a zip: where it would be unpacked, and how large it says that it is."""

    path: PurePosixPath
    num_bytes: int
    info: zipfile.ZipInfo


def list_members(path: Path) -> list[Member]:
    """Lists the files of a zip, after a look at each name; nothing is unpacked or read.

    Raises:
        InputError: it is no zip, or holds what must not be unpacked: an absolute path, one that climbs out with `..`,
            one with a drive letter, a link or device, an encrypted file, two of one name, a file that is a folder too.
    """
    with _open(path) as archive:
        infos = archive.infolist()
    members = [
        Member(path=_check_name(path, info), num_bytes=info.file_size, info=info)
        for info in infos
        if not info.is_dir() and not info.filename.startswith(f"{_JUNK}/")
    ]
    for info in infos:
        if info.is_dir():
            _check_name(path, info)
    paths = {member.path for member in members}
    if len(paths) < len(members):
        raise _refuse(path, "two files of one name")
    folders = {parent for member in members for parent in member.path.parents}
    if clash := paths & folders:
        raise _refuse(path, f"{min(clash)} both as a file and as a folder")
    return members


def check_archive(path: Path) -> int:
    """Reads a zip through: names as `list_members`, and of each member size and CRC-32.

    Returns:
        The number of files in it.

    Raises:
        InputError: something in it is damaged, or must not be unpacked.
    """
    members = list_members(path)
    with _open(path) as archive, _show_bytes(members, f"check {path.name}") as bar:
        for member in members:
            for chunk in _read_member(path, archive, member):
                bar.update(len(chunk))
    return len(members)


def unpack_archive(path: Path, folder: Path) -> list[Member]:
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
    with _open(path) as archive, _show_bytes(members, f"unpack {path.name}") as bar:
        for member in members:
            target = folder / member.path
            if _is_unpacked(member, target):
                bar.update(member.num_bytes)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f".part-{target.name}")
            with temporary.open("wb") as file:
                for chunk in _read_member(path, archive, member):
                    file.write(chunk)
                    bar.update(len(chunk))
            temporary.replace(target)
    os.sync()  # once, not after each of 100,000 photos: that takes longer than unpacking them
    return members


def find_root(members: list[Member], name: str) -> PurePosixPath:
    """Returns the folder, below that of a zip, to which its files belong.

    Zips hold either `train/a.jpg` or `a.jpg`, and a csv's zip the csv alone.

    Args:
        members: of the zip.
        name: the zip's without `.zip`.
    """
    is_within = all(member.path.parts[0] == name for member in members)
    return PurePosixPath() if is_within else PurePosixPath(name)


def _is_unpacked(member: Member, target: Path) -> bool:
    if not target.is_file() or target.stat().st_size != member.num_bytes:
        return False
    crc = 0
    with target.open("rb") as file:
        while chunk := file.read(_CHUNK):
            crc = zlib.crc32(chunk, crc)
    return crc == member.info.CRC


def _check_name(path: Path, info: zipfile.ZipInfo) -> PurePosixPath:
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


def _read_member(path: Path, archive: zipfile.ZipFile, member: Member) -> Iterator[bytes]:
    """Yields a member's bytes; zipfile compares their CRC-32 at the end."""
    num_bytes = 0
    try:
        with archive.open(member.info) as file:
            while chunk := file.read(_CHUNK):
                num_bytes += len(chunk)
                yield chunk
    except _DAMAGE as error:
        raise InputError(f"{path} must be a whole zip. Received: {member.path} is damaged: {error}") from error
    if num_bytes != member.num_bytes:
        raise InputError(
            f"{path} must be a whole zip. Received: {member.path} of {num_bytes} in place of {member.num_bytes} bytes"
        )


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


def _show_bytes(members: list[Member], what: str) -> "tqdm[Any]":
    total = sum(member.num_bytes for member in members)
    return tqdm(desc=what, total=total, unit="B", unit_scale=True, disable=None, dynamic_ncols=True)


def _refuse(path: Path, received: str) -> InputError:
    return InputError(f"{path} must hold plain files that stay within its folder. Received: {received}")
