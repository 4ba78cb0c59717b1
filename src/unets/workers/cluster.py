"""A Dask cluster that the user started: its workers take tasks in place of this machine's processes.

    with use_cluster("tcp://scheduler:8786", input_dir=..., models_dir=...):
        ...  # every `run_tasks` in here, but those whose tasks share memory, goes to the workers

Workers import this package and read and write the same folders. So each compares its code, libraries and folders with
ours before it does a task, whenever it joined, and refuses the task where they differ.
"""

import os
import traceback
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache, cached_property, partial
from itertools import count, islice
from logging import getLogger
from pathlib import Path
from typing import Any, TypeVar

from unets.errors import InputError
from unets.store.provenance import list_versions
from unets.store.runs import fingerprint, hash_file

logger = getLogger(__name__)

Task = TypeVar("Task")
Result = TypeVar("Result")
Pairs = tuple[tuple[str, str], ...]

_AHEAD = 4  # tasks a thread of the cluster that may be finished before the first of them is taken
_GPU = "GPU"  # the resource that a worker with a GPU is started with
_CODE, _BACKEND = "code", "KERAS_BACKEND"


class Cluster:
    """A connection to the scheduler, made when the first tasks come.

    `address` is as tcp://host:8786. Workers must see the folders as we do: `input_dir`, if it is there, and
    `models_dir`, which is made; both are absolute. For the scheduler and its first worker `connect_s` seconds are
    waited; after `patience_s` without a result it is asked whether there are workers at all.
    """

    def __init__(
        self, address: str, input_dir: Path, models_dir: Path, connect_s: float = 20.0, patience_s: float = 30.0
    ) -> None:
        self._address, self._input_dir, self._models_dir = address, input_dir, models_dir
        self._connect_s, self._patience_s = connect_s, patience_s
        # A folder of that name may be another one there: only a file made for this connection tells.
        self._probe = models_dir / f".cluster-{uuid.uuid4().hex}"
        self._has_used_gpus = False

    @cached_property
    def _client(self) -> Any:  # a `distributed.Client`, whose types are not at hand where it is not installed
        try:
            from distributed import Client

            client = Client(self._address, timeout=self._connect_s, set_as_default=False)
        except ModuleNotFoundError as error:
            raise InputError(
                f"`--cluster` must be left out where Dask is not installed: pip install '.[cluster]'. "
                f"Received: {self._address}, and {error}"
            ) from error
        except (OSError, ValueError) as error:
            raise InputError(
                f"`--cluster` must be the address of a running `dask scheduler`, as tcp://host:8786. "
                f"Received: {self._address} ({error})"
            ) from error
        try:
            self._check_workers(client)
        except BaseException:
            client.close()
            self._probe.unlink(missing_ok=True)
            raise
        return client

    def _check_workers(self, client: Any) -> None:
        try:
            client.wait_for_workers(1, timeout=self._connect_s)
        except TimeoutError as error:
            raise InputError(
                f"`--cluster` must have workers: start `dask worker {self._address}`. Received: a scheduler without any"
            ) from error
        self._probe.parent.mkdir(parents=True, exist_ok=True)
        self._probe.touch()
        faults = client.run(_find_fault, *self._terms, on_error="return")
        for address, fault in faults.items():
            if isinstance(fault, Exception) and not isinstance(fault, OSError):  # that of a worker which has left
                raise InputError(
                    f"each worker must import this package: start it with the `dask` of its .venv. "
                    f"Received: {type(fault).__name__}: {fault} (on {address})"
                )
            if isinstance(fault, str) and fault:
                raise InputError(fault)
        logger.info("cluster: %d workers with %d threads", len(faults), sum(client.nthreads().values()))

    @cached_property
    def _terms(self) -> tuple[Pairs, Pairs]:
        """What a worker must have as we have it; sent with every task, since workers may come at any time.

        (a path that it must see, the folder that this stands for); (code or a library, its version).
        """
        folders = [(str(self._input_dir), str(self._input_dir))] if self._input_dir.exists() else []
        return (*folders, (str(self._probe), str(self._models_dir))), _describe_package()

    def close(self) -> None:
        """Ends the connection, if there is one.

        Workers that trained or predicted are started again: TensorFlow keeps a GPU's memory for as long as its process
        lives, and the next stage may need it for another.
        """
        if "_client" not in self.__dict__:
            return
        if self._has_used_gpus:
            with suppress(OSError, ValueError):  # the scheduler is gone; a worker without a nanny, who starts it again
                self._client.restart_workers(list(self._list_slots(on_gpu=True)), raise_for_error=False)
        self._client.close()
        self._probe.unlink(missing_ok=True)

    def run(
        self, function: Callable[[Task], Result], tasks: Iterable[Task], *, what: str, on_gpu: bool = False
    ) -> Iterator[Result]:
        """Runs a picklable function over picklable tasks on the workers; yields the results in the order of the tasks.

        A few tasks a thread are under way beyond the one that is taken next. What a dead worker was at is done again by
        others. joblib has a backend for Dask too, but it waits for ever where a task kills one worker after the other
        (joblib 1.6, distributed 2026.8), and lays large arguments down on workers, with which they die.

        The cluster's dashboard calls the tasks `what`. With `on_gpu` only workers started with `--resources GPU=1` take
        them, one at a time.

        Raises:
            InputError: a task raised it, named with its host; or the cluster is gone, a task killed its workers, or a
                worker that joined meanwhile differs from us.
            OSError: a task raised it, named with its host.
            RuntimeError: a task raised anything else, with its traceback.
        """
        if on_gpu:
            self.count_gpus()
        self._has_used_gpus |= on_gpu
        pending, under_way, numbers = iter(tasks), deque[Any](), count()
        name, resources = f"{what}-{uuid.uuid4().hex}", {_GPU: 1} if on_gpu else None
        folders, versions = self._terms
        versions += ((_BACKEND, _find_backend()),) if on_gpu else ()
        submit = partial(
            self._client.submit, _run_there, function, (folders, versions), pure=False, resources=resources
        )
        try:
            while True:
                with _naming_loss():
                    free = _AHEAD * sum(self._list_slots(on_gpu=on_gpu).values()) - len(under_way)
                drawn = list(islice(pending, max(free, 1)))
                if not drawn and not under_way:
                    return
                with _naming_loss():
                    under_way.extend(submit(task, key=f"{name}-{next(numbers)}") for task in drawn)
                    result, error = self._wait(under_way[0], on_gpu=on_gpu)
                if error is not None:
                    raise error
                yield result
                under_way.popleft()
        finally:
            with suppress(OSError, RuntimeError):  # the scheduler is gone
                self._client.cancel(list(under_way))

    def count_gpus(self) -> int:
        """Returns how many tasks that train or predict can be at work: a worker takes as many as it says, usually one.

        Raises InputError where no worker takes any.
        """
        if number := sum(self._list_slots(on_gpu=True).values()):
            return number
        raise InputError(
            f"`--cluster` must have workers that train and predict, one a GPU: start them with --resources {_GPU}=1. "
            f"Received: {self._address}, whose workers were started without"
        )

    def _list_slots(self, *, on_gpu: bool) -> dict[str, int]:
        """Returns how many tasks each worker takes at a time, by its address."""
        if not on_gpu:
            return dict(self._client.nthreads())
        workers = self._client.scheduler_info(n_workers=-1)["workers"]
        gpus = {address: int(worker.get("resources", {}).get(_GPU, 0)) for address, worker in workers.items()}
        return {address: number for address, number in gpus.items() if number}

    def _wait(self, future: Any, *, on_gpu: bool) -> Any:
        while True:
            try:
                return future.result(timeout=self._patience_s)
            except TimeoutError:
                if not self._list_slots(on_gpu=on_gpu):
                    kind = f"worker with a GPU (--resources {_GPU}=1)" if on_gpu else "worker"
                    logger.warning("cluster: no %s is left; waiting for one", kind)


@contextmanager
def _naming_loss() -> Iterator[None]:
    """Says in words that tasks killed their workers, or that there is no cluster any more."""
    # Not before there is a connection, which says what to do where Dask is not installed.
    from concurrent.futures import CancelledError

    from distributed import KilledWorker

    try:
        yield
    except KilledWorker as error:
        raise InputError(
            f"a task must leave its worker alive. Received: {error.allowed_failures + 1} workers died of one, as "
            f"from a lack of memory, or where they cannot import this package; their logs say more"
        ) from error
    except (CancelledError, OSError, RuntimeError) as error:  # it does not answer, or the client has closed for that
        raise InputError(
            "`--cluster` must keep running. Received: the scheduler is gone; what was finished is kept, the same "
            "command goes on"
        ) from error


_cluster: ContextVar[Cluster | None] = ContextVar("cluster", default=None)


def find_cluster() -> Cluster | None:
    """Returns the cluster of the `use_cluster` around the caller; None where tasks stay on this machine."""
    return _cluster.get()


@contextmanager
def use_cluster(address: str, *, input_dir: Path, models_dir: Path, **seconds: float) -> Iterator[None]:
    """Sends the tasks of the block to a Dask cluster; see `Cluster` for the arguments.

    The first of them may find that there is none (InputError): Dask is not installed, nobody answers, there are no
    workers, or one of them has other code or libraries, or does not see the folders.
    """
    cluster = Cluster(address, input_dir, models_dir, **seconds)
    token = _cluster.set(cluster)
    try:
        yield
    finally:
        _cluster.reset(token)
        cluster.close()


def _run_there(
    function: Callable[[Task], Result], terms: tuple[Pairs, Pairs], task: Task
) -> tuple[Result | None, Exception | None]:
    """Runs a task, on the worker; returns its result, or its error with the host's name.

    The error comes back as data, because one that Dask itself raises means that the cluster failed, not the task; and
    not every exception can be pickled.
    """
    host = os.uname().nodename
    if fault := _find_fault(*terms):
        return None, InputError(fault)
    try:
        return function(task), None
    except InputError as error:
        return None, InputError(f"{host}: {error}")
    except OSError as error:
        return None, OSError(error.errno, f"{error.strerror or error} on {host}", error.filename)
    except Exception:
        return None, RuntimeError(f"a task failed on {host}:\n{traceback.format_exc()}")


@cache  # one connection's tasks have the same terms
def _find_fault(folders: Pairs, wanted: Pairs) -> str:
    """Returns what this worker has otherwise than it must, or nothing."""
    host, here = os.uname().nodename, {**dict(_describe_worker()), _BACKEND: _find_backend()}
    for path, folder in folders:
        if not Path(path).exists():
            return f"{host} must see the folder {folder} that we see. Received: no or another one"
    for key, value in wanted:
        if (received := here.get(key, "none")) == value:
            continue
        if key == _CODE:
            return f"{host} must have our code; start it again if it is older. Received: other files of this package"
        words = f"be started with {key}={value}" if key == _BACKEND else f"have {key} {value}, as we have"
        return f"{host} must {words}. Received: {received}"
    return ""


def _find_backend() -> str:
    """Returns which backend a training in this process would have, without loading it."""
    return os.environ.get(_BACKEND, "tensorflow")


def _describe_package() -> Pairs:
    """Returns the fingerprint of this package's files, and the versions of the libraries that results depend on."""
    root = Path(__file__).parents[1]
    files = {path.relative_to(root).as_posix(): hash_file(path) for path in sorted(root.rglob("*.py"))}
    return (_CODE, fingerprint(files=files)), *sorted(list_versions().items())


_describe_worker = cache(_describe_package)  # files that change later are not what a worker has loaded
