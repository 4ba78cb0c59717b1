import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.submissions import read_submission
from unets.config import DatasetConfig, MasksSource, PolygonSource, Source, SubmissionConfig, TableSource, load_dataset
from unets.data.rle import encode_rle
from unets.data.samples import IGNORE
from unets.dataset.manifest import read_manifest
from unets.ensemble.score import score_submission
from unets.errors import InputError
from unets.store.paths import Project
from unets.workers.pool import use_jobs


def save(path: Path, values: object, dtype: type = np.uint8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(values, dtype=dtype)).save(path)


def write_rows(path: Path, rows: list[list[str]]) -> Path:
    text = "".join(",".join(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


@pytest.fixture
def tiny(make_competition: Callable[..., Project]) -> tuple[Project, DatasetConfig]:
    project = make_competition(num_groups=2, num_test_groups=2, num_views=2)
    return project, load_dataset(project.configs_dir)


def test_the_truth_itself_scores_one(tiny: tuple[Project, DatasetConfig]) -> None:
    project, dataset = tiny
    truth_path = project.input_dir / "truth" / "test_masks.csv"
    score = score_submission(truth_path, truth_path, dataset, read_manifest(project, dataset).test)
    assert score.interval.mean == 1.0
    assert score.ids == ("test000_01", "test000_02", "test001_01", "test001_02")
    assert score.groups == ("test000", "test000", "test001", "test001")
    numbers = {"mean": 1.0, "low": None, "high": None, "num_images": 4, "num_groups": 2}
    pixels = {"mean_dice": 1.0, "mean_iou": 1.0, "classes": {"car": {"dice": 1.0, "iou": 1.0}}}
    assert score.summarize() == {"metric": "dice", **numbers, "pixels": pixels}


def test_csv_and_mask_files_as_truth_agree(tiny: tuple[Project, DatasetConfig], tmp_path: Path) -> None:
    project, dataset = tiny
    rles = read_submission(project.input_dir / "train_masks.csv", dataset)
    # every submitted mask is the upper left pixel: Dice is 0 where it is background
    rows = [["img", "rle_mask"], *([f"{id_}.jpg", "1 1"] for id_ in rles)]
    rows[1][1] = rles["car000_01"][0]
    path = write_rows(tmp_path / "submission.csv.gz", rows)
    with use_jobs(2):
        by_csv = score_submission(path, project.input_dir / "train_masks.csv", dataset, ())
    by_files = score_submission(path, project.input_dir / "train_masks", dataset, ())
    assert by_csv.values.tolist() == by_files.values.tolist() == [1.0, 0.0, 0.0, 0.0]
    assert by_csv.interval == by_files.interval
    assert by_csv.interval.mean == 0.25


def test_each_class_is_scored_and_sizes_may_come_from_images(
    make_competition: Callable[..., Project], tmp_path: Path
) -> None:
    project = make_competition(num_groups=2, num_views=1, classes=("cat", "dog"), size_hw=(8, 8))
    dataset = load_dataset(project.configs_dir).model_copy(update={"size_hw": None})
    samples = read_manifest(project, dataset).train
    (project.input_dir / "train_masks" / "car001_01_mask.gif").unlink()
    known = (project.input_dir / "train_masks.csv").read_text().splitlines(keepends=True)
    (project.input_dir / "train_masks.csv").write_text("".join(known[:3]))
    ((cat, dog),) = read_submission(project.input_dir / "train_masks.csv", dataset).values()
    assert cat
    assert dog
    rows = [["img", "class", "rle_mask"], ["car000_01.jpg", "dog", dog], ["car000_01.jpg", "cat", ""]]
    path = write_rows(tmp_path / "submission.csv", rows)
    for truth in ("train_masks.csv", "train_masks"):
        # cat: 0, dog: 1
        score = score_submission(path, project.input_dir / truth, dataset, samples)
        assert score.values.tolist() == [0.5]


def test_ids_that_differ_are_listed(tiny: tuple[Project, DatasetConfig], tmp_path: Path) -> None:
    project, dataset = tiny
    ids = ["test000_01", "test000_02", "test001_01", "other000_01"]
    path = write_rows(tmp_path / "submission.csv", [["img", "rle_mask"], *([f"{id_}.jpg", "1 1"] for id_ in ids)])
    with pytest.raises(InputError, match="1 missing: test001_02; 1 unknown: other000_01"):
        score_submission(path, project.input_dir / "truth" / "test_masks.csv", dataset, ())


def test_a_faulty_mask_is_named(tiny: tuple[Project, DatasetConfig], tmp_path: Path) -> None:
    _, dataset = tiny
    path = write_rows(tmp_path / "submission.csv", [["img", "rle_mask"], ["test000_01.jpg", "5 0"]])
    truth = write_rows(tmp_path / "truth.csv", [["img", "rle_mask"], ["test000_01.jpg", encode_rle(np.eye(64, 96))]])
    with pytest.raises(InputError, match="submission's mask of test000_01: `rle` must hold lengths of at least 1"):
        score_submission(path, truth, dataset, ())
    with pytest.raises(InputError, match="ground truth of test000_01"):
        score_submission(truth, path, dataset, ())
    with pytest.raises(InputError, match="`--ground-truth` must be a csv"):
        score_submission(path, tmp_path / "nowhere", dataset, ())


def test_ignored_pixels_are_left_out(tmp_path: Path) -> None:
    truth_hw = np.array([[1, 1, IGNORE, IGNORE, 0, 2]], dtype=np.uint8)
    mask_hw = np.array([[1, 0, 1, 2, 0, 2]], dtype=np.uint8)
    # class 1: 1 of both, 2 true, 1 predicted; class 2: 1, 1, 1
    dataset = DatasetConfig(
        classes=("a", "b"),
        source=MasksSource(values=(1, 2), ignored=(9,)),
        has_ignored=True,
        submission=SubmissionConfig(class_column="class", cell="{id}", row="class"),
    )
    save(tmp_path / "truth" / "x.png", np.where(truth_hw == IGNORE, 9, truth_hw))
    rows = [["img", "class", "rle_mask"], ["x", "a", encode_rle(mask_hw == 1)], ["x", "b", encode_rle(mask_hw == 2)]]
    score = score_submission(write_rows(tmp_path / "s.csv", rows), tmp_path / "truth", dataset, ())
    assert score.values.tolist() == pytest.approx([(2 / 3 + 1) / 2])
    assert score.pixels["classes"] == {"a": {"dice": 2 / 3, "iou": 1 / 2}, "b": {"dice": 1.0, "iou": 1.0}}
    # run lengths cannot say what is ignored: they would be scored against what nobody knows
    with pytest.raises(InputError, match="must be a folder of masks where the data set has ignored pixels"):
        score_submission(tmp_path / "s.csv", tmp_path / "s.csv", dataset, ())


def test_of_overlapping_classes_each_leaves_out_its_own_ignored_pixels(tmp_path: Path) -> None:
    dataset = DatasetConfig(
        classes=("a", "b"),
        overlapping=True,
        source=MasksSource(files="class", values=(1,), ignored=(9,)),
        has_ignored=True,
        submission=SubmissionConfig(class_column="class", cell="{id}", row="class"),
    )
    save(tmp_path / "truth" / "a" / "x_mask.png", [[1, 1, 0, 0]])
    save(tmp_path / "truth" / "b" / "x_mask.png", [[9, 0, 1, 0]])
    # a is right everywhere, also where it is not known whether the pixel is of b, too; so is b where it is known
    rows = [["img", "class", "rle_mask"], ["x", "a", "1 2"], ["x", "b", "1 1 3 1"]]
    path = write_rows(tmp_path / "s.csv", rows)
    assert score_submission(path, tmp_path / "truth", dataset, ()).values.tolist() == [1.0]
    save(tmp_path / "truth" / "b" / "x.png", [[9, 0, 1, 0]])
    with pytest.raises(InputError, match=r"must hold one mask of an image\. Received: b/x.png and b/x_mask.png"):
        score_submission(path, tmp_path / "truth", dataset, ())


@pytest.mark.parametrize(
    ("source", "values"),
    [
        (MasksSource(values=(255,)), (0, 255)),
        (MasksSource(values=(0,), background=(255,)), (255, 0)),
        (MasksSource(values=((9, 8, 7),), background=((0, 0, 0),)), ((0, 0, 0), (9, 8, 7))),
        (PolygonSource(format="coco"), (0, 255)),
        (PolygonSource(format="coco"), (0, 1)),
    ],
)
def test_ground_truth_is_coded_as_the_masks_of_training(tmp_path: Path, source: Source, values: tuple[object]) -> None:
    dataset = DatasetConfig(source=source, submission=SubmissionConfig(cell="{id}"))
    save(tmp_path / "truth" / "x.png", np.array(values)[np.array([[1, 1, 0, 0]])])
    path = write_rows(tmp_path / "s.csv", [["img", "rle_mask"], ["x", "1 1"]])
    assert score_submission(path, tmp_path / "truth", dataset, ()).values.tolist() == pytest.approx([2 / 3])


def test_ground_truth_of_overlapping_classes_is_a_folder_a_class(tmp_path: Path) -> None:
    source, classes = MasksSource(values=(255,), files="class"), ("a", "b")
    form = SubmissionConfig(class_column="class", cell="{id}", row="class", sample=None)
    dataset = DatasetConfig(source=source, classes=classes, overlapping=True, submission=form)
    rows = [["img", "class", "rle_mask"], ["x", "a", "1 1"], ["x", "b", "1 2"]]
    path = write_rows(tmp_path / "s.csv", rows)
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "x.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"must hold masks, a\.png of the id a; of overlapping classes in a folder"):
        score_submission(path, tmp_path / "truth", dataset, ())
    for name in "ab":
        save(tmp_path / "truth" / name / "x.png", [[255, 255, 0]])
    score = score_submission(path, tmp_path / "truth", dataset, ())
    assert score.values.tolist() == pytest.approx([(2 / 3 + 1) / 2])


@pytest.mark.parametrize(
    ("source", "is_said"), [(PolygonSource(format="coco"), True), (MasksSource(values=(7, 9)), False)]
)
def test_the_numbers_of_classes_are_said_where_masks_hold_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, source: Source, is_said: bool
) -> None:
    """A folder numbered in another order would be scored without a word."""
    form = SubmissionConfig(class_column="class", cell="{id}", row="class", sample=None)
    dataset = DatasetConfig(source=source, classes=("cat", "dog"), submission=form)
    save(tmp_path / "truth" / "x.png", [[1, 2, 0]] if is_said else [[7, 9, 0]])
    rows = [["img", "class", "rle_mask"], ["x", "cat", "1 1"], ["x", "dog", "2 1"]]
    path = write_rows(tmp_path / "s.csv", rows)
    with caplog.at_level("INFO"):
        assert score_submission(path, tmp_path / "truth", dataset, ()).values.tolist() == [1.0]
    assert ("masks hold numbers of classes, 1 cat, 2 dog" in caplog.text) == is_said


def test_ground_truth_that_holds_other_values_than_classes_is_refused(tmp_path: Path) -> None:
    dataset = DatasetConfig(source=TableSource(), submission=SubmissionConfig(cell="{id}"))
    save(tmp_path / "truth" / "x.png", [[255, 255, 0]])
    path = write_rows(tmp_path / "s.csv", [["img", "rle_mask"], ["x", ""]])
    with pytest.raises(InputError, match=r"x\.png must hold the values that `source` declares alone. Received: 255"):
        score_submission(path, tmp_path / "truth", dataset, ())


@pytest.mark.parametrize("truth", ["rows", "numbers"])
def test_rows_of_objects_that_touch_are_two_in_ap(tmp_path: Path, truth: str) -> None:
    form = SubmissionConfig(cell="{id}", row="object", sample=None)
    dataset = DatasetConfig(source=MasksSource(threshold=1), metric="ap_50", size_hw=(1, 6), submission=form)
    header = ["img", "rle_mask"]
    if truth == "rows":
        place = write_rows(tmp_path / "truth.csv", [header, ["x", "1 2"], ["x", "3 2"]])
    else:
        place = tmp_path / "truth"
        save(place / "x.png", [[300, 300, 7, 7, 0, 0]], np.uint16)
    parted = write_rows(tmp_path / "parted.csv", [header, ["x", "1 2"], ["x", "3 2"]])
    joined = write_rows(tmp_path / "joined.csv", [header, ["x", "1 4"]])
    # joined: an IoU of a half with both, of which one is found: 1 / (1 + 1)
    for path, wanted in ((parted, 1.0), (joined, 0.5)):
        assert score_submission(path, place, dataset, ()).values.tolist() == [wanted]
