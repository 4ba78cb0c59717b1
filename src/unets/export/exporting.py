"""Exports: a model written in every format asked for, and each file tried on photos."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import keras
import numpy as np
import numpy.typing as npt

from unets.config import Config
from unets.data.geometry import SizeHW
from unets.export.keras_file import open_keras, write_keras
from unets.export.litert import open_litert, write_litert
from unets.export.model_file import write_model_file
from unets.export.onnx import open_onnx, write_onnx
from unets.export.portable import build_portable
from unets.export.sources import ModelSource
from unets.log import show_progress
from unets.metrics.intervals import Interval, bootstrap_mean
from unets.store.runs import write_text

logger = logging.getLogger(__name__)

ImageU8 = npt.NDArray[np.uint8]
Probs = npt.NDArray[np.float32]
Predict = Callable[[ImageU8], Probs]

NUM_NOISE = 4  # made-up photos to try files on, where there are no real ones


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialPhoto:
    """A photo to try files on; `unets.export.trials` makes them of out-of-fold photos."""

    image: ImageU8  # uint8 RGB (height, width, 3), of the net's size
    group: str
    score: Callable[[Probs], float] | None = None  # of its probabilities; None: its mask is not known


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialPhotos:
    """Photos to try the files of one net on."""

    calibration: Sequence[ImageU8] = ()  # shown to the int8 converter; none: there is no int8 file
    photos: Iterable[TrialPhoto] = ()
    total: int = 0


class Exported(Config):
    """A file that was written and tried."""

    file: str
    kind: str  # `LiteRT float16`
    megabytes: float
    ms: float  # a photo, one at a time; the median
    largest_difference: float  # of a probability, to the net in Keras
    num_photos: int  # it was tried on; made-up ones where there is no score
    dice: float | None = None  # mean over photos, at full size
    change: Interval | None = None  # of it against the net in Keras, paired


@dataclass(kw_only=True, slots=True)
class _Trial:
    """A file under trial, and what was measured so far."""

    path: Path
    kind: str
    predict: Predict
    seconds: list[float] = field(default_factory=list)
    differences: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)


def export_models(
    sources: Sequence[ModelSource],
    out_dir: Path,
    formats: Sequence[str],
    find_photos: Callable[[str, int, SizeHW], TrialPhotos] | None = None,
) -> list[Path]:
    """Writes models: each as one file, and of each member the first net for other programs.

    Files for other programs hold one net, which sees the photo as it is: flips and further folds multiply what a phone
    has to compute. A table of all of them is written beside, `export.md`, and `export.json` with the same figures.

    Args:
        sources: the models.
        out_dir: where files go; those of their names are replaced.
        formats: of `FORMATS`.
        find_photos: from a member's name, the net's fold and size to photos to try its files on; None makes some up.

    Returns:
        The files, the table last.

    Raises:
        InputError: weights are missing, damaged, or of another net; the backend cannot write a format.
    """
    paths, rows = list[Path](), list[Exported]()
    others = [name for name in formats if name != "model"]
    for source in sources:
        if "model" in formats:
            path = out_dir / f"{source.card.name}.safetensors"
            write_model_file(source, path)
            _note(path)
            paths.append(path)
        for index, member in enumerate(source.card.members if others else ()):
            fold, size_hw = member.nets[0].fold, member.size_hw
            name = f"{member.name}_fold{fold}"
            net = build_portable(source.weights[index][0], member.experiment, len(source.card.classes), name)
            trial = find_photos(member.name, fold, size_hw) if find_photos else _make_noise(size_hw)
            files = write_formats(net, out_dir / name, others, trial.calibration)
            rows += try_files(net, files, trial)
            paths += [path for path, _, _ in files]
    if rows:
        table, figures = out_dir / "export.md", out_dir / "export.json"
        write_text(table, render_exports(rows))
        write_text(figures, "[\n" + ",\n".join(row.to_json() for row in rows) + "\n]\n")
        paths += [figures, table]
    return paths


def write_formats(
    net: keras.Model, stem: Path, formats: Sequence[str], calibration: Sequence[ImageU8]
) -> list[tuple[Path, str, Predict]]:
    """Writes a portable net in formats; returns (path, kind, how to open it) of each file."""
    files: list[tuple[Path, str, Predict]] = []

    def add(ending: str, kind: str, write: Callable[[Path], None], open_: Callable[[Path], Predict]) -> None:
        path = stem.with_name(stem.name + ending)
        write(path)
        files.append((path, kind, open_(path)))
        _note(path)

    if "keras" in formats:
        add(".keras", "Keras", lambda path: write_keras(net, path), open_keras)
    if "onnx" in formats:
        add(".onnx", "ONNX", lambda path: write_onnx(net, path), open_onnx)
    if "litert" in formats:
        add(".tflite", "LiteRT float32", lambda path: write_litert(net, path, "float32"), open_litert)
        add("_float16.tflite", "LiteRT float16", lambda path: write_litert(net, path, "float16"), open_litert)
        if not len(calibration):
            logger.info("%s: no int8 file, which takes photos to calibrate by: `make export` has some", stem.name)
        else:
            add("_int8.tflite", "LiteRT int8", lambda path: write_litert(net, path, "int8", calibration), open_litert)
    return files


def try_files(net: keras.Model, files: Sequence[tuple[Path, str, Predict]], trial: TrialPhotos) -> list[Exported]:
    """Predicts photos with every file and with the net itself, photo by photo; returns what was measured of each."""
    trials = [_Trial(path=path, kind=kind, predict=predict) for path, kind, predict in files]
    scores, groups = list[float](), list[str]()

    def predict_net(image_hwc: ImageU8) -> Probs:
        return np.asarray(net.predict_on_batch(image_hwc[None])[0], dtype=np.float32)

    for photo in show_progress(trial.photos, what=f"try {net.name}", total=trial.total, unit="photo"):
        expected = predict_net(photo.image)
        groups.append(photo.group)
        scores += [] if photo.score is None else [photo.score(expected)]
        for file in trials:
            began = perf_counter()
            probs_hwc = file.predict(photo.image)
            file.seconds.append(perf_counter() - began)
            file.differences.append(float(np.abs(probs_hwc - expected).max()))
            file.scores += [] if photo.score is None else [photo.score(probs_hwc)]
    return [_summarize(file, scores, groups) for file in trials]


def render_exports(rows: Sequence[Exported]) -> str:
    """Renders the table of all files."""
    header = ["file", "kind", "MB", "ms a photo", "largest difference", "photos", "Dice", "against Keras"]
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    for row in rows:
        score = ["", ""] if row.dice is None else [f"{row.dice:.5f}", f"{row.change}"]
        cells = [
            row.file,
            row.kind,
            f"{row.megabytes:.1f}",
            f"{row.ms:.0f}" if row.ms >= 10 else f"{row.ms:.1f}",
            f"{row.largest_difference:.1g}",
            str(row.num_photos),
            *score,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _note(path: Path) -> None:
    logger.info("%s: %.1f MB", path, path.stat().st_size / 1e6)


def _summarize(file: _Trial, scores: Sequence[float], groups: Sequence[str]) -> Exported:
    change = bootstrap_mean(np.array(file.scores) - np.array(scores), groups) if scores else None
    return Exported(
        file=file.path.name,
        kind=file.kind,
        megabytes=round(file.path.stat().st_size / 1e6, 3),
        ms=round(1e3 * float(np.median(file.seconds[1:] or file.seconds)), 2),  # the first one also warms up
        largest_difference=max(file.differences),
        num_photos=len(file.seconds),
        dice=float(np.mean(file.scores)) if scores else None,
        change=change,
    )


def _make_noise(size_hw: SizeHW) -> TrialPhotos:
    """Makes up photos: noise, which says no more than whether two programs compute the same."""

    def draw() -> Iterator[TrialPhoto]:
        rng = np.random.default_rng(0)
        for index in range(NUM_NOISE):
            yield TrialPhoto(image=rng.integers(0, 256, (*size_hw, 3), dtype=np.uint8), group=str(index))

    return TrialPhotos(photos=draw(), total=NUM_NOISE)
