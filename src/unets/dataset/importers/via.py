"""VGG Image Annotator's json: polygons, boxes, circles and ellipses of many images in one file.

The class of a region is the attribute that has the fewest values over all files: a name or a number of each object
has more. VIA lists all images that were opened: those without a region are not labeled.

train/via_region_data.json    {"a.jpg1234": {"filename": "a.jpg", "regions": [{"shape_attributes": {...}}]}}
train/a.jpg
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from unets.dataset.importers.polygons import Annotations, Area, box, ellipse, outline


def parse(found: Annotations) -> None:
    """Reads all files and projects of VIA's in a folder. Raises as `polygons.read` says."""
    images, values = [], defaultdict[str, set[str]](set)
    for path, content in found.listing.read_jsons('"regions"', '"filename"'):
        entries = content.get("_via_img_metadata", content) if isinstance(content, dict) else {}
        for entry in entries.values():
            regions = entry.get("regions") if isinstance(entry, dict) else None
            if not isinstance(regions, list | dict) or "filename" not in entry:
                continue
            regions = list(regions.values() if isinstance(regions, dict) else regions)
            image = found.find(path, str(entry["filename"])) if regions else None
            if image is not None:
                images.append((image, path, regions))
                for name, value in (pair for region in regions for pair in _list_attributes(region)):
                    values[name].add(value)
    # Of equally many, the first by name.
    attribute = min(sorted(values), key=lambda name: len(values[name]), default="")
    if len(values) > 1:
        text = f"the attribute `{attribute}` is taken for the class, of {', '.join(sorted(values))}"
        found.ask("source.labels", text)
    for image, path, regions in images:
        found.path = path
        found.add(image, path, None, [_read_region(region, attribute) for region in regions])


def _read_region(region: Mapping[str, Any], attribute: str) -> Area | None:
    shape, label = region["shape_attributes"], dict(_list_attributes(region)).get(attribute, "object")
    kind = shape.get("name")
    if kind == "polygon":
        return outline(label, list(zip(shape["all_points_x"], shape["all_points_y"], strict=True)))
    if kind == "rect":
        left, top = float(shape["x"]), float(shape["y"])
        return box(label, left, top, left + shape["width"], top + shape["height"])
    if kind in ("circle", "ellipse") and not shape.get("theta"):
        radii = (shape.get("rx", shape.get("r")), shape.get("ry", shape.get("r")))
        return ellipse(label, (shape["cx"], shape["cy"]), radii)
    return None


def _list_attributes(region: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields (attribute, value) of a region; of boxes to tick, the first that is ticked."""
    attributes = region.get("region_attributes")
    for name, value in attributes.items() if isinstance(attributes, dict) else ():
        ticked = [one for one, is_ticked in value.items() if is_ticked] if isinstance(value, dict) else [value]
        if ticked and isinstance(ticked[0], str) and ticked[0].strip():
            yield str(name), ticked[0].strip()
