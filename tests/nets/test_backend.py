"""What the backend is asked for one device; several are tested in tests/training/test_data_parallel.py, by training."""

from types import SimpleNamespace

import keras
import pytest

from unets.errors import InputError
from unets.nets import backend


def test_one_device_takes_any_batch() -> None:
    backend.check_data_parallel(3)
    with backend.data_parallel():
        assert backend.count_replicas() == 1


def test_several_devices_share_equal_parts_on_jax_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: [f"gpu:{index}" for index in range(4)])
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    backend.check_data_parallel(8)
    with pytest.raises(InputError, match=r"must be a multiple of the 4 devices .* Received: 6"):
        backend.check_data_parallel(6)
    monkeypatch.setattr(keras.backend, "backend", lambda: "tensorflow")
    with pytest.raises(InputError, match=r"`KERAS_BACKEND` must be jax for --data-parallel over 4 devices"):
        backend.check_data_parallel(8)


def test_the_order_of_sums_is_fixed_or_it_is_told_how(monkeypatch: pytest.MonkeyPatch) -> None:
    tf, _ = pytest.importorskip("tensorflow"), pytest.importorskip("jax")
    calls: list[int] = []
    # Not for real: it would hold for all tests to come. tests/training/test_resume.py does, in a process of its own.
    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: calls.append(1))
    monkeypatch.setattr("keras.backend.backend", lambda: "tensorflow")
    backend.fix_order()
    assert calls == [1]
    monkeypatch.setattr("keras.backend.backend", lambda: "jax")
    gpu = SimpleNamespace(platform="gpu", device_kind="a GPU", compute_capability="9.0")
    for devices, flags in (([], ""), ([gpu], "--xla_dump_to=a --xla_gpu_deterministic_ops=true")):
        monkeypatch.setattr("jax.devices", lambda devices=devices: devices)
        monkeypatch.setenv("XLA_FLAGS", flags)
        backend.fix_order()
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=a")
    with pytest.raises(InputError, match=r"`XLA_FLAGS` must hold --xla_gpu_deterministic_ops=true .*'--xla_dump_to=a'"):
        backend.fix_order()
    assert calls == [1]
