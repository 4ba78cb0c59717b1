"""The listing: every file of INPUT, in folders and zips, without what computers leave behind; headers are read once."""

import os
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

from unets.data.files import is_junk, list_members, list_pages, read_bytes
from unets.data.pixels import Header, read_header
from unets.errors import InputError

ResultT = TypeVar("ResultT")
RASTER_ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".jp2", ".ppm", ".pgm", ".npy")
# Endings of files that hold images or masks in a form that nothing here reads, and what to do about it.
UNSUPPORTED = {
    ".dcm": "DICOM: write each slice as a 16-bit PNG (pydicom's `pixel_array`)",
    ".dicom": "DICOM: write each slice as a 16-bit PNG (pydicom's `pixel_array`)",
    ".nii": "NIfTI: write each slice as a PNG (nibabel)",
    ".gz": "packed: unpack it (NIfTI volumes: write each slice as a PNG)",
    ".mha": "MetaImage: write each slice as a PNG (SimpleITK)",
    ".mhd": "MetaImage: write each slice as a PNG (SimpleITK)",
    ".nrrd": "NRRD: write each slice as a PNG",
    ".mat": "MATLAB: write images and masks as PNG (scipy.io.loadmat)",
    ".h5": "HDF5: write images and masks as PNG (h5py)",
    ".hdf5": "HDF5: write images and masks as PNG (h5py)",
    ".npz": "NumPy archives: write each array as a PNG, or as .npy",
    ".parquet": "Parquet: write images and masks as PNG, or run lengths as csv (pandas)",
    ".tfrecord": "TFRecord: write images and masks as PNG",
    ".svs": "whole slides: cut them into tiles (openslide)",
    ".mp4": "films: write the frames as images (ffmpeg)",
    ".avi": "films: write the frames as images (ffmpeg)",
    ".tar": "packed: unpack it",
    ".tgz": "packed: unpack it",
    ".rar": "packed: unpack it",
    ".7z": "packed: unpack it",
    ".heic": "HEIC: write JPEGs of it (pillow-heif)",
}


@dataclass(frozen=True, kw_only=True)
class Listing:
    """All files of a folder that somebody brings.

    Attributes:
        root: the folder.
        paths: every file below it with `/`, sorted; members of zips as `train.zip/a.jpg`, pages of TIFF stacks as
            `volume.tif/007.png`.
        left_out: junk and damaged zips, each with the reason.
        class_names: of values or colors, where somebody gave them; else a list in the folder counts.
    """

    root: Path
    paths: tuple[str, ...]
    left_out: dict[str, str] = field(default_factory=dict)
    class_names: dict[int | tuple[int, int, int], str] = field(default_factory=dict)
    _known: dict[tuple[object, ...], Any] = field(default_factory=dict, repr=False)

    @cached_property
    def rasters(self) -> tuple[str, ...]:
        """Paths that end as images or arrays do."""
        return tuple(path for path in self.paths if ending(path) in RASTER_ENDINGS)

    def select(self, *endings: str) -> tuple[str, ...]:
        """Returns the paths with one of these endings, small letters."""
        return tuple(path for path in self.paths if ending(path) in endings)

    def header(self, path: str) -> Header:
        """Returns a raster's size, channels and depth; reads its header the first time.

        Raises:
            InputError: the file is no whole image.
        """
        return self.once(read_header, path)

    def once(self, read: Callable[..., ResultT], path: str, *args: object) -> ResultT:
        """Returns what `read` makes of a file's path and `args`; calls it the first time alone."""
        key = (read, path, *args)
        if key not in self._known:
            self._known[key] = read(self.root / path, *args)
        return cast("ResultT", self._known[key])

    def read_text(self, path: str) -> str:
        """Reads a text file of UTF-8 or UTF-16; bytes that are neither become `?`.

        Raises:
            InputError: the file is empty or damaged.
        """
        content = read_bytes(self.root / path)
        encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        return content.decode(encoding, errors="replace")


def ending(path: str) -> str:
    """Returns the ending of a name with its dot, in small letters; the same for names that mean the same."""
    name = path.rpartition("/")[2].lower()
    found = "." + name.rpartition(".")[2] if "." in name else ""
    return {".jpeg": ".jpg", ".jpe": ".jpg", ".jfif": ".jpg", ".tiff": ".tif"}.get(found, found)


def list_input(root: Path) -> Listing:
    """Lists what a folder holds.

    Raises:
        InputError: there is no such folder, or it holds no file.
    """
    if not root.is_dir():
        raise InputError(f"`--input` must be a folder with images and masks. Received: {root} (no such folder)")
    left_out: dict[str, str] = {}
    paths = []
    for path in _walk(root, left_out):
        if any(map(is_junk, path.split("/"))):
            left_out[path] = "a hidden or system file"
        else:
            paths.append(path)
    if not paths:
        raise InputError(f"`--input` must hold images and masks. Received: {root}, which holds no file")
    return Listing(root=root, paths=tuple(sorted(paths)), left_out=left_out)


def _walk(root: Path, left_out: dict[str, str]) -> Iterator[str]:
    seen = set()  # folders by their real path: a link may lead in a circle
    for parent, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        prefix = "" if Path(parent) == root else f"{Path(parent).relative_to(root).as_posix()}/"
        for name in sorted(names):
            path = Path(parent) / name
            if name.lower().endswith(".zip") and not is_junk(name):
                yield from _list_zip(path, f"{prefix}{name}", left_out)
            elif ending(name) == ".tif" and not is_junk(name):
                yield from _list_tiff(path, f"{prefix}{name}")
            elif path.is_file():
                yield f"{prefix}{name}"
            else:
                left_out[f"{prefix}{name}"] = "a link to nothing, a pipe or a device"


def _list_zip(path: Path, name: str, left_out: dict[str, str]) -> Iterator[str]:
    if path.with_suffix("").is_dir() and any(path.with_suffix("").iterdir()):
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
