"""Mask files: layouts of folders and names, and what the values of masks mean."""

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.dataset.importers.drawing import (
    CODINGS,
    COLORS,
    SIZE,
    Array,
    Drawing,
    draw_image,
    draw_objects,
    fill,
    import_drawn,
    merge,
)
from unets.config import Coding, MasksSource
from unets.dataset.importers.draws import DrawFiles, merge_layers
from unets.dataset.importers.listing import list_input
from unets.dataset.importers.search import choose, read
from unets.errors import InputError

WHITE = 255
RED_GREEN = np.array([(0, 0, 0), (250, 10, 10), (10, 250, 10)], dtype=np.uint8)


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
    "numbers in both": ("training/images/{i}_training.png", "training/1st_manual/{i}_manual1.gif"),
}


@pytest.mark.parametrize("names", PAIRS.values(), ids=PAIRS.keys())
def test_pairs_by_names(tmp_path: Path, names: tuple[str, str]) -> None:
    drawing = Drawing(tmp_path)
    fill(drawing, *names)
    _, result = import_drawn(drawing)
    assert result.classes == ("object",)


def test_free_names(tmp_path: Path) -> None:
    drawing = Drawing(tmp_path)
    words = ["oak", "elm", "a red car", "Berlin (old)", "x-ray 3", "sea", "two dogs", "hill", "IMG", "fog", "y"]
    for number, word in enumerate(words):
        objects = drawing.add(f"photos/{word}.jpg", number, quality=95)
        drawing.save(f"cutouts/{word}.png", merge(objects) * np.uint8(WHITE))
    import_drawn(drawing)


def test_masks_of_test_images_are_named(tmp_path: Path) -> None:
    drawing = Drawing(tmp_path)
    fill(drawing, "training/image/{i}.png", "training/label/{i}.png")
    train = dict(drawing.train)
    fill(drawing, "testing/image/t{i}.png", "testing/label/t{i}.png", count=3)
    drawing.test, drawing.train = set(drawing.train) - set(train), train
    _, result = import_drawn(drawing)
    assert result.account["testing/label/t000.png"] == "left out: the mask of a test image"


@pytest.mark.parametrize("pattern", ["masks/{c}/{i}.png", "{c}_masks/{i}.png", "masks/{i}_{c}.png", "{c}/{i}.png"])
def test_a_mask_file_a_class(tmp_path: Path, pattern: str) -> None:
    drawing = Drawing(tmp_path)
    for number in range(8):
        for index, part in drawing.add(f"images/{number:03}.png", number, 3):
            name = pattern.format(c=("bone", "fat", "skin")[index - 1], i=f"{number:03}")
            drawing.save(name, part.astype(np.uint8) * np.uint8(WHITE))
    _, result = import_drawn(drawing)
    assert result.classes == ("bone", "fat", "skin")
    assert not result.overlapping
    assert result.questions


def test_a_class_without_a_file_is_absent(tmp_path: Path) -> None:
    drawing = Drawing(tmp_path)
    for number in range(9):
        objects = drawing.add(f"images/{number:03}.png", number, 2)
        for index, part in objects:
            if (number + index) % 3:
                drawing.save(f"masks/{'ab'[index - 1]}x/{number:03}.png", part.astype(np.uint8) * np.uint8(WHITE))
            else:
                drawing.train[f"images/{number:03}.png"][part] = 0
    _, result = import_drawn(drawing)
    assert result.classes == ("ax", "bx")


def test_classes_that_overlap_have_a_mask_each(tmp_path: Path) -> None:
    drawing = Drawing(tmp_path)
    for number in range(6):
        ((_, disc),) = drawing.add(f"images/{number}.png", number)
        cup = disc & np.roll(disc, 6, axis=1) & np.roll(disc, -6, axis=1)
        drawing.train[f"images/{number}.png"] = disc * np.uint8(2)
        drawing.save(f"cup/{number}.png", cup.astype(np.uint8) * np.uint8(WHITE))
        drawing.save(f"disc/{number}.png", disc.astype(np.uint8) * np.uint8(WHITE))
    _, result = import_drawn(drawing)
    assert result.classes == ("cup", "disc")
    assert result.overlapping


@pytest.mark.parametrize("pattern", ["masks/{i}_{k}.png", "{i}/masks/{h}.png", "objects/{i}/{k}.png"])
def test_a_mask_file_an_object(tmp_path: Path, pattern: str) -> None:
    drawing = Drawing(tmp_path)
    for number in range(8):
        image = f"{number:03}/images/{number:03}.png" if pattern.startswith("{i}") else f"images/{number:03}.png"
        objects = drawing.add(image, number, count=1 + number % 4)
        for place, (_, part) in enumerate(objects):
            words = {"i": f"{number:03}", "k": place, "h": f"{number * 7919 + place * 104729:x}"}
            drawing.save(pattern.format(**words), part.astype(np.uint8) * np.uint8(WHITE))
    import_drawn(drawing)


def test_files_of_numbers_are_objects_though_each_image_has_as_many(tmp_path: Path) -> None:
    drawing = Drawing(tmp_path)
    for number in range(8):
        objects = drawing.add(f"{number:03}/image.png", number, count=3)
        for place, (_, part) in enumerate(objects):
            drawing.save(f"{number:03}/masks/{place}.png", part.astype(np.uint8) * np.uint8(WHITE))
    _, result = import_drawn(drawing)
    assert [question.choices for question in result.questions if question.field == "source.files"] == [('"class"',)]


def test_channels_in_files_of_their_own_are_refused_by_name(tmp_path: Path) -> None:
    drawing = Drawing(tmp_path)
    drawing.write("dataset.json", '{"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, "tumor": 1}}')
    for number in range(4):
        mask = merge(draw_objects(number))
        drawing.save(f"labelsTr/case_{number:03}.png", mask)
        for channel in range(2):
            drawing.save(f"imagesTr/case_{number:03}_{channel:04}.png", draw_image(number, mask)[..., channel])
    with pytest.raises(InputError, match=r"an image must be one file\. Received: .*case_000_0001\.png.*np\.save"):
        choose(list_input(drawing.root))


def test_a_pixel_of_two_classes_is_never_lost_in_silence(tmp_path: Path) -> None:
    for name in "ab":
        Image.fromarray(np.ones((4, 5), np.uint8)).save(tmp_path / f"{name}.png")
    draw = DrawFiles(tmp_path, (("a.png",), ("b.png",)), Coding(values=(1,)))
    with pytest.raises(InputError, match=r"x\.png: a pixel must be of one class at most.*Received: 20 pixels"):
        merge_layers(draw(), "x.png")


def test_a_second_mask_of_some_images(tmp_path: Path) -> None:
    drawing = Drawing(tmp_path)
    for kind in ("benign", "malignant"):
        for number in range(8):
            image = f"{kind}/{kind} ({number}).png"
            objects = drawing.add(image, number, count=2 if number % 4 == 0 else 1)
            drawing.save(f"{kind}/{kind} ({number})_mask.png", objects[0][1].astype(np.uint8) * np.uint8(WHITE))
            for place, (_, part) in enumerate(objects[1:], start=1):
                drawing.save(f"{kind}/{kind} ({number})_mask_{place}.png", part.astype(np.uint8) * np.uint8(WHITE))
    import_drawn(drawing)


def test_objects_and_colors_beside_classes_are_left_out_by_name(tmp_path: Path) -> None:
    drawing = Drawing(tmp_path)
    for number in range(8):
        objects = drawing.add(f"rgb/{number:03}.png", number, 2, count=2)
        numbers = sum(part * np.uint8(place) for place, (_, part) in enumerate(objects, start=1))
        colors = np.array([(0, 0, 0), (200, 10, 10), (10, 200, 10)], dtype=np.uint8)
        drawing.save(f"semantic/{number:03}.png", merge(objects))
        drawing.save(f"instance/{number:03}.png", np.asarray(numbers, dtype=np.uint8))
        drawing.save(f"color/{number:03}.png", colors[merge(objects)])
    _, result = import_drawn(drawing)
    assert "objects" in result.account["instance/000.png"]
    assert "other values" in result.account["color/000.png"]


def test_the_field_of_view_is_no_class(tmp_path: Path) -> None:
    drawing = Drawing(tmp_path)
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
    assert any("field of view" in question.text for question in result.questions)


@pytest.mark.parametrize("coding", [name for name in CODINGS if name not in ("color", "red", "spread")])
def test_codings_of_one_class(tmp_path: Path, coding: str) -> None:
    drawing = Drawing(tmp_path)
    fill(drawing, "images/{n}.png", "masks/{n}.png", code=CODINGS[coding])
    _, result = import_drawn(drawing)
    assert bool(result.questions) == (coding == "inverted")


@pytest.mark.parametrize("ending", ["npy", "webp", "gif"])
def test_endings(tmp_path: Path, ending: str) -> None:
    drawing = Drawing(tmp_path)
    fill(drawing, "images/{n}.png", f"masks/{{n}}.{ending}", **({"lossless": True} if ending == "webp" else {}))
    import_drawn(drawing)


@pytest.mark.parametrize("values", [(50, 100, 150), (1000, 2000, 3000)])
def test_values_of_several_classes(tmp_path: Path, values: tuple[int, ...]) -> None:
    drawing = Drawing(tmp_path)
    table = np.array([0, *values], dtype=np.uint16 if max(values) > 255 else np.uint8)
    fill(drawing, "images/{n}.png", "masks/{n}.png", num_classes=3, code=lambda mask: table[mask])
    _, result = import_drawn(drawing)
    assert result.classes == ("class_1", "class_2", "class_3")
    assert any(question.field == "classes" for question in result.questions)


NAMED = list(zip(("background", "cat", "dog", "fox"), COLORS.tolist(), strict=True))
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


@pytest.mark.parametrize("name", LISTS)
def test_lists_of_classes(tmp_path: Path, name: str) -> None:
    drawing, (text, coding) = Drawing(tmp_path), LISTS[name]
    drawing.write(name, text)
    fill(drawing, "images/{n}.png", "masks/{n}.png", num_classes=3, code=CODINGS[coding])
    if name == "class_dict.csv":
        drawing.train = {image: np.where(mask == 0, 255, mask) for image, mask in drawing.train.items()}
    _, result = import_drawn(drawing)
    assert result.classes == ("cat", "dog", "fox")
    assert result.account[name] == "annotation"
    assert any("place of its row" in question.text for question in result.questions) == (name == "rs19-config.json")


def test_blurred_colors_count_as_the_nearest_of_the_list(tmp_path: Path) -> None:
    drawing = Drawing(tmp_path)
    drawing.write("class_dict.csv", "name,r,g,b\nbackground,0,0,0\ncat,250,10,10\ndog,10,250,10\n")
    options = {"num_classes": 2, "code": lambda mask: RED_GREEN[mask], "quality": 95, "subsampling": 0}
    fill(drawing, "images/{n}.png", "masks/{n}.jpg", **options)
    _, result = import_drawn(drawing, tolerance=0.03)
    assert any("nearest" in question.text for question in result.questions)


def test_several_classes_as_jpeg_without_a_list_are_refused(tmp_path: Path) -> None:
    drawing = Drawing(tmp_path)
    fill(drawing, "images/{n}.png", "masks/{n}.jpg", num_classes=2, code=lambda mask: RED_GREEN[mask], quality=60)
    with pytest.raises(InputError, match="JPEG blurs"):
        import_drawn(drawing)


@pytest.mark.parametrize("num_slips", [0, 2])
def test_palettes_that_differ_are_looked_up(tmp_path: Path, num_slips: int) -> None:
    drawing = Drawing(tmp_path)
    wanted = {}
    for number in range(24):
        mask = np.zeros((SIZE[0], SIZE[1]), np.uint8)
        if number % 2:
            mask[10 : 40 + number, 5:60] = 1
        picture = Image.fromarray(mask)
        picture.putpalette([0, 0, 0, 255, 255, 255])
        if number == 3 and num_slips:  # a palette of its own: its white is 2
            mask[0, :num_slips] = 1
            values = np.where(mask == 1, np.uint8(2), np.uint8(0))
            values[0, :num_slips] = 1
            picture = Image.fromarray(values)
            picture.putpalette([0, 0, 0, 85, 85, 85, 255, 255, 255])
            mask[0, :num_slips] = 0
        if number % 2 == 0:  # empty, without a palette
            picture = Image.fromarray(mask)
        drawing.save(f"img/{number}.jpg", draw_image(number, mask))
        drawing.save(f"gt/{number}.png", picture)
        wanted[str(number)] = mask
    result = choose(list_input(tmp_path))
    assert result.classes == ("object",)
    for sample in result.train.values():
        (drawn,) = result.read_layers(sample)
        np.testing.assert_array_equal(drawn, wanted[sample.id])
    assert any("a slip" in question.text for question in result.questions) == bool(num_slips)


def test_numbers_of_objects_are_one_class(tmp_path: Path) -> None:
    drawing = Drawing(tmp_path)
    for number in range(6):
        objects = drawing.add(f"images/{number}.png", number, count=22 + number)
        numbers = np.zeros(SIZE, dtype=np.uint16)
        for place, (_, part) in enumerate(objects, start=1):
            numbers[part] = place
        drawing.save(f"masks/{number}.png", numbers)
    _, result = import_drawn(drawing)
    assert any("numbers of objects" in question.text for question in result.questions)


def test_ignored_pixels_are_a_question(tmp_path: Path) -> None:
    drawing = Drawing(tmp_path)
    for number in range(6):
        mask = merge(drawing.add(f"images/{number}.png", number))
        mask[:3] = WHITE
        drawing.train[f"images/{number}.png"] = mask
        drawing.save(f"masks/{number}.png", mask)
    _, result = import_drawn(drawing)
    assert any(question.field == "source.ignored" for question in result.questions)


def test_images_of_a_list_called_test_are_test_images(tmp_path: Path) -> None:
    drawing = Drawing(tmp_path)
    fill(drawing, "JPEGImages/2007_{i}.png", "SegmentationClass/2007_{i}.png")
    for name in ("2007_100", "2007_101"):
        drawing.save(f"JPEGImages/{name}.png", draw_image(9, np.zeros(SIZE, np.uint8)))
    drawing.test = {"JPEGImages/2007_100.png"}
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "test.txt").write_text("2007_100\n2007_000\n")  # the latter has a mask: it is no test image
    _, result = import_drawn(drawing)
    assert result.account["ImageSets/Segmentation/test.txt"] == "list of test images"
    assert result.account["JPEGImages/2007_101.png"] == "left out: an image without a mask"


@pytest.mark.parametrize("number", [1, 3, 6])
def test_exif(tmp_path: Path, number: int) -> None:
    from unets.data.pixels import turn

    drawing = Drawing(tmp_path)
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


def test_stacks_of_pages(tmp_path: Path) -> None:
    drawing = Drawing(tmp_path)
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


def test_bands(tmp_path: Path) -> None:
    import tifffile

    drawing = Drawing(tmp_path)
    (tmp_path / "images").mkdir()
    for number in range(6):
        mask = merge(draw_objects(number))
        drawing.train[f"images/{number}.tif"] = mask
        bands = np.concatenate([draw_image(number, mask), draw_image(number + 9, mask)], axis=-1).astype(np.uint16) * 13
        tifffile.imwrite(tmp_path / f"images/{number}.tif", bands, photometric="minisblack", planarconfig="contig")
        drawing.save(f"masks/{number}.png", mask * np.uint8(WHITE))
    _, result = import_drawn(drawing)
    assert result.fields["channels"] == 6
    assert result.fields["value_range"][1] > 255


def test_masks_a_few_pixels_off_are_stretched_and_asked(tmp_path: Path) -> None:
    drawing = Drawing(tmp_path)
    for number in range(6):
        mask = merge(drawing.add(f"images/{number}.png", number))
        picture = Image.fromarray(mask * np.uint8(WHITE))
        drawing.save(f"masks/{number}.png", picture.resize((73, 48), 0) if number == 2 else picture)
    _, result = import_drawn(drawing, tolerance=0.03)
    assert any("stretched" in question.text for question in result.questions)


@pytest.mark.parametrize("size_hw", [(24, 36), (96, 144), (19, 29)])
def test_masks_of_the_same_proportions_are_stretched_if_the_user_agrees(
    tmp_path: Path, size_hw: tuple[int, int]
) -> None:
    drawing = Drawing(tmp_path)
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
        read(list_input(tmp_path), source.model_copy(update={"stretch_masks": False}))
    drawing.save("masks/0.png", picture.resize((40, 40), 0))
    with pytest.raises(InputError, match=r"Received: 1 of 6 that have not: images/0\.png"):
        read(list_input(tmp_path), source)


def test_the_options_are_followed(tmp_path: Path) -> None:
    drawing = Drawing(tmp_path)
    fill(drawing, "images/{i}.png", "masks/{i}.png", num_classes=2)
    drawing.save("images/100.png", draw_image(9, np.zeros(SIZE, np.uint8)))
    source = MasksSource(
        values=(2,), background=(0, 1), leave_out=("*/003.png",), missing="empty", group=r"(?P<group>\d)\d+"
    )
    result = read(list_input(tmp_path), source)
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
    tmp_path: Path, ending: str, full_share: int, code: Callable[[Array], Array]
) -> None:
    drawing = Drawing(tmp_path)
    shares = {i: merge(drawing.add(f"images/{i}.png", i)) * np.linspace(0, 1, SIZE[1]).round(2) for i in range(4)}
    shares = {number: np.floor(one * 4) / 4 for number, one in shares.items()}
    for number, one in shares.items():
        drawing.save(f"masks/{number}.{ending}", code(one))
    result = read(list_input(tmp_path), MasksSource(full_share=full_share))
    for sample in result.samples:
        (drawn,) = result.read_layers(sample)
        np.testing.assert_allclose(drawn, shares[int(sample.id)] * 255, atol=0.51)
    if full_share > 1:
        few = read(list_input(tmp_path), MasksSource(full_share=full_share // 2))
        with pytest.raises(
            InputError, match=rf"must hold shares of 0 to {full_share // 2}, as `source.full_share` says"
        ):
            few.samples[0].draw()


def test_shares_are_stretched_by_their_mean(tmp_path: Path) -> None:
    drawing = Drawing(tmp_path)
    for number in range(2):
        drawing.add(f"images/{number}.png", number)
        large = np.tile(np.array([[0, 100], [50, 50]], dtype=np.uint8), SIZE)
        drawing.save(f"masks/{number}.png", large)
    result = read(list_input(tmp_path), MasksSource(full_share=255, stretch_masks=True))
    assert [np.unique(sample.draw()).tolist() for sample in result.samples] == [[50], [50]]


def test_of_several_files_of_a_mask_an_object_beats_an_ignored_pixel(tmp_path: Path) -> None:
    drawing = Drawing(tmp_path)
    for name, values in {"1.png": [255, 0, 7, 0], "2.png": [7, 255, 0, 0], "3.png": [0, 7, 0, 7]}.items():
        drawing.save(name, np.array([values], dtype=np.uint8))
    read_files = DrawFiles(tmp_path, (("1.png", "2.png", "3.png"),), Coding(values=(255,), ignored=(7,)))
    assert read_files()[0].tolist() == [[1, 1, 255, 255]]


def test_the_mean_of_annotators_is_a_share(tmp_path: Path) -> None:
    drawing = Drawing(tmp_path)
    for number in range(5):
        mask = merge(drawing.add(f"images/{number}.png", number))
        for name, shift in (("anna", 0), ("bert", 1), ("cleo", 1))[: 2 + number % 2]:
            drawing.save(f"{name}/{number}.png", np.roll(mask, shift, axis=1) * np.uint8(WHITE))
    asked = choose(list_input(tmp_path)).questions
    assert any("files='annotator' makes their mean the target" in question.text for question in asked)
    result = read(list_input(tmp_path), MasksSource(masks=("anna/*", "bert/*", "cleo/*"), files="annotator"))
    assert result.classes == ("object",)
    for number, sample in enumerate(result.samples):
        mask = drawing.train[f"images/{number}.png"].astype(int)
        others = 1 + number % 2
        wanted = 255 * (mask + others * np.roll(mask, 1, axis=1)) / (1 + others)
        np.testing.assert_allclose(sample.draw()[0], wanted, atol=0.51)


def test_photographs_before_a_plain_wall_are_no_masks(tmp_path: Path) -> None:
    drawing = Drawing(tmp_path)
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


def test_masks_in_which_every_pixel_is_of_a_class_fit_their_images(tmp_path: Path) -> None:
    drawing = Drawing(tmp_path)
    for place in range(6):
        mask = merge(draw_objects(place, 2)) + np.uint8(1)
        drawing.train[f"images/{place}.png"] = mask
        drawing.save(f"images/{place}.png", draw_image(place, mask))
        drawing.save(f"masks/{place}.png", mask)
    _, result = import_drawn(drawing)
    assert not any("edges" in question.text for question in result.questions)


@pytest.mark.parametrize("signs", ["#", "[2]", "*", "größe_"])
def test_signs_and_accents_in_names(tmp_path: Path, signs: str) -> None:
    """Masks come from a Mac, which writes an accent as a letter of its own."""
    drawing = Drawing(tmp_path)
    image, mask = (unicodedata.normalize(form, signs) for form in ("NFC", "NFD"))
    fill(drawing, f"images/{image}{{n}}.jpg", f"masks/{mask}{{n}}.png")
    import_drawn(drawing)


def test_numbers_of_files_that_are_numbers_of_images_too(tmp_path: Path) -> None:
    """Image 1 has masks 1 and 2, as image 2 has: are these objects, or classes?"""
    drawing = Drawing(tmp_path)
    for number in range(1, 9):
        objects = drawing.add(f"images/{number}.png", number, 2)
        drawing.train[f"images/{number}.png"][:] = merge(objects) > 0
        for index, part in objects:
            drawing.save(f"masks/{number}/{index}.png", part.astype(np.uint8) * 255)
    _, result = import_drawn(drawing)
    assert any("taken for a file an object" in question.text for question in result.questions)


def test_numbers_that_run_on_over_all_files_are_of_objects(tmp_path: Path) -> None:
    drawing = Drawing(tmp_path)
    for number in range(10):
        objects = drawing.add(f"images/{number}.png", number, count=3)
        labels = np.zeros(SIZE, np.uint16)
        for place, (_, part) in enumerate(objects):
            labels[part] = 1000 + 3 * number + place
        drawing.save(f"labels/{number}.tif", Image.fromarray(labels))
    _, result = import_drawn(drawing)
    assert any("numbers of objects" in question.text for question in result.questions)


def test_a_list_of_classes_without_background_counts_from_one(tmp_path: Path) -> None:
    drawing = Drawing(tmp_path)
    fill(drawing, "images/{i}.png", "masks/{i}.png", num_classes=2)
    drawing.write("labels.txt", "cat\ndog\n")
    _, result = import_drawn(drawing)
    assert result.classes == ("cat", "dog")
    assert any("taken to name 1 to 2" in question.text for question in result.questions)


def test_a_list_names_the_only_class(tmp_path: Path) -> None:
    drawing = Drawing(tmp_path)
    fill(drawing, "images/{i}.png", "masks/{i}.png")
    drawing.write("classes.yaml", "classes: [background, cat]\n")
    _, result = import_drawn(drawing)
    assert result.classes == ("cat",)


@pytest.mark.parametrize("kind", ["one is an image", "all are cut out", "negative"])
def test_masks_that_are_none_are_refused(tmp_path: Path, kind: str) -> None:
    drawing = Drawing(tmp_path)
    ending = "npy" if kind == "negative" else "png"
    fill(
        drawing,
        "images/{i}.png",
        f"masks/{{i}}.{ending}",
        code=lambda mask: mask if ending == "png" else -mask.astype(np.int16),
    )
    for number in range(8 if kind != "negative" else 0):
        mask = merge(draw_objects(number))
        image = draw_image(number, mask) + np.random.default_rng(number).integers(0, 60, (*SIZE, 3), dtype=np.uint8)
        shown = image if number == 3 else np.repeat(mask[..., None] * np.uint8(255), 3, axis=-1)
        drawing.save(f"masks/{number:03}.png", image * mask[..., None] if kind == "all are cut out" else shown)
    words = {"one is an image": "1 that hold hundreds.*003.png", "all are cut out": "a color a class", "negative": "-1"}
    with pytest.raises(InputError, match=words[kind]):
        choose(list_input(tmp_path))


def test_masks_that_label_studio_calls_by_task_are_refused(tmp_path: Path) -> None:
    drawing = Drawing(tmp_path)
    fill(drawing, "images/{n}.png", "masks/task-{n}-annotation-7{n}-by-1-tag-cat-0.png")
    with pytest.raises(InputError, match="Label Studio calls by its task"):
        choose(list_input(tmp_path))


def test_white_around_colors_of_a_list_is_background(tmp_path: Path) -> None:
    drawing = Drawing(tmp_path)
    white = np.array([(255, 255, 255), *RED_GREEN[1:]], dtype=np.uint8)
    fill(drawing, "images/{i}.png", "masks/{i}.png", num_classes=2, code=lambda mask: white[mask])
    drawing.write("class_dict.csv", "name,r,g,b\ncat,250,10,10\ndog,10,250,10\n")
    _, result = import_drawn(drawing)
    assert result.classes == ("cat", "dog")


@pytest.mark.parametrize("pattern", ["{kind}/images/{i}.jpg", "{kind}_{i}.jpg"])
@pytest.mark.parametrize("mixed", [False, True])
def test_kinds_of_images_are_no_groups(tmp_path: Path, pattern: str, mixed: bool) -> None:
    drawing = Drawing(tmp_path)
    for number in range(36):
        kind = ("crack", "dent", "good", "hole", "spot", "stain")[number // 6]
        is_empty = number % 3 == 0 if mixed else kind == "good"
        mask = np.zeros(SIZE, np.uint8) if is_empty else merge(draw_objects(number))
        path = pattern.format(kind=kind, i=f"{number:03}")
        drawing.train[path] = mask
        drawing.save(path, draw_image(number, mask))
        drawing.save(path.replace(".jpg", ".png"), mask * np.uint8(WHITE))
    _, result = import_drawn(drawing)
    groups = {sample.group for sample in result.samples}
    asked = [question.text for question in result.questions if question.field == "source.group"]
    if mixed:  # as places or patients are
        assert groups == {"crack", "dent", "good", "hole", "spot", "stain"} and "groups are" in asked[0]
    else:
        assert groups == {""} and "tell kinds of images, one without objects" in asked[0]
