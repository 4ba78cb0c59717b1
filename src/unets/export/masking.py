"""Masks of anybody's images, by the code that makes the probability maps and masks of a submission.

Images stream: threads read and shrink ahead, the nets work in a thread, others make and write the files. Memory does
not grow with the number of images, and little with their size: threads wait while too many pixels are in work.
"""

import hashlib
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Condition
from typing import Any

import numpy as np
import numpy.typing as npt

from unets.data.geometry import SizeHW
from unets.data.image import ImageFile
from unets.ensemble.recipe import MapU8
from unets.errors import InputError, suggest
from unets.export.card import ModelCard
from unets.export.labels import FORMATS, SUFFIXES, write_labels
from unets.export.model import TrainedModel, find_result
from unets.export.outputs import Note, Task, plan_tasks, read_note, save_picture
from unets.export.pictures import CUTOUT, OVERLAY, list_masks, render
from unets.log import format_count, show_progress
from unets.nets.startup import load_backend
from unets.store.runs import atomic_path, fingerprint, hash_file
from unets.workers.machine import count_cores
from unets.workers.pool import map_ahead

PIPE = Path("-")  # stdin or stdout
_RULES = 1  # raised when other pixels come of the same model and image
_PIXELS_IN_WORK = 64_000_000  # some 2 GB; an image with more is alone
_NAMED = 10  # images that a summary names
_MAX_STRETCH = 1.15  # of one side against the other, beyond which it is mentioned


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What is to be made of images, beside masks, and how.

    Raises InputError where `background` or `labels` is unknown.
    """

    cutout: bool = False  # the objects alone, all else transparent
    overlay: bool = False  # the image with the contours of the mask
    background: str = ""  # what the objects are laid on: `white`, `blur`, a color as `#ff8800`
    labels: str = ""  # of `unets.export.labels.FORMATS`
    upright: bool = True  # images are turned as their orientation tag says
    overwrite: bool = False  # files of others are replaced

    def __post_init__(self) -> None:
        """Checks the fields."""
        if self.background and not re.fullmatch(r"white|blur|#[0-9a-f]{6}", self.background.lower()):
            raise InputError(f"`--background` must be white, blur or a color as #ff8800. Received: {self.background}")
        if self.labels and self.labels not in FORMATS:
            hint = suggest(self.labels, FORMATS)
            raise InputError(f"`--format` must be png, {', '.join(FORMATS)}. Received: {self.labels}{hint}")

    @property
    def pictures(self) -> tuple[str, ...]:
        """The endings of the pictures of an image."""
        ground = self.background.lower().removeprefix("#")
        wanted = {CUTOUT: self.cutout, OVERLAY: self.overlay, f"_{ground}.jpg": ground}
        return tuple(ending for ending, is_wanted in wanted.items() if is_wanted)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of images."""

    card: ModelCard
    masked: Mapping[Task, Note]  # whose files are there now, in the order of the images
    failures: Mapping[Path, str]  # why nothing was made of an image
    num_kept: int  # of `masked`, those whose files had been there

    def describe(self) -> list[dict[str, Any]]:
        """Returns what was found in each image, for JSON."""
        return [
            {
                "image": str(task.image_path),
                "height": note.size_hw[0],
                "width": note.size_hw[1],
                "area": note.area,
                "confidence": note.confidence,
                "unusual": self.card.find_unusual(note.area, note.confidence) or None,
                "files": [str(path) for path in task.outputs],
            }
            for task, note in self.masked.items()
        ]

    def list_warnings(self) -> list[str]:
        """Says which images failed, which are unlike those of training, and how many are of other proportions."""
        unusual = [(found["image"], found["unusual"]) for found in self.describe() if found["unusual"]]
        lines = [f"no mask: {reason}" for reason in self.failures.values()]
        lines += [f"unlike the images of training: {image}: {what}" for image, what in unusual[:_NAMED]]
        if len(unusual) > _NAMED:
            lines.append(f"{len(unusual) - _NAMED} more images are unlike those of training; --json names them all")
        if self.card.image_hw is not None:
            height, width = self.card.image_hw
            stretches = [note.size_hw[0] / note.size_hw[1] * width / height for note in self.masked.values()]
            if count := sum(not 1 / _MAX_STRETCH <= stretch <= _MAX_STRETCH for stretch in stretches):
                lines.append(
                    f"{format_count(count, 'image')} of other proportions than the {height} x {width} that the model "
                    f"was trained on: nets saw them stretched"
                )
        return lines


def mask_folder(
    model: TrainedModel, given: Sequence[Path], out_dir: Path, wanted: Wanted, start: Callable[[], None] = load_backend
) -> Outcome:
    """Makes masks, and what else is wanted, of images and folders of them.

    Files that are there are kept where this model made them of these very images. An image that cannot be read does not
    keep the others from theirs. `start` loads Keras; it is called after all that may be mistyped, and only where a mask
    is missing. Raises InputError where `plan_tasks` or `write_labels` does, or a file is there that this model did not
    make, and is not to be replaced; OSError where a file cannot be written.
    """
    card, work, cores = model.card, _Work(model, wanted), count_cores()
    masks = list_masks(card.classes, overlapping=card.recipe.overlapping)
    tasks = plan_tasks(given, out_dir, wanted.pictures, masks)
    kept = map_ahead(work.find_kept, tasks, workers=cores, ahead=3 * cores)
    shown = show_progress(kept, what="look for what is there", total=len(tasks), unit="image")
    notes = {task: note for task, note in zip(tasks, shown, strict=True) if note is not None}
    num_kept = len(notes)
    if todo := [task for task in tasks if task not in notes]:
        start()
        notes |= {task: note for task, note in zip(todo, work.make(todo), strict=True) if note is not None}
    masked = {task: notes[task] for task in tasks if task in notes}
    failures = {task.image_path: work.failures[task] for task in tasks if task not in notes}
    if wanted.labels:
        write_labels(FORMATS[wanted.labels](masked, card.classes, out_dir), out_dir, overwrite=wanted.overwrite)
    return Outcome(card=card, masked=masked, failures=failures, num_kept=num_kept)


def mask_file(
    model: TrainedModel, image: Path, out: Path, wanted: Wanted, start: Callable[[], None] = load_backend
) -> Outcome:
    """Makes one file of one image, its mask, or else the one thing that is wanted; see `mask_folder`.

    Both may be `-`: stdin and stdout. Raises InputError where the image cannot be read, several files would have to be
    made, or `out` is a file of others.
    """
    card, num_wanted = model.card, len(wanted.pictures) + bool(wanted.labels)
    if num_wanted > 1 or (num_wanted == 0 and card.recipe.overlapping and len(card.classes) > 1):
        raise InputError(
            "`--out` must be a folder where several files are made of an image (cut-out, overlay, background, format, "
            "or masks of classes that overlap). Received: one file"
        )
    suffix = SUFFIXES[wanted.labels] if wanted.labels else Path(*wanted.pictures).suffix or ".png"
    if out != PIPE and out.suffix.lower().replace("jpeg", "jpg") != suffix:
        raise InputError(f"`--out` must end in {suffix}, as what is made, or be a folder that exists. Received: {out}")
    is_foreign = out != PIPE and out.exists() and not wanted.overwrite and read_note(out) is None
    foreign = InputError(f"{out} must not exist, or be a mask of ours. Received: another file. --overwrite replaces it")
    if is_foreign and not wanted.labels:
        raise foreign  # before a large image is predicted
    with TemporaryDirectory() as temporary:
        path = Path(temporary) / "stdin" if image == PIPE else image
        if image == PIPE:
            path.write_bytes(sys.stdin.buffer.read())
        outcome = mask_folder(model, [path], Path(temporary) / "out", replace(wanted, labels=""), start)
        for reason in outcome.failures.values():
            raise InputError(reason.replace(f"{temporary}/", ""))
        ((task, note),) = outcome.masked.items()
        content = task.outputs[0].read_bytes()
        if wanted.labels:
            _, text = next(FORMATS[wanted.labels]({task: note}, card.classes, out.parent))
            content = text.encode()
    if out == PIPE:
        sys.stdout.buffer.write(content)
    elif is_foreign and out.read_bytes() != content:  # labels have no note of what made them
        raise foreign
    else:
        with atomic_path(out) as part:
            part.write_bytes(content)
    return replace(outcome, masked={replace(task, image_path=image, pictures=(out,), masks=()): note})


@dataclass(kw_only=True, slots=True)
class _Item:
    """An image under way."""

    task: Task
    photo: ImageFile | None = None
    images: Mapping[SizeHW, npt.NDArray[np.uint8]] | None = None  # at all sizes that nets want, until they saw it
    maps: Sequence[MapU8] = ()


class _Work:
    """What is done to each image."""

    def __init__(self, model: TrainedModel, wanted: Wanted) -> None:
        self._model, self._card, self._wanted = model, model.card, wanted
        # Of all that decides an output but the image.
        self._made_by = fingerprint(model=self._card.fingerprint, upright=wanted.upright, rules=_RULES)
        self._pixels, self._changed = 0, Condition()
        self.failures: dict[Task, str] = {}  # why nothing was made of an image

    def find_kept(self, task: Task) -> Note | None:
        """Returns the note of an image's files, where all of them are there and are what would be made."""
        notes = {path: read_note(path) for path in task.outputs if path.exists()}
        foreign = [path for path, note in notes.items() if note is None or note.made_by != self._made_by]
        if foreign and not self._wanted.overwrite:
            is_ours = notes[foreign[0]] is not None
            what = "one of another model, or of images seen in another way" if is_ours else "another file"
            raise InputError(
                f"{foreign[0]} must not exist, or be made by this model. Received: {what}. Give another --out, or "
                f"--overwrite to replace it"
            )
        if len(notes) < len(task.outputs) or foreign or len(set(notes.values())) > 1 or not task.image_path.is_file():
            return None
        note = notes[task.masks[0]]
        return note if note is not None and note.image_sha256 == hash_file(task.image_path) else None

    def make(self, tasks: Sequence[Task]) -> Iterator[Note | None]:
        """Makes the files of images; yields their notes in their order, None of those that fail."""
        cores, batch_size = count_cores(), max(one.experiment.prediction.batch_size for one in self._card.members)
        read = map_ahead(self._read, tasks, workers=cores, ahead=2 * batch_size)
        shown = show_progress(read, what="mask", total=len(tasks), unit="image")
        batches = iter(lambda: list(islice(shown, batch_size)), [])
        predicted = map_ahead(self._predict, batches, workers=1, ahead=0)
        yield from map_ahead(self._finish, chain.from_iterable(predicted), workers=cores, ahead=0)

    def _read(self, task: Task) -> _Item:
        item = _Item(task=task)
        with self._note_failure(item):
            photo = ImageFile(task.image_path, self._card.find_kind(upright=self._wanted.upright))
            photo.check_end()
            with self._reserve(photo.size_hw):
                item.images = {size_hw: photo.read(size_hw) for size_hw in self._card.sizes}
            item.photo = photo
        return item

    def _predict(self, items: list[_Item]) -> list[_Item]:
        read = [(item, item.images) for item in items if item.images is not None]
        found = self._model.predict([images for _, images in read]) if read else []
        for (item, _), maps in zip(read, found, strict=True):
            item.maps, item.images = maps, None
        return items

    def _finish(self, item: _Item) -> Note | None:
        """Makes and writes an image's files, the masks last."""
        if item.photo is None:
            return None
        full_hw = item.photo.size_hw
        with self._note_failure(item), self._reserve(full_hw):
            result = find_result(self._card.find_recipe(full_hw), item.maps, full_hw)
            note = Note(
                made_by=self._made_by,
                image_sha256=hashlib.sha256(item.photo.content).hexdigest(),
                size_hw=full_hw,
                area=round(result.area, 6),
                confidence=round(result.confidence, 6),
            )
            pictures = render(result, item.photo, self._wanted.pictures)
            for path, picture in zip(item.task.outputs, pictures, strict=True):
                save_picture(path, picture, note)
            return note
        return None

    @contextmanager
    def _note_failure(self, item: _Item) -> Iterator[None]:
        """Keeps what is wrong with an image from ending the work; a file that cannot be written ends it."""
        try:
            yield
        except InputError as error:
            self.failures[item.task] = str(error)
        except MemoryError:
            self.failures[item.task] = f"{item.task.image_path} must fit into memory. Received: an image that does not"

    @contextmanager
    def _reserve(self, size_hw: SizeHW) -> Iterator[None]:
        """Lets threads have so many pixels in memory, all together; an image that is larger waits to be alone."""
        pixels = size_hw[0] * size_hw[1]
        with self._changed:
            self._changed.wait_for(lambda: self._pixels == 0 or self._pixels + pixels <= _PIXELS_IN_WORK)
            self._pixels += pixels
        try:
            yield
        finally:
            with self._changed:
                self._pixels -= pixels
                self._changed.notify_all()
