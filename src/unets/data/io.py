"""Mask files of class indices, and pictures for maps and people."""

import zlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from unets.data.image import to_rgb
from unets.data.pixels import read_values
from unets.errors import InputError
from unets.store.runs import atomic_path

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
_PICTURES = (".jpg", ".jpeg", ".png", ".webp")


def read_index_image(path: Path, expected: str = "") -> npt.NDArray[np.uint8]:
    """Reads a mask file of class indices, uint8 (height, width): palette indices, grey levels, or 0 and 1.

    `expected` is the hash of its bytes in a table, see `hash_content`; empty where none is known. Raises InputError
    where the file is missing, empty, damaged, of other bytes, or holds colors, or a value that 8 bits do not hold.
    """
    values = read_values(path, expected=expected)
    if values.ndim != 2:
        raise InputError(f"{path} must hold one whole number a pixel (grey or palette). Received: colors")
    with np.errstate(invalid="ignore"):  # of what is no number, as the next line says
        indices = values.astype(np.uint8)
    if indices.dtype != values.dtype and not np.array_equal(indices, values):
        raise InputError(f"{path} must hold whole numbers of 8 bits. Received: {values.min()} to {values.max()}")
    return indices


def encode_png(values_hw: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> bytes:
    """Writes uint8 or uint16 (height, width) as a PNG, without loss and fast."""
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


def check_picture_name(path: Path) -> None:
    """Raises InputError where the name of a picture to be written has no ending of a format that `write_image` has."""
    if path.suffix.lower() not in _PICTURES:
        raise InputError(f"{path} must end with one of {', '.join(_PICTURES)}. Received: {path.suffix or 'no ending'}")


def write_image(path: Path, image_hwc: npt.NDArray[np.uint8]) -> None:
    """Writes uint8 (height, width, channels) for people, whole or not at all; the format follows the name.

    Raises as `check_picture_name`.
    """
    check_picture_name(path)
    with atomic_path(path) as temporary:
        Image.fromarray(to_rgb(image_hwc)).save(temporary, quality=88)


def encode_jpeg(image_hwc: npt.NDArray[np.uint8], quality: int = 80) -> bytes:
    """Writes uint8 (height, width, channels) as a small JPEG for people; see `to_rgb`."""
    content = BytesIO()
    Image.fromarray(to_rgb(image_hwc)).save(content, format="JPEG", quality=quality, optimize=True)
    return content.getvalue()


def encode_layer(values_hw: npt.NDArray[np.uint8], colors_rgba: Sequence[tuple[int, int, int, int]]) -> bytes:
    """Writes a PNG to be laid over an image: uint8 (height, width) numbers of at most 256 colors, the last opacity."""
    content, picture = BytesIO(), Image.fromarray(values_hw)
    picture.putpalette([level for color in colors_rgba for level in color[:3]])
    opacities = bytes(color[3] for color in colors_rgba)
    bits = next(bits for bits in (1, 2, 4, 8) if len(colors_rgba) <= 2**bits)
    # Of sixty layers of cars: run lengths 2.7 ms and 5.7 KB, the default strategy 4.8 ms and 6.7 KB.
    picture.save(content, format="PNG", transparency=opacities, bits=bits, compress_type=zlib.Z_RLE)
    return content.getvalue()
