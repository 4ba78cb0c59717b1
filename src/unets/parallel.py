"""One way to spread independent tasks over workers."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from joblib import Parallel, delayed

from unets.log import show_progress

Task = TypeVar("Task")
Result = TypeVar("Result")


def count_cores() -> int:
    """Returns the number of cores this process may use (a container's share, not the host's)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_tasks(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    *,
    what: str,
    jobs: int | None = None,
    unit: str = "it",
) -> Iterator[Result]:
    """Runs `function` over `tasks` in worker processes and yields the results in the order of the tasks.

    Results are handed on as they come, so that memory does not grow with the number of tasks; the consumer's speed
    holds the workers back. The first task that raises ends the whole, with its error.

    Args:
        function: picklable; called once a task.
        tasks: picklable.
        what: the words before the progress bar.
        jobs: worker processes; None is one a core, 1 runs in this process.
        unit: what a task is called in the progress bar.
    """
    jobs = min(jobs or count_cores(), max(len(tasks), 1))
    runner = Parallel(n_jobs=jobs, return_as="generator", pre_dispatch="2*n_jobs", batch_size=1)
    results = runner(delayed(function)(task) for task in tasks)
    return show_progress(results, what=what, total=len(tasks), unit=unit)
