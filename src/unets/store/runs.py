"""A run folder and what keeps it whole: atomic writes, fingerprints, locks.

Everything in the models folder appears under its final name only when it is complete, so that no later stage needs to
ask; and it carries the fingerprint of what made it, so that nothing foreign is taken for one's own.
"""

import csv
import hashlib
import json
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from uuid import uuid4

import psutil
from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from unets.config import Config
from unets.errors import DAMAGE, InputError, naming

ConfigT = TypeVar("ConfigT", bound=Config)

logger = logging.getLogger(__name__)

_LOCK, _OWNER, _SEAL = ".lock", ".lock-owner", "seal"


@contextmanager
def atomic_path(path: Path, *, is_contested: bool = False) -> Iterator[Path]:
    """Gives a temporary path beside `path`, which takes its place once the block ends without an error.

    A kill leaves at most the temporary file, whose name is always the same, so that the next try overwrites it. An
    error inside the block (a full disk, Ctrl-C) removes it. Of a contested path, which another process may be writing,
    too, each gets a name of its own, the last one wins, and what a kill leaves is the caller's to delete.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffixes stay: libraries choose the format by them (`.weights.h5`, `.png`).
    temporary = path.with_name(f".part-{uuid4().hex if is_contested else ''}{path.name}")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a full disk does not say what was being written
        raise


def write_text(path: Path, text: str) -> None:
    """Writes a whole text file at once, or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Writes a table, whole or not at all."""
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    write_text(path, text.getvalue())


def read_csv(path: Path, columns: Sequence[str], *, remedy: str = "") -> Iterator[list[str]]:
    """Yields the rows of a table in UTF-8, which another program may have written; `remedy` is for the error.

    Raises InputError: the file is missing or damaged, or has other columns, or a row of more or fewer cells.
    """
    with naming(path, "be a csv in UTF-8", remedy=remedy), path.open(encoding="utf-8-sig", newline="") as file:
        rows = filter(None, csv.reader(file))
        if (header := next(rows, [])) != columns:
            raise InputError(f"{path} must have the columns {columns}. Received: {header!s:.200}. {remedy}".rstrip())
        for row in rows:
            if len(row) != len(columns):
                wanted = f"{len(columns)} cells a row"
                raise InputError(f"{path} must have {wanted}. Received: {row!s:.200}. {remedy}".rstrip())
            yield row


def write_json(path: Path, content: Any, *, sealed: bool = False) -> None:
    """Writes JSON, indented, at once or not at all.

    A seal, of an object, is a hash of its fields, with which `read_json` and `read_config` compare them.
    """
    content = {**content, _SEAL: fingerprint(**content)} if sealed else content
    write_text(path, json.dumps(content, indent=2) + "\n")


def read_json(path: Path, *, remedy: str = "", **types: Any) -> dict[str, Any]:
    """Reads a JSON object, which must have the `types`, beside anything else: `folds=list[int]`.

    `remedy` is what to do about a file that is something else, for the error: ``Run `unets train` ``. Raises InputError
    where the file is missing, is not JSON, holds something else than an object, NaN or infinity, lacks a key or has it
    of another type, or was changed since it was sealed.
    """
    found = _read_object(path, remedy)
    if not found.keys() >= types.keys():
        wanted = f"a JSON object with {', '.join(types)}"
        raise InputError(f"{path} must hold {wanted}. Received: only {list(found)[:9]}. {remedy}".rstrip())
    for key, kind in types.items():
        try:
            found[key] = TypeAdapter(kind).validate_python(found[key])
        except ValidationError as error:
            received = f"{key}={found[key]!r:.60} ({error.errors()[0]['msg']})"
            raise InputError(f"{path} must be as it was written. Received: {received}. {remedy}".rstrip()) from error
    return found


def read_config(path: Path, schema: type[ConfigT], *, remedy: str = "") -> ConfigT:
    """Reads a file that holds the JSON of a schema.

    Raises InputError where the file is missing, is no JSON object, was changed since it was sealed, or a field is
    unknown, missing or impossible.
    """
    text = json.dumps(_read_object(path, remedy))
    return schema.from_json(text, f"{path} ({remedy})" if remedy else str(path))


def _read_object(path: Path, remedy: str) -> dict[str, Any]:
    with naming(path, "hold JSON", remedy=remedy):
        found = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    if not isinstance(found, dict):
        raise InputError(f"{path} must hold a JSON object. Received: {found!r:.60}. {remedy}".rstrip())
    seal = found.pop(_SEAL, None)
    if seal is not None and seal != fingerprint(**found):
        raise InputError(f"{path} must be as it was written. Received: other fields than then. {remedy}".rstrip())
    return found


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Reads a file of one JSON object a line, to which processes append; nothing where there is no file.

    A kill in the middle of a line leaves a part of it. Such a line is left out, and a warning says so.
    """
    rows = []
    for number, line in enumerate(path.read_bytes().splitlines() if path.is_file() else (), start=1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict):
            rows.append(row)
        else:
            logger.warning("%s: line %d is left out, as it is no JSON object: a kill may have torn it", path, number)
    return rows


def append_json_line(path: Path, row: dict[str, Any]) -> None:
    """Appends a JSON object as a line of its own, also where a kill left the last line without an end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        is_torn = file.tell() > 0 and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n"
        file.write(b"\n" * is_torn + json.dumps(row).encode() + b"\n")


def hash_file(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes, in hex."""
    with naming(path, "be readable"), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(**parts: Any) -> str:
    """Returns 16 hex digits that change when any part does; parts are anything that JSON can write."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def hash_code(*patterns: str) -> str:
    """Returns 16 hex digits that change with the modules of this package that match patterns, as `data/*.py`."""
    found = [path for pattern in patterns for path in sorted(Path(__file__).parents[1].glob(pattern))]
    return fingerprint(code=[hash_file(path) for path in found])


def open_lock(path: Path, *, timeout: float = -1) -> FileLock:
    """Returns the lock that a file is; who enters it waits for others for `timeout` seconds, -1 is as long as it takes.

    Raises InputError where something else than a plain file has its name.
    """
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise InputError(f"{path} must be a plain file, as it is a lock. Received: a link or a folder. Delete it")
    return FileLock(path, timeout=timeout)


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Locks a folder for as long as the block runs, so that other processes stay out of it; a kill unlocks it.

    A file beside the lock says who owns it. On a shared folder other hosts stay out too, where the file system has
    locks (NFS from version 4 on). Raises InputError where another process has locked it; says which stage, process and
    host, and since when. Raises as `open_lock`, too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file_lock, owner = open_lock(folder / _LOCK, timeout=0), folder / _OWNER
    try:
        file_lock.acquire()
    except Timeout as error:
        raise InputError(f"{folder} must be free. Received: {_describe_owner(owner)} is at work in it") from error
    try:
        since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        mine = {"stage": name_program(), "pid": os.getpid(), "host": os.uname().nodename, "since": since}
        write_text(owner, json.dumps(mine) + "\n")
        yield
    finally:
        owner.unlink(missing_ok=True)
        file_lock.release()


def was_killed(folder: Path) -> bool:
    """Tells whether the last process that locked a folder was killed; an error, or Ctrl-C, is none."""
    return (folder / _OWNER).exists() and find_lock_owner(folder) is None


def find_lock_owner(folder: Path) -> str | None:
    """Returns who has locked a folder, as `train, process 1234 on node since 2026-11-25 15:43:10 UTC`, or None."""
    path = folder / _OWNER
    if not path.exists():  # most folders: the lock itself is not touched
        return None
    owner = _read_owner(path)
    if owner and owner["host"] == os.uname().nodename and not psutil.pid_exists(owner["pid"]):
        return None  # killed: the name stayed behind, the lock did not
    # Only a name left by a kill elsewhere, or whose number another process has now, lets this try succeed.
    try:
        with FileLock(folder / _LOCK, timeout=0):
            return None
    except Timeout:
        return _describe_owner(path)
    except OSError:  # a folder that cannot be written to: nobody is at work in it
        return None


def name_program() -> str:
    """Returns the name of the running subcommand or script, without its number: `train`."""
    name = Path(sys.argv[0]).stem
    if name in ("unets", "__main__"):
        return sys.argv[1] if len(sys.argv) > 1 else "unets"
    return name.split("_", 1)[-1] or "python"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name}, which is no number")


def _read_owner(path: Path) -> dict[str, Any] | None:
    """Reads who has locked a folder; None where it does not say, as between the lock and the name."""
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))
    except DAMAGE:
        return None
    return owner if isinstance(owner, dict) and owner.keys() == {"stage", "pid", "host", "since"} else None


def _describe_owner(path: Path) -> str:
    owner = _read_owner(path)
    return "{stage}, process {pid} on {host} since {since}".format(**owner) if owner else "another process"
