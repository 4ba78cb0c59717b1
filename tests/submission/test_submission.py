import dataclasses
import gzip
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests import run_unets
from tests.submissions import read_submission, write_submission
from tests.trained_competition import NETS, flip_bit, rewrite_maps, write_maps
from unets.config import DatasetConfig, EnsembleConfig, ExperimentConfig, Postprocessing
from unets.data.rle import decode_rle
from unets.dataset.manifest import read_manifest
from unets.ensemble.fit import fit_ensemble
from unets.errors import InputError
from unets.evaluation.scores import read_scores
from unets.metrics.masks import dice
from unets.prediction.maps import encode_map, list_shards, open_maps, write_shard
from unets.store.paths import Project
from unets.store.provenance import describe_origin
from unets.store.runs import lock
from unets.submission import submission
from unets.submission.check import check_submission
from unets.submission.submission import find_submission
from unets.workers.pool import use_jobs

MakeScene = Callable[..., tuple[Project, DatasetConfig]]


@pytest.fixture
def make_ready(make_scene: MakeScene) -> MakeScene:
    """A scene with its ensemble fitted."""

    def make(*, experiments: str = "a", config: dict[str, Any] | None = None, **options: Any) -> Any:
        project, dataset = make_scene(experiments=experiments, **({"num_groups": 2, "num_views": 3} | options))
        fields = {"experiments": tuple(experiments), "threshold": 0.5} | (config or {})
        fit_ensemble(project, dataset, EnsembleConfig(**fields))
        return project, dataset

    return make


@pytest.mark.parametrize("order", ["row", "column"])
def test_rows_are_what_was_evaluated(make_ready: MakeScene, order: str) -> None:
    """The same maps, as test images and out-of-fold, under every kind of step: the submission scores the same."""
    steps = Postprocessing(blur_px=1.0, max_hole_px=3, max_components=1, min_area_px=900)
    config = {"weights": (1, 2), "threshold": 0.42, "postprocessing": steps}
    project, dataset = make_ready(experiments="ab", config=config, order=order)
    scores = read_scores(project.ensemble_oof_path("ensemble"), dataset.metric)["score"]
    masks = read_submission(project.input_dir / "train_masks.csv", dataset)
    test_ids = sorted(read_submission(project.input_dir / "truth" / "test_masks.csv", dataset))[: len(scores)]
    # out-of-fold maps take the test photos' names
    for name in "ab":
        reader = open_maps(project.maps_dir(name, "oof"))
        maps = {test_id: encode_map(reader.read_map(id_)) for test_id, id_ in zip(test_ids, scores.index, strict=True)}
        shutil.rmtree(project.maps_dir(name, "test"))
        write_shard(project.maps_dir(name, "test"), 0, nets=NETS, classes=dataset.classes, maps=maps.items())
    submitted = read_submission(write_submission(project, dataset), dataset)
    for test_id, (id_, score) in zip(test_ids, scores.items(), strict=True):
        found, truth = (decode_rle(rles[0], (64, 96), order) for rles in (submitted[test_id], masks[id_]))
        assert dice(truth, found) == pytest.approx(score, abs=5.01e-7)
    assert scores.nunique() > 1


def test_a_submission_is_of_its_ensemble_and_its_record_says_what_made_it(make_ready: MakeScene) -> None:
    project, dataset = make_ready(experiments="ab")
    config = EnsembleConfig(experiments=("a", "b"), weights=(0, 1), threshold=0.5)
    fit_ensemble(project, dataset, config, name="ensemble_b")
    shutil.rmtree(project.maps_dir("a", "test"))  # not needed: its weight is 0
    path = write_submission(project, dataset, ensemble_name="ensemble_b")
    assert path.name == "tiny_ensemble_b.csv.gz"
    record = json.loads((project.submissions_dir / "tiny_ensemble_b.json").read_text())
    ensemble = json.loads(project.ensemble_path("ensemble_b").read_text())
    assert (record["ensemble"], record["members"], record["oof_score"]) == (
        "ensemble_b",
        ensemble["members"],
        ensemble["score"],
    )
    assert (record["threshold"], record["folds"], record["num_rows"]) == (0.5, [0, 1], 6)
    assert record["csv_sha256"] == hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest()
    assert (record["versions"]["numpy"], record["git_commit"]) == (np.__version__, describe_origin()["git_commit"])
    with pytest.raises(InputError, match=r"Run `unets predict --exp a`"):
        write_submission(project, dataset)


def test_masks_that_changed_since_the_ensemble_was_fitted_are_said(
    make_ready: MakeScene, capsys: pytest.CaptureFixture[str]
) -> None:
    config = EnsembleConfig(experiments=("a",), threshold=0.5)
    project, _ = make_ready(configs={"a": ExperimentConfig(), "ensemble": config})
    words = ["submission", "tiny", "--root", project.input_dir.parent, "--input", project.input_dir, "--jobs", "1"]
    assert run_unets(*words) == 0
    said = "masks of training images changed since the ensemble was fitted"
    assert said not in capsys.readouterr().err
    masks = sorted((project.input_dir / "train_masks").iterdir())
    masks[1].write_bytes(masks[0].read_bytes())
    for stage, code in (("submission", 0), ("export", 1)):  # there is no run to export
        assert run_unets(stage, *words[1:-2]) == code
        assert said in capsys.readouterr().err


def test_a_row_an_object(make_ready: MakeScene) -> None:
    """The mask of each image is split into what is connected, across corners too; together they are the mask."""
    project, dataset = make_ready()
    write_maps(project, dataset, "a", speck=True)
    fit_ensemble(project, dataset, EnsembleConfig(experiments=("a",), threshold=0.5))
    whole = read_submission(write_submission(project, dataset, "whole"), dataset)
    form = dataset.submission.model_copy(update={"row": "object"})
    dataset = dataset.model_copy(update={"submission": form})
    path = write_submission(project, dataset, "objects")
    assert read_submission(path, dataset) == whole
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()[1:]
    assert len(lines) > len(whole)
    assert json.loads((project.submissions_dir / "objects.json").read_text())["num_rows"] == len(lines)
    for line in lines:
        assert cv2.connectedComponents(decode_rle(line.split(",")[1], (64, 96)))[0] == 2


def test_sizes_of_their_own_and_the_sample_s_order_of_columns_and_rows(make_ready: MakeScene) -> None:
    project, dataset = make_ready()
    free = dataset.model_copy(update={"size_hw": None})
    sample_path = project.input_dir / "sample_submission.csv"
    ids = [line.split(",")[0] for line in sample_path.read_text().splitlines()[1:]]
    sample_path.write_text("rle_mask,img\n" + "".join(f"1 1,{id_}\n" for id_ in reversed(ids)))
    lines = gzip.decompress(write_submission(project, free).read_bytes()).decode().splitlines()
    assert lines[0] == "rle_mask,img"
    assert [line.split(",")[1] for line in lines[1:]] == ids[::-1]


def test_parts_that_are_damaged_or_of_something_else_are_made_again(
    make_ready: MakeScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, dataset = make_ready()
    made, write_part = list[str](), submission.write_part

    def note(path: Path, *args: Any, **fields: Any) -> None:
        made.append(path.name)
        write_part(path, *args, **fields)

    monkeypatch.setattr(submission, "PART_SIZE", 2)
    monkeypatch.setattr(submission, "drop_parts", lambda folder: None)  # as a kill just before would leave it
    monkeypatch.setattr(submission, "write_part", note)

    def write() -> tuple[bytes, list[str]]:
        made.clear()
        return write_submission(project, dataset).read_bytes(), [*made]

    expected, names = write()
    assert names == ["00000.part", "00001.part", "00002.part"]
    flip_bit(project.submission_parts_dir("tiny_a") / "00001.part", 60)
    assert write() == (expected, ["00001.part"])
    path = read_manifest(project, dataset).test[2].image_path  # the same nets' map of it may be another
    path.write_bytes(path.read_bytes() + b"\0")
    assert write() == (expected, ["00001.part"])
    monkeypatch.setattr(submission, "list_versions", lambda: {"unets": "0.0.1"})  # an upgrade
    assert write() == (expected, names)
    fit_ensemble(project, dataset, EnsembleConfig(experiments=("a",), threshold=0.3))
    changed, redone = write()
    assert changed != expected and redone == names


@pytest.mark.parametrize("jobs", [1, 2])
def test_killed_in_the_middle_it_goes_on_to_the_same_bytes(
    make_ready: MakeScene, monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    """Real SIGKILLs. With two jobs the workers outlive their parent for as long as their tasks take."""
    project, dataset = make_ready(num_test_groups=4, num_views=6)
    folders = {field.name: str(getattr(project, field.name)) for field in dataclasses.fields(project)}
    program = f"""
import time
from pathlib import Path
from unets.config import load_dataset
from unets.dataset.manifest import read_manifest
from unets.submission import submission
from unets.store.paths import Project
from unets.store.provenance import describe_origin
from unets.workers.pool import use_jobs

submission.PART_SIZE, write_part = 2, submission.write_part
def write_slowly(*args, **fields):  # in this process, so with one job
    time.sleep(0.1)
    write_part(*args, **fields)
submission.write_part = write_slowly
folders = {folders}
project = Project(competition=folders.pop("competition"), **{{name: Path(path) for name, path in folders.items()}})
with use_jobs({jobs}):
    submission.write_submission(project, read_manifest(project, load_dataset(project.configs_dir)))
"""
    folder, path = project.submission_parts_dir("tiny_a"), project.submission_path("tiny_a")
    num_parts = 0
    for target in (2, 7) if jobs == 1 else (2,):  # starting workers takes seconds
        process = subprocess.Popen([sys.executable, "-c", program])
        while len(parts := list(folder.glob("*.part"))) < target and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not path.exists()
        assert num_parts < len(parts)
        num_parts = len(parts)
    assert jobs == 2 or num_parts < 12
    subprocess.run([sys.executable, "-c", program], check=True)
    resumed = path.read_bytes()
    path.unlink()
    monkeypatch.setattr(submission, "PART_SIZE", 2)
    assert write_submission(project, dataset).read_bytes() == resumed


def test_a_second_submission_of_the_name_says_who_is_at_work(make_ready: MakeScene) -> None:
    project, dataset = make_ready()
    with lock(project.submission_parts_dir("tiny_a")):
        with pytest.raises(InputError, match=rf"must be free. Received: .*process {os.getpid()} on"):
            write_submission(project, dataset)
        write_submission(project, dataset, "another")


@pytest.mark.parametrize("fault", ["folds", "a stranger in the sample", "a column", "no test images"])
def test_what_does_not_fit_is_refused(make_ready: MakeScene, fault: str) -> None:
    project, dataset = make_ready()
    sample_path = project.input_dir / "sample_submission.csv"
    if fault == "folds":
        text = project.folds_path.read_text().replace(",0\n", ",9\n").replace(",1\n", ",0\n")
        project.folds_path.write_text(text.replace(",9\n", ",1\n"))
        message = r"must be of the folds in .* Run `unets ensemble`"
    elif fault == "a stranger in the sample":
        sample_path.write_text("img,rle_mask\nelse_01.jpg,1 1\n")
        message = "must name test images only. Received: else_01"
    elif fault == "a column":
        sample_path.write_text("img,rle_mask,extra\ntest000_01.jpg,1 1,0\n")
        message = "must have the columns"
    else:
        shutil.rmtree(project.input_dir / "test")
        fit_ensemble(project, dataset, EnsembleConfig(experiments=("a",)))  # out-of-fold maps are enough
        message = "must have test images for a submission"
    with pytest.raises(InputError, match=message):
        write_submission(project, dataset)


def test_missing_or_damaged_maps_are_named(make_ready: MakeScene) -> None:
    project, dataset = make_ready()
    first, last = list_shards(project.maps_dir("a", "test"))
    content = last.read_bytes()
    last.unlink()
    with pytest.raises(InputError, match=r"must hold a map of test001_03.* Run `unets predict --exp a`"):
        write_submission(project, dataset)
    last.write_bytes(content)
    flip_bit(first, 200)
    with pytest.raises(InputError, match=r"00000\.zip must hold the whole map test000_01.png"), use_jobs(2):
        write_submission(project, dataset)
    assert not project.submissions_dir.exists() or not list(project.submissions_dir.iterdir())


def test_a_submission_is_found_by_path_by_name_or_as_the_newest(make_ready: MakeScene) -> None:
    project, dataset = make_ready()
    with pytest.raises(InputError, match="Run `unets submission`"):
        find_submission(project)
    first = write_submission(project, dataset, "zzz")
    newest = write_submission(project, dataset, "aaa")
    os.utime(first, ns=(10**9, 10**9))
    assert find_submission(project) == newest
    assert find_submission(project, "zzz") == find_submission(project, str(first)) == first
    with pytest.raises(InputError, match=r"`--submission` must be .* Received: none_such, which"):
        find_submission(project, "none_such")


def test_a_submission_of_other_bytes_than_its_record_tells_is_refused(make_ready: MakeScene) -> None:
    path = write_submission(*make_ready(), "first")
    path.write_bytes(gzip.compress(b"img,rle_mask\n"))
    with pytest.raises(InputError, match=r"first\.csv\.gz must be as first\.json says"):
        find_submission(Project.below(path.parents[2], "tiny"), "first")


def test_maps_of_images_that_changed_since_are_refused(make_ready: MakeScene) -> None:
    project, dataset = make_ready()
    samples = read_manifest(project, dataset).test
    rewrite_maps(project.maps_dir("a", "test"), images=[sample.image_hash for sample in samples])
    write_submission(project, dataset)
    cv2.imwrite(samples[1].image, cv2.imread(samples[1].image) + 1)
    with pytest.raises(InputError, match=r"must hold maps of the present images\. .*test000_02\.jpg, which changed"):
        write_submission(project, dataset)


@pytest.mark.parametrize("classes", [("car",), ("cat", "dog")])
def test_without_a_sample_submission_each_photo_and_class_has_a_row(make_ready: MakeScene, classes: Any) -> None:
    project, dataset = make_ready(classes=classes, mask_format="png")
    with_sample = read_submission(write_submission(project, dataset, "with"), dataset)
    form = dataset.submission.model_copy(update={"sample": None})
    dataset = dataset.model_copy(update={"submission": form, "size_hw": None})
    (project.input_dir / "sample_submission.csv").unlink()
    path = write_submission(project, dataset, "without")
    assert read_submission(path, dataset) == with_sample
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    assert lines[0] == ("img,rle_mask" if len(classes) == 1 else "img,class,rle_mask")
    photos = read_manifest(project, dataset).test
    names = [f",{name}" if len(classes) > 1 else "" for name in classes]
    assert [line.rpartition(",")[0] for line in lines[1:]] == [f"{p.id}.jpg{name}" for p in photos for name in names]
    path.write_bytes(gzip.compress("\n".join(lines[:-1]).encode()))
    with pytest.raises(InputError, match=rf"{lines[-1].split(',')[0]}.* has no row"):
        check_submission(path, None, dataset, images=photos)
