"""Run lengths: dialects of csv, how cells name images and classes, and how pixels are counted."""

from collections.abc import Callable

import numpy as np
import pytest

from tests.dataset.importers.drawing import (
    SIZE,
    Drawing,
    assert_refused,
    draw_image,
    draw_objects,
    encode,
    import_drawn,
    list_questions,
    merge,
)
from unets.config import CsvSource
from unets.dataset.importers.edges import measure_fit
from unets.dataset.importers.listing import list_input
from unets.dataset.importers.search import choose, read


def draw_csv(
    drawing: Drawing,
    *,
    separator: str = ",",
    newline: str = "\n",
    encoding: str = "utf-8",
    empty: str = "",
    header: str = "img,rle_mask",
    cell: str = "{id}.jpg",
    form: str = "{}",
    order: str = "column",
    start: int = 1,
    relative: bool = False,
    name: str = "train_masks.csv",
    count: int = 10,
) -> None:
    """Draws a competition: training images with rows, test images with a sample; every fourth image is empty."""
    rows, sample = [header.replace(",", separator)], [header.replace(",", separator)]
    for number in range(count):
        id_ = f"p{number:02}"
        objects = drawing.add(f"train/{id_}.jpg", number, quality=95)
        if number % 4 == 3:
            objects = []
            drawing.train[f"train/{id_}.jpg"][:] = 0
        runs = encode(merge(objects), order, start, relative) if objects else empty
        rows.append(separator.join([cell.format(id=id_), form.format(runs)]))
    for number in range(3):
        drawing.test.add(drawing.save(f"test/t{number}.jpg", draw_image(number, merge(draw_objects(number)))))
        sample.append(separator.join([cell.format(id=f"t{number}").replace("train/", "test/"), "1 1"]))
    drawing.write(name, newline.join(rows) + newline, encoding)
    drawing.write("sample_submission.csv", newline.join(sample) + newline, encoding)


DIALECTS: dict[str, dict[str, str]] = {
    "plain": {},
    "semicolons": {"separator": ";"},
    "tabs": {"separator": "\t"},
    "tsv": {"separator": "\t", "name": "train.tsv"},
    "UTF-8 with a mark": {"encoding": "utf-8-sig"},
    "UTF-16": {"encoding": "utf-16"},
    "CRLF": {"newline": "\r\n"},
    "nan": {"empty": "nan"},
    "minus one": {"empty": "-1"},
    "dash": {"empty": "-"},
    "quotes": {"form": '"{}"'},
    "brackets": {"form": '"[{}]"'},
    "blank before": {"form": " {}"},
    "ids alone": {"cell": "{id}"},
    "paths": {"cell": "train/{id}.jpg"},
    "other columns": {"header": "filename,annotation"},
}


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS.keys())
def test_dialects(drawing: Drawing, dialect: dict[str, str]) -> None:
    draw_csv(drawing, **dialect)  # type: ignore[arg-type]
    source, result = import_drawn(drawing)
    assert isinstance(source, CsvSource)
    assert result.account["sample_submission.csv"] == "sample submission"
    assert not result.questions


@pytest.mark.parametrize("label", ["", "nan", "-1"])
@pytest.mark.parametrize("kinds", [1, 2])
def test_a_row_without_runs_and_class_is_an_empty_image(drawing: Drawing, label: str, kinds: int) -> None:
    rows = ["image,class,rle"]
    for number in range(9):
        path = f"train/{number:03}.png"
        objects = drawing.add(path, number, kinds)
        rows += [f"{number:03},{'ab'[k - 1]},{encode(part)}" for k, part in objects]
        if number % 3 == 0:
            drawing.train[path] = np.zeros(SIZE, dtype=np.uint8)
            rows[-len(objects) :] = [f"{number:03},{label},"]
    drawing.write("train.csv", "\n".join(rows) + "\n")
    _, result = import_drawn(drawing)
    assert result.classes == ("a", "b")[:kinds]


def test_a_sample_with_a_row_a_class_is_followed_where_training_masks_have_a_row_an_object(drawing: Drawing) -> None:
    rows, sample = ["image,class,rle"], ["image,class,rle"]
    for number in range(6):
        objects = drawing.add(f"train/{number:03}.png", number, 2, 2)
        rows += [f"{number:03},{'ab'[k - 1]},{encode(part)}" for k, part in objects]
    for number in range(2):
        drawing.test.add(drawing.save(f"test/t{number}.png", draw_image(number, merge(draw_objects(number)))))
        sample += [f"t{number},a,1 1", f"t{number},b,1 1"]
    drawing.write("train.csv", "\n".join(rows) + "\n")
    drawing.write("sample_submission.csv", "\n".join(sample) + "\n")
    _, result = import_drawn(drawing)
    assert result.fields["submission"]["row"] == "class"
    assert [question.choices for question in result.questions if question.field == "submission.row"] == [('"object"',)]
    drawing.write("sample_submission.csv", "\n".join([*sample, "t1,b,3 1"]) + "\n")
    _, result = import_drawn(drawing)
    assert result.fields["submission"]["row"] == "object"


@pytest.mark.parametrize("order", ["row", "column"])
@pytest.mark.parametrize(("relative", "start"), [(False, 0), (False, 1), (True, 0)])  # the latter is a distance
def test_how_pixels_are_counted(drawing: Drawing, order: str, relative: bool, start: int) -> None:
    draw_csv(drawing, order=order, relative=relative, start=start, count=12)
    if start == 0 and not relative:
        objects = np.zeros(SIZE, dtype=np.uint8)
        objects[:9, :9] = 1
        drawing.add_mask("train/p98.jpg", 1, objects, quality=95)
        path = drawing.root / "train_masks.csv"
        path.write_text(path.read_text() + f"p98.jpg,{encode(objects, order, 0)}\n")
    source, _ = import_drawn(drawing)
    assert isinstance(source, CsvSource)
    assert (source.order, source.relative) == (order, relative)


@pytest.mark.parametrize(
    ("header", "row", "labels"),
    [
        ("ImageId_ClassId,EncodedPixels", "{id}.png_{label},{runs}", ("fish", "sugar")),
        ("Image_Label,EncodedPixels", "{id}_{label},{runs}", ("fish", "sugar")),
        ("Image_Label,EncodedPixels", "{id}_{label},{runs}", ("dry_soil", "soil")),
        ("label,runs,file", "{label},{runs},train/{id}.png", ("fish", "sugar")),
        ("ImageId,ClassId,EncodedPixels", "{id}.png,{label},{runs}", ("1", "2")),
    ],
)
def test_classes(drawing: Drawing, header: str, row: str, labels: tuple[str, str]) -> None:
    rows = [header]
    for number in range(8):
        objects = drawing.add(f"train/{number:03}.png", number, 2)
        if number % 4 == 0:
            objects = objects[:1]
            drawing.train[f"train/{number:03}.png"] = merge(objects)
        known = {index: encode(part) for index, part in objects}
        rows += [row.format(id=f"{number:03}", label=labels[k - 1], runs=known.get(k, "")) for k in (1, 2)]
    drawing.write("train.csv", "\n".join(rows) + "\n")
    _, result = import_drawn(drawing)
    assert result.classes == labels
    assert result.fields["submission"]["row"] == "class"


def test_rows_of_images_that_are_not_there_are_of_no_object(drawing: Drawing) -> None:
    draw_csv(drawing)
    gone = "".join(f"gone{number}.jpg,{1 + number} 2\n" for number in range(40))  # most: the images are a sample
    drawing.write("train_masks.csv", (drawing.root / "train_masks.csv").read_text() + gone)
    _, result = import_drawn(drawing)
    assert result.fields["submission"]["row"] == "image"


@pytest.mark.parametrize(("label", "named"), [("car", "car"), ("1", "object")])
def test_a_column_that_names_a_single_class(drawing: Drawing, label: str, named: str) -> None:
    drawing.add_rows("rle.csv", "image,class,rle", "train/{n}.png", f"{{n}}.png,{label},{{runs}}", 6)
    _, result = import_drawn(drawing)
    assert result.classes == (named,)


@pytest.mark.parametrize("order", ["row", "column"])
def test_how_pixels_are_counted_where_classes_cover_the_image(drawing: Drawing, order: str) -> None:
    rows = ["image,class,rle"]
    for number in range(6):
        path = f"train/{number}.png"
        objects = merge(drawing.add(path, number))
        drawing.train[path] = np.where(objects > 0, np.uint8(1), np.uint8(2))
        rows += [f"{number}.png,{k},{encode(drawing.train[path] == k, order)}" for k in (1, 2)]
    drawing.write("train.csv", "\n".join(rows) + "\n")
    source, _ = import_drawn(drawing)
    assert isinstance(source, CsvSource) and source.order == order


def test_classes_that_share_pixels_have_a_mask_each(drawing: Drawing) -> None:
    rows = ["id,class,runs"]
    for number in range(3):
        drawing.save(f"{number}.png", draw_image(number, merge(draw_objects(number))))
        rows += [f"{number},a,1 10", f"{number},b,8 10"]
    drawing.write("train.csv", "\n".join(rows) + "\n")
    result = read(
        list_input(drawing.root),
        CsvSource(path="train.csv", image_column="id", rle_column="runs", class_column="class"),
    )
    assert result.overlapping and result.classes == ("a", "b")
    first, second = result.read_layers(result.samples[0])
    assert first.sum() == second.sum() == 10 and (first & second).sum() == 3


def test_a_row_an_object(drawing: Drawing) -> None:
    rows = ["id,annotation,width,height,cell_type"]
    for number in range(8):
        for _, part in drawing.add(f"train/{number:03}.png", number, count=3):
            rows.append(f"{number:03},{encode(part)},72,48,{'ab'[number % 2]}")
    drawing.write("train.csv", "\n".join(rows) + "\n")
    _, result = import_drawn(drawing)
    assert result.classes == ("object",)
    assert any(question.field == "submission.row" for question in result.questions)


def test_images_without_rows_hold_nothing_where_no_cell_is_empty(drawing: Drawing) -> None:
    rows = ["ImageId,EncodedPixels"]
    for number in range(8):
        ((_, part),) = drawing.add(f"train/{number:03}.png", number)
        if number % 2:
            rows.append(f"{number:03}.png,{encode(part)}")
        else:
            drawing.train[f"train/{number:03}.png"][:] = 0
    drawing.write("train.csv", "\n".join(rows) + "\n")
    _, result = import_drawn(drawing)
    assert any(question.field == "source.missing" for question in result.questions)


def test_ids_of_parts_of_paths(drawing: Drawing) -> None:
    rows = ["id,class,segmentation"]
    for case in (1, 2, 3):
        for day in (0, 14):
            for part in (1, 2):
                image = f"train/case{case}/case{case}_day{day}/scans/slice_000{part}_72_48.png"
                for index, mask in drawing.add(image, case * 100 + day + part, 2):
                    rows.append(f"case{case}_day{day}_slice_000{part},{'ab'[index - 1]},{encode(mask, 'row')}")
    drawing.write("train.csv", "\n".join(rows) + "\n")
    _, result = import_drawn(drawing)
    assert "case3_day14_slice_0002" in {sample.id for sample in result.samples}


@pytest.mark.parametrize(
    ("column", "ending", "cell"),
    [("img", ".jpg", "{id}.jpg"), ("Picture", "", "{id}"), ("Picture", ".png", "{id}.png")],
)
def test_a_sample_with_another_header(drawing: Drawing, column: str, ending: str, cell: str) -> None:
    draw_csv(drawing)
    rows = "".join(f"t{number}{ending},1 1\n" for number in range(3))
    drawing.write("sample_submission.csv", f"{column},predicted\n{rows}")
    _, result = import_drawn(drawing)
    submission = result.fields["submission"]
    found = (submission["image_column"], submission["rle_column"], submission["cell"])
    assert found == (column, "predicted", cell)


def test_a_sample_with_places_to_fill(drawing: Drawing) -> None:
    """Severstal's: each row has one number in place of runs, and the first class."""
    rows = ["ImageId,ClassId,EncodedPixels"]
    for number in range(8):
        rows += [f"{number}.png,{k},{encode(part)}" for k, part in drawing.add(f"train/{number}.png", number, 2)]
    drawing.test = {drawing.save(f"test/{number}.png", draw_image(number, merge([]))) for number in (100, 101)}
    drawing.write("train.csv", "\n".join(rows) + "\n")
    drawing.write("sample_submission.csv", "ImageId,EncodedPixels,ClassId\n100.png,1,1\n101.png,1,1\n")
    _, result = import_drawn(drawing)
    wanted = {"class_column": "ClassId", "rle_column": "EncodedPixels", "row": "class"}
    assert result.fields["submission"].items() >= wanted.items()
    assert not result.questions


@pytest.mark.parametrize(
    ("header", "row", "sample", "wanted"),
    [
        ("id,annotation", "{i},{runs}", "id,predicted\nte0,1 1\n", {"rle_column": "predicted"}),  # Sartorius
        (
            "id,class,segmentation",  # UW-Madison
            "{i},organ,{runs}",
            "id,class,predicted\n",
            {"rle_column": "predicted", "class_column": "class"},
        ),
        (
            "id,class,segmentation",
            "{i},organ,{runs}",
            "id,segmentation\nte0,1 1\n",
            {"rle_column": "segmentation", "class_column": None},
        ),
        ("id,rle", "{i}.png,{runs}", "id,rle\nte0.jpg,1 1\n", {"cell": "{id}.jpg"}),
        ("id,rle", "{i}.png,{runs}", "image,predicted\nte0.jpg,1 1\n", {"cell": "{id}.png", "rle_column": "rle"}),
    ],
)
def test_a_sample_of_test_images_that_are_not_here_is_followed(
    drawing: Drawing, header: str, row: str, sample: str, wanted: dict[str, str | None]
) -> None:
    drawing.add_rows("train.csv", header, "train/{i}.png", row)
    drawing.write("sample_submission.csv", sample)
    _, result = import_drawn(drawing)
    assert result.account["sample_submission.csv"] == "sample submission"
    assert result.fields["submission"].items() >= ({"sample": "sample_submission.csv"} | wanted).items()


@pytest.mark.parametrize(("header", "cells"), [("id,class,rle", "nucleus,1 1"), ("id,rle,note,by", "1 1,x,y")])
def test_a_sample_that_is_followed_is_no_question(drawing: Drawing, header: str, cells: str) -> None:
    drawing.add_rows("train.csv", "id,class,rle", "train/{i}.png", "{i},nucleus,{runs}")
    drawing.test = {drawing.save("test/t0.png", draw_image(100, merge([])))}
    drawing.write("sample_submission.csv", f"{header}\nt0,{cells}\n")
    _, result = import_drawn(drawing)
    is_followed = header == "id,class,rle"
    assert result.fields["submission"]["class_column"] == ("class" if is_followed else None)
    assert (
        "one: but for its columns, the form of the training masks is taken" in list_questions(result)
    ) != is_followed
    assert not is_followed or not result.questions


def test_test_images_that_the_sample_names(drawing: Drawing) -> None:
    drawing.add_rows("train.csv", "id,rle", "images/{i}.png", "{i},{runs}")
    for number in range(100, 103):
        drawing.test.add(drawing.save(f"images/{number}.png", draw_image(number, merge(draw_objects(number)))))
    drawing.write("sample_submission.csv", "id,rle\n100,\n101,\n102,\n")
    import_drawn(drawing)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda text: text.replace("p01.jpg,", "p01.jpg,9999999 5 "), r"p01\.jpg|must stay within"),
        (lambda text: text.partition("\n")[2], "begin with the names of its columns"),
    ],
    ids=["beyond the image", "no header"],
)
def test_a_faulty_csv_is_refused(drawing: Drawing, spoil: Callable[[str], str], words: str) -> None:
    draw_csv(drawing)
    path = drawing.root / "train_masks.csv"
    path.write_text(spoil(path.read_text()))
    assert_refused(drawing, words)


def test_a_csv_beside_mask_files_gives_the_submission(drawing: Drawing) -> None:
    draw_csv(drawing, cell="{id}")
    for image, mask in drawing.train.items():
        drawing.save(image.replace("train/", "masks/").replace("jpg", "png"), mask * np.uint8(255))
    result = choose(list_input(drawing.root))
    assert result.source.format == "masks"
    assert result.fields["submission"]["rle_column"] == "rle_mask"


def test_an_edge_is_a_step_of_any_channel() -> None:
    mask = np.zeros((20, 20), np.uint8)
    mask[5:15, 5:15] = 1
    image = np.zeros((20, 20, 3), np.float32)
    image[..., 1], image[..., 0] = 100 * (1 - mask), 100 * mask  # red on green of one brightness
    assert measure_fit(mask, image) > 2
    assert measure_fit(np.roll(mask, 4, axis=(0, 1)), image) < 1


@pytest.mark.parametrize("folders", [("train", "valid"), ("images", "images")])
def test_a_csv_a_split(drawing: Drawing, folders: tuple[str, str]) -> None:
    for part, folder in enumerate(folders):
        drawing.add_rows(f"part{part}.csv", "id,rle", f"{folder}/x{{i}}.png", "x{i},{runs}", 6, first=10 * part)
    source, _ = import_drawn(drawing)
    assert isinstance(source, CsvSource)
    assert source.path == "part0.csv|part1.csv"


def test_a_second_csv_with_images_of_the_first_is_a_question(drawing: Drawing) -> None:
    draw_csv(drawing)
    text = (drawing.root / "train_masks.csv").read_text()
    lines = text.splitlines()
    (drawing.root / "train_masks.csv").write_text("\n".join(lines[:-1]) + "\n")
    (drawing.root / "all_but_one.csv").write_text("\n".join([lines[0], *lines[3:]]) + "\n")
    result = choose(list_input(drawing.root))
    assert "and some of the same: it is left out" in list_questions(result)


def test_zeros_that_a_spreadsheet_dropped(drawing: Drawing) -> None:
    drawing.add_rows("train.csv", "id,rle", "train/00{i}.png", "{n},{runs}")
    drawing.test.add(drawing.save("test/00012.png", draw_image(12, merge(draw_objects(12)))))
    drawing.write("sample_submission.csv", "id,rle\n12,1 1\n")
    _, result = import_drawn(drawing)
    assert {sample.id for sample in result.samples} == {*map(str, range(8)), "12"}


def test_folders_of_another_system_are_no_part_of_ids(drawing: Drawing) -> None:
    draw_csv(drawing, cell="D:\\\\set\\\\train\\\\{id}.jpg")
    _, result = import_drawn(drawing)
    assert "p00" in {sample.id for sample in result.samples}
