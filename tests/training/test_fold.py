import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from unets.data.batches import Batches
from unets.data.cache import ArrayReader
from unets.errors import InputError
from unets.store.runs import lock
from unets.training.fold import train_experiment
from unets.training.learner import build_learner
from unets.training.validation import score_nothing

from .conftest import EXPERIMENT, Scene, change, read_history, read_metrics, read_weights

pytestmark = pytest.mark.slow

# As measured with Keras 3.15 and TensorFlow 2.21 on a CPU, 2026-11-25, since when logits are amplified.
GOLDEN_LOSSES = [1.577670, 1.596827, 1.314870, 1.188203, 1.069649]


@pytest.fixture(scope="module")
def finished(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fold that was trained to its end at one go. Not to be written to."""
    run_dir = tmp_path_factory.mktemp("finished") / "unet_a" / "fold0"
    scene.train(run_dir)
    return run_dir


def list_files(folder: Path) -> dict[Path, tuple[int, bytes]]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_a_fold_learns_to_find_the_ellipses(finished: Path) -> None:
    history = read_history(finished)
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]
    assert max(row["val_dice"] for row in history) > 0.9
    assert history[-1]["loss"] < history[0]["loss"] / 2


def test_a_run_folder_holds_what_the_module_says(finished: Path, scene: Scene) -> None:
    names = {str(path.relative_to(finished)) for path in finished.rglob("*") if not path.name.startswith(".lock")}
    kept = {"config.json", "files.csv", "net.weights.h5", "last", "last/state.npz", "history.csv", "metrics.json"}
    assert names == kept | {"panel", "panel/choice.json", "panel/worst.jpg"}
    config = json.loads((finished / "config.json").read_text())
    assert (config["fold"], config["folds_hash"], config["classes"]) == (0, scene.folds_hash, ["car"])
    for part in ("data", "model", "training", "prediction"):
        wanted = getattr(EXPERIMENT, part)
        assert type(wanted).model_validate(config[part]) == wanted
    history, metrics = read_history(finished), read_metrics(finished)
    best = max(row["val_dice"] for row in history)
    assert (metrics["is_finished"], metrics["epochs"], metrics["starts"], metrics["images"]) == (True, 4, 1, 4 * 12)
    assert metrics["best_dice"] == best == history[metrics["best_epoch"]]["val_dice"]
    assert metrics["seconds"] > 0 and len(metrics["devices"]) == 1
    assert metrics["computed"] == {"backend": keras.backend.backend(), "precision": "float32"}
    (commit,) = metrics["commits"]
    assert re.fullmatch(r"([0-9a-f]{9}|none)( \(changed\))?", commit)


def test_each_epoch_is_told_once_its_files_are_written(scene: Scene, tmp_path: Path) -> None:
    told: list[tuple[int, bool, int, bool]] = []

    def note(run_dir: Path) -> None:
        metrics = read_metrics(run_dir)
        rows = (run_dir / "history.csv").read_text().splitlines()[1:]
        told.append((metrics["epochs"], metrics["is_finished"], len(rows), (run_dir / "panel" / "worst.jpg").exists()))

    experiment = change("training", epochs=2)
    scene.train(tmp_path / "run" / "fold0", experiment, on_epoch=[note])
    assert told == [(1, False, 1, False), (2, False, 2, True), (2, True, 2, True)]


def test_a_finished_fold_is_left_alone(finished: Path, scene: Scene) -> None:
    before = list_files(finished)
    scene.train(finished)
    assert list_files(finished) == before


def test_a_run_goes_on_in_its_own_precision_alone(
    finished: Path, run_dir: Path, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a precision stands for depends on the machine, as `auto` does."""
    shutil.copytree(finished, run_dir)
    (run_dir / "metrics.json").unlink()
    monkeypatch.setattr("unets.training.fold.choose_precision", lambda wanted: "mixed_bfloat16")
    expected = r"precision float32\. Received: .*precision mixed_bfloat16\. .*`unets clean --exp unet_a --fold 0`"
    with pytest.raises(InputError, match=expected):
        scene.train(run_dir)


def test_a_run_on_other_images_is_refused(finished: Path, scene: Scene) -> None:
    first, *others = scene.manifest.train
    changed = replace(scene.manifest, train=(replace(first, image_hash="of another image"), *others))
    with pytest.raises(InputError, match=r"that changed since: 1 image changed \(car"):
        replace(scene, manifest=changed).train(finished)


def test_a_fold_that_another_process_trains_is_refused(run_dir: Path, scene: Scene) -> None:
    with lock(run_dir), pytest.raises(InputError, match=r"fold0 must be free\. Received: "):
        scene.train(run_dir)


def test_too_high_a_learning_rate_is_told_as_such(run_dir: Path, scene: Scene) -> None:
    wild = change("training", learning_rate=1e30, warmup=0)
    with pytest.raises(InputError, match=r"Received: (nan|inf) .*A lower `learning_rate`") as caught:
        scene.train(run_dir, change("model", wild, normalization="none"))
    # The first update spoils the weights, the second batch finds it: the images of the first are named, too.
    train, _ = scene.open_fold(run_dir).build_batches(scene.reader, 2, 1)
    first, second = ([scene.manifest.train[index].id for index in train.find_indices(batch)] for batch in (0, 1))
    words = f"batch 2, images {', '.join(second)}; the weights come from an update by {', '.join(first)}."
    assert words in str(caught.value)


@pytest.mark.parametrize("is_held_out", [False, True])
def test_an_image_that_cannot_be_read_is_named(is_held_out: bool, run_dir: Path, scene: Scene, tmp_path: Path) -> None:
    """Keras looks at two batches beforehand; the photo comes later, from within TensorFlow."""
    train, valid = scene.open_fold(run_dir).build_batches(scene.reader, 2, 1)
    index = int((valid if is_held_out else train).order[-1])
    reader = scene.disk_reader
    torn_path = tmp_path / "torn.png"
    torn_path.write_bytes(reader.samples[index].image_path.read_bytes()[:50])
    torn = replace(reader.samples[index], image=str(torn_path))
    reader.samples = (*reader.samples[:index], torn, *reader.samples[index + 1 :])
    with pytest.raises(InputError, match=r"torn\.png must be a"):
        scene.train(run_dir, reader=reader)
    assert not (run_dir / "history.csv").exists()


def test_five_golden_losses(scene: Scene) -> None:
    """Any change of what is fed, of the net, its beginning, the loss or the optimizer shows here."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("other backends begin with other weights")
    plain = change("model", change("data", augment=None), dropout=0.0)
    train, _ = scene.open_fold(Path(), plain).build_batches(scene.reader, 2, 1)
    model = build_learner(plain, scene.manifest.dataset, len(train))
    losses = []
    for batch in range(5):
        model.reset_metrics()
        losses.append(float(model.train_on_batch(*train[batch], return_dict=True)["loss"]))
    assert losses == pytest.approx(GOLDEN_LOSSES, abs=1e-4)


def test_weights_decay_and_what_normalizes_does_not(scene: Scene) -> None:
    experiment = change("training", weight_decay=0.5, warmup=0, learning_rate=0.1)
    model = build_learner(experiment, scene.manifest.dataset, updates_per_epoch=5)
    for variable in model.trainable_variables:
        variable.assign(ops.ones(variable.shape))
    model.optimizer.apply([ops.zeros(variable.shape) for variable in model.trainable_variables])
    for variable in model.trainable_variables:
        expected = 1 - 0.1 * 0.5 if variable.name == "kernel" else 1.0
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-6, err_msg=variable.path)
    assert {v.name for v in model.trainable_variables} == {"kernel", "bias", "beta", "gamma"}


def test_folds_of_an_experiment_are_trained_one_after_the_other(scene: Scene, tmp_path: Path) -> None:
    project = replace(scene.project, models_dir=tmp_path)
    experiment = change("training", epochs=1, warmup=0)
    arguments: dict[str, Any] = {"fold_of": scene.fold_of, "folds_hash": scene.folds_hash}
    train_experiment(project, scene.manifest, "unet_b", experiment, folds=[0, 1], **arguments)
    scored = [read_weights(project.run_dir("unet_b", fold) / "net.weights.h5") for fold in (0, 1)]
    assert any((values != scored[1][name]).any() for name, values in scored[0].items())
    # A fold of another config is refused before any other is trained.
    shutil.rmtree(project.run_dir("unet_b", 0))
    with pytest.raises(InputError, match="--fold 1"):
        train_experiment(project, scene.manifest, "unet_b", EXPERIMENT, folds=[0, 1], **arguments)
    assert not project.run_dir("unet_b", 0).exists()


def test_a_run_starts_from_the_weights_of_another(finished: Path, scene: Scene) -> None:
    run_dir = finished.parents[1] / "unet_b" / "fold0"
    scene.train(run_dir, change("training", start_from="unet_a", epochs=1, learning_rate=1e-12, weight_decay=0.0))
    weights, others = (read_weights(folder / "net.weights.h5") for folder in (run_dir, finished))
    for name, values in weights.items():
        if "batch_norm" not in name:  # whose statistics are of the new images
            np.testing.assert_allclose(values, others[name], atol=1e-6, err_msg=name)


def test_the_score_of_empty_masks() -> None:
    images, targets = np.zeros((4, 8, 8, 3), np.uint8), np.zeros((4, 8, 8, 3), np.uint8)
    targets[0, 2:4, 2:4, 0] = targets[1, 5, 5, 1] = targets[..., 2] = 255  # the last layer is of ignored pixels
    targets[2, 5, 5, 1] = 100  # less than half of a pixel
    assert score_nothing(Batches(ArrayReader(images, targets), range(4), micro_batch=3), 2) == 1 - 2 / 8
