"""What the report shows of a folder in any state, and that it is whole."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests import ROOT
from tests.pages.report.conftest import Trained, report, write_run
from tests.pages.screen.test_screening import Page
from unets.errors import InputError
from unets.pages.report import reporting
from unets.pages.report.reporting import Report
from unets.store.runs import read_json, write_json

Make = Callable[..., Trained]


@pytest.fixture(autouse=True)
def fix_date(monkeypatch: pytest.MonkeyPatch) -> None:
    origin = {"date": "2026-01-02T03:04:05", "git_commit": None, "git_is_dirty": None, "versions": {"python": "3"}}
    monkeypatch.setattr(reporting, "describe_origin", lambda _: origin)


def read_data(found: Report) -> dict[str, Any]:
    text = found.page_path.read_text(encoding="utf-8")
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, flags=re.DOTALL)
    assert match is not None
    return json.loads(match[1])


def list_references(data: dict[str, Any]) -> set[str]:
    return {
        path
        for picture in data["pictures"].values()
        for path in (picture["photo"], picture["truth"], *(own for pair in picture["layers"].values() for own in pair))
    }


def test_the_page_holds_every_photo_and_a_picture_of_the_worst(make_trained: Make) -> None:
    project, dataset = make_trained()
    found = report(project, dataset, top=4)
    assert found.page_path == project.models_dir / "report" / "index.html"
    assert found.notes == ()
    data = read_data(found)
    assert data["photos"]["id"] == [f"car{group:03d}_{view:02d}" for group in range(4) for view in (1, 2, 3)]
    assert data["subjects"][0]["name"] == "ensemble"
    assert {subject["name"] for subject in data["subjects"]} == {"ensemble", "a", "b"}
    assert data["views"] == ["01", "02", "03"] and data["groups"] == [f"car{group:03d}" for group in range(4)]
    for subject in data["subjects"]:
        worst = np.argsort(subject["scores"])[:4]
        assert all(str(index) in data["pictures"] for index in worst)
    assert all(0 < value <= 1 for value in data["photos"]["agreement"])
    assert [len(curve["runs"]) for curve in data["curves"]] == [2, 2]
    assert data["curves"][0]["runs"][0]["val_dice"] == [0.4, 0.7, 0.8] and data["curves"][0]["runs"][0]["best"] == [3]


def test_scores_are_those_that_the_stages_wrote(make_trained: Make) -> None:
    project, dataset = make_trained()
    data = read_data(report(project, dataset))
    for name, path in (("a", project.oof_scores_path("a")), ("ensemble", project.ensemble_oof_path("ensemble"))):
        rows = [line.split(",") for line in path.read_text().splitlines()[1:]]
        (subject,) = (subject for subject in data["subjects"] if subject["name"] == name)
        assert subject["scores"] == [float(row[3]) for row in rows]


def test_the_page_is_whole_and_refers_to_its_own_pictures_alone(make_trained: Make) -> None:
    project, dataset = make_trained()
    found = report(project, dataset, top=2)
    text, folder = found.page_path.read_text(encoding="utf-8"), found.page_path.parent
    page = Page(text)
    assert text.startswith("<!doctype html>") and page.counts["title"] == page.counts["main"] == page.counts["h1"] == 1
    assert all(reference.startswith("#") for reference in page.references)
    assert {reference[1:] for reference in page.references} <= set(page.ids) and len(set(page.ids)) == len(page.ids)
    assert not re.search(r"https?:|url\(|@import|<link|src=", text.replace("http://www.w3.org/2000/svg", ""))
    pictures = {f"pictures/{path.name}" for path in (folder / "pictures").iterdir()}
    assert list_references(read_data(found)) == pictures
    assert sorted(path.name for path in folder.iterdir()) == ["index.html", "pictures"]


def test_equal_inputs_give_equal_bytes_and_pictures_of_an_earlier_page_go(make_trained: Make) -> None:
    project, dataset = make_trained()
    write_json(project.stages_path, {"stage": "train", "seconds": 1.0})
    project.stages_path.write_text('{"stage": "train", "seconds": 1.0}\n{"stage": "report", "seconds": 9.0}\n')

    def read_all(top: int) -> dict[str, bytes]:
        folder = report(project, dataset, top=top).page_path.parent
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    few, many = read_all(1), read_all(12)
    project.stages_path.write_text('{"stage": "train", "seconds": 1.0}\n{"stage": "report", "seconds": 99.0}\n')
    assert len(few) < len(many)
    assert read_all(1) == few
    assert b"report</th>" not in few["index.html"]


def test_a_page_that_fails_leaves_the_one_that_is_there(make_trained: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    project, dataset = make_trained()
    found = report(project, dataset, top=12)
    before = found.page_path.read_bytes()

    def fail(_: Any) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(reporting, "render_page", fail)
    with pytest.raises(KeyboardInterrupt):
        report(project, dataset, top=1)
    assert found.page_path.read_bytes() == before
    assert all((found.page_path.parent / path).is_file() for path in list_references(read_data(found)))


def test_what_is_missing_is_said_with_the_command_that_makes_it(make_trained: Make) -> None:
    project, dataset = make_trained(folds_of={"b": (0,)}, ensemble=False)
    write_run(project, dataset, "c", 0)
    found = report(project, dataset, "abcd")
    assert found.notes == (
        "b is not trained on fold 1: `make train EXP=b FOLD=1` trains it",
        "c is not trained on fold 1: `make train EXP=c FOLD=1` trains it",
        "d is not trained on fold 0,1: `make train EXP=d FOLD=0,1` trains it",
        "c was not predicted yet: `make predict EXP=c` scores it at full size",
        "ensemble is not there yet: `make ensemble` makes it",
    )
    data, text = read_data(found), found.page_path.read_text()
    assert "<li>b is not trained on fold 1: <code>make train EXP=b FOLD=1</code> trains it</li>" in text
    scores = {subject["name"]: subject["scores"] for subject in data["subjects"]}
    assert [score is None for score in scores["b"]] == [fold == 1 for fold in data["photos"]["fold"]]
    # Where only one experiment was judged, nobody disagrees.
    assert [value is None for value in data["photos"]["agreement"]] == [fold == 1 for fold in data["photos"]["fold"]]
    assert [curve["experiment"] for curve in data["curves"]] == ["a", "b", "c"]


def test_runs_alone_and_nothing_at_all(make_trained: Make) -> None:
    project, dataset = make_trained(experiments="", ensemble=False)
    with pytest.raises(InputError, match=r"must hold a run\. Received: none\. Run `make train`"):
        report(project, dataset)
    write_run(project, dataset, "a", 0)
    found = report(project, dataset, "a")
    assert (found.num_photos, found.num_pictures) == (0, 0)
    Page(found.page_path.read_text())
    with pytest.raises(InputError, match=r"`TOP` must be at least 1\. Received: 0"):
        report(project, dataset, top=0)


def test_experiments_and_folds_are_filtered(make_trained: Make) -> None:
    project, dataset = make_trained()
    data = read_data(report(project, dataset, "a", with_others=False, folds_of={"a": (1,)}, folds=(1,)))
    assert [subject["name"] for subject in data["subjects"]] == ["a"]
    assert set(data["photos"]["fold"]) == {1}
    assert data["photos"]["agreement"] == [None] * 6


def test_an_ensemble_that_is_another_or_of_other_maps_is_not_shown_as_this_one(make_trained: Make) -> None:
    project, dataset = make_trained()
    other = report(project, dataset, "abc", folds_of={})
    assert "The ensemble must be of a,b,c" in other.notes[0]
    assert {subject["name"] for subject in read_data(other)["subjects"]} == {"a", "b"}
    path = project.ensemble_path("ensemble")
    ensemble = read_json(path)
    ensemble["members"][0]["fingerprint"] = "another"
    write_json(path, ensemble)
    found = report(project, dataset)
    assert "ensemble must be of the present maps of a, of fingerprint another" in found.notes[0]
    (own,) = (number for number, s in enumerate(read_data(found)["subjects"]) if s["name"] == "ensemble")
    assert all(str(own) not in picture["layers"] for picture in read_data(found)["pictures"].values())


def test_lost_maps_and_damaged_files_cost_what_they_hold(make_trained: Make) -> None:
    project, dataset = make_trained(ensemble=False)
    for path in project.maps_dir("b", "oof").iterdir():
        path.unlink()
    (project.run_dir("a", 0) / "history.csv").write_bytes(b"epoch,loss\n1,\xff\n")
    (project.run_dir("a", 1) / "history.csv").write_text("epoch,loss,dice,val_loss,val_dice\n1,nan,x,,inf\n2,1,1,1\n")
    found = report(project, dataset, "ab")
    assert any(note.startswith("b has no pictures of its masks") for note in found.notes)
    data = read_data(found)
    assert {len(picture["layers"]) for picture in data["pictures"].values()} == {1}
    (curves,) = (curve["runs"] for curve in data["curves"] if curve["experiment"] == "a")
    assert [(run["fold"], run["epochs"], run["val_loss"]) for run in curves] == [(1, [1, 2], [None, 1.0])]


def test_an_ensemble_has_a_page_of_its_own(make_trained: Make) -> None:
    project, dataset = make_trained(ensemble_name="ensemble_small")
    found = report(project, dataset, ensemble_name="ensemble_small")
    assert found.page_path == project.models_dir / "report_small" / "index.html"
    assert read_data(found)["subjects"][0]["name"] == "ensemble_small"


def test_several_classes_photos_without_views_and_of_their_own_size(make_trained: Make) -> None:
    project, dataset = make_trained(
        classes=("cat", "dog"), mask_format="png", id_pattern="(?P<group>.+)", size_hw=(40, 80)
    )
    dataset = dataset.model_copy(update={"size_hw": None})
    for path in (
        project.input_dir / "train" / "car000_01.jpg",
        project.input_dir / "train_masks" / "car000_01_mask.png",
    ):
        picture = Image.open(path).resize((150, 90), Image.Resampling.NEAREST)
        picture.save(path)
    data = read_data(report(project, dataset))
    assert [name for name, _ in data["classes"]] == ["cat", "dog"]
    assert [name for name, _ in data["differences"]] == ["missed", "too much", "wrong class"]
    assert data["views"] == [] and set(data["photos"]["view"]) == {-1}
    assert {tuple(picture["hw"]) for picture in data["pictures"].values()} == {(40, 80), (90, 150)}


def test_names_are_not_read_as_html(make_trained: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    project, dataset = make_trained()
    name = 'a<b>&"c</script><script>alert(1)</script>'
    render = reporting.render_page
    contents = []
    monkeypatch.setattr(reporting, "render_page", lambda content: contents.append(content) or render(content))
    report(project, dataset)
    (content,) = contents
    samples = tuple(
        replace(sample, id=f"{name}{sample.id}", group=name, view=name) for sample in content.ledger.samples
    )
    runs = tuple(replace(run, experiment=name, remark=name, commits=(name,), devices=(name,)) for run in content.runs)
    text = render(
        replace(
            content,
            competition=name,
            notes=(name, f"Run `make {name}`"),
            subjects=tuple(replace(subject, name=name, notes=(name,)) for subject in content.subjects),
            ledger=replace(content.ledger, samples=samples),
            runs=runs,
            configs={name: {name: name}},
            curves={name: content.curves["a"]},
            seconds={name: 1.0},
        )
    )
    assert "<b>" not in text.replace("<b>0.", "") and "alert(1)</script>" not in text
    assert text.count("<script") == 2 and text.count("</script>") == 2
    Page(text)
    match = re.search(r'id="data">(.*?)</script>', text, flags=re.DOTALL)
    assert match is not None and json.loads(match[1])["groups"] == [name]


def test_pictures_lie_where_the_page_says(make_trained: Make, tmp_path: Path) -> None:
    project, dataset = make_trained(spoil=lambda id_: 200.0 if id_ == "car001_02" else 0.0)
    found = report(project, dataset, top=1)
    data = read_data(found)
    index = data["photos"]["id"].index("car001_02")
    (number,) = (number for number, subject in enumerate(data["subjects"]) if subject["name"] == "a")
    assert min(data["subjects"][number]["scores"]) == data["subjects"][number]["scores"][index]
    assert min(data["photos"]["agreement"]) == data["photos"]["agreement"][index]
    picture = data["pictures"][str(index)]
    difference = np.array(Image.open(found.page_path.parent / picture["layers"][str(number)][1]))
    truth = np.array(Image.open(found.page_path.parent / picture["truth"])) > 0
    # The whole photo is taken for the object: all that is not, is too much (2), nothing is missed (1).
    assert ((difference == 2) == ~truth).all() and (difference[truth] == 0).all()


def test_commands_are_completed(make_trained: Make) -> None:
    project, dataset = make_trained(ensemble=False)
    found = report(project, dataset, complete=lambda text: text.replace("`make ensemble`", "`make ensemble X=1`"))
    assert found.notes == ("ensemble is not there yet: `make ensemble X=1` makes it",)


@pytest.mark.slow
def test_the_script_reports_and_names_the_page_last(make_trained: Make) -> None:
    project, _ = make_trained()
    config = (
        "from unets.config import EnsembleConfig, Postprocessing\n\nENSEMBLE = EnsembleConfig(experiments=('a', 'b'), "
    )
    given = "averaging='probability', weights='equal', threshold=0.5, postprocessing=Postprocessing())\n"
    (project.configs_dir / "ensemble.py").write_text(config + given)
    root = project.configs_dir.parents[1]
    script = ROOT / "scripts" / "18_report.py"
    command = [
        sys.executable,
        str(script),
        "--root",
        str(root),
        "--competition",
        "tiny",
        "--input",
        str(project.input_dir),
    ]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, "--jobs", "1", *arguments], capture_output=True, text=True, check=False)

    done = run("--top", "3")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"open in a browser: {(project.models_dir / 'report/index.html').as_uri()}"
    assert "missing" not in done.stdout
    refused = run("--top", "0")
    assert refused.returncode == 1 and "`TOP` must be at least 1. Received: 0" in refused.stderr
    part = run("--exp", "a")
    assert part.returncode == 0 and "missing: ensemble is left out: The ensemble must be of a, folds 0,1" in part.stdout
