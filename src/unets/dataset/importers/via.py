"""VGG Image Annotator's json: polygons, boxes, circles and ellipses of many images in one file.

train/via_region_data.json    {"a.jpg1234": {"filename": "a.jpg", "regions": [{"shape_attributes": {...}}]}}
train/a.jpg
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from unets.dataset.importers.listing import Listing
from unets.dataset.importers.polygons import Annotations, Area, draw_box, draw_ellipse


def parse(listing: Listing, found: Annotations) -> None:
    """Reads all files and projects of VIA's in a folder.

    Raises:
        InputError: a file is damaged.
    """
    for path in listing.select(".json"):
        content = listing.read_json(path, '"regions"', '"filename"')
        entries = content.get("_via_img_metadata", content) if isinstance(content, dict) else {}
        for entry in entries.values():
            regions = entry.get("regions") if isinstance(entry, dict) else None
            if not isinstance(regions, list | dict) or "filename" not in entry:
                continue
            image = found.find(path, str(entry["filename"]))
            if image is not None:
                areas = map(_read_region, regions.values() if isinstance(regions, dict) else regions)
                found.add(image, path, None, areas)


def _read_region(region: Mapping[str, Any]) -> Area | None:
    shape, label = region["shape_attributes"], _find_label(region.get("region_attributes"))
    kind = shape.get("name")
    if kind == "polygon" and len(shape["all_points_x"]) >= 3:
        points = np.array([shape["all_points_x"], shape["all_points_y"]], dtype=np.float64).T
        return Area(label, polygons=(points,))
    if kind == "rect":
        left, top = float(shape["x"]), float(shape["y"])
        return Area(label, polygons=(draw_box(left, top, left + shape["width"], top + shape["height"]),))
    if kind in ("circle", "ellipse") and not shape.get("theta"):
        radii = (shape.get("rx", shape.get("r")), shape.get("ry", shape.get("r")))
        return Area(label, polygons=(draw_ellipse((shape["cx"], shape["cy"]), radii),))
    return None


def _find_label(attributes: Any) -> str:
    """Returns the first attribute's value, or the first that is ticked; `object` where there is none."""
    for value in attributes.values() if isinstance(attributes, dict) else ():
        ticked = [name for name, is_ticked in value.items() if is_ticked] if isinstance(value, dict) else [value]
        if ticked and isinstance(ticked[0], str) and ticked[0].strip():
            return str(ticked[0]).strip()
    return "object"
