"""An image from anywhere: the one place that reads images, for training, prediction and `unets mask` alike.

A JPEG is decoded at a fraction of its size where that is exact, the rest of the way to a smaller size goes by area.
"""

import struct
import zlib
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image, UnidentifiedImageError

from unets.data.files import read_bytes
from unets.data.geometry import SizeHW, shrink
from unets.errors import InputError

ImageU8 = npt.NDArray[np.uint8]

# What OpenCV, Pillow, tifffile and NumPy raise over damaged or foreign bytes, according to which byte it is.
DECODER_ERRORS = (
    *(
        OSError,
        SyntaxError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        ArithmeticError,
        EOFError,
        RuntimeError,
    ),
    *(struct.error, zlib.error, cv2.error, Image.DecompressionBombError),
)
_ORIENTATION = 0x0112  # of EXIF: 1 as stored, 2 to 4 mirrored or upside down, 5 to 8 with sides exchanged
_REDUCED = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
# Both OpenCV and Pillow turn a TIFF by its tag, whether asked to or not.
_TURNED_BY_DECODERS = {"TIFF"}
# Modes of Pillow's whose colors OpenCV gets wrong, or that it does not know.
_PILLOW_COLORS = {"CMYK", "LAB", "YCbCr", "HSV", "PA", "La", "RGBa"}
_MORE_THAN_8_BITS = {"I", "F", "16 bits"}
# Documents, films and weather, of which Pillow has no pixels or asks another program for them.
_NO_IMAGES = {"BUFR", "EPS", "FITS", "FLI", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"}
_OPENCV_ALONE = {".hdr", ".pic", ".sr"}
_JPEG_END = b"\xff\xd9"
_NPY_START = b"\x93NUMPY"
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MAX_PIXELS = 2**30
# No codec packs more into a byte: deflate at most 1032 bytes, of 8 pixels of 1 bit each.
_MAX_PIXELS_A_BYTE = 8 * 1032


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageKind:
    """How the images of a data set are seen.

    Attributes:
        channels: `rgb` (grey images come as three equal channels), `grey` (all do), or how many an image has.
        value_range: what becomes 0 and 255 in images of more than 8 bits; None takes the higher 8 of 16.
        upright: whether images are turned as their EXIF tag says.
    """

    channels: Literal["rgb", "grey"] | int = "rgb"
    value_range: tuple[float, float] | None = None
    upright: bool = False


RGB = ImageKind()


class ImageFile:
    """An image's bytes, and how it is seen.

    Args:
        path: a file, a member of a zip, or a page of a TIFF stack.
        kind: how it is seen.

    Attributes:
        content: the bytes.
        size_hw: (height, width) as it is seen.

    Raises:
        InputError: the file is missing, empty, cut off, no image, or of an impossible size.
    """

    def __init__(self, path: Path, kind: ImageKind = RGB) -> None:
        self.path, self.kind, self.content = path, kind, read_bytes(path)
        self._mode, orientation = "array", 1
        is_array = self.content.startswith(_NPY_START)
        try:
            if not is_array:
                self._stored_hw, orientation = self._look()
        except InputError:
            raise
        except UnidentifiedImageError:
            is_array = True  # more bands than Pillow knows, or a format of OpenCV's alone
        except DECODER_ERRORS as error:
            if not self.content.startswith(_TIFF_STARTS):
                raise InputError(f"{path} must be a whole image. Received: {error}") from error
            is_array = True
        if is_array:
            self._stored_hw = (self._values.shape[0], self._values.shape[1])
        self._orientation = orientation if kind.upright else 1
        self.size_hw: SizeHW = self._exchange(self._stored_hw)

    def read(self, size_hw: SizeHW | None = None) -> ImageU8:
        """Reads the image, shrunk to `size_hw` by area.

        Args:
            size_hw: (height, width) wanted; None keeps the image's own.

        Returns:
            uint8 (height, width, channels): RGB, for `grey` three equal channels, or those of the file.

        Raises:
            InputError: the image cannot be decoded, has another number of channels, or numbers that need a range.
        """
        if isinstance(self.kind.channels, int):
            image = self._pick_channels(self.kind.channels)
        else:
            image = self._read_rgb(size_hw)
            if self.kind.channels == "grey" and self._mode not in ("L", "1"):
                image = to_grey(image)
        if size_hw is not None:
            image = shrink(image, self._exchange(size_hw))
        return self._set_upright(image)

    def read_rgb(self, size_hw: SizeHW | None = None) -> ImageU8:
        """Reads the image for people, uint8 RGB (height, width, 3), of whatever channels; see `read`."""
        if isinstance(self.kind.channels, int):
            return to_rgb(self.read(size_hw))
        image = self._read_rgb(size_hw)
        return self._set_upright(image if size_hw is None else shrink(image, self._exchange(size_hw)))

    def read_opacity(self) -> ImageU8 | None:
        """Reads how opaque each pixel is, uint8 (height, width) 0..255; None where all are."""
        try:
            with _open(self.content) as picture:
                if not picture.has_transparency_data:
                    return None
                opacity_hw = np.array(picture.convert("RGBA").getchannel("A"), dtype=np.uint8)
        except DECODER_ERRORS:
            return None
        return None if opacity_hw.min() == 255 else self._set_upright(opacity_hw)

    def check(self) -> None:
        """Decodes the image to its last byte; a JPEG at an eighth of its size, which reads all of it, too.

        Raises:
            InputError: it is not whole, or not of this kind.
        """
        depth = self._mode
        if depth == "array":
            depth = "8" if self._values.dtype in (np.uint8, np.bool_) else str(self._values.dtype)
        else:
            depth = "16 bits" if depth.startswith("I;16") else depth
            self._load(self.content)
        if self.kind.value_range is None and (depth in _MORE_THAN_8_BITS or (self._mode == "array" and depth != "8")):
            raise InputError(
                f"{self.path} must have 8 bits, or `value_range` say what becomes 0 and 255. Received: {depth}"
            )
        if self._mode == "array" or isinstance(self.kind.channels, int):
            self.read()

    def _look(self) -> tuple[SizeHW, int]:
        """Returns ((height, width) as stored, orientation); checks that a JPEG is whole."""
        with _open(self.content) as picture:
            (width, height), kind, self._mode = picture.size, picture.format or "", picture.mode
            if width * height > min(_MAX_PIXELS, max(_MAX_PIXELS_A_BYTE * len(self.content), 2**24)):
                raise InputError(
                    f"{self.path} must be of a size that {len(self.content)} bytes can hold. "
                    f"Received: {height} x {width}"
                )
            if kind == "PNG" and self.content[24] == 16 and self._mode in ("RGB", "RGBA", "LA"):
                self._mode = "16 bits"  # Pillow gives 8 bits of them
            orientation = read_orientation(picture) if self.kind.upright else 1
        # OpenCV fills the missing rest with grey; a marker at the very end says that nothing is missing.
        if kind in ("JPEG", "MPO") and not self.content.rstrip(b"\0").endswith(_JPEG_END):
            self._load(self.content)
        return (height, width), orientation

    def _load(self, content: bytes) -> None:
        try:
            with _open(content) as picture:
                picture.draft("L", (max(picture.width // 8, 1), max(picture.height // 8, 1)))
                picture.load()
        except DECODER_ERRORS as error:
            raise InputError(f"{self.path} must be whole. Received: {error}") from error

    def _read_rgb(self, size_hw: SizeHW | None) -> ImageU8:
        """Reads RGB of the stored sides, already smaller where the codec does that exactly."""
        if self._mode in ("array", "F", "I") or self._mode in _PILLOW_COLORS:
            return to_rgb(self._scale(self._values), limit=4, path=self.path)
        reduction = 1 if size_hw is None else choose_reduction(self._stored_hw, self._exchange(size_hw))
        is_jpeg = self.content.startswith(b"\xff\xd8")
        depth = 0 if self.kind.value_range is None else cv2.IMREAD_ANYDEPTH
        flags = _REDUCED[reduction if is_jpeg else 1] | cv2.IMREAD_IGNORE_ORIENTATION | depth
        try:
            image = cv2.imdecode(np.frombuffer(self.content, dtype=np.uint8), flags)
        except cv2.error:
            image = None
        if image is None:
            return to_rgb(self._scale(self._values), limit=4, path=self.path)
        return np.asarray(cv2.cvtColor(self._scale(np.asarray(image)), cv2.COLOR_BGR2RGB), dtype=np.uint8)

    def _pick_channels(self, wanted: int) -> ImageU8:
        values = self._values
        found = 1 if values.ndim == 2 else values.shape[-1]
        if found != wanted:
            raise InputError(f"{self.path} must have {wanted} channels, as `channels` says. Received: {found}")
        return self._scale(values)

    @cached_property
    def _values(self) -> npt.NDArray[Any]:
        """The numbers as they are stored, (height, width) or (height, width, channels) of any type."""
        try:
            values = _decode(self.content, self._mode)
        except DECODER_ERRORS as error:
            raise InputError(
                f"{self.path} must be an image that can be read. Received: {len(self.content)} bytes of something else"
            ) from error
        if values.ndim not in (2, 3) or values.size == 0 or values.dtype.kind not in "buif":
            raise InputError(
                f"{self.path} must hold numbers (height, width[, channels]). Received: {values.dtype} {values.shape}"
            )
        return values

    def _scale(self, values: npt.NDArray[Any]) -> ImageU8:
        if values.dtype == np.uint8:
            return np.asarray(values, dtype=np.uint8)
        if values.dtype == np.bool_:
            return values.astype(np.uint8) * np.uint8(255)
        if self.kind.value_range is None:
            if values.dtype == np.uint16:
                return (values >> 8).astype(np.uint8)
            raise InputError(
                f"{self.path} must have 8 bits, or `value_range` say what becomes 0 and 255. Received: {values.dtype}"
            )
        low, high = self.kind.value_range
        scaled = (values.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))
        return np.asarray(np.rint(np.clip(np.nan_to_num(scaled), 0, 255)), dtype=np.uint8)

    def _exchange(self, size_hw: SizeHW) -> SizeHW:
        """Returns the size as it is seen of a size as it is stored, or the other way round."""
        return (size_hw[1], size_hw[0]) if self._orientation >= 5 else size_hw

    def _set_upright(self, image: ImageU8) -> ImageU8:
        return np.ascontiguousarray(turn(image, self._orientation))


def read_image_file(path: Path, kind: ImageKind = RGB, size_hw: SizeHW | None = None) -> ImageU8:
    """Reads an image, shrunk to `size_hw`; see `ImageFile`."""
    return ImageFile(path, kind).read(size_hw)


def read_image(
    path: str | Path,
    *,
    channels: Literal["rgb", "grey"] | int = "rgb",
    value_range: tuple[float, float] | None = None,
    upright: bool = True,
) -> ImageU8:
    """Reads an image of any format, uint8 (height, width, channels); see `ImageKind`. A model's kind is on its card."""
    return read_image_file(Path(path), ImageKind(channels=channels, value_range=value_range, upright=upright))


def read_size(path: Path, kind: ImageKind = RGB) -> SizeHW:
    """Reads (height, width) of an image, as it is seen, from its header; see `ImageFile`."""
    return ImageFile(path, kind).size_hw


def turn(pixels: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Turns what is stored with an EXIF orientation of 1..8 as a viewer does."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.asarray(pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels)


def choose_reduction(full_hw: SizeHW, size_hw: SizeHW) -> int:
    """Returns the largest of 8, 4, 2, 1 that divides both sides and leaves at least `size_hw`.

    The divisor must be exact: at a quarter, 1918 becomes 480 columns of 4 pixels, 1920 in all, and the image drifts
    against its mask by up to 1.9 pixels.
    """
    for divisor in (8, 4, 2):
        exact = full_hw[0] % divisor == 0 and full_hw[1] % divisor == 0
        if exact and full_hw[0] // divisor >= size_hw[0] and full_hw[1] // divisor >= size_hw[1]:
            return divisor
    return 1


def to_rgb(image: ImageU8, *, limit: int | None = None, path: Path | None = None) -> ImageU8:
    """Makes RGB of an image of other channels: one or two show the first in grey, more show the first three.

    Args:
        image: uint8 (height, width) or (height, width, channels).
        limit: the most channels; None: any number.
        path: of the file, for the error.

    Raises:
        InputError: there are more channels.
    """
    channels = 1 if image.ndim == 2 else image.shape[-1]
    if limit is not None and channels > limit:
        raise InputError(f"{path} must have 1 to {limit} channels, or `channels` be {channels}. Received: {channels}")
    if channels >= 3:
        return np.ascontiguousarray(image[..., :3])
    return np.repeat(image.reshape(*image.shape[:2], channels)[..., :1], 3, axis=-1)


def to_grey(image_hwc: ImageU8) -> ImageU8:
    """Takes the colors away: uint8 RGB (height, width, 3) of three equal channels; a grey image stays as it is."""
    grey_hw = cv2.cvtColor(image_hwc, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.cvtColor(grey_hw, cv2.COLOR_GRAY2RGB), dtype=np.uint8)


def list_suffixes() -> frozenset[str]:
    """Returns the endings of names that images have, in small letters: `.jpg`."""
    known = Image.registered_extensions()
    endings = {ending for ending, kind in known.items() if kind in Image.OPEN and kind not in _NO_IMAGES}
    return frozenset(endings | _OPENCV_ALONE | {".npy"})


def _decode(content: bytes, mode: str) -> npt.NDArray[Any]:
    """Decodes to the numbers that are stored; channels come last, in the order red, green, blue."""
    if content.startswith(_NPY_START):
        return _move_channels(np.squeeze(np.load(BytesIO(content), allow_pickle=False)))
    if content.startswith(_TIFF_STARTS) and (mode in ("array", "F", "I") or mode not in _PILLOW_COLORS):
        return _move_channels(np.squeeze(tifffile.imread(BytesIO(content))))
    if mode in _PILLOW_COLORS or mode in ("P", "1"):
        with _open(content) as picture:
            return np.array(picture.convert("RGB"), dtype=np.uint8)
    image = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        with _open(content) as picture:
            return np.array(picture if mode in ("L", "LA", "RGB", "RGBA") else picture.convert("RGB"))
    image = np.asarray(image)
    if image.ndim == 3 and image.shape[-1] >= 3:
        image = image[..., [2, 1, 0, *range(3, image.shape[-1])]]
    return image


def _move_channels(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Puts channels last where they come first: where the first axis is the shortest, and short."""
    is_first = values.ndim == 3 and values.shape[0] < min(values.shape[1:]) and values.shape[-1] > 12
    return np.ascontiguousarray(np.moveaxis(values, 0, -1)) if is_first else values


def _open(content: bytes) -> Image.Image:
    Image.MAX_IMAGE_PIXELS = None  # our own check knows the file's size, too
    return Image.open(BytesIO(content))


def read_orientation(picture: Image.Image) -> int:
    """Returns EXIF's orientation, 1..8; 1 where there is none, and for a TIFF, which decoders turn by themselves."""
    if picture.format in _TURNED_BY_DECODERS:
        return 1
    try:
        # A PNG's own `getexif` decodes all of the image, for the sake of notes behind its pixels.
        orientation = int(Image.Image.getexif(picture).get(_ORIENTATION, 1))
    except DECODER_ERRORS:  # an image is whole without its notes
        return 1
    return orientation if 1 <= orientation <= 8 else 1
