"""Peak memory of one training, in a process of its own: with photos read from disk, and with all of them in memory.

That photos stay uint8, and are there once, shows in the difference: it is what they take. Seen from outside: from the
process's own peak, as the system counts it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

from measure import Row, compare

from unets.config import DatasetConfig, ExperimentConfig
from unets.data.cache import measure_cache

MIB = 2**20
# 936 MiB at 640 x 959: what an allocator gives or takes is a few dozen.
_NUM_PHOTOS = 400
# Photos trained on. Those from disk are few, those in memory a quarter of all: a copy of each that is trained on, kept
# as float32, would make the difference 1.7 times as large, kept as uint8 1.17 times.
_NUM_TRAINED = {"none": 32, "ram": 100}
_ROUNDS = 2


def measure_footprint(
    dataset: DatasetConfig, experiment: ExperimentConfig, input_dir: Path
) -> tuple[list[Row], dict[str, float]]:
    """Compares what photos in memory add to a training's peak with their bytes.

    Returns:
        The row, and MiB by what they are: medians.
    """
    found: dict[str, list[dict[str, int]]] = {"none": [], "ram": []}
    for _ in range(_ROUNDS):
        for cache, peaks in found.items():
            peaks.append(_run(dataset, experiment, input_dir, cache))
    photo_bytes = measure_cache(_NUM_PHOTOS, len(dataset.classes), experiment.data.size_hw)
    added = [
        float(ram["peak_bytes"] - none["peak_bytes"]) for none, ram in zip(found["none"], found["ram"], strict=True)
    ]
    height, width = experiment.data.size_hw
    sizes = {
        "backend imported": median(peaks["import_bytes"] for peaks in found["none"]),
        f"peak of training at {height} x {width}, batch {experiment.data.batch_size}": median(
            peaks["peak_bytes"] for peaks in found["none"]
        ),
        f"the same with {_NUM_PHOTOS} photos in memory": median(peaks["peak_bytes"] for peaks in found["ram"]),
        f"{_NUM_PHOTOS} photos and masks, uint8": photo_bytes,
    }
    what, baseline = "photos in memory / their uint8 bytes", [float(photo_bytes)] * _ROUNDS
    row = compare(what, added, baseline, unit="MiB", scale=1 / MIB, aim=1 / 1.1)
    return [row], {name: size / MIB for name, size in sizes.items()}


def _run(dataset: DatasetConfig, experiment: ExperimentConfig, input_dir: Path, cache: str) -> dict[str, int]:
    """Trains in a process of its own.

    Raises:
        RuntimeError: it failed.
    """
    data = experiment.data.model_copy(update={"cache": cache})
    spec = {
        "dataset": dataset.model_dump(mode="json"),
        "experiment": experiment.model_copy(update={"data": data}).model_dump(mode="json"),
        "input": str(input_dir),
    }
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    command = [sys.executable, __file__, json.dumps(spec)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"a training must end well. Received: {done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _train(spec: dict[str, Any]) -> dict[str, int]:
    """What a child does."""
    from unets.data.batches import Batches
    from unets.data.cache import open_reader
    from unets.dataset.catalog import load_catalog
    from unets.nets.backend import describe_device
    from unets.training.learner import build_learner
    from unets.workers.machine import count_cores

    describe_device()  # starts the backend
    import_bytes = read_status("VmRSS")
    dataset = DatasetConfig.model_validate(spec["dataset"])
    experiment = ExperimentConfig.model_validate(spec["experiment"])
    data = experiment.data
    found = load_catalog(dataset, Path(spec["input"]), with_test=False).train
    samples = (found * -(-_NUM_PHOTOS // len(found)))[:_NUM_PHOTOS]
    batches = Batches(
        open_reader(samples, dataset, data.size_hw, data.cache, Path("unused")),
        range(_NUM_TRAINED[data.cache]),
        batch_size=data.batch_size,
        targets=data.targets,
        augment_config=data.augment,
        crop_hw=data.crop_hw,
        shuffle=True,
        workers=count_cores(),
    )
    learner = build_learner(experiment, len(dataset.classes), updates_per_epoch=len(batches))
    learner.fit(batches, epochs=1, shuffle=False, verbose=0)
    return {"import_bytes": import_bytes, "peak_bytes": read_status("VmHWM")}


def read_status(field_name: str, pid: int | str = "self") -> int:
    """Reads VmRSS (held now) or VmHWM (the most ever held), in bytes; a child's own, unlike getrusage's."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{field_name}:"))


def read_peak(pid: int) -> int:
    """Reads VmHWM of another process, in bytes; 0 of one that has ended."""
    try:
        return read_status("VmHWM", pid)
    except (FileNotFoundError, ProcessLookupError, StopIteration):  # a zombie has no such line
        return 0


if __name__ == "__main__":
    print(json.dumps(_train(json.loads(sys.argv[1]))))
