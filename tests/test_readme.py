"""What README and docs say is there, is there; what they show can be run."""

import ast
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import typer
from packaging.requirements import Requirement

import unets
from tests import ROOT
from unets.cli.app import load_app
from unets.config import (
    DatasetConfig,
    EnsembleConfig,
    ExperimentConfig,
    list_experiments,
    load_dataset,
    load_ensemble,
    load_experiment,
)
from unets.evaluation.results import render_results

README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REQUIREMENTS = [
    Requirement(line)
    for lines in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    for line in lines
]
RESULTS = ROOT / "docs" / "results"
PAGES = [ROOT / "README.md", *sorted(path for path in (ROOT / "docs").rglob("*.md") if path.parent.name != "log")]


def list_blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.DOTALL)


def list_commands(program: str) -> Iterator[tuple[str, list[str]]]:
    """Yields (page, words after the program's name) of each line of each block of shell, and of `...` in the text."""
    for path in PAGES:
        name = path.relative_to(ROOT).as_posix()
        text = path.read_text(encoding="utf-8")
        inline = re.findall(rf"`({program} [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
        for line in [line for block in list_blocks(path, "sh") for line in block.splitlines()] + inline:
            words = shlex.split(line, comments=True)
            while words and "=" in words[0]:
                words.pop(0)
            if words and words[0].rpartition("/")[2] == program:
                yield name, words[1:]


def test_the_readme_is_short_and_its_links_lead_somewhere() -> None:
    assert len(README.encode()) <= 6000
    for path in PAGES:
        text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            target = link.partition("#")[0]
            if target and not link.startswith(("http", "../../actions")):
                assert (path.parent / target).exists(), f"{path}: {link}"


def test_every_make_command_is_a_target() -> None:
    targets = set(re.findall(r"^([a-z-]+):.* ## ", MAKEFILE, flags=re.MULTILINE))
    mentioned = [(page, word) for page, words in list_commands("make") for word in words if "=" not in word]
    assert mentioned, "no page names a target"
    assert [found for found in mentioned if found[1] not in targets | {"TARGET"}] == []


COMMANDS = [
    (page, words) for page, words in list_commands("unets") if words[0] not in ("COMMAND", "--install-completion")
]


@pytest.mark.parametrize(("page", "words"), COMMANDS, ids=[" ".join(words)[:60] for _, words in COMMANDS])
def test_every_command_and_option_exists(page: str, words: list[str]) -> None:
    group: Any = typer.main.get_command(load_app())
    command = group.commands[words[0]]
    if words[1:] and words[1] != "--help" and words[1] != "COMMAND":
        command.make_context(words[0], words[1:])  # an unknown option, or one without its value, raises


def test_figures_of_the_readme_are_recorded() -> None:
    recorded = (RESULTS / "README.md").read_text(encoding="utf-8")
    intervals = re.findall(r"0\.\d{5}(?: \(0\.\d{5} to 0\.\d{5}\))?", README)
    assert len(intervals) >= 3
    assert [one for one in intervals if one not in recorded] == []


def test_results_page_is_what_the_records_render_to() -> None:
    assert (RESULTS / "README.md").read_text(encoding="utf-8") == render_results(RESULTS)


def test_generated_reference_is_up_to_date() -> None:
    for name, text in runpy.run_path(str(ROOT / "docs" / "make_reference.py"))["render_pages"]().items():
        path = ROOT / "docs" / "reference" / name
        assert path.read_text(encoding="utf-8") == text, f"{path}: run `python docs/make_reference.py`"


def test_python_blocks_use_what_there_is() -> None:
    blocks = [block for path in PAGES for block in list_blocks(path, "python")]
    assert blocks
    for block in blocks:
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module == "unets":
                assert {alias.name for alias in node.names} <= set(unets.__all__)
        if "unets.config" in block:
            exec(block, {})  # a config that its schema refuses raises


@pytest.mark.parametrize("folder", sorted((ROOT / "configs").iterdir()), ids=lambda path: path.name)
def test_experiments_say_how_they_are_run(folder: Path) -> None:
    dataset, ensemble = load_dataset(folder), load_ensemble(folder)
    assert set(ensemble.experiments) <= set(list_experiments(folder))
    for name in list_experiments(folder):
        docstring = ast.get_docstring(ast.parse((folder / f"{name}.py").read_text(encoding="utf-8"))) or ""
        assert name in docstring, name
        experiment = load_experiment(folder, name)
        assert all(fold < dataset.num_folds for fold in experiment.folds or ())
        assert ExperimentConfig.from_json(experiment.to_json(), name) == experiment
    assert DatasetConfig.from_json(dataset.to_json(), "dataset") == dataset
    assert EnsembleConfig.from_json(ensemble.to_json(), "ensemble") == ensemble


@pytest.mark.parametrize("name", ["requirements.txt", ".ci/requirements-dev.txt"])
def test_requirements_give_a_reason_each_and_lie_within_the_ranges(name: str) -> None:
    pinned = [line for line in (ROOT / name).read_text(encoding="utf-8").splitlines() if "==" in line]
    for line in pinned:
        pin = re.fullmatch(r"(?P<name>[\w-]+)==(?P<version>[\w.]+) +# .+", line)
        assert pin, line
        known = [found for found in REQUIREMENTS if found.name.lower() == pin["name"].lower()]
        assert known, f"{pin['name']} has no range in pyproject.toml"
        assert all(found.specifier.contains(pin["version"]) for found in known), line


def test_every_import_is_declared() -> None:
    declared = {re.sub(r"[-_.]+", "-", one.name).lower() for one in REQUIREMENTS}
    distributions, missing = packages_distributions(), set[str]()
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for root in {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"unets"}:
                found = {re.sub(r"[-_.]+", "-", name).lower() for name in distributions.get(root, [root])}
                if not found & declared:
                    missing.add(f"{path.relative_to(ROOT)}: {root}")
    assert not missing


def test_the_root_stays_small() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert len({path.split("/")[0] for path in listed.splitlines()}) <= 18
