"""Submissions at Kaggle: sent once, waited for, and kept with the score that they got.

How far one is stands in the models folder, by the SHA-256 of its csv, so that the same command goes on waiting where it
was stopped, and the same bytes are not sent twice unawares. What was scored becomes a record in `docs/results/`.
"""

import gzip
import hashlib
import logging
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Literal

from unets.config import Config, DatasetConfig
from unets.errors import InputError
from unets.log import format_duration, show_progress
from unets.store.paths import Project
from unets.store.runs import lock, read_config, read_json, write_json, write_text
from unets.submission.kaggle.client import Session, find_competition

logger = logging.getLogger(__name__)

_FIRST_LOOK_S, _LONGEST_LOOK_S = 2.0, 30.0  # between looks at the score
_NEWEST = 100  # submissions of the team that are looked through for one that may have arrived
_CLOCKS = timedelta(minutes=10)  # by which this machine's clock and Kaggle's may differ


class Sent(Config):
    """A submission on its way."""

    competition: str  # the folder of its configs
    kaggle: str  # the competition's name at Kaggle
    name: str  # of the file, without .csv.gz
    sha256: str  # of the csv
    message: str
    began: str  # when it was first sent, UTC
    state: Literal["uploading", "pending", "scored", "failed"]
    ref: int | None = None  # Kaggle's number of it
    public: float | None = None  # scores; None: not published
    private: float | None = None
    error: str | None = None  # Kaggle's words on a scoring that failed

    def describe(self) -> str:
        """Says what became of it, in a sentence's part."""
        if self.state == "failed":
            return f"failed: {self.error}"
        scores = {"public": self.public, "private": self.private}
        known = ", ".join(f"{kind} {score:.5f}" for kind, score in scores.items() if score is not None)
        return known or ("scored, not published" if self.state == "scored" else "not scored yet")


def submit(
    project: Project, dataset: DatasetConfig, path: Path, message: str, *, again: bool = False, wait_s: float
) -> Sent:
    """Sends a submission that was checked, and waits for its score; bytes that were scored before are sent `again`.

    One that is sent already is waited for. Raises InputError where these bytes were scored before; Kaggle does not take
    them, fails to score them, or takes longer.
    """
    competition, sha256 = find_competition(dataset, project.configs_dir), hash_csv(path)
    with lock(project.sent_path(sha256).parent):
        sent = find_sent(project, sha256)
        if sent is not None and sent.state in ("scored", "failed"):
            is_recorded = any(other.sha256 == sha256 for other in list_recorded(project))
            if not again:
                if sent.state == "scored" and not is_recorded:  # stopped between the two
                    return sent
                raise InputError(
                    f"{path} must be new to Kaggle. Received: the bytes that were sent on {sent.began[:10]} as "
                    f"{sent.name} ({sent.message!r}; {sent.describe()}). `unets submit --again` sends them all the same"
                )
            sent = None
        if sent is None and not message.strip():
            raise InputError("`--message` must say what is submitted. Received: nothing")
        session = Session(competition)
        if sent is not None and sent.ref is None:  # stopped while it was sent: nobody noted whether it arrived
            message, sent = message if message.strip() else sent.message, _find_arrived(session, sent)
        if sent is None:
            sent = _send(project, session, path, message, sha256)
        _note(project, sent)
        logger.info("%s is number %s at Kaggle; waits for its score", path.name, sent.ref)
        sent = _wait(session, sent, wait_s)
        _note(project, sent)
    if sent.state == "failed":
        raise InputError(f"Kaggle must be able to score {path}, number {sent.ref} there. Received: {sent.error}")
    return sent


def record_sent(project: Project, sent: Sent, metric: str, origin: dict[str, Any]) -> Path:
    """Writes the record of a submission that was scored; `unets record` shows it in docs/results/README.md."""
    record = {"kind": "kaggle", "metric": metric, **sent.model_dump(mode="json"), **origin}
    path = project.kaggle_result_path(f"{sent.name}_{sent.sha256[:8]}")
    write_json(path, record)
    return path


def list_recorded(project: Project) -> list[Sent]:
    """Reads the records of submissions that were scored."""
    records = map(read_json, sorted(project.kaggle_result_path("*").parent.glob("*.json")))
    return [Sent(**{name: one[name] for name in Sent.model_fields if name in one}) for one in records]


def find_sent(project: Project, sha256: str) -> Sent | None:
    """Returns what is known of the bytes of a csv, from this machine's notes or from the records of all."""
    path = project.sent_path(sha256)
    if path.is_file():
        return read_config(path, Sent)
    return next((sent for sent in list_recorded(project) if sent.sha256 == sha256), None)


def hash_csv(path: Path) -> str:
    """Returns the SHA-256 of a csv's bytes, whether it is compressed or not."""
    with path.open("rb") as file, gzip.open(file) if file.peek(2).startswith(b"\x1f\x8b") else file as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _send(project: Project, session: Session, path: Path, message: str, sha256: str) -> Sent:
    """Uploads a file and submits it. That it is about to happen is noted first: an answer may be lost."""
    sent = Sent(
        competition=project.competition,
        kaggle=session.competition,
        name=path.name.split(".csv")[0],
        sha256=sha256,
        message=message,
        began=datetime.now(UTC).isoformat(timespec="seconds"),
        state="uploading",
    )
    _note(project, sent)
    logger.info("%s: uploads %.1f MB", path.name, path.stat().st_size / 1e6)
    # Not repeated after an error, which does not tell whether the submission was taken; the next call looks first.
    answer = session.ask("competition_submit", str(path), message, session.competition, session.is_quiet, repeat=False)
    if answer.ref:
        return sent.model_copy(update={"ref": int(answer.ref), "state": "pending"})
    arrived = _find_arrived(session, sent)
    if arrived is None:
        raise InputError(f"Kaggle must take {path}. Received: {session.hide(answer.message) or 'no answer'}")
    return arrived


def _find_arrived(session: Session, sent: Sent) -> Sent | None:
    """Returns a submission with its number, if Kaggle has it: of that file and message, not older than it."""
    since = datetime.fromisoformat(sent.began).replace(tzinfo=None) - _CLOCKS
    newest = session.ask("competition_submissions", session.competition, page_size=_NEWEST)
    for found in newest or ():
        same = found.description == sent.message and found.file_name.split(".csv")[0] == sent.name
        if same and found.date is not None and found.date >= since:
            return sent.model_copy(update={"ref": int(found.ref), "state": "pending"})
    return None


def _wait(session: Session, sent: Sent, wait_s: float) -> Sent:
    """Looks at a submission, less and less often, until it is scored; one whose scoring failed comes back so."""
    began, pause_s = monotonic(), _FIRST_LOOK_S
    for _ in show_progress(count(), what="score", unit="look"):
        found = session.ask("get_submission", sent.ref, absent=(404,))  # one that has just come in
        if found is not None and found.status.name == "COMPLETE":
            scores = {"public": found.public_score, "private": found.private_score}  # empty: not published
            known = {kind: float(score) for kind, score in scores.items() if score}
            return sent.model_copy(update={"state": "scored", **known})
        if found is not None and found.status.name == "ERROR":
            said = session.hide(found.error_description.strip()) or "no reason given"
            return sent.model_copy(update={"state": "failed", "error": said})
        if monotonic() - began + pause_s > wait_s:
            break
        sleep(pause_s)
        pause_s = min(1.5 * pause_s, _LONGEST_LOOK_S)
    raise InputError(
        f"Kaggle must score {sent.name} within {format_duration(wait_s)} (--wait, in minutes). Received: nothing. It "
        f"stays there as number {sent.ref}; `unets submit --submission {sent.name}` goes on waiting"
    )


def _note(project: Project, sent: Sent) -> None:
    write_text(project.sent_path(sent.sha256), sent.to_json() + "\n")
