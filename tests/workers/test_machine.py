import resource
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from unets.workers.machine import find_free_memory


def test_a_container_s_file_cache_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(names: dict[str, str]) -> None:
        for name, content in names.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(content)

    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    assert find_free_memory(tmp_path, tmp_path / "own") == 1000  # no container
    stat = "anon 500\ninactive_file 150\nactive_file 50\ninactive_anon 7\n"
    write({"memory.max": "max\n", "memory.current": "700\n", "memory.stat": stat})
    assert find_free_memory(tmp_path, tmp_path / "own") == 1000  # no limit
    write({"memory.max": "800\n"})
    assert find_free_memory(tmp_path, tmp_path / "own") == 800 - 700 + 150 + 50
    write({"memory.max": "400\n"})
    assert find_free_memory(tmp_path, tmp_path / "own") == 0  # the limit was lowered below what is used
    write({"memory.max": "8000\n"})
    assert find_free_memory(tmp_path, tmp_path / "own") == 1000  # the machine has no more
    first = {"limit_in_bytes": "600\n", "usage_in_bytes": "500\n"}
    write({f"memory/memory.{name}": content for name, content in first.items()})
    write({"memory/memory.stat": "inactive_file 1\ntotal_inactive_file 20\ntotal_active_file 3\n"})
    assert find_free_memory(tmp_path, tmp_path / "own") == 600 - 500 + 20 + 3
    # A job's own group, deeper than what a container shows as the uppermost; the limit of one above it holds too.
    write({"own": "4:cpu,memory:/slurm/job_7/step_0\n0::/slice/unit\n"})
    write({f"memory/slurm/job_7/memory.{name}": content for name, content in first.items()})
    write({"memory/slurm/job_7/memory.limit_in_bytes": "550\n", "memory/slurm/job_7/memory.stat": ""})
    assert find_free_memory(tmp_path, tmp_path / "own") == 50
    write({"slice/unit/memory.max": "90\n", "slice/unit/memory.current": "50\n", "slice/unit/memory.stat": ""})
    assert find_free_memory(tmp_path, tmp_path / "own") == 40


def test_a_limit_of_the_shell_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    own = psutil.Process().memory_info().vms
    monkeypatch.setattr(resource, "getrlimit", lambda _: (own + 2**30, own + 2**30))
    assert 0.9 * 2**30 < find_free_memory() < 1.1 * 2**30
