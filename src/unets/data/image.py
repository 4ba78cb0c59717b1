"""An image from anywhere: the one place that reads images, for training, prediction and `unets mask` alike.

A JPEG is decoded at a fraction of its size where that is exact, the rest of the way to a smaller size goes by area.
"""

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from unets.data.files import check_content, read_bytes
from unets.data.geometry import SizeHW, resize
from unets.data.pixels import ARRAY, DECODER_ERRORS, PILLOW_COLORS, Values, decode, open_picture, parse_header, turn
from unets.errors import InputError, naming

ImageU8 = npt.NDArray[np.uint8]

_FLAGS = (cv2.IMREAD_COLOR, cv2.IMREAD_REDUCED_COLOR_2, cv2.IMREAD_REDUCED_COLOR_4, cv2.IMREAD_REDUCED_COLOR_8)
_REDUCED = dict(zip((1, 2, 4, 8), _FLAGS, strict=True))
# Documents, films and weather, of which Pillow has no pixels or asks another program for them.
_NO_IMAGES = {"BUFR", "EPS", "FITS", "FLI", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"}
_OPENCV_ALONE = {".hdr", ".pic", ".sr"}
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
# Bytes that decode to something where a JPEG was cut off: within its data, and between restart markers.
_FILLING = b"".join(marker + b"\x5a\xa5" * 64 for marker in (b"", *(bytes([0xFF, 0xD0 + n]) for n in range(8))))


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageKind:
    """How the images of a data set are seen."""

    channels: Literal["rgb", "grey"] | int = "rgb"  # grey images come as three equal channels, for `grey` all do
    value_range: tuple[float, float] | None = None  # becomes 0 and 255 where there are more bits; None: the higher 8
    upright: bool = False  # turned as the EXIF tag says


RGB = ImageKind()


class ImageFile:
    """An image's bytes, `content`, how it is seen, `kind`, and its (height, width) then, `size_hw`.

    It is a file, a member of a zip, or a page of a TIFF stack; `expected` is the hash of its bytes in a table, see
    `hash_content`, empty where none is known. Raises InputError where it is missing, empty, cut off, no image, of an
    impossible size, or of other bytes.
    """

    def __init__(self, path: Path, kind: ImageKind = RGB, expected: str = "") -> None:
        self.path, self.kind, self.content = path, kind, read_bytes(path)
        check_content(path, self.content, expected)
        self._header = parse_header(self.content, path)
        self._orientation = self._header.orientation if kind.upright else 1
        self.size_hw: SizeHW = self._exchange(self._header.size_hw)
        # OpenCV fills the missing rest with grey; a marker at the very end says that nothing is missing.
        if self._header.format in ("JPEG", "MPO") and not self.content.rstrip(b"\0").endswith(_JPEG_END):
            self._load(self.content)

    def read(self, size_hw: SizeHW | None = None) -> ImageU8:
        """Reads the image, shrunk to `size_hw` by area; None keeps its own.

        Returns uint8 (height, width, channels): RGB, for `grey` three equal channels, or those of the file. Raises
        InputError where it cannot be decoded, has another number of channels, or numbers that need a range.
        """
        wanted = self.kind.channels
        if not isinstance(wanted, int):
            image = self._read_rgb(size_hw)
            return self._finish(to_grey(image) if wanted == "grey" else image, size_hw)
        values = self._values
        found = 1 if values.ndim == 2 else values.shape[-1]
        if found != wanted:
            raise InputError(f"{self.path} must have {wanted} channels, as `channels` says. Received: {found}")
        return self._finish(self._scale(values), size_hw)

    def read_rgb(self, size_hw: SizeHW | None = None) -> ImageU8:
        """Reads the image for people, uint8 RGB (height, width, 3), of whatever channels; see `read`."""
        if isinstance(self.kind.channels, int):
            return to_rgb(self.read(size_hw))
        return self._finish(self._read_rgb(size_hw), size_hw)

    def read_opacity(self) -> ImageU8 | None:
        """Reads how opaque each pixel is, uint8 (height, width) 0..255; None where all are."""
        try:
            with open_picture(self.content, self.path) as picture:
                if not picture.has_transparency_data:
                    return None
                opacity_hw = np.array(picture.convert("RGBA").getchannel("A"), dtype=np.uint8)
        except DECODER_ERRORS:
            return None
        return None if opacity_hw.min() == 255 else self._finish(opacity_hw)

    def check(self) -> None:
        """Decodes the image to its last byte; a JPEG at an eighth of its size, which reads all of it, too.

        Raises InputError where it is not whole, or not of this kind.
        """
        if self._header.mode != ARRAY and not self._is_jpeg:
            self._load(self.content)
        self.check_end()
        if self.kind.value_range is None and self._header.dtype not in ("uint8", "bool"):
            raise self._ask_range(self._header.dtype)
        if self._header.mode == ARRAY or isinstance(self.kind.channels, int):
            self.read()

    def check_end(self) -> None:
        """Raises InputError where the image is a JPEG that was cut off and got an end, which codecs fill with grey."""
        content, end = self.content, self.content.rfind(_JPEG_END)
        if self._is_jpeg:  # bytes before the end change what is decoded of one that was cut off
            pixels, longer = self._load(content), content[:end] + _FILLING + content[end:]
            if end > 0 and not np.array_equal(pixels, self._load(longer)):
                raise InputError(f"{self.path} must be whole. Received: a JPEG that ends before its last pixels")

    @property
    def _is_jpeg(self) -> bool:
        return self.content.startswith(_JPEG_START) and self._header.mode != ARRAY

    def _load(self, content: bytes) -> Values:
        with naming(self.path, damage=DECODER_ERRORS), open_picture(content, self.path) as picture:
            if not picture.info.get("progressive"):  # of which an eighth is in the first bytes alone
                picture.draft("L", (max(picture.width // 8, 1), max(picture.height // 8, 1)))
            return np.asarray(picture)

    def _read_rgb(self, size_hw: SizeHW | None) -> ImageU8:
        """Reads RGB of the stored sides; a JPEG already smaller where the codec does that exactly."""
        if self.content.startswith(_JPEG_START) and self._header.mode not in PILLOW_COLORS:
            reduction = 1 if size_hw is None else choose_reduction(self._header.size_hw, self._exchange(size_hw))
            image, flags = None, _REDUCED[reduction] | cv2.IMREAD_IGNORE_ORIENTATION
            with suppress(cv2.error):
                image = cv2.imdecode(np.frombuffer(self.content, dtype=np.uint8), flags)
            if image is not None:
                return self._scale(np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)))
        return to_rgb(self._scale(self._values), limit=4, path=self.path)

    @cached_property
    def _values(self) -> Values:
        values = decode(self.content, self.path)
        return values * np.uint8(255) if self._header.mode == "1" else values

    def _scale(self, values: Values) -> ImageU8:
        if values.dtype == np.uint8:
            return np.asarray(values, dtype=np.uint8)
        if values.dtype == np.bool_:
            return values.astype(np.uint8) * np.uint8(255)
        if self.kind.value_range is None:
            if values.dtype == np.uint16:
                return (values >> 8).astype(np.uint8)
            raise self._ask_range(str(values.dtype))
        low, high = self.kind.value_range
        scaled = (values.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))
        return np.asarray(np.rint(np.clip(np.nan_to_num(scaled), 0, 255)), dtype=np.uint8)

    def _ask_range(self, dtype: str) -> InputError:
        return InputError(
            f"{self.path} must have 8 bits, or `value_range` say what becomes 0 and 255. Received: {dtype}. That is a "
            "field of dataset.py, which a trained model keeps: for one without it, convert the image to 8 bits"
        )

    def _exchange(self, size_hw: SizeHW) -> SizeHW:
        """Returns the size as it is seen of a size as it is stored, or the other way round."""
        return (size_hw[1], size_hw[0]) if self._orientation >= 5 else size_hw

    def _finish(self, image: ImageU8, size_hw: SizeHW | None = None) -> ImageU8:
        """Shrinks what is stored to a size as it is seen, and sets it upright."""
        image = image if size_hw is None else resize(image, self._exchange(size_hw))
        return np.ascontiguousarray(turn(image, self._orientation))


def read_image(
    path: str | Path,
    *,
    channels: Literal["rgb", "grey"] | int = "rgb",
    value_range: tuple[float, float] | None = None,
    upright: bool = True,
) -> ImageU8:
    """Reads an image of any format, uint8 (height, width, channels); see `ImageKind`. A model's kind is on its card."""
    return ImageFile(Path(path), ImageKind(channels=channels, value_range=value_range, upright=upright)).read()


def choose_reduction(full_hw: SizeHW, size_hw: SizeHW) -> int:
    """Returns the largest of 8, 4, 2, 1 that divides both sides and leaves at least `size_hw`.

    The divisor must be exact: at a quarter, 1918 becomes 480 columns of 4 pixels, 1920 in all, and the image drifts
    against its mask by up to 1.9 pixels.
    """
    for divisor in (8, 4, 2):
        sides = zip(full_hw, size_hw, strict=True)
        if all(full % divisor == 0 and full // divisor >= wanted for full, wanted in sides):
            return divisor
    return 1


def to_rgb(image: ImageU8, *, limit: int | None = None, path: Path | None = None) -> ImageU8:
    """Makes RGB of uint8 (height, width[, channels]): one or two channels show the first in grey, more the first three.

    Raises InputError where the file `path` has more channels than `limit`.
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
