"""What README.md says is there, is there."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests import ROOT
from unets.config import DatasetConfig, EnsembleConfig, ExperimentConfig, list_experiments, load_dataset, load_ensemble
from unets.evaluation.results import render_results

README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = ROOT / "docs" / "results"
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def test_every_make_command_is_a_target() -> None:
    targets = set(re.findall(r"^([a-z-]+):.* ## ", MAKEFILE, flags=re.MULTILINE))
    mentioned = {
        word
        for command in re.findall(
            r"\bmake ((?:[a-z-]+ ?)+)", "\n".join(re.findall(r"`[^`]+`|^make .*$", README, flags=re.M))
        )
        for word in command.split()
    }
    assert mentioned, "the README names no target"
    assert mentioned <= targets


def test_every_variable_of_the_table_is_one_of_the_makefile() -> None:
    for name in re.findall(r"`([A-Z]+)=`", README):
        assert re.search(rf"^(VARIABLES|KNOWN|  ).*\b{name}\b", MAKEFILE, flags=re.MULTILINE), name


def test_every_file_to_read_exists() -> None:
    for path in re.findall(r"`((?:src|configs|scripts|input|tests)/[\w/.]*\w)`", README):
        if "mine" not in path:
            assert (ROOT / path).exists(), path


BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("block", [block for block in BLOCKS if "load_model" not in block])  # those: tests/export
def test_every_python_block_is_a_config(block: str) -> None:
    found: dict[str, object] = {}
    exec(block, found)
    assert any(isinstance(value, DatasetConfig | ExperimentConfig | EnsembleConfig) for value in found.values())


def test_results_page_is_what_the_records_render_to() -> None:
    assert (RESULTS / "README.md").read_text(encoding="utf-8") == render_results(RESULTS)


@pytest.mark.parametrize("folder", sorted((ROOT / "configs").iterdir()), ids=lambda path: path.name)
def test_experiments_say_how_they_are_run(folder: Path) -> None:
    load_dataset(folder)
    assert set(load_ensemble(folder).experiments) <= set(list_experiments(folder))
    for name in list_experiments(folder):
        docstring = (folder / f"{name}.py").read_text(encoding="utf-8").split('"""')[1]
        assert f"EXP={name}" in docstring, name


@pytest.mark.parametrize("name", ["requirements.txt", ".ci/requirements-dev.txt"])
def test_requirements_give_a_reason_each_and_lie_within_the_ranges(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ranges = [
        Requirement(line)
        for lines in (project["dependencies"], *project["optional-dependencies"].values())
        for line in lines
    ]
    pinned = [line for line in (ROOT / name).read_text(encoding="utf-8").splitlines() if "==" in line]
    for line in pinned:
        pin = re.fullmatch(r"(?P<name>[\w-]+)==(?P<version>[\w.]+) +# .+", line)
        assert pin, line
        known = [found for found in ranges if found.name.lower() == pin["name"].lower()]
        assert known, f"{pin['name']} has no range in pyproject.toml"
        assert all(found.specifier.contains(pin["version"]) for found in known), line


def test_the_root_stays_small() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert len({path.split("/")[0] for path in listed.splitlines()}) <= 16
