"""Draws docs/report.jpg: the demo's report as a browser shows it.

make demo && .venv/bin/python benchmarks/report_picture.py
"""

import argparse
from pathlib import Path

from chromium import Chromium, find_chromium

ROOT = Path(__file__).parents[1]
WIDTH, HEIGHT = 1280, 1440
MAX_BYTES = 200_000


def main() -> None:
    """Photographs the part of the page from the photos' distributions to the first rows of the gallery."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=Path, default=ROOT / "models" / "studio" / "report" / "index.html")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "report.jpg")
    args = parser.parse_args()
    program = find_chromium()
    if program is None or not args.page.is_file():
        parser.error(f"There must be a Chromium and {args.page}. Received: {program}; `make demo` makes the page")
    with Chromium(program) as browser:
        browser.resize(WIDTH, HEIGHT)
        browser.prefer(color_scheme="light", reduced_motion="reduce")
        browser.open(args.page)
        browser.evaluate("document.documentElement.style.scrollPaddingTop = 0")
        browser.evaluate("document.getElementById('photos').scrollIntoView({behavior: 'instant'})")
        browser.evaluate("window.dispatchEvent(new Event('beforeprint'))")  # no picture waits until it is near
        browser.evaluate("Promise.all(Array.from(document.images, image => image.decode())).then(() => true)")
        browser.photograph(args.out)
    size = args.out.stat().st_size
    assert size < MAX_BYTES, f"{args.out}: {size} bytes"
    print(f"{args.out}: {size // 1000} KB")


if __name__ == "__main__":
    main()
