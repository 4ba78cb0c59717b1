"""`make`: its targets, its variables, and that any value reaches the command."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT
from unets.cli.app import find_parameters, load_app

VALUES = [
    *("a b", "it's", 'say "x"', "$HOME", "$(shell touch hacked)", "$(", "`touch hacked`", "$$x", "a\nb"),
    *("r\u00e9sum\u00e9 \u732b", "a;b|c&d", "x=y", "a\\b", "*", "#no", "-x"),
]
ECHO = """#!{python}
import json, os, sys
print(json.dumps({{"words": sys.argv[1:], "given": {{k: v for k, v in os.environ.items() if k.startswith("UNETS_")}}}}))
"""


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """A folder of an environment whose Python prints, as JSON, how it was called."""
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(ECHO.format(python=sys.executable))
    python.chmod(0o755)
    for stamp in (".ready", ".ready-dev"):
        (tmp_path / "venv" / stamp).touch()
    return tmp_path / "venv"


def make(*arguments: str, code: int = 0, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(["make", *arguments], cwd=ROOT, env=clean | environment, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def read_list(name: str) -> set[str]:
    """Reads a variable of the Makefile."""
    text = (ROOT / "Makefile").read_text()
    return set(re.search(rf"^{name} +:= ((?:.*\\\n)*.*)", text, flags=re.MULTILINE)[1].replace("\\", "").split())  # type: ignore[index]


def test_make_alone_prints_every_target_in_the_order_of_the_flow() -> None:
    said = make()
    assert said == make("help") and max(map(len, said.splitlines())) <= 80
    groups = re.findall(r"^([a-z]+)$", said, flags=re.MULTILINE)
    assert groups == ["start", "data", "train", "evaluate", "submit", "use", "develop"]
    stages = read_list("STAGES")
    for target in {*stages, "setup", "test", "lint"}:
        assert re.search(rf"^  {target} +\S", said, flags=re.MULTILINE), target
    assert stages | {"mask", "info", "labels", "serve"} == {command.name for command in load_app().registered_commands}
    for competition in (path.parent.name for path in (ROOT / "configs").glob("*/dataset.py")):
        assert competition in said


def test_every_option_is_a_variable_and_the_other_way_round() -> None:
    found = {
        one.envvar.removeprefix("UNETS_")
        for command in load_app().registered_commands
        for one in find_parameters(command.name or "")
        if one.envvar
    }
    # Of `unets mask`, `serve`, `labels`; of another repository.
    no_target = {"CUTOUT", "OVERLAY", "AS_STORED", "OVERWRITE", "BACKGROUND", "FORMAT", "PORT", "ROOT"}
    assert found - no_target == read_list("VARIABLES") - {"TORCH_PYTHON"}


@pytest.mark.parametrize("value", VALUES)
def test_any_value_reaches_the_command(value: str, venv: Path) -> None:
    given = dict.fromkeys(("INPUT", "MODELS", "MESSAGE", "EXP", "SET"), value)
    words = [f"{name}={value}" for name in given]
    said = json.loads(make("train", f"VENV={venv}", *words, "-o", f"{venv}/.ready"))
    assert said["words"] == ["-m", "unets", "train"]
    assert said["given"] == {"UNETS_MAKE": "1", **{f"UNETS_{name}": value for name in given}}
    assert not (ROOT / "hacked").exists()


def test_variables_of_the_environment_count_but_for_the_machine_s_name(venv: Path) -> None:
    said = json.loads(make("train", f"VENV={venv}", "-o", f"{venv}/.ready", COMPETITION="studio", NAME="my-machine"))
    assert said["given"] == {"UNETS_MAKE": "1", "UNETS_COMPETITION": "studio"}


@pytest.mark.parametrize(
    ("word", "near"),
    [
        *(("COMPETITON=x", "COMPETITION"), ("competition=x", "COMPETITION"), ("FOLDS=1", "FOLD")),
        *(("EPOCHS=3", "SET=training.epochs=..."), ("BATCH_SIZE=3", "SET=data.batch_size=...")),
        *(("ANEW=1", None), ("a'`touch${IFS}hacked`'=1", None)),
    ],
)
def test_an_unknown_variable_names_the_nearest(word: str, near: str | None) -> None:
    said = make("train", *word.split(" "), "VENV=none", f"PYTHON={sys.executable}", code=2)
    if near is None:
        assert "no such variable: " in said and "did you mean" not in said
    else:
        assert f"no such variable: {word.split('=')[0]}; did you mean {near}?" in said
    assert not (ROOT / "hacked").exists()


@pytest.mark.parametrize("options", [[], ["-j", "4"]])
def test_targets_run_one_after_the_other(options: list[str], venv: Path) -> None:
    lines = make("pipeline", "score", "show", f"VENV={venv}", "-o", f"{venv}/.ready", *options).splitlines()
    assert [json.loads(line)["words"][-1] for line in lines] == ["pipeline", "score", "show"]
