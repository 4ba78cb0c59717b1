"""The suite's budget: a few fixed examples where tests run, many random ones by `make fuzz` (FUZZ_EXAMPLES=)."""

import os
import resource
from collections.abc import Iterator

import psutil
import pytest
from hypothesis import HealthCheck, settings

NUM_EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))

_SLOW = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
settings.register_profile(
    "fuzz",
    deadline=None,
    max_examples=NUM_EXAMPLES or 12,
    derandomize=not NUM_EXAMPLES,
    database=None,
    suppress_health_check=_SLOW,
)


@pytest.fixture(autouse=True)
def _little_memory() -> Iterator[None]:
    """What asks for much more memory than it may gets none, in place of the machine's last."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + 4 * 2**30, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)
