"""The manifest: what is imported, that changes are noticed and copies are none, and each kind of fault by name."""

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unets.config import DatasetConfig, load_dataset
from unets.data.samples import IGNORE, read_mask, read_soft_target
from unets.dataset.manifest import Manifest, read_manifest
from unets.errors import InputError
from unets.store.paths import Project

MakeCompetition = Callable[..., Project]
DRAWN = {"source": {"values": (9,)}}  # no class indices: masks are drawn at import


def load(project: Project, **fields: object) -> Manifest:
    dataset = load_dataset(project.configs_dir)
    return read_manifest(project, DatasetConfig(**(dataset.model_dump() | fields)))


def load_source(project: Project, **source: object) -> Manifest:
    dataset = load_dataset(project.configs_dir).model_dump()
    return load(project, source=dataset["source"] | source)


def save(path: Path, values: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(values, dtype=np.uint8)).save(path)


def test_lists_ids_groups_views_and_masks(make_competition: MakeCompetition) -> None:
    project = make_competition(num_groups=2, num_test_groups=1, num_views=2)
    manifest = load(project)
    assert [(s.id, s.group, s.view) for s in manifest.train] == [
        ("car000_01", "car000", "01"),
        ("car000_02", "car000", "02"),
        ("car001_01", "car001", "01"),
        ("car001_02", "car001", "02"),
    ]
    assert [s.id for s in manifest.test] == ["test000_01", "test000_02"]
    first = manifest.train[0]
    assert first.image_path.name == "car000_01.jpg"
    assert [path.name for path in first.mask_paths] == ["car000_01_mask.gif"]  # canonical: as it lies in INPUT
    assert manifest.test[0].masks == ()
    with project.samples_path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 and rows[0]["image"] == "train/car000_01.jpg" and rows[-1]["split"] == "test"


def test_shares_are_targets_and_a_half_counts_in_scores(make_competition: MakeCompetition) -> None:
    project = make_competition(num_groups=1, num_views=2, size_hw=(32, 48), mask_format="png", with_csv=False)
    path = project.input_dir / "train_masks" / "car000_01_mask.png"
    save(path, [[0] * 24 + [1] * 8 + [2] * 8 + [4] * 8] * 32)
    manifest = load_source(project, full_share=4)
    first, second = manifest.train
    # 1 / 4, 2 / 4 and all; pixels of two columns
    target = read_soft_target(first, manifest.dataset, (16, 24))
    assert target[0, ::4, 0].tolist() == [0, 0, 0, 64, 128, 255]
    assert read_mask(first)[0, ::8].tolist() == [0, 0, 0, 0, 1, 1]
    assert set(np.unique(read_mask(second))) == {0}  # of the other all pixels hold 0 or 1 of 4
    assert not manifest.test[0].has_shares
    save(path, [[5] * 48] * 32)
    with pytest.raises(InputError, match=r"must hold shares of 0 to 4, as `source.full_share` says. Received: 5 to 5"):
        load_source(project, full_share=4)


def test_every_file_is_accounted_for(make_competition: MakeCompetition) -> None:
    project = make_competition(num_groups=2, num_views=1, num_test_groups=1)
    (project.input_dir / "train" / ".DS_Store").write_bytes(b"x")
    load(project)
    with project.account_path.open(newline="") as file:
        account = {row["file"]: row["is"] for row in csv.DictReader(file)}
    files = {path.relative_to(project.input_dir).as_posix() for path in project.input_dir.rglob("*") if path.is_file()}
    assert account.keys() == files
    assert account["train/car000_01.jpg"] == "image" and account["train_masks/car000_01_mask.gif"] == "mask"
    assert account["test/test000_01.jpg"] == "test image"
    assert account["sample_submission.csv"] == "sample submission"
    assert account["train/.DS_Store"] == "left out: a hidden or system file"
    assert account["metadata.csv"] == "left out: neither image nor mask"


def test_training_needs_no_test_images(make_competition: MakeCompetition) -> None:
    project = make_competition(num_groups=2)
    shutil.rmtree(project.input_dir / "test")
    assert load(project).test == ()


@pytest.mark.parametrize("order", ["row", "column"])
@pytest.mark.parametrize("classes", [("car",), ("a", "b")])
def test_masks_from_csv_alone_are_drawn_once(
    make_competition: MakeCompetition, order: str, classes: tuple[str, ...]
) -> None:
    options = {"num_groups": 2, "num_views": 1, "order": order, "classes": classes}
    project = make_competition(mask_format="png", **options)
    from_files = [read_mask(sample) for sample in load(project).train]
    form = {"cell": "{id}.jpg", "order": order, "class_column": "class" if len(classes) > 1 else None}
    (project.input_dir / "train_masks").rename(project.input_dir / "elsewhere")
    from_csv = load(project, source={"format": "csv", "path": "train_masks.csv", **form}).train
    for mask_hw, sample in zip(from_files, from_csv, strict=True):
        assert sample.mask_paths[0] == project.masks_dir / f"{sample.id}.png"
        np.testing.assert_array_equal(read_mask(sample), mask_hw)
        assert set(mask_hw.ravel().tolist()) == set(range(len(classes) + 1))


def test_a_mask_file_a_class(make_competition: MakeCompetition) -> None:
    project = make_competition(num_groups=2, num_views=1, mask_format="png", with_csv=False, classes=("a", "b"))
    for name, first in (("a", 255), ("b", 0)):
        for id_ in ("car000_01", "car001_01"):
            values = np.full((64, 96), 255)
            values[:, 0], values[:, 2:] = first, 0
            save(project.input_dir / "by_class" / name / f"{id_}.png", values)
    fields = load_dataset(project.configs_dir).model_dump()
    source = fields["source"] | {"masks": ("by_class/*",), "leave_out": ("train_masks/*",), "values": (255,)}
    sample = load(project, source=source, overlapping=True, size_hw=None).train[0]
    assert [path.name for path in sample.mask_paths] == ["car000_01.1.png", "car000_01.2.png"]
    assert read_mask(sample)[0, :3].tolist() == [[1, 0], [1, 1], [0, 0]]
    dataset = DatasetConfig(**(fields | {"source": source, "overlapping": True, "size_hw": None}))
    assert read_soft_target(sample, dataset, (64, 96))[0, :3].tolist() == [[255, 0], [255, 255], [0, 0]]


def test_reads_through_zips_to_the_same_bytes(make_competition: MakeCompetition) -> None:
    project = make_competition(num_groups=2, num_views=2)
    unpacked = load(project)
    for name in ("train", "train_masks", "test"):
        shutil.make_archive(str(project.input_dir / name), "zip", project.input_dir, name)
        shutil.rmtree(project.input_dir / name)
    (project.input_dir / "train").mkdir()  # an empty folder beside the zip does not hide it
    packed = load(project)
    assert [s.id for s in packed.train] == [s.id for s in unpacked.train]
    assert "train.zip" in packed.train[0].image_path.parts
    assert packed.train_hashes == unpacked.train_hashes
    np.testing.assert_array_equal(read_mask(packed.train[0]), read_mask(packed.train[0]))


def test_replaced_bytes_are_noticed_and_a_copy_is_no_change(make_competition: MakeCompetition) -> None:
    project = make_competition(num_groups=2, num_views=2, mask_format="png", image_format="png")
    before = load(project)
    image, mask = before.train[0].image_path, before.train[1].mask_paths[0]
    for path in project.input_dir.rglob("*"):  # as `cp -r` leaves them
        os.utime(path)
    assert load(project).train_hashes == before.train_hashes
    content = image.read_bytes()
    shutil.copy(before.train[3].image_path, image)
    replaced = load(project)
    assert replaced.train_hashes != before.train_hashes
    assert [a.image_hash != b.image_hash for a, b in zip(before.train, replaced.train, strict=True)] == [1, 0, 0, 0]
    image.write_bytes(content)
    assert load(project).train_hashes == before.train_hashes
    values = np.array(Image.open(mask))
    values[0, 0] ^= 1
    Image.fromarray(values).save(mask)
    assert load(project).train_hashes != before.train_hashes


def test_a_replaced_mask_that_is_drawn_is_drawn_again(make_competition: MakeCompetition) -> None:
    project = make_competition(num_groups=2, num_views=1, mask_format="png", **DRAWN)
    before = load(project)
    path = project.input_dir / "train_masks" / "car000_01_mask.png"
    values = np.array(Image.open(path))
    values[0, 0] = 9
    Image.fromarray(values).save(path)
    after = load(project)
    assert read_mask(after.train[0])[0, 0] == 1 and read_mask(after.train[0]).sum() > 1
    assert after.train_hashes != before.train_hashes
    assert after.train[1].mask_hash == before.train[1].mask_hash


def test_nothing_is_imported_again_where_nothing_changed(make_competition: MakeCompetition) -> None:
    project = make_competition(num_groups=2, num_views=1, mask_format="png", **DRAWN)
    load(project)
    times = [project.samples_path.stat().st_mtime_ns, (project.masks_dir / "car000_01.png").stat().st_mtime_ns]
    load(project)
    assert times == [project.samples_path.stat().st_mtime_ns, (project.masks_dir / "car000_01.png").stat().st_mtime_ns]
    (project.input_dir / "notes.txt").write_text("a new file")  # looked at again, but the mask stays as it is
    load(project)
    assert times[0] != project.samples_path.stat().st_mtime_ns
    assert times[1] == (project.masks_dir / "car000_01.png").stat().st_mtime_ns


def test_what_other_code_has_drawn_is_drawn_again(make_competition: MakeCompetition) -> None:
    project = make_competition(num_groups=2, num_views=1, mask_format="png", **DRAWN)
    path = load(project).train[0].mask_paths[0]
    right = path.read_bytes()
    Image.fromarray(np.zeros_like(np.array(Image.open(path)))).save(path)  # as a fault of an importer has drawn it
    project.import_path.write_text(json.dumps(json.loads(project.import_path.read_text()) | {"code": "before"}))
    assert read_mask(load(project).train[0]).sum() > 0 and path.read_bytes() == right


def test_an_import_that_was_stopped_goes_on(make_competition: MakeCompetition) -> None:
    project = make_competition(num_groups=4, num_views=1, mask_format="png", **DRAWN)
    path = project.input_dir / "train_masks" / "car003_01_mask.png"
    content = path.read_bytes()
    save(path, np.full((64, 96), 7))
    with pytest.raises(InputError, match=r"car003_01_mask.png must hold the values that `source` declares alone.*: 7"):
        load(project)
    drawn = sorted(path.name for path in project.masks_dir.glob("*.png"))
    assert drawn and "car003_01.png" not in drawn and not project.samples_path.exists()
    path.write_bytes(content)
    (project.masks_dir / ".part-0123car003_01.png").write_bytes(b"as a kill leaves it")
    assert len(load(project).train) == 4
    assert not list(project.masks_dir.glob(".*"))


def test_a_lock_that_is_a_link_is_named(make_competition: MakeCompetition) -> None:
    """As where a models folder is put together from links to another's files."""
    project = make_competition(num_groups=2)
    load(project)
    lock_path = project.models_dir / ".import.lock"
    lock_path.unlink(missing_ok=True)
    lock_path.symlink_to("elsewhere")
    load(project)  # nothing changed: nothing is imported
    (project.input_dir / "train" / "car000_01.jpg").unlink()
    with pytest.raises(InputError, match=r"\.import\.lock must be a plain file, .* Delete it"):
        load(project)


def test_junk_is_no_image_and_symlinked_folders_are_followed(make_competition: MakeCompetition) -> None:
    project = make_competition(num_groups=2, num_views=1, num_test_groups=1)
    elsewhere = project.input_dir.parent / "elsewhere"
    (project.input_dir / "train").rename(elsewhere)
    (project.input_dir / "train").symlink_to(elsewhere, target_is_directory=True)
    (elsewhere / "loop").symlink_to(elsewhere, target_is_directory=True)
    (elsewhere / "._car000_01.jpg").write_bytes(b"\0")
    (elsewhere / "Thumbs.db").write_bytes(b"\0")
    assert [s.id for s in load(project).train] == ["car000_01", "car001_01"]


def test_missing_folder_and_input(make_competition: MakeCompetition) -> None:
    project = make_competition(num_groups=2, num_test_groups=1)
    shutil.rmtree(project.input_dir / "train")
    with pytest.raises(InputError, match=r"`--input` must hold what `source` says .* Received: 8 x train_masks/"):
        load(project)
    shutil.rmtree(project.input_dir)
    with pytest.raises(InputError, match=r"`--input` must be the folder of the data set's files. Received: .*input"):
        load(project)


def test_an_image_or_a_mask_alone_is_left_out_and_said(
    make_competition: MakeCompetition, caplog: pytest.LogCaptureFixture
) -> None:
    project = make_competition(num_groups=2)
    masks = project.input_dir / "train_masks"
    (masks / "car001_02_mask.gif").rename(masks / "car009_02_mask.gif")
    assert len(load(project).train) == 7
    assert "1 files are left out: an image without a mask" in caplog.text
    assert "1 files are left out: a mask of no image that is here" in caplog.text
    for path in (project.input_dir / "train").glob("car000*"):
        path.unlink()  # of one car, each view would be all of a name
    assert {s.id: Path(s.masks[0]).name for s in load(project).train} == {
        f"car001_0{view}": f"car001_0{view}_mask.gif" for view in (1, 3, 4)
    }


def test_ids_that_do_not_fit_or_are_there_twice(make_competition: MakeCompetition) -> None:
    project = make_competition(num_groups=2)
    test = project.input_dir / "test"
    (test / "test000_01.jpg").rename(test / "Test-1.jpg")
    with pytest.raises(InputError, match=r"`source.group` must fit every id. .* does not fit 'Test-1'"):
        load(project)
    (test / "Test-1.jpg").rename(test / "test000_02.png")
    with pytest.raises(InputError, match=r"each image must have a name of its own. .*test/test000_02"):
        load(project)


def test_a_table_by_hand(tmp_path: Path, make_competition: MakeCompetition) -> None:
    project = make_competition(num_groups=1, num_views=1, mask_format="png", size_hw=(32, 32))
    for name in ("x", "x2", "x3"):
        save(project.input_dir / "odd" / f"{name}.png", np.zeros((4, 4, 3)))
    save(project.input_dir / "odd" / "y.png", [[0, 255, 0, 128]] * 4)
    fields = {"size_hw": None, "source": {"format": "table", "values": (255,), "ignored": (128,)}}
    path = project.configs_dir / "samples.csv"
    rows = "id,split,image,mask,group\na,train,odd/x.png,odd/y.png,g\nb,train,odd/x2.png,odd/y.png,\n"
    path.write_text(rows + "c,test,odd/x3.png,,\n")
    manifest = load(project, **fields, has_ignored=True)
    samples = [(s.id, s.group) for s in (*manifest.train, *manifest.test)]
    assert samples == [("a", "g"), ("b", "b"), ("c", "c")]
    assert read_mask(manifest.train[0])[0].tolist() == [0, 1, 0, IGNORE]
    path.write_text("id,split,image,mask\na,train,odd/x.png,odd/z.png\nb,valid,odd/x.png,\nc,train,odd/x2.png,\n")
    with pytest.raises(InputError, match="3 faults") as error:
        load(project, **fields, has_ignored=True)
    for said in (
        "row 2: no file 'odd/z.png'",
        "`split` must be train or test. Received: 'valid'",
        "`mask` must be given",
    ):
        assert said in str(error.value)
    path.write_text("id,split,image,mask\n../a,train,odd/x.png,odd/y.png\nb,train,odd/x2.png,odd/y.png\n")
    with pytest.raises(InputError, match=r"the id '../a' must"):
        load(project, **fields, has_ignored=True)
    path.write_text("id,split,image,mask\na,test,odd/x.png,odd/y.png\n")
    with pytest.raises(InputError, match="must name masks in `mask`"):
        load(project, **fields, has_ignored=True)
    path.write_text("id,image\na,odd/x.png\n")
    with pytest.raises(InputError, match="must have the columns image,mask"):
        load(project, **fields, has_ignored=True)


def test_masks_of_a_table_by_hand_may_be_one_a_class(tmp_path: Path, make_competition: MakeCompetition) -> None:
    project = make_competition(num_groups=1, num_views=1, mask_format="png", size_hw=(32, 32))
    for name in ("x", "x2"):
        save(project.input_dir / "odd" / f"{name}.png", np.zeros((1, 3, 3)))
    for name, values in {"a": [1, 1, 0], "b": [0, 1, 0]}.items():
        save(project.input_dir / "odd" / f"{name}.png", [values])
    rows = [f"{name},train,odd/{name}.png,odd/a.png|odd/b.png" for name in ("x", "x2")]
    (project.configs_dir / "samples.csv").write_text("\n".join(["id,split,image,mask", *rows]))
    fields = {"size_hw": None, "classes": ("a", "b"), "submission": {"class_column": "class"}}
    manifest = load(project, **fields, source={"format": "table"}, overlapping=True)
    assert read_mask(manifest.train[0]).tolist() == [[[1, 0], [1, 1], [0, 0]]]
    with pytest.raises(InputError, match="a pixel must be of one class at most"):
        load(project, **fields, source={"format": "table", "values": (1, 2)})


@pytest.mark.parametrize("id_", ["../../x", "/x", "a\\b", ".x", "a\nb", "x" * 201])
def test_an_id_that_leaves_its_folder_is_refused(make_competition: MakeCompetition, id_: str) -> None:
    project = make_competition(num_groups=2, num_views=1)
    with (project.input_dir / "samples.csv").open("w", newline="") as file:
        rows = [
            [name, "train", f"train/car00{n}_01.jpg", f"train_masks/car00{n}_01_mask.gif"]
            for n, name in enumerate((id_, "b"))
        ]
        csv.writer(file).writerows([["id", "split", "image", "mask"], *rows])
    with pytest.raises(InputError, match=r"the id .* must "):
        load(project, source={"format": "table", "values": (1,)})
    assert not (project.models_dir.parent / "x.png").exists()
