"""Where masks come from: the maps and the recipe by which a subject of the report is judged on the photos of a fold."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from unets.config import DatasetConfig
from unets.data.geometry import SizeHW
from unets.errors import InputError
from unets.inference.agreement import blend_small, compare_members
from unets.inference.ensemble import Ensemble
from unets.inference.maps import MapReader, open_maps
from unets.inference.postprocess import ClassMask
from unets.inference.recipe import Recipe, make_mask
from unets.inference.score import default_threshold
from unets.paths import Project


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Maps of some members, and how they become masks."""

    readers: tuple[MapReader, ...]
    recipe: Recipe

    def select(self, ids: Iterable[str]) -> "Source":
        """Returns a worker's share."""
        wanted = list(ids)
        return Source(readers=tuple(reader.select(wanted) for reader in self.readers), recipe=self.recipe)

    def make_mask(self, id_: str, full_hw: SizeHW) -> ClassMask:
        """Makes a photo's mask, uint8 (height, width) class index."""
        return make_mask(self.recipe, [reader.read_map(id_) for reader in self.readers], full_hw)

    def measure_agreement(self, id_: str) -> float:
        """Returns the lowest Dice of a member's mask with the blend's; NaN where there is a single member."""
        maps = [reader.read_map(id_) for reader in self.readers]
        return compare_members(maps, self.recipe, blend_small(maps, self.recipe))[1] if len(maps) > 1 else float("nan")


def open_experiment_maps(project: Project, dataset: DatasetConfig, name: str, ids: Iterable[str]) -> MapReader:
    """Opens an experiment's out-of-fold maps.

    Raises:
        InputError: they are damaged, of other classes, or there is none of an id.
    """
    reader = open_maps(project.maps_dir(name, "oof"))
    if reader.classes != dataset.classes:
        raise InputError(
            f"{reader.folder} must hold maps of the classes {', '.join(dataset.classes)}. "
            f"Received: {', '.join(reader.classes)}. Run `make predict EXP={name} ANEW=1`"
        )
    reader.check_ids(ids)
    return reader


def build_experiment_sources(reader: MapReader, folds: Iterable[int], dataset: DatasetConfig) -> dict[int, Source]:
    """Returns an experiment's source for each fold: its maps, cut at the dataset's default, as they are scored."""
    recipe = Recipe(weights=(1.0,), threshold=default_threshold(dataset))
    return dict.fromkeys(folds, Source(readers=(reader,), recipe=recipe))


def build_ensemble_sources(ensemble: Ensemble, readers: Mapping[str, MapReader]) -> dict[int, Source]:
    """Returns an ensemble's source for each fold: of its recipe nothing was fitted on that fold.

    Raises:
        InputError: a member's maps are missing, or are not those that the ensemble was fitted on.
    """
    for member in ensemble.members:
        found = readers[member.experiment].fingerprint if member.experiment in readers else "none"
        if found != member.fingerprint:
            raise InputError(
                f"{ensemble.name} must be of the present maps of {member.experiment}, of fingerprint "
                f"{member.fingerprint}. Received: {found}. Run `make ensemble`"
            )
    return {fold: _use_members(ensemble, readers, ensemble.find_recipe(fold)) for fold in ensemble.folds}


def _use_members(ensemble: Ensemble, readers: Mapping[str, MapReader], recipe: Recipe) -> Source:
    """Leaves members without a weight out: their maps need not be read, and their disagreement says nothing."""
    used = [
        (readers[member.experiment], weight)
        for member, weight in zip(ensemble.members, recipe.weights, strict=True)
        if weight > 0
    ]
    chosen, weights = zip(*used, strict=True)
    return Source(readers=chosen, recipe=recipe.model_copy(update={"weights": weights}))


def build_jury(sources: Mapping[str, Mapping[int, Source]], ensemble_name: str) -> dict[int, Source]:
    """Returns whose disagreement makes a photo of each fold a disputed one.

    The ensemble's members, where it has several; else all experiments, equally weighted.
    """
    own = dict(sources.get(ensemble_name, {}))
    by_fold: dict[int, list[Source]] = {}
    for name, by_own_fold in sources.items():
        for fold, source in by_own_fold.items():
            by_fold.setdefault(fold, []).extend([source] if name != ensemble_name else [])
    equal = {fold: _weigh_equally(alone) for fold, alone in by_fold.items() if len(alone) > 1}
    return equal | {fold: source for fold, source in own.items() if len(source.readers) > 1}


def _weigh_equally(alone: Sequence[Source]) -> Source:
    """Joins experiments' sources, which all cut at the dataset's default threshold."""
    readers = tuple(reader for source in alone for reader in source.readers)
    recipe = alone[0].recipe.model_copy(update={"weights": (1 / len(readers),) * len(readers)})
    return Source(readers=readers, recipe=recipe)


@dataclass(frozen=True, kw_only=True, slots=True)
class JuryTask:
    """Some photos of one fold, and whose disagreement on them is measured."""

    ids: tuple[str, ...]
    source: Source


def measure_agreements(task: JuryTask) -> list[float]:
    """Measures a worker's share of the photos."""
    return [task.source.measure_agreement(id_) for id_ in task.ids]
