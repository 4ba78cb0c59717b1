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
    labels_of = defaultdict[str, set[str]](set)  # classes of the files that annotate an image
    for path, content in found.listing.read_jsons('"images"'):
        if not _is_coco(content):
            continue
        objects, entries_of = content.get("annotations", ()), defaultdict[str, list[dict[str, Any]]](list)
        if any("segments_info" in entry for entry in objects):
            found.leave([path], FOREIGN[SEGMENTS])
            continue
        if objects and not content.get("categories"):
            found.leave([path], "captions, or what else has no classes")
            continue
        names = {str(e["id"]): str(e.get("file_name") or e.get("coco_url", "")) for e in content["images"]}
        named = {id_: found.find(path, name, is_needed=False) for id_, name in names.items()}
        here = {id_: image for id_, image in named.items() if image}
        (found.missing if here else lost).extend(f"{name} ({path})" for id_, name in names.items() if id_ not in here)
        categories = _name_categories(content)
        own = {*categories.values()}
        # An image is annotated in another file already, unless that is of other classes.
        images = {id_: image for id_, image in here.items() if not own & labels_of[image]}
        if "annotations" not in content:
            found.test += [image for image in images.values() if image not in found.areas]
            found.account[path] = "annotation: a list of test images"
            continue
        for entry in objects:
            entries_of[str(entry.get("image_id"))].append(entry)
        areas = {id_: [_read_area(entry, categories, path) for entry in entries_of[id_]] for id_ in here}
        again = {id_: _count_areas(found.areas[image]) for id_, image in here.items() if id_ not in images}
        if further := [id_ for id_, known in again.items() if _count_areas(areas[id_]) - known]:
            text = f"{path} and another file annotate {len(further)} images differently, as {here[further[0]]}"
            found.ask("source.leave_out", f"{text}: it is left out", "images, or files, that are annotated once")
        if not images:
            found.leave([path], "images annotated in another file" if here else "annotations of no image that is here")
            continue
        labels |= dict.fromkeys(categories.values())
        sides = {str(entry["id"]): (entry.get("height"), entry.get("width")) for entry in content["images"]}
        for id_, image in images.items():
            labels_of[image] |= own
            height, width = sides[id_]
            found.add(image, path, (int(height), int(width)) if height and width else None, areas[id_])
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
