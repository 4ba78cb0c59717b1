"""Polygons and other drawn areas: rasterized by pixel centers, and put together to masks.

A pixel belongs to an outline where its center lies inside, by the even-odd rule; an object's outlines are united.
Coordinates are those of pixels' corners: (0.5, 0.5) is the center of the first. Where a data set's coordinates are
whole numbers, they name pixels, as contours that were traced around masks do: these pixels, and all between them,
belong to the polygon.

A format is a function `parse(found: Annotations)`, which finds its files in `found.listing` and adds what they say.
"""

import base64
import binascii
import re
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from io import BytesIO
from itertools import repeat

import numpy as np
import numpy.typing as npt
from PIL import Image

from unets.config import PolygonSource, SizeHW
from unets.data.samples import IGNORE
from unets.dataset.importers.assemble import assemble, list_rasters
from unets.dataset.importers.base import Import, ImportedSample
from unets.dataset.importers.class_lists import BACKGROUND_NAMES, IGNORE_NAMES
from unets.dataset.importers.draws import Draw, Layers, Stretched, do_overlap
from unets.dataset.importers.listing import Listing
from unets.dataset.importers.names import Finder, find_splits, list_some, sort_naturally, spread
from unets.dataset.importers.table import find_test_images
from unets.errors import DECODER_FAULTS, InputError

BoolMask = npt.NDArray[np.bool_]
Points = npt.NDArray[np.float64]  # (n, 2) of x and y, in pixels
_WHOLE = 0.01  # pixels that a whole number may be off, where it was written as a share of the side
_NO_AREA = "an image without polygons or masks: its objects are boxes, points or lines"
_OVERLAP = 0.05  # of the smaller class's pixels; what is less are borders


@dataclass(frozen=True, slots=True)
class Area:
    """An object: polygons whose union it is, holes in it, or pixels within a box."""

    label: str  # the class as the file names it
    polygons: tuple[Points, ...] = ()
    holes: tuple[Points, ...] = ()
    pixels: tuple[BoolMask, tuple[int, int]] | None = None  # a part of the mask and the (top, left) where it lies
    is_ignored: bool = False  # left out of loss and scores, as a crowd

    def draw(self, size_hw: SizeHW, *, are_pixels: bool = False) -> BoolMask:
        """Draws the object; bool (height, width). `are_pixels`: see `draw_polygon`."""
        mask = np.zeros(size_hw, dtype=np.bool_)
        for points in self.polygons:
            mask |= draw_polygon(points, size_hw, are_pixels=are_pixels)
        for points in self.holes:
            mask &= ~draw_polygon(points, size_hw, are_pixels=are_pixels)
        if self.pixels is not None:
            part, (top, left) = self.pixels
            part = part[max(-top, 0) : max(size_hw[0] - top, 0), max(-left, 0) : max(size_hw[1] - left, 0)]
            top, left = max(top, 0), max(left, 0)
            mask[top : top + part.shape[0], left : left + part.shape[1]] |= part
        return mask


@dataclass(kw_only=True)
class Annotations(Import):
    """What the annotation files of a format say; `parse` fills it.

    It takes files of its format alone: the marks of `read_jsons` may stand in others. For each image that a file names
    it calls `find`, whose last name a user reads where none is there, and then `add`, with None for an object without
    an area: that is counted, and a question. A listed image that waits for its labels is not added. It sets
    `labels` where the files order their classes. A file of its format that it cannot read is an InputError; a missing
    key or a wrong type (DECODER_FAULTS) becomes one in `read`.
    """

    sizes: dict[str, SizeHW] = field(default_factory=dict)  # (height, width) of each image, as the files say
    areas: dict[str, list[Area]] = field(default_factory=dict)  # of each image that they name, in the order of drawing
    labels: tuple[str, ...] = ()  # classes in the files' own order; empty: by their names
    test: list[str] = field(default_factory=list)  # images that the files name as to be predicted
    missing: list[str] = field(default_factory=list)  # images that are named, and not there
    skipped: int = 0  # objects that have no area
    boxed: set[str] = field(default_factory=set)  # images with such objects
    path: str = ""  # of the annotation file that is read

    @property
    def has_empty(self) -> bool:
        """Whether files say of an image that it is empty."""
        return any(not areas and image not in self.boxed for image, areas in self.areas.items())

    @cached_property
    def finder(self) -> Finder:
        """Finds images by what files call them."""
        return Finder(self.listing.rasters)

    def find(self, path: str, *names: str, beside: str = "", is_needed: bool = True) -> str | None:
        """Finds the image that the annotation file `path` means, by the first of the names that it may have.

        Images near the file `beside`, or else near `path`, count first; several that are equally near are an
        InputError. A missing image that `is_needed` is noted.
        """
        self.path = path
        image = next((image for name in names if (image := self.finder.find(name, beside or path))), None)
        if image is None and is_needed:
            self.missing.append(f"{names[-1]} ({path})")
        return image

    def add(self, image: str, path: str, size_hw: SizeHW | None, areas: Iterable[Area | None]) -> None:
        """Adds the objects that a file names of an image; None is one without an area.

        Where `size_hw` is None, the image's header says it, turned upright. Raises InputError where coordinates are
        infinite, as a number too large to be read is.
        """
        self.account[path] = "annotation"
        self.sizes[image] = size_hw or self.listing.header(image).upright_hw
        areas = list(areas)
        if not all(np.isfinite(part).all() for area in areas if area for part in (*area.polygons, *area.holes)):
            raise InputError(f"{path} must hold finite coordinates. Received: others, of {image}")
        self.areas.setdefault(image, []).extend(area for area in areas if area is not None)
        if None in areas:
            self.skipped += areas.count(None)
            self.boxed.add(image)


@dataclass(frozen=True, slots=True)
class DrawAreas:
    """Draws a mask of areas: a layer a class, or one layer where the later covers the earlier."""

    size_hw: SizeHW
    areas: tuple[Area, ...]
    labels: tuple[str, ...]
    ignored: tuple[str, ...]
    are_pixels: bool = False
    covering: bool = False

    def __call__(self, *, numbered: bool = False) -> Layers:
        """Draws the mask."""
        shape = (1 if self.covering else len(self.labels), *self.size_hw)
        layers, void = np.zeros(shape, np.uint16 if numbered else np.uint8), np.zeros(self.size_hw, np.bool_)
        for number, area in enumerate(self.areas, start=1):
            drawn = area.draw(self.size_hw, are_pixels=self.are_pixels)
            if area.is_ignored or area.label in self.ignored:
                void |= drawn
            elif area.label in self.labels:
                index = self.labels.index(area.label)
                value = number if numbered else index + 1 if self.covering else 1
                layers[0 if self.covering else index][drawn] = value
        if not numbered:
            layers[void & (layers == 0)] = IGNORE
        return tuple(layers)


def uncover(found: Import) -> None:
    """Makes all masks of areas have a layer a class: classes may share pixels, though a look at some found none."""

    def part(draw: Draw) -> Draw:
        if isinstance(draw, Stretched):
            return replace(draw, draw=part(draw.draw))
        return replace(draw, covering=False) if isinstance(draw, DrawAreas) else draw

    found.samples = tuple(replace(sample, draw=sample.draw and part(sample.draw)) for sample in found.samples)


def draw_polygon(points: Points, size_hw: SizeHW, *, are_pixels: bool = False) -> BoolMask:
    """Rasterizes a polygon, whose points may leave the image, into bool (height, width); see the module for the rule.

    `are_pixels`: coordinates name pixels, whose border belongs to the polygon.
    """
    height, width = size_hw
    flips = np.zeros((height, width + 1), dtype=np.uint8)
    if len(points) < 3:
        return flips[:, :width].astype(np.bool_)
    vertices = np.rint(points) if are_pixels else points - 0.5  # now a pixel's center has whole coordinates
    following = np.roll(vertices, -1, axis=0)
    for (x0, y0), (x1, y1) in zip(vertices.tolist(), following.tolist(), strict=True):
        if y0 == y1:
            continue
        if y0 > y1:
            x0, y0, x1, y1 = x1, y1, x0, y0
        rows = np.arange(max(int(np.ceil(y0)), 0), min(int(np.ceil(y1)), height))
        crossings = np.ceil(x0 + (rows - y0) * (x1 - x0) / (y1 - y0))
        flips[rows, np.clip(crossings, 0, width).astype(np.int64)] ^= 1
    mask = np.bitwise_xor.accumulate(flips, axis=1)[:, :width].astype(np.bool_)
    if are_pixels:
        for start, end in zip(vertices.astype(np.int64), following.astype(np.int64), strict=True):
            steps = int(np.gcd(*np.abs(end - start))) or 1
            columns, rows = (start[:, None] + (end - start)[:, None] // steps * np.arange(steps)).astype(np.int64)
            inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
            mask[rows[inside], columns[inside]] = True
    return mask


def outline(label: str, points: npt.ArrayLike, *holes: npt.ArrayLike) -> Area | None:
    """Returns the area of a polygon; None of fewer than three points."""
    polygon, *cut = (np.asarray(part, dtype=np.float64).reshape(-1, 2) for part in (points, *holes))
    return Area(label, polygons=(polygon,), holes=tuple(cut)) if len(polygon) >= 3 else None


def ellipse(label: str, center_xy: npt.ArrayLike, radii_xy: npt.ArrayLike, num_points: int = 180) -> Area | None:
    """Returns the area of an ellipse."""
    angles = np.linspace(0, 2 * np.pi, num_points, endpoint=False)
    unit = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    return outline(label, unit * np.asarray(radii_xy, np.float64) + np.asarray(center_xy, np.float64))


def box(label: str, left: float, top: float, right: float, bottom: float) -> Area | None:
    """Returns the area of a box."""
    return outline(label, [[left, top], [right, top], [right, bottom], [left, bottom]])


def bitmap(label: str, text: str, left: float, top: float) -> Area:
    """Returns the area of a picture in base64, packed by zlib or not; what is not 0, or not transparent, is object.

    Raises InputError where it is none.
    """
    try:
        content = base64.b64decode(text)
        content = content if content[:4] == b"\x89PNG" else zlib.decompress(content)
        with Image.open(BytesIO(content)) as picture:
            values = np.array(picture.convert("RGBA") if picture.mode in ("LA", "PA") else picture)
    except (binascii.Error, zlib.error, OSError, ValueError) as error:
        raise InputError(f"a bitmap must be a PNG in base64. Received: {text[:40]!r} ({error})") from error
    if values.ndim == 3:
        values = values[..., -1] if values.shape[-1] == 4 else values.max(axis=-1)
    return Area(label, pixels=(values > 0, (round(top), round(left))))


def decode_counts(runs: Sequence[int], size_hw: SizeHW, path: str) -> BoolMask:
    """Reads lengths of runs along rows, background and object in turn; bool (height, width).

    Raises InputError, which names `path`, where they do not fill the mask.
    """
    height, width = size_hw
    if sum(runs) != height * width or min(runs, default=0) < 0:
        raise InputError(f"{path}: run lengths must fill {height} x {width} pixels. Received: {sum(runs)}")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)


def read(listing: Listing, source: PolygonSource, *, parse: Callable[[Annotations], None]) -> Annotations | None:
    """Reads all annotations of a format; None where no image is annotated.

    Raises:
        InputError: see `assemble`; or a file is damaged or holds what `parse` does not read, images that it names are
            not there, or no object has an area.
    """
    found = Annotations(listing=listing, source=source)
    try:
        parse(found)
    except InputError:
        raise
    except DECODER_FAULTS as error:  # another shape than the format has: a key, a list, a number
        words = f"{found.path or 'annotations'} must be {source.format} as its tool writes it"
        raise InputError(f"{words}. Received: {type(error).__name__}: {error}") from error
    if len(found.missing) > len(found.areas):
        raise InputError(
            f"images that annotations name must be below `--input`. Received: {len(found.missing)} that are not: "
            f"{', '.join(found.missing[:5])}"
        )
    if not any(found.areas.values()):
        if found.skipped and len(found.areas) > 1:
            raise InputError(
                f"{source.format} annotations must hold areas: polygons or masks. Received: {found.skipped} objects "
                f"of {len(found.areas)} images that have none, as boxes alone"
            )
        return None
    if found.skipped:
        text = f"{found.skipped} objects that have no area (boxes, points, lines, turned ellipses) are left out"
        found.ask("source.leave_out", text, at_imports=True)
    if found.missing:
        text = f"{len(found.missing)} images that annotations name are not there: {list_some(found.missing)}"
        found.ask("source.leave_out", text, "nothing, if that is right", at_imports=True)
    return _build(found, source)


def _build(found: Annotations, source: PolygonSource) -> Annotations:
    areas = [area for of_image in found.areas.values() for area in of_image]
    names = found.labels or tuple(sort_naturally({area.label for area in areas if not area.is_ignored}))
    ignored = source.ignored or tuple(name for name in names if re.fullmatch(IGNORE_NAMES, name.lower()))
    background = [name for name in names if re.fullmatch(BACKGROUND_NAMES, name.lower())]
    found.classes = source.labels or tuple(name for name in names if name not in (*ignored, *background))
    train, test = _split(found, source)
    # Nearly all polygons have whole coordinates; see the module.
    polygons = spread([points for area in areas for points in area.polygons], 2000)
    whole = sum(bool(np.abs(points - np.rint(points)).max() <= _WHOLE) for points in polygons)
    are_pixels = bool(polygons) and whole >= 0.95 * len(polygons)
    draws = {
        image: DrawAreas(found.sizes[image], tuple(found.areas.get(image, ())), found.classes, ignored, are_pixels)
        for image in train
    }
    far = [image for image in train if any(map(_leaves, found.areas.get(image, ()), repeat(found.sizes[image])))]
    if len(far) > 0.1 * len(train):
        raise InputError(
            f"objects must lie in their images. Received: {len(far)} of {len(train)} images with others, "
            f"as {far[0]}, {found.sizes[far[0]][0]} x {found.sizes[far[0]][1]}. Were the images made smaller since?"
        )
    found.overlapping = (
        not source.covering and len(found.classes) > 1 and do_overlap(draws.values(), tolerance=_OVERLAP)
    )
    if found.overlapping:
        choice = "covering=True: later objects cover earlier ones, and a pixel is of one class"
        found.ask("source.covering", "classes overlap: each has a mask of its own", choice)
    used = {area.label for draw in draws.values() for area in draw.areas}
    if absent := [name for name in found.classes if name not in used]:
        text = f"no object of a training image is of {list_some(absent)}, which the files name as classes"
        found.ask("source.labels", text, "the labels that there are", at_imports=True)
    has_ignored = any(area.is_ignored or area.label in ignored for draw in draws.values() for area in draw.areas)
    found.fields = {"has_background": True, "has_ignored": has_ignored}
    covering = ((image, replace(draw, covering=not found.overlapping)) for image, draw in draws.items())
    samples = [ImportedSample(image=image, draw=draw, size_hw=draw.size_hw) for image, draw in covering]
    assemble(found, [*samples, *(ImportedSample(image=image) for image in test)])
    return found


def _leaves(area: Area, size_hw: SizeHW) -> bool:
    """Tells whether an object lies outside its image by more than a fifth of a side."""
    return any((points > 1.2 * np.array(size_hw[::-1])).any() for points in area.polygons)


def _split(found: Annotations, source: PolygonSource) -> tuple[list[str], list[str]]:
    """Returns (training images, test images); asks about images without annotation."""
    rasters = dict.fromkeys(list_rasters(found))
    listed = find_test_images(found, list(rasters))
    test = dict.fromkeys([*found.test, *(image for image in listed if not found.areas.get(image))])
    named = [image for image in found.areas if image in rasters and image not in test]
    folder_of = {image: image.rpartition("/")[0] for image in rasters}
    splits = find_splits(folder_of)
    train = [image for image in named if splits[image] != "test"] or named
    trained, folders = set(train), {folder_of[image] for image in train}
    test |= dict.fromkeys(image for image in named if image not in trained)
    known = {*train, *test, *found.account}
    alone = [image for image in rasters if image not in known]
    test |= dict.fromkeys(i for i in alone if splits[i] == "test" and folder_of[i] not in folders)
    unnamed = [image for image in alone if folder_of[image] in folders]
    bare = [image for image in train if not found.areas[image] and image not in found.boxed]
    found.leave([image for image in train if not found.areas[image] and image in found.boxed], _NO_AREA)
    found.leave([image for image in alone if image not in test], "an image without a mask")
    count, are_empty = len(train) + len(unnamed), source.missing != "leave_out_all"
    where, other = "annotation in files that name them", "leave_out_all" if are_empty else "leave_out"
    no_object = [*found.ask_bare(bare, count, where, are_empty=are_empty, other=other)]
    no_object += found.ask_bare(unnamed, count, "annotation", are_empty=source.missing == "empty")
    found.sizes |= {image: found.listing.header(image).size_hw for image in no_object if image not in found.areas}
    train = [*(image for image in train if found.areas[image]), *no_object]
    return train, list(test)
