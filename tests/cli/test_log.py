import logging
import os
import pty
import re
import sys

import pytest

from unets.log import format_duration, show_progress


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        *((0, "0 s"), (0.05, "0.05 s"), (1.26, "1.3 s"), (119, "119 s"), (150, "2.5 min"), (599, "10 min")),
        *((7199, "120 min"), (12240, "3.4 h"), (36000, "10 h"), (6e5, "6.9 days"), (2e6, "23 days")),
    ],
)
def test_durations_are_written_for_people(seconds: float, words: str) -> None:
    assert format_duration(seconds) == words


def test_without_a_terminal_progress_is_a_line_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO, logger="unets")
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    for _ in show_progress(range(2_000), what="predict", unit="image"):
        clock[0] += 0.125 if clock[0] else 5  # the first compiles
    told = {441: "3.2 min", 921: "2.2 min", 1401: "75 s", 1881: "15 s"}
    assert caplog.messages == [
        f"predict: {done:,} of 2,000 images, 8.0 a second, {left} left" for done, left in told.items()
    ]
    caplog.clear()
    for _ in show_progress(iter(range(700)), what="look", unit="file"):
        clock[0] += 0.125
    assert caplog.messages == ["look: 480 files, 8.0 a second"] and not capsys.readouterr().err


SCRIPT = """
import logging
from unets.log import Bar, set_up_logging, show_progress
set_up_logging()
with Bar("unet_256x384 fold 0", total=12, unit="image") as bar:
    for number in range(3):
        bar.update(4, f"{number + 1}/3  loss 0.1470  dice 0.9362  val_dice 0.9012  82.1 img/s")
        words = "line %d is [as long] as it is, whatever the width of the terminal may be"
        logging.getLogger("unets.x").warning(words, number)
    list(show_progress(range(5), what="measure"))
"""


def run_on_terminal(columns: int, **environment: str) -> str:
    """Runs the script on a terminal of its own; returns what a person would see, in the order it was written."""
    child, terminal = pty.fork()
    if child == 0:
        os.execve(
            sys.executable, [sys.executable, "-c", SCRIPT], {**os.environ, "COLUMNS": str(columns), **environment}
        )
    parts = []
    while True:
        try:
            parts.append(os.read(terminal, 65536))
        except OSError:  # its end
            break
    assert os.waitpid(child, 0)[1] == 0
    return b"".join(parts).decode()


@pytest.mark.parametrize("columns", [80, 120])
def test_on_a_terminal_bars_stand_below_the_log_and_leave_nothing(columns: int) -> None:
    said = run_on_terminal(columns, TERM="xterm-256color")
    assert "unet_256x384 fold 0" in said and "\x1b[33m" in said
    lines = re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", said.rpartition("\x1b[2K")[2])
    assert not lines.strip("\r\n")  # the last bar was wiped out
    assert [f"line {number} is [as long]" in said for number in range(3)] == [True] * 3
    bars = [line for line in re.split(r"[\r\n]", re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", said)) if "━" in line]
    assert bars and max(map(len, bars)) <= columns


def test_no_color_and_a_dumb_terminal_are_respected() -> None:
    assert "\x1b[3" not in run_on_terminal(80, TERM="xterm-256color", NO_COLOR="1").replace("\x1b[3D", "")
    said = run_on_terminal(80, TERM="dumb")
    assert "\x1b" not in said and len(said.splitlines()) == 3
