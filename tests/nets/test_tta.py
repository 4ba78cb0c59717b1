import typing

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from unets.config import PredictionConfig
from unets.nets.tta import FLIPS

PHOTO = np.array([[[1], [2], [3]], [[4], [5], [6]]], dtype=np.uint8)[None]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("identity", [[1, 2, 3], [4, 5, 6]]),
        ("hflip", [[3, 2, 1], [6, 5, 4]]),
        ("vflip", [[4, 5, 6], [1, 2, 3]]),
        ("hvflip", [[6, 5, 4], [3, 2, 1]]),
    ],
)
def test_each_view_flips_what_its_name_says(name: str, expected: list[list[int]]) -> None:
    np.testing.assert_array_equal(FLIPS[name].apply(PHOTO)[0, ..., 0], expected)


@given(
    images_nhwc=arrays(np.uint8, array_shapes(min_dims=4, max_dims=4, max_side=5)), name=st.sampled_from(sorted(FLIPS))
)
def test_undo_is_the_inverse_of_apply(images_nhwc: npt.NDArray[np.uint8], name: str) -> None:
    view = FLIPS[name]
    np.testing.assert_array_equal(view.undo(view.apply(images_nhwc)), images_nhwc)
    np.testing.assert_array_equal(view.apply(view.undo(images_nhwc)), images_nhwc)
    rows, columns = (-1 if flips else 1 for flips in (view.flips_height, view.flips_width))
    np.testing.assert_array_equal(view.apply(images_nhwc), images_nhwc[:, ::rows, ::columns])


def test_the_table_holds_the_views_that_the_config_allows() -> None:
    views = PredictionConfig.model_fields["tta"].annotation
    assert set(FLIPS) == set(typing.get_args(typing.get_args(views)[0]))
    assert all(view.name == name for name, view in FLIPS.items())
