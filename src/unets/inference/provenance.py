"""What made a file: code, libraries, date."""

import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_LIBRARIES = ("unets", "numpy", "opencv-python-headless", "pillow", "pandas", "keras", "tensorflow", "jax")


def describe_origin(folder: Path) -> dict[str, Any]:
    """Describes the code at work and what it stands on, for a record beside a result.

    Args:
        folder: any folder of the repository.

    Returns:
        `date` (UTC), `git_commit` and `git_is_dirty` (None outside a repository, or without git), `versions`.
    """
    commit, status = _run_git(folder, "rev-parse", "HEAD"), _run_git(folder, "status", "--porcelain")
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "git_commit": commit,
        "git_is_dirty": None if status is None else bool(status),
        "versions": {"python": platform.python_version()} | _list_versions(),
    }


def _list_versions() -> dict[str, str]:
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
