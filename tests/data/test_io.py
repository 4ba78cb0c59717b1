"""Mask files as the values they store, and how maps are written."""

from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from unets.data.io import (
    decode_png,
    encode_layer,
    encode_png,
    read_index_image,
)
from unets.errors import InputError


def save(path: Path, array: npt.NDArray[np.uint8], **options: object) -> Path:
    Image.fromarray(array).save(path, **options)
    return path


def save_indices(path: Path, values_hw: npt.NDArray[np.uint8]) -> Path:
    """Saves as a palette picture whose colors are far from the indices: index 1 is white, as in Carvana's GIFs."""
    picture = Image.fromarray(values_hw)
    picture.putpalette([0, 0, 0, 255, 255, 255, 200, 0, 0, 0, 200, 0])
    picture.save(path)
    return path


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.bmp", "a.tif"])
def test_masks_come_as_the_values_they_store(tmp_path: Path, name: str) -> None:
    values_hw = np.random.default_rng(0).integers(0, 4, (30, 50), dtype=np.uint8)
    for path in (save_indices(tmp_path / name, values_hw), save(tmp_path / f"grey_{name}", values_hw)):
        read = read_index_image(path)
        assert read.dtype == np.uint8 and read.flags.writeable
        np.testing.assert_array_equal(read, values_hw)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp"])
def test_bilevel_masks_come_as_0_and_1(tmp_path: Path, name: str) -> None:
    mask_hw = np.random.default_rng(0).integers(0, 2, (30, 50), dtype=np.uint8)
    Image.fromarray(mask_hw * 255).convert("1").save(tmp_path / name)
    assert Image.open(tmp_path / name).mode == "1"
    np.testing.assert_array_equal(read_index_image(tmp_path / name), mask_hw)


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
