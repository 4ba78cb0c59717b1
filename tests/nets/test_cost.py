"""What nets cost, against arithmetic by hand."""

import importlib.util
import re
from typing import Any

import keras
import pytest
from keras import layers

from tests import ROOT
from unets.config import ENCODERS, ModelConfig
from unets.nets.cost import measure_cost

TINY = ModelConfig(depth=2, base_filters=4)


def load_benchmark() -> Any:
    """Returns benchmarks/nets.py as a module, under a name that no package has."""
    spec = importlib.util.spec_from_file_location("benchmarks_nets", ROOT / "benchmarks" / "nets.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build(*stack: Any, channels: int = 3) -> keras.Model:
    """Returns a model of layers one after the other, from 8 x 6 pixels."""
    x = photos = keras.Input((8, 6, channels))
    for layer in stack:
        x = layer(x)
    return keras.Model(photos, x)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        # 3 x 3 of 3 channels for each of 5 filters at each of 48 pixels
        (layers.Conv2D(5, 3, padding="same"), 48 * 9 * 3 * 5),
        # a stride of 2 leaves 4 x 3
        (layers.Conv2D(5, 3, strides=2, padding="same"), 12 * 9 * 3 * 5),
        # two filters a channel
        (layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2), 48 * 9 * 3 * 2),
        (layers.SeparableConv2D(5, 3, padding="same"), 48 * (9 * 3 + 3 * 5)),
        # each of 48 pixels is spread over 2 x 2 in 5 channels
        (layers.Conv2DTranspose(5, 2, strides=2), 48 * 4 * 3 * 5),
        (layers.Dense(7), 48 * 3 * 7),
        (layers.UpSampling2D(2), 0),
    ],
)
def test_multiply_adds_by_hand(layer: Any, expected: int) -> None:
    assert measure_cost(build(layer)).multiply_adds == expected


def test_nested_models_are_opened_and_shared_layers_count_at_each_use() -> None:
    inner = build(layers.Conv2D(3, 3, padding="same"))
    outer = build(inner, keras.Sequential([keras.Input((8, 6, 3)), inner]))
    assert measure_cost(inner).multiply_adds == 48 * 81
    assert (measure_cost(outer).multiply_adds, measure_cost(outer).parameters) == (2 * 48 * 81, 81 + 3)


def test_parameters_are_floats_that_are_trained_or_not() -> None:
    net = build(layers.Conv2D(4, 3), layers.BatchNormalization(), layers.Dropout(0.5))
    cost = measure_cost(net)
    # 9 x 3 x 4 + 4 of the convolution; scale and shift are trained, the moving mean and variance are not; the seed of
    # dropout is no parameter
    assert (cost.parameters, cost.trainable_parameters) == (112 + 16, 112 + 8)


def test_training_bytes_by_hand() -> None:
    net = build(layers.Conv2D(4, 3, padding="same"), layers.Activation("relu"), layers.Conv2D(2, 1))
    # kept: the image (48 x 3), which the first filters' gradient needs, and the ReLU's output (48 x 4), which the
    # second filters' and its own do; ten copies of the logits; in and out of the ReLU, the largest step
    assert measure_cost(net).training_bytes == 4 * 48 * (3 + 4 + 10 * 2 + 4 + 4)
    frozen = layers.Conv2D(4, 3, padding="same", trainable=False)
    net = build(frozen, layers.Activation("relu"), layers.Conv2D(2, 1))
    # what lies before all training keeps nothing: what goes into the trained filters, and what they make
    assert measure_cost(net).training_bytes == 4 * 48 * (4 + 10 * 2 + 4 + 2)


def test_prediction_by_hand() -> None:
    # the photo and 4 channels, 4 and 8, 8 and 2: the middle is the most, and what was read last is freed
    net = build(*(layers.Conv2D(filters, 1) for filters in (4, 8, 2)))
    assert measure_cost(net).prediction_bytes == 4 * 48 * (4 + 8)


def test_a_skip_is_held_until_it_is_joined() -> None:
    photos = keras.Input((8, 6, 3))
    skip = layers.Conv2D(5, 1)(photos)
    x = skip
    for _ in range(3):
        x = layers.Conv2D(8, 1)(x)
    net = keras.Model(photos, layers.Concatenate()([skip, x]))
    # at the join: 5 and 8 go in, 13 come out; without the skip it would be 16 at most
    assert measure_cost(net).prediction_bytes == 4 * 48 * (5 + 8 + 13)


@pytest.mark.slow
def test_the_page_of_networks_has_the_computed_costs() -> None:
    nets = load_benchmark()
    text = nets.PAGE.read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([^|]+) \| ([^|]+ \| [^|]+) \|", text, flags=re.MULTILINE))
    for name, config in nets.NETS.items():
        assert rows[name] == nets.count(config), f"{name}: run `python benchmarks/nets.py`"
    for name in ("mobilenetv3small", "vgg16"):
        wanted = nets.count(nets.choose_encoder(name))
        assert rows[f"`{name}`"] == wanted, f"{name}: run `python benchmarks/nets.py --encoders`"
    assert all(f"`{name}`" in rows for name in ENCODERS[1:])
