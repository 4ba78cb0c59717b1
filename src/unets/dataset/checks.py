"""The integrity check behind `unets check`: is every file whole, and do they all say the same?

A *fault* contradicts dataset.py and is to be mended; a *note* is merely worth knowing. What was found whole is recorded
in `project.checked_path`, a line an image, and not looked at again until its bytes or the rules change.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from unets.config import DatasetConfig, PatternSource, SizeHW
from unets.data.files import find_file, hash_content
from unets.data.image import ImageFile
from unets.data.rle import decode_rle
from unets.data.samples import IGNORE, Sample, check_mask, count_object_pixels, find_kind, read_mask
from unets.dataset.importers.patterns import read_masks_csv
from unets.dataset.manifest import Manifest, read_manifest
from unets.dataset.rle_csv import class_cell, image_cell, parse_row, read_sample
from unets.errors import InputError
from unets.store.paths import Project
from unets.store.runs import fingerprint, write_text
from unets.workers.pool import run_tasks

T = TypeVar("T")

MAX_FAULTS_PRINTED = 50
_MAX_TWINS = 4  # names of one set of equal images that are printed
CHUNK_SIZE = 64  # images a task; what a kill can cost, per worker
CHECK_VERSION = 2  # raise it with every change of what is checked: all is then checked again
# Fields that say how images and masks look; the others may change without a new look at the files.
_LOOKS = {"channels", "value_range", "orientation", "size_hw", "classes", "overlapping"}
_LOOKS |= {"has_background", "has_ignored"}
_Image = tuple[str, Sample, str, tuple[str, ...] | None]  # (split, sample, stamp, its rows of a csv, one a class)


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckedImage:
    """One image found whole, and its mask with it."""

    split: str  # "train" or "test"
    id: str
    size_hw: SizeHW
    share: float | None  # share of the image that is object; None without a mask
    digest: str  # of the image's bytes
    stamp: str  # of its files and the rules; the last field, so that a torn line never fits


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
        lines = [f"{self.num_train} training and {self.num_test} test images{seen}: {len(self.faults)} faults"]
        lines += [f"  fault: {fault}" for fault in self.faults[:MAX_FAULTS_PRINTED]]
        if len(self.faults) > MAX_FAULTS_PRINTED:
            lines.append(f"  ... and {len(self.faults) - MAX_FAULTS_PRINTED} more, all of them in {self.faults_path}")
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)


def check_data(project: Project, dataset: DatasetConfig, *, jobs: int | None = None) -> CheckReport:
    """Checks all files of a data set against dataset.py and each other, in one pass.

    Args:
        project: where the files lie; gets `checked_path`, and `faults_path` where there are many faults.
        dataset: the data set's config.
        jobs: worker processes; None is one a core.

    Raises:
        InputError: the data set cannot be imported; see `import_data`.
    """
    manifest = read_manifest(project, dataset, jobs=jobs)
    faults = compare_sample_submission(manifest, project)
    records, num_skipped, image_faults = _check_images(manifest, project, jobs)
    faults += image_faults
    project.faults_path.unlink(missing_ok=True)
    if len(faults) > MAX_FAULTS_PRINTED:
        write_text(project.faults_path, "".join(f"{fault}\n" for fault in faults))
    return CheckReport(
        num_train=len(manifest.train),
        num_test=len(manifest.test),
        num_skipped=num_skipped,
        faults=tuple(faults),
        notes=tuple(take_notes(records, manifest)),
        faults_path=str(project.faults_path),
    )


def read_checked_shares(project: Project, manifest: Manifest) -> dict[str, float]:
    """Returns the object's share of the image for those training images that were found whole and have not changed."""
    stamps = stamp_samples(project, manifest.train, manifest.dataset)
    records = (record for record in _read_records(project) if record.split == "train")
    return {r.id: r.share for r in records if r.share is not None and stamps.get(r.id) == r.stamp}


def compare_sample_submission(manifest: Manifest, project: Project) -> list[str]:
    """Compares the sample submission's header and rows with `submission`, test images and classes; returns faults."""
    dataset, form = manifest.dataset, manifest.dataset.submission
    if form.sample is None or not manifest.test:
        return []
    try:
        path = find_file(project.input_dir, form.sample)
        _, rows = read_sample(path, form)
    except InputError as error:
        return [str(error)]
    faults, found = [], Counter[tuple[str, str]]()
    for row in rows:
        try:
            found[parse_row(form, dataset.classes, *row)] += 1
        except InputError as error:
            faults.append(f"{path}: {error}")
    wanted = {(sample.id, class_name) for sample in manifest.test for class_name in dataset.classes}
    known_ids = {sample.id for sample in manifest.test}
    for (id_, class_name), count in found.items():
        row_name = _name_row(dataset, id_, class_name)
        if id_ not in known_ids:
            faults.append(f"{path} must have rows for test images only. Received: {row_name}")
        elif count > 1 and form.row != "object":
            faults.append(
                f"{path} must have one row a mask, or `submission.row` be 'object'. Received: {count} of {row_name}"
            )
    faults += [
        f"{path} must have a row for each test image. Received: none for {_name_row(dataset, id_, class_name)}"
        for id_, class_name in sorted(wanted - found.keys())
        if form.row != "object"
    ]
    return faults


def check_sample(
    sample: Sample, dataset: DatasetConfig, rles: Sequence[str] | None = None
) -> tuple[SizeHW | None, float | None, list[str]]:
    """Reads a sample's image and mask whole and compares them, and the mask with its rows of a csv where given.

    Returns:
        (size of the image or None, the object's share or None, faults).
    """
    faults: list[str] = []

    def look() -> SizeHW:
        image = ImageFile(sample.image_path, find_kind(dataset))
        image.check()
        return image.size_hw

    size_hw = _collect(look, faults)
    if size_hw is not None and dataset.size_hw not in (None, size_hw):
        faults.append(f"{sample.image} must have (height, width) {dataset.size_hw}. Received: {size_hw}")
    if not sample.masks:
        return size_hw, None, faults
    mask = _collect(lambda: read_mask(sample), faults)
    if mask is None:
        return size_hw, None, faults
    if size_hw is not None and mask.shape[:2] != size_hw:
        faults.append(f"{sample.masks[0]} must have the image's size {size_hw}. Received: {mask.shape[:2]}")
    _collect(lambda: check_mask(mask, dataset, sample.masks[0]), faults)
    share = count_object_pixels(mask) / (mask.shape[0] * mask.shape[1])
    if not dataset.has_background and mask.ndim == 2 and (mask == 0).any():
        faults.append(f"{sample.masks[0]} must hold no 0 where `has_background` is False. Received: some")
    if rles is not None:
        differing = _collect(lambda: _count_differences(mask, rles, dataset), faults)
        if differing:
            faults.append(f"{sample.masks[0]} must equal its row of the csv. Received: {differing} differing pixels")
    return size_hw, share, faults


def stamp_samples(project: Project, samples: Iterable[Sample], dataset: DatasetConfig) -> dict[str, str]:
    """Returns for each id 16 hex digits that change with the bytes of its files, with the csv and with the rules."""
    csv_path = _find_csv_beside_files(project, dataset)
    rules = fingerprint(
        version=CHECK_VERSION,
        looks=dataset.model_dump(mode="json", include=_LOOKS),
        csv=csv_path and hash_content(csv_path),
    )
    return {s.id: fingerprint(rules=rules, image=s.image_hash, mask=s.mask_hash) for s in samples}


def take_notes(records: Sequence[CheckedImage], manifest: Manifest) -> list[str]:
    """Says what is odd, but no fault, about images that are whole."""
    groups = {("train", sample.id): sample.group for sample in manifest.train}
    groups |= {("test", sample.id): sample.group for sample in manifest.test}
    return [*_note_duplicates(records, groups), *_note_shares(records), *_note_sizes(records)]


def _note_duplicates(records: Sequence[CheckedImage], groups: Mapping[tuple[str, str], str]) -> Iterator[str]:
    by_digest: dict[str, list[CheckedImage]] = defaultdict(list)
    for record in records:
        by_digest[record.digest].append(record)
    sets = [twins for twins in by_digest.values() if len(twins) > 1]
    num_across = sum(len({groups[twin.split, twin.id] for twin in twins}) > 1 for twins in sets)
    if sets:
        names = _list_names(_name_twins(twins) for twins in sets)
        yield f"{len(sets)} sets of byte-identical images, {num_across} of them across groups: {names}"


def _name_twins(twins: Sequence[CheckedImage]) -> str:
    names = [f"{twin.split}/{twin.id}" for twin in twins[:_MAX_TWINS]]
    return " = ".join(names) + (f" = {len(twins) - _MAX_TWINS} more" if len(twins) > _MAX_TWINS else "")


def _note_shares(records: Sequence[CheckedImage]) -> Iterator[str]:
    empty = [record.id for record in records if record.share == 0]
    if empty:
        yield f"{len(empty)} empty masks: {_list_names(empty)}"
    shares = np.array([record.share for record in records if record.share])
    if shares.size == 0:
        return
    # Tukey's outer fences (Exploratory Data Analysis, 1977): three interquartile ranges beyond the quartiles.
    first, third = np.quantile(shares, [0.25, 0.75])
    lowest, highest = first - 3 * (third - first), third + 3 * (third - first)
    odd = [f"{r.id} ({r.share:.4f})" for r in records if r.share and not lowest <= r.share <= highest]
    if odd:
        yield f"{len(odd)} masks far outside the usual share of {first:.3f} to {third:.3f}: {_list_names(odd)}"


def _note_sizes(records: Sequence[CheckedImage]) -> Iterator[str]:
    counts = Counter(record.size_hw for record in records)
    if len(counts) < 2:
        return
    (usual, count), *_ = counts.most_common(1)
    if count >= 0.9 * len(records):
        odd = [f"{r.split}/{r.id} {r.size_hw}" for r in records if r.size_hw != usual]
        yield f"{len(odd)} images are not of the usual (height, width) {usual}: {_list_names(odd)}"
    else:
        heights, widths = zip(*counts, strict=True)
        sides = f"{min(heights)} to {max(heights)} high, {min(widths)} to {max(widths)} wide"
        yield f"images have {len(counts)} sizes, {sides}"


def _list_names(names: Iterable[str], limit: int = 10) -> str:
    names = list(names)
    return ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")


def _check_images(manifest: Manifest, project: Project, jobs: int | None) -> tuple[list[CheckedImage], int, list[str]]:
    """Checks what is not on record; returns (records of all that is whole, number taken from the record, faults)."""
    dataset, samples = manifest.dataset, {"train": manifest.train, "test": manifest.test}
    has_csv = _find_csv_beside_files(project, dataset) is not None
    rles = read_masks_csv(project.input_dir, dataset) or {} if has_csv else {}
    stamps = {split: stamp_samples(project, samples[split], dataset) for split in samples}
    known = {
        (record.split, record.id): record
        for record in _read_records(project)
        if stamps.get(record.split, {}).get(record.id) == record.stamp
    }
    num_known, faults = len(known), []
    images = [(split, sample, stamps[split][sample.id]) for split in samples for sample in samples[split]]
    todo = [image for image in images if (image[0], image[1].id) not in known]
    with_rles = [(*image, rles.get(image[1].id) if image[0] == "train" else None) for image in todo]
    chunks = [with_rles[start : start + CHUNK_SIZE] for start in range(0, len(todo), CHUNK_SIZE)]
    project.checked_path.parent.mkdir(parents=True, exist_ok=True)
    with project.checked_path.open("a", encoding="utf-8", newline="") as file:
        file.write("\n")  # a kill may have torn the last line; empty ones are skipped
        check_chunk = partial(_check_chunk, dataset=dataset)
        for records, chunk_faults in run_tasks(check_chunk, chunks, what="check", jobs=jobs, unit="chunk"):
            faults += chunk_faults
            known |= {(record.split, record.id): record for record in records}
            file.write(_format_records(records))
            file.flush()  # a kill loses the chunks at work, not those done
    whole = [known[split, sample.id] for split, sample, _ in images if (split, sample.id) in known]
    write_text(project.checked_path, _format_records(whole))
    return whole, num_known, faults


def _find_csv_beside_files(project: Project, dataset: DatasetConfig) -> Path | None:
    """Returns the csv that says once more what mask files say; None where there is none such."""
    source = dataset.source
    if not isinstance(source, PatternSource) or source.masks is None or source.masks_csv is None:
        return None
    return find_file(project.input_dir, source.masks_csv.path)


def _check_chunk(chunk: Sequence[_Image], dataset: DatasetConfig) -> tuple[list[CheckedImage], list[str]]:
    """Checks one sample after another; returns (records of those without fault, all faults)."""
    records, faults = [], []
    for split, sample, stamp, rles in chunk:
        size_hw, share, sample_faults = check_sample(sample, dataset, rles)
        faults += sample_faults
        if size_hw is not None and not sample_faults:
            about = {"split": split, "id": sample.id, "digest": sample.image_hash, "stamp": stamp}
            records.append(CheckedImage(size_hw=size_hw, share=share, **about))
    return records, faults


def _collect(read: Callable[[], T], faults: list[str]) -> T | None:
    """Returns what `read` returns, or None and its error in `faults`."""
    try:
        return read()
    except InputError as error:
        faults.append(str(error))
        return None


def _count_differences(mask: npt.NDArray[np.uint8], rles: Sequence[str], dataset: DatasetConfig) -> int:
    """Counts the pixels in which a mask and its run lengths differ, but for ignored ones, which no csv knows."""
    source = dataset.source
    order = source.masks_csv.order if isinstance(source, PatternSource) and source.masks_csv else "row"
    height, width = mask.shape[:2]
    num_differing = 0
    for index, rle in enumerate(rles):
        layer = mask[..., index] if mask.ndim == 3 else np.where(mask == IGNORE, np.uint8(IGNORE), mask == index + 1)
        said = decode_rle(rle, (height, width), order)
        num_differing += int(np.count_nonzero((layer != said) & (layer != IGNORE)))
    return num_differing


def _name_row(dataset: DatasetConfig, id_: str, class_name: str) -> str:
    form = dataset.submission
    cell = image_cell(form, dataset.classes, id_, class_name)
    return f"{cell}, {class_cell(form, dataset.classes, class_name)}" if form.class_column else cell


def _format_records(records: Iterable[CheckedImage]) -> str:
    """Writes `split,id,height,width,share,digest,stamp` lines; the id alone may hold commas."""
    return "".join(
        f"{r.split},{r.id},{r.size_hw[0]},{r.size_hw[1]},{'' if r.share is None else r.share},{r.digest},{r.stamp}\n"
        for r in records
    )


def _read_records(project: Project) -> Iterator[CheckedImage]:
    """Yields the record of each line that is whole; the inverse of `_format_records`."""
    if not project.checked_path.is_file():
        return
    with project.checked_path.open(encoding="utf-8", errors="replace", newline="\n") as file:
        for line in file:
            try:
                split, rest = line.rstrip("\n").split(",", 1)
                id_, height, width, share, digest, stamp = rest.rsplit(",", 5)
                size_hw = (int(height), int(width))
                share_or_none = float(share) if share else None
            except ValueError:
                continue  # torn by a kill: that image is looked at again
            yield CheckedImage(split=split, id=id_, size_hw=size_hw, share=share_or_none, digest=digest, stamp=stamp)
