"""Decoded images and their soft target, kept so that later epochs need not read and decode again."""

import logging
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import cv2
import numpy as np
import numpy.typing as npt
import PIL

from unets.config import DatasetConfig
from unets.data.geometry import SizeHW
from unets.data.samples import Sample, read_image, read_soft_target
from unets.store.runs import fingerprint, hash_code, open_lock
from unets.workers.machine import find_free_memory
from unets.workers.pool import run_tasks

logger = logging.getLogger(__name__)

Kind = Literal["none", "ram", "disk"]
Array = npt.NDArray[np.uint8]
Pair = tuple[Array, Array]

# What the cache may take of what is free: training itself, and the system's own file cache, live in the rest.
_SHARE_OF_RAM, _SHARE_OF_DISK = 0.4, 0.8


class PairReader(Protocol):
    """Gives the image, uint8 (height, width, channels), and the soft target, uint8 (height, width, layers)."""

    def __getitem__(self, index: int) -> Pair:
        """Returns (image, soft target) of the sample at `index`; neither is to be written to."""


class DiskReader:
    """Reads and decodes at every call."""

    def __init__(self, samples: Sequence[Sample], dataset: DatasetConfig, size_hw: SizeHW) -> None:
        self.samples, self.dataset, self.size_hw = samples, dataset, size_hw

    def __getitem__(self, index: int) -> Pair:
        """Returns (image, soft target) of the sample at `index`."""
        sample = self.samples[index]
        return read_image(sample, self.size_hw), read_soft_target(sample, self.dataset, self.size_hw)


class ArrayReader:
    """Reads from arrays that hold every sample, in memory or mapped from a file."""

    def __init__(self, images: Array, targets: Array) -> None:
        self.images, self.targets = images, targets

    def __getitem__(self, index: int) -> Pair:
        """Returns (image, soft target) of the sample at `index`."""
        return self.images[index], self.targets[index]


class JoinedReader:
    """Reads from two readers as from one: the first's samples come first.

    So the training images of all folds share one cache, and the pseudo-labels of a fold have another beside it.
    """

    def __init__(self, first: PairReader, num_first: int, second: PairReader) -> None:
        self.first, self.num_first, self.second = first, num_first, second

    def __getitem__(self, index: int) -> Pair:
        """Returns (image, soft target) of the sample at `index`."""
        return self.first[index] if index < self.num_first else self.second[index - self.num_first]


def open_reader(
    samples: Sequence[Sample],
    dataset: DatasetConfig,
    size_hw: SizeHW,
    kind: Literal["auto"] | Kind,
    cache_dir: Path,
    *,
    what: str = "train",
) -> PairReader:
    """Opens samples for training, shrunk to `size_hw`; fills a cache first where one is wanted.

    `samples` are those of every fold, which share a cache, or others, under a name `what` of their own. `kind` is
    `ram`, `disk` (a memory-mapped file in `cache_dir` that later runs of this size share), `none`, or `auto`: the first
    of ram, disk and none that fits. A cache on disk takes the place of an older one of its name and size, whose images,
    masks or code have changed since.
    """
    reader = DiskReader(samples, dataset, size_hw)
    if kind == "auto":
        kind = choose_kind(measure_cache(len(samples), dataset, size_hw), size_hw, cache_dir, what)
    if kind == "none":
        return reader
    channels = {"images": dataset.num_channels, "targets": dataset.num_layers}
    shapes = {name: (len(samples), *size_hw, number) for name, number in channels.items()}
    if kind == "ram":
        images, targets = (np.empty(shape, dtype=np.uint8) for shape in shapes.values())
        _fill(reader, images, targets)
        return ArrayReader(images, targets)
    key = fingerprint(
        samples=[(sample.id, sample.image_hash, sample.mask_hash) for sample in samples],
        kind=[dataset.channels, dataset.value_range, dataset.orientation],
        target=[dataset.classes, dataset.overlapping, dataset.has_ignored],
        code=[hash_code("data/*.py"), cv2.__version__, PIL.__version__],
    )
    prefix = f"{size_hw[0]}x{size_hw[1]}_{what}_"
    folder, part = cache_dir / f"{prefix}{key}", cache_dir / f".part-{prefix}{key}"
    cache_dir.mkdir(parents=True, exist_ok=True)
    # Folds that are trained side by side want the same cache: one fills it, the others wait.
    with open_lock(cache_dir / f".{prefix}lock"):
        if not folder.exists():
            for path in cache_dir.iterdir():  # of this size and name, whole or begun
                if re.fullmatch(rf"(\.part-)?{re.escape(prefix)}[0-9a-f]+", path.name):
                    logger.info("cache: deletes %s, of other images or masks", path)
                    shutil.rmtree(path, ignore_errors=True)  # a training that maps it keeps its bytes until it ends
            part.mkdir()
            images, targets = (
                np.lib.format.open_memmap(part / f"{name}.npy", mode="w+", dtype=np.uint8, shape=shape)
                for name, shape in shapes.items()
            )
            _fill(reader, images, targets)
            for array in (images, targets):
                array.flush()
            part.replace(folder)
        return ArrayReader(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in shapes))


def _fill(reader: DiskReader, images: Array, targets: Array) -> None:
    def read_into(index: int) -> None:
        images[index], targets[index] = reader[index]

    for _ in run_tasks(read_into, range(len(images)), what="cache", unit="image", threads=True):
        pass


def measure_cache(num_samples: int, dataset: DatasetConfig, size_hw: SizeHW) -> int:
    """Returns the bytes that a cache takes, of images and their soft targets."""
    return num_samples * size_hw[0] * size_hw[1] * (dataset.num_channels + dataset.num_layers)


def choose_kind(num_bytes: int, size_hw: SizeHW, cache_dir: Path, what: str = "train") -> Kind:
    """Chooses the fastest kind of cache that fits into what is free now, or taken by such a cache already."""
    free_ram, free_disk = find_free_memory(), _find_free_disk(cache_dir)
    held = sum(path.stat().st_size for path in cache_dir.glob(f"{size_hw[0]}x{size_hw[1]}_{what}_*/*"))
    kind: Kind = "disk" if num_bytes <= held + _SHARE_OF_DISK * free_disk else "none"
    kind = "ram" if num_bytes <= _SHARE_OF_RAM * free_ram else kind
    sizes = num_bytes / 2**30, free_ram / 2**30, free_disk / 2**30
    logger.info("cache: %s (%.1f GiB wanted, %.1f of memory and %.1f of disk free)", kind, *sizes)
    return kind


def choose_shared_kind(num_bytes: int, size_hw: SizeHW, cache_dir: Path) -> Kind:
    """Chooses a cache for processes that train side by side: on disk, where they share one, or none.

    Each would take the same free memory for its own.
    """
    # A cache that one of them fills at this moment has taken what was free for it.
    name = f"{size_hw[0]}x{size_hw[1]}_train_*/"
    is_begun = any(path for start in ("", ".part-") for path in cache_dir.glob(start + name))
    return "disk" if is_begun or num_bytes <= _SHARE_OF_DISK * _find_free_disk(cache_dir) else "none"


def _find_free_disk(folder: Path) -> int:
    return shutil.disk_usage(next(parent for parent in (folder, *folder.parents) if parent.exists())).free
