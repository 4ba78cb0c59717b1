"""Paired differences by hand, and every comparison that would not be honest."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trained_competition import build_ensemble, write_run
from unets.config import DatasetConfig, ExperimentConfig, TrainingConfig
from unets.dataset.manifest import read_masks_digest
from unets.errors import InputError
from unets.evaluation.compare import compare, render_comparison
from unets.evaluation.results import record_experiment
from unets.evaluation.runs import Cost, find_cost
from unets.evaluation.scores import note_part
from unets.metrics.intervals import Interval, bootstrap_mean
from unets.prediction.maps import encode_map, write_shard
from unets.store.paths import Project
from unets.store.runs import hash_file, write_json

# id: (group, fold)
IMAGES = {f"p{number}": (f"g{number}", "0") for number in range(1, 6)} | {"q1": ("i", "1"), "q2": ("j", "1")}
A = {"p1": 0.90, "p2": 0.80, "p3": 0.70, "p4": 0.60, "p5": 0.50}
B = {"p1": 0.91, "p2": 0.81, "p3": 0.74, "p4": 0.62, "p5": 0.50}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Experiments `a` and `b` of fold 0."""
    project = make_project(tmp_path / "models" / "tiny")
    write_experiment(project, "a", A)
    write_experiment(project, "b", B)
    return project


def make_project(models_dir: Path) -> Project:
    project = Project.below(models_dir.parents[1], "tiny", models_dir=models_dir)
    write_folds(project)
    return project


def write_folds(project: Project, images: dict[str, tuple[str, str]] = IMAGES) -> None:
    project.models_dir.mkdir(parents=True, exist_ok=True)
    rows = [f"{id_},{group},{fold}\n" for id_, (group, fold) in images.items()]
    project.folds_path.write_text("id,group,fold\n" + "".join(rows))


def write_csv(path: Path, scores: dict[str, float], images: dict[str, tuple[str, str]] = IMAGES) -> None:
    rows = [f"{id_},{','.join(images[id_])},{score:.6f},\n" for id_, score in scores.items()]
    path.write_text("id,group,fold,dice,dice_no_tta\n" + "".join(rows))


def write_config(project: Project, name: str, **training: Any) -> None:
    experiment = ExperimentConfig(training=TrainingConfig(**training))
    write_run(project, name, 0, experiment, seconds=3600.0, images=100, devices=["a CPU"])


def write_experiment(project: Project, name: str, scores: dict[str, float]) -> None:
    folds = {IMAGES[id_][1] for id_ in scores}
    for fold in folds:
        write_run(project, name, int(fold), seconds=3600.0, images=100, devices=["a CPU"])
    hashes = {fold: hash_file(project.run_dir(name, int(fold)) / "net.weights.h5") for fold in folds}
    write_json(project.oof_pixels_path(name), {"weights": hashes})
    write_csv(project.oof_scores_path(name), scores)


def write_ensemble(project: Project, scores: dict[str, float], *, name: str = "ensemble") -> None:
    mean = sum(scores.values()) / len(scores)
    score = Interval(mean=mean + 4e-7, low=None, high=None)  # the csv has six digits
    ensemble = build_ensemble(
        {"a": 0.5, "b": 0.5},
        name=name,
        folds_sha256=hash_file(project.folds_path),
        num_images=len(scores),
        score=score,
    )
    project.ensemble_path(name).write_text(ensemble.to_json())
    write_csv(project.ensemble_oof_path(name), scores)


def test_the_difference_is_paired_and_its_interval_drawn_over_groups(project: Project) -> None:
    found = compare(project, "dice", "a", "b")
    assert (found.num_images, found.num_groups, found.folds) == (5, 5, (0,))
    assert (found.a.mean, found.b.mean) == pytest.approx((0.7, 0.716))
    # +0.01, +0.01, +0.04, +0.02, 0: mean 0.016
    expected = bootstrap_mean(np.array([0.01, 0.01, 0.04, 0.02, 0.0]), list("abcde"))
    assert found.difference.mean == pytest.approx(0.016)
    assert (found.difference.low, found.difference.high) == pytest.approx((expected.low, expected.high))
    assert [change.id for change in found.changes] == ["p3", "p4", "p1", "p2"]  # p5 did not change
    assert [change.difference for change in found.changes] == [0.04, 0.02, 0.01, 0.01]
    assert (found.changes[0].a, found.changes[0].b) == (0.70, 0.74)
    assert found.verdict == f"b is better than a: b minus a is {expected.format_gain()}"
    assert any("of one seed each, not of two configs" in note for note in found.notes)
    lines = render_comparison(found).split("\n")
    assert lines[0] == "tiny, 5 out-of-fold images of 5 groups, fold 0"
    assert lines[4].split() == ["A", "a", "0.700000", "1.00", "100", "1"] and lines[6] == "device: a CPU"
    assert ["p3", "0.700000", "0.740000", "+0.040000"] in [line.split() for line in lines]
    assert json.loads(found.to_json())["difference"]["mean"] == pytest.approx(0.016)
    back = compare(project, "dice", "b", "a")
    assert back.verdict.startswith("a is worse than b: a minus b is -16.00 (-")


def test_seeds_are_averaged_image_by_image_and_told_apart(project: Project) -> None:
    project.configs_dir.mkdir(parents=True)
    for name in "ab":
        (project.configs_dir / f"{name}.py").write_text(
            "from unets.config import ExperimentConfig, TrainingConfig\n"
            "EXPERIMENT = ExperimentConfig(training=TrainingConfig(seed=4))\n"
        )
    with pytest.raises(InputError, match=r"`A` must be evaluated .* Received: a\+training.seed=5"):
        compare(project, "dice", "a", "b", num_seeds=2)
    write_experiment(project, "a+training.seed=5", A | {"p5": 0.40})
    write_experiment(project, "b+training.seed=5", {**A, "p4": 0.50, "q1": 0.9})
    found = compare(project, "dice", "a", "b", num_seeds=2)
    # 0.016 of the first pair; of the second (-0.1 + 0.1) / 5
    assert found.by_seed == pytest.approx((0.016, 0.0))
    assert found.difference.mean == pytest.approx(0.008)
    assert {change.id: change.difference for change in found.changes} == pytest.approx(
        {"p5": 0.05, "p4": -0.04, "p3": 0.02, "p1": 0.005, "p2": 0.005}
    )
    assert found.a.cost is not None and found.a.cost.runs == 2
    assert found.notes[0].startswith("the difference is of 2 runs with other seeds of each")
    assert "of single pairs it is +0.00 to +16.00 x 1e-3" in found.notes[0]
    assert len(compare(project, "dice", "a", "b").by_seed) == 1  # as named: one run of each


def test_a_difference_of_nothing_one_group_or_both_signs_is_not_shown(project: Project) -> None:
    equal = compare(project, "dice", "a", "a")
    assert equal.verdict == "no difference shown: a minus a is +0.00 (0.00 to 0.00) x 1e-3" and equal.changes == ()
    assert "changed most" not in render_comparison(equal)
    write_experiment(project, "b", A | {"p1": 0.91, "p3": 0.69})
    write_experiment(project, "c", {"p1": 0.95, "p2": 0.95})
    assert compare(project, "dice", "a", "b").verdict.startswith("no difference shown: b minus a is +0.00 (-")
    one_group = compare(project, "dice", "a", "c")
    assert one_group.verdict == "no difference shown: c minus a is +100.00 x 1e-3 (too few groups for an interval)"


def test_of_a_metric_over_all_pixels_no_image_is_better_or_worse(project: Project) -> None:
    for name in "ab":
        path = project.oof_scores_path(name)
        path.write_text(path.read_text().replace("dice", "global_dice"))
    found = compare(project, "global_dice", "a", "b")
    assert found.difference.mean == pytest.approx(compare(project, "global_dice", "b", "a").difference.mean * -1)
    assert found.changes == () and "images: " not in render_comparison(found)


def test_only_images_of_both_count_and_only_their_folds_cost(project: Project) -> None:
    write_experiment(project, "a", A | {"q1": 0.1, "q2": 0.1})
    found = compare(project, "dice", "a", "b")
    assert (found.num_images, found.folds, found.a.mean) == (5, (0,), pytest.approx(0.7))
    assert found.a.cost == Cost(training_hours=1.0, images=100, runs=1, devices=("a CPU",))
    assert "2 images of a alone are left out" in found.notes
    assert note_part("dice", 2) == [] == note_part("global_iou", 0)
    assert "of a part of the evaluated images the score is approximate" in note_part("global_iou", 2)[0]
    assert any(note.startswith("with 5 groups the interval is rough") for note in found.notes)
    write_config(project, "b", start_from="a")  # its hours hold those of the run that it started from
    assert compare(project, "dice", "a", "b").b.cost == find_cost(project, ["a", "b"], [0])
    write_experiment(project, "b", {"q1": 0.5, "q2": 0.6})
    write_experiment(project, "a", A)
    with pytest.raises(InputError, match="a with fold 0, b with fold 1"):
        compare(project, "dice", "a", "b")


def test_an_ensemble_costs_what_its_members_cost(project: Project) -> None:
    write_ensemble(project, B | {"p2": 0.85})
    write_ensemble(project, A, name="ensemble_c")
    before = {path: path.stat().st_mtime_ns for path in project.models_dir.rglob("*")}
    assert compare(project, "dice", "ensemble_c", "ensemble").verdict.startswith("ensemble is better than ensemble_c: ")
    assert {path: path.stat().st_mtime_ns for path in project.models_dir.rglob("*")} == before  # nothing is written
    found = compare(project, "dice", "b", "ensemble")
    assert found.b.cost == Cost(training_hours=2.0, images=200, runs=2, devices=("a CPU",))
    assert found.difference.mean == pytest.approx(0.04 / 5)
    assert not any("seed" in note for note in found.notes)  # of an ensemble there is one alone
    with pytest.raises(InputError, match="`--seeds` must be 1 for an ensemble"):
        compare(project, "dice", "ensemble", "b", num_seeds=2)
    (project.run_dir("a", 0) / "metrics.json").unlink()
    without = compare(project, "dice", "b", "ensemble")
    assert without.b.cost is None
    assert "?" in render_comparison(without)


def test_an_ensembles_images_must_be_those_of_its_json(project: Project) -> None:
    write_ensemble(project, B)
    project.ensemble_oof_path("ensemble").unlink()
    with pytest.raises(InputError, match=r"ensemble_oof.csv must exist. .*`unets ensemble`"):
        compare(project, "dice", "a", "ensemble")
    for scores in (B | {"p1": 0.92}, A | {"q1": 0.716}):
        write_csv(project.ensemble_oof_path("ensemble"), scores)
        with pytest.raises(InputError, match=r"must hold the scores of .*ensemble.json, 5 images"):
            compare(project, "dice", "a", "ensemble")


def test_experiments_of_other_models_folders(project: Project, tmp_path: Path) -> None:
    other = make_project(tmp_path / "models" / "other")
    write_experiment(other, "a", B)
    label = f"{other.models_dir}/a"
    found = compare(project, "dice", "a", f"{label}/")  # as the shell completes it
    assert found.verdict == f"{label} is better than a: {label} minus a is {found.difference.format_gain()}"
    moved = IMAGES | {"q2": ("j", "0")}
    write_folds(other, moved)
    write_experiment(other, "a", B)
    with pytest.raises(InputError, match="must stand on the same folds"):
        compare(project, "dice", "a", label)


@pytest.mark.parametrize(
    ("given", "received"),
    [
        ("c", r"Received: c\. Run `unets predict --exp c`"),  # it was trained
        ("", r"Received: \(nothing\)\. Name both, as `unets compare unet_1024 "),
        ("ensemble", "Received: ensemble"),
        ("no/a", "no/a"),
    ],
)
def test_what_was_not_evaluated_is_refused(project: Project, given: str, received: str) -> None:
    project.run_dir("c", 0).mkdir(parents=True)
    with pytest.raises(InputError, match=f"`B` must be evaluated out-of-fold, in .*{received}"):
        compare(project, "dice", "a", given)


def test_runs_and_folds_that_are_gone_are_named(project: Project) -> None:
    (project.run_dir("b", 0) / "config.json").unlink()
    with pytest.raises(InputError, match=r"config.json must exist.* `unets train --exp b && unets predict --exp b`"):
        compare(project, "dice", "a", "b")
    project.folds_path.unlink()
    with pytest.raises(InputError, match=r"folds.csv must exist"):
        compare(project, "dice", "a", "b")


@pytest.mark.parametrize("stale", ["scores", "runs", "ensemble"])
def test_scores_of_other_folds_are_refused(project: Project, stale: str) -> None:
    """Each of them would let a net be evaluated on images that it was trained on."""
    write_ensemble(project, B)
    moved = IMAGES | {"p1": ("g1", "1"), "p2": ("g2", "1")}
    write_folds(project, moved if stale == "scores" else dict(reversed(IMAGES.items())))
    if stale == "scores":  # runs of the present folds, scores of those before
        for name in "ab":
            write_config(project, name)
    if stale == "ensemble":
        write_experiment(project, "a", A)
    with pytest.raises(InputError, match=r"must be trained and evaluated on the present folds.*unets clean --exp"):
        compare(project, "dice", "a", "ensemble" if stale == "ensemble" else "b")


def test_scores_of_other_weights_are_noted_and_a_copied_folder_s_are_not(project: Project, tmp_path: Path) -> None:
    os.utime(project.run_dir("b", 0) / "net.weights.h5", ns=(4 * 10**18, 4 * 10**18))  # as `cp -r` may leave it
    assert not [note for note in compare(project, "dice", "a", "b").notes if "present weights" in note]
    (project.run_dir("b", 0) / "net.weights.h5").write_bytes(b"others")
    note = "b was evaluated before the present weights: run `unets predict --exp b`"
    assert note in compare(project, "dice", "a", "b").notes
    dataset, experiment = DatasetConfig(size_hw=(64, 96)), ExperimentConfig()
    with pytest.raises(InputError, match=r"what is there\. Received: b was evaluated before the present weights"):
        record_experiment(project, dataset, "b", experiment, {})


def test_scores_of_other_masks_are_noted_and_not_recorded(project: Project) -> None:
    def write_tables(digest: str) -> None:
        project.samples_path.write_text("id,split,image,mask,group,view\np1,train,p1.jpg,p1.png,g1,\n")
        project.account_path.write_text(f"file,is,hash,stamp\np1.jpg,image,1,1:1\np1.png,mask,{digest},1:1\n")

    write_tables("2")
    write_json(project.oof_pixels_path("b"), {"weights": {}, "masks": read_masks_digest(project)})
    assert not [note for note in compare(project, "dice", "a", "b").notes if "present masks" in note]
    write_tables("3")
    note = "b was evaluated before the present masks: run `unets predict --exp b`"
    assert note in compare(project, "dice", "a", "b").notes
    with pytest.raises(InputError, match="Received: b was evaluated before the present masks"):
        record_experiment(project, DatasetConfig(size_hw=(64, 96)), "b", ExperimentConfig(), {})


def test_an_ensemble_of_other_weights_or_maps_is_noted(project: Project) -> None:
    write_ensemble(project, B)

    def find_notes() -> list[str]:
        return [note for note in compare(project, "dice", "a", "ensemble").notes if "was evaluated before" in note]

    assert find_notes() == []
    # maps of another fingerprint than that which the ensemble was fitted on
    map_u8 = encode_map(np.zeros((2, 2, 1), dtype=np.uint8))
    write_shard(project.maps_dir("a", "oof"), 0, nets={"0": "1"}, classes=("car",), maps=[("p1", map_u8)])
    (note,) = find_notes()
    assert "weights or maps of a: run `unets predict && unets ensemble`" in note
    # and weights that were not even predicted with
    (project.run_dir("b", 0) / "net.weights.h5").write_bytes(b"others")
    (note,) = find_notes()
    assert "weights or maps of a, b: " in note
    shutil.rmtree(project.maps_dir("a", "oof"))  # nothing is known of deleted maps
    (note,) = find_notes()
    assert "weights or maps of b: " in note
