"""Exports: a model written in every format asked for, and each file compared with the net in Keras."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from unets.data.geometry import SizeHW
from unets.export.card import ModelCard
from unets.export.portable import build_portable
from unets.export.programs import Predict, count_bytes, open_program_file, write_program_files
from unets.export.sources import CARD_KEY, FORMAT_VERSION, VERSION_KEY, ModelSource, name_net
from unets.log import show_progress
from unets.metrics.intervals import Interval, bootstrap_mean
from unets.nets.weights import get_weights
from unets.prediction.loading import load_net
from unets.store.provenance import describe_origin
from unets.store.runs import write_text
from unets.store.tensors import write_tensors
from unets.tables import Table

logger = logging.getLogger(__name__)

ImageU8 = npt.NDArray[np.uint8]
Probs = npt.NDArray[np.float32]

_NUM_NOISE = 4  # made-up images to compare files on, where there are no real ones


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleImages:
    """Images to compare the files of one net on; `unets.export.oof_images` reads out-of-fold images.

    Attributes:
        images: (image, its group, the score of its probabilities); images are uint8 RGB (height, width, 3) of the net's
            size. None in place of a score: there is no mask.
        total: how many there are.
        calibration: images shown to the int8 converter; none: there is no int8 file.
    """

    images: Iterable[tuple[ImageU8, str, Callable[[Probs], float] | None]]
    total: int
    calibration: Sequence[ImageU8] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportedFile:
    """A file that was written and compared."""

    path: Path
    kind: str  # `LiteRT float16`
    ms: float  # an image, one at a time; the median
    largest_difference: float  # of a probability, to the net in Keras
    num_images: int  # it was compared on; made-up ones where there is no score
    dice: float | None  # mean over images, at full size
    change: Interval | None  # of it against the net in Keras, paired


def export_models(
    sources: Sequence[ModelSource],
    out_dir: Path,
    formats: Sequence[str],
    find_images: Callable[[str, int, SizeHW], SampleImages] | None = None,
) -> list[Path]:
    """Writes models: each as one file, and of each member the first net for other programs.

    Files for other programs hold one net, which sees the image without TTA: flips and further folds multiply what a
    phone has to compute. A table of all of them is written beside, `export.md`.

    Args:
        sources: the models.
        out_dir: where files go; those of their names are replaced.
        formats: of `--formats`.
        find_images: from a member's name, the net's fold and size to images for the comparison; None makes some up.

    Returns:
        The files, the table last.

    Raises:
        InputError: weights are missing, damaged, or of another net; the backend cannot write a format.
    """
    paths, rows = list[Path](), list[ExportedFile]()
    others = [name for name in formats if name != "model"]
    for source in sources:
        if "model" in formats:
            paths.append(out_dir / f"{source.card.name}.safetensors")
            write_model_file(source, paths[-1])
        for index, member in enumerate(source.card.members if others else ()):
            fold, size_hw = member.nets[0].fold, member.size_hw
            name = f"{member.name}_fold{fold}"
            net = build_portable(
                source.weights[index][0],
                member.experiment,
                len(source.card.classes),
                name,
                overlapping=source.card.recipe.overlapping,
                num_channels=source.card.num_channels,
            )
            images = find_images(member.name, fold, size_hw) if find_images else _make_noise(net.input_shape[1:])
            files = write_program_files(net, out_dir / name, others, images.calibration)
            rows += compare_files(net, files, images)
            paths += files.values()
    for path in paths:
        logger.info("%s: %.1f MB", path, path.stat().st_size / 1e6)
    if rows:
        paths.append(out_dir / "export.md")
        write_text(paths[-1], render_exports(rows))
    return paths


def write_model_file(source: ModelSource, path: Path) -> ModelCard:
    """Writes a model as one safetensors file: the weights of all its nets, and the card in the metadata.

    The nets are built once, so that only weights that fit them are written.

    Args:
        source: the model.
        path: of the file.

    Returns:
        The card as it stands in the file.

    Raises:
        InputError: weights are missing, damaged, or of another net.
    """
    card = source.card.model_copy(update={"origin": describe_origin(Path(__file__).parent)})
    load = partial(load_net, overlapping=card.recipe.overlapping, num_channels=card.num_channels)
    tensors: dict[str, npt.NDArray[Any]] = {}
    for member, sources in zip(card.members, source.weights, strict=True):
        for net, weights in zip(member.nets, sources, strict=True):
            built = load(weights, member.experiment, member.size_hw, len(card.classes), "float32")
            tensors |= {f"{name_net(member, net)}/{name}": value for name, value in get_weights(built).items()}
    write_tensors(path, tensors, {VERSION_KEY: FORMAT_VERSION, CARD_KEY: card.model_dump(mode="json")})
    return card


def compare_files(net: keras.Model, files: dict[str, Path], images: SampleImages) -> list[ExportedFile]:
    """Predicts images with every file and with the net itself, image by image.

    Args:
        net: as `build_portable` gives it.
        files: as `write_program_files` gives them.
        images: what to predict.

    Returns:
        What was measured of each file.
    """
    opened: dict[str, Predict] = {kind: open_program_file(path) for kind, path in files.items()}
    opened["net"] = lambda image_hwc: np.asarray(net.predict_on_batch(image_hwc[None])[0], dtype=np.float32)
    seconds, differences, scores = ({kind: list[float]() for kind in opened} for _ in range(3))
    groups = []
    for image, group, score in show_progress(
        images.images, what=f"compare {net.name}", total=images.total, unit="image"
    ):
        groups.append(group)
        expected = opened["net"](image)
        for kind, predict in opened.items():
            began = perf_counter()
            probs_hwc = predict(image)
            seconds[kind].append(perf_counter() - began)
            differences[kind].append(float(np.abs(probs_hwc - expected).max()))
            scores[kind] += [] if score is None else [score(probs_hwc)]
    return [
        ExportedFile(
            path=path,
            kind=kind,
            ms=1e3 * float(np.median(seconds[kind][1:] or seconds[kind])),  # the first one also warms up
            largest_difference=max(differences[kind]),
            num_images=len(groups),
            dice=float(np.mean(scores[kind])) if scores[kind] else None,
            change=bootstrap_mean(np.subtract(scores[kind], scores["net"]), groups) if scores[kind] else None,
        )
        for kind, path in files.items()
    ]


def render_exports(rows: Sequence[ExportedFile]) -> str:
    """Renders the table of all files."""
    header = ("file", "kind", "MB", "ms an image", "largest difference", "images", "Dice", "against Keras")
    cells = tuple(
        (
            row.path.name,
            row.kind,
            f"{count_bytes(row.path) / 1e6:.1f}",
            f"{row.ms:.1f}",
            f"{row.largest_difference:.1g}",
            str(row.num_images),
            "" if row.dice is None else f"{row.dice:.5f}",
            f"{row.change or ''}",
        )
        for row in rows
    )
    return Table(header=header, rows=cells, right=frozenset(header[2:])).to_markdown()


def _make_noise(shape_hwc: tuple[int, int, int]) -> SampleImages:
    """Makes up images: noise, which says no more than whether two programs compute the same."""
    noise = np.random.default_rng(0).integers(0, 256, (_NUM_NOISE, *shape_hwc), dtype=np.uint8)
    return SampleImages(images=[(image, str(index), None) for index, image in enumerate(noise)], total=_NUM_NOISE)
