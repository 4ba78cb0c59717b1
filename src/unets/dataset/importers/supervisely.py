"""Supervisely: polygons, bitmaps and boxes in a json an image; classes in `meta.json`.

meta.json                 {"classes": [{"title": "cat"}]}
dataset/img/a.jpg
dataset/ann/a.jpg.json    {"size": {"height": 480, "width": 640}, "objects": [...]}
"""

from typing import Any

import numpy as np

from unets.dataset.importers.listing import Listing
from unets.dataset.importers.polygons import Annotations, Area, decode_bitmap, draw_box


def parse(listing: Listing, found: Annotations) -> None:
    """Reads all annotations of a folder. Raises as `polygons.read` says."""
    for path, content in listing.read_jsons('"classes"'):
        if path.rpartition("/")[2] == "meta.json":
            names = [str(entry.get("title")) for entry in content["classes"] if isinstance(entry, dict)]
            found.labels, found.files[path] = tuple(names), "annotation"
    for path, content in listing.read_jsons('"objects"', '"size"'):
        if isinstance(content, dict) and isinstance(content.get("size"), dict):
            image = found.find(path, path.replace("/ann/", "/img/").removesuffix(".json"))
            if image is not None:
                size_hw = (int(content["size"]["height"]), int(content["size"]["width"]))
                found.add(image, path, size_hw, map(_read_object, content["objects"]))


def _read_object(entry: dict[str, Any]) -> Area | None:
    label, kind = str(entry.get("classTitle")), entry.get("geometryType", "polygon")
    if entry.get("bitmap"):
        left, top = (int(place) for place in entry["bitmap"]["origin"])
        return Area(label, pixels=(decode_bitmap(entry["bitmap"]["data"]), (top, left)))
    exterior = np.asarray(entry.get("points", {}).get("exterior", []), dtype=np.float64).reshape(-1, 2)
    if kind == "polygon" and len(exterior) >= 3:
        holes = entry["points"].get("interior", [])
        return Area(label, polygons=(exterior,), holes=tuple(np.asarray(hole, dtype=np.float64) for hole in holes))
    if kind == "rectangle" and len(exterior) == 2:
        return Area(label, polygons=(draw_box(*exterior.min(axis=0), *(exterior.max(axis=0) + 1)),))
    return None
