"""The report: one page of what was trained and evaluated, the worst images on top, which opens from disk."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from unets.config import DatasetConfig, EnsembleConfig, is_ensemble
from unets.data.samples import Sample
from unets.dataset.manifest import read_manifest
from unets.ensemble.ensemble import Ensemble, check_ensemble, read_ensemble
from unets.ensemble.recipe import describe_threshold
from unets.errors import InputError
from unets.evaluation.contributions import list_notes, tabulate_candidates, tabulate_members
from unets.evaluation.predictions import Prediction, join_equally, open_ensemble, open_experiment
from unets.evaluation.results import describe_gain, read_test_score, sum_stages
from unets.evaluation.runs import Run, list_runs, tabulate_runs
from unets.evaluation.scores import Scores, list_evaluated, load_scores
from unets.metrics.intervals import Interval, note_few_groups
from unets.pages import gallery
from unets.pages.gallery import FIGURES, METRICS, Column, Curves, Gallery, Values
from unets.pages.live import list_training
from unets.pages.oddness import list_column
from unets.pages.page import render_page
from unets.store.fingerprint import SNAPSHOT, read_snapshot
from unets.store.paths import Project
from unets.store.provenance import describe_origin
from unets.store.runs import write_text
from unets.submission.submission import name_submission

logger = logging.getLogger(__name__)

PAGE, PICTURES = "index.html", "pictures"
MAX_PICTURES = 6000  # images with a picture, the worst of them; Carvana has 5,088


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """What the report is about."""

    ensemble_name: str
    ensemble: EnsembleConfig
    folds_of: Mapping[str, Sequence[int]]  # of each experiment that there should be
    with_others: bool  # whether experiments count that the models folder has besides
    folds: Collection[int] | None = None  # whose images count; None: all


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What was written."""

    page_path: Path
    num_images: int
    num_pictures: int
    notes: tuple[str, ...]  # what is missing, and the commands that make it


def write_report(
    project: Project,
    dataset: DatasetConfig,
    scope: Scope,
    *,
    top: int = 24,
    jobs: int | None = None,
    complete: Callable[[str], str] = str,
) -> Report:
    """Writes the page of what was trained and evaluated so far; says on it what is missing.

    Pictures come first, under names made from their bytes, so that a page that is there stays whole until the new one
    takes its place; then those that it does not show are deleted.

    Args:
        project: the folders.
        dataset: the dataset's declaration.
        scope: what the page is about.
        top: how many of the worst images by each score are shown at full size.
        jobs: worker processes; None is one a core.
        complete: adds what the user works with to the commands that a note names.

    Raises:
        InputError: there is nothing to report, `top` is below 1, or images, masks or maps cannot be read.
    """
    if top < 1:
        raise InputError(f"`--top` must be at least 1. Received: {top}")
    runs = [run for run in list_runs(project, dataset) if scope.with_others or run.experiment in scope.folds_of]
    names = [name for name in list_evaluated(project) if scope.with_others or name in scope.folds_of]
    if not runs and not names:
        raise InputError(f"`{project.models_dir}` must hold a run. Received: none. Run `unets train`")
    ensemble, notes = _find_ensemble(project, dataset, scope)
    notes = _list_missing(scope, runs, names) + notes
    names += [ensemble.name] if ensemble else []
    scores, left_out = load_all_scores(project, dataset.metric, names, scope.folds)
    notes += left_out
    if not any(is_ensemble(one.name) for one in scores):
        ensemble = None
    folder = project.report_dir(scope.ensemble_name)
    data: dict[str, Any] = {"pictures": {}, "curves": None, "images": {"id": []}}
    if scores:
        data, more = _look_at_images(project, dataset, scores, ensemble, folder / PICTURES, top=top, jobs=jobs)
        notes += more
    notes = [complete(note) for note in notes]
    metric = METRICS.get(dataset.metric, dataset.metric)
    page = render_page(
        "gallery.html",
        kind="report",
        title=project.competition,
        subtitle=f"{metric} is the mean over images at full size; out-of-fold: by nets that did not see the image.",
        origin=describe_origin(project.configs_dir),
        figures=_list_figures(project, metric, scores, ensemble, runs),
        notes=notes,
        metric=metric,
        scores=scores,
        score_notes=[note for one in scores for note in (*one.notes, *note_few_groups(one.num_groups))],
        ensemble=_describe_ensemble(project, ensemble) if ensemble else None,
        runs=tabulate_runs(runs),
        stages=sum_stages(project.stages_path),
        configs={name: (complete(command), config) for name, (command, config) in _read_configs(project, runs).items()},
        data=data | {"training": list_training(project, runs)},
    )
    write_text(folder / PAGE, page)
    gallery.drop_other_pictures(folder / PICTURES, data)
    num_images, num_pictures = len(data["images"]["id"]), len(data["pictures"])
    logger.info("%s: %d images, %d with pictures", folder / PAGE, num_images, num_pictures)
    return Report(page_path=folder / PAGE, num_images=num_images, num_pictures=num_pictures, notes=tuple(notes))


def load_all_scores(
    project: Project, metric: str, names: Sequence[str], folds: Collection[int] | None
) -> tuple[list[Scores], list[str]]:
    """Loads out-of-fold scores.

    Args:
        project: the folders.
        metric: of the competition.
        names: of experiments, and of ensembles.
        folds: whose images count; None is all.

    Returns:
        The scores, ensembles first, then by their mean; and why others of the names have none.
    """
    found, notes = list[Scores](), []
    for name in names:
        try:
            scores = load_scores(project, metric, name)
            found.append(scores if folds is None else scores.select(folds))
        except InputError as error:
            notes.append(f"`{name}` is left out: {error}")
    return sorted(found, key=lambda one: (not is_ensemble(one.name), -one.interval.mean, one.name)), notes


def choose_large(scores: Values, samples: Sequence[Sample], top: int) -> set[int]:
    """Chooses the images that are worth a large picture.

    The `top` worst by each column, and of each camera view a quarter of that, at least one: whatever the page is
    filtered by, the worst that is left can be looked at closely.

    Args:
        scores: float64 (images, columns), low is bad; NaN where there is no score.
        samples: the images.
        top: how many.

    Returns:
        Numbers of images.
    """
    views = np.array([sample.view or "" for sample in samples])
    chosen: set[int] = set()
    for column in scores.T:
        order = np.argsort(column, kind="stable")  # NaN comes last
        order = order[~np.isnan(column[order])]
        chosen.update(order[:top].tolist())
        for view in np.unique(views):
            chosen.update(order[views[order] == view][: max(top // 4, 1)].tolist())
    return chosen


def _look_at_images(
    project: Project,
    dataset: DatasetConfig,
    scores: Sequence[Scores],
    ensemble: Ensemble | None,
    folder: Path,
    *,
    top: int,
    jobs: int | None,
) -> tuple[dict[str, Any], list[str]]:
    """Measures and draws all images that have a score; returns the page's data, and what is missing."""
    fold_of: dict[str, int | None] = pd.concat([one.table["fold"] for one in scores]).to_dict()
    samples = [sample for sample in read_manifest(project, dataset).train if sample.id in fold_of]
    folds = [fold_of[sample.id] for sample in samples]
    predictions, notes = _open_predictions(project, dataset, samples, scores, ensemble)
    # The ensemble's masks are measured; where it has none of an image, those of the experiments' mean.
    own = [predictions[ensemble.name]] if ensemble and ensemble.name in predictions else []
    alone = [prediction for name, prediction in predictions.items() if not is_ensemble(name)]
    means = join_equally(alone, fold_of)
    measured, curves = gallery.measure_all(dataset, samples, own + means, has_ground_truth=True, jobs=jobs)
    columns = _list_columns(dataset.metric, samples, scores, list(predictions), measured)
    values = np.array([column.values for column in columns if column.style == "score"]).T
    data = gallery.write_gallery(
        folder,
        dataset,
        Gallery(
            name=f"{project.competition}/report",
            samples=samples,
            folds=folds,
            predictions=list(predictions.values()),
            columns=columns,
            areas=measured[:, FIGURES.index("area")],
            has_ground_truth=True,
        ),
        shown=sorted(np.argsort(np.nanmin(values, axis=1), kind="stable")[:MAX_PICTURES].tolist()),
        large=choose_large(values, samples, top),
        jobs=jobs,
    )
    return data | {"curves": _describe_curves(curves, dataset, ensemble) if curves else None}, notes


def _list_columns(
    metric: str, samples: Sequence[Sample], scores: Sequence[Scores], predictions: Sequence[str], measured: Values
) -> list[Column]:
    """Lists the scores, then what was measured."""
    ids = [sample.id for sample in samples]
    columns = [
        Column(
            label=f"{METRICS.get(metric, metric)} of {one.name}",
            values=one.table["score"].reindex(ids).to_numpy(),
            style="score",
            prediction=predictions.index(one.name) if one.name in predictions else None,
        )
        for one in scores
    ]
    figures = dict(zip(FIGURES, measured.T, strict=True))
    more = [list_column(name, figures[name]) for name in ("agreement", "band", "area")]
    return columns + [column for column in more if not np.isnan(column.values).all()]


def _open_predictions(
    project: Project,
    dataset: DatasetConfig,
    samples: Sequence[Sample],
    scores: Sequence[Scores],
    ensemble: Ensemble | None,
) -> tuple[dict[str, Prediction], list[str]]:
    """Opens the probability maps behind the scores, in their order; says which have none."""
    found: dict[str, Prediction] = {}
    notes = []
    for one in sorted(scores, key=lambda one: is_ensemble(one.name)):  # an ensemble needs its members' maps
        try:
            if ensemble and is_ensemble(one.name):
                fold_of = {str(id_): int(fold) for id_, fold in one.table["fold"].items()}
                own = [sample for sample in samples if sample.id in fold_of]
                found[one.name] = open_ensemble(ensemble, found, own, fold_of)
            else:
                found[one.name] = open_experiment(project, dataset, one.name, one.table.index)
        except InputError as error:
            notes.append(f"`{one.name}` has no pictures of its masks: {error}")
    return {one.name: found[one.name] for one in scores if one.name in found}, notes


def _describe_curves(curves: Curves, dataset: DatasetConfig, ensemble: Ensemble | None) -> dict[str, Any] | None:
    """Returns the curves for the page's script; None where every pixel is of a class: no threshold decides there."""
    if not dataset.has_background:
        return None
    both, predicted, true = curves.pixels.astype(np.float64)
    pixels, objects = curves.calibration.astype(np.float64)
    is_filled = pixels > 0
    centers = (np.arange(gallery.NUM_BINS) + 0.5) / gallery.NUM_BINS
    return {
        "of": ensemble.name if ensemble else "the experiments' mean",
        "metric": METRICS.get(dataset.metric, dataset.metric),
        "chosen": ensemble.threshold if ensemble and isinstance(ensemble.threshold, float) else None,
        "thresholds": gallery.THRESHOLDS,
        "scores": [gallery.to_json(value) for value in curves.scores / curves.num_images],
        "precision": [gallery.to_json(value) for value in both / np.maximum(predicted, 1)],
        "recall": [gallery.to_json(value) for value in both / np.maximum(true, 1)],
        "probabilities": centers[is_filled].tolist(),
        "shares": [gallery.to_json(value) for value in (objects[is_filled] / pixels[is_filled])],
    }


def _find_ensemble(project: Project, dataset: DatasetConfig, scope: Scope) -> tuple[Ensemble | None, list[str]]:
    """Reads the ensemble, if it is the one that is asked for; says why there is none."""
    if not project.ensemble_path(scope.ensemble_name).exists():
        return None, [f"`{scope.ensemble_name}` is not there yet: `unets ensemble` makes it"]
    try:
        ensemble = read_ensemble(project, scope.ensemble_name)
        check_ensemble(ensemble, dataset, scope.ensemble, ensemble.folds if scope.folds is None else list(scope.folds))
    except InputError as error:
        return None, [f"`{scope.ensemble_name}` is left out: {error}"]
    return ensemble, []


def _list_missing(scope: Scope, runs: Sequence[Run], scored: Collection[str]) -> list[str]:
    notes = []
    finished = {(run.experiment, run.fold) for run in runs if run.state == "finished"}
    for name, folds in scope.folds_of.items():
        missing = ",".join(str(fold) for fold in folds if (name, fold) not in finished)
        if missing:
            notes.append(f"`{name}` lacks fold {missing}: `unets train --exp {name} --fold {missing}` trains it")
    for name in dict.fromkeys(name for name, _ in sorted(finished) if name not in scored):
        notes.append(f"`{name}` was not predicted yet: `unets predict --exp {name}` scores it at full size")
    return notes


def _list_figures(
    project: Project, metric: str, scores: Sequence[Scores], ensemble: Ensemble | None, runs: Sequence[Run]
) -> list[tuple[str, str, str]]:
    """Lists what the page says first: label, value, detail."""
    figures = []
    if scores:
        first = scores[0]
        mean, detail = f"{first.interval.mean:.5f}", gallery.describe_interval(first.interval)
        figures.append((f"{metric} out-of-fold, {first.name}", mean, detail))
        test = _read_test_score(project, ensemble) if ensemble else None
        if test:
            also = f"{gallery.describe_interval(test)}; out-of-fold {mean}"
            figures = [(f"{metric} on the test set, {first.name}", f"{test.mean:.5f}", also)]
        best = next((one for one in scores if not is_ensemble(one.name)), first)
        figures.append(("Best single model, out-of-fold", f"{best.interval.mean:.5f}", best.name))
        group_of = pd.concat([one.table["group"] for one in scores]).to_dict()
        folds = {fold for one in scores for fold in one.folds}
        detail = f"{len(set(group_of.values())):,} groups in {len(folds)} folds"
        figures.append(("Images evaluated", f"{len(group_of):,}", detail))
    hours, devices = sum(run.seconds for run in runs) / 3600, {device for run in runs for device in run.devices}
    figures.append(("Hours of training", f"{hours:.2f}" if hours < 10 else f"{hours:.0f}", ", ".join(sorted(devices))))
    return figures


def _read_test_score(project: Project, ensemble: Ensemble) -> Interval | None:
    """Reads what the ensemble's submission reached against the test set's ground truth, where that was computed."""
    score = read_test_score(project, name_submission(ensemble))
    return None if score is None else Interval(**{key: score[key] for key in Interval.model_fields})


def _describe_ensemble(project: Project, ensemble: Ensemble) -> dict[str, Any]:
    return {
        "verdict": describe_gain(ensemble),
        "facts": {
            "averaging": f"of the {ensemble.averaging}",
            "threshold": describe_threshold(ensemble.threshold),
            "post-processing": ensemble.postprocessing.describe(),
        },
        "members": tabulate_members(project, ensemble),
        "candidates": tabulate_candidates(project, ensemble),
        "notes": list_notes(ensemble),
    }


def _read_configs(project: Project, runs: Sequence[Run]) -> dict[str, tuple[str, Any]]:
    """Reads what each experiment's runs were made with: the command, and the config of the first."""
    configs: dict[str, tuple[str, Any]] = {}
    for run in runs:
        path = project.run_dir(run.experiment, run.fold) / SNAPSHOT
        if run.experiment not in configs and run.state != "broken" and path.exists():
            folds = ",".join(str(other.fold) for other in runs if other.experiment == run.experiment)
            chosen = f"--exp {run.experiment} --fold {folds}"
            configs[run.experiment] = (
                f"`unets train {chosen} && unets predict {chosen}`",
                read_snapshot(path.parent),
            )
    return configs
