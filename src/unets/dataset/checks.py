"""The integrity check behind `unets check`: is every file whole, and do they all say the same?

A *fault* contradicts dataset.py and is to be mended; a *note* is merely worth knowing. What was found whole is recorded
in `project.checked_path`, a line an image, and not looked at again until its bytes or the rules change.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from unets.config import Config, CsvSource, DatasetConfig, SizeHW
from unets.data.files import find_file
from unets.data.image import ImageFile
from unets.data.samples import Sample, check_mask, count_object_pixels, find_classes_in, find_kind, read_mask
from unets.dataset.importers.listing import list_input
from unets.dataset.importers.names import list_some
from unets.dataset.importers.run_lengths import read_tables
from unets.dataset.manifest import Manifest, read_manifest
from unets.dataset.rle_csv import default_rows, list_columns, parse_row, read_sample
from unets.errors import InputError
from unets.log import format_count
from unets.store.paths import Project
from unets.store.runs import append_json_line, fingerprint, read_json_lines, write_text
from unets.workers.pool import in_chunks, run_tasks

T = TypeVar("T")

MAX_FAULTS_PRINTED = 50
_MAX_NAMED = 10  # images of a note
_LEAST_APART = 0.1  # of the usual share of object, which an unusual one differs by
_MAX_TWINS = 4  # names of one set of equal images that are printed
CHUNK_SIZE = 64  # images a task; what a kill can cost, per worker
CHECK_VERSION = 5  # raise it with every change of what is checked: all is then checked again
# Fields that say how images and masks look; the others may change without a new look at the files.
_LOOKS = {"channels", "value_range", "orientation", "size_hw", "classes", "overlapping", "has_background"}
_LOOKS |= {"has_ignored"}


class CheckedImage(Config):
    """One image found whole, and its mask with it."""

    split: str  # "train" or "test"
    id: str
    height: int
    width: int
    share: float | None  # share of the image that is object; None without a mask
    classes: tuple[int, ...] = ()  # that the mask holds, from 0 on
    digest: str  # of the image's bytes
    stamp: str  # of its files and the rules


class MaskFacts(NamedTuple):
    """What a mask holds."""

    share: float  # of the image that is object
    classes: tuple[int, ...]  # from 0 on

    @classmethod
    def of(cls, mask: npt.NDArray[np.uint8], num_classes: int) -> Self:
        """Looks at a mask, as `read_mask` gives it."""
        share = count_object_pixels(mask) / (mask.shape[0] * mask.shape[1])
        return cls(share, tuple(np.flatnonzero(find_classes_in(mask, num_classes)).tolist()))


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckReport:
    """What `check_data` found."""

    num_train: int
    num_test: int
    num_skipped: int  # images that were found whole before and have not changed
    faults: tuple[str, ...]
    notes: tuple[str, ...]
    faults_path: str  # holds all faults where there are more than are printed

    @property
    def is_clean(self) -> bool:
        """Whether there is no fault."""
        return not self.faults

    def render(self) -> str:
        """Returns the report as text for people."""
        seen = f" ({self.num_skipped} of them unchanged since the last check)" if self.num_skipped else ""
        count = format_count(len(self.faults), "fault")
        lines = [f"{self.num_train} training and {self.num_test} test images{seen}: {count}"]
        lines += [f"  fault: {fault}" for fault in self.faults[:MAX_FAULTS_PRINTED]]
        if len(self.faults) > MAX_FAULTS_PRINTED:
            lines.append(f"  ... and {len(self.faults) - MAX_FAULTS_PRINTED} more, all of them in {self.faults_path}")
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


def check_data(project: Project, dataset: DatasetConfig) -> CheckReport:
    """Checks all files of a data set against dataset.py and each other, in one pass.

    Writes `project.checked_path`, and `project.faults_path` where there are many faults. Raises as `read_manifest`.
    """
    manifest = read_manifest(project, dataset)
    faults = _compare_sample_submission(manifest, project)
    records, num_skipped, image_faults = _check_images(manifest, project)
    faults += image_faults
    project.faults_path.unlink(missing_ok=True)
    if len(faults) > MAX_FAULTS_PRINTED:
        write_text(project.faults_path, "".join(f"{fault}\n" for fault in faults))
    return CheckReport(
        num_train=len(manifest.train),
        num_test=len(manifest.test),
        num_skipped=num_skipped,
        faults=tuple(faults),
        notes=(
            *_note_duplicates(records, manifest),
            *_note_classes(records, manifest),
            *_note_shares(records),
            *_note_sizes(records),
            *_note_rows(project, dataset),
        ),
        faults_path=str(project.faults_path),
    )


def read_checked_masks(project: Project, manifest: Manifest) -> dict[str, MaskFacts]:
    """Returns what the masks hold of those training images that were found whole and have not changed."""
    records = _read_records(project, _stamp_samples(manifest)).values()
    masked = ((record, record.share) for record in records if record.split == "train")
    return {record.id: MaskFacts(share, record.classes) for record, share in masked if share is not None}


def _compare_sample_submission(manifest: Manifest, project: Project) -> list[str]:
    """Compares the sample submission's header and rows with `submission`, test images and classes; returns faults."""
    dataset, form = manifest.dataset, manifest.dataset.submission
    if form.sample is None or not manifest.test:
        return []
    try:
        path = find_file(project.input_dir, form.sample)
        _, rows = read_sample(path, form)
    except InputError as error:
        return [str(error)]

    faults, found, wanted = list[str](), Counter(rows), dict.fromkeys(default_rows(dataset, manifest.test))
    for row, count in found.items():
        name = ", ".join(filter(None, row))
        if row not in wanted:
            if _collect(partial(parse_row, form, dataset.classes, *row), faults, f"{path}: "):
                faults.append(f"{path} must have rows for test images only. Received: {name}")
        elif count > 1 and form.row != "object":
            words = "must have one row a mask, or `submission.row` be 'object'"
            faults.append(f"{path} {words}. Received: {count} of {name}")
    for row in wanted if form.row != "object" else ():
        if row not in found:
            name = ", ".join(filter(None, row))
            faults.append(f"{path} must have a row for each test image. Received: none for {name}")
    return faults


def _check_images(manifest: Manifest, project: Project) -> tuple[list[CheckedImage], int, list[str]]:
    """Checks what is not on record; returns (records of all that is whole, number taken from the record, faults)."""
    stamps, faults = _stamp_samples(manifest), list[str]()
    known = _read_records(project, stamps)
    num_known = len(known)
    samples = _list_samples(manifest)
    todo = [(split, sample, stamps[sample.id]) for split, sample in samples if sample.id not in known]
    check_chunk = partial(_check_chunk, dataset=manifest.dataset)
    chunks = in_chunks(todo, CHUNK_SIZE)
    for records, chunk_faults in run_tasks(check_chunk, chunks, what="check", unit="chunk"):
        faults += chunk_faults
        for record in records:  # at once: a kill loses the chunks at work, not those done
            known[record.id] = record
            append_json_line(project.checked_path, record.model_dump())
    whole = [known[sample.id] for _, sample in samples if sample.id in known]
    write_text(project.checked_path, "".join(f"{record.model_dump_json()}\n" for record in whole))
    return whole, num_known, faults


def _check_chunk(
    chunk: Sequence[tuple[str, Sample, str]], dataset: DatasetConfig
) -> tuple[list[CheckedImage], list[str]]:
    """Checks one (split, sample, stamp) after another; returns (records of those without fault, all faults)."""
    faults = list[str]()
    return [record for task in chunk if (record := _check_sample(*task, dataset, faults))], faults


def _check_sample(
    split: str, sample: Sample, stamp: str, dataset: DatasetConfig, faults: list[str]
) -> CheckedImage | None:
    """Reads a sample's image and mask whole and compares them; None where something is wrong, which `faults` gets."""
    num_faults = len(faults)

    def look() -> SizeHW:
        image = ImageFile(sample.image_path, find_kind(dataset))
        image.check()
        return image.size_hw

    size_hw = _collect(look, faults)
    if size_hw is not None and dataset.size_hw not in (None, size_hw):
        faults.append(f"{sample.image} must have (height, width) {dataset.size_hw}. Received: {size_hw}")
    mask = _collect(partial(read_mask, sample), faults) if sample.masks else None
    if mask is not None:
        if size_hw is not None and mask.shape[:2] != size_hw:
            words = f"must have the image's size {size_hw}. Received: {mask.shape[:2]}. Resize it, or set "
            words += "source.stretch_masks=True where its proportions are the image's"
            faults.append(f"{sample.masks[0]} {words}")
        _collect(partial(check_mask, mask, dataset, sample.masks), faults)
        if not dataset.has_background and mask.ndim == 2 and (mask == 0).any():
            faults.append(f"{sample.masks[0]} must hold no 0 where `has_background` is False. Received: some")
    if size_hw is None or len(faults) > num_faults:
        return None
    facts: dict[str, Any] = {"share": None} if mask is None else MaskFacts.of(mask, len(dataset.classes))._asdict()
    place: dict[str, Any] = {"split": split, "id": sample.id, "digest": sample.image_hash, "stamp": stamp}
    return CheckedImage(height=size_hw[0], width=size_hw[1], **place, **facts)


def _collect(read: Callable[[], T], faults: list[str], before: str = "") -> T | None:
    """Returns what `read` returns, or None and its error in `faults`."""
    try:
        return read()
    except InputError as error:
        faults.append(f"{before}{error}")
        return None


def _note_duplicates(records: Iterable[CheckedImage], manifest: Manifest) -> Iterator[str]:
    group_of = {sample.id: sample.group for _, sample in _list_samples(manifest)}
    by_digest: dict[str, list[CheckedImage]] = defaultdict(list)
    for record in records:
        by_digest[record.digest].append(record)
    sets = [twins for twins in by_digest.values() if len(twins) > 1]
    num_across = sum(len({group_of[twin.id] for twin in twins}) > 1 for twins in sets)
    if sets:
        named = [_name_twins(twins) for twins in sets]
        across = f"{num_across} of them across groups, which leak between folds or into training"
        found = format_count(len(sets), "set")
        yield f"{found} of byte-identical images, {across}: {list_some(named, count=_MAX_NAMED)}"


def _name_twins(twins: Sequence[CheckedImage]) -> str:
    more = [f"{len(twins) - _MAX_TWINS} more"] if len(twins) > _MAX_TWINS else []
    return " = ".join([*(f"{twin.split}/{twin.id}" for twin in twins[:_MAX_TWINS]), *more])


def _note_classes(records: Iterable[CheckedImage], manifest: Manifest) -> Iterator[str]:
    """Notes classes that no mask holds, where all masks are whole."""
    held = [set(record.classes) for record in records if record.split == "train"]
    found, classes = set[int]().union(*held), manifest.dataset.classes
    absent = [name for index, name in enumerate(classes) if index not in found]
    if absent and len(held) == len(manifest.train):
        yield f"no training image holds {', '.join(absent)}: no net can learn it"


def _note_shares(records: Iterable[CheckedImage]) -> Iterator[str]:
    if empty := [record.id for record in records if record.share == 0]:
        yield f"{format_count(len(empty), 'empty mask')}: {list_some(empty, count=_MAX_NAMED)}"
    shares = {record.id: record.share for record in records if record.share}
    if not shares:
        return
    # Tukey's outer fences (Exploratory Data Analysis, 1977): three interquartile ranges beyond the quartiles.
    first, third = np.quantile(list(shares.values()), [0.25, 0.75])
    reach = max(3 * (third - first), _LEAST_APART * third)  # objects of one size have no range
    lowest, highest = first - reach, third + reach
    if odd := [f"{id_} ({share:.4f})" for id_, share in shares.items() if not lowest <= share <= highest]:
        named = list_some(odd, count=_MAX_NAMED)
        yield f"{format_count(len(odd), 'mask')} far outside the usual share of {first:.3f} to {third:.3f}: {named}"


def _note_sizes(records: Sequence[CheckedImage]) -> Iterator[str]:
    sizes = {f"{record.split}/{record.id}": (record.height, record.width) for record in records}
    counts = Counter(sizes.values())
    if len(counts) < 2:
        return
    (usual, count), *_ = counts.most_common(1)
    if count >= 0.9 * len(records):
        odd = [f"{name} {size_hw}" for name, size_hw in sizes.items() if size_hw != usual]
        words = f"of other than the usual (height, width) {usual}: {list_some(odd, count=_MAX_NAMED)}"
        yield f"{format_count(len(odd), 'image')} {words}"
    else:
        heights, widths = zip(*counts, strict=True)
        sides = f"{min(heights)} to {max(heights)} high, {min(widths)} to {max(widths)} wide"
        yield f"images have {len(counts)} sizes, {sides}"


def _note_rows(project: Project, dataset: DatasetConfig) -> Iterator[str]:
    """Notes a csv with a row an object where a submission has none."""
    source, row = dataset.source, dataset.submission.row
    if isinstance(source, CsvSource) and row != "object":
        keys = list_columns(source)[:-1]
        count = int(read_tables(list_input(project.input_dir), source.path).duplicated(keys).sum())
        if count:
            yield (
                f"{source.path} has several rows of an image ({count} further ones), as of objects, and a submission "
                f"one of an {row}: if the competition wants objects, `submission.row` must be 'object'"
            )


def _list_samples(manifest: Manifest) -> list[tuple[str, Sample]]:
    return [*(("train", sample) for sample in manifest.train), *(("test", sample) for sample in manifest.test)]


def _stamp_samples(manifest: Manifest) -> dict[str, str]:
    """Returns for each id 16 hex digits that change with its bytes and with the rules."""
    rules = fingerprint(version=CHECK_VERSION, looks=manifest.dataset.model_dump(mode="json", include=_LOOKS))
    return {
        sample.id: fingerprint(rules=rules, split=split, image=sample.image_hash, mask=sample.mask_hash)
        for split, sample in _list_samples(manifest)
    }


def _read_records(project: Project, stamps: Mapping[str, str]) -> dict[str, CheckedImage]:
    """Returns the records that are of the present bytes and rules, by id; a torn line is none."""
    found = {}
    for row in read_json_lines(project.checked_path):
        with suppress(ValidationError):  # of another version
            record = CheckedImage(**row)
            if stamps.get(record.id) == record.stamp:
                found[record.id] = record
    return found
