"""Pixels as files store them: the one place that decodes images and masks, before anything has a meaning."""

import re
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image, UnidentifiedImageError

from unets.data.files import check_content, check_fits, read_bytes
from unets.data.geometry import SizeHW
from unets.errors import DECODER_FAULTS, InputError, naming

Values = npt.NDArray[Any]

# What OpenCV, Pillow, tifffile and NumPy raise over damaged or foreign bytes.
DECODER_ERRORS = (*DECODER_FAULTS, cv2.error, Image.DecompressionBombError)
ARRAY = "array"  # the mode of what Pillow does not open: .npy, TIFFs of many bands
DEEP = "16 bits"  # the mode of colors of 16 bits, of which Pillow gives 8
# Modes of Pillow's that are turned into RGB.
PILLOW_COLORS = frozenset(("CMYK", "LAB", "YCbCr", "HSV", "La", "RGBa"))
_ORIENTATION = 0x0112  # of EXIF: 1 as stored, 2 to 4 mirrored or upside down, 5 to 8 with sides exchanged
_NPY_START = b"\x93NUMPY"
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ENDS = {"GIF": b";", "JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}  # of files of these formats
_FILMS = {"GIF", "PNG", "WEBP"}  # formats that may hold several pictures, one after the other in time
# Of Radiance's .hdr, `-Y 480 +X 640`, and of .pfm, `PF 640 480`.
_SIZE_IN_TEXT = re.compile(rb"[-+][XY] +(\d{1,9}) +[-+][XY] +(\d{1,9})|^PF\s+(\d{1,9})\s+(\d{1,9})\s")
_MAX_PIXELS = 2**30
# No codec packs more into a byte: deflate at most 1032 bytes, of 8 pixels of 1 bit each.
_MAX_PIXELS_A_BYTE = 8 * 1032


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """What a file's header says."""

    size_hw: SizeHW  # as stored
    channels: int  # 1 for grey and palettes; opacity counts, too
    dtype: str  # `bool`, `uint8`, `uint16`, `int32`, `float32`, ...
    mode: str  # Pillow's, or `ARRAY`, or `DEEP`
    format: str = ""  # Pillow's name of it; empty where Pillow does not open it
    orientation: int = 1  # EXIF's, 1..8: 1 where the file is stored upright; 5 to 8 exchange the sides

    @property
    def upright_hw(self) -> SizeHW:
        """(height, width) as a viewer shows it."""
        return (self.size_hw[1], self.size_hw[0]) if self.orientation >= 5 else self.size_hw


def read_header(path: Path) -> Header:
    """Reads the header of an image or mask file.

    Raises InputError where it is missing, no image, damaged at its beginning, or of an impossible size.
    """
    return parse_header(read_bytes(path), path)


def parse_header(content: bytes, path: Path) -> Header:
    """Reads a header from a file's bytes; `path` is for the error. See `read_header`."""
    try:
        with open_picture(content, path) as picture:
            is_deep, mode = _is_deep(picture, content), picture.mode
            return Header(
                size_hw=(picture.height, picture.width),
                channels=len(picture.getbands()),
                dtype={"I": "int32", "F": "float32"}.get(mode, "uint16" if is_deep or mode[:2] == "I;" else "uint8"),
                mode=DEEP if is_deep else mode,
                format=picture.format or "",
                orientation=_read_orientation(picture),
            )
    except InputError:
        raise
    except DECODER_ERRORS as error:
        # An array, more bands than Pillow knows, or a format of OpenCV's alone; else it is damaged.
        if not (isinstance(error, UnidentifiedImageError) or content.startswith(_TIFF_STARTS)):
            raise InputError(f"{path} must be a whole image. Received: {error}") from error
    values = decode(content, path)
    height, width, *bands = values.shape
    return Header(size_hw=(height, width), channels=bands[0] if bands else 1, dtype=str(values.dtype), mode=ARRAY)


def decode(content: bytes, path: Path, *, colors: bool = True) -> Values:
    """Decodes a file's bytes to the numbers that are stored; `colors` looks palettes up, else their indices count.

    Returns (height, width) or (height, width, channels) of any number type; channels as red, green, blue, opacity.
    Raises InputError where the bytes are damaged, or no image.
    """
    with naming(path, "be a whole image", damage=DECODER_ERRORS):
        values = _decode(content, path, colors)
    if values.ndim not in (2, 3) or values.size == 0 or values.dtype.kind not in "buif":
        raise InputError(
            f"{path} must hold numbers (height, width[, channels]). Received: {values.dtype} {values.shape}"
            + ("; write each image, and each mask, as a file of its own" if values.ndim > 3 else "")
        )
    return values


def read_values(path: Path, *, colors: bool = False, expected: str = "") -> Values:
    """Reads a mask file as it is stored: equal channels become one; opacity counts where it alone differs.

    Returns (height, width), or (height, width, channels) where channels differ; of any number type. `colors` looks
    palettes up; `expected` is the hash of the bytes in a table, see `hash_content`, empty where none is known. Raises
    InputError where the file is missing, empty, damaged, of other bytes, or no image.
    """
    content = read_bytes(path)
    check_content(path, content, expected)
    values = decode(content, path, colors=colors)
    if values.ndim == 2:
        return values
    pixels = values
    if values.shape[-1] in (2, 4) and values.dtype == np.uint8:
        pixels, opacity = values[..., :-1], values[..., -1]
        if (pixels == pixels[:1, :1]).all() and (opacity != opacity[0, 0]).any():
            return opacity
    return np.ascontiguousarray(pixels[..., 0]) if (pixels == pixels[..., :1]).all() else pixels


def open_picture(content: bytes, path: Path) -> Image.Image:
    """Opens an image with Pillow; `path` is for the error.

    Raises InputError where it is larger than its bytes, or memory, can hold; ends in zeros, as a download that stopped;
    or is a film: which frame is meant cannot be told.
    """
    Image.MAX_IMAGE_PIXELS = None  # our own check knows the file's size, too
    picture = Image.open(BytesIO(content))
    end = _ENDS.get(picture.format or "")
    if end and content.endswith(bytes(16)) and not content.rstrip(b"\0").endswith(end):
        raise InputError(f"{path} must be whole. Received: zeros in place of its last bytes; download it again")
    _check_size(content, path, (picture.height, picture.width), 4 if picture.mode in ("I", "F") else 3)
    if picture.format in _FILMS and (num_frames := getattr(picture, "n_frames", 1)) > 1:
        raise InputError(f"{path} must hold one picture. Received: {num_frames} frames")
    if picture.format == "TIFF":
        bands = picture.tag_v2.get(277, 1)  # type: ignore[attr-defined]
        is_stack = len(picture.getbands()) == 1 and getattr(picture, "n_frames", 1) > 1  # a page a channel
        if is_stack or bands != len(picture.getbands()):
            raise UnidentifiedImageError(f"Pillow reads fewer than the {bands} bands")
    return picture


def turn(pixels: Values, orientation: int) -> Values:
    """Turns what is stored with an EXIF orientation of 1..8 as a viewer does."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.asarray(pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels)


def _check_size(content: bytes, path: Path, size_hw: SizeHW, bytes_a_pixel: int) -> None:
    num_pixels = size_hw[0] * size_hw[1]
    if num_pixels > min(_MAX_PIXELS, max(_MAX_PIXELS_A_BYTE * len(content), 2**24)):
        raise InputError(
            f"{path} must be of a size that {len(content)} bytes can hold. Received: {size_hw[0]} x {size_hw[1]}"
        )
    check_fits(path, 2 * num_pixels * bytes_a_pixel)  # a decoder's, and ours


def _decode(content: bytes, path: Path, colors: bool) -> Values:
    if content.startswith(_NPY_START):
        return _move_channels(np.squeeze(np.load(BytesIO(content), allow_pickle=False)))
    is_tiff = content.startswith(_TIFF_STARTS)
    try:
        # Pillow, not OpenCV, which applies a GIF's palette and takes twice as long for a mask.
        with open_picture(content, path) as picture:
            mode = picture.mode
            if not _is_deep(picture, content):
                if mode in PILLOW_COLORS:
                    return np.array(picture.convert("RGB"))
                if mode in ("P", "PA") and colors:
                    return np.array(picture.convert("RGBA" if picture.has_transparency_data else "RGB"))
                return np.array(picture, dtype=np.uint8 if mode == "1" else None)
    except DECODER_ERRORS as error:
        if isinstance(error, InputError) or not (is_tiff or isinstance(error, UnidentifiedImageError)):
            raise
    if is_tiff:
        with tifffile.TiffFile(BytesIO(content)) as file:
            _check_size(content, path, (sum(page.size for page in file.pages), 1), 8)
            try:
                return _move_channels(np.squeeze(file.asarray()))
            except ValueError as error:
                if "imagecodecs" not in str(error):  # else it is packed as OpenCV knows, and tifffile does not: LZW
                    raise
    if size := _SIZE_IN_TEXT.search(content[:4096]):  # OpenCV looks at no file's length
        _check_size(content, path, (int(size[1] or size[3]), int(size[2] or size[4])), 12)
    flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
    values = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), flags)
    if values is None:
        raise ValueError(f"{len(content)} bytes of something else")
    return values if values.ndim == 2 else values[..., [2, 1, 0, *range(3, values.shape[-1])]]


def _is_deep(picture: Image.Image, content: bytes) -> bool:
    """Tells whether a picture of colors has 16 bits, of which Pillow would give 8."""
    if picture.mode not in ("RGB", "RGBA", "LA") or picture.format not in ("PNG", "TIFF"):
        return False
    if picture.format == "PNG":
        return content[24] == 16
    return bool(np.max(picture.tag_v2.get(258, 8)) > 8)  # type: ignore[attr-defined]


def _move_channels(values: Values) -> Values:
    """Puts channels last where they come first: where the first axis is the shortest, and short."""
    is_first = values.ndim == 3 and values.shape[0] < min(values.shape[1:]) and values.shape[-1] > 12
    return np.ascontiguousarray(np.moveaxis(values, 0, -1)) if is_first else values


def _read_orientation(picture: Image.Image) -> int:
    """Returns EXIF's orientation; 1 where there is none, and for a TIFF, which decoders turn by themselves."""
    if picture.format == "TIFF":
        return 1
    try:
        # A PNG's own `getexif` decodes all of the image, for the sake of notes behind its pixels.
        orientation = int(Image.Image.getexif(picture).get(_ORIENTATION, 1))
    except DECODER_ERRORS:  # an image is whole without its notes
        return 1
    return orientation if 1 <= orientation <= 8 else 1
