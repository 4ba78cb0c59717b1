"""How much memory a training or a prediction takes, and how much there is.

Bytes are predicted from the net's graph (`unets.nets.cost`). The constants of the CPU were
measured (docs/log). No GPU was at hand: what is said of cards rests on documents.
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

# A card's driver and error correction take up to 6 % of what its name says (an H100 of 80 GB shows 79.6 GiB, a T4 of 16
# GB shows 15.0), and an allocator that must find room in one piece leaves some unused.
_CARD_SHARE = 0.9
_CARD_BYTES = GIB  # CUDA's context, cuDNN's and cuBLAS's workspaces
# The traced graph and the kernels compiled for it, beyond what importing the backend takes: of a training step, and of
# a forward pass. XLA compiles on the CPU itself: beyond these, two nets of 5 levels took 840 to 925 MiB to train, one
# 605 MiB to predict, whatever the batch (docs/log).
_GRAPH_BYTES, _FORWARD_GRAPH_BYTES = 200 * 2**20, 100 * 2**20
_XLA_GRAPH_BYTES, _XLA_FORWARD_GRAPH_BYTES = 1100 * 2**20, 700 * 2**20
# Steps that do not wait for each other overlap on the CPU, and its allocator hands out blocks of its own sizes.
_CPU_SLACK = 1.1
_BATCHES_AHEAD = 4  # uint8 photos and targets: the least that wait in the queue of `Batches`
_INPUT_CHANNELS = 4
_FLOAT32_BYTES, _HALF_BYTES = 4, 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Bytes as a function of the batch: fixed + batch * photo."""

    fixed_bytes: int  # weights, gradients, optimizer, averages, graph
    photo_bytes: int  # activations, gradients and scratch of one photo
    accumulation_bytes: int = 0  # gradients added up, where a batch takes several steps

    def measure(self, batch: int, *, accumulates: bool = False) -> int:
        """Returns the bytes at a batch."""
        return self.fixed_bytes + accumulates * self.accumulation_bytes + batch * self.photo_bytes

    def find_largest_batch(self, free_bytes: int) -> int:
        """Returns the largest batch that fits, taken at once; 0 where not even one photo does."""
        return max((free_bytes - self.fixed_bytes) // self.photo_bytes, 0)


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


def largest_micro_batch(memory: Memory, free_bytes: int, batch_size: int, num_devices: int = 1) -> int:
    """Returns the largest divisor of `batch_size` whose step fits, gradients added up where it is not the whole.

    Args:
        memory: of training, as `measure_training` gives it.
        free_bytes: that it may take, on each device.
        batch_size: photos an update.
        num_devices: that take an equal part of a step each.

    Returns:
        0 where not even one photo a device fits.
    """
    divisors = (size for size in range(batch_size, 0, -1) if batch_size % size == 0 and size % num_devices == 0)
    need_of = ((size, memory.measure(size // num_devices, accumulates=size < batch_size)) for size in divisors)
    return next((size for size, need in need_of if need <= free_bytes), 0)


def measure_training(net: keras.Model, config: TrainingConfig, *, is_gpu: bool, precision: str | None = None) -> Memory:
    """Predicts the memory of training.

    Args:
        net: as `build_unet` made it, for photos of the size that training sees.
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
    photo_bytes = cost.training_bytes
    if not is_gpu:
        height, width = net.input_shape[1:3]
        photo_bytes = round(_CPU_SLACK * photo_bytes) + _BATCHES_AHEAD * _INPUT_CHANNELS * height * width
    return Memory(
        fixed_bytes=weights + casts + _find_graph_bytes(_GRAPH_BYTES, _XLA_GRAPH_BYTES, is_gpu=is_gpu),
        photo_bytes=photo_bytes,
        accumulation_bytes=_FLOAT32_BYTES * cost.trainable_parameters,
    )


def measure_prediction(net: keras.Model, num_nets: int, *, is_gpu: bool) -> Memory:
    """Predicts the memory of prediction by several nets, one after the other; a view of a photo counts as a photo."""
    cost = measure_cost(net)
    is_mixed = _find_precision(net) != "float32"
    weights = num_nets * cost.parameters * (_FLOAT32_BYTES + _HALF_BYTES * is_mixed)
    graph = _find_graph_bytes(_FORWARD_GRAPH_BYTES, _XLA_FORWARD_GRAPH_BYTES, is_gpu=is_gpu)
    return Memory(fixed_bytes=weights + graph, photo_bytes=cost.prediction_bytes)


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
    usable = usable_of_card(_find_card_bytes()) if is_gpu else find_free_memory()
    return Machine(device=describe_device(), is_gpu=is_gpu, usable_bytes=usable)


def usable_of_card(card_bytes: int) -> int:
    """Returns what a training may take of a card's memory."""
    return int(card_bytes * _CARD_SHARE) - _CARD_BYTES


def _find_graph_bytes(graph_bytes: int, xla_bytes: int, *, is_gpu: bool) -> int:
    """Returns what a graph takes of the memory that is counted: none of a card's."""
    if is_gpu:
        return 0
    return xla_bytes if prefers_xla() else graph_bytes


def _find_card_bytes() -> int:
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
