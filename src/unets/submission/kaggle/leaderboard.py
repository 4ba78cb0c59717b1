"""The leaderboard: the rank that a score would have, and the medal that such a rank is worth."""

import csv
import io
import re
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unets.errors import InputError
from unets.store.paths import Project
from unets.store.runs import read_json, write_json
from unets.submission.kaggle.archives import list_members
from unets.submission.kaggle.client import Session
from unets.submission.kaggle.submissions import list_at_kaggle, list_recorded, parse_score
from unets.tables import render_table

MEDALS = ("gold", "silver", "bronze")


@dataclass(frozen=True, kw_only=True, slots=True)
class Board:
    """The teams' scores, best first."""

    name: str  # of the file that Kaggle gave
    teams: tuple[str, ...]
    scores: tuple[float, ...]
    higher_is_better: bool

    @property
    def is_private(self) -> bool:
        """Whether it is of the private part of the test set."""
        return "private" in self.name.lower()

    def leave_out(self, team: str) -> "Board":
        """Returns the board of the other teams."""
        kept = [index for index, name in enumerate(self.teams) if name != team]
        return replace(
            self,
            teams=tuple(self.teams[index] for index in kept),
            scores=tuple(self.scores[index] for index in kept),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """Where a score stands."""

    rank: int  # from 1
    num_teams: int  # with the one that has the score
    medal: str  # "" below bronze

    @property
    def share(self) -> float:
        """Share of the teams down to this one."""
        return self.rank / self.num_teams


def count_medals(num_teams: int) -> dict[str, int]:
    """Returns the last rank of each medal.

    By Kaggle's progression system (https://www.kaggle.com/progression, "Competition Medals"), shares rounded down:

    | teams | bronze | silver | gold |
    |---|---|---|---|
    | 0-99 | top 40 % | top 20 % | top 10 % |
    | 100-249 | top 40 % | top 20 % | top 10 |
    | 250-999 | top 100 | top 50 | top 10 + 0.2 % |
    | 1000+ | top 10 % | top 5 % | top 10 + 0.2 % |
    """
    if num_teams < 100:
        return {"gold": num_teams // 10, "silver": num_teams // 5, "bronze": 2 * num_teams // 5}
    if num_teams < 250:
        return {"gold": 10, "silver": num_teams // 5, "bronze": 2 * num_teams // 5}
    gold = 10 + num_teams // 500
    if num_teams < 1000:
        return {"gold": gold, "silver": 50, "bronze": 100}
    return {"gold": gold, "silver": num_teams // 20, "bronze": num_teams // 10}


def find_standing(board: Board, score: float) -> Standing:
    """Returns where a score that comes in now would stand: behind those that are better, or equal and earlier.

    Args:
        board: of the other teams.
        score: ours.
    """
    sign = 1 if board.higher_is_better else -1
    ahead = sum(sign * other >= sign * score for other in board.scores)
    num_teams = len(board.scores) + 1
    last = count_medals(num_teams)
    medal = next((medal for medal in MEDALS if ahead < last[medal]), "")
    return Standing(rank=ahead + 1, num_teams=num_teams, medal=medal)


def download_board(session: Session) -> Board:
    """Downloads the whole leaderboard.

    Raises:
        InputError: Kaggle gives none, or one of another form.
    """
    with tempfile.TemporaryDirectory() as folder:
        session.ask(session.api.competition_leaderboard_download, session.competition, folder, True)
        path = Path(folder) / f"{session.competition}.zip"
        members = list_members(path)
        if len(members) != 1:
            raise InputError(f"{path.name} must hold one csv, the leaderboard. Received: {len(members)} files")
        with zipfile.ZipFile(path) as archive:
            text = archive.read(members[0].info).decode("utf-8-sig")
    return parse_board(members[0].path.name, text)


def parse_board(name: str, text: str) -> Board:
    """Reads a leaderboard's csv, whose rows are best first.

    Raises:
        InputError: it lacks the columns `TeamName` and `Score`, or a row that has both.
    """
    rows = list(csv.DictReader(io.StringIO(text)))
    scored = [(row.get("TeamName") or "", parse_score(row.get("Score") or "")) for row in rows]
    known = [(team, score) for team, score in scored if score is not None]
    if not known:
        columns = list(rows[0]) if rows else "no row"
        raise InputError(f"{name} must have rows with the columns TeamName and Score. Received: {columns}")
    teams, scores = zip(*known, strict=True)
    return Board(name=name, teams=teams, scores=scores, higher_is_better=scores[0] >= scores[-1])


def compare_with_board(project: Project, session: Session, metric: str) -> str:
    """Renders our scored submissions beside the leaderboard, and brings our records up to date.

    Private scores come with the end of a competition: those of records in `results/` are added when Kaggle has them.
    """
    ours = [found for found in list_at_kaggle(session) if found.status.name == "COMPLETE"]
    _update_records(project, ours)
    team = next((found.team_name for found in ours if found.team_name), "")
    board = download_board(session).leave_out(team)
    return render_comparison(board, ours, metric)


def render_comparison(board: Board, ours: Sequence[Any], metric: str) -> str:
    """Renders submissions as a table, the best first, above what each medal takes.

    Args:
        board: of the other teams.
        ours: submissions as the client gives them.
        metric: its name.
    """
    kind = "private" if board.is_private else "public"
    scored = [(score, found) for found in ours if (score := parse_score(getattr(found, f"{kind}_score"))) is not None]
    scored.sort(key=lambda pair: pair[0], reverse=board.higher_is_better)
    rows = [_render_row(board, kind, score, found) for score, found in scored]
    other = "public" if kind == "private" else "private"
    header = ("submission", kind, "rank", "top", "medal", other, "message")
    table = render_table(header, rows, right=(kind, "rank", "top", other)) if rows else "No submission is scored yet."
    return f"{metric}, {board.name}: {len(board.scores)} other teams\n\n{table}\n\n{_render_medals(board)}"


def _render_row(board: Board, kind: str, score: float, found: Any) -> tuple[str, ...]:
    standing = find_standing(board, score)
    rank, top = f"{standing.rank} of {standing.num_teams}", f"{100 * standing.share:.1f} %"
    other = found.public_score if kind == "private" else found.private_score
    message = re.sub(r"\s+", " ", found.description)[:60]
    return found.file_name, f"{score:.5f}", rank, top, standing.medal, other or "", message


def _render_medals(board: Board) -> str:
    """Says down to which rank each medal goes, and the score of the team that has it."""
    last = count_medals(len(board.scores) + 1)
    named = [f"{medal} to rank {last[medal]}" + _name_score(board, last[medal]) for medal in MEDALS if last[medal]]
    source = "By kaggle.com/progression, were this the private leaderboard of a competition with medals"
    return f"{source}: {', '.join(named) or 'none'}."


def _name_score(board: Board, rank: int) -> str:
    return f" ({board.scores[rank - 1]:.5f})" if rank <= len(board.scores) else ""


def _update_records(project: Project, ours: Sequence[Any]) -> None:
    """Writes the scores that Kaggle has now into the records of the same submissions."""
    found_of = {int(found.ref): found for found in ours}
    for path, sent in list_recorded(project).items():
        found = found_of.get(sent.ref or 0)
        scores = _list_scores(found) if found is not None else {}
        if scores and scores != {"public": sent.public, "private": sent.private}:
            write_json(path, read_json(path) | scores)


def _list_scores(found: Any) -> dict[str, float | None]:
    return {kind: parse_score(getattr(found, f"{kind}_score")) for kind in ("public", "private")}
