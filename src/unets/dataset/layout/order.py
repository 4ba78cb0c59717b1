"""The order of run lengths: along rows or along columns, decided by the masks and the photos that they belong to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from unets.config import SizeHW
from unets.data.io import read_size
from unets.data.rle import Order, decode_rle
from unets.dataset.layout.looks import read_grey, spread
from unets.errors import InputError

_MANY = 40  # masks that are looked at
_CLEAR = 1.3  # how much longer borders are in the wrong order, at least
_CLEAR_EDGE = 1.1  # how much stronger the photo's own edges are along the right ones


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Which order, and how sure that is."""

    order: Order
    is_sure: bool
    why: str


def find_order(rles: Mapping[str, Sequence[str]], photos: Mapping[str, Path]) -> Verdict:
    """Finds the order in which pixels are counted.

    In the wrong order a mask falls into stripes, and its border grows: the order with the shorter borders is right.
    Where a photo is square, the wrong one only mirrors the mask at its diagonal: then the photo's own edges decide.

    Args:
        rles: run lengths by id, each class's or object's.
        photos: path of each photo.

    Raises:
        InputError: run lengths do not fit into their photo in any order, or start from 0.
    """
    chosen = spread([Path(id_) for id_ in sorted(rles) if any(rles[id_])], _MANY)
    borders = {"row": 0.0, "column": 0.0}
    edges = {"row": 0.0, "column": 0.0}
    for id_ in map(str, chosen):
        size_hw = read_size(photos[id_])
        grey = read_grey(photos[id_])
        strength = _measure_edges(grey)
        for rle in [rle for rle in rles[id_] if rle][:8]:
            for order in _ORDERS:
                mask_hw = _decode(rle, size_hw, order, id_)
                border_hw = _find_border(mask_hw)
                borders[order] += float(border_hw.sum())
                edges[order] += float(strength[border_hw].sum())
    if not chosen or min(borders.values()) == 0:
        return Verdict(order="column", is_sure=False, why="no row has a mask with a border")
    ratio = borders["row"] / borders["column"]
    better: Order = "row" if ratio < 1 else "column"
    factor = max(ratio, 1 / ratio)
    if factor >= _CLEAR:
        return Verdict(order=better, is_sure=True, why=f"the other order makes borders {factor:.1f} times as long")
    along = {order: edges[order] / borders[order] for order in _ORDERS}
    ratio = along["row"] / max(along["column"], 1e-9)
    sharper: Order = "row" if ratio > 1 else "column"
    factor = max(ratio, 1 / max(ratio, 1e-9))
    if factor >= _CLEAR_EDGE:
        why = f"both give compact masks, but along these borders photos have edges {factor:.2f} times as strong"
        return Verdict(order=sharper, is_sure=factor >= 1.5, why=why)
    return Verdict(order="column", is_sure=False, why="both orders give compact masks, and the photos do not tell")


_ORDERS: tuple[Literal["row", "column"], ...] = ("row", "column")


def _decode(rle: str, size_hw: SizeHW, order: Order, id_: str) -> npt.NDArray[np.uint8]:
    if rle.split()[0] == "0":
        raise InputError(f"run lengths must count pixels from 1. Received: a run from 0 for {id_}")
    try:
        return decode_rle(rle, size_hw, order)
    except InputError as error:
        raise InputError(
            f"run lengths of {id_} must fit into its photo, {size_hw[0]} x {size_hw[1]}. {error}"
        ) from error


def _find_border(mask_hw: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Returns the pixels whose right or lower neighbour is of the other kind."""
    border = np.zeros(mask_hw.shape, dtype=np.bool_)
    border[:-1] |= mask_hw[:-1] != mask_hw[1:]
    border[:, :-1] |= mask_hw[:, :-1] != mask_hw[:, 1:]
    return border


def _measure_edges(grey: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Returns how much brightness changes to the right and downwards, over two pixels."""
    padded = np.pad(grey, ((0, 2), (0, 2)), mode="edge")
    down = np.abs(padded[2:, :-2] - padded[:-2, :-2])
    right = np.abs(padded[:-2, 2:] - padded[:-2, :-2])
    return np.asarray(down + right, dtype=np.float32)
