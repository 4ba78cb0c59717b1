"""The listing: every file of INPUT, in folders and zips, without what computers leave behind; headers are read once."""

import json
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

import pandas as pd

from unets.data.files import is_junk, list_members, list_pages, read_bytes, walk_files
from unets.data.pixels import Header, read_header
from unets.dataset.rle_csv import read_frame
from unets.errors import DECODER_FAULTS, InputError, naming

ResultT = TypeVar("ResultT")
NO_FILE = "a link to nothing, a pipe or a device"
_PICTURES = ".png .jpg .jpeg .tif .tiff .bmp .gif .webp .avif .jp2 .ppm .pgm .pbm .pnm"
RASTER_ENDINGS = (*_PICTURES.split(), ".npy")
_RASTER = re.compile("|".join(rf"{re.escape(end)}\b" for end in RASTER_ENDINGS))
_LIST_ENDINGS = (".txt", ".lst", ".json")
_LOOKED_AT = 20_000  # characters of a json
# Endings of files that hold images or masks in a form that nothing here reads, and what to do about it.
UNSUPPORTED = {
    **dict.fromkeys((".dcm", ".dicom"), "DICOM: write each slice as a 16-bit PNG (pydicom's `pixel_array`)"),
    **dict.fromkeys((".tar", ".tgz", ".rar", ".7z"), "packed: unpack it"),
    **dict.fromkeys((".mha", ".mhd", ".nrrd"), "medical volumes: write each slice as a PNG (SimpleITK)"),
    **dict.fromkeys((".cr2", ".nef", ".arw", ".dng"), "raw photographs: write 16-bit PNGs (rawpy)"),
    **dict.fromkeys((".pkl", ".pickle", ".pt", ".pth"), "objects of Python: write images and masks as PNG"),
    **dict.fromkeys((".h5", ".hdf5"), "HDF5: write images and masks as PNG (h5py)"),
    **dict.fromkeys((".mp4", ".avi"), "films: write the frames as images (ffmpeg)"),
    ".nii": "NIfTI: write each slice as a PNG (nibabel)",
    ".gz": "packed: unpack it (NIfTI volumes: write each slice as a PNG)",
    ".mat": "MATLAB: write images and masks as PNG (scipy.io.loadmat)",
    ".npz": "NumPy archives: write each array as a PNG, or as .npy",
    ".parquet": "Parquet: write images and masks as PNG, or run lengths as csv (pandas)",
    ".tfrecord": "TFRecord: write images and masks as PNG",
    ".svs": "whole slides: cut them into tiles (openslide)",
    ".heic": "HEIC: write JPEGs of it (pillow-heif)",
    ".svg": "SVG: draw its shapes (cairosvg), and write PNGs",
    ".zip": "a zip in a zip: unpack it",
    ".001": "a part of a file that was split: put the parts together",
}
# What annotation files hold that nothing here reads, and what to do about it.
SEGMENTS = '"segments_info"'
FOREIGN = {
    SEGMENTS: "COCO panoptic: write PNGs of classes (panopticapi's panoptic2semantic_segmentation.py)",
    '"imgHeight"': "Cityscapes polygons: draw them (cityscapesscripts' createTrainIdLabelImgs)",
    '"data_row"': "an export of Labelbox, whose masks lie at addresses of its own: download them, or export COCO",
    '"Labeled Data"': "an export of Labelbox, whose masks lie at addresses of its own: download them, or export COCO",
    '"label_classes"': "annotations of Hasty: export COCO, or masks as PNG",
    '"slots"': "annotations of V7 Darwin: export COCO",
    '"label_id"': "annotations of Datumaro: export COCO, or `Segmentation mask`",
    '"FeatureCollection"': "GeoJSON: rasterize it (rasterio.features), and write the masks as PNG",
    '"coordinates"': "polygons in json lines: draw them (cv2.fillPoly), and write the masks as PNG",
    "region_shape_attributes": "regions as VIA's csv: export the annotations as json",
    "<bndbox>": "boxes of PASCAL VOC, which are no areas: export masks, or COCO polygons",
    '"predicted_iou"': "Segment Anything's masks, which have no classes: write PNGs of classes",
    "<Vertex ": "outlines of Aperio ImageScope: draw its regions (cv2.fillPoly), and write the masks as PNG",
}


@dataclass(frozen=True, kw_only=True)
class Listing:
    """All files of a folder that somebody brings.

    Members of zips are listed as `train.zip/a.jpg`, pages of TIFF stacks as `volume.tif/007.png`.
    """

    root: Path
    paths: tuple[str, ...]  # of every file below it with `/`, sorted
    left_out: dict[str, str] = field(default_factory=dict)  # junk and damaged zips, each with the reason
    # Of values or colors, where somebody gave them; else a list in the folder counts.
    class_names: dict[int | tuple[int, int, int], str] = field(default_factory=dict)
    _known: dict[tuple[object, ...], Any] = field(default_factory=dict, repr=False)

    @cached_property
    def rasters(self) -> tuple[str, ...]:
        """Paths that end as images or arrays do."""
        return tuple(path for path in self.paths if ending(path) in RASTER_ENDINGS)

    @cached_property
    def plain(self) -> dict[str, str]:
        """Paths by what they would be called without zips.

        `train.zip/a.jpg` and `train.zip/train/a.jpg` by `train/a.jpg`. A TIFF of several pages is there, too.
        """
        named: dict[str, str] = {}
        for path in self.paths:
            plain: list[str] = []
            is_packed = False  # whether the part before is a zip
            for place, part in enumerate(parts := path.split("/"), start=1):
                if not (is_packed and part == plain[-1]):
                    is_packed = part.lower().endswith(".zip")
                    plain.append(part[:-4] if is_packed else part)
                if place < len(parts) and ending(part) == ".tif":
                    named["/".join(plain)] = "/".join(parts[:place])
            named["/".join(plain)] = path
        return named

    @cached_property
    def tables(self) -> dict[str, pd.DataFrame]:
        """All csv files, json lines, and lists of images with their masks, by their paths; what is none is left out."""
        tables = {}
        for path in self.select(".csv", ".tsv", ".gz", ".jsonl", *_LIST_ENDINGS):
            with suppress(InputError):
                if re.search(r"\.([ct]sv(\.gz)?|jsonl)$", path.lower()) or self._lists_pairs(path):
                    tables[path] = read_table(self.root / path)
        return tables

    def _lists_pairs(self, path: str) -> bool:
        """Tells whether a text names two images in its first line, or a json, which is no COCO's, in its beginning."""
        if ending(path) not in _LIST_ENDINGS:
            return False
        text = self.read_text(path)
        start = text[:_LOOKED_AT] if ending(path) == ".json" else text.partition("\n")[0]
        return len(_RASTER.findall(start.lower())) >= 2 and '"annotations"' not in text

    def select(self, *endings: str) -> tuple[str, ...]:
        """Returns the paths with one of these endings, small letters."""
        return tuple(path for path in self.paths if ending(path) in endings)

    def header(self, path: str) -> Header:
        """Returns a raster's size, channels and depth. Raises InputError where the file is no whole image."""
        return self.once(read_header, path)

    def once(self, read: Callable[..., ResultT], path: str, *args: object) -> ResultT:
        """Returns what `read` makes of a file's path and `args`; calls it the first time alone."""
        key = (read, path, *args)
        if key not in self._known:
            self._known[key] = read(self.root / path, *args)
        return cast("ResultT", self._known[key])

    def read_text(self, path: str, *, may_be_empty: bool = True) -> str:
        """Reads a text file of UTF-8 or UTF-16; bytes that are neither become `?`.

        Raises InputError where it is damaged, or empty though it must not be.
        """
        content = read_bytes(self.root / path, may_be_empty=may_be_empty)
        encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        return content.decode(encoding, errors="replace")

    def read_jsons(self, *marks: str) -> Iterator[tuple[str, Any]]:
        """Yields (path, content) of each json file whose text holds all of the marks.

        Raises InputError where such a file is damaged, or one is empty.
        """
        for path in self.select(".json"):
            text = self.read_text(path)
            if not text or all(mark in text for mark in marks):
                with naming(path, "be json"):
                    content = json.loads(text)
                yield path, content


def read_table(path: Path) -> pd.DataFrame:
    """Reads a csv file, a txt of file names, or the texts and numbers of objects in json, as text.

    Blanks around cells are taken away. Where the first row names files, columns are called `1`, `2`, ...; the column
    `list` says in which list of a json an object is. Raises InputError where the file is missing, or none of these.
    """
    if path.suffix.lower() in (".json", ".jsonl"):
        with naming(path, "hold objects of json, in lists or a line each", damage=DECODER_FAULTS):
            text = read_bytes(path).decode("utf-8-sig")
            is_whole = path.suffix.lower() == ".json"
            content = json.loads(text) if is_whole else [json.loads(line) for line in text.splitlines() if line.strip()]
            lists = content if isinstance(content, dict) else {"": content}
            rows = [
                {"list": n} | row
                for n, of in lists.items()
                if isinstance(of, list)
                for row in of
                if isinstance(row, dict)
            ]
            plain = [{key: str(cell) for key, cell in row.items() if isinstance(cell, str | int)} for row in rows]
        if not plain:
            raise InputError(f"{path} must hold objects of json. Received: none")
        frame = pd.DataFrame(plain).fillna("")
    else:
        frame = read_frame(path)
        if sum(ending(name) in RASTER_ENDINGS for name in frame.columns) >= 2:
            cells = [list(frame.columns), *frame.to_numpy().tolist()]
            frame = pd.DataFrame(cells, columns=[str(number) for number in range(1, len(cells[0]) + 1)])
    named = [name for name in frame.columns if not name.startswith("Unnamed:")]
    stripped: pd.DataFrame = frame[named].apply(lambda cells: cells.str.strip())
    return stripped


def ending(path: str) -> str:
    """Returns the ending of a name with its dot, in small letters; the same for names that mean the same."""
    name = path.rpartition("/")[2].lower()
    found = "." + name.rpartition(".")[2] if "." in name else ""
    return {".jpeg": ".jpg", ".jpe": ".jpg", ".jfif": ".jpg", ".tiff": ".tif"}.get(found, found)


def stem_of(path: str) -> str:
    """Returns the name of a path without its folders and its ending."""
    return path.rpartition("/")[2].rpartition(".")[0]


def list_input(root: Path) -> Listing:
    """Lists what a folder holds. Raises InputError: there is no such folder, or it holds no file."""
    if not root.is_dir():
        raise InputError(f"`--input` must be a folder with images and masks. Received: {root} (no such folder)")
    junk: list[str] = []
    left_out: dict[str, str] = {}
    paths: list[str] = []
    for path, _, changed in walk_files(root, junk):
        if not changed or not (root / path).is_file():
            left_out[path] = NO_FILE
        elif path.lower().endswith(".zip"):
            paths += _list_zip(root / path, path, left_out)
        elif ending(path) == ".tif":
            paths += _list_tiff(root / path, path)
        else:
            paths.append(path)
    if not paths:
        raise InputError(f"`--input` must hold images and masks. Received: {root}, which holds no file")
    left_out |= dict.fromkeys(junk, "a hidden or system file")
    return Listing(root=root, paths=tuple(sorted(paths)), left_out=left_out)


def _list_zip(path: Path, name: str, left_out: dict[str, str]) -> Iterator[str]:
    folder = path.with_suffix("")
    if folder.is_dir() and not all(is_junk(entry.name) for entry in folder.iterdir()):
        left_out[name] = f"unpacked beside it, in {path.stem}/"
        return
    try:
        members = list_members(path)
    except (InputError, zipfile.BadZipFile, OSError) as error:
        left_out[name] = f"a damaged zip ({error})"
        return
    yield from (f"{name}/{member}" for member in members)


def _list_tiff(path: Path, name: str) -> Iterator[str]:
    """Yields the pages of a stack, whose pages are all of one size; else the file itself."""
    try:
        pages = list_pages(path)
    except InputError:
        pages = []
    yield from (f"{name}/{page}" for page in pages) if len(pages) > 1 else (name,)
