"""Trains folds in processes that end by a real SIGKILL, where they are told to; run by test_resume.py.

`python -m tests.training.fold_process ROOT < jobs`: each line of stdin is a job in JSON,
    {"run": name of the run, "training": {...}, "kill": [name, "before" | "after", count, words] | null},
and for each a line is printed: the exit status, or minus the signal. A job is killed as the `count`th file of that name
that holds the words is put in its place: before, when the new file lies torn beside it, or after. State is saved after
every update. TensorFlow is imported once: a job is a fork.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from unets.config import DataConfig, ExperimentConfig, ModelConfig, TrainingConfig, load_dataset
from unets.data.cache import open_reader
from unets.dataset.folds import read_folds
from unets.dataset.manifest import read_manifest
from unets.store.paths import Project
from unets.store.runs import hash_file
from unets.training import panel
from unets.training.fold import train_fold
from unets.training.state import Fold

SIZE_HW = (32, 48)


def build_experiment(training: dict[str, Any]) -> ExperimentConfig:
    """All that has a state of its own: dropout, batch normalization, augmentation, two steps an update, ..."""
    return ExperimentConfig(
        data=DataConfig(size_hw=SIZE_HW, batch_size=4, cache="ram"),
        model=ModelConfig(depth=1, base_filters=4, dropout=0.25),
        training=TrainingConfig(**({"learning_rate": 0.1, "precision": "float32"} | training)),
    )


def kill_when(name: str, moment: str, count: int, words: str) -> None:
    """Lets this process kill itself."""
    replace, seen = Path.replace, 0

    def replace_or_die(path: Path, target: Path) -> Path:
        nonlocal seen
        fits = Path(target).match(name) and words.encode() in path.read_bytes()
        seen += fits
        is_now = fits and seen == count
        if is_now and moment == "before":
            os.truncate(path, path.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        replaced = replace(path, target)
        if is_now:
            os.kill(os.getpid(), signal.SIGKILL)
        return replaced

    Path.replace = replace_or_die  # type: ignore[method-assign]


def run(root: Path, job: dict[str, Any]) -> None:
    """Does one job."""
    project = Project.below(root, "tiny", input_dir=root / "input")
    dataset = load_dataset(project.configs_dir)
    manifest = read_manifest(project, dataset)
    reader = open_reader(manifest.train, dataset, SIZE_HW, "ram", project.cache_dir)
    panel.TILE_WIDTH_PX = SIZE_HW[1]  # a PNG of 2 megapixels takes half a second
    if job["kill"]:
        kill_when(*job["kill"])
    fold = Fold(
        run_dir=project.run_dir(job["run"], 0),
        manifest=manifest,
        experiment=build_experiment(job["training"]),
        number=0,
        fold_of=read_folds(project.folds_path, manifest),
        folds_hash=hash_file(project.folds_path),
    )
    train_fold(fold, reader, micro_batch=2, workers=2, save_seconds=0.0)


def main(root: Path) -> None:
    """Does the jobs of stdin one after the other."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                run(root, json.loads(line))
            except BaseException:
                import traceback

                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
