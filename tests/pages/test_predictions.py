import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.pages.conftest import Trained
from tests.trained_competition import NO_BACKGROUND, score_by_hand
from unets.config import DatasetConfig
from unets.data.samples import read_mask
from unets.dataset.manifest import read_manifest
from unets.ensemble.ensemble import read_ensemble
from unets.ensemble.recipe import Recipe, make_mask
from unets.errors import InputError
from unets.evaluation.runs import read_scores
from unets.pages.predictions import Prediction, join_equally, open_ensemble, open_experiment
from unets.store.paths import Project


def open_members(project: Project, dataset: DatasetConfig) -> dict[str, Prediction]:
    return {name: open_experiment(project, dataset, name, [], (0, 1)) for name in "ab"}


@pytest.mark.parametrize("options", [{}, NO_BACKGROUND], ids=["thresholded", "without background"])
def test_masks_are_those_that_were_scored(make_trained: Callable[..., Trained], options: dict[str, Any]) -> None:
    project, dataset = make_trained(**options, spoil=lambda _: -60.0)
    members = open_members(project, dataset)
    own = {
        project.oof_scores_path("a"): members["a"],
        project.ensemble_oof_path("ensemble"): open_ensemble(read_ensemble(project), members),
    }
    samples = {sample.id: sample for sample in read_manifest(project, dataset).train}
    for path, prediction in own.items():
        for row in read_scores(path, "dice"):
            sample = samples[row.id]
            mask_hw = make_mask(*prediction.select([row.id]).read(sample, row.fold), (64, 96))
            found = score_by_hand(read_mask(sample), mask_hw, len(dataset.classes))
            assert found == pytest.approx(row.score, abs=1e-6)


def test_a_member_without_a_weight_is_not_read(make_trained: Callable[..., Trained]) -> None:
    project, dataset = make_trained()
    members = open_members(project, dataset)
    weights = {0: Recipe(weights=(0.0, 1.0)), 1: Recipe(weights=(0.5, 0.5))}
    ensemble = read_ensemble(project).model_copy(update={"recipe_without_fold": weights})
    shutil.rmtree(members["a"].readers[0].folder)
    sample = read_manifest(project, dataset).train[0]
    recipe, maps = open_ensemble(ensemble, members).read(sample, 0)
    assert recipe.weights == (1.0,) and len(maps) == 1
    np.testing.assert_array_equal(maps[0], members["b"].readers[0].read_map(sample.id))


def test_experiments_of_a_fold_are_joined_equally(make_trained: Callable[..., Trained]) -> None:
    project, dataset = make_trained(folds_of={"b": (0,)})
    alone = [open_experiment(project, dataset, name, [], folds) for name, folds in {"a": (0, 1), "b": (0,)}.items()]
    both, one = join_equally(alone, 0), join_equally(alone, 1)
    assert both is not None and both.recipes[0].recipes[0].weights == (0.5, 0.5)
    assert one is not None and one.recipes[1].recipes[0].weights == (1.0,)
    assert join_equally(alone, 2) is None
    train = read_manifest(project, dataset).train
    assert {both.has(sample, 0) for sample in train} == {False, True}  # those of fold 1 have no map of b
    assert not any(both.has(sample, 1) for sample in train)


def test_maps_that_are_lost_or_of_other_classes_are_refused(make_trained: Callable[..., Trained]) -> None:
    project, dataset = make_trained()
    with pytest.raises(InputError, match="must hold a map of stranger"):
        open_experiment(project, dataset, "a", ["car000_01", "stranger"], (0,))
    other = dataset.model_copy(update={"classes": ("dog",)})
    with pytest.raises(InputError, match=r"classes dog\. Received: car\."):
        open_experiment(project, other, "a", [], (0,))
    ensemble, members = read_ensemble(project), open_members(project, dataset)
    with pytest.raises(InputError, match=r"present maps of b, .* Received: none\. Run `unets ensemble`"):
        open_ensemble(ensemble, {"a": members["a"]})
    others = tuple(member.model_copy(update={"fingerprint": "other"}) for member in ensemble.members)
    with pytest.raises(InputError, match=r"of fingerprint other\. Received: .* Run `unets ensemble`"):
        open_ensemble(ensemble.model_copy(update={"members": others}), members)
