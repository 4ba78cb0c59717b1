from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from unets.workers.machine import find_free_memory


def test_a_container_s_file_cache_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(names: dict[str, str]) -> None:
        for name, content in names.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(content)

    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    assert find_free_memory(tmp_path) == 1000  # no container
    stat = "anon 500\ninactive_file 150\nactive_file 50\ninactive_anon 7\n"
    write({"memory.max": "max\n", "memory.current": "700\n", "memory.stat": stat})
    assert find_free_memory(tmp_path) == 1000  # no limit
    write({"memory.max": "800\n"})
    assert find_free_memory(tmp_path) == 800 - 700 + 150 + 50
    write({"memory.max": "400\n"})
    assert find_free_memory(tmp_path) == 0  # the limit was lowered below what is used
    write({"memory.max": "8000\n"})
    assert find_free_memory(tmp_path) == 1000  # the machine has no more
    first = {"limit_in_bytes": "600\n", "usage_in_bytes": "500\n"}
    write({f"memory/memory.{name}": content for name, content in first.items()})
    write({"memory/memory.stat": "inactive_file 1\ntotal_inactive_file 20\ntotal_active_file 3\n"})
    assert find_free_memory(tmp_path) == 600 - 500 + 20 + 3
