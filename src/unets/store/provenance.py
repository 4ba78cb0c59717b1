"""What made a file: code, libraries, date."""

import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_LIBRARIES = ("unets", "numpy", "opencv-python-headless", "pillow", "pandas", "keras", "tensorflow", "jax")
_COMMIT_DIGITS = 9  # unique far beyond this repository's size


def describe_origin(folder: Path) -> dict[str, Any]:
    """Describes the code at work and what it stands on, for a record beside a result.

    Args:
        folder: any folder of the repository.

    Returns:
        `date` (UTC), `git_commit` and `git_is_dirty` (None outside a repository, or without git), `versions`.
    """
    commit, status = _read_commit(folder)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "git_commit": commit,
        "git_is_dirty": None if status is None else bool(status),
        "versions": {"python": platform.python_version()} | list_versions(),
    }


def describe_commit(folder: Path) -> str:
    """Names the code at work in a word: `012345678`, `012345678 (changed)` or `none`.

    Args:
        folder: any folder of the repository.
    """
    commit, status = _read_commit(folder)
    return format_commit(commit, bool(status))


def format_commit(commit: str | None, is_dirty: bool | None) -> str:
    """Writes a commit for people, and whether the code at work differed from it."""
    return f"{(commit or 'none')[:_COMMIT_DIGITS]}{' (changed)' if is_dirty else ''}"


def _read_commit(folder: Path) -> tuple[str | None, str | None]:
    """Returns (commit, what differs from it); None outside a repository, or without git."""
    return _run_git(folder, "rev-parse", "HEAD"), _run_git(folder, "status", "--porcelain")


def list_versions() -> dict[str, str]:
    """Returns the versions of this package and of the libraries that results depend on; of those that are there."""
    versions = {}
    for library in _LIBRARIES:  # read from the installed metadata: nothing is imported
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            continue
    return versions


def _run_git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
