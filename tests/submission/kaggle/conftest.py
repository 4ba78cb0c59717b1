"""What the tests of Kaggle share: a Kaggle of ours, and a client that meets no other."""

import importlib
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from requests.adapters import HTTPAdapter

from tests import run_unets
from tests.submission.kaggle.fake import KEY, USER, FakeKaggle


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKaggle:
    """A Kaggle; this process knows no other, and is signed in there. Pauses between tries are left out."""
    for name in list(os.environ):
        if name.startswith("KAGGLE_") or name.lower().endswith("_proxy") or name == "VERBOSE":
            monkeypatch.delenv(name)
    fake, home = FakeKaggle(), tmp_path / "home"
    monkeypatch.setattr(HTTPAdapter, "send", lambda adapter, request, **options: fake.send(adapter, request))
    settings = {
        "HOME": str(home),
        "KAGGLE_CONFIG_DIR": str(home / ".kaggle"),
        "KAGGLE_API_ENVIRONMENT": "LOCALHOST",  # http://localhost: whatever happens, not Kaggle
        "KAGGLE_USERNAME": USER,
        "KAGGLE_KEY": KEY,
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    # The client keeps notes on uploads that broke in the system's folder for such things.
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    # The client reads these when it is imported, which an earlier test may have done.
    client = importlib.import_module("kaggle.api.kaggle_api_extended")
    monkeypatch.setattr(client.KaggleApi, "args", ["--local"])
    monkeypatch.setattr(client.KaggleApi, "config_dir", settings["KAGGLE_CONFIG_DIR"])
    monkeypatch.setattr(client.KaggleApi, "config", f"{settings['KAGGLE_CONFIG_DIR']}/kaggle.json")
    monkeypatch.setattr(client, "time", SimpleNamespace(**vars(time) | {"sleep": fake.pauses.append}))
    for module in ("client", "submissions"):
        monkeypatch.setattr(f"unets.submission.kaggle.{module}.sleep", fake.pauses.append)
    return fake


@pytest.fixture
def run_stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    """Runs `unets <command> tiny arguments` in this process, in `tmp_path`; returns its exit code."""
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")

    def run(name: str, *arguments: str) -> int:
        return run_unets(name, "tiny", "--root", tmp_path, "--input", tmp_path / "input", "--jobs", "1", *arguments)

    return run
