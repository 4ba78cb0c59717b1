"""The `unets` command: a subcommand for every stage of the flow, and for the use of a trained model."""

import os
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
    try:
        from unets.cli.commands import run
    except KeyboardInterrupt:
        sys.stderr.write("error: stopped by Ctrl-C\n")
        sys.stderr.flush()
        os._exit(INTERRUPTED)  # nothing was begun; half-loaded modules would complain as they go
    run(sys.argv[1:] if arguments is None else list(arguments))
