"""The one place that asks which backend and device computes, and the only one that names TensorFlow or JAX."""

import os
import platform
from pathlib import Path
from typing import Any

import keras


def choose_precision(wanted: str) -> str:
    """Resolves `auto` to the fastest policy that the device computes in hardware.

    NVIDIA cards from Ampere on and CPUs with AVX512-BF16 or AMX take bfloat16 (1.4 to 1.7 times faster on such a CPU),
    older cards float16 with loss scaling; everything else stays at float32. On JAX, CPUs stay at float32: XLA has no
    bfloat16 convolutions there and converts back and forth.
    """
    if wanted != "auto":
        return wanted
    capability = _find_compute_capability()
    if capability is not None:
        return "mixed_bfloat16" if capability >= (8, 0) else "mixed_float16"
    bfloat16_cpu = {"avx512_bf16", "amx_bf16"} & _read_cpu_flags()
    return "mixed_bfloat16" if bfloat16_cpu and keras.backend.backend() == "tensorflow" else "float32"


def describe_device() -> str:
    """Says in words what computes, for the record of a run's cost."""
    gpus = _list_gpus()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return ", ".join(gpus) if gpus else f"{_read_cpu_name()}, {cores} cores"


def prefers_xla() -> bool:
    """Tells whether compiling the training step with XLA makes it faster.

    Always on JAX, which has nothing else; on TensorFlow only with a GPU (on CPUs a step takes 1.2 to 1.7 times longer).
    """
    return keras.backend.backend() == "jax" or bool(_list_gpus())


def _list_gpus() -> list[str]:
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        devices = tf.config.list_physical_devices("GPU")
        return [tf.config.experimental.get_device_details(device).get("device_name", device.name) for device in devices]
    if keras.backend.backend() == "jax":
        import jax

        return [device.device_kind for device in jax.devices() if device.platform == "gpu"]
    return []


def _find_compute_capability() -> tuple[int, int] | None:
    """Returns the lowest compute capability of the GPUs, or None without one."""
    found: list[Any] = []
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        for device in tf.config.list_physical_devices("GPU"):
            found.append(tf.config.experimental.get_device_details(device).get("compute_capability", (0, 0)))
    elif keras.backend.backend() == "jax":
        import jax

        gpus = (device for device in jax.devices() if device.platform == "gpu")
        found = [tuple(int(part) for part in str(gpu.compute_capability).split(".")) for gpu in gpus]
    return min(found) if found else None


def _read_cpu_flags() -> set[str]:
    lines = _read_cpuinfo()
    return set(next((line.split(":", 1)[1].split() for line in lines if line.startswith("flags")), []))


def _read_cpu_name() -> str:
    lines = _read_cpuinfo()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _read_cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
