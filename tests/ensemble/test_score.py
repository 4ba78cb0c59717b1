import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from unets.config import DatasetConfig, PatternSource, SubmissionConfig, load_dataset
from unets.data.rle import encode_rle
from unets.data.samples import IGNORE
from unets.dataset.manifest import read_manifest
from unets.dataset.rle_csv import read_submission
from unets.ensemble.postprocess import drop_small, to_masks
from unets.ensemble.score import (
    FROM_COUNTS,
    count_thresholds,
    default_threshold,
    score_cuts,
    score_mask,
    score_submission,
)
from unets.errors import InputError
from unets.metrics.masks import METRICS
from unets.store.paths import Project

THRESHOLDS = tuple(percent / 100 for percent in range(30, 72, 2))


def test_a_mask_of_two_classes_is_scored_by_hand() -> None:
    truth = np.array([[1, 1, 2, 0]], dtype=np.uint8)
    mask = np.array([[1, 0, 2, 2]], dtype=np.uint8)
    # class 1: 2 x 1 / (2 + 1) = 2/3; class 2: 2 x 1 / (1 + 2) = 2/3
    assert score_mask(truth, mask, num_classes=2, metric="dice") == pytest.approx(2 / 3)
    # with a third class, empty in both: (2/3 + 2/3 + 1) / 3 = 7/9
    assert score_mask(truth, mask, num_classes=3, metric="dice") == pytest.approx(7 / 9)


def test_thresholds_are_counted_by_hand() -> None:
    truth = np.array([[True, True, False, True]])
    probs = np.array([[0.9, 0.5, 0.45, 0.1]], dtype=np.float32)
    # >= 0.4: 3 pixels, 2 true; >= 0.5: 2, 2 true; >= 0.6: 1, 1 true; >= 0.95: none
    both, predicted_px = count_thresholds(truth, probs, None, (0.4, 0.5, 0.6, 0.95))
    assert both.tolist() == [2, 2, 1, 0]
    assert predicted_px.tolist() == [3, 2, 1, 0]


def test_thresholds_must_ascend() -> None:
    with pytest.raises(ValueError, match="`thresholds` must ascend"):
        count_thresholds(np.zeros((1, 1), bool), np.zeros((1, 1), np.float32), None, (0.5, 0.5))


@pytest.mark.parametrize("metric", sorted(FROM_COUNTS))
@given(data=st.data(), num_classes=st.integers(1, 3))
def test_counting_is_making_each_cut(metric: str, data: st.DataObject, num_classes: int) -> None:
    # percents, so that probabilities meet thresholds exactly
    percents = data.draw(arrays(np.uint8, (4, 5, num_classes), elements=st.integers(0, 100)))
    truth: npt.NDArray[np.uint8] = data.draw(arrays(np.uint8, (4, 5), elements=st.integers(0, num_classes)))
    cuts = data.draw(st.lists(st.tuples(st.sampled_from(THRESHOLDS), st.integers(0, 6)), min_size=1, max_size=12))
    probs = (percents / 100).astype(np.float32)
    expected = [
        score_mask(truth, drop_small(to_masks(probs, threshold), min_area_px), num_classes=num_classes, metric=metric)
        for threshold, min_area_px in cuts
    ]
    assert score_cuts(truth, probs, cuts, metric=metric).tolist() == expected


def test_any_metric_is_called_for_each_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METRICS, "area", lambda truth, predicted: float(np.count_nonzero(predicted)))
    probs = np.array([[[0.2], [0.5], [0.8]]], dtype=np.float32)
    truth = np.zeros((1, 3), dtype=np.uint8)
    cuts = [(0.9, 0), (0.1, 0), (0.5, 0), (0.5, 3)]
    assert score_cuts(truth, probs, cuts, metric="area").tolist() == [0.0, 3.0, 2.0, 0.0]


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
    score = score_submission(truth_path, truth_path, dataset, jobs=1)
    assert score.interval.mean == 1.0
    assert score.ids == ("test000_01", "test000_02", "test001_01", "test001_02")
    assert score.groups == ("test000", "test000", "test001", "test001")
    numbers = {"mean": 1.0, "low": 1.0, "high": 1.0, "num_photos": 4, "num_groups": 2}
    pixels = {"mean_dice": 1.0, "mean_iou": 1.0, "classes": {"car": {"dice": 1.0, "iou": 1.0}}}
    assert score.summarize() == {"metric": "dice", **numbers, "pixels": pixels}


def test_csv_and_mask_files_as_truth_agree(tiny: tuple[Project, DatasetConfig], tmp_path: Path) -> None:
    project, dataset = tiny
    rles = read_submission(project.input_dir / "train_masks.csv", dataset)
    # every submitted mask is the upper left pixel: Dice is 0 where it is background
    rows = [["img", "rle_mask"], *([f"{id_}.jpg", "1 1"] for id_ in rles)]
    rows[1][1] = rles["car000_01"][0]
    path = write_rows(tmp_path / "submission.csv.gz", rows)
    by_csv = score_submission(path, project.input_dir / "train_masks.csv", dataset, jobs=2)
    by_files = score_submission(path, project.input_dir / "train_masks", dataset, jobs=1)
    assert by_csv.values.tolist() == by_files.values.tolist() == [1.0, 0.0, 0.0, 0.0]
    assert by_csv.interval == by_files.interval
    assert by_csv.interval.mean == 0.25


def test_each_class_is_scored_and_sizes_may_come_from_photos(
    make_competition: Callable[..., Project], tmp_path: Path
) -> None:
    project = make_competition(num_groups=1, num_views=1, classes=("cat", "dog"), size_hw=(8, 8))
    dataset = load_dataset(project.configs_dir).model_copy(update={"size_hw": None})
    photos = read_manifest(project, dataset).train
    ((cat, dog),) = read_submission(project.input_dir / "train_masks.csv", dataset).values()
    assert cat
    assert dog
    rows = [["img", "class", "rle_mask"], ["car000_01.jpg", "dog", dog], ["car000_01.jpg", "cat", ""]]
    path = write_rows(tmp_path / "submission.csv", rows)
    for truth in ("train_masks.csv", "train_masks"):
        # cat: 0, dog: 1
        score = score_submission(path, project.input_dir / truth, dataset, photos=photos, jobs=1)
        assert score.values.tolist() == [0.5]


def test_ids_that_differ_are_listed(tiny: tuple[Project, DatasetConfig], tmp_path: Path) -> None:
    project, dataset = tiny
    ids = ["test000_01", "test000_02", "test001_01", "other000_01"]
    path = write_rows(tmp_path / "submission.csv", [["img", "rle_mask"], *([f"{id_}.jpg", "1 1"] for id_ in ids)])
    with pytest.raises(InputError, match="1 missing: test001_02; 1 unknown: other000_01"):
        score_submission(path, project.input_dir / "truth" / "test_masks.csv", dataset, jobs=1)


def test_a_faulty_mask_is_named(tiny: tuple[Project, DatasetConfig], tmp_path: Path) -> None:
    _, dataset = tiny
    path = write_rows(tmp_path / "submission.csv", [["img", "rle_mask"], ["test000_01.jpg", "5 0"]])
    truth = write_rows(tmp_path / "truth.csv", [["img", "rle_mask"], ["test000_01.jpg", encode_rle(np.eye(64, 96))]])
    with pytest.raises(InputError, match="submission's mask of test000_01: `rle` must hold lengths of at least 1"):
        score_submission(path, truth, dataset, jobs=1)
    with pytest.raises(InputError, match="true mask of test000_01"):
        score_submission(truth, path, dataset, jobs=1)
    with pytest.raises(InputError, match="`GROUND_TRUTH` must be a csv"):
        score_submission(path, tmp_path / "nowhere", dataset, jobs=1)


def test_what_nobody_labelled_is_left_out(make_competition: Callable[..., Project], tmp_path: Path) -> None:
    truth_hw = np.array([[1, 1, IGNORE, IGNORE, 0, 2]], dtype=np.uint8)
    mask_hw = np.array([[1, 0, 1, 2, 0, 2]], dtype=np.uint8)
    # class 1: 1 of both, 2 true, 1 predicted; class 2: 1, 1, 1
    assert score_mask(truth_hw, mask_hw, num_classes=2, metric="dice") == pytest.approx((2 / 3 + 1) / 2)
    probs = np.zeros((1, 6, 2), dtype=np.float32)
    probs[0, [0, 2], 0], probs[0, [3, 5], 1] = 0.9, 0.9
    assert score_cuts(truth_hw, probs, [(0.5, 0)], metric="iou").tolist() == pytest.approx([(1 / 2 + 1) / 2])
    one = np.array([[1, IGNORE]], dtype=np.uint8)
    assert score_cuts(one, np.ones((1, 2, 1), np.float32), [(0.5, 0), (0.0, 0)], metric="dice").tolist() == [1.0, 1.0]
    # the same through a submission, against a folder of masks
    dataset = DatasetConfig(
        classes=("a", "b"),
        source=PatternSource(masks="masks/{id}.png", mask_values=(1, 2), ignore_values=(9,)),
        has_ignored=True,
        submission=SubmissionConfig(class_column="class", cell="{id}", row="class"),
    )
    (tmp_path / "truth").mkdir()
    Image.fromarray(np.where(truth_hw == IGNORE, 9, truth_hw).astype(np.uint8)).save(tmp_path / "truth" / "x.png")
    rows = [["img", "class", "rle_mask"], ["x", "a", encode_rle(mask_hw == 1)], ["x", "b", encode_rle(mask_hw == 2)]]
    score = score_submission(write_rows(tmp_path / "s.csv", rows), tmp_path / "truth", dataset, jobs=1)
    assert score.values.tolist() == pytest.approx([(2 / 3 + 1) / 2])
    assert score.pixels["classes"] == {"a": {"dice": 2 / 3, "iou": 1 / 2}, "b": {"dice": 1.0, "iou": 1.0}}


def test_without_a_background_every_pixel_gets_a_class() -> None:
    assert default_threshold(DatasetConfig()) == 0.5
    assert default_threshold(DatasetConfig(has_background=False)) == 0.0
