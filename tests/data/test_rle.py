"""Run lengths by hand, exhaustively on small masks, and there and back on others."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unets.data.rle import Order, decode_rle, encode_rle, unite_rles
from unets.errors import InputError

ORDERS: tuple[Order, ...] = ("row", "column")


def encode_by_walking(mask_hw: np.ndarray, order: Order) -> str:
    """The definition, pixel by pixel: the reference that the fast one is held to."""
    pixels = (mask_hw if order == "row" else mask_hw.T).reshape(-1).tolist()
    pairs: list[list[int]] = []
    before = 0
    for position, pixel in enumerate(pixels, start=1):
        if pixel and before:
            pairs[-1][1] += 1
        elif pixel:
            pairs.append([position, 1])
        before = pixel
    return " ".join(f"{start} {length}" for start, length in pairs)


@pytest.mark.parametrize(
    ("mask", "row", "column"),
    [
        # the encoder that most Carvana repositories share gives "2 2" here
        ([[1, 0, 0, 1]], "1 1 4 1", "1 1 4 1"),
        # ... and nothing here
        ([[1, 1], [1, 1]], "1 4", "1 4"),
        # rows: 0 1 1 | 1 0 0 -> pixels 2, 3, 4; columns: 0 1 | 1 0 | 1 0 -> pixels 2, 3 and 5
        ([[0, 1, 1], [1, 0, 0]], "2 3", "2 2 5 1"),
        # one pixel of 2 x 3 at row 1, column 2: 1 * 3 + 2 + 1 = 6 by rows, 2 * 2 + 1 + 1 = 6 by columns
        ([[0, 0, 0], [0, 0, 1]], "6 1", "6 1"),
        # at row 0, column 2: 3 by rows, 2 * 2 + 0 + 1 = 5 by columns
        ([[0, 0, 1], [0, 0, 0]], "3 1", "5 1"),
    ],
)
def test_by_hand(mask: list[list[int]], row: str, column: str) -> None:
    mask_hw = np.array(mask, dtype=np.uint8)
    assert encode_rle(mask_hw, "row") == row
    assert encode_rle(mask_hw, "column") == column
    assert decode_rle(row, mask_hw.shape, "row").tolist() == mask
    assert decode_rle(column, mask_hw.shape, "column").tolist() == mask


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("size_hw", [(1, 1), (1, 6), (6, 1), (2, 3), (3, 3), (2, 5)])
def test_every_small_mask(size_hw: tuple[int, int], order: Order) -> None:
    for pixels in product((0, 1), repeat=size_hw[0] * size_hw[1]):
        mask_hw = np.array(pixels, dtype=np.uint8).reshape(size_hw)
        rle = encode_rle(mask_hw, order)
        assert rle == encode_by_walking(mask_hw, order)
        decoded = decode_rle(rle, size_hw, order)
        assert decoded.dtype == np.uint8
        np.testing.assert_array_equal(decoded, mask_hw)


def test_a_mask_of_many_runs() -> None:
    # A list of more than a thousand items is one that numpy's own str() would shorten with "...".
    mask_hw = np.zeros((8, 1918), dtype=np.uint8)
    mask_hw[:, ::2] = 1
    rle = encode_rle(mask_hw)
    assert rle.count(" ") == 2 * 8 * 959 - 1 and "." not in rle and "," not in rle
    assert rle.endswith(f" {8 * 1918 - 1} 1")
    np.testing.assert_array_equal(decode_rle(rle, (8, 1918)), mask_hw)


def test_touching_runs_are_one_and_whitespace_is_free() -> None:
    assert decode_rle("1 2 3 1", (1, 4)).tolist() == [[1, 1, 1, 0]]
    assert decode_rle("  1 2\t4  1\n", (1, 4)).tolist() == [[1, 1, 0, 1]]
    assert decode_rle(" ", (2, 2)).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        ("1 2 3", "must hold pairs `start length`. Received: 3 numbers"),
        ("1 a", "must hold whole numbers only. Received: '1 a'"),
        *((rle, "must hold whole numbers only") for rle in ("1.5 2", "nan", "1 99999999999999999999")),
        ("3 -1", "must hold lengths of at least 1. Received: -1"),
        ("0 1", "must stay within pixels 1 to 6. Received: runs from 0 to 0"),
        ("6 2", "must stay within pixels 1 to 6. Received: runs from 6 to 7"),
        ("1 3 3 1", "increasing runs that do not overlap. Received: a run ending at 3 followed by one starting at 3"),
        ("4 1 1 1", "increasing runs that do not overlap. Received: a run ending at 4 followed by one starting at 1"),
        # sums that wrap around in 64 bits
        *((f"{2**63 - 1} {2**63 - 1}", "within pixels 1 to 6"), (f"3 {2**63 - 1}", "within pixels 1 to 6")),
        *((f"1 1 {2**63 - 1} 3", "within pixels 1 to 6"), (f"-{2**63} 1", "within pixels 1 to 6")),
    ],
)
def test_faulty_run_lengths(rle: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        decode_rle(rle, (2, 3))
    assert message in str(error.value) and str(error.value).startswith("`rle` must")


@given(st.lists(st.integers(0, 2**24 - 1), max_size=4))
def test_the_union_of_run_lengths_is_that_of_masks(numbers: list[int]) -> None:
    masks = [np.array([number >> bit & 1 for bit in range(24)], dtype=np.uint8).reshape(4, 6) for number in numbers]
    united = unite_rles(encode_rle(mask) for mask in masks)
    wanted = np.any(masks, axis=0) if masks else np.zeros((4, 6), dtype=bool)
    np.testing.assert_array_equal(decode_rle(united, (4, 6)), wanted)
    assert united == encode_rle(wanted)
