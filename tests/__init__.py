"""The tests of each package lie in a folder of its name."""

import logging
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from unets.cli import main
from unets.log import LOGGER_NAME

ROOT = Path(__file__).parents[1]  # of the repository


def run_unets(*arguments: object) -> int:
    """Runs `unets arguments` in this process; returns its exit code."""
    with _keep_log(), pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def read_files(folder: Path) -> dict[str, bytes]:
    """Returns the bytes of every file below a folder, by its path there."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def limit_files(num_bytes: int) -> Iterator[None]:
    """Lets no file grow larger: as full a disk as one can have without another."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@contextmanager
def _keep_log() -> Iterator[None]:
    """Each command sets up the package's log, as the process it usually is."""
    logger = logging.getLogger(LOGGER_NAME)
    before = logger.handlers[:], logger.level, logger.propagate
    try:
        yield
    finally:
        logger.handlers[:], logger.level, logger.propagate = before
