"""The page of the report: tables as HTML, the rest as data that its script draws and filters."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from html import escape
from string import Template
from typing import Any

import numpy as np

from unets.data.drawing import COLOURS_RGB, DIFFERENCES_RGB, Colour
from unets.data.geometry import SizeHW
from unets.ensemble.ensemble import Ensemble
from unets.evaluation.runs import Run, tabulate_runs
from unets.log import format_duration
from unets.metrics.intervals import Interval
from unets.pages.parts import embed_json, read_part, render_html_table
from unets.pages.report.curves import Curves
from unets.pages.report.ledger import Ledger
from unets.pages.report.subjects import Subject
from unets.store.provenance import format_commit
from unets.tables import Table

_PACKAGE, _HOUSE = "unets.pages.report", "unets.pages"
_METRICS = {"dice": "Dice", "iou": "IoU"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """Where a photo's pictures lie, seen from the page."""

    size_hw: SizeHW  # of the photo
    photo: str
    truth: str
    layers: dict[int, tuple[str, str]]  # by number of the subject: mask and difference


@dataclass(frozen=True, kw_only=True, slots=True)
class EnsembleContent:
    """What the page says of the ensemble."""

    ensemble: Ensemble
    verdict: str
    members: Table
    trials: Table
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """All that the page shows."""

    competition: str
    metric: str
    classes: tuple[str, ...]
    origin: Mapping[str, Any]  # from `describe_origin`
    notes: tuple[str, ...]  # what is missing
    subjects: tuple[Subject, ...]  # in the order of the ledger's
    ensemble: EnsembleContent | None
    ledger: Ledger
    pictures: Mapping[int, Picture]  # by number of the photo
    top: int
    more: str  # how more photos get pictures
    runs: tuple[Run, ...]
    curves: Mapping[str, list[Curves]]
    configs: Mapping[str, Any]  # of each experiment, what its first run was made with
    seconds: Mapping[str, float]  # of each stage


def render_page(content: Content) -> str:
    """Renders the page."""
    template = Template(read_part(_PACKAGE, "page.html"))
    origin = content.origin
    return template.substitute(
        house=read_part(_HOUSE, "house.css"),
        style=read_part(_PACKAGE, "page.css"),
        script=read_part(_PACKAGE, "charts.js") + read_part(_PACKAGE, "page.js"),
        competition=escape(content.competition),
        summary=escape(_summarize(content)),
        date=escape(f"{str(origin['date'])[:16].replace('T', ' ')} UTC"),
        commit=escape(format_commit(origin["git_commit"], origin["git_is_dirty"])),
        metric=escape(name_metric(content.metric)),
        notes=_render_notes(content),
        experiments=_render_subjects(content),
        ensemble=_render_ensemble(content.ensemble),
        runs=render_html_table(tabulate_runs(content.runs), caption="Runs") if content.runs else "",
        provenance=_render_provenance(content),
        data=embed_json(build_data(content)),
    )


def build_data(content: Content) -> dict[str, Any]:
    """Returns what the page's script works with. Names of groups and views are stored once; scores have six digits."""
    ledger = content.ledger
    groups = sorted({sample.group for sample in ledger.samples})
    views = sorted({sample.view for sample in ledger.samples if sample.view is not None})
    group_of, view_of = ({name: number for number, name in enumerate(names)} for names in (groups, views))
    return {
        "metric": name_metric(content.metric),
        "top": content.top,
        "more": content.more,
        "groups": groups,
        "views": views,
        "classes": [[name, _to_css(COLOURS_RGB[k % len(COLOURS_RGB)])] for k, name in enumerate(content.classes)],
        "differences": [[name, _to_css(rgb)] for name, rgb in list_differences(len(content.classes))],
        "subjects": [
            {"name": subject.name, "scores": [_round(score) for score in ledger.scores[:, number]]}
            for number, subject in enumerate(content.subjects)
        ],
        "photos": {
            "id": [sample.id for sample in ledger.samples],
            "group": [group_of[sample.group] for sample in ledger.samples],
            "view": [-1 if sample.view is None else view_of[sample.view] for sample in ledger.samples],
            "fold": list(ledger.folds),
            "agreement": [_round(value) for value in ledger.agreement],
        },
        "pictures": {str(index): _describe_picture(picture) for index, picture in content.pictures.items()},
        "curves": [
            {
                "experiment": experiment,
                "runs": [
                    {"fold": run.fold, "epochs": run.epochs, "best": run.best_epochs, **run.values} for run in runs
                ],
            }
            for experiment, runs in content.curves.items()
        ],
    }


def name_metric(metric: str) -> str:
    """Writes a metric's name for people."""
    return _METRICS.get(metric, metric)


def list_differences(num_classes: int) -> list[tuple[str, Colour]]:
    """Lists the kinds of difference, and the colour of each: with one class, no pixel is of the wrong one."""
    return list(DIFFERENCES_RGB.items())[: 2 if num_classes == 1 else 3]


def _describe_picture(picture: Picture) -> dict[str, Any]:
    layers = {str(number): paths for number, paths in picture.layers.items()}
    return {"hw": picture.size_hw, "photo": picture.photo, "truth": picture.truth, "layers": layers}


def _round(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)


def _to_css(rgb: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*rgb)


def _summarize(content: Content) -> str:
    """Says in a sentence what was reached."""
    samples = content.ledger.samples
    if not content.subjects:
        return "Nothing was judged out-of-fold yet; what was trained stands below."
    first = content.subjects[0]
    what = "The ensemble" if first.is_ensemble else first.name
    groups = len({sample.group for sample in samples})
    bounds = _bounds(first.score, " (95 % interval {} to {})")
    return (
        f"{what} reaches {name_metric(content.metric)} {first.score.mean:.5f} out-of-fold{bounds}; "
        f"{len(samples):,} photos of {groups:,} groups were judged."
    )


def _bounds(interval: Interval, text: str = "{} to {}") -> str:
    if interval.low is None or interval.high is None:
        return ""
    return text.format(f"{interval.low:.5f}", f"{interval.high:.5f}")


def _render_notes(content: Content) -> str:
    names = _list_names(content)
    items = "".join(f"<li>{_mark_commands(_capitalize(note, names))}</li>\n" for note in content.notes)
    return f"<div class=note><h3>What is missing</h3><ul class=missing>\n{items}</ul></div>\n" if items else ""


def _list_names(content: Content) -> set[str]:
    subjects = {name for subject in content.subjects for name in (subject.name, *subject.experiments)}
    return subjects | {run.experiment for run in content.runs} | content.configs.keys()


def _capitalize(text: str, names: Collection[str] = ()) -> str:
    """Begins a sentence with a capital, unless it begins with a name."""
    return text if text.split(" ", 1)[0] in names else text[:1].upper() + text[1:]


def _mark_commands(text: str) -> str:
    """Escapes a text and sets what stands in backticks as code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))


def _render_subjects(content: Content) -> str:
    """Renders the table of experiments and ensemble, with their intervals drawn on one scale."""
    if not content.subjects:
        return "<p class=soft>No experiment was predicted yet.</p>"
    bounds = [
        value
        for subject in content.subjects
        for value in (subject.score.low, subject.score.mean, subject.score.high)
        if value is not None
    ]
    low, high = min(bounds), max(bounds)
    margin = max((high - low) * 0.04, 1e-6)
    scale = (low - margin, high + margin)
    names = (name_metric(content.metric), "95 % interval", f"{scale[0]:.4f} to {scale[1]:.4f}")
    right = ("photos", "groups", "folds", "hours")
    head = "".join(
        [
            "<th scope=col>name</th>",
            f"<th scope=col class=num>{escape(names[0])}</th><th scope=col class=num>{names[1]}</th>",
            f"<th scope=col class=plot><span class=unseen>interval, drawn from {names[2]}</span></th>",
            *(f"<th scope=col class=num>{name}</th>" for name in right),
            "<th scope=col>device</th>",
        ]
    )
    rows = "".join(_render_subject(subject, scale) for subject in content.subjects)
    names_shown = _list_names(content)
    notes = dict.fromkeys(_capitalize(note, names_shown) for subject in content.subjects for note in subject.notes)
    return (
        '<div class=scroll tabindex=0 role=region aria-label="Experiments"><table class=subjects>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n"
        + "".join(f"<p class=soft>{_mark_commands(note)}.</p>\n" for note in notes)
    )


def _render_subject(subject: Subject, scale: tuple[float, float]) -> str:
    score, cost = subject.score, subject.cost
    kind = " <small>ensemble</small>" if subject.is_ensemble and subject.name != "ensemble" else ""
    hours = "?" if cost is None else f"{cost['training_hours']:.2f}"
    cells = [f"{len(subject.scores):,}", f"{subject.num_groups:,}", ",".join(map(str, subject.folds)), hours]
    figures = "".join(f"<td class=num>{escape(cell)}</td>" for cell in cells)
    place = {
        name: _place(value, scale) for name, value in (("low", score.low), ("mean", score.mean), ("high", score.high))
    }
    style = ";".join(f"--{name}:{share:.2f}%" for name, share in place.items() if share is not None)
    return (
        f"<tr><th scope=row>{escape(subject.name)}{kind}</th>"
        f"<td class=num><b>{score.mean:.5f}</b></td><td class=num>{_bounds(score) or 'one group: none'}</td>"
        f'<td class=plot><i class="interval{"" if score.low is not None else " single"}" style="{style}"></i></td>'
        f"{figures}<td>{escape(', '.join(cost['devices']) if cost else '')}</td></tr>\n"
    )


def _place(value: float | None, scale: tuple[float, float]) -> float | None:
    return None if value is None else 100 * (value - scale[0]) / (scale[1] - scale[0])


def _render_ensemble(content: EnsembleContent | None) -> str:
    if content is None:
        return "<p class=soft>There is none to show.</p>"
    ensemble = content.ensemble
    pairs = {
        "averaging": f"of {ensemble.averaging}",
        "threshold": f"{ensemble.threshold:g}",
        "post-processing": ensemble.postprocessing.describe(),
        "judged on": f"{ensemble.num_photos:,} photos of {ensemble.num_groups:,} groups, folds "
        f"{','.join(map(str, ensemble.folds))}",
    }
    facts = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in pairs.items())
    notes = "".join(f"<p class=soft>{escape(_capitalize(note))}.</p>\n" for note in content.notes)
    return (
        f"<p>{escape(content.verdict)}</p>\n<dl class=facts>{facts}</dl>\n"
        f"<h3>What each member adds</h3>\n{render_html_table(_name_metrics(content.members), caption='Members')}"
        f"<h3>What was tried</h3>\n{render_html_table(content.trials, caption='What was tried')}{notes}"
    )


def _name_metrics(table: Table) -> Table:
    header, right = tuple(map(name_metric, table.header)), frozenset(map(name_metric, table.right))
    return Table(header=header, rows=table.rows, right=right)


def _render_provenance(content: Content) -> str:
    """Renders versions, seconds of the stages, and how each experiment was made."""
    origin = content.origin
    versions = Table(header=("library", "version"), rows=tuple((k, str(v)) for k, v in origin["versions"].items()))
    stages = Table(
        header=("stage", "time"),
        rows=tuple((name.replace("_", " "), format_duration(spent)) for name, spent in content.seconds.items()),
        right=frozenset({"time"}),
    )
    parts = ["<div class=columns>", f"<div><h3>Libraries</h3>{render_html_table(versions, caption='Libraries')}"]
    parts += ["<p class=soft>Those at hand when this page was made.</p></div>"]
    if stages.rows:
        parts += [f"<div><h3>Stages</h3>{render_html_table(stages, caption='Stages')}"]
        parts += ["<p class=soft>Over all their calls in this folder.</p></div>"]
    parts += ["</div>", "<h3>How the experiments were made</h3>" if content.configs else ""]
    parts += [_render_config(content, name, config) for name, config in content.configs.items()]
    return "".join(parts)


def _render_config(content: Content, name: str, config: Any) -> str:
    runs = [run for run in content.runs if run.experiment == name]
    folds = ",".join(str(run.fold) for run in runs)
    command = f"make train predict COMPETITION={content.competition} EXP={name} FOLD={folds}"
    commits = ", ".join(dict.fromkeys(commit for run in runs for commit in run.commits)) or "not known"
    return (
        f"<details><summary>{escape(name)}</summary>"
        f"<p><code>{escape(command)}</code></p><p class=soft>At commit {escape(commits)}.</p>"
        f"<pre tabindex=0>{escape(json.dumps(config, indent=2))}</pre></details>\n"
    )
