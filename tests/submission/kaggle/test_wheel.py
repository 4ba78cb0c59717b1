"""The wheel is one that pip takes, without an index, and holds all of the package."""

import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

import unets
from tests import ROOT
from unets.errors import InputError
from unets.submission.kaggle.dataset import build_wheel

SOURCE_DIR = ROOT / "src"


def test_it_holds_every_file_of_the_package_and_no_compiled_code(tmp_path: Path) -> None:
    path = build_wheel(tmp_path)
    assert path.name == f"unets-{version('unets')}-py3-none-any.whl"
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
    files = (file for file in (SOURCE_DIR / "unets").rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    assert sorted(names) == sorted(file.relative_to(SOURCE_DIR).as_posix() for file in files)
    first = path.read_bytes()
    assert build_wheel(tmp_path).read_bytes() == first  # the same code gives the same bytes


def test_a_package_without_its_repository_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unets, "__file__", str(tmp_path / "site" / "unets" / "__init__.py"))
    with pytest.raises(InputError, match="must run from a clone of its repository"):
        build_wheel(tmp_path)
