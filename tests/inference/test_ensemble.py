import csv
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from unets.config import DatasetConfig, EnsembleConfig
from unets.data.samples import read_mask
from unets.errors import InputError
from unets.inference.blend import blend
from unets.inference.ensemble import THRESHOLDS, check_ensemble, fit_ensemble, read_ensemble
from unets.inference.maps import open_maps
from unets.inference.oof import open_oof
from unets.inference.postprocess import to_masks
from unets.metrics import METRICS, dice
from unets.paths import Project

from .conftest import FINGERPRINT, flip_bit, write_maps

MakeScene = Callable[..., tuple[Project, DatasetConfig]]


def test_the_grid_holds_the_default() -> None:
    assert THRESHOLDS[0] == 0.3
    assert THRESHOLDS[10] == 0.5
    assert THRESHOLDS[-1] == 0.7


def test_scores_are_those_of_cutting_and_scoring_each_photo(make_scene: MakeScene) -> None:
    project, dataset = make_scene(experiments="ab", num_groups=4, num_views=2)
    config = EnsembleConfig(experiments=("a", "b"), weights=(1, 3))
    ensemble = fit_ensemble(project, dataset, config, jobs=2)
    maps = [open_maps(project.maps_dir(name, "oof")) for name in "ab"]
    truths = {sample.id: read_mask(sample, dataset) for sample in open_oof(project, dataset, ["a"]).samples}

    def score(weights: tuple[float, float], threshold: float) -> Any:
        blended = {id_: blend([reader.read_map(id_) for reader in maps], weights, (64, 96)) for id_ in truths}
        return np.mean([dice(truths[id_], to_masks(blended[id_], threshold)) for id_ in truths])

    for row in ensemble.threshold_scores[::5]:
        assert row.score == pytest.approx(score((1, 3), row.threshold), abs=1e-12)
    assert [member.score for member in ensemble.member_scores] == pytest.approx(
        [score((1, 0), 0.5), score((0, 1), 0.5)]
    )
    assert [member.weight for member in ensemble.members] == [0.25, 0.75]
    assert {member.fingerprint for member in ensemble.members} == {FINGERPRINT}
    assert (ensemble.folds, ensemble.num_photos, ensemble.num_groups) == ((0, 1), 8, 4)
    gain = ensemble.score.mean - max(member.score for member in ensemble.member_scores)
    assert ensemble.gain_over_best_member.mean == pytest.approx(gain)
    # noise averages out: the mean of two beats each
    assert gain > 0


def test_it_is_written_and_read(make_scene: MakeScene) -> None:
    project, dataset = make_scene(num_groups=2, num_views=2)
    ensemble = fit_ensemble(project, dataset, EnsembleConfig(experiments=("a",)), jobs=1)
    assert read_ensemble(project) == ensemble
    assert json.loads(project.ensemble_path.read_text())["members"] == [
        {"experiment": "a", "weight": 1.0, "fingerprint": FINGERPRINT}
    ]
    text = project.ensemble_path.read_text()
    fit_ensemble(project, dataset, EnsembleConfig(experiments=("a",)), jobs=2)
    assert project.ensemble_path.read_text() == text


def test_each_photos_score_is_written(make_scene: MakeScene) -> None:
    project, dataset = make_scene(experiments="ab", num_groups=3, num_views=2)
    ensemble = fit_ensemble(project, dataset, EnsembleConfig(experiments=("a", "b"), weights=(1, 3)), jobs=2)
    with project.ensemble_oof_path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with project.folds_path.open(newline="") as file:
        folds = {row["id"]: (row["group"], row["fold"]) for row in csv.DictReader(file)}
    assert {row["id"]: (row["group"], row["fold"]) for row in rows} == folds
    maps = [open_maps(project.maps_dir(name, "oof")) for name in "ab"]
    for row, sample in zip(rows, open_oof(project, dataset, ["a"]).samples, strict=True):
        blended = blend([reader.read_map(row["id"]) for reader in maps], (1, 3), (64, 96))
        expected = dice(read_mask(sample, dataset), to_masks(blended, ensemble.threshold))
        assert row["id"] == sample.id
        assert float(row["dice"]) == pytest.approx(expected, abs=5.01e-7)  # six digits


def test_an_ensemble_of_other_members_or_folds_is_refused(make_scene: MakeScene) -> None:
    project, dataset = make_scene(experiments="ab", num_groups=2, num_views=2)
    ensemble = fit_ensemble(project, dataset, EnsembleConfig(experiments=("a", "b")), jobs=1)
    check_ensemble(ensemble, ["b", "a"], [0, 1])
    with pytest.raises(InputError, match=r"make ensemble EXP=a FOLD=0,1"):
        check_ensemble(ensemble, ["a"], [0, 1])
    with pytest.raises(InputError, match=r"make ensemble EXP=a,b FOLD=0"):
        check_ensemble(ensemble, ["a", "b"], [0])


def test_a_threshold_is_moved_only_for_a_gain_beyond_chance(make_scene: MakeScene) -> None:
    project, dataset = make_scene(num_groups=6, num_views=2)
    config = EnsembleConfig(experiments=("a",))
    assert fit_ensemble(project, dataset, config, jobs=1).threshold == 0.5
    # every map 30 levels too high: the contour is where 0.5 + 30 / 255 = 0.62
    write_maps(project, dataset, "a", shift=30.0)
    ensemble = fit_ensemble(project, dataset, config, jobs=1)
    assert ensemble.threshold == pytest.approx(0.62, abs=0.041)
    assert ensemble.gain_of_threshold.excludes_zero
    assert ensemble.score.mean == max(row.score for row in ensemble.threshold_scores)


def test_a_threshold_may_be_given(make_scene: MakeScene) -> None:
    project, dataset = make_scene(num_groups=2, num_views=2)
    config = EnsembleConfig(experiments=("a",), threshold=0.45, min_area_px=10**6)
    ensemble = fit_ensemble(project, dataset, config, jobs=1)
    assert ensemble.threshold == 0.45
    assert [row.threshold for row in ensemble.threshold_scores] == [0.45, 0.5]
    assert ensemble.score.mean == 0.0  # every mask is below the smallest area, no true mask is empty


@pytest.mark.parametrize("classes", [("car",), ("cat", "dog")])
def test_any_metric_and_several_classes(
    make_scene: MakeScene, classes: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    project, dataset = make_scene(num_groups=2, num_views=2, classes=classes)
    config = EnsembleConfig(experiments=("a",))
    by_counts = fit_ensemble(project, dataset, config, jobs=1)
    monkeypatch.setitem(METRICS, "own", dice)
    by_calls = fit_ensemble(project, dataset.model_copy(update={"metric": "own"}), config, jobs=1)
    assert by_calls.threshold_scores == by_counts.threshold_scores
    assert by_calls.score == by_counts.score
    assert by_counts.score.mean > 0.9


def test_a_damaged_map_ends_it_and_leaves_the_old_file(make_scene: MakeScene) -> None:
    project, dataset = make_scene(num_groups=2, num_views=2)
    with pytest.raises(InputError, match="Run `make ensemble`"):
        read_ensemble(project)
    config = EnsembleConfig(experiments=("a",))
    fit_ensemble(project, dataset, config, jobs=1)
    before = project.ensemble_path.read_bytes()
    flip_bit(project.maps_dir("a", "oof") / "00000.zip", 200)
    with pytest.raises(InputError, match=r"00000\.zip must be whole. Received: member .* is damaged"):
        fit_ensemble(project, dataset, config, jobs=2)
    assert project.ensemble_path.read_bytes() == before
