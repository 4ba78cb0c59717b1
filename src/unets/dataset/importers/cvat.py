"""CVAT's xml `CVAT for images 1.1`: polygons, masks, boxes and ellipses of many images in one file.

annotations.xml    <image name="a.jpg" width="640" height="480"><polygon label="cat" points="1.0,2.0;..."/></image>
images/a.jpg
"""

from xml.etree import ElementTree

from unets.dataset.importers.polygons import Annotations, Area, box, decode_counts, ellipse, outline
from unets.errors import InputError, naming


def parse(found: Annotations) -> None:
    """Reads all xml files of CVAT's in a folder. Raises as `polygons.read` says."""
    labels: dict[str, None] = {}
    for path in found.listing.select(".xml"):
        text = found.listing.read_text(path)
        if text and "<annotations" not in text[:2000]:
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
            image = found.find(path, element.get("name", ""))
            if image is not None:
                size_hw = (int(element.get("height", 0)), int(element.get("width", 0)))
                drawn = sorted(element, key=lambda part: int(part.get("z_order", 0)))
                found.add(image, path, size_hw, [_read_area(part, path) for part in drawn if part.tag != "tag"])
    found.labels = tuple(labels)


def _read_area(element: ElementTree.Element, path: str) -> Area | None:
    def numbers(names: str) -> list[float]:
        return [float(element.get(name, 0)) for name in names.split()]

    label = element.get("label", "")
    if element.tag == "polygon":
        return outline(label, [pair.split(",") for pair in element.get("points", "").split(";")])
    if element.tag == "box":
        return box(label, *numbers("xtl ytl xbr ybr"))
    if element.tag == "ellipse":
        return ellipse(label, numbers("cx cy"), numbers("rx ry"))
    if element.tag == "mask":
        left, top, width, height = map(int, numbers("left top width height"))
        runs = [int(run) for run in element.get("rle", "").split(",")]
        return Area(label, pixels=(decode_counts(runs, (height, width), path), (top, left)))
    return None
