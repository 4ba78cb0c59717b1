"""Overlapping tiles, for images whose activations do not fit into memory at once."""

import numpy as np
import numpy.typing as npt

from unets.data.geometry import SizeHW
from unets.errors import InputError

Corner = tuple[int, int]


def plan_tiles(size_hw: SizeHW, tile_hw: SizeHW, overlap_px: int) -> list[Corner]:
    """Places tiles so that they cover an image, neighbors overlapping by at least `overlap_px`.

    The tiles are spread evenly, the first and last flush with the border, so that none needs padding. Returns (top,
    left) of each, row by row; raises InputError where a tile is larger than the image.
    """
    if tile_hw[0] > size_hw[0] or tile_hw[1] > size_hw[1]:
        raise InputError(f"`tile_hw` must be at most size_hw={size_hw}. Received: tile_hw={tile_hw}")
    tops, lefts = (_spread(side, tile_side, overlap_px) for side, tile_side in zip(size_hw, tile_hw, strict=True))
    return [(top, left) for top in tops for left in lefts]


def cut_tiles(image_hwc: npt.NDArray[np.uint8], corners: list[Corner], tile_hw: SizeHW) -> npt.NDArray[np.uint8]:
    """Cuts tiles out of an image; uint8 (tiles, tile height, tile width, channels)."""
    return np.stack([image_hwc[top : top + tile_hw[0], left : left + tile_hw[1]] for top, left in corners])


def join_tiles(
    tiles_u8: npt.NDArray[np.uint8], corners: list[Corner], size_hw: SizeHW, overlap_px: int
) -> npt.NDArray[np.uint8]:
    """Blends the maps of tiles into one map.

    Where tiles overlap, each counts by its distance to its own border, up to `overlap_px`: a net knows least about what
    lies at the border of what it sees. Tiles are uint8 (tiles, tile height, tile width, classes), the map is uint8
    (height, width, classes).
    """
    _, height, width, classes = tiles_u8.shape
    weight_hw1 = np.minimum.outer(_ramp(height, overlap_px), _ramp(width, overlap_px))[..., None]
    total = np.zeros((*size_hw, classes), dtype=np.float32)
    weights = np.zeros((*size_hw, 1), dtype=np.float32)
    for tile_u8, (top, left) in zip(tiles_u8, corners, strict=True):
        total[top : top + height, left : left + width] += weight_hw1 * tile_u8
        weights[top : top + height, left : left + width] += weight_hw1
    return np.asarray(np.rint(total / weights), dtype=np.uint8)


def _spread(side: int, tile_side: int, overlap_px: int) -> list[int]:
    if side == tile_side:
        return [0]
    step = max(tile_side - overlap_px, 1)
    count = 1 + -(-(side - tile_side) // step)
    return [round(index * (side - tile_side) / (count - 1)) for index in range(count)]


def _ramp(side: int, overlap_px: int) -> npt.NDArray[np.float32]:
    """1, 2, ... up to overlap_px + 1 from either end."""
    from_start = np.arange(1, side + 1)
    return np.minimum(np.minimum(from_start, from_start[::-1]), overlap_px + 1).astype(np.float32)
