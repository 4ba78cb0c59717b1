"""Layouts as public data sets unpack, where they differ from the plain ones."""

import json
import re

import numpy as np
import pytest

from tests.dataset.importers.drawing import (
    SIZE,
    Drawing,
    assert_refused,
    draw_image,
    draw_objects,
    encode,
    fill,
    find_faults,
    import_drawn,
    list_questions,
    merge,
)
from tests.dataset.importers.test_polygons import write_coco
from unets.config import TableSource
from unets.dataset.importers.listing import list_input
from unets.dataset.importers.search import choose, read

NAMES = ("background", "cat", "dog", "fox")


def test_lists_that_contradict_each_other_are_refused(drawing: Drawing) -> None:
    fill(drawing, "{i}_json/img.png", "{i}_json/label.png", num_classes=2)
    for number in range(8):
        names = NAMES[:3] if number % 2 else ("background", "dog", "cat")
        drawing.write(f"{number:03}_json/label_names.txt", "\n".join(names))
    assert_refused(drawing, r"1 is 'dog' in 000_json.*'cat' in 001_json")


@pytest.mark.parametrize(
    ("path", "text", "words"),
    [
        ("annotations/panoptic_val2017.json", '{"annotations": [{"segments_info": []}]}', "COCO panoptic"),
        ("gtFine/000_gtFine_polygons.json", '{"imgHeight": 1, "objects": []}', "Cityscapes polygons"),
        ("export.ndjson", '{"data_row": {"external_id": "000.png"}}', "Labelbox"),
        ("export.json", '{"label_classes": [], "images": []}', "Hasty"),
        ("annotations/000.json", '{"item": {"slots": []}, "annotations": []}', "V7 Darwin"),
        ("buildings.geojson", '{"type": "x", "features": [], "kind": "FeatureCollection"}', "GeoJSON"),
        ("polygons.jsonl", '{"id": "000", "annotations": [{"coordinates": [[[1, 2]]]}]}', "json lines"),
        ("train_wkt.csv", 'ImageId,MultipolygonWKT\n000,"MULTIPOLYGON (((0 0, 1 1, 1 0)))"\n', "polygons in WKT"),
        ("via.csv", "filename,region_shape_attributes\n000.png,x\n", "VIA's csv"),
        ("Annotations/000.xml", '<Annotations><Vertex X="1" Y="2"/></Annotations>', "Aperio"),
    ],
)
def test_annotations_that_nothing_reads_are_named(drawing: Drawing, path: str, text: str, words: str) -> None:
    for number in range(4):
        drawing.add(f"images/{number:03}.png", number)
    drawing.write(path, text)
    drawing.write("empty.csv", "")
    drawing.write("broken.tsv", "")
    assert_refused(drawing, rf"as Pascal VOC's.* {re.escape(path)} holds [\w ]*{words}")


def test_all_csv_are_looked_at_and_a_damaged_one_is_passed_over(drawing: Drawing) -> None:
    for number in range(4):
        drawing.add(f"images/{number:03}.png", number)
        drawing.write(f"table{number}.csv", f"id,weight\n{number},7\n")
    drawing.write("table9.csv", 'ImageId,shape\n000,"POLYGON Z ((0 0 1, 1 1 1, 1 0 1))"\n')
    drawing.write("damaged.csv", "id,weight\n" + "7,77777\n" * 500)
    drawing.pack("all.zip")
    archive = drawing.root / "all.zip"
    archive.write_bytes(archive.read_bytes().replace(b"7,77777", b"7,77778", 1))
    assert_refused(drawing, r"must hold images with masks: .* all\.zip/table9\.csv holds polygons in WKT")


@pytest.mark.parametrize(
    ("kept", "copy"), [("PNG/Original/{n}.png", "TIF/Original/{n}.tif"), ("train/images/{n}.png", "images/{n}.png")]
)
def test_images_that_are_there_twice_are_read_once(drawing: Drawing, kept: str, copy: str) -> None:
    for image in (copy, kept):
        drawing.train.clear()
        fill(drawing, image, image.replace("Original", "Ground Truth").replace("images", "masks"))
    _, result = import_drawn(drawing)
    assert "8 images are there twice" in list_questions(result)


def test_copies_are_found_whatever_names_begin_with(drawing: Drawing) -> None:
    for number, name in enumerate("az"):
        for image in (f"{name}.png", f"m/{name}.png"):
            objects = drawing.add(image, number)
        drawing.save(f"masks/{name}.png", merge(objects) * np.uint8(255))
    result = choose(list_input(drawing.root))
    assert "2 images are there twice" in list_questions(result)


def test_a_list_of_test_images_beside_a_table_is_accounted_for(drawing: Drawing) -> None:
    rows = ["image,mask"]
    for number in range(6):
        rows.append(f"a/{number}.png,b/{(number + 5) * 7919 % 9973:05}.png")
        drawing.save(rows[-1].partition(",")[2], merge(drawing.add(f"a/{number}.png", number)) * np.uint8(255))
    drawing.write("train.csv", "\n".join(rows) + "\n")
    drawing.write("test.txt", "a/1.png\na/2.png\n")
    _, result = import_drawn(drawing)
    assert result.account["test.txt"] == "list of test images"
    assert "2 images of a list called test have masks, and are taken for training: a/1.png" in list_questions(result)


def test_frames_of_one_number_are_no_copies(drawing: Drawing) -> None:
    for video in range(4):
        for number in range(5):
            objects = drawing.add(f"seq{video}/Images/{number:06}.png", 10 * video + number)
            drawing.save(f"seq{video}/Labels/{number:06}.png", merge(objects) * np.uint8(255))
    _, result = import_drawn(drawing)
    assert {sample.group for sample in result.samples} == {f"seq{video}" for video in range(4)}


def test_images_without_a_defect_are_a_question(drawing: Drawing) -> None:
    """MVTec's: masks are of images called test alone, and no word tells what the good ones are for."""
    fill(drawing, "bottle/test/broken/{i}.png", "bottle/ground_truth/broken/{i}_mask.png")
    good = [
        drawing.save(f"bottle/{split}/good/{i:03}.png", draw_image(i + 50, np.zeros(SIZE, np.uint8)))
        for split in ("train", "test")
        for i in (0, 1)
    ]
    source, result = import_drawn(drawing)
    assert list_questions(result).count("have no masks and are left out") == 2
    drawing.train |= {image: np.zeros(SIZE, np.uint8) for image in good}
    again = read(list_input(drawing.root), source.model_copy(update={"missing": "empty"}))
    assert not find_faults(drawing, again)


def test_masks_that_belong_to_no_image_are_a_question(drawing: Drawing) -> None:
    fill(drawing, "images/{i}.png", "first_masks/{i}.png")
    for number in range(8):
        drawing.save(f"other_masks/{chr(97 + number) * 5}.png", merge(draw_objects(number)))
    _, result = import_drawn(drawing)
    assert "8 masks have no image" in list_questions(result)


def test_a_letter_after_the_number(drawing: Drawing) -> None:
    """MaSTr1325's `0001m.png`; what the camera's sensors say of the horizon lies under the images' names."""
    fill(drawing, "images/{i}.png", "masks/{i}m.png", count=12, num_classes=2)
    for number in range(12):
        drawing.save(f"imus/{number:03}.png", (np.tri(*SIZE) > 0).astype(np.uint8) * np.uint8(255))
    choice = choose(list_input(drawing.root))
    assert "masks" in list_questions(choice)


def test_coco_as_it_is_downloaded(drawing: Drawing) -> None:
    """Captions and key points lie beside instances, and a split may not have been downloaded."""
    drawn = {f"val2017/{n:012}.jpg": drawing.add(f"val2017/{n:012}.jpg", n, 2, quality=95) for n in range(6)}
    write_coco(drawing, "annotations/instances_val2017.json", drawn, runs=True)
    content = json.loads((drawing.root / "annotations/instances_val2017.json").read_text())
    images, entries = content["images"], content["annotations"]
    absent = [entry | {"file_name": f"9{entry['file_name']}"} for entry in images]
    drawing.write("annotations/instances_train2017.json", json.dumps(content | {"images": absent * 2}))
    captions = {"images": images, "annotations": [{"image_id": 0, "caption": "a cat"}]}
    drawing.write("annotations/captions_val2017.json", json.dumps(captions))
    drawing.write("annotations/person_keypoints_val2017.json", json.dumps(content | {"annotations": entries[:1]}))
    _, result = import_drawn(drawing)
    assert result.classes == ("cat", "dog")
    assert result.account["annotations/captions_val2017.json"].startswith("left out: captions")


def test_two_columns_of_run_lengths_are_a_question(drawing: Drawing) -> None:
    rows = ["image,box,rle_a,rle_b"]
    for number in range(8):
        one, other = (part for _, part in drawing.add(f"train/{number}.png", number, 2))
        drawing.train[f"train/{number}.png"] = one.astype(np.uint8)
        rows.append(f"{number}.png,1 2 3 4,{encode(one | np.roll(one, 1, 0))},{encode(other)}")
        drawing.train[f"train/{number}.png"] = (one | np.roll(one, 1, 0)).astype(np.uint8)
    drawing.write("train.csv", "\n".join(rows) + "\n")
    result = choose(list_input(drawing.root))
    assert "run lengths in rle_" in list_questions(result)
    assert "box" not in list_questions(result)


@pytest.mark.parametrize(("ending", "archive"), [("csv", ""), ("csv", "all.zip"), ("jsonl", "")])
def test_tables_of_paths_a_split(drawing: Drawing, ending: str, archive: str) -> None:
    """Hugging Face's `imagefolder`: names of images and masks differ, and repeat in the other split."""
    for split, count in (("train", 6), ("validation", 3)):
        rows = []
        for number in range(count):
            objects = drawing.add(f"{split}/images/{number}.png", 10 * len(split) + number)
            drawing.save(f"{split}/masks/{(number + 5) * 7919 % 9973:05}.png", merge(objects) * np.uint8(255))
            names = {"file_name": f"images/{number}.png", "mask": f"masks/{(number + 5) * 7919 % 9973:05}.png"}
            rows.append(json.dumps(names) if ending == "jsonl" else ",".join(names.values()))
        rows = rows if ending == "jsonl" else ["file_name,mask", *rows]
        drawing.write(f"{split}/metadata.{ending}", "\n".join(rows) + "\n")
    if archive:
        drawing.pack(archive)
    source, _ = import_drawn(drawing)
    assert isinstance(source, TableSource)
    assert source.path.count(f"/metadata.{ending}") == 2


@pytest.mark.parametrize("form", ["txt", "json", "csv"])
def test_lists_of_pairs(drawing: Drawing, form: str) -> None:
    """PaddleSeg's `train_list.txt`, MONAI's `dataset.json`, a csv without a header; names tell no pairs."""
    rows = dict[str, list[tuple[str, str]]]()
    for number in range(12):
        image, mask = f"a/{number:03}.png", f"b/{(number + 5) * 7919 % 9973:05}.png"
        drawing.save(mask, merge(drawing.add(image, number)) * np.uint8(255))
        split = ("train", "val", "test")[number // 6 + number // 10]
        rows.setdefault(split, []).append((image, mask))
    drawing.test = {image for image, _ in rows["test"]}
    drawing.train = {image: mask for image, mask in drawing.train.items() if image not in drawing.test}
    mark = {"txt": " ", "csv": ","}.get(form, "")
    for split, pairs in rows.items() if mark else ():
        drawing.write(f"{split}_list.{form}", "".join(f"{a}{mark}{b}\n" for a, b in pairs))
    if not mark:
        lists = {name: [{"image": f"./{a}", "label": b} for a, b in pairs] for name, pairs in rows.items()}
        drawing.write(
            "dataset_0.json", json.dumps({"numTraining": 6, "labels": {"0": "background", "1": "cat"}} | lists)
        )
    source, result = import_drawn(drawing)
    assert isinstance(source, TableSource)
    assert result.classes == (("cat",) if form == "json" else ("object",))


def test_roboflows_copies_of_an_image_are_a_group(drawing: Drawing) -> None:
    for number in range(12):
        name = f"train/im-{number // 3}_png.rf.{(number + 7) * 7919**8:032x}"
        drawing.save(f"{name}_mask.png", merge(drawing.add(f"{name}.png", number // 3)))
    _, result = import_drawn(drawing)
    assert {sample.group for sample in result.samples} == {f"im-{number}_png" for number in range(4)}


@pytest.mark.parametrize("form", ["csv", "yolo"])
def test_lists_of_test_images_beside_annotations(drawing: Drawing, form: str) -> None:
    rows = ["id,rle"]
    for number in range(8):
        ((_, part),) = drawing.add(f"images/im{number}.png", number)
        rows.append(f"im{number},{encode(part)}")
        bottom, right = (f"{place.max() / side:.4f}" for place, side in zip(np.nonzero(part), SIZE, strict=True))
        if form == "yolo" and number < 6:
            drawing.write(f"labels/im{number}.txt", f"0 0.1 0.1 {right} 0.1 {right} {bottom} 0.1 {bottom}\n")
    if form == "csv":
        drawing.write("train.csv", "\n".join(rows[:7]))
    drawing.write(f"test.{'txt' if form == 'yolo' else 'csv'}", "id\nim6\nim7\n")
    result = choose(list_input(drawing.root))
    assert {s.image for s in result.samples if s.split == "test"} == {"images/im6.png", "images/im7.png"}
    assert len(result.train) == 6


def test_columns_that_may_tell_classes_are_a_question(drawing: Drawing) -> None:
    rows = ["image,left_mask,right_mask,species,weight"]
    for number in range(6):
        (_, one), (_, other) = drawing.add(f"{number}.png", number, 2)
        drawing.train[f"{number}.png"] = one.astype(np.uint8)
        names = [f"{(2 * number + place + 5) * 7919 % 9973:05}.png" for place in (0, 1)]
        for name, part in zip(names, (one, other), strict=True):
            drawing.save(f"m/{name}", part.astype(np.uint8) * np.uint8(255))
        rows.append(f"{number}.png,{','.join(names)},{'cat' if number % 2 else 'dog'},{number}")
    drawing.write("train.csv", "\n".join(rows) + "\n")
    _, result = import_drawn(drawing)
    asked = list_questions(result)
    assert "train.csv also has masks in right_mask, which are not read" in asked
    assert "the column species of train.csv may tell kinds of images (cat, dog)" in asked


@pytest.mark.parametrize(
    ("image", "mask", "kinds"),
    [
        ("{k}/images/{i}.png", "{k}/masks/{i}.png", "cat dog"),
        ("train/{k}/{i}.png", "train/{k}/{i}_mask.png", "猫 犬"),
        ("images/{k}/{i}.png", "masks/{k}/{i}.png", "ant bee cat dog eel"),
        ("images/{k}_{i}.png", "masks/{k}_{i}.png", "cat dog"),
        ("{k}/images/{i}.png", "{k}/masks/{i}.png", "scratch dent good"),
    ],
)
def test_folders_and_names_that_may_be_classes_are_a_question(
    drawing: Drawing, image: str, mask: str, kinds: str
) -> None:
    classes = sorted({*kinds.split()} - {"good"})
    for place, kind in enumerate(kinds.split()):
        for number in range(6):
            names = {"k": kind, "i": number}
            drawing.add(image.format(**names), 20 * place + number)
            if kind == "good":
                drawing.train[image.format(**names)][:] = 0
            drawing.save(mask.format(**names), drawing.train[image.format(**names)] * np.uint8(255))
    source, result = import_drawn(drawing)
    (choices,) = [question.choices for question in result.questions if question.field == "source.group"]
    assert result.classes == ("object",) and any(choice.startswith('source.files="class"') for choice in choices)
    for name, drawn in drawing.train.items():
        drawn[drawn > 0] = next((n for n, kind in enumerate(classes, start=1) if kind in name), 0)
    again = read(list_input(drawing.root), source.model_copy(update={"files": "class"}))
    assert not find_faults(drawing, again) and again.classes == tuple(classes)
    assert {sample.group for sample in again.samples} == {""} and not again.questions


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("arrays", r"images.npy must hold numbers \(height, width\[, channels\]\)"),
        ("fractions", "masks/000.npy holds fractions, or channels"),
        ("damaged zip", "masks.zip: a damaged zip"),
        ("columns", "train.csv has the columns id, counts: none holds run lengths"),
        ("boxes", "boxes of PASCAL VOC"),
    ],
)
def test_what_is_no_mask_is_named(drawing: Drawing, kind: str, words: str) -> None:
    images = [draw_image(number, merge(draw_objects(number))) for number in range(4)]
    for number, image in enumerate(images if kind != "arrays" else ()):
        drawing.save(f"images/{number:03}.png", image)
    if kind == "arrays":
        drawing.save("images.npy", np.stack(images))
    elif kind == "fractions":
        drawing.save("masks/000.npy", np.random.default_rng(0).random(SIZE))
    elif kind == "damaged zip":
        (drawing.root / "masks.zip").write_bytes(b"PK" * 50)
    elif kind == "columns":
        drawing.write("train.csv", "id,counts\n000,Xf1a\n001,Qb0c\n")
    else:
        drawing.write("Annotations/000.xml", "<annotation><object><bndbox></bndbox></object></annotation>")
    assert_refused(drawing, words)
