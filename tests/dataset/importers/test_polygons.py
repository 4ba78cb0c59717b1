"""Polygons: the rule by which they are drawn, and the formats that hold them."""

import base64
import json
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.dataset.importers.drawing import (
    SIZE,
    Array,
    Drawing,
    assert_refused,
    draw_image,
    draw_objects,
    find_faults,
    import_drawn,
    list_questions,
    merge,
)
from unets.config import DatasetConfig, PolygonSource, SubmissionConfig
from unets.dataset.importers.base import Import
from unets.dataset.importers.coco import decode_runs
from unets.dataset.importers.listing import list_input
from unets.dataset.importers.polygons import draw_polygon
from unets.dataset.importers.search import choose, read, read_input
from unets.errors import InputError

NAMES = ("cat", "dog")
Drawn = dict[str, list[tuple[int, Array]]]  # the objects of each image


def trace(mask: Array) -> list[list[float]]:
    """Returns the outline of a mask along the corners of its pixels, each (x, y)."""
    padded = np.pad(mask, 1)
    steps: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for y, x in np.argwhere(mask).tolist():
        for dy, dx, start, end in (
            (-1, 0, (x, y), (x + 1, y)),
            (0, 1, (x + 1, y), (x + 1, y + 1)),
            (1, 0, (x + 1, y + 1), (x, y + 1)),
            (0, -1, (x, y + 1), (x, y)),
        ):
            if not padded[y + 1 + dy, x + 1 + dx]:
                steps.setdefault(start, []).append(end)
    first = min(steps)
    outline, place = [first], steps[first].pop()
    while place != first:
        outline.append(place)
        place = steps[place].pop()
    return [[float(x), float(y)] for x, y in outline]


def shift(outline: list[list[float]]) -> list[list[float]]:
    """Moves an outline a little, so that its coordinates are no whole numbers, and no pixel changes sides."""
    return [[x + 0.25, y + 0.25] for x, y in outline]


def test_a_pixel_belongs_where_its_center_lies_inside() -> None:
    triangle = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
    expected = [[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    # Centers on the hypotenuse, as (3.5, 0.5), lie on the border and are outside.
    assert draw_polygon(triangle, (4, 4)).astype(int).tolist() == expected


def test_whole_coordinates_of_traced_pixels_name_pixels() -> None:
    square = np.array([[1.0, 1.0], [3.0, 1.0], [3.0, 2.0], [1.0, 2.0]])
    drawn = draw_polygon(square, (4, 5), are_pixels=True)
    assert np.argwhere(drawn).tolist() == [[y, x] for y in (1, 2) for x in (1, 2, 3)]
    assert draw_polygon(square, (4, 5)).sum() == 2


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), off=st.floats(-0.4, 0.4))
def test_outlines_give_back_their_pixels(seed: int, off: float) -> None:
    ((_, mask),) = draw_objects(seed)
    points = np.array(trace(mask)) + off
    assert np.array_equal(draw_polygon(points, SIZE), mask)


def test_what_leaves_the_image_is_cut() -> None:
    assert draw_polygon(np.array([[-5.5, -5.5], [2.5, -5.5], [2.5, 50.5], [-5.5, 50.5]]), (3, 6)).sum() == 6
    assert draw_polygon(np.array([[0.0, 0.0], [1.0, 1.0]]), (3, 6)).sum() == 0


def test_pycocotools_draws_the_same_inside_borders() -> None:
    mask_tools = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(1)
    for _ in range(20):
        points = rng.uniform((0, 0), (72, 48), (7, 2))
        theirs = mask_tools.decode(mask_tools.frPyObjects([points.ravel().tolist()], *SIZE))[..., 0].astype(bool)
        ours = draw_polygon(points, SIZE)
        border = np.zeros(SIZE, dtype=bool)
        for start, end in zip(points, np.roll(points, -1, axis=0), strict=True):
            for share in np.linspace(0, 1, 400):
                x, y = (start + share * (end - start)).astype(int)
                border[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] = True
        assert not (theirs ^ ours)[~border].any()


def test_run_lengths_of_pycocotools() -> None:
    mask_tools = pytest.importorskip("pycocotools.mask")
    for seed in range(20):
        mask = merge(draw_objects(seed, count=1 + seed % 4))
        packed = mask_tools.encode(np.asfortranarray(mask))
        outline = {"size": list(packed["size"]), "counts": packed["counts"].decode()}
        assert np.array_equal(decode_runs(outline, "x.json"), mask == 1)


def count_runs(mask: Array, order: str) -> list[int]:
    flat = mask.ravel(order=order).astype(int)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat]))).tolist()
    return np.diff([0, *edges, flat.size]).tolist()


def draw_all(drawing: Drawing, folder: str = "images", count: int = 6, ending: str = "png") -> Drawn:
    quality = {"quality": 95} if ending == "jpg" else {}
    images = {number: f"{folder}/im{number}.{ending}" for number in range(count)}
    return {image: drawing.add(image, number, 2, **quality) for number, image in images.items()}


def write_coco(drawing: Drawing, name: str, drawn: Drawn, *, runs: bool = False, **more: object) -> None:
    images = [
        {"id": k, "file_name": image.split("/")[-1], "height": SIZE[0], "width": SIZE[1]}
        for k, image in enumerate(drawn)
    ]
    areas = []
    for k, objects in enumerate(drawn.values()):
        for index, part in objects:
            outline = (
                {"size": list(SIZE), "counts": count_runs(part, "F")}
                if runs
                else [np.ravel(shift(trace(part))).tolist()]
            )
            areas.append(
                {"id": len(areas), "image_id": k, "category_id": index * 10, "segmentation": outline, "iscrowd": 0}
            )
    categories = [{"id": 10 * (k + 1), "name": name, "supercategory": "animal"} for k, name in enumerate(NAMES)]
    drawing.write(name, json.dumps({"images": images, "annotations": areas, "categories": categories} | more))


def test_coco_a_file_a_split_with_names_that_repeat(drawing: Drawing) -> None:
    for split in ("train", "valid"):
        write_coco(drawing, f"{split}/_annotations.coco.json", draw_all(drawing, split))
    before = set(drawing.train)
    write_coco(drawing, "test/_annotations.coco.json", draw_all(drawing, "test", 2))
    drawing.test = set(drawing.train) - before
    drawing.train = {image: mask for image, mask in drawing.train.items() if image in before}
    import_drawn(drawing)


def change(path: Path, **lists: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Rewrites each entry of the lists of a COCO file."""
    content = json.loads(path.read_text())
    content |= {name: [rewrite(entry) for entry in content[name]] for name, rewrite in lists.items()}
    path.write_text(json.dumps(content))


def read_as(drawing: Drawing, *classes: str, labels: tuple[str, ...] = ()) -> Import:
    source, submission = PolygonSource(format="coco", labels=labels), SubmissionConfig(class_column="class")
    dataset = DatasetConfig(source=source, classes=classes, metric="iou", submission=submission)
    return read_input(drawing.root, dataset, drawing.root)


def test_classes_are_found_by_name_whatever_their_order_in_the_file(drawing: Drawing) -> None:
    write_coco(drawing, "coco.json", draw_all(drawing))
    assert not find_faults(drawing, read_as(drawing, "kitten", "puppy"))  # the user's own words
    change(
        drawing.root / "coco.json",
        categories=lambda entry: entry | {"id": 100 - entry["id"]},
        annotations=lambda entry: entry | {"category_id": 100 - entry["category_id"]},
    )
    for names in (NAMES, ("Cat", "Dog")):
        found = read_as(drawing, *names)
        assert found.classes == names
        assert not find_faults(drawing, found)
    for names, labels in ((("wolf", "dog"), ()), (("cat", "dog"), ("dog", "cat"))):
        with pytest.raises(InputError, match=r"order of the classes of .*'dog', 'cat'.* Received: .*Bring them"):
            read_as(drawing, *names, labels=labels)


def test_coco_images_without_annotation_are_a_question(drawing: Drawing) -> None:
    write_coco(drawing, "coco.json", draw_all(drawing) | {"images/bare.png": []})
    drawing.save("images/bare.png", draw_image(99, np.zeros(SIZE, np.uint8)))
    annotated = dict(drawing.train)
    drawing.train["images/bare.png"] = np.zeros(SIZE, np.uint8)
    source, result = import_drawn(drawing)
    (question,) = (question for question in result.questions if question.field == "source.missing")
    assert question.text.startswith("1 of 7 images have no annotation in files that name them: empty, or not labeled")
    drawing.train = annotated
    other = read(list_input(drawing.root), source.model_copy(update={"missing": "leave_out_all"}))
    assert not find_faults(drawing, other)
    assert other.account["images/bare.png"] == "left out: an image without a mask"


def test_images_whose_objects_have_no_area_are_not_empty(drawing: Drawing) -> None:
    write_coco(drawing, "coco.json", draw_all(drawing))
    change(
        drawing.root / "coco.json",
        annotations=lambda entry: entry | ({"segmentation": []} if entry["image_id"] == 2 else {}),
    )
    del drawing.train["images/im2.png"]
    _, result = import_drawn(drawing)
    assert result.account["images/im2.png"].startswith("left out: an image without polygons or masks")
    assert "2 objects that have no area" in list_questions(result) and "empty" not in list_questions(result)


def test_tasks_of_label_studio_that_wait_are_not_empty(drawing: Drawing) -> None:
    write_label_studio(drawing, draw_all(drawing), kind="polygonlabels")
    path = drawing.root / "project-7.json"
    tasks = json.loads(path.read_text())
    tasks[1]["annotations"], tasks[2]["annotations"][0]["was_cancelled"] = [], True
    tasks[3]["annotations"][0]["result"] = []  # looked at, and found empty
    path.write_text(json.dumps(tasks))
    del drawing.train["images/im1.png"], drawing.train["images/im2.png"]
    drawing.train["images/im3.png"][:] = 0
    _, result = import_drawn(drawing)
    asked = [question.text for question in result.questions if question.field == "source.missing"]
    assert [text.partition(":")[0] for text in asked] == [
        "1 of 6 images have no annotation in files that name them",
        "2 of 6 images have no annotation",
    ]


@pytest.mark.parametrize(
    ("lists", "words"),
    [
        ({"images": lambda entry: {"id": entry["id"], "file_name": entry["file_name"]}}, ""),  # without sizes
        # LVIS has no `file_name`; other tools write ids as texts in one list, as numbers in another.
        (
            {
                "images": lambda entry: {
                    "id": str(entry["id"]),
                    "coco_url": f"http://images.org/train/{entry['file_name']}?token=a.b",
                }
            },
            "",
        ),
        ({"annotations": lambda entry: entry | {"segmentation": []}}, "boxes alone"),
    ],
)
def test_coco_as_other_tools_write_it(drawing: Drawing, lists: dict[str, Any], words: str) -> None:
    write_coco(drawing, "coco.json", draw_all(drawing))
    change(drawing.root / "coco.json", **lists)
    with pytest.raises(InputError, match=words) if words else nullcontext():
        import_drawn(drawing)


def test_coco_crowds_are_ignored(drawing: Drawing) -> None:
    write_coco(drawing, "coco.json", draw_all(drawing))
    change(drawing.root / "coco.json", annotations=lambda entry: entry | {"iscrowd": int(entry["category_id"] == 20)})
    drawing.train = {image: np.where(mask == 2, 255, mask) for image, mask in drawing.train.items()}
    _, result = import_drawn(drawing)
    assert result.fields["has_ignored"]


def test_classes_that_no_object_is_of_are_a_question(drawing: Drawing) -> None:
    categories = [{"id": 10 * (k + 1), "name": name} for k, name in enumerate((*NAMES, "eel", "fox"))]
    write_coco(drawing, "coco.json", draw_all(drawing), categories=categories)
    _, result = import_drawn(drawing)
    assert result.classes == (*NAMES, "eel", "fox")
    assert "no object of a training image is of eel, fox, which the files name as classes" in list_questions(result)


@pytest.mark.parametrize("shift_px", [0, 9])
def test_formats_that_differ_are_a_question(drawing: Drawing, shift_px: int) -> None:
    drawn = draw_all(drawing)
    write_coco(drawing, "coco.json", drawn)
    for image, objects in drawn.items():
        drawing.save(image.replace("images", "masks"), np.roll(merge(objects), shift_px, axis=1))
    result = choose(list_input(drawing.root))
    assert ("these differ" in list_questions(result)) == bool(shift_px)
    if not shift_px:
        assert not find_faults(drawing, result) and result.classes == NAMES
        assert result.account["masks/im0.png"] == "left out: the same masks as masks"


def test_coco_without_its_images_is_refused(drawing: Drawing) -> None:
    write_coco(drawing, "coco.json", draw_all(drawing))
    for path in (drawing.root / "images").iterdir():
        path.rename(path.with_name(f"other{path.name}"))
    assert_refused(drawing, r"im0\.png")


def encode_png(mask: Array) -> bytes:
    content = BytesIO()
    Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).save(content, format="PNG")
    return content.getvalue()


def box(mask: Array) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def pack_brush(mask: Array) -> list[int]:
    """Writes Label Studio's run lengths of RGBA, all in runs of one value."""
    opacity = np.repeat(np.where(mask, 255, 0).astype(np.uint8).ravel(), 4)
    bits = f"{opacity.size:032b}{7:05b}" + "".join(f"{width - 1:04b}" for width in (3, 4, 8, 16))
    place = 0
    while place < opacity.size:
        length = int(np.argmax(opacity[place:] != opacity[place])) or opacity.size - place
        length = min(length, 65536)
        bits += f"1{3:02b}{length - 1:016b}{opacity[place]:08b}"
        place += length
    bits += "0" * (-len(bits) % 8)
    return [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]


def write_yolo(drawing: Drawing, drawn: Drawn, names: str) -> None:
    drawing.write("data.yaml", f"train: ../train/images\nval: ../valid/images\n{names}\n")
    drawing.train["train/images/im3.jpg"][:] = 0
    for image, objects in (drawn | {"train/images/im3.jpg": []}).items():
        lines = [
            f"{index - 1} " + " ".join(f"{x / SIZE[1]:.6f} {y / SIZE[0]:.6f}" for x, y in shift(trace(part)))
            for index, part in objects
        ]
        drawing.write(image.replace("/images/", "/labels/").replace("jpg", "txt"), "\n".join(lines) + "\n")


def write_labelme(drawing: Drawing, drawn: Drawn, as_mask: bool) -> None:
    for image, objects in drawn.items():
        shapes: list[dict[str, Any]] = [{"label": "note", "shape_type": "point", "points": [[1, 1]]}]
        for index, part in objects:
            top, left, bottom, right = box(part)
            text = base64.b64encode(encode_png(part[top:bottom, left:right])).decode()
            points = [[left, top], [right - 1, bottom - 1]]
            polygon = {"shape_type": "polygon", "points": shift(trace(part))}
            shape = {"shape_type": "mask", "points": points, "mask": text} if as_mask else polygon
            shapes.append({"label": NAMES[index - 1], **shape})
        content = {"version": "5", "shapes": shapes, "imagePath": f"..\\photos\\{image[7:]}", "imageData": None}
        content |= {"imageHeight": SIZE[0], "imageWidth": SIZE[1]}
        drawing.write(f"labels/{image[7:-4]}.json", json.dumps(content))


def write_label_studio(drawing: Drawing, drawn: Drawn, kind: str) -> None:
    tasks = []
    for image, objects in drawn.items():
        results = []
        for index, part in objects:
            points = [[x / SIZE[1] * 100, y / SIZE[0] * 100] for x, y in shift(trace(part))]
            value = {"points": points} if kind == "polygonlabels" else {"format": "rle", "rle": pack_brush(part)}
            value[kind] = [NAMES[index - 1]]
            results.append({"type": kind, "value": value, "original_width": SIZE[1], "original_height": SIZE[0]})
        link = f"/data/upload/7/1a2b3c4d-{image.split('/')[-1]}"
        tasks.append({"id": len(tasks), "data": {"image": link}, "annotations": [{"result": results}]})
    drawing.write("project-7.json", json.dumps(tasks))


def write_cvat(drawing: Drawing, drawn: Drawn, as_mask: bool) -> None:
    parts = ["<annotations><version>1.1</version><meta><job><labels>"]
    parts += [f"<label><name>{name}</name><color>#ff0000</color></label>" for name in NAMES[::-1]]
    parts += ["</labels></job></meta>"]
    for number, (image, objects) in enumerate(drawn.items()):
        parts.append(f'<image id="{number}" name="{image.split("/")[-1]}" width="{SIZE[1]}" height="{SIZE[0]}">')
        for index, part in objects:
            top, left, bottom, right = box(part)
            runs = ", ".join(map(str, count_runs(part[top:bottom, left:right], "C")))
            points = ";".join(f"{x:.2f},{y:.2f}" for x, y in shift(trace(part)))
            where = f'left="{left}" top="{top}" width="{right - left}" height="{bottom - top}"'
            shape = f'mask rle="{runs}" {where}' if as_mask else f'polygon points="{points}"'
            parts.append(f'<{shape} label="{NAMES[index - 1]}" z_order="0"/>')
        parts.append("</image>")
    drawing.write("annotations.xml", "".join([*parts, "</annotations>"]))
    drawing.train = {image: np.array([0, 2, 1], np.uint8)[mask] for image, mask in drawing.train.items()}


def write_supervisely(drawing: Drawing, drawn: Drawn, as_bitmap: bool) -> None:
    classes = [{"title": name, "color": "#aabbcc"} for name in NAMES]
    drawing.write("meta.json", json.dumps({"classes": classes, "tags": []}))
    for image, objects in drawn.items():
        entries = []
        for index, part in objects:
            top, left, bottom, right = box(part)
            data = base64.b64encode(zlib.compress(encode_png(part[top:bottom, left:right]))).decode()
            entry = {"classTitle": NAMES[index - 1], "geometryType": "bitmap" if as_bitmap else "polygon"}
            bitmap = {"bitmap": {"data": data, "origin": [left, top]}}
            points = {"points": {"exterior": shift(trace(part)), "interior": []}}
            entries.append(entry | (bitmap if as_bitmap else points))
        content = {"size": {"height": SIZE[0], "width": SIZE[1]}, "objects": entries, "tags": []}
        drawing.write(image.replace("/img/", "/ann/") + ".json", json.dumps(content))


class Format(NamedTuple):
    write: Callable[[Drawing, Drawn], None]
    folders: tuple[str, ...] = ("images",)
    classes: tuple[str, ...] = NAMES  # in the file's own order
    has_points: bool = False  # objects without an area, which are left out


FORMATS = {
    "coco": Format(lambda drawing, drawn: write_coco(drawing, "annotations/default.json", drawn)),
    "coco runs": Format(lambda drawing, drawn: write_coco(drawing, "coco.json", drawn, runs=True)),
    "yolo": Format(partial(write_yolo, names="names: [cat, dog]"), ("train/images", "valid/images")),
    "yolo numbers": Format(partial(write_yolo, names="names:\n  0: cat\n  1: dog"), ("train/images", "valid/images")),
    "yolo lines": Format(partial(write_yolo, names="nc: 2\nnames:\n- cat\n- dog"), ("train/images", "valid/images")),
    "labelme": Format(partial(write_labelme, as_mask=False), ("photos",), has_points=True),
    "labelme masks": Format(partial(write_labelme, as_mask=True), ("photos",), has_points=True),
    "label_studio": Format(partial(write_label_studio, kind="polygonlabels")),
    "label_studio brush": Format(partial(write_label_studio, kind="brushlabels")),
    "cvat polygons": Format(partial(write_cvat, as_mask=False), classes=NAMES[::-1]),
    "cvat": Format(partial(write_cvat, as_mask=True), classes=NAMES[::-1]),
    "supervisely": Format(partial(write_supervisely, as_bitmap=False), ("ds0/img",)),
    "supervisely bitmaps": Format(partial(write_supervisely, as_bitmap=True), ("ds0/img",)),
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats(drawing: Drawing, name: str) -> None:
    format_, drawn = FORMATS[name], Drawn()
    for folder in format_.folders:
        drawn |= draw_all(drawing, folder, 5, "png" if folder == "images" else "jpg")
    format_.write(drawing, drawn)
    _, result = import_drawn(drawing)
    assert result.classes == format_.classes
    assert ("have no area" in list_questions(result)) == format_.has_points


@pytest.mark.parametrize("name", get_args(PolygonSource.model_fields["format"].annotation))
def test_every_format_is_read(drawing: Drawing, name: Any) -> None:
    drawing.add("images/0.png", 0)
    drawing.write("classes.txt", "")  # which counts where there are annotations
    with pytest.raises(InputError, match="must hold what `source` says"):
        read(list_input(drawing.root), PolygonSource(format=name))


@pytest.mark.parametrize(
    ("files", "classes"),
    [
        ({"cfg.yaml": "shuffle: 0\naugment: 1\n", "data.yaml": "names: [cat, dog]"}, ("cat", "dog")),
        ({"data.yaml": "names: [0, 1]"}, ("0", "1")),
        ({"classes.txt": "машина\nT-shirt & top (all)\n"}, ("машина", "T-shirt & top (all)")),
        ({"obj.names": "2 wheeler\n4 wheeler\n"}, ("2 wheeler", "4 wheeler")),
    ],
)
def test_classes_of_yolo_are_those_of_its_lists(
    drawing: Drawing, files: dict[str, str], classes: tuple[str, ...]
) -> None:
    write_yolo(drawing, draw_all(drawing, "train/images", 5, "jpg"), names="")
    for name, text in ({"data.yaml": "train: images"} | files).items():
        drawing.write(name, text)
    assert import_drawn(drawing)[1].classes == classes


def test_label_files_of_yolo_may_be_empty_in_a_zip_too(tmp_path: Path) -> None:
    drawing = Drawing(tmp_path)
    write_yolo(drawing, draw_all(drawing, "train/images", 5, "jpg"), names="names: [cat, dog]")
    drawing.write("train/labels/im3.txt", "")
    drawing.pack("export.zip")
    import_drawn(drawing)


@pytest.mark.parametrize("as_project", [False, True])
def test_via(drawing: Drawing, as_project: bool) -> None:
    entries = {}
    for image, objects in draw_all(drawing, "train", ending="jpg").items():
        name, regions = image.rpartition("/")[2], []
        for index, part in objects:
            xs, ys = zip(*shift(trace(part)), strict=True)
            label = {"kind": {NAMES[index - 1]: True} if as_project else NAMES[index - 1]}
            label = {"cell": f"{name} {index}"} | label  # a name of each object is no class
            shape = {"name": "polygon", "all_points_x": xs, "all_points_y": ys}
            regions.append({"shape_attributes": shape, "region_attributes": label})
        listed = regions if as_project else {str(number): region for number, region in enumerate(regions)}
        entries[f"{name}1234"] = {"filename": name, "size": 1234, "regions": listed, "file_attributes": {}}
    drawing.save("train/opened.jpg", draw_image(99, np.zeros(SIZE, np.uint8)))
    entries["opened.jpg1234"] = {"filename": "opened.jpg", "size": 1234, "regions": [], "file_attributes": {}}
    content = {"_via_settings": {}, "_via_img_metadata": entries} if as_project else entries
    drawing.write("train/via_region_data.json", json.dumps(content))
    _, result = import_drawn(drawing)
    assert result.classes == NAMES
    assert result.account["train/via_region_data.json"] == "annotation"
    assert result.account["train/opened.jpg"].startswith("left out")
    assert "1 of 7 images have no annotation: empty, or not labeled yet? They are left out" in list_questions(result)
    assert "`kind` is taken for the class" in list_questions(result)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("images/0.json", '{"shapes": [{"label": "cat", "points": 7}], "imagePath": "0.png"}'),
        ("via.json", '{"a": {"filename": "0.png", "regions": [{"shape_attributes": {"name": "circle"}}]}}'),
        ("coco.json", '{"images": [{"id": 0, "file_name": "0.png", "height": "x", "width": 3}], "annotations": []}'),
        ("a.xml", '<annotations><image name="0.png" height="48" width="72"><box xtl="x"/></image></annotations>'),
    ],
)
def test_annotations_of_another_form_are_refused_by_name(drawing: Drawing, name: str, text: str) -> None:
    for number in range(3):
        drawing.add(f"images/{number}.png", number)
    drawing.write(name, text)
    with pytest.raises(InputError, match=rf"{name} must be \w+ as its tool writes it\. Received: "):
        import_drawn(drawing)


def test_classes_that_overlap_have_a_mask_each(drawing: Drawing) -> None:
    drawn = {i: [(1, one[1] | other[1]), (1, other[1]), other] for i, (one, other) in draw_all(drawing).items()}
    write_coco(drawing, "coco.json", drawn, runs=True)
    result = choose(list_input(drawing.root))
    assert result.overlapping
    for sample in result.samples:
        layers = result.read_layers(sample)
        assert np.array_equal(layers[0] == 1, drawn[sample.image][0][1])


@pytest.mark.parametrize("classes", [NAMES, NAMES[::-1]])
def test_polygons_may_be_said_to_overlap_where_no_classes_do(drawing: Drawing, classes: tuple[str, ...]) -> None:
    drawn = {i: [(1, one[1]), (2, other[1])] for i, (one, other) in draw_all(drawing, "photos").items()}
    for (_, one), (_, other) in drawn.values():
        other[tuple(np.argwhere(one)[0])] = True  # a pixel of both: less than is told from a border
    write_labelme(drawing, drawn, as_mask=True)
    drawing.write("sample.csv", "id,class,rle\n")
    submission = SubmissionConfig(sample="sample.csv", class_column="class")
    source = PolygonSource(format="labelme")
    dataset = DatasetConfig(source=source, classes=classes, overlapping=True, metric="iou", submission=submission)
    found = read_input(drawing.root, dataset, drawing.root)
    assert found.overlapping and found.classes == classes
    assert found.account["sample.csv"] == "sample submission"
    for sample in found.samples:
        layers = dict(zip(classes, found.read_layers(sample), strict=True))
        assert all(np.array_equal(layers[NAMES[index - 1]] == 1, part) for index, part in drawn[sample.image])


@pytest.mark.parametrize(
    ("lists", "words"),
    [
        ({"classes.txt": "dog\ncat\n"}, ""),
        ({"a/labels.txt": "dog\ncat\n", "b/labels.txt": "cat\ndog\n"}, ""),  # the first counts
        ({"classes.txt": ""}, r"classes\.txt must not be empty"),
    ],
)
def test_lists_that_order_the_classes_of_labelme(drawing: Drawing, lists: dict[str, str], words: str) -> None:
    write_labelme(drawing, draw_all(drawing, "photos"), as_mask=False)
    for name, text in lists.items():
        drawing.write(name, text)
    with pytest.raises(InputError, match=words) if words else nullcontext():
        assert read(list_input(drawing.root), PolygonSource(format="labelme")).classes == NAMES[::-1]


def test_coco_a_file_a_class(drawing: Drawing) -> None:
    drawn = draw_all(drawing)
    for index, name in enumerate(NAMES, start=1):
        parts = {image: [(1, part) for number, part in objects if number == index] for image, objects in drawn.items()}
        write_coco(drawing, f"{name}.json", parts, categories=[{"id": 10, "name": name}])
    _, result = import_drawn(drawing)
    assert result.classes == NAMES


def test_coco_files_of_two_annotators_are_a_question(drawing: Drawing) -> None:
    drawn = draw_all(drawing)
    write_coco(drawing, "first.json", drawn)
    write_coco(drawing, "second.json", {i: [(c, np.roll(part, 1)) for c, part in of] for i, of in drawn.items()})
    _, result = import_drawn(drawing)
    assert "annotate 6 images differently" in list_questions(result)


def test_polygons_of_images_that_were_made_smaller_are_refused(drawing: Drawing) -> None:
    write_coco(drawing, "all.json", draw_all(drawing))
    change(drawing.root / "all.json", images=lambda entry: {"id": entry["id"], "file_name": entry["file_name"]})
    for path in (drawing.root / "images").iterdir():
        Image.open(path).resize((SIZE[1] // 2, SIZE[0] // 2)).save(path)
    assert_refused(drawing, "objects must lie in their images")
