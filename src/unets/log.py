"""How the package speaks: log lines and progress on stderr, and durations in words."""

import logging
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

logger = logging.getLogger(__name__)
T = TypeVar("T")
LOGGER_NAME = "unets"
_LINE_SECONDS = 60.0
# Each begins at two of its own: 90 min say more than 1.5 h.
_UNITS = ((86400, "days"), (3600, "h"), (60, "min"))
_STYLES = {logging.DEBUG: "dim", logging.WARNING: "yellow", logging.ERROR: "bold red"}
_console = Console(stderr=True)
_bars = Progress(
    TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", max_width=24)),
    BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=4, max_width=40)),
    TextColumn("{task.fields[words]}", table_column=Column(no_wrap=True, overflow="ellipsis")),
    console=_console,
    transient=True,
    expand=True,
    refresh_per_second=4,
)


class _Handler(logging.Handler):
    """Writes to what stderr is at that moment, above the bars while there are any; in color on a terminal."""

    def emit(self, record: logging.LogRecord) -> None:
        _console.print(Text(to_plain(self.format(record)), style=_STYLES.get(record.levelno, "")), soft_wrap=True)


def set_up_logging(verbose: bool = False) -> None:
    """Sends the package's log to stderr, one line a message; scripts call it once."""
    handler = _Handler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    logger = logging.getLogger(LOGGER_NAME)
    logger.handlers[:] = [handler]
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    logger.propagate = False


def to_plain(text: str) -> str:
    """Takes out what a terminal obeys: names and bytes of files may hold any character."""
    return "".join(letter for letter in text if letter.isprintable() or letter == "\n")


def has_bars() -> bool:
    """Tells whether progress is shown as bars: stderr is a terminal that can move its cursor (`TERM` is not dumb)."""
    return sys.stderr.isatty() and not _console.is_dumb_terminal


class Bar:
    """A line that shows how far something is, on a terminal; elsewhere a line a minute in the log.

    It says how many are done, how many a second, and the time left, reckoned from all seconds since the first was done.

    `what` are the words before it, `unit` is what one of them is called, `initial` how many were done before.
    """

    def __init__(self, what: str, *, total: int | None = None, unit: str = "it", initial: int = 0) -> None:
        self.what, self.total, self.unit, self.done = what, total, unit, initial
        self.num_first: int | None = None  # done when the clock starts
        self.warm = self.told = time.monotonic()
        self.task: TaskID | None = None

    def __enter__(self) -> "Bar":
        """Shows the bar."""
        if has_bars():
            self.task = _bars.add_task(self.what, total=self.total, completed=self.done, words="")
            _bars.start()
        return self

    def update(self, count: int = 1, words: str = "") -> None:
        """Moves on by `count`; `words` stand in place of the count."""
        now = time.monotonic()
        self.done += count
        if self.num_first is None:  # the first also pays for what is compiled, opened, started
            self.warm, self.num_first = now, self.done
        if self.task is not None:
            _bars.update(self.task, completed=self.done, words=self.describe(words))
        elif now - self.told >= _LINE_SECONDS:
            self.told = now
            logger.info("%s: %s", self.what, self.describe(words))

    def __exit__(self, *_: object) -> None:
        """Takes the bar away."""
        if self.task is not None:
            _bars.remove_task(self.task)
            if not _bars.tasks:
                _bars.stop()

    def describe(self, words: str = "") -> str:
        """Says how many are done, or `words` in place of that, and the time left."""
        seconds, timed = time.monotonic() - self.warm, self.done - (self.num_first or 0)
        rate = f", {format_number(timed / seconds)} a second" if timed and seconds else ""
        if not self.total:
            return words or f"{self.done:,} {self.unit}s{rate}"
        left = f"{format_duration((self.total - self.done) * seconds / timed)} left" if timed else "? left"
        return f"{words}  {left}" if words else f"{self.done:,} of {self.total:,} {self.unit}s{rate}, {left}"


def show_progress(items: Iterable[T], *, what: str, total: int | None = None, unit: str = "it") -> Iterator[T]:
    """Passes `items` on and shows how far they are, as `Bar` does; `total` is asked for where they have no length."""
    with Bar(what, total=len(items) if total is None and isinstance(items, Sized) else total, unit=unit) as bar:
        for item in items:
            yield item
            bar.update()


def format_duration(seconds: float) -> str:
    """Writes a duration as people say it, with two digits or more: 45 s, 12 min, 3.4 h, 6.9 days."""
    for unit, word in _UNITS:
        if seconds >= 2 * unit:
            return f"{format_number(seconds / unit)} {word}"
    return f"{format_number(seconds)} s"


def format_count(number: int, noun: str) -> str:
    """Writes a number of things: 1 image, 5,088 images."""
    return f"{number:,} {noun}{'s'[: number != 1]}"


def format_folds(folds: Collection[int]) -> str:
    """Writes which folds: fold 0, folds 0,1,2."""
    return f"fold{'s'[: len(folds) != 1]} {','.join(map(str, folds))}"


def format_number(value: float) -> str:
    """Writes a number with two digits or more."""
    # A tenth only where it counts: 9.96 is 10.
    return f"{value:.0f}" if value >= 9.95 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"
