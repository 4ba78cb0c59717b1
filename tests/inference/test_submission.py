import errno
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unets.catalog import read_rle_csv
from unets.config import DatasetConfig, EnsembleConfig, Postprocessing
from unets.errors import InputError
from unets.inference import submission
from unets.inference.blend import blend
from unets.inference.ensemble import fit_ensemble
from unets.inference.maps import encode_map, list_shards, open_maps, write_shard
from unets.inference.postprocess import to_masks
from unets.inference.score import score_submission
from unets.inference.submission import find_submission, write_submission
from unets.inventory import read_scores
from unets.metrics import dice
from unets.paths import Project
from unets.rle import decode_rle, encode_rle

from .conftest import FINGERPRINT, flip_bit, write_maps

MakeScene = Callable[..., tuple[Project, DatasetConfig]]
MakeReady = Callable[..., tuple[Project, DatasetConfig]]


@pytest.fixture
def make_ready(make_scene: MakeScene) -> MakeReady:
    """A scene with its ensemble fitted."""

    def make(*, experiments: str = "a", config: dict[str, Any] | None = None, **options: Any) -> Any:
        project, dataset = make_scene(experiments=experiments, **({"num_groups": 2, "num_views": 3} | options))
        fields = {"experiments": tuple(experiments), "threshold": 0.5} | (config or {})
        fit_ensemble(project, dataset, EnsembleConfig(**fields), jobs=1)
        return project, dataset

    return make


@pytest.mark.parametrize("rle_order", ["row", "column"])
def test_rows_are_the_blended_maps_cut_at_the_threshold(make_ready: MakeReady, rle_order: str) -> None:
    config = {"weights": (1, 2), "threshold": 0.4}
    project, dataset = make_ready(experiments="ab", config=config, rle_order=rle_order)
    path = write_submission(project, dataset, jobs=2)
    assert path == project.submissions_dir / "tiny_ensemble.csv.gz"
    maps = [open_maps(project.maps_dir(name, "test")) for name in "ab"]
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    sample = (project.input_dir / "sample_submission.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == [line.split(",")[0] for line in sample]
    for line in lines[1:]:
        cell, rle = line.split(",")
        probs = blend([reader.read_map(cell.removesuffix(".jpg")) for reader in maps], (1 / 3, 2 / 3), (64, 96))
        assert rle == encode_rle(to_masks(probs, 0.4), dataset.rle_order)
    truth_path = project.input_dir / "truth" / "test_masks.csv"
    assert score_submission(path, truth_path, dataset, jobs=1).interval.mean > 0.9


def test_rows_are_what_was_judged(make_ready: MakeReady) -> None:
    """The same maps, as test photos and out-of-fold, under every kind of step: the submission scores as the judge."""
    steps = Postprocessing(blur_px=1.0, max_hole_px=3, max_components=1, min_area_px=900)
    config = {"weights": (1, 2), "averaging": "logit", "threshold": 0.42, "postprocessing": steps}
    project, dataset = make_ready(experiments="ab", config=config)
    rows = read_scores(project.ensemble_oof_path("ensemble"), dataset.metric)
    masks = read_rle_csv(project.input_dir / "train_masks.csv", dataset)
    test_ids = sorted(read_rle_csv(project.input_dir / "truth" / "test_masks.csv", dataset))[: len(rows)]
    # out-of-fold maps take the test photos' names
    for name in "ab":
        reader = open_maps(project.maps_dir(name, "oof"))
        maps = {test_id: encode_map(reader.read_map(row.id)) for test_id, row in zip(test_ids, rows, strict=True)}
        shutil.rmtree(project.maps_dir(name, "test"))
        write_shard(
            project.maps_dir(name, "test"), 0, fingerprint=FINGERPRINT, classes=dataset.classes, maps=maps.items()
        )
    submitted = read_rle_csv(write_submission(project, dataset, jobs=1), dataset)
    for test_id, row in zip(test_ids, rows, strict=True):
        found, truth = (decode_rle(rles[0], (64, 96)) for rles in (submitted[test_id], masks[row.id]))
        assert dice(truth, found) == pytest.approx(row.score, abs=5.01e-7)
    assert len({row.score for row in rows}) > 1


def test_a_named_ensemble_has_its_own_submission(make_ready: MakeReady) -> None:
    project, dataset = make_ready(experiments="ab")
    config = EnsembleConfig(experiments=("a", "b"), weights=(0, 1))
    fit_ensemble(project, dataset, config, name="ensemble_b", jobs=1)
    shutil.rmtree(project.maps_dir("a", "test"))  # not needed: its weight is 0
    path = write_submission(project, dataset, ensemble_name="ensemble_b", jobs=1)
    assert path.name == "tiny_ensemble_b.csv.gz"
    assert json.loads((project.submissions_dir / "tiny_ensemble_b.json").read_text())["ensemble"] == "ensemble_b"
    with pytest.raises(InputError, match=r"Run `make predict EXP=a`"):
        write_submission(project, dataset, jobs=1)


def test_several_classes_have_a_row_each(make_ready: MakeReady) -> None:
    project, dataset = make_ready(classes=("cat", "dog"), size_hw=(40, 80))
    path = write_submission(project, dataset, "two", jobs=1)
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    assert lines[0] == "img,class,rle_mask"
    assert [line.split(",")[:2] for line in lines[1:3]] == [["test000_01.jpg", "cat"], ["test000_01.jpg", "dog"]]
    truth_path = project.input_dir / "truth" / "test_masks.csv"
    assert score_submission(path, truth_path, dataset, jobs=1).interval.mean > 0.9


def test_sizes_of_their_own_and_the_sample_s_order_of_columns_and_rows(make_ready: MakeReady) -> None:
    project, dataset = make_ready()
    free = dataset.model_copy(update={"size_hw": None})
    sample_path = project.input_dir / "sample_submission.csv"
    ids = [line.split(",")[0] for line in sample_path.read_text().splitlines()[1:]]
    sample_path.write_text("rle_mask,img\n" + "".join(f"1 1,{id_}\n" for id_ in reversed(ids)))
    lines = gzip.decompress(write_submission(project, free, jobs=1).read_bytes()).decode().splitlines()
    assert lines[0] == "rle_mask,img"
    assert [line.split(",")[1] for line in lines[1:]] == ids[::-1]


def test_small_masks_are_emptied(make_ready: MakeReady) -> None:
    project, dataset = make_ready(config={"postprocessing": Postprocessing(min_area_px=10**6)})
    path = write_submission(project, dataset, jobs=1)
    assert set(read_rle_csv(path, dataset).values()) == {("",)}


def test_the_record_says_what_made_it(make_ready: MakeReady) -> None:
    project, dataset = make_ready()
    path = write_submission(project, dataset, jobs=1)
    assert path.name == "tiny_a.csv.gz"
    record = json.loads((project.submissions_dir / "tiny_a.json").read_text())
    ensemble = json.loads(project.ensemble_path("ensemble").read_text())
    assert record["members"] == ensemble["members"]
    assert record["oof_score"] == ensemble["score"]
    assert (record["name"], record["threshold"], record["folds"], record["num_rows"]) == ("tiny_a", 0.5, [0, 1], 6)
    assert record["csv_sha256"] == hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest()
    assert record["versions"]["numpy"] == np.__version__
    assert record["git_commit"] is None  # the test's folder is no repository


@pytest.mark.parametrize("stop", [1, 2])
def test_stopped_and_started_again_the_bytes_are_the_same(
    make_ready: MakeReady, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    project, dataset = make_ready()
    monkeypatch.setattr(submission, "_CHUNK", 2)
    expected = write_submission(project, dataset, jobs=2).read_bytes()
    old_name = project.submission_path("tiny_a")
    old_name.unlink()

    def stop_midway(*args: Any, **options: Any) -> Iterator[str]:
        for position, text in enumerate(run_tasks(*args, **options)):
            if position == stop:
                raise KeyboardInterrupt
            yield text

    run_tasks = submission.run_tasks
    monkeypatch.setattr(submission, "run_tasks", stop_midway)
    with pytest.raises(KeyboardInterrupt):
        write_submission(project, dataset, jobs=1)
    assert [path.name for path in project.submissions_dir.iterdir()] == ["tiny_a.json"]
    monkeypatch.setattr(submission, "run_tasks", run_tasks)
    (project.submissions_dir / ".part-tiny_a.csv.gz").write_bytes(b"left by a kill")
    assert write_submission(project, dataset, jobs=1).read_bytes() == expected
    assert sorted(path.name for path in project.submissions_dir.iterdir()) == ["tiny_a.csv.gz", "tiny_a.json"]
    # neither name nor time in the gzip header: flags 0, mtime 0
    assert expected[3:8] == bytes(5)


def test_a_full_disk_leaves_the_old_file_and_no_part(make_ready: MakeReady, monkeypatch: pytest.MonkeyPatch) -> None:
    project, dataset = make_ready()
    path = write_submission(project, dataset, jobs=1)
    before = path.read_bytes()

    def fill_disk(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(gzip.GzipFile, "write", fill_disk)
    with pytest.raises(OSError, match="No space left"):
        write_submission(project, dataset, jobs=1)
    assert path.read_bytes() == before
    assert sorted(path.name for path in project.submissions_dir.iterdir()) == ["tiny_a.csv.gz", "tiny_a.json"]


def test_maps_of_another_origin_are_refused(make_ready: MakeReady) -> None:
    project, dataset = make_ready()
    write_maps(project, dataset, "a", fingerprint="f" * 16)
    with pytest.raises(InputError, match=r"fingerprint 0123456789abcdef, .* Received: f{16}. Run .* `make ensemble`"):
        write_submission(project, dataset, jobs=1)


def test_other_folds_are_refused(make_ready: MakeReady) -> None:
    project, dataset = make_ready()
    lines = project.folds_path.read_text().splitlines()
    swapped = [line[:-1] + {"0": "1", "1": "0"}[line[-1]] for line in lines[1:]]
    project.folds_path.write_text("\n".join([lines[0], *swapped]) + "\n")
    with pytest.raises(InputError, match=r"must be of the folds in .* Run `make ensemble`"):
        write_submission(project, dataset, jobs=1)


def test_missing_or_damaged_maps_are_named(make_ready: MakeReady) -> None:
    project, dataset = make_ready()
    first, last = list_shards(project.maps_dir("a", "test"))
    content = last.read_bytes()
    last.unlink()
    with pytest.raises(InputError, match=r"must hold a map of test001_03.* Run `make predict EXP=a`"):
        write_submission(project, dataset, jobs=1)
    last.write_bytes(content)
    flip_bit(first, 200)
    with pytest.raises(InputError, match=r"00000\.zip must be whole. Received: member test000_01.png is damaged"):
        write_submission(project, dataset, jobs=2)
    assert not project.submissions_dir.exists() or not list(project.submissions_dir.iterdir())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("img,rle_mask\nelse_01.jpg,1 1\n", "must name photos of test/{id}.jpg. Received: else_01.jpg"),
        ("img,rle_mask,extra\ntest000_01.jpg,1 1,0\n", "must have the columns"),
    ],
)
def test_a_sample_that_does_not_fit_is_refused(make_ready: MakeReady, text: str, message: str) -> None:
    project, dataset = make_ready()
    (project.input_dir / "sample_submission.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        write_submission(project, dataset, jobs=1)


def test_a_submission_is_found_by_path_by_name_or_as_the_newest(make_ready: MakeReady) -> None:
    project, dataset = make_ready()
    with pytest.raises(InputError, match="Run `make submission`"):
        find_submission(project)
    first = write_submission(project, dataset, "zzz", jobs=1)
    newest = write_submission(project, dataset, "aaa", jobs=1)
    os.utime(first, ns=(10**9, 10**9))
    assert find_submission(project) == newest
    assert find_submission(project, "zzz") == find_submission(project, str(first)) == first
    with pytest.raises(InputError, match=r"`SUBMISSION` must be .* Received: none_such, which"):
        find_submission(project, "none_such")


def test_no_stage_after_the_net_loads_a_network_library() -> None:
    modules = "submission, ensemble, oof, score, check, maps, views, postprocess, blend"
    code = (
        f"import sys; from unets.inference import {modules}; print({{'keras', 'tensorflow', 'jax'}} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_rows_are_written_as_they_come(tmp_path: Path) -> None:
    text = "1 2 " * 25_000  # 100 KB, 400 times: 40 MB in all
    tracemalloc.start()
    digest = submission.write_gzip(tmp_path / "large.csv.gz", ["img", "rle_mask"], (text for _ in range(400)))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 2_000_000
    assert digest == hashlib.sha256(gzip.decompress((tmp_path / "large.csv.gz").read_bytes())).hexdigest()
