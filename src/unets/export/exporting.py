"""Exports: a model written in every format asked for, and each file compared with the net in Keras.

Other programs get a net of Keras's own layers and operations alone, from bytes to probabilities.
"""

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import layers, ops

from unets.data.geometry import SizeHW
from unets.export.card import MemberCard, ModelCard, Origin
from unets.export.model import TrainedModel
from unets.export.oof import SampleImages
from unets.export.programs import INPUT_NAME, OUTPUT_NAME, Predict, open_program_file, write_program_files
from unets.export.sources import CARD_KEY, FORMAT_VERSION, VERSION_KEY, name_net
from unets.log import show_progress
from unets.nets.blocks import DepthToSpace, ReflectPad, SpaceToDepth
from unets.nets.layers import BatchNorm, DepthwiseConv2D
from unets.nets.weights import get_weights, set_weights
from unets.prediction.loading import load_net
from unets.prediction.sources import StoredWeights
from unets.store.provenance import describe_origin
from unets.store.runs import write_text
from unets.store.tensors import write_tensors
from unets.tables import Table

logger = logging.getLogger(__name__)

_NUM_NOISE = 4  # made-up images to compare files on, where there are no real ones


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportedFile:
    """A file that was written and compared."""

    path: Path
    kind: str  # `LiteRT float16`
    ms: float  # an image, one at a time; the median
    largest_difference: float  # of a probability, to the net in Keras
    num_images: int  # it was compared on; made-up ones where there is no score
    metric: str  # of the scores; empty: there are none
    scores: tuple[float, float] | None  # at full size, mean over images, and what it is against the net in Keras


def export_models(
    models: Sequence[TrainedModel],
    out_dir: Path,
    formats: Sequence[str],
    find_images: Callable[[int, SizeHW], SampleImages] | None = None,
) -> list[Path]:
    """Writes models: each as one file, and of each member the first net for other programs.

    Files for other programs hold one net, which sees the image without TTA: flips and further folds multiply what a
    phone has to compute. A table of all of them is written beside, `export.md`. Files of their names are replaced.

    `formats` are those of `--formats`. `find_images` leads from a net's fold and size to images for the comparison;
    None makes some up: noise, which says no more than whether two programs compute the same.

    Returns the files, the table last. Raises InputError where weights are missing, damaged, or of another net, or the
    backend cannot write a format.
    """
    paths, rows = list[Path](), list[ExportedFile]()
    others = [name for name in formats if name != "model"]
    for model in models:
        if "model" in formats:
            paths.append(out_dir / f"{model.card.name}.safetensors")
            write_model_file(model, paths[-1])
        for member, weights in zip(model.card.members, model.weights, strict=True) if others else ():
            fold, net = member.nets[0].fold, _load_net(model.card, member, weights[0])
            name = f"{member.name}_fold{fold}"
            net = build_portable(net, name, overlapping=model.card.recipe.overlapping)
            images = find_images(fold, member.size_hw) if find_images else _make_noise(net)
            files = write_program_files(net, out_dir / name, others, images.calibration)
            rows += compare_files(net, files, images)
            paths += files.values()
    for path in paths:
        logger.info("%s: %.1f MB", path, path.stat().st_size / 1e6)
    if rows:
        paths.append(out_dir / "export.md")
        write_text(paths[-1], _render(rows))
    return paths


def write_model_file(model: TrainedModel, path: Path) -> None:
    """Writes a model as one safetensors file: the weights of all its nets, and the card in the metadata.

    The nets are built once, so that only weights that fit them are written. Raises InputError where weights are
    missing, damaged, or of another net.
    """
    card = model.card.model_copy(update={"origin": Origin(**describe_origin())})
    tensors: dict[str, npt.NDArray[Any]] = {}
    for member, sources in zip(card.members, model.weights, strict=True):
        for net, weights in zip(member.nets, sources, strict=True):
            found = get_weights(_load_net(card, member, weights))
            tensors |= {f"{name_net(member, net)}/{name}": value for name, value in found.items()}
    write_tensors(path, tensors, {VERSION_KEY: FORMAT_VERSION, CARD_KEY: card.model_dump(mode="json")})


def compare_files(net: keras.Model, files: dict[str, Path], images: SampleImages) -> list[ExportedFile]:
    """Predicts images with every file of a net, as `write_program_files` gives them, and with the net itself."""
    opened: dict[str, Predict] = {kind: open_program_file(path) for kind, path in files.items()}
    opened["net"] = net.predict_on_batch
    seconds, differences, scores = ({kind: list[float]() for kind in opened} for _ in range(3))
    for image, score in show_progress(images.images, what=f"compare {net.name}", total=images.total, unit="image"):
        (expected,) = opened["net"](image[None])
        for kind, predict in opened.items():
            began = perf_counter()
            (probs_hwc,) = predict(image[None])
            seconds[kind].append(perf_counter() - began)
            differences[kind].append(float(np.abs(probs_hwc - expected).max()))
            scores[kind] += [] if score is None else [score(probs_hwc)]
    return [
        ExportedFile(
            path=path,
            kind=kind,
            ms=1e3 * float(np.median(seconds[kind][1:] or seconds[kind])),  # the first one also warms up
            largest_difference=max(differences[kind]),
            num_images=len(seconds[kind]),
            metric=images.metric,
            scores=(mean := float(np.mean(scores[kind])), mean - float(np.mean(scores["net"])))
            if scores[kind]
            else None,
        )
        for kind, path in files.items()
    ]


def build_portable(net: keras.Model, name: str, *, overlapping: bool = False) -> keras.Model:
    """Builds a net of float32 again, without our layers: a file of it needs nothing of this package.

    Returns a model of that name, about, from uint8 images (batch, height, width, channels) of the net's size to the
    probabilities of the foreground classes, float32 (batch, height, width, classes), of the image without TTA.
    """
    images = keras.Input(net.input_shape[1:], dtype="uint8", name=INPUT_NAME)
    replace = {"clone_function": _copy, "call_function": _call, "recursive": True}
    plain = keras.models.clone_model(net, input_tensors=images, **replace)
    logits = plain.outputs[0]
    if overlapping or logits.shape[-1] == 1:
        probs = layers.Activation("sigmoid", dtype="float32", name=OUTPUT_NAME)(logits)
    else:
        shares = layers.Softmax(dtype="float32", name=OUTPUT_NAME)(logits)
        probs = ops.split(shares, [1], axis=-1)[1]  # without the background's
    # TensorFlow takes few signs in names: none of those that overrides have, as `unet+training.seed=1`.
    portable = keras.Model(plain.inputs[0], probs, name="net_" + re.sub(r"[^A-Za-z0-9_.]+", "_", name))
    set_weights(portable, get_weights(net))
    return portable


def _copy(layer: Any) -> Any:
    """Copies a layer; ours become Keras's, or stay to be replaced as they are called."""
    if not isinstance(layer, layers.Layer) or isinstance(layer, ReflectPad | SpaceToDepth):
        return layer
    plain = {BatchNorm: layers.BatchNormalization, DepthwiseConv2D: layers.DepthwiseConv2D}
    return plain.get(type(layer), type(layer)).from_config(layer.get_config())


def _call(layer: Any, *inputs: Any, **options: Any) -> Any:
    """Calls a layer, or in place of one of ours the operations that it is made of."""
    if isinstance(layer, ReflectPad):
        padding = [(0, 0), layer.top_bottom, layer.left_right, (0, 0)]
        x = ops.cast(inputs[0], "float32")
        return ops.pad(x, padding, mode="reflect") if any(map(any, padding)) else x
    # With no more than four axes: phones' kernels have no more.
    if isinstance(layer, DepthToSpace):
        _, rows, columns, depth = inputs[0].shape
        x = ops.reshape(inputs[0], (-1, columns, layer.block, depth // layer.block))
        x = ops.transpose(x, (0, 2, 1, 3))
        return ops.reshape(x, (-1, rows * layer.block, columns * layer.block, depth // layer.block**2))
    if isinstance(layer, SpaceToDepth):
        _, height, width, channels = inputs[0].shape
        x = ops.reshape(inputs[0], (-1, layer.block, width // layer.block, layer.block * channels))
        x = ops.transpose(x, (0, 2, 1, 3))
        return ops.reshape(x, (-1, height // layer.block, width // layer.block, layer.block**2 * channels))
    return layer(*inputs, **options)


def _load_net(card: ModelCard, member: MemberCard, weights: Path | StoredWeights) -> keras.Model:
    return load_net(weights, member.experiment, member.size_hw, card.dataset, "float32")


def _make_noise(net: keras.Model) -> SampleImages:
    noise = np.random.default_rng(0).integers(0, 256, (_NUM_NOISE, *net.input_shape[1:]), dtype=np.uint8)
    return SampleImages(images=[(image, None) for image in noise], total=_NUM_NOISE)


def _render(rows: Sequence[ExportedFile]) -> str:
    score = rows[0].metric or "score"
    header = ("file", "kind", "MB", "ms an image", "largest difference", "images", score, "against Keras")
    cells = []
    for row in rows:
        weights = row.path.with_suffix(".bin")  # OpenVINO's, beside its graph
        num_bytes = row.path.stat().st_size + (weights.stat().st_size if row.path.suffix == ".xml" else 0)
        figures = f"{num_bytes / 1e6:.1f}", f"{row.ms:.1f}", f"{row.largest_difference:.1g}", str(row.num_images)
        scores = (f"{row.scores[0]:.5f}", f"{row.scores[1]:+.5f}") if row.scores else ("", "")
        cells.append((row.path.name, row.kind, *figures, *scores))
    return Table(header=header, rows=tuple(cells), right=frozenset(header[2:])).to_markdown()
