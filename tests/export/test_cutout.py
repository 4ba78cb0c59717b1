import numpy as np
import numpy.typing as npt

from unets.data.geometry import resize
from unets.export.pictures import cut_out, find_opacity

FULL_HW, SMALL_HW = (64, 96), (16, 24)


def draw_edge(slope: float = 0.3) -> npt.NDArray[np.float32]:
    """A slanting border: the share of each pixel that lies left of it, from 16 x 16 points a pixel."""
    rows, columns = ((np.arange(side * 16) + 0.5) / 16 for side in FULL_HW)
    left = columns[None, :] < 40.3 + slope * rows[:, None]
    return left.reshape(FULL_HW[0], 16, FULL_HW[1], 16).mean(axis=(1, 3)).astype(np.float32)


def predict(coverage_hw: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """What a perfect net of a quarter of the size says, enlarged."""
    small = resize(np.rint(coverage_hw * 255).astype(np.uint8), SMALL_HW).astype(np.float32) / 255
    return resize(small, FULL_HW)[..., None]


def test_the_opacity_is_the_share_that_the_object_covers() -> None:
    coverage_hw = draw_edge()
    probs_hwc = predict(coverage_hw)
    mask_hw = (probs_hwc[..., 0] >= 0.5).astype(np.uint8)
    opacity_hw = find_opacity(probs_hwc, mask_hw, 0.5)
    hard, blunt, soft = (
        np.abs(values_hw - coverage_hw).mean() for values_hw in (mask_hw, probs_hwc[..., 0], opacity_hw)
    )
    # Most of what is left is the contour's place, which a net of a quarter of the size knows no better.
    assert soft < 0.8 * hard
    assert soft < 0.2 * blunt
    assert opacity_hw.dtype == np.float32
    assert set(np.unique(opacity_hw[:, :30])) == {1.0} and set(np.unique(opacity_hw[:, 70:])) == {0.0}


def test_half_transparent_pixels_lose_the_background_s_colour() -> None:
    """A dark red object before green: composed with a known share, laid on white, compared with the truth."""
    rng = np.random.default_rng(0)
    coverage_hw1 = draw_edge()[..., None]
    front = np.array([120, 20, 30]) + rng.normal(0, 4, (*FULL_HW, 3))
    back = np.array([20, 220, 60]) + rng.normal(0, 4, (*FULL_HW, 3))
    photo = np.rint(coverage_hw1 * front + (1 - coverage_hw1) * back).clip(0, 255).astype(np.uint8)
    cutout = cut_out(photo, coverage_hw1[..., 0]).astype(np.float64)
    alpha = cutout[..., 3:] / 255
    is_soft = (alpha[..., 0] > 0.05) & (alpha[..., 0] < 0.95)
    expected = coverage_hw1 * front + (1 - coverage_hw1) * 255
    on_white, left_in = (alpha * colours + (1 - alpha) * 255 for colours in (cutout[..., :3], photo))
    error, error_before = (np.abs(image - expected)[is_soft].mean() for image in (on_white, left_in))
    assert error < error_before / 8, (error, error_before)
    opaque = alpha[..., 0] == 1
    np.testing.assert_array_equal(cutout[opaque][:, :3], photo[opaque])  # nothing else is touched
    assert (cutout[alpha[..., 0] == 0] == 0).all()
