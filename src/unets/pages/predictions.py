"""A prediction: the probability maps and the recipes that make an experiment's or an ensemble's mask of an image."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from unets.config import DatasetConfig
from unets.data.samples import Sample
from unets.ensemble.ensemble import Ensemble, check_maps
from unets.ensemble.recipe import Recipe, Recipes, default_recipe
from unets.errors import InputError
from unets.prediction.maps import MapReader, open_maps
from unets.store.paths import Project

MapU8 = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """Probability maps of one or several members, and how they become masks."""

    name: str
    readers: tuple[MapReader, ...]
    recipes: dict[int | None, Recipes]  # by fold; None is the test set

    def select(self, ids: Iterable[str]) -> "Prediction":
        """Returns the share of a worker that needs these ids; those that have no map are left out."""
        wanted = list(ids)
        readers = tuple(reader.select(id_ for id_ in wanted if id_ in reader.shard_of) for reader in self.readers)
        return replace(self, readers=readers)

    def has(self, sample: Sample, fold: int | None) -> bool:
        """Tells whether there is a mask of an image."""
        return fold in self.recipes and all(sample.id in reader.shard_of for reader in self.readers)

    def read(self, sample: Sample, fold: int | None) -> tuple[Recipe, list[MapU8]]:
        """Reads the probability maps of an image, those of members without a weight left out, and their recipe.

        The mask of an out-of-fold image is made by the recipe that it was scored with.
        """
        recipe = self.recipes[fold].find(sample.group)
        used = [(reader, weight) for reader, weight in zip(self.readers, recipe.weights, strict=True) if weight > 0]
        weights = tuple(weight for _, weight in used)
        return recipe.model_copy(update={"weights": weights}), [reader.read_map(sample.id) for reader, _ in used]


def open_experiment(
    project: Project, dataset: DatasetConfig, name: str, ids: Iterable[str], folds: Iterable[int]
) -> Prediction:
    """Opens an experiment's out-of-fold probability maps, thresholded as they are scored.

    Raises:
        InputError: they are damaged, of other classes, or there is none of an id.
    """
    reader = open_maps(project.maps_dir(name, "oof"))
    if reader.classes != dataset.classes:
        raise InputError(
            f"`{reader.folder}` must hold probability maps of the classes {', '.join(dataset.classes)}. "
            f"Received: {', '.join(reader.classes)}. Run `unets predict --exp {name} --force`"
        )
    reader.check_ids(ids)
    recipe = default_recipe(dataset)
    return Prediction(name=name, readers=(reader,), recipes=dict.fromkeys(folds, Recipes(recipes=(recipe,))))


def open_ensemble(ensemble: Ensemble, members: Mapping[str, Prediction]) -> Prediction:
    """Returns an ensemble's prediction of out-of-fold images.

    Args:
        ensemble: what was fitted.
        members: experiments by name, from `open_experiment`.

    Raises:
        InputError: a member's probability maps are missing, or are not those that the ensemble was fitted on.
    """
    check_maps(ensemble, {name: member.readers[0].fingerprint for name, member in members.items()})
    readers = tuple(members[member.experiment].readers[0] for member in ensemble.members)
    recipes: dict[int | None, Recipes] = {fold: ensemble.find_recipes(fold) for fold in ensemble.folds}
    return Prediction(name=ensemble.name, readers=readers, recipes=recipes)


def join_equally(predictions: Sequence[Prediction], fold: int | None) -> Prediction | None:
    """Returns the mean of the experiments that predicted a fold; None where none did."""
    alone = [prediction for prediction in predictions if fold in prediction.recipes]
    if not alone:
        return None
    readers = tuple(reader for prediction in alone for reader in prediction.readers)
    recipe = alone[0].recipes[fold].recipes[0].model_copy(update={"weights": (1 / len(readers),) * len(readers)})
    return Prediction(name="mean", readers=readers, recipes={fold: Recipes(recipes=(recipe,))})
