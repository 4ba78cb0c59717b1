"""The report: one page of what was trained and evaluated, the worst images on top, which opens from disk."""

import re
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
from unets.evaluation.contributions import describe_gain, list_notes, list_tried, tabulate_members
from unets.evaluation.predictions import Prediction, open_prediction
from unets.evaluation.results import read_test_score, sum_stages
from unets.evaluation.runs import Run, list_runs, read_history, tabulate_runs
from unets.evaluation.scores import Scores, list_evaluated, load_scores
from unets.log import format_count
from unets.metrics.intervals import Interval, note_few_groups
from unets.metrics.masks import find_metric
from unets.pages.gallery import PAGE, Column, Gallery, link_to, to_json, write_gallery, write_page
from unets.pages.measure import DISTANCES_PX, THRESHOLDS, Totals, Values, measure_all, score_thresholds
from unets.pages.oddness import SCALES
from unets.store.paths import Project
from unets.store.run_folder import SNAPSHOT, read_snapshot
from unets.submission.submission import name_submission

_METRICS = {"dice": "Dice", "iou": "IoU", "ap": "AP", "_": " "}
MAX_PICTURES = 6000  # images with a picture, the worst of them; Carvana has 5,088


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
    config: EnsembleConfig,
    *,
    chosen_folds: Mapping[str, Sequence[int]],
    folds: Collection[int] | None = None,
    with_others: bool = True,
    ensemble_name: str = "ensemble",
    top: int = 24,
    complete: Callable[[str], str] = str,
) -> Report:
    """Writes the page of what was trained and evaluated so far; says on it what is missing.

    Pictures come first, under names made from their bytes, so that a page that is there stays whole until the new one
    takes its place; then those that it does not show are deleted.

    `config` is the ensemble's, `chosen_folds` has those of each experiment that there should be; with others, what the
    models folder has besides counts, too. The images of `folds` count, None is all; the `top` worst by each score are
    shown at full size. `complete` adds what the user works with to the commands that a note names. Raises InputError
    where there is nothing to report, or images, masks or maps cannot be read.
    """
    runs = [run for run in list_runs(project, dataset) if with_others or run.experiment in chosen_folds]
    names = [name for name in list_evaluated(project) if with_others or name in chosen_folds]
    if not runs and not names:
        raise InputError(f"`{project.models_dir}` must hold a run. Received: none. Run `unets train`")
    notes = _list_missing(chosen_folds, runs, names)
    if project.ensemble_path(ensemble_name).exists():
        names.append(ensemble_name)
    else:
        notes.append(f"`{ensemble_name}` is not there yet: `unets ensemble` makes it")
    ensemble, scores = None, list[Scores]()
    for name in names:
        try:
            if name == ensemble_name:
                ensemble = read_ensemble(project, name)
                check_ensemble(ensemble, dataset, config, ensemble.folds if folds is None else list(folds))
            found = load_scores(project, dataset.metric, name)
            scores.append(found if folds is None else found.select(folds))
        except InputError as error:
            notes.append(f"`{name}` is left out: {error}")
            ensemble = None  # it comes last
    scores.sort(key=lambda one: (not is_ensemble(one.name), -one.interval.mean, one.name))
    folder, metric = project.report_dir(ensemble_name), name_metric(dataset.metric)
    data: dict[str, Any] = {"pictures": {}, "errors": None, "images": {"id": []}}
    if scores:
        data, more = _look_at_images(project, dataset, scores, ensemble, folder, top=top)
        notes += more
    about: dict[str, Any] = {}
    if ensemble:
        about = {"members": tabulate_members(project, ensemble), "candidates": list_tried(ensemble)}
        about |= {"gain": describe_gain(ensemble), "threshold": describe_threshold(ensemble.threshold, dataset.classes)}
        about |= {"ensemble_notes": list_notes(ensemble)}
    histories = [(run, read_history(project.run_dir(run.experiment, run.fold))) for run in runs]
    data["training"] = [
        {"experiment": run.experiment, "fold": run.fold, "best": [run.best_epoch] if run.best_epoch else [], **history}
        for run, history in histories
        if history["epochs"]
    ]
    write_page(
        folder,
        project,
        data,
        kind="report",
        subtitle=f"{_describe_metric(dataset.metric)} at full size; out-of-fold: by nets that did not see the image.",
        figures=_list_figures(project, metric, scores, ensemble, runs),
        notes=(notes := [complete(note) for note in notes]),
        metric=metric,
        scores=scores,
        score_notes=[note for one in scores for note in (*one.notes, *note_few_groups(one.num_groups))],
        ensemble=ensemble,
        **about,
        runs=tabulate_runs(runs),
        stages=sum_stages(project.stages_path),
        origins=_list_origins(project, runs, folder),
        complete=complete,
    )
    num_images, num_pictures = len(data["images"]["id"]), len(data["pictures"])
    return Report(page_path=folder / PAGE, num_images=num_images, num_pictures=num_pictures, notes=tuple(notes))


def choose_large(scores: Values, samples: Sequence[Sample], top: int) -> set[int]:
    """Chooses the images that are worth a large picture, by scores, float64 (images, columns), low is bad, or NaN.

    The `top` worst by each column, and of each camera view a quarter of that, at least one: whatever the page is
    filtered by, the worst that is left can be looked at closely.
    """
    views, chosen = [sample.view or "" for sample in samples], set[int]()
    for column in scores.T:
        table = pd.DataFrame({"view": views, "score": column}).dropna().sort_values("score", kind="stable")
        chosen |= {*table.index[:top].tolist(), *table.groupby("view").head(max(top // 4, 1)).index.tolist()}
    return chosen


def _look_at_images(
    project: Project,
    dataset: DatasetConfig,
    scores: Sequence[Scores],
    ensemble: Ensemble | None,
    folder: Path,
    *,
    top: int,
) -> tuple[dict[str, Any], list[str]]:
    """Measures and draws all images that have a score; returns the page's data, and what is missing."""
    fold_of: dict[str, int | None] = pd.concat([one.table["fold"] for one in scores]).to_dict()
    samples = [sample for sample in read_manifest(project, dataset).train if sample.id in fold_of]
    predictions, notes = dict[str, Prediction](), []
    for one in scores:
        try:
            predictions[one.name] = open_prediction(project, dataset, one.name)
        except InputError as error:
            notes.append(f"`{one.name}` has no pictures of its masks: {error}")
    # The first that has a mask of an image is measured: the ensemble, or else the best experiment.
    measured, totals = measure_all(dataset, samples, list(predictions.values()), has_ground_truth=True)
    names, metric = list(predictions), name_metric(dataset.metric)
    meaning = (
        f"Not of the image alone: {metric} is of the pixels of all images together, and this says how far an image "
        f"moves it. The mean over images is {metric}, and an image that changes nothing has just that."
        if find_metric(dataset.metric).over_pixels
        else ""
    )
    ids = [sample.id for sample in samples]
    columns = [
        Column(
            label=f"{metric} of {one.name}",
            values=one.table["score"].reindex(ids).to_numpy(),
            style="score",
            meaning=meaning,
            prediction=names.index(one.name) if one.name in names else None,
        )
        for one in scores
    ]
    values = np.array([column.values for column in columns]).T
    known = measured.dropna(axis="columns", how="all")
    more = (name for name in ("agreement", "band", "area") if name in known)
    data = write_gallery(
        folder,
        dataset,
        Gallery(
            name=f"{project.competition}/report",
            samples=samples,
            folds=[fold_of[sample.id] for sample in samples],
            predictions=list(predictions.values()),
            columns=[*columns, *(SCALES[name].to_column(known[name].to_numpy()) for name in more)],
            areas=measured["area"].to_numpy(),
            has_ground_truth=True,
        ),
        shown=sorted(np.argsort(np.nanmin(values, axis=1), kind="stable")[:MAX_PICTURES].tolist()),
        large=choose_large(values, samples, top),
    )
    return data | {"errors": _describe_errors(totals, dataset, ensemble, names[0]) if totals else None}, notes


def name_metric(name: str) -> str:
    """Returns the name of a metric as people write it: `global_dice` is global Dice, `ap_50` AP 50."""
    return re.sub("dice|iou|^ap|_", lambda found: _METRICS[found[0]], name)


def _describe_metric(name: str) -> str:
    meaning = ", the average precision of objects," if name.startswith("ap") else ""
    mean = "counts the pixels of all images" if find_metric(name).over_pixels else "is the mean over images"
    return f"{name_metric(name)}{meaning} {mean}"


def _describe_errors(totals: Totals, dataset: DatasetConfig, ensemble: Ensemble | None, name: str) -> dict[str, Any]:
    """Returns the totals for the page's script; no curves where every pixel is of a class: no threshold decides there.

    The confusion matrix is left out where its classes are object and background: precision and recall say as much.
    """
    names = [*(["background"] if dataset.has_background else []), *dataset.classes]
    confusion = totals["confusion"][-len(names) :, -len(names) :]
    return {
        "of": name,
        "metric": name_metric(find_metric(dataset.metric).counted.name),  # what `count_errors` scores by
        "chosen": ensemble.threshold if ensemble and isinstance(ensemble.threshold, float) else None,
        "thresholds": THRESHOLDS if dataset.has_background else [],
        "scores": to_json(score_thresholds(totals)),
        **{name: totals[name].tolist() for name in ("pixels", "calibration", "distances")},
        "edges": DISTANCES_PX,
        "names": names,
        "confusion": confusion.tolist() if len(names) > 2 and len(confusion) else None,
    }


def _list_missing(chosen_folds: Mapping[str, Sequence[int]], runs: Sequence[Run], scored: Collection[str]) -> list[str]:
    notes = []
    finished = {(run.experiment, run.fold) for run in runs if run.state == "finished"}
    for name, folds in chosen_folds.items():
        if missing := ",".join(str(fold) for fold in folds if (name, fold) not in finished):
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
        mean = f"{first.interval.mean:.5f}"
        figures.append((f"{metric} out-of-fold, {first.name}", mean, first.interval.describe_bounds()))
        if ensemble and (test := read_test_score(project, name_submission(ensemble), ensemble.metric)):
            score = Interval(**{key: test[key] for key in Interval.model_fields})
            also = f"{score.describe_bounds()}; out-of-fold {mean}"
            figures = [(f"{metric} on the test set, {first.name}", f"{score.mean:.5f}", also)]
        best = next((one for one in scores if not is_ensemble(one.name)), first)
        figures.append(("Best single model, out-of-fold", f"{best.interval.mean:.5f}", best.name))
        group_of = pd.concat([one.table["group"] for one in scores]).to_dict()
        num_folds = len({fold for one in scores for fold in one.folds})
        num_groups = len(set(group_of.values()))
        of_groups = f"{format_count(num_groups, 'group')} in " if num_groups < len(group_of) else ""
        detail = f"{of_groups}{format_count(num_folds, 'fold')}"
        figures.append(("Images evaluated", f"{len(group_of):,}", detail))
    hours, devices = sum(run.seconds for run in runs) / 3600, {device for run in runs for device in run.devices}
    figures.append(("Hours of training", f"{hours:.2f}" if hours < 10 else f"{hours:.0f}", ", ".join(sorted(devices))))
    return figures


def _list_origins(project: Project, runs: Sequence[Run], page_dir: Path) -> dict[str, Any]:
    """Returns of each experiment the command that makes its runs, the config of the first, and links to its files."""
    origins: dict[str, Any] = {}
    for run in runs:
        run_dir, name = project.run_dir(run.experiment, run.fold), run.experiment
        if name not in origins and run.state != "broken" and (run_dir / SNAPSHOT).exists():
            folds = [other.fold for other in runs if other.experiment == name]
            chosen = f"--exp {name} --fold {','.join(map(str, folds))}"
            files = {f"Fold {fold}": project.run_dir(name, fold) for fold in folds}
            files |= {"Scores of images, csv": project.oof_scores_path(name)}
            origins[name] = {
                "command": f"`unets train {chosen} && unets predict {chosen}`",
                "config": read_snapshot(run_dir),
                "links": {label: link_to(file, page_dir) for label, file in files.items() if file.exists()},
            }
    return origins
