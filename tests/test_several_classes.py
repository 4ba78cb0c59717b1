"""The whole way from photos to a scored submission with two classes, column order, and a size of its own each photo."""

from collections.abc import Callable

import pytest

from tests.submissions import read_submission
from unets.config import (
    AugmentConfig,
    DataConfig,
    EnsembleConfig,
    ExperimentConfig,
    ModelConfig,
    PredictionConfig,
    TrainingConfig,
    load_dataset,
)
from unets.dataset.folds import write_folds
from unets.dataset.manifest import read_manifest
from unets.ensemble.fit import fit_ensemble
from unets.ensemble.oof import score_oof
from unets.ensemble.score import score_submission
from unets.prediction.maps import open_maps
from unets.store.paths import Project
from unets.store.runs import hash_file
from unets.submission.submission import write_submission

CLASSES = ("body", "glass")
EXPERIMENT = ExperimentConfig(
    data=DataConfig(size_hw=(32, 48), batch_size=4, augment=AugmentConfig(hue_deg=0, brightness=0.02, grey=0)),
    model=ModelConfig(depth=2, base_filters=8),
    training=TrainingConfig(epochs=12, learning_rate=1e-2, precision="float32"),
    prediction=PredictionConfig(shard_size=5, batch_size=4),
)


@pytest.mark.slow
def test_two_classes_from_photos_to_score(make_competition: Callable[..., Project]) -> None:
    from unets.prediction.pipeline import predict_experiments
    from unets.training.fold import train_experiment

    project = make_competition(classes=CLASSES, mask_format="png", order="column", size_hw=(64, 96))
    dataset = load_dataset(project.configs_dir).model_copy(update={"size_hw": None})  # sizes from the photos' headers
    manifest = read_manifest(project, dataset)
    folds = write_folds(project, manifest)
    train_experiment(
        project,
        manifest,
        "unet",
        EXPERIMENT,
        folds=folds,
        folds_hash=hash_file(project.folds_path),
        use_folds=[0],
    )
    predict_experiments(project, manifest, {"unet": EXPERIMENT}, folds=folds, use_folds={"unet": [0]})

    maps = open_maps(project.maps_dir("unet", "test"))
    assert maps.read_map(manifest.test[0].id).shape == (32, 48, 2)  # one layer a foreground class

    scores = score_oof(project, dataset, "unet")
    assert scores.shape == (12, 2)  # the photos of fold 0, with and without flips
    assert scores[:, 0].mean() > 0.9  # mean over photos and classes; the ellipses are plain to see

    fit_ensemble(project, dataset, EnsembleConfig(experiments=("unet",)))
    path = write_submission(project, dataset)
    rows = read_submission(path, dataset)
    assert set(rows) == {sample.id for sample in manifest.test}
    assert all(len(rles) == 2 and all(rles) for rles in rows.values())

    truth_path = project.input_dir / "truth" / "test_masks.csv"
    score = score_submission(path, truth_path, dataset, manifest.test)
    assert score.interval.mean > 0.9
