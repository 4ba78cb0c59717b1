"""Masks of anybody's images, by the code that makes the probability maps and masks of a submission.

Images stream: threads read and shrink ahead, the nets work in a thread, others make and write the files. Memory does
not grow with the number of images, and little with their size: threads wait while too many pixels are in work.
"""

import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Condition
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from unets.data.geometry import SizeHW
from unets.data.image import ImageFile
from unets.errors import InputError, suggest
from unets.export.card import ModelCard
from unets.export.labels import FORMATS, Labeled, write_labels
from unets.export.outputs import Note, read_layers, read_note, save_picture
from unets.export.result import Pictures, find_result, render
from unets.export.sources import ModelSource
from unets.export.tasks import Task, plan_tasks
from unets.log import show_progress
from unets.store.runs import atomic_path, fingerprint, hash_file
from unets.workers.machine import count_cores
from unets.workers.pool import map_ahead

if TYPE_CHECKING:
    from unets.export.trained import TrainedModel

ImageU8 = npt.NDArray[np.uint8]
MapU8 = npt.NDArray[np.uint8]
T = TypeVar("T")
Load = Callable[[ModelSource], "TrainedModel"]

PIPE = Path("-")  # stdin or stdout
_RULES = 1  # raised when other pixels come of the same model and image
_PIXELS_IN_WORK = 64_000_000  # some 2 GB; an image with more is alone
_NAMED = 10  # images that a summary names
_MAX_STRETCH = 1.15  # of one side against the other, beyond which it is mentioned


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What is to be made of images, and how.

    Raises:
        InputError: `labels` is unknown.
    """

    pictures: Pictures
    labels: str = ""  # of `unets.export.labels.FORMATS`; nothing where it is empty
    upright: bool = True  # images are turned as their orientation tag says
    overwrite: bool = False  # files of others are replaced

    def __post_init__(self) -> None:
        """Checks the fields."""
        if self.labels and self.labels not in FORMATS:
            hint = suggest(self.labels, FORMATS)
            raise InputError(f"`--format` must be png, {', '.join(FORMATS)}. Received: {self.labels}{hint}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """An image of which nothing was made."""

    path: Path
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Masked:
    """An image whose files are there."""

    task: Task
    note: Note

    def describe(self, card: ModelCard) -> dict[str, Any]:
        """Returns what was found, for JSON."""
        return {
            "image": str(self.task.image_path),
            "height": self.note.size_hw[0],
            "width": self.note.size_hw[1],
            "area": self.note.area,
            "confidence": self.note.confidence,
            "unusual": card.find_unusual(self.note.area, self.note.confidence) or None,
            "files": [str(path) for path in self.task.outputs],
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of images."""

    masked: tuple[Masked, ...]  # whose files are there now, in the order of the images
    failures: tuple[Failure, ...]
    num_kept: int  # of `masked`, those whose files had been there

    def list_warnings(self, card: ModelCard) -> list[str]:
        """Says which images failed, which are unlike those of training, and how many are of other proportions."""
        lines = [f"no mask: {failure.reason}" for failure in self.failures]
        unusual = {one.task.image_path: card.find_unusual(one.note.area, one.note.confidence) for one in self.masked}
        named = [f"unlike the images of training: {path}: {reason}" for path, reason in unusual.items() if reason]
        lines += named[:_NAMED]
        if len(named) > _NAMED:
            lines.append(f"{len(named) - _NAMED} more images are unlike those of training; --json names them all")
        if num_stretched := sum(_is_stretched(card, one.note.size_hw) for one in self.masked):
            height, width = card.image_hw or (0, 0)
            lines.append(
                f"{num_stretched} images have other proportions than the {height} x {width} that the model was trained "
                f"on; nets saw them stretched"
            )
        return lines


def mask_folder(source: ModelSource, given: Sequence[Path], out_dir: Path, wanted: Wanted, load: Load) -> Outcome:
    """Makes masks, and what else is wanted, of images and folders of them.

    Files that are there are kept where this model made them of these very images. An image that cannot be read does not
    keep the others from theirs.

    Args:
        source: the model.
        given: see `plan_tasks`.
        out_dir: where files go.
        wanted: what is made.
        load: makes the model ready for work; called after all that may be mistyped, and only where a mask is missing.

    Raises:
        InputError: see `plan_tasks` and `write_labels`; or a file is there that this model did not make, and is not to
            be replaced.
        OSError: a file cannot be written.
    """
    card = source.card
    endings = wanted.pictures.list_endings(card.classes, overlapping=card.recipe.overlapping)
    tasks = plan_tasks(given, out_dir, endings)
    made_by = fingerprint(model=card.fingerprint, upright=wanted.upright, rules=_RULES)
    work = _Work(card=card, endings=endings, wanted=wanted, made_by=made_by, budget=_Budget(_PIXELS_IN_WORK))
    cores = count_cores()
    kept = map_ahead(work.find_kept, tasks, workers=cores, ahead=3 * cores)
    shown = show_progress(kept, what="look for what is there", total=len(tasks), unit="image")
    notes = {task: note for task, note in zip(tasks, shown, strict=True) if note is not None}
    num_kept, failures = len(notes), list[Failure]()
    if todo := [task for task in tasks if task not in notes]:
        for made in work.make(load(source), todo):
            if isinstance(made, Masked):
                notes[made.task] = made.note
            else:
                failures.append(made)
    masked = [Masked(task=task, note=notes[task]) for task in tasks if task in notes]
    if wanted.labels:
        files = FORMATS[wanted.labels](list_labeled(card, masked), card.classes, out_dir)
        write_labels(files, out_dir, overwrite=wanted.overwrite)
    return Outcome(masked=tuple(masked), failures=tuple(failures), num_kept=num_kept)


def mask_file(source: ModelSource, image: Path, out: Path, wanted: Wanted, load: Load) -> Outcome:
    """Makes one file of one image: its mask, or else the one thing that is wanted.

    Args:
        source: the model.
        image: a file, or `-` for stdin.
        out: a file, or `-` for stdout.
        wanted: one thing at most.
        load: see `mask_folder`.

    Raises:
        InputError: the image cannot be read, several files would have to be made, or `out` is a file of others.
    """
    card, pictures = source.card, wanted.pictures
    num_wanted = sum(map(bool, (pictures.cutout, pictures.overlay, pictures.background, wanted.labels)))
    if num_wanted > 1 or (num_wanted == 0 and card.recipe.overlapping and len(card.classes) > 1):
        raise InputError(
            "`--out` must be a folder where several files are made of an image (cut-out, overlay, background, format, "
            "or masks of classes that overlap). Received: one file"
        )
    with TemporaryDirectory() as temporary:
        path = Path(temporary) / "stdin" if image == PIPE else image
        if image == PIPE:
            path.write_bytes(sys.stdin.buffer.read())
        outcome = mask_folder(source, [path], Path(temporary) / "out", replace(wanted, labels=""), load)
        for failure in outcome.failures:
            raise InputError(failure.reason.replace(f"{temporary}/", ""))
        (masked,) = outcome.masked
        if wanted.labels:
            folder = Path() if out == PIPE else out.parent
            name, text = next(FORMATS[wanted.labels](list_labeled(card, [masked]), card.classes, folder))
            content, suffix = text.encode(), Path(name).suffix
        else:
            content, suffix = masked.task.outputs[0].read_bytes(), masked.task.outputs[0].suffix
    if out == PIPE:
        sys.stdout.buffer.write(content)
    elif out.suffix.lower().replace("jpeg", "jpg") != suffix:
        raise InputError(f"`--out` must end in {suffix}, as what is made, or be a folder that exists. Received: {out}")
    elif out.exists() and not wanted.overwrite and out.read_bytes() != content and read_note(out) is None:
        raise InputError(f"{out} must not exist, or be a mask of ours. Received: another file. --overwrite replaces it")
    else:
        with atomic_path(out) as part:
            part.write_bytes(content)
    return replace(outcome, masked=(replace(masked, task=replace(masked.task, image_path=image, outputs=(out,))),))


def list_labeled(card: ModelCard, masked: Iterable[Masked]) -> list[Labeled]:
    """Returns images with the way to their masks, as `unets.export.labels` takes them."""
    num_masks = len(card.classes) if card.recipe.overlapping else 1
    return [
        Labeled(
            image_path=one.task.image_path,
            place=one.task.place,
            size_hw=one.note.size_hw,
            read_layers=partial(read_layers, one.task.outputs[-num_masks:], len(card.classes)),
        )
        for one in masked
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Read:
    """An image that was read, at all sizes that nets want."""

    task: Task
    photo: ImageFile
    images: Mapping[SizeHW, ImageU8]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Work:
    """What is done to each image."""

    card: ModelCard
    endings: Sequence[str]  # of each task's outputs
    wanted: Wanted
    made_by: str  # fingerprint of all that decides an output but the image
    budget: "_Budget"

    def find_kept(self, task: Task) -> Note | None:
        """Returns the note of an image's files, where all of them are there and are what would be made."""
        notes = {path: read_note(path) for path in task.outputs if path.exists()}
        foreign = {path: note for path, note in notes.items() if note is None or note.made_by != self.made_by}
        if foreign and not self.wanted.overwrite:
            path, note = next(iter(foreign.items()))
            what = "another file" if note is None else "one of another model, or of images seen in another way"
            raise InputError(
                f"{path} must not exist, or be made by this model. Received: {what}. Give another --out, or "
                f"--overwrite to replace it"
            )
        distinct = set(notes.values())
        if len(notes) < len(task.outputs) or foreign or len(distinct) > 1 or not task.image_path.is_file():
            return None
        (note,) = distinct
        return note if note is not None and note.image_sha256 == hash_file(task.image_path) else None

    def make(self, model: "TrainedModel", tasks: Sequence[Task]) -> Iterator[Masked | Failure]:
        """Makes the files of images, in their order."""
        cores, batch_size = count_cores(), max(one.experiment.prediction.batch_size for one in self.card.members)

        def predict(batch: list[_Read | Failure]) -> list[tuple[_Read | Failure, Sequence[MapU8]]]:
            reads = [one for one in batch if isinstance(one, _Read)]
            maps = iter(model.predict([read.images for read in reads]) if reads else [])
            return [(one, next(maps) if isinstance(one, _Read) else ()) for one in batch]

        read = map_ahead(self.read, tasks, workers=cores, ahead=2 * batch_size)
        shown = show_progress(read, what="mask", total=len(tasks), unit="image")
        batches = iter(lambda: list(islice(shown, batch_size)), [])
        predicted = chain.from_iterable(map_ahead(predict, batches, workers=1, ahead=0))
        yield from map_ahead(lambda pair: self.finish(*pair), predicted, workers=cores, ahead=0)

    def read(self, task: Task) -> _Read | Failure:
        """Reads an image."""
        path = task.image_path
        try:
            photo = ImageFile(path, self.card.find_kind(upright=self.wanted.upright))
            with self.budget.reserve(photo.size_hw):
                images = {size_hw: photo.read(size_hw) for size_hw in self.card.sizes}
        except (InputError, OSError) as error:
            return Failure(path=path, reason=str(error))
        except MemoryError:
            return Failure(path=path, reason=f"{path} must fit into memory. Received: an image that does not")
        return _Read(task=task, photo=photo, images=images)

    def finish(self, read: _Read | Failure, maps: Sequence[MapU8]) -> Masked | Failure:
        """Makes and writes an image's files, the masks last."""
        if isinstance(read, Failure):
            return read
        task, photo = read.task, read.photo
        try:
            with self.budget.reserve(photo.size_hw):
                result = find_result(self.card.find_recipe(photo.size_hw), maps, photo.size_hw)
                note = Note(
                    made_by=self.made_by,
                    image_sha256=hashlib.sha256(photo.content).hexdigest(),
                    size_hw=photo.size_hw,
                    area=round(result.area, 6),
                    confidence=round(result.confidence, 6),
                )
                for path, picture in zip(task.outputs, render(result, photo, self.endings), strict=True):
                    save_picture(path, picture, note)
        except InputError as error:
            return Failure(path=task.image_path, reason=str(error))
        except MemoryError:
            size = f"{photo.size_hw[0]} x {photo.size_hw[1]} pixels"
            return Failure(path=task.image_path, reason=f"{task.image_path} must fit into memory. Received: {size}")
        return Masked(task=task, note=note)


class _Budget:
    """Lets threads have pixels in memory up to a number of them all together; what is larger waits to be alone."""

    def __init__(self, pixels: int) -> None:
        self._limit, self._taken, self._changed = pixels, 0, Condition()

    @contextmanager
    def reserve(self, size_hw: SizeHW) -> Iterator[None]:
        pixels = size_hw[0] * size_hw[1]
        with self._changed:
            self._changed.wait_for(lambda: self._taken == 0 or self._taken + pixels <= self._limit)
            self._taken += pixels
        try:
            yield
        finally:
            with self._changed:
                self._taken -= pixels
                self._changed.notify_all()


def _is_stretched(card: ModelCard, full_hw: SizeHW) -> bool:
    """Tells whether an image has other proportions than those that the model was trained on."""
    if card.image_hw is None:
        return False
    stretch = (full_hw[0] / full_hw[1]) / (card.image_hw[0] / card.image_hw[1])
    return not 1 / _MAX_STRETCH <= stretch <= _MAX_STRETCH
