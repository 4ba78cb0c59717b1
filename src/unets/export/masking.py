"""Masks of anybody's images, by the code that makes the probability maps and masks of a submission.

Images stream: threads read and shrink ahead, the nets work in a thread, others make and write the files. Memory does
not grow with the number of images, and little with their size: threads wait while too many pixels are in work.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from threading import Condition
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from unets.data.drawing import COLORS_RGB, draw_contours
from unets.data.geometry import SizeHW
from unets.data.image import ImageFile, ImageKind
from unets.ensemble.postprocess import ClassMask, blur
from unets.ensemble.recipe import Recipe, average_maps, cut_map
from unets.errors import InputError
from unets.export.card import ModelCard
from unets.export.cutout import cut_out, find_opacity
from unets.export.outputs import Note, read_note, write_cutout, write_mask, write_overlay
from unets.export.sources import ModelSource
from unets.export.tasks import Task
from unets.log import show_progress
from unets.store.runs import fingerprint, hash_file
from unets.workers.machine import count_cores
from unets.workers.pool import map_ahead

ImageU8 = npt.NDArray[np.uint8]
MapU8 = npt.NDArray[np.uint8]
T = TypeVar("T")

_RULES = 1  # raised when other pixels come of the same model and image
_PIXELS_IN_WORK = 64_000_000  # some 2 GB; an image with more is alone
_CONTOUR_SHARE = 1 / 400  # of the image's shorter side
_MAX_STRETCH = 1.15  # of one side against the other, beyond which it is mentioned


class Model(Protocol):
    """What predicts; `unets.export.trained.TrainedModel` does."""

    def predict(self, images: Sequence[Mapping[SizeHW, ImageU8]]) -> list[list[MapU8]]:
        """Returns a probability map of each member for each image, which comes at all sizes of the card."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is to be made, and by what."""

    source: ModelSource
    todo: tuple[Task, ...]
    num_kept: int  # images whose files are there
    upright: bool

    @property
    def made_by(self) -> str:
        """Fingerprint of all that decides an output but the image."""
        return _fingerprint(self.source.card, self.upright)


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """An image of which nothing was made."""

    path: Path
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What was made."""

    num_made: int
    failures: tuple[Failure, ...]
    num_stretched: int  # images of other proportions than those trained on


@dataclass(frozen=True, kw_only=True, slots=True)
class _Read:
    """An image that was read, at all sizes that nets want."""

    task: Task
    photo: ImageFile
    images: Mapping[SizeHW, ImageU8]
    note: Note


def plan_masks(source: ModelSource, tasks: Sequence[Task], *, upright: bool = True, overwrite: bool = False) -> Plan:
    """Finds what must still be made: files that are there are kept where this model made them of these very images.

    Args:
        source: the model.
        tasks: the images and their outputs.
        upright: whether images are turned as their orientation tag says.
        overwrite: whether files of others may be replaced.

    Raises:
        InputError: a file is there that this model did not make, and `overwrite` is not set.
    """
    made_by = _fingerprint(source.card, upright)

    def is_done(task: Task) -> bool:
        notes = {path: read_note(path) for path in task.outputs if path.exists()}
        foreign = {path: note for path, note in notes.items() if note is None or note.made_by != made_by}
        if foreign and not overwrite:
            path, note = next(iter(foreign.items()))
            what = "another file" if note is None else "one of another model, or of images seen in another way"
            raise InputError(
                f"{path} must not exist, or be made by this model. Received: {what}. Give another --out, or "
                f"--overwrite to replace it"
            )
        if len(notes) < len(task.outputs) or foreign or not task.image_path.is_file():
            return False
        try:
            sha256 = hash_file(task.image_path)
        except OSError:  # which is told when the image is read
            return False
        return all(note is not None and note.image_sha256 == sha256 for note in notes.values())

    workers = count_cores()
    done = map_ahead(is_done, tasks, workers=workers, ahead=3 * workers)
    shown = show_progress(done, what="look for what is there", total=len(tasks), unit="image")
    todo = tuple(task for task, is_there in zip(tasks, shown, strict=True) if not is_there)
    return Plan(source=source, todo=todo, num_kept=len(tasks) - len(todo), upright=upright)


def make_masks(plan: Plan, model: Model) -> Outcome:
    """Makes what is planned; an image that cannot be read does not keep the others from theirs.

    Where classes overlap, a pixel of several has the index of the last one in its file.

    Args:
        plan: as `plan_masks` gives it.
        model: the plan's, ready for work.

    Raises:
        OSError: a file cannot be written.
    """
    card = plan.source.card
    failures: list[Failure] = []
    budget, workers = _Budget(_PIXELS_IN_WORK), count_cores()
    batch_size = max(member.experiment.prediction.batch_size for member in card.members)
    images = map_ahead(partial(_read, plan, budget), plan.todo, workers=workers, ahead=2 * batch_size)
    shown = _sift(show_progress(images, what="mask", total=len(plan.todo), unit="image"), failures)
    batches = iter(lambda: list(islice(shown, batch_size)), [])
    predicted = map_ahead(
        lambda batch: list(zip(batch, model.predict([read.images for read in batch]), strict=True)),
        batches,
        workers=1,
        ahead=0,
    )
    finish = partial(_finish, card, budget)
    made = map_ahead(lambda pair: finish(*pair), chain.from_iterable(predicted), workers=workers, ahead=0)
    sizes = list(_sift(made, failures))
    num_stretched = sum(_is_stretched(size_hw, card) for size_hw in sizes)
    return Outcome(num_made=len(sizes), failures=tuple(failures), num_stretched=num_stretched)


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


def _read(plan: Plan, budget: _Budget, task: Task) -> _Read | Failure:
    card, path = plan.source.card, task.image_path
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path} must be a file. Received: a pipe, a socket or a device")
        kind = ImageKind(channels=card.channels, value_range=card.value_range, upright=plan.upright)
        photo = ImageFile(path, kind)
        with budget.reserve(photo.size_hw):
            images = {size_hw: photo.read(size_hw) for size_hw in card.sizes}
    except (InputError, OSError) as error:
        return Failure(path=path, reason=str(error))
    except MemoryError:
        return Failure(path=path, reason=f"{path} must fit into memory. Received: an image that does not")
    note = Note(made_by=plan.made_by, image_sha256=hashlib.sha256(photo.content).hexdigest())
    return _Read(task=task, photo=photo, images=images, note=note)


def _sift(results: Iterable[T | Failure], failures: list[Failure]) -> Iterator[T]:
    """Passes on what went well, and puts the rest into `failures`."""
    for result in results:
        if isinstance(result, Failure):
            failures.append(result)
        else:
            yield result


def _finish(card: ModelCard, budget: _Budget, read: _Read, maps: Sequence[MapU8]) -> SizeHW | Failure:
    """Makes and writes an image's files, the mask last; returns the image's size."""
    task, photo = read.task, read.photo
    try:
        with budget.reserve(photo.size_hw):
            recipe = card.find_recipe(photo.size_hw)
            probs_hwc = average_maps(recipe, maps, photo.size_hw)
            mask_hw = cut_map(recipe, probs_hwc)
            if mask_hw.ndim == 3:  # classes overlap
                mask_hw = (mask_hw * np.arange(1, len(card.classes) + 1, dtype=np.uint8)).max(axis=-1)
            image_hwc = photo.read_rgb() if task.cutout_path or task.overlay_path else None
            if task.cutout_path and image_hwc is not None:
                write_cutout(task.cutout_path, _cut_out(recipe, photo, image_hwc, probs_hwc, mask_hw), read.note)
            if task.overlay_path and image_hwc is not None:
                thickness_px = max(1, round(min(photo.size_hw) * _CONTOUR_SHARE))
                drawn = draw_contours(image_hwc, mask_hw, thickness_px=thickness_px)
                write_overlay(task.overlay_path, drawn, read.note)
            colors = [COLORS_RGB[index % len(COLORS_RGB)] for index in range(len(card.classes))]
            write_mask(task.mask_path, mask_hw, read.note, colors)
    except InputError as error:
        return Failure(path=task.image_path, reason=str(error))
    except MemoryError:
        reason = f"{task.image_path} must fit into memory. Received: {photo.size_hw[0]} x {photo.size_hw[1]} pixels"
        return Failure(path=task.image_path, reason=reason)
    return photo.size_hw


def _cut_out(
    recipe: Recipe, photo: ImageFile, image_hwc: ImageU8, probs_hwc: npt.NDArray[np.float32], mask_hw: ClassMask
) -> ImageU8:
    opacity_hw = find_opacity(blur(probs_hwc, recipe.postprocessing.blur_px), mask_hw, recipe.threshold)
    given_hw = photo.read_opacity()
    if given_hw is not None:  # what was transparent stays so
        opacity_hw *= given_hw.astype(np.float32) / 255
    return cut_out(image_hwc, opacity_hw)


def _fingerprint(card: ModelCard, upright: bool) -> str:
    return fingerprint(model=card.fingerprint, upright=upright, rules=_RULES)


def _is_stretched(full_hw: SizeHW, card: ModelCard) -> bool:
    if card.image_hw is None:
        return False
    stretch = (full_hw[0] / full_hw[1]) / (card.image_hw[0] / card.image_hw[1])
    return not 1 / _MAX_STRETCH <= stretch <= _MAX_STRETCH
