"""What is attached to a kernel, laid out as Kaggle has done, and what may be wrong with it."""

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from unets.errors import InputError
from unets.store.paths import Project
from unets.submission.kaggle.kernel import Attached, find_attached, imitate_kernel


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


def test_data_may_be_zipped_but_not_there_twice(attached_dir: Path) -> None:
    attach(attached_dir)
    data_dir = attached_dir / "tiny-challenge"
    sample_path = data_dir / "sample_submission.csv"
    with zipfile.ZipFile(sample_path.with_name("sample_submission.csv.zip"), "w") as archive:
        archive.write(sample_path, sample_path.name)
    sample_path.unlink()
    assert find_attached(attached_dir, "tiny").input_dir == data_dir
    shutil.copytree(data_dir, attached_dir / "another")
    with pytest.raises(InputError, match=r"with sample_submission.csv. Received: .*another, .*tiny-challenge"):
        find_attached(attached_dir, "tiny")


def test_what_is_not_attached_is_named(attached_dir: Path) -> None:
    attach(attached_dir)
    with pytest.raises(InputError, match=r"configs/other/dataset.py. Received: none; attached are my-nets, tiny-chall"):
        find_attached(attached_dir, "other")
    shutil.rmtree(attached_dir / "tiny-challenge")
    with pytest.raises(InputError, match=r"with sample_submission.csv. Received: none; attached are my-nets"):
        find_attached(attached_dir, "tiny")
    config = attached_dir / "my-nets" / "configs" / "tiny" / "dataset.py"
    config.write_text("from unets.config import *\nDATASET = DatasetConfig(submission=SubmissionConfig(sample=None))\n")
    with pytest.raises(InputError, match=r"`submission.sample` must name the file by which the competition's folder"):
        find_attached(attached_dir, "tiny")
    with pytest.raises(InputError, match=r"no such folder. `unets notebooks` runs this notebook outside of Kaggle"):
        find_attached(attached_dir / "nowhere", "tiny")


def test_a_kernel_can_be_imitated(make_competition: Callable[..., Project], tmp_path: Path) -> None:
    project = make_competition(num_groups=2, num_test_groups=1)
    project.models_dir.mkdir(parents=True)
    (project.models_dir / "ensemble.json").touch()
    (tmp_path / "imitated").mkdir()
    attached_dir, working_dir = imitate_kernel(project, tmp_path / "imitated")
    found = find_attached(attached_dir, "tiny")
    assert found.input_dir.resolve() == project.input_dir.resolve()
    assert (found.bundle_dir / "models" / "tiny").resolve() == project.models_dir.resolve()
    assert found.ensembles == ("ensemble",)
    assert list(working_dir.iterdir()) == []
