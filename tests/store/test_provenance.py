"""Which code is at work."""

import platform
import subprocess
from pathlib import Path

from unets.store.provenance import describe_origin


def test_outside_a_repository_there_is_no_commit(tmp_path: Path) -> None:
    origin = describe_origin(tmp_path)
    assert origin["git_commit"] is None
    assert origin["git_is_dirty"] is None
    assert origin["versions"]["python"] == platform.python_version()


def test_the_commit_and_whether_the_tree_is_clean(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    git("init")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-m", "first")
    origin = describe_origin(tmp_path)
    assert (origin["git_commit"], origin["git_is_dirty"]) == (git("rev-parse", "HEAD"), False)
    (tmp_path / "file").write_text("two")
    assert describe_origin(tmp_path)["git_is_dirty"]
    (installed := tmp_path / ".venv" / "unets").mkdir(parents=True)
    (installed / "code.py").write_text("of nobody's commit")
    assert describe_origin(installed)["git_commit"] is None
