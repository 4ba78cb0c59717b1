"""Several folds at a time: one process a fold, each with a GPU, or a share of the cores, of its own.

The parent initializes no GPU: it counts them, starts children, passes their log on and waits. A child is the same
command with one experiment and one fold, so whatever holds for one fold (locks, resume) holds for each.
"""

import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue

from unets.errors import InputError
from unets.log import set_up_logging
from unets.store.paths import CACHE_VARIABLE
from unets.workers.machine import ask_driver, count_cores, end_with_parent

logger = logging.getLogger(__name__)

_FOLLOWS = "UNETS_FOLLOWS_PARENT"  # the number of that process
_GPUS = "CUDA_VISIBLE_DEVICES"
_CLOCK = re.compile(r"\d\d:\d\d:\d\d ")  # before each of a child's log lines; this process adds its own


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One fold of one experiment."""

    experiment: str
    fold: int

    def __str__(self) -> str:
        """Returns how training itself calls it."""
        return f"{self.experiment} fold {self.fold}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """What one child computes on."""

    environment: Mapping[str, str] = field(default_factory=dict)  # variables besides this process's own
    cores: frozenset[int] = frozenset()  # that it may use; empty: all


def list_gpus() -> list[str]:
    """Returns the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them, without touching any.

    That variable, where it is set, says which; otherwise all that `nvidia-smi` lists.
    """
    there = [str(index) for index in range(len(re.findall(r"^GPU ", ask_driver("-L"), flags=re.MULTILINE)))]
    if not there or _GPUS not in os.environ:
        return there
    names = [name.strip() for name in os.environ[_GPUS].split(",")]
    end = next((index for index, name in enumerate(names) if name in ("", "-1")), len(names))  # CUDA's own rule
    return names[:end]


def assign_devices(jobs: int | None) -> list[Device]:
    """Returns a device for each fold that is trained at a time: `jobs`, but at most one a GPU, or one a core.

    None is one a GPU, 1 without one. Raises InputError for fewer than one.
    """
    if jobs is not None and jobs < 1:
        raise InputError(f"`--jobs` must be at least 1. Received: {jobs}")
    gpus = list_gpus()
    # Not two on one: TensorFlow's first process takes all of a GPU's memory.
    number = min(jobs or len(gpus), len(gpus)) if gpus else min(jobs or 1, count_cores())
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    cores = cores if 1 < number <= len(cores) else []
    ends = [len(cores) * part // number for part in range(number + 1)]
    return [
        Device(environment={_GPUS: gpus[index]} if gpus else {}, cores=frozenset(cores[ends[index] : ends[index + 1]]))
        for index in range(number)
    ]


def train_on_devices(
    tasks: Sequence[Task], devices: Sequence[Device], build_command: Callable[[Task], list[str]]
) -> None:
    """Runs a child for each task, in order, each on the device that is free first; returns when all are done.

    However this process ends (an error, Ctrl-C, a kill), no child outlives it: each calls `follow_parent` as it starts.
    Raises InputError where a child failed. The others are stopped; what they finished is kept.
    """
    free, running, failed = SimpleQueue[Device](), dict[Task, subprocess.Popen[str]](), list[str]()
    for device in devices:
        free.put(device)

    def fail(words: str) -> None:
        failed.append(words)
        for child in list(running.values()):
            _stop(child)

    def train(task: Task) -> None:
        device = free.get()  # there is one: no more tasks are under way than devices
        try:
            with _start(build_command(task), device) as child:  # closes its pipes
                running[task] = child
                if failed:  # meanwhile, and this one was not among those that were stopped
                    _stop(child)
                last_error = _pass_on(task, child.stdout or ())
            del running[task]
            if child.returncode and not failed:
                fail(_explain(task, child.returncode, last_error, list(running)))
        except BaseException:
            fail("stopped")
            raise
        finally:
            free.put(device)

    with ThreadPoolExecutor(len(devices)) as pool:
        try:
            list(pool.map(lambda task: None if failed else train(task), tasks))
        except BaseException:
            fail("stopped")
            raise
    if failed:
        raise InputError(failed[0])


def train_on_worker(arguments: Sequence[str], task: Task) -> None:
    """Trains a fold in a child of the process that calls it, a worker of a cluster, with whatever devices that has.

    The cache of decoded images lies on the worker's own machine, where all its workers share it: below `dask worker
    --local-directory`, or in the folder for temporary files. For the arguments see `build_command`; they must hold in
    any working folder. Raises InputError where the child failed.
    """
    from distributed import get_worker

    set_up_logging()  # the child's words go to the worker's log
    device = Device(environment={CACHE_VARIABLE: str(Path(get_worker().local_directory).parent / "unets")})
    train_on_devices([task], [device], lambda task: build_command(arguments, task))


def build_command(arguments: Sequence[str], task: Task) -> list[str]:
    """Returns the command line that trains one fold in one process: of an argument given twice the last one counts.

    The arguments are the interpreter's: the script's path, or a module, and its own.
    """
    fold = ["--exp", task.experiment, "--fold", str(task.fold), "--seeds", "1", "--jobs", "1", "--cluster", ""]
    return [sys.executable, *arguments, *fold]


def is_followed() -> bool:
    """Tells whether this is a child of `train_on_devices` that has not called `follow_parent` yet."""
    return _FOLLOWS in os.environ


def follow_parent() -> bool:
    """Makes a child of `train_on_devices` end with its parent; returns whether this process is such a child."""
    parent = os.environ.pop(_FOLLOWS, None)  # what this process starts follows it by other ways
    if parent is not None:
        end_with_parent(int(parent))
    return parent is not None


def _start(command: list[str], device: Device) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        command,
        env={**os.environ, **device.environment, _FOLLOWS: str(os.getpid()), "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # a terminal's Ctrl-C reaches this process alone, which then ends its children
    )
    if device.cores:
        # Before it has loaded anything: the thread pools of TensorFlow, XLA and OpenCV are as large as this set, and so
        # is the number of our own workers.
        with suppress(ProcessLookupError):  # it has ended already
            os.sched_setaffinity(child.pid, device.cores)
    return child


def _stop(child: subprocess.Popen[str]) -> None:
    """Ends a child with its workers; a fold goes on from its last state."""
    with suppress(ProcessLookupError):  # it has ended by itself
        os.killpg(child.pid, signal.SIGKILL)


def _pass_on(task: Task, lines: Iterable[str]) -> str:
    """Logs a child's words; returns its last error."""
    last_error = ""
    for line in lines:
        words = _CLOCK.sub("", line.rstrip(), count=1)
        if words.startswith("error: "):
            # The child has completed the commands in it; without these marks, this process does not do so again.
            last_error = words.removeprefix("error: ").replace("`", "'")
        elif words:
            logger.info("%s", words if words.startswith(str(task)) else f"{task}: {words}")
    return last_error


def _explain(task: Task, code: int, last_error: str, stopped: Sequence[Task]) -> str:
    if not last_error:
        received = f"exit code {code}" if code >= 0 else f"{signal.Signals(-code).name}, as from a lack of memory"
        last_error = f"{task} must train to its end. Received: {received}; its last lines stand above"
    others = f" ({', '.join(map(str, stopped))} stopped too; the same command goes on)" if stopped else ""
    return f"{task}: {last_error}{others}"
