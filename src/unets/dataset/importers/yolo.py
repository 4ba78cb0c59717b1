"""YOLO segmentation: a txt an image, a line an object: its class and the polygon as shares of the sides.

data.yaml                names: [cat, dog]
train/images/a.jpg
train/labels/a.txt       0 0.1 0.1 0.4 0.1 0.4 0.3
"""

import re
from dataclasses import replace

import numpy as np

from unets.dataset.importers.class_lists import parse_class_list
from unets.dataset.importers.draws import Value
from unets.dataset.importers.polygons import Annotations, Area, outline
from unets.errors import InputError

_LINE = re.compile(r"\d+(\s+-?[\d.]+(e-?\d+)?)+")


def parse(found: Annotations) -> None:
    """Reads all label files of a folder. Raises as `polygons.read` says."""
    for path in found.listing.select(".txt"):
        lines = [text for line in found.listing.read_text(path).splitlines() if (text := line.strip())]
        if not all(map(_LINE.fullmatch, lines)) or (not lines and "label" not in path.lower()):
            continue
        areas = [_read_area(line, path) for line in lines]  # in shares of the sides
        name = re.sub(r"(^|/)labels/", r"\1images/", path).removesuffix(".txt") + ".png"
        image = found.find(path, name, beside=re.sub(r"\blabels\b", "images", path), is_needed=any(areas))
        if image is not None:
            height, width = found.listing.header(image).size_hw
            sides = [a and replace(a, polygons=(a.polygons[0] * (width, height),)) for a in areas]
            found.add(image, path, (height, width), sides)
    if any(found.areas.values()):
        _name_classes(found)


def _read_area(line: str, path: str) -> Area | None:
    """Reads the number of a class and a polygon; None of a box."""
    number, *shares = line.split()
    if len(shares) < 6:
        return None
    if len(shares) % 2:
        raise InputError(f"{path} must hold a class and pairs of shares a line. Received: {line[:60]!r}")
    points = np.array(shares, dtype=np.float64)
    if points.max() > 1.5:
        raise InputError(f"{path} must hold shares of the sides, 0 to 1. Received: {points.max()}")
    return outline(number, points)


def _name_classes(found: Annotations) -> None:
    """Names classes by `data.yaml`, or by a list a line."""
    listing, numbers = found.listing, {int(area.label) for areas in found.areas.values() for area in areas}
    names: dict[Value, str] = {}
    for path in (*listing.select(".yaml", ".yml", ".names"), *listing.select(".txt")):
        if not names and (not path.endswith(".txt") or re.search(r"classes|names", path.rpartition("/")[2].lower())):
            text = listing.read_text(path)
            names = parse_class_list(path, text)
            if not names.keys() >= numbers and not path.endswith((".yaml", ".yml")):  # a name a line, of any signs
                names = dict(enumerate(line for line in map(str.strip, text.splitlines()) if line))
            found.account |= {path: "annotation"} if names else {}
    missing = numbers - names.keys()
    if names and missing:
        raise InputError(f"data.yaml must name every class. Received: no name of {sorted(missing)}, but {names}")
    if not names:
        names = {number: f"class_{number + 1}" if len(numbers) > 1 else "object" for number in sorted(numbers)}
        found.ask("classes", "no data.yaml names the classes", "their names")
    found.labels = tuple(names[number] for number in sorted(names))
    for image, areas in found.areas.items():
        found.areas[image] = [replace(area, label=names[int(area.label)]) for area in areas]
