"""How the package speaks: log lines on stderr, and progress bars on work that takes a while."""

import logging
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")
LOGGER_NAME = "unets"


def set_up_logging(verbose: bool = False) -> None:
    """Sends the package's log to stderr, one line a message; scripts call it once."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    logger = logging.getLogger(LOGGER_NAME)
    logger.handlers[:] = [handler]
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    logger.propagate = False


def show_progress(items: Iterable[T], *, what: str, total: int | None = None, unit: str = "it") -> Iterator[T]:
    """Passes `items` on, with a progress bar on stderr where that is a terminal.

    Args:
        items: anything that can be iterated.
        what: the words before the bar.
        total: how many there will be, where `items` has no length.
        unit: what one of them is called.
    """
    return iter(tqdm(items, desc=what, total=total, unit=unit, disable=None, dynamic_ncols=True, smoothing=0.1))
