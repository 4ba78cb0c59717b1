"""The renderer: what an image and its mask promise."""

import cv2
import numpy as np

from unets.studio.camera import NUM_VIEWS
from unets.studio.cars import build_car
from unets.studio.mesh import build_mesh
from unets.studio.render import render_image, render_mask
from unets.studio.scene import empty_studio, margin_px

SIZE_HW = (128, 192)


def test_equal_arguments_give_equal_bytes_and_others_do_not():
    image, mask = render_image(build_car(3, 1), 5, 3, SIZE_HW)
    build_mesh.cache_clear()
    again, mask_again = render_image(build_car(3, 1), 5, 3, SIZE_HW)
    assert np.array_equal(image, again) and np.array_equal(mask, mask_again)
    assert image.shape == (*SIZE_HW, 3) and image.dtype == np.uint8
    assert np.array_equal(render_mask(build_car(3, 1), 5, 3, SIZE_HW), mask)
    for car, view, seed in ((build_car(3, 2), 5, 3), (build_car(3, 1), 6, 3), (build_car(4, 1), 5, 4)):
        assert not np.array_equal(image, render_image(car, view, seed, SIZE_HW)[0])


def test_every_view_holds_a_car_without_holes_that_keeps_off_the_corners():
    for view in range(1, NUM_VIEWS + 1):
        mask = render_mask(build_car(0, view % 3), view, 0, SIZE_HW)
        assert mask.shape == SIZE_HW and mask.dtype == np.uint8 and set(np.unique(mask)) == {0, 1}
        assert 0.09 < mask.mean() < 0.41
        assert not mask[[0, 0, -1, -1], [0, -1, 0, -1]].any()
        # Region 0 is the car, the largest other one the room; a mirror may enclose a little of it.
        _, _, stats, _ = cv2.connectedComponentsWithStats(1 - mask, connectivity=4)
        assert sum(sorted(stats[1:, cv2.CC_STAT_AREA].tolist())[:-1]) < 0.0015 * mask.sum()


def test_the_mask_is_where_the_car_is():
    # A red car in a grey studio: most of what is red is in the mask and nowhere else.
    index = next(index for index in range(200) if build_car(0, index).paint == "red")
    image, mask = render_image(build_car(0, index), 4, 0, SIZE_HW)
    red = image[..., 0].astype(int) - image[..., 1] > 70
    assert red.sum() > 300
    assert mask[red].mean() > 0.995


def test_a_smaller_image_is_the_same_image():
    large = render_mask(build_car(0, 3), 3, 0, (512, 768))
    small = render_mask(build_car(0, 3), 3, 0, (128, 192))
    shrunk = large.reshape(128, 4, 192, 4).mean(axis=(1, 3)) > 0.5
    assert (shrunk != small).mean() < 0.01
    image, mask = render_image(build_car(0, 0), 16, 0, (101, 155))
    assert image.shape == (101, 155, 3) and mask.shape == (101, 155)


def test_the_demo_cannot_be_solved_without_learning():
    """The best single threshold on the difference from the empty studio, chosen with the ground truth at hand."""
    size_hw, dices = (80, 120), []
    margin = margin_px(size_hw)
    empty = empty_studio(0, size_hw)[margin : margin + size_hw[0], margin : margin + size_hw[1]]
    for index in range(3):
        for view in range(1, NUM_VIEWS + 1, 3):
            image, mask = render_image(build_car(0, index), view, 0, size_hw)
            found = np.abs(image - empty).max(axis=2) > np.arange(5, 100, 5)[:, None, None]
            dices.append(2 * (found & (mask > 0)).sum(axis=(1, 2)) / (found.sum(axis=(1, 2)) + mask.sum()))
    assert 0.5 < np.mean(dices, axis=0).max() < 0.93
