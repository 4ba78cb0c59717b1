import typing

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from unets.config import PredictionConfig
from unets.nets.tta import FLIPS, flip

IMAGE = np.array([[[1], [2], [3]], [[4], [5], [6]]], dtype=np.uint8)[None]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("identity", [[1, 2, 3], [4, 5, 6]]),
        ("hflip", [[3, 2, 1], [6, 5, 4]]),
        ("vflip", [[4, 5, 6], [1, 2, 3]]),
        ("hvflip", [[6, 5, 4], [3, 2, 1]]),
    ],
)
def test_each_flip_does_what_its_name_says(name: str, expected: list[list[int]]) -> None:
    np.testing.assert_array_equal(flip(IMAGE, name)[0, ..., 0], expected)


@given(
    images_nhwc=arrays(np.uint8, array_shapes(min_dims=4, max_dims=4, max_side=5)), name=st.sampled_from(sorted(FLIPS))
)
def test_a_flip_is_its_own_inverse(images_nhwc: npt.NDArray[np.uint8], name: str) -> None:
    np.testing.assert_array_equal(flip(flip(images_nhwc, name), name), images_nhwc)


def test_the_table_holds_the_flips_that_the_config_allows() -> None:
    flips = PredictionConfig.model_fields["tta"].annotation
    assert set(FLIPS) == set(typing.get_args(typing.get_args(flips)[0]))
