"""The U-Net: any size in and the same out, weights that fit every size, the paper's own net, and each variant."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest

from tests.nets.nets import draw_images, stir
from unets.config import MIN_SIDE_PX, DatasetConfig, ModelConfig, SubmissionConfig
from unets.errors import InputError
from unets.nets.blocks import DepthToSpace, SpaceToDepth
from unets.nets.unet import build_unet, measure_padding
from unets.nets.weights import widen_filters

TINY = ModelConfig(depth=2, base_filters=2)
POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "residual": {"block": "residual"},
    "group": {"normalization": "group"},
    "lite0": {"encoder": "efficientnet_lite0"},
}


def predict(net: keras.Model, photos: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    return np.asarray(keras.ops.convert_to_numpy(net(photos, training=False)))


def vary(**changes: Any) -> ModelConfig:
    return ModelConfig.model_validate(TINY.model_dump() | changes)


@pytest.mark.parametrize(("depth", "stride"), [(1, 1), (2, 4), (3, 2), (4, 1)])
def test_any_size_comes_out_as_it_came_in(depth: int, stride: Any) -> None:
    config = ModelConfig(depth=depth, base_filters=2, max_filters=4, stride=stride)
    for size_hw in ((32, 32), (33, 47), (63, 34)):
        net = build_unet(config, size_hw)
        assert net.input_shape == (None, *size_hw, 3)
        assert net.output_shape == (None, *size_hw, 1)
        assert predict(net, draw_images(size_hw, 1)).shape == (1, *size_hw, 1)


@pytest.mark.parametrize("multiple", [2**power for power in range(1, 11)])
def test_padding_is_the_least_that_divides(multiple: int) -> None:
    for side in range(max(MIN_SIDE_PX, (multiple + 1) // 2), 300):
        before, after = measure_padding((side, side), multiple)
        for pad in (before[0] + after[0], before[1] + after[1]):
            assert (side + pad) % multiple == 0 and 0 <= pad < multiple
        # spread evenly, and short enough to be reflected: a side of n pixels has n - 1 beside its border
        assert after[0] - before[0] in (0, 1) and after[0] <= side - 1


def test_padding_inside_is_reflection_outside(tmp_path: Path) -> None:
    # 33 x 46 in fours: 1 row before and 2 after, 1 column on each side
    inside, outside = build_unet(TINY, (33, 46)), build_unet(TINY, (36, 48))
    stir(inside)
    outside.set_weights(inside.get_weights())
    photos = draw_images((33, 46))
    padded = np.pad(photos, [(0, 0), (1, 2), (1, 1), (0, 0)], mode="reflect")
    np.testing.assert_allclose(predict(inside, photos), predict(outside, padded)[:, 1:-2, 1:-1], atol=1e-5)
    inside.save_weights(tmp_path / "a.weights.h5")  # they fit every size
    other = build_unet(TINY, (36, 48))
    other.load_weights(tmp_path / "a.weights.h5")
    np.testing.assert_array_equal(predict(other, padded), predict(outside, padded))


def test_the_net_of_2015() -> None:
    # `max_filters` too: the paper's deepest level has 1024 channels
    paper = ModelConfig(
        depth=4, base_filters=64, max_filters=1024, normalization="none", dropout=0.5, upsampling="transpose"
    )
    net = build_unet(paper, (32, 32))

    def convolution(side: int, before: int, after: int) -> int:
        return side * side * before * after + after

    down = [(3, 64), (64, 128), (128, 256), (256, 512), (512, 1024)]
    wanted = sum(convolution(3, before, after) + convolution(3, after, after) for before, after in down)
    # up: 2 x 2 transposed to half the channels, joined with as many again, two convolutions
    for before, after in [(1024, 512), (512, 256), (256, 128), (128, 64)]:
        wanted += convolution(2, before, after) + convolution(3, 2 * after, after) + convolution(3, after, after)
    wanted += convolution(1, 64, 1)
    assert wanted == 31_031_745
    assert net.count_params() == wanted
    kinds = [type(layer).__name__ for layer in net.layers]
    # two convolutions at 4 levels down, the bottom, 4 up, and the last
    assert kinds.count("Conv2D") == 2 * 9 + 1
    assert kinds.count("Conv2DTranspose") == kinds.count("MaxPooling2D") == kinds.count("Concatenate") == 4
    assert "BatchNorm" not in kinds and kinds.count("SpatialDropout2D") == 1


def test_space_to_depth_by_hand() -> None:
    # one photo, 4 x 2 pixels, two channels: pixel (row, column) holds 10 row + column, and that plus 100
    pixels = 10 * np.arange(4)[:, None] + np.arange(2)[None]
    x = np.stack([pixels, pixels + 100], axis=-1)[None].astype(np.float32)
    folded = keras.ops.convert_to_numpy(SpaceToDepth(2)(x))
    # a block's pixels in reading order, each with its channels
    np.testing.assert_array_equal(
        folded[0], [[[0, 100, 1, 101, 10, 110, 11, 111]], [[20, 120, 21, 121, 30, 130, 31, 131]]]
    )
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(DepthToSpace(2)(folded)), x)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", list(VARIANTS))
def test_every_variant_gives_float32_logits_near_the_exact_ones(name: str, policy: str) -> None:
    config = vary(base_filters=8, **VARIANTS[name])
    exact, net = build_unet(config, (33, 36)), build_unet(config, (33, 36), precision=policy)
    stir(exact)
    net.set_weights(exact.get_weights())
    assert {keras.backend.standardize_dtype(output.dtype) for output in net.outputs} == {"float32"}
    assert {keras.backend.standardize_dtype(weight.dtype) for weight in net.weights} == {"float32"}
    assert net.get_layer("pad").compute_dtype == policy.removeprefix("mixed_")
    photos = draw_images((33, 36))
    wanted, found = predict(exact, photos), predict(net, photos)
    # bfloat16 keeps 8 bits: 1/256 a layer
    assert abs(found - wanted).max() < (1e-5 if policy == "float32" else 0.1) * np.ptp(wanted)


def test_an_encoder_without_the_deepest_stride_is_refused() -> None:
    with pytest.raises(InputError, match=r"must be one of \(4, 8, 16, 32\).*Received: 2"):
        build_unet(vary(encoder="convnexttiny", depth=1), (32, 32))


@pytest.mark.parametrize(("precision", "gray_levels"), [("float32", 1e-4), ("mixed_bfloat16", 0.26)])
def test_the_image_is_scaled_in_float32(precision: str, gray_levels: float) -> None:
    net = build_unet(ModelConfig(depth=1, base_filters=2), (32, 32), precision=precision)
    seen = keras.Model(net.input, net.get_layer("normalize").output)
    levels = np.arange(256, dtype=np.uint8)
    images = np.resize(levels, (1, 32, 32, 3))
    found = keras.ops.convert_to_numpy(keras.ops.cast(seen(images), "float32"))
    assert abs((found + 1) * 127.5 - images).max() < gray_levels


@pytest.mark.parametrize(("encoder", "num_channels"), [("unet", 2), ("efficientnet_lite0", 5), ("mobilenetv3small", 2)])
def test_images_of_other_channels_and_overlapping_classes(encoder: Any, num_channels: int) -> None:
    config = ModelConfig(encoder=encoder, depth=4, stride=2, base_filters=2)
    form = SubmissionConfig(sample=None)
    dataset = DatasetConfig(channels=num_channels, classes=("cat", "dog"), overlapping=True, submission=form)
    net = build_unet(config, (32, 64), dataset)
    assert net.input_shape == (None, 32, 64, num_channels)
    assert net.output_shape == (None, 32, 64, 2)  # no background: each class has a sigmoid of its own


def test_pretrained_filters_are_widened_so_that_gray_stays_gray() -> None:
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(3, 3, 3, 4)).astype(np.float32)
    gray = rng.normal(size=(1, 8, 8, 1)).astype(np.float32)
    results = []
    for channels in (3, 1, 7):
        layer = keras.layers.Conv2D(4, 3, use_bias=False)
        layer.build((None, 8, 8, channels))
        layer.set_weights(widen_filters(layer, [kernel]))
        results.append(keras.ops.convert_to_numpy(layer(np.repeat(gray, channels, axis=-1))))
    np.testing.assert_allclose(results[1], results[0], atol=1e-5)
    np.testing.assert_allclose(results[2], results[0], atol=1e-5)
