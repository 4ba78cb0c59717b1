"""Layouts at random: names, nesting, endings, values and junk; each is read rightly, asked about, or refused."""

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.dataset.importers.drawing import CODINGS, Drawing, draw_image, draw_objects, encode, find_faults, merge
from unets.dataset.importers.listing import list_input
from unets.dataset.importers.search import choose
from unets.errors import InputError

WORDS = ["images", "img", "pics", "data", "x", "A", "photos", "scans", "Original", "JPEGImages"]
MASKS = ["masks", "labels", "gt", "y", "B", "annotations", "segmentation", "GT", "SegmentationClass"]
CLASSES = ["cat", "dog", "fox"]
IDS = ["{i:03}", "{i}", "IMG_{i:04}", "case{i:02}_a", "2011_{i:06}", "{h}", "a b ({i})", "frame-{i}", "P{g}_s{i:02}"]
SEVERAL = ["index", "palette", "color", "spread"]
ONE = ["index", "palette", "white", "three channels", "deep", "inverted", "bilevel"]
FORMS = ["folders", "suffix", "prefix", "nested", "per image", "splits"]


@st.composite
def layouts(draw: st.DrawFn) -> dict[str, object]:
    """Draws how files are called and what they hold."""
    top = draw(st.sampled_from(["", "dataset/", "a/b/"]))
    word, mask_word, id_ = draw(st.sampled_from(WORDS)), draw(st.sampled_from(MASKS)), draw(st.sampled_from(IDS))
    names = {
        "folders": (f"{top}{word}/{id_}", f"{top}{mask_word}/{id_}"),
        "suffix": (f"{top}{id_}", f"{top}{id_}_{mask_word}"),
        "prefix": (f"{top}{word}_{id_}", f"{top}{mask_word}_{id_}"),
        "nested": (f"{top}{word}/part{{g}}/{id_}", f"{top}{mask_word}/part{{g}}/{id_}"),
        "per image": (f"{top}{id_}/{word}", f"{top}{id_}/{mask_word}"),
        "splits": (f"{top}{{s}}/{word}/{id_}", f"{top}{{s}}/{mask_word}/{id_}"),
    }[draw(st.sampled_from(FORMS))]
    kind = draw(st.sampled_from(["a file an image", "a file an image", "a file a class", "a file an object", "csv"]))
    classes = draw(st.integers(2 if kind == "a file a class" else 1, 1 if kind == "a file an object" else 3))
    return {
        "names": names,
        "kind": kind,
        "classes": classes,
        "count": draw(st.integers(2, 9)),
        "coding": draw(st.sampled_from(SEVERAL if classes > 1 and kind == "a file an image" else ONE)),
        "ending": draw(st.sampled_from(["png", "jpg", "bmp", "tif", "PNG", "JPG"])),
        "mask_ending": draw(st.sampled_from(["png", "tif", "PNG"])),
        "order": draw(st.sampled_from(["row", "column"])),
        "separator": draw(st.sampled_from([",", ";", "\t"])),
        "empty": draw(st.sampled_from(["", "-1", "nan", "[]"])),
        "junk": draw(st.booleans()),
        "test": draw(st.booleans()),
        "zip": draw(st.booleans()),
    }


def build(drawing: Drawing, layout: dict[str, object]) -> None:
    """Draws images and masks, or a csv of run lengths."""
    (image_name, mask_name), kind, classes = layout["names"], layout["kind"], int(str(layout["classes"]))  # type: ignore[misc]
    code, separator = CODINGS[str(layout["coding"])], str(layout["separator"])
    rows = [separator.join(["ImageId", "Label", "EncodedPixels"] if classes > 1 else ["ImageId", "EncodedPixels"])]
    for number in range(int(str(layout["count"]))):
        words = {"i": number, "h": f"{(number + 3) * 2654435761 % 2**32:08x}", "g": number % 3}
        words["s"] = "val" if number % 3 == 2 else "train"
        image = f"{image_name.format(**words)}.{layout['ending']}"
        objects = drawing.add(image, number, classes, count=2 if kind == "a file an object" else 1)
        stem, ending = mask_name.format(**words), layout["mask_ending"]
        if kind == "a file an image":
            drawing.save(f"{stem}.{ending}", code(merge(objects)))
        elif kind == "a file a class":
            for index, part in objects:
                drawing.save(f"{stem}_{CLASSES[index - 1]}.{ending}", code(part.astype(np.uint8)))
        elif kind == "a file an object":
            for place, (_, part) in enumerate(objects[: 1 + number % 2]):
                drawing.save(f"{stem}_{place}.{ending}", code(part.astype(np.uint8)))
            drawing.train[image] = merge(objects[: 1 + number % 2])
        else:
            for index, part in objects:
                runs = encode(part, str(layout["order"])) if (number + index) % 4 else str(layout["empty"])
                drawing.train[image][part] = index if (number + index) % 4 else 0
                label = [CLASSES[index - 1]] if classes > 1 else []
                rows.append(separator.join([image.rpartition("/")[2], *label, runs]))
    if kind == "csv":
        drawing.write("train.csv", "\n".join(rows) + "\n")
    if layout["test"]:
        for number in range(2):
            pixels = draw_image(50 + number, merge(draw_objects(50 + number)))
            drawing.test.add(drawing.save(f"test/t{number}.{layout['ending']}", pixels))
    if layout["junk"]:
        drawing.write(".DS_Store", "x")
        drawing.write("notes.txt", "bring milk")
        drawing.write("__MACOSX/._a.png", "x")
    if layout["zip"]:
        drawing.pack("all.zip")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(layout=layouts())
def test_right_or_asked_or_refused(layout: dict[str, object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        drawing = Drawing(Path(folder))
        build(drawing, layout)
        try:
            result = choose(list_input(drawing.root))
        except InputError as error:
            assert "Received" in str(error)
            return
        faults = find_faults(drawing, result)
        may_ask = layout["coding"] == "inverted" or layout["kind"] != "a file an image"
        assert not faults or (may_ask and result.questions), f"wrong in silence: {faults}"
