import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from unets.config import Postprocessing
from unets.data.objects import label_objects, part_labels
from unets.ensemble.postprocess import blur, clean_mask, clean_masks, to_masks
from unets.ensemble.selection import POSTPROCESSING_VALUES

MASKS = hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 2))


def fill_holes(mask: npt.NDArray[np.uint8], max_hole_px: int | None) -> npt.NDArray[np.uint8]:
    return clean_mask(mask, Postprocessing(max_hole_px=max_hole_px))


def keep_largest(mask: npt.NDArray[np.uint8], max_components: int | None) -> npt.NDArray[np.uint8]:
    return clean_mask(mask, Postprocessing(max_components=max_components))


def draw(*rows: str) -> npt.NDArray[np.uint8]:
    """A mask from digits; a dot is background."""
    return np.array([[0 if sign == "." else int(sign) for sign in row] for row in rows], dtype=np.uint8)


def test_equality_is_foreground() -> None:
    probs = np.array([[[0.41], [0.42], [0.43]]], dtype=np.float32)
    # float32(0.42) = 0.419999987 lies below 0.42 as float64, and is at the threshold all the same.
    assert to_masks(probs, 0.42).tolist() == [[0, 1, 1]]
    assert to_masks(probs, 0.42).dtype == np.uint8


def test_the_most_probable_of_background_and_classes_wins() -> None:
    # background .30, A .45, B .25: A, though it reaches no half; .6 and .6: the first of two equal
    probs = np.array([[[0.45, 0.25], [0.6, 0.6], [0.25, 0.35], [0.25, 0.375], [0.2, 0.4]]], dtype=np.float32)
    assert to_masks(probs, 0.5).tolist() == [[1, 1, 0, 2, 2]]  # .35 against .40; .375 against .375; .40 against .40
    # B of .375 has half of what it and background have: 0.5 is reached, 0.51 is not
    assert to_masks(probs, 0.51).tolist() == [[1, 1, 0, 0, 0]]
    assert to_masks(probs, 0.0).tolist() == [[1, 1, 2, 2, 2]]  # every pixel is of a class


def test_each_class_may_have_a_threshold_of_its_own() -> None:
    probs = np.array([[[0.6, 0.0], [0.0, 0.6], [0.7, 0.2]]], dtype=np.float32)  # background .4, .4, .1
    assert to_masks(probs, (0.65, 0.5)).tolist() == [[0, 2, 1]]
    assert to_masks(probs, (0.5, 0.65)).tolist() == [[1, 0, 1]]
    assert to_masks(probs, (0.65, 0.1), overlapping=True).tolist() == [[[0, 0], [0, 1], [1, 1]]]


def test_overlapping_classes_are_cut_and_cleaned_each_by_itself() -> None:
    probs = np.array([[[0.6, 0.7], [0.5, 0.2], [0.4, 0.9]]], dtype=np.float32)
    mask = to_masks(probs, 0.5, overlapping=True)
    assert mask.tolist() == [[[1, 1], [1, 0], [0, 1]]]
    assert clean_mask(mask, Postprocessing(max_components=1)).tolist() == [[[1, 1], [1, 0], [0, 0]]]
    assert not clean_mask(mask, Postprocessing(min_area_px=3)).any()


@pytest.mark.parametrize(
    ("min_area_px", "expected"),
    # class 1 has 3 pixels, class 2 has 2
    [(0, [1, 1, 1, 2, 2, 0]), (2, [1, 1, 1, 2, 2, 0]), (3, [1, 1, 1, 0, 0, 0]), (4, [0, 0, 0, 0, 0, 0])],
)
def test_a_class_with_fewer_pixels_is_emptied(min_area_px: int, expected: list[int]) -> None:
    mask = np.array([[1, 1, 1, 2, 2, 0]], dtype=np.uint8)
    dropped = clean_mask(mask, Postprocessing(min_area_px=min_area_px))
    assert dropped.tolist() == [expected]
    assert dropped.dtype == np.uint8
    assert mask.tolist() == [[1, 1, 1, 2, 2, 0]]


def test_the_steps_come_in_their_order() -> None:
    mask = draw("111.1", "1.1..", "111..")
    # filled, the large part has 9 pixels; without the small one the class has 9
    steps = Postprocessing(max_hole_px=None, max_components=1, min_area_px=9)
    np.testing.assert_array_equal(clean_mask(mask, steps), draw("111..", "111..", "111.."))
    assert not clean_mask(mask, steps.model_copy(update={"min_area_px": 10})).any()
    assert clean_mask(mask, Postprocessing()) is mask


@pytest.mark.parametrize("overlapping", [False, True])
def test_each_class_may_have_steps_of_its_own(overlapping: bool) -> None:
    ring = draw("111", "1.1", "111")
    mask = np.concatenate(
        [ring, np.zeros((3, 2), np.uint8), 2 * ring, np.zeros((3, 2), np.uint8), 2 * ring[:1].repeat(3, 0)], 1
    )
    mask[0, 3:5] = 1, 0
    steps = {
        "max_hole_px": ((0, None), (mask == 2).sum() + 1, (mask == 1).sum()),
        "max_components": ((1, None), None, None),
        "min_area_px": ((0, 100), 0, (mask == 1).sum()),
        "min_object_px": ((100, 0), (mask == 2).sum(), 0),
    }
    layers = np.stack([mask == 1, mask == 2], axis=-1).astype(np.uint8)
    for name, (each, second_px, first_px) in steps.items():
        cleaned = clean_mask(layers if overlapping else mask, Postprocessing(**{name: each}))
        found = cleaned if overlapping else np.stack([cleaned == 1, cleaned == 2], axis=-1)
        if name == "max_components":
            np.testing.assert_array_equal(found, layers)
        else:
            assert found.sum(axis=(0, 1)).tolist() == [first_px, second_px], name


def test_objects_of_each_class_are_parted_and_small_ones_dropped() -> None:
    mask = np.zeros((12, 26), np.uint8)
    mask[1:10, 1:10] = mask[1:10, 12:21] = 1
    mask[5, 10:12] = 1  # a bridge
    mask[2:4, 23:25] = 2
    assert clean_mask(mask, Postprocessing(neck_px=1)) is mask  # no disk of it is that narrow
    parted = clean_mask(mask, Postprocessing(neck_px=4))
    assert [label_objects(parted == index)[1] for index in (1, 2)] == [2, 1]
    dropped = clean_mask(mask, Postprocessing(neck_px=4, min_object_px=5))
    assert (dropped == np.where(parted == 2, 0, parted)).all()


def test_a_blur_is_a_gaussian_of_each_class() -> None:
    probs = np.zeros((21, 21, 2), dtype=np.float32)
    probs[10, 10, 0] = 1
    blurred = blur(probs, 1.5)
    offsets = np.arange(-5, 6)
    bell = np.exp(-(offsets**2) / (2 * 1.5**2))
    bell /= np.exp(-(np.arange(-10, 11) ** 2) / (2 * 1.5**2)).sum()
    np.testing.assert_allclose(blurred[5:16, 5:16, 0], np.outer(bell, bell), atol=1e-4)
    assert not blurred[..., 1].any()
    assert blur(probs, 0) is probs
    one = blur(probs[..., :1], 1.5)
    assert (one.shape, one.dtype) == ((21, 21, 1), np.float32)
    np.testing.assert_allclose(one[..., 0], blurred[..., 0], atol=1e-7)


def label(is_part: npt.NDArray[np.bool_], *, corners: bool) -> list[npt.NDArray[np.bool_]]:
    """Lists the connected parts, as scipy finds them."""
    labels, count = ndimage.label(is_part, np.ones((3, 3)) if corners else None)
    return [labels == number for number in range(1, count + 1)]


@settings(deadline=None)
@given(MASKS, st.sampled_from([1, 2, 5, None]))
def test_holes_are_those_that_labeling_finds(mask: npt.NDArray[np.uint8], max_hole_px: int | None) -> None:
    expected = mask.copy()
    for index in (1, 2):
        for part in label(mask != index, corners=False):
            at_border = part[[0, -1]].any() or part[:, [0, -1]].any()
            fits = max_hole_px is None or part.sum() <= max_hole_px
            if not at_border and fits and not mask[part].any():
                expected[part] = index
    np.testing.assert_array_equal(fill_holes(mask, max_hole_px), expected)


@settings(deadline=None)
@given(MASKS, st.integers(1, 3))
def test_kept_parts_are_the_largest_that_labeling_finds(mask: npt.NDArray[np.uint8], count: int) -> None:
    kept = keep_largest(mask, count)
    for index in (1, 2):
        parts, found = (label(one == index, corners=True) for one in (mask, kept))
        sizes = sorted((int(part.sum()) for part in parts), reverse=True)
        assert sorted((int(part.sum()) for part in found), reverse=True) == sizes[:count]
        assert all(any((part == one).all() for one in parts) for part in found)
    assert not kept[mask == 0].any()


def clean_plainly(mask: npt.NDArray[np.uint8], steps: Postprocessing) -> npt.NDArray[np.uint8]:
    """Cleans a mask of class indices, a part after the other."""
    cleaned = np.zeros_like(mask)
    for index in range(1, mask.max(initial=0) + 1):
        own = mask == index
        for part in label(~own, corners=False):
            at_border = part[[0, -1]].any() or part[:, [0, -1]].any()
            fits = steps.max_hole_px is None or part.sum() <= steps.max_hole_px
            own = own | part if fits and not at_border and not mask[part].any() else own
        parts = sorted(label(own, corners=True), key=lambda part: -part.sum())[: steps.max_components]
        own = np.any([*parts, np.zeros_like(own)], axis=0)
        own = own & (own.sum() >= steps.min_area_px)
        is_core = ndimage.distance_transform_edt(np.pad(own, 1))[1:-1, 1:-1] > steps.neck_px / 2
        for part in label(own, corners=True):
            seeds, count = ndimage.label(part & is_core, np.ones((3, 3)))
            if count > 1:
                (box,) = ndimage.find_objects(part.astype(int))
                edt = ndimage.distance_transform_edt(seeds[box] == 0, return_distances=False, return_indices=True)
                numbers = np.zeros_like(seeds)
                numbers[box] = seeds[box][tuple(edt)] * part[box]
                own = own & (part_labels(numbers) | ~part)
        for part in label(own, corners=True):
            own = own & ~part if part.sum() < steps.min_object_px else own
        cleaned[own] = index
    return cleaned


@pytest.mark.parametrize("num_classes", [1, 2])
@pytest.mark.parametrize("seed", range(4))
def test_many_ways_at_once_are_each_way_done_plainly(num_classes: int, seed: int) -> None:
    """On ragged masks: smooth noise and specks, cut."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=(48, 64, num_classes)), (3, 3, 0)) * 6
    noise += ndimage.gaussian_filter(rng.normal(size=noise.shape), (0.7, 0.7, 0))
    mask = to_masks((1 / (1 + np.exp(-noise)) / num_classes).astype(np.float32), 0.5)
    tried = {name: values for name, values in POSTPROCESSING_VALUES.items() if name != "blur_px"}
    tried = {name: (*values, 3, 5) for name, values in tried.items()}
    start = {"max_hole_px": 20, "max_components": 5, "neck_px": 2.0, "min_object_px": 8}
    ways = [Postprocessing(**{name: one}) for name, values in tried.items() for one in values]
    ways += [Postprocessing(**start | {name: one}) for name, values in tried.items() for one in values]
    for way, cleaned in zip(ways, clean_masks(mask, ways), strict=True):
        np.testing.assert_array_equal(cleaned, clean_plainly(mask, way), way.describe())


def test_twenty_classes_are_told_apart_below_one_half() -> None:
    """A net that gives the right class .45 of 21 is right everywhere."""
    right_hw = np.random.default_rng(0).integers(0, 21, (20, 20))
    probs = np.full((20, 20, 21), 0.55 / 20, np.float32)
    np.put_along_axis(probs, right_hw[..., None], 0.45, -1)
    assert (to_masks(probs[..., 1:], 0.5) == right_hw).all()
