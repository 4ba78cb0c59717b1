"""The manifest: every image of a data set, the mask of each training image, and what their bytes are.

An importer reads INPUT once, and its samples become the tables that every stage reads:

models/<competition>/
    samples.csv    a row an image: where it is, and where its mask is
    account.csv    a row a file: what it became, and of images and masks a hash of their bytes, and size and time
    import.json    what the tables were made of, by which a change is noticed
    masks/         masks that are not canonical in INPUT, drawn once, a PNG each

A kill costs the masks at work; the next try goes on. A file whose size and time are as before is not read again.
"""

import logging
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy.typing as npt

from unets.config import DatasetConfig, check_name
from unets.data.files import hash_content, read_stamp, walk_files
from unets.data.io import encode_png
from unets.data.samples import SEPARATOR, Sample, find_kind
from unets.dataset.importers.base import Import, ImportedSample
from unets.dataset.importers.listing import NO_FILE
from unets.dataset.importers.search import read_input
from unets.errors import InputError, naming
from unets.store.paths import Project
from unets.store.runs import (
    append_json_line,
    atomic_path,
    fingerprint,
    hash_code,
    hash_file,
    open_lock,
    read_csv,
    read_json,
    read_json_lines,
    write_csv,
    write_json,
)
from unets.workers.pool import in_chunks, run_tasks

logger = logging.getLogger(__name__)

SAMPLE_COLUMNS = ["id", "split", "image", "mask", "group", "view"]
FILE_COLUMNS = ["file", "is", "hash", "stamp"]
_REMEDY = "Delete it: it is made again"
_MODELS = "{models}/"  # how the path of a mask begins that lies below _MODELS
_OBJECTS = ".objects"  # the folder of numbered objects below that of masks; no id begins so
_CHUNK = 64  # files a task
# What is left out and may be meant: how the account says it.
_LOST = ("an image without", "a mask of no image", "annotations of no image", "a damaged zip", NO_FILE)
_SAID = tuple(f"left out: {why}" for why in _LOST)
_Identity = tuple[str, str]  # hash, which changes with the bytes; stamp (size and time), which only saves reading them


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """All images of a data set, in the order of their ids."""

    dataset: DatasetConfig
    train: tuple[Sample, ...]
    test: tuple[Sample, ...]

    @cached_property
    def train_hashes(self) -> dict[str, tuple[str, str]]:
        """Hashes of each training image and its mask by id: of their bytes, not of place or time."""
        return {sample.id: (sample.image_hash, sample.mask_hash) for sample in self.train}


def read_manifest(project: Project, dataset: DatasetConfig) -> Manifest:
    """Reads the tables of the import, which is made first where INPUT changed since; raises as `import_data`."""
    if not _is_current(project, dataset):
        project.models_dir.mkdir(parents=True, exist_ok=True)
        with open_lock(project.models_dir / ".import.lock"):  # processes wait for each other
            if not _is_current(project, dataset):
                import_data(project, dataset)
    kind, samples = find_kind(dataset), {"train": list[Sample](), "test": list[Sample]()}
    with naming(project.account_path, "name each image and mask of samples.csv", remedy=_REMEDY):
        hashes = {name: digest for name, _, digest, _ in read_table(project.account_path, FILE_COLUMNS)}
        for id_, split, image, mask, group, view in read_table(project.samples_path, SAMPLE_COLUMNS):
            files = mask.split(SEPARATOR) if mask else []
            count = len(dataset.classes) if dataset.overlapping else 1
            masks, objects = files[:count], files[count:]
            samples[split].append(
                Sample(
                    id=id_,
                    # Interned: 16 images share a group's name, and strings are a third of what a sample takes.
                    group=sys.intern(group),
                    view=sys.intern(view) if view else None,
                    image=str(_find_path(project, image)),
                    masks=tuple(str(_find_path(project, name)) for name in masks),
                    objects=tuple(str(_find_path(project, name)) for name in objects),
                    has_shares=dataset.has_shares and split == "train",
                    kind=kind,
                    image_hash=hashes[image],
                    mask_hash=SEPARATOR.join(hashes[name] for name in masks),
                    objects_hash=SEPARATOR.join(hashes[name] for name in objects),
                )
            )
    return Manifest(dataset=dataset, train=tuple(samples["train"]), test=tuple(samples["test"]))


def import_data(project: Project, dataset: DatasetConfig, *, read_all: bool = False) -> None:
    """Reads INPUT by the importer of `dataset.source` and writes the tables; draws masks that are not canonical.

    `read_all` reads files whose size and time are as before, too.

    Raises:
        InputError: the data set contradicts `dataset`, or a mask cannot be drawn.
    """
    state = _describe_state(project, dataset)
    imported = read_source(project, dataset)
    known: dict[str, _Identity] = {}
    if not read_all:
        with suppress(InputError):  # a damaged table, which is made again: nothing in it is known
            known = {name: (digest, stamp) for name, _, digest, stamp in read_table(project.account_path, FILE_COLUMNS)}
    drawn = _draw_masks(project, imported, dataset.counts_objects, fingerprint(**state))
    samples = [(sample, drawn.get(sample.id, sample.mask)) for sample in imported.samples]
    names = sorted({name for sample, masks in samples for name in (sample.image, *masks)})
    identities = _identify(project, names, known)
    rows = ((s.id, s.split, s.image, SEPARATOR.join(masks), s.group or s.id, s.view) for s, masks in samples)
    write_csv(project.samples_path, SAMPLE_COLUMNS, rows)
    account = dict.fromkeys(names, "drawn mask") | imported.account
    files = ((name, what, *identities.get(name, ("", ""))) for name, what in sorted(account.items()))
    write_csv(project.account_path, FILE_COLUMNS, files)
    write_json(project.import_path, state | _hash_tables(project))
    for journal in project.masks_dir.glob(".drawn-*"):
        journal.unlink()
    counts = len(imported.train), len(samples) - len(imported.train), len(drawn)
    logger.info("%s: %d training and %d test images, %d masks drawn", project.samples_path, *counts)
    for why, count in Counter(imported.account.values()).items():
        if why.startswith(_SAID):
            logger.warning("%s: %d files are %s", project.account_path, count, why)
    for question in imported.questions:
        if question.at_imports:
            logger.warning("%s: %s", project.input_dir, question.text)


def read_source(project: Project, dataset: DatasetConfig) -> Import:
    """Reads INPUT by the importer of `dataset.source`; raises InputError as it does, or where classes are others."""
    imported = read_input(project.input_dir, dataset, project.configs_dir)
    if imported.classes != dataset.classes or imported.overlapping != dataset.overlapping:
        raise InputError(
            f"`classes` of dataset.py must be those of {project.input_dir}: {imported.classes}, "
            f"overlapping={imported.overlapping}. Received: {dataset.classes}, overlapping={dataset.overlapping}"
        )
    check_names(imported.samples)
    return imported


def check_names(samples: Iterable[ImportedSample]) -> None:
    """Checks that ids can become names of masks and maps; raises InputError where they, or paths of masks, cannot."""
    for sample in samples:
        for part in sample.id.split("/"):
            check_name(part, f"the id {sample.id!r}")
        if named := [name for name in (sample.id, *sample.mask) if SEPARATOR in name]:
            raise InputError(
                f"the name of an image or mask must not hold `{SEPARATOR}`. Received: {named[0]}; rename it"
            )


def _describe_state(project: Project, dataset: DatasetConfig) -> dict[str, str]:
    """Returns what the tables depend on: names, sizes and times of all files of INPUT, the data set's fields, our code
    that reads."""
    if not project.input_dir.is_dir():
        raise InputError(f"`--input` must be the folder of the data set's files. Received: {project.input_dir} (none)")
    tables = [(path.name, *read_stamp(path)) for path in sorted(project.configs_dir.glob("*.csv"))]
    relevant = {"source", "classes", "overlapping", "size_hw", "orientation"}
    return {
        "input": fingerprint(input=sorted(walk_files(project.input_dir))),
        "dataset": fingerprint(tables=tables, **dataset.model_dump(mode="json", include=relevant)),
        "objects": str(dataset.counts_objects),
        "code": hash_code("data/*.py", "dataset/importers/*.py", "dataset/rle_csv.py"),
    }


def _hash_tables(project: Project) -> dict[str, str]:
    return {path.name: hash_file(path) for path in (project.samples_path, project.account_path)}


def read_table(path: Path, columns: Sequence[str]) -> Iterable[list[str]]:
    """Reads a table of the import; no row where it is missing."""
    return read_csv(path, columns, remedy=_REMEDY) if path.is_file() else ()


def read_masks_digest(project: Project) -> str | None:
    """Returns 16 hex digits that change with the masks of training images, as the last import found them.

    None where there was none. INPUT need not be at hand.
    """
    if not (project.samples_path.is_file() and project.account_path.is_file()):
        return None
    hashes = {name: digest for name, _, digest, _ in read_table(project.account_path, FILE_COLUMNS)}
    rows = read_table(project.samples_path, SAMPLE_COLUMNS)
    masks = [(row[0], [hashes.get(name) for name in row[3].split(SEPARATOR)]) for row in rows if row[1] == "train"]
    return fingerprint(masks=masks)


def has_other_masks(project: Project, record: Mapping[str, Any]) -> bool:
    """Tells whether a record is of other masks than the present, by its `masks`, which `read_masks_digest` returned."""
    before, now = record.get("masks"), read_masks_digest(project)
    return None not in (before, now) and before != now


def _find_path(project: Project, name: str) -> Path:
    """Returns where a file of samples.csv lies."""
    return project.models_dir / name.removeprefix(_MODELS) if name.startswith(_MODELS) else project.input_dir / name


def _is_current(project: Project, dataset: DatasetConfig) -> bool:
    if not all(path.is_file() for path in (project.import_path, project.samples_path, project.account_path)):
        return False
    state = _describe_state(project, dataset)
    with suppress(InputError):  # a damaged record: the import is done again
        return read_json(project.import_path) == state | _hash_tables(project)
    return False


def _identify(project: Project, names: Sequence[str], known: Mapping[str, _Identity]) -> dict[str, _Identity]:
    """Returns (hash, stamp) of each file; reads those whose stamp is not as it was."""
    chunks = in_chunks(names, _CHUNK)
    tasks = ([(str(_find_path(project, name)), known.get(name, ("", ""))) for name in chunk] for chunk in chunks)
    found = run_tasks(_identify_files, tasks, what="hash", total=len(chunks), unit="chunk", threads=True)
    return dict(zip(names, (identity for identities in found for identity in identities), strict=True))


def _identify_files(files: Sequence[tuple[str, _Identity]]) -> list[_Identity]:
    identities = []
    for path, (digest, stamp) in files:
        try:
            now = "{}:{}".format(*read_stamp(Path(path)))
            identities.append((digest if now == stamp else hash_content(Path(path)), now))
        except InputError:  # a link to nothing, a pipe: whoever reads it says so, and the check names all such files
            identities.append(("", ""))
    return identities


def _draw_masks(project: Project, imported: Import, counts_objects: bool, key: str) -> dict[str, tuple[str, ...]]:
    """Draws the masks that are not canonical; returns their paths as in samples.csv, by id.

    Where objects count, and the source tells them apart, as many files of their numbers follow those of the mask.

    Masks keep their names, and a file whose bytes would be the same is left alone: a training that reads them meanwhile
    goes on. What is drawn is noted in a journal named by `key`, so that a kill costs only the masks at work.
    """
    todo = [sample for sample in imported.train.values() if not sample.mask]
    if not todo:
        return {}
    project.masks_dir.mkdir(parents=True, exist_ok=True)
    for path in project.masks_dir.rglob(".part-*"):  # as a kill leaves it
        path.unlink(missing_ok=True)
    count = len(imported.classes) if imported.overlapping else 1
    journal = project.masks_dir / f".drawn-{key}"
    done = {row.get("id") for row in read_json_lines(journal)}
    missing = [sample for sample in todo if sample.id not in done]
    draw = partial(_draw_one, project.masks_dir, imported.overlapping, counts_objects, count)
    for sample, _ in zip(missing, run_tasks(draw, missing, what="masks", unit="mask"), strict=True):
        append_json_line(journal, {"id": sample.id})
    folder = f"{_MODELS}{project.masks_dir.name}"
    named = dict[str, tuple[str, ...]]()
    for sample in todo:
        objects = _name_masks(f"{_OBJECTS}/{sample.id}", count) if counts_objects else []
        names = _name_masks(sample.id, count) + [name for name in objects if (project.masks_dir / name).is_file()]
        named[sample.id] = tuple(f"{folder}/{name}" for name in names)
    return named


def _draw_one(masks_dir: Path, overlapping: bool, counts_objects: bool, count: int, sample: ImportedSample) -> None:
    """Draws and writes a mask, and the numbers of its objects."""
    names = _name_masks(f"{_OBJECTS}/{sample.id}", count)
    with naming(sample.image, "have a mask that can be drawn"):
        layers = dict(zip(_name_masks(sample.id, count), sample.read_layers(overlapping), strict=True))
        numbers = sample.read_layers(overlapping, numbered=True) if counts_objects else ()
    for name in names if not numbers else ():
        (masks_dir / name).unlink(missing_ok=True)
    drawn: list[tuple[str, npt.NDArray[Any]]] = [*layers.items(), *zip(names, numbers, strict=False)]
    for name, layer in drawn:
        path, png = masks_dir / name, encode_png(layer)
        if path.is_file() and path.read_bytes() == png:
            continue
        with atomic_path(path, is_contested=True) as temporary:
            temporary.write_bytes(png)


def _name_masks(id_: str, count: int) -> list[str]:
    return [f"{id_}.png"] if count == 1 else [f"{id_}.{index}.png" for index in range(1, count + 1)]
