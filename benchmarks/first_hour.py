"""A newcomer's first hour, recorded: a drawn COCO set from a clone to a submission, a report and masks.

The set has 48 training and 12 test images, of 240 to 320 pixels a side, with apples, lemons and leaves on wood, cloth
or stone, as a phone's camera would blur and shade them. Each command is run in a fresh clone, and what it prints goes
into the log as it is; what stands below the line "## What was mended" of the log is kept.

Run: python benchmarks/first_hour.py FOLDER --setup-seconds 55 --out docs/log/first-hour.md
"""

import argparse
import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]

ROOT = Path(__file__).resolve().parents[1]
CLASSES = ("apple", "lemon", "leaf")
NUM_TRAIN, NUM_TEST = 48, 12
NAME, KEPT = "fruit", "## What was mended"
_SIZES_HW = ((240, 320), (320, 240), (256, 256))
_COLORS = {"apple": (190, 50, 40), "lemon": (235, 205, 60), "leaf": (70, 130, 50)}
_GROUNDS = ((150, 110, 70), (175, 170, 160), (120, 125, 130), (90, 70, 60))
MODEL = f"models/{NAME}/export/{NAME}_ensemble.safetensors"
HEAD = f"""# A first hour with one's own images

A COCO set of {NUM_TRAIN} training and {NUM_TEST} test images with apples, lemons and leaves, from a clone to a
submission, a report and the mask of a new image. Written by `benchmarks/first_hour.py` on {{date}} at {{commit}}, at a
load of {{least:.0f}} to {{most:.0f}} on {{cores}} cores, in {{minutes:.0f}} minutes. `make setup` was timed in another
fresh clone of the day.

"""
COMMANDS = (
    "unets mask demo examples/",
    f"unets new ../{NAME} --name {NAME} --minutes 3",
    f"unets data {NAME} --sheet sheet.jpg",
    f"unets pipeline {NAME}",
    f"unets report {NAME}",
    f"unets export {NAME}",
    f"unets mask {MODEL} ../new.jpg --out masks --cutout",
    f"unets runs {NAME}",
)


def write_set(folder: Path, seed: int = 0) -> None:
    """Writes `annotations.json` with polygons, `train/` and `test/` below `folder`, and one new image beside it."""
    rng = np.random.default_rng(seed)
    images, annotations = [], list[dict[str, Any]]()
    for number in range(1, NUM_TRAIN + NUM_TEST + 1):
        part = "train" if number <= NUM_TRAIN else "test"
        image, objects = draw_image(_SIZES_HW[number % 3], rng)
        _write_image(folder / part / f"img_{number:03d}.jpg", image)
        if part == "test":
            continue
        height, width = image.shape[:2]
        images.append({"id": number, "file_name": f"img_{number:03d}.jpg", "height": height, "width": width})
        for kind, polygon in objects:
            annotation = {"id": len(annotations) + 1, "image_id": number, "category_id": kind + 1, "iscrowd": 0}
            outline = polygon.round().astype(np.int32)
            shape = {"area": cv2.contourArea(outline), "bbox": list(cv2.boundingRect(outline))}
            annotations.append(annotation | shape | {"segmentation": [polygon.ravel().round(1).tolist()]})
    categories = [{"id": kind + 1, "name": name} for kind, name in enumerate(CLASSES)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(content), encoding="utf-8")
    _write_image(folder.parent / "new.jpg", draw_image((300, 400), rng)[0])


def draw_image(size_hw: tuple[int, int], rng: np.random.Generator) -> tuple[Floats, list[tuple[int, Floats]]]:
    """Draws objects that do not touch, on a ground with grain.

    Returns:
        Float32 RGB (height, width, 3), 0..255, and (class, polygon of x, y) of each object.
    """
    height, width = size_hw
    grain = (9, 1) if rng.random() < 0.5 else (3, 3)  # of wood; of cloth and stone
    noise = cv2.GaussianBlur(rng.normal(0, 60, size_hw), (0, 0), sigmaX=grain[0], sigmaY=grain[1])
    image: Floats = np.array(_GROUNDS[rng.integers(len(_GROUNDS))], np.float32) + noise[..., None].astype(np.float32)
    objects, taken = [], np.zeros(size_hw, np.uint8)
    for _ in range(rng.integers(2, 7)):
        kind, radius = int(rng.integers(3)), rng.uniform(0.08, 0.17) * min(size_hw)
        middle = rng.uniform((1.2 * radius,) * 2, (width - 1.2 * radius, height - 1.2 * radius))
        polygon = _draw_outline(CLASSES[kind], radius, rng) + middle
        mask = np.zeros(size_hw, np.uint8)
        cv2.fillPoly(mask, [polygon.round().astype(np.int32)], 1)
        if cv2.dilate(mask, np.ones((7, 7)))[taken > 0].any():
            continue
        taken |= mask
        image = _paint(image, mask, CLASSES[kind], middle, radius, rng)
        objects.append((kind, polygon.astype(np.float32)))
    light = 1 + 0.25 * np.linspace(-1, 1, width) * rng.uniform(-1, 1)
    image = cv2.GaussianBlur(image * light[None, :, None], (0, 0), 0.8) + rng.normal(0, 4, image.shape)
    return image.clip(0, 255).astype(np.float32), objects


def _draw_outline(name: str, radius: float, rng: np.random.Generator) -> Floats:
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    wave = 1 + 0.05 * np.sin(angles * 3 + rng.uniform(0, 6)) + 0.03 * np.sin(angles * 5 + rng.uniform(0, 6))
    stretch = {"apple": 0.95, "lemon": 0.7, "leaf": 0.45}[name]
    points = np.stack([np.cos(angles), stretch * np.sin(angles)], axis=1) * (radius * wave)[:, None]
    if name != "apple":  # pointed ends
        points[:, 1] *= np.sqrt(np.abs(np.sin(angles)))
    turn = rng.uniform(0, 2 * np.pi)
    return np.asarray(points @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]))


def _paint(
    image: Floats, mask: npt.NDArray[np.uint8], name: str, middle: Floats, radius: float, rng: np.random.Generator
) -> Floats:
    """Lays a soft shadow and a shaded object with a highlight over the image."""
    shift = np.array([[1, 0, 0.15 * radius], [0, 1, 0.2 * radius]], np.float32)
    shadow = cv2.GaussianBlur(cv2.warpAffine(mask, shift, mask.shape[::-1]).astype(np.float32), (0, 0), 0.12 * radius)
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]]
    far = np.hypot(x - middle[0] + 0.35 * radius, y - middle[1] + 0.35 * radius) / radius
    color = np.array(_COLORS[name], np.float32) * rng.uniform(0.8, 1.15) + rng.normal(0, 14, 3)
    shaded = color * (1.15 - 0.45 * far[..., None]) + 90 * np.exp(-((far / 0.25) ** 2))[..., None] * (name != "leaf")
    return np.where(mask[..., None] > 0, shaded, image * (1 - 0.5 * shadow[..., None])).astype(np.float32)


def _write_image(path: Path, image: Floats) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image[..., ::-1].round().astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 90])


def run(command: str, clone: Path) -> tuple[str, float]:
    """Runs a command of `unets` in the clone; returns what it printed and its seconds.

    Raises:
        SystemExit: the command failed.
    """
    env = os.environ | {"PYTHONPATH": str(clone / "src"), "COLUMNS": "80"}
    began = time.monotonic()
    words = [sys.executable, "-m", *command.split()]
    result = subprocess.run(
        words, cwd=clone, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    printed = result.stdout.replace(str(clone.parent), "/home/me").strip()
    print(f"$ {command}\n{printed}\n({time.monotonic() - began:.1f} s)\n", flush=True)
    if result.returncode:
        raise SystemExit(f"`{command}` must succeed. Received: exit status {result.returncode}")
    return printed, time.monotonic() - began


def main() -> None:
    """Clones, draws, runs the commands and writes the log."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a new folder for the clone and the set")
    parser.add_argument("--setup-seconds", type=float, required=True, help="of `make setup`, which is not run here")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "log" / "first-hour.md")
    args = parser.parse_args()
    clone = args.folder.absolute() / "unets"
    began = time.monotonic()
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    write_set(clone.parent / NAME)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=clone, check=True, stdout=subprocess.PIPE, text=True
    ).stdout.strip()
    parts = ["$ git clone URL unets && cd unets", f"$ make setup\n({args.setup_seconds:.1f} s)"]
    loads = [os.getloadavg()[1]]
    for command in COMMANDS:
        printed, seconds = run(command, clone)
        loads.append(os.getloadavg()[1])
        parts.append(f"$ {command}\n{printed}\n({seconds:.1f} s)")
    counts = {"cores": os.cpu_count(), "minutes": (time.monotonic() - began + args.setup_seconds) / 60}
    head = HEAD.format(date=f"{datetime.now(UTC):%Y-%m-%d}", commit=commit, least=min(loads), most=max(loads), **counts)
    before = args.out.read_text(encoding="utf-8") if args.out.exists() else ""
    kept = before[before.index(KEPT) :] if KEPT in before else KEPT + "\n"
    session = "\n\n".join(parts)
    args.out.write_text(f"{head}```\n{session}\n```\n\n{kept}", encoding="utf-8")


if __name__ == "__main__":
    main()
