"""What may happen to a file: bytes changed, cut off, added; texts in place of others that parsers stumble over."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st

from unets.errors import InputError

fuzzed = settings.get_profile("fuzz")

NASTY = (
    *(b"", b"NaN", b"Infinity", b"-1", b"null", b"[]", b"{}", b'""', b"1e400", b"9" * 5000, b"[" * 3000, b"\0"),
    *(b"../../x", b"/x", b"\xff\xfe", b"\xef\xbb\xbf", b"\x1b[31m", b"\r\n", b",,,", b'"', b"\xd9\xa3", b"1_0"),
)


@st.composite
def damages(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Draws a function that damages a file's bytes."""
    kind = draw(st.sampled_from(("flip", "cut", "extend", "replace", "swap", "nasty")))
    start, stop = sorted(draw(st.tuples(st.floats(0, 1), st.floats(0, 1))))
    bits, token, noise = draw(st.integers(1, 255)), draw(st.sampled_from(NASTY)), draw(st.binary(max_size=64))

    def damage(content: bytes) -> bytes:
        begin, end = int(start * len(content)), int(stop * len(content))
        if kind == "flip" and content:
            position = min(begin, len(content) - 1)
            return content[:position] + bytes([content[position] ^ bits]) + content[position + 1 :]
        if kind == "cut":
            return content[:begin]
        if kind == "extend":
            return content + noise
        if kind == "replace":
            return content[:begin] + noise + content[begin + len(noise) :]
        if kind == "swap":
            return content[:begin] + content[end:]
        return content[:begin] + token + content[min(begin + 3, len(content)) :]

    return damage


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Lets an InputError pass that is one line and names the file; any other error fails the test."""
    try:
        yield
    except InputError as error:
        message = str(error)
        assert path.name.partition(".")[0] in message, message
        assert "\n" not in message.replace("\n  ", " "), message  # faults of a submission stand below it


def find_strangers(root: Path, known: set[Path]) -> set[Path]:
    """Returns what lies beside the folders that a command may write to."""
    return {path for path in root.iterdir() if path not in known}
