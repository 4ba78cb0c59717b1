"""The package as a wheel, made of what is installed: no build tools, no network, the same bytes each time.

A wheel is a zip of the package beside a folder that describes it (PEP 427); pip installs it in a kernel without
internet: `pip install --no-deps --no-index unets-*.whl`.
"""

import base64
import hashlib
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import unets
from unets.errors import InputError

_NAME = "unets"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold; times would change the bytes
_WHEEL = """Wheel-Version: 1.0
Generator: unets ({version})
Root-Is-Purelib: true
Tag: py3-none-any
"""


def build_wheel(folder: Path) -> Path:
    """Writes the wheel of the package at work.

    Args:
        folder: gets it.

    Returns:
        Its path, `<folder>/unets-<version>-py3-none-any.whl`.

    Raises:
        InputError: the package is not installed, so that nothing describes it.
    """
    try:
        found = distribution(_NAME)
    except PackageNotFoundError as error:
        raise InputError(f"{_NAME} must be installed, as `make setup` does. Received: {error}") from error
    about = f"{_NAME}-{found.version}.dist-info"
    contents = _read_package() | {
        f"{about}/METADATA": (found.read_text("METADATA") or found.read_text("PKG-INFO") or "").encode(),
        f"{about}/WHEEL": _WHEEL.format(version=found.version).encode(),
    }
    if commands := found.read_text("entry_points.txt"):
        contents[f"{about}/entry_points.txt"] = commands.encode()
    record = f"{about}/RECORD"
    lines = [f"{name},sha256={_hash(content)},{len(content)}" for name, content in contents.items()]
    contents[record] = "".join(f"{line}\n" for line in (*lines, f"{record},,")).encode()
    path = folder / f"{_NAME}-{found.version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(info, content)
    return path


def _read_package() -> dict[str, bytes]:
    """Returns the package's files by their name in the wheel, sorted; pages are among them, compiled code is not."""
    root = Path(unets.__file__).parent
    paths = sorted(path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(root.parent).as_posix(): path.read_bytes() for path in paths}


def _hash(content: bytes) -> str:
    """Returns a SHA-256 as RECORD wants it (PEP 376, PEP 427): base64 for addresses, unpadded."""
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
