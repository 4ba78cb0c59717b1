"""Keras and its backend: loaded late, because that takes seconds, and without their notes."""

import os
import sys
import tempfile
from importlib.util import find_spec

from unets.errors import InputError, suggest

BACKENDS = ("tensorflow", "jax")


def load_backend() -> None:
    """Imports Keras and its backend and lets it find its devices, without the notes it writes to stderr meanwhile.

    It takes seconds, so stages call it after all that may be mistyped. TensorFlow's notes come from C++ before any log
    level can be set, so the file descriptor itself is turned away; should the import fail, they are shown. Raises
    InputError where `KERAS_BACKEND` is unknown, or the backend, which is no dependency of the package, is not
    installed.
    """
    wanted = os.environ.get("KERAS_BACKEND") or BACKENDS[0]
    if wanted not in BACKENDS:
        known = " or ".join(BACKENDS)
        raise InputError(f"`KERAS_BACKEND` must be {known}. Received: {wanted}{suggest(wanted, BACKENDS)}")
    if find_spec(wanted) is None:
        other = next((name for name in BACKENDS if find_spec(name) is not None), None)
        install = f"`pip install '.[{BACKENDS[0]}]'` in the folder of unets"
        hint = f"KERAS_BACKEND={other} uses what is there" if other else install
        raise InputError(f"Keras must have a backend. Received: no {wanted} in {sys.prefix}. {hint}")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow greets with a page of notes otherwise
    with tempfile.TemporaryFile() as notes:
        stderr = os.dup(2)
        os.dup2(notes.fileno(), 2)
        try:
            from unets.nets.backend import describe_device

            describe_device()
        except Exception:
            notes.seek(0)
            os.write(stderr, notes.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
