"""Draws the README's picture: a test image with the predicted contour, mask, cut-out, difference from the ground truth.

The image is the one of median Dice among the demo's test images.

Run:  make demo && .venv/bin/unets export studio && python docs/make_picture.py
"""

import argparse
import csv
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from unets import decode_rle, dice

ROOT = Path(__file__).resolve().parents[1]
_WIDTH_PX, _GAP_PX = 640, 8  # of a panel; between panels
_CONTOUR, _MISSED, _TOO_MUCH = (60, 220, 60), (220, 40, 40), (40, 90, 220)  # RGB

Image = npt.NDArray[np.uint8]


def main() -> None:
    """Masks the test images with the demo's model, and draws the one of median Dice."""
    args = _parse()
    masks_path = args.input / "truth" / "test_masks.csv"
    with masks_path.open(newline="", encoding="utf-8") as file:
        rles = {row["img"]: row["rle_mask"] for row in csv.DictReader(file)}
    with tempfile.TemporaryDirectory() as folder:
        command = ["unets", "mask", str(args.model), str(args.input / "test"), "--out", folder, "--cutout"]
        subprocess.run([sys.executable, "-m", *command], check=True)
        scored = []
        for path in sorted((args.input / "test").glob("*.jpg")):
            mask = cv2.imread(str(Path(folder) / f"{path.stem}.png"), cv2.IMREAD_GRAYSCALE) > 0
            scored.append((dice(decode_rle(rles[path.name], mask.shape), mask), path))
        score, path = sorted(scored)[len(scored) // 2]
        mask = cv2.imread(str(Path(folder) / f"{path.stem}.png"), cv2.IMREAD_GRAYSCALE) > 0
        cutout = cv2.imread(str(next(Path(folder).glob(f"{path.stem}?*.png"))), cv2.IMREAD_UNCHANGED)
    image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    panels = draw_panels(image, mask, cutout, decode_rle(rles[path.name], mask.shape) > 0)
    cv2.imwrite(str(args.out), cv2.cvtColor(panels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])
    print(f"{args.out}: {path.name}, Dice {score:.4f}")


def draw_panels(
    image: Image, mask: npt.NDArray[np.bool_], cutout_bgra: Image, ground_truth: npt.NDArray[np.bool_]
) -> Image:
    """Lays out four panels, two by two.

    Args:
        image: uint8 RGB (height, width, 3).
        mask: predicted, bool (height, width).
        cutout_bgra: uint8 (height, width, 4).
        ground_truth: bool (height, width).
    """
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    outlined = cv2.drawContours(image.copy(), contours, -1, _CONTOUR, max(1, image.shape[1] // 500), cv2.LINE_AA)
    white = np.repeat(255 * mask[..., None].astype(np.uint8), 3, axis=2)
    alpha = cutout_bgra[..., 3:] / 255
    checkered = np.where((np.indices(mask.shape) // 16).sum(axis=0)[..., None] % 2, 255, 225)
    cut = (alpha * cutout_bgra[..., 2::-1] + (1 - alpha) * checkered).astype(np.uint8)
    gray = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None] // 2 + 110, 3, axis=2)
    gray[ground_truth & ~mask], gray[mask & ~ground_truth] = _MISSED, _TOO_MUCH
    shrunk = [_shrink(panel) for panel in (outlined, white, cut, gray)]
    height, width = shrunk[0].shape[:2]
    sheet = np.full((2 * height + _GAP_PX, 2 * width + _GAP_PX, 3), 255, np.uint8)
    for index, panel in enumerate(shrunk):
        top, left = (index // 2) * (height + _GAP_PX), (index % 2) * (width + _GAP_PX)
        sheet[top : top + height, left : left + width] = panel
    return sheet


def _shrink(panel: Image) -> Image:
    height = round(_WIDTH_PX * panel.shape[0] / panel.shape[1])
    return np.asarray(cv2.resize(panel, (_WIDTH_PX, height), interpolation=cv2.INTER_AREA), np.uint8)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    export = ROOT / "models" / "studio" / "export"
    parser.add_argument("--model", type=Path, default=export / "studio_ensemble.safetensors")
    parser.add_argument("--input", type=Path, default=ROOT / "input" / "studio")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images" / "studio.jpg")
    return parser.parse_args()


if __name__ == "__main__":
    main()
