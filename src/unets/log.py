"""How the package speaks: log lines on stderr, progress bars on work that takes a while, and durations in words."""

import logging
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")
LOGGER_NAME = "unets"
# Each begins at two of its own: 90 min say more than 1.5 h.
_UNITS = ((86400, "days"), (3600, "h"), (60, "min"))


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


def format_duration(seconds: float) -> str:
    """Writes a duration as people say it, with two digits or more: 45 s, 12 min, 3.4 h, 6.9 days."""
    for unit, word in _UNITS:
        if seconds >= 2 * unit:
            return f"{_round(seconds / unit)} {word}"
    return f"{_round(seconds)} s"


def _round(value: float) -> str:
    # A tenth only where it counts: 9.96 is 10.
    if value >= 9.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"
