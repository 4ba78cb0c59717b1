"""Supervisely: `ann/<image>.json` beside `img/<image>`, with polygons, bitmaps and boxes; classes in `meta.json`."""

from typing import Any

import numpy as np

from unets.config import PolygonSource
from unets.dataset.importers import polygons
from unets.dataset.importers.base import Import
from unets.dataset.importers.finder import Finder
from unets.dataset.importers.listing import Listing
from unets.dataset.importers.polygons import Annotations, Area, decode_bitmap, draw_box, load_json


def read(listing: Listing, source: PolygonSource) -> Import | None:
    """Reads all annotations of a folder; None where there are none.

    Raises:
        InputError: see `polygons.build`; or a file is damaged.
    """
    found, finder = Annotations(), Finder(listing)
    for path in listing.select(".json"):
        if path.rpartition("/")[2] == "meta.json" and (content := load_json(listing, path, '"classes"')) is not None:
            names = [str(entry.get("title")) for entry in content["classes"] if isinstance(entry, dict)]
            found.labels, found.files[path] = tuple(names), "annotation"
            continue
        content = load_json(listing, path, '"objects"', '"size"')
        if not isinstance(content, dict) or not isinstance(content["size"], dict):
            continue
        image = finder.find(path.replace("/ann/", "/img/").removesuffix(".json"), path)
        if image is None:
            found.problems.append(path)
            continue
        size_hw = (int(content["size"]["height"]), int(content["size"]["width"]))
        found.add(image, path, size_hw, map(_read_object, content["objects"]))
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
