"""Two images made into one: what is shown is labeled as what it shows, by hand and for any shares."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from unets.config import AugmentConfig
from unets.data.batches import Batches
from unets.data.mixing import copy_paste, cut_mix

Image = npt.NDArray[np.uint8]


class Reader:
    """Gives image i all of value 40 * i, and a target of one layer that is as large."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> tuple[Image, Image]:
        return np.full((32, 48, 3), 40 * index, np.uint8), np.full((32, 48, 1), 40 * index, np.uint8)


def fill(value: int, layers: tuple[int, ...]) -> tuple[Image, Image]:
    image = np.full((1, 1, 3), value, dtype=np.uint8)
    return image, np.array([[layers]], dtype=np.uint8)


def test_cutmix_shows_a_box_of_the_other_and_its_mask() -> None:
    pair, other = [tuple(np.full((24, 36, n), value, np.uint8) for n in (3, 2)) for value in (10, 90)]
    areas = []
    for seed in range(300):
        image, target = cut_mix(pair, other, np.random.default_rng(seed))
        inside = image[..., 0] == 90
        assert ((image == 90) == inside[..., None]).all() and ((target == 90) == inside[..., None]).all()
        assert set(np.unique(image)) <= {10, 90} and set(np.unique(target)) <= {10, 90}
        rows, columns = inside.any(axis=1), inside.any(axis=0)
        assert inside[np.ix_(rows, columns)].all()  # one box
        areas.append(inside.mean())
    assert np.mean(areas) == pytest.approx(0.5, abs=0.06) and min(areas) < 0.05 and max(areas) > 0.95
    assert pair[0].max() == 10  # not written to


def test_pasted_objects_are_blended_by_their_share() -> None:
    # A fifth of the pixel is the other's object, and nothing else of it is taken.
    image, target = copy_paste(fill(100, (255,)), fill(200, (51,)), np.random.default_rng(0), num_classes=1)
    assert (image.ravel().tolist(), target.ravel().tolist()) == ([120, 120, 120], [255])  # 204 + 51
    image, target = copy_paste(fill(100, (0,)), fill(200, (51,)), np.random.default_rng(0), num_classes=1)
    assert (image.ravel().tolist(), target.ravel().tolist()) == ([120, 120, 120], [51])


def test_ignored_pixels_of_the_other_are_not_pasted_and_own_ones_are_covered() -> None:
    ignored = copy_paste(fill(100, (0, 255)), fill(200, (255, 0)), np.random.default_rng(0), num_classes=1)
    assert ignored[1].ravel().tolist() == [255, 0]
    alone = copy_paste(fill(100, (255, 0)), fill(200, (0, 255)), np.random.default_rng(0), num_classes=1)
    assert alone[1].ravel().tolist() == [255, 0] and alone[0].max() == 100


def test_each_of_the_others_classes_may_come_alone() -> None:
    pair = np.zeros((1, 2, 3), np.uint8), np.zeros((1, 2, 2), np.uint8)
    other = np.full((1, 2, 3), 9, np.uint8), np.array([[[255, 0], [0, 255]]], dtype=np.uint8)
    seen = {
        tuple(copy_paste(pair, other, np.random.default_rng(seed), num_classes=2)[1].ravel().tolist())
        for seed in range(50)
    }
    assert seen == {(255, 0, 0, 0), (0, 0, 0, 255), (255, 0, 0, 255)}


def test_classes_that_overlap_are_pasted_together() -> None:
    for seed in range(20):
        made = copy_paste(
            fill(0, (0, 0)), fill(200, (255, 128)), np.random.default_rng(seed), num_classes=2, is_overlapping=True
        )
        assert (made[0].max(), made[1].ravel().tolist()) == (200, [255, 128])


@given(
    own=arrays(np.uint8, (3, 4, 1)),
    other=arrays(np.uint8, (3, 4, 1)),
    split=arrays(np.uint8, (2, 3, 4, 1)),
    seed=st.integers(0, 99),
)
def test_shares_of_a_pixel_stay_a_whole(own: Image, other: Image, split: Image, seed: int) -> None:
    """Where the shares of the classes sum to 255 at most, they still do; each image has a value between the two."""
    own, other = (
        np.concatenate([whole * (part / 255), whole - np.ceil(whole * (part / 255))], axis=-1).astype(np.uint8)
        for whole, part in zip((own, other), split, strict=True)
    )
    images = np.full((3, 4, 3), 50, np.uint8), np.full((3, 4, 3), 250, np.uint8)
    image, target = copy_paste((images[0], own), (images[1], other), np.random.default_rng(seed), num_classes=2)
    assert target.sum(axis=-1, dtype=int).max() <= 256  # each of the two rounded
    assert image.min() >= 50 and image.max() <= 250


@pytest.mark.parametrize("field", ["cutmix", "copy_paste"])
def test_batches_mix_in_images_that_are_trained_on_alone_however_they_are_split(field: str) -> None:
    config = AugmentConfig(hflip=0, warp_probability=0, color_probability=0, **{field: 1.0})
    indices = (1, 2, 4)

    def read(micro_batch: int) -> tuple[Image, Image]:
        batches = Batches(
            Reader(),
            indices,
            micro_batch=micro_batch,
            updates_per_epoch=24 // micro_batch,
            augment_config=config,
            shuffle=True,
        )
        batches.start_epoch(0)
        pairs = [batches[number] for number in range(len(batches))]
        images, targets = (np.concatenate(arrays) for arrays in zip(*pairs, strict=True))
        return images, targets

    images, targets = read(4)
    for whole, parts in zip((images, targets), read(1), strict=True):
        assert whole.tobytes() == parts.tobytes()
    found = set(zip(images[..., 0].ravel().tolist(), targets.ravel().tolist(), strict=True))
    if field == "cutmix":
        assert found == {(40, 40), (80, 80), (160, 160)}
        assert any(len(np.unique(image)) > 1 for image in images)
        return
    values = [40 * index for index in indices]  # of an image, and the share of its pixels that is object
    wanted = {
        (round(own + other / 255 * (other - own)), round(own * (1 - other / 255) + other))
        for own in values
        for other in values
    }
    assert found <= wanted and len(found) > len(values)
