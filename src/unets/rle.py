"""Run-length encoding, as the submission file wants it.

A mask is written as `start length` pairs of its foreground runs, starts counted from 1. Carvana counts pixels left to
right, then top to bottom (`order="row"`); most later competitions count top to bottom, then left to right
(`order="column"`).
"""

from typing import Literal

import numpy as np
import numpy.typing as npt

from unets.errors import InputError

Order = Literal["row", "column"]
Mask = npt.NDArray[np.uint8]


def encode_rle(mask_hw: npt.NDArray[np.generic], order: Order = "row") -> str:
    """Writes a mask as 1-based `start length` pairs.

    Args:
        mask_hw: (height, width), any integer or bool dtype; every non-zero pixel is foreground.
        order: "row" counts pixels along rows, "column" along columns.

    Returns:
        The pairs joined by single spaces; the empty string for an empty mask.
    """
    if mask_hw.ndim != 2:
        raise ValueError(f"`mask_hw` must have two axes. Received: shape={mask_hw.shape}")
    # A run may start at the first pixel or end at the last: a zero on both sides makes every run begin and end
    # inside the array. The encoder that most public solutions share leaves this out, and is wrong for 48 of the 64
    # masks of 1 x 6 pixels.
    padded = np.zeros(mask_hw.size + 2, dtype=bool)
    padded[1:-1] = mask_hw.ravel(order="C" if order == "row" else "F")
    edges = np.flatnonzero(padded[1:] != padded[:-1])
    runs = edges + 1
    runs[1::2] = edges[1::2] - edges[::2]
    # str() of a list is one call of C code that writes all numbers; joining map(str, ...) makes a string object each.
    return str(runs.tolist())[1:-1].replace(",", "")


def decode_rle(rle: str, size_hw: tuple[int, int], order: Order = "row") -> Mask:
    """Reads 1-based `start length` pairs back into a mask; the inverse of `encode_rle`.

    Args:
        rle: the pairs, separated by whitespace; an empty string is an empty mask.
        size_hw: (height, width) of the mask.
        order: the counting order the pairs were written in.

    Returns:
        uint8 (height, width) of {0, 1}.

    Raises:
        InputError: an odd count of numbers, something that is not a whole number, runs that are empty, overlap, are
            out of order, or leave the image.
    """
    height, width = size_hw
    starts, ends = read_runs(rle, height * width)
    flat = np.zeros(height * width, dtype=np.uint8)
    # One slice a run: a car has some 700, and filling them touches its pixels once (a running sum over all pixels
    # takes ten times as long).
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        flat[start:end] = 1
    return flat.reshape(size_hw) if order == "row" else np.ascontiguousarray(flat.reshape(width, height).T)


def measure_area(rle: str, num_pixels: int) -> int:
    """Counts the foreground pixels without making the mask; see `read_runs`."""
    starts, ends = read_runs(rle, num_pixels)
    return int((ends - starts).sum())


def read_runs(rle: str, num_pixels: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Reads and checks `start length` pairs.

    Args:
        rle: the pairs, separated by whitespace.
        num_pixels: the number of pixels of the image, which no run may leave.

    Returns:
        (starts, ends), int64, 0-based, ends exclusive.

    Raises:
        InputError: see `decode_rle`.
    """
    try:
        numbers = np.array(rle.split(), dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise InputError(f"`rle` must hold whole numbers only. Received: {_shorten(rle)}") from error
    if numbers.size % 2:
        raise InputError(f"`rle` must hold pairs `start length`. Received: {numbers.size} numbers: {_shorten(rle)}")
    starts, lengths = numbers[::2] - 1, numbers[1::2]
    ends = starts + lengths
    if numbers.size == 0:
        return starts, ends
    if lengths.min() < 1:
        raise InputError(f"`rle` must hold lengths of at least 1. Received: {lengths.min()} in {_shorten(rle)}")
    # The sum of two numbers near the largest int64 wraps around, so each is looked at before it.
    if starts.min() < 0 or max(starts.max(), lengths.max(), ends.max()) > num_pixels:
        raise InputError(
            f"`rle` must stay within pixels 1 to {num_pixels}. "
            f"Received: runs from {numbers[::2].min()} to {ends.max()} in {_shorten(rle)}"
        )
    if (starts[1:] < ends[:-1]).any():
        first = int(np.argmax(starts[1:] < ends[:-1]))
        raise InputError(
            f"`rle` must hold increasing runs that do not overlap. "
            f"Received: a run ending at {ends[first]} followed by one starting at {starts[first + 1] + 1}"
        )
    return starts, ends


def _shorten(text: str, limit: int = 40) -> str:
    return repr(text if len(text) <= limit else text[:limit] + "...")
