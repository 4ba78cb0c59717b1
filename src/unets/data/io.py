"""Reading photos and masks: the only place that knows file formats, color order and what a codec can do for us."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from unets.data.files import read_bytes
from unets.data.geometry import SizeHW, shrink
from unets.errors import InputError
from unets.store.runs import atomic_path

# The orientation tag is ignored everywhere: masks are drawn over the stored pixels.
_DECODE_FLAGS = {
    1: cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION,
    2: cv2.IMREAD_REDUCED_COLOR_2 | cv2.IMREAD_IGNORE_ORIENTATION,
    4: cv2.IMREAD_REDUCED_COLOR_4 | cv2.IMREAD_IGNORE_ORIENTATION,
    8: cv2.IMREAD_REDUCED_COLOR_8 | cv2.IMREAD_IGNORE_ORIENTATION,
}
# Sixteen maps made of true masks, of 640 x 959 and of 1280 x 1918: KB, ms to write, ms to read.
# Run lengths, the better of two filters a row  9.4 2.8 1.7   27.2  9.9 6.5
# run lengths, the best of five                 9.3 4.8 2.1   26.2 16.5 7.3
# run lengths, unfiltered                      10.5 1.1 1.5   36.4  4.0 5.8
# default strategy at level 1, best of five    13.2 4.2 0.9   39.7 16.5 3.5
# default strategy at level 4, best of five     9.9 5.2 1.5   26.5 20.1 6.7
# The strategy must come after the level: OpenCV 5 takes the default strategy again when it comes to a level.
_PNG_SETTINGS = (
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FAST_FILTERS),
)
_DEEP_MODES = ("I;16", "I;16B", "I;16L", "I", "F")  # of Pillow: more than 8 bits
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageKind:
    """How the images of a data set are seen."""

    channels: Literal["rgb", "grey"] | int = "rgb"
    value_range: tuple[float, float] | None = None  # what becomes 0 and 255 in images of more than 8 bits
    upright: bool = False  # whether images are turned as their EXIF tag says


RGB = ImageKind()


def read_image_file(path: Path, kind: ImageKind = RGB, size_hw: SizeHW | None = None) -> npt.NDArray[np.uint8]:
    """Reads an image, shrunk to `size_hw` by area.

    A JPEG is decoded at a fraction of its size where that is exact (see `choose_reduction`), the rest of the way goes
    by area. Grey photos come as three equal channels.

    Args:
        path: an image, in a folder or in a zip.
        kind: how it is seen.
        size_hw: (height, width) wanted; None keeps the image's own.

    Returns:
        uint8 RGB (height, width, 3).

    Raises:
        InputError: the file is missing, empty, truncated, or not a photo.
    """
    return decode_image(read_bytes(path), path, size_hw, kind.value_range)


def decode_image(
    content: bytes, path: Path, size_hw: SizeHW | None = None, value_range: tuple[float, float] | None = None
) -> npt.NDArray[np.uint8]:
    """Does what `read_image_file` does with the bytes of a file; `path` is for the error."""
    reduction = 1
    if content.startswith(_JPEG_START):
        # cv2 fills the missing rest of a truncated JPEG with grey and says nothing.
        if content.rfind(_JPEG_END) < 0:
            raise InputError(f"{path} must be a whole JPEG. Received: {len(content)} bytes without an end marker")
        if size_hw is not None:
            reduction = choose_reduction(_read_size(content, path), size_hw)
    depth = 0 if value_range is None else cv2.IMREAD_ANYDEPTH
    image = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), _DECODE_FLAGS[reduction] | depth)
    if image is None:
        raise InputError(f"{path} must be a photo that OpenCV reads. Received: {len(content)} bytes of something else")
    if value_range is not None and image.dtype != np.uint8:
        image = _stretch(np.asarray(image), value_range)
    image_bgr = np.asarray(image, dtype=np.uint8)
    if size_hw is not None:
        image_bgr = shrink(image_bgr, size_hw)
    return np.asarray(cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def check_image_file(path: Path, kind: ImageKind) -> SizeHW:
    """Reads an image to its last byte.

    A JPEG is decoded at an eighth of its size: the whole stream of bits is read, in 2.9 ms in place of 7.6 for one of
    1280 x 1918. It is Pillow that reads, because cv2 fills the missing rest of a truncated JPEG with grey.

    Returns:
        (height, width).

    Raises:
        InputError: the file is missing, empty, damaged, no image, or not of the declared kind.
    """
    content = read_bytes(path)
    with _open_picture(content, path) as picture:
        width, height = picture.size
        mode = picture.mode
        try:
            picture.draft("L", (max(width // 8, 1), max(height // 8, 1)))
            picture.load()
        except (OSError, SyntaxError, ValueError) as error:
            raise InputError(f"{path} must be whole. Received: {error}") from error
    if mode in _DEEP_MODES and kind.value_range is None:
        raise InputError(f"{path} must have 8 bits, or `value_range` say what becomes 0 and 255. Received: 16 bits")
    return height, width


def choose_reduction(full_hw: SizeHW, size_hw: SizeHW) -> int:
    """Returns the largest of 8, 4, 2, 1 that divides both sides and leaves at least `size_hw`.

    The divisor must be exact: at a quarter, 1918 becomes 480 columns of 4 pixels, 1920 in all, and the photo drifts
    against its mask by up to 1.9 pixels.
    """
    for divisor in (8, 4, 2):
        exact = full_hw[0] % divisor == 0 and full_hw[1] % divisor == 0
        if exact and full_hw[0] // divisor >= size_hw[0] and full_hw[1] // divisor >= size_hw[1]:
            return divisor
    return 1


def read_size(path: Path, kind: ImageKind = RGB) -> SizeHW:
    """Reads (height, width) of a photo or mask from its header.

    Raises:
        InputError: the file is missing, empty or not a picture.
    """
    return _read_size(read_bytes(path), path)


def read_values(path: Path) -> npt.NDArray[np.integer[Any]]:
    """Reads a mask file as the values it stores: palette indices, grey levels, or 0 and 1 of a bilevel picture.

    Pillow, not cv2: cv2 applies a GIF's palette (0/255 in place of 0/1, three channels since 5.0) and takes twice as
    long. A color picture whose channels are equal is grey.

    Returns:
        (height, width), uint8 or uint16.

    Raises:
        InputError: the file is missing, empty, damaged, or holds colors where one value a pixel is wanted.
    """
    values, mode = _read_pixels(path, keep=("1", "L", "P"))
    if values.ndim == 3 and mode in ("RGB", "RGBA", "LA"):
        channels = values[..., :1] if mode == "LA" else values[..., :3]
        if (channels == channels[..., :1]).all():
            return np.ascontiguousarray(channels[..., 0])
    elif values.ndim == 2 and values.dtype == np.uint8:
        return values
    elif (
        values.ndim == 2 and values.dtype.kind in "iu" and values.min(initial=0) >= 0 and values.max(initial=0) < 65_536
    ):
        return np.array(values, dtype=np.uint16)
    raise InputError(f"{path} must hold one whole number a pixel (grey or palette). Received: mode {mode}")


def read_index_image(path: Path) -> npt.NDArray[np.uint8]:
    """Reads a mask file of class indices; see `read_values`. 16 bits whose values are at most 255 hold 8.

    Returns:
        uint8 (height, width).

    Raises:
        InputError: see `read_values`; or a value is above 255.
    """
    values = read_values(path)
    if values.dtype == np.uint8:
        return np.asarray(values, dtype=np.uint8)
    if values.max(initial=0) > 255:
        raise InputError(f"{path} must hold values of 8 bits. Received: up to {values.max()}")
    return values.astype(np.uint8)


def read_color_codes(path: Path) -> npt.NDArray[np.uint32]:
    """Reads a mask file as colors, 65536 R + 256 G + B; those of a palette are looked up, grey 7 is (7, 7, 7).

    Returns:
        uint32 (height, width).

    Raises:
        InputError: the file is missing, empty, damaged, or no picture of 8 bits a channel.
    """
    values, mode = _read_pixels(path, keep=())
    if values.ndim != 3:
        raise InputError(f"{path} must hold colors of 8 bits a channel. Received: mode {mode}")
    red, green, blue = (values[..., channel].astype(np.uint32) for channel in range(3))
    return np.asarray(red << 16 | green << 8 | blue)


def _read_pixels(path: Path, keep: tuple[str, ...]) -> tuple[npt.NDArray[Any], str]:
    """Returns (pixels, mode) of a picture; with `keep` as it stores them, without them as RGB where it has 8 bits."""
    with _open_picture(read_bytes(path), path) as picture:
        mode = picture.mode
        try:
            if mode in keep:
                return np.array(picture, dtype=np.uint8), mode
            if not keep and mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
                return np.array(picture.convert("RGB"), dtype=np.uint8), mode
            return np.array(picture), mode
        except (OSError, SyntaxError, ValueError) as error:
            raise InputError(f"{path} must be whole. Received: {error}") from error


def _stretch(image: npt.NDArray[Any], value_range: tuple[float, float]) -> npt.NDArray[np.uint8]:
    low, high = value_range
    scaled = (image.astype(np.float32) - low) * np.float32(255 / (high - low))
    return np.asarray(np.rint(np.clip(scaled, 0, 255)), dtype=np.uint8)


def encode_png(values_hw: npt.NDArray[np.uint8]) -> bytes:
    """Writes uint8 (height, width) as a PNG, without loss and fast."""
    written, png = cv2.imencode(".png", np.ascontiguousarray(values_hw), _PNG_SETTINGS)
    if not written:
        raise OSError(f"OpenCV cannot write a PNG of shape {values_hw.shape}")
    return png.tobytes()


def decode_png(content: bytes) -> npt.NDArray[np.uint8] | None:
    """Reads what `encode_png` wrote; None where the bytes are something else."""
    if not content:
        return None
    values = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint8 or values.ndim != 2:
        return None
    return np.asarray(values, dtype=np.uint8)


def write_image(path: Path, image_hwc: npt.NDArray[np.uint8]) -> None:
    """Writes a picture for people, whole or not at all; the format follows the name.

    Args:
        path: ends in .jpg, .png, ...
        image_hwc: uint8 RGB (height, width, 3).
    """
    with atomic_path(path) as temporary:
        Image.fromarray(image_hwc).save(temporary, quality=88)


def encode_jpeg(image_hwc: npt.NDArray[np.uint8], quality: int = 80) -> bytes:
    """Writes uint8 RGB (height, width, 3) as a small JPEG for people."""
    content = BytesIO()
    Image.fromarray(image_hwc).save(content, format="JPEG", quality=quality, optimize=True)
    return content.getvalue()


def encode_layer(values_hw: npt.NDArray[np.uint8], colors_rgba: Sequence[tuple[int, int, int, int]]) -> bytes:
    """Writes a PNG to be laid over a photo.

    Args:
        values_hw: uint8 (height, width), numbers of colors.
        colors_rgba: at most 256, red, green, blue and opacity, 0..255 each.
    """
    content, picture = BytesIO(), Image.fromarray(values_hw)
    picture.putpalette([level for color in colors_rgba for level in color[:3]])
    opacities = bytes(color[3] for color in colors_rgba)
    bits = next(bits for bits in (1, 2, 4, 8) if len(colors_rgba) <= 2**bits)
    # Of sixty layers of cars: run lengths 2.7 ms and 5.7 KB, the default strategy 4.8 ms and 6.7 KB.
    picture.save(content, format="PNG", transparency=opacities, bits=bits, compress_type=zlib.Z_RLE)
    return content.getvalue()


def _read_size(content: bytes, path: Path) -> SizeHW:
    with _open_picture(content, path) as picture:
        width, height = picture.size
        return height, width


def _open_picture(content: bytes, path: Path) -> Image.Image:
    try:
        return Image.open(BytesIO(content))
    except Image.DecompressionBombError as error:
        raise InputError(f"{path} must be of a size that Pillow opens. Received: {error}") from error
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise InputError(f"{path} must be a picture. Received: {len(content)} bytes of something else") from error
