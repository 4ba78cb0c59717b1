"""A Dask cluster that the user started: its workers take tasks in place of this machine's processes.

    with use_cluster("tcp://scheduler:8786", input_dir=..., models_dir=...):
        ...  # every `run_tasks` in here, but those whose tasks share memory, goes to the workers

Workers import this package and read and write the same folders. So each compares its code, libraries and folders with
ours before it does a task, whenever it joined, and refuses the task where they differ.
"""

import asyncio
import logging
import os
import subprocess
import sys
import traceback
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from itertools import count, islice
from pathlib import Path
from typing import Any, TypeVar

from unets.errors import InputError
from unets.store.provenance import list_versions
from unets.store.runs import fingerprint, hash_file

logger = logging.getLogger(__name__)

Task = TypeVar("Task")
Result = TypeVar("Result")

_AHEAD = 4  # tasks a thread of the cluster that may be finished before the first of them is taken
_CONNECT_SECONDS = 20.0
_PATIENCE_SECONDS = 30.0  # without a result, after which it is asked whether there are workers at all
_GPU = "GPU"  # the resource that a worker with a GPU is started with

# In a process of its own: what is loaded here would keep a GPU's memory from the folds that a worker's children train.
_DESCRIBE = """
import keras
from unets.nets.backend import choose_precision, prefers_xla
xla = " with XLA" if prefers_xla() else ""
print(f"{keras.backend.backend()} in {choose_precision('auto')}{xla}")
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Terms:
    """What a worker must have as we have it. Sent with every task, since workers may come at any time."""

    source: str  # fingerprint of the package's files
    versions: tuple[tuple[str, str], ...]  # of the libraries that results depend on
    folders: tuple[tuple[str, str], ...]  # (a path that a worker must see, the folder that it stands for)
    arithmetic: tuple[str, str] | None = None  # (how nets are computed, a host that does so); None: no nets


class Cluster:
    """A connection to the scheduler, made when the first tasks come.

    Args:
        address: of the scheduler, as tcp://host:8786.
        input_dir: absolute; workers must see it if we do.
        models_dir: absolute; made where it is missing, and workers must see it.
    """

    def __init__(self, address: str, input_dir: Path, models_dir: Path) -> None:
        self._address, self._input_dir, self._models_dir = address, input_dir, models_dir
        # A folder of that name may be another one there: only a file made for this connection tells.
        self._probe = models_dir / f".cluster-{uuid.uuid4().hex}"
        self._has_used_gpus = False

    @cached_property
    def _client(self) -> Any:  # a `distributed.Client`, whose types are not at hand where it is not installed
        client = _connect(self._address)
        try:
            self._probe.parent.mkdir(parents=True, exist_ok=True)
            self._probe.touch()
            found = _ask(client, partial(_run_there, _name_host, self._terms, None))
            hosts = ", ".join(sorted({_take(outcome) for outcome in found.values()}))
            threads = sum(client.nthreads().values())
            logger.info("cluster: %d workers with %d threads on %s", len(found), threads, hosts)
        except BaseException:
            client.close()
            self._probe.unlink(missing_ok=True)
            raise
        return client

    @cached_property
    def _terms(self) -> _Terms:
        source, versions = _describe_package()
        folders = [(str(self._input_dir), str(self._input_dir))] if self._input_dir.exists() else []
        folders.append((str(self._probe), str(self._models_dir)))
        return _Terms(source=source, versions=versions, folders=tuple(folders))

    def close(self) -> None:
        """Ends the connection, if there is one.

        Workers that trained or predicted are started again: TensorFlow keeps a GPU's memory for as long as its process
        lives, and the next stage may need it for another.
        """
        if "_client" not in self.__dict__:
            return
        if self._has_used_gpus:
            with suppress(OSError, ValueError):  # the scheduler is gone; a worker without a nanny, who starts it again
                self._client.restart_workers(list(self._find_gpus()), raise_for_error=False)
        self._client.close()
        self._probe.unlink(missing_ok=True)

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
            InputError: a task raised it, named with its host; or the cluster is gone, a task killed its workers, or a
                worker that joined meanwhile differs from us.
            OSError: a task raised it, named with its host.
            RuntimeError: a task raised anything else, with its traceback.
        """
        pending, under_way, numbers = iter(tasks), deque[Any](), count()
        name, resources = f"{what}-{uuid.uuid4().hex}", {_GPU: 1} if on_gpu else None
        terms = replace(self._terms, arithmetic=self._compare_gpus()) if on_gpu else self._terms
        self._has_used_gpus |= on_gpu
        submit = partial(self._client.submit, _run_there, function, terms, pure=False, resources=resources)
        # Not before there is a connection, which says what to do where Dask is not installed.
        from concurrent.futures import CancelledError

        from distributed import KilledWorker
        from distributed.comm import CommClosedError

        try:
            while True:
                free = _AHEAD * self._count_slots(on_gpu=on_gpu) - len(under_way)
                drawn = islice(pending, max(free, 1))
                under_way.extend(submit(task, key=f"{name}-{next(numbers)}") for task in drawn)
                if not under_way:
                    return
                yield _take(self._wait(under_way[0], on_gpu=on_gpu))
                under_way.popleft()
        except KilledWorker as error:
            raise InputError(
                f"a task must leave its worker alive. Received: {error.allowed_failures + 1} workers died of one, as "
                f"from a lack of memory, or where they cannot import this package; their logs say more"
            ) from error
        except (CancelledError, CommClosedError) as error:
            raise InputError(
                "`--cluster` must keep running. Received: the scheduler is gone; what was finished is kept, the same "
                "command goes on"
            ) from error
        finally:
            self._client.cancel(list(under_way))

    def count_gpus(self) -> int:
        """Returns how many tasks that train or predict can be at work: a worker takes as many as it says, usually one.

        Raises:
            InputError: no worker takes any, one was started for another of Keras's backends than we have, or two would
                compute in different ways.
        """
        self._compare_gpus()
        return self._count_slots(on_gpu=True)

    def _count_slots(self, *, on_gpu: bool) -> int:
        """Returns how many tasks can be at work at once."""
        return sum((self._find_gpus() if on_gpu else self._client.nthreads()).values())

    def _compare_gpus(self) -> tuple[str, str]:
        """Returns how all workers with a GPU compute, and the host of one; see `count_gpus`."""
        while gpus := list(self._find_gpus()):
            found = list(_ask(self._client, partial(_describe_aside, _find_backend()), gpus).values())
            for other in found:
                if other[0] != found[0][0]:
                    raise InputError(_explain_difference(found[0], other))
            if found:  # else all were lost meanwhile
                return tuple(found[0])
        raise InputError(
            f"`--cluster` must have workers that train and predict, one a GPU: start them with --resources {_GPU}=1. "
            f"Received: {self._address}, whose workers were started without"
        )

    def _find_gpus(self) -> dict[str, int]:
        """Returns how many such tasks each worker takes at a time, by its address."""
        workers = self._client.scheduler_info(n_workers=-1)["workers"]
        gpus = {address: int(worker.get("resources", {}).get(_GPU, 0)) for address, worker in workers.items()}
        return {address: number for address, number in gpus.items() if number}

    def _wait(self, future: Any, *, on_gpu: bool) -> Any:
        while True:
            try:
                return future.result(timeout=_PATIENCE_SECONDS)
            except TimeoutError:
                if not self._count_slots(on_gpu=on_gpu):
                    kind = f"worker with a GPU (--resources {_GPU}=1)" if on_gpu else "worker"
                    logger.warning("cluster: no %s is left; waiting for one", kind)


_cluster: ContextVar[Cluster | None] = ContextVar("cluster", default=None)


def find_cluster() -> Cluster | None:
    """Returns the cluster of the `use_cluster` around the caller; None where tasks stay on this machine."""
    return _cluster.get()


@contextmanager
def use_cluster(address: str, *, input_dir: Path, models_dir: Path) -> Iterator[None]:
    """Sends the tasks of the block to a Dask cluster; see `Cluster` for the arguments.

    The first of them may find that there is none (InputError): Dask is not installed, nobody answers, there are no
    workers, or one of them has other code or libraries, or does not see the folders.
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
            f"`--cluster` must be left out where Dask is not installed: pip install 'unets[cluster]'. "
            f"Received: {address}, and {error}"
        ) from error
    try:
        client = Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"`--cluster` must be the address of a running `dask scheduler`, as tcp://host:8786. "
            f"Received: {address} ({error})"
        ) from error
    try:
        client.wait_for_workers(1, timeout=_CONNECT_SECONDS)
    except TimeoutError as error:
        client.close()
        raise InputError(
            f"`--cluster` must have workers: start `dask worker {address}`. Received: a scheduler without any"
        ) from error
    return client


def _ask(client: Any, function: Callable[[], Any], workers: list[str] | None = None) -> dict[str, Any]:
    """Returns what each worker (None: of all) answers, by its address; those that are lost meanwhile are left out.

    Raises:
        InputError: a worker raised it, or cannot import this package.
    """
    answers = {}
    for address, answer in client.run(function, workers=workers, on_error="return").items():
        if isinstance(answer, InputError):
            raise answer
        if isinstance(answer, Exception) and not isinstance(answer, OSError):
            raise InputError(
                f"each worker must import this package: start it with the `dask` of its .venv. "
                f"Received: {type(answer).__name__}: {answer} (on {address})"
            )
        if not isinstance(answer, OSError):  # that of a connection to a worker which has left
            answers[address] = answer
    return answers


def _run_there(function: Callable[[Task], Result], terms: _Terms, task: Task) -> tuple[Result | None, Exception | None]:
    """Runs a task, on the worker; returns its result, or its error with the host's name.

    The error comes back as data, because one that Dask itself raises means that the cluster failed, not the task; and
    not every exception can be pickled.
    """
    host = os.uname().nodename
    if fault := _find_fault(terms):
        return None, InputError(fault)
    try:
        return function(task), None
    except InputError as error:
        return None, InputError(f"{host}: {error}")
    except OSError as error:
        return None, OSError(error.errno, f"{error.strerror or error} on {host}", error.filename)
    except Exception:
        return None, RuntimeError(f"a task failed on {host}:\n{traceback.format_exc()}")


def _name_host(task: None) -> str:
    """A task for a worker that is only to be compared."""
    return os.uname().nodename


def _take(outcome: tuple[Any, Exception | None]) -> Any:
    """Returns a task's result, or raises its error."""
    result, error = outcome
    if error is not None:
        raise error
    return result


@cache  # one connection's tasks have the same terms
def _find_fault(terms: _Terms) -> str:
    """Returns what this worker has otherwise than it must, or nothing."""
    host = _name_host(None)
    for path, folder in terms.folders:
        if not Path(path).exists():
            return f"{host} must see the folder {folder} that we see. Received: no or another one"
    source, versions = _describe_worker()
    if source != terms.source:
        return f"{host} must have our code; start it again if it is older. Received: other files of this package"
    for library, version in terms.versions:
        if (received := dict(versions).get(library, "none")) != version:
            return f"{host} must have {library} {version}, as we have. Received: {received}"
    if terms.arithmetic is not None and (ours := _describe_arithmetic())[0] != terms.arithmetic[0]:
        return _explain_difference(terms.arithmetic, ours)
    return ""


def _explain_difference(one: tuple[str, str], other: tuple[str, str]) -> str:
    return (
        f"all workers with a GPU must compute in one way, or their maps would be mixed: leave out --resources {_GPU}=1 "
        f"where cards are of another kind. Received: {' on '.join(one)}, {' on '.join(other)}"
    )


def _find_backend() -> str:
    """Returns which backend a training in this process would have, without loading it."""
    return os.environ.get("KERAS_BACKEND", "tensorflow")


async def _describe_aside(wanted: str) -> tuple[str, str]:
    """Describes a worker's arithmetic in a thread, so that it can go on answering the scheduler.

    Raises:
        InputError: the worker has another backend than `wanted`, or cannot load it.
    """
    if (received := _find_backend()) != wanted:
        raise InputError(f"{_name_host(None)} must be started with KERAS_BACKEND={wanted}. Received: {received}")
    return await asyncio.to_thread(_describe_arithmetic)


@cache  # some seconds, in which the backend is loaded
def _describe_arithmetic() -> tuple[str, str]:
    """Returns (how this worker computes nets where the config leaves it open, the host).

    Raises:
        InputError: the backend cannot be loaded.
    """
    host, backend = _name_host(None), _find_backend()
    # JAX would take most of a GPU's memory, which this worker may have taken already.
    environment = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    done = subprocess.run(
        [sys.executable, "-c", _DESCRIBE], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        received = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise InputError(f"{host} must load {backend}. Received: {received}")
    return done.stdout.splitlines()[-1], host


def _describe_package() -> tuple[str, tuple[tuple[str, str], ...]]:
    """Returns (fingerprint of this package's files, versions of the libraries that results depend on)."""
    root = Path(__file__).parents[1]
    files = {path.relative_to(root).as_posix(): hash_file(path) for path in sorted(root.rglob("*.py"))}
    return fingerprint(files=files), tuple(sorted(list_versions().items()))


_describe_worker = cache(_describe_package)  # files that change later are not what a worker has loaded
