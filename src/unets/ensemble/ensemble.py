"""The ensemble: which maps are averaged how, their threshold, and what that reached out-of-fold; `ensemble.json`.

What is fitted must show a gain (`selection`); what does not leaves equal weights, the default threshold and no
post-processing.
"""

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from unets.config import Config, DatasetConfig, EnsembleConfig, Postprocessing, Share, SizeHW, Threshold, is_ensemble
from unets.ensemble.recipe import Recipe
from unets.ensemble.selection import CandidateResult
from unets.errors import InputError
from unets.metrics.intervals import Interval
from unets.prediction.maps import MapReader, open_maps
from unets.store.paths import Project
from unets.store.runs import hash_file, read_config


class Member(Config):
    """One experiment of an ensemble; what it reaches alone, out-of-fold, at the default threshold; and what it adds."""

    experiment: str
    weight: Share  # all members' weights sum to 1
    fingerprint: str  # of its maps
    score: Interval
    score_no_tta: float | None  # None: no such maps
    gain: Interval | None  # of the ensemble over itself without this member, paired; None: it is the only one


class Ensemble(Config):
    """What the final masks are made of, and what they reached out-of-fold; `ensemble.json`.

    Scores and gains are of images under the recipe that was fitted without their part.
    """

    competition: str
    name: str  # `ensemble` or `ensemble_<...>`, as its config file
    config: EnsembleConfig  # what was asked for
    members: tuple[Member, ...]
    threshold: Threshold
    postprocessing: Postprocessing
    overlapping: bool  # whether a pixel may be of several classes
    metric: str
    folds: tuple[int, ...]  # whose images it was evaluated on
    folds_sha256: str  # of the fold file
    num_images: int
    num_groups: int
    num_parts: int  # that images were split into; 1: there was nothing to evaluate a fit by
    score: Interval
    gain_over_start: Interval  # of all that was kept over `start`; paired
    best_member: str
    gain_over_best_member: Interval  # paired, image by image
    gain_of_tta: Interval | None  # of TTA in all members; None: no such maps
    candidates: tuple[CandidateResult, ...]
    start: Recipe  # what the config gives, the rest at its default: nothing of it is fitted
    recipes_by_part: tuple[Recipe, ...]  # each fitted on the other parts; parts are the folds, or those of one fold
    part_of_group: dict[str, int] = Field(default_factory=dict)  # of one fold: the part that a group is in
    ground_truth: dict[str, Any]  # what of the data set decides its ground truth
    image_hw: SizeHW | None = None  # size of all images, whose pixels post-processing counts in; None: of many sizes

    @property
    def recipe(self) -> Recipe:
        """How maps of `used_members` become the final mask."""
        fields = {name: getattr(self, name) for name in Recipe.model_fields if name != "weights"}
        return Recipe(weights=tuple(member.weight for member in self.used_members), **fields)

    @property
    def used_members(self) -> tuple[Member, ...]:
        """Members whose weight is not 0."""
        return tuple(member for member in self.members if member.weight > 0)

    def find_recipe(self, fold: int, group: str | None = None) -> Recipe:
        """Returns how maps of all `members` become the mask of an image, by a recipe of which nothing was fitted on it.

        The fold is that which the image is in, or whose nets alone see it; an image that was evaluated has its group,
        too. Without a group, as for pseudo-labels, an ensemble of that fold alone gives its start, as all else was
        fitted on the fold, and one of other folds alone its recipe. Raises InputError where the group was not
        evaluated.
        """
        if fold in self.folds and len(self.folds) > 1:
            return self.recipes_by_part[self.folds.index(fold)]
        if group is None:
            weights = tuple(member.weight for member in self.members)
            return self.start if fold in self.folds else self.recipe.change(weights=weights)
        if fold not in self.folds or group not in self.part_of_group:
            raise InputError(
                f"{self.name} must say by which recipe {group} of fold {fold} was evaluated. Received: nothing of it. "
                f"Run `unets ensemble`"
            )
        return self.recipes_by_part[self.part_of_group[group]]


def read_ensemble(project: Project, name: str = "ensemble") -> Ensemble:
    """Reads what `fit_ensemble` wrote; raises InputError where there is none, or it is something else."""
    path = project.ensemble_path(name)
    if not path.is_file():
        raise InputError(f"{path} must exist. Received: no such file. Run `unets ensemble`")
    return read_config(path, Ensemble, remedy="`unets ensemble` makes it again")


def list_fitted(project: Project) -> list[str]:
    """Returns the names of the ensembles that were fitted, sorted."""
    return sorted(path.stem for path in project.models_dir.glob("ensemble*.json") if is_ensemble(path.stem))


def check_folds(project: Project, ensemble: Ensemble) -> None:
    """Raises InputError where the fold file has changed since an ensemble was evaluated."""
    if hash_file(project.folds_path) != ensemble.folds_sha256:
        raise InputError(
            f"{project.ensemble_path(ensemble.name)} must be of the folds in {project.folds_path}. Received: one of "
            f"other folds. Run `unets ensemble`"
        )


def open_member_maps(
    project: Project, dataset: DatasetConfig, experiment: str, kind: str, fingerprint: str | None = None
) -> MapReader:
    """Opens the probability maps of an experiment; `kind` is `oof` or `test`.

    Raises InputError where there are none, they are of other classes, or not those of the fingerprint, if one is asked
    for.
    """
    reader = open_maps(project.maps_dir(experiment, kind))
    if reader.classes != dataset.classes:
        raise InputError(
            f"{reader.folder} must hold probability maps of the classes {', '.join(dataset.classes)}. Received: "
            f"{', '.join(reader.classes)}. Run `unets predict --exp {experiment} --force`"
        )
    if fingerprint not in (None, reader.fingerprint):
        raise InputError(
            f"{reader.folder} must hold the maps of fingerprint {fingerprint}, with which the ensemble was fitted. "
            f"Received: {reader.fingerprint}. Run `unets predict --exp {experiment}` and `unets ensemble`"
        )
    return reader


def check_ensemble(ensemble: Ensemble, dataset: DatasetConfig, config: EnsembleConfig, folds: Sequence[int]) -> None:
    """Raises InputError where an ensemble is not the one asked for: its experiments and folds, what is given or fitted,
    and by which metric and ground truth it was evaluated.
    """
    names, numbers = ",".join(config.experiments), ",".join(map(str, folds))
    found = [member.experiment for member in ensemble.members]
    if sorted(found) != sorted(config.experiments) or sorted(ensemble.folds) != sorted(folds):
        raise InputError(
            f"The ensemble must be of {names}, folds {numbers}. Received: one of {','.join(found)}, folds "
            f"{','.join(map(str, ensemble.folds))}. Run `unets ensemble --exp {names} --fold {numbers}`"
        )
    wanted = _describe_choices(config, dataset.metric, describe_ground_truth(dataset))
    there = _describe_choices(ensemble.config, ensemble.metric, ensemble.ground_truth)
    if fields := [field for field in wanted if wanted[field] != there.get(field)]:
        asked, received = (", ".join(f"{f}={choices.get(f)}" for f in fields) for choices in (wanted, there))
        raise InputError(f"The {ensemble.name} must be made with {asked}. Received: {received}. Run `unets ensemble`")


def describe_ground_truth(dataset: DatasetConfig) -> dict[str, Any]:
    """Returns what of a data set decides its ground truth, as JSON values."""
    return dataset.model_dump(mode="json", include={"classes", "overlapping", "has_background", "has_ignored"})


def _describe_choices(config: EnsembleConfig, metric: str, ground_truth: dict[str, Any]) -> dict[str, object]:
    """Returns what is given or to be fitted, and by what; weights by experiment, whose order decides nothing."""
    choices = config.model_dump(exclude={"experiments"}) | {"metric": metric, **ground_truth}
    if not isinstance(config.weights, str):
        choices["weights"] = dict(zip(config.experiments, config.weights, strict=True))
    return choices
