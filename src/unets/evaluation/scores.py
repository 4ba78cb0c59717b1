"""Out-of-fold scores of experiments and ensembles, image by image.

They count where they are of the present folds: on others an image's net may have seen the image's group, and its score
would be too good.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from unets.config import is_ensemble
from unets.dataset.manifest import has_other_masks
from unets.ensemble.ensemble import Ensemble, list_fitted, read_ensemble
from unets.errors import InputError, naming
from unets.evaluation.runs import Cost, find_cost, list_folders
from unets.metrics.intervals import Interval, bootstrap_mean
from unets.metrics.masks import find_metric
from unets.prediction.maps import list_shards, open_maps
from unets.store.paths import Project
from unets.store.run_folder import SNAPSHOT, WEIGHTS
from unets.store.runs import hash_file, read_json
from unets.tables import Table

_ROUNDING = 1e-6  # of the scores in a csv


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The out-of-fold scores of an experiment or an ensemble."""

    name: str  # as it was asked for
    project: Project
    metric: str
    experiments: tuple[str, ...]  # it is made of
    table: pd.DataFrame  # see `read_scores`
    notes: tuple[str, ...]  # what to keep in mind

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds whose images are scored, ascending."""
        return list_folds(self.table)

    @property
    def num_groups(self) -> int:
        """Number of groups that the images are of."""
        return int(self.table["group"].nunique())

    @property
    def cost(self) -> Cost | None:
        """What the training of these folds cost, all members together; None: a metrics.json is gone."""
        return find_cost(self.project, self.experiments, self.folds)

    @cached_property
    def interval(self) -> Interval:
        """The mean over the images."""
        return bootstrap_mean(self.table["score"].to_numpy(), self.table["group"].tolist())

    def select(self, folds: Collection[int]) -> "Scores":
        """Returns the scores of some folds' images; raises InputError where there are none."""
        table = self.table[self.table["fold"].isin(folds)]
        if table.empty:
            raise InputError(f"{self.name} must be evaluated on one of the folds asked for. Received: none of them")
        notes = note_part(self.metric, len(self.table) - len(table))
        return replace(self, table=table, notes=(*self.notes, *(f"{self.name}: {note}" for note in notes)))


def list_evaluated(project: Project) -> list[str]:
    """Returns the names of the experiments that were predicted and scored out-of-fold, sorted."""
    names = [folder.name for folder in list_folders(project.models_dir)]
    return [name for name in names if project.oof_scores_path(name).exists()]


def list_all_evaluated(project: Project) -> list[str]:
    """Returns the names of the experiments, and then of the ensembles, that were evaluated out-of-fold."""
    return list_evaluated(project) + list_fitted(project)


def find_scores_path(project: Project, name: str) -> Path:
    """Returns the path of the csv of scores of an experiment or an ensemble."""
    return project.ensemble_oof_path(name) if is_ensemble(name) else project.oof_scores_path(name)


def list_folds(table: pd.DataFrame) -> tuple[int, ...]:
    """Returns the folds in a table of scores, ascending."""
    return tuple(sorted(table["fold"].unique().tolist()))


def read_scores(path: Path, metric: str) -> pd.DataFrame:
    """Reads a csv of out-of-fold scores, `id,group,fold,<metric>` and maybe `<metric>_no_tta`.

    It has the columns `group`, `fold`, `score` and perhaps `no_tta`, NaN where a cell is empty; the index is `id`.
    Raises InputError where it is missing or empty, something else stands in it, or it changed since it was written.
    """
    remedy = "Run `unets predict`, for an ensemble `unets ensemble`"
    if not path.is_file():
        raise InputError(f"{path} must exist. Received: no such file. {remedy}")
    record, digest = path.with_name("oof_pixels.json"), hash_file(path)  # the former beside an experiment's scores
    if record.exists() and read_json(record, remedy="Run `unets predict`").get("scores", digest) != digest:
        raise InputError(f"{path} must be as {record.name} says. Received: other bytes. Run `unets predict`")
    expected = f"hold at least one row of id,group,fold,{metric}"
    types = {"id": str, "group": str, "fold": int, metric: float}
    with naming(path, expected, remedy=remedy):
        table = pd.read_csv(path, dtype=types, keep_default_na=False, na_values=[""], index_col=False)
        if metric not in table:
            raise ValueError(f"scores by {', '.join(table.columns[3:])}")
        table = table.rename(columns={metric: "score", f"{metric}_no_tta": "no_tta"}).set_index("id")
        is_whole = np.isfinite(table["score"]).all() and table[["group", "fold"]].notna().all(axis=None)
    if table.empty or not is_whole or table.index.has_duplicates:
        raise InputError(
            f"{path} must {expected}, each id once, with a score. Received: no row, an id twice, or no score"
        )
    return table


def load_scores(project: Project, metric: str, name: str, *, label: str = "") -> Scores:
    """Reads the scores of an experiment or an ensemble, which messages call by `label`, and checks their folds.

    Raises InputError where its files are missing or something else stands in them, or it was trained or evaluated on
    other folds than the present ones.
    """
    label, path = label or name, project.folds_path
    if not path.exists():
        raise InputError(f"{path} must exist: it says what is out-of-fold. Received: no such file")
    table = read_scores(find_scores_path(project, name), metric)
    if is_ensemble(name):
        ensemble = read_ensemble(project, name)
        experiments = tuple(member.experiment for member in ensemble.members)
        hashes, changed = {ensemble.folds_sha256}, _find_changed_members(project, ensemble)
        command = "unets predict && unets ensemble"
        mean = float(table["score"].mean())
        if len(table) != ensemble.num_images or abs(mean - ensemble.score.mean) > _ROUNDING:
            raise InputError(
                f"{find_scores_path(project, name)} must hold the scores of {project.ensemble_path(name)}, "
                f"{ensemble.num_images} images with mean {ensemble.score.mean:.6f}. Received: {len(table)} with "
                f"{mean:.6f}. Run `unets ensemble`"
            )
    else:
        experiments, changed, command = (name,), find_changed(project, name), f"unets predict --exp {name}"
        remedy = f"{label} is evaluated by it. Run `unets train --exp {name} && unets predict --exp {name}`"
        snapshots = [project.run_dir(name, fold) / SNAPSHOT for fold in list_folds(table)]
        hashes = {str(read_json(own, folds_hash=str, remedy=remedy)["folds_hash"]) for own in snapshots}
    with naming(path, "be a csv of id,group,fold"):
        fold_of = pd.read_csv(path, dtype=str, keep_default_na=False).set_index("id")["fold"]
    is_agreed = (fold_of.reindex(table.index) == table["fold"].astype(str)).all()
    if not is_agreed or hashes != {hash_file(path)}:
        raise InputError(
            f"{label} must be trained and evaluated on the present folds, {path}. Received: other folds. "
            f"`unets clean --exp {','.join(experiments)}` deletes its runs, so that they can be made again"
        )
    notes = tuple(f"{label} was evaluated before the present {what}: run `{command}`" for what in changed)
    return Scores(name=label, project=project, metric=metric, experiments=experiments, table=table, notes=notes)


def note_part(metric: str, num_left_out: int) -> list[str]:
    """Says what a mean over a part of the evaluated images is, where the metric is over the pixels of all together."""
    words = f"{metric} is of all pixels together: of a part of the evaluated images the score is approximate"
    return [words] if num_left_out and find_metric(metric).over_pixels else []


def find_changed(project: Project, experiment: str) -> list[str]:
    """Returns which of `weights` and `masks` are others than those that an experiment's out-of-fold scores are of."""
    path = project.oof_pixels_path(experiment)
    if not path.exists():
        return []
    record = read_json(path, weights=dict[int, str])
    weights = {project.run_dir(experiment, fold) / WEIGHTS: digest for fold, digest in record["weights"].items()}
    has_others = any(path.exists() and hash_file(path) != digest for path, digest in weights.items())
    return ["weights"] * has_others + ["masks"] * has_other_masks(project, record)


def _find_changed_members(project: Project, ensemble: Ensemble) -> list[str]:
    """Does `find_changed` for all members together, whose maps count, too; deleted maps are no others."""
    changed = []
    for member in ensemble.members:
        folder = project.maps_dir(member.experiment, "oof")
        has_others = bool(list_shards(folder)) and open_maps(folder).fingerprint != member.fingerprint
        if has_others or "weights" in find_changed(project, member.experiment):
            changed.append(member.experiment)
    found = [f"weights or maps of {', '.join(changed)}"] if changed else []
    return found + ["masks"] * has_other_masks(project, ensemble.ground_truth)


def tabulate_scores(
    project: Project, metric: str, experiments: Iterable[str], folds: Collection[int] | None = None
) -> Table:
    """Returns what experiments reached out-of-fold, a row each; what cannot be read says so.

    Experiments without a score of the folds are left out; None keeps all.
    """
    rows = []
    for name in experiments:
        try:
            table = read_scores(project.oof_scores_path(name), metric)
        except InputError as error:
            rows.append((name, "", "", "", "", str(error)))
            continue
        if folds is None or table["fold"].isin(folds).any():
            groups = table["group"].tolist()
            interval = bootstrap_mean(table["score"].to_numpy(), groups)
            counts = (",".join(map(str, list_folds(table))), str(len(table)), str(len(set(groups))))
            remark = "; ".join(f"of other {what} than the present" for what in find_changed(project, name))
            rows.append((name, str(interval), *counts, remark))
    header = ("out-of-fold, full size", "score (95 %)", "folds", "images", "groups", "")
    return Table(header=header, rows=tuple(rows), right=frozenset({"images", "groups"}))
