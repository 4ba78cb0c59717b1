import csv
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.trained_competition import FINGERPRINT, NO_BACKGROUND, blend, flip_bit, rewrite_maps, write_maps
from unets.config import DatasetConfig, EnsembleConfig, Postprocessing
from unets.data.samples import read_mask
from unets.dataset.folds import read_folds
from unets.dataset.manifest import read_manifest
from unets.ensemble.ensemble import check_ensemble, read_ensemble
from unets.ensemble.fit import fit_ensemble
from unets.ensemble.oof import open_oof
from unets.ensemble.postprocess import to_masks
from unets.ensemble.recipe import Recipe
from unets.ensemble.selection import OBJECT_STEPS, POSTPROCESSING_VALUES
from unets.errors import InputError
from unets.metrics.masks import dice
from unets.prediction.maps import open_maps
from unets.store.paths import Project
from unets.workers.pool import use_jobs

MakeScene = Callable[..., tuple[Project, DatasetConfig]]
PLAIN: dict[str, Any] = {"weights": "equal", "threshold": 0.5, "postprocessing": Postprocessing()}


def configure(experiments: str, **fields: Any) -> EnsembleConfig:
    """Nothing is fitted but what is named."""
    return EnsembleConfig(experiments=tuple(experiments), **PLAIN | fields)


def test_scores_are_those_of_making_and_scoring_each_mask(make_scene: MakeScene) -> None:
    project, dataset = make_scene(experiments="ab", num_groups=4, num_views=2)
    with use_jobs(2):
        ensemble = fit_ensemble(project, dataset, configure("ab", weights=(1, 3), threshold=0.46))
    samples = open_oof(project, dataset, ["a"]).samples
    truths = {sample.id: read_mask(sample) for sample in samples}

    def score(weights: tuple[float, float], threshold: float = 0.5, kind: str = "oof") -> Any:
        maps = [open_maps(project.maps_dir(name, kind)) for name in "ab"]
        blended = {id_: blend([reader.read_map(id_) for reader in maps], weights, (64, 96)) for id_ in truths}
        return np.mean([dice(truths[id_], to_masks(blended[id_], threshold)) for id_ in truths])

    near = {"abs": 1e-12}
    assert ensemble.score.mean == pytest.approx(score((1, 3), 0.46), **near)
    assert [member.score.mean for member in ensemble.members] == pytest.approx([score((1, 0)), score((0, 1))], **near)
    assert [member.score_no_tta for member in ensemble.members] == pytest.approx(
        [score((1, 0), kind="oof_no_tta"), score((0, 1), kind="oof_no_tta")], **near
    )
    # what each contributes: the whole less the whole without it
    without = [member.gain.mean for member in ensemble.members if member.gain]
    assert without == pytest.approx(
        [score((1, 3), 0.46) - score((0, 1), 0.46), score((1, 3), 0.46) - score((1, 0), 0.46)], **near
    )
    assert ensemble.gain_of_tta is not None
    assert ensemble.gain_of_tta.mean == pytest.approx(score((1, 3), 0.46) - score((1, 3), 0.46, "oof_no_tta"), **near)
    best = max(member.score.mean for member in ensemble.members)
    assert ensemble.gain_over_best_member.mean == pytest.approx(ensemble.score.mean - best, **near)
    assert ensemble.gain_over_best_member.mean > 0  # noise averages out: the mean of two beats each
    assert [member.weight for member in ensemble.members] == [0.25, 0.75]
    assert {member.fingerprint for member in ensemble.members} == {FINGERPRINT}
    assert (ensemble.folds, ensemble.num_images, ensemble.num_groups, ensemble.num_parts) == ((0, 1), 8, 4, 2)
    assert (ensemble.candidates, ensemble.gain_over_start.mean) == ((), 0)
    assert ensemble.recipe == ensemble.start == Recipe(weights=(0.25, 0.75), threshold=0.46)


def test_it_is_written_read_and_the_same_again(make_scene: MakeScene) -> None:
    project, dataset = make_scene(experiments="ab", num_groups=6, num_views=2)
    config = EnsembleConfig(experiments=("a", "b"))
    ensemble = fit_ensemble(project, dataset, config)
    assert read_ensemble(project) == ensemble
    assert json.loads(project.ensemble_path("ensemble").read_text())["members"][0]["fingerprint"] == FINGERPRINT
    before = [path.read_bytes() for path in sorted(project.models_dir.glob("ensemble*"))]
    with use_jobs(2):
        fit_ensemble(project, dataset, config)
    assert [path.read_bytes() for path in sorted(project.models_dir.glob("ensemble*"))] == before
    assert {one.what for one in ensemble.candidates} == {"weights", "threshold", *POSTPROCESSING_VALUES} - set(
        OBJECT_STEPS
    )


def test_a_threshold_is_fitted_without_the_photos_that_it_is_evaluated_on(make_scene: MakeScene) -> None:
    """The leak by name: fold 0's maps want a high cut, fold 1's a low one; each would be the best of its own."""
    project, dataset = make_scene(num_groups=6, num_views=2)
    fold_of = read_folds(project.folds_path, read_manifest(project, dataset))
    write_maps(project, dataset, "a", shift=lambda id_: 30.0 if fold_of.get(id_) == 0 else -30.0)
    ensemble = fit_ensemble(project, dataset, configure("a", threshold="fit"))
    (found,) = ensemble.candidates
    low, high = map(float, found.values_by_part)  # without fold 0, without fold 1
    assert low < 0.45 and high > 0.55
    assert found.gain.mean < -0.01
    assert not found.is_kept
    assert ensemble.threshold == 0.5


def test_a_threshold_is_moved_only_for_a_gain_beyond_chance(make_scene: MakeScene) -> None:
    project, dataset = make_scene(num_groups=12, num_views=1)
    config = configure("a", threshold="fit")
    assert fit_ensemble(project, dataset, config).threshold == 0.5
    # every map 30 levels too high: the contour is where 0.5 + 30 / 255 = 0.62
    write_maps(project, dataset, "a", shift=30.0)
    ensemble = fit_ensemble(project, dataset, config)
    assert ensemble.threshold == pytest.approx(0.62, abs=0.041)
    assert ensemble.gain_over_start == ensemble.candidates[0].gain
    # one fold: its groups are dealt to parts, and pseudo-labels for it may use nothing that was fitted on it
    alone = fit_ensemble(project, dataset, config, folds=[1])
    assert (alone.num_parts, len(alone.candidates[0].values_by_part)) == (5, 5)
    assert alone.threshold == pytest.approx(0.62, abs=0.041)
    assert (alone.find_recipe(1), alone.find_recipe(0)) == (alone.start, alone.recipe)


def test_each_class_gets_a_threshold_of_its_own(make_scene: MakeScene) -> None:
    """The maps of one class are 40 levels too high, which leaves background too little beside the other, too."""
    project, dataset = make_scene(num_groups=12, num_views=1, classes=("cat", "dog"))
    higher = np.array([40, 0])
    rewrite_maps(project.maps_dir("a", "oof"), lambda _, one: np.clip(one + higher, 0, 255).astype(np.uint8))
    ensemble = fit_ensemble(project, dataset, configure("a", threshold="fit"))
    assert [(one.of_class, one.is_kept) for one in ensemble.candidates] == [("cat", True), ("dog", True)]
    assert isinstance(ensemble.threshold, tuple) and ensemble.threshold[0] > ensemble.threshold[1] > 0.5
    assert read_ensemble(project) == ensemble
    with pytest.raises(InputError, match=r"`threshold` must be one, or one for each of cat, dog\. Received: "):
        fit_ensemble(project, dataset, configure("a", threshold=(0.5, 0.5, 0.5)))


def test_without_background_the_most_probable_class_is_the_start(make_scene: MakeScene) -> None:
    """A cut at 0.5 would leave pixels whose best class reaches less without any, and each of those is a mistake."""
    project, dataset = make_scene(num_groups=6, num_views=2, **NO_BACKGROUND)
    write_maps(project, dataset, "a", shift=-120.0)
    ensemble = fit_ensemble(project, dataset, configure("a", threshold="fit"))
    assert ensemble.start.threshold == ensemble.threshold == 0.0 and ensemble.candidates == ()
    assert ensemble.score.mean == ensemble.members[0].score.mean > 0.7
    cut = fit_ensemble(project, dataset, configure("a", threshold=0.5))
    assert cut.score.mean < ensemble.score.mean - 0.1
    assert cut.gain_over_best_member.mean == pytest.approx(cut.score.mean - ensemble.score.mean)


def test_a_member_that_is_noise_loses_its_weight(make_scene: MakeScene) -> None:
    project, dataset = make_scene(experiments="ab", num_groups=6, num_views=2)
    write_maps(project, dataset, "c", seed=7, noise=250.0)
    with use_jobs(2):
        ensemble = fit_ensemble(project, dataset, configure("abc", weights="fit"))
    weights = {member.experiment: member.weight for member in ensemble.members}
    assert ensemble.candidates[0].is_kept
    assert weights["c"] < 0.1 < min(weights["a"], weights["b"])
    assert sum(weights.values()) == pytest.approx(1)
    assert all(recipe.weights[2] < 0.1 for recipe in ensemble.recipes_by_part)
    # members that are alike keep equal weights
    with use_jobs(2):
        even = fit_ensemble(project, dataset, configure("ab", weights="fit"))
    assert not even.candidates[0].is_kept
    assert [member.weight for member in even.members] == [0.5, 0.5]


@pytest.mark.parametrize("metric", ["global_dice", "ap_50"])
def test_any_metric_and_several_classes(make_scene: MakeScene, metric: str) -> None:
    project, dataset = make_scene(experiments="ab", num_groups=2, num_views=2, classes=("cat", "dog"))
    dataset = dataset.model_copy(update={"metric": metric})
    ensemble = fit_ensemble(project, dataset, EnsembleConfig(experiments=("a", "b")))
    assert ensemble.score.mean > 0.7
    with project.ensemble_oof_path("ensemble").open(newline="") as file:
        rows = [float(row[metric]) for row in csv.DictReader(file)]
    assert np.mean(rows) == pytest.approx(ensemble.score.mean, abs=1e-6)


@pytest.mark.parametrize(
    ("asked", "folds", "dataset_fields", "expected"),
    [
        ({"experiments": ("a",), "weights": (1.0,)}, [0, 1], {}, r"unets ensemble --exp a --fold 0,1"),
        ({}, [0], {}, r"unets ensemble --exp a,b --fold 0"),
        ({"threshold": 0.6}, [0, 1], {}, r"made with threshold=0\.6\. Received: threshold=0\.4\. Run `unets ensemble`"),
        ({"weights": (3.0, 1.0)}, [0, 1], {}, r"made with weights=.*'a': 3\.0"),
        ({}, [0, 1], {"metric": "iou"}, r"made with metric=iou\. Received: metric=dice\. Run `unets ensemble`"),
        ({}, [0, 1], {"has_ignored": True}, r"made with has_ignored=True\. Received: has_ignored=False"),
    ],
)
def test_another_ensemble_than_the_one_asked_for_is_refused(
    make_scene: MakeScene, asked: dict[str, Any], folds: list[int], dataset_fields: dict[str, Any], expected: str
) -> None:
    project, dataset = make_scene(experiments="ab", num_groups=2, num_views=2)
    config = configure("ab", weights=(1.0, 3.0), threshold=0.4)
    ensemble = fit_ensemble(project, dataset, config)
    elsewhere = dataset.model_copy(update={"kaggle": "elsewhere"})
    check_ensemble(ensemble, elsewhere, configure("ba", weights=(3.0, 1.0), threshold=0.4), [0, 1])
    with pytest.raises(InputError, match=expected):
        check_ensemble(ensemble, dataset.model_copy(update=dataset_fields), config.model_copy(update=asked), folds)


def test_a_damaged_map_ends_it_and_leaves_the_old_file(make_scene: MakeScene) -> None:
    project, dataset = make_scene(num_groups=2, num_views=2)
    with pytest.raises(InputError, match="Run `unets ensemble`"):
        read_ensemble(project)
    config = EnsembleConfig(experiments=("a",))
    fit_ensemble(project, dataset, config)
    before = project.ensemble_path("ensemble").read_bytes()
    flip_bit(project.maps_dir("a", "oof") / "00000.zip", 200)
    with pytest.raises(InputError, match=r"00000\.zip must hold the whole map"), use_jobs(2):
        fit_ensemble(project, dataset, config)
    assert project.ensemble_path("ensemble").read_bytes() == before


def test_ignored_pixels_decide_nothing(make_scene: MakeScene) -> None:
    """Half of each image is ignored: maps may say there what they want, weights and scores do not change."""
    options = {"with_csv": False, "mask_format": "png", "num_groups": 4, "source": {"ignored": (9,)}}
    project, dataset = make_scene(experiments="ab", has_ignored=True, **options)
    for path in (project.input_dir / "train_masks").iterdir():
        values = np.array(Image.open(path))
        values[:, :48] = 9
        Image.fromarray(values).save(path)
    config = configure("ab", weights="fit", threshold="fit")
    before = fit_ensemble(project, dataset, config)

    def spoil(_: str, map_u8: Any) -> Any:
        map_u8[:, :22] = 255  # clear of the border, over which enlarging blends
        return map_u8

    for folder in ("oof", "oof_no_tta"):
        for name in "ab":
            rewrite_maps(project.maps_dir(name, folder), spoil)
    again = fit_ensemble(project, dataset, config)
    assert again.score == before.score and again.recipe == before.recipe
