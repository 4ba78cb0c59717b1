"""Supervisely: `ann/<image>.json` beside `img/<image>`, with polygons, bitmaps and boxes; classes in `meta.json`."""

import json
from typing import Any

import numpy as np

from unets.config import PolygonSource
from unets.dataset.importers import polygons
from unets.dataset.importers.base import Import, Question
from unets.dataset.importers.finder import Finder
from unets.dataset.importers.listing import Listing
from unets.dataset.importers.polygons import Annotations, Area, decode_bitmap, draw_box
from unets.errors import InputError


def read(listing: Listing, source: PolygonSource) -> Import | None:
    """Reads all annotations of a folder; None where there are none.

    Raises:
        InputError: see `polygons.build`; or a file is damaged.
    """
    found, finder = Annotations(), Finder(listing)
    skipped = 0
    for path in listing.select(".json"):
        text = listing.read_text(path)
        is_meta = path.rpartition("/")[2] == "meta.json" and '"classes"' in text
        if not is_meta and not ('"objects"' in text and '"size"' in text):
            continue
        try:
            content = json.loads(text)
        except ValueError as error:
            raise InputError(f"{path} must be json. Received: {error}") from error
        if is_meta:
            names = [str(entry.get("title")) for entry in content["classes"] if isinstance(entry, dict)]
            found.labels, found.files[path] = tuple(names), "annotation"
            continue
        if not isinstance(content, dict) or not isinstance(content["size"], dict):
            continue
        image = finder.find(path.replace("/ann/", "/img/").removesuffix(".json"), path)
        if image is None:
            found.problems.append(path)
            continue
        found.files[path] = "annotation"
        found.size_hw[image] = (int(content["size"]["height"]), int(content["size"]["width"]))
        areas = [_read_object(entry) for entry in content["objects"]]
        skipped += areas.count(None)
        found.areas[image] = [area for area in areas if area is not None]
    if skipped:
        text = f"{skipped} objects without an area (points, lines) are left out"
        found.questions.append(Question(field="source.leave_out", text=text))
    if not any(found.areas.values()):
        return None
    return polygons.build(listing, source, found)


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
        (left, top), (right, bottom) = exterior.min(axis=0), exterior.max(axis=0) + 1
        return Area(label, polygons=(draw_box(left, top, right, bottom),))
    return None
