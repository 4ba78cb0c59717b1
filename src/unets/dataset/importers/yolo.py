"""YOLO segmentation: a txt an image, a line an object: its class and the polygon as shares of the sides."""

import re

import numpy as np
import yaml  # type: ignore[import-untyped]

from unets.config import PolygonSource
from unets.dataset.importers import polygons
from unets.dataset.importers.base import Import, Question
from unets.dataset.importers.finder import Finder
from unets.dataset.importers.listing import Listing
from unets.dataset.importers.polygons import Annotations, Area
from unets.errors import DAMAGE, InputError, naming

_LINE = re.compile(r"\s*\d+(\s+-?[\d.]+(e-?\d+)?)+\s*")


def read(listing: Listing, source: PolygonSource) -> Import | None:
    """Reads all label files of a folder; None where there are none.

    Raises:
        InputError: see `polygons.build`; or labels are boxes, or name a class that `data.yaml` does not.
    """
    found, finder = Annotations(), Finder(listing)
    boxes = total = 0
    numbers: set[int] = set()
    for path in listing.select(".txt"):
        lines = _read_lines(listing, path)
        if not all(_LINE.fullmatch(line) for line in lines) or (not lines and "label" not in path.lower()):
            continue
        image = finder.find(_name_image(path), re.sub(r"\blabels\b", "images", path))
        if image is None:
            if lines and any(len(line.split()) >= 7 for line in lines):
                found.problems.append(path)
            continue
        found.size_hw[image] = height, width = listing.header(image).size_hw
        found.areas[image] = []
        found.files[path] = "annotation"
        for line in lines:
            number, *shares = line.split()
            total += 1
            boxes += len(shares) in (4, 5)
            if len(shares) < 6:
                continue
            if len(shares) % 2:
                raise InputError(f"{path} must hold a class and pairs of shares a line. Received: {line[:60]!r}")
            points = np.array(shares, dtype=np.float64).reshape(-1, 2)
            if points.max() > 1.5:
                raise InputError(f"{path} must hold shares of the sides, 0 to 1. Received: {points.max()}")
            numbers.add(int(number))
            found.areas[image].append(Area(number, polygons=(points * (width, height),)))
    if total and boxes == total and len(found.areas) > 1:
        raise InputError(
            f"YOLO labels must be polygons. Received: {total} boxes (4 numbers) in {len(found.areas)} files"
        )
    if not any(found.areas.values()):
        return None
    if boxes:
        text = f"{boxes} of {total} objects are boxes, not polygons, and are left out"
        found.questions.append(Question(field="source.leave_out", text=text))
    _name_classes(listing, found, numbers)
    return polygons.build(listing, source, found)


def _read_lines(listing: Listing, path: str) -> list[str]:
    """Returns the lines that are not empty; a file may hold none."""
    if (listing.root / path).is_file() and (listing.root / path).stat().st_size == 0:
        return []
    return [line.strip() for line in listing.read_text(path).splitlines() if line.strip()]


def _name_image(path: str) -> str:
    """Returns what the image of a label file is called: `images` in place of `labels`."""
    return re.sub(r"(^|/)labels/", r"\1images/", path).removesuffix(".txt") + ".png"


def _name_classes(listing: Listing, found: Annotations, numbers: set[int]) -> None:
    """Names classes by `data.yaml`, or by a list a line."""
    names: dict[int, str] = {}
    for path in listing.select(".yaml", ".yml", ".names"):
        names = names or _read_names(listing, path)
        if names:
            found.files[path] = "annotation"
    for path in listing.select(".txt"):
        if not names and re.search(r"classes|names", path.rpartition("/")[2].lower()):
            names = dict(enumerate(_read_lines(listing, path)))
            found.files[path] = "annotation"
    missing = numbers - names.keys()
    if names and missing:
        raise InputError(f"data.yaml must name every class. Received: no name of {sorted(missing)}, but {names}")
    if not names:
        names = {number: f"class_{number + 1}" if len(numbers) > 1 else "object" for number in sorted(numbers)}
        found.questions.append(
            Question(field="classes", text="no data.yaml names the classes", choices=("their names",))
        )
    found.labels = tuple(names[number] for number in sorted(names))
    for image, areas in found.areas.items():
        found.areas[image] = [Area(names[int(area.label)], polygons=area.polygons) for area in areas]


def _read_names(listing: Listing, path: str) -> dict[int, str]:
    if path.endswith(".names"):
        return dict(enumerate(_read_lines(listing, path)))
    with naming(path, "be YAML", damage=(*DAMAGE, yaml.YAMLError)):
        content = yaml.safe_load(listing.read_text(path))
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, list):
        return dict(enumerate(map(str, names)))
    return {int(number): str(name) for number, name in names.items()} if isinstance(names, dict) else {}
