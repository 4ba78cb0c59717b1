import numpy as np
import pytest

from tests.trained_competition import blend
from unets.data.geometry import enlarge
from unets.ensemble.recipe import Averaging, enlarge_map
from unets.prediction.maps import from_u8


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


def test_each_class_is_enlarged_on_its_own() -> None:
    probs = np.random.default_rng(0).random((4, 6, 2), dtype=np.float32)
    enlarged = enlarge_map(probs, (8, 12))
    np.testing.assert_array_equal(enlarged[..., 1], enlarge(np.ascontiguousarray(probs[..., 1]), (8, 12)))


@pytest.mark.parametrize("weights", [[1.0], [0.0, 0.0], []])
def test_impossible_weights_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="`weights` must"):
        blend([np.zeros((2, 2, 1), np.uint8)] * 2, weights, (2, 2))


def test_logits_are_averaged() -> None:
    # 0.9 to 0.1 and 0.2 to 0.8: logits log 9 and -log 4, mean log(9 / 4) / 2 = log 1.5, so 0.6
    maps = [np.full((2, 2, 1), round(255 * p), dtype=np.uint8) for p in (0.9, 0.2)]
    np.testing.assert_allclose(blend(maps, [1, 1], (3, 3), "logit"), np.full((3, 3, 1), 0.6), atol=4e-3)
    # log 9 / 4 - 3 log 4 / 4 = log(9 / 64) / 4: odds (9 / 64)^(1 / 4) = 0.612
    np.testing.assert_allclose(blend(maps, [1, 3], (3, 3), "logit"), np.full((3, 3, 1), 0.612 / 1.612), atol=2e-3)
    # equal weights of p and 1 - p are even, and the ends are finite
    ends = [np.full((2, 2, 2), level, dtype=np.uint8) for level in (0, 255)]
    np.testing.assert_allclose(blend(ends, [1, 1], (2, 2), "logit"), np.full((2, 2, 2), 0.5), atol=1e-5)
    assert blend(ends, [1, 1], (2, 2), "logit").dtype == np.float32


@pytest.mark.parametrize("averaging", ["probability", "logit"])
def test_a_member_of_weight_0_does_not_count(averaging: Averaging) -> None:
    maps = [np.random.default_rng(seed).integers(0, 256, (8, 12, 1), dtype=np.uint8) for seed in range(2)]
    np.testing.assert_array_equal(blend(maps, [3, 0], (16, 24), averaging), blend(maps[:1], [1], (16, 24), averaging))
