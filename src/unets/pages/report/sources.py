"""Where masks come from: the maps and the recipe by which a subject of the report is judged on the photos of a fold."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from unets.config import DatasetConfig
from unets.data.geometry import SizeHW
from unets.data.samples import Sample
from unets.ensemble.agreement import blend_small, compare_members
from unets.ensemble.ensemble import Ensemble, check_maps
from unets.ensemble.postprocess import ClassMask
from unets.ensemble.recipe import Judges, Recipe, make_mask
from unets.ensemble.score import default_threshold
from unets.errors import InputError
from unets.prediction.maps import MapReader, open_maps
from unets.store.paths import Project


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Maps of some members, and how they become masks."""

    readers: tuple[MapReader, ...]
    judges: Judges

    @property
    def is_jury(self) -> bool:
        """Whether several members decide every photo."""
        return all(sum(weight > 0 for weight in recipe.weights) > 1 for recipe in self.judges.recipes)

    def select(self, ids: Iterable[str]) -> "Source":
        """Returns a worker's share."""
        wanted = list(ids)
        return replace(self, readers=tuple(reader.select(wanted) for reader in self.readers))

    def make_mask(self, sample: Sample, full_hw: SizeHW) -> ClassMask:
        """Makes a photo's mask, uint8 (height, width) class index."""
        recipe, readers = self._find_used(sample)
        return make_mask(recipe, [reader.read_map(sample.id) for reader in readers], full_hw)

    def measure_agreement(self, sample: Sample) -> float:
        """Returns the lowest Dice of a member's mask with the blend's; NaN where there is a single member."""
        recipe, readers = self._find_used(sample)
        maps = [reader.read_map(sample.id) for reader in readers]
        return compare_members(maps, recipe, blend_small(maps, recipe))[1] if len(maps) > 1 else float("nan")

    def _find_used(self, sample: Sample) -> tuple[Recipe, tuple[MapReader, ...]]:
        """Leaves members without a weight out: their maps need not be read, and their disagreement says nothing."""
        recipe = self.judges.find(sample.group)
        used = [(reader, weight) for reader, weight in zip(self.readers, recipe.weights, strict=True) if weight > 0]
        readers, weights = zip(*used, strict=True)
        return recipe.model_copy(update={"weights": weights}), readers


def open_experiment_maps(project: Project, dataset: DatasetConfig, name: str, ids: Iterable[str]) -> MapReader:
    """Opens an experiment's out-of-fold maps.

    Raises:
        InputError: they are damaged, of other classes, or there is none of an id.
    """
    reader = open_maps(project.maps_dir(name, "oof"))
    if reader.classes != dataset.classes:
        raise InputError(
            f"{reader.folder} must hold maps of the classes {', '.join(dataset.classes)}. "
            f"Received: {', '.join(reader.classes)}. Run `make predict EXP={name} FORCE=1`"
        )
    reader.check_ids(ids)
    return reader


def build_experiment_sources(reader: MapReader, folds: Iterable[int], dataset: DatasetConfig) -> dict[int, Source]:
    """Returns an experiment's source for each fold: its maps, cut at the dataset's default, as they are scored."""
    recipe = Recipe(weights=(1.0,), threshold=default_threshold(dataset))
    return dict.fromkeys(folds, Source(readers=(reader,), judges=Judges(recipes=(recipe,))))


def build_ensemble_sources(ensemble: Ensemble, readers: Mapping[str, MapReader]) -> dict[int, Source]:
    """Returns an ensemble's source for each fold: each photo's mask is the one that was scored.

    Raises:
        InputError: a member's maps are missing, or are not those that the ensemble was fitted on; or it is of a version
            that did not say by which recipes one fold was judged.
    """
    check_maps(ensemble, {name: reader.fingerprint for name, reader in readers.items()})
    chosen = tuple(readers[member.experiment] for member in ensemble.members)
    return {fold: Source(readers=chosen, judges=ensemble.find_judges(fold)) for fold in ensemble.folds}


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
    return equal | {fold: source for fold, source in own.items() if source.is_jury}


def _weigh_equally(alone: Sequence[Source]) -> Source:
    """Joins experiments' sources, which all cut at the dataset's default threshold."""
    readers = tuple(reader for source in alone for reader in source.readers)
    recipe = alone[0].judges.recipes[0].model_copy(update={"weights": (1 / len(readers),) * len(readers)})
    return Source(readers=readers, judges=Judges(recipes=(recipe,)))


@dataclass(frozen=True, kw_only=True, slots=True)
class JuryTask:
    """Some photos of one fold, and whose disagreement on them is measured."""

    samples: tuple[Sample, ...]
    source: Source


def measure_agreements(task: JuryTask) -> list[float]:
    """Measures a worker's share of the photos."""
    return [task.source.measure_agreement(sample) for sample in task.samples]
