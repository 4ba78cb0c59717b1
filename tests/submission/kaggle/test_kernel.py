"""What is attached to a kernel, laid out as Kaggle has done, and what may be wrong with it."""

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from unets.errors import InputError
from unets.store.paths import Project
from unets.submission.kaggle.kernel import Attached, find_attached


@pytest.fixture
def attached_dir(make_competition: Callable[..., Project], tmp_path: Path) -> Path:
    """The competition's files."""
    project = make_competition(num_groups=2, num_test_groups=1)
    shutil.copytree(project.input_dir, tmp_path / "kaggle" / "tiny-challenge")
    return tmp_path / "kaggle"


def attach(attached_dir: Path, bundle: str = "my-nets", *, with_models: bool = False) -> None:
    """Attaches the config, as a dataset, and maybe an ensemble."""
    shutil.copytree(attached_dir.parent / "configs" / "tiny", attached_dir / bundle / "configs" / "tiny")
    if with_models:
        (attached_dir / bundle / "models" / "tiny").mkdir(parents=True)
        (attached_dir / bundle / "models" / "tiny" / "ensemble_small.json").touch()


@pytest.mark.parametrize("bundle", ["my-nets", "datasets/someone/my-nets"])
@pytest.mark.parametrize("with_models", [False, True])
def test_data_and_nets_are_found_at_any_depth(attached_dir: Path, bundle: str, with_models: bool) -> None:
    attach(attached_dir, bundle, with_models=with_models)
    assert find_attached(attached_dir, "tiny") == Attached(
        input_dir=attached_dir / "tiny-challenge",
        bundle_dir=attached_dir / bundle,
        ensembles=("ensemble_small",) if with_models else (),
    )


def test_data_may_be_zipped_but_not_there_twice_and_what_is_not_attached_is_named(attached_dir: Path) -> None:
    attach(attached_dir)
    data_dir = attached_dir / "tiny-challenge"
    sample_path = data_dir / "sample_submission.csv"
    with zipfile.ZipFile(sample_path.with_name("sample_submission.csv.zip"), "w") as archive:
        archive.write(sample_path, sample_path.name)
    sample_path.unlink()
    assert find_attached(attached_dir, "tiny").input_dir == data_dir

    def refuse(folder: Path, name: str, message: str) -> None:
        with pytest.raises(InputError, match=message):
            find_attached(folder, name)

    shutil.copytree(data_dir, attached_dir / "another")
    refuse(attached_dir, "tiny", r"with sample_submission.csv. Received: .*another, .*tiny-challenge")
    shutil.rmtree(attached_dir / "another")
    refuse(attached_dir, "other", r"configs/other/dataset.py. Received: none; attached are my-nets, tiny-chall")
    shutil.rmtree(data_dir)
    refuse(attached_dir, "tiny", r"with sample_submission.csv. Received: none; attached are my-nets")
    config = attached_dir / "my-nets" / "configs" / "tiny" / "dataset.py"
    config.write_text("from unets.config import *\nDATASET = DatasetConfig(submission=SubmissionConfig(sample=None))\n")
    refuse(attached_dir, "tiny", r"`submission.sample` must name the file by which the competition's folder")
    nowhere = attached_dir / "nowhere"
    refuse(nowhere, "tiny", r"no such folder. `unets notebooks` runs this notebook outside of Kaggle")
