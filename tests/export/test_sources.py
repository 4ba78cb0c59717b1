import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unets.config import Postprocessing, PredictionConfig
from unets.ensemble.recipe import Recipe
from unets.errors import InputError
from unets.export.card import MemberCard, ModelCard, Origin, Usual, render_card
from unets.export.model import TrainedModel
from unets.export.sources import CARD_KEY, DEMO_PATH, FORMAT_VERSION, VERSION_KEY, load_model, open_model
from unets.store.runs import hash_file
from unets.store.tensors import write_tensors

from ..trained_competition import TINY
from .conftest import DATASET

Plant = Callable[..., Path]
KEYS = (VERSION_KEY, CARD_KEY)


def write_file(path: Path, model: TrainedModel, **said: Any) -> Path:
    """Writes a model file, with one made-up array a net."""
    tensors = {
        f"{member.name}/fold{net.fold}/classify/kernel": np.zeros((1, 1, 4, 1), dtype=np.float32)
        for member in model.card.members
        for net in member.nets
    }
    write_tensors(path, tensors, {VERSION_KEY: FORMAT_VERSION, CARD_KEY: model.card.model_dump(mode="json")} | said)
    return path


def test_a_run_is_a_model(plant_run: Plant) -> None:
    run_dir = plant_run(fold=1)
    model = open_model(run_dir)
    card = model.card
    assert (card.name, card.competition, card.classes, card.image_hw) == ("unet_a_fold1", "tiny", ("car",), (64, 96))
    assert (card.recipe, card.score) == (Recipe(weights=(1.0,)), None)
    (member,) = card.members
    assert member.experiment == TINY
    assert [(net.fold, net.best_dice, net.commits) for net in member.nets] == [(1, 0.91, ("012345678",))]
    assert model.weights == ((run_dir / "net.weights.h5",),)
    told = {"channels": "grey", "value_range": (0, 4095), "has_background": False}
    card = open_model(plant_run(dataset=DATASET.model_copy(update=told))).card
    assert (card.channels, card.value_range, card.recipe.threshold) == ("grey", (0.0, 4095.0), 0.0)


def test_an_experiment_is_the_mean_of_its_runs_with_the_scores_of_their_folds(
    plant_run: Plant, models_dir: Path
) -> None:
    for fold in (10, 0, 1):
        plant_run(fold=fold)
    rows = ["a,g1,0,0.9,0.8", "b,g2,0,0.7,0.8", "c,g3,1,0.5,0.4", "d,g4,10,0.3,0.4"]
    (models_dir / "unet_a" / "oof_scores.csv").write_text("\n".join(["id,group,fold,dice,dice_no_tta", *rows, ""]))
    weights = {f: hash_file(models_dir / "unet_a" / f"fold{f}" / "net.weights.h5") for f in (10, 0, 1)}
    (models_dir / "unet_a" / "oof_pixels.json").write_text(json.dumps({"weights": weights}))
    card = open_model(models_dir / "unet_a").card
    assert [net.fold for net in card.members[0].nets] == [0, 1, 10] and card.name == "unet_a"
    assert card.metric == "dice" and card.score is not None and card.score.mean == pytest.approx(0.6)
    alone = open_model(models_dir / "unet_a" / "fold0").card.score
    assert alone is not None and alone.mean == pytest.approx(0.8)
    path = models_dir / "unet_a" / "oof_scores.csv"
    path.write_text(path.read_text().replace("dice", "global_dice"))  # over the pixels of all images together
    assert open_model(models_dir / "unet_a" / "fold0").card.score is None
    assert open_model(models_dir / "unet_a").card.score is not None
    plant_run(fold=1, weights=b"trained again")
    assert open_model(models_dir / "unet_a").card.score is None  # that of the former weights says nothing of these


def test_an_ensemble_is_a_model_with_its_recipe(plant_ensemble: Plant) -> None:
    path = plant_ensemble({"unet_a": 0.75, "unet_b": 0.0, "unet_c": 0.25})
    model = open_model(path)
    card = model.card
    assert [member.name for member in card.members] == ["unet_a", "unet_c"]
    assert (card.recipe.weights, card.recipe.threshold) == ((0.75, 0.25), 0.44)
    assert card.recipe.postprocessing.max_components == 1
    assert card.score is not None and card.score.mean == 0.9
    assert [source.parent.name for source in model.weights[1] if isinstance(source, Path)] == ["fold0", "fold1"]
    # `unets ensemble --fold 0` after `unets predict`: test maps are the mean of both folds.
    path.write_text(json.dumps(json.loads(path.read_text()) | {"folds": [0]}))
    assert [net.fold for net in open_model(path).card.members[0].nets] == [0, 1]


def test_weights_of_another_fold_are_refused(plant_run: Plant) -> None:
    with pytest.raises(InputError, match="a run trained to its end"):
        open_model(plant_run(is_finished=False))
    first, second = plant_run(fold=0), plant_run(fold=1)
    assert open_model(first).card.members[0].nets[0].weights_sha256 == hash_file(first / "net.weights.h5")
    (first / "net.weights.h5").write_bytes((second / "net.weights.h5").read_bytes())
    with pytest.raises(InputError, match=r"net\.weights\.h5 must be the weights that this run was trained to"):
        open_model(first)


def test_runs_that_do_not_belong_together_are_refused(
    plant_run: Plant, plant_ensemble: Plant, models_dir: Path
) -> None:
    changed = TINY.model_copy(update={"prediction": PredictionConfig(tta=("identity",))})
    plant_run("unet_a", 0)
    plant_run("unet_a", 1, experiment=changed)
    with pytest.raises(InputError, match=r"of one config. Received: .*fold0 and .*fold1, which differ"):
        open_model(models_dir / "unet_a")
    path = plant_ensemble({"unet_b": 0.5, "unet_c": 0.5})
    plant_run("unet_c", 1, weights=b"trained again")
    with pytest.raises(InputError, match=r"must hold the runs that ensemble.json was made of"):
        open_model(path)
    plant_run("unet_b", 0, dataset=DATASET.model_copy(update={"classes": ("bus",)}))
    with pytest.raises(InputError):  # the maps of such a member have another fingerprint
        open_model(plant_ensemble({"unet_a": 0.5, "unet_b": 0.5}, folds=(0,)))


@pytest.mark.parametrize(
    ("name", "received"),
    [("none", "which does not exist"), ("empty", "a folder of something else"), ("", "It holds ensemble_x.json")],
)
def test_what_is_no_model_is_told_what_is(models_dir: Path, name: str, received: str) -> None:
    (models_dir / "empty").mkdir(parents=True)
    (models_dir / "ensemble_x.json").write_text("{}")
    with pytest.raises(InputError, match=rf"`MODEL` must be a run \(.*{received}"):
        open_model(models_dir / name)


def test_a_model_file_is_what_it_was_made_of(plant_ensemble: Plant, tmp_path: Path) -> None:
    model = open_model(plant_ensemble({"unet_a": 0.75, "unet_b": 0.25}))
    path = write_file(tmp_path / "x.safetensors", model)
    found = open_model(path)
    assert found.card == model.card and found.card.fingerprint == model.card.fingerprint
    ranged = found.card.model_copy(update={"value_range": (0, 4095)})  # of 12 bits: other masks of the same photo
    assert ranged.fingerprint != found.card.fingerprint
    names = [stored.name for nets in found.weights for stored in nets]  # type: ignore[union-attr]
    assert names == ["unet_a/fold0", "unet_a/fold1", "unet_b/fold0", "unet_b/fold1"]
    assert found.weights[0][0].read()["classify/kernel"].shape == (1, 1, 4, 1)  # type: ignore[union-attr]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="the file is damaged"):  # before anything is built
        open_model(path)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({VERSION_KEY: 5}, "of version 4. Received: 5. A newer unets reads it"),
        ({VERSION_KEY: "one"}, "must be a model file of unets"),
        ({CARD_KEY: []}, "should be an object"),
        ({"classes": []}, "`classes` must name at least one class"),
        ({"recipe": {"weights": [1, 1]}}, "`members` must have a name and a weight"),
        ({"recipe": {"weights": [0]}}, "`weights` must not all be 0"),
        ({"members": "of unet_b"}, r"weights of \['unet_b/fold0'\]. Received: those of \['unet_a/fold0'\]"),
        ({"surprise": 1}, "Extra inputs are not permitted"),
        ({"surprise": 1, "origin": {"versions": {"unets": "9.9"}}}, r"unets 9\.9 wrote it, this is "),
    ],
)
def test_a_card_that_does_not_hold_together_is_refused(
    plant_run: Plant, tmp_path: Path, said: dict[str, Any], message: str
) -> None:
    model = open_model(plant_run())
    card = model.card.model_dump(mode="json") | {name: value for name, value in said.items() if name not in KEYS}
    if "members" in said:
        card["members"] = open_model(plant_run("unet_b")).card.model_dump(mode="json")["members"]
    with pytest.raises(InputError, match=message):
        open_model(write_file(tmp_path / "x", model, **{CARD_KEY: card, **{k: said[k] for k in KEYS if k in said}}))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"base_filters": 4096, "depth": 4}, r"fold0, must hold weights of this net, at least \d[\d,]+ numbers. .* 4$"),
        ({"encoder": "hub:hf://somebody/net"}, "must name a preset of keras-hub itself"),
    ],
)
def test_a_card_gets_no_larger_net_than_its_weights_and_fetches_nothing(
    plant_run: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr("unets.prediction.loading.build_unet", lambda *_, **__: pytest.fail("it was built"))
    opened = open_model(plant_run())
    card = opened.card.model_dump(mode="json")
    card["members"][0]["experiment"]["data"]["size_hw"] = (512, 512)
    card["members"][0]["experiment"]["model"] |= {"max_filters": 16_384, "depth": 1} | model
    with pytest.raises(InputError, match=message):
        _ = open_model(write_file(tmp_path / "x", opened, **{CARD_KEY: card})).predictors


def test_what_memory_does_not_hold_is_not_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unets.prediction.loading.find_free_memory", lambda: 2**20)
    monkeypatch.setattr("unets.prediction.loading.has_gpu", lambda: False)
    with pytest.raises(InputError, match=r"memory must hold 2 images .*: about .* GiB\. Received: 0\.0 GiB free"):
        load_model(DEMO_PATH)


def test_post_processing_grows_with_the_photo(plant_run: Plant) -> None:
    steps = Postprocessing(blur_px=2.0, max_hole_px=10, max_components=3, min_area_px=100)
    card = open_model(plant_run()).card.model_copy(update={"recipe": Recipe(weights=(1.0,), postprocessing=steps)})
    assert card.find_recipe((64, 96)) is card.recipe
    # Twice the sides: lengths double, areas quadruple, numbers stay.
    grown = Postprocessing(blur_px=4.0, max_hole_px=40, max_components=3, min_area_px=400)
    assert card.find_recipe((128, 192)).postprocessing == grown
    assert card.model_copy(update={"image_hw": None}).find_recipe((128, 192)) is card.recipe
    each = Postprocessing(max_hole_px=(10, None), neck_px=(2.0, 0.0))
    card = card.model_copy(update={"recipe": Recipe(weights=(1.0,), postprocessing=each)})
    grown = Postprocessing(max_hole_px=(40, None), neck_px=(4.0, 0.0))
    assert card.find_recipe((128, 192)).postprocessing == grown


def test_the_card_is_told_in_words(plant_ensemble: Plant) -> None:
    card: ModelCard = open_model(plant_ensemble({"unet_a": 1.0})).card
    usual = Usual(num_images=12, area=(0.1, 0.4), confidence=0.95)
    said = render_card(card.model_copy(update={"origin": Origin(date="2026-11-25"), "usual": usual}))
    assert max(map(len, said.splitlines())) <= 80
    for words in (
        "tiny_ensemble: car; 2 nets of 32 x 48; dice 0.90000 (0.80000 to 0.95000)\n\n",
        "trained on       tiny, images of rgb, 64 x 96",
        "usual masks      10.0% to 40.0% of the image, confidence from 0.950 (12 images)",
        "threshold        0.44, of the mean probability",
        "unet_a   1.000  32 x 48  identity, hflip  unet     0, 1   0.90000, 0.91000",
    ):
        assert words in said
    assert "images unlike those of training are not named" in render_card(card)


def test_a_member_of_no_weight_or_of_a_fold_twice_is_refused() -> None:
    card = open_model(Path("demo")).card
    members = (card.members[0], card.members[0].model_copy(update={"name": "b"}))
    with pytest.raises(ValueError, match="`members` must have a name and a weight above 0"):
        ModelCard(**(dict(card) | {"members": members, "recipe": Recipe(weights=(1.0, 0.0))}))
    with pytest.raises(ValueError, match="`nets` must be one a fold"):
        MemberCard(**(dict(card.members[0]) | {"nets": card.members[0].nets * 2}))


def test_the_demo_is_a_model_file_of_few_bytes() -> None:
    card = open_model(Path("demo")).card
    assert card.classes == ("car",) and card.usual is not None and card.score is not None
    assert DEMO_PATH.stat().st_size < 5e6
