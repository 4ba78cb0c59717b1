"""Batches: a sample depends on (seed, epoch, index) alone, and Keras is given exactly the batches of its epoch."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter

from unets.config import AugmentConfig
from unets.data.batches import Batches
from unets.errors import InputError

SIZE_HW = (32, 48)


class NoiseReader:
    """Noise that tells samples apart."""

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        rng = np.random.default_rng(index)
        return tuple(rng.integers(0, 256, (*SIZE_HW, channels), dtype=np.uint8) for channels in (3, 2))  # type: ignore[return-value]


class NumberReader:
    """Images and target that hold their index at every pixel."""

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        return np.full((8, 8, 3), index, dtype=np.uint8), np.full((8, 8, 1), index, dtype=np.uint8)


def read_samples(batches: Batches, workers: int = 1) -> dict[int, bytes]:
    """Reads an epoch backwards, in threads; returns image and target by index."""
    numbers = range(len(batches))[::-1]
    with ThreadPoolExecutor(workers) as pool:
        read = list(pool.map(batches.__getitem__, numbers))
    return {
        int(index): image.tobytes() + target.tobytes()
        for number, (images, targets) in zip(numbers, read, strict=True)
        for index, image, target in zip(batches.find_indices(number), images, targets, strict=True)
    }


def build_net() -> keras.Model:
    return keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Rescaling(1 / 255), keras.layers.Conv2D(1, 1)])


def list_indices(batches: Batches) -> list[int]:
    """Lists the indices of what is left of an epoch."""
    return [int(index) for number in range(len(batches)) for index in batches.find_indices(number)]


@given(num=st.integers(1, 40), micro_batch=st.integers(1, 12), seed=st.integers(0, 9))
def test_training_leaves_out_the_remainder_alone(num: int, micro_batch: int, seed: int) -> None:
    indices = [3 * index + 1 for index in range(num)]
    batches = Batches(NumberReader(), indices, micro_batch=micro_batch, shuffle=True, seed=seed)
    for epoch in range(3):
        batches.start_epoch(epoch)
        drawn = list_indices(batches)
        # each image at most once; all but the remainder, and all of them where they fill no batch at all
        assert len(set(drawn)) == len(drawn) == batches.count_images() and set(drawn) <= set(indices)
        assert len(drawn) == (num - num % micro_batch if num >= micro_batch else num)
    assert list_indices(Batches(NumberReader(), indices, micro_batch=micro_batch)) == indices  # validation keeps all


@pytest.mark.parametrize("num", [24, 31])
def test_an_update_sees_the_same_images_however_it_is_split(num: int) -> None:
    def read(micro_batch: int, steps: int) -> list[bytes]:
        options: dict[str, Any] = {"augment_config": AugmentConfig(), "shuffle": True, "seed": 3}
        batches = Batches(NoiseReader(), range(num), micro_batch=micro_batch, steps_per_update=steps, **options)
        assert len(batches) == num // 8 * steps and batches.count_images() == num // 8 * 8
        return [image.tobytes() for number in range(len(batches)) for image in batches[number][0]]

    whole = read(8, 1)
    assert len(whole) == num // 8 * 8
    for steps in (2, 4, 8):
        assert read(8 // steps, steps) == whole


def test_too_few_images_for_one_update_of_several_steps() -> None:
    with pytest.raises(InputError, match=r"at most the 7 images.*Received: batch_size=8, micro_batch=2"):
        Batches(NumberReader(), range(7), micro_batch=2, steps_per_update=4, shuffle=True)
    assert len(Batches(NumberReader(), range(7), micro_batch=8, shuffle=True)) == 1  # one smaller step is an update


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("num", [11, 12])
def test_an_epoch_goes_on_at_any_batch(num: int, shuffle: bool) -> None:
    options: dict[str, Any] = {"micro_batch": 3, "augment_config": AugmentConfig(), "shuffle": shuffle, "seed": 4}
    whole, rest = Batches(NoiseReader(), range(num), **options), Batches(NoiseReader(), range(num), **options)
    whole.start_epoch(5)
    total = len(whole)
    for first in range(total + 1):
        rest.start_epoch(5, first)
        assert len(rest) == total - first
        # images in all, which a progress bar shows
        assert rest.count_images() == whole.count_images() == (num if not shuffle else num // 3 * 3)
        for number in range(total - first):
            np.testing.assert_array_equal(rest.find_indices(number), whole.find_indices(first + number))
            assert [array.tobytes() for array in rest[number]] == [array.tobytes() for array in whole[first + number]]
    for faulty in (-1, total + 1):
        with pytest.raises(ValueError, match=rf"`first_batch` must be in 0..{total}. Received: {faulty}"):
            rest.start_epoch(5, faulty)


def test_images_are_drawn_in_proportion() -> None:
    weights = np.array([0.0, 1.0, 3.0, 6.0])
    with pytest.raises(ValueError, match="`draw_weights` must be one for each of 3 shuffled indices"):
        Batches(NumberReader(), range(3), micro_batch=1, draw_weights=np.ones(2), shuffle=True)
    batches = Batches(NumberReader(), [2, 4, 6, 8], micro_batch=2, draw_weights=weights, shuffle=True, seed=1)
    drawn: list[int] = []
    for epoch in range(1000):
        batches.start_epoch(epoch)
        assert len(batches.order) == batches.count_images() == 4
        drawn += batches.order.tolist()
    # 4000 draws: 0, 400, 1200, 2400; the standard deviation is at most sqrt(4000 * 0.6 * 0.4) = 31
    assert drawn.count(2) == 0
    for index, wanted in ((4, 400), (6, 1200), (8, 2400)):
        assert abs(drawn.count(index) - wanted) < 5 * 31
    # the same order again for the same epoch
    assert batches.order.tolist() == drawn[-4:]
    batches.start_epoch(7)
    assert batches.order.tolist() == drawn[28:32]


def test_an_image_that_comes_again_in_an_epoch_is_changed_in_another_way() -> None:
    options: dict[str, Any] = {"micro_batch": 4, "shuffle": True, "augment_config": AugmentConfig(), "seed": 2}
    again = Batches(NoiseReader(), [2], updates_per_epoch=1, **options)
    once = Batches(NoiseReader(), range(3), **options)
    seen = [image.tobytes() + target.tobytes() for image, target in zip(*again[0], strict=True)]
    assert len(set(seen)) == 4 and seen[0] == read_samples(once)[2]  # the first time as if it came once


def test_a_sample_depends_on_seed_epoch_and_index_alone() -> None:
    def read(epoch: int, workers: int = 1, **options: Any) -> dict[int, bytes]:
        arguments: dict[str, Any] = {"micro_batch": 4, "augment_config": AugmentConfig(), "shuffle": True, "seed": 5}
        batches = Batches(NoiseReader(), options.pop("indices", range(12)), **arguments | options)
        batches.start_epoch(epoch)
        return read_samples(batches, workers)

    wanted = read(1)
    assert sorted(wanted) == list(range(12))
    for options in ({"workers": 3}, {"micro_batch": 6}, {"micro_batch": 1}, {"shuffle": False}):
        assert read(1, **options) == wanted
    crops = read(1, crop_hw=(20, 24))
    assert crops == read(1, crop_hw=(20, 24), micro_batch=3) and {len(crop) for crop in crops.values()} == {20 * 24 * 5}
    fewer = read(1, indices=[2, 3, 5, 7], micro_batch=2)
    assert fewer == {index: wanted[index] for index in (2, 3, 5, 7)}
    # and it does depend on the other two; a sample is left unchanged by chance in one of 50
    for changed in (read(2), read(1, seed=6)):
        assert sum(changed[index] == wanted[index] for index in range(12)) <= 4


def test_threshold_targets_are_0_or_255() -> None:
    for augment_config in (None, AugmentConfig()):
        soft, hard = (
            Batches(NoiseReader(), range(4), micro_batch=4, targets=kind, augment_config=augment_config)[0]
            for kind in ("soft", "hard")
        )
        np.testing.assert_array_equal(hard[0], soft[0])
        assert hard[1].dtype == np.uint8
        # one half is 127.5
        np.testing.assert_array_equal(hard[1], (soft[1] > 127) * 255)


def test_one_core_does_not_bring_the_autotuner_whose_sleep_tensorflow_waits_for() -> None:
    adapter = PyDatasetAdapter(Batches(NumberReader(), range(4), micro_batch=2, workers=1))
    assert adapter.get_tf_dataset().options().autotune.enabled is False


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow runs its steps eagerly")
@pytest.mark.parametrize("workers", [1, 3])
def test_fit_sees_the_batches_of_its_epoch_or_what_is_left_of_it(workers: int) -> None:
    train = Batches(NumberReader(), range(11), micro_batch=3, shuffle=True, seed=4, workers=workers)
    valid = Batches(NumberReader(), range(100, 105), micro_batch=3, workers=workers)
    seen: list[list[int]] = []

    def record(targets: Any, logits: Any) -> Any:
        seen.append(keras.ops.convert_to_numpy(targets)[:, 0, 0, 0].astype(int).tolist())
        return keras.ops.mean(keras.ops.abs(logits))

    net = build_net()
    net.compile(optimizer="sgd", loss=record, run_eagerly=True)
    # epoch 2 was left after its first batch; it is a `fit` of its own, as Keras counts the batches when `fit` starts
    train.start_epoch(2, first_batch=1)
    net.fit(train, initial_epoch=2, epochs=3, shuffle=False, verbose=0)
    train.start_epoch(3)
    start = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: train.start_epoch(epoch))
    net.fit(train, validation_data=valid, initial_epoch=3, epochs=5, callbacks=[start], shuffle=False, verbose=0)
    orders = [np.random.default_rng([4, epoch]).permutation(11).tolist() for epoch in (2, 3, 4)]
    expected = [orders[0][3:6], orders[0][6:9]]
    for order in orders[1:]:
        expected += [order[0:3], order[3:6], order[6:9], [100, 101, 102], [103, 104]]
    assert seen == expected


@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 3), st.integers(1, 6), st.integers(1, 5))
def test_epochs_of_set_length_go_on_through_all_images(
    num: int, micro_batch: int, steps_per_update: int, updates: int, epochs: int
) -> None:
    options: dict[str, Any] = {"micro_batch": micro_batch, "steps_per_update": steps_per_update, "shuffle": True}
    batches = Batches(NumberReader(), range(num), updates_per_epoch=updates, **options)
    seen = list[int]()
    for epoch in range(epochs):
        batches.start_epoch(epoch)
        assert len(batches) == updates * steps_per_update
        assert batches.count_images() == updates * steps_per_update * micro_batch
        seen += list_indices(batches)
    # All images before any comes again, wherever epochs end.
    for start in range(0, len(seen) - num + 1, num):
        assert sorted(seen[start : start + num]) == list(range(num))
    # An epoch that is taken up, or split into other steps, is the same.
    batches.start_epoch(epochs - 1, first_batch=steps_per_update * (updates // 2))
    rest = list_indices(batches)
    assert rest == seen[len(seen) - len(rest) :]
