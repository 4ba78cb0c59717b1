import csv
import shutil
from collections.abc import Callable

import numpy as np
import pytest

from tests.trained_competition import write_maps
from unets.config import DatasetConfig
from unets.data.samples import read_mask
from unets.dataset.folds import read_folds
from unets.dataset.manifest import read_manifest
from unets.ensemble.oof import open_oof, score_oof
from unets.ensemble.postprocess import to_masks
from unets.ensemble.recipe import enlarge_map
from unets.errors import InputError
from unets.metrics.masks import dice
from unets.prediction.maps import from_u8, list_shards, open_maps
from unets.store.paths import Project

MakeScene = Callable[..., tuple[Project, DatasetConfig]]


def test_each_photo_is_scored_at_full_size(make_scene: MakeScene) -> None:
    project, dataset = make_scene(num_groups=4, num_views=2)
    scores = score_oof(project, dataset, "a", jobs=2)
    with project.oof_scores_path("a").open() as file:
        rows = list(csv.reader(file))
    manifest = read_manifest(project, dataset)
    folds = read_folds(project.folds_path, manifest)
    assert rows[0] == ["id", "group", "fold", "dice", "dice_no_tta"]
    for sample, row, score in zip(manifest.train, rows[1:], scores, strict=True):
        expected = []
        for kind in ("oof", "oof_no_tta"):
            probs_u8_hwc = open_maps(project.maps_dir("a", kind)).read_map(sample.id)
            mask = to_masks(enlarge_map(from_u8(probs_u8_hwc), (64, 96)), 0.5)
            expected.append(dice(read_mask(sample), mask))
        assert score.tolist() == expected
        assert row == [sample.id, sample.group, str(folds[sample.id]), *(f"{score:.6f}" for score in expected)]
    assert scores[:, 0].mean() > scores[:, 1].mean() > 0.9


def test_without_maps_made_without_tta_their_column_is_empty(make_scene: MakeScene) -> None:
    project, dataset = make_scene(num_groups=2, num_views=2, metric="iou")
    shutil.rmtree(project.maps_dir("a", "oof_no_tta"))
    scores = score_oof(project, dataset, "a", jobs=1)
    assert np.isnan(scores[:, 1]).all()
    lines = project.oof_scores_path("a").read_text().splitlines()
    assert lines[0] == "id,group,fold,iou,iou_no_tta"
    assert all(line.endswith(",") for line in lines[1:])


def test_photos_without_a_map_are_named(make_scene: MakeScene) -> None:
    project, dataset = make_scene(num_groups=4, num_views=2)
    list_shards(project.maps_dir("a", "oof"))[-1].unlink()
    with pytest.raises(InputError, match=r"Received: none of 3 images of fold .*Run `unets predict --exp a`"):
        open_oof(project, dataset, ["a"])


def test_experiments_need_a_common_fold(make_scene: MakeScene) -> None:
    project, dataset = make_scene(num_groups=4, num_views=2)
    write_maps(project, dataset, "b")
    assert open_oof(project, dataset, ["a", "b"]).folds == (0, 1)
    assert open_oof(project, dataset, ["a", "b"], [1]).folds == (1,)
    with pytest.raises(InputError, match=r"must hold shards of maps. Received: none. Run `unets predict --exp c`"):
        open_oof(project, dataset, ["a", "c"])
    with pytest.raises(InputError, match="`--fold` must be among the folds"):
        open_oof(project, dataset, ["a"], [7])
