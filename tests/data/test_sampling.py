"""Weights of images: worked by hand, and what they make frequent."""

from collections.abc import Callable

import numpy as np
from PIL import Image

from unets.config import load_dataset
from unets.data.sampling import weigh_classes, weigh_samples
from unets.dataset.manifest import import_data, read_manifest
from unets.store.paths import Project


def test_classes_by_hand() -> None:
    # cat in 4 images, dog in 2, owl in none; 1 image is empty
    has_class = np.array(
        [[1, 0, 0], [1, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]],
        dtype=np.bool_,
    )
    # 1/4 each for cat alone; 1/2 with a dog, whatever else; 1 for the only empty one
    expected = np.array([1 / 4, 1 / 4, 1 / 4, 1 / 2, 1 / 2, 1])
    np.testing.assert_allclose(weigh_classes(has_class), expected)


def test_weights_of_samples(make_competition: Callable[..., Project]) -> None:
    project = make_competition(num_groups=2, num_views=2, classes=("car", "bus"), mask_format="png")
    dataset = load_dataset(project.configs_dir)
    for sample, value in zip(read_manifest(project, dataset).train, (0, 1, 2), strict=False):  # the fourth keeps both
        Image.fromarray(np.full((64, 96), value, dtype=np.uint8)).save(sample.mask_paths[0])
    import_data(project, dataset)
    samples = read_manifest(project, dataset).train
    # none, car, bus each 1 of 4 images or 2 of 4: 1, 1/2, 1/2, 1/2
    weights = weigh_samples(samples, dataset, "class", jobs=2)
    np.testing.assert_allclose(weights, np.array([1, 1 / 2, 1 / 2, 1 / 2]) / 2.5)  # type: ignore[arg-type]
    weights = weigh_samples(samples[1:], dataset, "group")
    np.testing.assert_allclose(weights, [1 / 2, 1 / 4, 1 / 4])  # type: ignore[arg-type]
    # all equal: nothing to balance, and every image is to be seen once
    assert weigh_samples(samples, dataset, "group") is None
    assert weigh_samples(samples[1:3], dataset, "class") is None
    assert weigh_samples(samples, dataset, "none") is None
