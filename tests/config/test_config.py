"""A misspelt or impossible field fails when a config is loaded; every config that is shipped loads."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from unets.config import (
    AugmentConfig,
    Config,
    DataConfig,
    DatasetConfig,
    EnsembleConfig,
    ExperimentConfig,
    MasksSource,
    ModelConfig,
    Postprocessing,
    PredictionConfig,
    RleFormat,
    SubmissionConfig,
    TableSource,
    TrainingConfig,
    check_name,
    list_experiments,
    load_dataset,
    load_experiment,
)
from unets.errors import InputError


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        *((kind, {"lerning_rate": 1}, "Extra inputs are not permitted") for kind in (DatasetConfig, ExperimentConfig)),
        (MasksSource, {"group": "(?P<group>"}, "`group` must be a regular expression"),
        (MasksSource, {"group": ".+"}, "`group` must have a part named `group`"),
        (MasksSource, {"values": (0,)}, "share no value with background=(0,)"),
        (RleFormat, {"cell": "a.jpg"}, "`cell` must hold `{id}`"),
        (DatasetConfig, {"classes": ()}, "`classes` must name at least one class"),
        (DatasetConfig, {"classes": ("a", "b"), "source": TableSource()}, "`source.values` must hold one value for"),
        (DatasetConfig, {"source": MasksSource(ignored=(255,))}, "`has_ignored` must be True where"),
        (DatasetConfig, {"overlapping": True, "has_background": False}, "`has_background` must be True where classes"),
        (DatasetConfig, {"source": MasksSource(full_share=255), "has_ignored": True}, "`has_ignored` must be False"),
        (DatasetConfig, {"source": MasksSource(files="annotator"), "classes": ("a", "b")}, "`classes` must be one"),
        (MasksSource, {"full_share": 255, "threshold": 128}, "`full_share` must be given alone"),
        (DatasetConfig, {"classes": ("a", "b"), "source": MasksSource(values=(1, 2))}, "`submission.class_column`"),
        (DatasetConfig, {"submission": SubmissionConfig(class_cells=("1", "2"))}, "`submission.class_cells` must"),
        (DatasetConfig, {"value_range": (5, 5)}, "`value_range` must ascend"),
        (DatasetConfig, {"value_range": (0, float("inf"))}, "finite number"),
        (DatasetConfig, {"metric": "dise"}, "`metric` must be dice, iou, f2"),
        (DatasetConfig, {"kaggle": "c/carvana"}, "`kaggle` must be the last word of the competition's address"),
        (DatasetConfig, {"kaggle_files": ("a.zip",)}, "`kaggle_files` must name at least one file, of a competition"),
        (DataConfig, {"size_hw": (31, 640)}, "`size_hw` must be at least 32 a side"),
        (DataConfig, {"augment": AugmentConfig(quarter_turns=True)}, "`size_hw` must be square for quarter turns"),
        (DataConfig, {"crop_hw": (31, 64)}, "`crop_hw` must be 32 to size_hw=(640, 959) a side. Received: crop_hw="),
        (ModelConfig, {"weights": "imagenet"}, "`weights` must be none for the encoder unet"),
        (ModelConfig, {"encoder": "vgg18"}, "`encoder` must be vgg1"),
        (ModelConfig, {"encoder": "vgg16", "depth": 6}, "`depth` must be at most 5 for vgg16: it halves 5 times"),
        (ModelConfig, {"encoder": "vgg16", "stride": 4, "depth": 5}, "`depth` must be at most 3 for"),
        (ExperimentConfig, {"prediction": {"tile_hw": (641, 128)}}, "`prediction.tile_hw` must be at most (640, 959)"),
        (ExperimentConfig, {"prediction": {"scales": (0.5, 1)}}, "`scales` must begin with 1, each once"),
        (
            ExperimentConfig,
            {"data": {"size_hw": (32, 64)}, "model": {"depth": 5}, "prediction": {"scales": (1, 0.25)}},
            "`prediction.scales` must leave 16 pixels of 32 for model.stride=1 and model.depth=5",
        ),
        (
            ExperimentConfig,
            {"data": {"size_hw": (64, 96)}, "model": {"depth": 2}, "prediction": {"scales": (1, 0.25)}},
            "`prediction.scales` must leave 32 pixels of 64",
        ),
        (
            ExperimentConfig,
            {"data": {"size_hw": (64, 96), "crop_hw": (32, 64)}, "model": {"depth": 6, "stride": 2}},
            "`model.depth` must be at most 5 for data.crop_hw=(32, 64) and stride=2. Received: model.depth=6",
        ),
        (TrainingConfig, {"learning_rate": 0.0}, "greater than 0"),
        (ExperimentConfig, {"training": {"encoder_rate": 0.1}}, "`model.encoder` must be a pretrained one"),
        (
            ExperimentConfig,
            {"model": {"encoder": "efficientnet_lite0"}, "training": {"frozen_epochs": 1}},
            "`training.frozen_epochs` must be 0 where the encoder's weights are random",
        ),
        (TrainingConfig, {"epochs": 5, "frozen_epochs": 6}, "`frozen_epochs` must be at most epochs=5"),
        (TrainingConfig, {"keep": "last", "patience": 3}, "`patience` must be None for keep=last"),
        (TrainingConfig, {"loss": {}}, "at least 1 item"),
        (TrainingConfig, {"loss": "bec"}, "'bce', 'focal'"),
        *(
            (TrainingConfig, {"loss": name, "loss_args": args}, f"`loss_args` must {message}")
            for name, args, message in (
                ("focal", {"gama": 2.0}, "hold none but gamma for loss=focal. Received: loss_args={'gama': 2.0}"),
                ("border_bce", {"gamma": 2.0}, "hold none but weight, width_px for loss="),
                ("bce", {"weight": 2.0}, "be empty for loss=bce. Received: loss_args={'weight': 2.0}"),
                ("focal", {"targets": 2.0}, "hold none but gamma"),
                (
                    {"bce": 1, "focal": 1},
                    {"gamma": -0.1},
                    "be at least 0 in gamma. Received: loss_args={'gamma': -0.1}",
                ),
                ("tversky", {"false_negatives": 0.0}, "be above 0 in false_negatives"),
                ("border_bce", {"width_px": 20.0}, "be an odd whole number from 3 on in width_px"),
                ("border_bce", {"width_px": 1.0}, "be an odd whole number from 3 on"),
                ("boundary", {"reach_px": 2.5}, "be a whole number from 2 to 64 in reach_px"),
            )
        ),
        (TrainingConfig, {"loss": "border_bce", "loss_args": {"weight": float("inf")}}, "finite number"),
        (ExperimentConfig, {"training": {"loss": "lovasz"}}, "`data.targets` must be hard for training.loss=lovasz"),
        (PredictionConfig, {"tta": ("hflip", "hflip")}, "`tta` must name at least one flip, each once"),
        (PredictionConfig, {"tile_hw": (100, 128)}, "`tile_overlap_px` must be at most half of tile_hw=(100, 128)"),
        (EnsembleConfig, {"experiments": ()}, "`experiments` must name at least one experiment"),
        (EnsembleConfig, {"experiments": ("a",), "weights": (1.0, 1.0)}, "`weights` must hold one weight for each"),
        (EnsembleConfig, {"experiments": ("a",), "threshold": "best"}, "threshold"),
    ],
)
def test_impossible_field(kind: type[Config], fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError) as error:
        kind(**fields)
    assert message in str(error.value)


def test_what_is_just_possible() -> None:
    """The other side of each limit."""
    DataConfig(size_hw=(64, 64), crop_hw=(64, 64), augment=AugmentConfig(quarter_turns=True))
    DataConfig(size_hw=(64, 96), crop_hw=(32, 32), augment=AugmentConfig(quarter_turns=True))
    ModelConfig(encoder="vgg16", weights="imagenet", depth=5)
    ModelConfig(encoder="vgg16", stride=4, depth=3)
    ExperimentConfig(model=ModelConfig(stride=2), data=DataConfig(size_hw=(64, 96), crop_hw=(32, 64)))
    TrainingConfig(epochs=5, keep="last", frozen_epochs=5)
    ExperimentConfig(data=DataConfig(batch_size=8, targets="hard"), training=TrainingConfig(loss="lovasz"))


def write(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("DATASET = 3", "must define DATASET = DatasetConfig(...). Received: int"),
        ("", "must define DATASET = DatasetConfig(...). Received: NoneType"),
        ("DATASET = (", "must run as Python. Received: SyntaxError"),
        ("raise SystemExit", "must run as Python. Received: SystemExit"),
        ("import no_such_module", "must run as Python. Received: ModuleNotFoundError"),
        ("from unets.config import *\nDATASET = DatasetConfig(fotos='a')", "`fotos`: Extra inputs"),
        ("from unets.config import *\nDATASET = DatasetConfig(num_folds=1)", "`num_folds`: "),
    ],
)
def test_faulty_file_names_itself_and_its_fault(tmp_path: Path, text: str, message: str) -> None:
    folder = write(tmp_path / "tiny", "dataset.py", text)
    with pytest.raises(InputError) as error:
        load_dataset(folder)
    assert str(error.value).startswith(f"{folder / 'dataset.py'}") and message in str(error.value)


def test_missing_file_competition_and_experiment(tmp_path: Path) -> None:
    folder = write(tmp_path / "tiny", "unet.py", "from unets.config import *\nEXPERIMENT = ExperimentConfig()")
    with pytest.raises(InputError, match=r"dataset.py must exist and define DATASET"):
        load_dataset(folder)
    write(folder, "dataset.py", "from unets.config import *\nDATASET = DatasetConfig()")
    assert list_experiments(folder) == ["unet"]
    assert load_experiment(folder, "unet") == ExperimentConfig()
    with pytest.raises(InputError, match=r"`--exp` must be one of unet. Received: dataset"):
        load_experiment(folder, "dataset")
    with pytest.raises(InputError, match=r"`COMPETITION` must be one of tiny. Received: tyni"):
        list_experiments(tmp_path / "tyni")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "run.json: "),
        ('{"epochs": 0}', "run.json: `epochs`: Input should be greater than or equal to 1. Received: 0"),
        ('{"epoch": 5}', "run.json: `epoch`: Extra inputs are not permitted"),
    ],
)
def test_faulty_json_names_its_source(text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        TrainingConfig.from_json(text, "run.json")
    assert message in str(error.value)


def test_post_processing_in_words() -> None:
    assert Postprocessing().describe() == "none"
    steps = Postprocessing(blur_px=1.5, max_hole_px=None, max_components=1, min_area_px=40)
    words = (
        "map smoothed, sigma 1.5 px, holes filled up to any size, components kept, the largest 1, emptied below 40 px"
    )
    assert steps.describe() == words
    each = Postprocessing(max_hole_px=(0, None), max_components=(2, None), min_area_px=(0, 40))
    words = "holes filled up to none / any size, components kept, the largest 2 / none, emptied below none / 40 px"
    assert each.describe() == words


def test_names_that_cannot_be_part_of_a_path_are_refused() -> None:
    for name in ("a", "unet_512+training.epochs=3", "ä b-1.0", "x" * 200, "a..b"):
        assert check_name(name, "`--name`") == name
    for name in ("", ".", "..", ".hidden", "a/b", "/a", "a\\b", "a\nb", "a\0", "a\x1b[2J", "\udcff", "ä" * 101):
        with pytest.raises(InputError, match="`--name` must"):
            check_name(name, "`--name`")
