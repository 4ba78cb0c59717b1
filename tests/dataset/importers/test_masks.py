"""Mask files: layouts of folders and names, and what the values of masks mean."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.dataset.importers.drawing import (
    CODINGS,
    COLORS,
    SIZE,
    Array,
    Drawing,
    assert_refused,
    draw_image,
    draw_objects,
    fill,
    import_drawn,
    list_questions,
    merge,
)
from unets.config import Coding, DatasetConfig, MasksSource, SubmissionConfig
from unets.dataset.importers.draws import DrawFiles, merge_layers
from unets.dataset.importers.listing import list_input
from unets.dataset.importers.search import choose, read, read_input
from unets.errors import InputError

WHITE = 255
PAIRS = {
    "suffix in folders": ("img/{i}.jpg", "gt/{i}_seg.png"),
    "prefix": ("data/image_{i}.png", "data/mask_{i}.png"),
    "both have words": ("x/{i}_sat.png", "x/{i}_map.png"),
    "any folder names": ("A/{i}.jpg", "B/{i}.png"),
    "endings alone": ("{i}.jpg", "{i}.png"),
    "a folder an image": ("{i}/photo.png", "{i}/label.png"),
    "a folder an image, any name": ("s{i}/images/s{i}.png", "s{i}/masks/m.png"),
    "deep": ("set/part_1/train/images/{i}.png", "set/part_1/train/labels/{i}.png"),
    "zeros before": ("images/{i}.png", "masks/{n}.png"),
    "words in ids": ("pics/case {i} left.png", "segm/case {i} left_manual.gif"),
    "upper case": ("Images/IMG{i}.PNG", "Ground Truth/img{i}.png"),
    "annot": ("train/{i}.png", "trainannot/{i}.png"),
    "signs": ("images/#{n}.jpg", "masks/#{n}.png"),
    "brackets": ("images/[2]{n}.jpg", "masks/[2]{n}.png"),
    "stars": ("images/*{n}.jpg", "masks/*{n}.png"),
    "accents": ("images/gr\u00f6sse{n}.jpg", "masks/gro\u0308sse{n}.png"),  # a Mac writes them as letters of their own
    "free names": ("photos/{w}.jpg", "cutouts/{w}.png"),
    "numbers in both": ("training/images/{i}_training.png", "training/1st_manual/{i}_manual1.gif"),
}


@pytest.mark.parametrize("names", PAIRS.values(), ids=PAIRS.keys())
def test_pairs_by_names(drawing: Drawing, names: tuple[str, str]) -> None:
    fill(drawing, *names)
    _, result = import_drawn(drawing)
    assert result.classes == ("object",)


def test_masks_of_test_images_are_named(drawing: Drawing) -> None:
    fill(drawing, "training/image/{i}.png", "training/label/{i}.png")
    train = dict(drawing.train)
    fill(drawing, "testing/image/t{i}.png", "testing/label/t{i}.png", count=3)
    drawing.test, drawing.train = set(drawing.train) - set(train), train
    _, result = import_drawn(drawing)
    assert result.account["testing/label/t000.png"] == "left out: the mask of a test image"
    assert any("3 images called test have masks, and are not trained on" in q.text for q in result.questions)


@dataclass(kw_only=True)
class Case:
    """What masks hold, as `fill` takes it, and what is to be read, and asked."""

    code: Callable[[Array], Array | Image.Image] | None = None  # what files hold of class indices
    classes: tuple[str, ...] = ("object",)
    asked: str | None = None  # words of a question; empty: nothing is asked
    names: tuple[str, str] = ("images/{n}.png", "masks/{n}.png")
    files: dict[str, str] = field(default_factory=dict)  # that name the classes
    right: Callable[[Array], Array] | None = None  # what is read of class indices, where it is something else
    options: dict[str, Any] = field(default_factory=dict)  # of the codec
    tolerance: float = 0.005


def name_masks(ending: str) -> tuple[str, str]:
    return "images/{n}.png", f"masks/{{n}}.{ending}"


def ignore_some(mask: Array) -> Array:
    return np.where(np.arange(len(mask))[:, None] < 3, np.uint8(255), mask)


THREE = ("class_1", "class_2", "class_3")
NAMES = ("cat", "dog", "fox")
RED_GREEN = np.array([(0, 0, 0), (250, 10, 10), (10, 250, 10)], dtype=np.uint8)
ON_WHITE = np.array([(255, 255, 255), *RED_GREEN[1:]], dtype=np.uint8)
CAT_DOG = "name,r,g,b\ncat,250,10,10\ndog,10,250,10\n"
JPEG = {"quality": 95, "subsampling": 0}
TRAIN_IDS = np.array([255, 0, 2, 11], dtype=np.uint8)
NAMED = list(zip(("background", *NAMES), COLORS.tolist(), strict=True))
HEX = [(name, "#{:02x}{:02x}{:02x}".format(*color)) for name, color in NAMED]
LINES = [(name, "{} {} {}".format(*color)) for name, color in NAMED]
# Files that name classes, some as a public data set has it, and what masks hold.
LISTS = {
    "class_dict.csv": ("name,r,g,b\nvoid,0,0,0\ncat,0,0,255\ndog,0,255,0\nfox,255,0,0\n", "color"),
    "labelmap.txt": (
        "# label:color_rgb:parts\n" + "".join(f"{n}:{c.replace(' ', ',')}::\n" for n, c in LINES),
        "color",
    ),
    "label_colors.txt": ("".join(f"{color}\t{name}\n" for name, color in LINES), "color"),
    "color_map.txt": ("".join(f"{name} {color}\n" for name, color in LINES), "color"),
    "objectInfo.txt": ("Idx\tRatio\tName\n1\t0.3\tcat\n2\t0.2\tdog\n3\t0.1\tfox\n", "index"),  # ADE20K's
    "train/_classes.csv": ("Pixel Value, Class\n0, background\n1, cat\n2, dog\n3, fox\n", "index"),
    "dataset.json": (
        '{"labels": {"background": 0, "cat": 1, "dog": 2, "fox": 3}, "channel_names": {"0": "x"}}',
        "index",
    ),
    "classes.txt": ("_background_\ncat\ndog\nfox\n", "index"),
    "labels.txt": ("__ignore__\n_background_\ncat\ndog\nfox\n", "index"),  # as labelme is started with
    "classes.json": ('{"0": "background", "1": "cat", "2": "dog", "3": "fox"}', "index"),
    "dubai/classes.json": (json.dumps({"classes": [{"title": n, "color": c} for n, c in HEX]}), "color"),
    "class_list.json": (json.dumps({color: name for name, color in HEX}), "color"),  # A2D2's
    "config.json": (json.dumps({"labels": [{"name": n, "color": c} for n, c in NAMED]}), "palette"),  # Mapillary's
    "rs19-config.json": (json.dumps({"labels": [{"name": n, "color": c} for n, c in NAMED]}), "index"),  # RailSem19's
    "category.txt": ("id\tname\n" + "".join(f"{k}\t{name}\n" for k, (name, _) in enumerate(NAMED)), "red"),
    "gtruth_codes.tsv": ("label\tGT_code\n" + "".join(f"{n}\t{k}\n" for k, (n, _) in enumerate(NAMED)), "index"),
}
CASES = {
    **{
        name: Case(code=code, asked="covers" if name == "inverted" else "")
        for name, code in CODINGS.items()
        if name not in ("color", "red", "spread")
    },
    **{ending: Case(names=name_masks(ending)) for ending in ("npy", "gif")},
    "pbm": Case(code=CODINGS["bilevel"], names=("Original/Frame{i}-org.jpg", "GT/Frame{i}-gt.pbm")),
    "webp": Case(names=name_masks("webp"), options={"lossless": True}),
    "values": Case(classes=THREE, code=lambda mask: mask * np.uint8(50), asked="are taken for classes"),
    "16 bits": Case(classes=THREE, code=lambda mask: mask * np.uint16(1000), asked="are taken for classes"),
    "a value of most pixels is background, as of REFUGE's masks": Case(
        classes=THREE[:2],
        code=lambda mask: np.array([255, 0, 128], dtype=np.uint8)[mask],
        asked="255 (",
        names=("Images/{i}.png", "gts/{i}.bmp"),
    ),
    "ignored pixels": Case(code=ignore_some, right=ignore_some, asked="taken for ignored pixels"),
    **{
        name: Case(
            classes=NAMES,
            code=CODINGS[coding],
            files={name: text},
            right=(lambda mask: np.where(mask == 0, 255, mask)) if name == "class_dict.csv" else None,
            asked="place of its row" if name == "rs19-config.json" else None,
        )
        for name, (text, coding) in LISTS.items()
    },
    "blurred colors count as the nearest of the list": Case(
        classes=NAMES[:2],
        code=lambda mask: RED_GREEN[mask],
        files={"class_dict.csv": f"{CAT_DOG}background,0,0,0\n"},
        names=name_masks("jpg"),
        options=JPEG,
        asked="nearest",
        tolerance=0.03,
    ),
    "white around colors of a list is background": Case(
        classes=NAMES[:2], code=lambda mask: ON_WHITE[mask], files={"class_dict.csv": CAT_DOG}
    ),
    "a list without background counts from one": Case(
        classes=NAMES[:2], files={"labels.txt": "cat\ndog\n"}, asked="taken to name 1 to 2"
    ),
    "a list names the only class": Case(classes=("cat",), files={"classes.yaml": "classes: [background, cat]\n"}),
    "train ids count from the road on": Case(
        classes=("road", "building", "person"),
        code=lambda mask: TRAIN_IDS[mask],
        names=("leftImg8bit/{i}_leftImg8bit.png", "gtFine/{i}_gtFine_labelTrainIds.png"),
        right=lambda mask: np.where(mask == 0, 255, mask),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_masks_hold(drawing: Drawing, name: str) -> None:
    case = CASES[name]
    for file, text in case.files.items():
        drawing.write(file, text)
    fill(drawing, *case.names, num_classes=len(case.classes), code=case.code, **case.options)
    if case.right is not None:
        drawing.train = {image: case.right(mask).astype(np.uint8) for image, mask in drawing.train.items()}
    _, result = import_drawn(drawing, case.tolerance)
    assert result.classes == case.classes
    assert all(result.account[file] == "annotation" for file in case.files)
    asked = list_questions(result)
    assert asked == "" if case.asked == "" else (case.asked or "") in asked


@pytest.mark.parametrize(
    ("names", "count", "first"),
    [
        (("images/{n}.png", "masks/{n}.png"), lambda number: 22 + number, 1),
        (("{n}.bmp", "{n}_anno.bmp"), lambda number: 2 + number % 4, 1),
        (("images/{n}.png", "labels/{n}.tif"), lambda _: 3, 1000),  # they run on over all files
    ],
)
def test_numbers_of_objects_are_one_class(
    drawing: Drawing, names: tuple[str, str], count: Callable[[int], int], first: int
) -> None:
    for number in range(10):
        image, mask = (name.format(n=number) for name in names)
        numbers = np.zeros(SIZE, np.uint8 if mask.endswith("bmp") else np.uint16)
        for place, (_, part) in enumerate(drawing.add(image, number, count=count(number))):
            numbers[part] = first + place + (3 * number if first > 1 else 0)
        drawing.save(mask, numbers)
    _, result = import_drawn(drawing)
    assert result.classes == ("object",)
    assert "numbers of objects" in list_questions(result)


def test_settings_of_a_training_name_no_classes(drawing: Drawing) -> None:
    fill(drawing, "images/{n}.png", "masks/{n}.png", num_classes=2)
    drawing.write("config.json", '{"epochs": 1, "workers": 2}')
    assert not {"epochs", "workers"} & {*import_drawn(drawing)[1].classes}


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("one is an image", "1 that hold hundreds.*003.png"),
        ("all are cut out", "a color a class"),
        ("negative", "-1"),
        ("JPEG", "JPEG blurs"),
        ("colors of objects", "colors of objects"),
        ("called by task", "Label Studio calls by its task"),
        ("other proportions", r"000\.png"),
        ("empty list", r"classes\.txt must not be empty\. Received: 0 bytes"),
    ],
)
def test_masks_that_are_none_are_refused(drawing: Drawing, kind: str, words: str) -> None:
    for number in range(10):
        mask = merge(drawing.add(f"images/{number:03}.png", number, 2))
        image = draw_image(number, mask) + np.random.default_rng(number).integers(0, 60, (*SIZE, 3), dtype=np.uint8)
        white = np.repeat((mask > 0)[..., None] * np.uint8(255), 3, axis=-1)
        shown = {
            "one is an image": image if number == 3 else white,
            "all are cut out": image * (mask > 0)[..., None],
            "negative": -mask.astype(np.int16),
            "JPEG": RED_GREEN[mask],
            "colors of objects": np.stack([mask * np.uint8(20 * number + 1), mask * np.uint8(9), mask], axis=-1),
            "called by task": white,
            "other proportions": white[::2, :48],
            "empty list": white,
        }[kind]
        name = f"task-{number}-annotation-7{number}-by-1-tag-cat-0" if kind == "called by task" else f"{number:03}"
        ending = {"negative": "npy", "JPEG": "jpg"}.get(kind, "png")
        drawing.save(f"masks/{name}.{ending}", shown, **({"quality": 60} if kind == "JPEG" else {}))
    if kind == "empty list":
        drawing.write("classes.txt", "")
    assert_refused(drawing, words)


@pytest.mark.parametrize("is_colored", [False, True])
@pytest.mark.parametrize("pattern", ["masks/{c}/{i}.png", "{c}_masks/{i}.png", "masks/{i}_{c}.png", "{c}/{i}.png"])
def test_a_mask_file_a_class(drawing: Drawing, pattern: str, is_colored: bool) -> None:
    """A class without a file is absent from an image."""
    for number in range(9):
        for index, part in drawing.add(f"images/{number:03}.png", number, 3):
            if (number + index) % 4 == 0:
                drawing.train[f"images/{number:03}.png"][part] = 0
                continue
            name = pattern.format(c=("bone", "fat", "skin")[index - 1], i=f"{number:03}")
            drawing.save(name, COLORS[part * index] if is_colored else part * np.uint8(WHITE))
    _, result = import_drawn(drawing)
    assert result.classes == ("bone", "fat", "skin")
    assert not result.overlapping
    assert result.questions


@pytest.mark.parametrize(
    ("image", "mask", "count", "is_asked"),
    [
        ("images/{i}.png", "masks/{i}_{k}.png", None, False),
        ("{i}/images/{i}.png", "{i}/masks/{h}.png", None, False),
        ("images/{i}.png", "objects/{i}/{k}.png", None, False),
        ("{i}/image.png", "{i}/masks/{k}.png", 3, True),  # as many of each image: classes?
        ("images/{k1}.png", "masks/{k1}/{k}.png", 2, True),  # numbers of objects are those of images, too
    ],
)
def test_a_mask_file_an_object(drawing: Drawing, image: str, mask: str, count: int | None, is_asked: bool) -> None:
    for number in range(8):
        names = {"i": f"{number:03}", "k1": number + 1}
        for place, (_, part) in enumerate(drawing.add(image.format(**names), number, count=count or 1 + number % 4)):
            words = {"k": place + 1, "h": f"{number * 7919 + place * 104729:x}"}
            drawing.save(mask.format(**names, **words), part * np.uint8(WHITE))
    _, result = import_drawn(drawing)
    assert ("taken for a file an object" in list_questions(result)) == is_asked


def test_classes_that_overlap_have_a_mask_each(drawing: Drawing) -> None:
    for number in range(6):
        ((_, disc),) = drawing.add(f"images/{number}.png", number)
        cup = disc & np.roll(disc, 6, axis=1) & np.roll(disc, -6, axis=1)
        drawing.train[f"images/{number}.png"] = disc * np.uint8(2)
        drawing.save(f"cup/{number}.png", cup.astype(np.uint8) * np.uint8(WHITE))
        drawing.save(f"disc/{number}.png", disc.astype(np.uint8) * np.uint8(WHITE))
    _, result = import_drawn(drawing)
    assert result.classes == ("cup", "disc")
    assert result.overlapping


@pytest.mark.parametrize("pattern", ["{c}/{i}.png", "masks/{i}.png"])
def test_masks_may_be_said_to_overlap_where_a_look_at_some_found_none(drawing: Drawing, pattern: str) -> None:
    for number in range(4):
        for index, part in drawing.add(f"images/{number}.png", number, 2):
            drawing.save(pattern.format(c="ab"[index - 1], i=number), part * np.uint8(WHITE))
    classes = ("a", "b") if pattern.startswith("{c}") else ("object",)
    fields = {"source": MasksSource(), "metric": "iou", "submission": SubmissionConfig(class_column="class")}
    found = read_input(drawing.root, DatasetConfig(classes=classes, overlapping=True, **fields), drawing.root)
    assert found.overlapping == (len(classes) == 2)
    assert [len(found.read_layers(sample)) for sample in found.samples] == [len(classes)] * 4


def test_channels_in_files_of_their_own_are_refused_by_name(drawing: Drawing) -> None:
    drawing.write("dataset.json", '{"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, "tumor": 1}}')
    for number in range(4):
        mask = merge(draw_objects(number))
        drawing.save(f"labelsTr/case_{number:03}.png", mask)
        for channel in range(2):
            drawing.save(f"imagesTr/case_{number:03}_{channel:04}.png", draw_image(number, mask)[..., channel])
    assert_refused(drawing, r"an image must be one file\. Received: .*case_000_0001\.png.*np\.save")


def test_a_pixel_of_two_classes_is_never_lost_in_silence(tmp_path: Path) -> None:
    for name in "ab":
        Image.fromarray(np.ones((4, 5), np.uint8)).save(tmp_path / f"{name}.png")
    draw = DrawFiles(tmp_path, (("a.png",), ("b.png",)), Coding(values=(1,)))
    with pytest.raises(InputError, match=r"x\.png: a pixel must be of one class at most.*Received: 20 pixels"):
        merge_layers(draw(), "x.png")


def test_a_second_mask_of_some_images(drawing: Drawing) -> None:
    for kind in ("benign", "malignant"):
        for number in range(8):
            image = f"{kind}/{kind} ({number}).png"
            objects = drawing.add(image, number, count=2 if number % 4 == 0 else 1)
            drawing.save(f"{kind}/{kind} ({number})_mask.png", objects[0][1].astype(np.uint8) * np.uint8(WHITE))
            for place, (_, part) in enumerate(objects[1:], start=1):
                drawing.save(f"{kind}/{kind} ({number})_mask_{place}.png", part.astype(np.uint8) * np.uint8(WHITE))
    import_drawn(drawing)


@pytest.mark.parametrize("count", [lambda _: 2, lambda number: 1 + number % 4], ids=["as many", "PhenoBench's"])
def test_what_lies_beside_classes_is_left_out_by_name(drawing: Drawing, count: Callable[[int], int]) -> None:
    """Numbers of objects; classes as colors; where anything is seen at all."""
    for number in range(8):
        objects = drawing.add(f"rgb/{number:03}.png", number, 2, count=count(number))
        numbers = sum(part * np.uint8(place) for place, (_, part) in enumerate(objects, start=1))
        drawing.save(f"semantic/{number:03}.png", merge(objects))
        drawing.save(f"instance/{number:03}.png", np.asarray(numbers, dtype=np.uint8))
        drawing.save(f"color/{number:03}.png", RED_GREEN[merge(objects)])
        drawing.save(f"visibility/{number:03}.png", (merge(objects) > 0) * np.uint8(WHITE))
    _, result = import_drawn(drawing)
    assert result.classes == ("class_1", "class_2")
    assert "objects" in result.account["instance/000.png"]
    assert "other values" in result.account["color/000.png"]


def test_the_field_of_view_is_no_class(drawing: Drawing) -> None:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    view = ((rows - SIZE[0] / 2) / SIZE[0] * 2) ** 2 + ((columns - SIZE[1] / 2) / SIZE[1] * 2) ** 2 < 0.98
    for number in range(6):
        objects = draw_objects(number)
        mask = merge(objects) * view.astype(np.uint8)
        drawing.train[f"images/{number}_eye.png"] = mask
        drawing.save(f"images/{number}_eye.png", draw_image(number, mask) * view[..., None].astype(np.uint8))
        drawing.save(f"1st_manual/{number}_manual1.png", mask * np.uint8(WHITE))
        drawing.save(f"mask/{number}_eye_mask.png", view.astype(np.uint8) * np.uint8(WHITE))
    _, result = import_drawn(drawing)
    assert "field of view" in list_questions(result)


@pytest.mark.parametrize("num_slips", [0, 2])
def test_palettes_that_differ_are_looked_up(drawing: Drawing, num_slips: int) -> None:
    for number in range(24):
        mask, grays = np.zeros(SIZE, np.uint8), [0, 255]
        mask[10 : 40 + number, 5:60] = number % 2
        drawing.add_mask(f"img/{number}.jpg", number, mask)
        if number == 3 and num_slips:  # a palette of its own: its white is 2
            mask, grays = mask * np.uint8(2), [0, 85, 255]
            mask[0, :num_slips] = 1
        picture = Image.fromarray(mask)
        if number % 2:  # empty ones have no palette
            picture.putpalette([gray for gray in grays for _ in "rgb"])
        drawing.save(f"gt/{number}.png", picture)
    _, result = import_drawn(drawing, tolerance=0)
    assert result.classes == ("object",)
    assert ("a slip" in list_questions(result)) == bool(num_slips)


def test_images_of_a_list_called_test_are_test_images(drawing: Drawing) -> None:
    fill(drawing, "JPEGImages/2007_{i}.png", "SegmentationClass/2007_{i}.png")
    for name in ("2007_100", "2007_101"):
        drawing.save(f"JPEGImages/{name}.png", draw_image(9, np.zeros(SIZE, np.uint8)))
    drawing.test = {"JPEGImages/2007_100.png"}
    drawing.write("ImageSets/Segmentation/test.txt", "2007_100\n2007_000\n")  # 000 has a mask
    _, result = import_drawn(drawing)
    assert result.account["ImageSets/Segmentation/test.txt"] == "list of test images"
    assert result.account["JPEGImages/2007_101.png"] == "left out: an image without a mask"


@pytest.mark.parametrize("number", [1, 3, 6])
def test_exif(drawing: Drawing, number: int) -> None:
    from unets.data.pixels import turn

    exif = Image.Exif()
    exif[0x0112] = number
    inverse = {6: 8, 8: 6}.get(number, number)
    for place in range(6):
        mask = merge(draw_objects(place))
        drawing.train[f"images/{place}.jpg"] = mask
        stored = np.ascontiguousarray(turn(draw_image(place, mask), inverse))
        drawing.save(f"images/{place}.jpg", stored, quality=95, exif=exif.tobytes())
        drawing.save(f"masks/{place}.png", mask * np.uint8(WHITE))
    _, result = import_drawn(drawing)
    assert result.fields.get("orientation", "stored") == ("stored" if number == 1 else "upright")


def test_stacks_of_pages(drawing: Drawing) -> None:
    masks = [merge(draw_objects(number)) for number in range(6)]
    images = [Image.fromarray(draw_image(number, mask, grey=True)) for number, mask in enumerate(masks)]
    drawing.save("train-volume.tif", images[0], save_all=True, append_images=images[1:])
    pages = [Image.fromarray(mask * np.uint8(WHITE)) for mask in masks]
    drawing.save("train-labels.tif", pages[0], save_all=True, append_images=pages[1:])
    drawing.save("test-volume.tif", images[0], save_all=True, append_images=images[1:3])
    drawing.train = {f"train-volume.tif/{number}.png": mask for number, mask in enumerate(masks)}
    drawing.test = {f"test-volume.tif/{number}.png" for number in range(3)}
    _, result = import_drawn(drawing)
    assert result.fields["channels"] == "grey"


def test_bands(drawing: Drawing) -> None:
    import tifffile

    (drawing.root / "images").mkdir()
    for number in range(6):
        mask = merge(draw_objects(number))
        drawing.train[f"images/{number}.tif"] = mask
        bands = np.concatenate([draw_image(number, mask), draw_image(number + 9, mask)], axis=-1).astype(np.uint16) * 13
        tifffile.imwrite(drawing.root / f"images/{number}.tif", bands, photometric="minisblack", planarconfig="contig")
        drawing.save(f"masks/{number}.png", mask * np.uint8(WHITE))
    _, result = import_drawn(drawing)
    assert result.fields["channels"] == 6
    assert result.fields["value_range"][1] > 255


def test_masks_a_few_pixels_off_are_stretched_and_asked(drawing: Drawing) -> None:
    for number in range(6):
        mask = merge(drawing.add(f"images/{number}.png", number))
        picture = Image.fromarray(mask * np.uint8(WHITE))
        drawing.save(f"masks/{number}.png", picture.resize((73, 48), 0) if number == 2 else picture)
    _, result = import_drawn(drawing, tolerance=0.03)
    assert "stretched" in list_questions(result)


@pytest.mark.parametrize("size_hw", [(24, 36), (96, 144), (19, 29)])
def test_masks_of_the_same_proportions_are_stretched_if_the_user_agrees(
    drawing: Drawing, size_hw: tuple[int, int]
) -> None:
    for number in range(6):
        picture = Image.fromarray(merge(drawing.add(f"images/{number}.png", number, 2)) * np.uint8(100))
        drawing.save(f"masks/{number}.png", picture.resize(size_hw[::-1], 0) if number % 2 else picture)
    source, result = import_drawn(drawing, tolerance=0.05)
    (question,) = [question for question in result.questions if question.field == "source.stretch_masks"]
    assert question.text.startswith("3 of 6 masks have another size than their images, and the same proportions")
    assert source.stretch_masks  # type: ignore[union-attr]
    for sample in result.samples:
        assert set(np.unique(sample.draw())) <= {0, 1, 2}  # no class between two others
    with pytest.raises(
        InputError, match=r"3 of 6 that have not: .*source\.stretch_masks=True in dataset.py, which stretches 3"
    ):
        read(list_input(drawing.root), source.model_copy(update={"stretch_masks": False}))
    drawing.save("masks/0.png", picture.resize((40, 40), 0))
    with pytest.raises(InputError, match=r"Received: 1 of 6 that have not: images/0\.png"):
        read(list_input(drawing.root), source)


def test_the_options_are_followed(drawing: Drawing) -> None:
    fill(drawing, "images/{i}.png", "masks/{i}.png", num_classes=2)
    drawing.save("images/100.png", draw_image(9, np.zeros(SIZE, np.uint8)))
    source = MasksSource(
        values=(2,), background=(0, 1), leave_out=("*/003.png",), missing="empty", group=r"(?P<group>\d)\d+"
    )
    result = read(list_input(drawing.root), source)
    by_id = {sample.id: sample for sample in result.samples}
    assert "003" not in by_id
    assert by_id["100"].group == "1"
    assert not np.any(by_id["100"].draw())
    assert np.array_equal(by_id["001"].draw()[0], drawing.train["images/001.png"] == 2)


@pytest.mark.parametrize(
    ("ending", "full_share", "code"),
    [
        ("png", 255, lambda shares: (shares * 255).round().astype(np.uint8)),
        ("png", 65_535, lambda shares: (shares * 65_535).astype(np.uint16)),
        ("png", 4, lambda shares: (shares * 4).astype(np.uint8)),
        ("npy", 1, lambda shares: shares),
    ],
)
def test_gray_masks_hold_shares_if_the_user_says_so(
    drawing: Drawing, ending: str, full_share: int, code: Callable[[Array], Array]
) -> None:
    shares = {i: merge(drawing.add(f"images/{i}.png", i)) * np.linspace(0, 1, SIZE[1]).round(2) for i in range(4)}
    shares = {number: np.floor(one * 4) / 4 for number, one in shares.items()}
    for number, one in shares.items():
        drawing.save(f"masks/{number}.{ending}", code(one))
    result = read(list_input(drawing.root), MasksSource(full_share=full_share))
    for sample in result.samples:
        (drawn,) = result.read_layers(sample)
        np.testing.assert_allclose(drawn, shares[int(sample.id)] * 255, atol=0.51)
    if full_share > 1:
        few = read(list_input(drawing.root), MasksSource(full_share=full_share // 2))
        with pytest.raises(
            InputError, match=rf"must hold shares of 0 to {full_share // 2}, as `source.full_share` says"
        ):
            few.samples[0].draw()


def test_shares_are_stretched_by_their_mean(drawing: Drawing) -> None:
    for number in range(2):
        drawing.add(f"images/{number}.png", number)
        large = np.tile(np.array([[0, 100], [50, 50]], dtype=np.uint8), SIZE)
        drawing.save(f"masks/{number}.png", large)
    result = read(list_input(drawing.root), MasksSource(full_share=255, stretch_masks=True))
    assert [np.unique(sample.draw()).tolist() for sample in result.samples] == [[50], [50]]


def test_of_several_files_of_a_mask_an_object_beats_an_ignored_pixel(drawing: Drawing) -> None:
    for name, values in {"1.png": [255, 0, 7, 0], "2.png": [7, 255, 0, 0], "3.png": [0, 7, 0, 7]}.items():
        drawing.save(name, np.array([values], dtype=np.uint8))
    read_files = DrawFiles(drawing.root, (("1.png", "2.png", "3.png"),), Coding(values=(255,), ignored=(7,)))
    assert read_files()[0].tolist() == [[1, 1, 255, 255]]


def test_the_mean_of_annotators_is_a_share(drawing: Drawing) -> None:
    for number in range(5):
        mask = merge(drawing.add(f"images/{number}.png", number))
        for name, shift in (("anna", 0), ("bert", 1), ("cleo", 1))[: 2 + number % 2]:
            drawing.save(f"{name}/{number}.png", np.roll(mask, shift, axis=1) * np.uint8(WHITE))
    asked = choose(list_input(drawing.root)).questions
    assert any("files='annotator' makes their mean the target" in question.text for question in asked)
    result = read(list_input(drawing.root), MasksSource(masks=("anna/*", "bert/*", "cleo/*"), files="annotator"))
    assert result.classes == ("object",)
    for number, sample in enumerate(result.samples):
        mask = drawing.train[f"images/{number}.png"].astype(int)
        others = 1 + number % 2
        wanted = 255 * (mask + others * np.roll(mask, 1, axis=1)) / (1 + others)
        np.testing.assert_allclose(sample.draw()[0], wanted, atol=0.51)


def test_photographs_before_a_plain_wall_are_no_masks(drawing: Drawing) -> None:
    rows = np.arange(320)[:, None, None]
    for place in range(6):
        objects = draw_objects(place, size_hw=(320, 480))
        drawing.train[f"train/{place}.jpg"] = mask = merge(objects, (320, 480))
        shaded = np.random.default_rng(place).integers(0, 255, (320, 480, 3))
        wall = np.broadcast_to(200 + rows // 8 - np.array([0, 3, 9]), (320, 480, 3))
        pixels = np.where(mask[..., None] > 0, shaded, wall).astype(np.uint8)
        drawing.save(f"train/{place}.jpg", pixels, quality=95)
        drawing.save(f"train_masks/{place}_mask.gif", mask)
    import_drawn(drawing)


@pytest.mark.parametrize("pattern", ["{kind}/images/{i}.jpg", "{kind}_{i}.jpg"])
@pytest.mark.parametrize("mixed", [False, True])
def test_kinds_of_images_are_no_groups(drawing: Drawing, pattern: str, mixed: bool) -> None:
    for number in range(36):
        kind = ("crack", "dent", "good", "hole", "spot", "stain")[number // 6]
        is_empty = number % 3 == 0 if mixed else kind == "good"
        mask = np.zeros(SIZE, np.uint8) if is_empty else merge(draw_objects(number))
        path = pattern.format(kind=kind, i=f"{number:03}")
        drawing.add_mask(path, number, mask)
        drawing.save(path.replace(".jpg", ".png"), mask * np.uint8(WHITE))
    _, result = import_drawn(drawing)
    groups = {sample.group for sample in result.samples}
    asked = [question.text for question in result.questions if question.field == "source.group"]
    if mixed:  # as places or patients are
        assert groups == {"crack", "dent", "good", "hole", "spot", "stain"} and "groups are" in asked[0]
    else:
        assert groups == {""} and "tell kinds of images" in asked[0]


def test_masks_in_which_every_pixel_is_of_a_class_fit_their_images(drawing: Drawing) -> None:
    fill(drawing, "images/{n}.png", "masks/{n}.png", 6, 2, lambda mask: mask + np.uint8(1))
    drawing.train = {image: mask + np.uint8(1) for image, mask in drawing.train.items()}
    assert "edges" not in list_questions(import_drawn(drawing)[1])
