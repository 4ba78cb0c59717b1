"""Layouts at random: names, nesting, endings, values and junk; each is read rightly, asked about, or refused."""

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.dataset.importers.drawing import Drawing, draw_image, draw_objects, find_faults, merge
from unets.dataset.importers.listing import list_input
from unets.dataset.importers.search import choose
from unets.errors import InputError

WORDS = ["images", "img", "pics", "data", "x", "A", "photos", "scans"]
MASKS = ["masks", "labels", "gt", "y", "B", "annotations", "segmentation"]
IDS = ["{i:03}", "{i}", "IMG_{i:04}", "case{i:02}_a", "2011_{i:06}", "{h}", "a b ({i})"]
CODINGS = {
    "index": lambda mask: mask,
    "white": lambda mask: mask * np.uint8(255),
    "deep": lambda mask: mask.astype(np.uint16) * np.uint16(65535),
    "color": lambda mask: np.array([(0, 0, 0), (0, 0, 255), (0, 255, 0), (255, 0, 0)], np.uint8)[mask],
    "inverted": lambda mask: np.uint8(255) - mask * np.uint8(255),
    "bilevel": lambda mask: Image.fromarray(mask > 0),
}


@st.composite
def layouts(draw: st.DrawFn) -> dict[str, object]:
    """Draws how files are called and what they hold."""
    top = draw(st.sampled_from(["", "dataset/", "a/b/"]))
    form = draw(st.sampled_from(["folders", "suffix", "prefix", "nested", "per image"]))
    word, mask_word, id_ = draw(st.sampled_from(WORDS)), draw(st.sampled_from(MASKS)), draw(st.sampled_from(IDS))
    names = {
        "folders": (f"{top}{word}/{id_}", f"{top}{mask_word}/{id_}"),
        "suffix": (f"{top}{id_}", f"{top}{id_}_{mask_word}"),
        "prefix": (f"{top}{word}_{id_}", f"{top}{mask_word}_{id_}"),
        "nested": (f"{top}{word}/part{{g}}/{id_}", f"{top}{mask_word}/part{{g}}/{id_}"),
        "per image": (f"{top}{id_}/{word}", f"{top}{id_}/{mask_word}"),
    }[form]
    classes = draw(st.integers(1, 3))
    kinds = ["index", "color"] if classes > 1 else ["white", "deep", "inverted", "bilevel", "index"]
    return {
        "names": names,
        "classes": classes,
        "count": draw(st.integers(2, 9)),
        "coding": draw(st.sampled_from(kinds)),
        "ending": draw(st.sampled_from(["png", "jpg", "bmp", "tif", "PNG"])),
        "mask_ending": draw(st.sampled_from(["png", "tif"])),
        "junk": draw(st.booleans()),
        "test": draw(st.booleans()),
        "zip": draw(st.booleans()),
    }


def build(drawing: Drawing, layout: dict[str, object]) -> None:
    image_name, mask_name = layout["names"]  # type: ignore[misc]
    for number in range(layout["count"]):  # type: ignore[call-overload]
        words = {"i": number, "h": f"{(number + 3) * 2654435761 % 2**32:08x}", "g": number % 3}
        image = f"{image_name.format(**words)}.{layout['ending']}"
        mask = merge(drawing.add(image, number, layout["classes"]))  # type: ignore[arg-type]
        coded = CODINGS[str(layout["coding"])](mask)
        drawing.save(f"{mask_name.format(**words)}.{layout['mask_ending']}", coded)
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


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(layout=layouts())
def test_right_or_asked_or_refused(layout: dict[str, object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        drawing = Drawing(Path(folder))
        build(drawing, layout)
        try:
            _, result = choose(list_input(drawing.root))
        except InputError as error:
            assert "Received" in str(error)
            return
        faults = find_faults(drawing, result)
        assert not faults or (layout["coding"] == "inverted" and result.questions), f"wrong in silence: {faults}"
