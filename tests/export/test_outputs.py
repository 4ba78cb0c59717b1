from pathlib import Path

import numpy as np
from PIL import Image

from unets.data.drawing import COLORS_RGB
from unets.data.io import read_index_image
from unets.export.outputs import Note, read_note, write_cutout, write_mask, write_overlay

NOTE = Note(made_by="0123456789abcdef", image_sha256="ab" * 32)


def test_a_mask_of_one_class_is_black_and_white(tmp_path: Path) -> None:
    write_mask(tmp_path / "x.png", np.eye(3, dtype=np.uint8), NOTE, COLORS_RGB[:1])
    with Image.open(tmp_path / "x.png") as picture:
        assert picture.mode == "L"
        np.testing.assert_array_equal(np.array(picture), 255 * np.eye(3))


def test_a_mask_of_several_classes_holds_their_index_and_shows_colours(tmp_path: Path) -> None:
    """As training reads masks: the file can be one of the next competition's."""
    mask_hw = np.array([[0, 1], [2, 3]], dtype=np.uint8)
    write_mask(tmp_path / "x.png", mask_hw, NOTE, COLORS_RGB[:3])
    np.testing.assert_array_equal(read_index_image(tmp_path / "x.png"), mask_hw)
    with Image.open(tmp_path / "x.png") as picture:
        assert picture.convert("RGB").getpixel((0, 1)) == COLORS_RGB[1]


def test_notes_are_read_back(tmp_path: Path) -> None:
    write_mask(tmp_path / "m.png", np.zeros((2, 2), dtype=np.uint8), NOTE, COLORS_RGB[:1])
    write_cutout(tmp_path / "c.png", np.zeros((2, 2, 4), dtype=np.uint8), NOTE)
    write_overlay(tmp_path / "o.jpg", np.zeros((2, 2, 3), dtype=np.uint8), NOTE)
    assert [read_note(tmp_path / name) for name in ("m.png", "c.png", "o.jpg")] == [NOTE] * 3


def test_files_of_others_have_none(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((2, 2), dtype=np.uint8)).save(tmp_path / "plain.png")
    Image.fromarray(np.zeros((2, 2), dtype=np.uint8)).save(tmp_path / "said.jpg", comment="[1, 2]")
    (tmp_path / "text.png").write_text("no picture")
    names = ("plain.png", "said.jpg", "text.png", "missing.png")
    assert [read_note(tmp_path / name) for name in names] == [None] * 4


def test_equal_masks_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        write_mask(tmp_path / name, np.eye(9, dtype=np.uint8), NOTE, COLORS_RGB[:1])
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
