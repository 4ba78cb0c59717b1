"""The gallery: the pictures of images and masks, and the figures of each, that a page gets.

A mask travels as bits, not as a painted picture: the page lays it over the image as a tint or a contour, compares two
of them, and enlarges both. The planes of an image stand below each other in one PNG, opaque where the mask is: those
of the ground truth, one a class, then those of each prediction, then the ignored pixels of the ground truth.
"""

import hashlib
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain, cycle
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from unets.config import DatasetConfig
from unets.data.drawing import COLORS_RGB
from unets.data.geometry import SizeHW, resize
from unets.data.io import encode_jpeg, encode_layer
from unets.data.samples import IGNORE, Sample, read_full_size, read_image, read_mask
from unets.ensemble.mask_scores import blend_small
from unets.ensemble.postprocess import ClassMask
from unets.evaluation.predictions import Prediction
from unets.metrics.pixels import pick_class
from unets.pages.measure import Chunk, Values, find_uncertain, run_chunks
from unets.pages.page import render_page
from unets.store.paths import Project
from unets.store.provenance import describe_origin
from unets.store.runs import atomic_path, write_text

Style = Literal["score", "percent", "change", "number"]
PAGE, PICTURES = "index.html", "pictures"
_SMALL_PX, _LARGE_PX = 320, 1920  # longest sides


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A figure that every image has, by which the gallery is ordered and filtered."""

    label: str
    values: Values  # NaN where there is none
    worst: Literal["low", "high"] = "low"
    style: Style = "number"
    meaning: str = ""
    prediction: int | None = None  # whose masks it is about
    distances: Values | None = None  # how odd each value is; orders the gallery in place of the values


@dataclass(frozen=True, kw_only=True, slots=True)
class Gallery:
    """The images of a page, and what is known of them; arrays in the order of `samples`."""

    name: str  # what marks are kept under in the browser
    samples: Sequence[Sample]
    folds: Sequence[int | None]  # None is the test set
    predictions: Sequence[Prediction]  # whose masks are shown
    columns: Sequence[Column]  # the first orders the gallery at first
    areas: Values  # share of each image that is object
    has_ground_truth: bool  # else the pixels of which the first prediction is uncertain are shown, as one more mask


def _draw(
    dataset: DatasetConfig, has_ground_truth: bool, large: Collection[str], chunk: Chunk
) -> list[tuple[SizeHW, list[tuple[bytes, bytes]]]]:
    """Returns of each image its size, and the small and perhaps the large picture: JPEG of it, PNG of the planes."""
    samples, predictions = chunk
    drawn = []
    for sample in samples:
        full_hw = read_full_size(sample, dataset)
        empty = np.zeros(full_hw, dtype=np.uint8)
        masks: list[ClassMask] = [read_mask(sample) if has_ground_truth else empty]
        for prediction in predictions:
            masks.append(prediction.make_mask(sample.id, full_hw) if sample.id in prediction.recipes else empty)
        if not has_ground_truth:
            recipe, maps = predictions[0].read(sample.id)
            masks.append(_shrink_plane(find_uncertain(blend_small(maps, recipe)), full_hw))
        planes = list_planes(masks, len(dataset.classes))
        sizes = [fit(full_hw, longest_px) for longest_px in (_SMALL_PX, _LARGE_PX)[: 1 + (sample.id in large)]]
        pictures = [(encode_jpeg(read_image(sample, size)), encode_planes(planes, size)) for size in sizes]
        drawn.append((full_hw, pictures))
    return drawn


def list_planes(masks: Sequence[ClassMask], num_classes: int) -> list[npt.NDArray[np.bool_]]:
    """Lists the planes of masks, the ground truth first: one a mask and class, then the ignored pixels.

    Masks are uint8 (height, width) class index, or, where classes overlap, (height, width, classes) of 0 and 1; planes
    bool (height, width).
    """
    planes = [pick_class(mask, index) for mask in masks for index in range(num_classes)]
    is_ignored = masks[0] == IGNORE
    return [*planes, is_ignored.any(axis=-1) if is_ignored.ndim == 3 else is_ignored]


def encode_planes(planes: Sequence[npt.NDArray[np.bool_]], size_hw: SizeHW) -> bytes:
    """Writes planes, bool (height, width), shrunk to a size, below each other as a PNG, opaque where they are true."""
    small = np.concatenate([_shrink_plane(plane, size_hw) for plane in planes])
    return encode_layer(small, [(0, 0, 0, 0), (255, 255, 255, 255)])


def _shrink_plane(plane: npt.NDArray[np.bool_], size_hw: SizeHW) -> npt.NDArray[np.uint8]:
    """Shrinks, or enlarges, a plane: a pixel is 1 where half of it or more is."""
    return (resize(plane.astype(np.uint8) * np.uint8(255), size_hw) >= 128).astype(np.uint8)


def fit(full_hw: SizeHW, longest_px: int) -> SizeHW:
    """Returns the size of an image whose longest side is shrunk to `longest_px`; its own where it is no longer."""
    scale = min(longest_px / max(full_hw), 1.0)
    return max(round(full_hw[0] * scale), 1), max(round(full_hw[1] * scale), 1)


def write_gallery(
    folder: Path, dataset: DatasetConfig, gallery: Gallery, *, shown: Sequence[int], large: Collection[int]
) -> dict[str, Any]:
    """Draws images in workers and writes their files, named by their content: a page that is there stays whole.

    Of the page's folder, pictures lie in one below. The numbers `shown` of the images that get a picture are ascending;
    those of `large` get a large one, too. Returns what the page's script works with, as JSON can write it; names of
    groups are stored once.
    """
    samples = [gallery.samples[number] for number in shown]
    ids = {gallery.samples[number].id for number in shown if number in large}
    function = partial(_draw, dataset, gallery.has_ground_truth, ids)
    chunks = run_chunks(function, samples, gallery.predictions, what="pictures")
    pictures, links = {}, {}
    for number, sample, (size_hw, pairs) in zip(shown, samples, chain.from_iterable(chunks), strict=True):
        names = [hashlib.sha256(image + planes).hexdigest()[:16] for image, planes in pairs]
        for name, contents in zip(names, pairs, strict=True):
            for suffix, content in zip((".jpg", ".png"), contents, strict=True):
                path = folder / PICTURES / f"{name}{suffix}"
                if not path.exists():
                    with atomic_path(path) as temporary:
                        temporary.write_bytes(content)
        pictures[str(number)] = [*size_hw, names[0], names[-1]]
        files = (sample.image_path, *sample.mask_paths[:1])  # those in a zip have no address
        links[str(number)] = [link_to(path, folder) if path.is_file() else "" for path in files]
    return build_data(dataset, gallery, pictures) | {"links": links}


def build_data(dataset: DatasetConfig, gallery: Gallery, pictures: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Returns what the page's script works with.

    Pictures stand under the image's number: height, width, and the names of the small and the large picture, without
    their suffixes .jpg (image) and .png (planes).
    """
    groups = sorted({sample.group for sample in gallery.samples})
    number_of = {group: number for number, group in enumerate(groups)}
    more = [] if gallery.has_ground_truth else ["uncertain pixels"]
    colors = ["#{:02x}{:02x}{:02x}".format(*color) for color in COLORS_RGB.values()]
    return {
        "page": gallery.name,
        "classes": list(zip(dataset.classes, cycle(colors), strict=False)),
        "predictions": [*(prediction.name for prediction in gallery.predictions), *more],
        "hasTarget": gallery.has_ground_truth,
        "columns": [
            {key: to_json(value) if isinstance(value, np.ndarray) else value for key, value in asdict(column).items()}
            for column in gallery.columns
        ],
        "groups": groups,
        "images": {
            "id": [sample.id for sample in gallery.samples],
            "group": [number_of[sample.group] for sample in gallery.samples],
            "view": [sample.view or "" for sample in gallery.samples],
            "fold": [-1 if fold is None else fold for fold in gallery.folds],
            "area": to_json(gallery.areas),
        },
        "pictures": dict(pictures),
        "links": {},
        "training": [],
        "errors": None,
    }


def write_page(folder: Path, project: Project, data: Mapping[str, Any], **values: Any) -> None:
    """Writes the page of a gallery, of what `write_gallery` returned; deletes the pictures that it does not show."""
    origin = describe_origin()
    page = render_page("gallery.html", title=project.competition, origin=origin, data=data, **values)
    write_text(folder / PAGE, page)
    kept = {name for picture in data["pictures"].values() for name in picture[2:]}
    for path in (folder / PICTURES).glob("*"):
        if path.stem not in kept:
            path.unlink()


def to_json(values: Iterable[float]) -> list[float | None]:
    """Rounds to six digits; None where one is no number."""
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values]


def link_to(path: Path, page_dir: Path) -> str:
    """Returns the address of a file or a folder as seen from a page."""
    return quote(os.path.relpath(path, page_dir)) + "/" * path.is_dir()
