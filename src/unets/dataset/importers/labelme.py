"""Labelme json: a file an image, with polygons, boxes, circles and masks.

a.jpg
a.json    {"imagePath": "a.jpg", "shapes": [{"label": "cat", "points": [[1, 2], ...]}]}
"""

from typing import Any

import numpy as np

from unets.dataset.importers.class_lists import find_class_list
from unets.dataset.importers.polygons import Annotations, Area, bitmap, box, ellipse, outline
from unets.errors import InputError


def parse(found: Annotations) -> None:
    """Reads all labelme files of a folder. Raises as `polygons.read` says."""
    for path, content in found.listing.read_jsons('"shapes"', '"imagePath"'):
        image = found.find(path, path.removesuffix(".json"), str(content["imagePath"]))
        if image is not None:
            height, width = content.get("imageHeight"), content.get("imageWidth")
            size_hw = (height, width) if height and width else None
            found.add(image, path, size_hw, [_read_shape(shape, path) for shape in content["shapes"]])
    used = {area.label for areas in found.areas.values() for area in areas}
    names, files = find_class_list(found.listing, may_differ=True) if used else ({}, ())
    if used and used <= set(names.values()):
        found.labels = tuple(names.values())
        found.account |= dict.fromkeys(files, "annotation")


def _read_shape(shape: dict[str, Any], path: str) -> Area | None:
    label, kind = str(shape["label"]), shape.get("shape_type") or "polygon"
    points = np.asarray(shape["points"], dtype=np.float64).reshape(-1, 2)
    if kind in ("polygon", "rotation"):  # a turned box, of AnyLabeling
        return outline(label, points)
    if kind == "mask" and shape.get("mask"):
        return bitmap(label, shape["mask"], *points.min(axis=0))
    if kind == "rectangle" and len(points) >= 2:
        return box(label, *points.min(axis=0), *points.max(axis=0))
    if kind == "circle" and len(points) == 2:
        return ellipse(label, points[0], float(np.hypot(*(points[1] - points[0]))))
    if kind in ("point", "points", "line", "linestrip"):
        return None
    raise InputError(f"{path} must hold polygons, boxes, circles or masks. Received: shape_type={kind!r}")
