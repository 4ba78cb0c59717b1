"""A sample: one image and, in training, the files of its mask."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from unets.config import DatasetConfig
from unets.data.geometry import SizeHW, cover, resize
from unets.data.image import RGB, ImageFile, ImageKind
from unets.data.io import read_index_image
from unets.data.pixels import read_values
from unets.errors import InputError

HALF = 128  # of 255: the least share of a pixel that is of the class
SEPARATOR = "|"  # between paths, hashes and stamps of several masks of an image
IGNORE = 255  # class index of an ignored pixel, which counts in no loss and no score


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One image. It carries all that is needed to read it, so that a task for a worker needs nothing else."""

    id: str
    group: str  # never split over folds
    view: str | None  # the camera view, where the data set has them
    image: str  # its path, as text, which takes a third of a Path: a test set has 100,064
    masks: tuple[str, ...] = ()  # none; one file of class indices; or, where classes overlap, a file of 0 and 1 a class
    objects: tuple[str, ...] = ()  # files that number the objects, beside those of the masks; none: connected parts
    has_shares: bool = False  # masks hold 0 to 255, the share of the class, in place of class indices
    kind: ImageKind = RGB
    image_hash: str = ""  # of the file's bytes
    mask_hash: str = ""
    objects_hash: str = ""

    @property
    def image_path(self) -> Path:
        """The image's path, in a folder or through a zip."""
        return Path(self.image)

    @property
    def mask_paths(self) -> tuple[Path, ...]:
        """All files of the mask."""
        return tuple(Path(path) for path in self.masks)


def find_kind(dataset: DatasetConfig) -> ImageKind:
    """Returns how the images of a data set are seen."""
    is_upright = dataset.orientation == "upright"
    return ImageKind(channels=dataset.channels, value_range=dataset.value_range, upright=is_upright)


def read_image(sample: Sample, size_hw: SizeHW | None = None) -> npt.NDArray[np.uint8]:
    """Reads the image, shrunk to `size_hw`; uint8 (height, width, channels). See `ImageFile`."""
    return ImageFile(sample.image_path, sample.kind, sample.image_hash).read(size_hw)


def read_full_size(sample: Sample, dataset: DatasetConfig) -> SizeHW:
    """Returns (height, width) of the image: as declared, else from its header."""
    return dataset.size_hw or ImageFile(sample.image_path, sample.kind, sample.image_hash).size_hw


def read_mask(sample: Sample) -> npt.NDArray[np.uint8]:
    """Reads the mask at full size: uint8 (height, width) class index, 0 background, k the k-th class, IGNORE ignored.

    Where classes overlap, uint8 (height, width, classes) of 0, 1 and IGNORE. A share of a half and more is 1. Raises
    InputError where the sample has no mask, or a file is missing, unreadable, or of another size than the others.
    """
    layers = _read_layers(sample)
    if sample.has_shares:
        layers = [np.asarray(layer >= HALF, dtype=np.uint8) for layer in layers]
    return layers[0] if len(layers) == 1 else np.stack(layers, axis=-1)


def _read_layers(sample: Sample) -> list[npt.NDArray[np.uint8]]:
    """Reads the mask's files."""
    if not sample.masks:
        raise InputError(f"{sample.image} must have a mask. Received: none for {sample.id}")
    hashes = sample.mask_hash.split(SEPARATOR) if sample.mask_hash else [""] * len(sample.masks)
    layers = [read_index_image(path, digest) for path, digest in zip(sample.mask_paths, hashes, strict=True)]
    for path, layer in zip(sample.masks, layers, strict=True):
        if layer.shape != layers[0].shape:
            raise InputError(f"{path} must have the size of {sample.masks[0]}. Received: {layer.shape}")
    return layers


def read_objects(sample: Sample) -> npt.NDArray[np.uint16] | None:
    """Reads the numbers of the objects, 0 elsewhere, in the shape of `read_mask`; None: each connected part is one."""
    if not sample.objects:
        return None
    hashed = zip(sample.objects, sample.objects_hash.split(SEPARATOR), strict=True)
    layers = [read_values(Path(path), expected=digest) for path, digest in hashed]
    return layers[0] if len(layers) == 1 else np.stack(layers, axis=-1)


def count_object_pixels(mask: npt.NDArray[np.uint8]) -> int:
    """Counts the pixels that are of any class, in a mask as `read_mask` gives it."""
    is_object = (mask > 0) & (mask != IGNORE)
    return int(np.count_nonzero(is_object.any(axis=-1) if mask.ndim == 3 else is_object))


def find_classes_in(mask: npt.NDArray[np.uint8], num_classes: int) -> npt.NDArray[np.bool_]:
    """Finds which classes a mask holds; bool (classes,)."""
    if mask.ndim == 3:
        return np.asarray((mask == 1).any(axis=(0, 1)))
    return np.bincount(mask.ravel(), minlength=num_classes + 1)[1 : num_classes + 1] > 0


def check_mask(mask: npt.NDArray[np.uint8], dataset: DatasetConfig, sources: Sequence[str]) -> None:
    """Refuses a mask, as `read_mask` gives it, of the files `sources`, one or a file of each class.

    Raises InputError where a value is of no class, or pixels are ignored where `has_ignored` is False.
    """
    highest = 1 if mask.ndim == 3 else len(dataset.classes)
    if cv2.minMaxLoc(mask.reshape(mask.shape[0], -1))[1] <= highest:
        return
    layers = [mask] if mask.ndim == 2 else np.moveaxis(mask, -1, 0)
    for source, layer in zip(sources, layers, strict=True):
        if wrong := sorted(set(np.unique(layer).tolist()) - {*range(highest + 1), IGNORE}):
            raise InputError(f"{source} must hold 0 to {highest} for {dataset.classes}. Received: also {wrong[:8]}")
        if not dataset.has_ignored and (count := np.count_nonzero(layer == IGNORE)):
            raise InputError(
                f"{source} must hold no ignored pixels ({IGNORE}) where `has_ignored` of dataset.py is False. "
                f"Received: {count} of them"
            )


def read_soft_target(sample: Sample, dataset: DatasetConfig, size_hw: SizeHW) -> npt.NDArray[np.uint8]:
    """Reads the mask as the share of each small pixel that each class covers; raises as `read_mask` and `check_mask`.

    Returns uint8 (height, width, layers), 0..255 for a share of 0..1: a layer a class and, where the data set has
    ignored pixels, the share that is ignored, which overlapping classes have one of each.
    """
    if sample.has_shares:
        return np.stack([resize(layer, size_hw) for layer in _read_layers(sample)], axis=-1)
    mask = read_mask(sample)
    check_mask(mask, dataset, sample.masks)
    if mask.ndim == 2:
        if dataset.has_ignored:
            mask = np.where(mask == IGNORE, np.uint8(dataset.num_layers), mask)
        return cover(mask, dataset.num_layers, size_hw)
    shares = [mask == value for value in ((1, IGNORE) if dataset.has_ignored else (1,))]
    layers = np.moveaxis(np.concatenate(shares, axis=-1), -1, 0)
    return np.stack([resize(layer * np.uint8(255), size_hw) for layer in layers], axis=-1)
