"""`unets new`: what is written loads, reads what was found, and says what it asks; nothing is written otherwise."""

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.dataset.importers.drawing import SIZE, Drawing, draw_image, draw_objects, encode, fill, find_faults, merge
from tests.dataset.importers.test_polygons import draw_all, write_coco, write_yolo
from unets.config import list_experiments, load_dataset, load_ensemble, load_experiment
from unets.data.samples import read_mask
from unets.dataset.checks import check_data
from unets.dataset.manifest import read_manifest, read_source
from unets.dataset.scaffold import find_typical_size, render_scaffold, write_scaffold
from unets.errors import InputError
from unets.store.paths import Project


def make_project(root: Path, input_dir: Path, name: str = "mine") -> Project:
    return Project.below(root, name, input_dir=input_dir)


@pytest.fixture
def drawing(tmp_path: Path) -> Drawing:
    return Drawing(tmp_path / "my data")


@pytest.fixture
def project(tmp_path: Path, drawing: Drawing) -> Project:
    drawing.root.mkdir()
    return make_project(tmp_path, drawing.root)


def test_what_is_written_loads_and_becomes_a_manifest(project: Project, drawing: Drawing) -> None:
    fill(drawing, "images/{i}.png", "masks/{i}.png", num_classes=2)
    scaffold = write_scaffold(project)
    dataset = load_dataset(project.configs_dir)
    assert dataset == scaffold.dataset
    assert not find_faults(drawing, read_source(project, dataset))
    manifest = read_manifest(project, dataset)
    for sample in manifest.train:
        right = drawing.train[str(sample.image_path.relative_to(drawing.root))]
        assert np.array_equal(read_mask(sample), right)
    names = list_experiments(project.configs_dir)
    assert load_ensemble(project.configs_dir).experiments == tuple(names)
    assert load_experiment(project.configs_dir, names[0]).model.weights == "imagenet"
    assert re.search(r"=ModelConfig\([^)]*,\n    \),", (project.configs_dir / f"{names[0]}.py").read_text())
    text = (project.configs_dir / "dataset.py").read_text()
    assert "# QUESTION (classes): the values 1, 2 are taken for classes" in text
    shown = render_scaffold(scaffold, "mine")
    assert "8 mask" in shown and "1. classes: the values 1, 2" in shown


@pytest.mark.parametrize("kind", ["coco", "csv", "table"])
def test_images_that_labels_name_and_that_are_gone_are_named_at_each_import(
    project: Project, drawing: Drawing, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    if kind == "coco":
        write_coco(drawing, "coco.json", draw_all(drawing))
    elif kind == "csv":
        drawing.add_rows("train.csv", "img,rle_mask", "images/im{n}.png", "im{n}.png,{runs}")
    else:
        fill(drawing, "images/im{n}.png", "masks/drawn{i}.png")
        rows = [f"images/im{number}.png,masks/drawn{number:03}.png\n" for number in range(8)]
        drawing.write("train.csv", "".join(["image_path,mask_path\n", *rows]))
    write_scaffold(project)
    dataset = load_dataset(project.configs_dir)
    count = len(read_manifest(project, dataset).train)
    assert not [record for record in caplog.records if "not there" in record.message]
    (drawing.root / "images" / "im4.png").unlink()
    assert len(read_manifest(project, dataset).train) == count - 1
    (said,) = (record.message for record in caplog.records if "not there" in record.message)
    assert said.startswith(f"{drawing.root}: 1 ") and "im4.png" in said


def test_masks_that_are_stretched_by_a_few_pixels_are_named_at_each_import(
    project: Project, drawing: Drawing, caplog: pytest.LogCaptureFixture
) -> None:
    fill(drawing, "images/{i}.png", "masks/{i}.png")
    write_scaffold(project)
    path = sorted((drawing.root / "masks").iterdir())[2]
    mask = Image.open(path)
    mask.resize((mask.width - 1, mask.height), Image.Resampling.NEAREST).save(path)
    read_manifest(project, load_dataset(project.configs_dir))
    (said,) = (record.message for record in caplog.records if "by a few pixels" in record.message)
    assert path.name in said


@pytest.mark.parametrize("has_empty", [False, True])
def test_what_images_without_a_label_become_is_said_at_each_import(
    has_empty: bool, project: Project, drawing: Drawing, caplog: pytest.LogCaptureFixture
) -> None:
    write_yolo(drawing, draw_all(drawing, "train/images", ending="jpg"), names="names: [cat, dog]")
    if not has_empty:
        (drawing.root / "train" / "labels" / "im3.txt").unlink()
    write_scaffold(project)
    manifest = read_manifest(project, load_dataset(project.configs_dir))
    assert len(manifest.train) == 6 and not read_mask(manifest.train[3]).any()
    drawing.save("train/images/new.jpg", draw_image(99, np.zeros(SIZE, np.uint8)))
    caplog.clear()
    count = len(read_manifest(project, load_dataset(project.configs_dir)).train)
    if has_empty:  # who writes empty images down has not labeled this one
        assert count == 6 and "1 files are left out: an image without a mask" in caplog.text
    else:
        assert count == 7 and "2 of 7 images have no annotation: empty, or not labeled yet?" in caplog.text
        assert "They count as empty; one is train/images/im3.jpg" in caplog.text


def test_a_coco_file_whose_images_are_all_gone_is_said_at_import(
    project: Project, drawing: Drawing, caplog: pytest.LogCaptureFixture
) -> None:
    write_coco(drawing, "train/coco.json", draw_all(drawing, "train"))
    more = {f"valid/other{number}.png": drawing.add(f"valid/other{number}.png", number) for number in range(6)}
    write_coco(drawing, "valid/coco.json", more)
    write_scaffold(project)
    for path in (drawing.root / "valid").glob("*.png"):
        path.unlink()
    assert len(read_manifest(project, load_dataset(project.configs_dir)).train) == 6
    assert "1 files are left out: annotations of no image that is here" in caplog.text


@pytest.mark.parametrize(
    ("sizes", "typical"),
    [
        ([(96, 128)] * 3 + [(64, 64)] * 3, (96, 128)),  # half of them
        ([(100, 200), (100, 200), (300, 400), (310, 500), (320, 600)], (300, 400)),  # the most frequent is none of it
    ],
)
def test_the_typical_size_is_the_most_frequent_one_only_where_most_have_it(
    sizes: list[tuple[int, int]], typical: tuple[int, int]
) -> None:
    assert find_typical_size(Counter(sizes)) == typical


def test_tiny_objects_are_measured_and_said(project: Project, drawing: Drawing) -> None:
    for number in range(4):
        mask = np.zeros((1000, 1000), np.uint8)
        mask[100 * number : 100 * number + 3, 200:203] = mask[500:503, 700:703] = 255
        drawing.save(f"images/{number}.png", draw_image(number, mask))
        drawing.save(f"masks/{number}.png", mask)
    scaffold = write_scaffold(project, minutes=1, ask_gpu=lambda: False)
    (proposal,) = scaffold.proposals
    assert proposal.config.data.crop_hw is not None and proposal.config.data.size_hw == (1000, 1000)
    text = (project.configs_dir / f"{proposal.name}.py").read_text()
    for shown in (" ".join(render_scaffold(scaffold, "mine").split()), " ".join(text.replace("#", "").split())):
        assert "small ones are 3 x 3 pixels here" in shown and "WARNING: objects this small take long to learn" in shown


def test_a_sample_that_tells_no_classes_apart_is_a_question(project: Project, drawing: Drawing) -> None:
    fill(drawing, "train/images/{i}.png", "train/masks/{i}.png", num_classes=2)
    rows = [f"{number:03},{encode(merge([]) + 1)}" for number in range(8)]
    drawing.write("train.csv", "\n".join(["id,rle", *rows]) + "\n")
    drawing.write("sample_submission.csv", "id,rle\n000,\n")
    scaffold = write_scaffold(project)
    assert (scaffold.dataset.submission.sample, scaffold.dataset.metric) == (None, "global_iou")
    assert any(question.field == "submission" for question in scaffold.questions)


@pytest.mark.parametrize(
    ("num_classes", "text", "fields"),
    [
        (1, "id,rle\n100,\n101,1 2\n", {"image_column": "id", "rle_column": "rle", "cell": "{id}", "row": "image"}),
        (1, "ImageId,Pixels\n100,1 2\n100,5 1\n101,1 1\n", {"row": "object", "cell": "{id}"}),
        (1, "img,mask\n100.png,1 2\n101.png,\n", {"cell": "{id}.png"}),
        (2, "id,c,rle\n100,0,\n100,1,\n101,0,\n101,1,\n", {"class_column": "c", "class_cells": ("0", "1")}),
        (2, "id,rle\n100_1,\n100_2,\n101_1,\n101_2,\n", {"cell": "{id}_{class}", "class_cells": ("1", "2")}),
    ],
)
def test_a_sample_beside_masks_tells_the_form_of_a_submission(
    project: Project, drawing: Drawing, num_classes: int, text: str, fields: dict[str, object]
) -> None:
    fill(drawing, "train/{i}.png", "train_masks/{i}.png", num_classes=num_classes)
    for number in (100, 101):
        drawing.save(f"test/{number}.png", draw_image(number, merge(draw_objects(number))))
    drawing.write("sample_submission.csv", text)
    scaffold = write_scaffold(project)
    submission, fields = scaffold.dataset.submission, fields | {"sample": "sample_submission.csv", "order": "column"}
    assert submission.model_dump(include=set(fields)) == fields
    assert scaffold.dataset.metric == ("ap" if submission.row == "object" else "dice")
    assert any(question.field == "submission.order" for question in scaffold.questions)
    assert any("do not tell objects apart" in question.text for question in scaffold.questions) == (
        submission.row == "object"
    )
    assert check_data(project, load_dataset(project.configs_dir)).is_clean


def test_a_sample_that_cannot_be_followed_is_a_question(project: Project, drawing: Drawing) -> None:
    fill(drawing, "train/{i}.png", "train_masks/{i}.png")
    drawing.save("test/100.png", draw_image(100, merge(draw_objects(100))))
    drawing.write("sample_submission.csv", "id,height,rle\n100,48,\n")
    scaffold = write_scaffold(project)
    assert scaffold.dataset.submission.sample is None
    assert any("its form is not followed" in question.text for question in scaffold.questions)


def test_images_of_a_single_group_are_a_question(project: Project, drawing: Drawing) -> None:
    fill(drawing, "images/{i}.png", "masks/{i}.png", count=3)
    rows = [f"{number},train,images/{number:03}.png,masks/{number:03}.png,p1" for number in range(3)]
    drawing.write("samples.csv", "\n".join(["id,split,image,mask,group", *rows]) + "\n")
    scaffold = write_scaffold(project)
    assert any(question.text.startswith("all images are of one group") for question in scaffold.questions)
    assert "1 group" in scaffold.counts and "1 groups" not in scaffold.counts


def test_a_list_of_classes_that_is_given(project: Project, drawing: Drawing, tmp_path: Path) -> None:
    fill(drawing, "images/{i}.png", "masks/{i}.png", num_classes=2)
    (tmp_path / "mine.txt").write_text("background\noak\nelm\n")
    scaffold = write_scaffold(project, classes_path=tmp_path / "mine.txt")
    assert scaffold.dataset.classes == ("oak", "elm")
    (tmp_path / "bad.txt").write_text("")
    with pytest.raises(InputError, match=r"bad\.txt"):
        write_scaffold(project, classes_path=tmp_path / "bad.txt", force=True)


def test_names_of_classes_with_a_backslash_beside_other_escapes_are_written_as_they_are(
    project: Project, drawing: Drawing
) -> None:
    write_coco(drawing, "coco.json", draw_all(drawing))
    path = drawing.root / "coco.json"
    content = json.loads(path.read_text())
    for category, name in zip(content["categories"], ("a\\d\u200b", "a\\d", "it's \\w"), strict=False):
        category["name"] = name
    path.write_text(json.dumps(content))
    write_scaffold(project)
    names = {category["name"] for category in content["categories"]}
    assert "a\\d\u200b" in names and set(load_dataset(project.configs_dir).classes) == names


def test_classes_may_be_renamed(project: Project, drawing: Drawing) -> None:
    fill(drawing, "images/{i}.png", "masks/{i}.png", num_classes=2)
    write_scaffold(project)
    path = project.configs_dir / "dataset.py"
    path.write_text(path.read_text().replace('"class_1", "class_2"', '"oak", "elm"'))
    dataset = load_dataset(project.configs_dir)
    assert read_source(project, dataset).classes == ("oak", "elm")
    path.write_text(path.read_text().replace('"oak", "elm"', '"oak"'))
    with pytest.raises(InputError, match="classes"):
        read_source(project, load_dataset(project.configs_dir))


def test_what_is_there_stays(project: Project, drawing: Drawing) -> None:
    fill(drawing, "images/{i}.png", "masks/{i}.png")
    write_scaffold(project)
    with pytest.raises(InputError, match="--force"):
        write_scaffold(project)
    (project.configs_dir / "own.py").write_text("")
    path = project.configs_dir / "dataset.py"
    answered = path.read_text().replace('"object"', '"cell"').replace("    size_hw=(48, 72),\n", "") + "# mine\n"
    path.write_text(answered)
    scaffold = write_scaffold(project, minutes=0.1, force=True)
    assert scaffold.dataset.size_hw is None and "images, 48 x 72 pixels" in scaffold.counts
    (first,) = scaffold.proposals
    (second,) = write_scaffold(project, minutes=60, force=True).proposals
    assert path.read_text() == answered
    assert (project.configs_dir / "own.py").is_file()
    assert first.config != load_experiment(project.configs_dir, second.name) == second.config
    (drawing.root / "names.txt").write_text("background\ncell\n")
    with pytest.raises(InputError, match=r"--classes.*remove it"):
        write_scaffold(project, classes_path=drawing.root / "names.txt", force=True)
    path.write_text(answered.replace('"cell"', '"cell", "nucleus"'))
    with pytest.raises(InputError, match=r"dataset\.py must load and read `--input`.*remove it"):
        write_scaffold(project, force=True)


def test_a_card_that_the_backend_cannot_use_is_no_gpu(
    project: Project, drawing: Drawing, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fill(drawing, "images/{i}.png", "masks/{i}.png")
    monkeypatch.setattr("unets.dataset.scaffold.has_card", lambda: True)
    (proposal,) = write_scaffold(project, ask_gpu=lambda: False).proposals
    assert proposal.config.folds == (0,)
    assert "the NVIDIA card of this machine cannot be used" in caplog.text and "make setup GPU=1" in caplog.text


@pytest.mark.parametrize(
    ("count", "files", "message"),
    [
        (0, {}, "holds no file"),
        (0, {"a.txt": "hello"}, "without masks that are known"),
        (0, {"scan.dcm": "x", "b.dcm": "y"}, "DICOM"),
        (0, {"masks.csv": "id,wkt\na,POLYGON ((0 0)\n"}, "without masks"),
        (6, {"masks/002.png": 60}, r"002\.png"),  # cut off
        (6, {"images/002.png": ""}, r"002\.png"),
        (1, {}, r"000\.png"),
    ],
)
def test_what_cannot_be_read_is_named_and_nothing_written(
    project: Project, drawing: Drawing, count: int, files: dict[str, str | int], message: str
) -> None:
    fill(drawing, "images/{i}.png", "masks/{i}.png", count)
    for name, content in files.items():
        path = drawing.root / name
        path.write_bytes(path.read_bytes()[:content] if isinstance(content, int) else content.encode())
    with pytest.raises(InputError, match=message):
        write_scaffold(project)
    assert not project.configs_dir.exists()


@pytest.mark.parametrize("name", ["", "a b", "../x"])
def test_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="`--name` must"):
        write_scaffold(make_project(tmp_path, tmp_path, name))
