from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from unets.prediction.loading import cut_tiles, join_tiles, plan_tiles


@st.composite
def draw_plans(draw: st.DrawFn) -> tuple[tuple[int, int], tuple[int, int], int]:
    """Draws (size, tile size, overlap), the overlap at most half a tile, as the config demands."""
    size_hw = (draw(st.integers(1, 90)), draw(st.integers(1, 90)))
    tile_hw = (draw(st.integers(1, size_hw[0])), draw(st.integers(1, size_hw[1])))
    return size_hw, tile_hw, draw(st.integers(0, min(tile_hw) // 2))


@given(draw_plans())
def test_tiles_lie_inside_and_overlap_as_asked(plan: tuple[tuple[int, int], tuple[int, int], int]) -> None:
    size_hw, tile_hw, overlap_px = plan
    corners = plan_tiles(size_hw, tile_hw, overlap_px)
    assert corners == sorted(set(corners))
    for axis in (0, 1):
        starts = sorted({corner[axis] for corner in corners})
        assert starts[0] == 0 and starts[-1] + tile_hw[axis] == size_hw[axis]
        # Neighbours overlap; with an overlap of 0 they touch. So nothing between first and last is left out.
        assert all(a + tile_hw[axis] - b >= overlap_px for a, b in pairwise(starts))
    assert len(corners) == len({top for top, _ in corners}) * len({left for _, left in corners})


@given(draw_plans(), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_tiles_of_one_map_join_to_that_map(
    plan: tuple[tuple[int, int], tuple[int, int], int], classes: int, seed: int
) -> None:
    size_hw, tile_hw, overlap_px = plan
    map_hwc = np.random.default_rng(seed).integers(0, 256, (*size_hw, classes), dtype=np.uint8)
    corners = plan_tiles(size_hw, tile_hw, overlap_px)
    tiles = cut_tiles(map_hwc, corners, tile_hw)
    assert tiles.shape == (len(corners), *tile_hw, classes)
    joined = join_tiles(tiles, corners, size_hw, overlap_px)
    assert joined.dtype == np.uint8
    np.testing.assert_array_equal(joined, map_hwc)


def test_tiles_of_several_values_join_to_their_weighted_mean() -> None:
    # One row of 6 pixels, two tiles of 4, overlap 2: columns 2 and 3 are in both. A tile of one row weighs 1 at each
    # pixel, for its own upper border is there: 100 and 200 give 150.
    corners = plan_tiles((1, 6), (1, 4), 2)
    assert corners == [(0, 0), (0, 2)]
    tiles = np.stack([np.full((1, 4, 1), 100, np.uint8), np.full((1, 4, 1), 200, np.uint8)])
    assert join_tiles(tiles, corners, (1, 6), 2).ravel().tolist() == [100, 100, 150, 150, 200, 200]
    # Five rows: in the middle one the weights are 1 2 2 1 for each tile, so column 2 has 2 of the first and 1 of the
    # second, (2 * 100 + 200) / 3 = 133, and column 3 the reverse.
    tiles = np.repeat(tiles, 5, axis=1)
    assert join_tiles(tiles, corners, (5, 6), 2)[2].ravel().tolist() == [100, 100, 133, 167, 200, 200]
