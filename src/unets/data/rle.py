"""Run-length encoding, as the submission file wants it.

A mask is written as `start length` pairs of its foreground runs, starts counted from 1. Carvana counts pixels left to
right, then top to bottom (`order="row"`); most later competitions count top to bottom, then left to right
(`order="column"`).
"""

from collections.abc import Iterable
from typing import Literal

import numpy as np
import numpy.typing as npt

from unets.errors import InputError

Order = Literal["row", "column"]
Mask = npt.NDArray[np.uint8]

_MAX_PIXELS = 2**40  # of any picture; where its size is not known


def encode_rle(mask_hw: npt.NDArray[np.generic], order: Order = "row", *, relative: bool = False) -> str:
    """Writes a mask, (height, width) of any integer or bool dtype, as 1-based `start length` pairs joined by blanks.

    Every pixel that is not 0 is foreground. `order` "row" counts pixels along rows, "column" along columns; `relative`
    counts starts from the end of the run before, the first from 0 (SIIM-ACR). An empty mask is the empty string.
    """
    if mask_hw.ndim != 2:
        raise ValueError(f"`mask_hw` must have two axes. Received: shape={mask_hw.shape}")
    flat = mask_hw.ravel(order="C" if order == "row" else "F").astype(np.bool_, copy=False)
    size = max(flat.size - 1, 0) // 8 * 8
    differs = flat[1 : size + 1] != flat[:size]
    words = np.flatnonzero(differs.view(np.uint64) != 0)  # eight at a time: nearly all are like the one before
    places = np.flatnonzero(differs.reshape(-1, 8)[words])
    inside, rest = 8 * words[places // 8] + places % 8 + 1, np.flatnonzero(flat[size:-1] != flat[size + 1 :]) + size + 1
    # A run may start at the first pixel or end at the last. The encoder that most public solutions share leaves this
    # out, and is wrong for 48 of the 64 masks of 1 x 6 pixels.
    first, last = np.flatnonzero(flat[:1]), np.flatnonzero(flat[-1:]) + flat.size
    edges = np.concatenate([first, inside, rest, last])  # where runs begin and end, in turn, ends exclusive
    return _join(np.diff(edges, prepend=0) if relative else np.stack([edges[::2] + 1, edges[1::2] - edges[::2]], -1))


def to_absolute(rle: str, *, start: int = 1, relative: bool = True) -> str:
    """Returns run lengths that were counted otherwise as absolute, 1-based pairs.

    `start` is the number of the first pixel, where starts are absolute; `relative` ones were counted from the end of
    the run before, the first from 0. Raises InputError where there is something else than whole numbers.
    """
    if start == 1 and not relative:
        return rle
    numbers = _parse(rle)
    numbers[::2] = (np.cumsum(numbers)[::2] if relative else numbers[::2] - start) + 1
    return _join(numbers)


def decode_rle(rle: str, size_hw: tuple[int, int], order: Order = "row") -> Mask:
    """Reads 1-based `start length` pairs back into a mask, uint8 (height, width) of {0, 1}.

    Raises InputError: an odd count of numbers, something that is no whole number, runs that are empty, overlap, are out
    of order, or leave the image.
    """
    height, width = size_hw
    flat = np.zeros(height * width, dtype=np.uint8)
    # One slice a run: a car has some 700, and filling them touches its pixels once (a running sum over all pixels
    # takes ten times as long).
    for start, end in np.stack(read_runs(rle, height * width), axis=-1).tolist():
        flat[start:end] = 1
    return flat.reshape(size_hw) if order == "row" else np.ascontiguousarray(flat.reshape(width, height).T)


def unite_rles(rles: Iterable[str]) -> str:
    """Returns the run lengths of the union of masks, which may overlap; each may be empty. Raises as `decode_rle`."""
    runs = [np.stack(read_runs(rle, _MAX_PIXELS), axis=-1) for rle in rles]
    starts, ends = np.concatenate([np.zeros((0, 2), dtype=np.int64), *runs]).T
    if starts.size == 0:
        return ""
    order = np.argsort(starts, kind="stable")
    starts, reach = starts[order], np.maximum.accumulate(ends[order])
    firsts = np.flatnonzero(np.concatenate([[True], starts[1:] > reach[:-1]]))  # neighbors join too
    lasts = np.append(firsts[1:] - 1, len(starts) - 1)
    return _join(np.stack([starts[firsts] + 1, reach[lasts] - starts[firsts]], axis=-1))


def read_runs(rle: str, num_pixels: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Reads and checks `start length` pairs, none of which may leave the image's `num_pixels`; raises as `decode_rle`.

    Returns (starts, ends), int64, 0-based, ends exclusive.
    """
    numbers = _parse(rle)
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
    overlaps = starts[1:] < ends[:-1]
    if overlaps.any():
        first = int(np.argmax(overlaps))
        raise InputError(
            f"`rle` must hold increasing runs that do not overlap. "
            f"Received: a run ending at {ends[first]} followed by one starting at {starts[first + 1] + 1}"
        )
    return starts, ends


def _join(numbers: npt.NDArray[np.int64]) -> str:
    return str(numbers.ravel().tolist())[1:-1].replace(",", "")


def _parse(rle: str) -> npt.NDArray[np.int64]:
    try:
        return np.array(rle.split(), dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise InputError(f"`rle` must hold whole numbers only. Received: {_shorten(rle)}") from error


def _shorten(text: str, limit: int = 40) -> str:
    return repr(text if len(text) <= limit else text[:limit] + "...")
