"""What the report shows of a models folder in any state, and that it is whole."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.pages.conftest import Trained, leave_trained, report, write_run
from tests.pages.test_screen import read_data
from unets.data.samples import Sample
from unets.ensemble.ensemble import read_ensemble
from unets.errors import InputError
from unets.evaluation.scores import read_scores
from unets.pages.report import Report, choose_large, name_metric
from unets.store.paths import Project
from unets.store.runs import read_json, write_json
from unets.submission.submission import name_submission

Make = Callable[..., Trained]
NAN = float("nan")
NEVER_CLOSED = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """Holds a page to what any browser understands alike, and gathers what it refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.references, self.ids = list[str](), list[str](), list[str]()
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), f"{tag} has an attribute twice"
        self.references += [value for name, value in attrs if name in ("src", "href", "action", "data", "srcset")]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in NEVER_CLOSED:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, write_competition: Callable[..., Project]) -> Trained:
    """12 images, of which experiment `a` takes one for all object; reports are written into it, and nothing else."""
    project = write_competition(tmp_path_factory.mktemp("report"), num_groups=4, num_views=3)
    return leave_trained(project, spoil=lambda id_: 200.0 if id_ == "car001_02" else 0.0)


@pytest.fixture(scope="module")
def found(trained: Trained) -> Report:
    """The report, in a folder where an earlier one left a picture."""
    pictures = trained[0].models_dir / "report" / "pictures"
    pictures.mkdir(parents=True)
    (pictures / "earlier.jpg").touch()
    return report(*trained, top=1)


def test_the_page_holds_every_image_and_its_scores(trained: Trained, found: Report) -> None:
    project, _ = trained
    assert found.page_path == project.models_dir / "report" / "index.html"
    assert (found.notes, found.num_images, found.num_pictures) == ((), 12, 12)
    data = read_data(found.page_path)
    assert data["images"]["id"] == [f"car{group:03d}_{view:02d}" for group in range(4) for view in (1, 2, 3)]
    assert data["groups"] == [f"car{group:03d}" for group in range(4)]
    columns = {column["label"]: column for column in data["columns"]}
    assert set(columns) == {"Dice of ensemble", "Dice of a", "Dice of b", "agreement", "uncertain band, px", "area"}
    assert [columns[f"Dice of {name}"]["prediction"] for name in data["predictions"]] == [0, 1, 2]
    for name, path in (("a", project.oof_scores_path("a")), ("ensemble", project.ensemble_oof_path("ensemble"))):
        assert columns[f"Dice of {name}"]["values"] == read_scores(path, "dice")["score"].tolist()
    assert all(0 < value <= 1 for value in columns["agreement"]["values"])
    # These images are no larger than a small picture.
    assert not any(small != large for _, _, small, large in data["pictures"].values())
    assert len(data["training"]) == 4 and data["training"][0]["series"]["val_dice"] == [0.4, 0.7, 0.8]
    assert data["training"][0]["best"] == [3]
    errors = data["errors"]
    assert errors["confusion"] is None and sum(errors["distances"]) > 0 and errors["names"] == ["background", "car"]
    assert errors["chosen"] == 0.5
    assert abs(max(errors["scores"]) - np.mean(columns["Dice of ensemble"]["values"])) < 0.01


def test_the_page_is_whole_and_refers_to_its_own_pictures_alone(trained: Trained, found: Report) -> None:
    project, _ = trained
    text, folder = found.page_path.read_text(encoding="utf-8"), found.page_path.parent
    assert re.search(r"<dt>Dice out-of-fold, ensemble</dt><dd>0\.\d{5}<small>too few groups for an interval", text)
    page = Page(text)
    assert text.startswith("<!doctype html>") and text.count("<h1>") == 1
    own = [reference for reference in page.references if reference.startswith("#")]
    assert {reference[1:] for reference in own} <= set(page.ids) and len(set(page.ids)) == len(page.ids)
    others = [(folder / reference).resolve() for reference in page.references if reference not in own]
    assert others[:2] == [project.run_dir("a", 0), project.run_dir("a", 1)] and all(path.exists() for path in others)
    assert not re.search(r"https?:|url\(|@import|<link|src=", text.replace("http://www.w3.org/2000/svg", ""))
    pictures = {path.name for path in (folder / "pictures").iterdir()}
    names = {name for picture in read_data(found.page_path)["pictures"].values() for name in picture[2:]}
    assert pictures == {f"{name}{suffix}" for name in names for suffix in (".jpg", ".png")}


def test_the_test_score_is_the_first_figure_once_it_is_there(trained: Trained) -> None:
    project, dataset = trained
    path = project.score_path(project.submission_path(name_submission(read_ensemble(project))))
    write_json(path, {"submission": "s", "sha256": "", "mean": 0.98765, "low": 0.9, "high": 0.99, "metric": "dice"})
    text = report(project, dataset).page_path.read_text()
    bounds = r"95 % interval 0\.90000 to 0\.99000; out-of-fold 0"
    assert re.search(rf"<dt>Dice on the test set, ensemble</dt><dd>0\.98765<small>{bounds}", text)
    write_json(path, {"submission": "s", "sha256": "", "mean": 0.5, "low": 0.4, "high": 0.6, "metric": "iou"})
    assert "on the test set" not in report(project, dataset).page_path.read_text()  # by another metric, it is said


def test_pictures_show_what_was_scored(found: Report) -> None:
    data = read_data(found.page_path)
    index = data["images"]["id"].index("car001_02")
    values = {column["label"]: column["values"] for column in data["columns"]}
    for column in ("Dice of a", "agreement"):
        assert min(values[column]) == values[column][index]
    height, width, small, _ = data["pictures"][str(index)]
    content = (found.page_path.parent / "pictures" / f"{small}.png").read_bytes()
    planes = np.array(Image.open(BytesIO(content)).convert("RGBA"))[..., 3].reshape(-1, height, width) > 0
    truth, _, _, ofa, ignored = planes  # ground truth, ensemble, b, a, ignored pixels
    assert ofa.all() and not ignored.any()  # the whole image is taken for the object
    assert values["Dice of a"][index] == pytest.approx(2 * truth.sum() / (truth.sum() + truth.size), abs=1e-5)


def test_experiments_and_folds_are_filtered(trained: Trained) -> None:
    data = read_data(report(*trained, "a", with_others=False, chosen_folds={"a": (1,)}, folds=(1,)).page_path)
    assert [column["label"] for column in data["columns"]] == ["Dice of a", "uncertain band, px", "area"]
    assert set(data["images"]["fold"]) == {1}


def test_runs_alone_and_nothing_at_all(make_trained: Make) -> None:
    project, dataset = make_trained(experiments="", ensemble=False)
    with pytest.raises(InputError, match=r"must hold a run\. Received: none\. Run `unets train`"):
        report(project, dataset)
    write_run(project, dataset, "a", 0)
    found = report(project, dataset, "a")
    assert (found.num_images, found.num_pictures) == (0, 0)
    Page(found.page_path.read_text())


def test_what_is_missing_is_said_with_the_command_that_makes_it(make_trained: Make) -> None:
    project, dataset = make_trained(chosen_folds={"b": (0,)}, ensemble=False)
    write_run(project, dataset, "c", 0)
    found = report(project, dataset, "abcd")
    assert found.notes == (
        "`b` lacks fold 1: `unets train --exp b --fold 1` trains it",
        "`c` lacks fold 1: `unets train --exp c --fold 1` trains it",
        "`d` lacks fold 0,1: `unets train --exp d --fold 0,1` trains it",
        "`c` was not predicted yet: `unets predict --exp c` scores it at full size",
        "`ensemble` is not there yet: `unets ensemble` makes it",
    )
    data, text = read_data(found.page_path), found.page_path.read_text()
    assert "<li><code>c</code> was not predicted yet: <code>unets predict --exp c</code>" in text
    values = {column["label"]: column["values"] for column in data["columns"]}
    is_second = [fold == 1 for fold in data["images"]["fold"]]
    assert [value is None for value in values["Dice of b"]] == is_second
    assert [run["experiment"] for run in data["training"]] == ["a", "a", "b", "c"]
    for path in project.maps_dir("b", "oof").rglob("*.zip"):
        path.unlink()
    found = report(project, dataset)
    assert any(note.startswith("`b` has no pictures of its masks") for note in found.notes)
    data = read_data(found.page_path)
    assert data["predictions"] == ["a"]
    assert {column["label"]: column["prediction"] for column in data["columns"]}["Dice of b"] is None


def test_an_ensemble_that_is_another_or_of_other_maps_is_not_shown_as_this_one(make_trained: Make) -> None:
    project, dataset = make_trained(ensemble_name="ensemble_small")
    assert report(project, dataset, ensemble_name="ensemble_small").page_path.parent.name == "report_small"
    other = report(project, dataset, "abc", chosen_folds={}, ensemble_name="ensemble_small")
    assert "must be of a,b,c" in other.notes[0]
    assert read_data(other.page_path)["predictions"] == ["a", "b"]
    path = project.ensemble_path("ensemble_small")
    ensemble = read_json(path)
    ensemble["members"][0]["fingerprint"] = "another"
    write_json(path, ensemble)
    found = report(project, dataset, ensemble_name="ensemble_small")
    assert "must be of the present maps of a, of fingerprint another" in found.notes[-1]
    assert read_data(found.page_path)["predictions"] == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "said"), [("iou", "IoU"), ("global_dice", "global Dice"), ("ap_50", "AP 50"), ("f2", "f2")]
)
def test_metrics_are_called_as_people_write_them(name: str, said: str) -> None:
    assert name_metric(name) == said


def test_several_classes_without_background_or_views_and_sizes_of_their_own(make_trained: Make) -> None:
    project, dataset = make_trained(
        classes=("cat", "dog"), mask_format="png", source={"group": "(?P<group>.+)"}, size_hw=(40, 80)
    )
    found = report(project, dataset.model_copy(update={"size_hw": None}))
    data = read_data(found.page_path)
    assert np.shape(data["errors"]["confusion"]) == (3, 3)
    assert [name for name, _ in data["classes"]] == ["cat", "dog"] and set(data["images"]["view"]) == {""}
    assert all(picture[:2] == [40, 80] for picture in data["pictures"].values())


def test_figures_of_a_metric_over_the_pixels_of_all_images(make_trained: Make, found: Report) -> None:
    data = read_data(report(*make_trained(metric="global_iou")).page_path)
    columns, errors = {column["label"]: column for column in data["columns"]}, data["errors"]
    own = columns["global IoU of ensemble"]
    assert errors["scores"][errors["thresholds"].index(0.5)] == pytest.approx(np.mean(own["values"]), abs=1e-5)
    assert own["meaning"].startswith("Not of the image alone: global IoU is")
    assert not read_data(found.page_path)["columns"][0]["meaning"]


@pytest.mark.parametrize(
    ("scores", "views", "top", "expected"),
    [
        ([[0.9], [0.6], [0.8], [0.5]], None, 1, {3}),
        ([[0.9], [0.6], [0.8], [0.5]], None, 9, {0, 1, 2, 3}),
        ([[0.9, 0.1], [0.6, NAN], [NAN, 0.8]], None, 1, {0, 1}),  # each column has its worst
        ([[0.1], [0.2], [0.3], [0.4], [0.95], [0.9], [0.8], [0.85]], "aaaabbbb", 4, {0, 1, 2, 3, 6}),  # each view
    ],
)
def test_the_worst_are_shown_large(scores: list[list[float]], views: str | None, top: int, expected: set[int]) -> None:
    samples = [
        Sample(id=str(number), group="g", view=views[number] if views else None, image="none")
        for number in range(len(scores))
    ]
    assert choose_large(np.array(scores), samples, top) == expected
