"""A real scheduler and two real workers on loopback; a worker is a process under a nanny that starts it again."""

import importlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest

from tests import ROOT, run_unets
from tests.submissions import write_submission
from tests.trained_competition import write_maps
from unets.cli.stage import Stage, open_project
from unets.config import EnsembleConfig, load_dataset
from unets.dataset.folds import write_folds
from unets.dataset.manifest import read_manifest
from unets.ensemble.fit import fit_ensemble
from unets.errors import InputError
from unets.pages.screen import screen_test
from unets.store.paths import Project
from unets.workers import cluster
from unets.workers.cluster import find_cluster
from unets.workers.devices import Task, train_on_worker
from unets.workers.pool import run_tasks

if os.environ.get("CI"):  # there nothing may be left out silently
    importlib.import_module("distributed")
else:
    pytest.importorskip("distributed")
HOST = os.uname().nodename
Use = Callable[[], AbstractContextManager[None]]
use_cluster = partial(cluster.use_cluster, connect_s=60.0)  # workers load as slowly as a busy machine lets them


def launch(stack: ExitStack, folder: Path, *arguments: str, source: Path = ROOT / "src") -> None:
    """Starts a command of Dask's, with a log in `folder`, which ends with `stack`; `source` holds the package."""
    paths = os.pathsep.join([str(source), str(ROOT)])
    # A task may cost one worker, not three: the test of the second stays short.
    environment = os.environ | {"PYTHONPATH": paths, "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"}
    command = [sys.executable, "-m", "dask", *arguments, "--host", "127.0.0.1", "--no-dashboard"]
    with (folder / f"{arguments[0]}.log").open("a") as log:
        options = {"cwd": folder, "env": environment, "stdout": log, "stderr": log}
        process = subprocess.Popen(command, start_new_session=True, **options)
    stack.callback(process.wait)
    stack.callback(os.killpg, process.pid, signal.SIGKILL)  # with those of a nanny; asked to end, they take seconds


def launch_scheduler(stack: ExitStack, folder: Path) -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    launch(stack, folder, "scheduler", "--port", port)
    return f"tcp://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("cluster")
    with ExitStack() as stack:
        address = launch_scheduler(stack, folder)
        launch(stack, folder, "worker", address, "--nthreads", "1", "--nworkers", "2", "--resources", "GPU=1")
        yield address


@pytest.fixture
def use(address: str, tmp_path: Path) -> Use:
    return lambda: use_cluster(address, input_dir=tmp_path / "input", models_dir=tmp_path / "models")


def square(number: int) -> int:
    time.sleep(0.01 * (number % 3))
    return number * number


def note(folder: Path, number: int) -> int:
    """Leaves a line that it was here, waits, and returns the process."""
    with (folder / "ran.txt").open("a") as file:
        file.write(f"{number}\n")
    time.sleep(0.1)
    return os.getpid()


def note_process(number: int) -> int:
    return os.getpid()


def fail(number: int) -> int:
    if number == 3:
        raise InputError("photo 3 must be whole. Received: half of it")
    if number == 13:
        raise OSError(28, "No space left on device", "/shared/13.png")
    if number == 23:
        raise ZeroDivisionError("of ours")
    return number


def end(number: int) -> int:
    os._exit(1)


def test_results_come_in_order_and_tasks_are_drawn_a_little_ahead(use: Use) -> None:
    drawn = []

    def draw() -> Iterator[int]:
        for number in range(60):
            drawn.append(number)
            yield number

    with use():
        assert find_cluster() is not None
        results = run_tasks(square, draw(), what="square", total=60)
        assert next(results) == 0
        assert len(drawn) <= 8  # 4 a thread
        assert list(results) == [number * number for number in range(1, 60)]
        assert list(run_tasks(square, [], what="square")) == []
        here = run_tasks(lambda _: os.getpid(), range(3), what="shared memory", threads=True)
        assert set(here) == {os.getpid()}
    assert find_cluster() is None


def test_a_killed_worker_costs_its_tasks_alone(use: Use, tmp_path: Path) -> None:
    pids = []
    with use():
        for pid in run_tasks(partial(note, tmp_path), range(24), what="note"):
            pids.append(pid)
            if len(pids) == 6:
                os.kill(pid, signal.SIGKILL)
    assert len(pids) == 24
    times = Counter(map(int, (tmp_path / "ran.txt").read_text().split()))
    assert set(times) == set(range(24))
    assert all(times[number] == 1 for number in range(6)), "what was taken is not done again"
    # Of the 8 under way or waiting to be taken, those that the dead worker had.
    assert sum(times.values()) - 24 <= 8 and max(times.values()) <= 2


@pytest.mark.parametrize(
    ("number", "kind", "message"),
    [
        (3, InputError, rf"{HOST}: photo 3 must be whole\. Received: half of it"),
        (13, OSError, rf"No space left on device on {HOST}: '/shared/13.png'"),
        (23, RuntimeError, rf"a task failed on {HOST}:\n[\s\S]*ZeroDivisionError: of ours"),
    ],
)
def test_a_task_s_own_error_stops_it_and_names_the_host(
    use: Use, number: int, kind: type[Exception], message: str
) -> None:
    done = list[int]()
    with use(), pytest.raises(kind, match=message):
        done += run_tasks(fail, range(number - 2, 1000), what="fail")
    assert done == [number - 2, number - 1]


TRAIN = """
import os, pathlib, sys
from unets.workers.devices import follow_parent
assert follow_parent()
folder, given = pathlib.Path(sys.argv[1]), dict(zip(sys.argv[2::2], sys.argv[3::2]))  # the last one counts
assert given["--cluster"] == "", "it would send itself back"
fold, exp = given["--fold"], given["--exp"]
if fold == "3":
    sys.exit(print("error: `--exp` must train. Received: " + exp, file=sys.stderr) or 1)
(folder / f"{exp}_{fold}").write_text(os.environ["UNETS_CACHE"])
"""


def test_folds_are_trained_by_workers_with_a_gpu_which_then_start_again(use: Use, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(TRAIN)
    train = partial(train_on_worker, [str(tmp_path / "train.py"), str(tmp_path), "--cluster", "tcp://scheduler"])
    with use():
        before = set(run_tasks(note_process, range(8), what="before"))
        tasks = [Task(experiment="unet_a", fold=fold) for fold in range(2)]
        assert list(run_tasks(train, tasks, what="train", on_gpu=True)) == [None] * 2
        with pytest.raises(InputError, match=rf"{HOST}: unet_b fold 3: '--exp' must train\. Received: unet_b"):
            list(run_tasks(train, [Task(experiment="unet_b", fold=3)], what="train", on_gpu=True))
    made = sorted(tmp_path.glob("unet_*"))
    assert [path.name for path in made] == ["unet_a_0", "unet_a_1"]
    # The cache is not in the shared folder of models, but on the worker's own machine.
    assert all(not Path(path.read_text()).is_relative_to(tmp_path) for path in made)
    with use():
        assert not before & set(run_tasks(note_process, range(8), what="after"))


def test_a_task_that_kills_its_workers_ends_it(use: Use) -> None:
    """joblib's own backend waits for ever here."""
    with use(), pytest.raises(InputError, match=r"must leave its worker alive\. Received: 2 workers died of one"):
        list(run_tasks(end, [0], what="end"))


def test_checks_submission_and_screen_give_the_same_bytes(
    address: str, make_competition: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_competition(num_groups=4, num_views=20)
    root = project.input_dir.parent
    monkeypatch.chdir(root)  # workers stand elsewhere

    given = ("check", "tiny", "--input", "input")
    assert run_unets(*given, "--jobs", "1") == 0
    checked = project.checked_path.read_bytes()
    project.checked_path.unlink()
    assert run_unets(*given, "--cluster", address) == 0
    assert project.checked_path.read_bytes() == checked

    dataset = load_dataset(project.configs_dir)
    write_folds(project, read_manifest(project, dataset))
    write_maps(project, dataset, "a")
    fit_ensemble(project, dataset, EnsembleConfig(experiments=("a",)))
    here = write_submission(project, dataset, "here").read_bytes()
    figures = screen_test(project, dataset).csv_path.read_bytes()
    with use_cluster(address, input_dir=project.input_dir, models_dir=project.models_dir):
        assert write_submission(project, dataset, "there").read_bytes() == here
        assert screen_test(project, dataset).csv_path.read_bytes() == figures


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("list_versions", lambda: {"numpy": "0"}, rf"{HOST} must have numpy 0, as we have. Received: \d"),
        ("hash_file", lambda _: "0", rf"{HOST} must have our code; .* Received: other files"),
    ],
)
def test_a_worker_that_differs_is_refused(
    use: Use, name: str, value: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, name, value)
    with use(), pytest.raises(InputError, match=message):
        list(run_tasks(square, [1], what="square"))


def test_a_worker_that_joins_later_is_compared_before_its_first_task(address: str, use: Use, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src", tmp_path / "src")
    with (tmp_path / "src" / "unets" / "data" / "rle.py").open("a") as file:
        file.write("# edited\n")
    pids = set()
    with ExitStack() as stack, use():
        results = run_tasks(partial(note, tmp_path), count(), what="note")
        pids.add(next(results))
        launch(stack, tmp_path, "worker", address, "--nthreads", "1", "--no-nanny", source=tmp_path / "src")
        with pytest.raises(InputError, match=f"{HOST} must have our code; .* Received: other files"):
            pids.update(islice(results, 1000))
    assert len(pids) <= 2  # those that were there


def test_a_worker_that_cannot_import_this_package_is_told_how(tmp_path: Path) -> None:
    (tmp_path / "hide.py").write_text("import sys\nsys.modules['unets'] = None\n")
    with ExitStack() as stack:
        address = launch_scheduler(stack, tmp_path)
        hidden = ("--nthreads", "1", "--no-nanny", "--preload", str(tmp_path / "hide.py"))
        launch(stack, tmp_path, "worker", address, *hidden)
        stack.enter_context(use_cluster(address, input_dir=tmp_path, models_dir=tmp_path))
        with pytest.raises(InputError, match=r"each worker must import this package: start it with the `dask` of its"):
            list(run_tasks(square, [1], what="square"))


def test_lost_workers_are_waited_for_and_a_lost_scheduler_ends_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = ("--nthreads", "1", "--no-nanny")
    with ExitStack() as stack, ExitStack() as scheduler, ExitStack() as first:
        address = launch_scheduler(scheduler, tmp_path)
        launch(first, tmp_path, "worker", address, *words)
        folders = {"input_dir": tmp_path, "models_dir": tmp_path / "models"}
        stack.enter_context(use_cluster(address, **folders, connect_s=20.0, patience_s=0.5))
        with pytest.raises(InputError, match=r"`--cluster` must have workers that train and predict, one a GPU"):
            list(run_tasks(note_process, [0], what="train", on_gpu=True))
        results = run_tasks(partial(note, tmp_path), range(400), what="note")
        pid = next(results)
        first.close()  # the only worker
        threading.Timer(2.0, launch, (stack, tmp_path, "worker", address, *words)).start()
        assert any(other != pid for other in results if other)  # goes on by the one that came
        assert "no worker is left; waiting for one" in caplog.text
        rest = run_tasks(partial(note, tmp_path), range(400), what="note")
        next(rest)
        scheduler.close()
        with pytest.raises(InputError, match="the scheduler is gone; what was finished is kept"):
            list(rest)


def test_a_folder_of_one_name_but_another_content_is_refused(address: str, tmp_path: Path) -> None:
    """What /proc/self/fd/777 is, each process has for itself."""
    folder, path = os.open(tmp_path, os.O_RDONLY), Path("/proc/self/fd/777")
    os.dup2(folder, 777)
    try:
        with (
            use_cluster(address, input_dir=tmp_path, models_dir=path),
            pytest.raises(InputError, match=f"{HOST} must see the folder {path} that we see"),
        ):
            list(run_tasks(square, [1], what="square"))
    finally:
        os.close(folder)
        os.close(777)
    assert not list(tmp_path.iterdir())


def test_a_stage_that_has_no_tasks_asks_nobody_and_nobody_there_and_no_dask_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"root": Path(), "competition": "carvana", "input": None, "models": None, "cluster": "tcp://127.0.0.1:9"}
    stage = Stage(name="train", project=open_project(given), given=given)
    assert stage.project.models_dir == tmp_path / "models" / "carvana"  # workers stand elsewhere
    with stage.use_workers():
        pass
    with use_cluster("tcp://127.0.0.1:9", input_dir=tmp_path, models_dir=tmp_path, connect_s=0.2):
        with pytest.raises(InputError, match=r"`--cluster` must be the address of .* Received: tcp://127.0.0.1:9 \("):
            list(run_tasks(square, [1], what="square"))
        monkeypatch.setitem(sys.modules, "distributed", None)
        with pytest.raises(InputError, match=r"pip install '\.\[cluster\]'. Received: tcp://127.0.0.1:9"):
            list(run_tasks(square, [1], what="square"))
