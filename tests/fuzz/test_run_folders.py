"""What a pipeline leaves, damaged at a random place: each command gives the right bytes, or one line names the file."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.submissions import write_submission
from unets.config import EnsembleConfig
from unets.store.paths import Project

from .. import limit_files, run_unets
from ..pages.conftest import GIVEN, leave_trained
from ..trained_competition import write_maps
from .damage import damages, find_strangers, fuzzed

COMMANDS = (
    *((name,) for name in ("summary", "runs", "ensemble", "submission", "check-submission", "score", "data", "check")),
    *(("split",), ("compare", "a", "b"), ("report", "--top", "1")),
)


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory, write_competition: Callable[..., Project]) -> Path:
    """The folder of a pipeline that has ended; its nets were never trained."""
    root = tmp_path_factory.mktemp("left")
    configs = {"ensemble": EnsembleConfig(experiments=("a", "b"), **GIVEN)}
    sizes = {"num_groups": 4, "num_test_groups": 1, "num_views": 2, "size_hw": (32, 48)}
    project, dataset = leave_trained(write_competition(root, configs=configs, **sizes))
    for seed, name in enumerate("ab"):
        write_maps(project, dataset, name, seed=seed, kinds=("test",))
    write_submission(project, dataset)
    assert _run(root, "score") == 0
    return root


def _run(root: Path, command: str, *words: object) -> int:
    return run_unets(command, "tiny", *words, "--root", root, "--input", root / "input", "--jobs", "1")


def _wreck(path: Path, kind: str, damage: Callable[[bytes], bytes]) -> None:
    content = path.read_bytes()
    path.unlink()
    if kind == "bytes":
        path.write_bytes(damage(content))
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "dangling":
        path.symlink_to("nothing")


@given(
    place=st.floats(0, 1, exclude_max=True),
    part=st.sampled_from(("models", "models", "submissions", "input", "configs")),
    kind=st.sampled_from(("bytes", "bytes", "bytes", "gone", "folder", "pipe", "loop", "dangling")),
    command=st.sampled_from(COMMANDS),
    damage=damages(),
)
@fuzzed
def test_a_damaged_file_is_named_and_nothing_is_wrong_in_silence(
    left: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    place: float,
    part: str,
    kind: str,
    command: tuple[str, ...],
    damage: Callable[[bytes], bytes],
) -> None:
    root = tmp_path / "root"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(left, root)
    files = sorted(path for path in (root / part).rglob("*") if path.is_file() and not path.name.startswith("."))
    _wreck(files[int(place * len(files))], kind, damage)
    capsys.readouterr()
    code = _run(root, *command)
    said = capsys.readouterr()
    assert code in (0, 1), said
    assert not find_strangers(tmp_path, {root}), said
    if code == 1:
        errors = [line for line in said.err.splitlines() if "error: " in line]
        assert len(errors) == 1, said.err
    elif part in ("models", "submissions") and command[0] in ("submission", "check-submission"):
        for path in sorted((left / "submissions").rglob("*.csv.gz")):
            assert (root / path.relative_to(left)).read_bytes() == path.read_bytes(), said.err


@pytest.mark.parametrize(
    ("command", "gone"),
    [
        *((("import",), "samples.csv"), (("check",), "checked.jsonl"), (("split",), "folds.csv")),
        *((("ensemble",), "ensemble.json"), (("submission",), ""), (("report", "--top", "1"), "")),
        (("data", "--sheet"), ""),
    ],
)
def test_a_full_disk_is_one_line_and_what_was_there_stays(
    left: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...], gone: str
) -> None:
    root = tmp_path / "root"
    shutil.copytree(left, root)
    if gone:
        (root / "models" / "tiny" / gone).unlink(missing_ok=True)
    words = [*command, *([str(root / "sheet.jpg")] if "--sheet" in command else [])]
    before = {path: path.read_bytes() for path in root.rglob("*.csv.gz")}
    capsys.readouterr()
    with limit_files(100):
        code = _run(root, *words)
    errors = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert code == 1 and len(errors) == 1 and "File too large" in errors[0], errors
    assert all(path.read_bytes() == content for path, content in before.items())
    assert not [path for path in root.rglob(".part-*") if path.is_file()]
    assert _run(root, *words) == 0
    assert all(path.read_bytes() == content for path, content in before.items())
