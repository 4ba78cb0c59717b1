"""How much memory training takes, how much there is, and the largest step that fits.

What a learner holds is counted, its activations are estimated from the net's graph (`unets.nets.cost`); a training that
runs out of memory on a card halves its step and goes on. Nothing can be said where the process ends with it: by the
kernel's killer, or in XLA on a CPU, which aborts where TensorFlow raises. What is on the disk stays, and the next start
says it then.
"""

from dataclasses import dataclass

import keras

from unets.errors import InputError, is_out_of_memory
from unets.nets.backend import describe_device, has_gpu, prefers_xla
from unets.nets.cost import count_parameters, measure_cost
from unets.training.learner import Learner
from unets.workers.machine import ask_driver, find_free_memory

GIB = 2**30
LESS_MEMORY = "A `data.crop_hw`, a smaller `data.size_hw` or a larger `model.stride` takes less"

# A card's driver and error correction take up to 6 % of what its name says (an H100 of 80 GB shows 79.6 GiB, a T4 of 16
# GB shows 15.0), and an allocator that must find room in one piece leaves some unused.
_GPU_SHARE = 0.9
_GPU_BYTES = GIB  # CUDA's context, cuDNN's and cuBLAS's workspaces
# The traced graph and the kernels compiled for it, beyond what importing the backend takes: by TensorFlow, and by XLA,
# which compiles on the CPU itself. There two nets of 5 levels took 840 to 925 MiB, whatever the batch (docs/log).
_GRAPH_BYTES, _XLA_GRAPH_BYTES = 200 * 2**20, 1100 * 2**20
# Steps that do not wait for each other overlap on the CPU, and its allocator hands out blocks of its own sizes.
_CPU_SLACK = 1.1
_BATCHES_AHEAD = 4  # uint8 images and targets: the least that wait in the queue of `Batches`
_FLOAT32_BYTES, _HALF_BYTES = 4, 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Bytes as a function of the images at once: fixed + images * image."""

    fixed_bytes: int  # weights, gradients, optimizer, averages, graph
    image_bytes: int  # activations, gradients and scratch of one image

    def measure(self, num_images: int) -> int:
        """Returns the bytes of so many images at once."""
        return self.fixed_bytes + num_images * self.image_bytes

    def find_largest_batch(self, free_bytes: int) -> int:
        """Returns the largest batch that fits, taken at once; 0 where not even one image does."""
        return max((free_bytes - self.fixed_bytes) // self.image_bytes, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What computes here, and the memory that a process may take: of the smallest card, or free of this machine's."""

    device: str
    is_gpu: bool
    usable_bytes: int


def measure_machine() -> Machine:
    """Asks what computes here and how much memory it has."""
    is_gpu, usable_bytes = has_gpu(), find_free_memory()  # as it stands, of a card that shares the machine's memory
    # The driver's word: neither backend tells a card's memory before it has taken it.
    said = ask_driver("--query-gpu=memory.total", "--format=csv,noheader,nounits") if is_gpu else ""
    if sizes_mib := [int(line) for line in said.splitlines() if line.isdecimal()]:
        usable_bytes = find_usable_of_gpu(min(sizes_mib) * 2**20)
    return Machine(device=describe_device(), is_gpu=is_gpu, usable_bytes=usable_bytes)


def find_usable_of_gpu(gpu_bytes: int) -> int:
    """Returns what a training may take of a card's memory."""
    return int(gpu_bytes * _GPU_SHARE) - _GPU_BYTES


def find_micro_batch(batch_size: int, most: int, num_devices: int = 1) -> int:
    """Returns the largest divisor of `batch_size` up to `most` that devices share equally; 0 where there is none."""
    sizes = range(min(most, batch_size), 0, -1)
    return next((size for size in sizes if batch_size % size == 0 and size % num_devices == 0), 0)


def find_smaller_micro_batch(error: Exception, batch_size: int, micro_batch: int, num_devices: int = 1) -> int:
    """Returns the largest micro-batch of at most half the size, after an error that says that memory did not suffice.

    Raises `error` itself where it says something else, InputError where there is none.
    """
    if not is_out_of_memory(error):
        raise error
    if smaller := find_micro_batch(batch_size, micro_batch // 2, num_devices):
        return smaller
    raise InputError(
        f"Memory must hold a step. Received: too little for {micro_batch} images. {LESS_MEMORY}"
    ) from error


def measure_training(learner: Learner, *, is_gpu: bool, precision: str | None = None) -> Memory:
    """Estimates the memory of training, with gradients that are added up over the steps of an update.

    Where no card computes, the queue of batches and the graph count too. `precision`, "float32" or "mixed", takes the
    place of the net's own.
    """
    net = learner.net
    # Most of a net computes in the precision of its first convolution.
    own = next((layer.compute_dtype for layer in net.layers if isinstance(layer, keras.layers.Conv2D)), "float32")
    is_mixed = (own if precision is None else precision) != "float32"
    cost = measure_cost(net, float_bytes=_HALF_BYTES if is_mixed else _FLOAT32_BYTES)
    copies = 2 + (learner.refined.global_clipnorm is not None)  # gradients, their sum, and where clipped, both
    held = count_parameters([*learner.variables, *learner.optimizer.variables]) + copies * cost.trainable_parameters
    fixed_bytes, image_bytes = _FLOAT32_BYTES * held + _HALF_BYTES * cost.parameters * is_mixed, cost.training_bytes
    if not is_gpu:
        height, width, channels = net.input_shape[1:]
        fixed_bytes += _XLA_GRAPH_BYTES if prefers_xla() else _GRAPH_BYTES
        image_bytes = round(_CPU_SLACK * image_bytes) + _BATCHES_AHEAD * (channels + 1) * height * width
    return Memory(fixed_bytes=fixed_bytes, image_bytes=image_bytes)
