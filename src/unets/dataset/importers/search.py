"""The search: every importer that knows a folder proposes; the one that explains most of it is taken."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unets.config import DatasetConfig, ImporterSource, PolygonSource
from unets.dataset.importers import (
    coco,
    cvat,
    label_studio,
    labelme,
    masks,
    paths,
    polygons,
    run_lengths,
    supervisely,
    via,
    yolo,
)
from unets.dataset.importers.base import Import, ImportedSample, Question
from unets.dataset.importers.edges import measure_fit, read_colors
from unets.dataset.importers.listing import UNSUPPORTED, Listing, ending, list_input
from unets.dataset.importers.names import find_shapes, spread
from unets.dataset.importers.tables import read_tables
from unets.errors import InputError

_POLYGONS = {
    "coco": coco.parse,
    "yolo": yolo.parse,
    "labelme": labelme.parse,
    "label_studio": label_studio.parse,
    "cvat": cvat.parse,
    "supervisely": supervisely.parse,
    "via": via.parse,
}
_PROPOSERS: Mapping[str, Callable[[Listing], Sequence[tuple[ImporterSource, Import]]]] = {
    "paths": paths.propose,
    "masks": masks.propose,
    "csv": run_lengths.propose,
}
# Where two explain the same images, the first in this list is taken: files before what describes them.
IMPORTERS: Mapping[str, Callable[[Listing, Any], Import | None]] = {
    "paths": paths.read,
    "masks": masks.read,
    "csv": run_lengths.read,
    **{name: partial(polygons.read, parse=parse) for name, parse in _POLYGONS.items()},
}
_NEARLY = 0.9
_COMPARED = 8
_FITS = 1.05  # edges along the masks' borders are this much stronger than elsewhere, at least
_SHOWN = 8
_MOST_PX = 50_000_000  # of an image whose edges are measured


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """An importer's options, and what it reads with them."""

    source: ImporterSource
    result: Import

    @property
    def format(self) -> str:
        """The importer's name."""
        return str(getattr(self.source, "format", ""))

    @property
    def masks(self) -> dict[str, ImportedSample]:
        """The training samples by the paths of their images."""
        return {sample.image: sample for sample in self.result.samples if sample.split == "train"}


def read(listing: Listing, source: ImporterSource) -> Import:
    """Reads INPUT as the options of a data set say.

    Raises:
        InputError: the files do not hold what the options say.
    """
    name = str(getattr(source, "format", ""))
    result = IMPORTERS[name](listing, source)
    if result is None:
        raise InputError(f"`--input` must hold what `source` says ({source!r}). Received: {_describe(listing)}")
    return result


def read_input(input_dir: Path, dataset: DatasetConfig, config_dir: Path) -> Import:
    """Reads INPUT for a data set; its classes may be called otherwise than in the files.

    Args:
        input_dir: the data set's folder.
        dataset: whose source it is.
        config_dir: the folder of `dataset.py`, which is not needed here.

    Raises:
        InputError: see `read`.
    """
    if not isinstance(dataset.source, ImporterSource):
        raise InputError(f"`source` must be one of an importer that searches. Received: {dataset.source!r}")
    result = read(list_input(input_dir), dataset.source)
    return replace(result, classes=dataset.classes) if len(result.classes) == len(dataset.classes) else result


def choose(listing: Listing) -> tuple[ImporterSource, Import]:
    """Finds the importer that reads a folder best.

    Returns:
        Its options, and what it reads, with a question where another is as good and says something else.

    Raises:
        InputError: no importer reads it; the error says what was found and what to do.
    """
    proposals: list[Proposal] = []
    errors: dict[str, InputError] = {}
    for name in IMPORTERS:
        try:
            proposals += [Proposal(source=s, result=r) for s, r in _propose(listing, name)]
        except InputError as error:
            errors[name] = error
    if not proposals:
        raise InputError(_refuse(listing, errors))
    most = max(len(proposal.masks) for proposal in proposals)
    near = [proposal for proposal in proposals if len(proposal.masks) >= _NEARLY * most]
    named = [p for p in near if not all(c.startswith("class_") or c == "object" for c in p.result.classes)]
    best = (named or near)[0]
    questions = list(best.result.questions)
    account = dict(best.result.account)
    for other in proposals:
        if other is best:
            continue
        same = compare(listing, best, other)
        why = f"the same masks as {other.format}" if same else f"other masks, as {other.format}"
        for path, what in other.result.account.items():
            if account.get(path, "").startswith("left out") and what in ("annotation", "mask"):
                account[path] = f"left out: {why}"
        if not same:
            text = (
                f"the folder can be read as {best.format} ({len(best.masks)} images, classes "
                f"{', '.join(best.result.classes[:4])}) or as {other.format} ({len(other.masks)} images, classes "
                f"{', '.join(other.result.classes[:4])}), and these differ: {best.format} is taken"
            )
            questions.append(Question(field="source", text=text, choices=(_write_source(other.source),)))
    for name, fault in errors.items():
        text = f"the folder also holds {name} annotations, which cannot be read: {fault}"
        questions.append(Question(field="source", text=text, choices=("nothing, if they are not wanted",)))
    questions += _check_fit(listing, best)
    fields = dict(best.result.dataset_fields)
    submissions = [p.result.dataset_fields["submission"] for p in proposals if "submission" in p.result.dataset_fields]
    if "submission" not in fields:
        fields["submission"] = submissions[0] if submissions else {"sample": None}
    return best.source, replace(best.result, questions=tuple(questions), account=account, dataset_fields=fields)


def _propose(listing: Listing, name: str) -> Sequence[tuple[ImporterSource, Import]]:
    if name in _PROPOSERS:
        return _PROPOSERS[name](listing)
    # An image without a txt holds no object, as YOLO has it.
    source = PolygonSource(format=name, missing="empty" if name == "yolo" else "leave_out")
    found = IMPORTERS[name](listing, source)
    return [(source, found)] if found is not None else []


def compare(listing: Listing, one: Proposal, other: Proposal) -> bool:
    """Tells whether two proposals have the same objects in their images, whatever the classes are called."""
    masks = [proposal.masks for proposal in (one, other)]
    if not masks[0].keys() & masks[1].keys():  # copies of the images elsewhere
        masks = [{Path(image).stem: sample for image, sample in of.items()} for of in masks]
    overlaps = []
    for image in spread(sorted(masks[0].keys() & masks[1].keys()), _COMPARED):
        first, second = (_draw_objects(listing, of[image]) for of in masks)
        if first.shape != second.shape:
            return False
        overlaps.append((first & second).sum() / max((first | second).sum(), 1) if (first | second).any() else 1.0)
    return bool(overlaps) and float(np.mean(overlaps)) >= _NEARLY


def _draw_objects(listing: Listing, sample: ImportedSample) -> npt.NDArray[np.bool_]:
    return np.asarray(np.any([(layer > 0) & (layer < 255) for layer in sample.read_layers(listing.root)], axis=0))


def _check_fit(listing: Listing, best: Proposal) -> list[Question]:
    """Asks where the masks' borders do not lie where the images have edges."""
    fits = []
    upright = best.result.dataset_fields.get("orientation") == "upright"
    for image in spread(sorted(best.masks), 4 * _COMPARED):
        if np.prod(listing.header(image).size_hw) > _MOST_PX:
            continue
        mask = np.max([layer * (i + 1) for i, layer in enumerate(best.masks[image].read_layers(listing.root))], axis=0)
        if mask.min() < mask.max():
            fits.append(measure_fit(mask, read_colors(listing.root / image, upright=upright)))
    if not fits or np.mean(fits) >= _FITS:
        return []
    text = f"images have no edges along the borders of their masks ({np.mean(fits):.2f} of elsewhere): do they match?"
    return [Question(field="source", text=text, choices=("look at `unets data --sheet sheet.jpg`",))]


def _refuse(listing: Listing, errors: dict[str, InputError]) -> str:
    if len(errors) == 1:
        return str(next(iter(errors.values())))
    if errors:
        return "no importer can read `--input`. Received: " + "; ".join(f"as {name}: {e}" for name, e in errors.items())
    hints = [
        f"{table.path} holds polygons in WKT: rasterize them (rasterio.features), and write the masks as PNG"
        for table in read_tables(listing)
        if any(any("POLYGON" in cell[:20] for cell in table.cells[column][:20]) for column in table.columns)
    ]
    hints += [UNSUPPORTED[end] for end in sorted({ending(path) for path in listing.paths} & UNSUPPORTED.keys())]
    return (
        "`--input` must hold images with masks: mask files, a csv of run lengths, or COCO, YOLO, labelme, Label "
        f"Studio, CVAT, Supervisely, VIA, Pascal VOC. Received: {_describe(listing)}, without masks that are known."
        + (
            "".join(f" {hint}." for hint in hints)
            or " A table samples.csv (id,split,image,mask) can say what belongs together."
        )
    )


def _describe(listing: Listing) -> str:
    shapes = {shape.replace("#", "*"): len(names) for shape, names in find_shapes(listing.rasters).items()}
    others = Counter(ending(path) or "no ending" for path in listing.paths if path not in set(listing.rasters))
    parts = [f"{count} x {shape}" for shape, count in sorted(shapes.items(), key=lambda item: -item[1])]
    parts += [f"{count} files {end}" for end, count in others.most_common()]
    return ", ".join(parts[:_SHOWN]) + (", ..." if len(parts) > _SHOWN else "")


def _write_source(source: ImporterSource) -> str:
    given = {k: v for k, v in source.model_dump().items() if v != type(source).model_fields[k].default}
    return f"{type(source).__name__}({', '.join(f'{key}={value!r}' for key, value in given.items())})"
