"""How much memory training and prediction take, how much there is, and what to do where it does not suffice.

Bytes are estimated from the net's graph (`unets.nets.cost`) and take part in a plan; a training that runs out of memory
on a card halves its step and goes on. Nothing can be said where the process ends with it: by the kernel's killer, or
in XLA on a CPU, which aborts where TensorFlow raises. What is on the disk stays, and the next start says it then.
"""

import shutil
import subprocess
from dataclasses import dataclass

import keras
from keras import ops

from unets.config import TrainingConfig
from unets.nets.backend import describe_device, prefers_xla
from unets.nets.cost import count_parameters, measure_cost
from unets.workers.machine import find_free_memory

GIB = 2**30
LESS_MEMORY = "A `data.crop_hw`, a smaller `data.size_hw` or a larger `model.stride` takes less"

# A card's driver and error correction take up to 6 % of what its name says (an H100 of 80 GB shows 79.6 GiB, a T4 of 16
# GB shows 15.0), and an allocator that must find room in one piece leaves some unused.
_GPU_SHARE = 0.9
_GPU_BYTES = GIB  # CUDA's context, cuDNN's and cuBLAS's workspaces
# The traced graph and the kernels compiled for it, beyond what importing the backend takes: of a training step, and of
# a forward pass. XLA compiles on the CPU itself: beyond these, two nets of 5 levels took 840 to 925 MiB to train, one
# 605 MiB to predict, whatever the batch (docs/log).
_GRAPH_BYTES, _FORWARD_GRAPH_BYTES = 200 * 2**20, 100 * 2**20
_XLA_GRAPH_BYTES, _XLA_FORWARD_GRAPH_BYTES = 1100 * 2**20, 700 * 2**20
# Steps that do not wait for each other overlap on the CPU, and its allocator hands out blocks of its own sizes.
_CPU_SLACK = 1.1
_BATCHES_AHEAD = 4  # uint8 images and targets: the least that wait in the queue of `Batches`
_FLOAT32_BYTES, _HALF_BYTES = 4, 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Bytes as a function of the images at once: fixed + images * image."""

    fixed_bytes: int  # weights, gradients, optimizer, averages, graph
    image_bytes: int  # activations, gradients and scratch of one image
    accumulation_bytes: int = 0  # gradients added up, where a batch takes several steps

    def measure(self, num_images: int, *, accumulates: bool = False) -> int:
        """Returns the bytes of so many images at once."""
        return self.fixed_bytes + accumulates * self.accumulation_bytes + num_images * self.image_bytes

    def find_largest_batch(self, free_bytes: int) -> int:
        """Returns the largest batch that fits, taken at once; 0 where not even one image does."""
        return max((free_bytes - self.fixed_bytes) // self.image_bytes, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What computes here, and the memory that a process may take: of the smallest card, or free of this machine's."""

    device: str
    is_gpu: bool
    usable_bytes: int

    @property
    def memory_name(self) -> str:
        """What the memory is called in a sentence."""
        return "the GPU" if self.is_gpu else "free memory"


def find_micro_batch(memory: Memory, free_bytes: int, batch_size: int) -> int:
    """Returns the largest divisor of `batch_size` whose step fits, gradients added up where it is not the whole.

    Args:
        memory: of training, as `measure_training` gives it.
        free_bytes: that it may take.
        batch_size: images an update.

    Returns:
        0 where not even one image fits.
    """
    divisors = (size for size in range(batch_size, 0, -1) if batch_size % size == 0)
    need_of = ((size, memory.measure(size, accumulates=size < batch_size)) for size in divisors)
    return next((size for size, need in need_of if need <= free_bytes), 0)


def halve_micro_batch(batch_size: int, micro_batch: int, num_devices: int = 1) -> int | None:
    """Returns the largest divisor of `batch_size` of at most half of `micro_batch`; None where there is none.

    Args:
        batch_size: images an update.
        micro_batch: images a step, over all devices together.
        num_devices: that take an equal part of a step each.
    """
    sizes = range(micro_batch // 2, 0, -1)
    return next((size for size in sizes if batch_size % size == 0 and size % num_devices == 0), None)


def is_out_of_memory(error: BaseException) -> bool:
    """Tells whether an error says that memory did not suffice: in TensorFlow's words, JAX's, or Python's (NumPy's)."""
    if isinstance(error, MemoryError):
        return True
    return type(error).__name__ == "ResourceExhaustedError" or "RESOURCE_EXHAUSTED" in str(error)


def measure_training(net: keras.Model, config: TrainingConfig, *, is_gpu: bool, precision: str | None = None) -> Memory:
    """Estimates the memory of training.

    Args:
        net: as `build_unet` made it, for images of the size that training sees.
        config: its optimizer, running mean and clipping take memory.
        is_gpu: whether a card computes; otherwise the queue of batches and the graph count too.
        precision: "float32" or "mixed", in place of the net's own.
    """
    is_mixed = (_find_precision(net) if precision is None else precision) != "float32"
    cost = measure_cost(net, float_bytes=_HALF_BYTES if is_mixed else _FLOAT32_BYTES)
    # Each trained number: gradient, the optimizer's, the running mean, the clipped gradient.
    copies = 1 + count_slots(config) + (config.ema is not None) + (config.clip_norm is not None)
    weights = _FLOAT32_BYTES * (cost.parameters + round(copies * cost.trainable_parameters))
    casts = _HALF_BYTES * cost.parameters * is_mixed
    image_bytes = cost.training_bytes
    if not is_gpu:
        height, width, channels = net.input_shape[1:]
        image_bytes = round(_CPU_SLACK * image_bytes) + _BATCHES_AHEAD * (channels + 1) * height * width
    return Memory(
        fixed_bytes=weights + casts + _find_graph_bytes(_GRAPH_BYTES, _XLA_GRAPH_BYTES, is_gpu=is_gpu),
        image_bytes=image_bytes,
        accumulation_bytes=_FLOAT32_BYTES * cost.trainable_parameters,
    )


def measure_prediction(net: keras.Model, num_nets: int, *, is_gpu: bool) -> Memory:
    """Estimates the memory of prediction by several nets, one after the other; a flip of an image counts as one."""
    cost = measure_cost(net)
    is_mixed = _find_precision(net) != "float32"
    weights = num_nets * cost.parameters * (_FLOAT32_BYTES + _HALF_BYTES * is_mixed)
    graph = _find_graph_bytes(_FORWARD_GRAPH_BYTES, _XLA_FORWARD_GRAPH_BYTES, is_gpu=is_gpu)
    return Memory(fixed_bytes=weights + graph, image_bytes=cost.prediction_bytes)


def count_slots(config: TrainingConfig) -> float:
    """Returns the numbers that an optimizer keeps for each trained one, counted on one kernel of 3 x 3 x 64 x 64."""
    optimizer = getattr(keras.optimizers, config.optimizer)(**config.optimizer_args)
    kernel = keras.Variable(ops.zeros((3, 3, 64, 64)), name="kernel")
    optimizer.build([kernel])
    held = count_parameters(v for v in optimizer.variables if v is not optimizer._learning_rate)
    return held / count_parameters([kernel])


def measure_machine() -> Machine:
    """Asks what computes here and how much memory it has."""
    # By name: asked for "gpu", JAX raises where there is none.
    is_gpu = any("gpu" in str(device).lower() for device in keras.distribution.list_devices())
    usable = find_usable_of_gpu(_find_gpu_bytes()) if is_gpu else find_free_memory()
    return Machine(device=describe_device(), is_gpu=is_gpu, usable_bytes=usable)


def find_usable_of_gpu(gpu_bytes: int) -> int:
    """Returns what a training may take of a card's memory."""
    return int(gpu_bytes * _GPU_SHARE) - _GPU_BYTES


def _find_graph_bytes(graph_bytes: int, xla_bytes: int, *, is_gpu: bool) -> int:
    """Returns what a graph takes of the memory that is counted: none of a card's."""
    if is_gpu:
        return 0
    return xla_bytes if prefers_xla() else graph_bytes


def _find_gpu_bytes() -> int:
    """Returns the memory of the smallest card, as its driver says; neither backend tells before it has taken it."""
    if shutil.which("nvidia-smi") is None:
        return find_free_memory()  # a card that shares the machine's memory
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return min(int(line) for line in said.split()) * 2**20


def _find_precision(net: keras.Model) -> str:
    """Returns the type that most of a net computes in: that of its first convolution."""
    layers = [layer for layer in net.layers if isinstance(layer, keras.layers.Conv2D)]
    return str(layers[0].compute_dtype) if layers else "float32"
