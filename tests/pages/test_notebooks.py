"""Notebooks: what is committed was executed, and shows no path of the machine that did it."""

import json
import re
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests import ROOT
from unets.errors import InputError
from unets.pages.notebooks import DEMO, execute_notebook, list_notebooks, open_project
from unets.store.paths import Project

PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
ABSOLUTE = re.compile(r"(?<![\w./~])/(?:home|root|tmp|usr|opt|var|mnt|work|data|Users)/|[A-Z]:\\\\")

needs_kernel = pytest.mark.skipif(find_spec("nbclient") is None, reason="needs '.[notebooks]'")


def write(path: Path, *sources: str) -> Path:
    """Writes a notebook of code cells as an editor leaves it: random ids, metadata of its own, no outputs."""
    about = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": []}
    cells = [{**about, "id": f"random{number}", "source": source} for number, source in enumerate(sources)]
    content = {"cells": cells, "metadata": {"kernelspec": {"name": "mine"}}, "nbformat": 4, "nbformat_minor": 4}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def list_outputs(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [output for cell in notebook["cells"] for output in cell.get("outputs", [])]


def test_what_is_no_notebook_is_refused(tmp_path: Path) -> None:
    (tmp_path / "01_a.ipynb").write_text('{"nbformat": 3}')
    assert list_notebooks(tmp_path, ["01"]) == [tmp_path / "01_a.ipynb"]
    with pytest.raises(InputError, match=r"must hold the notebooks 02. Received: \['01'\]"):
        list_notebooks(tmp_path, ["01", "02"])


def test_variables_choose_the_project(
    make_competition: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_competition(num_groups=2).configs_dir.parents[1]
    (root / "notebooks").mkdir()
    for folder, up in (root, Path()), (root / "notebooks", Path("..")):
        monkeypatch.chdir(folder)
        project, dataset = open_project({"COMPETITION": "tiny", "INPUT": "input", "MODELS": ""})
        assert project == Project.below(up, "tiny", input_dir=up / "input")
        assert (dataset.num_folds, project.input_dir.is_dir()) == (2, True)
    assert open_project({"COMPETITION": "tiny", "INPUT": "/photos"})[0].input_dir == Path("/photos")
    with pytest.raises(InputError, match=rf"`COMPETITION` must be one of tiny. Received: {DEMO}"):
        open_project({})
    monkeypatch.chdir("/")
    with pytest.raises(InputError, match="must be opened within the repository"):
        open_project({})


@needs_kernel
@pytest.mark.slow
def test_a_kernel_s_outputs_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, out_path = tmp_path / "01_a.ipynb", tmp_path / "out" / "01_a.ipynb"
    write(
        path,
        "import os, sys\nfrom pathlib import Path\nprint(os.environ['WHO'], Path('here.txt').exists(), sys.executable)",
        "from matplotlib import pyplot as plt\nplt.plot([1, 2])\nplt.show()",
        "import numpy as np\n"
        "from unets.data.drawing import Picture\nPicture(np.zeros((8, 8, 3), dtype=np.uint8), 'black')",
    )
    (tmp_path / "here.txt").touch()
    monkeypatch.setenv("MPLBACKEND", "agg")  # of the caller's: charts are shown all the same
    execute_notebook(path, out_path, working_dir=tmp_path, environment={"WHO": "world"})
    executed = json.loads(out_path.read_text())
    printed, chart, picture = list_outputs(executed)
    assert "".join(printed["text"]) == f"world True {sys.executable}\n"
    assert {"image/png", "text/plain"} == chart["data"].keys()
    assert picture["data"].keys() == {"image/jpeg", "text/plain"} and picture["data"]["text/plain"] == ["black"]
    assert executed["metadata"]["kernelspec"]["name"] == "mine" and "execution" not in executed["cells"][0]["metadata"]


@needs_kernel
@pytest.mark.slow
def test_a_failing_cell_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    path = write(tmp_path / "07_b.ipynb", "a = 1", "# second\nraise ValueError('no such thing')", "a")
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"^`07_b.ipynb`, cell 2 \(`# second`\): ValueError: no such thing$"):
        execute_notebook(path, path, working_dir=tmp_path, environment={})
    assert path.read_bytes() == before


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_committed_notebooks_were_executed_without_an_error(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    counts = [cell["execution_count"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1)), "run `unets notebooks`"
    outputs = list_outputs(notebook)
    assert all(output["output_type"] != "error" and output.get("name") != "stderr" for output in outputs)
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    assert "image/jpeg" in kinds or "image/png" in kinds
    assert path.stat().st_size <= 1_500_000
    for output in outputs:
        texts = [output.get("text", []), *(output["data"][kind] for kind in output.get("data", ()) if "text" in kind)]
        for text in ("".join(lines) for lines in texts):
            assert not ABSOLUTE.search(text) and " at 0x" not in text, text
