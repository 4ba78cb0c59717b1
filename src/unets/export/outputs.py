"""The files made of an image, each with a note inside that says by which model, from which bytes."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from unets.config import Config
from unets.ensemble.postprocess import ClassMask
from unets.store.runs import atomic_path

_KEY = "unets"  # of the text in a PNG
_COMPRESSION = 3  # of zlib; for a cut-out of 1280 x 1918 a third of the time of 6, for 4 % more bytes
_QUALITY = 90

Color = tuple[int, int, int]


class Note(Config):
    """What made a file; two files of equal notes are equal."""

    made_by: str  # fingerprint of the model and of how the image is seen
    image_sha256: str


def write_mask(path: Path, mask_hw: ClassMask, note: Note, colors_rgb: Sequence[Color]) -> None:
    """Writes a mask: of one class 0 and 255; of several the class index, as a palette that viewers show in colors.

    Args:
        path: ends in .png.
        mask_hw: uint8 (height, width) class index; 0 is background.
        note: what made it.
        colors_rgb: one a class.
    """
    if len(colors_rgb) == 1:
        picture = Image.fromarray(mask_hw * np.uint8(255))
    else:
        picture = Image.fromarray(mask_hw)
        picture.putpalette([level for color in ((0, 0, 0), *colors_rgb) for level in color])
    _write_png(path, picture, note)


def write_cutout(path: Path, image_hwc: npt.NDArray[np.uint8], note: Note) -> None:
    """Writes uint8 RGBA (height, width, 4) as a PNG."""
    _write_png(path, Image.fromarray(image_hwc), note)


def write_overlay(path: Path, image_hwc: npt.NDArray[np.uint8], note: Note) -> None:
    """Writes uint8 RGB (height, width, 3) as a JPEG."""
    with atomic_path(path) as temporary:
        Image.fromarray(image_hwc).save(temporary, quality=_QUALITY, comment=_pack(note))


def read_note(path: Path) -> Note | None:
    """Reads what made a file; None where it does not say: it is not ours, or damaged."""
    try:
        with Image.open(path) as picture:
            text = picture.info.get("comment" if picture.format == "JPEG" else _KEY, "")
        fields = json.loads(text)
        return Note(**fields[_KEY])
    except (OSError, SyntaxError, ValueError, TypeError, KeyError):
        return None


def _write_png(path: Path, picture: Image.Image, note: Note) -> None:
    texts = PngInfo()
    texts.add_text(_KEY, _pack(note))
    with atomic_path(path) as temporary:
        picture.save(temporary, pnginfo=texts, compress_level=_COMPRESSION)


def _pack(note: Note) -> str:
    return json.dumps({_KEY: note.model_dump()})
