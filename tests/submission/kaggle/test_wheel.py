"""The wheel is one that pip takes, without an index, and holds all of the package."""

import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

from tests import ROOT
from unets.submission.kaggle.wheel import build_wheel

SOURCE_DIR = ROOT / "src"


def test_it_holds_every_file_of_the_package_and_no_compiled_code(tmp_path: Path) -> None:
    path = build_wheel(tmp_path)
    assert path.name == f"unets-{version('unets')}-py3-none-any.whl"
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
        record = next(archive.read(name).decode() for name in archive.namelist() if name.endswith("/RECORD"))
        assert len(record.splitlines()) == len(archive.namelist())
    files = (file for file in (SOURCE_DIR / "unets").rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    assert sorted(names) == sorted(file.relative_to(SOURCE_DIR).as_posix() for file in files)
    assert any(name.endswith(".html") for name in names)  # pages are part of it


def test_the_same_code_gives_the_same_bytes(tmp_path: Path) -> None:
    first = build_wheel(tmp_path).read_bytes()
    assert build_wheel(tmp_path).read_bytes() == first


@pytest.mark.slow
def test_pip_installs_it_without_an_index(tmp_path: Path) -> None:
    path = build_wheel(tmp_path)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--isolated", "install"]
    target = tmp_path / "site"
    subprocess.run([*pip, "--no-deps", "--no-index", "--target", str(target), str(path)], check=True, cwd=tmp_path)
    program = "import unets.data.rle, unets.submission.kaggle.wheel as wheel; print(wheel.__file__)"
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=tmp_path, env={"PYTHONPATH": str(target)}
    )
    assert done.stdout.strip() == str(target / "unets" / "kaggle" / "wheel.py")
