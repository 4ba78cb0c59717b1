"""One fault each, by name; what is on record is not read again."""

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import unets.dataset.checks
from unets.config import CsvSource, DatasetConfig, SubmissionConfig, load_dataset
from unets.data.image import ImageFile, ImageKind
from unets.data.samples import read_mask
from unets.dataset.checks import MAX_FAULTS_PRINTED, CheckReport, check_data
from unets.dataset.manifest import import_data, read_manifest
from unets.errors import InputError
from unets.store.paths import Project
from unets.workers.pool import use_jobs

MakeCompetition = Callable[..., Project]


def check(project: Project) -> CheckReport:
    return check_data(project, load_dataset(project.configs_dir))


def check_one_fault(project: Project, *parts: str) -> None:
    report = check(project)
    assert len(report.faults) == 1, report.render()
    for part in parts:
        assert part in report.faults[0]
    assert not report.is_clean


def truncate(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


@pytest.mark.parametrize(("mask_format", "jobs"), [("gif", 1), ("png", 2)])
def test_clean_in_several_processes(
    make_competition: MakeCompetition, monkeypatch: pytest.MonkeyPatch, mask_format: str, jobs: int
) -> None:
    monkeypatch.setattr(unets.dataset.checks, "CHUNK_SIZE", 5)
    with use_jobs(jobs):
        report = check(make_competition(num_groups=3, mask_format=mask_format))
    assert report.is_clean and report.notes == ()
    # 3 groups x 4 views, 2 test groups x 4 views
    assert report.render() == "12 training and 8 test images: 0 faults"


@pytest.mark.parametrize("share", [0.3, 0.97])
@pytest.mark.parametrize("image_format", ["jpg", "png"])
def test_truncated_image(make_competition: MakeCompetition, image_format: str, share: float) -> None:
    project = make_competition(num_groups=2, size_hw=(320, 480), num_views=1, image_format=image_format)
    truncate(project.input_dir / "train" / f"car000_01.{image_format}", share)
    check_one_fault(project, f"train/car000_01.{image_format} must be whole")


def change_pixel(path: Path, value: int) -> None:
    values = np.array(Image.open(path))
    values[0, 0] = value
    Image.fromarray(values).save(path)


@pytest.mark.parametrize(
    ("name", "damage", "fault"),
    [
        (
            "test/test000_01.jpg",
            lambda path: Image.new("RGB", (64, 96)).save(path),  # Pillow: (width, height)
            "must have (height, width) (64, 96). Received: (96, 64)",
        ),
        (
            "train_masks/car000_01_mask.png",
            lambda path: change_pixel(path, 128),
            "must hold 0 to 1 for ('car',). Received: also [128]",
        ),
        ("sample_submission.csv", lambda path: path.unlink(), "must exist"),
    ],
    ids=["another size", "a value of no class", "no sample"],
)
def test_one_fault(make_competition: MakeCompetition, name: str, damage: Callable[[Path], object], fault: str) -> None:
    project = make_competition(num_groups=2, mask_format="png", with_csv=False)
    damage(project.input_dir / name)
    check_one_fault(project, f"{name} {fault}")


@pytest.mark.parametrize(
    ("old", "new", "faults"),
    [
        (
            "test000_01.jpg,a,1 1\n",
            "test009_01.jpg,a,1 1\n",
            ["rows for test images only. Received: test009_01.jpg, a", "Received: none for test000_01.jpg, a"],
        ),
        ("test000_01.jpg,b,1 1\n", "", ["a row for each test image. Received: none for test000_01.jpg, b"]),
        (
            "test000_01.jpg,b,1 1\n",
            "test000_01.jpg,b,1 1\n" * 2,
            ["one row a mask, or `submission.row` be 'object'. Received: 2 of test000_01.jpg, b"],
        ),
        ("rle_mask\n", "predicted\n", ["must have the columns ['img', 'class', 'rle_mask']"]),
        ("rle_mask\n", "rle_mask,Usage\n", ["Received: ['img', 'class', 'rle_mask', 'Usage']"]),
    ],
    ids=["another image", "a class lacks", "twice", "another header", "a column more"],
)
def test_faults_of_the_sample_submission(
    make_competition: MakeCompetition, old: str, new: str, faults: list[str]
) -> None:
    project = make_competition(num_groups=2, classes=("a", "b"))
    path = project.input_dir / "sample_submission.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    found = check(project).faults
    assert len(found) == len(faults) and all(words in fault for words, fault in zip(faults, found, strict=True)), found


def test_many_equal_images_are_not_all_named(make_competition: MakeCompetition) -> None:
    project = make_competition(num_groups=2)
    for number in range(2, 8):
        shutil.copy(
            project.input_dir / "train" / "car000_01.jpg", project.input_dir / "test" / f"test000_{number:02d}.jpg"
        )
    (note,) = check(project).notes
    assert note.startswith("1 set of byte-identical images, 1 of them across groups, which leak")
    named = " = ".join(["train/car000_01", "test/test000_02", "test/test000_03", "test/test000_04"])
    assert note.endswith(f": {named} = 3 more")


def test_empty_and_odd_masks_are_noted(make_competition: MakeCompetition) -> None:
    project = make_competition(num_groups=6, mask_format="png")
    for name, value in (("car000_01", 0), ("car000_02", 1)):
        Image.new("L", (96, 64), value).save(project.input_dir / "train_masks" / f"{name}_mask.png")
    report = check(project)
    assert report.is_clean
    assert report.notes[0] == "1 empty mask: car000_01"
    assert report.notes[1].startswith("1 mask far outside the usual share")
    assert report.notes[1].endswith(": car000_02 (1.0000)")


def test_masks_of_one_size_are_not_odd_for_a_few_pixels_more(make_competition: MakeCompetition) -> None:
    project = make_competition(num_groups=10, mask_format="png")
    masks = sorted((project.input_dir / "train_masks").iterdir())
    for number, path in enumerate(masks):
        mask = np.zeros((64, 96), dtype=np.uint8)
        mask[:32] = 1
        mask[32, : {0: 3, 1: 90}.get(number, 0)] = 1  # a tenth of a percent more, and 3 percent
        Image.fromarray(mask).save(path)
    assert not [note for note in check(project).notes if "usual share" in note]
    Image.fromarray(np.pad(np.ones((40, 96), dtype=np.uint8), ((0, 24), (0, 0)))).save(masks[2])  # a quarter more
    (note,) = (note for note in check(project).notes if "usual share" in note)
    assert note.startswith("1 mask far outside")


def test_classes_that_no_mask_holds_are_noted(make_competition: MakeCompetition) -> None:
    project = make_competition(num_groups=2, mask_format="png", classes=("car", "bus"))
    dataset = load_dataset(project.configs_dir)
    assert not check(project).notes
    fields = {"classes": ("car", "bus", "van", "cab")}
    fields["source"] = dataset.source.model_copy(update={"values": (1, 2, 3, 4)})
    report = check_data(project, dataset.model_copy(update=fields))
    assert report.notes[0] == "no training image holds van, cab: no net can learn it"
    truncate(project.input_dir / "train_masks" / "car000_01_mask.png", 0.5)  # which may hold them
    assert not check_data(project, dataset.model_copy(update=fields)).notes


def test_what_is_on_record_is_not_read_again(make_competition: MakeCompetition) -> None:
    project = make_competition(num_groups=2)
    assert check(project).num_skipped == 0
    content = project.checked_path.read_text()
    image = project.input_dir / "test" / "test000_01.jpg"
    # same size, same time, other bytes: only a reader would notice
    status = image.stat()
    Image.new("RGB", (96, 63)).save(image)
    image.write_bytes(image.read_bytes() + bytes(status.st_size - image.stat().st_size))
    os.utime(image, ns=(status.st_atime_ns, status.st_mtime_ns))
    report = check(project)
    assert report.is_clean and report.num_skipped == 16  # (2 + 2) groups x 4 views
    assert "(16 of them unchanged since the last check)" in report.render()
    assert project.checked_path.read_text() == content
    os.utime(image, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    report = check(project)
    assert report.num_skipped == 15 and "test000_01.jpg must " in report.faults[0]


def test_a_changed_declaration_is_checked_again(make_competition: MakeCompetition) -> None:
    project = make_competition(num_groups=2)
    dataset = load_dataset(project.configs_dir)
    check_data(project, dataset)
    assert check_data(project, dataset.model_copy(update={"num_folds": 3})).num_skipped == 16
    report = check_data(project, dataset.model_copy(update={"size_hw": (64, 95)}))
    assert report.num_skipped == 0 and len(report.faults) == 16


def test_a_kill_loses_the_chunk_at_work_alone(
    make_competition: MakeCompetition, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_competition(num_groups=2)  # 16 images
    monkeypatch.setattr(unets.dataset.checks, "CHUNK_SIZE", 3)
    opened: list[Path] = []

    def open_nine(path: Path, kind: ImageKind) -> ImageFile:
        opened.append(path)
        if len(opened) == 10:
            raise KeyboardInterrupt
        return ImageFile(path, kind)

    monkeypatch.setattr(unets.dataset.checks, "ImageFile", open_nine)
    with pytest.raises(KeyboardInterrupt), use_jobs(1):
        check(project)
    monkeypatch.setattr(unets.dataset.checks, "ImageFile", ImageFile)
    recorded = project.checked_path.read_text()
    project.checked_path.write_text(f'rubbish\n{{"id": 3}}\n{recorded[:-5]}')  # and the last line is torn
    report = check(project)
    assert report.is_clean and report.num_skipped == 8  # 3 chunks of 3, less the torn line
    assert len(project.checked_path.read_text().splitlines()) == 16


def test_many_faults_go_to_a_file(make_competition: MakeCompetition) -> None:
    project = make_competition(num_groups=12, num_views=5)  # 60 training images
    for path in (project.input_dir / "train").iterdir():
        truncate(path, 0.7)
    report = check(project)
    assert len(report.faults) == 60
    assert report.render().count("  fault: ") == MAX_FAULTS_PRINTED
    assert f"... and 10 more, all of them in {project.faults_path}" in report.render()
    assert len(project.faults_path.read_text().splitlines()) == 60
    for path in list((project.input_dir / "train").iterdir())[:20]:
        shutil.copy(project.input_dir / "test" / "test000_01.jpg", path)
    assert len(check(project).faults) == 40 and not project.faults_path.exists()


def test_images_of_16_bits_need_a_range(make_competition: Callable[..., Project]) -> None:
    project = make_competition(num_groups=2, num_views=1, image_format="png", channels="grey")
    image = project.input_dir / "train" / "car000_01.png"
    Image.fromarray(np.array(Image.open(image)).astype(np.uint16) * 100).save(image)
    check_one_fault(project, "car000_01.png must have 8 bits, or `value_range` say", "Received: uint16")
    dataset = load_dataset(project.configs_dir).model_copy(update={"value_range": (0, 25500)})
    assert check_data(project, dataset).is_clean


def test_images_that_cannot_be_read_at_all_are_named(make_competition: MakeCompetition) -> None:
    project = make_competition(num_groups=2)
    (project.input_dir / "test" / "test001_04.jpg").write_bytes(b"")
    (project.input_dir / "train" / "car000_01.jpg").write_text("<html>404</html>")
    with pytest.raises(InputError, match="every image must be readable") as error:
        check(project)
    assert "test/test001_04.jpg must not be empty. Received: 0 bytes" in str(error.value)
    assert "train/car000_01.jpg must be a whole image. Received: 16 bytes of something else" in str(error.value)


def test_what_is_no_file_is_said_and_ends_nothing(
    make_competition: MakeCompetition, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    project = make_competition(num_groups=4, num_views=2)
    train = project.input_dir / "train"
    for name in ("car000_01.jpg", "car000_02.jpg", "car001_01.jpg", "car001_02.jpg"):
        (train / name).unlink()
    os.mkfifo(train / "car000_01.jpg")
    (train / "car000_02.jpg").symlink_to("car000_02.jpg")
    (train / "car001_01.jpg").symlink_to("nothing")
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(train)  # the names of sockets are short
        listener.bind("car001_02.jpg")
    assert check(project).num_train == 4
    assert "4 files are left out: a mask of no image that is here" in caplog.text
    assert "4 files are left out: a link to nothing, a pipe or a device" in caplog.text


def test_a_mask_that_changed_behind_the_table_is_named(make_competition: MakeCompetition) -> None:
    project = make_competition(num_groups=2, mask_format="bmp", with_csv=False)
    dataset = load_dataset(project.configs_dir)
    (sample, *_) = read_manifest(project, dataset).train
    (path,) = sample.mask_paths
    mask, content, before = read_mask(sample), path.read_bytes(), path.stat()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(InputError, match=r"car000_01_mask\.bmp must be as it was imported\. .* Run `unets import`"):
        read_mask(sample)
    import_data(project, dataset, read_all=True)
    assert (read_mask(read_manifest(project, dataset).train[0]) != mask).sum() == 1


def test_rows_of_objects_in_joined_csv_are_noted(tmp_path: Path) -> None:
    project = Project.below(tmp_path, "tables", input_dir=tmp_path / "input")
    (tmp_path / "input").mkdir()
    for number in range(4):
        Image.new("L", (8, 8)).save(tmp_path / f"input/{number}.png")
    for name, rows in {"a": "0.png,1 3\n0.png,6 2\n1.png,9 2\n", "b": "2.png,1 1\n3.png,\n"}.items():
        (tmp_path / f"input/{name}.csv").write_text(f"image,runs\n{rows}")
    form = {"image_column": "image", "rle_column": "runs", "cell": "{id}.png"}
    source = CsvSource(path="a.csv|b.csv", **form)
    fields = {"classes": ("cell",), "size_hw": (8, 8), "channels": "grey"}
    for row, count in {"image": 1, "object": 0}.items():
        dataset = DatasetConfig(source=source, submission=SubmissionConfig(row=row, sample=None, **form), **fields)
        report = check_data(project, dataset)
        assert report.is_clean
        assert len([note for note in report.notes if "several rows of an image (1 further ones)" in note]) == count
