"""What was reached and what it cost: small JSON files in docs/results/, and a page rendered from them.

No figure in docs/results/README.md is typed: `unets record` writes a record from the run folders, and renders the page
from all records.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader

from unets.config import DatasetConfig, ExperimentConfig
from unets.ensemble.ensemble import Ensemble, read_ensemble
from unets.errors import InputError
from unets.evaluation.contributions import describe_gain, tabulate_candidates, tabulate_members
from unets.evaluation.runs import find_cost
from unets.evaluation.scores import Scores, load_scores
from unets.log import format_folds
from unets.metrics.intervals import bootstrap_mean
from unets.store.paths import Project
from unets.store.provenance import format_commit
from unets.store.runs import hash_file, read_json, read_json_lines, write_json, write_text
from unets.tables import render_table

logger = logging.getLogger(__name__)

_MADE_OF = {"members", "threshold", "postprocessing"}  # what of an ensemble decides its submission


def record_experiment(
    project: Project, dataset: DatasetConfig, name: str, experiment: ExperimentConfig, origin: Mapping[str, Any]
) -> Path:
    """Writes the record of an experiment: config, out-of-fold score, cost of its folds.

    `origin` is from `describe_origin`, taken once: the first record changes the tree for the next. Raises InputError
    where it was not predicted yet.
    """
    scores, pixels_path = _load_present(project, dataset.metric, name), project.oof_pixels_path(name)
    groups, no_tta = scores.table["group"].tolist(), scores.table["no_tta"].to_numpy()
    record = {
        "kind": "experiment",
        "name": name,
        "metric": dataset.metric,
        "folds": list(scores.folds),
        "num_images": len(groups),
        "num_groups": scores.num_groups,
        "oof": scores.interval.model_dump(),
        "oof_no_tta": None if np.isnan(no_tta).any() else bootstrap_mean(no_tta, groups).model_dump(),
        "oof_pixels": read_json(pixels_path) if pixels_path.exists() else None,
        "config": experiment.model_dump(mode="json"),
    }
    return _write_record(project, record, [name], "make train predict COMPETITION={} EXP={}", origin)


def record_ensemble(project: Project, ensemble_name: str, submission_name: str, origin: Mapping[str, Any]) -> Path:
    """Writes the record of an ensemble and of the submission made of it, with its score where there is one.

    Raises InputError where the submission of that name was made of something else.
    """
    ensemble = read_ensemble(project, ensemble_name)
    _load_present(project, ensemble.metric, ensemble_name)
    check_made_of(project, ensemble, submission_name)
    made_of = {"metric", "folds", "num_images", "num_groups", "gain_over_best_member", "candidates", *_MADE_OF}
    tables = tabulate_members(project, ensemble), tabulate_candidates(ensemble)
    record = {
        "kind": "ensemble",
        "name": submission_name,
        "oof": ensemble.score.model_dump(),
        **ensemble.model_dump(mode="json", include=made_of),
        "contributions": [table.to_markdown() for table in tables],
        "test": read_test_score(project, submission_name, ensemble.metric),
    }
    choice = "" if ensemble.name == "ensemble" else f"ENSEMBLE={ensemble.name.removeprefix('ensemble_')} "
    names = [member.experiment for member in ensemble.members]
    return _write_record(project, record, names, f"make pipeline score COMPETITION={{}} {choice}EXP={{}}", origin)


def _load_present(project: Project, metric: str, name: str) -> Scores:
    """Reads scores; raises InputError where they are of other weights, maps or masks than the present ones."""
    scores = load_scores(project, metric, name)
    if scores.notes:
        raise InputError(f"`unets record` must have scores of what is there. Received: {'; '.join(scores.notes)}")
    return scores


def _write_record(
    project: Project, record: dict[str, Any], experiments: Sequence[str], command: str, origin: Mapping[str, Any]
) -> Path:
    """Writes a record, with what its experiments cost and the command that makes it."""
    cost, folds = find_cost(project, experiments, record["folds"]), ",".join(map(str, record["folds"]))
    if cost is None:
        raise InputError(f"Each fold {folds} of {', '.join(experiments)} must have its metrics.json. Received: less")
    command = f"{command.format(quote(project.competition), quote(','.join(experiments)))} FOLD={folds}"
    how = {"cost": cost.model_dump(mode="json"), "command": command}
    path = project.result_path(record["name"])
    write_json(path, {"competition": project.competition, **record, **how, **origin})
    return path


def check_made_of(project: Project, ensemble: Ensemble, submission_name: str) -> None:
    """Checks that a submission, where there is one of that name, was made of an ensemble as it is now.

    Raises InputError where it was not; its score is another's.
    """
    path = project.submission_path(submission_name).with_name(f"{submission_name}.json")
    if not path.exists():
        return
    made, wanted = read_json(path, remedy="Run `unets submission`"), ensemble.model_dump(mode="json", include=_MADE_OF)
    differing = [field for field in sorted(wanted) if made.get(field) != wanted[field]]
    if differing:
        raise InputError(
            f"{path} must be of the present {ensemble.name}. Received: one of {made.get('ensemble', 'no ensemble')} "
            f"with other {', '.join(differing)}. Run `unets submission && unets score`, or name another by --name"
        )


def write_results_page(root: Path) -> Path:
    """Writes docs/results/README.md from the records beside it."""
    path = root / "docs" / "results" / "README.md"
    write_text(path, render_results(path.parent))
    return path


def render_results(results_dir: Path) -> str:
    """Renders all records below `docs/results/` as one page, competition by competition."""
    records, scored = (
        [read_json(path, competition=str, metric=str) for path in sorted(results_dir.glob(pattern))]
        for pattern in ("*/*.json", "*/kaggle/*.json")
    )
    loader = PackageLoader("unets.evaluation", "")
    environment = Environment(loader=loader, trim_blocks=True, lstrip_blocks=True)  # noqa: S701 it is Markdown
    environment.filters["folds"] = format_folds
    environment.filters["bounds"] = _bounds
    environment.filters["commit"] = lambda one: format_commit(one["git_commit"], one["git_is_dirty"])
    competitions = sorted({record["competition"] for record in (*records, *scored)})
    template = environment.get_template("results.md.j2")
    return template.render(records=records, scored=scored, competitions=competitions).rstrip() + "\n"


def summarize(project: Project, ensemble_name: str, experiments: Iterable[str]) -> str:
    """Renders what a pipeline reached: experiments, ensemble, submissions, and seconds a stage."""
    ensemble = read_ensemble(project, ensemble_name)
    members = {member.experiment: member for member in ensemble.members}
    rows = [
        (name, "" if alone.score_no_tta is None else f"{alone.score_no_tta:.5f}", f"{alone.score.mean:.5f}", "")
        for name in experiments
        if (alone := members.get(name))
    ]
    rows.append(("ensemble, out-of-fold", "", f"{ensemble.score.mean:.5f}", _bounds(ensemble.score.model_dump())))
    for path in sorted((project.models_dir / "scores").glob("*.json")):
        if score := read_test_score(project, path.stem, ensemble.metric):
            rows.append((f"{path.stem}, test", "", f"{score['mean']:.5f}", _bounds(score)))
    seconds = sum_stages(project.stages_path)
    stages = [(stage, f"{spent:.1f}") for stage, spent in (*seconds.items(), ("all", sum(seconds.values())))]
    parts = [
        render_table(("", "no TTA", "TTA", "95 % interval"), rows, right={"no TTA", "TTA"}),
        describe_gain(ensemble),
        render_table(("stage", "seconds"), stages, right={"seconds"}),
    ]
    return f"{ensemble.metric} of {project.competition}\n" + "\n\n".join(parts)


def read_test_score(project: Project, name: str, metric: str) -> dict[str, Any] | None:
    """Reads what a submission reached against the ground truth; None where it was not scored as it is now, by `metric`.

    Raises InputError where something else stands in the file.
    """
    submission_path = project.submission_path(name)
    path = project.score_path(submission_path)
    if not path.exists():
        return None
    types = {"submission": str, "sha256": str, "metric": str, "mean": float, "low": float | None, "high": float | None}
    score = read_json(path, remedy="Run `unets score`", **types)
    if submission_path.exists() and hash_file(submission_path) != score["sha256"]:
        logger.warning("%s is the score of other bytes than those of %s: run `unets score`", path, submission_path)
        return None
    if score["metric"] != metric:
        logger.warning("%s is a score by %s, not by %s: run `unets score`", path, score["metric"], metric)
        return None
    return score


def sum_stages(path: Path) -> dict[str, float]:
    """Returns the seconds of each stage over all its calls, in the order of their first.

    Pipeline and demo are left out: they run the others.
    """
    seconds: dict[str, float] = {}
    for row in read_json_lines(path):
        stage, spent = row.get("stage"), row.get("seconds")
        if isinstance(stage, str) and isinstance(spent, int | float) and stage not in ("pipeline", "demo"):
            seconds[stage] = seconds.get(stage, 0.0) + spent
    return seconds


def _bounds(interval: Mapping[str, Any]) -> str:
    return "" if interval["low"] is None else f"({interval['low']:.5f} to {interval['high']:.5f})"
