"""Annotations of every format, damaged at random: they are read and drawn, or one line names the folder."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unets.dataset.importers.listing import list_input
from unets.dataset.importers.search import choose, read
from unets.errors import InputError

from ..dataset.importers import test_polygons as polygons
from ..dataset.importers.drawing import Drawing
from .damage import damages, fuzzed

FORMATS = ("coco", "coco runs", "yolo", "labelme", "cvat", "supervisely")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder of each format, as the tests of importers draw it."""
    found = {}
    for name in FORMATS:
        found[name] = tmp_path_factory.mktemp("drawn")
        polygons.test_formats(Drawing(found[name]), name)
    return found


@pytest.mark.parametrize("name", FORMATS)
@given(place=st.floats(0, 1, exclude_max=True), damage=damages())
@fuzzed
def test_annotations_are_read_or_named(
    folders: dict[str, Path], tmp_path: Path, name: str, place: float, damage: Callable[[bytes], bytes]
) -> None:
    root = tmp_path / "root"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(folders[name], root)
    files = sorted(path for path in root.rglob("*.*") if path.suffix not in (".png", ".jpg"))
    path = files[int(place * len(files))]
    path.write_bytes(damage(path.read_bytes()))
    try:
        source = choose(list_input(root)).source
        for sample in read(list_input(root), source).samples:
            sample.draw()
    except InputError as error:
        assert str(error).count("\n") < 20, error
