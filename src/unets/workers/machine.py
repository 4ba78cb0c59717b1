"""What this process may take of its machine: cores and memory; and its end with the process that started it."""

import os
import signal
import time
from pathlib import Path
from threading import Thread

import psutil

_CGROUPS = Path("/sys/fs/cgroup")
# Limit, use and statistics of a container's memory, as cgroup v2 and v1 name them, and the prefix of v1's sums.
_CGROUP_FILES = (
    ("memory.max", "memory.current", "memory.stat", ""),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_"),
)


def count_cores() -> int:
    """Returns the number of cores this process may use (a container's share, not the host's)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def find_free_memory(cgroups: Path = _CGROUPS) -> int:
    """Returns the bytes of memory that are free now, within a container's limit where there is one.

    A container's use counts the files that it has read; the kernel gives that cache back before it refuses memory. In
    the folder `cgroups` the kernel shows control groups.
    """
    free = int(psutil.virtual_memory().available)
    for limit, used, stat, prefix in _CGROUP_FILES:
        if not all((cgroups / name).exists() for name in (limit, used, stat)):
            continue
        words = (cgroups / limit).read_text().strip()
        if words.isdecimal():  # v2 says "max" where there is none; v1 a number that no machine has
            counts = dict(line.split() for line in (cgroups / stat).read_text().splitlines())
            cached = sum(int(counts.get(f"{prefix}{kind}_file", 0)) for kind in ("inactive", "active"))
            free = min(free, int(words) - int((cgroups / used).read_text()) + cached)
    return max(free, 0)


def end_with_parent(parent: int) -> None:
    """Ends this process, and those of its group, within half a second of the end of its parent, however that ends."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    Thread(target=watch, daemon=True).start()
