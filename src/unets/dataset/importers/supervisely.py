"""Supervisely: polygons, bitmaps and boxes in a json an image; classes in `meta.json`.

meta.json                 {"classes": [{"title": "cat"}]}
dataset/img/a.jpg
dataset/ann/a.jpg.json    {"size": {"height": 480, "width": 640}, "objects": [...]}
"""

from typing import Any

import numpy as np

from unets.dataset.importers.polygons import Annotations, Area, bitmap, box, outline


def parse(found: Annotations) -> None:
    """Reads all annotations of a folder. Raises as `polygons.read` says."""
    for path, content in found.listing.read_jsons('"classes"'):
        if path.rpartition("/")[2] == "meta.json":
            found.labels = tuple(str(entry.get("title")) for entry in content["classes"] if isinstance(entry, dict))
            found.account[path] = "annotation"
    for path, content in found.listing.read_jsons('"objects"', '"size"'):
        if isinstance(content, dict) and isinstance(size := content.get("size"), dict):
            image = found.find(path, path.replace("/ann/", "/img/").removesuffix(".json"))
            if image is not None:
                size_hw = int(size["height"]), int(size["width"])
                found.add(image, path, size_hw, map(_read_object, content["objects"]))


def _read_object(entry: dict[str, Any]) -> Area | None:
    label, kind, points = str(entry.get("classTitle")), entry.get("geometryType", "polygon"), entry.get("points", {})
    if entry.get("bitmap"):
        return bitmap(label, entry["bitmap"]["data"], *entry["bitmap"]["origin"])
    exterior = np.asarray(points.get("exterior", []), dtype=np.float64).reshape(-1, 2)
    if kind == "polygon":
        return outline(label, exterior, *points.get("interior", []))
    if kind == "rectangle" and len(exterior) == 2:
        return box(label, *exterior.min(axis=0), *(exterior.max(axis=0) + 1))
    return None
