"""The table of what an ensemble's parts contribute and cost."""

from pathlib import Path

import pytest

from tests.trained_competition import build_ensemble, write_metrics, write_run
from unets.config import ExperimentConfig, TrainingConfig
from unets.ensemble.ensemble import Ensemble, Member
from unets.ensemble.selection import CandidateResult
from unets.evaluation.contributions import list_notes, render_contributions, tabulate_candidates, tabulate_members
from unets.metrics.intervals import Interval
from unets.store.paths import Project

GAIN = Interval(mean=0.001, low=0.0005, high=0.0015)
ALONE = Interval(mean=0.985, low=0.98, high=0.99)
NOTHING = Interval(mean=0.0, low=-0.0001, high=0.0001)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project.below(tmp_path, "tiny")


@pytest.fixture
def ensemble() -> Ensemble:
    def try_one(what: str, value: str, gain: Interval, reason: str) -> CandidateResult:
        fields = {"what": what, "value": value, "values_by_part": (value,) * 2, "gain": gain, "reason": reason}
        return CandidateResult(**fields, p_value=0.1, is_kept=reason == "kept")  # type: ignore[arg-type]

    return build_ensemble(
        {"a": 0.7, "b": 0.3},
        name="ensemble_c",
        members=(
            Member(experiment="a", weight=0.7, fingerprint="0", score=ALONE, score_no_tta=0.984, gain=GAIN),
            Member(experiment="b", weight=0.3, fingerprint="1", score=ALONE, score_no_tta=None, gain=NOTHING),
        ),
        folds=(0, 1),
        score=Interval(mean=0.99, low=0.98, high=0.995),
        gain_over_start=GAIN,
        gain_over_best_member=NOTHING,
        gain_of_tta=GAIN,
        candidates=(
            try_one("weights", "0.700 0.300", GAIN, "kept"),
            try_one("threshold", "0.48", NOTHING, "may be chance"),
        ),
    )


def test_it_says_what_each_part_gains_and_costs(project: Project, ensemble: Ensemble) -> None:
    for name, seconds in (("a", 3600.0), ("b", 900.0)):
        for fold in (0, 1):
            write_metrics(project.run_dir(name, fold), seconds=seconds, images=10, devices=["a GPU"])
    lines = render_contributions(project, ensemble).split("\n")
    assert lines[0].startswith("ensemble_c of tiny, 8 out-of-fold images of 4 groups, folds 0,1: dice 0.99000 (0.98")
    assert "device: a GPU" in lines and max(map(len, lines[1:-10])) <= 80
    gain, nothing = "+1.00 (0.50 to 1.50) x 1e-3", "+0.00 (-0.10 to 0.10) x 1e-3"
    assert tabulate_members(project, ensemble).rows == (
        ("a", "0.7000", "0.98500 (0.98000 to 0.99000)", "0.98400", "2.00", gain, "a GPU"),
        ("b", "0.3000", "0.98500 (0.98000 to 0.99000)", "", "0.50", nothing, "a GPU"),
        ("all", "1.0000", "0.99000 (0.98000 to 0.99500)", "", "2.50", "", "a GPU"),
    )
    assert tabulate_candidates(ensemble).rows == (
        ("weights, by forward selection", "0.700 0.300", gain, "kept"),
        ("threshold", "0.48", nothing, "may be chance"),
        ("TTA, over no TTA", "", gain, "as predicted"),
        ("the whole, over the best member", "a", nothing, "no difference shown"),
        ("all that was kept", "", gain, ""),
    )
    starts = (
        "with 5 groups the interval is rough",
        "where a fold's best epoch was kept",
        "what is fitted is evaluated on images that it was not fitted on, over 2 folds",
        "which candidates are kept is decided by these same gains: dice and",
    )
    notes = list_notes(ensemble.model_copy(update={"num_groups": 5}))
    assert all(note.startswith(start) for note, start in zip(notes, starts, strict=True))
    assert list_notes(ensemble)[2:] == ["nothing is tried below 5 groups: what gains may be chance"]
    dropped = ensemble.model_copy(update={"candidates": ensemble.candidates[1:], "num_groups": 40})
    assert [note.startswith("what is fitted") for note in list_notes(dropped)] == [False, True]
    (project.run_dir("a", 0) / "metrics.json").unlink()
    assert tabulate_members(project, ensemble).rows[-1][4] == "?"


def test_a_run_that_two_members_started_from_counts_once(project: Project, ensemble: Ensemble) -> None:
    for name in ("a", "b", "base"):
        training = TrainingConfig(start_from=None if name == "base" else "base")
        for fold in (0, 1):
            write_run(project, name, fold, ExperimentConfig(training=training), seconds=3600.0, images=1, devices=["a"])
    hours = [row[4] for row in tabulate_members(project, ensemble).rows]
    assert hours == ["4.00", "4.00", "6.00"]


def test_one_member_and_one_group(project: Project, ensemble: Ensemble) -> None:
    one = ensemble.model_copy(
        update={
            "members": (ensemble.members[0].model_copy(update={"gain": None}),),
            "candidates": (),
            "gain_of_tta": None,
            "num_groups": 1,
            "num_parts": 1,
        }
    )
    text = render_contributions(project, one)
    assert "best member" not in text and "TTA," not in text
    assert text.endswith("note: nothing is tried below 5 groups: what gains may be chance")
