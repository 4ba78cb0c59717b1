"""Draws docs/images/report*.jpg: the demo's report as a browser shows it.

Run:  make demo && .venv/bin/python docs/make_report_picture.py
"""

import argparse
import os
import shutil
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[1]


def brush(page: Page) -> None:
    """Drags over the lowest third of the histogram, in a window that also holds the cards."""
    page.set_viewport_size({"width": 1280, "height": 1160})
    page.evaluate("scrollTo(0, byId('spread').getBoundingClientRect().top + scrollY - 150)")
    chart = page.locator("#spread svg").first
    box = chart.bounding_box() or {}
    chart.hover(position={"x": 56, "y": 80})
    page.mouse.down()
    chart.hover(position={"x": box["width"] / 3, "y": 80})
    page.mouse.up()


def zoom(page: Page) -> None:
    """Opens the first image that the brush left, and zooms to half of its width."""
    page.set_viewport_size({"width": 1280, "height": 860})
    page.locator("#cards .card").first.click()
    for _ in range(2):
        page.keyboard.press("+")
    page.mouse.click(1270, 800)  # no focus ring around the picture


# Each goes on where the one before it stopped.
STEPS = {"report": lambda page: None, "report_gallery": brush, "report_viewer": zoom}


def main() -> None:
    """Takes three pictures: the first screen, the gallery after a brush, an image in the viewer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=Path, default=ROOT / "models" / "studio" / "report" / "index.html")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images", help="a folder")
    args = parser.parse_args()
    program = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if program is None or not args.page.is_file():
        parser.error(f"There must be a Chromium and {args.page}. Received: {program}; `make demo` makes the page")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 860}, color_scheme="light", reduced_motion="reduce")
        page.goto(args.page.absolute().as_uri())
        for name, step in STEPS.items():
            step(page)
            page.wait_for_timeout(1500)  # pictures are painted when they come near
            path = args.out / f"{name}.jpg"
            page.screenshot(path=path, type="jpeg", quality=82)
            print(f"{path}: {path.stat().st_size // 1000} KB")
        browser.close()


if __name__ == "__main__":
    main()
