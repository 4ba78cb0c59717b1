"""The `unets` command: a subcommand for every stage of the flow, and for the use of a trained model."""

import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from unets.errors import INTERRUPTED


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs a subcommand and exits.

    Exits with 0, with 1 where something given was at fault, with 2 for a wrong option, with 130 at Ctrl-C. Results go
    to stdout, all else to stderr.

    Args:
        arguments: the subcommand and its options; None takes those of this process.
    """
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:  # not where a parent chose to ignore Ctrl-C
        signal.signal(signal.SIGINT, _stop)
    try:
        from unets.cli.commands import run
    finally:
        signal.signal(signal.SIGINT, handler)
    run(sys.argv[1:] if arguments is None else list(arguments))


def _stop(*_: object) -> NoReturn:
    """Ends the process while modules load: nothing was begun, and some of them turn Ctrl-C into errors of their own."""
    os.write(2, b"error: stopped by Ctrl-C\n")
    os._exit(INTERRUPTED)
