"""Masks as the files of labeling tools and competitions: COCO, labelme, YOLO, run lengths.

An object is a connected part of a class. Coordinates are those of pixels' corners: (0.5, 0.5) is the center of the
first. A polygon runs a quarter of a pixel within its outermost pixels' edges, so that it holds their centers and no
others, however a program rounds; points that a straight line replaces within a third of a pixel are left out. No format
but run lengths has holes in a polygon: an object with holes is cut into parts without.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from unets.data.rle import encode_rle
from unets.ensemble.postprocess import find_box
from unets.errors import InputError
from unets.export.outputs import Note, Task
from unets.store.runs import write_csv, write_text

MaskHW = npt.NDArray[np.bool_]
Points = npt.NDArray[np.float64]  # (n, 2) of x and y, in pixels
Masked = Mapping[Task, Note]  # images whose files are there

_TOLERANCE_PX = 0.35


@dataclass(frozen=True, kw_only=True, slots=True)
class Traced:
    """An object: polygons that together are it, its pixels, and its box."""

    polygons: tuple[Points, ...]
    area: int
    box: tuple[int, int, int, int]  # left, top, width, height


def trace(mask_hw: MaskHW) -> Iterator[Traced]:
    """Yields the objects of a class, from the top; see the module."""
    count, labels_hw, stats, _ = cv2.connectedComponentsWithStats(mask_hw.astype(np.uint8), connectivity=8)
    for index in range(1, count):
        left, top, width, height, area = (int(value) for value in stats[index])
        object_hw = labels_hw[top : top + height, left : left + width] == index
        polygons = tuple(points + np.array((left, top)) for points in _trace_parts(object_hw))
        yield Traced(polygons=polygons, area=area, box=(left, top, width, height))


def _trace_parts(part_hw: MaskHW) -> Iterator[Points]:
    """Yields polygons without holes that together are a part, which may have come apart."""
    contours, hierarchy = cv2.findContours(part_hw.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    holes = [contour for contour, parent in zip(contours, hierarchy[0, :, 3], strict=True) if parent >= 0]
    if holes:
        hole = max(holes, key=cv2.contourArea)
        column = int(hole[:, 0, 0].min() + hole[:, 0, 0].max() + 1) // 2
        for start, stop in ((0, column), (column, part_hw.shape[1])):
            half_hw = part_hw[:, start:stop]
            if (box := find_box(half_hw)) is not None:
                offset = (start + box[1].start, box[0].start)
                yield from (points + offset for points in _trace_parts(half_hw[box]))
        return
    fine_hw = part_hw.astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    for contour in cv2.findContours(fine_hw, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]:
        yield cv2.approxPolyDP(contour, 2 * _TOLERANCE_PX, True)[:, 0] / 2 + 0.25


def write_labels(files: Iterable[tuple[str, str]], folder: Path, *, overwrite: bool) -> list[Path]:
    """Writes files as one of `FORMATS` gives them; those that are there with the same text stay.

    Raises InputError where one is there with another text, as of somebody who corrected it, and `overwrite` is not set.
    """
    paths = []
    for name, text in files:
        paths.append(folder / name)
        if paths[-1].exists() and not overwrite and paths[-1].read_text(encoding="utf-8", errors="replace") != text:
            raise InputError(
                f"{paths[-1]} must not exist, or hold what this model makes of the images. Received: something else, "
                f"perhaps corrected by hand. Give another --out, or --overwrite to replace it"
            )
        write_text(paths[-1], text)
    return paths


def write_annotated(images: Masked, classes: Sequence[str], format_: str, out_dir: Path) -> None:
    """Writes images with annotations to be corrected, those of the lowest confidence first.

    Images are copied under names that begin with their rank, so that a labeling tool shows the hardest first;
    `labels.csv` has rank, image and confidence, `classes.txt` the classes. Raises InputError where the folder holds
    files.
    """
    check_empty(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    named, rows = {}, []
    ranked = sorted(images.items(), key=lambda pair: (pair[1].confidence, str(pair[0].place)))
    for rank, (task, note) in enumerate(ranked, start=1):
        place = Path(f"{rank:0{len(str(len(images)))}}_{'_'.join(task.place.parts)}")
        path = out_dir / f"{place}{task.image_path.suffix}"
        shutil.copyfile(task.image_path, path)
        named[replace(task, image_path=path, place=place)] = note
        rows.append((rank, task.image_path, f"{note.confidence:.5f}"))
    write_labels(FORMATS[format_](named, classes, out_dir), out_dir, overwrite=True)
    write_text(out_dir / "classes.txt", "".join(f"{name}\n" for name in classes))
    write_csv(out_dir / "labels.csv", ("rank", "image", "confidence"), rows)


def check_empty(folder: Path) -> None:
    """Raises InputError where a folder holds files, or is one."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"`--out` must be a folder that is empty or not there. Received: {folder}, which holds files")


def _list_objects(task: Task, num_classes: int) -> list[tuple[int, Traced]]:
    """Lists the objects of an image, each with the number of its class, from 0."""
    layers = enumerate(task.read_layers(num_classes))
    return [(label, traced) for label, layer_hw in layers for traced in trace(layer_hw)]


def _name_image(task: Task) -> str:
    """Returns an image's name with its folders, which tell images of one name apart."""
    return task.place.with_name(task.image_path.name).as_posix()


def _render_coco(images: Masked, classes: Sequence[str], _: Path) -> Iterator[tuple[str, str]]:
    files, annotations = [], list[dict[str, object]]()
    for number, (task, note) in enumerate(images.items(), start=1):
        files.append(
            {"id": number, "file_name": _name_image(task), "height": note.size_hw[0], "width": note.size_hw[1]}
        )
        for label, traced in _list_objects(task, len(classes)):
            place = {"id": len(annotations) + 1, "image_id": number, "category_id": label + 1, "iscrowd": 0}
            polygons = [points.ravel().tolist() for points in traced.polygons]
            annotations.append({**place, "area": traced.area, "bbox": traced.box, "segmentation": polygons})
    categories = [{"id": label, "name": name} for label, name in enumerate(classes, start=1)]
    yield "coco.json", json.dumps({"images": files, "annotations": annotations, "categories": categories}) + "\n"


def _render_labelme(images: Masked, classes: Sequence[str], folder: Path) -> Iterator[tuple[str, str]]:
    for task, note in images.items():
        name = f"{task.place.as_posix()}.json"
        shapes = list[dict[str, object]]()
        for group, (label, traced) in enumerate(_list_objects(task, len(classes)), start=1):
            about = {"label": classes[label], "group_id": group if len(traced.polygons) > 1 else None}
            shape: dict[str, object] = {**about, "shape_type": "polygon", "flags": {}}
            shapes += [{**shape, "points": points.tolist()} for points in traced.polygons]
        path = Path(os.path.relpath(task.image_path, (folder / name).parent)).as_posix()
        head: dict[str, object] = {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": path}
        rest = {"imageData": None, "imageHeight": note.size_hw[0], "imageWidth": note.size_hw[1]}
        yield name, json.dumps(head | rest, indent=2) + "\n"


def _render_yolo(images: Masked, classes: Sequence[str], _: Path) -> Iterator[tuple[str, str]]:
    for task, note in images.items():
        scale = np.array(note.size_hw[::-1], dtype=np.float64)
        lines = [
            " ".join([str(label), *(f"{share:.6f}" for share in (points / scale).ravel())])
            for label, traced in _list_objects(task, len(classes))
            for points in traced.polygons
        ]
        yield f"{task.place.as_posix()}.txt", "".join(f"{line}\n" for line in lines)
    yield "data.yaml", json.dumps({"names": list(classes)}) + "\n"  # JSON is YAML


def _render_rle(images: Masked, classes: Sequence[str], _: Path) -> Iterator[tuple[str, str]]:
    rows = [
        (_name_image(task), label, encode_rle(layer_hw))
        for task in images
        for label, layer_hw in zip(classes, task.read_layers(len(classes)), strict=True)
    ]
    yield "rle.csv", pd.DataFrame(rows, columns=["image", "class", "rle"]).to_csv(index=False, lineterminator="\n")


Render = Callable[[Masked, Sequence[str], Path], Iterator[tuple[str, str]]]
"""From images with their masks, the classes and the folder of the files to the (name below it, text) of each file."""
# Of an image's file, or of that of all images.
SUFFIXES = {"coco": ".json", "labelme": ".json", "yolo": ".txt", "rle": ".csv"}
FORMATS: Mapping[str, Render] = {
    "coco": _render_coco,
    "labelme": _render_labelme,
    "yolo": _render_yolo,
    "rle": _render_rle,
}
