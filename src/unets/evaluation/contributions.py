"""What each part of an ensemble contributes out-of-fold, and what it costs: two tables."""

from unets.config import STEPS
from unets.ensemble.ensemble import Ensemble
from unets.evaluation.runs import find_cost
from unets.log import format_count, format_folds
from unets.metrics.intervals import MIN_GROUPS, Interval, note_few_groups
from unets.store.paths import Project
from unets.tables import Table, render_notes

_WORDS = {"weights": "weights, by forward selection", "threshold": "threshold", **STEPS}


def render_contributions(project: Project, ensemble: Ensemble) -> str:
    """Renders an ensemble's members, with the hours of their training, and all that was tried on their mean."""
    parts = [
        f"{ensemble.name} of {ensemble.competition}, {format_count(ensemble.num_images, 'out-of-fold image')} of "
        f"{format_count(ensemble.num_groups, 'group')}, {format_folds(ensemble.folds)}: "
        f"{ensemble.metric} {ensemble.score}",
        str(tabulate_members(project, ensemble)),
        str(tabulate_candidates(ensemble)),
        render_notes(list_notes(ensemble)),
    ]
    return "\n\n".join(parts)


def tabulate_members(project: Project, ensemble: Ensemble) -> Table:
    """Returns what each member weighs, reaches alone, adds and cost; with a row of all where there are several."""
    header = ("member", "weight", ensemble.metric, "no TTA", "hours", "the ensemble gains by it", "device")
    costs = [find_cost(project, [member.experiment], ensemble.folds) for member in ensemble.members]
    rows = [
        (
            member.experiment,
            f"{member.weight:.4f}",
            str(member.score),
            "" if member.score_no_tta is None else f"{member.score_no_tta:.5f}",
            f"{cost.training_hours:.2f}" if cost else "?",
            "" if member.gain is None else member.gain.format_gain(),
            ", ".join(cost.devices) if cost else "",
        )
        for member, cost in zip(ensemble.members, costs, strict=True)
    ]
    if len(rows) > 1:
        # Not their sum: members may have started from the same run.
        whole = find_cost(project, [member.experiment for member in ensemble.members], ensemble.folds)
        total = f"{whole.training_hours:.2f}" if whole else "?"
        devices = whole.devices if whole and len(whole.devices) == 1 else ("",)
        rows.append(("all", "1.0000", str(ensemble.score), "", total, "", *devices))
    return Table(header=header, rows=tuple(rows), right=frozenset(header[1:5]), once=frozenset({"device"}))


def tabulate_candidates(ensemble: Ensemble) -> Table:
    """Returns `list_tried` as a table."""
    rows = [(tried, value, gain.format_gain(), why) for tried, value, gain, why in list_tried(ensemble)]
    return Table(header=("tried", "value", "gain (95 %)", ""), rows=tuple(rows))


def list_tried(ensemble: Ensemble) -> list[tuple[str, str, Interval, str]]:
    """Lists what was tried on the members' mean, its value, what it gained, what came of it."""
    rows = []
    for one in ensemble.candidates:
        words = one.value.split()
        value = " ".join(words[:5] + ["..."] * (len(words) > 5))
        rows.append((" of ".join(filter(None, (_WORDS[one.what], one.of_class))), value, one.gain, one.reason))
    if ensemble.gain_of_tta is not None:
        rows.append(("TTA, over no TTA", "", ensemble.gain_of_tta, "as predicted"))
    if len(ensemble.members) > 1:
        gain = ensemble.gain_over_best_member
        rows.append(("the whole, over the best member", ensemble.best_member, gain, gain.verdict))
    return [*rows, ("all that was kept", "", ensemble.gain_over_start, "")]


def list_notes(ensemble: Ensemble) -> list[str]:
    """Says what to keep in mind of an ensemble's score and gains."""
    notes = note_few_groups(ensemble.num_groups)
    text = (
        "where a fold's best epoch was kept (training.keep=best), that fold chose it: its scores are a little too good"
    )
    notes.append(text)
    if ensemble.num_groups < MIN_GROUPS:
        return [*notes, f"nothing is tried below {MIN_GROUPS} groups: what gains may be chance"]
    how = "folds" if len(ensemble.folds) > 1 else "parts of the fold"
    notes.append(f"what is fitted is evaluated on images that it was not fitted on, over {ensemble.num_parts} {how}")
    if any(one.is_kept for one in ensemble.candidates):
        notes.append(
            f"which candidates are kept is decided by these same gains: {ensemble.metric} and the gain of all that was "
            f"kept are a little too good"
        )
    return notes


def describe_gain(ensemble: Ensemble) -> str:
    """Says whether the ensemble is better than its best member."""
    if len(ensemble.members) == 1:
        return f"The ensemble has one member, {ensemble.best_member}."
    gain = ensemble.gain_over_best_member
    verdict = gain.verdict if gain.excludes_zero else "no better"
    return f"The ensemble is {verdict} than its best member, {ensemble.best_member}, out-of-fold: {gain.format_gain()}."
