"""The script for a card runs whole, a part that fails costs itself alone; what else is imported is there."""

import argparse
import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests import ROOT

BENCHMARKS_DIR = ROOT / "benchmarks"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="benchmarks read /proc")


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Imports a module of benchmarks/, where they import each other by their bare names."""
    monkeypatch.syspath_prepend(BENCHMARKS_DIR)
    return import_module


@pytest.mark.slow
@pytest.mark.skipif(find_spec("jax") is None, reason="jax is not installed")
def test_the_card_s_script_runs_whole_on_a_cpu_without_tensorflow(load: Callable[[str], Any], tmp_path: Path) -> None:
    words = [sys.executable, str(BENCHMARKS_DIR / "card.py"), "--smoke", "--minutes", "60"]
    done = subprocess.run([*words, "--out", str(tmp_path / "card.json")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((tmp_path / "card.json").read_text())
    parts = record["parts"]
    assert list(parts) == list(load("card").BUDGETS)
    assert parts["correctness"]["within_tolerance"] and parts["correctness"]["images"] > 3
    assert parts["correctness"]["resumed_differing"] == 0 < parts["correctness"]["resumed_arrays"]
    assert [row["what"].split(" / ")[1] for row in parts["prediction"]["rows"]] == [
        "image by image",
        "forward pass alone",
    ]
    assert bool(parts["speed_640x959"]["rows"]) == (find_spec("torch") is not None)
    assert parts["memory"]["rows"][-1]["measured_gib"] > 0
    assert 0 <= parts["training"]["score"] <= 1
    assert "## training" in load("card").render_page(record)


def test_a_part_of_the_card_s_script_that_fails_or_takes_too_long_costs_itself_alone(
    load: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "KERAS_BACKEND", "none")
    card = load("card")
    args = argparse.Namespace(input=tmp_path, work=tmp_path, seconds=1.0, smoke=True)
    assert card.run_part("maps", args, 0.2) == {"failed": "it took more than 0.2 s"}
    assert "none" in card.run_part("memory", args, 600.0)["failed"]
    failed = {"origin": {"date": "today", "git_commit": "0"}, "parts": {"maps": {"failed": "why", "seconds": 1.0}}}
    assert "| why | 1 |" in card.render_page(failed)


def test_the_card_s_page_is_what_its_record_renders_to(load: Callable[[str], Any]) -> None:
    card = load("card")
    record = json.loads(card.RESULT.read_text()) if card.RESULT.exists() else None
    assert card.PAGE.read_text(encoding="utf-8") == card.render_page(record)


def _list_sources() -> dict[str, str]:
    """Returns the code of benchmarks and notebooks, which type checks do not see, by file."""
    found = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "benchmarks").glob("*.py"))}
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        found[path.name] = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return found


@pytest.mark.parametrize(("name", "source"), _list_sources().items(), ids=_list_sources())
def test_what_is_imported_from_the_package_is_there(name: str, source: str) -> None:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "unets":
            module = import_module(str(node.module))
            missing = [one.name for one in node.names if not hasattr(module, one.name)]
            for submodule in missing:
                import_module(f"{node.module}.{submodule}")
