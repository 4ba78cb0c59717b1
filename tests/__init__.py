"""The tests of each package lie in a folder of its name."""

import logging
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


@contextmanager
def _keep_log() -> Iterator[None]:
    """Each command sets up the package's log, as the process it usually is."""
    logger = logging.getLogger(LOGGER_NAME)
    before = logger.handlers[:], logger.level, logger.propagate
    try:
        yield
    finally:
        logger.handlers[:], logger.level, logger.propagate = before
