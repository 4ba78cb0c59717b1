"""Two experiments or ensembles, image by image: is one better than the other, and what did each cost.

Only images count that are out-of-fold in both. A difference is paired (the same image under both), and its interval is
drawn over groups, so that it holds for cars, not for the views of these.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from unets.config import Config, is_ensemble, list_seeds
from unets.errors import InputError
from unets.evaluation.runs import Cost, find_cost
from unets.evaluation.scores import Scores, list_all_evaluated, list_folds, load_scores, note_part
from unets.log import format_count, format_folds
from unets.metrics.intervals import Interval, bootstrap_mean, note_few_groups
from unets.metrics.masks import find_metric
from unets.store.paths import Project
from unets.store.runs import hash_file
from unets.tables import Table, render_notes, render_table

MAX_CHANGES = 10
_ONE_SEED = (
    "the difference is of one seed each, not of two configs: another seed may differ as much; `--seeds` of `unets "
    "train` and `unets compare` has more"
)


class Side(Config):
    """One of the two."""

    name: str  # as it was asked for
    mean: float  # over the images compared
    cost: Cost | None  # of the folds compared, all members; None: their metrics.json is gone


class Change(Config):
    """An image under both."""

    id: str
    a: float
    b: float
    difference: float  # b - a


class Comparison(Config):
    """What `compare` finds."""

    competition: str
    metric: str
    folds: tuple[int, ...]
    num_images: int
    num_groups: int
    a: Side
    b: Side
    difference: Interval  # mean of b - a over images
    by_seed: tuple[float, ...]  # the same of each pair of runs; one where there is one seed
    share_better: float  # of the images, those that b scores higher
    share_equal: float
    share_worse: float
    changes: tuple[Change, ...]  # the largest first
    notes: tuple[str, ...]  # what to keep in mind

    @property
    def verdict(self) -> str:
        """The answer, in a sentence."""
        a, b, verdict = self.a.name, self.b.name, self.difference.verdict
        answer = f"{b} is {verdict} than {a}" if self.difference.excludes_zero else verdict
        return f"{answer}: {b} minus {a} is {self.difference.format_gain()}"


def compare(project: Project, metric: str, name_a: str, name_b: str, *, num_seeds: int = 1) -> Comparison:
    """Compares two experiments or ensembles on the images that are out-of-fold in both.

    One of another models folder has that before its name: `models/cpu/unet_cpu`. With several seeds an image's score is
    its mean over an experiment's runs, see `list_seeds`. Raises InputError where one of them was not evaluated yet, or
    on folds other than the present; the two stand on different folds, so that images of one were trained on by the
    other; or they have no image in common.
    """
    runs = [_load_runs(project, metric, *named, num_seeds) for named in (("A", name_a), ("B", name_b))]
    a, b = map(_average, runs)
    if hash_file(a.project.folds_path) != hash_file(b.project.folds_path):
        raise InputError(
            f"`A` and `B` must stand on the same folds, or one was trained on images that the other is evaluated by. "
            f"Received: {a.project.folds_path} and {b.project.folds_path}, which differ"
        )
    both = a.table.join(b.table["score"].rename("b"), how="inner").rename(columns={"score": "a"}).sort_index()
    if both.empty:
        received = ", ".join(f"{side.name} with {format_folds(side.folds)}" for side in (a, b))
        raise InputError(f"`A` and `B` must have out-of-fold images in common. Received: {received}")
    # Both are written with six digits: what the subtraction adds beyond them is no difference.
    differences = both["difference"] = (both["b"] - both["a"]).round(6)
    folds, groups = list_folds(both), both["group"].tolist()
    pairs = [(other.table["score"] - one.table["score"])[both.index] for one, other in zip(*runs, strict=True)]
    by_seed = tuple(float(pair.mean()) for pair in pairs)
    is_own = not find_metric(metric).over_pixels  # else an image without a pixel of a class has the mean, in both
    changed = both[(differences != 0) & is_own]
    largest = changed.sort_values("difference", key=lambda own: -own.abs(), kind="stable")[:MAX_CHANGES]
    changes = largest.reset_index()[list(Change.model_fields)].to_dict("records")
    alone = [(len(side.table) - len(both), side.name) for side in (a, b)]
    left_out = [f"{count} images of {name} alone are left out" for count, name in alone if count]
    left_out += note_part(metric, len(left_out))

    def describe(letter: str, side: Scores) -> Side:
        return Side(name=side.name, mean=both[letter].mean(), cost=find_cost(side.project, side.experiments, folds))

    return Comparison(
        competition=project.competition,
        metric=metric,
        folds=folds,
        num_images=len(both),
        num_groups=len(set(groups)),
        a=describe("a", a),
        b=describe("b", b),
        difference=bootstrap_mean(differences.to_numpy(), groups),
        share_better=float((differences > 0).mean()),
        share_equal=float((differences == 0).mean()),
        share_worse=float((differences < 0).mean()),
        changes=tuple(Change.model_validate(row) for row in changes),
        by_seed=by_seed,
        notes=(*_say_seeds(by_seed, name_a, name_b), *a.notes, *b.notes, *left_out, *note_few_groups(len(set(groups)))),
    )


def render_comparison(comparison: Comparison) -> str:
    """Renders a comparison for people: the two, the verdict, the images that changed most."""
    header = ("", comparison.metric, "hours", "images trained", "runs", "device")
    rows = []
    for letter, side in (("A", comparison.a), ("B", comparison.b)):
        cost = side.cost
        known = (f"{cost.training_hours:.2f}", str(cost.images), str(cost.runs)) if cost else ("?", "?", "?")
        rows.append((f"{letter}  {side.name}", f"{side.mean:.6f}", *known, ", ".join(cost.devices if cost else ())))
    shares = {"better": comparison.share_better, "equal": comparison.share_equal, "worse": comparison.share_worse}
    parts = [
        f"{comparison.competition}, {format_count(comparison.num_images, 'out-of-fold image')} of "
        f"{format_count(comparison.num_groups, 'group')}, {format_folds(comparison.folds)}",
        str(Table(header=header, rows=tuple(rows), right=frozenset(header[1:5]), once=frozenset({"device"}))),
        comparison.verdict,
    ]
    if not find_metric(comparison.metric).over_pixels:  # else an image has no score of its own
        parts[-1] += f"\nimages: {', '.join(f'{name} {100 * share:.1f} %' for name, share in shares.items())}"
    if comparison.changes:
        columns = ("changed most", "A", "B", "B - A")
        changes = [[row.id, f"{row.a:.6f}", f"{row.b:.6f}", f"{row.difference:+.6f}"] for row in comparison.changes]
        parts.append(render_table(columns, changes, right=set(columns[1:])))
    return "\n\n".join([*parts, render_notes(comparison.notes)])


def _load_runs(project: Project, metric: str, variable: str, given: str, num_seeds: int) -> list[Scores]:
    """Loads the scores of an experiment's runs with several seeds, or of what is named alone."""
    folder, slash, name = given.rstrip("/").rpartition("/")
    if num_seeds > 1 and is_ensemble(name):
        raise InputError(f"`--seeds` must be 1 for an ensemble, which has no seed of its own. Received: {num_seeds}")
    names = [name] if num_seeds == 1 else list_seeds(project.configs_dir, name, num_seeds)
    if slash:
        project = replace(project, models_dir=Path(folder or "/"))
    known = list_all_evaluated(project)
    for missing in (one for one in names if one not in known):
        hint = f". Run `unets predict --exp {missing}`" if missing and project.experiment_dir(missing).is_dir() else ""
        hint = hint if given else ". Name both, as `unets compare unet_1024 unet_640x959`"
        raise InputError(
            f"`{variable}` must be evaluated out-of-fold, in {project.models_dir} one of "
            f"{', '.join(known) or '(none)'}. Received: {f'{folder}{slash}{missing}' or '(nothing)'}{hint}"
        )
    return [load_scores(project, metric, one, label=f"{folder}{slash}{one}") for one in names]


def _average(runs: Sequence[Scores]) -> Scores:
    """Returns the mean scores of several runs, of the images that all have."""
    if len(runs) == 1:
        return runs[0]
    scores = pd.concat([run.table["score"] for run in runs], axis=1, join="inner").mean(axis=1)
    return replace(
        runs[0],
        experiments=tuple(name for run in runs for name in run.experiments),
        table=runs[0].table.loc[scores.index].assign(score=scores),
        notes=tuple(note for run in runs for note in run.notes),
    )


def _say_seeds(by_seed: Sequence[float], *names: str) -> Iterator[str]:
    if len(by_seed) == 1:
        if not any(is_ensemble(Path(name).name) for name in names):
            yield _ONE_SEED
        return
    low, high = (1000 * bound for bound in (min(by_seed), max(by_seed)))
    yield (
        f"the difference is of {len(by_seed)} runs with other seeds of each, image by image of their means; of single "
        f"pairs it is {low:+.2f} to {high:+.2f} x 1e-3. The interval is over images, not over further seeds"
    )
