"""Draws docs/images/report.jpg: the demo's report as a browser shows it.

Run:  make demo && .venv/bin/python docs/make_report_picture.py
"""

import argparse
import os
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Takes a picture of the first screen: four figures, the six worst images, the experiments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=Path, default=ROOT / "models" / "studio" / "report" / "index.html")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images" / "report.jpg")
    args = parser.parse_args()
    program = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if program is None or not args.page.is_file():
        parser.error(f"There must be a Chromium and {args.page}. Received: {program}; `make demo` makes the page")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 860}, color_scheme="light", reduced_motion="reduce")
        page.goto(args.page.absolute().as_uri())
        page.wait_for_timeout(1000)  # pictures are painted when they come near
        page.screenshot(path=args.out, type="jpeg", quality=82)
        browser.close()
    print(f"{args.out}: {args.out.stat().st_size // 1000} KB")


if __name__ == "__main__":
    main()
