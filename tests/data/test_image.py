"""Images of any format, channels and depth; masks as the values they store; damage; what the codec may do for us."""

import io
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image, ImageOps

from unets.data.image import ImageFile, ImageKind, choose_reduction, list_suffixes, to_grey
from unets.data.io import decode_png, encode_layer, encode_png, read_index_image
from unets.data.pixels import read_values
from unets.errors import InputError

UPRIGHT = ImageKind(upright=True)
IMAGE = np.random.default_rng(0).integers(0, 256, (40, 64, 3), dtype=np.uint8)


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
    # OpenCV and Pillow decode what loses something with decoders of their own.
    assert found.shape == upright.shape and np.abs(found - upright).mean() < (1e-9 if ending == "png" else 3)
    assert ImageFile(path).size_hw == (40, 64)  # the tag is ignored unless it is asked for
    np.testing.assert_array_equal(ImageFile(path).read(), ImageFile(save(path, IMAGE, quality=100)).read())


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
    reduced = ImageFile(path).read(size_hw).astype(int)
    whole = cv2.resize(ImageFile(path).read(), (size_hw[1], size_hw[0]), interpolation=cv2.INTER_AREA).astype(int)
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


@pytest.mark.parametrize("channels", [2, 3, 4, 5, 7, 12])
@pytest.mark.parametrize("form", ["npy", "npy first", "tif", "tif planes", "tif pages"])
def test_images_of_any_channels(tmp_path: Path, channels: int, form: str) -> None:
    wanted = np.random.default_rng(1).integers(0, 256, (40, 52, channels), dtype=np.uint8)
    path, first = tmp_path / f"x.{form[:3]}", np.moveaxis(wanted, -1, 0)
    planes = {"tif": "contig", "tif planes": "separate", "tif pages": None}
    if form in planes:
        tifffile.imwrite(path, wanted if form == "tif" else first, photometric="minisblack", planarconfig=planes[form])
    else:
        np.save(path, wanted if form == "npy" else first)
    image = ImageFile(path, ImageKind(channels=channels))
    assert image.size_hw == (40, 52) and image.read_rgb().shape == (40, 52, 3)
    np.testing.assert_array_equal(image.read(), wanted)
    small = image.read((20, 26))
    assert small.shape == (20, 26, channels)
    alone = cv2.resize(wanted[..., -1].copy(), (26, 20), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(small[..., -1].astype(int), alone, atol=1)  # rounded in another order
    with pytest.raises(InputError, match=rf"must have 6 channels, as `channels` says. Received: {channels}"):
        ImageFile(path, ImageKind(channels=6)).read()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.uint16, np.int16])
@pytest.mark.parametrize("ending", ["tif", "npy"])
def test_a_range_makes_8_bits_of_any_numbers(tmp_path: Path, dtype: type, ending: str) -> None:
    least = 0 if dtype == np.uint16 else -5
    values, path = np.array([[least, 0, 100, 150], [200, 300, 1, 0]] * 8, dtype=dtype), tmp_path / f"x.{ending}"
    np.save(path, values) if ending == "npy" else tifffile.imwrite(path, values)
    found = ImageFile(path, ImageKind(value_range=(100, 200))).read()
    assert found[:2, :, 0].tolist() == [[0, 0, 0, 128], [255, 255, 0, 0]] and (found == found[..., :1]).all()
    with pytest.raises(InputError, match=r"must have 8 bits, or `value_range` say what becomes 0 and 255"):
        ImageFile(path).check()


@pytest.mark.parametrize("mode", ["CMYK", "P", "1", "LA", "PA", "RGBA", "L"])
def test_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(np.full((16, 16, 3), 255, dtype=np.uint8)).convert(mode)
    path = tmp_path / ("x.tif" if mode in ("CMYK", "LA", "PA") else "x.png")
    (picture.convert("P") if mode == "PA" else picture).save(path)
    image = ImageFile(path)
    image.check()
    assert image.size_hw == (16, 16) and image.read().shape == (16, 16, 3) and image.read().min() >= 254


def test_a_size_that_the_bytes_cannot_hold_is_refused_and_a_large_one_is_read(tmp_path: Path) -> None:
    content = bytearray(save(tmp_path / "x.png", IMAGE).read_bytes())
    content[16:24] = struct.pack(">II", 60_000, 60_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(InputError, match=r"must be of a size that \d+ bytes can hold. Received: 60000 x 60000"):
        ImageFile(tmp_path / "x.png")
    Image.new("1", (20_000, 10_000)).save(tmp_path / "large.png")  # 200 megapixels
    assert ImageFile(tmp_path / "large.png").size_hw == (10_000, 20_000)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_blocks": 7}])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
def test_a_jpeg_that_was_cut_off_and_got_an_end_is_refused(tmp_path: Path, options: Any, share: float) -> None:
    path, thumbnail = tmp_path / "a.jpg", io.BytesIO()
    Image.fromarray(IMAGE[:8, :8]).save(thumbnail, "JPEG")  # which has an end of its own
    for image in (draw_smooth((117, 233)), np.random.default_rng(0).integers(0, 256, (117, 233, 3), dtype=np.uint8)):
        Image.fromarray(image).save(path, **options, comment=thumbnail.getvalue())
        whole = path.read_bytes()
        for content in (whole, whole + b"\0" * 5, whole + b"notes"):
            path.write_bytes(content)
            ImageFile(path).check()
        for end in (b"", b"\xff\xd9"):
            path.write_bytes(whole[: int(len(whole) * share)] + end)
            with pytest.raises(InputError, match=r"a\.jpg must be (a )?whole"):
                ImageFile(path).check()


def test_broken_notes_do_not_break_an_image(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    Image.fromarray(IMAGE).save(path, exif=b"Exif\0\0MM\0\x2a\0\0\xff\xff")
    assert ImageFile(path, UPRIGHT).size_hw == (40, 64)


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


def save_indices(path: Path, values_hw: npt.NDArray[np.uint8]) -> Path:
    """Saves as a palette picture whose colors are far from the indices: index 1 is white, as in Carvana's GIFs."""
    picture = Image.fromarray(values_hw)
    picture.putpalette([0, 0, 0, 255, 255, 255, 200, 0, 0, 0, 200, 0])
    picture.save(path)
    return path


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.bmp", "a.tif"])
def test_masks_come_as_the_values_they_store_and_of_one_bit_as_0_and_1(tmp_path: Path, name: str) -> None:
    values_hw = np.random.default_rng(0).integers(0, 4, (30, 50), dtype=np.uint8)
    for path in (save_indices(tmp_path / name, values_hw), save(tmp_path / f"grey_{name}", values_hw)):
        read = read_index_image(path)
        assert read.dtype == np.uint8 and read.flags.writeable
        np.testing.assert_array_equal(read, values_hw)
    if name != "a.gif":
        Image.fromarray(values_hw > 0).save(tmp_path / name)
        assert Image.open(tmp_path / name).mode == "1"
        np.testing.assert_array_equal(read_index_image(tmp_path / name), values_hw > 0)


@pytest.mark.parametrize(("mode", "value"), [("RGB", (1, 1, 2)), ("RGBA", (1, 2, 2, 255)), ("I;16", 256)])
def test_masks_of_colors_or_more_bits(tmp_path: Path, mode: str, value: int | tuple[int, ...]) -> None:
    Image.new(mode, (50, 30), value).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a.png must hold .*Received: (colors|256 to 256)"):
        read_index_image(tmp_path / "a.png")


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


@pytest.mark.parametrize("num_colors", [2, 3, 5, 17, 256])
def test_a_layer_has_its_colors_and_opacities(num_colors: int) -> None:
    colors = [(index, 255 - index, index // 2, 255 - index // 3) for index in range(num_colors)]
    values_hw = np.arange(num_colors, dtype=np.uint8)[None].repeat(3, axis=0)
    rgba = np.array(Image.open(BytesIO(encode_layer(values_hw, colors))).convert("RGBA"))
    assert rgba.tolist() == [[list(color) for color in colors]] * 3
