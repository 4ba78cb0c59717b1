"""Images of any format, channels and depth; damage; what the codec may do for us."""

import io
import struct
import tempfile
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from unets.data.image import (
    RGB,
    ImageFile,
    ImageKind,
    choose_reduction,
    list_suffixes,
    to_grey,
)
from unets.data.pixels import read_values
from unets.errors import InputError

UPRIGHT = ImageKind(upright=True)
IMAGE = np.random.default_rng(0).integers(0, 256, (40, 64, 3), dtype=np.uint8)


def read_image_file(path: Path, kind: ImageKind = RGB, size_hw: tuple[int, int] | None = None) -> np.ndarray:
    return ImageFile(path, kind).read(size_hw)


def save(path: Path, image: np.ndarray, *, orientation: int | None = None, **options: object) -> Path:
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
        options["exif"] = exif
    Image.fromarray(image).save(path, **options)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "jpg", "webp"])
def test_images_are_turned_as_viewers_turn_them(tmp_path: Path, orientation: int, ending: str) -> None:
    path = save(tmp_path / f"x.{ending}", IMAGE, orientation=orientation, quality=100)
    with Image.open(path) as picture:
        upright = np.array(ImageOps.exif_transpose(picture).convert("RGB"), dtype=np.int16)
    image = ImageFile(path, UPRIGHT)
    assert image.size_hw == upright.shape[:2]
    found = image.read().astype(np.int16)
    assert found.shape == upright.shape
    if ending == "png":  # OpenCV and Pillow decode what loses something with decoders of their own
        np.testing.assert_array_equal(found, upright)
    else:
        assert np.abs(found - upright).mean() < 3


@pytest.mark.parametrize("ending", ["tif", "webp", "tga", "jp2", "avif", "gif"])
def test_formats_of_either_library_are_read(tmp_path: Path, ending: str) -> None:
    flat = np.full((40, 64, 3), (200, 100, 50), dtype=np.uint8)
    image = ImageFile(save(tmp_path / f"x.{ending}", flat), UPRIGHT)
    assert image.size_hw == (40, 64)
    assert np.abs(image.read().astype(int) - flat).max() <= 4
    assert image.read((20, 32)).shape == (20, 32, 3)
    assert f".{ending}" in list_suffixes()


def test_transparency_is_read_apart(tmp_path: Path) -> None:
    opacity_hw = np.zeros((40, 64), dtype=np.uint8)
    opacity_hw[:10, :20] = 200
    image = ImageFile(save(tmp_path / "x.png", np.dstack([IMAGE, opacity_hw]), orientation=3), UPRIGHT)
    np.testing.assert_array_equal(image.read(), IMAGE[::-1, ::-1])
    np.testing.assert_array_equal(image.read_opacity(), opacity_hw[::-1, ::-1])
    assert ImageFile(save(tmp_path / "y.png", IMAGE), UPRIGHT).read_opacity() is None


def test_a_cut_off_jpeg_is_refused_though_its_thumbnail_ends(tmp_path: Path) -> None:
    thumbnail = io.BytesIO()
    Image.fromarray(IMAGE[:8, :8]).save(thumbnail, "JPEG")
    assert thumbnail.getvalue().endswith(b"\xff\xd9")
    path = save(tmp_path / "x.jpg", IMAGE, quality=95, comment=thumbnail.getvalue())
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(InputError, match=r"x\.jpg must be whole"):
        ImageFile(path, UPRIGHT)


def test_broken_notes_do_not_break_a_image(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    Image.fromarray(IMAGE).save(path, exif=b"Exif\0\0MM\0\x2a\0\0\xff\xff")
    assert ImageFile(path, UPRIGHT).size_hw == (40, 64)


def test_nets_of_grey_images_see_grey(tmp_path: Path) -> None:
    red = np.full((4, 4, 3), (255, 0, 0), dtype=np.uint8)
    np.testing.assert_array_equal(to_grey(red), np.full((4, 4, 3), 76))  # 0.299 * 255 = 76.2
    levels = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=-1)
    np.testing.assert_array_equal(to_grey(levels), levels)
    image = ImageFile(save(tmp_path / "x.png", red), ImageKind(channels="grey"))
    np.testing.assert_array_equal(image.read(), to_grey(red))
    np.testing.assert_array_equal(image.read_rgb(), red)  # for people


def draw_smooth(size_hw: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Draws slow waves of color, which JPEG keeps to a grey level or two; uint8 RGB (height, width, 3)."""
    rows, columns = np.mgrid[: size_hw[0], : size_hw[1]]
    waves = [np.sin(rows / 37 + phase) * np.cos(columns / 53 - phase) for phase in (0, 1, 2)]
    return np.asarray(np.stack(waves, axis=-1) * 80 + 128, dtype=np.uint8)


@pytest.mark.parametrize("divisor", [2, 4, 8])
def test_the_codecs_reduction_equals_whole_decoding_and_area(tmp_path: Path, divisor: int) -> None:
    full_hw = (320, 480)
    path = save(tmp_path / "a.jpg", draw_smooth(full_hw), quality=95)
    size_hw = (full_hw[0] // divisor, full_hw[1] // divisor)
    assert choose_reduction(full_hw, size_hw) == divisor
    reduced = read_image_file(path, size_hw=size_hw).astype(int)
    whole = cv2.resize(read_image_file(path), (size_hw[1], size_hw[0]), interpolation=cv2.INTER_AREA).astype(int)
    assert reduced.shape == (*size_hw, 3)
    # a drift of one small pixel would show as up to 80 / 37 * divisor = 4 (2), 9 (4), 17 (8) grey levels
    assert abs(reduced - whole).max() <= 3
    assert abs((reduced - whole).mean()) < 0.5


@pytest.mark.parametrize(
    ("full_hw", "size_hw", "divisor"),
    [
        *(((1280, 1918), (640, 959), 2), ((1280, 1918), (1024, 1024), 1), ((64, 96), (128, 192), 1)),
        # 1918 / 4 is not whole: the codec would give 480 columns of 4 pixels, 1920 in all
        *(((1280, 1918), (320, 480), 2), ((101, 101), (10, 10), 1), ((100, 101), (10, 10), 1)),
        *(((1280, 1920), (320, 480), 4), ((1280, 1920), (160, 240), 8), ((1280, 1920), (16, 24), 8)),
        # one side too large for the next divisor
        *(((1280, 1920), (161, 240), 4), ((1280, 1920), (160, 241), 4)),
    ],
)
def test_reduction_by_exact_divisors_only(full_hw: tuple[int, int], size_hw: tuple[int, int], divisor: int) -> None:
    assert choose_reduction(full_hw, size_hw) == divisor


def test_the_orientation_tag_is_ignored_unless_it_is_asked_for(tmp_path: Path) -> None:
    image = draw_smooth((64, 96))
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation: turn by 90 degrees to show
    plain, tagged = save(tmp_path / "a.jpg", image), save(tmp_path / "b.jpg", image, exif=exif)
    assert Image.open(tagged).getexif()[0x0112] == 6
    np.testing.assert_array_equal(read_image_file(tagged), read_image_file(plain))
    np.testing.assert_array_equal(read_image_file(tagged, size_hw=(32, 48)), read_image_file(plain, size_hw=(32, 48)))
    assert ImageFile(tagged).size_hw == (64, 96)


N_CHANNELS = np.random.default_rng(1).integers(0, 256, (40, 52, 12), dtype=np.uint8)


@pytest.mark.parametrize("channels", [2, 3, 4, 5, 7, 12])
@pytest.mark.parametrize("form", ["npy", "npy first", "tif", "tif planes", "tif pages"])
def test_images_of_any_channels(tmp_path: Path, channels: int, form: str) -> None:
    wanted = N_CHANNELS[..., :channels]
    path = tmp_path / f"x.{form[:3]}"
    first = np.moveaxis(wanted, -1, 0)
    if form == "npy":
        np.save(path, wanted)
    elif form == "npy first":
        np.save(path, first)
    elif form == "tif":
        tifffile.imwrite(path, wanted, photometric="minisblack", planarconfig="contig")
    elif form == "tif planes":
        tifffile.imwrite(path, first, photometric="minisblack", planarconfig="separate")
    else:
        tifffile.imwrite(path, first, photometric="minisblack")
    kind = ImageKind(channels=channels)
    assert ImageFile(path, kind).size_hw == (40, 52)
    np.testing.assert_array_equal(read_image_file(path, kind), wanted)
    small = read_image_file(path, kind, (20, 26))
    assert small.shape == (20, 26, channels)
    one = read_image_file(path, kind)[..., channels - 1]
    alone = cv2.resize(one, (26, 20), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(small[..., channels - 1].astype(int), alone, atol=1)  # rounded in another order
    assert ImageFile(path, kind).read_rgb().shape == (40, 52, 3)
    with pytest.raises(InputError, match=rf"must have 6 channels, as `channels` says. Received: {channels}"):
        read_image_file(path, ImageKind(channels=6))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.uint16, np.int16])
@pytest.mark.parametrize("ending", ["tif", "npy"])
def test_a_range_makes_8_bits_of_any_numbers(tmp_path: Path, dtype: type, ending: str) -> None:
    values = np.array([[-5, 0, 100, 150], [200, 300, 1, 0]] * 8, dtype=dtype) if dtype != np.uint16 else None
    values = np.array([[0, 0, 100, 150], [200, 300, 1, 0]] * 8, dtype=dtype) if values is None else values
    path = tmp_path / f"x.{ending}"
    if ending == "npy":
        np.save(path, values)
    else:
        tifffile.imwrite(path, values)
    found = read_image_file(path, ImageKind(value_range=(100, 200)))
    assert found[:2, :, 0].tolist() == [[0, 0, 0, 128], [255, 255, 0, 0]] and (found == found[..., :1]).all()
    with pytest.raises(InputError, match=r"must have 8 bits, or `value_range` say what becomes 0 and 255"):
        ImageFile(path).check()


@pytest.mark.parametrize("mode", ["CMYK", "P", "1", "LA", "PA", "RGBA", "L"])
def test_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(np.full((16, 16, 3), 255, dtype=np.uint8)).convert(mode)
    path = tmp_path / ("x.tif" if mode in ("CMYK", "LA", "PA") else "x.png")
    if mode == "PA":
        picture = picture.convert("P")
    picture.save(path)
    found = read_image_file(path)
    assert found.shape == (16, 16, 3) and found.min() >= 254
    assert ImageFile(path).size_hw == (16, 16)
    ImageFile(path).check()


def test_a_size_that_the_bytes_cannot_hold_is_refused_and_a_large_one_is_read(tmp_path: Path) -> None:
    content = bytearray(save(tmp_path / "x.png", IMAGE).read_bytes())
    content[16:24] = struct.pack(">II", 60_000, 60_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(InputError, match=r"must be of a size that \d+ bytes can hold. Received: 60000 x 60000"):
        ImageFile(tmp_path / "x.png")
    Image.new("1", (20_000, 10_000)).save(tmp_path / "large.png")  # 200 megapixels
    assert ImageFile(tmp_path / "large.png").size_hw == (10_000, 20_000)


@given(place=st.floats(0, 1), value=st.integers(0, 255), ending=st.sampled_from(["png", "jpg", "tif", "gif", "bmp"]))
def test_damaged_bytes_are_an_image_or_one_clear_error(place: float, value: int, ending: str) -> None:
    content = io.BytesIO()
    kind = {"jpg": "JPEG", "tif": "TIFF"}.get(ending, ending.upper())
    Image.fromarray(IMAGE).save(content, kind)
    damaged = bytearray(content.getvalue())
    damaged[int(place * (len(damaged) - 1))] = value
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x.{ending}"
        path.write_bytes(damaged)
        try:
            found = read_image_file(path, UPRIGHT, (20, 32))
        except InputError as error:
            assert f"x.{ending} must" in str(error)
        else:
            assert found.shape == (20, 32, 3)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_blocks": 7}])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
def test_a_jpeg_that_was_cut_off_and_got_an_end_is_refused(tmp_path: Path, options: Any, share: float) -> None:
    path = tmp_path / "a.jpg"
    for image in (draw_smooth((117, 233)), np.random.default_rng(0).integers(0, 256, (117, 233, 3), dtype=np.uint8)):
        Image.fromarray(image).save(path, **options)
        whole = path.read_bytes()
        for content in (whole, whole + b"\0" * 5, whole + b"notes"):
            path.write_bytes(content)
            ImageFile(path).check()
        path.write_bytes(whole[: int(len(whole) * share)] + b"\xff\xd9")
        with pytest.raises(InputError, match=r"a\.jpg must be (a )?whole"):
            ImageFile(path).check()


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.gif"])
def test_zeros_in_place_of_the_last_bytes_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    Image.fromarray(draw_smooth((60, 80))).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole + bytes(20))
    ImageFile(path).check()
    path.write_bytes(whole[:-40] + bytes(40))
    with pytest.raises(InputError, match=r"must be whole. Received: zeros in place of its last bytes"):
        ImageFile(path).check()


@pytest.mark.parametrize("ending", ["gif", "webp"])
def test_a_film_is_no_image_and_no_mask(tmp_path: Path, ending: str) -> None:
    frames = [Image.fromarray(np.full((20, 30), level, dtype=np.uint8)) for level in (0, 200)]
    frames[0].save(tmp_path / f"a.{ending}", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match=rf"a\.{ending} must hold one picture. Received: 2 frames"):
        ImageFile(tmp_path / f"a.{ending}").check()
    with pytest.raises(InputError, match=r"must hold one picture"):
        read_values(tmp_path / f"a.{ending}")
