"""`make new` in the layouts that people have: what it guesses, what it doubts, and that checks and folds run then."""

import csv
import shutil
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from PIL import Image
from unets.dataset.catalog import load_catalog

from tests.dataset.layout.conftest import PALETTE, Folder, draw_mask, draw_photo
from unets.config import load_dataset, load_ensemble, load_experiment
from unets.data.rle import encode_rle
from unets.data.samples import IGNORE, read_image, read_mask
from unets.dataset.checks import check_data
from unets.dataset.folds import write_folds
from unets.dataset.layout.guess import Guess
from unets.dataset.layout.newcomer import welcome
from unets.dataset.layout.text import render_guess
from unets.errors import InputError
from unets.studio.competition import write_competition

NUM = 12


def settle(folder: Folder, **changes: Any) -> Guess:
    """Runs `make new`, then check and folds on the files that it wrote; returns the guess."""
    guess = welcome(folder.project, **changes)
    dataset = load_dataset(folder.project.configs_dir)
    assert dataset == guess.dataset  # the text says what was guessed
    report = check_data(folder.project, dataset, jobs=1)
    assert report.is_clean, report.render()
    assert (report.num_train, report.num_test) == (guess.num_train, guess.num_test)
    catalog = load_catalog(dataset, folder.project.input_dir)
    folds = write_folds(folder.project, catalog, jobs=1)
    assert set(folds.values()) == set(range(dataset.num_folds))
    for name in load_ensemble(folder.project.configs_dir).experiments:
        load_experiment(folder.project.configs_dir, name)
    rendered = render_guess(guess, "mine", "COMPETITION=mine")
    assert all(f"{doubt.field} = {doubt.chosen}" in " ".join(rendered.split()) for doubt in guess.doubts)
    return guess


def doubted(guess: Guess) -> set[str]:
    return {doubt.field for doubt in guess.doubts}


def read_truths(folder: Folder) -> dict[str, Any]:
    """Returns each training photo's mask, as the written config reads it."""
    dataset = load_dataset(folder.project.configs_dir)
    return {s.id: read_mask(s) for s in load_catalog(dataset, folder.project.input_dir).train}


def save_pairs(
    folder: Folder,
    photo_name: str,
    mask_name: str,
    ids: Iterable[str] = tuple(f"n{i * 37 % 101:03d}x" for i in range(NUM)),
    write: Callable[[Any], Any] = lambda mask: mask * np.uint8(255),
    *,
    grey: bool = False,
    size_hw: tuple[int, int] = (64, 96),
    num_classes: int = 1,
) -> dict[str, Any]:
    """Saves photos and masks; returns the masks as class indices."""
    masks = {}
    for seed, id_ in enumerate(ids):
        mask = draw_mask(seed, size_hw, num_classes)
        folder.save(photo_name.format(id=id_), draw_photo(seed, mask, grey=grey))
        folder.save(mask_name.format(id=id_), write(mask))
        masks[id_] = mask
    return masks


def same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert found.keys() == wanted.keys()
    for id_, mask in wanted.items():
        np.testing.assert_array_equal(found[id_], mask)


@pytest.mark.parametrize(
    ("photo_name", "mask_name"),
    [
        ("images/{id}.png", "masks/{id}.png"),
        ("images/{id}.jpg", "masks/{id}.png"),
        ("images/{id}.jpg", "masks/{id}_mask.gif"),
        ("data/{id}.png", "data/{id}_mask.png"),
        ("data/{id}.jpg", "data/{id}.png"),
        ("{id}.png", "{id}-gt.png"),
        ("photos/img_{id}.png", "truth/seg_{id}.png"),
        ("data/image_{id}.png", "data/mask_{id}.png"),
        ("train/x/{id}.tif", "train/y/{id}_segmentation.tif"),
        ("images/{id}.JPG", "labels/{id}_L.bmp"),
        ("{id}/image.png", "{id}/mask.png"),
        ("all/{id}/{id}.jpg", "all/{id}/{id}_mask.png"),
        ("all/{id}/images/{id}.png", "all/{id}/masks/{id}.png"),
    ],
)
def test_pairs_of_files_are_found_whatever_their_names(folder: Folder, photo_name: str, mask_name: str) -> None:
    masks = save_pairs(folder, photo_name, mask_name)
    guess = settle(folder)
    assert not guess.doubts
    assert guess.fields["mask_values"] == ((1,) if mask_name.endswith("gif") else (255,))  # a palette's index
    assert guess.fields["size_hw"] == (64, 96)
    assert guess.fields["test_photos"] is None and guess.fields["sample_submission"] is None
    same(read_truths(folder), masks)


def test_numbers_that_begin_alike_stay_whole(folder: Folder) -> None:
    """The common beginning `img_0` is not the prefix: test photos may be called `img_1..`."""
    save_pairs(folder, "images/img_{id}.png", "masks/mask_{id}.png", [f"{i:03d}" for i in range(NUM)])
    guess = settle(folder)
    assert (guess.fields["photos"], guess.fields["masks"]) == ("images/img_{id}.png", "masks/mask_{id}.png")


def test_photos_of_several_sizes(folder: Folder) -> None:
    for seed in range(NUM):
        mask = draw_mask(seed, (60 + 4 * (seed % 3), 90))
        folder.save(f"images/a{seed}z.png", draw_photo(seed, mask))
        folder.save(f"masks/a{seed}z.png", mask * np.uint8(255))
    guess = settle(folder)
    assert guess.fields["size_hw"] is None and not guess.doubts


def write_csv(folder: Folder, name: str, header: list[str], rows: list[list[str]]) -> None:
    with (folder.input_dir / name).open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def save_photos(folder: Folder, pattern: str, count: int, **options: Any) -> dict[str, Any]:
    masks = {f"p{i * 37 % 101:03d}q": draw_mask(i, **options) for i in range(count)}
    for seed, (id_, mask) in enumerate(masks.items()):
        folder.save(pattern.format(id=id_), draw_photo(seed, mask))
    return masks


@pytest.mark.parametrize("order", ["row", "column"])
@pytest.mark.parametrize("empty", ["", "-1"])
def test_run_lengths_in_either_order(folder: Folder, order: str, empty: str) -> None:
    masks = save_photos(folder, "train/{id}.png", NUM)
    masks["p000q"][:] = 0
    rows = [[f"{id_}.png", encode_rle(mask, order) or empty] for id_, mask in masks.items()]  # type: ignore[arg-type]
    write_csv(folder, "train.csv", ["ImageId", "EncodedPixels"], rows)
    for i in range(3):
        folder.save(f"test/t{i}.png", draw_photo(99, draw_mask(i)))
    write_csv(folder, "sample_submission.csv", ["ImageId", "EncodedPixels"], [[f"t{i}.png", "1 1"] for i in range(3)])
    guess = settle(folder)
    assert guess.fields["rle_order"] if order == "column" else guess.dataset.rle_order == "row"
    assert guess.dataset.rle_order == order and not guess.doubts
    assert guess.fields["masks"] is None and guess.num_test == 3
    assert (guess.dataset.csv_image_column, guess.dataset.csv_image) == ("ImageId", "{id}.png")
    same(read_truths(folder), masks)


@pytest.mark.parametrize("order", ["row", "column"])
def test_masks_of_files_tell_the_order_of_a_csv(folder: Folder, order: str) -> None:
    """As Carvana has both; on square photos whose edges tell nothing."""
    masks = save_pairs(folder, "train/{id}.jpg", "train_masks/{id}_mask.png", size_hw=(64, 64))
    rng = np.random.default_rng(0)
    for id_ in masks:
        folder.save(f"train/{id_}.jpg", rng.integers(0, 255, (64, 64, 3)).astype(np.uint8))
    write_csv(folder, "masks.csv", ["img", "rle"], [[f"{id_}.jpg", encode_rle(m, order)] for id_, m in masks.items()])  # type: ignore[arg-type]
    guess = settle(folder)
    assert guess.dataset.masks_csv == "masks.csv" and guess.dataset.rle_order == order and not guess.doubts


def test_the_studio_in_parts_needs_no_hint(folder: Folder) -> None:
    """Its csv names the classes of its mask files."""
    out = folder.input_dir / "parts"
    write_competition(out, 2, 1, seed=3, jobs=1, size_hw=(64, 96), in_parts=True)
    guess = settle(Folder(folder.root / "second", input_dir=out))
    dataset = guess.dataset
    assert dataset.classes == ("body", "glass", "wheel") and dataset.mask_values == (1, 2, 3)
    assert (dataset.masks_csv, dataset.rle_order, dataset.csv_class_column) == ("train_masks.csv", "row", "class")
    assert dataset.sample_submission == "sample_submission.csv" and dataset.csv_image == "{id}.jpg"
    assert dataset.id_pattern == r"(?P<group>.+)_(?P<view>\d+)"
    assert doubted(guess) == {"num_folds"}  # two cars


@pytest.mark.parametrize("order", ["row", "column"])
def test_on_square_photos_the_photo_tells_the_order(folder: Folder, order: str) -> None:
    """The wrong order mirrors a mask at the diagonal, where the photo has no such edges."""
    masks = save_photos(folder, "train/{id}.png", NUM, size_hw=(64, 64), num_classes=2)
    masks = {id_: (mask == 1).astype(np.uint8) for id_, mask in masks.items()}
    write_csv(folder, "train.csv", ["id", "rle"], [[id_, encode_rle(mask, order)] for id_, mask in masks.items()])  # type: ignore[arg-type]
    guess = settle(folder)
    assert guess.dataset.rle_order == order
    same(read_truths(folder), masks)


def test_where_nothing_tells_the_order_it_is_a_doubt(folder: Folder) -> None:
    rng = np.random.default_rng(0)
    disc = (np.hypot(*(np.mgrid[:64, :64] - 31.5)) < 20).astype(np.uint8)  # its own mirror image
    for i in range(NUM):
        folder.save(f"train/p{i}q.png", rng.integers(0, 255, (64, 64, 3)).astype(np.uint8))
    write_csv(folder, "train.csv", ["id", "rle"], [[f"p{i}q", encode_rle(disc)] for i in range(NUM)])
    assert doubted(settle(folder)) == {"rle_order"}


@pytest.mark.parametrize("kind", ["column", "cell", "cell_ending"])
def test_run_lengths_with_classes(folder: Folder, kind: str) -> None:
    masks = save_photos(folder, "train/{id}.jpg", NUM, num_classes=3)
    masks["p000q"][masks["p000q"] == 2] = 0
    names = ("Fish", "Flower", "Gravel")
    rows = []
    for id_, mask in masks.items():
        for index, name in enumerate(names, start=1):
            rle = encode_rle(mask == index, "column")
            cell = {"column": f"{id_}.jpg", "cell": f"{id_}_{name}", "cell_ending": f"{id_}.jpg_{name}"}[kind]
            rows.append([cell, name, rle] if kind == "column" else [cell, rle])
    header = ["ImageId", "ClassId", "EncodedPixels"] if kind == "column" else ["Image_Label", "EncodedPixels"]
    write_csv(folder, "train.csv", header, rows)
    guess = settle(folder)
    assert guess.dataset.classes == names and guess.dataset.metric == "iou" and not guess.doubts
    assert guess.dataset.csv_class_column == ("ClassId" if kind == "column" else None)
    endings = {"column": "{id}.jpg", "cell": "{id}_{class}", "cell_ending": "{id}.jpg_{class}"}
    assert guess.dataset.csv_image == endings[kind]
    same(read_truths(folder), masks)


def test_a_row_an_object_and_photos_without_any(folder: Folder) -> None:
    masks = save_photos(folder, "train/{id}.png", NUM, num_classes=2)
    masks["p000q"][:] = 0
    rows = [[f"{id_}.png", encode_rle(m == i, "column")] for id_, m in masks.items() for i in (1, 2) if m.any()]
    write_csv(folder, "train_ship.csv", ["ImageId", "EncodedPixels"], rows)
    guess = settle(folder)
    assert guess.dataset.unite_masks and guess.dataset.csv_omits_empty
    assert doubted(guess) == {"csv_omits_empty"}
    same(read_truths(folder), {id_: (mask > 0).astype(np.uint8) for id_, mask in masks.items()})


@pytest.mark.parametrize("is_palette", [False, True])
@pytest.mark.parametrize("names", ["classes.txt", "classes.csv", "label_map.json", None])
def test_class_indices_and_palettes(folder: Folder, is_palette: bool, names: str | None) -> None:
    def write(mask: Any) -> Any:
        return mask

    masks = save_pairs(folder, "images/{id}.jpg", "masks/{id}.png", write=write, num_classes=3)
    if is_palette:
        for path in (folder.input_dir / "masks").iterdir():
            picture = Image.open(path)
            picture.putpalette(PALETTE)
            picture.save(path)
    texts = {
        "classes.txt": "background\nroad\ncar\ntree\n",
        "classes.csv": "value,name\n0,background\n1,road\n2,car\n3,tree\n",
        "label_map.json": '{"background": 0, "road": 1, "car": 2, "tree": 3}',
    }
    if names:
        folder.write(names, texts[names])
    guess = settle(folder)
    assert guess.dataset.classes == (("road", "car", "tree") if names else ("class_1", "class_2", "class_3"))
    assert guess.dataset.mask_values == (1, 2, 3)
    assert doubted(guess) == (set() if names else {"classes"})
    same(read_truths(folder), masks)


def test_a_list_of_classes_can_be_given_and_every_value_may_be_a_class(folder: Folder) -> None:
    """As in CamVid: 0 is a class too, the last value is void."""

    def write(mask: Any) -> Any:
        return np.where(mask == 0, 3, mask - 1).astype(np.uint8)

    masks = save_pairs(folder, "images/{id}.png", "labels/{id}.png", write=write, num_classes=3)
    path = folder.root / "names.txt"
    path.write_text("sky\nroad\ncar\nvoid\n")
    guess = settle(folder, names_path=path)
    dataset = guess.dataset
    assert (dataset.classes, dataset.mask_values) == (("sky", "road", "car"), (0, 1, 2))
    assert (dataset.background_values, dataset.ignore_values) == ((), (3,))
    assert load_ensemble(folder.project.configs_dir).threshold == 0
    same(read_truths(folder), {id_: np.where(mask == 0, IGNORE, mask) for id_, mask in masks.items()})


def test_255_beside_classes_is_void_and_a_doubt(folder: Folder) -> None:
    def write(mask: Any) -> Any:
        values = mask.copy()
        values[:2] = 255
        return values

    save_pairs(folder, "images/{id}.png", "labels/{id}.png", write=write, num_classes=2)
    guess = settle(folder)
    assert guess.dataset.ignore_values == (255,) and "ignore_values" in doubted(guess)
    assert all((mask[:2] == IGNORE).all() for mask in read_truths(folder).values())


@pytest.mark.parametrize("with_names", [True, False])
def test_colours(folder: Folder, with_names: bool) -> None:
    colours = np.array([[0, 0, 0], [128, 64, 128], [64, 0, 128]], dtype=np.uint8)
    masks = save_pairs(folder, "701/{id}.png", "labels/{id}_L.png", write=lambda mask: colours[mask], num_classes=2)
    if with_names:
        folder.write("class_dict.csv", "name,r,g,b\nRoad,128,64,128\nCar,64,0,128\nVoid,0,0,0\n")
    guess = settle(folder)
    dataset = guess.dataset
    if with_names:
        assert dataset.classes == ("Road", "Car") and dataset.ignore_values == ((0, 0, 0),)
        assert dataset.background_values == () and not guess.doubts
        wanted = {id_: np.where(mask == 0, IGNORE, mask) for id_, mask in masks.items()}
    else:
        assert dataset.mask_values == ((64, 0, 128), (128, 64, 128)) and dataset.background_values == ((0, 0, 0),)
        assert doubted(guess) == {"classes"}
        wanted = {id_: np.array([0, 2, 1], dtype=np.uint8)[mask] for id_, mask in masks.items()}
    same(read_truths(folder), wanted)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_numbers_of_objects_are_one_class(folder: Folder, dtype: type) -> None:
    rng = np.random.default_rng(0)
    wanted = {}
    for seed in range(NUM):
        numbers = np.zeros((64, 96), dtype=dtype)
        for number in range(1, 80 if dtype is np.uint8 else 400):
            row, column = rng.integers(0, 60), rng.integers(0, 92)
            numbers[row : row + 3, column : column + 3] = number
        folder.save(f"images/a{seed}z.png", draw_photo(seed, (numbers > 0).astype(np.uint8)))
        folder.save(f"labels/a{seed}z.png", numbers)
        wanted[f"a{seed}z"] = (numbers > 0).astype(np.uint8)
    assert doubted(settle(folder)) == {"mask_threshold"}
    same(read_truths(folder), wanted)


def test_one_colour_is_an_object(folder: Folder) -> None:
    colours = np.array([[0, 0, 0], [255, 0, 0]], dtype=np.uint8)
    masks = save_pairs(folder, "images/{id}.png", "masks/{id}.png", write=lambda mask: colours[mask])
    guess = settle(folder)
    assert guess.dataset.classes == ("object",) and guess.dataset.mask_values == ((255, 0, 0),) and not guess.doubts
    same(read_truths(folder), masks)


def test_folders_of_patients_are_joined(folder: Folder) -> None:
    """As in the LGG set of brain slices: a folder a patient, photos and masks in it."""
    ids = [f"TCGA_{patient}_{slice_}" for patient in ("CS_4941", "DU_5849", "HT_7473") for slice_ in range(1, 13)]
    for seed, id_ in enumerate(ids):
        mask = draw_mask(seed, (32, 48))
        patient = id_.rpartition("_")[0]
        folder.save(f"kaggle_3m/{patient}/{id_}.tif", draw_photo(seed, mask))
        folder.save(f"kaggle_3m/{patient}/{id_}_mask.tif", mask * np.uint8(255))
    guess = settle(folder)
    assert guess.fields["photos"] == "kaggle_3m/*/{id}.tif" and guess.fields["masks"] == "kaggle_3m/*/{id}_mask.tif"
    assert (guess.num_train, guess.num_groups, guess.dataset.num_folds) == (36, 3, 3)


def test_a_second_set_of_photos_and_masks_is_a_doubt(folder: Folder) -> None:
    save_pairs(folder, "site1/images/{id}.png", "site1/masks/{id}.png")
    save_pairs(folder, "site2/images/{id}.png", "site2/masks/{id}.png", ["a1", "b2", "c3"])
    guess = settle(folder)
    assert doubted(guess) == {"photos"} and "site2/images/{id}.png" in guess.doubts[0].why


def test_photos_without_a_mask_are_named(folder: Folder) -> None:
    save_pairs(folder, "images/{id}.png", "masks/{id}.png")
    folder.save("images/zebra.png", draw_photo(0, draw_mask(0)))
    guess = welcome(folder.project)
    assert [doubt.field for doubt in guess.doubts] == ["photos"] and "zebra" in guess.doubts[0].why


def test_jpeg_masks_are_cut_and_doubted(folder: Folder) -> None:
    masks = save_pairs(folder, "images/{id}.png", "masks/{id}.jpg")
    guess = settle(folder)
    assert guess.dataset.mask_threshold == 128 and doubted(guess) == {"mask_threshold"}
    for id_, mask in read_truths(folder).items():
        assert (mask != masks[id_]).mean() < 0.02


def test_inverted_masks_are_doubted_and_the_alternative_works(folder: Folder) -> None:
    masks = save_pairs(folder, "images/{id}.png", "masks/{id}.png", write=lambda mask: (1 - mask) * np.uint8(255))
    guess = settle(folder)
    (doubt,) = guess.doubts
    assert doubt.instead == "mask_values=(0,), background_values=(255,)"
    path = folder.project.configs_dir / "dataset.py"
    path.write_text(path.read_text().replace("mask_values=(255,)", doubt.instead))
    same(read_truths(folder), masks)


def test_a_mask_an_object(folder: Folder) -> None:
    """As in the Data Science Bowl of 2018."""
    wanted = {}
    for seed in range(NUM):
        id_, mask = f"{seed * 7919:08x}", draw_mask(seed, num_classes=3)
        folder.save(f"stage1_train/{id_}/images/{id_}.png", draw_photo(seed, mask))
        for index in range(1, 2 + seed % 3):
            folder.save(f"stage1_train/{id_}/masks/{seed}{index}abc.png", (mask == index) * np.uint8(255))
        wanted[id_] = np.isin(mask, range(1, 2 + seed % 3)).astype(np.uint8)
    for seed in range(3):
        id_ = f"{seed * 104729:08x}"
        folder.save(f"stage1_test/{id_}/images/{id_}.png", draw_photo(seed, draw_mask(seed)))
    guess = settle(folder)
    assert guess.fields["photos"] == "stage1_train/{id}/images/*.png"
    assert guess.fields["masks"] == "stage1_train/{id}/masks/*.png" and guess.dataset.unite_masks
    assert guess.fields["test_photos"] == "stage1_test/{id}/images/*.png" and not guess.doubts
    same(read_truths(folder), wanted)


def test_grey_photos_of_16_bits(folder: Folder) -> None:
    for seed in range(NUM):
        mask = draw_mask(seed)
        photo = draw_photo(seed, mask, grey=True).astype(np.uint16) * 16
        folder.save(f"images/a{seed}z.tif", photo)
        folder.save(f"masks/a{seed}z.tif", mask * np.uint8(255))
    guess = settle(folder)
    assert guess.dataset.channels == "grey" and not guess.doubts
    low, high = guess.dataset.value_range or (0, 0)
    assert 0 <= low < 700 and 1500 < high < 4096
    catalog = load_catalog(guess.dataset, folder.input_dir)
    photo = read_image(catalog.train[0])
    assert photo.min() == 0 and photo.max() == 255 and photo.shape == (64, 96, 3)


def test_stacks_of_pages(folder: Folder) -> None:
    """As ISBI's membranes came in 2012: one TIFF of photos, one of masks."""
    masks = [draw_mask(seed) for seed in range(NUM)]
    stacks = {
        "train-volume.tif": [draw_photo(seed, mask, grey=True) for seed, mask in enumerate(masks)],
        "train-labels.tif": [mask * np.uint8(255) for mask in masks],
        "test-volume.tif": [draw_photo(50 + seed, mask, grey=True) for seed, mask in enumerate(masks[:3])],
    }
    for name, pages in stacks.items():
        first, *more = (Image.fromarray(page) for page in pages)
        first.save(folder.input_dir / name, save_all=True, append_images=more)
    guess = settle(folder)
    assert guess.fields["photos"] == "train-volume.tif/{id}.png" and guess.num_test == 3
    same(read_truths(folder), {f"{i:02d}": mask for i, mask in enumerate(masks)})


def test_splits_join_and_test_masks_are_named(folder: Folder) -> None:
    for split, start, count in (("train", 0, NUM), ("val", 100, 4), ("test", 200, 3)):
        ids = [f"v{(start + i) % 5}_{start + i:04d}" for i in range(count)]
        save_pairs(folder, f"{split}/{{id}}.png", f"{split}annot/{{id}}.png", ids)
    guess = settle(folder)
    assert guess.fields["photos"] == "{train,val}/{id}.png"
    assert guess.fields["masks"] == "{trainannot,valannot}/{id}.png"
    assert guess.fields["test_photos"] == "test/{id}.png" and guess.truth == "testannot"
    assert (guess.num_train, guess.num_test, guess.num_groups) == (NUM + 4, 3, 5)
    assert guess.dataset.id_pattern == r"(?P<group>.+)_\d+"
    assert doubted(guess) == {"num_folds"}  # five groups are few


def test_zips_in_place_of_folders(folder: Folder) -> None:
    masks = save_pairs(folder, "images/{id}.png", "masks/{id}.png")
    save_pairs(folder, "more/test/{id}.png", "more/junk_predict/{id}.png", ["t1", "t2", "t3"])
    for name in ("images", "masks", "more"):
        shutil.make_archive(str(folder.input_dir / name), "zip", folder.input_dir / name)
        shutil.rmtree(folder.input_dir / name)
    guess = settle(folder)
    assert guess.fields["photos"] == "images/{id}.png" and guess.fields["test_photos"] == "more/test/{id}.png"
    same(read_truths(folder), masks)


def test_predictions_beside_test_photos_are_left_out(folder: Folder) -> None:
    save_pairs(folder, "train/image/{id}.png", "train/label/{id}.png", [f"{i}" for i in range(NUM)])
    save_pairs(folder, "test/{id}.png", "test/{id}_predict.png", [f"{i}" for i in range(3)])
    guess = settle(folder)
    assert guess.fields["leave_out"] == ("test/{id}_predict.png",) and guess.num_test == 3
    assert any("not used: test/{id}_predict.png" in note for note in guess.notes)


@pytest.mark.parametrize(
    ("ids", "pattern", "num_groups"),
    [
        ([f"car{i // 4:02d}_{i % 4 + 1:02d}" for i in range(24)], r"(?P<group>.+)_(?P<view>\d+)", 6),
        ([f"patient{i // 3}_slice{i * 7 % 50}" for i in range(24)], r"(?P<group>.+)_slice\d+", 8),
        ([f"Seq{i // 12}_{'f' if i < 12 else ''}{i:05d}" for i in range(24)], r"(?P<group>.+)(?:_|_f)\d+", 2),
    ],
)
def test_groups_from_names(folder: Folder, ids: list[str], pattern: str, num_groups: int) -> None:
    save_pairs(folder, "images/{id}.png", "masks/{id}.png", ids, size_hw=(32, 48))
    guess = settle(folder)
    assert (guess.dataset.id_pattern, guess.num_groups) == (pattern, num_groups)
    assert guess.dataset.num_folds == min(num_groups, 5)


def test_groups_from_a_table(folder: Folder) -> None:
    masks = save_pairs(folder, "images/{id}.png", "masks/{id}.png", size_hw=(32, 48))
    rows = [[f"{id_}.png", f"person {i % 4}", str(i)] for i, id_ in enumerate(masks)]
    write_csv(folder, "metadata.csv", ["file", "patient_id", "age"], rows)
    guess = settle(folder)
    assert (guess.dataset.groups_csv, guess.dataset.groups_columns) == ("metadata.csv", ("file", "patient_id"))
    catalog = load_catalog(guess.dataset, folder.input_dir)
    assert {sample.group for sample in catalog.train} == {f"person {i}" for i in range(4)}


def test_numbered_photos_that_look_like_their_neighbours_are_grouped_in_blocks(folder: Folder) -> None:
    rng = np.random.default_rng(0)
    field = rng.normal(0, 1, (32, 200, 3))
    for _ in range(3):  # a landscape that a camera pans over
        field = (field + np.roll(field, 1, 0) + np.roll(field, 1, 1) + np.roll(field, 3, 1)) / 4
    for i in range(40):
        view = field[:, 2 * i : 2 * i + 48] * 150 + 128
        folder.save(f"images/{i:03d}.png", np.clip(view, 0, 255).astype(np.uint8))
        folder.save(f"masks/{i:03d}.png", draw_mask(i, (32, 48)) * np.uint8(255))
    guess = settle(folder)
    assert "id_pattern" in doubted(guess) and guess.num_groups == 4


def test_a_sample_submission_gives_columns_and_order(folder: Folder) -> None:
    save_pairs(folder, "train/images/{id}.png", "train/masks/{id}.png")
    ids = [f"t{i}" for i in range(3)]
    for id_ in ids:
        folder.save(f"test/images/{id_}.png", draw_photo(99, draw_mask(3)))
    write_csv(folder, "sample_submission.csv", ["id", "rle_mask"], [[id_, ""] for id_ in reversed(ids)])
    guess = settle(folder)
    assert guess.dataset.sample_submission == "sample_submission.csv"
    assert (guess.dataset.csv_image_column, guess.dataset.csv_image) == ("id", "{id}")
    assert doubted(guess) == {"rle_order"}


def test_config_files_are_never_overwritten_unasked(folder: Folder) -> None:
    save_pairs(folder, "images/{id}.png", "masks/{id}.png")
    folder.project.configs_dir.mkdir(parents=True)
    mine = folder.project.configs_dir / "dataset.py"
    mine.write_text("mine")
    with pytest.raises(InputError, match=r"configs/mine/dataset.py must not be there yet"):
        welcome(folder.project)
    assert mine.read_text() == "mine"
    welcome(folder.project, anew=True)
    assert "DATASET" in mine.read_text()
    # Killed before its last file: the next call goes on, but not over what somebody else wrote.
    mine.unlink()
    welcome(folder.project)
    mine.unlink()
    (folder.project.configs_dir / "ensemble.py").write_text("mine")
    with pytest.raises(InputError, match=r"configs/mine/ensemble.py must not be there yet"):
        welcome(folder.project)
    assert not mine.exists()


def test_what_cannot_be_told_is_said(folder: Folder) -> None:
    with pytest.raises(InputError, match=r"must hold photos \(.*Received: nothing"):
        welcome(folder.project)
    masks = save_photos(folder, "images/{id}.png", NUM)
    with pytest.raises(InputError, match=r"must hold masks: pictures named like the photos, or a csv"):
        welcome(folder.project)
    colours = np.array([[0, 0, 0], [128, 64, 128], [64, 0, 128]], dtype=np.uint8)
    for id_, mask in masks.items():
        folder.save(f"masks/{id_}.png", colours[mask % 3])
    torn = folder.input_dir / "masks" / "p000q.png"
    torn.write_bytes(torn.read_bytes()[:60])
    with pytest.raises(InputError, match=r"p000q.png must be a whole picture"):
        welcome(folder.project)
    assert not folder.project.configs_dir.exists()


@pytest.mark.parametrize("name", ["", "a/b", "..", "mine!"])
def test_a_name_that_is_no_folders_is_refused(folder: Folder, name: str) -> None:
    from dataclasses import replace

    with pytest.raises(InputError, match="`COMPETITION` must be of letters"):
        welcome(replace(folder.project, competition=name))
