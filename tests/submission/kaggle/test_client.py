"""Signing in: every kind of credentials, none, and wrong ones; what Kaggle refuses is told with its remedy."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.submission.kaggle.fake import COMPETITION, KEY, TOKEN, USER, FakeKaggle
from unets.errors import InputError
from unets.submission.kaggle.client import Session

# Variables, and files below ~/.kaggle with their content.
CREDENTIALS = {
    "key": ({"KAGGLE_USERNAME": USER, "KAGGLE_KEY": KEY}, {}),
    "kaggle.json": ({}, {"kaggle.json": json.dumps({"username": USER, "key": KEY})}),
    "token": ({"KAGGLE_API_TOKEN": TOKEN}, {}),
    "file of a token": ({"KAGGLE_API_TOKEN": "{home}/.kaggle/mine"}, {"mine": f"{TOKEN}\n"}),
    "access_token": ({}, {"access_token": TOKEN}),
}


@pytest.fixture
def stranger(fake: FakeKaggle, monkeypatch: pytest.MonkeyPatch) -> FakeKaggle:
    """Kaggle, and nobody signed in."""
    monkeypatch.delenv("KAGGLE_USERNAME")
    monkeypatch.delenv("KAGGLE_KEY")
    return fake


def list_names(session: Session) -> list[str]:
    return [file.name for file in session.ask("competition_list_files", COMPETITION).files]


@pytest.mark.parametrize("kind", CREDENTIALS)
def test_each_kind_of_credentials_signs_in(kind: str, stranger: FakeKaggle, monkeypatch: pytest.MonkeyPatch) -> None:
    variables, files = CREDENTIALS[kind]
    home = Path(os.environ["HOME"])
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(home=home))
    (home / ".kaggle").mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (home / ".kaggle" / name).write_text(content)
        (home / ".kaggle" / name).chmod(0o600)
    stranger.files = {"a.zip": b""}
    session = Session(COMPETITION)
    assert list_names(session) == ["a.zip"] and session.user == USER
    secret = KEY if kind in ("key", "kaggle.json") else TOKEN
    assert session.hide(f"not {secret}!") == "not ***!"


def test_wrong_credentials_are_told_without_them(
    stranger: FakeKaggle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The client prints a page and ends the process."""
    wanted = r"KAGGLE_API_TOKEN, or KAGGLE_USERNAME and KAGGLE_KEY, or ~/\.kaggle/kaggle\.json .*Received: none"
    with pytest.raises(InputError, match=wanted):
        Session(COMPETITION)
    assert capsys.readouterr().out == ""
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_expired12345678")
    with pytest.raises(InputError, match="a token in KAGGLE_API_TOKEN, which Kaggle does not know") as caught:
        Session(COMPETITION)
    assert "KGAT_expired" not in str(caught.value)
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    monkeypatch.setenv("KAGGLE_USERNAME", USER)
    monkeypatch.setenv("KAGGLE_KEY", "fedcba9876543210")
    with pytest.raises(InputError, match=r"Kaggle must accept the credentials; new ones: .* Received: Unauthenticated"):
        list_names(Session(COMPETITION))


def test_a_kaggle_that_is_away_is_told(fake: FakeKaggle) -> None:
    fake.is_away = True
    with pytest.raises(InputError, match="Kaggle must be within reach"):
        list_names(Session(COMPETITION))
    assert fake.pauses == [2.0, 4.0, 8.0, 16.0, 32.0]


def test_the_client_that_is_not_installed_is_named_and_no_stage_pays_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    modules = "unets.cli, unets.evaluation.results, unets.submission.kaggle.data, unets.submission.kaggle.submissions"
    program = f"import sys, {modules}; print({{'kaggle', 'kagglesdk', 'requests'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
    monkeypatch.setitem(sys.modules, "kaggle.api.kaggle_api_extended", None)
    with pytest.raises(InputError, match=r"`pip install '\.\[kaggle\]'`"):
        Session(COMPETITION)
