"""The submission file: the ensemble's test maps as run lengths, in the sample submission's order.

Workers turn maps into rows, some photos at a time, and leave them compressed in a part of their own: no map is ever
stored at full size, memory grows by the photos' names alone, and a kill costs the parts under way alone.
"""

import csv
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import StringIO
from itertools import groupby, islice
from pathlib import Path

from unets.config import DatasetConfig, check_name
from unets.data.geometry import SizeHW
from unets.data.rle import encode_rle
from unets.data.samples import Sample, read_full_size
from unets.dataset.folds import hash_folds
from unets.dataset.rle_csv import list_columns, parse_row
from unets.ensemble.ensemble import Ensemble, read_ensemble
from unets.ensemble.recipe import Recipe, make_mask
from unets.errors import InputError
from unets.prediction.maps import MapReader, open_maps
from unets.store.parts import drop_parts, find_missing_parts, join_parts, part_path, write_part
from unets.store.paths import Project
from unets.store.provenance import describe_origin, list_versions
from unets.store.runs import atomic_path, fingerprint, lock, write_json
from unets.submission.check import check_submission, find_reference, read_wanted
from unets.workers.pool import run_tasks

logger = logging.getLogger(__name__)

_PART = 256  # photos a part: 1 MB of Carvana's, some 1.5 s of a worker, which a kill can cost


@dataclass(frozen=True, kw_only=True, slots=True)
class _Photo:
    """A test photo and its rows in the submission: (image cell, class cell or None, class index)."""

    id: str
    sample: Sample | None  # asked for its size; None where all photos have one
    rows: tuple[tuple[str, str | None, int], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """Some photos, the way to their maps, and where their rows go."""

    photos: tuple[_Photo, ...]
    readers: tuple[MapReader, ...]  # one a member
    path: Path
    fingerprint: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Format:
    """How maps become rows; all of it goes into the fingerprints of parts."""

    dataset: DatasetConfig
    maps: tuple[str, ...]  # fingerprint of each member's
    recipe: Recipe
    header: tuple[str, ...]
    versions: Mapping[str, str]  # after an upgrade, no row of the code before stands beside those of the new

    def fingerprint(self, photos: Sequence[_Photo]) -> str:
        """Returns what the rows of some photos are made by."""
        rows = [row for photo in photos for row in photo.rows]
        return fingerprint(
            rows=rows,
            dataset=self.dataset.model_dump(mode="json", include={"classes", "overlapping", "size_hw", "submission"}),
            maps=self.maps,
            recipe=self.recipe.model_dump(mode="json"),
            header=self.header,
            versions=self.versions,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Made:
    """Parts that are there."""

    header: tuple[str, ...]
    fingerprints: tuple[str, ...]  # of each part
    num_rows: int


def write_submission(
    project: Project,
    dataset: DatasetConfig,
    name: str | None = None,
    *,
    ensemble_name: str = "ensemble",
    jobs: int | None = None,
) -> Path:
    """Writes and checks `<name>.csv.gz`, and `<name>.json` beside it, which says what made it.

    The csv.gz takes its name only when it is whole and valid. The same maps and ensemble give the same bytes. Parts
    that a killed run left are taken where they are whole and made by the same maps, ensemble and versions of the code,
    else made again.

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
            the folds have changed since; another process writes a submission of that name.
    """
    ensemble = read_ensemble(project, ensemble_name)
    sample_path, test = find_reference(project, dataset)
    name = check_name(name or name_submission(ensemble), "`NAME`")
    path, folder = project.submission_path(name), project.submission_parts_dir(name)
    with lock(folder):
        made = _make_parts(project, ensemble, dataset, sample_path, test, folder, jobs)
        with atomic_path(path) as temporary:
            sha256 = join_parts(temporary, made.header, folder, made.fingerprints)
            check_submission(temporary, sample_path, dataset, photos=test, jobs=jobs)
        record = {"name": name, "num_rows": made.num_rows, "csv_sha256": sha256, **_describe(ensemble)}
        write_json(path.with_name(f"{name}.json"), record | describe_origin(project.configs_dir))
        drop_parts(folder)
    logger.info("%s: %d rows", path, made.num_rows)
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
    readers: list[MapReader] = []
    for member in ensemble.used_members:
        reader = open_maps(project.maps_dir(member.experiment, "test"))
        if reader.fingerprint != member.fingerprint:
            raise InputError(
                f"{reader.folder} must hold the maps of fingerprint {member.fingerprint}, as {path} says. "
                f"Received: {reader.fingerprint}. Run `make predict EXP={member.experiment}` and `make ensemble`"
            )
        if reader.classes != dataset.classes:
            raise InputError(f"{reader.folder} must hold maps of {dataset.classes}. Received: {reader.classes}")
        if readers and reader.shard_of == readers[0].shard_of:  # 16 MB of Carvana's, a member
            reader.shard_of = readers[0].shard_of
        readers.append(reader)
    return tuple(readers)


def _list_photos(
    sample_rows: Iterable[tuple[str, str | None]],
    sample_path: Path,
    dataset: DatasetConfig,
    test: Mapping[str, Sample] | None,
) -> Iterator[_Photo]:
    """Lists the photos in the order of the sample submission; neighbouring rows of one photo come together."""

    def parse(row: tuple[str, str | None]) -> tuple[str, tuple[str, str | None, int]]:
        id_, class_name = parse_row(dataset.submission, dataset.classes, *row)
        if test is not None and id_ not in test:
            raise InputError(f"{sample_path} must name test images only. Received: {row[0]}")
        return id_, (*row, dataset.classes.index(class_name) + 1)

    for id_, group in groupby(map(parse, sample_rows), key=lambda row: row[0]):
        yield _Photo(id=id_, sample=None if test is None else test[id_], rows=tuple(row for _, row in group))


def _check_columns(header: list[str], sample_path: Path | None, dataset: DatasetConfig) -> tuple[str, ...]:
    """Returns the sample submission's columns, whose order the submission keeps."""
    expected = list_columns(dataset.submission)
    if sorted(header) != sorted(expected):
        raise InputError(f"{sample_path} must have the columns {expected}. Received: {header}")
    return tuple(header)


def _make_parts(
    project: Project,
    ensemble: Ensemble,
    dataset: DatasetConfig,
    sample_path: Path | None,
    test_photos: Sequence[Sample],
    folder: Path,
    jobs: int | None,
) -> _Made:
    """Makes the parts that are missing. What grows with the number of photos is given up before they are checked."""
    header, rows = read_wanted(sample_path, dataset, test_photos)
    format_ = _Format(
        dataset=dataset,
        maps=tuple(member.fingerprint for member in ensemble.used_members),
        recipe=ensemble.recipe,
        header=_check_columns(header, sample_path, dataset),
        versions=list_versions(),
    )
    members, source = open_members(project, ensemble, dataset), sample_path or project.input_dir
    test = None if dataset.size_hw else {photo.id: photo for photo in test_photos}
    bounds, fingerprints = [0], list[str]()
    # A part's photos are listed when they are needed, and again then: all of them at once are 22 MB of Carvana's.
    photos = _list_photos(rows, source, dataset, test)
    while chunk := tuple(islice(photos, _PART)):
        for member in members:
            try:
                member.check_ids(photo.id for photo in chunk)  # before any work is done
            except InputError as error:
                raise InputError(f"{source} must name photos that have maps: {error}") from error
        bounds.append(bounds[-1] + sum(len(photo.rows) for photo in chunk))
        fingerprints.append(format_.fingerprint(chunk))
    missing = find_missing_parts(folder, fingerprints)
    if len(missing) < len(fingerprints):
        logger.info("%s: %d of %d parts are there", folder.name, len(fingerprints) - len(missing), len(fingerprints))

    def plan(index: int) -> _Part:
        chunk = tuple(_list_photos(rows[bounds[index] : bounds[index + 1]], source, dataset, test))
        readers = tuple(member.select(photo.id for photo in chunk) for member in members)
        return _Part(photos=chunk, readers=readers, path=part_path(folder, index), fingerprint=fingerprints[index])

    write = partial(_write_rows, format_)
    for _ in run_tasks(write, map(plan, missing), what=folder.name, jobs=jobs, total=len(missing), unit="part"):
        pass
    return _Made(header=format_.header, fingerprints=tuple(fingerprints), num_rows=len(rows))


def _write_rows(format_: _Format, part: _Part) -> None:
    """Writes the csv rows of some photos."""
    dataset, form, text = format_.dataset, format_.dataset.submission, StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for photo in part.photos:
        maps = [reader.read_map(photo.id) for reader in part.readers]
        mask_hw = make_mask(format_.recipe, maps, _find_size(photo, dataset))
        for cell, class_cell, class_index in photo.rows:
            row = {form.image_column: cell, form.class_column: class_cell}
            row[form.rle_column] = encode_rle(mask_hw == class_index, form.order, relative=form.relative)
            writer.writerow([row[column] for column in format_.header])
    write_part(part.path, text.getvalue(), fingerprint=part.fingerprint)


def _find_size(photo: _Photo, dataset: DatasetConfig) -> SizeHW:
    if photo.sample is not None:
        return read_full_size(photo.sample, dataset)
    if dataset.size_hw is None:
        raise ValueError(f"`sample` must be given where the dataset has no `size_hw`. Received: None for {photo.id}")
    return dataset.size_hw


def name_submission(ensemble: Ensemble) -> str:
    """Returns the name that an ensemble's submission has where none is given."""
    (first, *others) = ensemble.members
    is_experiment = not others and ensemble.name == "ensemble"
    return f"{ensemble.competition}_{first.experiment if is_experiment else ensemble.name}"


def _describe(ensemble: Ensemble) -> dict[str, object]:
    made_of = {"competition", "members", "averaging", "threshold", "postprocessing"}
    judged_on = {"metric", "folds", "num_photos", "num_groups"}
    fields = ensemble.model_dump(mode="json", include=made_of | judged_on)
    return {"ensemble": ensemble.name, **fields, "oof_score": ensemble.score.model_dump(mode="json")}
