"""The one error that is the user's to mend: something given is not what was expected; and what was meant."""

from collections.abc import Iterable
from difflib import SequenceMatcher

FAILED, MISUSED, INTERRUPTED = 1, 2, 130  # what the command exits with: an InputError, a wrong option, Ctrl-C


class InputError(ValueError):
    """A file, setting or argument is not what was expected.

    The message names the file or argument, what was expected and what came; the command prints it alone, without a
    traceback, and exit with 1. Anything else that is raised is a fault of ours and keeps its traceback.
    """


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
