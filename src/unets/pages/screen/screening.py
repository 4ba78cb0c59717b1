"""Screens the test set: measures every photo, orders them by oddness, writes a page and a csv."""

import csv
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path

import numpy as np

from unets.config import DatasetConfig
from unets.data.drawing import draw_contours, tint
from unets.data.geometry import SizeHW
from unets.data.io import encode_jpeg
from unets.data.samples import Sample, read_full_size, read_image
from unets.dataset.folds import measure_shares
from unets.dataset.manifest import read_manifest
from unets.ensemble.agreement import blend_small
from unets.ensemble.ensemble import Ensemble, read_ensemble
from unets.ensemble.recipe import Recipe, make_mask
from unets.errors import InputError
from unets.pages.screen.figures import ScreenTask, find_uncertain, measure_photos
from unets.pages.screen.oddness import OddPhotos, judge_photos
from unets.pages.screen.page import Picture, render_page
from unets.prediction.maps import MapReader, split_shards
from unets.store.paths import Project
from unets.store.provenance import describe_origin
from unets.store.runs import write_text
from unets.submission.submission import open_members
from unets.workers.pool import run_tasks

logger = logging.getLogger(__name__)

TINT_RGB = (255, 0, 144)  # pink: of no car, and far from the contours' colours
_CHUNK = 32  # photos a task
_PICTURE_WIDTH = 720


@dataclass(frozen=True, kw_only=True, slots=True)
class Screening:
    """What was found."""

    page_path: Path
    csv_path: Path
    samples: tuple[Sample, ...]
    odd: OddPhotos


def screen_test(
    project: Project,
    dataset: DatasetConfig,
    *,
    ensemble_name: str = "ensemble",
    top: int = 60,
    jobs: int | None = None,
) -> Screening:
    """Looks at every test photo as the ensemble sees it; needs no truth.

    Writes `screen/index.html`, which holds the pictures of the oddest and opens from disk, and `screen/photos.csv`,
    which has the figures of all. Maps stream through workers; what stays is a few figures a photo.

    Args:
        project: the folders.
        dataset: the dataset's declaration.
        ensemble_name: whose masks are looked at.
        top: how many photos are shown.
        jobs: worker processes; None is one a core.

    Raises:
        InputError: there is no ensemble, its members' test maps are missing, damaged or not those it was fitted on.
    """
    if top < 1:
        raise InputError(f"`TOP` must be at least 1. Received: {top}")
    ensemble = read_ensemble(project, ensemble_name)
    readers = open_members(project, ensemble, dataset)
    manifest = read_manifest(project, dataset)
    recipe, samples = ensemble.recipe, manifest.test
    if not samples:
        raise InputError(f"{project.input_dir} must have test images for a screening. Received: none")
    chunks = split_shards(samples, _CHUNK)
    tasks = (_select(readers, chunk) for chunk in chunks)  # as they are needed: each carries the way to its own maps
    measure, total = partial(measure_photos, recipe, dataset), len(chunks)
    measured = np.concatenate(list(run_tasks(measure, tasks, what="screen", jobs=jobs, total=total, unit="chunk")))
    shares = list(measure_shares(project, manifest, jobs=jobs).values())
    groups, views = [sample.group for sample in samples], [sample.view for sample in samples]
    odd = judge_photos(measured, groups, views, shares)
    shown = [int(index) for index in odd.order[:top]]
    drawn = [_select(readers, [samples[index]]) for index in shown]
    jpegs = run_tasks(partial(_draw, recipe, dataset), drawn, what="pictures", jobs=jobs, unit="photo")
    pictures = [Picture(index=index, jpeg=jpeg) for index, jpeg in zip(shown, jpegs, strict=True)]
    folder = project.screen_dir(ensemble_name)
    csv_path, page_path = folder / "photos.csv", folder / "index.html"
    write_text(csv_path, _write_csv(samples, odd))
    write_text(page_path, render_page(_describe(project, ensemble), samples, odd, pictures, shares))
    logger.info("%s: %d photos, the %d oddest with pictures", page_path, len(samples), len(pictures))
    return Screening(page_path=page_path, csv_path=csv_path, samples=samples, odd=odd)


def _select(readers: Sequence[MapReader], samples: Sequence[Sample]) -> ScreenTask:
    ids = [sample.id for sample in samples]
    return ScreenTask(samples=tuple(samples), readers=tuple(reader.select(ids) for reader in readers))


def _draw(recipe: Recipe, dataset: DatasetConfig, task: ScreenTask) -> bytes:
    """Draws one photo with the mask's contours, and in pink what is uncertain; returns a JPEG."""
    (sample,) = task.samples
    full_hw = read_full_size(sample, dataset)
    maps = [reader.read_map(sample.id) for reader in task.readers]
    width = min(_PICTURE_WIDTH, full_hw[1])
    size_hw: SizeHW = (max(round(full_hw[0] * width / full_hw[1]), 1), width)
    uncertain_hw = find_uncertain(blend_small(maps, recipe))
    tinted = tint(read_image(sample, size_hw), uncertain_hw, colour_rgb=TINT_RGB)
    return encode_jpeg(draw_contours(tinted, make_mask(recipe, maps, full_hw)))


def _write_csv(samples: Sequence[Sample], odd: OddPhotos) -> str:
    """Writes a row a photo, the oddest first: what makes it odd, its figures, and each one's distance."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = list(odd.values)
    writer.writerow(["id", "group", "view", "oddness", "reasons", *names, *(f"{name}_distance" for name in names)])
    for index in odd.order.tolist():
        sample = samples[index]
        figures = [*(odd.values[name][index] for name in names), *(odd.distances[name][index] for name in names)]
        cells = ["" if np.isnan(value) else f"{value:.6g}" for value in figures]
        reasons = " ".join(odd.list_reasons(index))
        writer.writerow([sample.id, sample.group, sample.view or "", f"{odd.oddness[index]:.3f}", reasons, *cells])
    return text.getvalue()


def _describe(project: Project, ensemble: Ensemble) -> dict[str, str]:
    """Returns what the page says of its origin."""
    origin = describe_origin(project.configs_dir)
    return {
        "competition": project.competition,
        "members": ", ".join(f"{member.experiment} ({member.weight:.3g})" for member in ensemble.used_members),
        "threshold": f"{ensemble.threshold:g}",
        "date": str(origin["date"])[:16].replace("T", " ") + " UTC",
        "commit": str(origin["git_commit"] or "none")[:9],
    }
