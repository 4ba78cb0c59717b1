"""Which fields make a run another run, and what is said where they differ."""

from pathlib import Path
from typing import Any

import pytest

from unets.config import DataConfig, DatasetConfig, ExperimentConfig, MasksSource, SubmissionConfig, TrainingConfig
from unets.errors import InputError
from unets.store.run_folder import check_snapshot, take_snapshot, write_snapshot

DATASET = DatasetConfig(size_hw=(64, 96))
HASHES = {"a": ("1a", "1b"), "b": ("2a", "2b"), "c": ("3a", "3b")}
# Another value for each field, and whether it decides what a net is taught. Where masks come from does not: the digest
# of their bytes does.
OTHERS: dict[str, tuple[Any, bool]] = {
    "source": (MasksSource(masks=("train_hq/*",)), False),
    "classes": (("bus",), True),
    "overlapping": (True, True),
    "has_background": (False, False),
    "has_ignored": (True, True),
    "channels": ("grey", True),
    "value_range": ((0, 4095), True),
    "orientation": ("upright", True),
    "size_hw": ((64, 95), False),
    "num_train": (7, False),
    "num_test": (7, False),
    "metric": ("iou", False),
    "num_folds": (3, False),
    "submission": (SubmissionConfig(order="column"), False),
    "kaggle": ("another-competition", False),
    "kaggle_files": (("train.zip",), False),
}


def test_it_is_known_of_every_field_of_a_dataset_whether_it_decides_anything() -> None:
    assert OTHERS.keys() == DatasetConfig.model_fields.keys()


@pytest.mark.parametrize("field", OTHERS)
def test_what_a_net_is_taught_makes_its_run_another(field: str, tmp_path: Path) -> None:
    value, decides = OTHERS[field]
    write_snapshot(tmp_path, take_snapshot(ExperimentConfig(), DATASET, 0, "ab12", HASHES))
    other = take_snapshot(ExperimentConfig(), DATASET.model_copy(update={field: value}), 0, "ab12", HASHES)
    if not decides:
        check_snapshot(tmp_path, other)
    else:
        with pytest.raises(InputError, match="must hold a run of this config"):
            check_snapshot(tmp_path, other)


@pytest.mark.parametrize(
    ("hashes", "words"),
    [
        (HASHES | {"a": ("1a", "other")}, "1 mask changed (a)"),
        (
            HASHES | {"b": ("other", "other"), "d": ("4a", "4b")},
            "1 mask changed (b); 1 image changed (b); 1 image added (d)",
        ),
        ({"d": ("4a", "4b")}, "1 image added (d); 3 images removed (a, b, c)"),
        (HASHES | {"a": ("1a", ""), "b": ("2a", "")}, "2 masks changed (a, b)"),
        (HASHES | {f"{n}": ("x", "y") for n in range(5)}, "5 images added (0, 1, 2, ...)"),
    ],
)
def test_other_images_or_masks_make_a_run_another_where_they_are_at_hand(
    hashes: dict[str, tuple[str, str]], words: str, tmp_path: Path
) -> None:
    run_dir = tmp_path / "unet_a" / "fold0"
    write_snapshot(run_dir, take_snapshot(ExperimentConfig(), DATASET, 0, "ab12", HASHES), HASHES)
    other = take_snapshot(ExperimentConfig(), DATASET, 0, "ab12", hashes)
    with pytest.raises(InputError) as caught:
        check_snapshot(run_dir, other, hashes)
    assert str(caught.value) == (
        f"{run_dir} must hold a run of this config and data. Received: training images or masks that changed since: "
        f"{words}. Put the files back, or train again: `unets clean --exp unet_a --fold 0` "
        "(without --fold: of all folds) deletes it, so that training starts from the beginning"
    )
    check_snapshot(run_dir, take_snapshot(ExperimentConfig(), DATASET, 0, "ab12"))
    check_snapshot(run_dir, take_snapshot(ExperimentConfig(), DATASET, 0, "ab12", HASHES), HASHES)
    (run_dir / "files.csv").unlink()  # of a run of before
    with pytest.raises(InputError, match=r"Received: training images or masks that changed since\. Put"):
        check_snapshot(run_dir, other, hashes)


def test_what_differs_is_named_and_nothing_else(tmp_path: Path) -> None:
    run_dir = tmp_path / "unet_a" / "fold3"
    dataset = DATASET
    write_snapshot(run_dir, take_snapshot(ExperimentConfig(data=DataConfig(cache="ram")), dataset, 3, "ab12"))
    grey = dataset.model_copy(update={"channels": "grey"})
    longer = ExperimentConfig(training=TrainingConfig(epochs=60), data=DataConfig(cache="disk"))
    with pytest.raises(InputError) as caught:
        check_snapshot(run_dir, take_snapshot(longer, grey, 3, "cd34"))
    assert str(caught.value) == (
        f"{run_dir} must hold a run of this config and data. Received: other folds: folds.csv is not the "
        "file that it was trained on; "
        "dataset: {'channels': 'rgb'} there, {'channels': 'grey'} here; "
        "training: {'epochs': 50} there, {'epochs': 60} here. "
        "`unets clean --exp unet_a --fold 3` deletes it, so that training starts from the beginning"
    )
