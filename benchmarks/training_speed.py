"""A training step: our Keras on TensorFlow and on JAX against the same U-Net in PyTorch."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from measure import Row, compare, time_rounds

from unets.config import DataConfig, ExperimentConfig, ModelConfig

# Relative, of logits and loss of two frameworks with the same weights; cards multiply float32 in TF32, of 10 bits.
_MAX_DISTANCE, _MAX_DISTANCE_GPU = 1e-4, 1e-2
_STEPS = 2  # of a turn
# The first in float32 writes the weights, logits and loss that PyTorch's are compared with.
_FRAMEWORKS = (
    ("tensorflow", "float32"),
    ("tensorflow", "auto"),
    ("jax", "auto"),
    ("torch", "float32"),
    ("torch", "mixed_bfloat16"),
)
_TITLES = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}


@dataclass(frozen=True)
class Worker:
    """A process of `stepping.py`: one framework in one precision."""

    framework: str
    precision: str  # as it runs, never "auto"
    process: subprocess.Popen[str]
    facts: dict[str, Any]  # the first line that it wrote

    @property
    def name(self) -> str:
        """Framework and precision, as the table shows them."""
        return f"{_TITLES[self.framework]} {self.precision.removeprefix('mixed_')}"

    def step(self, _: int) -> None:
        """Makes the steps of one turn, and waits until they are done."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{_STEPS}\n")
        self.process.stdin.flush()
        _read_line(self.process)


def list_cases(small: ExperimentConfig) -> list[ExperimentConfig]:
    """Returns what is trained: the small net of the configs, and a slim one on images of 640 x 959."""
    data, model = DataConfig(size_hw=(640, 959), batch_size=2), ModelConfig(base_filters=16, max_filters=256)
    return [small, ExperimentConfig(data=data, model=model, training=small.training)]


def measure_training_steps(
    experiment: ExperimentConfig,
    seconds: float,
    torch_python: str,
    frameworks: Sequence[tuple[str, str]] = _FRAMEWORKS,
) -> list[Row]:
    """Compares the seconds of a step, each framework in a process of its own, in turn.

    Ours is the step that training makes: precision and compilation as it chooses them, with clipping and Dice.
    PyTorch's has the same net (its logits and loss are compared with ours first), loss and clipping, fused
    AdamW, channels last, and the faster of float32 and bfloat16 autocast; on a GPU it is compiled. Turns do not make
    up for other work on the cores, because PyTorch's threads wait for one another at every operation: only an idle
    machine's ratio counts.

    Args:
        experiment: net, size and batch.
        seconds: of all rounds.
        torch_python: an interpreter that has PyTorch; without, there is no ratio.
        frameworks: each with its precision.

    Raises:
        RuntimeError: a process failed, or the nets are not the same.
    """
    workers: list[Worker] = []
    with tempfile.TemporaryDirectory() as folder:
        start = partial(_start, experiment=experiment, folder=Path(folder), torch_python=torch_python)
        try:
            for framework, precision in frameworks:
                workers.append(start(framework, precision))
            present = _check(workers)
            rounds = time_rounds({worker.name: worker.step for worker in present}, seconds)
        finally:
            for worker in workers:
                worker.process.kill()
                worker.process.wait()
    peers = [worker.name for worker in present if worker.framework == "torch"]
    if not peers:
        return []
    best = min(peers, key=lambda name: median(rounds[name]))
    height, width = experiment.data.size_hw
    return [
        compare(
            f"step at {height} x {width}: {worker.name} / {best}",
            rounds[worker.name],
            rounds[best],
            unit="ms",
            count=_STEPS,
            aim=1.0,
        )
        for worker in present
        if worker.framework != "torch" and worker.precision == worker.facts["auto"]
    ]


def _start(framework: str, precision: str, *, experiment: ExperimentConfig, folder: Path, torch_python: str) -> Worker:
    training = experiment.training.model_copy(update={"precision": precision})
    spec = {
        "framework": framework,
        "experiment": experiment.model_copy(update={"training": training}).model_dump(mode="json"),
        "reference": str(folder / "reference.npz"),
    }
    # A framework that takes a whole card at its start would leave nothing to the others.
    environment = {**os.environ, "TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    process = subprocess.Popen(
        [
            torch_python if framework == "torch" else sys.executable,
            str(Path(__file__).with_name("stepping.py")),
            json.dumps(spec),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    facts = json.loads(_read_line(process))
    return Worker(framework, facts.get("precision", precision), process, facts)


def _read_line(process: subprocess.Popen[str]) -> str:
    """Returns the next line that a worker writes.

    Raises:
        RuntimeError: it has ended; it has said why.
    """
    line = process.stdout.readline() if process.stdout else ""
    if not line:
        raise RuntimeError("a worker must answer. Received: its end, see above")
    return str(line)


def _check(workers: Sequence[Worker]) -> list[Worker]:
    """Returns the workers that take part, once they are known to train the same net."""
    for worker in workers:
        if "missing" in worker.facts:
            print(f"{worker.name} is left out: pip install {worker.facts['missing']}", file=sys.stderr)
    # Two of one framework are one where the machine chooses float32.
    present = list({worker.name: worker for worker in workers if "missing" not in worker.facts}.values())
    counts = {worker.name: worker.facts["parameters"] for worker in present}
    if len(set(counts.values())) != 1:
        raise RuntimeError(f"all nets must have as many parameters. Received: {counts}")
    has_gpu = any(worker.facts["is_gpu"] for worker in present)
    for worker in present:
        distances = worker.facts.get("distances", [0.0])
        if max(distances) > (_MAX_DISTANCE_GPU if has_gpu else _MAX_DISTANCE):
            raise RuntimeError(f"{worker.name} must give our logits and loss. Received: off by {distances}")
    return [worker for worker in present if worker.facts["is_gpu"] == has_gpu]
