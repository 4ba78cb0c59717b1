"""The studio in parts, cut down: three classes from rendered photos to a scored submission with a class column."""

import gzip
from pathlib import Path

import pytest

from tests import ROOT
from unets.config import (
    DataConfig,
    EnsembleConfig,
    ExperimentConfig,
    ModelConfig,
    PredictionConfig,
    TrainingConfig,
    load_dataset,
)
from unets.dataset.folds import hash_folds, write_folds
from unets.dataset.manifest import read_manifest
from unets.ensemble.fit import fit_ensemble
from unets.ensemble.oof import score_oof
from unets.ensemble.score import score_submission
from unets.store.paths import Project
from unets.studio.competition import write_competition
from unets.submission.submission import write_submission

CONFIGS_DIR = ROOT / "configs" / "studio_parts"
SIZE_HW = (96, 144)
EXPERIMENT = ExperimentConfig(
    data=DataConfig(size_hw=(48, 72), batch_size=4),
    model=ModelConfig(depth=3, base_filters=12),
    training=TrainingConfig(epochs=12, learning_rate=5e-3, precision="float32"),
    prediction=PredictionConfig(batch_size=8),
)


@pytest.mark.slow
def test_parts_from_rendering_to_score(tmp_path: Path) -> None:
    from unets.prediction.predict import predict_experiments
    from unets.training.fold import train_experiment

    project = Project(
        competition="studio_parts",
        input_dir=tmp_path / "input",
        models_dir=tmp_path / "models",
        configs_dir=CONFIGS_DIR,
        submissions_dir=tmp_path / "submissions",
        results_dir=tmp_path / "results",
    )
    write_competition(project.input_dir, 4, 1, seed=0, jobs=2, size_hw=SIZE_HW, in_parts=True)
    dataset = load_dataset(CONFIGS_DIR).model_copy(update={"size_hw": SIZE_HW})
    manifest = read_manifest(project, dataset)
    folds = write_folds(project, manifest, jobs=1)
    folds_hash = hash_folds(project.folds_path)
    train_experiment(project, manifest, "unet", EXPERIMENT, folds=folds, folds_hash=folds_hash, use_folds=[0])
    predict_experiments(project, manifest, {"unet": EXPERIMENT}, folds=folds, use_folds={"unet": [0]})
    score_oof(project, dataset, "unet", jobs=1)
    fit_ensemble(project, dataset, EnsembleConfig(experiments=("unet",), threshold=0.5), jobs=1)
    path = write_submission(project, dataset, jobs=1)
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    assert lines[0] == "img,class,rle_mask"
    assert [line.split(",")[1] for line in lines[1:4]] == ["body", "glass", "wheel"] and len(lines) == 1 + 16 * 3
    score = score_submission(path, project.input_dir / "truth" / "test_masks.csv", dataset, jobs=1)
    classes = score.pixels["classes"]
    assert set(classes) == {"body", "glass", "wheel"}
    # Seconds of training on 32 photos; a mask that has nothing to do with the car would be below 0.2 of the body's.
    assert classes["body"]["iou"] > 0.4 and min(scores["iou"] for scores in classes.values()) > 0.1, classes
