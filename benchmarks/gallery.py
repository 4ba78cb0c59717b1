"""How fast a report of 5,088 images opens and filters in Chromium: Carvana's training set, 318 cars of 16 views.

Run:  .venv/bin/python benchmarks/gallery.py

The page has the columns of a real one (an ensemble and three models, agreement, uncertain band, area) with drawn
values; pictures are noise of a real one's size (320 x 214), 256 files that the images share. `opens` ends when the
first cards are painted; the others begin when the cards of the action before are painted, and end when the frame is
drawn that shows what passes. Beside that the time of the page's main thread on a core, which other work on the machine
does not lengthen much (Linux).
"""

import argparse
import os
import shutil
import statistics
import tempfile
from pathlib import Path

import numpy as np
import psutil
from playwright.sync_api import Page, sync_playwright

from unets.config import DatasetConfig
from unets.data.io import encode_jpeg
from unets.data.samples import Sample
from unets.evaluation.predictions import Prediction
from unets.pages.gallery import Column, Gallery, build_data, encode_planes
from unets.pages.page import render_page
from unets.tables import Table

NUM_GROUPS, NUM_VIEWS, SIZE_HW = 318, 16, (214, 320)
REST_MS = 700
# What a user does, as the script does it; `wait` counts the frame in which it is seen.
ACTIONS = {
    "one camera view": "set('view', '03')",
    "part of a name": "set('search', 'car12')",
    "a range of scores": "set('high', '0.99')",
    "another column": "set('column', '2')",
    "no filter": "byId('clear').click()",
    "as a table": "byId('as-table').click()",
    "as cards": "byId('as-table').click()",
}
TIMED = """async () => {
  const set = (id, value) => { byId(id).value = value; byId(id).dispatchEvent(new Event("input")); };
  const began = performance.now();
  %s;
  await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
  return performance.now() - began;
}"""
PAINTED = "document.querySelectorAll('.card.ready').length >= 6 && performance.now()"


def write_page(folder: Path, *, name: str = "car", num_pictures: int = 256, size_hw: tuple[int, int] = SIZE_HW) -> Path:
    """Writes a page of drawn figures and its pictures; `name` is in all that has one."""
    rng, ids = np.random.default_rng(0), [(g, v) for g in range(NUM_GROUPS) for v in range(1, NUM_VIEWS + 1)]
    samples = [
        Sample(id=f"{name}{group:03d}_{view:02d}", group=f"{name}{group:03d}", view=f"{view:02d}", image="none")
        for group, view in ids
    ]
    models = [f"{name}_ensemble", *(f"{name}_{number}" for number in range(3))]
    columns = [
        Column(label=f"Dice of {model}", values=1 - rng.gamma(2, 0.002, len(ids)), style="score", prediction=number)
        for number, model in enumerate(models)
    ]
    columns += [
        Column(label=label, values=rng.random(len(ids))) for label in ("agreement", "uncertain band, px", "area")
    ]
    shown = Gallery(
        name="page",
        samples=samples,
        folds=[group % 5 for group, _ in ids],
        predictions=[Prediction(name=model, readers=(), recipes={}) for model in models],
        columns=columns,
        areas=rng.random(len(ids)),
        has_ground_truth=True,
    )
    (folder / "pictures").mkdir(parents=True)
    grid_hw = np.mgrid[: size_hw[0], : size_hw[1]]
    for number in range(num_pictures):
        image_hwc = rng.integers(0, 256, (*size_hw, 3), dtype=np.uint8) // 8 + np.uint8(100)
        planes = [np.hypot(*(grid_hw.T - rng.random(2) * size_hw).T) < size_hw[0] / 3 for _ in range(len(models) + 2)]
        (folder / "pictures" / f"{number}.jpg").write_bytes(encode_jpeg(image_hwc))
        (folder / "pictures" / f"{number}.png").write_bytes(encode_planes(planes, size_hw))
    names = [str(number % num_pictures) for number in range(len(ids))]
    data = build_data(DatasetConfig(), shown, {str(k): [*size_hw, own, own] for k, own in enumerate(names)})
    text = render_page(
        "gallery.html",
        kind="screen",
        title=name,
        subtitle=name,
        figures=[(name, name, name)],
        notes=[name],
        origin={"date": "2026-01-02T03:04:05", "git_commit": None, "git_is_dirty": None},
        table=Table(header=(name,), rows=((name,),)),
        data=data,
    )
    (folder / "index.html").write_text(text, encoding="utf-8")
    return folder / "index.html"


def measure_action(page: Page, script: str) -> float:
    """Returns milliseconds from the action to the frame that shows what came of it."""
    return float(page.evaluate(TIMED % script))


def read_cpu_ms(pid: int) -> float:
    """Returns what the main thread of a process has had of a core, in milliseconds."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e6


def find_renderer() -> int:
    """Returns the process of the page, that of the renderers which has computed most."""
    processes = psutil.Process().children(recursive=True)
    return max((one.pid for one in processes if "--type=renderer" in one.cmdline()), key=read_cpu_ms)


def main() -> None:
    """Prints a line an action: least and median of some repetitions, in milliseconds; a busy machine adds to both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=7)
    args = parser.parse_args()
    program = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if program is None:
        parser.error("There must be a Chromium. Received: none; `apt-get install chromium`, or CHROMIUM=path")
    times, cpu = dict[str, list[float]](), dict[str, list[float]]()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = write_page(Path(folder) / "page")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for _ in range(args.repeat):
            page = browser.new_page(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
            page.goto(path.as_uri())
            times.setdefault("opens", []).append(float(page.wait_for_function(PAINTED).json_value()))
            page.evaluate("byId('gallery').scrollIntoView()")
            pid = find_renderer()
            cpu.setdefault("opens", []).append(read_cpu_ms(pid))
            for what, script in ACTIONS.items():
                page.wait_for_timeout(REST_MS)
                before = read_cpu_ms(pid)
                times.setdefault(what, []).append(measure_action(page, script))
                cpu.setdefault(what, []).append(read_cpu_ms(pid) - before)
            page.close()
        size = path.stat().st_size / 1e6
        browser.close()
    print(f"{NUM_GROUPS * NUM_VIEWS:,} images, a page of {size:.1f} MB, {args.repeat} times\n")
    columns = ("least, ms", "median, ms", "median on the core, ms")
    rows = [
        (what, f"{min(own):.0f}", f"{statistics.median(own):.0f}", f"{statistics.median(cpu[what]):.0f}")
        for what, own in times.items()
    ]
    print(Table(header=("what", *columns), rows=tuple(rows), right=frozenset(columns)))


if __name__ == "__main__":
    main()
