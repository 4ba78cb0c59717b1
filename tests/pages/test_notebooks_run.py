"""Every notebook's code, on tiny competitions, in this process: a kernel each would take a minute.

The kernel's notebook trains the nets that the others show.
"""

import csv
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from joblib.externals.loky import get_reusable_executor

from tests import ROOT
from tests.trained_competition import SMALL
from unets.config import EnsembleConfig
from unets.ensemble.ensemble import read_ensemble
from unets.pages.notebooks import list_notebooks
from unets.store.paths import Project
from unets.submission.kaggle.dataset import build_wheel
from unets.submission.kaggle.kernel import imitate_kernel

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("matplotlib") is None, reason="needs '.[notebooks]'"),
]

NOTEBOOKS_DIR = ROOT / "notebooks"


@pytest.fixture
def run_cells(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a notebook's cells in a folder, with some variables, as a kernel would; returns what they print."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    def run(number: str, folder: Path, **variables: str) -> str:
        (path,) = list_notebooks(NOTEBOOKS_DIR, [number])
        with monkeypatch.context() as patch:
            patch.setattr(plt, "show", lambda: [plt.figure(one).canvas.draw() for one in plt.get_fignums()])
            patch.chdir(folder)
            get_reusable_executor().shutdown()  # its workers stand in another notebook's folder
            for name in ("COMPETITION", "INPUT", "MODELS", "EXP", "FOLD", "SUBMISSION"):
                patch.delenv(name, raising=False)
            for name, value in variables.items():
                patch.setenv(name, value)
            logger = logging.getLogger("unets")  # which the kernel's notebook sets up
            for name in ("handlers", "propagate", "level"):
                patch.setattr(logger, name, getattr(logger, name))
            namespace: dict[str, Any] = {"__name__": "__main__"}
            for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
                if cell["cell_type"] == "code":
                    exec("".join(cell["source"]), namespace)
                    plt.close("all")
        return capsys.readouterr().out

    return run


@pytest.fixture(scope="module")
def competition(tmp_path_factory: pytest.TempPathFactory, write_competition: Callable[..., Project]) -> Project:
    configs = {"small": SMALL, "ensemble": EnsembleConfig(experiments=("small",))}
    root = tmp_path_factory.mktemp("notebooks")
    project = write_competition(root, num_groups=4, num_test_groups=1, configs=configs)
    project.models_dir.mkdir(parents=True)
    return project


def attach(project: Project, folder: Path) -> dict[str, str]:
    """Imitates what is attached to a kernel; returns the variables that say where."""
    attached_dir, working_dir = imitate_kernel(project, folder)
    return {"COMPETITION": "tiny", "KAGGLE_INPUT": str(attached_dir), "KAGGLE_WORKING": str(working_dir)}


def count_rows(path: Path) -> int:
    with path.open(newline="") as file:
        return len(list(csv.DictReader(file)))


def test_a_kernel_trains_and_then_predicts_offline_and_all_others_show_it(
    competition: Project, tmp_path: Path, run_cells: Callable[..., str]
) -> None:
    folders = {name: tmp_path / name for name in ("training", "inference")}
    for folder in folders.values():
        folder.mkdir()
    given = attach(competition, folders["training"])
    said = run_cells("06", tmp_path, FOLD="0,1", **given)
    working_dir = folders["training"] / "working"
    assert "16 training photos, 4 test photos\ntrained nets: none\n" in said and "epoch 8/8" in said
    assert count_rows(working_dir / "submission.csv") == 4

    # What it trained is what the others show, and what the next kernel has attached.
    root = competition.configs_dir.parents[1]
    shutil.copytree(working_dir / "models" / "tiny", competition.models_dir, dirs_exist_ok=True)
    shutil.copytree(working_dir / "submissions" / "tiny", competition.submissions_dir)
    assert read_ensemble(competition).folds == (0, 1)
    again = run_cells("06", tmp_path, **attach(competition, folders["inference"]))
    assert "trained nets: ensemble\n" in again and "epoch" not in again
    offline_dir = folders["inference"] / "working"
    assert (offline_dir / "submission.csv").read_bytes() == (working_dir / "submission.csv").read_bytes()

    (root / "notebooks").mkdir()
    for number in ("01", "02", "03", "04", "05"):
        said = run_cells(number, root / "notebooks", COMPETITION="tiny", INPUT="input")
        assert str(tmp_path) not in said and str(root) not in said
    single = run_cells("04", root / "notebooks", COMPETITION="tiny", INPUT="input", EXP="small")
    assert single.startswith("small of tiny: dice")


def test_a_kernel_installs_the_attached_package(tmp_path: Path) -> None:
    """pip itself, offline, into a folder of the test's own."""
    bundle_dir, target_dir = tmp_path / "input" / "unets-tiny", tmp_path / "site"
    bundle_dir.mkdir(parents=True)
    wheel_path = build_wheel(bundle_dir)
    (path,) = list_notebooks(NOTEBOOKS_DIR, ["06"])
    first = next(cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code")
    program = "".join(first["source"]) + "\nimport unets\nprint(unets.__file__)\n"
    variables = {
        "KAGGLE_INPUT": str(tmp_path / "input"),
        "PIP_TARGET": str(target_dir),
        "PYTHONPATH": str(target_dir),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env={**os.environ, **variables}
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"package: {wheel_path.name}\n{target_dir / 'unets' / '__init__.py'}\n"
    assert (target_dir / "unets" / "pages" / "notebooks.mplstyle").exists()  # data of the package come along
