"""The one place that asks which backend and device computes, and the only one that names TensorFlow or JAX."""

import os
import platform
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import keras

from unets.errors import InputError
from unets.log import format_count
from unets.store.provenance import list_versions
from unets.workers.machine import count_cores

_XLA_ORDER = "--xla_gpu_deterministic_ops=true"


def choose_precision(wanted: str) -> str:
    """Resolves `auto` to the fastest policy that the device computes in hardware.

    NVIDIA cards from Ampere on take bfloat16, older ones float16 with loss scaling, CPUs with AMX or AMD's with
    AVX512-BF16 bfloat16 (a step is 1.4 to 1.7 times faster on an EPYC); everything else stays at float32. An Intel Xeon
    with AVX512-BF16 alone spends 1.9 times the time in bfloat16. On JAX, CPUs stay at float32: XLA has no bfloat16
    convolutions there and converts back and forth.
    """
    if wanted != "auto":
        return wanted
    if gpus := _list_gpus():
        return "mixed_bfloat16" if min(capability for _, capability in gpus) >= (8, 0) else "mixed_float16"
    flags = _read_cpu("flags").split()
    takes_bfloat16 = "amx_bf16" in flags or ("avx512_bf16" in flags and "AMD" in _read_cpu("model name"))
    return "mixed_bfloat16" if takes_bfloat16 and _is_tensorflow() else "float32"


def describe_arithmetic(wanted: str) -> dict[str, str]:
    """Returns what of this machine decides the bits of a prediction in the wanted precision, in words by what it is."""
    versions, backend = list_versions(), keras.backend.backend()
    libraries = {name: versions[name] for name in ("keras", backend, "opencv-python-headless") if name in versions}
    return {"precision": choose_precision(wanted), "compiler": "XLA" if prefers_xla() else "none"} | libraries


def describe_device() -> str:
    """Says in words what computes, for the record of a run's cost."""
    name = _read_cpu("model name") or platform.processor() or platform.machine()
    return ", ".join(gpu for gpu, _ in _list_gpus()) or f"{name}, {format_count(count_cores(), 'core')}"


def prefers_xla() -> bool:
    """Tells whether compiling the training step with XLA makes it faster.

    Always on JAX, which has nothing else; on TensorFlow only with a GPU (on CPUs a step takes 1.2 to 1.7 times longer).
    """
    return not _is_tensorflow() or has_gpu()


def fix_order() -> None:
    """Lets what this process computes from now on have the same bits each time, where threads would decide on an order.

    TensorFlow takes other kernels, or raises where it has none; on two busy cores a training step of the compact net
    took 0.96 to 1.09 times the CPU time. JAX on CPUs needs nothing; on GPUs XLA must be told as it is loaded. Raises
    InputError where it was not.
    """
    if _is_tensorflow():
        _load_tensorflow().config.experimental.enable_op_determinism()
    elif _list_gpus() and _XLA_ORDER not in (flags := os.environ.get("XLA_FLAGS", "")):
        raise InputError(
            f"`XLA_FLAGS` must hold {_XLA_ORDER} for training.deterministic on JAX with a GPU. Received: {flags!r}"
        )


def fused_batch_norm(
    x: Any, gamma: Any, beta: Any, moving: tuple[Any, Any], epsilon: float, *, is_training: bool
) -> tuple[Any, Any, Any] | None:
    """Normalizes over batch, height and width in one kernel, where the backend has one: None where it has not.

    `x` is (batch, height, width, channels), float32, float16 or bfloat16; scale `gamma`, shift `beta`, and the `moving`
    mean and variance, which are used outside training, are float32 (channels,). Returns (normalized, mean, biased
    variance), of the batch's where `is_training`.
    """
    if not _is_tensorflow():
        return None
    tf = _load_tensorflow()
    weights = map(tf.convert_to_tensor, (gamma, beta) if is_training else (gamma, beta, *moving))
    normalized, mean, variance = tf.compat.v1.nn.fused_batch_norm(x, *weights, epsilon=epsilon, is_training=is_training)
    if is_training:
        num_values = tf.cast(tf.reduce_prod(tf.shape(x)[:3]), tf.float32)
        variance *= (num_values - 1) / num_values  # the kernel divides by n - 1
    return normalized, mean, variance


def depthwise_conv(x: Any, kernel: Any, *, stride: int, padding: str) -> Any | None:
    """Convolves each channel with a filter of its own, with gradients that CPUs compute fast.

    TensorFlow 2.21's own take most of a training step there (EPYC, one core, batches of 2): in bfloat16 the gradient of
    5 x 5 filters 6 to 8 ms a layer, where four of 3 x 3 in float32 hold the same numbers after 0.7 to 1.2; that of the
    input 4 to 11 ms at a stride of 2, in float32 0.3 to 0.6.

    `x` is (batch, height, width, channels), the kernel (side, side, channels, 1), of odd side and the type of `x`, the
    padding "same" or "valid". Returns None on other backends, with a GPU, and where height or width are unknown.
    """
    if not _is_tensorflow() or _list_gpus() or None in x.shape[1:]:
        return None
    tf = _load_tensorflow()
    side, channels, steps = kernel.shape[0], x.shape[-1], [1, stride, stride, 1]

    def find_filters(x: Any, gradient: Any, side: int, padding: str) -> Any:
        return tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
            input=x,
            filter_sizes=[side, side, channels, 1],
            out_backprop=gradient,
            strides=steps,
            padding=padding.upper(),
        )

    def find_large_filters(x: Any, gradient: Any) -> Any:
        """Puts the gradient of a filter together from those of its 3 x 3 parts, neighbors of which share a line."""
        reach = [(length - 1) * stride for length in gradient.shape[1:3]]
        missing = [max(reach[i] + side - x.shape[1 + i], 0) if padding == "same" else 0 for i in (0, 1)]
        padded = tf.pad(x, [(0, 0), *((count // 2, count - count // 2) for count in missing), (0, 0)])

        def find_part(top: int, left: int) -> Any:
            seen = padded[:, top : top + reach[0] + 3, left : left + reach[1] + 3]
            return find_filters(seen, gradient, 3, "valid")[min(top, 1) :, min(left, 1) :]

        firsts = range(0, side - 2, 2)
        return tf.concat([tf.concat([find_part(top, left) for left in firsts], 1) for top in firsts], 0)

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def convolve(x: Any, kernel: Any) -> tuple[Any, Callable[[Any], tuple[Any, Any]]]:
        def find_gradients(gradient: Any) -> tuple[Any, Any]:
            exact = tf.cast(gradient, tf.float32)
            if side > 3:
                of_kernel = tf.cast(find_large_filters(tf.cast(x, tf.float32), exact), kernel.dtype)
            else:
                of_kernel = find_filters(x, gradient, side, padding)
            of_x = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
                input_sizes=tf.shape(x),
                filter=tf.cast(kernel, tf.float32) if stride > 1 else kernel,
                out_backprop=exact if stride > 1 else gradient,
                strides=steps,
                padding=padding.upper(),
            )
            return tf.cast(of_x, x.dtype), of_kernel

        return tf.nn.depthwise_conv2d(x, kernel, steps, padding.upper()), find_gradients

    return convolve(x, tf.convert_to_tensor(kernel))


def find_gpu_peak() -> int:
    """Returns the most bytes of memory that this process has used of a GPU at once; 0 without a GPU."""
    gpus = _list_gpus()
    if _is_tensorflow():
        read = _load_tensorflow().config.experimental.get_memory_info
        return max((int(read(f"GPU:{number}")["peak"]) for number in range(len(gpus))), default=0)
    import jax

    devices = [device.memory_stats() or {} for device in jax.local_devices() if gpus]
    return max((int(stats.get("peak_bytes_in_use", 0)) for stats in devices), default=0)


def count_devices() -> int:
    """Returns the number of devices at hand, which would share a batch within `data_parallel`."""
    return len(keras.distribution.list_devices())


def check_data_parallel(batch_size: int) -> None:
    """Checks that the devices at hand can share the steps of a training, of `batch_size` images; one always can.

    Raises InputError where several are not JAX's, or the batch has no equal parts: the mean over devices would not be
    the mean over images.
    """
    num_devices = count_devices()
    if num_devices > 1 and _is_tensorflow():
        raise InputError(
            f"`KERAS_BACKEND` must be jax for --data-parallel over {num_devices} devices. Received: tensorflow, which "
            f"trains a fold on each of them without --data-parallel"
        )
    if batch_size % num_devices:
        raise InputError(
            f"`batch_size` (and --micro-batch) must be a multiple of the {num_devices} devices that "
            f"share it with --data-parallel. Received: {batch_size}"
        )


def data_parallel() -> AbstractContextManager[Any]:
    """Lets all devices of JAX share each batch, for what is built, compiled and fitted inside; one is left as it is.

    Every device has all weights and takes an equal part of a batch (see `check_data_parallel`).
    `keras.utils.clear_session` inside would undo it.
    """
    return keras.distribution.DataParallel().scope() if count_devices() > 1 else nullcontext()


def count_replicas() -> int:
    """Returns how many devices share a batch here: 1 outside `data_parallel`."""
    distribution = keras.distribution.distribution()
    return 1 if distribution is None else int(distribution.num_model_replicas)


def _is_tensorflow() -> bool:
    return bool(keras.backend.backend() == "tensorflow")


def _load_tensorflow() -> Any:
    import tensorflow as tf

    return tf


def has_gpu() -> bool:
    """Tells whether a GPU computes."""
    return bool(_list_gpus())


def _list_gpus() -> list[tuple[str, tuple[int, ...]]]:
    """Returns (name, compute capability) of each GPU."""
    if _is_tensorflow():
        config = _load_tensorflow().config
        gpus = config.list_physical_devices("GPU")
        details = [{"device_name": gpu.name} | config.experimental.get_device_details(gpu) for gpu in gpus]
        return [(found["device_name"], found.get("compute_capability", (0, 0))) for found in details]
    import jax

    gpus = [device for device in jax.devices() if device.platform == "gpu"]
    return [(gpu.device_kind, tuple(map(int, str(gpu.compute_capability).split(".")))) for gpu in gpus]


def _read_cpu(key: str) -> str:
    """Returns what Linux says of the CPU, as `model name`; nothing elsewhere."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
