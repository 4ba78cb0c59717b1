"""Independent tasks over many workers: processes or threads of this machine, or the workers of a cluster."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial
from itertools import islice
from typing import TypeVar

import numpy as np
from joblib import Parallel, delayed

from unets.errors import InputError
from unets.log import show_progress
from unets.workers.cluster import find_cluster
from unets.workers.machine import count_cores, end_with_parent

Task = TypeVar("Task")
Result = TypeVar("Result")
_LARGE_BYTES = 31 * 2**20  # just below glibc's DEFAULT_MMAP_THRESHOLD_MAX, 32 MiB
_jobs: ContextVar[int | None] = ContextVar("jobs", default=None)
_BLOCK = 16  # tasks a worker that may be finished before the first of them is taken


@contextmanager
def use_jobs(jobs: int | None) -> Iterator[None]:
    """Sets how many processes work at the tasks of the block; None is one a core."""
    token = _jobs.set(jobs)
    try:
        yield
    finally:
        _jobs.reset(token)


def in_chunks(items: Sequence[Task], size: int) -> list[tuple[Task, ...]]:
    """Splits items, in their order, into parts of `size`; the last may be smaller."""
    return [tuple(items[start : start + size]) for start in range(0, len(items), size)]


def run_tasks(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    *,
    what: str,
    total: int | None = None,
    unit: str = "it",
    threads: bool = False,
    on_gpu: bool = False,
) -> Iterator[Result]:
    """Runs `function` over `tasks` in workers and yields the results in the order of the tasks.

    Tasks are taken and results handed on a block at a time, so that memory does not grow with the number of tasks and a
    slow consumer holds the workers back. The first task that raises ends the whole, with its error. Functions and tasks
    are picklable; these may come from a generator, which runs in this thread.

    Workers are processes of this machine, which end with this one however it ends, or, within
    `unets.workers.cluster.use_cluster`, those of a cluster; with `threads` always threads of this process: for cv2's
    work on arrays that are shared. There are as many as the `use_jobs` around the caller says, or one a core; 1 runs in
    this process, a cluster has its own number. With `on_gpu` tasks train or predict: of a cluster, workers that have a
    GPU take them, one at a time. The progress bar says `what`, and calls a task `unit`; `total` is how many there are,
    where `tasks` has no length.
    """
    total = len(tasks) if isinstance(tasks, Sized) else total
    cluster = None if threads else find_cluster()
    if cluster is not None:
        results = cluster.run(partial(_run_task, function, None), tasks, what=what, on_gpu=on_gpu)
    else:
        jobs = _jobs.get() or count_cores()
        jobs = jobs if total is None else min(jobs, max(total, 1))
        results = _run_blocks(function, tasks, jobs, threads)
    return show_progress(results, what=what, total=total, unit=unit)


def map_ahead(
    function: Callable[[Task], Result], tasks: Iterable[Task], *, workers: int, ahead: int
) -> Iterator[Result]:
    """Maps `function` over `tasks` in threads, in order, at most `ahead` results before those that are worked at.

    `tasks`, which may be endless, is drawn from the consumer's thread and no faster than it consumes. So stages can be
    chained: each works ahead of the next within its own bound, and memory stays flat.
    """
    with ThreadPoolExecutor(workers) as pool:
        under_way: deque[Future[Result]] = deque()
        try:
            for task in tasks:
                under_way.append(pool.submit(function, task))
                while len(under_way) > workers + ahead:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()


def _run_blocks(
    function: Callable[[Task], Result], tasks: Iterable[Task], jobs: int, threads: bool
) -> Iterator[Result]:
    pending, backend = iter(tasks), "threading" if threads else "loky"
    run = partial(_run_task, function, os.getpid())
    with Parallel(n_jobs=jobs, return_as="generator", pre_dispatch="2*n_jobs", batch_size=1, backend=backend) as pool:
        # Blocks, because joblib's generator starts task after task however slow its consumer: all of 200 had run
        # three seconds after the first result was taken, and their results lay in memory.
        try:
            while block := list(islice(pending, _BLOCK * jobs)):
                yield from pool(delayed(run)(task) for task in block)
        except BrokenProcessPool as error:  # joblib's own error of a worker that died is one
            raise InputError(
                "All worker processes must live until their tasks are done. Received: one that was killed, as from a "
                "lack of memory; what was finished is kept. Fewer --jobs take less"
            ) from error


def _run_task(function: Callable[[Task], Result], parent: int | None, task: Task) -> Result:
    if parent not in (None, os.getpid()):
        _follow()
    # glibc hands every large array back to the system when it is freed, until it has seen one of this size freed: then
    # it keeps them. A full-size float map is 10 MB, and its pages cost more than the arithmetic: a worker scores 16
    # images, two maps each, in 0.23 s in place of 0.50. The array itself is never touched.
    np.empty(_LARGE_BYTES, dtype=np.uint8)
    return function(task)


@cache  # once a process
def _follow() -> None:
    """Ends this worker soon after its parent: joblib's would wait five minutes for another task."""
    end_with_parent(os.getppid())
