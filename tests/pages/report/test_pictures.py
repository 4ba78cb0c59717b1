from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from unets.data.drawing import COLOURS_RGB, DIFFERENCES_RGB
from unets.data.samples import IGNORE
from unets.pages.report.pictures import LAYER_PX, draw_difference, draw_mask, fit, shrink_mask

Mask = npt.NDArray[np.uint8]


def read(png: bytes) -> Mask:
    """Reads a layer's colours, uint8 (height, width, 4)."""
    return np.array(Image.open(BytesIO(png)).convert("RGBA"))


def test_a_difference_tells_missed_from_too_much_from_the_wrong_class() -> None:
    truth = np.array([[0, 1, 1, 0, 2, 2]], dtype=np.uint8)
    mask = np.array([[0, 1, 0, 1, 1, 2]], dtype=np.uint8)
    colours = read(draw_difference(truth, mask))[0].tolist()
    missed, too_much, wrong = ([*rgb, 255] for rgb in DIFFERENCES_RGB.values())
    nothing = [0, 0, 0, 0]
    assert colours == [nothing, nothing, missed, too_much, wrong, nothing]


def test_a_mask_is_tinted_and_its_border_is_solid() -> None:
    mask = np.zeros((9, 12), dtype=np.uint8)
    mask[2:7, 2:6], mask[2:7, 6:10] = 1, 2
    rgba = read(draw_mask(mask))
    assert (rgba[mask == 0] == 0).all()
    for number in (1, 2):
        assert (rgba[mask == number][:, :3] == COLOURS_RGB[number - 1]).all()
    assert rgba[4, 3, 3] < 255 == rgba[4, 2, 3]  # inside and border
    assert rgba[4, 5, 3] == rgba[4, 6, 3] == 255  # where the classes meet, too


def test_an_empty_mask_is_an_empty_layer() -> None:
    assert (read(draw_mask(np.zeros((4, 5), dtype=np.uint8))) == 0).all()


def test_large_photos_lose_no_difference_and_keep_their_shape() -> None:
    truth = np.zeros((3000, 6000), dtype=np.uint8)
    mask = truth.copy()
    mask[1500, 3000] = 1  # a single pixel in 18 million
    rgba = read(draw_difference(truth, mask))
    assert rgba.shape == (960, LAYER_PX, 4) and 1 <= np.count_nonzero(rgba[..., 3]) <= 4
    assert np.argwhere(rgba[..., 3])[0].tolist() == [480, 960]


def test_sizes() -> None:
    assert fit((1280, 1918), 1920) == (1280, 1918)
    assert fit((1280, 1918), 959) == (640, 959)
    assert fit((1, 100_000), 100) == (1, 100)


def test_a_small_pixel_is_of_the_class_that_covers_half_of_it() -> None:
    mask = np.array([[1, 1, 1, 0, 2, 2], [1, 1, 0, 0, 1, 2]], dtype=np.uint8)
    assert shrink_mask(mask, (1, 3)).tolist() == [[1, 0, 2]]
    assert shrink_mask(mask, (2, 6)) is mask


def test_what_nobody_labelled_has_no_class_and_no_difference() -> None:
    truth = np.zeros((LAYER_PX + 80, 40), dtype=np.uint8)  # large enough to be shrunk
    truth[:, :8], truth[:, 8:16] = 1, IGNORE
    mask = np.zeros_like(truth)
    mask[:, 8:16] = 1
    assert (read(draw_mask(truth))[:, 10:14, 3] == 0).all() and (read(draw_mask(truth))[:, 2:6, 3] > 0).all()
    rgba = read(draw_difference(truth, mask))
    assert (rgba[:, 10:, 3] == 0).all() and (rgba[:, 2:6, 3] > 0).all()
