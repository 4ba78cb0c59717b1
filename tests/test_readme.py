"""What README.md says is there, is there."""

import re
from pathlib import Path

import pytest

from tests import ROOT
from unets.config import DatasetConfig, EnsembleConfig, ExperimentConfig, list_experiments, load_dataset, load_ensemble
from unets.evaluation.results import render_results

README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def test_every_make_command_is_a_target() -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, flags=re.MULTILINE))
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
        assert re.search(rf"^{name} +\?=", MAKEFILE, flags=re.MULTILINE), name


def test_every_file_to_read_exists() -> None:
    for path in re.findall(r"`((?:src|configs|scripts|input|tests)/[\w/.]*\w)`", README):
        if "mine" not in path:
            assert (ROOT / path).exists(), path
    for folder in re.findall(r"^([a-z]+)/", README, flags=re.MULTILINE):
        assert (ROOT / folder).is_dir(), folder


BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("block", [block for block in BLOCKS if "load_model" not in block])  # those: tests/export
def test_every_python_block_is_a_config(block: str) -> None:
    found: dict[str, object] = {}
    exec(block, found)
    assert any(isinstance(value, DatasetConfig | ExperimentConfig | EnsembleConfig) for value in found.values())


def test_results_page_is_what_the_records_render_to() -> None:
    assert (ROOT / "RESULTS.md").read_text(encoding="utf-8") == render_results(ROOT / "results")


@pytest.mark.parametrize("folder", sorted((ROOT / "configs").iterdir()), ids=lambda path: path.name)
def test_experiments_say_how_they_are_run(folder: Path) -> None:
    load_dataset(folder)
    assert set(load_ensemble(folder).experiments) <= set(list_experiments(folder))
    for name in list_experiments(folder):
        docstring = (folder / f"{name}.py").read_text(encoding="utf-8").split('"""')[1]
        assert f"EXP={name}" in docstring, name


def test_requirements_give_a_reason_each_and_agree_with_the_ranges() -> None:
    pinned = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if "==" in line]
    assert all(re.fullmatch(r"[\w-]+==[\w.]+ +# .+", line) for line in pinned)
    ranges = (ROOT / "pyproject.toml").read_text()
    for line in pinned:
        assert f'"{line.split("==")[0]}>=' in ranges, line
