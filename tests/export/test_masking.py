"""What becomes of images, with a model that needs no net: bright is object."""

import io
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tests import limit_files
from tests.export.bright import Bright, draw, read, save
from unets.data.rle import encode_rle
from unets.ensemble.recipe import Recipe
from unets.errors import InputError
from unets.export.card import Usual
from unets.export.masking import PIPE, Outcome, Wanted, mask_file, mask_folder
from unets.export.pictures import list_masks


def run(*images: Path, out: Path, model: Bright | None = None, **wanted: bool | str) -> Outcome:
    return mask_folder(model or Bright(), images, out, Wanted(**wanted), lambda: None)


def run_one(image: Path, out: Path, model: Bright | None = None, **wanted: bool | str) -> Outcome:
    return mask_file(model or Bright(), image, out, Wanted(**wanted), lambda: None)


def test_masks_have_the_size_and_place_of_their_images(tmp_path: Path) -> None:
    sizes = [(64, 96), (100, 150), (31, 47), (200, 90)]
    for index, size_hw in enumerate(sizes):
        save(tmp_path / "images" / "deep" / f"{index}.png", draw(size_hw))
    outcome = run(tmp_path / "images", out=tmp_path / "out")
    assert (len(outcome.masked), outcome.failures, outcome.num_kept) == (4, {}, 0)
    (warning,) = outcome.list_warnings()
    assert "1 image of other proportions than the 64 x 96" in warning
    for index, (height, width) in enumerate(sizes):
        mask_hw = read(tmp_path / "out" / "deep" / f"{index}.png")
        assert mask_hw.shape == (height, width) and set(np.unique(mask_hw)) == {0, 255}
        assert np.count_nonzero(mask_hw) == pytest.approx(height * width / 4, rel=0.08)
        assert mask_hw[0, 0] == 255 and mask_hw[-1, -1] == 0


def test_an_image_on_its_side_is_set_upright_unless_told_otherwise(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "x.jpg", draw(), exif=exif, quality=95)  # a viewer shows it 96 high, 64 wide
    run(path, out=tmp_path / "upright", overlay=True)
    run(path, out=tmp_path / "stored", upright=False)
    upright, stored = read(tmp_path / "upright" / "x.png"), read(tmp_path / "stored" / "x.png")
    assert upright.shape == (96, 64) and stored.shape == (64, 96)
    assert upright[2, -2] == 255 and upright[2, 2] == 0 and stored[2, 2] == 255
    assert read(tmp_path / "upright" / "x_overlay.jpg").shape == (96, 64, 3)


def test_a_cutout_is_the_object_alone_and_can_be_laid_on_anything(tmp_path: Path) -> None:
    image = draw()
    image[32:] = (0, 0, 60)
    path = save(tmp_path / "x.png", image)
    run(path, out=tmp_path / "out", cutout=True, overlay=True, background="#FF8800")
    cutout = read(tmp_path / "out" / "x_cutout.png")
    assert cutout.shape == (64, 96, 4)
    assert cutout[2, 2].tolist() == [255, 255, 255, 255] and cutout[-2, -2].tolist() == [0, 0, 0, 0]
    overlay = read(tmp_path / "out" / "x_overlay.jpg").astype(int)
    differs = np.abs(overlay - image.astype(int)).max(axis=-1) > 60
    assert differs[28:36, :50].any() and not differs[4:24, 4:40].any()
    laid = read(tmp_path / "out" / "x_ff8800.jpg").astype(int)
    assert np.abs(laid[-4, -4] - (255, 136, 0)).max() < 9 and laid[4, 4].min() > 245
    run(path, out=tmp_path / "out", background="blur")
    blurred = read(tmp_path / "out" / "x_blur.jpg").astype(int)
    assert np.abs(blurred[-3, -3] - (0, 0, 60)).max() < 9 and blurred[16, 90].max() < 40  # no white bleeds out
    with pytest.raises(InputError, match=r"`--background` must be white, blur or a color as #ff8800\. Received: green"):
        run(path, out=tmp_path / "out", background="green")


def test_what_was_transparent_stays_so(tmp_path: Path) -> None:
    opacity_hw = np.full((64, 96), 255, dtype=np.uint8)
    opacity_hw[:16] = 0
    path = save(tmp_path / "x.png", np.dstack([draw(), opacity_hw]))
    run(path, out=tmp_path / "out", cutout=True)
    alpha_hw = read(tmp_path / "out" / "x_cutout.png")[..., 3]
    assert (alpha_hw[:16] == 0).all() and (alpha_hw[17:28, :40] == 255).all()


def test_classes_that_overlap_have_a_mask_each(tmp_path: Path) -> None:
    image = np.full((64, 96, 3), 127, dtype=np.uint8)  # 0.498 and 0.502
    image[:32], image[32:, :48] = 255, 0
    recipe = Recipe(weights=(1.0, 1.0), overlapping=True, threshold=0.49)
    model = Bright(classes=("dark", "bright spot"), recipe=recipe)
    outcome = run(save(tmp_path / "x.png", image), out=tmp_path / "out", model=model, overlay=True, labels="rle")
    dark, bright = (read(tmp_path / "out" / f"x_{name}.png") for name in ("dark", "bright-spot"))
    assert dark[-2, -2] == bright[-2, -2] == 255 and dark[2, 2] == 0 and bright[2, 2] == 255 and dark[-2, 2] == 255
    assert next(iter(outcome.masked.values())).area == 1
    assert list_masks(("a b", "a-b"), overlapping=True) == ("_1.png", "_2.png")
    assert list_masks(("cutout",), overlapping=True) == ("_1.png",)
    rows = (tmp_path / "out" / "rle.csv").read_text().splitlines()
    assert rows[1:] == [f"x.png,dark,{encode_rle(dark)}", f"x.png,bright spot,{encode_rle(bright)}"]
    with pytest.raises(InputError, match="`--out` must be a folder where several files are made"):
        run_one(tmp_path / "x.png", tmp_path / "y.png", model)


def test_a_faulty_image_does_not_keep_the_others_from_theirs(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    for name in "acegi":
        save(folder / f"{name}.png", draw())
    (folder / "b.jpg").write_text("no image")
    (folder / "f.png").write_bytes((folder / "a.png").read_bytes()[:60])
    (folder / "h.png").symlink_to(tmp_path / "gone.png")
    (folder / "j.png").symlink_to("j.png")
    os.mkfifo(folder / "k.png")
    whole = save(tmp_path / "whole.jpg", np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).read_bytes()
    (folder / "l.jpg").write_bytes(whole[: len(whole) // 2] + b"\xff\xd9")
    outcome = run(folder, out=tmp_path / "out")
    assert len(outcome.masked) == 5
    assert [path.name for path in outcome.failures] == ["b.jpg", "f.png", "h.png", "j.png", "k.png", "l.jpg"]
    assert all(path.name in reason for path, reason in outcome.failures.items())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{name}.png" for name in "acegi"]


def test_what_is_there_is_kept_as_long_as_it_is_of_this_image(tmp_path: Path) -> None:
    folder, out, model = tmp_path / "images", tmp_path / "out", Bright()
    for name in "ab":
        save(folder / f"{name}.png", draw())
    first = run(folder, out=out, model=model, cutout=True)
    again = run(folder, out=out, model=model)
    assert (model.num_images, again.num_kept) == (2, 2)
    assert [*again.masked.values()] == [*first.masked.values()]
    save(folder / "a.png", np.flip(draw(), axis=1).copy())
    assert run(folder, out=out, model=model).num_kept == 1 and model.num_images == 3
    assert read(out / "a.png")[2, -2] == 255
    (out / "b.png").unlink()  # as a kill between two files: the mask is written last
    run(folder, out=out, model=model, cutout=True)
    assert model.num_images == 5  # the cut-out of a was of the former image


def test_files_of_another_model_are_not_replaced_unless_told_to(tmp_path: Path) -> None:
    path, out = save(tmp_path / "x.png", draw()), tmp_path / "out"
    run(path, out=out)
    other = Bright(recipe=Recipe(weights=(1.0, 1.0), threshold=0.4))
    with pytest.raises(InputError, match=r"x\.png must not exist, or be made by this model. Received: one of another"):
        run(path, out=out, model=other)
    with pytest.raises(InputError, match="seen in another way"):
        run(path, out=out, upright=False)
    save(out / "x.png", draw())
    with pytest.raises(InputError, match="Received: another file"):
        run(path, out=out, model=other)
    run(path, out=out, model=other, overwrite=True)
    assert run(path, out=out, model=other).num_kept == 1


def test_grey_models_see_grey(tmp_path: Path) -> None:
    path = save(tmp_path / "x.png", np.full((64, 96, 3), (255, 0, 0), dtype=np.uint8))
    run(path, out=tmp_path / "rgb")  # the red layer is bright
    run(path, out=tmp_path / "grey", model=Bright(channels="grey"))  # 0.299 of it is not
    assert read(tmp_path / "rgb" / "x.png").all() and not read(tmp_path / "grey" / "x.png").any()


def test_images_unlike_those_of_training_are_named(tmp_path: Path) -> None:
    usual = Usual(num_images=9, area=(0.2, 0.3), confidence=0.9)
    save(tmp_path / "images" / "like.png", draw())
    save(tmp_path / "images" / "full.png", np.full((64, 96, 3), 255, dtype=np.uint8))
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    save(tmp_path / "images" / "noise.png", noise)
    outcome = run(tmp_path / "images", out=tmp_path / "out", model=Bright(usual=usual))
    full, noise_line = outcome.list_warnings()
    assert "full.png: the mask covers 100.0%, in training images 20.0% to 30.0%" in full and "confidence" not in full
    assert "noise.png" in noise_line and "confidence 0." in noise_line
    found = {Path(row["image"]).stem: row for row in outcome.describe()}
    assert found["like"]["unusual"] is None and found["like"]["area"] == pytest.approx(0.25, abs=0.01)
    assert found["full"]["confidence"] == 1 and found["noise"]["unusual"]
    json.dumps(found)


def test_one_image_becomes_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "x.png", draw())
    run_one(path, tmp_path / "mask.png")
    assert read(tmp_path / "mask.png")[0, 0] == 255
    run_one(path, tmp_path / "mask.png")  # ours is replaced
    run_one(path, tmp_path / "cut.png", cutout=True)
    assert read(tmp_path / "cut.png").shape == (64, 96, 4)
    run_one(path, tmp_path / "a" / "x.json", labels="labelme")
    assert json.loads((tmp_path / "a" / "x.json").read_text())["imagePath"] == "../x.png"
    with pytest.raises(InputError, match=r"x\.png must not exist, or be a mask of ours"):
        run_one(path, path)
    with pytest.raises(InputError, match="`--out` must be a folder where several files are made of an image"):
        run_one(path, tmp_path / "y.png", cutout=True, overlay=True)
    for name, what, wanted in (
        ("y.jpg", "png", {}),
        ("y.png", "jpg", {"background": "white"}),
        ("y.txt", "csv", {"labels": "rle"}),
    ):
        with pytest.raises(InputError, match=rf"`--out` must end in \.{what}, as what is made"):
            run_one(tmp_path / "gone.png", tmp_path / name, **wanted)  # said before the image is read
    (tmp_path / "theirs.png").write_bytes(b"a drawing")
    with pytest.raises(InputError, match=r"theirs\.png must not exist, or be a mask of ours"):
        run_one(tmp_path / "gone.png", tmp_path / "theirs.png")  # as this is
    out = io.BytesIO()
    with monkeypatch.context() as piped:
        piped.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(path.read_bytes())))
        piped.setattr(sys, "stdout", SimpleNamespace(buffer=out))
        run_one(PIPE, PIPE, background="white")
    with Image.open(out) as picture:
        assert picture.size == (96, 64) and picture.format == "JPEG"
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"no image")))
    with pytest.raises(InputError, match=r"^stdin must be"):
        run_one(PIPE, PIPE)


def test_a_full_disk_ends_it(tmp_path: Path) -> None:
    path = save(tmp_path / "x.png", draw())
    with limit_files(50), pytest.raises(OSError, match=r"File too large: .*x\.png"):
        run(path, out=tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
