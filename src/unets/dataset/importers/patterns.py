"""Images and masks that are found by patterns of their names, as in Carvana; masks may be rows of a csv, too."""

import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

from unets.config import DatasetConfig, MaskFiles, MasksCsv, PatternSource
from unets.data.files import find_file, find_ids
from unets.data.image import read_size
from unets.data.rle import decode_rle
from unets.data.samples import find_kind
from unets.dataset.importers.base import Import, ImportedSample, MaskHW
from unets.dataset.importers.mask_files import draw_layers, draw_mask, merge_layers
from unets.dataset.rle_csv import Rles, read_columns, read_rle_csv
from unets.errors import InputError

logger = logging.getLogger(__name__)

NO_GROUP = "(none)"  # the name of a group whose part of the id is empty
_MAX_FAULTS_SHOWN = 20

Paths = dict[str, tuple[str, ...]]  # by id


def read_patterns(input_dir: Path, dataset: DatasetConfig, config_dir: Path) -> Import:
    """Finds images and masks by the patterns of `dataset.source`, a `PatternSource`.

    Args:
        input_dir: the data set's folder.
        dataset: whose source it is.
        config_dir: the folder of `dataset.py`, which is not needed here.

    Raises:
        InputError: nothing fits a pattern, a csv is missing or no csv, or names contradict each other: an id that does
            not fit `id_pattern`, two files with one id, an image without its mask or row, or the other way round.
    """
    source = get_patterns(dataset)
    faults: list[str] = []
    left_out = {path for pattern in source.leave_out for path in _list_left_out(input_dir, pattern)}
    masks = [_find_masks(source, pattern, input_dir, left_out, faults) for pattern in _list_mask_patterns(dataset)]
    not_images = left_out.union(*(_flatten(found) for found in masks))  # `a_mask.png` beside `a.png` fits `{id}.png`
    images = _find_only(source.images, input_dir, not_images, faults)
    tests = _find_tests(source.test_images, input_dir, not_images, faults)
    rles = read_masks_csv(input_dir, dataset)
    place = f"{input_dir / source.images}"
    if source.masks is not None:
        faults += _compare(set().union(*masks), images, f"{input_dir / source.masks}", place, "a file")
    if source.masks_csv is not None and rles is not None:
        if source.masks_csv.omits_empty:
            rles = dict.fromkeys(images, ("",) * len(dataset.classes)) | rles
        faults += _compare(rles, images, f"{input_dir / source.masks_csv.path}", place, "a row")
    groups = _Grouping(source, input_dir)
    samples = []
    for id_, path in images.items():
        files = [found.get(id_, ()) for found in masks]
        if any(files):
            mask, draw = _name_mask(files, source, dataset, input_dir)
        elif rles is not None and id_ in rles:
            mask, draw = (), partial(_draw_rles, rles[id_], path, dataset)
        else:
            continue  # a fault already
        group, view = groups.find(id_, path, faults)
        image = _below(path, input_dir)
        samples.append(ImportedSample(id=id_, split="train", image=image, mask=mask, draw=draw, group=group, view=view))
    for id_, path in tests.items():
        group, view = groups.find(id_, path, faults)
        samples.append(ImportedSample(id=id_, split="test", image=_below(path, input_dir), group=group, view=view))
    if faults:
        shown = "\n".join(f"  {fault}" for fault in faults[:_MAX_FAULTS_SHOWN])
        more = f"\n  ... and {len(faults) - _MAX_FAULTS_SHOWN} more" if len(faults) > _MAX_FAULTS_SHOWN else ""
        raise InputError(f"{input_dir} must hold a consistent data set. Received: {len(faults)} faults:\n{shown}{more}")
    return Import(samples=tuple(samples), classes=dataset.classes, overlapping=dataset.overlapping)


def get_patterns(dataset: DatasetConfig) -> PatternSource:
    """Returns the data set's source.

    Raises:
        InputError: it is of another format.
    """
    if not isinstance(dataset.source, PatternSource):
        raise InputError(f"`source` must be a PatternSource. Received: {dataset.source.format}")
    return dataset.source


def read_masks_csv(input_dir: Path, dataset: DatasetConfig) -> Rles | None:
    """Reads the run lengths of the training masks; None where the source has no csv.

    Raises:
        InputError: see `read_rle_csv`.
    """
    source = get_patterns(dataset)
    if source.masks_csv is None:
        return None
    path = find_file(input_dir, source.masks_csv.path)
    return read_rle_csv(path, source.masks_csv, dataset.classes, unite=source.unite_masks)


def find_mask_files(folder: Path, dataset: DatasetConfig) -> dict[str, Sequence[Sequence[str]]]:
    """Finds masks in another folder, named as the training masks are in theirs; for each id, the files of each class.

    Raises:
        InputError: the source has no mask files.
    """
    patterns = _list_mask_patterns(dataset)
    if not patterns:
        raise InputError("`source.masks` must say how mask files are named. Received: None")
    found = [find_ids(folder, Path(pattern).name) for pattern in patterns]
    return {id_: [of_class.get(id_, ()) for of_class in found] for id_ in sorted(set().union(*found))}


def draw_files(files: Sequence[Sequence[str]], source: MaskFiles, *, overlapping: bool) -> MaskHW | tuple[MaskHW, ...]:
    """Draws a mask from its files: those of all classes together, or those of each class.

    Raises:
        InputError: see `draw_mask`, `draw_layers` and `merge_layers`.
    """
    if len(files) == 1 and not overlapping:
        return draw_mask(files[0], source)
    layers = draw_layers(files, source)
    return layers if overlapping else merge_layers(layers, next(paths[0] for paths in files if paths))


class _Grouping:
    """Finds the group and the camera view of an id."""

    def __init__(self, source: PatternSource, input_dir: Path) -> None:
        self._source, self._matches = source, re.compile(source.id_pattern).fullmatch
        self._group_of = _read_groups(source, input_dir)

    def find(self, id_: str, path: str, faults: list[str]) -> tuple[str, str]:
        """Returns (group, view); an id that does not fit is added to `faults`."""
        match = self._matches(id_)
        if match is None:
            faults.append(f"{path}: `id_pattern` must fit the id: {self._source.id_pattern}. Received: {id_!r}")
            return "", ""
        # Interned: 16 images share a group's name, 6,254 a view's, and strings are a third of what a sample takes.
        group = sys.intern(self._group_of.get(id_) or match["group"] or NO_GROUP)
        return group, sys.intern(match.groupdict().get("view") or "")


def _read_groups(source: PatternSource, input_dir: Path) -> dict[str, str]:
    """Reads the group of each id from `groups_csv`; none without it. An id may stand there with its file's ending."""
    if source.groups_csv is None:
        return {}
    rows = read_columns(find_file(input_dir, source.groups_csv), source.groups_columns)
    plain = {cell: group for cell, group in rows if group}
    return {Path(cell).stem: group for cell, group in plain.items()} | plain


def _list_mask_patterns(dataset: DatasetConfig) -> list[str]:
    """Returns the pattern of mask files; with `{class}` one for each class."""
    pattern = get_patterns(dataset).masks
    if pattern is None:
        return []
    return [pattern.replace("{class}", name) for name in dataset.classes] if "{class}" in pattern else [pattern]


def _list_left_out(input_dir: Path, pattern: str) -> Iterator[str]:
    """Lists the files of a pattern, which needs no `{id}`."""
    if "{id}" in pattern:
        yield from _flatten(find_ids(input_dir, pattern))
    else:
        yield from (str(path) for path in input_dir.glob(pattern) if path.is_file())


def _find_masks(
    source: PatternSource, pattern: str, input_dir: Path, left_out: set[str], faults: list[str]
) -> dict[str, tuple[str, ...]]:
    """Finds the mask files of each id: one, or those that are united."""
    if source.unite_masks:
        return _find_all(pattern, input_dir, left_out)
    return {id_: (path,) for id_, path in _find_only(pattern, input_dir, left_out, faults).items()}


def _name_mask(
    files: Sequence[Sequence[str]], source: PatternSource, dataset: DatasetConfig, input_dir: Path
) -> tuple[tuple[str, ...], Callable[[], MaskHW | tuple[MaskHW, ...]] | None]:
    """Returns (the mask's files where they are canonical, else what draws the mask)."""
    is_one = len(files) == 1 and len(files[0]) == 1
    if source.is_canonical and is_one:
        return (_below(files[0][0], input_dir),), None
    return (), partial(draw_files, files, source, overlapping=dataset.overlapping)


def _draw_rles(rles: Sequence[str], image: str, dataset: DatasetConfig) -> MaskHW | tuple[MaskHW, ...]:
    """Draws the mask of an image from its rows of the csv."""
    csv = get_patterns(dataset).masks_csv or MasksCsv()
    size_hw = dataset.size_hw or read_size(Path(image), find_kind(dataset))
    name = f"{csv.path}, {Path(image).stem}"
    try:
        layers = tuple(decode_rle(rle, size_hw, csv.order) for rle in rles)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    return layers if dataset.overlapping else merge_layers(layers, name)


def _flatten(paths: dict[str, tuple[str, ...]]) -> Iterator[str]:
    for found in paths.values():
        yield from found


def _find_only(pattern: str, input_dir: Path, left_out: set[str], faults: list[str]) -> dict[str, str]:
    """Finds the one file of each id, the first where there are several; adds those to `faults`."""
    found = _find_all(pattern, input_dir, left_out)
    for id_, paths in found.items():
        if len(paths) > 1:
            names = ", ".join(paths)
            faults.append(f"{input_dir / pattern} must match one file for {id_}. Received: {len(paths)}: {names}")
    return {id_: paths[0] for id_, paths in found.items()}


def _find_tests(pattern: str | None, input_dir: Path, left_out: set[str], faults: list[str]) -> dict[str, str]:
    """Finds the test images; none, and a warning, where their folder is not there: training does without them."""
    if pattern is None:
        return {}
    try:
        find_ids(input_dir, pattern)
    except InputError as error:
        logger.warning("no test images: %s", error)
        return {}
    return _find_only(pattern, input_dir, left_out, faults)


def _find_all(pattern: str, input_dir: Path, left_out: set[str]) -> dict[str, tuple[str, ...]]:
    """Finds the files of each id; raises InputError where there are none at all."""
    try:
        found = find_ids(input_dir, pattern)
    except InputError as error:
        raise InputError(f"{error}. {_describe_folder(input_dir)}" if input_dir.is_dir() else str(error)) from error
    found = {id_: kept for id_, paths in found.items() if (kept := tuple(p for p in paths if p not in left_out))}
    if not found:
        folder = (input_dir / pattern.replace("*", "_")).parent
        folder = folder if folder.is_dir() else input_dir
        raise InputError(f"{input_dir / pattern} must match files. Received: none. {_describe_folder(folder)}")
    return found


def _describe_folder(folder: Path, limit: int = 8) -> str:
    names = sorted(entry.name for entry in islice(folder.iterdir(), 1000))
    more = ", ..." if len(names) > limit else ""
    return f"{folder} holds {', '.join(names[:limit]) or 'nothing'}{more}"


def _compare(found: Iterable[str], images: Iterable[str], source: str, images_source: str, what: str) -> list[str]:
    """Says which images have no mask or row, and which masks or rows have no image."""
    found, images = set(found), set(images)
    missing = [f"{source} must have {what} for each image. Received: none for {id_}" for id_ in sorted(images - found)]
    unknown = [
        f"{source} must have {what} for images only. Received: {id_}, which {images_source} does not have"
        for id_ in sorted(found - images)
    ]
    return missing + unknown


def _below(path: str, input_dir: Path) -> str:
    return Path(path).relative_to(input_dir).as_posix()
