"""The pages in a real browser: what is filtered, painted, kept in the address, reached by keys."""

import os
import shutil
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests import ROOT
from tests.pages.conftest import report
from tests.pages.test_page import leave
from unets.pages.page import write_live

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
IDS = "Array.from(document.querySelectorAll('#cards .card'), card => card.dataset.id)"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser; without one these tests are skipped, or fail where REQUIRE_BROWSER is set."""
    path = os.environ.get("CHROMIUM") or next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        message = "no browser: `apt-get install chromium`, or CHROMIUM=path"
        if os.environ.get("REQUIRE_BROWSER"):
            pytest.fail(message)
        pytest.skip(message)
    api = pytest.importorskip("playwright.sync_api", reason="needs `pip install playwright`")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Callable[..., Any]]:
    """`open_page(path, width=..., color_scheme=...)`; the page must not complain, nor ask for anything but files."""
    contexts, complaints = [], []

    def run(path: Path, fragment: str = "", *, width: int = 1280, height: int = 900, **options: Any) -> Any:
        context = chromium.new_context(
            viewport={"width": width, "height": height}, reduced_motion="reduce", accept_downloads=True, **options
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda asked: complaints.extend([] if asked.url.startswith("file:") else [asked.url]))
        page.goto(path.as_uri() + fragment)
        return page

    yield run
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture(scope="module")
def trained_page(tmp_path_factory: pytest.TempPathFactory, write_competition: Any) -> Path:
    """A report of 12 images, of which experiment `a` takes one for all object."""
    from tests.pages.conftest import leave_trained

    project = write_competition(tmp_path_factory.mktemp("browser"), num_groups=4, num_views=3, size_hw=(400, 600))
    trained = leave_trained(project, spoil=lambda id_: 200.0 if id_ == "car001_02" else 0.0)
    return report(*trained, top=2).page_path


def count(page: Any) -> int:
    return int(page.locator("#count").inner_text().split()[0].replace(",", ""))


def read_address(page: Any) -> str:
    """Returns the page's address once it is written, which is a little after a change."""
    page.evaluate("new Promise(done => setTimeout(done, 80))")
    return str(page.url)


def color_at(page: Any, x: float, y: float, selector: str = "#stage") -> list[int]:
    """Reads the pixel of a canvas from a picture of it: what was painted from files may not be read by a script."""
    from io import BytesIO

    from PIL import Image

    image = Image.open(BytesIO(page.locator(selector).screenshot())).convert("RGB")
    return list(image.getpixel((int(x * image.width), int(y * image.height))))


def open_worst(page: Any) -> None:
    """Opens the image whose every pixel `a` takes for the object, with the masks of `a`."""
    page.select_option("#column", label="Dice of a")
    page.locator("#cards .card").first.click()
    page.wait_for_function("staged && staged.name === DATA.pictures[staged.index][3]")


def test_filters_meet_and_stand_in_the_address(trained_page: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(trained_page)
    assert count(page) == 12 and page.locator("#worst .card").count() == 6
    page.select_option("#view", "02")
    page.fill("#search", "CAR001")
    assert page.evaluate(IDS) == ["car001_02"] and count(page) == 1
    address = read_address(page)
    assert address.endswith("#view=02&q=CAR001")
    again = open_page(trained_page, "#view=02&q=CAR001&by=2&mode=target")
    assert again.evaluate(IDS) == ["car001_02"]
    assert again.locator("#column option:checked").inner_text() == "Dice of a"
    assert again.locator("#mode [aria-pressed=true]").inner_text() == "Ground truth"
    page.fill("#search", "nothing")
    assert count(page) == 0 and "No image passes" in page.locator("#spread").inner_text()
    page.click("#clear")
    assert count(page) == 12 and "#" not in read_address(page)


def test_a_column_orders_and_a_brush_over_the_histogram_filters(
    trained_page: Path, open_page: Callable[..., Any]
) -> None:
    page = open_page(trained_page)
    page.select_option("#column", label="Dice of a")
    assert page.evaluate(IDS)[0] == "car001_02"
    assert page.locator("#prediction option:checked").inner_text() == "a"
    values = page.evaluate("shown.map(index => DATA.columns[state.by].values[index])")
    assert values == sorted(values)
    chart = page.locator("#spread svg").first
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    page.mouse.move(box["x"] + 56, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 60)
    page.mouse.up()
    high = float(page.input_value("#high"))
    assert page.evaluate(IDS) == ["car001_02"] and values[0] < high < values[1]
    assert f"high={high:.6g}" in read_address(page)
    page.fill("#high", "")
    assert count(page) == 12
    page.locator("#by-group .row").first.click()
    assert page.input_value("#search") == "car001" and count(page) == 3


def test_masks_are_laid_over_the_image(trained_page: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(trained_page)
    open_worst(page)
    corner = (0.5, 0.15)  # background, which `a` takes for the object
    assert color_at(page, *corner) == pytest.approx([0x50, 0xBE, 0xFF], abs=8)  # too much
    page.keyboard.press("Space")
    plain = color_at(page, *corner)
    assert plain != pytest.approx([0x50, 0xBE, 0xFF], abs=60)
    page.keyboard.press("Space")
    page.click("#viewer-mode [data-value=swipe]")
    left, right = color_at(page, 0.3, 0.15), color_at(page, 0.7, 0.15)
    assert max(left) < 110 < right[0]  # left is the ground truth, right the prediction, in orange
    page.evaluate("byId('swipe').value = 1; byId('swipe').dispatchEvent(new Event('input'))")
    assert max(color_at(page, 0.7, 0.15)) < 110
    page.click("#viewer-mode [data-value=prediction]")
    assert color_at(page, *corner)[0] > 110
    page.click("#viewer-prediction [data-value='1']")
    assert max(color_at(page, *corner)) < 110  # b knows better
    page.keyboard.press("c")
    assert page.locator("#style").get_attribute("aria-pressed") == "true"
    assert "style=contour" in read_address(page) and "of=1" in read_address(page)


def test_keys_go_through_the_images_zoom_and_mark(trained_page: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(trained_page)
    page.locator("#cards .card").first.focus()
    page.keyboard.press("Enter")
    first, second = page.evaluate("shown.slice(0, 2).map(index => DATA.images.id[index])")
    assert page.locator("#viewer-name").inner_text() == first and f"open={first}" in read_address(page)
    for key, expected in (("j", second), ("k", first), ("ArrowRight", second), ("ArrowRight", None), ("k", second)):
        page.keyboard.press(key)
        assert expected is None or page.locator("#viewer-name").inner_text() == expected
    page.wait_for_function("staged !== null")
    page.keyboard.press("+")
    assert page.evaluate("view.zoom") == pytest.approx(1.4)
    box = page.locator("#stage").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    page.mouse.wheel(0, -400)
    page.wait_for_function("view.zoom > 2")
    before = page.evaluate("view.x")
    assert before < 0.5
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4 + 50, box["y"] + box["height"] / 2)
    page.mouse.up()
    assert page.evaluate("view.x") < before
    page.keyboard.press("f")
    assert page.evaluate("view.zoom") == 1
    page.keyboard.press("m")
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    assert not page.locator("#viewer").is_visible() and "open=" not in read_address(page)
    assert page.evaluate("document.activeElement.dataset.id") == second
    page.check("#marked-only")
    assert page.evaluate(IDS) == [second]
    with page.expect_download() as download:
        page.click("#export")
    head, row = Path(download.value.path()).read_text().splitlines()
    assert head.startswith("id,group,view,Dice of ensemble,") and row.startswith(f"{second},")
    page.reload()
    assert page.locator("#num-marked").inner_text() == "1"


def test_the_table_says_the_same(trained_page: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(trained_page)
    page.click("#as-table")
    rows = page.locator("#table tbody tr")
    assert rows.count() == 12 and page.locator("#cards .card").count() == 0
    page.locator("#table thead button", has_text="area").click()
    areas = page.evaluate("shown.map(index => DATA.images.area[index])")
    assert areas == sorted(areas) and "table=1" in read_address(page)
    rows.first.locator("button").click()
    assert page.locator("#viewer").is_visible()


@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_and_is_readable(trained_page: Path, open_page: Callable[..., Any], width: int) -> None:
    page = open_page(trained_page, width=width)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    sizes = """Array.from(document.querySelectorAll("body *"))
      .filter(own => own.checkVisibility() && Array.from(own.childNodes).some(node => node.nodeType === 3))
      .map(own => parseFloat(getComputedStyle(own).fontSize))"""
    assert min(page.evaluate(sizes)) >= 12
    page.locator("#cards .card").first.click()
    assert page.evaluate("byId('viewer').scrollWidth <= innerWidth")
    page.evaluate("document.querySelector('#viewer-figures th').textContent = 'global IoU of unet_1024x1536_long'")
    assert page.evaluate("(own => own.scrollWidth <= own.clientWidth)(byId('viewer-figures').closest('.scroll'))")


def resolve(page: Any, name: str) -> list[int]:
    """Returns a color of the style sheet, red, green, blue."""
    script = f"""(() => {{ const own = make("i", {{style: {{color: "var({name})"}}}}); document.body.append(own);
      const color = getComputedStyle(own).color; own.remove(); return color.match(/\\d+/g).map(Number); }})()"""
    return page.evaluate(script)[:3]


def test_what_is_heard_printed_and_dark(trained_page: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(trained_page, color_scheme="light")
    assert page.evaluate("Array.from(document.querySelectorAll('svg'), own => own.ariaLabel).every(Boolean)")
    names = """Array.from(document.querySelectorAll("button, select, input"),
      own => own.labels?.length || own.ariaLabel || own.textContent)"""
    assert all(page.evaluate(names))
    assert page.locator("#cards .card").first.get_attribute("aria-label").startswith("car")
    assert page.locator("#training-curves svg").count() == 4
    page.locator("#training-curves svg").first.focus()
    page.keyboard.press("ArrowLeft")
    assert page.locator(".readout").first.inner_text().startswith("epoch 2: fold 0: 0.55")
    light = resolve(page, "--back")
    page.click("#theme")
    page.click("#theme")
    assert page.locator("#theme").inner_text() == "Theme: dark" and sum(resolve(page, "--back")) < sum(light) / 2
    page.reload()
    assert page.locator("#theme").inner_text() == "Theme: dark"
    page.wait_for_selector("#cards .card.ready")  # though nobody scrolled there: a print shows them
    page.emulate_media(media="print")
    assert not page.locator(".filters").is_visible() and page.locator("#cards .card").first.is_visible()


def test_errors_are_charted_and_files_are_linked(trained_page: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(trained_page, "#open=car001_02")
    assert page.locator("#error-charts svg").count() == 4
    bars = page.evaluate("Array.from(document.querySelectorAll('.bin.still title'), own => own.textContent)")
    shares = [float(bar.split(": ")[1].removesuffix(" %")) for bar in bars]
    assert bars[0].startswith("≤ 1: ") and sum(shares) == pytest.approx(100, abs=0.5)
    for name in ("#viewer-image", "#viewer-mask", "#viewer-planes"):
        assert (trained_page.parent / page.locator(name).get_attribute("href")).is_file(), name
    assert page.locator("#ensemble .interval[data-zero]").count() > 0
    # A confusion matrix, and a class that is absent.
    page.evaluate("""drawErrors(byId("error-charts"), {thresholds: [], edges: [1, 2], distances: [6, 2, 1, 1],
      names: ["background", "cat", "dog"], confusion: [[98, 1, 1], [0, 0, 0], [5, 0, 5]]})""")
    cells = page.locator(".confusion tbody tr").all_inner_texts()
    expected = [["background", "98.0", "1.0", "1.0", "0.933"], ["cat", "0.000"], ["dog", "50.0", "50.0", "0.455"]]
    assert [row.split() for row in cells] == expected  # at the end IoU: 98 of 105, 0 of 1, 5 of 11 pixels
    assert "absent" in page.locator("#error-charts svg").last.inner_html()


def test_the_live_page(open_page: Callable[..., Any], tmp_path: Path) -> None:
    page = open_page(write_live(leave(tmp_path / "unet" / "fold0", is_finished=True)))
    assert page.locator("#training-curves svg").count() == 2 and page.locator(".figures dt").count() == 5
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_5088_images_and_names_of_any_kind(
    open_page: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    name = "<b>&\"'</script>"
    page = open_page(import_module("gallery").write_page(tmp_path, name=name, num_pictures=1, size_hw=(8, 12)))
    assert count(page) == 5088 and page.locator("h1").inner_text() == name
    assert page.evaluate("document.getElementsByTagName('*').length") < 1000
    assert page.evaluate("document.querySelectorAll('b b, c').length") == 0
    page.select_option("#view", "03")
    assert count(page) == 318
    page.click("#more")
    assert page.locator("#cards .card").count() == 72
    page.fill("#search", "</script>007")
    assert page.evaluate(IDS) == [f"{name}007_03"]
