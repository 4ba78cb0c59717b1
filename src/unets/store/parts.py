"""A csv.gz made of parts: gzip members that are compressed apart, kept until all are there, and joined.

Members behind one another are one valid gzip file (RFC 1952, 2.2), so parts can be made in any process and in any
order, and what is there need not be made again after a kill. Neither name nor time is in their headers: equal rows give
equal bytes. A part begins with the SHA-256 of what made it and of its member, which no damage leaves true.
"""

import csv
import hashlib
import logging
import zlib
from collections.abc import Sequence
from io import StringIO
from itertools import chain
from pathlib import Path

from unets.errors import InputError, naming
from unets.store.runs import atomic_path

logger = logging.getLogger(__name__)

# Rows of 4,000 masks of cars, ms and KB a photo by level: see docs/log, 2026-11-25. Above 4 nothing is gained but time.
_LEVEL = 4
_GZIP = 31  # zlib's word for a gzip header around 32 KB of window


def part_path(folder: Path, index: int) -> Path:
    """Returns the path of the part of that number."""
    return folder / f"{index:05d}.part"


def write_part(path: Path, text: str, *, fingerprint: str) -> None:
    """Compresses whole lines and puts them in place; the fingerprint is that of all that decides them."""
    packed = _pack(text)
    # Contested: a worker whose parent was killed ends its task first, and may meet the one that does it again.
    with atomic_path(path, is_contested=True) as temporary:
        temporary.write_bytes(_seal(packed, fingerprint) + packed)


def read_part(path: Path, *, fingerprint: str) -> bytes:
    """Reads a part's gzip member; raises InputError where there is none, it is damaged, or something else made it."""
    with naming(path):
        content = path.read_bytes()
    packed = content[hashlib.sha256().digest_size :]
    if content != _seal(packed, fingerprint) + packed:
        raise InputError(f"{path} must be whole and made by {fingerprint}. Received: something else")
    return packed


def find_missing_parts(folder: Path, fingerprints: Sequence[str]) -> list[int]:
    """Returns the numbers of the parts that are absent, damaged, or made by something else. Reads every byte."""
    missing = []
    for index, fingerprint in enumerate(fingerprints):
        path = part_path(folder, index)
        try:
            read_part(path, fingerprint=fingerprint)
        except InputError as error:
            if path.exists():
                logger.warning("%s; it is made again", error)
            missing.append(index)
    return missing


def drop_parts(folder: Path) -> None:
    """Deletes the parts of a folder. The folder stays: it is locked, and a lock that is deleted keeps nobody out."""
    for path in folder.glob("*.part"):
        path.unlink()


def join_parts(path: Path, header: Sequence[str], folder: Path, fingerprints: Sequence[str]) -> tuple[str, int]:
    """Writes a csv.gz of a header and all parts, a part at a time.

    Returns (SHA-256 of its uncompressed bytes, number of lines below the header). Raises InputError where a part is
    missing, damaged, or made by something else.
    """
    digest, num_lines, first = hashlib.sha256(), -1, StringIO()
    csv.writer(first, lineterminator="\n").writerow(header)
    parts = (read_part(part_path(folder, index), fingerprint=one) for index, one in enumerate(fingerprints))
    with path.open("wb") as file:
        for member in chain([_pack(first.getvalue())], parts):
            content = zlib.decompress(member, wbits=_GZIP)
            digest.update(content)
            num_lines += content.count(b"\n")
            file.write(member)
    return digest.hexdigest(), num_lines


def _pack(text: str) -> bytes:
    return zlib.compress(text.encode(), _LEVEL, wbits=_GZIP)


def _seal(packed: bytes, fingerprint: str) -> bytes:
    return hashlib.sha256(fingerprint.encode() + packed).digest()
