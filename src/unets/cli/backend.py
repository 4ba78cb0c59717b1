"""Keras and its backend, as a command loads them: Ctrl-C ends it with one line."""

import os

from unets.cli import end_at_ctrl_c
from unets.nets import startup


def load_backend() -> None:
    """Does `unets.nets.startup.load_backend`; Ctrl-C ends the process at once: nothing has begun."""
    stderr = os.dup(2)  # that of the process leads elsewhere meanwhile
    try:
        with end_at_ctrl_c(stderr):
            startup.load_backend()
    finally:
        os.close(stderr)
