"""The U-Net: any size in and the same out, weights that fit every size, and the paper's own net."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest

from unets.config import MIN_SIDE_PX, ModelConfig
from unets.nets.blocks import DepthToSpace, ReflectPad, SpaceToDepth
from unets.nets.unet import build_unet, measure_padding

TINY = ModelConfig(depth=2, base_filters=2)
POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")


def draw_photos(size_hw: tuple[int, int], num_photos: int = 2) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (num_photos, *size_hw, 3), dtype=np.uint8)


def predict(net: keras.Model, photos: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    return np.asarray(keras.ops.convert_to_numpy(net(photos, training=False)))


def stir(net: keras.Model, seed: int = 0) -> None:
    """Moves biases and the statistics of normalizations a little: at their zeros and ones they would hide faults."""
    rng = np.random.default_rng(seed)
    for weight in net.weights:
        weight.assign(weight + rng.uniform(-0.2, 0.2, weight.shape) * (len(weight.shape) == 1))


@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_any_size_comes_out_as_it_came_in(depth: int, stride: Any) -> None:
    config = ModelConfig(depth=depth, base_filters=2, max_filters=4, stride=stride)
    for size_hw in ((32, 32), (33, 47), (64, 95), (63, 34)):
        net = build_unet(config, size_hw)
        assert net.input_shape == (None, *size_hw, 3)
        assert net.output_shape == (None, *size_hw, 1)
        assert predict(net, draw_photos(size_hw, 1)).shape == (1, *size_hw, 1)


@pytest.mark.parametrize("multiple", [2**power for power in range(1, 11)])
def test_padding_is_the_least_that_divides(multiple: int) -> None:
    for side in range(MIN_SIDE_PX, 300):
        try:
            before, after = measure_padding((side, side), multiple)
        except ValueError:
            assert multiple > 2 * side  # what the message asks for is enough
            continue
        for pad in (before[0] + after[0], before[1] + after[1]):
            assert (side + pad) % multiple == 0 and 0 <= pad < multiple
        # spread evenly, and short enough to be reflected: a side of n pixels has n - 1 beside its border
        assert after[0] - before[0] in (0, 1) and after[0] <= side - 1


def test_padding_by_hand() -> None:
    # 33 + 3 = 36 and 47 + 1 = 48 are divisible by 4; the odd pixel goes after
    assert measure_padding((33, 47), 4) == ((1, 0), (2, 1))
    assert measure_padding((32, 48), 16) == ((0, 0), (0, 0))
    # Carvana's 1280 x 1918 in 32s: 1920 columns
    assert measure_padding((1280, 1918), 32) == ((0, 1), (0, 1))


@pytest.mark.parametrize(("depth", "stride"), [(8, 1), (7, 2), (6, 4), (8, 4)])
def test_padding_beyond_the_side_is_refused(depth: int, stride: Any) -> None:
    multiple = stride * 2**depth
    expected = rf"`depth` and `stride` must suit the size: .* Received: {multiple} for size_hw=\(64, 32\)"
    with pytest.raises(ValueError, match=expected):
        build_unet(ModelConfig(depth=depth, base_filters=1, stride=stride), (64, 32))


def test_padding_inside_is_reflection_outside() -> None:
    # 33 x 46 in fours: 1 row before and 2 after, 1 column on each side
    inside, outside = build_unet(TINY, (33, 46)), build_unet(TINY, (36, 48))
    stir(inside)
    outside.set_weights(inside.get_weights())
    photos = draw_photos((33, 46))
    padded = np.pad(photos, [(0, 0), (1, 2), (1, 1), (0, 0)], mode="reflect")
    np.testing.assert_allclose(predict(inside, photos), predict(outside, padded)[:, 1:-2, 1:-1], atol=1e-5)


def test_weights_fit_every_size(tmp_path: Path) -> None:
    first = build_unet(TINY, (64, 48))
    stir(first)
    first.save_weights(tmp_path / "a.weights.h5")
    other = build_unet(TINY, (33, 47))
    other.load_weights(tmp_path / "a.weights.h5")
    other.save_weights(tmp_path / "b.weights.h5")
    last = build_unet(TINY, (64, 48))
    photos = draw_photos((64, 48))
    assert abs(predict(last, photos) - predict(first, photos)).max() > 0.01
    last.load_weights(tmp_path / "b.weights.h5")
    np.testing.assert_allclose(predict(last, photos), predict(first, photos), atol=1e-6)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("stride", [1, 2])
def test_logits_and_weights_are_float32_under_every_policy(policy: str, stride: Any) -> None:
    config = ModelConfig(depth=2, base_filters=4, stride=stride)
    exact, net = build_unet(config, (33, 47)), build_unet(config, (33, 47), precision=policy)
    stir(exact)
    net.set_weights(exact.get_weights())
    logits = net(draw_photos((33, 47)), training=False)
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    assert {keras.backend.standardize_dtype(weight.dtype) for weight in net.weights} == {"float32"}
    assert net.get_layer("down0a_conv").compute_dtype == policy.removeprefix("mixed_")
    # bfloat16 keeps 8 bits: 1/256 a layer
    wanted = predict(exact, draw_photos((33, 47)))
    assert abs(keras.ops.convert_to_numpy(logits) - wanted).max() < 0.05 * abs(wanted).max()


def test_the_global_policy_stays() -> None:
    before = keras.config.dtype_policy()
    build_unet(TINY, (32, 32), precision="mixed_bfloat16")
    assert keras.config.dtype_policy() == before
    with pytest.raises(ValueError, match="no_such_policy"):
        build_unet(TINY, (32, 32), precision="no_such_policy")
    assert keras.config.dtype_policy() == before


@pytest.mark.parametrize(("num_classes", "channels"), [(1, 1), (2, 3), (5, 6)])
@pytest.mark.parametrize("stride", [1, 4])
def test_several_classes_have_a_background(num_classes: int, channels: int, stride: Any) -> None:
    net = build_unet(TINY.model_copy(update={"stride": stride}), (33, 47), num_classes)
    assert predict(net, draw_photos((33, 47))).shape == (2, 33, 47, channels)


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
    assert "BatchNormalization" not in kinds and kinds.count("SpatialDropout2D") == 1


def test_filters_double_up_to_their_limit() -> None:
    net = build_unet(ModelConfig(depth=3, base_filters=4, max_filters=12), (32, 32))
    # 4, 8, then 16 and 32 held at 12
    filters = [net.get_layer(f"{level}b_conv").filters for level in ("down0", "down1", "down2", "bottom", "up2", "up0")]
    assert filters == [4, 8, 12, 12, 12, 4]


@pytest.mark.parametrize(
    ("field", "value", "kind"),
    [
        ("upsampling", "transpose", "Conv2DTranspose"),
        ("upsampling", "nearest", "UpSampling2D"),
        ("upsampling", "bilinear", "UpSampling2D"),
        ("dropout", 0.1, "SpatialDropout2D"),
        ("normalization", "batch", "BatchNormalization"),
        ("stride", 2, "SpaceToDepth"),
    ],
)
def test_each_setting_builds_its_layer(field: str, value: Any, kind: str) -> None:
    net = build_unet(TINY.model_copy(update={field: value}), (32, 32))
    layers = [layer for layer in net.layers if type(layer).__name__ == kind]
    assert layers
    if kind == "UpSampling2D":
        assert layers[0].interpolation == value


def test_dropout_acts_in_training_alone() -> None:
    net = build_unet(TINY.model_copy(update={"dropout": 0.5, "normalization": "none"}), (32, 32))
    stir(net)
    photos = draw_photos((32, 32))
    np.testing.assert_array_equal(predict(net, photos), predict(net, photos))
    trained = [np.asarray(keras.ops.convert_to_numpy(net(photos, training=True))) for _ in range(4)]
    assert max(abs(other - trained[0]).max() for other in trained[1:]) > 1e-4


def test_photos_come_to_minus_1_to_1() -> None:
    net = build_unet(TINY, (32, 32))
    photos = np.zeros((1, 32, 32, 3), dtype=np.uint8)
    photos[..., 1], photos[..., 2] = 51, 255  # 51 / 127.5 - 1 = -0.6
    normalized = keras.ops.convert_to_numpy(net.get_layer("normalize")(photos))
    np.testing.assert_allclose(normalized[0, 0, 0], [-1, -0.6, 1], atol=1e-6)


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


@pytest.mark.parametrize("block", [1, 2, 4])
@pytest.mark.parametrize("channels", [1, 3])
def test_space_to_depth_and_back(block: int, channels: int) -> None:
    x = np.random.default_rng(0).normal(size=(3, 2 * block, 5 * block, channels)).astype(np.float32)
    folded = SpaceToDepth(block)(x)
    assert folded.shape == (3, 2, 5, block * block * channels)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(DepthToSpace(block)(folded)), x)
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(SpaceToDepth(block)(DepthToSpace(block)(folded))), keras.ops.convert_to_numpy(folded)
    )


def test_reflection_by_hand() -> None:
    x = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.float32)[None, ..., None]
    padded = keras.ops.convert_to_numpy(ReflectPad((1, 0), (0, 2))(x))[0, ..., 0]
    np.testing.assert_array_equal(padded, [[4, 5, 6, 5, 4], [1, 2, 3, 2, 1], [4, 5, 6, 5, 4]])
    assert ReflectPad((1, 0), (0, 2)).compute_output_shape((None, 2, 3, 1)) == (None, 3, 5, 1)


def test_a_net_outlives_its_file(tmp_path: Path) -> None:
    net = build_unet(TINY.model_copy(update={"stride": 2}), (33, 47))
    stir(net)
    net.save(tmp_path / "net.keras")
    photos = draw_photos((33, 47))
    np.testing.assert_allclose(
        predict(keras.models.load_model(tmp_path / "net.keras"), photos), predict(net, photos), atol=1e-6
    )
