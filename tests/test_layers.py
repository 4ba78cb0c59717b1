"""Imports point down only, and only the rooms that may do so load cv2 and Keras."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import ROOT

SOURCE_DIR = ROOT / "src"

# Every package has a layer of its own and imports those that come before it in this list alone.
ORDER = (
    *("errors", "log", "tables", "config", "store", "workers", "data", "metrics", "dataset", "nets", "training"),
    *("prediction", "ensemble", "submission", "evaluation", "export", "pages", "studio", "cli", "__main__"),
)
LAYERS = {name: layer for layer, name in enumerate(ORDER)}
CV2_ROOMS = ("data", "studio", "ensemble.postprocess", "ensemble.shape", "export.pictures", "export.labels")
KERAS_ROOMS = ("nets", "training", "prediction.loading", "prediction.pipeline", "data.batches", "export")
KERAS_MODULES = {"keras", "tensorflow", "jax", "torch"}
SLOW_MODULES = KERAS_MODULES | {"scipy.stats", "scipy.spatial", "sklearn"}  # the latter take 0.2 to 1 s
# Pages and submissions are made without waiting seven seconds for TensorFlow, or half a second for scipy.stats.
LIGHT_MODULES = (
    *("dataset.manifest", "dataset.checks", "dataset.folds", "data.io", "ensemble.ensemble", "ensemble.recipe"),
    *("prediction.maps", "ensemble.postprocess", "ensemble.score", "submission.submission", "evaluation.compare"),
    *("evaluation.contributions", "evaluation.runs", "submission.kaggle.kernel", "dataset.scaffold"),
    *("pages.notebooks", "pages.report", "pages.page", "evaluation.results", "pages.screen"),
    *("submission.kaggle.data", "submission.kaggle.dataset", "submission.kaggle.submissions"),
    *("export.card", "export.oof", "export.sources", "export.masking", "export.programs"),
    *("export.model", "export.pictures", "nets.startup", "cli.use"),
)


def list_modules() -> dict[str, Path]:
    """Returns the file of each module, named below `unets`: `data.io`."""
    modules = {}
    for path in sorted((SOURCE_DIR / "unets").rglob("*.py")):
        parts = path.relative_to(SOURCE_DIR / "unets").with_suffix("").parts
        modules[".".join(part for part in parts if part != "__init__")] = path
    return modules


MODULES = list_modules()


def list_imports(path: Path) -> Iterator[str]:
    """Yields the full name of everything that a file imports, within functions and for type checkers too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def list_rooms(name: str) -> set[str]:
    """Returns the modules of the package that a file imports: `data.io` for `unets.data.io.read_image`."""
    rooms = set()
    for imported in list_imports(MODULES[name]):
        parts = imported.split(".")
        if parts[0] == "unets":
            inner = [".".join(parts[1:end]) for end in range(len(parts), 1, -1)]
            rooms.add(next((candidate for candidate in inner if candidate in MODULES), ""))
    return rooms - {""}


def lies_in(name: str, rooms: tuple[str, ...]) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


@pytest.mark.parametrize("name", [name for name in MODULES if name])
def test_imports_point_down_and_cv2_and_keras_stay_where_they_belong(name: str) -> None:
    folder = name.split(".")[0]
    assert folder in LAYERS, f"{name} has no layer: give it one here"
    for room in list_rooms(name):
        other = room.split(".")[0]
        assert other == folder or LAYERS[other] < LAYERS[folder], (
            f"{name} imports {room}, which comes after it in ORDER"
        )
        for apart in ({"training", "prediction"}, {"data", "nets"}):  # they meet on disk; neither knows the other
            assert {folder, other} != apart, f"{name} imports {room}"
    roots = {imported.split(".")[0] for imported in list_imports(MODULES[name])}
    assert "cv2" not in roots or lies_in(name, CV2_ROOMS), f"{name} imports cv2"
    assert not roots & KERAS_MODULES or lies_in(name, KERAS_ROOMS), f"{name} imports {sorted(roots & KERAS_MODULES)}"


def test_no_two_rooms_import_each_other() -> None:
    imported = {name: list_rooms(name) - {name} for name in MODULES if name}
    # Rooms that import nothing unvisited are taken away until none is left; what stays is a circle.
    while free := [name for name, rooms in imported.items() if not rooms & imported.keys()]:
        for name in free:
            del imported[name]
    assert not imported, f"these import each other in a circle: {sorted(imported)}"


def test_light_modules_load_nothing_slow() -> None:
    names = [f"unets.{name}" for name in LIGHT_MODULES]
    # One process for all: the first that loads it is named.
    program = f"""
import importlib, sys
for name in {names}:
    importlib.import_module(name)
    slow = {SLOW_MODULES} & set(sys.modules)
    assert not slow, f"importing {{name}} loads {{sorted(slow)}}"
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_importing_does_nothing(tmp_path: Path) -> None:
    """No folder is made, no log set up, nothing printed, no random state touched."""
    names = [f"unets.{name}" for name in MODULES if name and LAYERS.get(name, 99) <= LAYERS["config"]]
    program = f"""
import importlib, logging, random, sys
import numpy as np
import rich.style  # it draws a number as it is imported
before = random.getstate(), np.random.get_state()[1].tolist()
for name in {names}:
    importlib.import_module(name)
assert (random.getstate(), np.random.get_state()[1].tolist()) == before
assert not logging.getLogger().handlers and not logging.getLogger("unets").handlers
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []
