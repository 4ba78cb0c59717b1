"""The submission file: the ensemble's test maps as run lengths, in the sample submission's order.

Workers turn probability maps into rows, some images at a time, and leave them compressed in a part of their own: no map
is ever stored at full size, and a kill costs the parts under way alone.
"""

import csv
import logging
from collections.abc import Iterator, Sequence
from functools import partial
from io import StringIO
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from unets.config import DatasetConfig, check_name
from unets.data.objects import label_objects
from unets.data.rle import encode_rle
from unets.data.samples import Sample, read_full_size
from unets.dataset.manifest import Manifest
from unets.dataset.rle_csv import parse_row
from unets.ensemble.ensemble import Ensemble, check_folds, open_member_maps, read_ensemble
from unets.ensemble.recipe import Recipe, make_mask
from unets.errors import InputError
from unets.prediction.maps import MapReader
from unets.store.parts import drop_parts, find_missing_parts, join_parts, part_path, write_part
from unets.store.paths import Project
from unets.store.provenance import describe_origin, list_versions
from unets.store.runs import atomic_path, fingerprint, hash_file, lock, read_json, write_json
from unets.submission.check import check_submission, find_sample, read_wanted
from unets.workers.pool import in_chunks, run_tasks

logger = logging.getLogger(__name__)

# What of an ensemble the record of a submission tells.
_TOLD = {*("competition", "members", "threshold", "postprocessing"), *("metric", "folds", "num_images", "num_groups")}
PART_SIZE = 256  # images a part: 1 MB of Carvana's, some 1.5 s of a worker, which a kill can cost


class _Image(NamedTuple):
    sample: Sample
    rows: tuple[tuple[str, str | None, int], ...]  # of the sample submission: image cell, class cell, class index


# Some images, one reader a member, where the rows go, the fingerprint of all that decides them.
_Part = tuple[tuple[_Image, ...], tuple[MapReader, ...], Path, str]


def write_submission(
    project: Project, manifest: Manifest, name: str | None = None, *, ensemble_name: str = "ensemble"
) -> Path:
    """Writes and checks `<name>.csv.gz`, and `<name>.json` beside it, which says what made it; returns its path.

    The csv.gz takes its name only when it is whole and valid. The same maps and ensemble give the same bytes. Parts
    that a killed run left are taken where they are whole and made by the same maps, ensemble and versions of the code,
    else made again. Without a name, it has that of `name_submission`. Raises InputError where there is no ensemble, its
    members' test maps are missing, damaged or not those it was fitted on, or the folds have changed since; another
    process writes a submission of that name.
    """
    ensemble = read_ensemble(project, ensemble_name)
    dataset, test, sample_path = manifest.dataset, manifest.test, find_sample(project, manifest)
    name = check_name(name or name_submission(ensemble), "`--name`")
    path, folder = project.submission_path(name), project.submission_parts_dir(name)
    with lock(folder):
        header, rows = read_wanted(sample_path, dataset, test)
        images = list(_list_images(rows, sample_path or project.input_dir, dataset, test))
        fingerprints = _make_parts(project, ensemble, dataset, header, images, folder)
        with atomic_path(path) as temporary:
            sha256, num_rows = join_parts(temporary, header, folder, fingerprints)
            check_submission(temporary, sample_path, dataset, images=test)
        record = {
            "name": name,
            "num_rows": num_rows,
            "csv_sha256": sha256,
            "sha256": hash_file(path),
            "ensemble": ensemble.name,
            **ensemble.model_dump(mode="json", include=_TOLD),
            "oof_score": ensemble.score.model_dump(mode="json"),
            **describe_origin(),
        }
        write_json(path.with_name(f"{name}.json"), record, sealed=True)
        drop_parts(folder)
    logger.info("%s: %d rows", path, num_rows)
    return path


def find_submission(project: Project, wanted: str | None = None) -> Path:
    """Returns the path of a submission: a path, or the name of one of ours; None is the newest of ours.

    Raises InputError where there is none, or it is not as its record says.
    """
    if wanted is None:
        ours = [path for path in project.submissions_dir.glob("*.csv.gz") if not path.name.startswith(".")]
        if not ours:
            raise InputError(
                f"{project.submissions_dir} must hold a submission. Received: none. Run `unets submission`"
            )
        return _check_bytes(max(ours, key=lambda path: (path.stat().st_mtime_ns, path.name)))
    for path in (Path(wanted), project.submission_path(wanted)):
        if path.is_file():
            return _check_bytes(path)
    raise InputError(f"`--submission` must be a csv, a csv.gz or a name. Received: {wanted}, which does not exist")


def _check_bytes(path: Path) -> Path:
    """Returns the path of a submission whose bytes are those that the record beside it tells of, if there is one."""
    record = path.with_name(f"{path.name.removesuffix('.csv.gz')}.json")
    remedy = "Run `unets submission`"
    if record.is_file() and read_json(record, sha256=str, remedy=remedy)["sha256"] != hash_file(path):
        raise InputError(f"{path} must be as {record.name} says. Received: other bytes. {remedy}")
    return path


def open_members(project: Project, ensemble: Ensemble, dataset: DatasetConfig) -> tuple[MapReader, ...]:
    """Opens the test maps of `used_members`; raises InputError where these were fitted on others, or on other folds."""
    check_folds(project, ensemble)
    used = [(member.experiment, "test", member.fingerprint) for member in ensemble.used_members]
    return tuple(open_member_maps(project, dataset, *member) for member in used)


def _list_images(
    sample_rows: Sequence[tuple[str, str | None]], source: Path, dataset: DatasetConfig, test: Sequence[Sample]
) -> Iterator[_Image]:
    """Lists the images in the order of the sample submission; neighboring rows of one image come together."""
    sample_of = {sample.id: sample for sample in test}

    def parse(row: tuple[str, str | None]) -> tuple[str, tuple[str, str | None, int]]:
        id_, class_name = parse_row(dataset.submission, dataset.classes, *row)
        if id_ not in sample_of:
            raise InputError(f"{source} must name test images only. Received: {row[0]}")
        return id_, (*row, dataset.classes.index(class_name) + 1)

    for id_, group in groupby(map(parse, sample_rows), key=lambda row: row[0]):
        yield _Image(sample_of[id_], tuple(row for _, row in group))


def _make_parts(
    project: Project,
    ensemble: Ensemble,
    dataset: DatasetConfig,
    header: Sequence[str],
    images: Sequence[_Image],
    folder: Path,
) -> list[str]:
    """Makes the parts that are missing; returns the fingerprints of all."""
    members = open_members(project, ensemble, dataset)
    for member in members:
        try:
            member.check_samples(image.sample for image in images)  # before any work is done
        except InputError as error:
            raise InputError(f"The sample submission must name images that have maps: {error}") from error
    decisive = {
        "dataset": dataset.model_dump(mode="json", include={"classes", "overlapping", "size_hw", "submission"}),
        "maps": [member.fingerprint for member in ensemble.used_members],
        "recipe": ensemble.recipe.model_dump(mode="json"),
        "header": list(header),
        "versions": list_versions(),  # after an upgrade, no row of the code before stands beside those of the new
    }
    chunks = in_chunks(images, PART_SIZE)
    fingerprints = [
        fingerprint(rows=[(image.rows, image.sample.image_hash) for image in chunk], **decisive) for chunk in chunks
    ]
    missing = find_missing_parts(folder, fingerprints)
    if len(missing) < len(fingerprints):
        logger.info("%s: %d of %d parts are there", folder.name, len(fingerprints) - len(missing), len(fingerprints))

    def build(index: int) -> _Part:
        ids = [image.sample.id for image in chunks[index]]
        readers = tuple(member.select(ids) for member in members)
        return chunks[index], readers, part_path(folder, index), fingerprints[index]

    write = partial(_write_rows, dataset, ensemble.recipe, header)
    for _ in run_tasks(write, map(build, missing), what=folder.name, total=len(missing), unit="part"):
        pass
    return fingerprints


def _write_rows(dataset: DatasetConfig, recipe: Recipe, header: Sequence[str], part: _Part) -> None:
    """Writes the csv rows of some images."""
    images, readers, path, made_by = part
    form, text = dataset.submission, StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for image in images:
        maps = [reader.read_map(image.sample.id) for reader in readers]
        mask = make_mask(recipe, maps, read_full_size(image.sample, dataset))
        for cell, class_cell, class_index in image.rows:
            # Where classes overlap, each has a layer of its own.
            layer_hw = mask[..., class_index - 1] > 0 if mask.ndim == 3 else mask == class_index
            # Neighbors across corners are of one object; an empty mask has a row, too.
            labels_hw, count = label_objects(layer_hw) if form.row == "object" else (layer_hw, 1)
            for label in range(1, max(count, 1) + 1):
                rle = encode_rle(labels_hw == label, form.order, relative=form.relative)
                row = {form.image_column: cell, form.class_column: class_cell}
                row[form.rle_column] = rle or ("-1" if form.relative else "")
                writer.writerow([row[column] for column in header])
    write_part(path, text.getvalue(), fingerprint=made_by)


def name_submission(ensemble: Ensemble) -> str:
    """Returns the name that an ensemble's submission has where none is given."""
    (first, *others) = ensemble.members
    is_experiment = not others and ensemble.name == "ensemble"
    return f"{ensemble.competition}_{first.experiment if is_experiment else ensemble.name}"
