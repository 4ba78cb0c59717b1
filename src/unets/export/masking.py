"""Masks of anybody's photos, by the code that makes the maps and masks of a submission.

Photos stream: threads read and shrink ahead, the nets work in a thread, others make and write the files. Memory does
not grow with the number of photos, and little with their size: threads wait while too many pixels are in work.
"""

import hashlib
import logging
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

from unets.data.drawing import COLOURS_RGB, draw_contours
from unets.data.geometry import SizeHW
from unets.data.photo import Photo, take_colours
from unets.ensemble.postprocess import ClassMask, blur
from unets.ensemble.recipe import Recipe, average_maps, cut_map
from unets.errors import InputError
from unets.export.card import ModelCard
from unets.export.cutout import cut_out, find_opacity
from unets.export.outputs import Note, read_note, write_cutout, write_mask, write_overlay
from unets.export.photos import Task
from unets.export.sources import ModelSource
from unets.log import show_progress
from unets.store.runs import fingerprint, hash_file
from unets.workers.machine import count_cores
from unets.workers.pool import map_ahead

logger = logging.getLogger(__name__)

Image = npt.NDArray[np.uint8]
MapU8 = npt.NDArray[np.uint8]
T = TypeVar("T")

RULES = 1  # raised when other pixels come of the same model and photo
_PIXELS_IN_WORK = 64_000_000  # some 2 GB; a photo with more is alone
_CONTOUR_SHARE = 1 / 400  # of the photo's shorter side
_MAX_STRETCH = 1.15  # of one side against the other, beyond which it is mentioned


class Model(Protocol):
    """What predicts; `unets.export.trained.TrainedModel` does."""

    def predict(self, photos: Sequence[Mapping[SizeHW, Image]]) -> list[list[MapU8]]:
        """Returns a map of each member for each photo, which comes at all sizes of the card."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is to be made, and by what."""

    source: ModelSource
    todo: tuple[Task, ...]
    num_kept: int  # photos whose files are there
    upright: bool

    @property
    def made_by(self) -> str:
        """Fingerprint of all that decides an output but the photo."""
        return _fingerprint(self.source.card, self.upright)


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """A photo of which nothing was made."""

    path: Path
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What was made."""

    num_made: int
    failures: tuple[Failure, ...]
    num_stretched: int  # photos of other proportions than those trained on


@dataclass(frozen=True, kw_only=True, slots=True)
class _Seen:
    """A photo that was read, at all sizes that nets want."""

    task: Task
    photo: Photo
    images: Mapping[SizeHW, Image]
    note: Note


def plan_masks(source: ModelSource, tasks: Sequence[Task], *, upright: bool = True, overwrite: bool = False) -> Plan:
    """Finds what must still be made: files that are there are kept where this model made them of these very photos.

    Args:
        source: the model.
        tasks: the photos and their outputs.
        upright: whether photos are turned as their orientation tag says.
        overwrite: whether files of others may be replaced.

    Raises:
        InputError: a file is there that this model did not make, and `overwrite` is not set.
    """
    made_by = _fingerprint(source.card, upright)

    def is_done(task: Task) -> bool:
        notes = [read_note(path) for path in task.outputs if path.exists()]
        foreign = [note for note in notes if note is None or note.made_by != made_by]
        if foreign and not overwrite:
            path = next(path for path in task.outputs if path.exists())
            what = "another file" if foreign[0] is None else "one of another model, or of photos seen in another way"
            raise InputError(
                f"{path} must not exist, or be made by this model. Received: {what}. Give another --out, or "
                f"--overwrite to replace it"
            )
        if len(notes) < len(task.outputs) or foreign:
            return False
        try:
            sha256 = hash_file(task.photo_path)
        except OSError:  # which is told when the photo is read
            return False
        return all(note is not None and note.photo_sha256 == sha256 for note in notes)

    workers = count_cores()
    done = map_ahead(is_done, tasks, workers=workers, ahead=3 * workers)
    shown = show_progress(done, what="look for what is there", total=len(tasks), unit="photo")
    todo = tuple(task for task, is_there in zip(tasks, shown, strict=True) if not is_there)
    return Plan(source=source, todo=todo, num_kept=len(tasks) - len(todo), upright=upright)


def make_masks(plan: Plan, model: Model) -> Outcome:
    """Makes what is planned; a photo that cannot be read does not keep the others from theirs.

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
    read = partial(_read, plan, budget)
    seen = map_ahead(read, plan.todo, workers=workers, ahead=2 * batch_size)
    shown = _sift(show_progress(seen, what="mask", total=len(plan.todo), unit="photo"), failures)
    batches = iter(lambda: list(islice(shown, batch_size)), [])
    predicted = map_ahead(
        lambda batch: list(zip(batch, model.predict([seen.images for seen in batch]), strict=True)),
        batches,
        workers=1,
        ahead=0,
    )
    finish = partial(_finish, card, budget)
    made = map_ahead(lambda pair: finish(*pair), chain.from_iterable(predicted), workers=workers, ahead=0)
    num_made = num_stretched = 0
    for full_hw in _sift(made, failures):
        num_made += 1
        num_stretched += _is_stretched(full_hw, card)
    return Outcome(num_made=num_made, failures=tuple(failures), num_stretched=num_stretched)


class _Budget:
    """Lets threads hold pixels in memory up to a number of them all together; what is larger waits to be alone."""

    def __init__(self, pixels: int) -> None:
        self._limit, self._held, self._changed = pixels, 0, Condition()

    @contextmanager
    def reserve(self, size_hw: SizeHW) -> Iterator[None]:
        pixels = size_hw[0] * size_hw[1]
        with self._changed:
            self._changed.wait_for(lambda: self._held == 0 or self._held + pixels <= self._limit)
            self._held += pixels
        try:
            yield
        finally:
            with self._changed:
                self._held -= pixels
                self._changed.notify_all()


def _read(plan: Plan, budget: _Budget, task: Task) -> _Seen | Failure:
    card = plan.source.card
    try:
        photo = Photo(task.photo_path, upright=plan.upright, value_range=card.value_range)
        with budget.reserve(photo.size_hw):
            images = {size_hw: take_colours(photo.read(size_hw), card.channels) for size_hw in card.sizes}
    except (InputError, OSError) as error:
        return Failure(path=task.photo_path, reason=str(error))
    note = Note(made_by=plan.made_by, photo_sha256=hashlib.sha256(photo.content).hexdigest())
    return _Seen(task=task, photo=photo, images=images, note=note)


def _sift(results: Iterable[T | Failure], failures: list[Failure]) -> Iterator[T]:
    """Passes on what went well, and puts the rest into `failures`."""
    for result in results:
        if isinstance(result, Failure):
            failures.append(result)
        else:
            yield result


def _finish(card: ModelCard, budget: _Budget, seen: _Seen, maps: Sequence[MapU8]) -> SizeHW | Failure:
    """Makes and writes a photo's files, the mask last; returns the photo's size."""
    task, photo, note = seen.task, seen.photo, seen.note
    colours = [COLOURS_RGB[index % len(COLOURS_RGB)] for index in range(len(card.classes))]
    with budget.reserve(photo.size_hw):
        recipe = card.find_recipe(photo.size_hw)
        probs_hwc = average_maps(recipe, maps, photo.size_hw)
        mask_hw = cut_map(recipe, probs_hwc)
        if task.cutout_path or task.overlay_path:
            try:
                image_hwc = photo.read()
            except InputError as error:
                return Failure(path=task.photo_path, reason=str(error))
        if task.cutout_path:
            write_cutout(task.cutout_path, _cut_out(recipe, photo, image_hwc, probs_hwc, mask_hw), note)
        if task.overlay_path:
            thickness_px = max(1, round(min(photo.size_hw) * _CONTOUR_SHARE))
            write_overlay(task.overlay_path, draw_contours(image_hwc, mask_hw, thickness_px=thickness_px), note)
        write_mask(task.mask_path, mask_hw, note, colours)
    return photo.size_hw


def _cut_out(
    recipe: Recipe, photo: Photo, image_hwc: Image, probs_hwc: npt.NDArray[np.float32], mask_hw: ClassMask
) -> Image:
    cut_hwc = blur(probs_hwc, recipe.postprocessing.blur_px)
    opacity_hw = find_opacity(cut_hwc, mask_hw, recipe.threshold)
    given_hw = photo.read_opacity()
    if given_hw is not None:  # what was transparent stays so
        opacity_hw *= given_hw.astype(np.float32) / 255
    return cut_out(image_hwc, opacity_hw)


def _fingerprint(card: ModelCard, upright: bool) -> str:
    return fingerprint(model=card.fingerprint, upright=upright, rules=RULES)


def _is_stretched(full_hw: SizeHW, card: ModelCard) -> bool:
    if card.photo_hw is None:
        return False
    stretch = (full_hw[0] / full_hw[1]) / (card.photo_hw[0] / card.photo_hw[1])
    return not 1 / _MAX_STRETCH <= stretch <= _MAX_STRETCH
