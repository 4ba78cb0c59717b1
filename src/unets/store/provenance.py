"""What made a file: code, libraries, date."""

import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_LIBRARIES = ("unets", "numpy", "opencv-python-headless", "pillow", "pandas", "keras", "tensorflow", "jax")
_PACKAGE = Path(__file__).parents[1]
_COMMIT_DIGITS = 9  # unique far beyond this repository's size


def describe_origin(folder: Path = _PACKAGE) -> dict[str, Any]:
    """Describes the code at work and what it stands on, for a record of a result.

    It has `date` (UTC), `versions`, and of the repository that has files of `folder`, the package's own, `git_commit`
    and `git_is_dirty`: None where there is none, as where a .venv within somebody's repository holds it.
    """
    is_tracked = bool(_run_git(folder, "ls-files"))
    status = _run_git(folder, "status", "--porcelain") if is_tracked else None
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "git_commit": _run_git(folder, "rev-parse", "HEAD") if is_tracked else None,
        "git_is_dirty": None if status is None else bool(status),
        "versions": {"python": platform.python_version()} | list_versions(),
    }


def describe_commit() -> str:
    """Names the code at work: `012345678`, `012345678 (changed)` or `unknown`."""
    origin = describe_origin()
    return format_commit(origin["git_commit"], origin["git_is_dirty"])


def format_commit(commit: str | None, is_dirty: bool | None) -> str:
    """Writes a commit for people, and whether the code at work differed from it."""
    return f"{(commit or 'unknown')[:_COMMIT_DIGITS]}{' (changed)' if is_dirty else ''}"


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
