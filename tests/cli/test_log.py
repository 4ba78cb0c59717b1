import logging

import pytest

from unets.log import format_duration, show_progress


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.05, "0.05 s"),
        (1.26, "1.3 s"),
        (45, "45 s"),
        (119, "119 s"),
        (150, "2.5 min"),
        (599, "10 min"),
        (7199, "120 min"),
        (12240, "3.4 h"),
        (36000, "10 h"),
        (6e5, "6.9 days"),
        (2e6, "23 days"),
    ],
)
def test_durations_are_written_for_people(seconds: float, words: str) -> None:
    assert format_duration(seconds) == words


def test_without_a_terminal_progress_is_a_line_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO, logger="unets")
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    for _ in show_progress(range(2_000), what="predict", unit="image"):
        clock[0] += 0.12525  # 250 s in all
    expected = {480: "3.2 min", 960: "2.2 min", 1440: "70 s", 1920: "10 s"}
    assert caplog.messages == [f"predict: {done:,} of 2,000 images, {left} left" for done, left in expected.items()]
    caplog.clear()
    for _ in show_progress(iter(range(700)), what="look", unit="file"):
        clock[0] += 0.125
    assert caplog.messages == ["look: 481 files so far"] and not capsys.readouterr().err


def test_on_a_terminal_progress_is_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert list(show_progress([1, 2], what="mask", unit="image")) == [1, 2]
    assert "mask: 100%" in capsys.readouterr().err
