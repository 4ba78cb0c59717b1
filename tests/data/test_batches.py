"""Batches: a sample depends on (seed, epoch, index) alone, and Keras is given exactly the batches of its epoch."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    """Photos and coverage that hold their index at every pixel; the faulty ones cannot be read."""

    def __init__(self, faulty: Sequence[int] = ()) -> None:
        self.faulty = faulty

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        if index in self.faulty:
            raise InputError(f"photo {index} must be whole. Received: half of it")
        return np.full((8, 8, 3), index, dtype=np.uint8), np.full((8, 8, 1), index, dtype=np.uint8)


def read_samples(batches: Batches, workers: int = 1) -> dict[int, bytes]:
    """Reads an epoch, in threads and backwards where there are several; returns photo and target by index."""
    numbers = list(range(len(batches)))
    if workers > 1:
        numbers.reverse()
    with ThreadPoolExecutor(workers) as pool:
        read = list(pool.map(batches.__getitem__, numbers))
    return {
        int(index): photo.tobytes() + target.tobytes()
        for number, (photos, targets) in zip(numbers, read, strict=True)
        for index, photo, target in zip(batches.find_indices(number), photos, targets, strict=True)
    }


def build_net() -> keras.Model:
    return keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Rescaling(1 / 255), keras.layers.Conv2D(1, 1)])


def test_shapes_and_dtypes() -> None:
    batches = Batches(NoiseReader(), range(7), batch_size=3)
    photos, targets = batches[0]
    assert photos.shape == (3, 32, 48, 3) and photos.dtype == np.uint8
    assert targets.shape == (3, 32, 48, 2) and targets.dtype == np.uint8
    # unshuffled and unchanged: as the reader has them
    for index in range(3):
        np.testing.assert_array_equal(photos[index], NoiseReader()[index][0])
        np.testing.assert_array_equal(targets[index], NoiseReader()[index][1])


@given(num=st.integers(1, 40), batch_size=st.integers(1, 12))
def test_validation_keeps_every_photo(num: int, batch_size: int) -> None:
    indices = [3 * index + 1 for index in range(num)]
    batches = Batches(NumberReader(), indices, batch_size=batch_size)
    assert len(batches) == -(-num // batch_size)
    assert batches.count_photos() == num
    assert [int(index) for number in range(len(batches)) for index in batches.find_indices(number)] == indices
    assert len(batches[len(batches) - 1][0]) == (num % batch_size or batch_size)


@given(num=st.integers(1, 40), batch_size=st.integers(1, 12), seed=st.integers(0, 9))
def test_training_leaves_out_the_remainder_alone(num: int, batch_size: int, seed: int) -> None:
    indices = [3 * index + 1 for index in range(num)]
    batches = Batches(NumberReader(), indices, batch_size=batch_size, shuffle=True, seed=seed)
    for epoch in range(3):
        batches.start_epoch(epoch)
        dealt = [int(index) for number in range(len(batches)) for index in batches.find_indices(number)]
        # each photo at most once; all but the remainder, and all of them where they fill no batch at all
        assert len(set(dealt)) == len(dealt) == batches.count_photos()
        assert set(dealt) <= set(indices)
        assert len(dealt) == (num - num % batch_size if num >= batch_size else num)


def test_epochs_reshuffle() -> None:
    batches = Batches(NumberReader(), range(20), batch_size=5, shuffle=True, seed=1)
    orders = []
    for epoch in (0, 1, 2, 0):
        batches.start_epoch(epoch)
        orders.append(tuple(batches.order))
    assert len(set(orders)) == 3 and orders[3] == orders[0]
    assert all(sorted(order) == list(range(20)) for order in orders)
    other = Batches(NumberReader(), range(20), batch_size=5, shuffle=True, seed=2)
    assert tuple(other.order) != orders[0]


def test_validation_has_one_order() -> None:
    batches = Batches(NumberReader(), [4, 2, 9], batch_size=2)
    for epoch in range(3):
        batches.start_epoch(epoch)
        assert batches.order.tolist() == [4, 2, 9]


def test_a_sample_depends_on_seed_epoch_and_index_alone() -> None:
    def read(epoch: int, workers: int = 1, **options: Any) -> dict[int, bytes]:
        arguments: dict[str, Any] = {"batch_size": 4, "augment_config": AugmentConfig(), "shuffle": True, "seed": 5}
        batches = Batches(NoiseReader(), options.pop("indices", range(12)), **arguments | options)
        batches.start_epoch(epoch)
        return read_samples(batches, workers)

    wanted = read(1)
    assert sorted(wanted) == list(range(12))
    assert read(1, workers=3) == wanted
    assert read(1, batch_size=6) == wanted
    assert read(1, batch_size=1) == wanted
    assert read(1, shuffle=False) == wanted
    fewer = read(1, indices=[2, 3, 5, 7], batch_size=2)
    assert fewer == {index: wanted[index] for index in (2, 3, 5, 7)}
    # and it does depend on the other two; a sample is left unchanged by chance in one of 50
    for changed in (read(2), read(1, seed=6)):
        assert sum(changed[index] == wanted[index] for index in range(12)) <= 4


def test_threshold_targets_are_0_or_255() -> None:
    for augment_config in (None, AugmentConfig()):
        soft, hard = (
            Batches(NoiseReader(), range(4), batch_size=4, targets=kind, augment_config=augment_config)[0]
            for kind in ("coverage", "threshold")
        )
        np.testing.assert_array_equal(hard[0], soft[0])
        assert hard[1].dtype == np.uint8
        # one half is 127.5
        np.testing.assert_array_equal(hard[1], (soft[1] > 127) * 255)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow runs its steps eagerly")
@pytest.mark.parametrize("workers", [1, 3])
def test_fit_sees_the_batches_of_its_epoch(workers: int) -> None:
    train = Batches(NumberReader(), range(11), batch_size=3, shuffle=True, seed=4, workers=workers)
    valid = Batches(NumberReader(), range(100, 105), batch_size=3, workers=workers)
    seen: list[list[int]] = []

    def record(targets: Any, logits: Any) -> Any:
        seen.append(keras.ops.convert_to_numpy(targets)[:, 0, 0, 0].astype(int).tolist())
        return keras.ops.mean(keras.ops.abs(logits))

    net = build_net()
    net.compile(optimizer="sgd", loss=record, run_eagerly=True)
    deal = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: train.start_epoch(epoch))
    # from epoch 2 on, as a training that goes on does
    net.fit(train, validation_data=valid, initial_epoch=2, epochs=5, callbacks=[deal], shuffle=False, verbose=0)
    expected = []
    for epoch in (2, 3, 4):
        order = np.random.default_rng([4, epoch]).permutation(11)
        expected += [order[start : start + 3].tolist() for start in (0, 3, 6)]
        expected += [[100, 101, 102], [103, 104]]
    assert seen == expected


@pytest.mark.parametrize("workers", [1, 3])
def test_a_failing_read_is_kept(workers: int) -> None:
    batches = Batches(NumberReader(faulty=[7]), range(12), batch_size=2, workers=workers)
    net = build_net()
    net.compile(optimizer="sgd", loss=lambda targets, logits: keras.ops.mean(logits))
    # what comes is Keras's or TensorFlow's own error
    with pytest.raises(Exception):  # noqa: B017
        net.fit(batches, epochs=1, shuffle=False, verbose=0)
    assert isinstance(batches.failure, InputError)
    assert str(batches.failure) == "photo 7 must be whole. Received: half of it"


def test_without_a_failure_none_is_kept() -> None:
    batches = Batches(NumberReader(faulty=[7]), [0, 1, 7], batch_size=1)
    batches[0], batches[1]
    assert batches.failure is None
    with pytest.raises(InputError, match="photo 7 must be whole"):
        batches[2]
    assert isinstance(batches.failure, InputError)
