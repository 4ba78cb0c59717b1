"""The renderer: what an image and its mask promise."""

import cv2
import numpy as np
import pytest

from unets.studio.camera import NUM_VIEWS, Camera, turn
from unets.studio.cars import BODIES, build_car, build_hull
from unets.studio.mesh import build_mesh
from unets.studio.painter import SUPERSAMPLING, Painting, car_mask, paint_faces
from unets.studio.render import render_image, render_mask
from unets.studio.scene import empty_studio, margin_px
from unets.studio.shells import patch, skin

SIZE_HW = (128, 192)


def test_equal_arguments_give_equal_bytes_and_others_do_not():
    image, mask = render_image(build_car(3, 1), 5, 3, SIZE_HW)
    build_mesh.cache_clear()
    again, mask_again = render_image(build_car(3, 1), 5, 3, SIZE_HW)
    assert np.array_equal(image, again) and np.array_equal(mask, mask_again)
    for car, view, seed in ((build_car(3, 2), 5, 3), (build_car(3, 1), 6, 3), (build_car(4, 1), 5, 4)):
        assert not np.array_equal(image, render_image(car, view, seed, SIZE_HW)[0])


@pytest.mark.parametrize("index", range(5))
def test_every_view_holds_a_car_that_keeps_off_the_corners(index):
    car = build_car(0, index)
    for view in range(1, NUM_VIEWS + 1):
        mask = render_mask(car, view, 0, SIZE_HW)
        assert mask.shape == SIZE_HW and mask.dtype == np.uint8 and set(np.unique(mask)) == {0, 1}
        assert 0.09 < mask.mean() < 0.41
        assert not mask[[0, 0, -1, -1], [0, -1, 0, -1]].any()


def test_the_mask_alone_is_the_images_mask():
    car = build_car(1, 4)
    image, mask = render_image(car, 7, 1, SIZE_HW)
    assert image.shape == (*SIZE_HW, 3) and image.dtype == np.uint8
    assert np.array_equal(render_mask(car, 7, 1, SIZE_HW), mask)


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


def test_an_odd_size_works():
    image, mask = render_image(build_car(0, 0), 16, 0, (101, 155))
    assert image.shape == (101, 155, 3) and mask.shape == (101, 155)


def crop_empty(seed, size_hw):
    margin = margin_px(size_hw)
    return empty_studio(seed, size_hw)[margin : margin + size_hw[0], margin : margin + size_hw[1]]


def test_the_demo_cannot_be_solved_without_learning():
    """The best single threshold on the difference from the empty studio, chosen with the ground truth at hand."""
    size_hw, dices = (80, 120), []
    empty = crop_empty(0, size_hw)
    for index in range(3):
        for view in range(1, NUM_VIEWS + 1, 3):
            image, mask = render_image(build_car(0, index), view, 0, size_hw)
            found = np.abs(image - empty).max(axis=2) > np.arange(5, 100, 5)[:, None, None]
            dices.append(2 * (found & (mask > 0)).sum(axis=(1, 2)) / (found.sum(axis=(1, 2)) + mask.sum()))
    assert 0.5 < np.mean(dices, axis=0).max() < 0.93


def test_the_empty_studio_has_no_car_and_little_noise():
    empty = crop_empty(0, SIZE_HW)
    assert empty.shape == (*SIZE_HW, 3)
    assert 150 < empty.mean() < 230
    # Inside the turntable's ring the floor is plain.
    assert empty[80:100, 70:120].std(axis=(0, 1)).max() < 6


def test_a_car_has_no_holes_and_light_passes_under_it():
    mask = render_mask(build_car(0, 3), 5, 0, (256, 384))
    rows, columns = np.nonzero(mask)
    middle = mask[:, (columns.min() + columns.max()) // 2]
    # From roof to sill one run; between the sill and the lowest row, where the tyres stand, floor.
    assert np.count_nonzero(np.diff(middle.astype(int))) == 2
    assert np.nonzero(middle)[0].max() < rows.max() - 5


@pytest.mark.parametrize("index", [0, 4])
def test_wheels_and_panels_have_no_holes(index):
    car = build_car(0, index)
    for view in (2, 3, 8, 13):
        mask = render_mask(car, view, 0, (320, 480))
        num_regions, _, stats, _ = cv2.connectedComponentsWithStats(1 - mask, connectivity=4)
        # Region 0 is the car, the largest other one the room; a mirror may enclose a little of it.
        holes = sorted(stats[1:num_regions, cv2.CC_STAT_AREA].tolist())[:-1]
        assert sum(holes) < 0.0015 * mask.sum()


def test_a_pixel_is_the_cars_where_half_of_it_is_covered():
    # One pixel a column, 2 x 2 fine pixels each: 0, 1, 2 and 4 of them covered by face 1.
    faces = np.array([[0, 0, 1, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 1, 1]], np.uint16)
    painting = Painting(top_left=(1, 2), faces_hw=faces)
    mask = car_mask(painting, (3, 8))
    assert SUPERSAMPLING == 2
    assert mask[1].tolist() == [0, 0, 0, 0, 1, 1, 0, 0]
    assert mask[[0, 2]].sum() == 0


def test_the_nearer_face_is_what_is_seen_and_backs_are_not():
    square = np.array([[-1.0, 0, 0], [1, 0, 0], [1, 0, 1], [-1, 0, 1]])
    behind = np.array([0.0, 2.0, 0.0])
    quads = np.stack([square, square + behind, square - behind])
    towards, away = (0.0, -1.0, 0.0), (0.0, 1.0, 0.0)
    camera = Camera(size_hw=(64, 96))
    normals = np.array([towards, towards, away])
    seen = paint_faces(quads, normals, np.zeros(3), camera).faces_hw
    assert seen.max() == 2 and (seen == 1).sum() > (seen == 2).sum()
    biased = paint_faces(quads, normals, np.array([0.0, 3.0, 0.0]), camera).faces_hw
    assert (biased == 2).sum() > (seen == 2).sum()


def test_the_turntable_turns_in_sixteenths_and_starts_with_the_nose():
    nose = np.array([2.0, 0.0, 0.5])
    assert turn(nose, 1) == pytest.approx([0.0, -2.0, 0.5])
    assert turn(nose, 5) == pytest.approx([2.0, 0.0, 0.5])
    assert turn(nose, 9) == pytest.approx([0.0, 2.0, 0.5])


def test_normals_point_outwards_and_sides_mirror():
    mesh = build_mesh(build_car(0, 0))
    assert np.linalg.norm(mesh.normals, axis=1) == pytest.approx(1.0)
    centres = mesh.quads.mean(axis=1)
    outer = np.abs(centres[:, 1]) > 0.85
    assert ((centres * mesh.normals)[outer, 1] > 0).mean() > 0.9
    paint = centres[mesh.material_index == len(mesh.materials) - 2]
    assert paint[:, 1].mean() == pytest.approx(0.0, abs=1e-3)


def test_a_shells_coordinates_agree():
    hull = build_hull(BODIES["sedan"])
    u = hull.u_at_x(1.0, 0.5)
    point = hull.point(np.array(u), np.array(hull.v_at_h(0.5)))
    assert point[0] == pytest.approx(1.0, abs=2e-3)
    assert float(hull.side_y(point[:1], point[2:])[0]) == pytest.approx(point[1], abs=2e-3)
    mirrored = hull.point(np.array(1 - u), np.array(hull.v_at_h(0.5)))
    assert mirrored == pytest.approx(point * (1, -1, 1))
    assert skin(hull, num_around=8, num_up=2, num_edge=2, num_over=2).shape == (8 * 6, 4, 3)
    assert patch(hull, (u, u + 0.05), (0.2, 0.4), counts=(3, 2)).shape == (6, 4, 3)


def test_the_fleet_is_the_seeds_alone():
    fleet = [build_car(0, index) for index in range(40)]
    assert fleet == [build_car(0, index) for index in range(40)]
    ids = {car.id for car in fleet} | {build_car(1, index).id for index in range(40)}
    assert len(ids) == 80
    assert all(len(id_) == 12 and int(id_, 16) >= 0 for id_ in ids)
