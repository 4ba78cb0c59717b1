"""COCO json: polygons, run lengths and crowds; one file a split, as COCO itself and Roboflow write them.

annotations/instances_train2017.json    {"images": [...], "categories": [...], "annotations": [...]}
train2017/000001.jpg
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np

from unets.dataset.importers.listing import FOREIGN, SEGMENTS
from unets.dataset.importers.polygons import Annotations, Area, BoolMask, decode_counts
from unets.errors import InputError


def parse(found: Annotations) -> None:
    """Reads all COCO files of a folder. Raises as `polygons.read` says."""
    labels, lost = dict[str, None](), list[str]()
    labels_of: dict[str, set[str]] = {}  # classes of the files that annotate an image
    for path, content in found.listing.read_jsons('"images"'):
        if not _is_coco(content):
            continue
        if any("segments_info" in entry for entry in content.get("annotations", ())):
            found.account[path] = f"left out: {FOREIGN[SEGMENTS]}"
            continue
        if content.get("annotations") and not content.get("categories"):
            found.account[path] = "left out: captions, or what else has no classes"
            continue
        names = {
            str(entry["id"]): str(entry.get("file_name") or entry.get("coco_url", "")) for entry in content["images"]
        }
        named = {id_: found.find(path, name, is_needed=False) for id_, name in names.items()}
        (found.missing if any(named.values()) else lost).extend(
            f"{names[id_]} ({path})" for id_, image in named.items() if image is None
        )
        categories = _name_categories(content)
        own = {*categories.values()}
        # An image is annotated in another file already, unless that is of other classes.
        images = {i: image for i, image in named.items() if image and not own & labels_of.get(image, set())}
        if "annotations" not in content:
            found.test += [image for image in images.values() if image not in found.areas]
            found.account[path] = "annotation: a list of test images"
            continue
        entries = defaultdict(list)
        for entry in content["annotations"]:
            entries[str(entry.get("image_id"))].append(entry)
        areas = {
            i: [_read_area(entry, categories, path) for entry in entries[i]] for i, image in named.items() if image
        }
        again = {i: image for i, image in named.items() if image and i not in images}
        if further := [
            image for i, image in again.items() if _count_areas(areas[i]) - _count_areas(found.areas[image])
        ]:
            text = (
                f"{path} and another file annotate {len(further)} images differently, as {further[0]}: it is left out"
            )
            found.ask("source.leave_out", text, "images, or files, that are annotated once")
        if not images:
            found.account[path] = "left out: its images are annotated in another file, or are not there"
            continue
        labels |= dict.fromkeys(categories.values())
        sizes = {
            str(entry["id"]): (int(entry["height"]), int(entry["width"]))
            for entry in content["images"]
            if entry.get("height") and entry.get("width")
        }
        for id_, image in images.items():
            labels_of.setdefault(image, set()).update(own)
            found.add(image, path, sizes.get(id_), areas[id_])
    found.missing += [] if found.areas else lost
    found.labels = tuple(labels)


def _count_areas(areas: Iterable[Area | None]) -> Counter[tuple[str, bytes]]:
    """Counts areas that are equal."""
    known = [area for area in areas if area is not None]
    pixels = [area.pixels[0].tobytes() if area.pixels else b"" for area in known]
    outlines = [b" ".join(points.tobytes() for points in area.polygons) for area in known]
    return Counter((area.label, a + b) for area, a, b in zip(known, pixels, outlines, strict=True))


def _is_coco(content: Any) -> bool:
    if not isinstance(content, dict) or not content.keys() & {"categories", "annotations"}:
        return False
    images = content.get("images")
    entries = images if isinstance(images, list) else []
    return bool(entries) and all(isinstance(entry, dict) and "id" in entry for entry in entries)


def _name_categories(content: dict[str, Any]) -> dict[str, str]:
    """Returns the names of categories by their ids, without one that nothing is of, and that is others' kind."""
    entries = sorted(content.get("categories", []), key=lambda entry: int(entry["id"]))
    used = {str(entry.get("category_id")) for entry in content.get("annotations", ())}
    kinds = {entry.get("supercategory") for entry in entries}
    names = {str(entry["id"]): str(entry["name"]) for entry in entries}
    return {id_: name for id_, name in names.items() if id_ in used or name not in kinds} or names


def _read_area(entry: dict[str, Any], names: dict[str, str], path: str) -> Area | None:
    label = names.get(str(entry.get("category_id")))
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


def decode_runs(outline: dict[str, Any], path: str) -> BoolMask:
    """Reads COCO's run lengths, as numbers or as text, which count along columns; raises as `decode_counts`."""
    height, width = (int(side) for side in outline["size"])
    counts = outline["counts"]
    runs = _unpack(counts) if isinstance(counts, str) else [int(count) for count in counts]
    return np.ascontiguousarray(decode_counts(runs, (width, height), path).T)


def _unpack(text: str) -> list[int]:
    """Reads numbers of 5 bits a letter, each but the first two as the difference to the one before the last."""
    runs: list[int] = []
    value = shift = 0
    for letter in text.encode():
        bits = letter - 48
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) << (shift - 4)  # its highest bit is the sign
            runs.append(value + runs[-2] if len(runs) > 2 else value)
            value = shift = 0
    return runs
