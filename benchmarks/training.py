"""A step of training: our Keras on TensorFlow and on JAX against PyTorch, and against the machine's matrix peak."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from measure import Rounds, Row, compare, time_rounds

from unets.config import DataConfig, ExperimentConfig, ModelConfig

FLOAT32, BFLOAT16 = "float32", "mixed_bfloat16"
_CLOSE = 1e-4  # as far may logits and losses of two frameworks lie apart, relatively
# A matrix's side, and the steps of a turn: enough to be timed.
_CPU_WORK, _GPU_WORK = (2048, 2), (8192, 20)
_TITLES = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}


@dataclass
class Worker:
    """A process of `stepping.py`."""

    framework: str
    precision: str
    process: subprocess.Popen[str]
    errors_path: Path
    facts: dict[str, Any] = field(default_factory=dict)  # what it says of itself

    @property
    def name(self) -> str:
        return f"{_TITLES[self.framework]} {self.precision.removeprefix('mixed_')}"

    @property
    def is_ours(self) -> bool:
        """Whether it is what training does by default."""
        return self.precision == self.facts.get("auto")

    def tell(self, order: str) -> None:
        """Has it work, and waits until that is done."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{order}\n")
        self.process.stdin.flush()
        self.read()

    def read(self) -> str:
        """Returns its next line.

        Raises:
            RuntimeError: it has ended.
        """
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} must answer. Received: {self.errors_path.read_text()[-2000:]}")
        return line

    def end(self) -> None:
        """Ends it."""
        self.process.kill()
        self.process.communicate()


def list_cases(small: ExperimentConfig) -> list[ExperimentConfig]:
    """Returns what is trained: the small net of the configs, and a slim one on photos of half their size."""
    data, model = DataConfig(size_hw=(640, 959), batch_size=2), ModelConfig(base_filters=16, max_filters=256)
    return [small, ExperimentConfig(data=data, model=model, training=small.training)]


def measure_training_steps(experiment: ExperimentConfig, seconds: float, torch_python: str) -> list[Row]:
    """Compares the seconds of a step, each framework in a process of its own, in turn.

    Ours is the step that training makes: precision and compilation as it chooses them, with clipping and Dice.
    PyTorch's has the same net (its logits and loss are compared with TensorFlow's first), loss and clipping, fused
    AdamW, channels last, and the faster of float32 and bfloat16 autocast; on a GPU it is compiled. Where one process
    has a GPU, those without are left out. The peak is the most that any of the processes multiplies in that precision.
    Turns do not make up for other work on the cores: PyTorch's threads wait for one another at every operation, and
    with 6 processes at work on two cores its steps took 26 times TensorFlow's. Only an idle machine's ratio counts.

    Args:
        experiment: net, size and batch.
        seconds: of all rounds.
        torch_python: an interpreter that has PyTorch; without, there is no ratio to it.

    Raises:
        RuntimeError: a process failed, or the nets are not the same.
    """
    workers: list[Worker] = []
    with tempfile.TemporaryDirectory() as folder:

        def start(framework: str, precision: str) -> Worker:
            workers.append(_start(framework, precision, experiment, Path(folder), torch_python))
            workers[-1].facts = json.loads(workers[-1].read())
            workers[-1].precision = workers[-1].facts.get("precision", precision)
            return workers[-1]

        try:
            auto = start("tensorflow", FLOAT32).facts["auto"]  # the first: PyTorch is compared with it
            start("tensorflow", BFLOAT16 if auto == FLOAT32 else auto)
            start("jax", "auto")
            start("torch", FLOAT32)
            start("torch", BFLOAT16)
            present = _check(workers)
            rounds = _time(present, seconds)
        finally:
            for worker in workers:
                worker.end()
    return _compare(present, rounds, experiment.data)


def _start(framework: str, precision: str, experiment: ExperimentConfig, folder: Path, torch_python: str) -> Worker:
    training = experiment.training.model_copy(update={"precision": precision})
    spec = {
        "framework": framework,
        "experiment": experiment.model_copy(update={"training": training}).model_dump(mode="json"),
        "reference": str(folder / "reference.npz"),
    }
    python = torch_python if framework == "torch" else sys.executable
    errors_path = folder / f"{framework}_{precision}.txt"
    # A framework that takes a whole card at its start would leave nothing to the others.
    environment = {**os.environ, "TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    with errors_path.open("w") as errors:
        process = subprocess.Popen(
            [python, str(Path(__file__).with_name("stepping.py")), json.dumps(spec)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
        )
    return Worker(framework=framework, precision=precision, process=process, errors_path=errors_path)


def _check(workers: Sequence[Worker]) -> list[Worker]:
    """Returns the workers that take part, once they are known to train the same net."""
    for worker in workers:
        if "missing" in worker.facts:
            how = f"pip install {worker.framework}"
            print(f"{worker.name} is left out: no module {worker.facts['missing']}, `{how}`", file=sys.stderr)
    present = [worker for worker in workers if "missing" not in worker.facts]
    counts = {worker.name: worker.facts["parameters"] for worker in present}
    if len(set(counts.values())) != 1:
        raise RuntimeError(f"all nets must have as many parameters. Received: {counts}")
    for worker in present:
        distances = worker.facts.get("distances", [0.0])
        if max(distances) > _CLOSE:
            raise RuntimeError(f"{worker.name} must give TensorFlow's logits and loss. Received: off by {distances}")
    has_gpu = any(worker.facts["is_gpu"] for worker in present)
    return [worker for worker in present if worker.facts["is_gpu"] == has_gpu]


def _time(workers: Sequence[Worker], seconds: float) -> Rounds:
    """Returns by name the seconds of a step, and as "peak <name>" those of a matrix product's multiply-add."""
    side, num_steps = _GPU_WORK if workers[0].facts["is_gpu"] else _CPU_WORK
    orders = {"": f"step {num_steps}", "peak ": f"multiply {side}"}
    ways: dict[str, Callable[[int], object]] = {
        f"{prefix}{worker.name}": partial(_tell, worker, order)
        for worker in workers
        for prefix, order in orders.items()
    }
    work_of = {name: side**3 if name.startswith("peak ") else num_steps for name in ways}
    return {name: [value / work_of[name] for value in values] for name, values in time_rounds(ways, seconds).items()}


def _tell(worker: Worker, order: str, round_: int) -> None:
    worker.tell(order)


def _compare(workers: Sequence[Worker], rounds: Rounds, data: DataConfig) -> list[Row]:
    what, rows = f"step at {data.size_hw[0]} x {data.size_hw[1]}", []

    def add(worker: Worker, baseline: Worker, aim: float | None = None) -> None:
        title = f"{what}: {worker.name} / {baseline.name}"
        rows.append(compare(title, rounds[worker.name], rounds[baseline.name], unit="ms", scale=1000, aim=aim))

    shown = {worker.framework: worker for worker in workers if worker.is_ours}
    torch_workers = [worker for worker in workers if worker.framework == "torch"]
    if torch_workers:
        best = min(torch_workers, key=lambda worker: median(rounds[worker.name]))
        for worker in shown.values():
            add(worker, best, aim=1.0)
        shown["torch"] = best
    for worker in workers:
        if worker not in shown.values() and worker.framework in shown:
            add(worker, shown[worker.framework])
    # Three passes: a convolution's way back has two, to its input's gradient and to its filters'.
    counted = next(worker.facts["multiply_adds"] for worker in workers if "multiply_adds" in worker.facts)
    multiply_adds = 3 * data.batch_size * counted
    for worker in shown.values():
        peers = [rounds[f"peak {peer.name}"] for peer in workers if peer.precision == worker.precision]
        peak = [multiply_adds * min(of_round) for of_round in zip(*peers, strict=True)]
        title, flops = f"{what}: {worker.name} / matrix peak", 2 * multiply_adds
        rows.append(compare(title, rounds[worker.name], peak, unit="GFLOP/s", scale=flops / 1e9, is_rate=True))
    return rows
