"""Overrides of an experiment: read by the schema, part of its name."""

from pathlib import Path
from typing import Any

import pytest

from unets.config import ExperimentConfig, TrainingConfig, load_experiment, name_experiment
from unets.config.overrides import override
from unets.errors import InputError


def read(config: ExperimentConfig, path: str) -> Any:
    found: Any = config
    for name in path.split("."):
        found = found[name] if isinstance(found, dict) else getattr(found, name)
    return found


@pytest.mark.parametrize(
    ("setting", "canonical", "value"),
    [
        ("training.epochs=3", "3", 3),
        ("training.epochs = 03 ", "3", 3),
        ("training.learning_rate=1e-3", "0.001", 0.001),
        ("training.clip_norm=1e20", "1e20", 1e20),
        ("training.patience=none", "none", None),
        ("training.deterministic=True", "true", True),
        ("training.loss_args.gamma=2", "2", 2.0),
        ("model.normalization=none", "none", "none"),
        ("data.size_hw=320x480", "320x480", (320, 480)),
        ("data.size_hw=(320, 480)", "320x480", (320, 480)),
        ("data.augment=none", "none", None),
        ("data.augment.hflip=0", "0", 0.0),
        ("data.pseudo_labels=3", "3", "3"),
        ("prediction.tta=identity,hflip", "identity~hflip", ("identity", "hflip")),
        ("folds=0,2", "0x2", (0, 2)),
    ],
)
def test_a_value_is_read_by_its_field_s_type_and_has_one_spelling(setting: str, canonical: str, value: Any) -> None:
    path = setting.partition("=")[0].strip()
    name = name_experiment("unet", [setting])
    assert name == f"unet+{path}={canonical}" == name_experiment(name)
    experiment = ExperimentConfig(training=TrainingConfig(loss="focal"))
    assert read(override(experiment, name), path) == value


def test_names_do_not_depend_on_the_order_and_the_last_of_a_path_counts() -> None:
    name = "unet+data.batch_size=4+training.epochs=3"
    assert name_experiment("unet", ["training.epochs=3", "data.batch_size=4"]) == name
    assert name_experiment("unet+training.epochs=9", ["data.batch_size=4", "training.epochs=3"]) == name
    assert name_experiment("unet") == "unet"


def test_names_are_safe_as_folders() -> None:
    name = name_experiment("unet", ["model.encoder=vgg16", "model.weights=/a b/../c+d=\u00e9~.pth"])
    assert not set("/ ") & set(name)
    assert override(ExperimentConfig(), name).model.weights == "/a b/../c+d=\u00e9~.pth"
    with pytest.raises(InputError, match=r"within 200 characters\. Received: 3\d\d; a config file"):
        name_experiment("unet", [f"model.weights={'x' * 300}"])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "training.epoch=3",
            "`--set` must name a field of an experiment. Received: training.epoch; did you mean training",
        ),
        ("epochs=3", "`--set` must name a field of an experiment. Received: epochs; did you mean training.epochs?"),
        ("zzzz=3", "`--set` must name a field of an experiment. Received: zzzz"),
        ("training.epochs", "`--set` must be path=value, as training.epochs=3. Received: training.epochs"),
        ("training.epochs=three", "`--set training.epochs`: Input should be a valid integer"),
        ("training.loss=bcee", "`--set training.loss`: Input should be 'bce', "),
        ("data=3", "`--set` must name a field of an experiment. Received: data"),
        ("training.loss_args=3", "`--set training.loss_args`: Input should be a valid dictionary"),
        (
            'training.loss_args={"gamma": 2}',
            "`--set` must name a field that holds a value, as training.loss_args.gamma=2; a whole dict stands in the",
        ),
    ],
)
def test_what_is_mistyped_is_told(setting: str, message: str) -> None:
    with pytest.raises(InputError) as told:
        name_experiment("unet", [setting])
    assert str(told.value).startswith(message)
    assert ("did you mean bce?" in str(told.value)) == ("bcee" in setting)


def test_overrides_of_a_file_are_checked_together(tmp_path: Path) -> None:
    (tmp_path / "unet.py").write_text("from unets.config import *\nEXPERIMENT = ExperimentConfig()\n")
    found = load_experiment(tmp_path, "unet+training.epochs=5+training.keep=last")
    assert (found.training.epochs, found.training.keep) == (5, "last")
    with pytest.raises(InputError, match=r"training.patience=3: `patience` must be None for keep=last"):
        load_experiment(tmp_path, "unet+training.keep=last+training.patience=3")
    assert load_experiment(tmp_path, "unet+training.loss.focal=2").training.losses == {"bce": 1, "dice": 1, "focal": 2}
    with pytest.raises(InputError, match=r"`--exp` must be one of unet\. Received: unit; did you mean unet\?"):
        load_experiment(tmp_path, "unit+training.epochs=1")
