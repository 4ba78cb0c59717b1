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
from unets.prediction.maps import encode_map, from_u8, list_shards, open_maps, write_shard
from unets.store.paths import Project
from unets.workers.pool import use_jobs

MakeScene = Callable[..., tuple[Project, DatasetConfig]]


def test_each_photo_is_scored_at_full_size(make_scene: MakeScene) -> None:
    project, dataset = make_scene(num_groups=4, num_views=2)
    with use_jobs(2):
        scores = score_oof(project, dataset, "a")
    with project.oof_scores_path("a").open() as file:
        rows = list(csv.reader(file))
    manifest = read_manifest(project, dataset)
    fold_of = read_folds(project.folds_path, manifest)
    assert rows[0] == ["id", "group", "fold", "dice", "dice_no_tta"]
    for sample, row, score in zip(manifest.train, rows[1:], scores, strict=True):
        expected = []
        for kind in ("oof", "oof_no_tta"):
            probs_u8_hwc = open_maps(project.maps_dir("a", kind)).read_map(sample.id)
            mask = to_masks(enlarge_map(from_u8(probs_u8_hwc), (64, 96)), 0.5)
            expected.append(dice(read_mask(sample), mask))
        assert score.tolist() == expected
        assert row == [sample.id, sample.group, str(fold_of[sample.id]), *(f"{score:.6f}" for score in expected)]
    assert scores[:, 0].mean() > scores[:, 1].mean() > 0.9


def test_without_maps_made_without_tta_their_column_is_empty(make_scene: MakeScene) -> None:
    project, dataset = make_scene(num_groups=2, num_views=2, metric="iou")
    shutil.rmtree(project.maps_dir("a", "oof_no_tta"))
    scores = score_oof(project, dataset, "a")
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


def test_maps_by_the_net_of_another_fold_are_refused(make_scene: MakeScene) -> None:
    """The leak by name: after a new split, a net may have seen the group of an image whose map it made."""
    project, dataset = make_scene(num_groups=4, num_views=2)
    fold_of = read_folds(project.folds_path, read_manifest(project, dataset))
    folder = project.maps_dir("a", "oof")
    shutil.rmtree(folder)
    blank = encode_map(np.zeros((2, 2, 1), dtype=np.uint8))
    for fold in (0, 1):
        maps = [(id_, blank) for id_, own in fold_of.items() if own == fold]
        write_shard(folder / f"fold{fold}", 0, nets={str(fold): "1"}, classes=dataset.classes, maps=maps)
    assert open_oof(project, dataset, ["a"]).folds == (0, 1)
    rows = [line.split(",") for line in project.folds_path.read_text().splitlines()]
    moved = [",".join([*row[:2], str(1 - int(row[2]))]) for row in rows[1:]]
    project.folds_path.write_text("\n".join([",".join(rows[0]), *moved]) + "\n")
    with pytest.raises(InputError, match=r"by the net of fold\d, .*the folds changed since"):
        open_oof(project, dataset, ["a"])


def test_maps_without_tta_of_other_nets_give_no_score(make_scene: MakeScene) -> None:
    project, dataset = make_scene(num_groups=2, num_views=2)
    write_maps(project, dataset, "a", net="f" * 16, kinds=["oof"])  # trained again, and predicted without flips
    assert np.isnan(score_oof(project, dataset, "a")[:, 1]).all()
