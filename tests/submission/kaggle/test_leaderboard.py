"""Ranks, medals and the page of both."""

import json
from collections.abc import Callable
from itertools import pairwise

import pytest

from tests.submission.kaggle.server import COMPETITION, FakeKaggle
from unets.errors import InputError
from unets.store.paths import Project
from unets.submission.kaggle.client import sign_in
from unets.submission.kaggle.leaderboard import (
    compare_with_board,
    count_medals,
    download_board,
    find_standing,
    parse_board,
)
from unets.submission.kaggle.submissions import Sent, list_at_kaggle, record_sent

HEADER = "Rank,TeamId,TeamName,LastSubmissionDate,Score,SubmissionCount,TeamMemberUserNames\n"
Run = Callable[..., int]


def write_board(teams: list[tuple[str, float]]) -> str:
    rows = (f'{rank},{rank},"{name}",2026-11-25,{score},3,{name}\n' for rank, (name, score) in enumerate(teams, 1))
    return "\ufeff" + HEADER + "".join(rows)


def found(ref: int, public: str, private: str = "", **fields: object) -> dict[str, object]:
    """A submission as the server has it."""
    scores = {"publicScore": public, "privateScore": private, "status": "COMPLETE"}
    about = {"fileName": f"sub{ref}.csv.gz", "date": "2026-11-25T10:00:00.000Z", "teamName": "us"}
    return {"ref": ref, "description": f"number {ref}", **about, **scores, **fields}


# By kaggle.com/progression: the table, its two examples of gold (500 teams: 11, 5000: 20), Carvana's 735 teams.
@pytest.mark.parametrize(
    ("num_teams", "gold", "silver", "bronze"),
    [
        (1, 0, 0, 0),
        (5, 0, 1, 2),
        (99, 9, 19, 39),
        (100, 10, 20, 40),
        (249, 10, 49, 99),
        (250, 10, 50, 100),
        (500, 11, 50, 100),
        (735, 11, 50, 100),
        (999, 11, 50, 100),
        (1000, 12, 50, 100),
        (5000, 20, 250, 500),
    ],
)
def test_medals_are_kaggle_s(num_teams: int, gold: int, silver: int, bronze: int) -> None:
    assert count_medals(num_teams) == {"gold": gold, "silver": silver, "bronze": bronze}


def test_medals_never_shrink_as_teams_join() -> None:
    counts = [count_medals(num_teams) for num_teams in range(6000)]
    for medals in counts:
        assert medals["gold"] <= medals["silver"] <= medals["bronze"]
    for before, after in pairwise(counts):
        assert all(before[medal] <= after[medal] for medal in before)


@pytest.mark.parametrize(
    ("score", "rank", "medal"),
    [(0.99, 1, "gold"), (0.95, 2, "silver"), (0.9, 3, "bronze"), (0.85, 3, "bronze"), (0.7, 5, ""), (0.1, 11, "")],
)
def test_an_equal_score_that_came_first_is_ahead(score: float, rank: int, medal: str) -> None:
    """Eleven teams with ours: 10, 20 and 40 % rounded down are ranks 1, 2 and 4."""
    scores = [0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.15]
    board = parse_board("public.csv", write_board([(f"t{i}", s) for i, s in enumerate(scores)]))
    standing = find_standing(board, score)
    assert (standing.rank, standing.num_teams, standing.medal) == (rank, 11, medal)
    assert standing.share == pytest.approx(rank / 11)


def test_lower_may_be_better() -> None:
    board = parse_board("a.csv", write_board([("a", 0.1), ("b", 0.2), ("c", 0.4)]))
    assert [find_standing(board, score).rank for score in (0.05, 0.15, 0.3, 0.9)] == [1, 2, 3, 4]


@pytest.mark.parametrize("text", ["", HEADER, "Team,Points\na,1\n", HEADER + "1,1,a,2026,,3,a\n"])
def test_what_is_no_leaderboard_is_told(text: str) -> None:
    with pytest.raises(InputError, match=r"a\.csv must have rows with the columns TeamName and Score"):
        parse_board("a.csv", text)


def test_ours_stand_beside_the_others_without_our_own_row(
    fake: FakeKaggle, make_competition: Callable[..., Project]
) -> None:
    project = make_competition(num_groups=1, num_test_groups=1)
    teams = [("x, y", 0.99), ("us", 0.97), ("b", 0.95), ("c", 0.90)]
    fake.leaderboard = write_board(teams)
    fake.submissions = [found(2, "0.96"), found(1, "0.97", "0.8"), found(3, "", status="ERROR"), found(4, "")]
    said = compare_with_board(project, sign_in(COMPETITION), "dice")
    lines = said.splitlines()
    assert lines[0] == f"dice, {COMPETITION}-publicleaderboard-2026-11-25T12:00:00.csv: 3 other teams"
    assert [line.split()[:5] for line in lines[3:5]] == [
        ["sub1.csv.gz", "0.97000", "2", "of", "4"],
        ["sub2.csv.gz", "0.96000", "2", "of", "4"],
    ]
    assert "0.8" in lines[3] and "number 1" in lines[3]
    assert said.endswith("of a competition with medals: bronze to rank 1 (0.99000).")


def test_all_pages_of_submissions_are_read(fake: FakeKaggle) -> None:
    fake.submissions = [found(ref, "0.5") for ref in range(250)]
    assert len(list_at_kaggle(sign_in(COMPETITION))) == 250
    assert [request.body["page"] for request in fake.list_calls("ListSubmissions")[1:]] == [2, 3, 4]


def test_private_scores_that_came_later_are_added_to_the_records(
    fake: FakeKaggle, run_script: Run, make_competition: Callable[..., Project], capsys: pytest.CaptureFixture[str]
) -> None:
    project = make_competition(num_groups=1, num_test_groups=1, kaggle=COMPETITION)
    fields = {"competition": "tiny", "kaggle": COMPETITION, "name": "best", "sha256": "ab" * 32, "message": "first"}
    sent = Sent(**fields, began="2026-11-25T10:00:00+00:00", state="scored", ref=7, public=0.9)
    path = record_sent(project, sent, "dice", {"git_commit": "0123456789", "git_is_dirty": False})
    before = json.loads(path.read_text())
    fake.leaderboard, fake.submissions = write_board([("a", 0.8)]), [found(7, "0.9", "0.85")]
    assert run_script("21_leaderboard.py") == 0
    assert json.loads(path.read_text()) == before | {"private": 0.85}
    assert (
        "| best | 0.90000 | 0.85000 | 2026-11-25 | first | 012345678 |"
        in (project.input_dir.parent / "RESULTS.md").read_text()
    )
    assert "1 of 2" in capsys.readouterr().out


def test_a_leaderboard_that_is_empty_is_told(fake: FakeKaggle) -> None:
    with pytest.raises(InputError, match="must have rows"):
        download_board(sign_in(COMPETITION))
