"""Records and the page rendered from them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.submissions import write_submission
from tests.trained_competition import make_scene
from unets.config import EnsembleConfig
from unets.ensemble.ensemble import read_ensemble
from unets.ensemble.fit import fit_ensemble
from unets.errors import InputError
from unets.evaluation.results import check_made_of, read_test_score, render_results, sum_stages, summarize
from unets.store.runs import append_json_line, hash_file, write_json
from unets.submission.submission import name_submission

__all__ = ["make_scene"]

RECORD = {
    "kind": "experiment",
    "competition": "tiny",
    "name": "unet",
    "metric": "dice",
    "folds": [0, 1],
    "num_images": 8,
    "num_groups": 2,
    "oof": {"mean": 0.987654321, "low": 0.98, "high": 0.99},
    "oof_no_tta": {"mean": 0.9871, "low": None, "high": None},
    "cost": {"training_hours": 1.25, "images": 100, "runs": 2, "devices": ["a CPU, 2 cores"]},
    "command": "make train predict COMPETITION=tiny EXP=unet FOLD=0,1",
    "date": "2026-01-02T03:04:05+00:00",
    "git_commit": "0123456789abcdef",
    "git_is_dirty": True,
}


@pytest.fixture
def render(tmp_path: Path) -> Callable[..., str]:
    """Renders the page of one record, with other fields."""
    (tmp_path / "tiny").mkdir()

    def render(**fields: Any) -> str:
        (tmp_path / "tiny" / "unet.json").write_text(json.dumps(RECORD | fields))
        return render_results(tmp_path)

    return render


def test_page_shows_what_the_record_holds(render: Callable[..., str], tmp_path: Path) -> None:
    assert "|" not in render_results(tmp_path)  # no tables without records
    page = render()
    for words in ("## tiny", "0.98765 (0.98000 to 0.99000)", "0.98710", "1.25", f"`{RECORD['command']}`"):
        assert words in page
    assert "012345678 (changed)" in page  # a record of code that was not committed says so
    classes = {"sky": {"dice": 0.9, "iou": 0.8182}, "pole": {"dice": 0.5, "iou": 0.3333}, "none": None}
    page = render(oof_pixels={"mean_dice": 0.7, "mean_iou": 0.57575, "classes": classes})
    figures = "mean Dice 0.7000, mean IoU 0.5757 (IoU: sky 0.818, pole 0.333)"
    assert f"- unet, out-of-fold, over the pixels of all images: {figures}" in page


def test_records_of_several_metrics_say_which(render: Callable[..., str], tmp_path: Path) -> None:
    assert "metric" not in render() and "dice" not in render()
    (tmp_path / "tiny" / "later.json").write_text(json.dumps(RECORD | {"name": "later", "metric": "iou"}))
    page = render()
    assert "| unet (experiment, folds 0,1, dice) |" in page and "| later (experiment, folds 0,1, iou) |" in page


def test_a_score_by_another_metric_is_none_of_the_present(make_scene: Callable[..., Any]) -> None:
    project, dataset = make_scene()
    fit_ensemble(project, dataset, EnsembleConfig(experiments=("a",), threshold=0.5))
    write_submission(project, dataset)
    path, words = project.submission_path("tiny_a"), {"mean": 0.5, "low": None, "high": None}
    score = {"submission": path.name, "sha256": hash_file(path), "metric": "iou", **words}
    write_json(project.score_path(path), score)
    assert read_test_score(project, "tiny_a", "iou") is not None
    assert read_test_score(project, "tiny_a", "dice") is None
    assert "test" not in summarize(project, "ensemble", ["a"])


def test_seconds_of_a_pipeline_count_once(tmp_path: Path) -> None:
    rows = [("train", 60), ("predict", 8.5), ("pipeline", 69), ("train", 2)]
    for stage, seconds in rows:
        append_json_line(tmp_path / "stages.jsonl", {"stage": stage, "seconds": seconds})
    assert sum_stages(tmp_path / "stages.jsonl") == {"train": 62, "predict": 8.5}


def test_what_an_ensemble_is_made_of_stands_below_the_commands(render: Callable[..., str]) -> None:
    both = {"kind": "ensemble", "name": "both", "contributions": ["| member |\n", "| tried |\n"]}
    alone = {"experiment": "a", "weight": 1.0}
    page = render(**both, members=[alone, alone])
    assert page.endswith("both is made of, and what was tried:\n\n| member |\n\n| tried |\n")
    assert "made of" not in render(**both, members=[alone])  # nothing that the first table does not say


def test_a_submission_of_another_ensemble_is_not_recorded_as_this_ones(make_scene: Callable[..., Any]) -> None:
    project, dataset = make_scene(experiments="ab")
    fit_ensemble(project, dataset, EnsembleConfig(experiments=("a",), threshold=0.5))
    write_submission(project, dataset)
    alone = read_ensemble(project, "ensemble")
    fit_ensemble(project, dataset, EnsembleConfig(experiments=("a", "b"), threshold=0.5))
    both = read_ensemble(project, "ensemble")
    assert (name_submission(alone), name_submission(both)) == ("tiny_a", "tiny_ensemble")
    check_made_of(project, alone, "tiny_a")
    check_made_of(project, both, "tiny_ensemble")  # there is none: no score either
    with pytest.raises(InputError, match=r"tiny_a\.json must be of the present ensemble\. .*with other members"):
        check_made_of(project, both, "tiny_a")
