"""The Dice that Keras watches equals the one in numpy, photo by photo."""

import numpy as np
import numpy.typing as npt
import pytest
from keras import ops

from unets.ensemble.postprocess import to_masks
from unets.nets.metrics import MeanScore, cut_shares


def measure(*batches: tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]], overlapping: bool = False) -> float:
    channels = batches[0][1].shape[-1]
    num_classes = channels if overlapping or channels == 1 else channels - 1
    metric = MeanScore("dice", num_classes, overlapping=overlapping)
    for targets_u8, logits in batches:
        metric.update_state(targets_u8, logits)
    return float(metric.result())


def test_by_hand() -> None:
    targets = np.array([[[255], [128], [127], [0]], [[0], [0], [0], [0]]], dtype=np.uint8)[:, None]
    logits = np.array([[[1], [-1], [1], [0]], [[-1], [-1], [-9], [-1]]], dtype=np.float32)[:, None]
    # first photo: truth 1 1 0 0 (one half is 127.5), predicted 1 0 1 1 (a logit of 0 is one half): 2 * 1 / (2 + 3)
    # second: both empty, 1
    assert measure((targets, logits)) == pytest.approx((0.4 + 1) / 2)
    assert measure((targets[:1], logits[:1])) == pytest.approx(0.4)
    assert measure((targets[1:], logits[1:])) == 1.0


def test_the_greatest_class_is_chosen_where_none_has_a_half() -> None:
    # softmax over background, first, second: (.30, .45, .25) is of the first, (.40, .35, .25) background
    logits = np.log(np.array([[0.3, 0.45, 0.25], [0.4, 0.35, 0.25]], dtype=np.float32))[None, None]
    assert measure((np.array([[255, 0], [0, 0]], dtype=np.uint8)[None, None], logits)) == 1.0
    # soft targets likewise: .45 of the first class, .30 background
    assert measure((np.array([[115, 64], [0, 0]], dtype=np.uint8)[None, None], logits)) == 1.0


def test_of_equal_classes_the_first_is_chosen_as_in_the_mask_that_is_sent() -> None:
    probs = np.array([[0.4, 0.4], [0.5, 0.5], [0.25, 0.375]], dtype=np.float32)[None]  # background has 0.2, 0, 0.375
    found = ops.convert_to_numpy(cut_shares(probs, overlapping=False))
    assert found.tolist() == [[[True, False], [True, False], [False, True]]]
    sent = to_masks(probs, 0.5)
    assert sent.tolist() == [[1, 1, 2]]


def test_overlapping_classes_have_a_half_each() -> None:
    targets = np.array([[255, 255], [0, 255]], dtype=np.uint8)[None, None]
    logits = np.array([[1, 2], [-1, -2]], dtype=np.float32)[None, None]
    # first class: truth 1 0, predicted 1 0; second: truth 1 1, predicted 1 0
    assert measure((targets, logits), overlapping=True) == pytest.approx((1 + 2 / 3) / 2)


@pytest.mark.parametrize(("name", "wanted"), [
    # of the first image 1 right, 1 missed, 2 too many; the second is empty and found so; the third has 1 right of 1
    ("dice", (2 / 5 + 1 + 1) / 3),
    ("iou", (1 / 4 + 1 + 1) / 3),
    ("f2", (5 / 11 + 1 + 1) / 3),  # 5 TP / (4 (TP + FN) + TP + FP)
    ("global_dice", 4 / 7),
    ("global_iou", 2 / 5),
])  # fmt: skip
def test_other_metrics_by_hand(name: str, wanted: float) -> None:
    targets = np.array([[1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]], dtype=np.uint8)[:, None, :, None] * np.uint8(255)
    logits = np.array([[1, -1, 1, 1], [-1, -1, -1, -1], [1, -1, -1, -1]], dtype=np.float32)[:, None, :, None]
    metric = MeanScore(name)
    metric.update_state(targets[:2], logits[:2])
    metric.update_state(targets[2:], logits[2:])
    assert float(metric.result()) == pytest.approx(wanted) and metric.name == name


def test_ignored_pixels_count_nowhere() -> None:
    targets = np.array([[[255, 0], [255, 0], [0, 255], [0, 0]]], dtype=np.uint8)[:, None]
    logits = np.array([[[1], [-1], [1], [-1]]], dtype=np.float32)[:, None]
    # truth 1 1 . 0, predicted 1 0 . 0: 2 * 1 / (2 + 1)
    assert measure((targets, logits)) == pytest.approx(2 / 3)
