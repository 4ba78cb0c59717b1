"""The search: every importer that knows a folder proposes; the one that explains most of it is taken."""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np

from unets.config import DatasetConfig, MasksSource, PolygonSource, Source, TableSource
from unets.dataset.importers import (
    coco,
    cvat,
    label_studio,
    labelme,
    masks,
    polygons,
    run_lengths,
    supervisely,
    table,
    via,
    yolo,
)
from unets.dataset.importers.base import Import
from unets.dataset.importers.draws import merge_layers
from unets.dataset.importers.edges import measure_fit, read_colors
from unets.dataset.importers.listing import FOREIGN, UNSUPPORTED, Listing, ending, list_input
from unets.dataset.importers.meaning import look_at
from unets.dataset.importers.names import MASK_WORDS, find_shapes, is_called, list_some, spread
from unets.errors import InputError


class _Importer(NamedTuple):
    read: Callable[[Listing, Any], Import | None]  # as the options of a data set say
    propose: Callable[[Listing], Import | None]


def _parse_by(parse: Callable[[polygons.Annotations], None], source: PolygonSource) -> _Importer:
    proposed = source.model_copy(update={"stretch_masks": True})
    return _Importer(partial(polygons.read, parse=parse), partial(polygons.read, source=proposed, parse=parse))


def _propose_yolo(listing: Listing) -> Import | None:
    """Reads YOLO's files; an image without one is empty, as the format has it, unless others have empty files.

    As in a csv of run lengths: who writes empty images down has not labeled those that are not.
    """
    propose = partial(polygons.read, listing, parse=yolo.parse)
    source = PolygonSource(format="yolo", missing="empty", stretch_masks=True)
    found = propose(source)
    return propose(source.model_copy(update={"missing": "leave_out"})) if found and found.has_empty else found


# By `Source.format`. Where two explain the same images, the first is taken: files before what describes them.
_IMPORTERS: Mapping[str, _Importer] = {
    "table": _Importer(table.read, table.propose),
    "masks": _Importer(masks.read, partial(masks.read, source=MasksSource(stretch_masks=True))),
    "csv": _Importer(run_lengths.read, run_lengths.propose),
    "coco": _parse_by(coco.parse, PolygonSource(format="coco")),
    "yolo": _Importer(partial(polygons.read, parse=yolo.parse), _propose_yolo),
    "labelme": _parse_by(labelme.parse, PolygonSource(format="labelme")),
    "label_studio": _parse_by(label_studio.parse, PolygonSource(format="label_studio")),
    "cvat": _parse_by(cvat.parse, PolygonSource(format="cvat")),
    "supervisely": _parse_by(supervisely.parse, PolygonSource(format="supervisely")),
    "via": _parse_by(via.parse, PolygonSource(format="via")),
}
_NEAR = 0.9  # of the most training images that an importer finds
_ALIKE = 0.9  # mean IoU of masks that are the same
_COMPARED = 8
_FITS = 1.05  # edges along the masks' borders are this much stronger than elsewhere, at least
_MOST_PX = 50_000_000  # of an image whose edges are measured


def read(listing: Listing, source: Source) -> Import:
    """Reads INPUT as the options of a data set say. Raises InputError: the files do not hold what the options say."""
    result = _IMPORTERS[source.format].read(listing, source)
    if result is None:
        raise InputError(f"`--input` must hold what `source` says ({source!r}). Received: {_describe(listing)}")
    return result


def read_input(input_dir: Path, dataset: DatasetConfig, config_dir: Path) -> Import:
    """Reads INPUT for a data set; a table by hand may lie in `config_dir`, the folder of `dataset.py`.

    Its classes may be called otherwise than in the files, and stand in the files' order then; those of polygons that
    have the same names are found by name. Raises as the importer does, or InputError: names stand in another order.
    """
    listing, source = list_input(input_dir), dataset.source
    if isinstance(source, TableSource):
        return table.read(listing, source, dataset, config_dir)
    found = read(listing, source)
    named, wanted = ([name.casefold() for name in classes] for classes in (found.classes, dataset.classes))
    if isinstance(source, PolygonSource) and not source.labels and named != wanted and sorted(named) == sorted(wanted):
        labels = tuple(found.classes[named.index(name)] for name in wanted)
        found, named = read(listing, source.model_copy(update={"labels": labels})), wanted
    if sample := listing.plain.get(dataset.submission.sample or ""):
        found.account[sample] = "sample submission"
    if dataset.overlapping and not found.overlapping:  # it looks for pixels of two classes in some masks alone
        if isinstance(source, PolygonSource) and not source.covering:
            polygons.uncover(found)
        (first, *_) = found.train.values()
        found.overlapping = len(first.read_layers(True)) == len(found.classes) > 1
    if len(named) != len(wanted):
        return found
    if any(name in named and named.index(name) != wanted.index(name) for name in wanted):
        raise InputError(
            f"`classes` of dataset.py must stand in the order of the classes of {input_dir}, {found.classes}. "
            f"Received: {dataset.classes}. Bring them into that order, with names of your own in place of others"
        )
    found.classes = dataset.classes
    return found


def choose(listing: Listing) -> Import:
    """Finds the importer that reads a folder best, `_find_best`; asks where another says something else.

    Raises:
        InputError: no importer reads it; the error says what was found and what to do.
    """
    proposals: dict[str, Import] = {}
    errors: dict[str, InputError] = {}
    for name, importer in _IMPORTERS.items():
        try:
            if found := importer.propose(listing):
                proposals[name] = found
        except InputError as error:
            errors[name] = error
    if not proposals:
        raise InputError(_explain_refusal(listing, errors))
    first = _find_best(proposals)
    best = proposals.pop(first)
    for name, other in proposals.items():
        same = _are_alike(best, other)
        why = f"the same masks as {name}" if same else f"other masks, as {name}"
        told = [path for path, what in other.account.items() if what in ("annotation", "mask")]
        best.leave([path for path in told if best.account.get(path, "").startswith("left out")], why)
        if not same:
            text = (
                f"the folder can be read as {_summarize(first, best)} or as {_summarize(name, other)}, and these "
                f"differ: {first} is taken"
            )
            best.ask("source", text, repr(other.source))
        if "submission" in other.fields and len(other.train) >= _NEAR * len(best.train):
            best.fields.setdefault("submission", other.fields["submission"])
    for name, fault in errors.items():
        text = f"the folder also holds {name} annotations, which cannot be read: {fault}"
        best.ask("source", text, "nothing, if they are not wanted")
    fit = _measure_fit(best)
    if fit < _FITS:
        text = f"images have no edges along the borders of their masks ({fit:.2f} of elsewhere): do they match?"
        best.ask("source", text, "look at `unets data --sheet sheet.jpg`")
    best.fields["submission"] = run_lengths.describe_sample(best, best.fields.get("submission"))
    return best


def _find_best(proposals: Mapping[str, Import]) -> str:
    """Returns the first importer that knows the classes' names of those that find nearly the most training images.

    Where none of these knows them, it is the first of these.
    """
    most = max(len(proposal.train) for proposal in proposals.values())
    near = [name for name, proposal in proposals.items() if len(proposal.train) >= _NEAR * most]
    return next((name for name in near if not _has_invented_names(proposals[name])), near[0])


def _has_invented_names(found: Import) -> bool:
    """Tells whether no file named the classes."""
    return all(name.startswith("class_") or name == "object" for name in found.classes)


def _are_alike(one: Import, other: Import) -> bool:
    """Tells whether two imports have the same objects in their images, whatever the classes are called."""
    samples = [one.train, other.train]
    if not samples[0].keys() & samples[1].keys():  # copies of the images elsewhere
        samples = [{Path(image).stem: sample for image, sample in of.items()} for of in samples]
    overlaps = []
    for image in spread(sorted(samples[0].keys() & samples[1].keys()), _COMPARED):
        layers = one.read_layers(samples[0][image]), other.read_layers(samples[1][image])
        first, second = (np.any([(layer > 0) & (layer < 255) for layer in of], axis=0) for of in layers)
        if first.shape != second.shape:
            return False
        overlaps.append((first & second).sum() / (first | second).sum() if (first | second).any() else 1.0)
    return bool(overlaps) and float(np.mean(overlaps)) >= _ALIKE


def _measure_fit(best: Import) -> float:
    """Measures how much stronger edges are along the masks' borders than elsewhere; infinite where nothing tells."""
    fits, listing = [], best.listing
    upright = best.fields.get("orientation") == "upright"
    for image in spread(sorted(best.train), 4 * _COMPARED):
        if np.prod(listing.header(image).size_hw) <= _MOST_PX:
            (mask_hw,) = merge_layers(best.read_layers(best.train[image]))
            if mask_hw.min() < mask_hw.max():
                fits.append(measure_fit(mask_hw, read_colors(listing.root / image, upright=upright)))
    return float(np.mean(fits)) if fits else np.inf


def _summarize(name: str, result: Import) -> str:
    return f"{name} ({len(result.train)} images, classes {', '.join(result.classes[:4])})"


def _explain_refusal(listing: Listing, errors: dict[str, InputError]) -> str:
    if len(errors) == 1:
        return str(next(iter(errors.values())))
    if errors:
        return "no importer can read `--input`. Received: " + "; ".join(f"as {name}: {e}" for name, e in errors.items())
    hints = [
        f"{path} holds polygons in WKT: rasterize them (rasterio.features), and write the masks as PNG"
        for path, table in listing.tables.items()
        if any("POLYGON" in cell[:20] for cell in table.head(20).to_numpy().ravel())
    ]
    hints += [f"{path}: {why}" for path, why in listing.left_out.items() if path.lower().endswith(".zip")]
    hints += [
        f"{path} has the columns {', '.join(table.columns)[:80]}: none holds run lengths, or masks, of images here"
        for path, table in listing.tables.items()
    ]
    for path in (names[0].path for names in find_shapes(listing.rasters).values()):
        try:
            header = listing.header(path)
        except InputError as error:  # damaged, or all images in one array
            hints.append(str(error).replace(f"{listing.root}/", ""))
            continue
        if header.mode == "RGBA":
            hints.append(f"{path} has an opacity: if that is a mask, write it as PNG (`array[..., 3]`)")
        if is_called(path, MASK_WORDS) and look_at(listing, [path]).is_array:
            hints.append(f"{path} holds fractions, or channels: write masks as PNG, a whole number a class")
    hints += [f"{path} holds {hint}" for hint, path in _find_foreign(listing).items()]
    hints += [UNSUPPORTED[end] for end in sorted({ending(path) for path in listing.paths} & UNSUPPORTED.keys())]
    return (
        "`--input` must hold images with masks: mask files, as Pascal VOC's, a csv of run lengths, or annotations "
        f"({', '.join(get_args(PolygonSource.model_fields['format'].annotation))}). "
        f"Received: {_describe(listing)}, without masks that are known."
        + (
            "".join(f" {hint}." for hint in hints)
            or " A table samples.csv (id,split,image,mask) can say what belongs together."
        )
    )


def _find_foreign(listing: Listing) -> dict[str, str]:
    """Finds what annotation files hold that nothing here reads, `FOREIGN`, and the first file of each."""
    found = dict[str, str]()
    few = [
        path for end in (".json", ".jsonl", ".ndjson", ".geojson", ".xml") for path in spread(listing.select(end), 2)
    ]
    for path in (*few, *listing.select(".csv")):
        with suppress(InputError):  # damaged, or too large
            text = listing.read_text(path)
            for hint in (hint for mark, hint in FOREIGN.items() if mark in text):
                found.setdefault(hint, path)
    return found


def _describe(listing: Listing) -> str:
    shapes = {shape.replace("#", "*"): len(names) for shape, names in find_shapes(listing.rasters).items()}
    rasters = set(listing.rasters)
    others = Counter(ending(path) or "no ending" for path in listing.paths if path not in rasters)
    parts = [f"{count} x {shape}" for shape, count in sorted(shapes.items(), key=lambda item: -item[1])]
    parts += [f"{count} files {end}" for end, count in others.most_common()]
    return list_some(parts)
