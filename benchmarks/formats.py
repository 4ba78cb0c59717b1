"""Eight formats, each all the way: a drawn data set through `unets new` and `unets pipeline` to a submission.

Each set has 32 training and 8 test images, of 96 to 160 pixels a side, with disks and squares on noise. The submission
is decoded here, by other code than the package's, and compared with what was drawn: Dice of each class, mean over test
images and classes. Nothing is answered and nothing is changed but the minutes of training: it is
the path of one's own images.

Run: python benchmarks/formats.py [NAME ...] [--minutes 2] [--folder FOLDER] [--out table.md]
"""

import argparse
import csv
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

Layers = list[npt.NDArray[np.bool_]]  # (height, width), one a class
CLASSES = ("disk", "square")
NUM_TRAIN, NUM_TEST = 32, 8
GOOD = 0.9  # a Dice that is reached where everything is read and written rightly
_SIZES_HW = ((96, 128), (128, 160), (112, 96))
_COLORS = ((220, 70, 50), (60, 120, 230))


@dataclass(kw_only=True)
class Drawing:
    """An image and the objects that were drawn into it."""

    id: str
    image: npt.NDArray[np.uint8]  # (height, width, channels)
    objects: list[tuple[int, npt.NDArray[np.bool_]]]  # (class from 0, mask)

    @property
    def layers(self) -> Layers:
        """The mask of each class."""
        empty = np.zeros(self.image.shape[:2], np.bool_)
        return [np.logical_or.reduce([empty, *(m for c, m in self.objects if c == index)]) for index in range(2)]

    @property
    def index_mask(self) -> npt.NDArray[np.uint8]:
        """uint8 (height, width): 0 for background, 1 and 2 for the classes; a later object hides an earlier one."""
        mask = np.zeros(self.image.shape[:2], np.uint8)
        for index, object_hw in self.objects:
            mask[object_hw] = index + 1
        return mask


@dataclass(kw_only=True)
class Set:
    """What a format's function has written, and how its submission is to be read.

    Attributes:
        train: what was drawn, in the order of the training images.
        test: the same of the test images.
        image_column: of the submission, as the mask's column and the class's where there is one.
        by_column: whether pixels are counted along columns.
        names: of the classes.
    """

    train: list[Drawing]
    test: list[Drawing]
    image_column: str = "img"
    rle_column: str = "rle_mask"
    class_column: str | None = None
    by_column: bool = False
    names: Sequence[str] = ("object",)

    def read_truth(self, drawings: Sequence[Drawing]) -> dict[str, Layers]:
        """Returns the mask of each class, by the id of the image."""
        return {drawing.id: drawing.layers[: len(self.names)] for drawing in drawings}


def draw(
    id_: str, seed: int, *, per_class: Sequence[int] = (1, 1), channels: int = 3, overlap: bool = False
) -> Drawing:
    """Draws disks and squares of colors of their own; they lie apart unless they may overlap."""
    rng = np.random.default_rng([13, seed])
    height, width = _SIZES_HW[seed % len(_SIZES_HW)]
    image = rng.normal(110, 12, (height, width, channels))
    rows, columns = np.mgrid[:height, :width] + 0.5
    taken, objects = np.zeros((height, width), np.bool_), []
    for index, count in enumerate(per_class):
        for _ in range(count):
            for _ in range(500):
                radius = rng.uniform(0.1, 0.2) * min(height, width)
                y, x = rng.uniform(radius, height - radius), rng.uniform(radius, width - radius)
                far = np.hypot(rows - y, columns - x) if index == 0 else np.maximum(abs(rows - y), abs(columns - x))
                object_hw = far < radius
                if (
                    overlap
                    or not (cv2.dilate(object_hw.view(np.uint8), np.ones((5, 5))).astype(np.bool_) & taken).any()
                ):
                    break
            taken |= object_hw
            color = np.resize(_COLORS[index], channels)
            paint = color + rng.normal(0, 12, (int(object_hw.sum()), channels))
            mixed = overlap and index == 1  # what lies below shows through
            image[object_hw] = 0.5 * image[object_hw] + 0.5 * paint if mixed else paint
            objects.append((index, object_hw))
    return Drawing(id=id_, image=np.clip(image, 0, 255).astype(np.uint8), objects=objects)


def draw_all(name: str = "img_{:03d}", **more: object) -> tuple[list[Drawing], list[Drawing]]:
    """Draws the (training, test) images."""
    drawings = [draw(name.format(seed), seed, **more) for seed in range(NUM_TRAIN + NUM_TEST)]  # type: ignore[arg-type]
    return drawings[:NUM_TRAIN], drawings[NUM_TRAIN:]


def write_coco(folder: Path) -> Set:
    """COCO: `annotations/instances_train.json` with polygons and run lengths, `train/`, `test/`."""
    train, test = draw_all()
    images, annotations = [], list[dict[str, Any]]()
    for number, drawing in enumerate(train, start=1):
        height, width = drawing.image.shape[:2]
        images.append({"id": number, "file_name": f"{drawing.id}.jpg", "height": height, "width": width})
        for index, object_hw in drawing.objects:
            # Some as run lengths, as COCO writes crowds and tools write what has holes.
            as_runs = number % 4 == 0
            counts = {"size": [height, width], "counts": _count_runs(object_hw)}
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": 10 * (index + 1),
                    "iscrowd": 0,
                    "area": int(object_hw.sum()),
                    "bbox": list(cv2.boundingRect(object_hw.view(np.uint8))),
                    "segmentation": counts if as_runs else [_trace(object_hw).ravel().tolist()],
                }
            )
    categories = [{"id": 10 * (index + 1), "name": name} for index, name in enumerate(CLASSES)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    _write_text(folder / "annotations/instances_train.json", json.dumps(content))
    _write_images(folder, {"train/{}.jpg": train, "test/{}.jpg": test})
    return _several(train, test)


def write_yolo(folder: Path) -> Set:
    """YOLO: `data.yaml`, `images/train/`, `labels/train/` with polygons in shares of the sides, `images/test/`."""
    train, test = draw_all()
    names = "".join(f"  {index}: {name}\n" for index, name in enumerate(CLASSES))
    _write_text(folder / "data.yaml", f"path: .\ntrain: images/train\ntest: images/test\nnames:\n{names}")
    _write_images(folder, {"images/train/{}.jpg": train, "images/test/{}.jpg": test})
    for drawing in train:
        size_wh = np.array(drawing.image.shape[1::-1])
        polygons = [(index, (_trace(object_hw) / size_wh).ravel()) for index, object_hw in drawing.objects]
        lines = [f"{index} {' '.join(f'{x:.6f}' for x in polygon)}\n" for index, polygon in polygons]
        _write_text(folder / f"labels/train/{drawing.id}.txt", "".join(lines))
    return _several(train, test)


def write_mask_a_class(folder: Path) -> Set:
    """A mask file a class: `images/`, `masks/disk/`, `masks/square/`, `test_images/`."""
    train, test = draw_all()
    _write_images(folder, {"images/{}.png": train, "test_images/{}.png": test})
    for drawing in train:
        for name, layer_hw in zip(CLASSES, drawing.layers, strict=True):
            _write_image(folder / f"masks/{name}/{drawing.id}.png", layer_hw * np.uint8(255))
    return _several(train, test)


def write_overlapping(folder: Path) -> Set:
    """Classes that share pixels: `train.csv` with a row an image and class (`id,class,segmentation`), as UW-Madison."""
    train, test = draw_all(overlap=True)
    _write_images(folder, {"train/{}.png": train, "test/{}.png": test})
    header = ("id", "class", "segmentation")
    rows = [(d.id, n, encode(m, by_column=True)) for d in train for n, m in zip(CLASSES, d.layers, strict=True)]
    _write_csv(folder / "train.csv", header, rows)
    _write_csv(folder / "sample_submission.csv", header, [(d.id, name, "1 1") for d in test for name in CLASSES])
    columns = {"image_column": "id", "rle_column": "segmentation", "class_column": "class"}
    return Set(train=train, test=test, by_column=True, names=CLASSES, **columns)


def write_voc(folder: Path) -> Set:
    """PASCAL VOC: `JPEGImages/`, palette masks with an ignored border (255), lists; the test images have no mask."""
    train, test = draw_all("2007_{:06d}")
    _write_images(folder, {"JPEGImages/{}.jpg": [*train, *test]})
    for drawing in train:
        mask = drawing.index_mask
        for _, object_hw in drawing.objects:
            mask[cv2.morphologyEx(object_hw.view(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3))) > 0] = 255
        image = Image.fromarray(mask, "P")
        palette = np.random.default_rng(0).integers(0, 256, (256, 3))
        palette[:3] = (0, 0, 0), (128, 0, 0), (0, 128, 0)
        image.putpalette(palette.astype(np.uint8).tobytes())
        path = folder / f"SegmentationClass/{drawing.id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    lists = {"train": train[:24], "val": train[24:], "trainval": train, "test": test}
    for name, drawings in lists.items():
        text = "".join(f"{drawing.id}\n" for drawing in drawings)
        _write_text(folder / f"ImageSets/Segmentation/{name}.txt", text)
    _write_text(folder / "labels.txt", "background\ndisk\nsquare\n")
    return _several(train, test)


def write_objects(folder: Path) -> Set:
    """Instances: `train.csv` with a row an object, a sample submission of the same columns, as Sartorius."""
    train, test = draw_all(per_class=(4, 0))
    _write_images(folder, {"train/{}.png": train, "test/{}.png": test})
    rows = [(drawing.id, encode(object_hw)) for drawing in train for _, object_hw in drawing.objects]
    _write_csv(folder / "train.csv", ("id", "annotation"), rows)
    _write_csv(folder / "sample_submission.csv", ("id", "predicted"), [(drawing.id, "") for drawing in test])
    return Set(train=train, test=test, image_column="id", rle_column="predicted")


def write_channels(folder: Path) -> Set:
    """Five channels: multi-band TIFF images, PNG masks of equal names."""
    train, test = draw_all(per_class=(2, 0), channels=5)
    for where, drawings in (("train/images", train), ("test/images", test)):
        for drawing in drawings:
            path = folder / where / f"{drawing.id}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(path, np.moveaxis(drawing.image, -1, 0), photometric="minisblack", planarconfig="separate")
    for drawing in train:
        _write_image(folder / f"train/masks/{drawing.id}.png", drawing.layers[0] * np.uint8(255))
    return Set(train=train, test=test)


def write_csv_header(folder: Path) -> Set:
    """A csv of its own words: semicolons, `-1` for no object, another header in the sample, a third without objects."""
    train, test = draw_all(per_class=(1, 0))
    for number, drawing in enumerate([*train, *test]):
        if number % 3 == 0:
            noise = np.random.default_rng(number).normal(110, 12, drawing.image.shape)
            drawing.image = noise.clip(0, 255).astype(np.uint8)
            drawing.objects = []
    _write_images(folder, {"train_images/{}.jpg": train, "test_images/{}.jpg": test})
    rows = [(f"{d.id}.jpg", encode(d.layers[0], by_column=True) or "-1") for d in train]
    _write_csv(folder / "train_masks.csv", ("ImageId", "EncodedPixels"), rows, separator=";")
    _write_csv(folder / "sample_submission.csv", ("Image", "predicted"), [(d.id, "1 1") for d in test])
    return Set(train=train, test=test, image_column="Image", rle_column="predicted", by_column=True)


FORMATS: Mapping[str, Callable[[Path], Set]] = {
    "coco": write_coco,
    "yolo": write_yolo,
    "mask_a_class": write_mask_a_class,
    "overlapping": write_overlapping,
    "voc": write_voc,
    "objects": write_objects,
    "five_channels": write_channels,
    "csv_header": write_csv_header,
}


def encode(mask_hw: npt.NDArray[np.bool_], *, by_column: bool = False) -> str:
    """Writes `start length` pairs, starts counted from 1, along rows or columns."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask_hw.ravel("F" if by_column else "C"), [0]]))) + 1
    edges[1::2] -= edges[::2]
    return " ".join(map(str, edges))


def decode(rle: str, size_hw: tuple[int, int], *, by_column: bool = False) -> npt.NDArray[np.bool_]:
    """Reads what `encode` writes."""
    flat = np.zeros(size_hw[0] * size_hw[1], np.bool_)
    numbers = [int(word) for word in rle.split()]
    for start, length in zip(numbers[::2], numbers[1::2], strict=True):
        flat[start - 1 : start - 1 + length] = True
    return flat.reshape(size_hw, order="F" if by_column else "C")


def score(path: Path, about: Set) -> float:
    """Returns the mean Dice of a submission over test images and classes."""
    truth = about.read_truth(about.test)
    found = {id_: [np.zeros_like(layer) for layer in layers] for id_, layers in truth.items()}
    with gzip.open(path, "rt", newline="") as file:
        for row in csv.DictReader(file):
            id_ = Path(row[about.image_column]).stem
            index = about.names.index(row[about.class_column]) if about.class_column else 0
            layer = found[id_][index]
            layer |= decode(row[about.rle_column], (layer.shape[0], layer.shape[1]), by_column=about.by_column)
    pairs = [pair for id_, layers in truth.items() for pair in zip(layers, found[id_], strict=True)]
    return float(np.mean([find_dice(*pair) for pair in pairs]))


def find_dice(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> float:
    """Returns 2 |X and Y| / (|X| + |Y|); 1 where neither has a pixel."""
    return float(2 * (a & b).sum() / (a.sum() + b.sum())) if (a | b).any() else 1.0


def run(name: str, folder: Path, minutes: float) -> list[str]:
    """Draws a set, runs it to its submission, and returns its row of the table."""
    about = FORMATS[name](folder / "input" / name)
    began = time.monotonic()
    said = _start("new", folder / "input" / name, "--name", name, "--minutes", minutes, root=folder)
    questions = said.partition("questions (")[2].partition(")")[0] or "0"
    _start("pipeline", name, root=folder)
    seconds = time.monotonic() - began
    (path,) = (folder / "submissions" / name).glob("*.csv.gz")
    (oof,) = (folder / "models" / name).glob("ensemble*.json")
    out_of_fold = json.loads(oof.read_text())
    reached = score(path, about)
    verdict = "agrees" if reached >= GOOD else "DIFFERS"
    own = f"{out_of_fold['metric']} {out_of_fold['score']['mean']:.4f}"
    what = (FORMATS[name].__doc__ or "").partition("\n")[0].rstrip(".")
    return [name, what, questions, own, f"{reached:.4f}", verdict, f"{seconds:.0f}"]


def main() -> None:
    """Prints a table, a row as soon as its set is done; exits with 1 where a submission differs from what was drawn."""
    args = _parse()
    header = ["set", "format", "questions", "out-of-fold", "Dice of the submission", "outcome", "seconds"]
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    print("\n".join(lines), flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        for name in args.names or FORMATS:
            lines.append(f"| {' | '.join(run(name, args.folder or Path(temporary), args.minutes))} |")
            print(lines[-1], flush=True)
    if args.out:
        args.out.write_text("\n".join([*lines, ""]), encoding="utf-8")
    if any("DIFFERS" in line for line in lines):
        sys.exit("error: each submission must agree with what was drawn, see above")


def _several(train: list[Drawing], test: list[Drawing]) -> Set:
    """Of two classes, where the competition gives no sample submission."""
    return Set(train=train, test=test, class_column="class", names=CLASSES)


def _start(stage: str, *words: object, root: Path) -> str:
    command = [sys.executable, "-m", "unets", stage, *map(str, words), "--root", str(root)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    with (root / "log.txt").open("a", encoding="utf-8") as log:
        log.write(done.stdout + done.stderr)
    if done.returncode:
        sys.exit(f"error: `unets {stage} {words[0]}` must succeed. Received:\n{done.stdout}{done.stderr}")
    return done.stdout


def _trace(object_hw: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Returns the (column, row) of the outermost pixels of an object, in turn, as tools that trace masks write them."""
    (contour, *_), _ = cv2.findContours(object_hw.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return contour[:, 0].astype(np.float64)


def _count_runs(object_hw: npt.NDArray[np.bool_]) -> list[int]:
    """Returns COCO's counts: pixels of background and object in turns, along columns, background first."""
    flat = object_hw.ravel("F")
    edges = np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1, [flat.size]])
    counts = np.diff(edges).tolist()
    return [0, *counts] if flat[0] else counts


def _write_images(folder: Path, drawings_of: Mapping[str, Sequence[Drawing]]) -> None:
    for pattern, drawings in drawings_of.items():
        for drawing in drawings:
            _write_image(folder / pattern.format(drawing.id), drawing.image)


def _write_image(path: Path, image: npt.NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, quality=95) if path.suffix == ".jpg" else Image.fromarray(image).save(path)


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]], separator: str = ",") -> None:
    _write_text(path, "".join(f"{separator.join(row)}\n" for row in [header, *rows]))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(FORMATS)} (default: all)")
    parser.add_argument("--minutes", type=float, default=2, help="of each training (default: 2)")
    parser.add_argument("--folder", type=Path, help="where to work, kept (default: deleted at the end)")
    parser.add_argument("--out", type=Path, help="gets the table")
    return parser.parse_args()


if __name__ == "__main__":
    main()
