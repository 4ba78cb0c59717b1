"""Runs every code block of README and getting started, as a reader would type it, in a fresh copy of the repository.

The copy is made small: four cars in the demo, one of its experiments, a home folder with a drawn data set, and two
epochs of ten updates for all. CI runs this; a block that fails ends it.

Run:  python docs/run_blocks.py
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("docs/getting-started.md", "README.md")
NUM_IMAGES, SIZE_HW = 24, (96, 128)


def main() -> None:
    """Runs the pages' blocks one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        copy, home = Path(folder) / "unets", Path(folder) / "home"
        lay_out(copy, home)
        environment = {
            **os.environ,
            "HOME": str(home),
            "PATH": f"{copy}/.venv/bin:{os.environ['PATH']}",
            "PYTHONPATH": str(copy / "src"),
            "UNETS_TRAIN_CARS": "4",
            "UNETS_TEST_CARS": "1",
            "UNETS_SET": "training.epochs=2 training.steps_per_epoch=10",
        }
        for page in PAGES:
            for language, block in list_blocks((ROOT / page).read_text(encoding="utf-8")):
                command = {"sh": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}[language]
                print(f"== {page}\n{block}", flush=True)
                began = time.monotonic()
                done = subprocess.run([*command, block], cwd=copy, env=environment, check=False)
                if done.returncode:
                    sys.exit(f"error: the block above of {page} must run. Received: exit code {done.returncode}")
                print(f"== {time.monotonic() - began:.0f} s", flush=True)


def list_blocks(text: str) -> list[tuple[str, str]]:
    """Lists (language, text) of the blocks that can be run."""
    return re.findall(r"```(sh|python)\n(.*?)```", text, flags=re.DOTALL)


def lay_out(copy: Path, home: Path) -> None:
    """Copies the repository's files, and draws what a reader is supposed to have."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    lend_venv(ROOT / ".venv", copy / ".venv")
    ensemble = copy / "configs" / "studio" / "ensemble.py"
    text = re.sub(r"experiments=\([^)]*\)", 'experiments=("unet_128x192",)', ensemble.read_text(encoding="utf-8"))
    ensemble.write_text(text, encoding="utf-8")
    draw_images(home / "data" / "fundus")
    shutil.copytree(home / "data" / "fundus" / "images", copy / "images")


def lend_venv(source: Path, target: Path) -> None:
    """Makes a virtual environment of links to another, for which `make setup` has nothing left to install."""
    target.mkdir()
    for path in source.iterdir():
        if not path.name.startswith(".ready"):
            (target / path.name).symlink_to(path.resolve())
    (target / ".ready").touch()


def draw_images(folder: Path) -> None:
    """Draws images of bright discs on noise, and their masks of 0 and 255."""
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for index in range(NUM_IMAGES):
        image, mask = rng.integers(60, 120, (*SIZE_HW, 3), dtype=np.uint8), np.zeros(SIZE_HW, np.uint8)
        center, radius = (int(rng.integers(40, 88)), int(rng.integers(36, 60))), int(rng.integers(14, 30))
        cv2.circle(image, center, radius, (90, 140, 220), -1)
        cv2.circle(mask, center, radius, 255, -1)
        cv2.imwrite(str(folder / "images" / f"eye{index:02d}.png"), image)
        cv2.imwrite(str(folder / "masks" / f"eye{index:02d}.png"), mask)


if __name__ == "__main__":
    main()
