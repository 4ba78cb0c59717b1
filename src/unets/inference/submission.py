"""The submission file: the ensemble's test maps as run lengths, in the sample submission's order."""

import csv
import gzip
import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from io import StringIO
from itertools import chain, groupby
from pathlib import Path

from unets.catalog import load_catalog, parse_row, read_sample_rows
from unets.config import DatasetConfig
from unets.data.samples import Sample, read_full_size
from unets.errors import InputError
from unets.files import find_file
from unets.folds import hash_folds
from unets.inference.check import check_submission, read_header
from unets.inference.ensemble import Ensemble, read_ensemble
from unets.inference.maps import MapReader, open_maps
from unets.inference.recipe import Recipe, make_mask
from unets.origin import describe_origin
from unets.parallel import run_tasks
from unets.paths import Project
from unets.rle import encode_rle
from unets.runs import atomic_path, write_json

logger = logging.getLogger(__name__)

_CHUNK = 64  # photos a task


@dataclass(frozen=True, kw_only=True, slots=True)
class _Photo:
    """A test photo and its rows in the submission: (image cell, class cell or None, class index)."""

    sample: Sample
    rows: tuple[tuple[str, str | None, int], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Task:
    photos: tuple[_Photo, ...]
    readers: tuple[MapReader, ...]  # one a member


@dataclass(frozen=True, kw_only=True, slots=True)
class _Format:
    """How maps become rows."""

    dataset: DatasetConfig
    recipe: Recipe
    header: tuple[str, ...]


def write_submission(
    project: Project,
    dataset: DatasetConfig,
    name: str | None = None,
    *,
    ensemble_name: str = "ensemble",
    jobs: int | None = None,
) -> Path:
    """Writes and checks `<name>.csv.gz`, and `<name>.json` beside it, which says what made it.

    The csv.gz takes its name only when it is whole and valid. The same maps and ensemble give the same bytes.

    Args:
        project: the folders.
        dataset: the dataset's declaration.
        name: of the submission; None is `<competition>_<ensemble's name>`, of the unnamed ensemble of one member
            `<competition>_<experiment>`.
        ensemble_name: `ensemble` or `ensemble_<...>`.
        jobs: worker processes; None is one a core.

    Returns:
        The path of the csv.gz.

    Raises:
        InputError: there is no ensemble, its members' test maps are missing, damaged or not those it was fitted on, or
            the folds have changed since.
    """
    ensemble = read_ensemble(project, ensemble_name)
    members = open_members(project, ensemble, dataset)
    sample_path = find_file(project.input_dir, dataset.sample_submission)
    test = {sample.id: sample for sample in load_catalog(dataset, project.input_dir).test}
    photos = list(_list_photos(sample_path, dataset, test))
    readers = _select(members, photos)  # says at once if a map is missing
    format_ = _Format(dataset=dataset, recipe=ensemble.recipe, header=_read_columns(sample_path, dataset))
    name = name or _choose_name(ensemble)
    path = project.submission_path(name)
    chunks = [tuple(photos[start : start + _CHUNK]) for start in range(0, len(photos), _CHUNK)]
    # Tasks are made as they are needed: each carries the way to its own maps.
    tasks = (_Task(photos=chunk, readers=_select(readers, chunk)) for chunk in chunks)
    texts = run_tasks(partial(_write_rows, format_), tasks, what=name, jobs=jobs, total=len(chunks), unit="chunk")
    with atomic_path(path) as temporary:
        sha256 = write_gzip(temporary, format_.header, texts)
        check_submission(temporary, sample_path, dataset, photos=tuple(test.values()), jobs=jobs)
    num_rows = sum(len(photo.rows) for photo in photos)
    record = {"name": name, "num_rows": num_rows, "csv_sha256": sha256, **_describe(ensemble)}
    write_json(path.with_name(f"{name}.json"), record | describe_origin(project.configs_dir))
    logger.info("%s: %d rows", path, num_rows)
    return path


def find_submission(project: Project, wanted: str | None = None) -> Path:
    """Returns the path of a submission.

    Args:
        project: the folders.
        wanted: a path, or the name of one of ours; None is the newest of ours.

    Raises:
        InputError: there is none.
    """
    if wanted is None:
        ours = [path for path in project.submissions_dir.glob("*.csv.gz") if not path.name.startswith(".")]
        if not ours:
            raise InputError(f"{project.submissions_dir} must hold a submission. Received: none. Run `make submission`")
        return max(ours, key=lambda path: (path.stat().st_mtime_ns, path.name))
    for path in (Path(wanted), project.submission_path(wanted)):
        if path.is_file():
            return path
    raise InputError(f"`SUBMISSION` must be a csv, a csv.gz or a name. Received: {wanted}, which does not exist")


def open_members(project: Project, ensemble: Ensemble, dataset: DatasetConfig) -> tuple[MapReader, ...]:
    """Opens the test maps of an ensemble's `used_members`.

    Raises:
        InputError: they were not made by what the ensemble was fitted on, or the fold file has changed since.
    """
    path = project.ensemble_path(ensemble.name)
    if hash_folds(project.folds_path) != ensemble.folds_sha256:
        raise InputError(
            f"{path} must be of the folds in {project.folds_path}. Received: one of other folds. Run `make ensemble`"
        )
    readers = []
    for member in ensemble.used_members:
        reader = open_maps(project.maps_dir(member.experiment, "test"))
        if reader.fingerprint != member.fingerprint:
            raise InputError(
                f"{reader.folder} must hold the maps of fingerprint {member.fingerprint}, as {path} says. "
                f"Received: {reader.fingerprint}. Run `make predict EXP={member.experiment}` and `make ensemble`"
            )
        if reader.classes != dataset.classes:
            raise InputError(f"{reader.folder} must hold maps of {dataset.classes}. Received: {reader.classes}")
        readers.append(reader)
    return tuple(readers)


def _list_photos(sample_path: Path, dataset: DatasetConfig, test: dict[str, Sample]) -> Iterator[_Photo]:
    """Lists the photos in the order of the sample submission; neighbouring rows of one photo come together."""
    rows = []
    for cell, class_cell in read_sample_rows(sample_path, dataset):
        id_, class_name = parse_row(dataset, cell, class_cell)
        if id_ not in test:
            raise InputError(f"{sample_path} must name photos of {dataset.test_photos}. Received: {cell}")
        rows.append((id_, (cell, class_cell, dataset.classes.index(class_name) + 1)))
    for id_, group in groupby(rows, key=lambda row: row[0]):
        yield _Photo(sample=test[id_], rows=tuple(row for _, row in group))


def _read_columns(sample_path: Path, dataset: DatasetConfig) -> tuple[str, ...]:
    """Reads the sample submission's columns, whose order the submission keeps."""
    class_columns = [dataset.csv_class_column] if dataset.csv_class_column else []
    expected, header = [dataset.csv_image_column, *class_columns, dataset.csv_rle_column], read_header(sample_path)
    if sorted(header) != sorted(expected):
        raise InputError(f"{sample_path} must have the columns {expected}. Received: {header}")
    return tuple(header)


def _select(readers: Sequence[MapReader], photos: Sequence[_Photo]) -> tuple[MapReader, ...]:
    ids = [photo.sample.id for photo in photos]
    return tuple(reader.select(ids) for reader in readers)


def _write_rows(format_: _Format, task: _Task) -> str:
    """Writes the csv rows of some photos."""
    dataset, text = format_.dataset, StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for photo in task.photos:
        maps = [reader.read_map(photo.sample.id) for reader in task.readers]
        mask_hw = make_mask(format_.recipe, maps, read_full_size(photo.sample, dataset))
        for cell, class_cell, class_index in photo.rows:
            row = {dataset.csv_image_column: cell, dataset.csv_class_column: class_cell}
            row[dataset.csv_rle_column] = encode_rle(mask_hw == class_index, dataset.rle_order)
            writer.writerow([row[column] for column in format_.header])
    return text.getvalue()


def write_gzip(path: Path, header: Sequence[str], texts: Iterator[str]) -> str:
    """Writes a csv.gz as its parts come, equal bytes for equal parts; returns the SHA-256 of its uncompressed bytes."""
    digest = hashlib.sha256()
    # Without name and time in the header, equal content gives equal bytes.
    with path.open("wb") as file, gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed:
        for text in chain([",".join(header) + "\n"], texts):
            digest.update(text.encode())
            packed.write(text.encode())
    return digest.hexdigest()


def _choose_name(ensemble: Ensemble) -> str:
    (first, *others) = ensemble.members
    is_experiment = not others and ensemble.name == "ensemble"
    return f"{ensemble.competition}_{first.experiment if is_experiment else ensemble.name}"


def _describe(ensemble: Ensemble) -> dict[str, object]:
    made_of = {"competition", "members", "averaging", "threshold", "postprocessing"}
    judged_on = {"metric", "folds", "num_photos", "num_groups"}
    fields = ensemble.model_dump(mode="json", include=made_of | judged_on)
    return {"ensemble": ensemble.name, **fields, "oof_score": ensemble.score.model_dump(mode="json")}
