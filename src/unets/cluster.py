"""A Dask cluster that the user started: its workers take tasks in place of this machine's processes.

    with use_cluster("tcp://scheduler:8786", input_dir=..., models_dir=...):
        ...  # every `run_tasks` in here, but those whose tasks share memory, goes to the workers

Workers import this package and read and write the same folders, so both are compared with ours before anything runs.
"""

import logging
import os
import traceback
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import count, islice
from pathlib import Path
from typing import Any, TypeVar

from unets.errors import InputError
from unets.origin import list_versions
from unets.runs import fingerprint, hash_file

logger = logging.getLogger(__name__)

Task = TypeVar("Task")
Result = TypeVar("Result")

_AHEAD = 4  # tasks a thread of the cluster that may be finished before the first of them is taken
_CONNECT_SECONDS = 20.0
_PATIENCE_SECONDS = 30.0  # without a result, after which it is asked whether there are workers at all
_GPU = "GPU"  # the resource that a worker with a GPU is started with


@dataclass(frozen=True, kw_only=True, slots=True)
class _Outcome:
    """What became of a task: its result, or its own error. That comes back as data, because an error that Dask itself
    raises means that the cluster failed, not the task.
    """

    host: str
    result: Any = None
    error: InputError | OSError | None = None
    trace: str = ""  # of any other error, as text: not every exception can be pickled


@dataclass(frozen=True, kw_only=True, slots=True)
class _Worker:
    """What a worker says of itself."""

    host: str
    source: str  # fingerprint of the package's files
    versions: dict[str, str]  # of the libraries that results depend on
    lacks: tuple[str, ...]  # folders and files that it does not see


class Cluster:
    """A connection to the scheduler, made when the first tasks come."""

    def __init__(self, address: str, input_dir: Path, models_dir: Path) -> None:
        """Connects to nobody yet; see `use_cluster` for the arguments."""
        self._address, self._input_dir, self._models_dir = address, input_dir, models_dir
        self._has_used_gpus = False

    @cached_property
    def _client(self) -> Any:  # a `distributed.Client`, whose types are not at hand where it is not installed
        client = _connect(self._address)
        try:
            self._check_workers(client)
        except BaseException:
            client.close()
            raise
        return client

    def close(self) -> None:
        """Ends the connection, if there is one.

        Workers that trained or predicted are started anew: TensorFlow keeps a GPU's memory for as long as its process
        lives, and the next stage may need it for another.
        """
        if "_client" not in self.__dict__:
            return
        if self._has_used_gpus:
            with suppress(OSError, ValueError):  # the scheduler is gone; a worker without a nanny, who starts it anew
                self._client.restart_workers(list(self._find_gpus()), raise_for_error=False)
        self._client.close()

    def run(
        self, function: Callable[[Task], Result], tasks: Iterable[Task], *, what: str, on_gpu: bool = False
    ) -> Iterator[Result]:
        """Runs `function` over `tasks` on the workers and yields the results in the order of the tasks.

        A few tasks a thread are under way beyond the one that is taken next. What a dead worker was at is done again by
        others. joblib has a backend for Dask too, but it waits for ever where a task kills one worker after the other
        (joblib 1.6, distributed 2026.8), and lays large arguments down on workers, with which they die.

        Args:
            function: called once a task; picklable.
            tasks: picklable; drawn in this thread.
            what: a name for the tasks, which the cluster's dashboard shows.
            on_gpu: only workers started with `--resources GPU=1` take the tasks, one at a time.

        Raises:
            InputError: a task raised it, named with its host; or the cluster is gone, or a task killed its workers.
            OSError: a task raised it, named with its host.
            RuntimeError: a task raised anything else, with its traceback.
        """
        pending, under_way, numbers = iter(tasks), deque[Any](), count()
        name, resources = f"{what}-{uuid.uuid4().hex}", {_GPU: 1} if on_gpu and self.count_gpus() else None
        self._has_used_gpus |= on_gpu
        submit = partial(self._client.submit, _run_there, function, pure=False, resources=resources)
        with _explain_loss():
            try:
                while True:
                    free = _AHEAD * self._count_threads() - len(under_way)
                    drawn = islice(pending, max(free, 1))
                    under_way.extend(submit(task, key=f"{name}-{next(numbers)}") for task in drawn)
                    if not under_way:
                        return
                    yield _take(self._wait(under_way[0]))
                    under_way.popleft()
            finally:
                self._client.cancel(list(under_way))

    def _check_workers(self, client: Any) -> None:
        """Checks that all workers have our code and libraries and see our folders."""
        self._models_dir.mkdir(parents=True, exist_ok=True)
        # A folder of that name may be another one there: only a file made this moment tells.
        probe = self._models_dir / f".cluster-{uuid.uuid4().hex}"
        probe.touch()
        try:
            seen = [str(path) for path in (self._input_dir, probe) if path.exists()]
            ours, found = _describe(seen), client.run(_describe, seen, on_error="return")
        finally:
            probe.unlink()
        for address, worker in found.items():
            if not isinstance(worker, _Worker):
                raise InputError(
                    f"each worker must import this package: start it with the `dask` of its .venv. "
                    f"Received: {type(worker).__name__}: {worker} (on {address})"
                )
            if worker.lacks:
                lost = self._models_dir if worker.lacks[0] == str(probe) else worker.lacks[0]
                raise InputError(f"{worker.host} must see the folder {lost} that we see. Received: no or another one")
            if worker.source != ours.source:
                raise InputError(f"{worker.host} must have our code. Received: other files of this package")
            for library, version in ours.versions.items():
                if worker.versions.get(library) != version:
                    received = worker.versions.get(library, "none")
                    raise InputError(f"{worker.host} must have {library} {version}, as we have. Received: {received}")
        hosts = ", ".join(sorted({worker.host for worker in found.values()}))
        logger.info("cluster: %d workers with %d threads on %s", len(found), sum(client.nthreads().values()), hosts)

    def _count_threads(self) -> int:
        return sum(self._client.nthreads().values())

    def count_gpus(self) -> int:
        """Returns how many tasks that train or predict can be at work: a worker takes as many as it says, usually one.

        Raises:
            InputError: no worker takes any, or one was started for another of Keras's backends than we have.
        """
        gpus = self._find_gpus()
        if not gpus:
            raise InputError(
                f"`CLUSTER` must have workers that train and predict, one a GPU: start them with --resources {_GPU}=1. "
                f"Received: {self._address}, whose workers were started without"
            )
        ours, found = _find_backend(), self._client.run(_find_backend, workers=list(gpus))
        for address, backend in found.items():
            if backend != ours:
                raise InputError(f"{address} must be started with KERAS_BACKEND={ours}. Received: {backend}")
        return sum(gpus.values())

    def _find_gpus(self) -> dict[str, int]:
        """Returns how many such tasks each worker takes at a time, by its address."""
        workers = self._client.scheduler_info(n_workers=-1)["workers"]
        gpus = {address: int(worker.get("resources", {}).get(_GPU, 0)) for address, worker in workers.items()}
        return {address: number for address, number in gpus.items() if number}

    def _wait(self, future: Any) -> _Outcome:
        while True:
            try:
                outcome: _Outcome = future.result(timeout=_PATIENCE_SECONDS)
                return outcome
            except TimeoutError:
                if not self._count_threads():
                    logger.warning("cluster: no worker is left; waiting for one")


_cluster: ContextVar[Cluster | None] = ContextVar("cluster", default=None)


def find_cluster() -> Cluster | None:
    """Returns the cluster of the `use_cluster` around the caller; None where tasks stay on this machine."""
    return _cluster.get()


@contextmanager
def use_cluster(address: str, *, input_dir: Path, models_dir: Path) -> Iterator[None]:
    """Sends the tasks of the block to a Dask cluster.

    The first of them may find that there is none (InputError): Dask is not installed, nobody answers, there are no
    workers, or one of them has other code or libraries, or does not see the folders.

    Args:
        address: of the scheduler, as tcp://host:8786.
        input_dir: absolute; workers must see it if we do.
        models_dir: absolute; made where it is missing, and workers must see it.
    """
    cluster = Cluster(address, input_dir, models_dir)
    token = _cluster.set(cluster)
    try:
        yield
    finally:
        _cluster.reset(token)
        cluster.close()


def _connect(address: str) -> Any:
    """Returns a client of a scheduler that has workers."""
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        raise InputError(
            f"`CLUSTER` must be left out where Dask is not installed: pip install -r requirements-cluster.txt. "
            f"Received: {address}, and {error}"
        ) from error
    try:
        client = Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"`CLUSTER` must be the address of a running `dask scheduler`, as tcp://host:8786. "
            f"Received: {address} ({error})"
        ) from error
    try:
        client.wait_for_workers(1, timeout=_CONNECT_SECONDS)
    except TimeoutError as error:
        client.close()
        raise InputError(
            f"`CLUSTER` must have workers: start `dask worker {address}`. Received: a scheduler without any"
        ) from error
    return client


@contextmanager
def _explain_loss() -> Iterator[None]:
    """Says in our words that the cluster, not a task, has failed."""
    from concurrent.futures import CancelledError

    from distributed import KilledWorker
    from distributed.comm import CommClosedError

    try:
        yield
    except KilledWorker as error:
        raise InputError(
            f"a task must leave its worker alive. Received: {error.allowed_failures + 1} workers died of one, as from "
            f"a lack of memory; their logs say more"
        ) from error
    except (CancelledError, CommClosedError) as error:
        raise InputError(
            "`CLUSTER` must keep running. Received: the scheduler is gone; what was finished is kept, the same command "
            "goes on"
        ) from error


def _run_there(function: Callable[[Task], Any], task: Task) -> _Outcome:
    """Runs a task, on the worker."""
    host = os.uname().nodename
    try:
        return _Outcome(host=host, result=function(task))
    except InputError as error:
        return _Outcome(host=host, error=InputError(str(error)))
    except OSError as error:
        return _Outcome(host=host, error=OSError(error.errno, error.strerror or str(error), error.filename))
    except Exception:
        return _Outcome(host=host, trace=traceback.format_exc())


def _take(outcome: _Outcome) -> Any:
    """Returns a task's result, or raises its error with the host's name."""
    host, error = outcome.host, outcome.error
    if isinstance(error, InputError):
        raise InputError(f"{host}: {error}")
    if error is not None:
        raise OSError(error.errno, f"{error.strerror} on {host}", error.filename)
    if outcome.trace:
        raise RuntimeError(f"a task failed on {host}:\n{outcome.trace}")
    return outcome.result


def _find_backend() -> str:
    """Returns which backend a training in this process would have, without loading it."""
    return os.environ.get("KERAS_BACKEND", "tensorflow")


def _describe(paths: list[str]) -> _Worker:
    """Describes the process that calls it."""
    root = Path(__file__).parent
    files = {path.relative_to(root).as_posix(): hash_file(path) for path in sorted(root.rglob("*.py"))}
    return _Worker(
        host=os.uname().nodename,
        source=fingerprint(files=files),
        versions=list_versions(),
        lacks=tuple(path for path in paths if not Path(path).exists()),
    )
