"""A sample: one photo and, in training, where its mask comes from."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unets.config import DatasetConfig
from unets.data.geometry import SizeHW, cover
from unets.data.io import read_index_image, read_size
from unets.errors import InputError
from unets.rle import decode_rle

UNDECLARED = 255  # class index of a value that the dataset does not declare


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One photo. It carries all that is needed to read it, so that a task for a worker needs nothing else."""

    id: str
    group: str  # never split over folds
    view: str | None
    photo: str  # its path, as text, which takes a third of a Path: a test set has 100,064
    mask_path: Path | None = None
    mask_rles: tuple[str, ...] | None = None  # one a class

    @property
    def photo_path(self) -> Path:
        """The photo's path, in a folder or through a zip."""
        return Path(self.photo)


def read_full_size(sample: Sample, dataset: DatasetConfig) -> SizeHW:
    """Returns (height, width) of the photo: as declared, else from its header."""
    return dataset.size_hw or read_size(sample.photo_path)


def read_mask(sample: Sample, dataset: DatasetConfig) -> npt.NDArray[np.uint8]:
    """Reads the mask at full size, from its file or its run lengths; see `has_rle_mask`.

    Returns:
        uint8 (height, width) class index: 0 is background, k the k-th of `dataset.classes`.

    Raises:
        InputError: the mask is missing, unreadable, or holds a value that is not declared.
    """
    return read_csv_mask(sample, dataset) if has_rle_mask(sample, dataset) else read_file_mask(sample, dataset)


def has_rle_mask(sample: Sample, dataset: DatasetConfig) -> bool:
    """Tells whether run lengths give the mask: the dataset says so, or the sample has no file (a pseudo-label)."""
    return dataset.read_masks_from == "csv" or (sample.mask_path is None and sample.mask_rles is not None)


def read_csv_mask(sample: Sample, dataset: DatasetConfig) -> npt.NDArray[np.uint8]:
    """Decodes the mask's run lengths; see `read_mask`."""
    if sample.mask_rles is None:
        raise InputError(f"{dataset.masks_csv} must have a row for each training photo. Received: none for {sample.id}")
    size_hw = read_full_size(sample, dataset)
    mask_hw = np.zeros(size_hw, dtype=np.uint8)
    for class_index, rle in enumerate(sample.mask_rles, start=1):
        try:
            class_hw = decode_rle(rle, size_hw, dataset.rle_order)
        except InputError as error:
            source = dataset.masks_csv or "run lengths"
            raise InputError(f"{source}, {sample.id}: {error}") from error
        if len(sample.mask_rles) == 1:
            return class_hw
        mask_hw[class_hw > 0] = class_index
    return mask_hw


def read_file_mask(sample: Sample, dataset: DatasetConfig) -> npt.NDArray[np.uint8]:
    """Reads the mask's file; see `read_mask`."""
    if sample.mask_path is None:
        raise InputError(f"{dataset.masks} must exist for each training photo. Received: none for {sample.id}")
    values_hw = read_index_image(sample.mask_path)
    class_of_value = np.full(256, UNDECLARED, dtype=np.uint8)
    class_of_value[0] = 0
    class_of_value[list(dataset.mask_values)] = np.arange(1, len(dataset.classes) + 1)
    mask_hw = class_of_value[values_hw]
    if (mask_hw == UNDECLARED).any():
        values = sorted({int(value) for value in np.unique(values_hw)} - {0, *dataset.mask_values})
        raise InputError(
            f"{sample.mask_path} must hold 0 and {list(dataset.mask_values)} only. Received: also {values[:8]}"
        )
    return mask_hw


def read_coverage(sample: Sample, dataset: DatasetConfig, size_hw: SizeHW) -> npt.NDArray[np.uint8]:
    """Reads the mask as the share of each small pixel that each class covers.

    Returns:
        uint8 (height, width, classes), 0..255 for a share of 0..1.
    """
    return cover(read_mask(sample, dataset), len(dataset.classes), size_hw)
