"""Predicting: nets and views averaged as numpy would, each map over its photo as it was."""

import typing
from collections.abc import Sequence

import keras
import numpy as np
import numpy.typing as npt
import pytest

from tests.nets.nets import draw_images, stir
from unets.config import DatasetConfig, ModelConfig, PredictionConfig, SubmissionConfig
from unets.nets.predictor import FLIPS, Predictor
from unets.nets.unet import build_unet

SIZE_HW = (33, 47)
DATASET, PAIR = DatasetConfig(), DatasetConfig(classes=("cat", "dog"), submission=SubmissionConfig(sample=None))
STEPS = {"identity": (1, 1), "hflip": (1, -1), "vflip": (-1, 1), "hvflip": (-1, -1)}  # steps along (rows, columns)


@pytest.fixture(scope="module")
def nets() -> list[keras.Model]:
    """Three nets of random weights: what they give depends on place and direction."""
    return [build_random(seed) for seed in range(3)]


def build_random(seed: int, dataset: DatasetConfig = DATASET) -> keras.Model:
    keras.utils.set_random_seed(seed)
    net = build_unet(ModelConfig(depth=2, base_filters=4), SIZE_HW, dataset, name=f"net{seed}")
    stir(net, seed=seed)
    return net


def build_constant(*logits: float) -> keras.Model:
    """Builds a net that gives the same logits everywhere."""
    return keras.Sequential(
        [
            keras.Input((8, 8, 3), dtype="uint8"),
            keras.layers.Rescaling(0.0),
            keras.layers.Conv2D(len(logits), 1, bias_initializer=lambda shape, dtype: np.array(logits, dtype)),
        ]
    )


def average_by_hand(
    nets: Sequence[keras.Model], names: Sequence[str], photos: npt.NDArray[np.uint8]
) -> npt.NDArray[np.float64]:
    """Averages probabilities over nets and views, one after the other, in numpy; 0..255, not rounded."""
    maps = []
    for net in nets:
        for rows, columns in (STEPS[name] for name in names):
            logits = keras.ops.convert_to_numpy(net(photos[:, ::rows, ::columns].copy(), training=False))
            if logits.shape[-1] == 1:
                probs = 1 / (1 + np.exp(-logits.astype(np.float64)))
            else:
                shares = np.exp(logits.astype(np.float64))
                probs = (shares / shares.sum(axis=-1, keepdims=True))[..., 1:]
            maps.append(probs[:, ::rows, ::columns])
    return np.asarray(255 * np.mean(maps, axis=0))


def check_rounded(maps_u8: npt.NDArray[np.uint8], wanted: npt.NDArray[np.float64]) -> None:
    assert maps_u8.dtype == np.uint8 and maps_u8.shape == wanted.shape
    assert abs(maps_u8 - wanted).max() <= 0.501  # rounded, not cut off
    assert np.ptp(wanted) > 20  # there is something to mix up


@pytest.mark.parametrize("num_nets", [1, 3])
@pytest.mark.parametrize("names", [("hflip",), ("hflip", "identity"), tuple(FLIPS)])
def test_equals_averaging_by_hand(nets: list[keras.Model], num_nets: int, names: tuple[str, ...]) -> None:
    photos = draw_images(SIZE_HW, 3, seed=7)
    predictor = Predictor(nets[:num_nets], names, batch_size=3)
    mean, first = predictor(photos)
    check_rounded(mean, average_by_hand(nets[:num_nets], names, photos))
    check_rounded(first, average_by_hand(nets[:num_nets], names[:1], photos))


def test_several_classes() -> None:
    pair, photos = [build_random(seed, PAIR) for seed in (5, 6)], draw_images(SIZE_HW, 2, seed=7)
    mean, first = Predictor(pair, ["identity", "vflip"], batch_size=2)(photos)
    assert mean.shape == (2, *SIZE_HW, 2)
    check_rounded(mean, average_by_hand(pair, ["identity", "vflip"], photos))
    check_rounded(first, average_by_hand(pair, ["identity"], photos))


def test_a_smaller_batch_is_filled_and_cut(nets: list[keras.Model]) -> None:
    photos = draw_images(SIZE_HW, 4, seed=7)
    predictor = Predictor(nets[:1], ["identity", "hflip"], batch_size=4)
    whole = predictor(photos)
    for num_images in (1, 2, 3):
        for maps, wanted in zip(predictor(photos[:num_images]), whole, strict=True):
            assert maps.shape == (num_images, *SIZE_HW, 1)
            np.testing.assert_array_equal(maps, wanted[:num_images])


def test_rounding_by_hand() -> None:
    photos = np.zeros((1, 8, 8, 3), dtype=np.uint8)
    for logits, wanted in [
        ((np.log(3.0),), [191]),  # 0.75 * 255 = 191.25
        ((-np.log(3.0),), [64]),  # 0.25 * 255 = 63.75
        ((50.0,), [255]),
        ((-50.0,), [0]),
        ((0.0, np.log(2.0), 0.0), [128, 64]),  # 1/4, 1/2, 1/4: 127.5 goes to the even one, 63.75
    ]:
        for maps in Predictor([build_constant(*logits)], ["identity"], batch_size=1)(photos):
            np.testing.assert_array_equal(maps, np.broadcast_to(wanted, maps.shape))


def test_scales_by_hand() -> None:
    def build_red(side: int) -> keras.Model:
        """Builds a net whose logit is a hundredth of the red there, less 1."""
        image = keras.Input((side, side, 3), dtype="uint8")
        kernel = np.array([0.01, 0, 0]).reshape(1, 1, 3, 1)
        head = keras.layers.Conv2D(
            1, 1, kernel_initializer=lambda *_, **__: kernel, bias_initializer=lambda *_, **__: -np.ones(1)
        )
        return keras.Model(image, head(keras.layers.Rescaling(1.0)(image)), name=f"red{side}")

    photos = np.zeros((1, 2, 2, 3), dtype=np.uint8)
    photos[..., 0] = 0, 200  # columns; their mean is 100, of logit 0
    alone, low, high = 0.5, 1 / (1 + np.exp(1)), 1 / (1 + np.exp(-1))
    mean, first = Predictor([build_red(2)], ["identity"], batch_size=1, scaled=[[build_red(1)]])(photos)
    np.testing.assert_array_equal(first[0, 0, :, 0], np.rint(255 * np.array([low, high])))
    np.testing.assert_array_equal(mean[0, :, :, 0], np.rint(255 * np.array([[low + alone, high + alone]] * 2) / 2))


def test_the_table_holds_the_flips_that_the_config_allows() -> None:
    flips = PredictionConfig.model_fields["tta"].annotation
    assert set(FLIPS) == set(typing.get_args(typing.get_args(flips)[0]))
