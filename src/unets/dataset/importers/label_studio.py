"""Label Studio's json: a list of tasks, with polygons, ellipses, boxes and brushed masks in shares of the sides.

export.json    [{"data": {"image": "/data/upload/1/0a1b2c3d-a.jpg"}, "annotations": [{"result": [...]}]}]
images/a.jpg
"""

from typing import Any

import numpy as np

from unets.dataset.importers.listing import RASTER_ENDINGS, ending
from unets.dataset.importers.polygons import Annotations, Area, BoolMask, box, ellipse, outline
from unets.errors import InputError

_KINDS = ("polygonlabels", "brushlabels", "ellipselabels", "rectanglelabels", "labels")


def parse(found: Annotations) -> None:
    """Reads all exports (`JSON` and `JSON-MIN`) of a folder. Raises as `polygons.read` says."""
    several = 0
    for path, content in found.listing.read_jsons('labels"'):
        for task in content if isinstance(content, list) else [content]:
            name = _find_name(task) if isinstance(task, dict) else ""
            found.path = path
            results, count = _find_results(task) if name else ([], 0)
            # A task without an annotation waits to be labeled; one without a result was found empty.
            image = found.find(path, name) if count else None
            if image is None:
                continue
            several += count > 1
            sizes = [(int(r["original_height"]), int(r["original_width"])) for r in results if "original_width" in r]
            size_hw = sizes[0] if sizes else found.listing.header(image).upright_hw
            values = [result.get("value", result) for result in results]
            labels = [next((value[kind][0] for kind in _KINDS if value.get(kind)), None) for value in values]
            # Without a class these are choices and texts.
            named = [(label, value) for label, value in zip(labels, values, strict=True) if label]
            found.add(image, path, size_hw, [_read_result(*pair, size_hw) for pair in named])
    if several:
        text = f"{several} images were annotated more than once: the first annotation of each is read"
        found.ask("source.leave_out", text)


def _find_name(task: dict[str, Any]) -> str:
    """Returns the value of a task that names its image; empty where there is none."""
    values = task["data"] if isinstance(task.get("data"), dict) else task
    names = [value for value in values.values() if isinstance(value, str) and ending(value) in RASTER_ENDINGS]
    return next((name for name in names if not name.startswith(".")), "")


def _find_results(task: dict[str, Any]) -> tuple[list[dict[str, Any]], int]:
    """Returns the results of a task's first annotation, and how many annotations it has."""
    entries = task.get("annotations", task.get("completions"))
    if isinstance(entries, list):
        kept = [entry for entry in entries if isinstance(entry, dict) and not entry.get("was_cancelled")]
        return (kept[0].get("result", []) if kept else []), len(kept)
    lists = [v for v in task.values() if isinstance(v, list) and v and isinstance(v[0], dict)]
    return [result for values in lists for result in values], 1  # JSON-MIN: values without `value`


def _read_result(label: str, value: dict[str, Any], size_hw: tuple[int, int]) -> Area | None:
    scale = np.array([size_hw[1], size_hw[0]]) / 100
    if "rle" in value:
        return Area(label, pixels=(_decode_brush(value["rle"], size_hw), (0, 0)))
    if "points" in value:
        return outline(label, np.asarray(value["points"], dtype=np.float64) * scale)
    if "radiusX" in value:
        return ellipse(label, (value["x"], value["y"]) * scale, (value["radiusX"], value["radiusY"]) * scale)
    if {"x", "y", "width", "height"} <= value.keys():
        (left, top), (width, height) = (value["x"], value["y"]) * scale, (value["width"], value["height"]) * scale
        return box(label, left, top, left + width, top + height)
    return None


def _decode_brush(content: list[int], size_hw: tuple[int, int]) -> BoolMask:
    """Reads a brushed mask: RGBA run lengths in a stream of bits; opaque by half and more is object."""
    bits, place = "".join(f"{byte:08b}" for byte in content), 0

    def take(count: int) -> int:
        nonlocal place
        place += count
        return int(bits[place - count : place], 2)

    height, width = size_hw
    total = take(32)
    if total != height * width * 4:
        raise InputError(f"a brushed mask must have {height} x {width} pixels of 4 values. Received: {total} values")
    word = take(5) + 1
    widths = [take(4) + 1 for _ in range(4)]
    values, done = np.zeros(total, dtype=np.uint8), 0
    while done < total:
        is_run = take(1)
        length = 1 + take(widths[take(2)])
        values[done : done + length] = take(word) if is_run else [take(word) for _ in range(length)]
        done += length
    return np.asarray(values.reshape(height, width, 4)[..., 3] >= 128)
