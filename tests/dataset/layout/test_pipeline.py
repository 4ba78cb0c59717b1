"""From a folder that nobody described to a scored submission, with what `make new` wrote."""

import subprocess
import sys

import numpy as np
import pytest
from unets.dataset.catalog import load_catalog, read_rle_csv

from tests import ROOT
from tests.dataset.layout.conftest import Folder, draw_mask, draw_photo
from unets.config import AugmentConfig, load_dataset, load_ensemble, load_experiment
from unets.dataset.folds import hash_folds, write_folds
from unets.dataset.layout import newcomer
from unets.dataset.layout.experiments import Machine
from unets.ensemble.ensemble import fit_ensemble
from unets.ensemble.oof import score_oof
from unets.ensemble.score import score_submission
from unets.submission.submission import write_submission

SCRIPTS_DIR = ROOT / "scripts"


def test_the_script_writes_files_and_says_what_it_doubts(folder: Folder) -> None:
    for seed in range(12):
        mask = draw_mask(seed, (32, 48))
        folder.save(f"images/a{seed}z.png", draw_photo(seed, mask))
        folder.save(f"masks/a{seed}z.png", (1 - mask) * np.uint8(255))
    command = [sys.executable, str(SCRIPTS_DIR / "24_new.py"), "--competition", "mine", "--root", str(folder.root)]
    done = subprocess.run([*command, "--input", str(folder.input_dir)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "doubts (1): look at these first" in done.stdout and "background_values=(255,)" in done.stdout
    assert f"make pipeline COMPETITION=mine INPUT={folder.input_dir}" in done.stdout
    assert {path.name for path in folder.project.configs_dir.glob("*.py")} == {
        "dataset.py",
        "ensemble.py",
        "unet_32x48.py",
    }
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 1 and "must not be there yet" in again.stderr


@pytest.mark.slow
def test_classes_with_void_from_folder_to_score(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pixel has a class or is void, the test photos' truth is a folder, and nobody gave a sample submission."""
    from unets.prediction.predict import predict_experiments
    from unets.training.fold import train_experiment

    monkeypatch.setattr(newcomer, "look_at_machine", lambda: Machine(has_gpu=False, has_pretrained=False))
    for split, first, count in (("train", 0, 24), ("test", 100, 4)):
        for seed in range(first, first + count):
            mask = draw_mask(seed, num_classes=2)
            values = mask.copy()
            values[:6] = 3
            folder.save(f"{split}/v{seed % 6}_{seed:03d}.png", draw_photo(seed, mask))
            folder.save(f"{split}annot/v{seed % 6}_{seed:03d}.png", values)
    names = folder.write("names.txt", "ground\ncat\ndog\nvoid\n")
    project = folder.project
    guess = newcomer.welcome(project, names_path=names)
    dataset, ensemble = load_dataset(project.configs_dir), load_ensemble(project.configs_dir)
    assert (dataset.background_values, dataset.ignore_values, ensemble.threshold) == ((), (3,), 0.0)
    (name,) = ensemble.experiments
    experiment = load_experiment(project.configs_dir, name)
    training = experiment.training.model_copy(update={"epochs": 10, "learning_rate": 1e-2, "precision": "float32"})
    data = experiment.data.model_copy(update={"augment": AugmentConfig(hue_deg=0, brightness=0.02, contrast=0.02)})
    model = experiment.model.model_copy(update={"depth": 2, "base_filters": 8})
    experiment = experiment.model_copy(update={"training": training, "data": data, "model": model})
    catalog = load_catalog(dataset, project.input_dir)
    folds = write_folds(project, catalog, jobs=1)
    folds_hash = hash_folds(project.folds_path)
    train_experiment(project, catalog, name, experiment, folds=folds, folds_hash=folds_hash, use_folds=[0])
    predict_experiments(project, catalog, {name: experiment}, folds=folds, use_folds={name: [0]})
    scores = score_oof(project, dataset, name, jobs=1)
    assert scores[:, 0].mean() > 0.8  # the metric is IoU, over three classes
    fit_ensemble(project, dataset, ensemble, jobs=1)
    path = write_submission(project, dataset, jobs=1)
    rows = read_rle_csv(path, dataset)
    assert set(rows) == {sample.id for sample in catalog.test}
    score = score_submission(path, project.input_dir / guess.truth, dataset, jobs=1)
    assert score.interval.mean > 0.8
    assert score.pixels["mean_iou"] > 0.8 and set(score.pixels["classes"]) == {"ground", "cat", "dog"}
