"""A prediction: the probability maps and the recipes that make an experiment's or an ensemble's mask of an image."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from unets.config import DatasetConfig, is_ensemble
from unets.data.geometry import SizeHW
from unets.ensemble.ensemble import read_ensemble
from unets.ensemble.oof import open_oof
from unets.ensemble.postprocess import ClassMask
from unets.ensemble.recipe import MapU8, Recipe, default_recipe, make_mask
from unets.errors import InputError
from unets.evaluation.scores import find_scores_path, list_folds, read_scores
from unets.prediction.maps import MapReader
from unets.store.paths import Project


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """Probability maps of one or several members, and how they become masks."""

    name: str
    readers: tuple[MapReader, ...]
    recipes: Mapping[str, Recipe]  # by the id of an image; those of images without a mask are missing

    def select(self, ids: Iterable[str]) -> "Prediction":
        """Returns the share of a worker that needs these ids; those that have no mask are left out."""
        recipes = {id_: self.recipes[id_] for id_ in ids if id_ in self.recipes}
        return replace(self, readers=tuple(reader.select(recipes) for reader in self.readers), recipes=recipes)

    def read(self, id_: str) -> tuple[Recipe, list[MapU8]]:
        """Reads the probability maps of an image, those of members without a weight left out, and their recipe."""
        recipe = self.recipes[id_]
        used = [(reader, weight) for reader, weight in zip(self.readers, recipe.weights, strict=True) if weight > 0]
        weights = tuple(weight for _, weight in used)
        return recipe.change(weights=weights), [reader.read_map(id_) for reader, _ in used]

    def make_mask(self, id_: str, full_hw: SizeHW) -> ClassMask:
        """Makes the mask of an image at its full size; see `unets.ensemble.recipe.make_mask`."""
        return make_mask(*self.read(id_), full_hw)


def open_prediction(project: Project, dataset: DatasetConfig, name: str = "ensemble") -> Prediction:
    """Opens what was evaluated out-of-fold: no net has seen the group, and no recipe was fitted on it.

    Raises InputError where it was not evaluated yet, its maps are of other images than its scores, or those of an
    ensemble's members are not those that it was fitted on.
    """
    ensemble = read_ensemble(project, name) if is_ensemble(name) else None
    path, command = find_scores_path(project, name), "`unets ensemble`" if ensemble else f"`unets predict --exp {name}`"
    table = read_scores(path, dataset.metric)
    names = [member.experiment for member in ensemble.members] if ensemble else [name]
    oof = open_oof(project, dataset, names, list_folds(table))
    if {sample.id for sample in oof.samples} != set(table.index):
        raise InputError(f"{path} must hold a score of each image of its folds. Received: other images. Run {command}")
    if not ensemble:
        recipes = dict.fromkeys(table.index, default_recipe(dataset))
    else:
        for member, reader in zip(ensemble.members, oof.readers, strict=True):
            if reader.fingerprint != member.fingerprint:
                raise InputError(
                    f"{ensemble.name} must be of the present maps of {member.experiment}, of fingerprint "
                    f"{member.fingerprint}. Received: {reader.fingerprint}. Run `unets ensemble`"
                )
        recipes = {s.id: ensemble.find_recipe(oof.fold_of[s.id], s.group) for s in oof.samples}
    return Prediction(name=name, readers=oof.readers, recipes=recipes)
