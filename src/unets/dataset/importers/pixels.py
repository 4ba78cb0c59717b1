"""Pixels as files store them: headers, raw values, edges; what importers look at before anything has a meaning."""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

from unets.data.files import read_bytes
from unets.data.geometry import SizeHW
from unets.data.image import read_orientation, turn
from unets.errors import InputError

_MOST_PX = 2**30  # of an image; Pillow refuses more than twice this
_EIGHT_BITS = ("1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "PA")


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """What a raster's header says.

    Attributes:
        size_hw: (height, width) as stored.
        channels: 1 for grey and palettes, opacity counted too.
        dtype: `bool`, `uint8`, `uint16`, `int32`, `float32`, ...
        mode: Pillow's, or `array`.
        orientation: 1 where the file is stored upright; 5 to 8 exchange the sides.
    """

    size_hw: SizeHW
    channels: int
    dtype: str
    mode: str
    orientation: int = 1

    @property
    def upright_hw(self) -> SizeHW:
        """(height, width) as a viewer shows it."""
        return (self.size_hw[1], self.size_hw[0]) if self.orientation >= 5 else self.size_hw


def read_header(path: Path) -> Header:
    """Reads a raster's header.

    Raises:
        InputError: the file is no image, or damaged at its beginning.
    """
    content = read_bytes(path)
    if path.suffix.lower() == ".npy":
        array = _read_array(content, path)
        height, width = array.shape[:2]
        return Header(size_hw=(height, width), channels=_count(array), dtype=str(array.dtype), mode="array")
    try:
        with open_picture(content) as picture:
            width, height = picture.size
            mode, kind = picture.mode, picture.format
            dtype = "uint8" if mode in _EIGHT_BITS else {"I": "int32", "F": "float32"}.get(mode, "uint16")
            turned = read_orientation(picture)
            if kind == "PNG" and content[24] == 16 and mode in ("RGB", "RGBA", "LA"):
                dtype = "uint16"
            elif mode in ("RGB", "RGBA") and kind == "TIFF":
                dtype = "uint16" if 16 in _as_tuple(picture.tag_v2.get(258, 8)) else "uint8"  # type: ignore[attr-defined]
            bands = len(picture.getbands())
        return Header(size_hw=(height, width), channels=bands, dtype=dtype, mode=mode, orientation=turned)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if content[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            array = _read_tiff(content, path)
            size_hw = (array.shape[0], array.shape[1])
            return Header(size_hw=size_hw, channels=_count(array), dtype=str(array.dtype), mode="array")
        raise InputError(f"{path} must be a whole image. Received: {error}") from error


def open_picture(content: bytes) -> Image.Image:
    """Opens an image of up to two gigapixels; an aerial image is no attack."""
    Image.MAX_IMAGE_PIXELS = _MOST_PX
    return Image.open(BytesIO(content))


def read_values(path: Path, *, colors: bool = False) -> npt.NDArray[Any]:
    """Reads a raster as it is stored.

    Palette indices stay indices; channels that are equal become one; opacity counts where it alone differs.

    Args:
        path: of the file.
        colors: look palettes up.

    Returns:
        (height, width), or (height, width, channels) where channels differ; of any number type.

    Raises:
        InputError: the file is empty, damaged, or no image.
    """
    content = read_bytes(path)
    try:
        if path.suffix.lower() == ".npy":
            return merge_channels(_read_array(content, path))
        with open_picture(content) as picture:
            if picture.mode in ("P", "PA") and colors:
                values = np.array(picture.convert("RGBA" if "transparency" in picture.info else "RGB"))
            elif picture.mode in ("CMYK", "YCbCr"):
                values = np.array(picture.convert("RGB"))
            else:
                values = np.array(picture, dtype=np.uint8 if picture.mode == "1" else None)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, EOFError) as error:
        if content[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            raise InputError(f"{path} must be a whole image. Received: {error}") from error
        values = _read_tiff(content, path)
    return merge_channels(values)


def merge_channels(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Makes one channel of equal ones, and leaves opacity out unless it alone differs; see `read_values`."""
    if values.ndim == 2:
        return values
    opacity = values[..., -1] if values.shape[-1] in (2, 4) else None
    colors = values if opacity is None else values[..., :-1]
    if opacity is not None and values.dtype == np.uint8:
        is_flat = bool((colors == colors[:1, :1]).all())
        if is_flat and bool((opacity != opacity[0, 0]).any()):
            return opacity
    elif opacity is not None:
        colors = values
    if bool((colors == colors[..., :1]).all()):
        return np.ascontiguousarray(colors[..., 0])
    return colors


def read_grey(path: Path, *, upright: bool = False) -> npt.NDArray[np.float32]:
    """Reads an image as brightness, float32 (height, width); `upright` follows EXIF's orientation."""
    values = read_values(path, colors=True)
    grey = values[..., :3].mean(axis=-1) if values.ndim == 3 else values
    grey = np.asarray(grey, dtype=np.float32)
    return turn(grey, read_header(path).orientation) if upright else grey


def find_border(mask_hw: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Returns the pixels whose right or lower neighbor differs; bool (height, width)."""
    border = np.zeros(mask_hw.shape, dtype=np.bool_)
    border[:-1] |= mask_hw[:-1] != mask_hw[1:]
    border[:, :-1] |= mask_hw[:, :-1] != mask_hw[:, 1:]
    return border


def measure_fit(mask_hw: npt.NDArray[Any], grey_hw: npt.NDArray[np.float32]) -> float:
    """Returns how much stronger an image's edges are along a mask's border than elsewhere; 1: no stronger.

    0 where sizes differ or the mask has no border.
    """
    if mask_hw.shape != grey_hw.shape:
        return 0.0
    border = find_border(mask_hw)
    if not border.any():
        return 0.0
    padded = np.pad(grey_hw, ((0, 2), (0, 2)), mode="edge")
    strength = np.abs(padded[2:, :-2] - grey_hw) + np.abs(padded[:-2, 2:] - grey_hw)
    return float(strength[border].mean() / max(float(strength.mean()), 1e-6))


def _read_array(content: bytes, path: Path) -> npt.NDArray[Any]:
    try:
        array = np.load(BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InputError(f"{path} must be an array of numbers. Received: {error}") from error
    squeezed: npt.NDArray[Any] = np.squeeze(array)
    if squeezed.ndim not in (2, 3):
        raise InputError(f"{path} must be an array (height, width[, channels]). Received: {array.shape}")
    return squeezed


def _read_tiff(content: bytes, path: Path) -> npt.NDArray[Any]:
    try:
        array = np.squeeze(tifffile.imread(BytesIO(content)))
    except (tifffile.TiffFileError, ValueError, KeyError, IndexError, OSError) as error:
        raise InputError(f"{path} must be a whole TIFF. Received: {error}") from error
    if array.ndim == 3 and array.shape[0] < min(array.shape[1:]):
        array = np.moveaxis(array, 0, -1)
    if array.ndim not in (2, 3):
        raise InputError(f"{path} must be a TIFF of one image. Received: an array of {array.shape}")
    return array


def _count(array: npt.NDArray[Any]) -> int:
    return 1 if array.ndim == 2 else int(array.shape[-1])


def _as_tuple(value: Any) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, tuple) else (int(value),)
