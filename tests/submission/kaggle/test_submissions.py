"""`unets submit` against the server: valid files alone are sent, once, and their scores are kept."""

import gzip
import json
import re
from collections.abc import Callable

import pytest

from tests.submission.kaggle.fake import COMPETITION, KEY, SIGNATURE, STORAGE, FakeKaggle
from unets.config import load_dataset
from unets.data.files import find_file
from unets.errors import InputError
from unets.evaluation.results import render_results
from unets.store.paths import Project
from unets.submission.kaggle.submissions import Sent, find_sent, hash_csv, list_recorded, record_sent, submit

SCORED = {"status": "COMPLETE", "publicScore": "0.99612", "privateScore": "0.99587"}
SLEEP = "unets.submission.kaggle.submissions.sleep"
Run = Callable[..., int]


@pytest.fixture
def project(make_competition: Callable[..., Project]) -> Project:
    """A tiny competition that is at Kaggle, and a valid submission: the sample itself."""
    project = make_competition(num_groups=1, num_test_groups=1, size_hw=(32, 48), kaggle=COMPETITION)
    write_submission(project, "best")
    return project


def write_submission(project: Project, name: str, old: str = "1 1", new: str = "1 1") -> None:
    path = project.submission_path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = find_file(project.input_dir, "sample_submission.csv").read_text()
    path.write_bytes(gzip.compress(text.replace(old, new).encode(), mtime=0))


def send(project: Project, *, name: str = "best", message: str = "first", wait_s: float = 600.0, **again: bool) -> Sent:
    dataset = load_dataset(project.configs_dir)
    return submit(project, dataset, project.submission_path(name), message, wait_s=wait_s, **again)


def test_a_submission_is_uploaded_and_its_score_awaited(fake: FakeKaggle, project: Project) -> None:
    fake.judgements = [{}, {}, {}, SCORED]
    sent = send(project)
    assert (sent.state, sent.ref, sent.public, sent.private) == ("scored", 100, 0.99612, 0.99587)
    assert fake.pauses == [2.0, 3.0, 4.5]
    content = project.submission_path("best").read_bytes()
    assert list(fake.uploads.values()) == [("best.csv.gz", content)]
    (start,) = fake.list_calls("StartSubmissionUpload")
    assert start.body["contentLength"] == len(content) and start.body["competitionName"] == COMPETITION
    assert fake.submissions[0]["description"] == "first"
    (upload,) = (request for request in fake.requests if request.method == "PUT")
    assert upload.host == STORAGE and "Authorization" not in upload.headers


def test_the_same_bytes_are_not_sent_twice_unasked(fake: FakeKaggle, project: Project) -> None:
    """Under another name and packed in another way, too."""
    fake.judgements = [SCORED]
    record_sent(project, send(project), "dice", {})
    other = project.submission_path("other")
    other.write_bytes(gzip.compress(gzip.decompress(project.submission_path("best").read_bytes()), 1))
    fake.requests.clear()
    wanted = r"other\.csv\.gz must be new to Kaggle\. .* as best \('first'; public 0\.99612, private 0\.99587\)"
    with pytest.raises(InputError, match=wanted):
        send(project, name="other")
    assert not fake.requests
    fake.judgements = [SCORED]
    assert send(project, name="other", again=True).ref == 101


def test_bytes_that_a_colleague_sent_are_known_from_the_records(
    fake: FakeKaggle, run_stage: Run, project: Project
) -> None:
    fake.judgements = [SCORED]
    assert run_stage("submit", "--message", "first") == 0
    (record,) = project.results_dir.glob("kaggle/*.json")
    content = record.read_text()
    record.unlink()  # as if the process had been stopped before it was written
    assert run_stage("submit") == 0
    assert json.loads(record.read_text())["ref"] == json.loads(content)["ref"] == 100 and len(fake.submissions) == 1
    project.sent_path(hash_csv(project.submission_path("best"))).unlink()
    with pytest.raises(InputError, match="must be new to Kaggle"):
        send(project)


def test_a_scoring_that_fails_is_told_in_kaggle_s_words_and_not_repeated(fake: FakeKaggle, project: Project) -> None:
    fake.judgements = [{}, {"status": "ERROR", "errorDescription": "Evaluation Exception: Must have all images"}]
    with pytest.raises(InputError, match=r"number 100 there. Received: Evaluation Exception: Must have all images"):
        send(project)
    assert not list_recorded(project)
    with pytest.raises(InputError, match=r"must be new to Kaggle.*failed: Evaluation Exception"):
        send(project)
    assert len(fake.submissions) == 1


def test_a_wait_that_was_stopped_goes_on_without_a_second_upload(
    fake: FakeKaggle, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"within 0 s .*stays there as number 100; `unets submit --submission best` g"):
        send(project, wait_s=0.0)
    fake.refusals = {"GetSubmission": (404, "not found")}  # one that is not known yet is waited for
    monkeypatch.setattr(SLEEP, lambda seconds: (fake.refusals.clear(), fake.judgements.append(SCORED)))
    assert send(project, message="").public == 0.99612  # nothing to be said any more
    assert len(fake.submissions) == len(fake.uploads) == 1


@pytest.mark.parametrize("is_taken", [True, False])
def test_an_answer_that_was_lost_is_looked_for_before_anything_is_sent_again(
    is_taken: bool, fake: FakeKaggle, project: Project
) -> None:
    if is_taken:
        fake.lost_answers = 1
    else:
        fake.refusals = {"CreateSubmission": (500, "out of order")}
    with pytest.raises(InputError, match=r"Kaggle must (be within reach|accept the request)"):
        send(project)
    sent = find_sent(project, hash_csv(project.submission_path("best")))
    assert sent is not None and (sent.state, sent.ref) == ("uploading", None)
    fake.refusals, fake.judgements = {}, [SCORED]
    assert send(project).ref == 100
    assert len(fake.submissions) == 1 and len(fake.uploads) == (1 if is_taken else 2)


def test_what_kaggle_refuses_is_told_in_its_words(fake: FakeKaggle, project: Project) -> None:
    said = "Your team has used its daily Submission allowance"
    for status, refusals, wanted in (
        (400, {}, r"Kaggle must take .*best\.csv\.gz. Received: Could not submit"),
        (200, {"CreateSubmission": (400, said)}, f"Received: {said}"),
        (200, {"StartSubmissionUpload": (403, "no")}, r"competitions/tiny-masks/rules. Received: no"),
    ):
        fake.upload_status, fake.refusals = status, refusals
        with pytest.raises(InputError, match=wanted):
            send(project)
        assert not fake.submissions
    fake.refusals, fake.judgements = {}, [SCORED]
    assert send(project).public == 0.99612


def test_what_is_at_fault_here_is_told_before_kaggle_is_asked(
    fake: FakeKaggle, run_stage: Run, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match="`--message` must say what is submitted"):
        send(project, message=" ")
    write_submission(project, "worse", "1 1\n", "9 9999\n")
    assert run_stage("submit", "--message", "first", "--submission", "worse") == 1
    assert "must be a valid submission" in capsys.readouterr().err
    assert not fake.requests


def test_the_score_comes_into_the_results_page(
    fake: FakeKaggle, run_stage: Run, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.judgements = [{}, SCORED]
    assert run_stage("submit", "--message", "three nets | flips") == 0
    assert "best.csv.gz: public 0.99612, private 0.99587" in capsys.readouterr().out
    page = (project.input_dir.parent / "docs" / "results" / "README.md").read_text()
    assert page == render_results(project.results_dir.parent)
    assert re.search(r"\| best \| 0\.99612 \| 0\.99587 \| 20\S+ \| three nets \\\| flips \| ", page)
    (path,) = project.results_dir.glob("kaggle/*.json")
    record = json.loads(path.read_text())
    assert record["metric"] == "dice" and record["ref"] == 100 and record["versions"]["python"]
    written = b"".join(path.read_bytes() for path in project.input_dir.parent.rglob("*") if path.is_file())
    assert KEY.encode() not in written and SIGNATURE.encode() not in written


def test_ctrl_c_leaves_the_submission_and_says_how_to_go_on(
    fake: FakeKaggle,
    run_stage: Run,
    project: Project,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(SLEEP, interrupt)
    assert run_stage("submit", "--message", "first") == 130
    command = r"`unets submit tiny .*--submission \S+best\.csv\.gz` goes on waiting"
    assert re.search(command, capsys.readouterr().err)
    fake.judgements = [SCORED]
    assert run_stage("submit") == 0
    assert len(fake.submissions) == 1
