"""The import: an importer reads INPUT once, and its samples become the table that every stage reads.

models/<competition>/
    samples.csv    a row an image: where it is, where its mask is, what its bytes are
    import.json    what the table was made of, by which a change is noticed
    account.csv    what each file of INPUT became, where the importer says so
    masks/         masks that are not canonical in INPUT, drawn once, a PNG each

A kill costs the masks at work; the next try goes on. A file whose size and time are as before is not read again.
"""

import csv
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from functools import partial
from pathlib import Path

from filelock import FileLock

from unets.config import DatasetConfig, check_name
from unets.data.files import hash_content, read_stamp, walk_files
from unets.data.io import encode_png
from unets.data.samples import SEPARATOR
from unets.dataset.importers.base import Import, ImportedSample
from unets.dataset.importers.search import read_input
from unets.errors import InputError, naming
from unets.store.paths import Project
from unets.store.runs import atomic_path, fingerprint, hash_file, read_json, write_csv, write_json
from unets.workers.pool import run_tasks

logger = logging.getLogger(__name__)

MODELS = "{models}/"  # how the path of a mask begins that lies below MODELS
DRAWING_VERSION = 1  # raise it with every change of how masks are drawn: all are then drawn again
_CHUNK = 64  # files a task


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One image in samples.csv. Hashes change with the bytes; stamps (size and time) only save reading these again."""

    id: str
    split: str
    image: str
    mask: str
    group: str
    view: str
    image_hash: str
    mask_hash: str
    image_stamp: str
    mask_stamp: str


_COLUMNS = [field.name for field in fields(Row)]


def import_data(project: Project, dataset: DatasetConfig, *, jobs: int | None = None, read_all: bool = False) -> None:
    """Reads INPUT by the importer of `dataset.source` and writes samples.csv; draws masks that are not canonical.

    Args:
        project: the folders.
        dataset: what to import.
        jobs: worker processes; None is one a core.
        read_all: read files whose size and time are as before, too.

    Raises:
        InputError: the data set contradicts `dataset`, or a mask cannot be drawn.
    """
    state = describe_state(project, dataset)
    imported = read_source(project, dataset)
    try:
        rows_there = () if read_all else read_rows(project.samples_path)
        known = {path: stamped for row in rows_there for path, stamped in _list_stamps(row)}
    except InputError:  # a damaged table, which is made again: nothing in it is known
        known = {}
    drawn = _draw_masks(project, imported, fingerprint(rules=DRAWING_VERSION, **state), jobs)
    samples = [(sample, drawn.get((sample.split, sample.id), sample.mask)) for sample in imported.samples]
    names = sorted({name for sample, masks in samples for name in (sample.image, *masks)})
    identities = _identify(project, names, known, jobs)
    rows = [
        Row(
            id=sample.id,
            split=sample.split,
            image=sample.image,
            mask=SEPARATOR.join(masks),
            group=sample.group or sample.id,
            view=sample.view,
            image_hash=identities[sample.image][0],
            mask_hash=SEPARATOR.join(identities[mask][0] for mask in masks),
            image_stamp=identities[sample.image][1],
            mask_stamp=SEPARATOR.join(identities[mask][1] for mask in masks),
        )
        for sample, masks in samples
    ]
    write_csv(project.samples_path, _COLUMNS, map(astuple, rows))
    if imported.account:
        write_csv(project.account_path, ["file", "is"], sorted(imported.account.items()))
    write_json(project.import_path, state | {"table": hash_file(project.samples_path)})
    for journal in project.masks_dir.glob(".drawn-*"):
        journal.unlink()
    num_train = sum(row.split == "train" for row in rows)
    counts = num_train, len(rows) - num_train, len(drawn)
    logger.info("%s: %d training and %d test images, %d masks drawn", project.samples_path, *counts)


def import_if_changed(project: Project, dataset: DatasetConfig, *, jobs: int | None = None) -> None:
    """Imports where there is no table, or INPUT or `dataset.source` changed since; processes wait for each other."""
    if _is_current(project, dataset):
        return
    project.models_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(project.models_dir / ".import.lock"):
        if not _is_current(project, dataset):
            import_data(project, dataset, jobs=jobs)


def read_source(project: Project, dataset: DatasetConfig) -> Import:
    """Reads INPUT by the importer of `dataset.source`, and checks what it gives.

    Raises:
        InputError: see the importer; or there is no training image, one without a mask, an id twice, or other classes.
    """
    imported = read_input(project.input_dir, dataset, project.configs_dir)
    if imported.classes != dataset.classes or imported.overlapping != dataset.overlapping:
        raise InputError(
            f"`classes` of dataset.py must be those of {project.input_dir}: {imported.classes}, "
            f"overlapping={imported.overlapping}. Received: {dataset.classes}, overlapping={dataset.overlapping}"
        )
    counts = Counter((sample.split, sample.id) for sample in imported.samples)
    twice = [f"{split}/{id_}" for (split, id_), count in counts.items() if count > 1]
    if twice:
        raise InputError(f"{project.input_dir} must have each id once. Received: {', '.join(twice[:5])} twice")
    if not any(sample.split == "train" for sample in imported.samples):
        raise InputError(f"{project.input_dir} must have images with masks. Received: none")
    for sample in imported.samples:
        for part in sample.id.split("/"):  # ids become names of masks and maps
            check_name(part, f"the id {sample.id!r}")
        if any(SEPARATOR in mask for mask in sample.mask):
            raise InputError(f"the path of a mask must not hold `{SEPARATOR}`. Received: {sample.mask}; rename it")
        if sample.split == "train" and not sample.mask and sample.draw is None:
            raise InputError(
                f"{project.input_dir} must have a mask for each training image. Received: none for {sample.id}"
            )
    return imported


def describe_state(project: Project, dataset: DatasetConfig) -> dict[str, str]:
    """Returns what samples.csv depends on: names, sizes and times of all files of INPUT, and the data set's fields.

    Raises:
        InputError: there is no INPUT.
    """
    if not project.input_dir.is_dir():
        raise InputError(f"`--input` must be the folder of the data set's files. Received: {project.input_dir} (none)")
    listing = fingerprint(input=sorted(walk_files(project.input_dir)))
    tables = [(path.name, *read_stamp(path)) for path in sorted(project.configs_dir.glob("*.csv"))]
    relevant = {"source", "classes", "overlapping", "size_hw", "orientation"}
    return {
        "input": listing,
        "dataset": fingerprint(tables=tables, **dataset.model_dump(mode="json", include=relevant)),
    }


def read_rows(path: Path) -> Iterator[Row]:
    """Yields the rows of samples.csv; none where it is missing.

    Raises:
        InputError: the file is damaged.
    """
    if not path.is_file():
        return
    remedy = "Delete it: it is made again"
    with naming(path, remedy=remedy), path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        if next(reader, None) != _COLUMNS:
            raise InputError(f"{path} must have the columns {_COLUMNS}. Received: others. {remedy}")
        for cells in reader:
            row = Row(**dict(zip(_COLUMNS, cells, strict=True)))
            if len({cells.count(SEPARATOR) for cells in (row.mask, row.mask_hash, row.mask_stamp)}) > 1:
                raise InputError(f"{path} must have as many hashes as masks. Received: {row.id}. {remedy}")
            yield row


def find_path(project: Project, name: str) -> Path:
    """Returns where a file of samples.csv lies."""
    return project.models_dir / name.removeprefix(MODELS) if name.startswith(MODELS) else project.input_dir / name


def _is_current(project: Project, dataset: DatasetConfig) -> bool:
    if not (project.import_path.is_file() and project.samples_path.is_file()):
        return False
    table = {"table": hash_file(project.samples_path)}
    try:
        return read_json(project.import_path) == describe_state(project, dataset) | table
    except InputError:
        if project.input_dir.is_dir():
            return False  # a damaged record: the import is done again
        raise


def _list_stamps(row: Row) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yields (path, (hash, stamp)) of a row's files."""
    yield row.image, (row.image_hash, row.image_stamp)
    if row.mask:
        parts = (cell.split(SEPARATOR) for cell in (row.mask, row.mask_hash, row.mask_stamp))
        yield from ((name, (digest, stamp)) for name, digest, stamp in zip(*parts, strict=True))


def _identify(
    project: Project, names: Sequence[str], known: Mapping[str, tuple[str, str]], jobs: int | None
) -> dict[str, tuple[str, str]]:
    """Returns (hash, stamp) of each file; reads those whose stamp is not as it was."""
    chunks = [names[start : start + _CHUNK] for start in range(0, len(names), _CHUNK)]
    tasks = ([(str(find_path(project, name)), known.get(name, ("", ""))) for name in chunk] for chunk in chunks)
    found = run_tasks(_identify_files, tasks, what="hash", jobs=jobs, total=len(chunks), unit="chunk", threads=True)
    return dict(zip(names, (identity for identities in found for identity in identities), strict=True))


def _identify_files(files: Sequence[tuple[str, tuple[str, str]]]) -> list[tuple[str, str]]:
    identities = []
    for path, (digest, stamp) in files:
        try:
            now = "{}:{}".format(*read_stamp(Path(path)))
            identities.append((digest if now == stamp else hash_content(Path(path)), now))
        except InputError:  # a link to nothing, a pipe: whoever reads it says so, and the check names all such files
            identities.append(("", ""))
    return identities


def _draw_masks(
    project: Project, imported: Import, key: str, jobs: int | None
) -> dict[tuple[str, str], tuple[str, ...]]:
    """Draws the masks that are not canonical; returns their paths as in samples.csv, by (split, id).

    Masks keep their names, and a file whose bytes would be the same is left alone: a training that reads them meanwhile
    goes on. What is drawn is noted in a journal named by `key`, so that a kill costs only the masks at work.
    """
    todo = [sample for sample in imported.samples if sample.split == "train" and sample.draw is not None]
    if not todo:
        return {}
    journal = project.masks_dir / f".drawn-{key}"
    done: dict[str, int] = {}
    if journal.is_file():
        lines = (line.rsplit(",", 1) for line in journal.read_text(encoding="utf-8").splitlines())
        done = {parts[0]: int(parts[1]) for parts in lines if len(parts) == 2 and parts[1].isdigit()}
    missing = [sample for sample in todo if sample.id not in done]
    project.masks_dir.mkdir(parents=True, exist_ok=True)
    draw = partial(_draw_one, project.masks_dir)
    with journal.open("a", encoding="utf-8") as file:
        file.write("\n")  # a kill may have torn the last line
        for sample, count in zip(missing, run_tasks(draw, missing, what="masks", jobs=jobs, unit="mask"), strict=True):
            done[sample.id] = count
            file.write(f"{sample.id},{count}\n")
            file.flush()
    return {
        ("train", s.id): tuple(f"{MODELS}{project.masks_dir.name}/{name}" for name in _name_masks(s.id, done[s.id]))
        for s in todo
    }


def _draw_one(masks_dir: Path, sample: ImportedSample) -> int:
    """Draws and writes a mask; returns the number of its files."""
    with naming(sample.image, "have a mask that can be drawn"):
        layers = sample.read_layers(Path())
    for name, layer in zip(_name_masks(sample.id, len(layers)), layers, strict=True):
        path, png = masks_dir / name, encode_png(layer)
        if path.is_file() and path.read_bytes() == png:
            continue
        with atomic_path(path, is_contested=True) as temporary:
            temporary.write_bytes(png)
    return len(layers)


def _name_masks(id_: str, count: int) -> list[str]:
    return [f"{id_}.png"] if count == 1 else [f"{id_}.{index}.png" for index in range(1, count + 1)]
