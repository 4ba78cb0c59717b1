import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from unets.data.io import read_image
from unets.data.photo import Photo, list_suffixes, take_colours
from unets.errors import InputError

PHOTO = np.random.default_rng(0).integers(0, 256, (40, 64, 3), dtype=np.uint8)


def save(path: Path, image: np.ndarray, *, orientation: int | None = None, **options: object) -> Path:
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
        options["exif"] = exif
    Image.fromarray(image).save(path, **options)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "jpg", "webp"])
def test_photos_are_turned_as_viewers_turn_them(tmp_path: Path, orientation: int, ending: str) -> None:
    path = save(tmp_path / f"x.{ending}", PHOTO, orientation=orientation, quality=100)
    with Image.open(path) as picture:
        upright = np.array(ImageOps.exif_transpose(picture).convert("RGB"), dtype=np.int16)
    photo = Photo(path)
    assert photo.size_hw == upright.shape[:2]
    found = photo.read().astype(np.int16)
    assert found.shape == upright.shape
    if ending == "png":  # OpenCV and Pillow decode what loses something with decoders of their own
        np.testing.assert_array_equal(found, upright)
    else:
        assert np.abs(found - upright).mean() < 3


def test_as_stored_is_what_training_reads(tmp_path: Path) -> None:
    path = save(tmp_path / "x.jpg", PHOTO, orientation=6)
    photo = Photo(path, upright=False)
    assert photo.size_hw == (40, 64)
    for size_hw in (None, (20, 32), (13, 17)):
        np.testing.assert_array_equal(photo.read(size_hw), read_image(path, size_hw))


def test_a_turned_photo_is_shrunk_to_the_size_asked_for(tmp_path: Path) -> None:
    photo = Photo(save(tmp_path / "x.png", PHOTO, orientation=6))
    assert photo.size_hw == (64, 40)
    expected = read_image(save(tmp_path / "y.png", np.rot90(PHOTO, -1)), (32, 20))
    np.testing.assert_allclose(photo.read((32, 20)).astype(int), expected, atol=1)  # sums are rounded in another order


def test_a_tiff_is_turned_once(tmp_path: Path) -> None:
    """OpenCV and Pillow turn it by themselves, and Pillow still names the tag."""
    photo = Photo(save(tmp_path / "x.tif", PHOTO, orientation=6))
    assert photo.size_hw == (64, 40)
    np.testing.assert_array_equal(photo.read(), np.rot90(PHOTO, -1))


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "webp", "ppm", "tga", "pcx", "sgi", "jp2", "avif", "gif"])
def test_formats_of_either_library_are_read(tmp_path: Path, ending: str) -> None:
    flat = np.full((40, 64, 3), (200, 100, 50), dtype=np.uint8)
    photo = Photo(save(tmp_path / f"x.{ending}", flat))
    assert photo.size_hw == (40, 64)
    assert np.abs(photo.read().astype(int) - flat).max() <= 4
    assert photo.read((20, 32)).shape == (20, 32, 3)
    assert f".{ending}" in list_suffixes()


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_16_bits_give_their_higher_8(tmp_path: Path, ending: str) -> None:
    levels_hw = np.arange(40 * 64, dtype=np.uint16).reshape(40, 64) * 25
    photo = Photo(save(tmp_path / f"x.{ending}", levels_hw))
    np.testing.assert_array_equal(photo.read(), np.repeat((levels_hw >> 8).astype(np.uint8)[..., None], 3, axis=-1))


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_a_range_of_16_bits_is_that_of_the_photos_trained_on(tmp_path: Path, ending: str) -> None:
    levels_hw = np.repeat(np.array([[0, 1000, 2000, 3000, 60000]], dtype=np.uint16), 40, axis=0)
    path = save(tmp_path / f"x.{ending}", levels_hw)
    # 255 * (2000 - 1000) / 2000 = 127.5, which goes to the even number; what lies outside is cut off.
    expected = [0, 0, 128, 255, 255]
    assert Photo(path, value_range=(1000, 3000)).read()[0, :, 0].tolist() == expected
    assert read_image(path, value_range=(1000, 3000))[0, :, 0].tolist() == expected  # as training reads it


def test_transparency_is_read_apart(tmp_path: Path) -> None:
    opacity_hw = np.zeros((40, 64), dtype=np.uint8)
    opacity_hw[:10, :20] = 200
    photo = Photo(save(tmp_path / "x.png", np.dstack([PHOTO, opacity_hw]), orientation=3))
    np.testing.assert_array_equal(photo.read(), PHOTO[::-1, ::-1])
    np.testing.assert_array_equal(photo.read_opacity(), opacity_hw[::-1, ::-1])
    assert Photo(save(tmp_path / "y.png", PHOTO)).read_opacity() is None


def test_a_cut_off_jpeg_is_refused_though_its_thumbnail_ends(tmp_path: Path) -> None:
    thumbnail = io.BytesIO()
    Image.fromarray(PHOTO[:8, :8]).save(thumbnail, "JPEG")
    assert thumbnail.getvalue().endswith(b"\xff\xd9")
    path = save(tmp_path / "x.jpg", PHOTO, quality=95, comment=thumbnail.getvalue())
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(InputError, match=r"x\.jpg must be whole"):
        Photo(path)


@pytest.mark.parametrize("ending", ["png", "gif", "bmp", "tif", "webp"])
def test_other_formats_cut_off_are_refused(tmp_path: Path, ending: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = save(tmp_path / f"x.{ending}", PHOTO)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=rf"x\.{ending} must be"):
        Photo(path).read()


def test_what_is_no_photo_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    path.write_text("not a photo")
    with pytest.raises(InputError, match=r"x\.jpg must be a photo"):
        Photo(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="must not be empty"):
        Photo(path)


def test_broken_notes_do_not_break_a_photo(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    Image.fromarray(PHOTO).save(path, exif=b"Exif\0\0MM\0\x2a\0\0\xff\xff")
    assert Photo(path).size_hw == (40, 64)


def test_nets_of_grey_photos_see_grey() -> None:
    red = np.full((4, 4, 3), (255, 0, 0), dtype=np.uint8)
    np.testing.assert_array_equal(take_colours(red, "grey"), np.full((4, 4, 3), 76))  # 0.299 * 255 = 76.2
    assert take_colours(red, "rgb") is red
    levels = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=-1)
    np.testing.assert_array_equal(take_colours(levels, "grey"), levels)
