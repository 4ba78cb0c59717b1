"""Ids, groups, masks and rows; each kind of fault by name."""

import gzip
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from unets.config import DatasetConfig, load_dataset
from unets.data.samples import read_csv_mask, read_file_mask
from unets.dataset.catalog import (
    NO_GROUP,
    Catalog,
    default_header,
    default_rows,
    image_cell,
    load_catalog,
    parse_image_cell,
    read_metadata,
    read_rle_csv,
    read_sample_rows,
    survey,
)
from unets.errors import InputError
from unets.store.paths import Project

MakeCompetition = Callable[..., Project]


def load(project: Project) -> Catalog:
    return load_catalog(load_dataset(project.configs_dir), project.input_dir)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1), newline="")


def test_lists_ids_groups_views_and_masks(make_competition: MakeCompetition) -> None:
    catalog = load(make_competition(num_groups=2, num_test_groups=1, num_views=2))
    assert [(s.id, s.group, s.view) for s in catalog.train] == [
        ("car000_01", "car000", "01"),
        ("car000_02", "car000", "02"),
        ("car001_01", "car001", "01"),
        ("car001_02", "car001", "02"),
    ]
    assert [s.id for s in catalog.test] == ["test000_01", "test000_02"]
    first = catalog.train[0]
    assert first.photo_path.name == "car000_01.jpg"
    assert first.mask_path is not None and first.mask_path.name == "car000_01_mask.gif"
    assert first.mask_rles is not None and len(first.mask_rles) == 1
    assert catalog.test[0].mask_path is None and catalog.test[0].mask_rles is None


def test_without_test_needs_no_test_folder(make_competition: MakeCompetition) -> None:
    project = make_competition(num_groups=2)
    shutil.rmtree(project.input_dir / "test")
    dataset = load_dataset(project.configs_dir)
    assert load_catalog(dataset, project.input_dir, with_test=False).test == ()
    with pytest.raises(InputError, match=r"test must exist .* holds .*train_masks"):
        load_catalog(dataset, project.input_dir)


@pytest.mark.parametrize("mask_format", ["gif", "png", "bmp", "tif"])
def test_mask_files_and_csv_say_the_same(make_competition: MakeCompetition, mask_format: str) -> None:
    catalog = load(make_competition(num_groups=2, num_views=1, mask_format=mask_format, classes=("a", "b")))
    for sample in catalog.train:
        from_file = read_file_mask(sample, catalog.dataset)
        assert set(from_file.ravel().tolist()) == {0, 1, 2}
        assert (from_file == read_csv_mask(sample, catalog.dataset)).all()


@pytest.mark.parametrize("rle_order", ["row", "column"])
def test_masks_from_csv_alone(make_competition: MakeCompetition, rle_order: str) -> None:
    catalog = load(make_competition(mask_format=None, num_groups=2, rle_order=rle_order))
    assert catalog.train[0].mask_path is None
    mask_hw = read_csv_mask(catalog.train[0], catalog.dataset)
    # an ellipse in the middle of 64 x 96; read in the wrong order it is stripes over the whole photo
    assert mask_hw.shape == (64, 96) and mask_hw[32, 48] == 1
    assert not mask_hw[:, 0].any() and not mask_hw[0].any() and not mask_hw[-1].any()


def test_reads_through_zips(make_competition: MakeCompetition) -> None:
    project = make_competition(num_groups=2, num_views=2)
    unpacked = load(project)
    for name in ("train", "train_masks", "test"):
        shutil.make_archive(str(project.input_dir / name), "zip", project.input_dir, name)
        shutil.rmtree(project.input_dir / name)
    with zipfile.ZipFile(project.input_dir / "train_masks.csv.zip", "w") as archive:
        archive.write(project.input_dir / "train_masks.csv", "train_masks.csv")
    (project.input_dir / "train_masks.csv").unlink()
    packed = load(project)
    assert [s.id for s in packed.train] == [s.id for s in unpacked.train]
    assert [s.mask_rles for s in packed.train] == [s.mask_rles for s in unpacked.train]
    assert "train.zip" in packed.train[0].photo_path.parts
    sample = packed.train[0]
    assert (read_file_mask(sample, packed.dataset) == read_csv_mask(sample, packed.dataset)).all()


def test_missing_folder(make_competition: MakeCompetition) -> None:
    project = make_competition(num_groups=2)
    shutil.rmtree(project.input_dir / "train")
    with pytest.raises(
        InputError, match=r"input/train must exist \(or train.zip beside it\).* holds .*sample_submission"
    ):
        load(project)


def test_missing_input(make_competition: MakeCompetition, tmp_path: Path) -> None:
    dataset = load_dataset(make_competition(num_groups=2).configs_dir)
    with pytest.raises(InputError, match=r"`INPUT` must be a folder .*nowhere"):
        load_catalog(dataset, tmp_path / "nowhere")


def test_empty_folder_says_what_it_holds_instead(make_competition: MakeCompetition) -> None:
    project = make_competition(num_groups=2)
    for path in (project.input_dir / "train").iterdir():
        path.rename(path.with_suffix(".jpeg"))
    with pytest.raises(InputError, match=r"train/\{id\}.jpg must match files. Received: none.* holds car000_01.jpeg, "):
        load(project)


def test_missing_csv(make_competition: MakeCompetition) -> None:
    project = make_competition(num_groups=2)
    (project.input_dir / "train_masks.csv").unlink()
    with pytest.raises(InputError, match=r"train_masks.csv must exist \(or train_masks.csv.zip beside it\)"):
        load(project)


def test_missing_and_unknown_mask(make_competition: MakeCompetition) -> None:
    project = make_competition(num_groups=2)
    masks = project.input_dir / "train_masks"
    (masks / "car001_02_mask.gif").rename(masks / "car009_02_mask.gif")
    with pytest.raises(InputError, match=r"2 faults") as error:
        load(project)
    assert "must have a file for each photo. Received: none for car001_02" in str(error.value)
    assert "must have a file for photos only. Received: car009_02" in str(error.value)


def test_unmatched_rows(make_competition: MakeCompetition) -> None:
    project = make_competition(num_groups=2)
    edit(project.input_dir / "train_masks.csv", "car001_02.jpg", "car009_02.jpg")
    with pytest.raises(InputError, match=r"2 faults") as error:
        load(project)
    assert "must have a row for each photo. Received: none for car001_02" in str(error.value)
    assert "must have a row for photos only. Received: car009_02" in str(error.value)


def test_duplicate_row(make_competition: MakeCompetition) -> None:
    project = make_competition(num_groups=2)
    with (project.input_dir / "train_masks.csv").open("a") as file:
        file.write("car000_01.jpg,1 1\n")
    with pytest.raises(InputError, match=r"train_masks.csv must have one row a mask. Received: two for car000_01.jpg"):
        load(project)


def test_id_that_does_not_fit(make_competition: MakeCompetition) -> None:
    project = make_competition(num_groups=2, mask_format=None, with_csv=True)
    (project.input_dir / "test" / "test000_01.jpg").rename(project.input_dir / "test" / "Test-1.jpg")
    with pytest.raises(InputError, match=r"Test-1.jpg: `id_pattern` must fit the id: .*Received: 'Test-1'"):
        load(project)


def test_two_files_with_one_id(make_competition: MakeCompetition) -> None:
    project = make_competition(num_groups=2, photos="train/{id}.*")
    shutil.copy(project.input_dir / "train" / "car000_01.jpg", project.input_dir / "train" / "car000_01.png")
    with pytest.raises(InputError, match=r"must match one file for car000_01. Received: 2: .*car000_01.png"):
        load(project)


def test_many_faults_are_counted_and_the_first_twenty_shown(make_competition: MakeCompetition) -> None:
    project = make_competition(num_groups=8)
    for path in sorted((project.input_dir / "train_masks").iterdir())[:25]:
        path.unlink()
    _, faults = survey(load_dataset(project.configs_dir), project.input_dir)
    assert len(faults) == 25
    with pytest.raises(InputError, match=r"Received: 25 faults") as error:
        load(project)
    assert str(error.value).count("Received: none for") == 20
    assert str(error.value).endswith("... and 5 more")


@pytest.mark.parametrize("start", ["", "\ufeff"], ids=["plain", "byte-order mark"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("packed", [False, True], ids=["csv", "gz"])
def test_csv_is_simply_read(tmp_path: Path, start: str, newline: str, packed: bool) -> None:
    content = (start + newline.join(["img,rle_mask", "a.jpg,1 2 5 1", "b.jpg,", '"NA.jpg","3 1"', ""])).encode()
    path = tmp_path / ("masks.csv.gz" if packed else "masks.csv")
    path.write_bytes(gzip.compress(content) if packed else content)
    assert read_rle_csv(path, DatasetConfig()) == {"a": ("1 2 5 1",), "b": ("",), "NA": ("3 1",)}


def test_ids_that_look_like_numbers_or_nothing_stay_text(tmp_path: Path) -> None:
    (tmp_path / "masks.csv").write_text("img,rle_mask\nNA,1 1\n007,2 1\nnull,3 1\n")
    assert list(read_rle_csv(tmp_path / "masks.csv", DatasetConfig(csv_image="{id}"))) == ["NA", "007", "null"]


def test_a_cell_longer_than_the_csv_modules_limit(tmp_path: Path) -> None:
    rle = " ".join(f"{start} 1" for start in range(1, 100_000, 2))  # more than 131,072 characters
    (tmp_path / "masks.csv").write_text(f"img,rle_mask\na.jpg,{rle}\n")
    assert read_rle_csv(tmp_path / "masks.csv", DatasetConfig())["a"] == (rle,)


def test_missing_columns(tmp_path: Path) -> None:
    (tmp_path / "masks.csv").write_text("image,rle_mask\na.jpg,1 1\n")
    with pytest.raises(InputError, match=r"masks.csv must have the columns \['img', 'rle_mask'\]. Received: \['image'"):
        read_rle_csv(tmp_path / "masks.csv", DatasetConfig())


@pytest.mark.parametrize(
    "content",
    [b"img,rle_mask\na.jpg,1 1\nb.jpg,1 1,2\n", b"img,rle_mask\na.jpg,1 1,2\n", b"\xff\xfe\x00", b"\x1f\x8b\x08"],
    ids=["too many cells", "too many cells at once", "no text", "torn gz"],
)
def test_damaged_csv(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "masks.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"masks.csv must be (a csv file|whole)"):
        read_rle_csv(tmp_path / "masks.csv", DatasetConfig())


@pytest.mark.parametrize("csv_image", ["{id}.jpg_{class}", "{class}/{id}", "{id}_{class}.png"])
def test_class_within_the_image_cell(tmp_path: Path, csv_image: str) -> None:
    dataset = DatasetConfig(classes=("1", "2.x"), mask_values=(1, 2), csv_image=csv_image)
    rows = [f"{image_cell(dataset, 'a_1', '2.x')},7 1", f"{image_cell(dataset, 'a_1', '1')},1 2"]
    rows += [f"{image_cell(dataset, 'b', '2.x')},3 1"]
    (tmp_path / "masks.csv").write_text("\n".join(["img,rle_mask", *rows]))
    # one run-length string a class, in the order of `classes`; b has no row of class 1
    assert read_rle_csv(tmp_path / "masks.csv", dataset) == {"a_1": ("1 2", "7 1"), "b": ("", "3 1")}
    for id_ in ("a_1", "b", "x.jpg_1"):
        for class_name in dataset.classes:
            assert parse_image_cell(dataset, image_cell(dataset, id_, class_name)) == (id_, class_name)


def test_image_cell_round_trip_without_class() -> None:
    dataset = DatasetConfig(csv_image="{id}.jpg")
    assert image_cell(dataset, "car_01") == "car_01.jpg"
    assert parse_image_cell(dataset, "car_01.jpg") == ("car_01", None)
    with pytest.raises(InputError, match=r"`img` must be written as \{id\}.jpg. Received: 'car_01.png'"):
        parse_image_cell(dataset, "car_01.png")


def test_class_column(tmp_path: Path) -> None:
    dataset = DatasetConfig(classes=("a", "b"), mask_values=(1, 2), csv_class_column="class")
    path = tmp_path / "masks.csv"
    path.write_text("img,class,rle_mask\nx.jpg,b,1 1\nx.jpg,a,\ny.jpg,b,5 2\n")
    assert read_rle_csv(path, dataset) == {"x": ("", "1 1"), "y": ("", "5 2")}
    assert read_sample_rows(path, dataset) == [("x.jpg", "b"), ("x.jpg", "a"), ("y.jpg", "b")]
    path.write_text("img,class,rle_mask\nx.jpg,c,1 1\n")
    with pytest.raises(InputError, match=r"`class` must be one of \('a', 'b'\). Received: 'c'"):
        read_rle_csv(path, dataset)


def test_a_table_of_groups_counts_in_place_of_the_pattern(make_competition: MakeCompetition) -> None:
    project = make_competition(num_groups=2, num_views=2, groups_csv="g.csv", groups_columns=("file", "who"))
    (project.input_dir / "g.csv").write_text("file,who\ncar000_01.jpg,ann\ncar000_02,bob\ncar001_01,ann\ncar001_02,\n")
    assert {s.id: s.group for s in load(project).train} == {
        "car000_01": "ann",
        "car000_02": "bob",
        "car001_01": "ann",
        "car001_02": "car001",
    }
    (project.input_dir / "g.csv").write_text("file\ncar000_01\n")
    with pytest.raises(InputError, match=r"g.csv must have the columns \['file', 'who'\]"):
        load(project)


def test_an_empty_group_has_a_name(make_competition: MakeCompetition) -> None:
    project = make_competition(num_groups=1, num_views=1, id_pattern="(?P<group>x?).*")
    assert load(project).train[0].group == NO_GROUP


def test_masks_beside_photos_are_no_photos_and_others_are_left_out(make_competition: MakeCompetition) -> None:
    project = make_competition(num_groups=2, num_views=1, mask_format="png", photo_format="png")
    for path in sorted((project.input_dir / "train_masks").iterdir()):
        path.rename(project.input_dir / "train" / path.name)
    photo = project.input_dir / "train" / "car000_01.png"
    shutil.copy(photo, photo.with_name("car000_01_copy.png"))
    dataset = load_dataset(project.configs_dir).model_copy(update={"masks": "train/{id}_mask.png"})
    assert "car000_01_copy" in str(survey(dataset, project.input_dir)[1])
    dataset = dataset.model_copy(update={"leave_out": ("train/{id}_copy.png",)})
    catalog = load_catalog(dataset, project.input_dir)
    assert [s.id for s in catalog.train] == ["car000_01", "car001_01"]
    assert all(s.mask_path and s.mask_path.name == f"{s.id}_mask.png" for s in catalog.train)


def test_rows_an_object_photos_without_a_row_and_minus_one(make_competition: MakeCompetition) -> None:
    project = make_competition(num_groups=3, num_views=1, mask_format=None, num_test_groups=1)
    rows = "img,rle_mask\ncar000_01.jpg,1 2\ncar000_01.jpg,2 5 20 1\ncar001_01.jpg,-1\n"
    (project.input_dir / "train_masks.csv").write_text(rows)
    dataset = load_dataset(project.configs_dir)
    faults = " ".join(survey(dataset, project.input_dir)[1])
    assert "Received: two for car000_01.jpg" in faults and "none for car002_01" in faults
    dataset = dataset.model_copy(update={"unite_masks": True, "csv_omits_empty": True})
    catalog = load_catalog(dataset, project.input_dir)
    assert [s.mask_rles for s in catalog.train] == [("1 6 20 1",), ("",), ("",)]


def test_a_dataset_may_have_no_test_photos(make_competition: MakeCompetition) -> None:
    project = make_competition(num_groups=2, num_views=1)
    shutil.rmtree(project.input_dir / "test")
    dataset = load_dataset(project.configs_dir).model_copy(update={"test_photos": None})
    assert load_catalog(dataset, project.input_dir).test == ()


def test_rows_without_a_sample_submission(make_competition: MakeCompetition) -> None:
    catalog = load(make_competition(num_groups=2, num_test_groups=1, num_views=2, classes=("a", "b")))
    assert default_header(catalog.dataset) == ["img", "class", "rle_mask"]
    assert default_rows(catalog.dataset, catalog.test) == [
        ("test000_01.jpg", "a"),
        ("test000_01.jpg", "b"),
        ("test000_02.jpg", "a"),
        ("test000_02.jpg", "b"),
    ]


def test_metadata_is_by_group(make_competition: MakeCompetition, caplog: pytest.LogCaptureFixture) -> None:
    project = make_competition(num_groups=1, num_test_groups=1)
    metadata = read_metadata(project.input_dir)
    assert metadata.to_dict("index") == {name: {"year": "2017", "make": "Tiny"} for name in ("car000", "test000")}
    path = project.input_dir / "metadata.csv"
    with zipfile.ZipFile(path.with_name("metadata.csv.zip"), "w") as archive:  # as Kaggle has it
        archive.write(path, "metadata.csv")
    path.unlink()
    assert read_metadata(project.input_dir).equals(metadata)
    path.write_text("id,make\na,X\nb,Y\na,X\n")
    with pytest.raises(InputError, match=r"metadata.csv must have one row a group. Received: two for a"):
        read_metadata(project.input_dir)
    path.write_text("hospital\nX\n")  # of other things: no reason to stop a notebook
    assert read_metadata(project.input_dir).empty and "no column id" in caplog.text
    path.unlink()
    path.with_name("metadata.csv.zip").unlink()
    assert read_metadata(project.input_dir).empty
