"""The whole way from images to a scored submission with two classes, column order, and sizes that images tell."""

import json
from collections.abc import Callable

import pytest

from tests import run_unets
from tests.submissions import read_submission
from tests.trained_competition import SMALL, write_config
from unets.config import EnsembleConfig, load_dataset
from unets.evaluation.scores import read_scores
from unets.prediction.maps import open_maps
from unets.store.paths import Project

PARTS = {
    "data": {"size_hw": (32, 48), "batch_size": 4, "augment": {"hue_deg": 0, "brightness": 0.02, "grey": 0}},
    "model": {"depth": 2, "base_filters": 8},
    "training": {"epochs": 12, "learning_rate": 1e-2, "precision": "float32"},
}


@pytest.mark.slow
def test_two_classes_from_images_to_score(make_competition: Callable[..., Project]) -> None:
    configs = {
        "unet": type(SMALL).model_validate(SMALL.model_dump() | PARTS | {"folds": (0,)}),
        "ensemble": EnsembleConfig(experiments=("unet",)),
    }
    project = make_competition(classes=("body", "glass"), mask_format="png", order="column", configs=configs)
    dataset = load_dataset(project.configs_dir).model_copy(update={"size_hw": None})
    write_config(project, "dataset", dataset)
    for command in ("split", "train", "predict", "ensemble", "submission", "score"):
        given = ("--root", project.input_dir.parent, "--input", project.input_dir, "--jobs", "1")
        assert run_unets(command, "tiny", *given) == 0, command

    maps = open_maps(project.maps_dir("unet", "test"))
    assert maps.read_map("test000_01").shape == (32, 48, 2)  # one layer a foreground class
    scores = read_scores(project.oof_scores_path("unet"), "dice")["score"]
    assert len(scores) == 12 and scores.mean() > 0.9  # the ellipses are plain to see
    path = project.submission_path("tiny_unet")
    rows = read_submission(path, dataset)
    assert len(rows) == 8 and all(len(rles) == 2 and all(rles) for rles in rows.values())
    assert json.loads(project.score_path(path).read_text())["mean"] > 0.9
