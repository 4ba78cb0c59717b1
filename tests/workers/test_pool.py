import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from unets.errors import InputError
from unets.workers.pool import map_ahead, run_tasks, use_jobs


def square(number: int) -> int:
    if number < 0:
        raise ValueError("negative")
    time.sleep(0.01 * (number % 3))  # so that later tasks may end first
    return number * number


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_in_the_order_of_the_tasks_and_the_first_error_ends_it(jobs: int) -> None:
    with use_jobs(jobs):
        assert list(run_tasks(square, range(40), what="square")) == [number * number for number in range(40)]
        assert list(run_tasks(square, [], what="square")) == []
        with pytest.raises(ValueError, match="negative"):
            list(run_tasks(square, [1, -1, 2], what="square"))


def test_tasks_are_drawn_no_further_than_a_block_ahead() -> None:
    drawn = list[int]()
    tasks = (drawn.append(number) or number for number in range(1000))
    with use_jobs(2):
        results = run_tasks(square, tasks, what="square", total=1000)
    assert next(results) == 0
    assert len(drawn) == 32  # 16 a worker
    assert [next(results) for _ in range(40)][-1] == 40 * 40
    assert len(drawn) == 64


@pytest.mark.parametrize(("workers", "ahead"), [(1, 0), (2, 0), (2, 5)])
def test_map_ahead_keeps_its_bound(workers: int, ahead: int) -> None:
    drawn = list[int]()
    tasks = (drawn.append(number) or number for number in range(100))
    for taken, number in enumerate(map_ahead(lambda number: number, tasks, workers=workers, ahead=ahead), start=1):
        assert number == taken - 1
        assert len(drawn) <= taken + workers + ahead


PARENT = """
import os, time
from unets.workers.pool import run_tasks, use_jobs
def note(number):
    print(os.getpid(), flush=True)
    time.sleep(600)
with use_jobs(2):
    list(run_tasks(note, range(2), what="note"))
"""


def test_workers_end_with_their_parent_however_it_ends() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    workers = [int(parent.stdout.readline()) for _ in range(2)]
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 30
    while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in workers):
        assert time.monotonic() < deadline, "workers outlive their parent"
        time.sleep(0.1)
    parent.stdout.read()  # returns at once where nobody holds the other end


def _die(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_worker_is_one_error() -> None:
    words = r"All worker processes must live .* one that was killed.*Fewer --jobs"
    with pytest.raises(InputError, match=words), use_jobs(2):
        list(run_tasks(_die, range(4), what="die"))
