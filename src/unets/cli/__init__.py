"""The `unets` command: a subcommand for every stage of the flow, and for the use of a trained model.

Subcommands are functions in the modules `start`, `data`, `train`, `evaluate`, `submit`, `use`, one a part of the flow.
`stage` makes them subcommands and runs them; `app` says what their options are.
"""

import atexit
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from unets.errors import INTERRUPTED


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs a subcommand and exits; without arguments, that of this process.

    Exits with 0, with 1 where something given was at fault, with 2 for a wrong option, with 130 at Ctrl-C. Results go
    to stdout, all else to stderr.
    """
    with end_at_ctrl_c():
        from unets.cli.app import load_app, run

        load_app()
    if arguments is not None:
        run(list(arguments))
    try:
        run(sys.argv[1:])
    except SystemExit as end:
        if "keras" not in sys.modules:
            raise
        _leave(end.code if isinstance(end.code, int) else int(end.code is not None))


def load_backend() -> None:
    """Does `unets.nets.startup.load_backend`; Ctrl-C ends the process at once: nothing has begun."""
    from unets.nets import startup

    stderr = os.dup(2)  # that of the process leads elsewhere meanwhile
    try:
        with end_at_ctrl_c(stderr):
            startup.load_backend()
    finally:
        os.close(stderr)


def _leave(code: int) -> NoReturn:
    """Ends the process as the interpreter does, but for the last: to take itself down.

    After an error, threads of TensorFlow may still call into Python; they abort the process (code 134) where they find
    it half taken down.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@contextmanager
def end_at_ctrl_c(stderr: int = 2) -> Iterator[None]:
    """Ends the process at Ctrl-C while modules load, with one line on a file descriptor: nothing was begun, and raised
    within an import KeyboardInterrupt may come out as any other error.
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
