"""Drawn data sets with their ground truth: rings and crosses on a slope of light, unlike in every class."""

import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from unets.config import Source
from unets.dataset.importers.base import Import
from unets.dataset.importers.draws import merge_layers
from unets.dataset.importers.listing import list_input
from unets.dataset.importers.search import choose, read
from unets.errors import InputError

Array = npt.NDArray[Any]
SIZE = (48, 72)
WORDS = ("oak", "a red car", "Berlin (old)", "x-ray 3", "two dogs", "IMG", "fog", "y")
COLORS = np.array([(0, 0, 0), (0, 0, 255), (0, 255, 0), (255, 0, 0)], np.uint8)


def with_palette(mask: Array) -> Image.Image:
    picture = Image.fromarray(mask)
    picture.putpalette([level for index in range(256) for level in COLORS[index % 4].tolist()])
    return picture


# What masks hold, made of class indices.
CODINGS: dict[str, Callable[[Array], Array | Image.Image]] = {
    "index": lambda mask: mask,
    "palette": with_palette,
    "color": lambda mask: COLORS[mask],
    "red": lambda mask: np.dstack([mask, mask * 0, mask * 0]),
    "spread": lambda mask: mask * np.uint8(70),
    "white": lambda mask: mask * np.uint8(255),
    "three channels": lambda mask: np.repeat(mask[..., None] * np.uint8(255), 3, axis=-1),
    "deep": lambda mask: mask.astype(np.uint16) * np.uint16(65535),
    "inverted": lambda mask: np.uint8(255) - mask * np.uint8(255),
    "bilevel": lambda mask: Image.fromarray(mask > 0),
    "128": lambda mask: mask * np.uint8(128),
    "opaque": lambda mask: np.dstack([mask * np.uint8(255)] * 3 + [mask * 0 + np.uint8(255)]),
    "opacity alone": lambda mask: np.dstack([mask * np.uint8(0)] * 3 + [mask * np.uint8(255)]),
}


def draw_objects(
    seed: int, num_classes: int = 1, size_hw: tuple[int, int] = SIZE, count: int = 1
) -> list[tuple[int, Array]]:
    """Draws blobs side by side, `count` of each class; (class, bool mask), no two touch."""
    rng = np.random.default_rng([3, seed])
    height, width = size_hw
    rows, columns = np.mgrid[:height, :width] + 0.5
    number = num_classes * count
    objects = []
    for place in range(number):
        x = width * (place + 0.5) / number + rng.uniform(-0.05, 0.05) * width / number
        y = height * rng.uniform(0.35, 0.6)
        radius_y, radius_x = height * rng.uniform(0.18, 0.3), width / number * rng.uniform(0.2, 0.38)
        mask = ((rows - y) / radius_y) ** 2 + ((columns - x) / radius_x) ** 2 < 1
        mask &= ~((columns > x) & (rows > y) & (rows < y + radius_y / 2))  # a bite, so that no mirror image is equal
        objects.append((place % num_classes + 1, mask))
    return objects


def merge(objects: list[tuple[int, Array]], size_hw: tuple[int, int] = SIZE) -> Array:
    """Returns class indices, uint8."""
    mask = np.zeros(size_hw, dtype=np.uint8)
    for index, part in objects:
        mask[part] = index
    return mask


def draw_image(seed: int, mask: Array, *, grey: bool = False) -> Array:
    """Draws an image in which each class is of another brightness; uint8 RGB, or grey."""
    rng = np.random.default_rng([4, seed])
    slope = np.linspace(20, 60, mask.shape[1])[None, :, None] + rng.uniform(0, 20)
    tints = np.array([[0, 0, 0], [120, 70, 90], [60, 130, 60], [150, 150, 40], [40, 60, 160]])
    pixels = slope + tints[mask % 5] + rng.normal(0, 4, (*mask.shape, 3))
    pixels = np.clip(pixels, 0, 255).astype(np.uint8)
    return np.asarray(pixels.mean(axis=-1), dtype=np.uint8) if grey else pixels


def encode(mask: Array, order: str = "column", start: int = 1, relative: bool = False) -> str:
    """Writes run lengths, pixel by pixel."""
    flat = np.asarray(mask, dtype=bool).ravel("F" if order == "column" else "C").tolist()
    runs: list[tuple[int, int]] = []
    for place, is_object in enumerate(flat):
        if is_object and runs and sum(runs[-1]) == place:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        elif is_object:
            runs.append((place, 1))
    if not relative:
        return " ".join(f"{begin + start} {length}" for begin, length in runs)
    ends = [0, *(begin + length for begin, length in runs)]
    return " ".join(f"{begin - end} {length}" for (begin, length), end in zip(runs, ends, strict=False))


@dataclass
class Drawing:
    """A folder that is filled, and what is right: the mask of each training image, and the test images."""

    root: Path
    train: dict[str, Array] = field(default_factory=dict)
    test: set[str] = field(default_factory=set)

    def save(self, name: str, pixels: Array | Image.Image, **options: Any) -> str:
        """Saves an image, or an array as .npy, below the folder."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".npy"):
            np.save(path, np.asarray(pixels))
        else:
            (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(path, **options)
        return name

    def write(self, name: str, text: str, encoding: str = "utf-8") -> None:
        """Writes a text below the folder."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding=encoding)

    def add(
        self, name: str, seed: int, num_classes: int = 1, count: int = 1, **options: Any
    ) -> list[tuple[int, Array]]:
        """Draws a training image with its ground truth; returns its objects."""
        objects = draw_objects(seed, num_classes, count=count)
        self.add_mask(name, seed, merge(objects), **options)
        return objects

    def add_mask(self, name: str, seed: int, mask: Array, **options: Any) -> None:
        """Draws the training image of a mask."""
        self.train[name] = mask
        self.save(name, draw_image(seed, mask), **options)

    def add_rows(
        self, name: str, header: str, image: str, row: str, count: int = 8, first: int = 0, **options: Any
    ) -> None:
        """Draws training images, and a csv with a row for each object: `{i}`, `{n}` as in `fill`, `{runs}`."""
        rows = [header]
        for number in range(first, first + count):
            names = {"i": f"{number:03}", "n": number}
            rows += [
                row.format(**names, runs=encode(part)) for _, part in self.add(image.format(**names), number, **options)
            ]
        self.write(name, "\n".join(rows) + "\n")

    def pack(self, name: str) -> None:
        """Moves everything into a zip."""
        files = [path for path in sorted(self.root.rglob("*")) if path.is_file()]
        with zipfile.ZipFile(self.root / name, "w") as archive:
            for path in files:
                archive.write(path, path.relative_to(self.root).as_posix())
                path.unlink()
        self.train = {f"{name}/{image}": mask for image, mask in self.train.items()}
        self.test = {f"{name}/{image}" for image in self.test}


def list_questions(result: Import) -> str:
    """Returns what is asked, as one text."""
    return "; ".join(question.text for question in result.questions)


def assert_refused(drawing: Drawing, words: str) -> None:
    """Holds that a folder is refused with these words, a regular expression."""
    with pytest.raises(InputError, match=words):
        choose(list_input(drawing.root))


def draw_mask(result: Import, image: str) -> Array:
    """Returns an image's mask as class indices; of overlapping classes the last."""
    return merge_layers(result.read_layers(result.train[image]))[0]


def find_faults(drawing: Drawing, result: Import, tolerance: float = 0.005) -> list[str]:
    """Compares what was read with the ground truth."""
    train = result.train
    test = {sample.image for sample in result.samples if sample.split == "test"}
    faults = (
        [f"train: {sorted(train.keys() ^ drawing.train.keys())[:4]}"] if train.keys() != drawing.train.keys() else []
    )
    faults += [f"test: {sorted(test ^ drawing.test)[:4]}"] if test != drawing.test else []
    for image in train.keys() & drawing.train.keys():
        mask, right = draw_mask(result, image), drawing.train[image]
        if mask.shape != right.shape:
            faults.append(f"{image}: {mask.shape}, not {right.shape}")
        elif np.mean(mask != right) > tolerance:
            faults.append(f"{image}: {np.mean(mask != right):.2%} differ")
    unknown = set(list_input(drawing.root).paths) - result.account.keys()
    return faults + ([f"no account of {sorted(unknown)[:3]}"] if unknown else [])


def fill(
    drawing: Drawing,
    image: str,
    mask: str,
    count: int = 8,
    num_classes: int = 1,
    code: Callable[[Array], Array | Image.Image] | None = None,
    **options: Any,
) -> None:
    """Draws pairs; `{i}` is a number of three digits, `{n}` of as many as it needs, `{w}` some words.

    `code` says what masks hold of class indices.
    """
    code = code or (lambda indices: indices * np.uint8(255 if num_classes == 1 else 1))
    for number in range(count):
        names = {"i": f"{number:03}", "n": str(number), "w": WORDS[number % len(WORDS)]}
        quality = {"quality": 95} if image.lower().endswith("jpg") else {}
        objects = drawing.add(image.format(**names), number, num_classes, **quality)
        drawing.save(mask.format(**names), code(merge(objects)), **options)


def import_drawn(drawing: Drawing, tolerance: float = 0.005) -> tuple[Source, Import]:
    """Reads a drawing, holds it against the ground truth, and reads it again by the options that were found."""
    result = choose(list_input(drawing.root))
    assert not find_faults(drawing, result, tolerance)
    again = read(list_input(drawing.root), result.source)
    assert not find_faults(drawing, again, tolerance)
    assert len(again.classes) == len(result.classes)
    return result.source, result
