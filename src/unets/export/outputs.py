"""Which images are meant, and the files made of each, with a note inside that says by which model, from which bytes."""

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from unets.config import Config, SizeHW
from unets.data.files import walk_files
from unets.data.image import list_suffixes
from unets.errors import DECODER_FAULTS, InputError
from unets.store.runs import atomic_path

_KEY = "unets"  # of the text in a PNG
# Of zlib, for a cut-out of 1280 x 1918: a third of the time of 6, for 4 % more bytes.
SETTINGS: dict[str, dict[str, Any]] = {".png": {"compress_level": 3}, ".jpg": {"quality": 90}}


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """An image and the files that are to be made of it."""

    image_path: Path
    place: Path  # of its files below the output folder, without an ending
    pictures: tuple[Path, ...]
    masks: tuple[Path, ...]  # written last: where they are, all are

    @property
    def outputs(self) -> tuple[Path, ...]:
        """All files, in the order of their writing."""
        return (*self.pictures, *self.masks)

    def read_layers(self, num_classes: int) -> list[npt.NDArray[np.bool_]]:
        """Reads the masks, once they are there: where each class is, bool (height, width)."""
        layers = []
        for path in self.masks:
            with Image.open(path) as picture:
                layers.append(np.array(picture))
        if len(layers) == num_classes:
            return [layer > 0 for layer in layers]
        return [layers[0] == index for index in range(1, num_classes + 1)]


class Note(Config):
    """What made a file, and what it found; two files of equal notes are equal."""

    made_by: str  # fingerprint of the model and of how the image is seen
    image_sha256: str
    size_hw: SizeHW  # of the image
    area: float  # share of it that is of any class
    confidence: float  # see `Result.confidence`


def plan_tasks(given: Sequence[Path], out_dir: Path, pictures: Sequence[str], masks: Sequence[str]) -> list[Task]:
    """Lists the images, each once, in the order of the arguments and in a folder by name, and names their outputs.

    A folder stands for all images in it and below, by the endings of their names; names that begin with a dot, and
    `out_dir`, are passed over. Below `out_dir`, one folder's images keep their places in it; of several arguments, each
    folder gets one of its own name. Of two images of one name and different endings, both keep their ending. The names
    of `pictures` and `masks` end in these, as `_cutout.png`. Raises InputError where an argument does not exist or a
    folder has no image; two images' outputs would have one name, or one would replace an image.
    """
    found: dict[Path, tuple[Path, Path]] = {}  # by the resolved path: the image, and its place with its own ending
    for path, place in _list_images(given, _resolve(out_dir)):
        found.setdefault(_resolve(path), (path, place))
    stems = Counter(place.with_suffix("") for place in {place for _, place in found.values()})
    tasks, image_of = [], dict[Path, Path]()
    for path, place in found.values():
        stem = place.with_suffix("") if stems[place.with_suffix("")] == 1 else place
        first, last = (tuple(out_dir / f"{stem}{ending}" for ending in endings) for endings in (pictures, masks))
        tasks.append(Task(image_path=path, place=stem, pictures=first, masks=last))
        for output in tasks[-1].outputs:
            if _resolve(output) in found:
                raise InputError(f"`--out` must be another folder than that of the images. Received: {out_dir}")
            if (other := image_of.setdefault(output, path)) != path:
                raise InputError(
                    f"`images` must differ in the names of what is made of them. Received: {other} and {path}, both "
                    f"{output}. Give each a run with an --out of its own"
                )
    return tasks


def _list_images(given: Sequence[Path], out_dir: Path) -> Iterator[tuple[Path, Path]]:
    """Yields (image, its place below `out_dir`)."""
    suffixes = list_suffixes()
    for path in given:
        if path.is_file():
            yield path, Path(path.name)
            continue
        if (root := _resolve(path)) == out_dir:  # masks beside their images would be taken for images the next time
            raise InputError(f"`--out` must be another folder than that of the images. Received: {path}")
        names = [Path(name) for name, *_ in walk_files(path)] if path.is_dir() else []
        images = [name for name in names if name.suffix.lower() in suffixes and out_dir not in (root / name).parents]
        if not images:
            what = "a folder with none" if path.is_dir() else "which does not exist"
            raise InputError(f"`images` must be images, or folders with some. Received: {path}, {what}")
        folder = Path(root.name) if len(given) > 1 else Path()
        yield from ((path / name, folder / name) for name in sorted(images))


def _resolve(path: Path) -> Path:
    """Follows links as far as they lead; `Path.resolve` raises where they lead in a circle, up to Python 3.12."""
    return Path(os.path.realpath(path))


def save_picture(path: Path, picture: Image.Image, note: Note) -> None:
    """Writes a picture, whole or not at all: a JPEG or a PNG, by its name."""
    text, texts = json.dumps({_KEY: note.model_dump()}), PngInfo()
    texts.add_text(_KEY, text)
    with atomic_path(path) as temporary:
        picture.save(temporary, **SETTINGS[path.suffix], comment=text, pnginfo=texts)


def read_note(path: Path) -> Note | None:
    """Reads what made a file; None where it does not say: it is not ours, or damaged."""
    try:
        with Image.open(path) as picture:
            text = picture.info.get("comment" if picture.format == "JPEG" else _KEY, "")
        return Note(**json.loads(text)[_KEY])
    except DECODER_FAULTS:
        return None
