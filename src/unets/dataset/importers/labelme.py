"""Labelme json: a file an image, with polygons, boxes, circles and masks.

a.jpg
a.json    {"imagePath": "a.jpg", "shapes": [{"label": "cat", "points": [[1, 2], ...]}]}
"""

from typing import Any

import numpy as np

from unets.dataset.importers.class_lists import find_class_list
from unets.dataset.importers.listing import Listing
from unets.dataset.importers.polygons import Annotations, Area, Points, decode_bitmap, draw_box, draw_ellipse
from unets.errors import InputError


def parse(listing: Listing, found: Annotations) -> None:
    """Reads all labelme files of a folder. Raises as `polygons.read` says."""
    for path, content in listing.read_jsons('"shapes"', '"imagePath"'):
        image = found.find(path, path.removesuffix(".json"), str(content["imagePath"]))
        if image is not None:
            height, width = content.get("imageHeight"), content.get("imageWidth")
            size_hw = (height, width) if height and width else None
            found.add(image, path, size_hw, [_read_shape(shape, path) for shape in content["shapes"]])
    used = {area.label for areas in found.areas.values() for area in areas}
    names, files = find_class_list(listing) if found.areas else ({}, ())
    if used and used <= set(names.values()):
        found.labels = tuple(names.values())
        found.files |= dict.fromkeys(files, "annotation")


def _read_shape(shape: dict[str, Any], path: str) -> Area | None:
    label, kind = str(shape["label"]), shape.get("shape_type") or "polygon"
    points: Points = np.asarray(shape["points"], dtype=np.float64).reshape(-1, 2)
    if kind == "polygon" and len(points) >= 3:
        return Area(label, polygons=(points,))
    if kind == "mask" and shape.get("mask"):
        left, top = np.rint(points.min(axis=0)).astype(int).tolist()
        return Area(label, pixels=(decode_bitmap(shape["mask"]), (top, left)))
    if kind == "rectangle" and len(points) >= 2:
        return Area(label, polygons=(draw_box(*points.min(axis=0), *points.max(axis=0)),))
    if kind == "circle" and len(points) == 2:
        radius = float(np.hypot(*(points[1] - points[0])))
        return Area(label, polygons=(draw_ellipse(points[0], (radius, radius)),))
    if kind in ("point", "points", "line", "linestrip", "polygon"):
        return None
    raise InputError(f"{path} must hold polygons, boxes, circles or masks. Received: shape_type={kind!r}")
