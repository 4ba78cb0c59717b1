"""Signing in: every kind of credentials, none, and wrong ones."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.submission.kaggle.server import COMPETITION, KEY, TOKEN, USER, FakeKaggle
from unets.errors import InputError
from unets.submission.kaggle.client import Session, keep_quiet, raise_input_error, sign_in


@pytest.fixture(autouse=True)
def _quick(pauses: list[float]) -> None:
    """No pause is waited for."""


@pytest.fixture
def stranger(fake: FakeKaggle, monkeypatch: pytest.MonkeyPatch) -> FakeKaggle:
    """The server, and nobody signed in."""
    monkeypatch.delenv("KAGGLE_USERNAME")
    monkeypatch.delenv("KAGGLE_KEY")
    return fake


def list_names(session: Session) -> list[str]:
    return [file.name for file in session.ask("competition_list_files", COMPETITION).files]


def write_home(name: str, content: str) -> None:
    path = Path(os.environ["HOME"]) / ".kaggle" / name
    path.parent.mkdir(parents=True)
    path.write_text(content)
    path.chmod(0o600)


@pytest.mark.parametrize("kind", ["key", "kaggle.json", "token", "file of a token", "access_token"])
def test_each_kind_of_credentials_signs_in(kind: str, stranger: FakeKaggle, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "key":
        monkeypatch.setenv("KAGGLE_USERNAME", USER)
        monkeypatch.setenv("KAGGLE_KEY", KEY)
    elif kind == "kaggle.json":
        write_home("kaggle.json", json.dumps({"username": USER, "key": KEY}))
    elif kind == "token":
        monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    elif kind == "file of a token":
        write_home("mine", f"{TOKEN}\n")
        monkeypatch.setenv("KAGGLE_API_TOKEN", f"{os.environ['HOME']}/.kaggle/mine")
    else:
        write_home("access_token", TOKEN)
    stranger.files = {"a.zip": b""}
    session = sign_in(COMPETITION)
    assert list_names(session) == ["a.zip"] and session.user == USER
    secret = KEY if kind in ("key", "kaggle.json") else TOKEN
    assert session.hide(f"not {secret}!") == "not ***!"


def test_nobody_is_told_where_credentials_are_looked_for(
    stranger: FakeKaggle, capsys: pytest.CaptureFixture[str]
) -> None:
    """The client prints a page and ends the process."""
    wanted = r"KAGGLE_API_TOKEN, or KAGGLE_USERNAME and KAGGLE_KEY, or ~/\.kaggle/kaggle\.json .*Received: none"
    with pytest.raises(InputError, match=wanted):
        sign_in(COMPETITION)
    assert capsys.readouterr().out == ""


def test_a_token_that_is_not_known_is_told_without_it(stranger: FakeKaggle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_expired12345678")
    with pytest.raises(InputError, match="a token in KAGGLE_API_TOKEN, which Kaggle does not know") as caught:
        sign_in(COMPETITION)
    assert "KGAT_expired" not in str(caught.value)


def test_a_key_that_is_refused_is_told_at_the_first_request(fake: FakeKaggle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAGGLE_KEY", "fedcba9876543210")
    with pytest.raises(InputError, match=r"Kaggle must accept the credentials; new ones: .* Received: Unauthenticated"):
        list_names(sign_in(COMPETITION))


def test_a_kaggle_that_is_away_is_told(fake: FakeKaggle, monkeypatch: pytest.MonkeyPatch, pauses: list[float]) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(InputError, match="Kaggle must be within reach"):
        list_names(sign_in(COMPETITION))
    assert pauses == [2.0, 4.0, 8.0, 16.0, 32.0]


def test_the_client_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "kaggle"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "kaggle", None)
    with pytest.raises(InputError, match=r"`pip install 'unets\[kaggle\]'`"):
        sign_in(COMPETITION)


def test_what_is_printed_goes_to_the_debug_log_without_secrets(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level("DEBUG", logger="unets"), keep_quiet((KEY,)):
        print(f"Authorization: {KEY}\n\nGET https://storage.test/a.zip?signature=abc&expires=1 now")
    assert capsys.readouterr().out == ""
    assert caplog.messages == ["kaggle: Authorization: ***", "kaggle: GET https://storage.test/a.zip?*** now"]


def test_no_stage_pays_for_the_client() -> None:
    names = [
        f"unets.{name}"
        for name in ("cli", "evaluation.results", "submission.kaggle.data", "submission.kaggle.submissions")
    ]
    program = f"""
import importlib, sys
for name in {names}:
    importlib.import_module(name)
assert not {{"kaggle", "kagglesdk", "requests"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_fault_of_ours_stays_one() -> None:
    with pytest.raises(ZeroDivisionError):
        raise_input_error(ZeroDivisionError(), COMPETITION, ())
    with pytest.raises(InputError, match=r"Kaggle's client must accept what it is given\. Received: no subtitle"):
        raise_input_error(ValueError("no subtitle"), COMPETITION, ())
    error = OSError("teapot")
    error.response = SimpleNamespace(status_code=418)  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"Kaggle must accept the request\. Received: teapot"):
        raise_input_error(error, COMPETITION, ())
