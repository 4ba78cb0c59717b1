"""Whole files or none, JSON of the right shape, fingerprints that change, folders that one process locks."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from unets.errors import InputError
from unets.store.runs import (
    append_json_line,
    atomic_path,
    find_lock_owner,
    fingerprint,
    lock,
    read_json,
    read_json_lines,
    was_killed,
    write_json,
)


def test_a_file_appears_whole_and_keeps_its_suffix(tmp_path: Path) -> None:
    path = tmp_path / "new" / "net.weights.h5"
    with atomic_path(path) as temporary:
        assert temporary.name.endswith(".weights.h5") and temporary.parent == path.parent
        temporary.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt(), SystemExit(1)])
def test_an_error_leaves_nothing_and_keeps_the_old_file(tmp_path: Path, error: BaseException) -> None:
    for before in (None, "old"):
        path = tmp_path / "a.txt"
        if before is not None:
            path.write_text(before)
        with pytest.raises(type(error)), atomic_path(path) as temporary:
            temporary.write_text("half")
            raise error
        assert [entry.read_text() for entry in tmp_path.iterdir()] == ([] if before is None else [before])


def test_json_round_trip_and_faults(tmp_path: Path) -> None:
    content = {"b": [1, 2.5, None], "a": "ü"}
    write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json") == content
    with pytest.raises(InputError, match=r"b.json must exist. Received: no such file"):
        read_json(tmp_path / "b.json")


def test_fingerprint_depends_on_content_alone() -> None:
    base = fingerprint(size=(640, 959), seed=0, name="a")
    assert fingerprint(name="a", seed=0, size=[640, 959]) == base
    others = [
        fingerprint(size=(959, 640), seed=0, name="a"),
        fingerprint(size=(640, 959), seed="0", name="a"),
        fingerprint(size=(640, 959), sead=0, name="a"),
        fingerprint(size=(640, 959), seed=0, name="a", more=None),
    ]
    assert len({base, *others}) == 5
    # the first 16 digits of SHA-256 of {"seed":0}; a change here makes every map and run on every disk foreign
    assert fingerprint(seed=0) == "bd0488843468e63c"


HOLD = """
import sys
from pathlib import Path
from unets.store.runs import lock
sys.argv[0] = "scripts/03_train.py"
with lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    assert find_lock_owner(run_dir) is None
    command = [sys.executable, "-c", HOLD, str(run_dir)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        before = sorted(tmp_path.rglob("*"))
        owner = rf"train, process {process.pid} on {os.uname().nodename} since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
        for _ in range(3):  # asking takes no lock away
            assert re.fullmatch(owner, find_lock_owner(run_dir) or "")
            with (
                pytest.raises(InputError, match=rf"run must be free\. Received: {owner} is at work in it"),
                lock(run_dir),
            ):
                raise AssertionError("two processes hold one folder")
        assert not was_killed(run_dir) and sorted(tmp_path.rglob("*")) == before
        process.kill()
        process.wait()
    # the name of who was killed stays behind, and the folder is free
    assert (run_dir / ".lock-owner").exists() and find_lock_owner(run_dir) is None and was_killed(run_dir)
    with lock(run_dir):
        assert f"process {os.getpid()} on {os.uname().nodename}" in (find_lock_owner(run_dir) or "")
    assert find_lock_owner(run_dir) is None and not was_killed(run_dir)


@pytest.mark.parametrize("kind", ["link", "loop", "folder"])
def test_what_lies_in_the_place_of_a_lock_is_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ".lock"
    if kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(".lock" if kind == "loop" else "elsewhere")
    wanted = r"\.lock must be a plain file, .* Received: a link or a folder\. Delete it"
    with pytest.raises(InputError, match=wanted), lock(tmp_path):
        raise AssertionError("it is locked")


@pytest.mark.parametrize("host", ["another_machine", os.uname().nodename, None])
def test_a_name_that_stayed_behind_holds_nothing(tmp_path: Path, host: str | None) -> None:
    """Of another machine, of a number that another process has now, or half written."""
    owner = {"stage": "train", "pid": os.getpid(), "host": host, "since": "2026-11-25 12:00:00 UTC"}
    text = json.dumps(owner) if host else json.dumps(owner)[:20]
    (tmp_path / ".lock-owner").write_text(text)
    assert find_lock_owner(tmp_path) is None
    with lock(tmp_path):
        (tmp_path / ".lock-owner").write_text(text)
        named = f"train, process {os.getpid()} on {host} since 2026-11-25 12:00:00 UTC"
        assert find_lock_owner(tmp_path) == (named if host else "another process")


@pytest.mark.parametrize(
    ("text", "received"),
    [
        ("[]", r"a JSON object. Received: \[\]. Run it"),
        ("null", "a JSON object. Received: None. Run it"),
        ('{"a": 1}', r"a JSON object with a, b. Received: only \['a'\]. Run it"),
        ('{"a": NaN, "b": 1}', "JSON. Received: NaN, which is no number. Run it"),
        ('{"a": -Infinity, "b": 1}', "JSON. Received: -Infinity, which is no number"),
        ("[" * 100_000, "JSON. Received: "),
        ('{"a"', "JSON. Received: "),
        ("\udcff", "JSON. Received: 'utf-8' codec"),
    ],
)
def test_json_of_another_shape_is_refused_by_the_name_of_its_file(tmp_path: Path, text: str, received: str) -> None:
    (tmp_path / "x.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=rf"x\.json must hold {received}"):
        read_json(tmp_path / "x.json", a=int, b=int, remedy="Run it")


def test_a_field_of_another_type_and_a_broken_seal_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"a": 1.5, "b": [1]}, sealed=True)
    assert read_json(path, a=float, b=list[int]) == {"a": 1.5, "b": [1]}
    with pytest.raises(InputError, match=r"x\.json must be as it was written\. Received: b=\[1\] \(Input should be"):
        read_json(path, b=str)
    path.write_text(path.read_text().replace("1.5", "2.5"))
    with pytest.raises(InputError, match=r"x\.json must be as it was written\. Received: other fields than then\. Run"):
        read_json(path, remedy="Run `unets train`")


@pytest.mark.parametrize("kept", range(1, 12))
def test_a_torn_line_costs_no_other(tmp_path: Path, kept: int, caplog: pytest.LogCaptureFixture) -> None:
    """Wherever a kill cuts the last line off, the lines before and after it are read."""
    path = tmp_path / "stages.jsonl"
    append_json_line(path, {"a": 1})
    whole = path.read_bytes()
    append_json_line(path, {"a": 23456})
    path.write_bytes(path.read_bytes()[: len(whole) + kept])
    append_json_line(path, {"a": 3})
    assert read_json_lines(path) == [{"a": 1}, {"a": 3}]
    assert f"{path}: line 2 is left out" in caplog.text
