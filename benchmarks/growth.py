"""Resident memory of prediction and submission at 1,000, 10,000 and 100,064 photos: what more photos cost.

Photos are small, and a stand-in takes the net's place: what is asked is what grows with their number, not what a net
takes. A process a stage and a number, each seen from its own peak, as the system counts it.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from crowd import lay_out_crowd, lay_out_maps, name_folders
from footprint import MIB, read_status

from unets.config import DataConfig, DatasetConfig, ExperimentConfig, load_dataset
from unets.dataset.catalog import load_catalog

ROOT = Path(__file__).resolve().parent.parent
NUMBERS = (1_000, 10_000, 100_064)
_FULL_HW, _SIZE_HW = (64, 96), (32, 48)


def measure_growth(input_dir: Path, numbers: Sequence[int] = NUMBERS) -> dict[str, float]:
    """Returns MiB by what they are: the peak of each stage at each number of photos, and what it grew by."""
    peaks: dict[str, list[float]] = {"predict": [], "submission": []}
    for number in numbers:
        with tempfile.TemporaryDirectory() as folder:
            _run("lay out", Path(folder), str(input_dir), str(number))
            for stage, found in peaks.items():
                found.append(_run(stage, Path(folder)) / MIB)
    sizes = {
        f"{stage} of {number:,} photos": peak
        for stage, found in peaks.items()
        for number, peak in zip(numbers, found, strict=True)
    }
    return sizes | {f"{stage}: growth (aim: 50)": found[-1] - found[0] for stage, found in peaks.items()}


def _run(stage: str, folder: Path, *arguments: str) -> float:
    """Runs a stage in a process of its own; returns its peak in bytes."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    command = [sys.executable, __file__, stage, str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{stage} must end well. Received: {done.stderr[-2000:]}")
    return float(json.loads(done.stdout.splitlines()[-1]))


def _lay_out(folder: Path, input_dir: Path, number: int) -> None:
    dataset = load_dataset(ROOT / "configs" / "carvana")
    samples = load_catalog(dataset, input_dir, with_test=False).train
    crowd = lay_out_crowd(folder, samples, dataset, number, _FULL_HW)
    lay_out_maps(crowd, dict.fromkeys("abc", _SIZE_HW))
    (folder / "dataset.json").write_text(crowd.dataset.model_dump_json(), encoding="utf-8")


def _predict(folder: Path, dataset: DatasetConfig) -> None:
    import numpy as np
    from predicting import Stand, plant_run, predict_all

    project = name_folders(folder)
    experiment = ExperimentConfig(data=DataConfig(size_hw=_SIZE_HW))
    plant_run(project, dataset, experiment)
    batch_size = experiment.prediction.batch_size
    stand = Stand(batch_size=batch_size, maps_nhwc=np.zeros((batch_size, *_SIZE_HW, 1), dtype=np.uint8))
    # Building a net takes more for a moment than the rest: the peak that counts begins here.
    Path("/proc/self/clear_refs").write_text("5")
    predict_all(project, load_catalog(dataset, project.input_dir).test, dataset, experiment, stand)


def _submit(folder: Path, dataset: DatasetConfig) -> None:
    from unets.submission.submission import write_submission

    write_submission(name_folders(folder), dataset, "crowd")


def _main(stage: str, folder: Path, *arguments: str) -> None:
    """What a child does."""
    if stage == "lay out":
        input_dir, number = arguments
        _lay_out(folder, Path(input_dir), int(number))
        print(json.dumps(0))
    else:
        dataset = DatasetConfig.model_validate_json((folder / "dataset.json").read_text(encoding="utf-8"))
        {"predict": _predict, "submission": _submit}[stage](folder, dataset)
        print(json.dumps(read_status("VmHWM")))


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
