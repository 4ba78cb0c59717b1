"""A photo from anywhere: of any format, with or without a tag that says which side is up.

Photos of a competition are read by `io.read_image` alone, over whose stored pixels the masks were drawn. What a user
brings may be a phone's photo, stored lying on its side: it is turned as every viewer would turn it.
"""

import struct
from io import BytesIO
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from unets.data.files import read_bytes
from unets.data.geometry import SizeHW, shrink
from unets.data.io import decode_image
from unets.errors import InputError

ImageU8 = npt.NDArray[np.uint8]

_ORIENTATION = 0x0112  # of EXIF: 1 as stored, 2 to 4 mirrored or upside down, 5 to 8 with sides exchanged
# How each is undone, in this order: rows and columns exchanged, top and bottom, left and right.
_TURNS = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}
# Both OpenCV and Pillow turn a TIFF by its tag, whether asked to or not.
_TURNED_BY_DECODERS = {"TIFF"}
# Documents, films and weather, of which Pillow has no pixels or asks another program for them.
_NO_PHOTOS = {"BUFR", "EPS", "FITS", "FLI", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"}
_OPENCV_ALONE = {".hdr", ".pic", ".sr"}


class Photo:
    """A photo's bytes, and how it is seen.

    Args:
        path: a file, or a member of a zip.
        upright: whether the orientation tag is followed; without, the photo is as it is stored.
        value_range: of a photo of 16 bits, what becomes 0 and 255; None takes the higher 8.

    Attributes:
        size_hw: (height, width) as it is seen.

    Raises:
        InputError: the file is missing, empty, cut off, or no photo that OpenCV or Pillow reads.
    """

    def __init__(self, path: Path, *, upright: bool = True, value_range: tuple[float, float] | None = None) -> None:
        self.path, self.content, self.value_range = path, read_bytes(path), value_range
        stored_hw, orientation = self._look()
        self._turn = _TURNS.get(orientation if upright else 1, _TURNS[1])
        self.size_hw: SizeHW = (stored_hw[1], stored_hw[0]) if self._turn[0] else stored_hw

    def read(self, size_hw: SizeHW | None = None) -> ImageU8:
        """Reads the photo, shrunk to `size_hw` by area, as `io.read_image` does.

        Transparency is left out, grey photos come as three equal channels, 16 bits as `value_range` says.

        Args:
            size_hw: (height, width) wanted; None keeps the photo's own.

        Returns:
            uint8 RGB (height, width, 3).

        Raises:
            InputError: the photo cannot be decoded.
        """
        stored_hw = (size_hw[1], size_hw[0]) if size_hw is not None and self._turn[0] else size_hw
        try:
            image = decode_image(self.content, self.path, stored_hw, self.value_range)
        except (InputError, cv2.error) as error:
            image_or_none = self._decode_with_pillow(stored_hw)
            if image_or_none is None:
                raise InputError(str(error)) from error
            image = image_or_none
        return self._set_upright(image)

    def read_opacity(self) -> ImageU8 | None:
        """Reads how opaque each pixel is, uint8 (height, width) 0..255; None where all are."""
        try:
            with Image.open(BytesIO(self.content)) as picture:
                if not picture.has_transparency_data:
                    return None
                opacity_hw = np.array(picture.convert("RGBA").getchannel("A"), dtype=np.uint8)
        except (OSError, SyntaxError, ValueError):
            return None
        return None if opacity_hw.min() == 255 else self._set_upright(opacity_hw)

    def _look(self) -> tuple[SizeHW, int]:
        """Returns ((height, width) as stored, orientation); checks that a JPEG is whole."""
        try:
            with Image.open(BytesIO(self.content)) as picture:
                (width, height), kind = picture.size, picture.format or ""
                orientation = 1 if kind in _TURNED_BY_DECODERS else _read_orientation(picture)
                if kind in ("JPEG", "MPO"):
                    # cv2 fills the missing rest with grey, and a phone's thumbnail has an end marker of its own. At an
                    # eighth of the size all bits are read, in a third of the time.
                    picture.draft("L", (max(width // 8, 1), max(height // 8, 1)))
                    picture.load()
                return (height, width), orientation
        except UnidentifiedImageError:
            image = decode_image(self.content, self.path)  # some of OpenCV's formats are not Pillow's
            return (image.shape[0], image.shape[1]), 1
        except Image.DecompressionBombError as error:
            raise InputError(f"{self.path} must be of a size that Pillow opens. Received: {error}") from error
        except (OSError, SyntaxError, ValueError) as error:
            raise InputError(f"{self.path} must be whole. Received: {error}") from error

    def _decode_with_pillow(self, size_hw: SizeHW | None) -> ImageU8 | None:
        try:
            with Image.open(BytesIO(self.content)) as picture:
                if picture.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV"):
                    return None  # 32 bits a pixel, which nobody knows the range of
                image_hwc = np.array(picture.convert("RGB"), dtype=np.uint8)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            return None
        return image_hwc if size_hw is None else shrink(image_hwc, size_hw)

    def _set_upright(self, image: ImageU8) -> ImageU8:
        transposes, flips_height, flips_width = self._turn
        image = image.swapaxes(0, 1) if transposes else image
        image = image[::-1] if flips_height else image
        return np.ascontiguousarray(image[:, ::-1] if flips_width else image)


def read_photo(path: str | Path, *, upright: bool = True, value_range: tuple[float, float] | None = None) -> ImageU8:
    """Reads a photo of any format, uint8 RGB (height, width, 3); see `Photo`. A model's range is on its card."""
    return Photo(Path(path), upright=upright, value_range=value_range).read()


def list_suffixes() -> frozenset[str]:
    """Returns the endings of names that photos have, in small letters: `.jpg`."""
    known = Image.registered_extensions()
    return frozenset(ending for ending, kind in known.items() if kind in Image.OPEN and kind not in _NO_PHOTOS).union(
        _OPENCV_ALONE
    )


def take_colours(image_hwc: ImageU8, channels: Literal["rgb", "grey"] | int) -> ImageU8:
    """Returns a photo as nets were taught to see it: for `grey` three equal channels; a grey photo stays as it is."""
    if channels != "grey":
        return image_hwc
    grey_hw = cv2.cvtColor(image_hwc, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.cvtColor(grey_hw, cv2.COLOR_GRAY2RGB), dtype=np.uint8)


def _read_orientation(picture: Image.Image) -> int:
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    except (OSError, SyntaxError, ValueError, TypeError, struct.error):  # a photo is whole without its notes
        return 1
