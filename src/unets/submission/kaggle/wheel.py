"""The package as a wheel, which a kernel without internet installs: `pip install --no-deps --no-index unets-*.whl`."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import unets
from unets.errors import InputError

_EPOCH = "315532800"  # 1980, the earliest time that a zip can hold: equal sources give equal bytes


def build_wheel(folder: Path) -> Path:
    """Builds the wheel of the package at work, by pip and the setuptools that are installed; no network is asked.

    Args:
        folder: gets it.

    Returns:
        Its path, `<folder>/unets-<version>-py3-none-any.whl`.

    Raises:
        InputError: the package does not run from its repository, or it cannot be built.
    """
    root = Path(unets.__file__).parents[2]
    if not (root / "pyproject.toml").is_file():
        raise InputError(f"unets must run from a clone of its repository. Received: {root}, without a pyproject.toml")
    with tempfile.TemporaryDirectory() as temporary:  # setuptools leaves files beside what it builds
        copy = Path(temporary)
        shutil.copytree(root / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copyfile(root / name, copy / name)
        options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-index", "--no-build-isolation"]
        command = [sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", str(folder.absolute()), temporary]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": _EPOCH}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise InputError(
            f"pip must build a wheel of {root}. Received: {done.stderr.strip()[-500:]}. "
            f"`pip install 'setuptools>=77' wheel` installs what it takes"
        )
    return next(folder.glob("unets-*.whl"))
