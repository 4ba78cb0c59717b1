"""Masks as polygons and run lengths, and back through the importers."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tests.export.bright import save
from unets.dataset.importers.polygons import draw_polygon
from unets.errors import InputError
from unets.export.labels import FORMATS, trace, write_annotated, write_labels
from unets.export.outputs import Note, Task, read_note, save_picture
from unets.export.pictures import render_masks

MaskHW = npt.NDArray[np.bool_]


def draw_blobs(seed: int, size_hw: tuple[int, int] = (90, 120)) -> MaskHW:
    """Discs, rings, a line, a pixel, and what reaches the border."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: size_hw[0], : size_hw[1]]
    mask_hw = np.zeros(size_hw, dtype=np.bool_)
    for _ in range(6):
        distance = np.hypot(rows - rng.uniform(0, size_hw[0]), columns - rng.uniform(0, size_hw[1]))
        radius = rng.uniform(6, 25)
        mask_hw ^= (distance < radius) & (distance > radius * rng.choice([0, 0.5]))
    mask_hw[3, 3], mask_hw[80, 20:60] = True, True
    return mask_hw


def redraw(mask_hw: MaskHW) -> MaskHW:
    drawn = np.zeros_like(mask_hw)
    for traced in trace(mask_hw):
        for points in traced.polygons:
            drawn |= draw_polygon(points, mask_hw.shape)
    return drawn


@pytest.mark.parametrize("seed", range(5))
def test_polygons_are_the_mask(seed: int) -> None:
    mask_hw = draw_blobs(seed) if seed else np.random.default_rng(0).random((60, 60)) < 0.7  # noise
    np.testing.assert_array_equal(redraw(mask_hw), mask_hw)
    assert sum(traced.area for traced in trace(mask_hw)) == np.count_nonzero(mask_hw)


def plant(folder: Path, classes: int = 2, confidences: Sequence[float] = (0.9, 0.3, 0.8, 0.7)) -> dict[Task, Note]:
    """Images with masks of blobs."""
    masked = {}
    for number, confidence in enumerate(confidences):
        path = save(folder / "images" / f"i{number}.jpg", np.full((90, 120, 3), 40 * number, dtype=np.uint8))
        mask_hw = draw_blobs(number).astype(np.uint8)
        mask_hw[draw_blobs(number + 50) & (mask_hw == 0)] = 2 if classes == 2 else 0
        mask_path = save(folder / "masks" / f"{number}.png", mask_hw)
        note = Note(made_by="", image_sha256="", size_hw=mask_hw.shape, area=0.5, confidence=confidence)
        task = Task(image_path=path, place=Path(f"i{number}"), pictures=(), masks=(mask_path,))
        masked[task] = note
    return masked


@pytest.mark.parametrize("format_", ["coco", "labelme", "yolo", "rle"])
@pytest.mark.parametrize("classes", [("car",), ("car", "road sign")])
def test_unets_new_reads_what_is_written(
    format_: str, classes: tuple[str, ...], tmp_path: Path, read_import: Callable[[Path], dict[str, list[MaskHW]]]
) -> None:
    images = plant(tmp_path, len(classes))
    write_labels(FORMATS[format_](images, classes, tmp_path / "images"), tmp_path / "images", overwrite=False)
    found = read_import(tmp_path / "images")
    for image in images:
        np.testing.assert_array_equal(np.stack(found[image.place.name]), np.stack(image.read_layers(len(classes))))


def test_images_of_one_name_in_two_folders_stay_apart(tmp_path: Path) -> None:
    images = plant(tmp_path, confidences=(0.9, 0.3)).items()
    named = {
        replace(task, place=Path(folder) / "a", image_path=Path(folder) / "a.jpg"): note
        for folder, (task, note) in zip("xy", images, strict=True)
    }
    for format_ in ("rle", "coco"):
        ((_, text),) = FORMATS[format_](named, ("a", "b"), tmp_path)
        assert "x/a.jpg" in text and "y/a.jpg" in text


def test_corrections_are_not_replaced(tmp_path: Path) -> None:
    images = plant(tmp_path)
    files = list(FORMATS["labelme"](images, ("a", "b"), tmp_path))
    paths = write_labels(files, tmp_path, overwrite=False)
    write_labels(files, tmp_path, overwrite=False)
    paths[1].write_text("{}")
    with pytest.raises(InputError, match=r"i1\.json must not exist, .*perhaps corrected by hand"):
        write_labels(files, tmp_path, overwrite=False)
    write_labels(files, tmp_path, overwrite=True)
    assert paths[1].read_text() == files[1][1]


@pytest.mark.parametrize("format_", ["coco", "labelme"])
def test_the_hardest_are_annotated_first_and_come_back(
    format_: str, tmp_path: Path, read_import: Callable[[Path], dict[str, list[MaskHW]]]
) -> None:
    images, out = plant(tmp_path), tmp_path / "labels"
    write_annotated(images, ("car", "sign"), format_, out)
    assert sorted(path.name for path in out.glob("*.jpg")) == ["1_i1.jpg", "2_i3.jpg", "3_i2.jpg", "4_i0.jpg"]
    if format_ == "coco":
        assert json.loads((out / "coco.json").read_text())["images"][0]["file_name"] == "1_i1.jpg"
    else:
        assert json.loads((out / "1_i1.json").read_text())["imagePath"] == "1_i1.jpg"
    assert len(read_import(out)) == 4
    with pytest.raises(InputError, match="`--out` must be a folder that is empty or not there"):
        write_annotated(images, ("car", "sign"), format_, out)


def test_masks_hold_classes_and_a_note(tmp_path: Path) -> None:
    note = Note(made_by="0123456789abcdef", image_sha256="ab" * 32, size_hw=(2, 3), area=0.5, confidence=0.75)
    mask_hw = np.array([[0, 1, 2], [2, 0, 3]], dtype=np.uint8)
    (picture,) = render_masks(mask_hw, 3)
    save_picture(tmp_path / "x.png", picture, note)
    save_picture(tmp_path / "x.jpg", picture.convert("RGB"), note)
    assert read_note(tmp_path / "x.png") == read_note(tmp_path / "x.jpg") == note
    task = Task(image_path=tmp_path, place=tmp_path, pictures=(), masks=(tmp_path / "x.png",))
    np.testing.assert_array_equal(np.stack(task.read_layers(3)), [mask_hw == k for k in (1, 2, 3)])
    (tmp_path / "text.png").write_text("no picture")
    picture.save(tmp_path / "plain.png")
    assert [read_note(tmp_path / name) for name in ("text.png", "plain.png", "missing.png")] == [None] * 3
