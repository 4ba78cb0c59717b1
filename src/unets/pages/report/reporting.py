"""Makes the report: reads what the stages left, measures where members disagree, draws pictures, writes the page."""

import dataclasses
import hashlib
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unets.config import DatasetConfig, EnsembleConfig
from unets.dataset.manifest import read_manifest
from unets.ensemble.ensemble import Ensemble, check_ensemble, read_ensemble
from unets.errors import InputError
from unets.evaluation.contributions import list_notes, tabulate_members, tabulate_trials
from unets.evaluation.results import judge_ensemble, sum_stages
from unets.evaluation.runs import Run, list_judged, list_runs
from unets.pages.report.curves import read_curves
from unets.pages.report.ledger import Ledger, build_ledger, choose_photos
from unets.pages.report.page import Content, EnsembleContent, Picture, render_page
from unets.pages.report.pictures import Drawing, DrawTask, draw
from unets.pages.report.sources import (
    JuryTask,
    Source,
    build_ensemble_sources,
    build_experiment_sources,
    build_jury,
    measure_agreements,
    open_experiment_maps,
)
from unets.pages.report.subjects import Subject, load_subjects
from unets.prediction.maps import MapReader
from unets.store.fingerprint import SNAPSHOT
from unets.store.paths import Project
from unets.store.provenance import describe_origin
from unets.store.runs import atomic_path, read_json, write_text
from unets.workers.pool import run_tasks

logger = logging.getLogger(__name__)

Sources = dict[str, dict[int, Source]]  # by subject, then by fold
PAGE, PICTURES = "index.html", "pictures"
_CHUNK = 16  # photos a task


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What the report is asked to be about."""

    ensemble_name: str
    ensemble: EnsembleConfig
    folds_of: Mapping[str, Sequence[int]]  # of each experiment that there should be
    with_others: bool  # whether experiments count that the folder has besides
    folds: Collection[int] | None = None  # whose photos count; None: all


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What was written."""

    page_path: Path
    num_photos: int
    num_pictures: int
    notes: tuple[str, ...]  # what is missing, and the commands that make it


def write_report(
    project: Project,
    dataset: DatasetConfig,
    wish: Wish,
    *,
    top: int = 24,
    jobs: int | None = None,
    complete: Callable[[str], str] = str,
) -> Report:
    """Writes the page of what was trained and judged so far; says on it what is missing.

    Pictures come first, under names made from their bytes, so that the page that is there stays whole until the new one
    takes its place; then those that it does not show are deleted.

    Args:
        project: the folders.
        dataset: the dataset's declaration.
        wish: what it is about.
        top: photos a gallery shows.
        jobs: worker processes; None is one a core.
        complete: adds what the user works with to the commands that a text names.

    Raises:
        InputError: there is nothing to report, `top` is below 1, or photos, masks or maps cannot be read.
    """
    if top < 1:
        raise InputError(f"`TOP` must be at least 1. Received: {top}")
    runs = [run for run in list_runs(project, dataset) if wish.with_others or run.experiment in wish.folds_of]
    names = [name for name in list_judged(project) if wish.with_others or name in wish.folds_of]
    if not runs and not names:
        raise InputError(f"{project.models_dir} must hold a run. Received: none. Run `make train`")
    ensemble, notes = _find_ensemble(project, dataset, wish)
    notes = _list_missing(wish, runs, names) + notes
    subjects, left_out = load_subjects(
        project, dataset.metric, [*names, *([ensemble.name] if ensemble else [])], wish.folds
    )
    notes += left_out
    if ensemble and not any(subject.is_ensemble for subject in subjects):
        ensemble = None
    folder = project.report_dir(wish.ensemble_name)
    ledger, pictures = build_ledger([], {}), dict[int, Picture]()
    if subjects:
        ledger, pictures, more = _picture(project, dataset, subjects, ensemble, folder / PICTURES, top=top, jobs=jobs)
        notes += more
    content = Content(
        competition=project.competition,
        metric=dataset.metric,
        classes=dataset.classes,
        origin=describe_origin(project.configs_dir),
        notes=tuple(complete(note) for note in notes),
        subjects=tuple(subjects),
        ensemble=_describe_ensemble(project, ensemble, ledger) if ensemble else None,
        ledger=ledger,
        pictures=pictures,
        top=top,
        more=complete(f"`make report TOP={2 * top}`").replace("`", "") + " draws more",
        runs=tuple(runs),
        curves=read_curves(project, runs),
        configs=_read_configs(project, runs),
        # Its own time is left out: the same inputs give the same page.
        seconds={stage: spent for stage, spent in sum_stages(project.stages_path).items() if stage != "report"},
    )
    write_text(folder / PAGE, render_page(content))
    _drop_others(folder / PICTURES, pictures.values())
    logger.info("%s: %d photos, %d with pictures", folder / PAGE, len(ledger.samples), len(pictures))
    return Report(
        page_path=folder / PAGE, num_photos=len(ledger.samples), num_pictures=len(pictures), notes=content.notes
    )


def _find_ensemble(project: Project, dataset: DatasetConfig, wish: Wish) -> tuple[Ensemble | None, list[str]]:
    """Returns the ensemble that was asked for, or why there is none."""
    path = project.ensemble_path(wish.ensemble_name)
    if not path.exists():
        return None, [f"{wish.ensemble_name} is not there yet: `make ensemble` makes it"]
    try:
        ensemble = read_ensemble(project, wish.ensemble_name)
        folds = ensemble.folds if wish.folds is None else sorted(wish.folds)
        check_ensemble(ensemble, dataset, wish.ensemble, folds)
    except InputError as error:
        return None, [f"{wish.ensemble_name} is left out: {error}"]
    return ensemble, []


def _list_missing(wish: Wish, runs: Sequence[Run], judged: Collection[str]) -> list[str]:
    notes = []
    finished = {(run.experiment, run.fold) for run in runs if run.state == "finished"}
    for name, folds in wish.folds_of.items():
        missing = ",".join(str(fold) for fold in folds if (name, fold) not in finished)
        if missing:
            notes.append(f"{name} is not trained on fold {missing}: `make train EXP={name} FOLD={missing}` trains it")
    names = dict.fromkeys(name for name, _ in sorted(finished) if name not in judged)
    notes += [f"{name} was not predicted yet: `make predict EXP={name}` scores it at full size" for name in names]
    return notes


def _picture(
    project: Project,
    dataset: DatasetConfig,
    subjects: Sequence[Subject],
    ensemble: Ensemble | None,
    folder: Path,
    *,
    top: int,
    jobs: int | None,
) -> tuple[Ledger, dict[int, Picture], list[str]]:
    """Gathers the photos, measures where members disagree, and draws those that are worth it."""
    samples = read_manifest(project, dataset).train
    ledger = build_ledger(samples, {subject.name: subject.scores for subject in subjects})
    sources, notes = _open_sources(project, dataset, subjects, ensemble)
    jury = build_jury(sources, ensemble.name if ensemble else "")
    ledger = dataclasses.replace(ledger, agreement=_measure(ledger, jury, jobs))
    chosen = choose_photos(ledger, top)
    tasks = [_plan(dataset, ledger, sources, index) for index in chosen]
    drawn = run_tasks(draw, tasks, what="pictures", jobs=jobs, unit="photo")
    pictures = {index: _write(folder, drawing) for index, drawing in zip(chosen, drawn, strict=True)}
    return ledger, pictures, notes


def _open_sources(
    project: Project, dataset: DatasetConfig, subjects: Sequence[Subject], ensemble: Ensemble | None
) -> tuple[Sources, list[str]]:
    """Opens the maps of each subject; says which have none."""
    sources: Sources = {}
    readers: dict[str, MapReader] = {}
    notes = []
    for subject in sorted(subjects, key=lambda subject: subject.is_ensemble):  # experiments first: it needs their maps
        try:
            if ensemble and subject.is_ensemble:
                sources[subject.name] = build_ensemble_sources(ensemble, readers)
            else:
                reader = open_experiment_maps(project, dataset, subject.name, subject.scores)
                readers[subject.name] = reader
                sources[subject.name] = build_experiment_sources(reader, subject.folds, dataset)
        except InputError as error:
            notes.append(f"{subject.name} has no pictures of its masks: {error}")
    return sources, notes


def _measure(ledger: Ledger, jury: Mapping[int, Source], jobs: int | None) -> np.ndarray:
    """Measures how far the jury agrees on each photo; float64 (photos,), NaN where a fold has none."""
    agreement = np.full(len(ledger.samples), np.nan)
    chunks, tasks = list[list[int]](), list[JuryTask]()
    for fold, source in sorted(jury.items()):
        inside = [index for index, own in enumerate(ledger.folds) if own == fold]
        for start in range(0, len(inside), _CHUNK):
            samples = tuple(ledger.samples[index] for index in inside[start : start + _CHUNK])
            chunks.append(inside[start : start + _CHUNK])
            tasks.append(JuryTask(samples=samples, source=source.select(sample.id for sample in samples)))
    results = run_tasks(measure_agreements, tasks, what="disagreement", jobs=jobs, unit="chunk")
    for chunk, values in zip(chunks, results, strict=True):
        agreement[chunk] = values
    return agreement


def _plan(dataset: DatasetConfig, ledger: Ledger, sources: Sources, index: int) -> DrawTask:
    sample, fold = ledger.samples[index], ledger.folds[index]
    own = {
        number: sources[name][fold].select([sample.id])
        for number, name in enumerate(ledger.subjects)
        if fold in sources.get(name, {}) and not np.isnan(ledger.scores[index, number])
    }
    return DrawTask(sample=sample, dataset=dataset, sources=own)


def _write(folder: Path, drawing: Drawing) -> Picture:
    """Writes a photo's pictures; returns where they lie, seen from the page."""
    return Picture(
        size_hw=drawing.size_hw,
        photo=_write_bytes(folder, drawing.photo, "jpg"),
        truth=_write_bytes(folder, drawing.truth, "png"),
        layers={
            number: (_write_bytes(folder, mask, "png"), _write_bytes(folder, difference, "png"))
            for number, (mask, difference) in drawing.layers.items()
        },
    )


def _write_bytes(folder: Path, content: bytes, suffix: str) -> str:
    name = f"{hashlib.sha256(content).hexdigest()[:20]}.{suffix}"
    if not (folder / name).exists():  # of that name is only that content
        with atomic_path(folder / name) as temporary:
            temporary.write_bytes(content)
    return f"{folder.name}/{name}"


def _drop_others(folder: Path, pictures: Collection[Picture]) -> None:
    """Deletes the pictures of an earlier page."""
    kept = {Path(path).name for picture in pictures for path in _list_paths(picture)}
    for path in folder.glob("*"):
        if path.name not in kept:
            path.unlink()


def _list_paths(picture: Picture) -> Iterator[str]:
    yield from (picture.photo, picture.truth)
    for paths in picture.layers.values():
        yield from paths


def _describe_ensemble(project: Project, ensemble: Ensemble, ledger: Ledger) -> EnsembleContent:
    return EnsembleContent(
        ensemble=ensemble,
        verdict=judge_ensemble(ensemble),
        members=tabulate_members(project, ensemble),
        trials=tabulate_trials(project, ensemble),
        notes=tuple(list_notes(ensemble)),
    )


def _read_configs(project: Project, runs: Sequence[Run]) -> dict[str, Any]:
    """Reads what each experiment's first run was made with."""
    configs: dict[str, Any] = {}
    for run in runs:
        path = project.run_dir(run.experiment, run.fold) / SNAPSHOT
        if run.experiment not in configs and path.exists():
            try:
                configs[run.experiment] = read_json(path)
            except InputError:
                continue  # listed as broken
    return configs
