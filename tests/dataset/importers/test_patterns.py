"""Patterns: which files fit, in folders, zips and stacks."""

import zipfile
from pathlib import Path

import pytest

from unets.dataset.importers.listing import list_input
from unets.dataset.importers.patterns import find_ids


def write(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def pack(path: Path, *names: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")


def find(root: Path, pattern: str) -> dict[str, tuple[str, ...]]:
    return find_ids(list_input(root), pattern)


def test_a_folder(tmp_path: Path) -> None:
    write(
        tmp_path, "train/b.jpg", "train/a.jpg", "train/a.png", "train/notes.txt", "train/sub/c.jpg", "train/train/d.jpg"
    )
    found = find(tmp_path, "train/{id}.jpg")
    assert found == {"a": ("train/a.jpg",), "b": ("train/b.jpg",)} and list(found) == ["a", "b"]
    assert find(tmp_path, "train/{id}.gif") == {}
    assert find(tmp_path, "train/{id}.*")["a"] == ("train/a.jpg", "train/a.png")


@pytest.mark.parametrize("prefix", ["train/", ""])
def test_a_zip(tmp_path: Path, prefix: str) -> None:
    pack(tmp_path / "train.zip", f"{prefix}a.jpg", f"{prefix}b.jpg", "__MACOSX/train/._a.jpg")
    assert find(tmp_path, "train/{id}.jpg") == {"a": (f"train.zip/{prefix}a.jpg",), "b": (f"train.zip/{prefix}b.jpg",)}


def test_a_folder_goes_before_its_zip_unless_it_is_empty(tmp_path: Path) -> None:
    pack(tmp_path / "train.zip", "b.jpg")
    write(tmp_path, "train/.DS_Store")
    assert list(find(tmp_path, "train/{id}.jpg")) == ["b"]
    write(tmp_path, "train/a.jpg")
    assert list(find(tmp_path, "train/{id}.jpg")) == ["a"]


def test_stars_ids_in_folders_and_choices(tmp_path: Path) -> None:
    write(tmp_path, "s/x/images/x.png", "s/x/masks/1.png", "s/y/images/y.png", "a.jpg", "val/a.jpg", "val/c.png")
    assert find(tmp_path, "s/*/images/{id}.png") == {"x": ("s/x/images/x.png",), "y": ("s/y/images/y.png",)}
    assert list(find(tmp_path, "s/{id}/images/*.png")) == ["x", "y"]
    assert find(tmp_path, "{id}.jpg") == {"a": ("a.jpg",)}
    assert list(find(tmp_path, "{val,train}/{id}.{jpg,png}")) == ["a", "c"]
