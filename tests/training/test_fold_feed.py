"""What a fold is fed: steps of a batch, crops, balanced draws, pseudo-labels."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from unets.config import load_dataset
from unets.data.batches import Batches
from unets.data.io import encode_png
from unets.data.samples import read_image
from unets.dataset.folds import write_folds
from unets.dataset.manifest import Manifest, read_manifest
from unets.errors import InputError
from unets.nets.losses import build_loss
from unets.nets.unet import build_unet
from unets.store.paths import Project
from unets.store.runs import hash_file
from unets.training.fold import train_experiment
from unets.training.state import Fold
from unets.training.validation import Validator

from .conftest import EXPERIMENT, SIZE_HW, Interruption, Scene, change, read_history, read_metrics, stop

pytestmark = pytest.mark.slow

# One epoch that a split into steps does not change: nothing is drawn within the net, nothing averaged over a step.
PLAIN = change("model", change("training", EXPERIMENT, epochs=1, warmup=0), normalization="none", dropout=0.0)
LABELS = {"test000_01": [0], "test001_02": [2, 3]}  # rows of 64 x 96 pixels


@pytest.mark.parametrize("micro_batch", [0, 3, 8])
def test_batch_must_divide(micro_batch: int, run_dir: Path, scene: Scene) -> None:
    with pytest.raises(InputError, match=rf"`--micro-batch` must divide data\.batch_size=4\. Received: {micro_batch}"):
        scene.train(run_dir, change("data", PLAIN, batch_size=4), micro_batch=micro_batch)
    assert not run_dir.exists()


def test_crops_train_and_whole_photos_judge(run_dir: Path, scene: Scene) -> None:
    experiment = change("data", PLAIN, crop_hw=(32, 32), batch_size=3)
    train, valid = scene.open_fold(Path(), experiment).build_batches(scene.reader, experiment.data.batch_size, 1)
    assert train[0][0].shape == (3, 32, 32, 3) and train[0][1].shape == (3, 32, 32, 1)
    # Two whole photos of 32 x 48 take the memory of three crops.
    assert valid[0][0].shape == (2, *SIZE_HW, 3)
    few = change("training", experiment, validation_images=4)
    assert len(scene.open_fold(Path(), few).build_batches(scene.reader, 3, 1)[1].indices) == 4
    scene.train(run_dir, experiment)
    keras.utils.clear_session()
    net = build_unet(experiment.model, SIZE_HW)
    net.load_weights(run_dir / "net.weights.h5")
    score = Validator(net, build_loss(experiment.training.losses), valid).score()
    (row,) = read_history(run_dir)
    assert (row["val_dice"], row["val_loss"]) == pytest.approx((score["val_dice"], score["val_loss"]), abs=1e-5)


def write_labels(project: Project, rows_of: dict[str, list[int]]) -> Path:
    """Writes labels of fold 0 as `unets pseudo-labels` does: for each id a mask of some rows."""
    path = project.pseudo_labels_path("round1", 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for id_, rows in rows_of.items():
            mask_hw = np.zeros((64, 96), dtype=np.uint8)
            mask_hw[rows] = 1
            archive.writestr(zipfile.ZipInfo(f"{id_}.png"), encode_png(mask_hw))
    record = {"file_sha256": hash_file(path), "folds_hash": hash_file(project.folds_path)}
    project.pseudo_labels_record_path("round1", 0).write_text(
        json.dumps(record | {"num_images": 8, "num_kept": 2, "confidence": 0.9})
    )
    return path


def test_pseudo_labels_join_the_training_alone_and_stay_the_same(
    make_competition: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_competition(num_groups=4, num_views=2, image_format="png")
    manifest = read_manifest(project, load_dataset(project.configs_dir))
    fold_of = write_folds(project, manifest)
    arguments: dict[str, Any] = {"fold_of": fold_of, "folds_hash": hash_file(project.folds_path)}
    experiment = change("data", PLAIN, pseudo_labels="round1", augment=None)
    fed: list[tuple[Batches, Batches]] = []

    def build(*args: Any) -> tuple[Batches, Batches]:
        fed.append(build_batches(*args))
        return fed[-1]

    build_batches = Fold.build_batches
    monkeypatch.setattr(Fold, "build_batches", build)
    write_labels(project, LABELS)
    # Fold 1 has none: that is found before fold 0 is trained.
    with pytest.raises(InputError, match=r"`unets pseudo-labels --name round1 --fold 1`"):
        train_experiment(project, manifest, "unet_a", experiment, folds=[0, 1], **arguments)
    assert not project.run_dir("unet_a", 0).exists() and not fed

    run_dir = project.run_dir("unet_a", 0)
    with monkeypatch.context() as patch, pytest.raises(Interruption):
        patch.setattr(Fold, "write_scores", stop)  # the state of the only epoch is saved
        train_experiment(project, manifest, "unet_a", experiment, folds=[0], **arguments)
    train, valid = fed[-1]
    held_out = {index for index, sample in enumerate(manifest.train) if fold_of[sample.id] == 0}
    assert set(valid.indices.tolist()) == held_out and len(held_out) == 4
    assert set(train.indices.tolist()) == set(range(8)) - held_out | {8, 9}
    check_labels(train, manifest)

    # Other labels are refused, and the same ones go on.
    path = write_labels(project, LABELS | {"test001_02": [0]})
    with pytest.raises(InputError, match=r"unet_a fold 0 must go on with .*pseudo_labels.*`unets clean --exp unet_a"):
        train_experiment(project, manifest, "unet_a", experiment, folds=[0], **arguments)
    assert not (run_dir / "history.csv").exists()
    path = write_labels(project, LABELS)
    train_experiment(project, manifest, "unet_a", experiment, folds=[0], **arguments)
    metrics = read_metrics(run_dir)
    assert metrics["is_finished"] and metrics["sources"] == {"pseudo_labels": hash_file(path)}
    assert metrics["images"] == 6  # 4 of the other fold and 2 with labels


def check_labels(train: Batches, manifest: Manifest) -> None:
    """Positions 8 and 9, after the training images, are the labeled test images with their masks, by id."""
    sample_of = {sample.id: sample for sample in manifest.test}
    # Half of the first small row is object; all of the second.
    for position, id_, small_row, share in ((8, "test000_01", 0, 127.5), (9, "test001_02", 1, 255)):
        expected = np.zeros((*SIZE_HW, 1))
        expected[small_row] = share
        photo, found = train.reader[position]
        np.testing.assert_allclose(found, expected, atol=1)
        np.testing.assert_array_equal(photo, read_image(sample_of[id_], SIZE_HW))
