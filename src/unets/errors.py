"""The one error that is the user's to mend: something given is not what was expected; and what was meant."""

import csv
import lzma
import os
import stat
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import SequenceMatcher
from pathlib import Path

# What codecs raise over damaged or foreign bytes, according to which byte it is, and the system over a file.
# MemoryError, too: a file may declare any size.
DAMAGE = (
    *(OSError, EOFError, SyntaxError, ValueError, LookupError, ArithmeticError, RuntimeError, MemoryError),
    *(struct.error, zlib.error, lzma.LZMAError, zipfile.BadZipFile, csv.Error, tokenize.TokenError),
)
# Libraries that decode pictures and weights stumble in their own code, too; in ours, these are faults of ours.
DECODER_FAULTS = (*DAMAGE, TypeError, AttributeError)
_MAX_SAID = 300  # characters of a decoder's own words
FAILED, MISUSED, INTERRUPTED = 1, 2, 130  # what the command exits with: an InputError, a wrong option, Ctrl-C


class InputError(ValueError):
    """A file, setting or argument is not what was expected.

    The message names the file or argument, what was expected and what came; the command prints it alone, without a
    traceback, and exit with 1. Anything else that is raised is a fault of ours and keeps its traceback.
    """


@contextmanager
def naming(
    path: Path | str, expected: str = "be whole", *, remedy: str = "", damage: tuple[type[BaseException], ...] = DAMAGE
) -> Iterator[None]:
    """Turns what is raised over a file that is missing, unreadable or damaged into an error that names it.

    For blocks that only read and decode: a fault of ours in them would look like the file's.

    Args:
        path: of the file; with the zip that it lies in.
        expected: what it must do, for the error: `hold JSON`.
        remedy: what to do about it: ``Run `unets train` ``.
        damage: what the decoder raises.

    Raises:
        InputError: the block raised one of `damage`; or the file is a pipe, a socket or a device, which may never end.
    """
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 a Path takes as long again
    except (OSError, ValueError):  # as of a member of a zip; what opens it says why
        mode = stat.S_IFREG
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise InputError(f"{path} must be a plain file. Received: a pipe, socket or device")
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path} must exist. Received: no such file. {remedy}".rstrip()) from error
    except damage as error:
        said = " ".join(str(getattr(error, "strerror", None) or error or type(error).__name__).split())[:_MAX_SAID]
        raise InputError(f"{path} must {expected}. Received: {said}. {remedy}".rstrip()) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Tells whether an error says that memory did not suffice: in TensorFlow's words, JAX's, or Python's (NumPy's)."""
    is_named = type(error).__name__ == "ResourceExhaustedError" or "RESOURCE_EXHAUSTED" in str(error)
    return is_named or isinstance(error, MemoryError)


def suggest(word: str, known: Iterable[str]) -> str:
    """Returns `; did you mean epochs?` for what is nearest to a mistyped word, or nothing where nothing is near.

    Of names with dots, as `training.epochs`, the last part counts alone, too.
    """
    scores = {name: _compare(word.lower(), name.lower()) for name in known}
    nearest = max(scores, key=lambda name: scores[name], default="")
    return f"; did you mean {nearest}?" if scores.get(nearest, 0) >= 0.6 else ""


def _compare(word: str, name: str) -> float:
    parts = [(word, name), (word.rpartition(".")[2], name.rpartition(".")[2])]
    whole, last = (SequenceMatcher(None, *pair).ratio() for pair in parts)
    return max(whole, 0.9 * last)
