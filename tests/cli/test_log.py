import pytest

from unets.log import format_duration


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
