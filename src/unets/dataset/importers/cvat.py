"""CVAT's xml `CVAT for images 1.1`: polygons, masks, boxes and ellipses of many images in one file."""

from xml.etree import ElementTree

import numpy as np

from unets.config import PolygonSource
from unets.dataset.importers import polygons
from unets.dataset.importers.base import Import
from unets.dataset.importers.finder import Finder
from unets.dataset.importers.listing import Listing
from unets.dataset.importers.polygons import Annotations, Area, draw_box, draw_ellipse
from unets.errors import InputError, naming


def read(listing: Listing, source: PolygonSource) -> Import | None:
    """Reads all xml files of a folder; None where there are none of CVAT's.

    Raises:
        InputError: see `polygons.build`; or a file is damaged, or of a film.
    """
    found, finder = Annotations(), Finder(listing)
    labels: dict[str, None] = {}
    for path in listing.select(".xml"):
        text = listing.read_text(path)
        if "<annotations" not in text[:2000]:
            continue
        if "<!" in text.replace("<!--", "").replace("<![CDATA[", ""):  # entities can grow without end
            raise InputError(f"{path} must be plain xml. Received: a declaration `<!...>`")
        with naming(path, "be xml"):
            root = ElementTree.fromstring(text)  # noqa: S314 no entity is declared in it
        if root.find("track") is not None:
            raise InputError(
                f"{path} must be an export `CVAT for images 1.1`. Received: tracks of a film (`for video`)"
            )
        labels |= dict.fromkeys(str(name.text) for name in root.iterfind(".//labels/label/name"))
        for element in root.iterfind("image"):
            image = finder.find(element.get("name", ""), path)
            if image is None:
                found.problems.append(str(element.get("name")))
                continue
            size_hw = (int(element.get("height", 0)), int(element.get("width", 0)))
            drawn = sorted(element, key=lambda part: int(part.get("z_order", 0)))
            found.add(image, path, size_hw, [_read_area(part) for part in drawn if part.tag != "tag"])
    found.labels = tuple(labels)
    return polygons.build(listing, source, found)


def _read_area(element: ElementTree.Element) -> Area | None:
    label = element.get("label", "")
    if element.tag == "polygon":
        pairs = [pair.split(",") for pair in element.get("points", "").split(";")]
        return Area(label, polygons=(np.array(pairs, dtype=np.float64),))
    if element.tag == "box":
        return Area(
            label, polygons=(draw_box(*(float(element.get(name, 0)) for name in ("xtl", "ytl", "xbr", "ybr"))),)
        )
    if element.tag == "ellipse":
        x, y, radius_x, radius_y = (float(element.get(name, 0)) for name in ("cx", "cy", "rx", "ry"))
        return Area(label, polygons=(draw_ellipse((x, y), (radius_x, radius_y)),))
    if element.tag == "mask":
        left, top, width, height = (int(element.get(name, 0)) for name in ("left", "top", "width", "height"))
        runs = [int(run) for run in element.get("rle", "").split(",")]
        if sum(runs) != width * height:
            raise InputError(f"a mask's `rle` must fill {width} x {height} pixels. Received: {sum(runs)}")
        part = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
        return Area(label, pixels=(part, (top, left)))
    return None
