"""Exports: a model written in every format asked for, and each file compared with the net in Keras."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from unets.data.geometry import SizeHW
from unets.export.card import ModelCard, Origin
from unets.export.model import TrainedModel
from unets.export.oof import SampleImages
from unets.export.portable import build_portable
from unets.export.programs import Predict, open_program_file, write_program_files
from unets.export.sources import CARD_KEY, FORMAT_VERSION, VERSION_KEY, name_net
from unets.log import show_progress
from unets.nets.weights import get_weights
from unets.prediction.loading import load_net
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
    dice: float | None  # mean over images, at full size
    change: float | None  # of it against the net in Keras

    @property
    def megabytes(self) -> float:
        """Its size; OpenVINO's has its weights beside it."""
        parts = [self.path, self.path.with_suffix(".bin")] if self.path.suffix == ".xml" else [self.path]
        return sum(part.stat().st_size for part in parts) / 1e6


def export_models(
    models: Sequence[TrainedModel],
    out_dir: Path,
    formats: Sequence[str],
    find_images: Callable[[str, int, SizeHW], SampleImages] | None = None,
) -> list[Path]:
    """Writes models: each as one file, and of each member the first net for other programs.

    Files for other programs hold one net, which sees the image without TTA: flips and further folds multiply what a
    phone has to compute. A table of all of them is written beside, `export.md`. Files of their names are replaced.

    Args:
        models: the models.
        out_dir: where files go.
        formats: of `--formats`.
        find_images: from a member's name, the net's fold and size to images for the comparison; None makes some up:
            noise, which says no more than whether two programs compute the same.

    Returns:
        The files, the table last.

    Raises:
        InputError: weights are missing, damaged, or of another net; the backend cannot write a format.
    """
    paths, rows = list[Path](), list[ExportedFile]()
    others = [name for name in formats if name != "model"]
    for model in models:
        card = model.card
        if "model" in formats:
            paths.append(out_dir / f"{card.name}.safetensors")
            write_model_file(model, paths[-1])
        for member, weights in zip(card.members, model.weights, strict=True) if others else ():
            fold, size_hw, recipe = member.nets[0].fold, member.size_hw, card.recipe
            name = f"{member.name}_fold{fold}"
            net = build_portable(
                weights[0],
                member.experiment,
                len(card.classes),
                name,
                overlapping=recipe.overlapping,
                num_channels=card.num_channels,
            )
            if find_images:
                images = find_images(member.name, fold, size_hw)
            else:
                shape = (_NUM_NOISE, *net.input_shape[1:])
                noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
                images = SampleImages(images=[(image, None) for image in noise], total=_NUM_NOISE)
            files = write_program_files(net, out_dir / name, others, images.calibration)
            rows += compare_files(net, files, images)
            paths += files.values()
    for path in paths:
        logger.info("%s: %.1f MB", path, path.stat().st_size / 1e6)
    if rows:
        paths.append(out_dir / "export.md")
        write_text(paths[-1], _render(rows))
    return paths


def write_model_file(model: TrainedModel, path: Path) -> ModelCard:
    """Writes a model as one safetensors file: the weights of all its nets, and the card in the metadata.

    The nets are built once, so that only weights that fit them are written. Returns the card as it stands in the file.

    Raises:
        InputError: weights are missing, damaged, or of another net.
    """
    card = model.card.model_copy(update={"origin": Origin(**describe_origin(Path(__file__).parent))})
    load = partial(load_net, overlapping=card.recipe.overlapping, num_channels=card.num_channels)
    tensors: dict[str, npt.NDArray[Any]] = {}
    for member, sources in zip(card.members, model.weights, strict=True):
        for net, weights in zip(member.nets, sources, strict=True):
            built = load(weights, member.experiment, member.size_hw, len(card.classes), "float32")
            tensors |= {f"{name_net(member, net)}/{name}": value for name, value in get_weights(built).items()}
    write_tensors(path, tensors, {VERSION_KEY: FORMAT_VERSION, CARD_KEY: card.model_dump(mode="json")})
    return card


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
    means = {kind: float(np.mean(values)) if values else None for kind, values in scores.items()}
    return [
        ExportedFile(
            path=path,
            kind=kind,
            ms=1e3 * float(np.median(seconds[kind][1:] or seconds[kind])),  # the first one also warms up
            largest_difference=max(differences[kind]),
            num_images=len(seconds[kind]),
            dice=means[kind],
            change=None if (mean := means[kind]) is None or (own := means["net"]) is None else mean - own,
        )
        for kind, path in files.items()
    ]


def _render(rows: Sequence[ExportedFile]) -> str:
    header = ("file", "kind", "MB", "ms an image", "largest difference", "images", "Dice", "against Keras")
    cells = tuple(
        (
            row.path.name,
            row.kind,
            f"{row.megabytes:.1f}",
            f"{row.ms:.1f}",
            f"{row.largest_difference:.1g}",
            str(row.num_images),
            "" if row.dice is None else f"{row.dice:.5f}",
            "" if row.change is None else f"{row.change:+.5f}",
        )
        for row in rows
    )
    return Table(header=header, rows=cells, right=frozenset(header[2:])).to_markdown()
