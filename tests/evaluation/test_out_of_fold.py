"""The mask that is shown is the mask that was judged."""

import shutil
from collections.abc import Callable

import numpy as np
import pytest

from tests.trained_competition import NO_BACKGROUND, make_scene, score_by_hand, write_maps
from unets.config import DatasetConfig, EnsembleConfig, Postprocessing
from unets.ensemble.fit import fit_ensemble
from unets.ensemble.oof import score_oof
from unets.errors import InputError
from unets.evaluation.out_of_fold import open_out_of_fold
from unets.store.paths import Project

__all__ = ["make_scene"]
MakeScene = Callable[..., tuple[Project, DatasetConfig]]


@pytest.mark.parametrize("name", ["b", "ensemble"])
def test_each_mask_has_the_score_that_was_noted(make_scene: MakeScene, name: str) -> None:
    project, dataset = make_scene(experiments="ab", num_groups=4, num_views=3)
    score_oof(project, dataset, "b", jobs=1)
    fit_ensemble(project, dataset, EnsembleConfig(experiments=("a", "b")), jobs=1)
    judged = open_out_of_fold(project, dataset, name)
    again = [score_by_hand(*judged.read(k), 1) for k in range(len(judged.samples))]
    assert len(again) == 12
    np.testing.assert_allclose(judged.scores, again, atol=1e-6)  # the csv has six digits
    worst = judged.list_worst()
    assert sorted(worst) == list(range(12)) and judged.scores[worst].tolist() == sorted(judged.scores)


def test_without_background_the_most_probable_class_is_shown(make_scene: MakeScene) -> None:
    project, dataset = make_scene(num_groups=4, num_views=2, **NO_BACKGROUND)
    write_maps(project, dataset, "a", shift=-120.0)
    score_oof(project, dataset, "a", jobs=1)
    judged = open_out_of_fold(project, dataset, "a")
    for index, score in enumerate(judged.scores):
        truth_hw, mask_hw = judged.read(index)
        assert mask_hw.min() > 0  # a cut at 0.5 would leave pixels without a class
        assert score_by_hand(truth_hw, mask_hw, 2) == pytest.approx(score, abs=1e-6)


def test_an_ensemble_of_one_fold_shows_what_each_part_was_judged_by(make_scene: MakeScene) -> None:
    """Parts want other thresholds: neither the start recipe nor that of submissions is what a photo was scored by."""
    project, dataset = make_scene(num_groups=12, num_views=2)
    write_maps(project, dataset, "a", kinds=("oof",), shift=lambda id_: 30.0 + 3 * int(id_[3:6]))
    given = {"averaging": "probability", "weights": "equal", "postprocessing": Postprocessing()}
    config = EnsembleConfig(experiments=("a",), threshold="fit", **given)
    ensemble = fit_ensemble(project, dataset, config, folds=[0], jobs=1)
    assert ensemble.trials[0].is_kept and len(set(ensemble.trials[0].values_by_part)) > 1
    judged = open_out_of_fold(project, dataset, "ensemble")
    for index, score in enumerate(judged.scores):
        assert score_by_hand(*judged.read(index), 1) == pytest.approx(score, abs=1e-6)
        recipe = ensemble.find_recipes(0).find(judged.samples[index].group)
        assert recipe.threshold != ensemble.start.threshold == ensemble.find_recipe(0).threshold
    with pytest.raises(InputError, match=r"by which recipes fold 1 was evaluated\. Received: nothing"):
        ensemble.find_recipes(1)


def test_an_ensemble_of_maps_before_the_present_ones_is_refused(make_scene: MakeScene) -> None:
    project, dataset = make_scene(experiments="ab", num_groups=4, num_views=1)
    fit_ensemble(project, dataset, EnsembleConfig(experiments=("a", "b")), jobs=1)
    write_maps(project, dataset, "b", net="new")
    with pytest.raises(
        InputError, match=r"present maps of b, of fingerprint [0-9a-f]+. Received: [0-9a-f]+\. Run `unets ensemble`"
    ):
        open_out_of_fold(project, dataset, "ensemble")


def test_scores_of_one_fold_show_that_fold(make_scene: MakeScene) -> None:
    project, dataset = make_scene(num_groups=4, num_views=2)
    score_oof(project, dataset, "a", folds=[1], jobs=1)
    judged = open_out_of_fold(project, dataset, "a")
    assert judged.oof.folds == (1,) and len(judged.samples) == len(judged.scores) == 4


def test_scores_of_other_photos_are_refused(make_scene: MakeScene) -> None:
    project, dataset = make_scene(num_groups=4, num_views=2)
    with pytest.raises(InputError, match=r"oof_scores.csv must exist"):
        open_out_of_fold(project, dataset, "a")
    score_oof(project, dataset, "a", jobs=1)
    path = project.oof_scores_path("a")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(InputError, match=r"a score of each photo of its folds. .* Run `unets predict --exp a`"):
        open_out_of_fold(project, dataset, "a")
    shutil.rmtree(project.maps_dir("a", "oof"))
    with pytest.raises(InputError, match="must hold shards of maps"):
        open_out_of_fold(project, dataset, "a")
