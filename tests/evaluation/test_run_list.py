"""Run folders of every state, old ones and damaged ones, as one list."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from unets.config import DatasetConfig, load_dataset, load_experiment
from unets.errors import InputError
from unets.evaluation.runs import list_runs, render_inventory
from unets.evaluation.scores import list_evaluated, read_scores, tabulate_scores
from unets.store.paths import Project
from unets.store.runs import hash_file, lock, write_json
from unets.tables import Table

from ..trained_competition import write_run as write_any_run

CONFIG = "from unets.config import ExperimentConfig, TrainingConfig\n\nEXPERIMENT = ExperimentConfig({})\n"
NO_SCORES = Table(header=(), rows=())
Scene = tuple[Project, DatasetConfig]


@pytest.fixture
def scene(make_competition: Callable[..., Project]) -> Scene:
    project = make_competition(num_groups=2, num_test_groups=1, num_views=2, size_hw=(32, 48))
    for name in ("a", "b"):
        (project.configs_dir / f"{name}.py").write_text(CONFIG.format(""))
    project.models_dir.mkdir(parents=True)
    project.folds_path.write_text("id,group,fold\ncar000_01,car000,0\n")
    return project, load_dataset(project.configs_dir)


def write_run(scene: Scene, name: str, fold: int, **metrics: Any) -> Path:
    project, dataset = scene
    return write_any_run(project, name, fold, load_experiment(project.configs_dir, name), dataset, **metrics)


def describe(scene: Scene) -> list[tuple[str, int, str, str]]:
    return [(run.experiment, run.fold, run.state, run.remark) for run in list_runs(*scene)]


def test_a_competition_without_runs_says_what_to_do(scene: Scene) -> None:
    project, dataset = scene
    assert (list_runs(project, dataset), list_evaluated(project)) == ([], [])
    assert "`unets train" in render_inventory("tiny", [], NO_SCORES)
    project.folds_path.unlink()
    project.models_dir.rmdir()
    assert list_runs(project, dataset) == []
    assert not project.models_dir.exists()  # asking makes nothing


def test_a_finished_run_shows_all_it_has(scene: Scene) -> None:
    write_run(scene, "a", 0)
    (run,) = list_runs(*scene)
    assert (run.experiment, run.fold, run.state, run.num_epochs, run.best_epoch) == ("a", 0, "finished", 50, 42)
    header, _, row, same = render_inventory("tiny", list_runs(*scene), NO_SCORES).split("\n")[:4]
    assert header.split("  ")[0] == "experiment"
    assert row.split() == ["a", "0", "finished", "50/50", "0.98765", "42", "1.50", "1000"]
    assert same == "commit: 012345678; device: a CPU, 2 cores"


def test_states(scene: Scene) -> None:
    project, _ = scene
    write_run(scene, "a", 0)
    write_run(scene, "a", 10, is_finished=False, epochs=7)
    (write_run(scene, "a", 2) / "metrics.json").unlink()  # killed in its first epoch
    write_run(scene, "b", 1)
    (project.run_dir("b", 1) / "net.weights.h5").unlink()
    write_run(scene, "b", 2)
    (project.run_dir("b", 2) / "config.json").write_text('{"fold": ')
    project.run_dir("b", 3).mkdir()
    write_run(scene, "b", 4)
    (project.run_dir("b", 4) / "metrics.json").write_text("[1, 2]")
    (project.models_dir / "cache").mkdir()
    (project.models_dir / "a" / "fold_notes").mkdir()
    b_dir = project.models_dir / "b"
    assert describe(scene) == [
        ("a", 0, "finished", ""),
        ("a", 2, "stopped", ""),
        ("a", 10, "stopped", ""),
        ("b", 1, "broken", "no net.weights.h5"),
        ("b", 2, "broken", f"{b_dir}/fold2/config.json must hold JSON"),
        ("b", 3, "broken", "no config.json"),
        ("b", 4, "broken", f"{b_dir}/fold4/metrics.json must hold a JSON object"),
    ]
    assert [run.metrics.get("epochs") for run in list_runs(*scene)][:3] == [50, None, 7]


@pytest.mark.parametrize("begun", [False, True])
def test_a_run_that_is_held_is_running(scene: Scene, begun: bool) -> None:
    run_dir = scene[0].run_dir("a", 0)
    with lock(run_dir):
        if begun:
            write_run(scene, "a", 0, is_finished=False, epochs=3)
        assert describe(scene) == [("a", 0, "running", "")]
        with pytest.raises(InputError, match="is at work"), lock(run_dir):
            raise AssertionError("listing took the lock away")
    assert describe(scene) == [("a", 0, "stopped", "") if begun else ("a", 0, "broken", "no config.json")]


def test_a_run_of_another_config_or_other_folds_says_so(scene: Scene) -> None:
    project, _ = scene
    for name in ("a", "b"):
        write_run(scene, name, 0)
    (project.configs_dir / "a.py").write_text(CONFIG.format("training=TrainingConfig(epochs=60)"))
    assert [row[3] for row in describe(scene)] == ["of another config", ""]
    assert [run.num_epochs for run in list_runs(*scene)] == [50, 50]  # of the run, not of the file
    (project.configs_dir / "a.py").write_text("EXPERIMENT = 1")
    (project.configs_dir / "b.py").unlink()
    assert [row[3] for row in describe(scene)] == ["config file is faulty", "no config file"]
    for name in ("a", "b"):
        (project.configs_dir / f"{name}.py").write_text(CONFIG.format(""))
    project.folds_path.write_text("id,group,fold\ncar000_01,car000,1\n")
    assert [row[3] for row in describe(scene)] == ["of another config"] * 2


def test_evaluations_are_means_over_images(scene: Scene) -> None:
    project, dataset = scene
    weights_path = write_run(scene, "a", 0) / "net.weights.h5"
    project.oof_scores_path("a").write_text(
        "id,group,fold,dice,dice_no_tta\nx,g,0,0.9,\ny,g,0,0.8,0.7\nNA,h,1,0.4,0.2\n"
    )
    write_json(project.oof_pixels_path("a"), {"weights": {"0": hash_file(weights_path)}})
    (row,) = tabulate_scores(project, dataset.metric, list_evaluated(project)).rows
    assert row == ("a", "0.70000 (too few groups for an interval)", "0,1", "3", "2", "")
    weights_path.write_bytes(b"others")
    scores = tabulate_scores(project, dataset.metric, ["a"], folds=[0])
    assert scores.rows[0][-1] == "of other weights than the present"
    assert "0.70000 (too few" in render_inventory("tiny", list_runs(project, dataset), scores)
    assert tabulate_scores(project, dataset.metric, ["a"], folds=[2]).rows == ()


@pytest.mark.parametrize("rows", ["", "a,g,0\n", "a,g,zero,0.5\n", "a,g,0,nan\n", "a,g,0,0.5\na,g,0,0.5\n"])
def test_a_faulty_csv_is_refused_and_hides_no_other(scene: Scene, rows: str) -> None:
    project, dataset = scene
    for name, content in (("a", rows), ("b", "a,g,0,0.5\n")):
        project.oof_scores_path(name).parent.mkdir()
        project.oof_scores_path(name).write_text(f"id,group,fold,dice\n{content}")
    with pytest.raises(InputError, match=r"must hold at least one row of id,group,fold,dice"):
        read_scores(project.oof_scores_path("a"), "dice")
    faulty, whole = tabulate_scores(project, dataset.metric, list_evaluated(project)).rows
    assert faulty[1] == "" and "must hold at least one row" in faulty[-1]
    assert whole[1].startswith("0.5")
