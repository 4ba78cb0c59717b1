import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.pages.report.conftest import Trained
from tests.trained_competition import NO_BACKGROUND, write_maps
from unets.config import DatasetConfig
from unets.data.samples import read_mask
from unets.dataset.manifest import read_manifest
from unets.ensemble.ensemble import read_ensemble
from unets.ensemble.recipe import Judges, Recipe, make_mask
from unets.ensemble.score import score_mask
from unets.errors import InputError
from unets.pages.report.sources import (
    Source,
    build_ensemble_sources,
    build_experiment_sources,
    build_jury,
    open_experiment_maps,
)
from unets.prediction.maps import MapReader, open_maps


def name(letter: str) -> MapReader:
    """A reader that is known by its folder."""
    return MapReader(folder=Path(letter), nets={"0": letter}, classes=("car",), size_hw=(4, 4), shard_of={})


def build(weights: tuple[float, ...], letters: str) -> Source:
    return Source(readers=tuple(map(name, letters)), judges=Judges(recipes=(Recipe(weights=weights),)))


def build_alone(letter: str, folds: tuple[int, ...]) -> dict[int, Source]:
    return build_experiment_sources(name(letter), folds, DatasetConfig())


def list_readers(jury: dict[int, Source]) -> dict[int, tuple[str, tuple[float, ...]]]:
    return {
        fold: ("".join(reader.folder.name for reader in source.readers), source.judges.recipes[0].weights)
        for fold, source in sorted(jury.items())
    }


def test_the_jury_is_the_ensembles_members_where_it_has_several() -> None:
    sources = {
        "ensemble": {0: build((0.7, 0.3), "ab"), 1: build((1.0,), "a")},
        "a": build_alone("a", (0, 1)),
        "b": build_alone("b", (0, 1)),
        "c": build_alone("c", (0,)),
    }
    # In fold 1 one member has all the weight: the experiments judge, and there are two.
    assert list_readers(build_jury(sources, "ensemble")) == {0: ("ab", (0.7, 0.3)), 1: ("ab", (0.5, 0.5))}


def test_without_an_ensemble_all_experiments_of_a_fold_are_the_jury() -> None:
    sources = {
        "a": build_alone("a", (0, 1, 2)),
        "b": build_alone("b", (0, 1)),
        "c": build_alone("c", (1,)),
    }
    third = (1 / 3, 1 / 3, 1 / 3)
    assert list_readers(build_jury(sources, "")) == {0: ("ab", (0.5, 0.5)), 1: ("abc", third)}
    assert build_jury({}, "") == {}


def test_experiments_are_compared_where_they_are_cut() -> None:
    everywhere = DatasetConfig(mask_values=(0,), background_values=())
    for dataset, threshold in ((DatasetConfig(), 0.5), (everywhere, 0.0)):
        sources = {letter: build_experiment_sources(name(letter), (0,), dataset) for letter in "ab"}
        assert build_jury(sources, "")[0].judges.recipes == (Recipe(weights=(0.5, 0.5), threshold=threshold),)


@pytest.mark.parametrize("options", [{}, NO_BACKGROUND], ids=["cut at 0.5", "without background"])
def test_masks_are_those_that_were_scored(make_trained: Callable[..., Trained], options: dict[str, Any]) -> None:
    project, dataset = make_trained(**options, spoil=lambda _: -60.0)
    ensemble = read_ensemble(project)
    readers = {member: open_maps(project.maps_dir(member, "oof")) for member in "ab"}
    own = {
        "a": (project.oof_scores_path("a"), build_experiment_sources(readers["a"], (0, 1), dataset)),
        "ensemble": (project.ensemble_oof_path("ensemble"), build_ensemble_sources(ensemble, readers)),
    }
    samples = {sample.id: sample for sample in read_manifest(project, dataset).train}
    for path, sources in own.values():
        for line in path.read_text().splitlines()[1:]:
            id_, _, fold, score, *_ = line.split(",")
            truth_hw = read_mask(samples[id_])
            mask_hw = sources[int(fold)].make_mask(samples[id_], (64, 96))
            found = score_mask(truth_hw, mask_hw, num_classes=len(dataset.classes), metric="dice")
            assert found == pytest.approx(float(score), abs=1e-6)


def test_a_member_without_a_weight_is_not_read(make_trained: Callable[..., Trained]) -> None:
    project, dataset = make_trained()
    ensemble = read_ensemble(project)
    weights = {0: Recipe(weights=(0.0, 1.0)), 1: Recipe(weights=(0.5, 0.5))}
    readers = {member: open_maps(project.maps_dir(member, "oof")) for member in "ab"}
    sources = build_ensemble_sources(ensemble.model_copy(update={"recipe_without_fold": weights}), readers)
    assert [sources[fold].is_jury for fold in (0, 1)] == [False, True]
    shutil.rmtree(readers["a"].folder)
    sample = read_manifest(project, dataset).train[0]
    only_b = make_mask(Recipe(weights=(1.0,)), [readers["b"].read_map(sample.id)], (64, 96))
    np.testing.assert_array_equal(sources[0].make_mask(sample, (64, 96)), only_b)
    assert np.isnan(sources[0].measure_agreement(sample))


def test_masks_of_one_fold_are_those_of_the_parts_of_its_groups(make_trained: Callable[..., Trained]) -> None:
    """Made up, so that each part has another recipe: photos of each are cut by their own."""
    project, dataset = make_trained(folds_of={"a": (0,), "b": (0,)})
    ensemble = read_ensemble(project)
    assert (ensemble.folds, len(ensemble.recipe_without_part), len(ensemble.part_of_group)) == ((0,), 2, 2)
    recipes = (Recipe(weights=(0.5, 0.5), threshold=0.3), Recipe(weights=(0.0, 1.0), threshold=0.7))
    readers = {member: open_maps(project.maps_dir(member, "oof")) for member in "ab"}
    source = build_ensemble_sources(ensemble.model_copy(update={"recipe_without_part": recipes}), readers)[0]
    for sample in read_manifest(project, dataset).train:
        if sample.group in ensemble.part_of_group:
            maps = [readers[member].read_map(sample.id) for member in "ab"]
            expected = make_mask(recipes[ensemble.part_of_group[sample.group]], maps, (64, 96))
            np.testing.assert_array_equal(source.make_mask(sample, (64, 96)), expected)
    assert not source.is_jury  # of the second part, one member decides
    with pytest.raises(InputError, match=r"by which recipes fold 0 was judged.* Run `make ensemble`"):
        build_ensemble_sources(ensemble.model_copy(update={"recipe_without_part": ()}), readers)


def test_maps_that_are_lost_or_of_other_classes_are_refused(make_trained: Callable[..., Trained]) -> None:
    project, dataset = make_trained()
    with pytest.raises(InputError, match="must hold a map of stranger"):
        open_experiment_maps(project, dataset, "a", ["car000_01", "stranger"])
    other = dataset.model_copy(update={"classes": ("dog",)})
    with pytest.raises(InputError, match=r"classes dog\. Received: car\. Run `make predict EXP=a FORCE=1`"):
        open_experiment_maps(project, other, "a", [])
    ensemble = read_ensemble(project)
    with pytest.raises(InputError, match=r"present maps of b, .* Received: none\. Run `make ensemble`"):
        build_ensemble_sources(ensemble, {"a": open_maps(project.maps_dir("a", "oof"))})
    write_maps(project, dataset, "b", net="new", kinds=("oof",))
    readers = {member: open_maps(project.maps_dir(member, "oof")) for member in "ab"}
    with pytest.raises(InputError, match=r"present maps of b, .* Received: [0-9a-f]+\. Run `make ensemble`"):
        build_ensemble_sources(ensemble, readers)
