"""The pieces of a level: their arithmetic by hand, their parameters by formula."""

from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest

from unets.config import ModelConfig
from unets.nets.blocks import BLOCKS, count_groups

Array = npt.NDArray[np.float32]

BARE = ModelConfig(normalization="none")


def build(piece: Any, shape: tuple[int, int, int], filters: int, config: ModelConfig) -> keras.Model:
    """A model of one piece alone, from (height, width, channels)."""
    x = keras.Input(shape)
    return keras.Model(x, piece(x, filters, config, "piece"))


def run(net: keras.Model, x: npt.NDArray[Any], training: bool = False) -> Array:
    return np.asarray(keras.ops.convert_to_numpy(net(x.astype(np.float32), training=training)))


def test_a_residual_block_by_hand() -> None:
    # centre taps alone, one channel, no norm: x = 2 gives relu(2 + b(relu(a(2)))) with a = 3 z - 1, b = -z / 2 + 1
    net = build(BLOCKS["residual"], (4, 4, 1), 1, BARE)
    for name, slope, bias in (("piecea_conv", 3, -1), ("pieceb_conv", -0.5, 1)):
        kernel = np.zeros((3, 3, 1, 1))
        kernel[1, 1] = slope
        net.get_layer(name).set_weights([kernel, np.array([bias])])
    # a(2) = 5, b(5) = -1.5, 2 - 1.5 = 0.5; x = 6: a = 17, b = -7.5, relu(-1.5) = 0; x = 0: relu(-1) = 0, b = 1
    for value, wanted in ((2, 0.5), (6, 0.0), (0, 1.0)):
        np.testing.assert_allclose(run(net, np.full((1, 4, 4, 1), value)), wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("channels", "groups"),
    # 4 channels a group up to 128, then 32 groups; 24 / 6, 44 / 11; primes and less than 8 are one group
    [(32, 8), (64, 16), (128, 32), (256, 32), (512, 32), (1024, 32), (24, 6), (44, 11), (13, 1), (4, 1), (1, 1)],
)
def test_groups_by_hand(channels: int, groups: int) -> None:
    assert count_groups(channels) == groups
