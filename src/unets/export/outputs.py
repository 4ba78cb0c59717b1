"""The files made of an image, each with a note inside that says by which model, from which bytes."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from unets.config import Config, SizeHW
from unets.errors import DAMAGE
from unets.store.runs import atomic_path

_KEY = "unets"  # of the text in a PNG
_COMPRESSION = 3  # of zlib; for a cut-out of 1280 x 1918 a third of the time of 6, for 4 % more bytes
_QUALITY = 90


class Note(Config):
    """What made a file, and what it found; two files of equal notes are equal."""

    made_by: str  # fingerprint of the model and of how the image is seen
    image_sha256: str
    size_hw: SizeHW  # of the image
    area: float  # share of it that is of any class
    confidence: float  # see `Result.confidence`


def save_picture(path: Path, picture: Image.Image, note: Note) -> None:
    """Writes a picture, whole or not at all: a JPEG or a PNG, by its name."""
    text = json.dumps({_KEY: note.model_dump()})
    options: dict[str, Any] = {"quality": _QUALITY, "comment": text}
    if path.suffix == ".png":
        texts = PngInfo()
        texts.add_text(_KEY, text)
        options = {"pnginfo": texts, "compress_level": _COMPRESSION}
    with atomic_path(path) as temporary:
        picture.save(temporary, **options)


def read_note(path: Path) -> Note | None:
    """Reads what made a file; None where it does not say: it is not ours, or damaged."""
    try:
        with Image.open(path) as picture:
            text = picture.info.get("comment" if picture.format == "JPEG" else _KEY, "")
        return Note(**json.loads(text)[_KEY])
    except DAMAGE:
        return None


def read_layers(paths: Sequence[Path], num_classes: int) -> list[npt.NDArray[np.bool_]]:
    """Reads masks that were written here: where each class is, bool (height, width)."""
    layers = []
    for path in paths:
        with Image.open(path) as picture:
            layers.append(np.array(picture))
    if len(layers) == num_classes:
        return [layer > 0 for layer in layers]
    return [layers[0] == index for index in range(1, num_classes + 1)]
