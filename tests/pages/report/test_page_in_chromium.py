"""The page in a real browser: opened from disk, filtered, zoomed, in both themes, at a phone's width, with many photos.

Skipped where there is no Chromium, unless REQUIRE_BROWSER=1, as in CI: there it fails.
"""

import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tests import ROOT
from tests.pages.report.conftest import Trained, leave_trained, report
from unets.data.samples import Sample
from unets.evaluation.runs import PhotoScore
from unets.metrics.intervals import bootstrap_mean
from unets.pages.report.curves import Curves
from unets.pages.report.ledger import Ledger, choose_photos
from unets.pages.report.page import Content, Picture, render_page
from unets.pages.report.subjects import Subject
from unets.store.paths import Project

pytestmark = pytest.mark.slow

NAME = 'a<b>&"c'
SHOWN = "Array.from(document.querySelectorAll('.card'), card => card.dataset.photo)"
ROWS = "Array.from(document.querySelectorAll('#table tbody th'), cell => cell.textContent)"


def load_driver() -> ModuleType:
    spec = importlib.util.spec_from_file_location("chromium", ROOT / "benchmarks" / "chromium.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    driver = load_driver()
    program = driver.find_chromium()
    if program is None:
        if os.environ.get("REQUIRE_BROWSER") == "1":
            pytest.fail("REQUIRE_BROWSER=1, and there is no chromium: `apt-get install chromium`")
        pytest.skip("no chromium: `apt-get install chromium`, or CHROMIUM=path, and the page is opened for real")
    with driver.Chromium(program) as opened:
        yield opened


@pytest.fixture(scope="module")
def page_path(tmp_path_factory: pytest.TempPathFactory, write_competition: Callable[..., Project]) -> Path:
    """The report of a tiny scene, in which a net takes the whole of one photo for the object."""
    project = write_competition(tmp_path_factory.mktemp("page"), num_groups=4, num_views=3)
    trained = leave_trained(project, spoil=lambda id_: 200.0 if id_ == "car001_02" else 0.0)
    return report(*trained, top=5).page_path


@pytest.fixture
def page(browser: Any, page_path: Path) -> Iterator[Any]:
    """That page, opened afresh in a window of 1440 x 900."""
    yield open_page(browser, page_path)
    assert browser.complaints == []


def open_page(browser: Any, path: Path, *, width: int = 1440, height: int = 900, is_phone: bool = False) -> Any:
    browser.complaints.clear()
    browser.requests.clear()
    browser.resize(width, height, is_phone=is_phone)
    browser.prefer(color_scheme="light", reduced_motion="reduce")
    browser.open(path)
    return browser


def choose(browser: Any, id_: str, value: str) -> None:
    browser.evaluate(
        f"(() => {{ const field = document.getElementById('{id_}'); field.value = {value!r};"
        "field.dispatchEvent(new Event(field.tagName === 'SELECT' ? 'change' : 'input', {bubbles: true})); })()"
    )


def test_it_opens_from_disk_without_a_word_or_a_request(page: Any) -> None:
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")  # which loads what else waits until it is near
    page.wait_for("Array.from(document.images).every(image => image.complete)")
    assert page.complaints == []
    folder = page.requests[0].rsplit("/", 1)[0]
    assert page.requests[0].endswith("/report/index.html")
    assert all(request.startswith(f"{folder}/pictures/") for request in page.requests[1:]) and len(page.requests) > 5
    assert page.evaluate("Array.from(document.images).every(image => image.naturalWidth > 0)")
    assert (
        page.evaluate("document.querySelectorAll('polyline').length") == 2 * 2 * 2 * 2
    )  # experiments, folds, charts, lines
    assert len(page.evaluate(SHOWN)) == 5 and len(page.evaluate(ROWS)) == 12


def test_the_worst_and_the_most_disputed_come_first(page: Any) -> None:
    choose(page, "subject", "1")
    names = page.evaluate("Array.from(document.querySelectorAll('#subject option'), option => option.textContent)")
    assert names[0] == "ensemble" and sorted(names[1:]) == ["a", "b"]
    choose(page, "subject", str(names.index("a")))
    assert page.evaluate(SHOWN)[0] == "car001_02" and page.evaluate(ROWS)[0] == "car001_02"
    scores = [
        float(text)
        for text in page.evaluate("Array.from(document.querySelectorAll('.card .score'), s => s.textContent)")
    ]
    assert scores == sorted(scores)
    page.click("#sort button[data-value=disputed]")
    assert page.evaluate(SHOWN)[0] == "car001_02"
    captions = page.evaluate("Array.from(document.querySelectorAll('.card small'), small => small.textContent)")
    agreements = [float(caption.rsplit("agreement ")[1]) for caption in captions]
    assert agreements == sorted(agreements) and agreements[0] < 0.9
    choose(page, "subject", str(names.index("b")))
    assert page.evaluate(SHOWN)[0] == "car001_02"  # disputed it is under any of them


def test_filters_change_what_is_shown(page: Any) -> None:
    choose(page, "view", "1")
    assert page.evaluate(ROWS) and all(id_.endswith("_02") for id_ in (*page.evaluate(ROWS), *page.evaluate(SHOWN)))
    assert page.evaluate("document.getElementById('count').textContent") == "4 of 12 photos"
    choose(page, "group", "CAR001")
    assert page.evaluate(ROWS) == page.evaluate(SHOWN) == ["car001_02"]
    choose(page, "group", "nothing of that name")
    assert page.evaluate(ROWS) == page.evaluate(SHOWN) == []
    assert page.evaluate("document.getElementById('gallery-note').textContent") == "No photo matches."
    page.click("#clear")
    assert len(page.evaluate(ROWS)) == 12
    page.click("#by-group .row")  # the worst group
    assert {id_.split("_")[0] for id_ in page.evaluate(ROWS)} == {
        page.evaluate("document.getElementById('group').value")
    }
    assert page.evaluate("document.querySelector('#by-group .row[aria-pressed=true] .name').textContent") == (
        page.evaluate("document.getElementById('group').value")
    )
    page.click("#by-group .row[aria-pressed=true]")
    assert len(page.evaluate(ROWS)) == 12


def test_the_list_is_sorted_by_its_headers(page: Any) -> None:
    page.click("#table [data-key=id]")
    assert page.evaluate(ROWS) == sorted(page.evaluate(ROWS))
    assert page.evaluate("document.querySelector('[aria-sort]').textContent") == "photo↑"
    page.press("Enter")  # the header keeps the focus
    assert page.evaluate(ROWS) == sorted(page.evaluate(ROWS), reverse=True)


def test_zoom_opens_turns_and_closes_by_keyboard(page: Any) -> None:
    shown = page.evaluate(SHOWN)
    page.evaluate("document.querySelector('.card').focus()")
    page.press("Enter")
    name, is_open = "document.getElementById('zoom-name').textContent", "document.getElementById('zoom').open"
    assert page.evaluate(is_open) and page.evaluate(name) == shown[0]
    page.press("ArrowRight")
    page.press("ArrowRight")
    assert page.evaluate(name) == shown[2]
    page.press("ArrowLeft")
    assert page.evaluate(name) == shown[1]
    for key, layer in (("1", "photo"), ("2", "truth"), ("3", "mask"), ("4", "difference")):
        page.press(key)
        assert page.evaluate("document.querySelector('#zoom-layer [aria-pressed=true]').dataset.value") == layer
        assert page.evaluate("document.querySelectorAll('#stage img').length") == (1 if layer == "photo" else 2)
    page.press("z")
    assert page.evaluate("document.getElementById('stage').classList.contains('full')")
    page.press("z")
    page.press("Escape")
    assert not page.evaluate(is_open)
    page.wait_for(f"document.activeElement.dataset.photo === '{shown[1]}'")


def test_zoom_shows_another_experiments_mask_of_the_same_photo(page: Any) -> None:
    page.click(".card")
    sources = "document.querySelector('#stage .layer').src"
    before = page.evaluate(sources)
    page.click("#zoom-subject [aria-pressed=false]")
    assert page.evaluate(sources) != before
    page.click("#zoom-close")
    assert not page.evaluate("document.getElementById('zoom').open")


def test_a_curve_is_read_by_the_arrows(page: Any) -> None:
    page.evaluate("document.querySelectorAll('.plot[role=slider]')[1].focus()")  # the Dice of the first experiment
    readout = "document.activeElement.closest('.chart').querySelector('.readout').textContent"
    assert page.evaluate(readout) == "best of validation: fold 0 0.80000, fold 1 0.80000"
    page.press("ArrowLeft")
    assert page.evaluate(readout) == "epoch 2: fold 0 0.70000, fold 1 0.70000"
    assert page.evaluate("document.activeElement.getAttribute('aria-valuetext')") == page.evaluate(readout)


def test_all_that_can_be_used_is_reached_by_tab_and_has_a_name(page: Any) -> None:
    usable = (
        "Array.from(document.querySelectorAll('button, select, input, summary, a'))"
        ".filter(element => element.checkVisibility() && !element.disabled)"
    )
    page.evaluate("window.seen = new Set()")
    for _ in range(page.evaluate(f"{usable}.length") + 30):  # besides, charts and tables that scroll
        page.press("Tab")
        page.evaluate("void seen.add(document.activeElement)")
    assert page.evaluate(f"{usable}.filter(element => !seen.has(element)).map(element => element.outerHTML)") == []
    has_name = "element.textContent.trim() || element.ariaLabel || element.labels?.length"
    assert page.evaluate(f"{usable}.filter(element => !({has_name})).map(element => element.outerHTML)") == []


def test_dark_is_dark_by_the_system_and_by_the_button(page: Any) -> None:
    colours = (
        "[getComputedStyle(document.documentElement).backgroundColor, getComputedStyle(document.documentElement).color]"
    )

    def measure() -> tuple[float, float]:
        back, text = (np.mean([int(part) for part in colour[4:-1].split(",")]) for colour in page.evaluate(colours))
        return float(back), float(text)

    light = measure()
    page.prefer(color_scheme="dark")
    dark = measure()
    assert light[0] > 230 > 60 > light[1] and dark[0] < 40 < 200 < dark[1]
    page.click("#theme")  # light, whatever the system says
    assert measure() == light
    page.click("#theme")
    page.prefer(color_scheme="light")
    assert measure() == dark
    page.click("#theme")
    assert measure() == light and page.evaluate("document.getElementById('theme').textContent") == "Theme: system"


@pytest.mark.parametrize("width", [390, 1440])
def test_nothing_is_wider_than_the_window(page: Any, width: int) -> None:
    page.resize(width, 844, is_phone=width < 500)
    assert page.evaluate("document.documentElement.scrollWidth") == width == page.evaluate("innerWidth")
    page.click(".card")
    assert page.evaluate("document.getElementById('zoom').getBoundingClientRect().right") <= width
    page.press("Escape")


def test_it_prints_with_all_its_pictures(page: Any) -> None:
    page.click("#theme")
    page.click("#theme")  # dark
    page.resize(794, 1123)  # A4
    page.prefer(medium="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("document.documentElement.scrollWidth") == 794
    assert page.evaluate("getComputedStyle(document.querySelector('.filters')).display") == "none"
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("Array.from(document.images).every(image => image.loading === 'eager')")
    page.click("#theme")


def build_content(num_groups: int, num_views: int, *, name: str = "", top: int = 24) -> Content:
    """A page's content without a file behind it: scores at random, pictures that are not there."""
    rng = np.random.default_rng(0)
    samples = tuple(
        Sample(
            id=f"{name}{group:012x}_{view:02d}",
            group=f"{name}{group:012x}",
            view=f"{view:02d}",
            image="none",
        )
        for group in range(num_groups)
        for view in range(num_views)
    )
    folds = tuple(index // num_views % 5 for index in range(len(samples)))
    names = ("ensemble", "unet_1024", f"{name}unet_640x959", "unet_1280x1918")
    scores = 1 - np.exp(rng.normal(-5.5, 0.7, (len(samples), len(names))))
    ledger = Ledger(
        samples=samples, folds=folds, subjects=names, scores=scores, agreement=1 - rng.gamma(1, 0.002, len(samples))
    )
    chosen = choose_photos(ledger, top)
    groups = [sample.group for sample in samples]
    subjects = tuple(
        Subject(
            name=own,
            is_ensemble=own == "ensemble",
            experiments=(own,),
            folds=(0, 1, 2, 3, 4),
            scores={
                sample.id: PhotoScore(id=sample.id, group=sample.group, fold=fold, score=score)
                for sample, fold, score in zip(samples, folds, scores[:, number].tolist(), strict=True)
            },
            score=bootstrap_mean(scores[:, number], groups),
            num_groups=num_groups,
            cost=None,
            notes=(),
        )
        for number, own in enumerate(names)
    )
    epochs = tuple(range(1, 51))
    values = {key: tuple(rng.uniform(0.1, 0.9, 50).tolist()) for key in ("loss", "val_loss", "dice", "val_dice")}
    curves = {
        own: [Curves(fold=fold, epochs=epochs, values=values, best_epochs=(40,)) for fold in range(5)]
        for own in names[1:]
    }
    layers = dict.fromkeys(range(len(names)), ("pictures/mask.png", "pictures/difference.png"))
    picture = Picture(size_hw=(1280, 1918), photo="pictures/photo.jpg", truth="pictures/truth.png", layers=layers)
    return Content(
        competition=name or "carvana",
        metric="dice",
        classes=("car",),
        origin={"date": "2026-01-02T03:04:05", "git_commit": None, "git_is_dirty": None, "versions": {}},
        notes=(),
        subjects=subjects,
        ensemble=None,
        ledger=ledger,
        pictures=dict.fromkeys(chosen, picture),
        top=top,
        more="more",
        runs=(),
        curves=curves,
        configs={},
        seconds={},
    )


def write_page(folder: Path, content: Content) -> Path:
    """Writes the page and its four pictures."""
    from unets.data.io import encode_jpeg
    from unets.pages.report.pictures import draw_difference, draw_mask

    mask_hw = np.zeros((128, 192), dtype=np.uint8)
    mask_hw[30:90, 40:150] = 1
    (folder / "pictures").mkdir()
    (folder / "pictures" / "photo.jpg").write_bytes(encode_jpeg(np.full((128, 192, 3), 200, dtype=np.uint8)))
    for name in ("truth", "mask"):
        (folder / "pictures" / f"{name}.png").write_bytes(draw_mask(mask_hw))
    (folder / "pictures" / "difference.png").write_bytes(draw_difference(mask_hw, np.roll(mask_hw, 3)))
    (folder / "index.html").write_text(render_page(content), encoding="utf-8")
    return folder / "index.html"


def test_5088_photos_cost_no_more_than_a_screenful(browser: Any, tmp_path: Path) -> None:
    path = write_page(tmp_path, build_content(318, 16))
    assert path.stat().st_size < 1_000_000  # 5,088 photos with four scores each
    page = open_page(browser, path)
    assert page.evaluate("document.getElementById('count').textContent") == "5,088 of 5,088 photos"
    nodes = "document.getElementsByTagName('*').length"
    assert page.evaluate(nodes) < 2500
    assert page.evaluate("document.querySelectorAll('.card').length") == 24
    assert page.evaluate("document.querySelectorAll('#table tbody tr').length") == 50
    assert len(set(page.requests)) <= 1 + 4  # the page and its pictures, none of them more than once
    loaded = page.evaluate("Array.from(document.images).filter(image => image.complete).length")
    assert loaded < page.evaluate("document.images.length")  # what is far below waits
    page.click("#next")
    assert page.evaluate("document.getElementById('page').textContent") == "51 to 100 of 5,088"
    for view in range(16):  # the worst of each view has a picture, and is the first
        choose(page, "view", str(view))
        assert page.evaluate(SHOWN)[0] == page.evaluate(ROWS)[0]
    assert page.evaluate(nodes) < 2500
    page.resize(390, 844, is_phone=True)
    assert page.evaluate("document.documentElement.scrollWidth") == page.evaluate("innerWidth") == 390
    assert page.complaints == []


def test_names_are_shown_as_they_are(browser: Any, tmp_path: Path) -> None:
    page = open_page(browser, write_page(tmp_path, build_content(3, 2, name=NAME)))
    assert page.evaluate("document.querySelector('h1').textContent") == NAME
    assert all(id_.startswith(NAME) for id_ in page.evaluate(ROWS)) and all(
        id_.startswith(NAME) for id_ in page.evaluate(SHOWN)
    )
    assert page.evaluate("document.querySelector('.card .name').textContent").startswith(NAME)
    assert page.evaluate("document.querySelectorAll('main b b, td b:not(.num > b), c').length") == 0
    choose(page, "group", NAME + "000000000001")
    assert len(page.evaluate(ROWS)) == 2
    page.click(".card")
    assert page.evaluate("document.getElementById('zoom-name').textContent").startswith(NAME)
    assert page.complaints == []


def test_without_views_groups_or_anything_judged(
    browser: Any, make_trained: Callable[..., Trained], tmp_path: Path
) -> None:
    project, dataset = make_trained(classes=("cat", "dog"), mask_format="png", id_pattern="(?P<group>.+)")
    page = open_page(browser, report(project, dataset, top=2).page_path)
    hidden = "Array.from(document.querySelectorAll('#by-view, #by-group, label.view'), e => e.checkVisibility())"
    assert page.evaluate(hidden) == [False, False, False]
    assert page.evaluate("document.getElementById('legend').textContent").split() == [
        "missed",
        "too",
        "much",
        "wrong",
        "class",
    ]
    page.click("#layer [data-value=truth]")
    assert page.evaluate("document.getElementById('legend').textContent").split() == ["cat", "dog"]
    for path in (project.oof_scores_path("a"), project.oof_scores_path("b"), project.ensemble_path("ensemble")):
        path.unlink()
    browser.open(Path("/dev/null"))  # else pictures of the page that is replaced may still be on their way
    page = open_page(browser, report(project, dataset).page_path)
    assert not page.evaluate("document.getElementById('judged').checkVisibility()")
    assert "Nothing was judged" in page.evaluate("document.querySelector('.lead').textContent")
    assert page.complaints == []
