"""The `unets` command: a subcommand for every stage of the flow, and for the use of a trained model."""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from unets.errors import INTERRUPTED


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs a subcommand and exits.

    Exits with 0, with 1 where something given was at fault, with 2 for a wrong option, with 130 at Ctrl-C. Results go
    to stdout, all else to stderr.

    Args:
        arguments: the subcommand and its options; None takes those of this process.
    """
    with end_at_ctrl_c():
        from unets.cli.commands import run
    run(sys.argv[1:] if arguments is None else list(arguments))


@contextmanager
def end_at_ctrl_c(stderr: int = 2) -> Iterator[None]:
    """Ends the process at Ctrl-C while modules load, with one line: nothing was begun, and raised within an import
    KeyboardInterrupt may come out as any other error.

    Args:
        stderr: the file descriptor that gets the line.
    """

    def end(*_: object) -> NoReturn:
        os.write(stderr, b"error: stopped by Ctrl-C while modules loaded; nothing was begun\n")
        os._exit(INTERRUPTED)

    before = signal.getsignal(signal.SIGINT)
    try:
        if before is not signal.SIG_IGN:  # a parent may have chosen to ignore Ctrl-C
            signal.signal(signal.SIGINT, end)
    except ValueError:  # in a thread, signals are the main thread's
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
