"""Reading photos and masks: formats, damage, and what the codec may do for us."""

from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from unets.data.io import (
    choose_reduction,
    decode_png,
    encode_layer,
    encode_png,
    read_colour_image,
    read_image,
    read_index_image,
    read_size,
)
from unets.errors import InputError


def draw_smooth(size_hw: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Draws slow waves of colour, which JPEG keeps to a grey level or two; uint8 RGB (height, width, 3)."""
    rows, columns = np.mgrid[: size_hw[0], : size_hw[1]]
    waves = [np.sin(rows / 37 + phase) * np.cos(columns / 53 - phase) for phase in (0, 1, 2)]
    return np.asarray(np.stack(waves, axis=-1) * 80 + 128, dtype=np.uint8)


def save(path: Path, array: npt.NDArray[np.uint8], **options: object) -> Path:
    Image.fromarray(array).save(path, **options)
    return path


def save_indices(path: Path, values_hw: npt.NDArray[np.uint8]) -> Path:
    """Saves as a palette picture whose colours are far from the indices: index 1 is white, as in Carvana's GIFs."""
    picture = Image.fromarray(values_hw)
    picture.putpalette([0, 0, 0, 255, 255, 255, 200, 0, 0, 0, 200, 0])
    picture.save(path)
    return path


def test_colours_are_rgb(tmp_path: Path) -> None:
    red = np.zeros((32, 48, 3), dtype=np.uint8)
    red[..., 0] = 250
    for name in ("a.png", "a.jpg", "a.bmp", "a.tif"):
        image = read_image(save(tmp_path / name, red))
        assert image.shape == (32, 48, 3) and image.dtype == np.uint8
        assert abs(image.mean(axis=(0, 1)) - [250, 0, 0]).max() < 3


def test_grey_comes_as_three_equal_channels(tmp_path: Path) -> None:
    grey = draw_smooth((40, 60))[..., 0]
    image = read_image(save(tmp_path / "a.png", grey))
    for channel in range(3):
        np.testing.assert_array_equal(image[..., channel], grey)


@pytest.mark.parametrize("divisor", [2, 4, 8])
def test_the_codecs_reduction_equals_whole_decoding_and_area(tmp_path: Path, divisor: int) -> None:
    full_hw = (320, 480)
    path = save(tmp_path / "a.jpg", draw_smooth(full_hw), quality=95)
    size_hw = (full_hw[0] // divisor, full_hw[1] // divisor)
    assert choose_reduction(full_hw, size_hw) == divisor
    reduced = read_image(path, size_hw).astype(int)
    whole = cv2.resize(read_image(path), (size_hw[1], size_hw[0]), interpolation=cv2.INTER_AREA).astype(int)
    assert reduced.shape == (*size_hw, 3)
    # a drift of one small pixel would show as up to 80 / 37 * divisor = 4 (2), 9 (4), 17 (8) grey levels
    assert abs(reduced - whole).max() <= 3
    assert abs((reduced - whole).mean()) < 0.5


def test_the_rest_of_the_way_goes_by_area(tmp_path: Path) -> None:
    # 320 x 480 to 100 x 150: half by the codec, 160 x 240, then by area
    path = save(tmp_path / "a.jpg", draw_smooth((320, 480)), quality=95)
    image = read_image(path, (100, 150)).astype(int)
    whole = cv2.resize(read_image(path), (150, 100), interpolation=cv2.INTER_AREA).astype(int)
    assert abs(image - whole).max() <= 4


@pytest.mark.parametrize(
    ("full_hw", "size_hw", "divisor"),
    [
        ((1280, 1918), (640, 959), 2),
        # 1918 / 4 is not whole: the codec would give 480 columns of 4 pixels, 1920 in all
        ((1280, 1918), (320, 480), 2),
        ((1280, 1918), (320, 479), 2),
        ((1280, 1918), (1024, 1024), 1),
        ((1280, 1920), (320, 480), 4),
        ((1280, 1920), (160, 240), 8),
        ((1280, 1920), (16, 24), 8),
        # one side too large for the next divisor
        ((1280, 1920), (161, 240), 4),
        ((1280, 1920), (160, 241), 4),
        ((101, 101), (10, 10), 1),
        ((100, 101), (10, 10), 1),
        ((64, 96), (128, 192), 1),
    ],
)
def test_reduction_by_exact_divisors_only(full_hw: tuple[int, int], size_hw: tuple[int, int], divisor: int) -> None:
    assert choose_reduction(full_hw, size_hw) == divisor


@given(full_hw=st.tuples(*[st.integers(1, 3000)] * 2), size_hw=st.tuples(*[st.integers(1, 3000)] * 2))
def test_reduction_is_exact_and_leaves_enough(full_hw: tuple[int, int], size_hw: tuple[int, int]) -> None:
    divisor = choose_reduction(full_hw, size_hw)
    for full, wanted in zip(full_hw, size_hw, strict=True):
        assert full % divisor == 0
        assert divisor == 1 or full // divisor >= wanted


def test_the_orientation_tag_is_ignored(tmp_path: Path) -> None:
    image = draw_smooth((64, 96))
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation: turn by 90 degrees to show
    plain, tagged = save(tmp_path / "a.jpg", image), save(tmp_path / "b.jpg", image, exif=exif)
    assert Image.open(tagged).getexif()[0x0112] == 6
    np.testing.assert_array_equal(read_image(tagged), read_image(plain))
    np.testing.assert_array_equal(read_image(tagged, (32, 48)), read_image(plain, (32, 48)))
    assert read_size(tagged) == (64, 96)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("size_hw", [None, (32, 48)])
def test_truncated_jpeg(tmp_path: Path, share: float, size_hw: tuple[int, int] | None) -> None:
    path = save(tmp_path / "a.jpg", draw_smooth((320, 480)))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match=r"a.jpg must be a whole JPEG. Received: \d+ bytes without an end marker"):
        read_image(path, size_hw)


@pytest.mark.parametrize("content", [b"<html>not found</html>", b"\xff\xd8\xff\xd9", b"\x89PNG\r\n\x1a\n"])
def test_no_photo(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    for size_hw in (None, (32, 48)):
        with pytest.raises(InputError, match=r"a.jpg must be a "):
            read_image(tmp_path / "a.jpg", size_hw)
    with pytest.raises(InputError, match=r"a.jpg must be a picture"):
        read_size(tmp_path / "a.jpg")


def test_missing_and_empty(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    for read in (read_image, read_size, read_index_image):
        with pytest.raises(InputError, match=r"no.png must exist"):
            read(tmp_path / "no.png")
        with pytest.raises(InputError, match=r"empty.png must not be empty"):
            read(tmp_path / "empty.png")


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.bmp", "a.tif"])
def test_masks_come_as_the_values_they_store(tmp_path: Path, name: str) -> None:
    values_hw = np.random.default_rng(0).integers(0, 4, (30, 50), dtype=np.uint8)
    for path in (save_indices(tmp_path / name, values_hw), save(tmp_path / f"grey_{name}", values_hw)):
        read = read_index_image(path)
        assert read.dtype == np.uint8 and read.flags.writeable
        np.testing.assert_array_equal(read, values_hw)
        assert read_size(path) == (30, 50)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp"])
def test_bilevel_masks_come_as_0_and_1(tmp_path: Path, name: str) -> None:
    mask_hw = np.random.default_rng(0).integers(0, 2, (30, 50), dtype=np.uint8)
    Image.fromarray(mask_hw * 255).convert("1").save(tmp_path / name)
    assert Image.open(tmp_path / name).mode == "1"
    np.testing.assert_array_equal(read_index_image(tmp_path / name), mask_hw)


@pytest.mark.parametrize(("mode", "value"), [("RGB", (1, 1, 2)), ("RGBA", (1, 2, 2, 255)), ("I;16", 256)])
def test_masks_of_colours_or_more_bits(tmp_path: Path, mode: str, value: int | tuple[int, ...]) -> None:
    Image.new(mode, (50, 30), value).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=rf"a.png must hold one value of 8 bits a pixel .* Received: mode {mode}"):
        read_index_image(tmp_path / "a.png")


@pytest.mark.parametrize(("mode", "value"), [("RGB", (7, 7, 7)), ("RGBA", (7, 7, 7, 9)), ("LA", (7, 9)), ("I;16", 7)])
def test_masks_that_hold_one_value_in_another_mode(tmp_path: Path, mode: str, value: int | tuple[int, ...]) -> None:
    Image.new(mode, (50, 30), value).save(tmp_path / "a.png")
    assert (read_index_image(tmp_path / "a.png") == 7).all()


def test_colours_are_looked_up_in_a_palette_and_grey_is_a_colour_too(tmp_path: Path) -> None:
    colours = np.array([[[1, 2, 3], [255, 0, 4]]], dtype=np.uint8)
    codes = [[0x010203, 0xFF0004]]
    Image.fromarray(colours).save(tmp_path / "rgb.png")
    Image.fromarray(colours).quantize(2).save(tmp_path / "palette.png")
    assert read_colour_image(tmp_path / "rgb.png").tolist() == codes
    assert read_colour_image(tmp_path / "palette.png").tolist() == codes
    Image.new("L", (1, 1), 7).save(tmp_path / "grey.png")
    assert read_colour_image(tmp_path / "grey.png").tolist() == [[0x070707]]
    Image.new("I;16", (1, 1), 7).save(tmp_path / "deep.png")
    with pytest.raises(InputError, match=r"deep.png must hold colours of 8 bits a channel. Received: mode I;16"):
        read_colour_image(tmp_path / "deep.png")


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_photos_of_16_bits_are_stretched_over_the_range_given(tmp_path: Path, name: str) -> None:
    values = np.array([[0, 100, 150], [200, 4095, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / name)
    image = read_image(tmp_path / name, None, (100, 200))
    # (150 - 100) / 100 * 255 = 127.5, which rint takes to the even 128; outside the range it stays at 0 and 255
    assert image[..., 0].tolist() == [[0, 0, 128], [255, 255, 255]]
    assert (image == image[..., :1]).all() and image.dtype == np.uint8
    # a photo of 8 bits is left as it is
    eight = save(tmp_path / f"eight_{name}", np.array([[0, 150], [200, 255]], dtype=np.uint8))
    np.testing.assert_array_equal(read_image(eight, None, (100, 200)), read_image(eight))


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.tif", "a.bmp"])
def test_truncated_mask(tmp_path: Path, name: str) -> None:
    path = save(tmp_path / name, np.random.default_rng(0).integers(0, 2, (300, 500), dtype=np.uint8))
    content = path.read_bytes()
    for share in (0.3, 0.9):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(InputError, match=rf"{name} must be"):
            read_index_image(path)


def test_soft_maps_are_written_as_run_lengths() -> None:
    """OpenCV forgets the strategy when a level comes after it: a quarter more bytes, which nothing else would show."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:640, :959]
    distance = np.hypot(rows - 320, columns - 480) - 200 + cv2.GaussianBlur(rng.normal(size=(640, 959)), (0, 0), 3) * 8
    map_hw = np.rint(255 / (1 + np.exp(distance))).astype(np.uint8)
    settings = (cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE, cv2.IMWRITE_PNG_COMPRESSION, 1)
    written, wrong_order = cv2.imencode(".png", map_hw, settings)
    png = encode_png(map_hw)
    assert written and len(png) < 0.85 * len(wrong_order)
    decoded = decode_png(png)
    assert decoded is not None
    np.testing.assert_array_equal(decoded, map_hw)


@pytest.mark.parametrize("num_colours", [2, 3, 5, 17, 256])
def test_a_layer_has_its_colours_and_opacities(num_colours: int) -> None:
    colours = [(index, 255 - index, index // 2, 255 - index // 3) for index in range(num_colours)]
    values_hw = np.arange(num_colours, dtype=np.uint8)[None].repeat(3, axis=0)
    rgba = np.array(Image.open(BytesIO(encode_layer(values_hw, colours))).convert("RGBA"))
    assert rgba.tolist() == [[list(colour) for colour in colours]] * 3
