"""COCO json: polygons, run lengths and crowds; one file a split, as COCO itself and Roboflow write them."""

from typing import Any

import numpy as np
import numpy.typing as npt

from unets.config import PolygonSource
from unets.dataset.importers import polygons
from unets.dataset.importers.base import Import, Question
from unets.dataset.importers.finder import Finder
from unets.dataset.importers.listing import Listing
from unets.dataset.importers.polygons import Annotations, Area, load_json
from unets.errors import InputError


def read(listing: Listing, source: PolygonSource) -> Import | None:
    """Reads all COCO files of a folder; None where there are none with areas.

    Raises:
        InputError: see `polygons.build`; or a file is damaged, or holds boxes alone.
    """
    found, finder = Annotations(), Finder(listing)
    boxes = total = 0
    labels: dict[str, None] = {}
    for path in listing.select(".json"):
        content = _load(listing, path)
        if content is None:
            continue
        categories = _name_categories(content)
        images = {}
        for entry in content["images"]:
            image = finder.find(str(entry.get("file_name", "")), path)
            if image is None:
                found.problems.append(str(entry.get("file_name")))
            elif image in found.areas or image in found.test:
                continue  # another file has it already
            else:
                images[entry["id"]] = image
                found.size_hw[image] = (int(entry["height"]), int(entry["width"]))
        if "annotations" not in content:
            found.test += images.values()
            found.files[path] = "annotation: a list of test images"
            continue
        if not images:
            found.files[path] = "left out: its images are annotated in another file, or are not there"
            continue
        labels |= dict.fromkeys(categories.values())
        found.areas |= {image: [] for image in images.values()}
        found.files[path] = "annotation"
        for entry in content["annotations"]:
            image = images.get(entry.get("image_id"))
            if image is None:
                continue
            total += 1
            area = _read_area(entry, categories, found.size_hw[image], path)
            boxes += area is None
            if area is not None:
                found.areas[image].append(area)
    if total and boxes == total:
        raise InputError(f"COCO annotations must hold areas (`segmentation`). Received: {total} boxes alone")
    if boxes:
        text = f"{boxes} of {total} annotations have no area, and are left out"
        found.questions.append(Question(field="source.leave_out", text=text))
    found.labels = tuple(labels)
    return polygons.build(listing, source, found)


def _load(listing: Listing, path: str) -> dict[str, Any] | None:
    content = load_json(listing, path, '"images"')
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        return None
    if not content.keys() & {"categories", "annotations"}:
        return None
    listed = all(isinstance(entry, dict) and {"id", "height", "width"} <= entry.keys() for entry in content["images"])
    return content if listed and content["images"] else None


def _name_categories(content: dict[str, Any]) -> dict[Any, str]:
    """Returns the names of categories by their ids, without one that nothing is of, and that is others' kind."""
    entries = sorted(content.get("categories", []), key=lambda entry: entry["id"])
    used = {entry.get("category_id") for entry in content.get("annotations", ())}
    kinds = {entry.get("supercategory") for entry in entries}
    return {
        entry["id"]: str(entry["name"]) for entry in entries if entry["id"] in used or entry["name"] not in kinds
    } or {entry["id"]: str(entry["name"]) for entry in entries}


def _read_area(entry: dict[str, Any], names: dict[Any, str], size_hw: tuple[int, int], path: str) -> Area | None:
    label = names.get(entry.get("category_id"))
    if label is None:
        raise InputError(f"{path} must name each category. Received: category_id={entry.get('category_id')!r}")
    outline, is_crowd = entry.get("segmentation"), bool(entry.get("iscrowd"))
    if not outline:
        return None
    if isinstance(outline, dict):
        return Area(label, pixels=(decode_runs(outline, path), (0, 0)), is_ignored=is_crowd)
    parts = [outline] if isinstance(outline[0], int | float) else outline
    points = tuple(np.asarray(part, dtype=np.float64).reshape(-1, 2) for part in parts if len(part) >= 6)
    return Area(label, polygons=points, is_ignored=is_crowd) if points else None


def decode_runs(outline: dict[str, Any], path: str) -> npt.NDArray[np.bool_]:
    """Reads COCO's run lengths, as numbers or as text; bool (height, width).

    Raises:
        InputError: they do not fill the mask.
    """
    height, width = (int(side) for side in outline["size"])
    counts = outline["counts"]
    runs = _unpack(counts) if isinstance(counts, str) else [int(count) for count in counts]
    if sum(runs) != height * width or min(runs, default=0) < 0:
        raise InputError(f"{path}: run lengths must fill {height} x {width} pixels. Received: {sum(runs)}")
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return np.ascontiguousarray(flat.reshape(width, height).T)


def _unpack(text: str) -> list[int]:
    """Reads numbers of 5 bits a letter, each but the first two as the difference to the one before the last."""
    runs: list[int] = []
    value = shift = 0
    for letter in text.encode():
        bits = letter - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    return runs
