"""What this process may take of its machine: cores, memory, GPUs; and its end with the process that started it."""

import math
import os
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path
from threading import Thread

import psutil

_CGROUPS = Path("/sys/fs/cgroup")
# Limit, use and statistics of a control group's memory, as cgroup v2 and v1 name them, and the prefix of v1's sums.
_CGROUP_FILES = (
    ("memory.max", "memory.current", "memory.stat", ""),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat", "total_"),
)


def count_cores() -> int:
    """Returns the number of cores this process may use (a container's share, not the host's)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ask_driver(*arguments: str) -> str:
    """Returns what `nvidia-smi` says of this machine's GPUs, none of which it touches; nothing where there is none.

    Where one of several GPUs is lost, it fails, but has told of the others.
    """
    if (program := shutil.which("nvidia-smi")) is None:
        return ""
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False).stdout


def find_free_memory(cgroups: Path = _CGROUPS, membership: Path = Path("/proc/self/cgroup")) -> int:
    """Returns the bytes of memory that are free now, within the limits of containers, jobs and `ulimit -v`.

    A container's use counts the files that it has read; the kernel gives that cache back before it refuses memory. In
    the folder `cgroups` the kernel shows control groups, in `membership` that of this process: limits of all above it
    hold too, as those of a job of Slurm or of systemd. A container sees its own group as the uppermost.
    """
    free = int(psutil.virtual_memory().available)
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        free = min(free, limit - psutil.Process().memory_info().vms)
    lines = membership.read_text().splitlines() if membership.exists() else []
    groups = {kinds: path.strip("/") for _, kinds, path in (line.split(":", 2) for line in lines)}
    v1 = next((path for kinds, path in groups.items() if "memory" in kinds.split(",")), "")
    for root, path in ((cgroups, groups.get("", "")), (cgroups / "memory", v1)):
        for folder in (root / path, *(root / above for above in Path(path).parents)):
            free = int(min(free, *(_find_free_of_group(folder, *names) for names in _CGROUP_FILES)))
    return max(free, 0)


def _find_free_of_group(folder: Path, limit: str, used: str, stat: str, prefix: str) -> float:
    """Returns the bytes that a control group may still take; infinity where it has no limit."""
    if not all((folder / name).exists() for name in (limit, used, stat)):
        return math.inf
    words = (folder / limit).read_text().strip()
    if not words.isdecimal():  # v2 says "max" where there is none; v1 a number that no machine has
        return math.inf
    counts = dict(line.split() for line in (folder / stat).read_text().splitlines())
    cached = sum(int(counts.get(f"{prefix}{kind}_file", 0)) for kind in ("inactive", "active"))
    return int(words) - int((folder / used).read_text()) + cached


def end_with_parent(parent: int) -> None:
    """Ends this process, and those of its group, within half a second of the end of its parent, however that ends."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    Thread(target=watch, daemon=True).start()
