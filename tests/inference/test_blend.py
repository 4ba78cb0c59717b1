import numpy as np
import pytest

from unets.data.geometry import enlarge
from unets.inference.blend import blend, enlarge_map
from unets.inference.maps import from_u8
from unets.inference.postprocess import to_masks


def test_the_mean_is_weighted() -> None:
    low, high = np.full((2, 2, 1), 51, dtype=np.uint8), np.full((2, 2, 1), 255, dtype=np.uint8)
    # (1 x 51 + 3 x 255) / 4 / 255 = 816 / 1020 = 0.8
    np.testing.assert_allclose(blend([low, high], [1, 3], (2, 2)), np.full((2, 2, 1), 0.8), atol=1e-6)
    np.testing.assert_allclose(blend([low, high], [0, 0.5], (2, 2)), np.ones((2, 2, 1)), atol=1e-6)


@pytest.mark.parametrize("num_classes", [1, 3])
def test_averaging_first_is_enlarging_first(num_classes: int) -> None:
    rng = np.random.default_rng(0)
    sizes = [(8, 12), (8, 12), (16, 20)]
    maps = [rng.integers(0, 256, (*size, num_classes), dtype=np.uint8) for size in sizes]
    weights = [0.2, 0.3, 0.5]
    expected = sum(w * enlarge_map(from_u8(m), (37, 53)) for w, m in zip(weights, maps, strict=True))
    blended = blend(maps, weights, (37, 53))
    assert (blended.shape, blended.dtype) == ((37, 53, num_classes), np.float32)
    np.testing.assert_allclose(blended, expected, atol=1e-6)


@pytest.mark.parametrize("weights", [(1, 1, 1), (0.2, 0.5, 0.3)])
def test_masks_are_those_of_enlarging_first_but_for_ties(weights: tuple[float, ...]) -> None:
    """A pixel may change sides only where it lies within rounding of the threshold."""
    rng = np.random.default_rng(0)
    maps = [rng.integers(0, 256, (64, 96, 1), dtype=np.uint8) for _ in weights]
    exact = sum(
        weight / sum(weights) * enlarge_map(from_u8(layers), (130, 190)).astype(np.float64)
        for weight, layers in zip(weights, maps, strict=True)
    )
    mask_hw = to_masks(blend(maps, weights, (130, 190)), 0.5)
    differs = mask_hw != (exact[..., 0] >= 0.5)
    assert np.abs(exact[..., 0][differs] - 0.5).max(initial=0) < 1e-6
    assert differs.mean() < 1e-3


def test_each_class_is_enlarged_on_its_own() -> None:
    probs = np.random.default_rng(0).random((4, 6, 2), dtype=np.float32)
    enlarged = enlarge_map(probs, (8, 12))
    np.testing.assert_array_equal(enlarged[..., 1], enlarge(np.ascontiguousarray(probs[..., 1]), (8, 12)))


@pytest.mark.parametrize("weights", [[1.0], [0.0, 0.0], []])
def test_impossible_weights_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="`weights` must hold one for each of 2 maps"):
        blend([np.zeros((2, 2, 1), np.uint8)] * 2, weights, (2, 2))
