"""The mask that is shown is the mask that was evaluated."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.trained_competition import NO_BACKGROUND, make_scene, score_by_hand, write_maps
from unets.config import DatasetConfig, EnsembleConfig, Postprocessing
from unets.data.samples import read_mask
from unets.dataset.manifest import read_manifest
from unets.ensemble.fit import fit_ensemble
from unets.ensemble.oof import score_oof
from unets.errors import InputError
from unets.evaluation.predictions import Prediction, open_prediction
from unets.evaluation.scores import find_scores_path, read_scores
from unets.store.paths import Project

__all__ = ["make_scene"]
MakeScene = Callable[..., tuple[Project, DatasetConfig]]
GIVEN: dict[str, Any] = {"weights": "equal", "postprocessing": Postprocessing()}


def check_scores(project: Project, dataset: DatasetConfig, name: str) -> Prediction:
    """Checks that each mask has the score that was noted; the csv has six digits."""
    scores, prediction = (
        read_scores(find_scores_path(project, name), "dice")["score"],
        open_prediction(project, dataset, name),
    )
    samples = [sample for sample in read_manifest(project, dataset).train if sample.id in prediction.recipes]
    assert [sample.id for sample in samples] == scores.index.tolist()
    for sample in samples:
        target = read_mask(sample)
        mask = prediction.select([sample.id, "stranger"]).make_mask(sample.id, (target.shape[0], target.shape[1]))
        assert score_by_hand(target, mask, len(dataset.classes)) == pytest.approx(scores[sample.id], abs=1e-6)
        if not dataset.has_background:
            assert mask.min() > 0  # a threshold of 0.5 would leave pixels without a class
    return prediction


@pytest.mark.parametrize("options", [{}, NO_BACKGROUND], ids=["thresholded", "without background"])
def test_each_mask_has_the_score_that_was_noted(make_scene: MakeScene, options: dict[str, Any]) -> None:
    project, dataset = make_scene(experiments="ab", num_groups=4, num_views=2, **options)
    write_maps(project, dataset, "b", shift=-120.0, seed=1)
    score_oof(project, dataset, "b")
    fit_ensemble(project, dataset, EnsembleConfig(experiments=("a", "b")))
    for name in ("b", "ensemble"):
        check_scores(project, dataset, name)
    score_oof(project, dataset, "a", folds=[1])
    assert len(check_scores(project, dataset, "a").recipes) == 4


def test_an_ensemble_of_one_fold_shows_what_each_part_was_evaluated_by(make_scene: MakeScene) -> None:
    """Parts want other thresholds: neither the start recipe nor that of submissions is what an image was scored by."""
    project, dataset = make_scene(num_groups=12, num_views=2)
    write_maps(project, dataset, "a", kinds=("oof",), shift=lambda id_: 30.0 + 3 * int(id_[3:6]))
    config = EnsembleConfig(experiments=("a",), threshold="fit", **GIVEN)
    ensemble = fit_ensemble(project, dataset, config, folds=[0])
    assert ensemble.candidates[0].is_kept and len(set(ensemble.candidates[0].values_by_part)) > 1
    prediction = check_scores(project, dataset, "ensemble")
    for recipe in prediction.recipes.values():
        assert recipe.threshold != ensemble.start.threshold == ensemble.find_recipe(0).threshold
    with pytest.raises(InputError, match=r"by which recipe car000 of fold 1 was evaluated\. Received: nothing"):
        ensemble.find_recipe(1, "car000")


def test_other_maps_classes_and_scores_are_refused(make_scene: MakeScene) -> None:
    project, dataset = make_scene(experiments="ab", num_groups=4, num_views=1)
    with pytest.raises(InputError, match=r"oof_scores.csv must exist"):
        open_prediction(project, dataset, "a")
    fit_ensemble(project, dataset, EnsembleConfig(experiments=("a", "b")))
    write_maps(project, dataset, "b", net="new")
    received = r"present maps of b, of fingerprint [0-9a-f]+. Received: [0-9a-f]+\. Run `unets ensemble`"
    with pytest.raises(InputError, match=received):
        open_prediction(project, dataset, "ensemble")
    score_oof(project, dataset, "a")
    with pytest.raises(InputError, match=r"classes dog\. Received: car\."):
        open_prediction(project, dataset.model_copy(update={"classes": ("dog",)}), "a")
    path = project.oof_scores_path("a")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(InputError, match=r"oof_scores\.csv must be as oof_pixels\.json says"):
        open_prediction(project, dataset, "a")
    project.oof_pixels_path("a").unlink()
    with pytest.raises(InputError, match=r"a score of each image of its folds. .* Run `unets predict --exp a`"):
        open_prediction(project, dataset, "a")
