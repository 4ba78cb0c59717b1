"""Which fields make a run another run, and what is said where they differ."""

from pathlib import Path
from typing import Any

import pytest

from unets.config import DataConfig, DatasetConfig, ExperimentConfig, TrainingConfig
from unets.errors import InputError
from unets.store.fingerprint import check_snapshot, take_snapshot, write_snapshot

DATASET = DatasetConfig(masks_csv="train_masks.csv", size_hw=(64, 96))
# Another value for each field, and where it decides what a net is taught: with masks from files, from a csv, with
# pseudo-labels (which are run lengths of test photos).
OTHERS: dict[str, tuple[Any, str]] = {
    "photos": ("train_hq/{id}.jpg", "files csv pseudo"),
    "masks": ("train_masks/{id}.gif", "files pseudo"),
    "test_photos": ("test_hq/{id}.jpg", "pseudo"),
    "masks_csv": ("train_masks_v2.csv", "csv"),
    "sample_submission": ("sample.csv", ""),
    "id_pattern": ("(?P<group>.+)_.+", ""),
    "channels": ("grey", ""),
    "size_hw": ((64, 95), "csv pseudo"),
    "num_train": (7, ""),
    "num_test": (7, ""),
    "classes": (("bus",), "files csv pseudo"),
    "mask_values": ((255,), "files pseudo"),
    "value_range": ((0, 4095), "files csv pseudo"),
    "background_values": ((9,), "files pseudo"),
    "ignore_values": ((3,), "files pseudo"),
    "mask_threshold": (128, "files pseudo"),
    "unite_masks": (True, "files csv pseudo"),
    "leave_out": (("train/{id}_copy.jpg",), ""),
    "csv_omits_empty": (True, ""),
    "groups_csv": ("metadata.csv", ""),
    "groups_columns": (("a", "b"), ""),
    "rle_order": ("column", "csv pseudo"),
    "csv_image_column": ("id", ""),
    "csv_rle_column": ("rle", "csv"),
    "csv_class_column": ("class", ""),
    "csv_image": ("{id}.png", ""),
    "metric": ("iou", ""),
    "num_folds": (3, ""),
    "folds_seed": (1, ""),
    "kaggle": ("another-competition", ""),
    "kaggle_files": (("train.zip",), ""),
}
SETTINGS = {
    "files": (DATASET, ExperimentConfig()),
    "csv": (DATASET.model_copy(update={"read_masks_from": "csv"}), ExperimentConfig()),
    "pseudo": (DATASET, ExperimentConfig(data=DataConfig(pseudo_labels="round1"))),
}


def test_a_config_that_somebody_edited_is_refused(tmp_path: Path) -> None:
    snapshot = take_snapshot(ExperimentConfig(), DATASET, 0, "ab12")
    write_snapshot(tmp_path, snapshot | {"fingerprint": "0" * 16})
    with pytest.raises(InputError, match=r"Received: config\.json with a fingerprint that is not that of its fields"):
        check_snapshot(tmp_path, snapshot)


def test_it_is_known_of_every_field_of_a_dataset_whether_it_decides_anything() -> None:
    assert OTHERS.keys() | {"read_masks_from"} == DatasetConfig.model_fields.keys()


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("field", OTHERS)
def test_what_a_net_is_taught_makes_its_run_another(setting: str, field: str, tmp_path: Path) -> None:
    dataset, experiment = SETTINGS[setting]
    value, decides_with = OTHERS[field]
    write_snapshot(tmp_path, take_snapshot(experiment, dataset, 0, "ab12"))
    other = take_snapshot(experiment, dataset.model_copy(update={field: value}), 0, "ab12")
    if setting not in decides_with.split():
        check_snapshot(tmp_path, other)
    else:
        with pytest.raises(InputError, match="must hold a run of this config"):
            check_snapshot(tmp_path, other)


def test_where_the_masks_come_from_makes_a_run_another() -> None:
    """Only `make check` knows whether files and csv say the same."""
    assert len({take_snapshot(*SETTINGS[name][::-1], 0, "ab12")["fingerprint"] for name in ("files", "csv")}) == 2


def test_what_differs_is_named_and_nothing_else(tmp_path: Path) -> None:
    run_dir = tmp_path / "unet_a" / "fold3"
    dataset = DatasetConfig(classes=("car", "bus"), mask_values=(1, 2), csv_class_column="class")
    write_snapshot(run_dir, take_snapshot(ExperimentConfig(data=DataConfig(cache="ram")), dataset, 3, "ab12"))
    swapped = dataset.model_copy(update={"mask_values": (2, 1)})
    longer = ExperimentConfig(training=TrainingConfig(epochs=60), data=DataConfig(cache="disk"))
    with pytest.raises(InputError) as caught:
        check_snapshot(run_dir, take_snapshot(longer, swapped, 3, "cd34"))
    assert str(caught.value) == (
        f"{run_dir} must hold a run of this config. Received: folds_hash: ab12 there, cd34 here; "
        "dataset: {'mask_values': [1, 2]} there, {'mask_values': [2, 1]} here; "
        "training: {'epochs': 50} there, {'epochs': 60} here. "
        "`make clean EXP=unet_a FOLD=3` deletes it, so that training starts from the beginning"
    )
