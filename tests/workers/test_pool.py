import subprocess
import sys
import time
from collections.abc import Iterator
from threading import Lock, Semaphore, Thread

import psutil
import pytest

from unets.workers.pool import Crew, map_ahead, run_tasks


def square(number: int) -> int:
    if number < 0:
        raise ValueError("negative")
    time.sleep(0.01 * (number % 3))  # so that later tasks may end first
    return number * number


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_in_the_order_of_the_tasks(jobs: int) -> None:
    assert list(run_tasks(square, range(40), what="square", jobs=jobs)) == [number * number for number in range(40)]
    assert list(run_tasks(square, [], what="square", jobs=jobs)) == []


def test_tasks_are_drawn_no_further_than_a_block_ahead() -> None:
    drawn = []

    def draw() -> Iterator[int]:
        for number in range(1000):
            drawn.append(number)
            yield number

    results = run_tasks(square, draw(), what="square", jobs=2, total=1000)
    assert next(results) == 0
    assert len(drawn) == 32  # 16 a worker
    assert [next(results) for _ in range(40)][-1] == 40 * 40
    assert len(drawn) == 64


@pytest.mark.parametrize("jobs", [1, 2])
def test_the_first_error_ends_it(jobs: int) -> None:
    with pytest.raises(ValueError, match="negative"):
        list(run_tasks(square, [1, -1, 2], what="square", jobs=jobs))


class Desk:
    """A task that counts how many work at once, and waits to be let go."""

    def __init__(self) -> None:
        self.at_work, self.most, self.lock, self.gate = 0, 0, Lock(), Semaphore(0)

    def work(self, number: int) -> int:
        with self.lock:
            self.at_work += 1
            self.most = max(self.most, self.at_work)
        assert self.gate.acquire(timeout=30)
        with self.lock:
            self.at_work -= 1
        return number

    def wait_for(self, at_work: int) -> None:
        """Waits until so many are at work, and a moment longer for one too many."""
        deadline = time.monotonic() + 30
        while self.at_work != at_work and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.05)
        assert self.at_work == at_work


def test_a_crew_changes_its_number_while_it_works() -> None:
    desk, crew, results = Desk(), Crew(1, most=4), list[int]()
    consumer = Thread(target=lambda: results.extend(map_ahead(desk.work, range(40), workers=crew, ahead=8)))
    consumer.start()
    desk.wait_for(1)
    crew.resize(3)
    desk.wait_for(3)
    crew.resize(9)
    assert crew.size == 4
    desk.wait_for(4)
    crew.resize(2)
    desk.gate.release(2)
    desk.wait_for(2)
    desk.gate.release(3)
    desk.wait_for(2)
    desk.gate.release(40)
    consumer.join(30)
    assert (results, desk.most) == (list(range(40)), 4)


def test_a_crew_knows_what_its_tasks_took() -> None:
    """Sleep is time, but no processor's."""
    crew = Crew(2)
    list(map_ahead(lambda _: time.sleep(0.05), range(6), workers=crew, ahead=2))
    assert crew.count == 6 and crew.seconds >= 0.3 and crew.cpu_seconds < 0.15
    crew.forget()
    assert (crew.count, crew.seconds, crew.cpu_seconds) == (0, 0, 0)


def test_a_crews_task_that_fails_ends_it_and_leaves_the_place_free() -> None:
    crew = Crew(1)
    with pytest.raises(ZeroDivisionError):
        list(map_ahead(lambda number: 1 / number, [1, 0, 2], workers=crew, ahead=0))
    assert list(map_ahead(lambda number: 1 / number, [1, 2], workers=crew, ahead=0)) == [1, 0.5]


@pytest.mark.parametrize(("workers", "ahead"), [(1, 0), (2, 0), (2, 5)])
def test_map_ahead_keeps_its_bound(workers: int, ahead: int) -> None:
    drawn = []

    def draw() -> Iterator[int]:
        for number in range(100):
            drawn.append(number)
            yield number

    results = map_ahead(lambda number: number, draw(), workers=workers, ahead=ahead)
    for taken, number in enumerate(results, start=1):
        assert number == taken - 1
        assert len(drawn) <= taken + workers + ahead


PARENT = """
import os, time
from unets.workers.pool import run_tasks
def note(number):
    print(os.getpid(), flush=True)
    time.sleep(600)
list(run_tasks(note, range(2), what="note", jobs=2))
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
