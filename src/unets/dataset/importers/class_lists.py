"""Lists of classes: the csv, txt and json files that name the values or colors of masks."""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml  # type: ignore[import-untyped]

from unets.dataset.importers.draws import Color, Value
from unets.dataset.importers.listing import Listing, ending
from unets.errors import DECODER_FAULTS, InputError

IGNORE_NAMES = r"void|_+ignore_+|(void--)?unlabel+ed|ignored?|unknown|ignore region|not[ _]labell?ed|don'?t[ _]care"
BACKGROUND_NAMES = r"background|bg|back[ _]ground|_background_|nothing|none|null"
_OF_CLASSES = r"class|label|categor|colou?r|names|palette|codes|objectinfo"
_CALLED = _OF_CLASSES + r"|^(config.*|.*-config|dataset[_\d]*)\.json$"
_KEYS = ("labels", "classes", "names")
_MOST = 256
_HEX = re.compile(r"#[0-9A-Fa-f]{6}")
# The numbers of Cityscapes' `labelIds`, of the classes that its benchmark scores.
CITYSCAPES: dict[Value, str] = {
    **{7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole", 19: "traffic light"},
    **{20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky", 24: "person", 25: "rider", 26: "car"},
    **{27: "truck", 28: "bus", 31: "train", 32: "motorcycle", 33: "bicycle"},
}


def find_class_list(listing: Listing, *, may_differ: bool = False) -> tuple[dict[Value, str], tuple[str, ...]]:
    """Reads the names of classes by value or color from the file that lists them, whose name speaks of classes or so.

    Names that somebody gave count in place of a file. Returns the names, and the files that say so: several where each
    split has a copy; empty where there is none.

    Raises:
        InputError: lists of one name, in several folders, give a value two names, as where `labelme_json_to_dataset`
            numbers the labels of each image by itself, and they may not differ; or a list is damaged or empty.
    """
    if listing.class_names:
        return listing.class_names, ()
    paths = listing.select(".csv", ".tsv", ".txt", ".json", ".names", ".yaml", ".yml")
    found: dict[Value, str] = {}
    files: list[str] = []
    called: dict[Value, tuple[str, str]] = {}  # the name of each value, and a list that says so
    for path in sorted(paths, key=lambda path: (path.count("/"), path)):
        if not re.search(_CALLED, path.rpartition("/")[2].lower()):
            continue
        names = parse_class_list(path, listing.read_text(path, may_be_empty=False))
        if names and (not found or names == found):
            found = names
            files.append(path)
        is_copy = bool(files) and path.rpartition("/")[2] == files[0].rpartition("/")[2]
        for value, name in names.items() if is_copy else ():
            known, first = called.setdefault(value, (name, path))
            if known != name and not may_differ:
                raise InputError(
                    f"a value of a mask must mean one class. Received: {value} is {known!r} in {first}, {name!r} in "
                    f"{path}. Export the masks with one list of classes"
                )
    return found, tuple(files)


def parse_class_list(path: str, text: str) -> dict[Value, str]:
    """Reads names of classes from a text; empty where it is something else.

    Understood are a csv with a name and a value or `r,g,b`; in json or YAML an object `{"1": "car"}`, `{"car": 1}`, a
    list, or these below nnU-Net's `labels`, YOLO's `names`; a txt with a name a line (from 0 on), `value name`, `r g b
    name`, `name r g b`, CVAT's `name:r,g,b::`, or a table with a header, as ADE20K's. An object counts by itself only
    where the file's name speaks of classes: settings of a training are names and numbers, too.
    """
    try:
        if (
            read := {".json": json.loads, ".yaml": yaml.safe_load, ".yml": yaml.safe_load}.get(ending(path))
        ) is not None:
            content = read(text)
            if isinstance(content, dict):
                is_of_classes = re.search(_OF_CLASSES, path.rpartition("/")[2].lower())
                below = (content[key] for key in _KEYS if isinstance(content.get(key), dict | list))
                content = next(below, content if is_of_classes else None)
            return _parse_json(content)
        if ending(path) == ".csv":
            return _parse_csv(text)
        return _parse_lines(text)
    except (*DECODER_FAULTS, yaml.YAMLError):
        return {}


def _parse_json(content: Any) -> dict[Value, str]:
    if isinstance(content, list) and content and all(isinstance(name, str | int) for name in content):
        return dict(enumerate(map(str, content)))
    if isinstance(content, list) and content and all(isinstance(item, dict) for item in content):
        return _parse_rows([{key: str(value) for key, value in item.items()} for item in content])
    if not isinstance(content, dict) or not content or len(content) > _MOST:
        return {}
    if all(str(key).isdecimal() and isinstance(name, str) for key, name in content.items()):
        return {int(key): name for key, name in content.items()}
    if all(isinstance(value, int) for value in content.values()):
        return {value: name for name, value in content.items()}
    if all(_HEX.fullmatch(str(key)) for key in content):  # A2D2's `{"#ff0000": "car"}`
        content = {name: key for key, name in content.items()}
    if all(_HEX.fullmatch(str(value)) or (isinstance(value, list) and len(value) == 3) for value in content.values()):
        return {_read_color(str(value)): name for name, value in content.items()}
    return {}


def _parse_csv(text: str) -> dict[Value, str]:
    delimiter = max(",;\t", key=text.split("\n", 1)[0].count)
    return _parse_rows(list(csv.DictReader(text.splitlines(), delimiter=delimiter)))


def _parse_rows(rows: Sequence[Mapping[str, str]]) -> dict[Value, str]:
    if not rows or len(rows) > _MOST:
        return {}
    columns = {re.sub(r"^gt_|[^a-z]", "", str(column).lower()): column for column in rows[0]}
    titles = ("name", "class", "classname", "label", "category", "title", "labellist")
    name = next((columns[key] for key in titles if key in columns), None)
    if name is None:
        return {}
    colors = next((key for key in (("r", "g", "b"), ("red", "green", "blue")) if set(key) <= columns.keys()), None)
    if colors is not None:
        return {_color([row[columns[key]] for key in colors]): row[name].strip() for row in rows}
    keys = ("pixelvalue", "value", "id", "index", "code", "labelid", "classid", "idx", "pixel", "categoryid")
    value = next((columns[key] for key in (*keys, "") if key in columns), None)  # pandas calls its index nothing
    if value is not None:
        return {int(row[value]): row[name].strip() for row in rows}
    color = next((columns[key] for key in ("color", "colour", "hex", "rgb") if key in columns), None)
    return {_read_color(row[color]): row[name].strip() for row in rows} if color else {}


def _parse_lines(text: str) -> dict[Value, str]:
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not 1 <= len(lines) <= _MOST:
        return {}
    if all(line.count(":") == 3 for line in lines):
        parted = [line.split(":") for line in lines]
        return {_color(color.split(",")): name.strip() for name, color, *_ in parted}
    color = r"(?P<r>\d+)[\s,]+(?P<g>\d+)[\s,]+(?P<b>\d+)"
    for pattern in (rf"{color}[\s,]+(?P<name>\D.*)", rf"(?P<name>\D.*?)[\s,:=]+{color}"):
        colored = [re.fullmatch(pattern, line) for line in lines]
        if all(colored):
            return {_color(match.group("r", "g", "b")): match["name"].strip() for match in colored if match}
    numbered = [re.fullmatch(r"(\d+)[\s,:;=]+(\D.*)", line) for line in lines]
    if all(numbered):
        return {int(match[1]): match[2].strip() for match in numbered if match}
    if not all(re.fullmatch(r"_*[A-Za-z][\w \-/]*", line) for line in lines):
        return _parse_csv(text)
    if lines[0] == "__ignore__":  # of labelme, which counts from -1, and writes -1 as 255
        return {255: lines[0], **dict(enumerate(lines[1:]))}
    return dict(enumerate(lines))


def _read_color(text: str) -> Color:
    """Reads `#ff8000`, or three numbers with what stands between them."""
    return _color(
        [str(level) for level in bytes.fromhex(text[1:])] if _HEX.fullmatch(text) else re.findall(r"\d+", text)
    )


def _color(parts: Sequence[str]) -> Color:
    red, green, blue = (int(part) for part in parts)
    return red, green, blue
