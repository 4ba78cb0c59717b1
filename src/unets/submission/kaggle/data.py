"""The competition's files: those that are missing are downloaded from Kaggle, whole or not at all.

Each goes to a folder of its own below `input/<competition>/.download`, where a download that broke goes on, is read
through, and then takes its place. Zips that the competition itself packed stay zips: every stage reads images in them
as well as in folders, and the test set of Carvana is one file of some 8 GB in place of 100,064. The bundle of a
competition is unpacked.
"""

import logging
import os
import shutil
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from unets.config import DatasetConfig
from unets.errors import InputError
from unets.store.paths import Project
from unets.store.runs import lock, read_json, write_json
from unets.submission.kaggle.client import Session, find_competition

logger = logging.getLogger(__name__)

_PAGE = 200  # files a request for the list
_MARKER = ".kaggle-partial"  # how the client's own notes on a download that broke end
_BUNDLE = "bundle.json"  # the bytes of each file that a bundle held
_JUNK = "__MACOSX/"  # a Mac's notes on files, which no other system reads
# What reading a zip raises: not a zip, cut off, not compressed right, in a way that Python does not know, encrypted.
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


def get_data(project: Project, dataset: DatasetConfig, *, unpack: bool = False) -> None:
    """Downloads what is missing of a competition; the same call goes on where the last one was stopped.

    Zips may be unpacked, and are then deleted. Raises InputError where Kaggle does not give the files, the disk is too
    small, or a file is damaged (the next call downloads it again).
    """
    competition = find_competition(dataset, project.configs_dir)
    names = dataset.kaggle_files
    for name in names or ():
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name or not name:
            raise InputError(f"`kaggle_files` must be paths within the competition's folder. Received: {name!r}")
    project.input_dir.mkdir(parents=True, exist_ok=True)
    with lock(project.download_dir):
        there = _get_bundle(project, competition) if names is None else _get_files(project, competition, names)
        for path in [project.input_dir / name for name in there]:
            if unpack and path.suffix == ".zip" and path.is_file():
                logger.info("%s: unpacked, %d files", path, len(_unpack(project, path)))


def _get_files(project: Project, competition: str, names: Sequence[str]) -> Sequence[str]:
    """Downloads those of the named files that are missing, each read through before it takes its place."""
    missing = [name for name in names if not _is_there(project.input_dir / name)]
    if not missing:
        logger.info("%s: all files are there", project.input_dir)
        return names
    session = Session(competition)
    sizes = _list_sizes(session)
    if unknown := [name for name in missing if name not in sizes]:
        known = f"among {', '.join(sorted(sizes)[:20])}"
        raise InputError(f"`kaggle_files` must be files of {competition}, {known}. Received: {', '.join(unknown)}")
    folders = {name: project.download_dir / name.replace("/", "__") for name in missing}
    begun = sum(path.stat().st_size for folder in folders.values() for path in folder.rglob("*") if path.is_file())
    _check_free_disk(project.input_dir, sum(sizes[name] for name in missing) - begun, ", ".join(missing))
    for name, folder in folders.items():
        target, wanted = project.input_dir / name, folder / name
        logger.info("%s: downloads %.1f MB", name, sizes[name] / 1e6)
        session.ask("competition_download_file", competition, name, str(folder), quiet=session.is_quiet)
        # Under the name that its address ends with: with %20 for a space, and .zip where Kaggle packed it on the way.
        path = next((one for one in wanted.parent.glob("*") if not one.name.endswith(_MARKER)), wanted)
        _check_whole(path)
        held = _list_held(path) if path.suffix == ".zip" else []
        if held and wanted.suffix != ".zip":
            _unpack(project, path, target.parent)
            if not target.is_file():
                found = ", ".join(info.filename for info in held[:5])
                raise InputError(f"{path.name} of Kaggle must hold {target.name}. Received: {found}")
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
        shutil.rmtree(folder)
        logger.info("%s: %.1f MB", target, target.stat().st_size / 1e6)
    return names


def _get_bundle(project: Project, competition: str) -> Sequence[str]:
    """Downloads and unpacks the bundle of all files unless they are there; returns their names."""
    record = project.download_dir / _BUNDLE
    held: dict[str, int] = read_json(record) if record.is_file() else {}
    if held and all(_is_there(project.input_dir / name, num_bytes) for name, num_bytes in held.items()):
        logger.info("%s: all files are there", project.input_dir)
        return list(held)
    session = Session(competition)
    path = project.download_dir / f"{competition}.zip"
    session.ask("competition_download_files", competition, str(project.download_dir), quiet=session.is_quiet)
    _check_whole(path)
    held = {info.filename: info.file_size for info in _unpack(project, path, project.input_dir)}
    write_json(record, held)
    logger.info("%s: %d files of %s", project.input_dir, len(held), competition)
    return list(held)


def _check_free_disk(folder: Path, num_bytes: int, what: str) -> None:
    free = shutil.disk_usage(folder).free
    if free < num_bytes:
        wanted = f"The disk of {folder} must have {num_bytes / 1e9:.2f} GB free for {what}"
        raise InputError(f"{wanted}. Received: {free / 1e9:.2f} GB. INPUT= chooses another folder")


def _check_whole(path: Path) -> None:
    """Checks that the client finished a download: of an older version it may have kept a part."""
    marker = path.with_name(path.name + _MARKER)
    if not path.is_file() or marker.exists():
        path.unlink(missing_ok=True)
        marker.unlink(missing_ok=True)
        raise InputError(f"{path} must have come whole. Received: a part. `unets download` downloads it again")


def _list_held(path: Path) -> list[zipfile.ZipInfo]:
    """Reads a zip through and returns its files; deletes one that is damaged, so that it is downloaded again."""
    try:
        with zipfile.ZipFile(path) as archive:
            name = archive.testzip()
            held = [info for info in archive.infolist() if not (info.is_dir() or info.filename.startswith(_JUNK))]
        fault = f"{name} is damaged" if name else "" if held else "no file"
    except _DAMAGE as error:
        fault = str(error)
    if fault:
        path.unlink()
        raise InputError(
            f"{path} must be a whole zip. Received: {fault}. It was deleted: `unets download` downloads it again"
        )
    return held


def _unpack(project: Project, path: Path, target: Path | None = None) -> list[zipfile.ZipInfo]:
    """Unpacks a zip into a folder of its own, moves what it holds into `target`, and deletes the zip.

    `zipfile` drops what would lead out of the folder (`..`, an absolute path), and writes a link as a plain file.
    Without a target it is the zip's folder, or one of the zip's name where no such folder is in it.
    """
    folder, held = project.download_dir / f"{path.name}.unpacked", _list_held(path)
    if target is None:
        # `train/a.jpg`, not `a.jpg`
        is_within = all(PurePosixPath(info.filename).parts[0] == path.stem for info in held)
        target = path.parent if is_within else path.with_suffix("")
    _check_free_disk(project.input_dir, sum(info.file_size for info in held), f"the content of {path.name}")
    shutil.rmtree(folder, ignore_errors=True)
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder, held)
    os.sync()  # once, not after each of 100,000 images: that takes longer than unpacking them
    shutil.copytree(folder, target, dirs_exist_ok=True, copy_function=os.replace)  # moves file by file
    shutil.rmtree(folder)
    path.unlink()
    return held


def _is_there(path: Path, num_bytes: int | None = None) -> bool:
    """Tells whether a file is there: itself, in a zip of its name, or, of a zip, what was in it."""
    if path.is_file():
        return num_bytes is None or path.stat().st_size == num_bytes
    return path.with_name(f"{path.name}.zip").is_file() or (path.suffix == ".zip" and path.with_suffix("").exists())


def _list_sizes(session: Session) -> dict[str, int]:
    """Returns the bytes of each file of the competition, by name."""
    sizes, token = dict[str, int](), None
    while token != "":
        page = session.ask("competition_list_files", session.competition, token, _PAGE)
        sizes |= {str(file.name): int(file.total_bytes) for file in page.files}
        token = page.next_page_token or ""
    return sizes
