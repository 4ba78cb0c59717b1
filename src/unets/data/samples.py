"""A sample: one photo and, in training, where its mask comes from."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unets.config import DatasetConfig, MaskValue
from unets.data.geometry import SizeHW, cover
from unets.data.io import read_colour_image, read_image, read_index_image, read_size
from unets.data.rle import decode_rle
from unets.errors import InputError

VOID = 255  # class index of a pixel that nobody labelled
_UNDECLARED = 254  # of a value that the dataset does not declare


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One photo. It carries all that is needed to read it, so that a task for a worker needs nothing else."""

    id: str
    group: str  # never split over folds
    view: str | None
    photo: str  # its path, as text, which takes a third of a Path: a test set has 100,064
    mask_path: Path | None = None
    more_mask_paths: tuple[Path, ...] = ()  # of a mask that is united from several files, all but the first
    mask_rles: tuple[str, ...] | None = None  # one a class
    value_range: tuple[int, int] | None = None  # of a photo of 16 bits

    @property
    def photo_path(self) -> Path:
        """The photo's path, in a folder or through a zip."""
        return Path(self.photo)

    @property
    def mask_paths(self) -> tuple[Path, ...]:
        """All files of the mask."""
        return () if self.mask_path is None else (self.mask_path, *self.more_mask_paths)


def read_photo(sample: Sample, size_hw: SizeHW | None = None) -> npt.NDArray[np.uint8]:
    """Reads the photo, shrunk to `size_hw`; uint8 RGB (height, width, 3). See `read_image`."""
    return read_image(sample.photo_path, size_hw, sample.value_range)


def read_full_size(sample: Sample, dataset: DatasetConfig) -> SizeHW:
    """Returns (height, width) of the photo: as declared, else from its header."""
    return dataset.size_hw or read_size(sample.photo_path)


def read_mask(sample: Sample, dataset: DatasetConfig) -> npt.NDArray[np.uint8]:
    """Reads the mask at full size, from its file or its run lengths; see `has_rle_mask`.

    Returns:
        uint8 (height, width) class index: 0 is background, k the k-th of `dataset.classes`, VOID not labelled.

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
    """Reads the mask's file, or unites its files; see `read_mask`."""
    if sample.mask_path is None:
        raise InputError(f"{dataset.masks} must exist for each training photo. Received: none for {sample.id}")
    mask_hw = _read_one_mask(sample.mask_path, dataset)
    for path in sample.more_mask_paths:
        other_hw = _read_one_mask(path, dataset)
        if other_hw.shape != mask_hw.shape:
            raise InputError(f"{path} must have the size of {sample.mask_path}. Received: {other_hw.shape}")
        mask_hw = np.where(other_hw > 0, other_hw, mask_hw)  # an object's own file knows best what it is
    return mask_hw


def count_object_pixels(mask_hw: npt.NDArray[np.uint8]) -> int:
    """Counts the pixels that are of any class."""
    return int(np.count_nonzero(mask_hw)) - int(np.count_nonzero(mask_hw == VOID))


def read_coverage(sample: Sample, dataset: DatasetConfig, size_hw: SizeHW) -> npt.NDArray[np.uint8]:
    """Reads the mask as the share of each small pixel that each class covers.

    Returns:
        uint8 (height, width, classes), 0..255 for a share of 0..1. Where the dataset has values to ignore, one more
        layer: the share that nobody labelled.
    """
    mask_hw = read_mask(sample, dataset)
    num_layers = dataset.num_layers
    if num_layers > len(dataset.classes):
        mask_hw = np.where(mask_hw == VOID, np.uint8(num_layers), mask_hw)
    return cover(mask_hw, num_layers, size_hw)


def _read_one_mask(path: Path, dataset: DatasetConfig) -> npt.NDArray[np.uint8]:
    if dataset.has_colours:
        return _find_colours(path, dataset)
    values_hw = read_index_image(path, clip=dataset.mask_threshold is not None)
    if dataset.mask_threshold is not None:
        values_hw = np.where(values_hw >= dataset.mask_threshold, np.uint8(255), np.uint8(0))
    class_of_value = np.full(256, _UNDECLARED, dtype=np.uint8)
    for value, class_index in _list_values(dataset):
        class_of_value[value] = class_index
    mask_hw = class_of_value[values_hw]
    if (mask_hw == _UNDECLARED).any():
        declared = [value for value, _ in _list_values(dataset)]
        values = sorted({int(value) for value in np.unique(values_hw)} - set(declared))
        raise InputError(f"{path} must hold {_name_values(dataset)} only. Received: also {values[:8]}")
    return mask_hw


def _find_colours(path: Path, dataset: DatasetConfig) -> npt.NDArray[np.uint8]:
    """Reads a mask whose pixels are colours; uint8 (height, width) class index."""
    pairs = sorted(_list_values(dataset))
    codes = np.array([code for code, _ in pairs], dtype=np.uint32)
    indices = np.array([class_index for _, class_index in pairs], dtype=np.uint8)
    colours_hw = read_colour_image(path)
    places = np.minimum(np.searchsorted(codes, colours_hw), len(codes) - 1)
    is_known = codes[places] == colours_hw
    if not is_known.all():
        found = [(code >> 16, code >> 8 & 255, code & 255) for code in np.unique(colours_hw[~is_known]).tolist()]
        raise InputError(f"{path} must hold {_name_values(dataset)} only. Received: also {found[:8]}")
    return indices[places]


def _list_values(dataset: DatasetConfig) -> list[tuple[int, int]]:
    """Returns (value or colour code, class index) of all that a mask file may hold."""
    values = [(value, index) for index, value in enumerate(dataset.mask_values, start=1)]
    values += [(value, 0) for value in dataset.background_values]
    values += [(value, VOID) for value in dataset.ignore_values]
    return [(_encode(value) if dataset.has_colours else int(value), index) for value, index in values]  # type: ignore[arg-type]


def _encode(value: MaskValue) -> int:
    red, green, blue = (value,) * 3 if isinstance(value, int) else value
    return red << 16 | green << 8 | blue


def _name_values(dataset: DatasetConfig) -> str:
    rest = [*dataset.background_values, *dataset.ignore_values]
    named = " and ".join(str(values) for values in (rest, list(dataset.mask_values)) if values)
    return named.replace("[0]", "0", 1) if rest == [0] else named
