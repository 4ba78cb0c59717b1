"""What an experiment or ensemble made of the training photos, out-of-fold: each one's score and mask."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unets.config import DatasetConfig, is_ensemble
from unets.data.samples import Sample
from unets.ensemble.ensemble import check_maps, read_ensemble
from unets.ensemble.oof import OofTask, open_oof
from unets.ensemble.postprocess import ClassMask
from unets.ensemble.recipe import Recipes, default_recipe, make_mask
from unets.errors import InputError
from unets.evaluation.runs import read_scores
from unets.store.paths import Project


@dataclass(frozen=True, kw_only=True, slots=True)
class OutOfFold:
    """The photos that one name was evaluated on, and how to see what it made of them."""

    name: str
    scores: npt.NDArray[np.float64]  # of each photo, by the competition's metric at full size
    oof: OofTask
    recipes_of_fold: dict[int, Recipes]

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The photos, in the order of the scores."""
        return self.oof.samples

    def read(self, index: int) -> tuple[ClassMask, ClassMask]:
        """Reads a photo's (true mask, mask that was evaluated), uint8 (height, width) class index at full size.

        No net has seen the photo's group, and of an ensemble nothing was fitted on it.
        """
        truth_hw, maps = self.oof.read_maps(index)
        sample = self.samples[index]
        recipe = self.recipes_of_fold[self.oof.fold_of[sample.id]].find(sample.group)
        return truth_hw, make_mask(recipe, maps, (truth_hw.shape[0], truth_hw.shape[1]))

    def list_worst(self) -> list[int]:
        """Lists the photos from the lowest score on; of equal ones the first comes first."""
        return [int(index) for index in np.argsort(self.scores, kind="stable")]


def open_out_of_fold(project: Project, dataset: DatasetConfig, name: str = "ensemble") -> OutOfFold:
    """Opens what was evaluated out-of-fold.

    Args:
        project: the folders.
        dataset: the dataset's declaration.
        name: an experiment, `ensemble` or `ensemble_<...>`.

    Raises:
        InputError: it was not evaluated yet, its maps are of other photos than its scores, or those of an ensemble's
            members are not those that it was fitted on.
    """
    ensemble = read_ensemble(project, name) if is_ensemble(name) else None
    if ensemble is not None:
        path, experiments = project.ensemble_oof_path(name), [member.experiment for member in ensemble.members]
    else:
        path, experiments = project.oof_scores_path(name), [name]
    score_of = {row.id: (row.score, row.fold) for row in read_scores(path, dataset.metric)}
    folds = sorted({fold for _, fold in score_of.values()})
    oof = open_oof(project, dataset, experiments, folds)
    if {sample.id for sample in oof.samples} != score_of.keys():
        commands = _name_commands(name, experiments)
        raise InputError(f"{path} must hold a score of each photo of its folds. Received: other photos. Run {commands}")
    if ensemble is None:
        alone = default_recipe(dataset)
        recipes_of_fold = dict.fromkeys(folds, Recipes(recipes=(alone,)))
    else:
        check_maps(ensemble, dict(zip(experiments, (reader.fingerprint for reader in oof.readers), strict=True)))
        recipes_of_fold = {fold: ensemble.find_recipes(fold) for fold in folds}
    return OutOfFold(
        name=name,
        scores=np.array([score_of[sample.id][0] for sample in oof.samples]),
        oof=oof,
        recipes_of_fold=recipes_of_fold,
    )


def _name_commands(name: str, experiments: Sequence[str]) -> str:
    return "`unets ensemble`" if is_ensemble(name) else f"`unets predict --exp {experiments[0]}`"
