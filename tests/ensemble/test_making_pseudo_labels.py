"""Pseudo-labels: made by the nets of their fold alone, of confident images alone, and again the same after a stop."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.trained_competition import TINY, build_constant_net, write_config, write_maps, write_run
from unets.config import EnsembleConfig, PredictionConfig, load_dataset
from unets.data.samples import read_mask
from unets.dataset.folds import write_folds
from unets.dataset.manifest import Manifest, read_manifest
from unets.dataset.pseudo_labels import read_pseudo_labels
from unets.ensemble import pseudo_labels
from unets.ensemble.ensemble import Ensemble
from unets.ensemble.fit import fit_ensemble
from unets.ensemble.mask_scores import expect_dice
from unets.ensemble.pseudo_labels import make_pseudo_labels
from unets.ensemble.recipe import Recipe
from unets.errors import InputError
from unets.prediction import maps, pipeline
from unets.store.paths import Project
from unets.store.runs import read_json

pytestmark = pytest.mark.slow

SIZE_HW = TINY.data.size_hw
EXPERIMENT = TINY.model_copy(update={"prediction": PredictionConfig(batch_size=2, shard_size=3, tta=("identity",))})
# What the net of each (experiment, fold) says everywhere: fold 0 that all is object, fold 1 that nothing is.
PROBS = {("unet_a", 0): 0.98, ("unet_b", 0): 0.9, ("unet_a", 1): 0.04, ("unet_b", 1): 0.0001}


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A competition of 16 training images in two folds, 8 test images, two planted experiments and their ensemble."""

    project: Project
    manifest: Manifest
    ensemble: Ensemble

    def make(self, **options: Any) -> None:
        arguments: dict[str, Any] = {"folds": [0, 1], "confidence": 0.9} | options
        experiments = {member.experiment: EXPERIMENT for member in self.ensemble.members}
        make_pseudo_labels(self.project, self.manifest, "round1", self.ensemble, experiments, **arguments)

    def read(self, fold: int) -> dict[str, npt.NDArray[np.uint8]]:
        samples = read_pseudo_labels(self.project, self.manifest, "round1", fold)
        return {sample.id: read_mask(sample) for sample in samples}

    def record(self, fold: int) -> Any:
        return read_json(self.project.pseudo_labels_record_path("round1", fold))

    def list_files(self) -> dict[str, bytes]:
        """Returns the content of each file of the labels, but for the records, which hold a date."""
        folder = self.project.pseudo_labels_dir("round1")
        paths = [path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".json", ".lock", "")]
        return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(paths)}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, write_competition: Callable[..., Project]) -> Scene:
    project = write_competition(tmp_path_factory.mktemp("labels"), num_groups=4)
    dataset = load_dataset(project.configs_dir)
    manifest = read_manifest(project, dataset)
    write_folds(project, manifest)
    config = EnsembleConfig(experiments=("unet_a", "unet_b"), weights=(3, 1), threshold=0.5)
    for seed, (name, value) in enumerate({"unet_a": EXPERIMENT, "unet_b": EXPERIMENT, "ensemble": config}.items()):
        write_config(project, name, value)
        if name != "ensemble":
            write_maps(project, dataset, name, seed=seed, size_hw=SIZE_HW)
    for (name, fold), prob in PROBS.items():
        write_run(project, name, fold, EXPERIMENT, dataset, weights=build_constant_net(EXPERIMENT, prob))
    return Scene(project=project, manifest=manifest, ensemble=fit_ensemble(project, dataset, config))


@pytest.fixture
def scene(shared: Scene, tmp_path: Path) -> Scene:
    """The same images and runs, with a models folder of the test's own that links to them."""
    project = replace(shared.project, models_dir=tmp_path / "models")
    project.models_dir.mkdir()
    for path in shared.project.models_dir.iterdir():
        if path.name != "pseudo_labels":
            (project.models_dir / path.name).symlink_to(path)
    return replace(shared, project=project)


@pytest.fixture
def constant(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """What the planted nets say, by where their weights lie."""

    def load(weights_paths: Sequence[Path], *_: Any, **__: Any) -> Any:
        (path,) = weights_paths  # of one fold alone
        prob = PROBS[path.parents[1].name, int(path.parent.name.removeprefix("fold"))]
        maps = np.full((2, *SIZE_HW, 1), round(255 * prob), dtype=np.uint8)
        return lambda images_nhwc: (maps[: len(images_nhwc)],) * 2

    monkeypatch.setattr(pipeline, "load_predictor", load)
    return scene


def relabel(scene: Scene, fold: int, recipe: Recipe) -> Scene:
    """The same with another recipe that was fitted without a fold."""
    recipes = list(scene.ensemble.recipes_by_part)
    recipes[fold] = recipe
    return replace(scene, ensemble=scene.ensemble.model_copy(update={"recipes_by_part": tuple(recipes)}))


def test_expected_dice_by_hand() -> None:
    probs = np.array([[0.75, 0.5, 0.25, 0.0]], dtype=np.float32)[..., None]
    # inside 1.25, all p 1.5, area 2: 2 * 1.25 / 3.5
    assert expect_dice(probs, np.array([[1, 1, 0, 0]], dtype=np.uint8)) == pytest.approx(2.5 / 3.5)
    # certain and right; certain, but the mask is half of it: 2 * 1 / (2 + 1)
    certain = np.array([[1.0, 1.0, 0.0, 0.0]], dtype=np.float32)[..., None]
    assert expect_dice(certain, np.array([[1, 1, 0, 0]], dtype=np.uint8)) == 1
    assert expect_dice(certain, np.array([[1, 0, 0, 0]], dtype=np.uint8)) == pytest.approx(2 / 3)
    # an empty mask: sure that there is nothing, and one pixel that says otherwise
    nothing = np.zeros((1, 4), dtype=np.uint8)
    assert expect_dice(np.zeros((1, 4, 1), dtype=np.float32), nothing) == 1
    assert expect_dice(probs, nothing) == pytest.approx(0.25)


def test_labels_of_a_fold_come_from_its_own_nets(constant: Scene) -> None:
    """The leak by name: nets of other folds were trained on the images that this fold holds out."""
    constant.make()
    # Fold 0: (3 * round(255 * 0.98) + round(255 * 0.9)) / 4 = (3 * 250 + 230) / 4 = 245 of 255, so the whole image is
    # object, 64 * 96 = 6144 pixels, and the confidence 2 p / (p + 1) = 2 * 245 / (245 + 255) = 0.98.
    ids = [sample.id for sample in constant.manifest.test]
    assert {id_: np.count_nonzero(mask) for id_, mask in constant.read(0).items()} == dict.fromkeys(ids, 6144)
    # Fold 1: (3 * 10 + 0) / 4 = 7.5 of 255, so nothing is, and the confidence 1 - 7.5 / 255 = 0.97.
    assert {id_: np.count_nonzero(mask) for id_, mask in constant.read(1).items()} == dict.fromkeys(ids, 0)
    record = constant.record(0)
    assert (record["num_images"], record["num_kept"], record["confidence"], record["fold"]) == (8, 8, 0.9, 0)
    assert [member["experiment"] for member in record["members"]] == ["unet_a", "unet_b"]
    assert (record["recipe"]["weights"], record["recipe"]["threshold"]) == ([0.75, 0.25], 0.5)
    assert {"git_commit", "versions", "date"} <= record.keys()
    # the maps are gone
    assert list(constant.list_files()) == ["fold0.zip", "fold1.zip"]


def test_a_recipe_that_was_fitted_on_a_fold_does_not_label_for_it(constant: Scene) -> None:
    """The leak by name: a threshold knows the images that it was fitted on."""
    # 245 of 255 is 0.961: below the cut of fold 0, above that of fold 1
    scene = relabel(relabel(constant, 0, Recipe(weights=(3, 1), threshold=0.97)), 1, Recipe(weights=(3, 1)))
    scene = replace(scene, ensemble=scene.ensemble.model_copy(update={"threshold": 0.96}))
    scene.make(folds=[0], confidence=0)
    assert not any(mask_hw.any() for mask_hw in scene.read(0).values())


def test_confident_images_alone_are_kept(constant: Scene) -> None:
    constant.make(confidence=0.975)
    assert [constant.record(fold)["num_kept"] for fold in (0, 1)] == [8, 0]
    assert len(constant.read(0)) == 8
    constant.make(confidence=0.985, force=True)
    assert [constant.record(fold)["num_kept"] for fold in (0, 1)] == [0, 0]


def test_labels_of_another_origin_are_kept_until_asked_for_by_force(constant: Scene) -> None:
    constant.make(folds=[0])
    before = constant.list_files()
    wanted = r"must be made of this ensemble.*replace them: `unets pseudo-labels --name round1 --fold 0 --force`"
    reweighted = relabel(constant, 0, Recipe(weights=(0.5, 0.5)))
    fewer = replace(constant, manifest=replace(constant.manifest, test=constant.manifest.test[1:]))
    for changed, confidence in ((constant, 0.8), (reweighted, 0.9), (fewer, 0.9)):
        with pytest.raises(InputError, match=wanted):
            changed.make(folds=[0], confidence=confidence)
    assert constant.list_files() == before
    fewer.make(folds=[0], force=True)
    assert len(constant.read(0)) == 7


@pytest.mark.parametrize("stop_at", ["a shard", "the rows", "the record", "the maps' end"])
def test_a_stop_anywhere_changes_no_byte(constant: Scene, monkeypatch: pytest.MonkeyPatch, stop_at: str) -> None:
    constant.make(folds=[0])
    expected = constant.list_files()
    constant.make(folds=[0], force=True)
    assert constant.list_files() == expected
    names = {
        "a shard": (maps, "write_shard", 2),
        "the rows": (pseudo_labels, "encode_png", 3),
        "the record": (pseudo_labels, "write_json", 0),
        "the maps' end": (shutil, "rmtree", 1),
    }
    module, name, num_before = names[stop_at]
    function, calls = getattr(module, name), []

    def stop(*args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        if len(calls) > num_before:
            raise KeyboardInterrupt
        return function(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(module, name, stop)
        with pytest.raises(KeyboardInterrupt):
            constant.make(folds=[0], force=True)
    if stop_at != "the maps' end":
        with pytest.raises(InputError, match="must exist, whole"):
            constant.read(0)
    constant.make(folds=[0])
    assert constant.list_files() == expected
    assert len(constant.read(0)) == 8


def test_the_command_with_nets(scene: Scene) -> None:
    project = scene.project
    command = [sys.executable, "-m", "unets", "pseudo-labels", "tiny", "--jobs", "1"]
    command += ["--root", str(project.configs_dir.parents[1]), "--input", str(project.input_dir)]
    command += ["--models", str(project.models_dir), "--name", "round1", "--fold", "1", "--confidence", "0.95"]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert "round1 fold 1: 8 of 8 images kept; confidence 0.9706" in done.stderr
    assert done.stdout == f"{project.pseudo_labels_dir('round1')}: DataConfig(pseudo_labels='round1') trains on them\n"
    assert len(scene.read(1)) == 8


def test_classes_that_overlap_are_refused_before_anything_is_predicted(scene: Scene) -> None:
    dataset = scene.manifest.dataset.model_copy(update={"overlapping": True})
    with pytest.raises(InputError, match="must be of classes that share no pixel"):
        replace(scene, manifest=replace(scene.manifest, dataset=dataset)).make(folds=[0])
