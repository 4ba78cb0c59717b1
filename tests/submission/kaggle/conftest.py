"""What the tests of Kaggle share: the server, and a client that knows no other."""

import importlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import run_unets
from tests.submission.kaggle.server import KEY, USER, FakeKaggle


class _Clock:
    """The time module for the client, whose pauses between tries are noted and left out."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    def __getattr__(self, name: str) -> object:
        return getattr(time, name)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKaggle]:
    """A running server; this process and those it starts know no other Kaggle, and are signed in there."""
    for name in list(os.environ):
        if name.startswith("KAGGLE_") or name.lower() in ("no_proxy", "all_proxy", "https_proxy", "verbose"):
            monkeypatch.delenv(name)
    fake = FakeKaggle()
    server = fake.start()
    home = tmp_path / "home"
    settings = {
        "HOME": str(home),
        "KAGGLE_CONFIG_DIR": str(home / ".kaggle"),
        "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
        "http_proxy": f"http://127.0.0.1:{server.server_address[1]}",
        "KAGGLE_USERNAME": USER,
        "KAGGLE_KEY": KEY,
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    # The client keeps notes on uploads that broke in the system's folder for such things.
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    # The client reads these when it is imported, which an earlier test may have done.
    api = importlib.import_module("kaggle.api.kaggle_api_extended").KaggleApi
    monkeypatch.setattr(api, "args", ["--local"])
    monkeypatch.setattr(api, "config_dir", settings["KAGGLE_CONFIG_DIR"])
    monkeypatch.setattr(api, "config", f"{settings['KAGGLE_CONFIG_DIR']}/kaggle.json")
    yield fake
    server.shutdown()
    server.server_close()


@pytest.fixture
def pauses(fake: FakeKaggle, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds of all pauses that were left out. After `fake`: importing the client signs in where it is told to."""
    clock = _Clock()
    for module in (
        "kaggle.api.kaggle_api_extended",
        "unets.submission.kaggle.client",
        "unets.submission.kaggle.submissions",
    ):
        found = importlib.import_module(module)
        if module.startswith("kaggle"):
            monkeypatch.setattr(found, "time", clock)
        else:
            monkeypatch.setattr(found, "sleep", clock.sleep)
    return clock.pauses


@pytest.fixture
def run_stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    """Runs `unets <command> tiny arguments` in this process, in `tmp_path`; returns its exit code."""
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")

    def run(name: str, *arguments: str) -> int:
        return run_unets(name, "tiny", "--root", tmp_path, "--input", tmp_path / "input", "--jobs", "1", *arguments)

    return run
