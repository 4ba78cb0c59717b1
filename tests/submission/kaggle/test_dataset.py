"""The dataset for a kernel: what is in it, that the client takes it, and that it is enough to predict from."""

import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

import unets
from tests import ROOT, read_files
from tests.submission.kaggle.fake import COMPETITION, KEY, USER, FakeKaggle
from unets.config import load_dataset
from unets.ensemble.ensemble import read_ensemble
from unets.errors import InputError
from unets.store.paths import Project
from unets.submission.kaggle.client import Session
from unets.submission.kaggle.dataset import (
    NOTEBOOK,
    build_dataset,
    build_kernel,
    build_wheel,
    check_owner,
    name_slug,
    upload_dataset,
)

pytestmark = pytest.mark.slow


def build(project: Project, slug: str | None = None) -> Path:
    return build_dataset(project, load_dataset(project.configs_dir), read_ensemble(project), USER, slug)


@pytest.fixture(scope="module")
def built(predicted: Project) -> Path:
    """The folder; pip needs seconds for its wheel."""
    return build(predicted)


def test_the_wheel_holds_every_file_of_the_package_and_no_compiled_code(built: Path) -> None:
    (path,) = built.glob("*.whl")
    assert path.name == f"unets-{version('unets')}-py3-none-any.whl"
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
    files = [file for file in (ROOT / "src/unets").rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    assert sorted(names) == sorted(file.relative_to(ROOT / "src").as_posix() for file in files)


def test_a_package_without_its_repository_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unets, "__file__", str(tmp_path / "site" / "unets" / "__init__.py"))
    with pytest.raises(InputError, match="must run from a clone of its repository"):
        build_wheel(tmp_path)


def test_it_holds_what_inference_needs_and_no_more(predicted: Project) -> None:
    table = predicted.configs_dir / "samples.csv"  # a table that `source` may name
    table.touch()
    before = read_files(build(predicted))
    runs = [f"models/tiny/{name}/fold{fold}" for name in ("unet_a", "unet_b") for fold in (0, 1)]
    wanted = {f"{run}/{file}" for run in runs for file in ("config.json", "metrics.json", "net.weights.h5")}
    wanted |= {f"configs/tiny/{name}.py" for name in ("dataset", "ensemble", "unet_a", "unet_b")}
    wanted |= {
        "configs/tiny/samples.csv",
        "dataset-metadata.json",
        "models/tiny/folds.csv",
        "models/tiny/ensemble.json",
    }
    assert {name for name in before if not name.endswith(".whl")} == wanted
    assert read_files(build(predicted)) == before  # the same, made again
    table.unlink()


def test_inference_from_the_folder_alone_gives_the_same_bytes(predicted: Project, built: Path, tmp_path: Path) -> None:
    """As a kernel does: the package from the wheel, the folder read only, another working folder, no repository."""
    attached, site, work = tmp_path / "input" / "unets-tiny", tmp_path / "site", tmp_path / "working"
    shutil.copytree(built, attached)
    work.mkdir()
    with zipfile.ZipFile(next(attached.glob("*.whl"))) as wheel:
        wheel.extractall(site)
    for path in sorted(attached.rglob("*"), reverse=True):
        path.chmod(0o555 if path.is_dir() else 0o444)
    program = (
        "import sys; from pathlib import Path; import unets\n"
        "from unets.submission.kaggle.kernel import predict_offline\n"
        f"assert unets.__file__.startswith({str(site)!r})\n"
        "print(predict_offline(*map(Path, sys.argv[1:]), 'tiny'))"
    )
    arguments = [str(attached), str(predicted.input_dir), str(work)]
    libraries = os.pathsep.join(path for path in sys.path if path.endswith("-packages"))
    environment = {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{libraries}", "CUDA_VISIBLE_DEVICES": "-1"}
    before = read_files(attached)
    words = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(words, cwd=work, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(work / "submission.csv")
    assert (work / "submission.csv").read_bytes() == gzip.decompress(predicted.submission_path("ours").read_bytes())
    assert read_files(attached) == before


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("models/tiny/unet_b/fold1", "fold1 must hold a trained run. Received: none"),
        ("models/tiny/ensemble.json", "ensemble.json must exist"),
    ],
)
def test_a_folder_that_lacks_something_is_told(
    missing: str, message: str, predicted: Project, built: Path, tmp_path: Path
) -> None:
    from unets.submission.kaggle.kernel import predict_offline

    attached = tmp_path / "unets-tiny"
    shutil.copytree(built, attached)
    path = attached / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(InputError, match=message.replace(".", r"\.")):
        predict_offline(attached, predicted.input_dir, tmp_path / "working", "tiny")
    assert not (tmp_path / "working" / "submission.csv").exists()


def unpack_as_kaggle(files: dict[str, bytes]) -> dict[str, bytes]:
    """Returns the files that a kernel finds: Kaggle unpacks zips into folders of their names."""
    found = {}
    for name, content in files.items():
        if name.endswith(".zip"):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                found |= {f"{name[:-4]}/{member}": archive.read(member) for member in archive.namelist()}
        else:
            found[name] = content
    return found


def test_the_client_uploads_it_and_then_its_next_version(built: Path, fake: FakeKaggle) -> None:
    session, ref = Session(COMPETITION), f"{USER}/unets-tiny"
    for number in (1, 2):
        assert upload_dataset(session, built, ref, f"version {number}") == f"https://www.kaggle.com/datasets/{ref}"
        assert len(fake.datasets[ref]) == number
    created = fake.list_calls("CreateDataset")[0]
    assert created.body["isPrivate"] is True and created.body["licenseName"] == "other"
    assert fake.list_calls("CreateDatasetVersion")[0].body["body"]["versionNotes"] == "version 2"
    expected = {name: content for name, content in read_files(built).items() if name != "dataset-metadata.json"}
    assert [unpack_as_kaggle(version) for version in fake.datasets[ref]] == [expected] * 2
    fake.datasets.clear()
    for status, refusals, wanted in (
        (400, {}, "Upload unsuccessful"),
        (200, {"CreateDataset": (403, "not your account")}, "not your account"),
    ):
        fake.upload_status, fake.refusals = status, refusals
        with pytest.raises(InputError, match=wanted):
            upload_dataset(session, built, ref, "first")
    assert not fake.datasets


def test_the_client_takes_the_kernel(predicted: Project, fake: FakeKaggle, tmp_path: Path) -> None:
    notebook = tmp_path / NOTEBOOK
    notebook.write_text(json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    ensemble, dataset = read_ensemble(predicted), load_dataset(predicted.configs_dir)
    folder = build_kernel(predicted, dataset, ensemble, USER, "unets-tiny", notebook)
    Session(COMPETITION).ask("kernels_push", str(folder))
    wanted = {
        **{"slug": f"{USER}/unets-tiny-kernel", "newTitle": "unets tiny kernel"},
        **{"datasetDataSources": [f"{USER}/unets-tiny"], "competitionDataSources": [COMPETITION]},
        **{"enableGpu": True, "enableInternet": False, "isPrivate": True},
    }
    (kernel,) = fake.kernels
    assert {name: kernel[name] for name in wanted} == wanted


def test_the_kernel_s_notebook_is_of_this_competition(predicted: Project, caplog: pytest.LogCaptureFixture) -> None:
    notebook = ROOT / "notebooks" / NOTEBOOK
    ensemble, dataset = read_ensemble(predicted), load_dataset(predicted.configs_dir)
    folder = build_kernel(predicted, dataset, ensemble, USER, "unets-tiny", notebook)
    cells = json.loads((folder / NOTEBOOK).read_text())["cells"]
    (line,) = (line for cell in cells for line in cell["source"] if line.startswith("COMPETITION ="))
    assert line == 'COMPETITION = os.environ.get("COMPETITION", "tiny")\n' and not caplog.messages
    submission = dataset.submission.model_copy(update={"sample": None})
    lacking = dataset.model_copy(update={"kaggle": None, "submission": submission})
    build_kernel(predicted, lacking, ensemble, USER, "unets-tiny", notebook)
    assert [message.split("`")[1] for message in caplog.messages] == ["kaggle", "submission.sample"]


def test_the_client_s_own_rules_are_kept(predicted: Project) -> None:
    """Names of 5 and of 51 characters, and an underscore."""
    for slug in ("short", "a" * 51, "unets_tiny"):
        with pytest.raises(InputError, match=r"`--slug` must be 6 to 43 of a-z, 0-9 and single dashes"):
            build(predicted, slug)
    with pytest.raises(InputError, match="`--owner` must be the account's name"):
        check_owner("ada lovelace")
    other = read_ensemble(predicted).model_copy(update={"name": "ensemble_Small", "competition": "my_Cells"})
    assert name_slug(other) == "unets-my-cells-small"


@pytest.mark.parametrize("change", ["weights", "folds", "config"])
def test_what_the_ensemble_was_not_fitted_with_is_refused(change: str, predicted: Project, tmp_path: Path) -> None:
    root, ensemble = tmp_path / "house", read_ensemble(predicted)
    shutil.copytree(predicted.input_dir.parent, root)
    project = Project.below(root, "tiny", input_dir=root / "input")
    run_dir = project.run_dir("unet_a", 1)
    if change == "weights":
        shutil.copyfile(project.run_dir("unet_a", 0) / "net.weights.h5", run_dir / "net.weights.h5")
        wanted = "must be the weights that this run was trained to. Received: other bytes"
    elif change == "folds":
        text = project.folds_path.read_text()
        project.folds_path.write_text(text.replace(",0\n", ",9\n").replace(",1\n", ",0\n").replace(",9\n", ",1\n"))
        wanted = "Received: one of other folds. Run `unets ensemble`"
    else:
        (run_dir / "config.json").write_text((project.run_dir("unet_b", 1) / "config.json").read_text())
        wanted = "must hold a run of this config"
    before = read_files(project.kaggle_dataset_dir("ensemble"))
    with pytest.raises(InputError, match=wanted):
        build_dataset(project, load_dataset(project.configs_dir), ensemble, USER)
    assert read_files(project.kaggle_dataset_dir("ensemble")) == before  # what was built earlier stays


def test_the_script_uploads_for_who_is_signed_in(
    predicted: Project, fake: FakeKaggle, run_stage: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    root = predicted.input_dir.parent
    folders = ["--root", str(root), "--input", str(predicted.input_dir)]
    assert run_stage("kaggle-dataset", *folders, "--upload") == 0
    said = capsys.readouterr()
    assert f"https://www.kaggle.com/datasets/{USER}/unets-tiny" in said.out
    assert KEY not in said.out + said.err
    assert not [name for name, content in read_files(root).items() if KEY.encode() in content]
    fake.requests.clear()
    assert run_stage("kaggle-dataset", *folders, "--owner", "Grace") == 0
    metadata = predicted.kaggle_dataset_dir("ensemble") / "dataset-metadata.json"
    assert json.loads(metadata.read_text())["id"] == "grace/unets-tiny" and not fake.requests
