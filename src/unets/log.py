"""How the package speaks: log lines and progress on stderr, and durations in words."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from tqdm import tqdm

logger = logging.getLogger(__name__)
T = TypeVar("T")
LOGGER_NAME = "unets"
_LINE_SECONDS = 60.0
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


class Bar:
    """A bar on stderr where that is a terminal; elsewhere a line a minute in the log.

    Args:
        what: the words before it.
        total: how many there will be, if that is known.
        unit: what one of them is called.
        initial: how many were done before.
        leave: whether the bar stays when it is done.
    """

    def __init__(
        self, what: str, *, total: int | None = None, unit: str = "it", initial: int = 0, leave: bool = True
    ) -> None:
        self.what, self.total, self.unit, self.initial, self.done = what, total, unit, initial, initial
        self.began = self.told = time.monotonic()
        # disable=None: where stderr is no terminal.
        self.bar = tqdm(
            desc=what,
            total=total,
            unit=unit,
            initial=initial,
            leave=leave,
            disable=None,
            dynamic_ncols=True,
            smoothing=0.1,
        )

    def update(self, count: int = 1, **values: str) -> None:
        """Moves on by `count`; `values` stand behind the bar."""
        self.done += count
        if not self.bar.disable:
            self.bar.set_postfix(values, refresh=False)
            self.bar.update(count)
            return
        now = time.monotonic()
        if now - self.told >= _LINE_SECONDS:
            self.told = now
            logger.info("%s: %s", self.what, self._describe(now - self.began))

    def close(self) -> None:
        """Ends the bar."""
        self.bar.close()

    def _describe(self, seconds: float) -> str:
        if not self.total:
            return f"{self.done:,} {self.unit}s so far"
        left = (self.total - self.done) * seconds / max(self.done - self.initial, 1)
        return f"{self.done:,} of {self.total:,} {self.unit}s, {format_duration(left)} left"


def show_progress(items: Iterable[T], *, what: str, total: int | None = None, unit: str = "it") -> Iterator[T]:
    """Passes `items` on and shows how far they are, as `Bar` does.

    Args:
        items: anything that can be iterated.
        what: the words before it.
        total: how many there will be, where `items` has no length.
        unit: what one of them is called.
    """
    bar = Bar(what, total=len(items) if total is None and isinstance(items, Sized) else total, unit=unit)
    try:
        for item in items:
            yield item
            bar.update()
    finally:
        bar.close()


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
