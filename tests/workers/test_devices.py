"""Folds on devices: order, failure, and that no child is left behind, by scripts that only pretend to train."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from unets.errors import InputError
from unets.workers.devices import Device, Task, assign_devices, list_gpus, train_on_devices

TASKS = [Task(experiment="unet_a", fold=fold) for fold in range(3)]
# What a child does, by fold; it notes its process, GPU and cores first.
CHILD = """
import os, pathlib, sys, time
from unets.workers.devices import follow_parent
assert follow_parent()
folder, fold, work = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
(folder / fold).write_text(f"{os.getpid()} {os.environ.get('CUDA_VISIBLE_DEVICES')} {cores}")
exec(work)
(folder / f"{fold}.done").touch()
"""
# A process of its own that hands them out, so that it can be interrupted or killed.
PARENT = """
import signal, sys
for number in (signal.SIGHUP, signal.SIGINT):  # nohup, and shells in the background, have them ignored
    signal.signal(number, signal.SIG_DFL if number == signal.SIGHUP else signal.default_int_handler)
from unets.workers.devices import Device, Task, train_on_devices
child, folder = sys.argv[1:]
tasks = [Task(experiment="unet_a", fold=fold) for fold in range(2)]
sleep = "time.sleep(600)"
train_on_devices(tasks, [Device(), Device()], lambda task: [sys.executable, "-c", child, folder, str(task.fold), sleep])
"""


def command(folder: Path, works: dict[int, str]) -> Callable[[Task], list[str]]:
    return lambda task: [sys.executable, "-c", CHILD, str(folder), str(task.fold), works.get(task.fold, "")]


def read_notes(folder: Path, fold: int) -> tuple[int, str, str]:
    process, gpu, cores = (folder / str(fold)).read_text().split(" ")
    return int(process), gpu, cores


def wait_until(holds: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def is_running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.fixture
def show_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """`show_gpus(4)` puts an `nvidia-smi` that lists four first in the path."""

    def show(number: int) -> None:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        lines = [f"GPU {index}: NVIDIA Test (UUID: GPU-{index}{index})\\n  MIG 1g Device 0" for index in range(number)]
        program = folder / "nvidia-smi"
        program.write_text("#!/bin/sh\n" + "".join(f"printf '{line}\\n'\n" for line in lines))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    return show


@pytest.mark.parametrize(
    ("visible", "jobs", "expected"),
    [
        *((None, None, ["0", "1", "2", "3"]), (None, 2, ["0", "1"]), (None, 8, ["0", "1", "2", "3"])),
        *(("1,3", None, ["1", "3"]), ("GPU-11, GPU-22", None, ["GPU-11", "GPU-22"])),
        ("2,-1,3", None, ["2"]),  # CUDA reads to the first that is none
    ],
)
def test_one_fold_a_gpu_of_those_that_cuda_would_see(
    visible: str | None,
    jobs: int | None,
    expected: list[str],
    show_gpus: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    show_gpus(4)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [device.environment["CUDA_VISIBLE_DEVICES"] for device in assign_devices(jobs)] == expected
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert list_gpus() == []


@pytest.mark.parametrize(
    ("cores", "jobs", "expected"),
    [
        *(({0, 1, 2, 3, 4}, 2, [{0, 1}, {2, 3, 4}]), ({4, 7}, 2, [{4}, {7}]), ({4, 7}, 5, [{4}, {7}])),
        *(({0, 1}, None, [set()]), ({0, 1}, 1, [set()])),  # all of them, as they are
    ],
)
def test_without_a_gpu_cores_are_divided(
    cores: set[int],
    jobs: int | None,
    expected: list[set[int]],
    show_gpus: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    show_gpus(0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: cores)
    assert [(device.cores, device.environment) for device in assign_devices(jobs)] == [(one, {}) for one in expected]


def test_each_task_runs_on_the_device_that_is_free(tmp_path: Path) -> None:
    core = min(os.sched_getaffinity(0))
    devices = [
        Device(environment={"CUDA_VISIBLE_DEVICES": "5"}, cores=frozenset({core})),
        Device(environment={"CUDA_VISIBLE_DEVICES": "7"}),
    ]
    # fold 0 ends only after fold 2, which therefore takes over from fold 1
    wait = "while not (folder / '2.done').exists(): time.sleep(0.02)"
    train_on_devices(TASKS, devices, command(tmp_path, {0: wait}))
    notes = [read_notes(tmp_path, fold) for fold in range(3)]
    assert [gpu for _, gpu, _ in notes] == ["5", "7", "7"]
    assert notes[0][2] == str(core)
    assert all((tmp_path / f"{fold}.done").exists() for fold in range(3))


def test_log_lines_pass_through_with_the_fold_before_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("unets"), "propagate", True)
    caplog.set_level(logging.INFO, logger="unets")
    work = "print('12:00:01 cache: ram'); print('12:00:02 unet_a fold 0: 2 M parameters', file=sys.stderr)"
    train_on_devices(TASKS[:1], [Device()], command(tmp_path, {0: work}))
    assert set(caplog.messages) == {"unet_a fold 0: cache: ram", "unet_a fold 0: 2 M parameters"}


def test_a_failure_stops_the_others_and_is_the_parents(tmp_path: Path) -> None:
    fail = """
while not (folder / '0').exists(): time.sleep(0.02)
print('12:00:01 error: `loss` must be one. Received: two', file=sys.stderr)
sys.exit(1)
"""
    stopped = r"'loss' must be one\. Received: two \(unet_a fold 0 stopped too; the same command goes on\)"
    with pytest.raises(InputError, match=f"^unet_a fold 1: {stopped}$"):
        train_on_devices(TASKS, [Device(), Device()], command(tmp_path, {0: "time.sleep(600)", 1: fail}))
    assert not is_running(read_notes(tmp_path, 0)[0])
    assert not (tmp_path / "2").exists()


@pytest.mark.parametrize(
    ("work", "received"),
    [("sys.exit(3)", "exit code 3"), ("os.kill(os.getpid(), 9)", "SIGKILL, as from a lack of memory")],
)
def test_a_child_that_ends_without_a_word_is_a_failure_too(tmp_path: Path, work: str, received: str) -> None:
    with pytest.raises(InputError, match=rf"unet_a fold 0 must train to its end\. Received: {received}"):
        train_on_devices(TASKS[:1], [Device()], command(tmp_path, {0: work}))


def test_folds_that_fail_together_end_in_the_explanation_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    say, kill = "sleep 0.5; echo '12:00:00 error: `weights` must be there' >&2; exit 1", os.killpg

    def kill_late(group: int, number: int) -> None:
        end = time.monotonic() + 2
        while psutil.pid_exists(group) and time.monotonic() < end:  # until it has ended by itself, and its thread knows
            time.sleep(0.01)
        kill(group, number)

    monkeypatch.setattr(os, "killpg", kill_late)
    with pytest.raises(InputError, match=r"^unet_a fold \d: 'weights' must be there"):
        train_on_devices(TASKS, [Device()] * 3, lambda _: ["/bin/sh", "-c", say])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_no_child_outlives_its_parent(tmp_path: Path, number: signal.Signals) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD, str(tmp_path)], stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        wait_until(lambda: all((tmp_path / name).exists() and (tmp_path / name).read_text() for name in "01"))
        children = [read_notes(tmp_path, fold)[0] for fold in range(2)]
        assert all(map(is_running, children))
        parent.send_signal(number)
        assert parent.wait(20) != 0
        wait_until(lambda: not any(map(is_running, children)))
    finally:
        parent.kill()
