"""The competition's files: those that are missing are had from Kaggle, whole or not at all.

Each goes to a folder of its own below `input/<competition>/.download`, where a download that broke goes on, is read
through, and then takes its place. Zips that the competition itself packed stay zips: everything here reads photos in
them as well as in folders (two threads, 96 photos of 99 KB: 2.1 ms in place of 1.8 at 640 x 959, 3.0 in place of 2.8 at
320 x 480), Carvana's test set is one file of some 8 GB in place of 100,064, and its bytes are written once. The bundle
of a competition is unpacked, since no stage looks for folders in it.
"""

import csv
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from unets.config import DatasetConfig
from unets.errors import InputError
from unets.store.paths import Project
from unets.store.runs import atomic_path, lock
from unets.submission.kaggle.archives import Member, check_archive, find_root, list_members, unpack_archive
from unets.submission.kaggle.client import Session, find_competition, sign_in

logger = logging.getLogger(__name__)

_PAGE = 200  # files a request for the list
_MARKER = ".kaggle-partial"  # how the client's own notes on a download that broke end
_BUNDLE = "bundle.csv"  # what a bundle held

Opener = Callable[[Any], Any]  # from the client to the response whose body is the file


def get_data(project: Project, dataset: DatasetConfig, *, unpack: bool = False) -> None:
    """Downloads what is missing of a competition; the same call goes on where the last one was stopped.

    Args:
        project: its `input_dir` gets the files.
        dataset: names the competition and, maybe, its files.
        unpack: whether to unpack the zips, and delete them.

    Raises:
        InputError: Kaggle does not give the files, the disk is too small, or a file is damaged (it is had anew the next
            time).
    """
    competition = find_competition(dataset, project.configs_dir)
    project.input_dir.mkdir(parents=True, exist_ok=True)
    with lock(project.download_dir):
        if dataset.kaggle_files is None:
            names = _get_bundle(project, competition)
        else:
            names = _get_files(project, competition, [_check_name(name) for name in dataset.kaggle_files])
        if unpack:
            for name in names:
                _unpack_in_place(project, name)


def find_free_bytes(folder: Path) -> int:
    """Returns how many bytes the disk of a folder has left."""
    return shutil.disk_usage(folder).free


def check_free_disk(folder: Path, num_bytes: int, what: str) -> None:
    """Checks that a disk takes some bytes more.

    Raises:
        InputError: it does not.
    """
    free = find_free_bytes(folder)
    if free < num_bytes:
        raise InputError(
            f"The disk of {folder} must have {num_bytes / 1e9:.2f} GB free for {what}. Received: {free / 1e9:.2f} GB. "
            "INPUT= chooses another folder"
        )


def _get_files(project: Project, competition: str, names: Sequence[str]) -> list[str]:
    """Downloads those of the named files that are missing; returns the names of the zips among all."""
    missing = [name for name in names if not _is_there(project.input_dir, name)]
    if missing:
        session = sign_in(competition)
        sizes = _list_sizes(session)
        if unknown := [name for name in missing if name not in sizes]:
            raise InputError(
                f"`kaggle_files` must be files of {competition}, among {', '.join(sorted(sizes)[:20])}. "
                f"Received: {', '.join(unknown)}"
            )
        begun = sum(path.stat().st_size for name in missing for path in _staging_dir(project, name).glob("*"))
        check_free_disk(project.input_dir, sum(sizes[name] for name in missing) - begun, ", ".join(missing))
        for name in missing:
            _get_file(project, session, name)
    else:
        logger.info("%s: all files are there", project.input_dir)
    return [name for name in names if name.endswith(".zip")]


def _get_file(project: Project, session: Session, name: str) -> None:
    """Downloads one file, reads it through, puts it in its place."""

    def open_file(client: Any) -> Any:
        request = session.module.ApiDownloadDataFileRequest()
        request.competition_name, request.file_name = session.competition, name
        return client.competitions.competition_api_client.download_data_file(request)

    folder, base = _staging_dir(project, name), PurePosixPath(name).name
    path = _download(session, open_file, folder, base)
    if path.suffix == ".zip":
        with _drop_if_damaged(path):
            check_archive(path)
    if path.name == f"{base}.zip":  # Kaggle packs large files on the way
        check_free_disk(folder, sum(member.num_bytes for member in list_members(path)), f"the content of {path.name}")
        members = unpack_archive(path, folder / "unpacked")
        if len(members) != 1:
            raise InputError(f"{path} must hold {base} alone. Received: {len(members)} files")
        path = folder / "unpacked" / members[0].path
    target = project.input_dir / name
    target.parent.mkdir(parents=True, exist_ok=True)
    path.replace(target)
    shutil.rmtree(folder)
    logger.info("%s: %.1f MB", target, target.stat().st_size / 1e6)


def _get_bundle(project: Project, competition: str) -> list[str]:
    """Downloads and unpacks the bundle of all files unless they are there; returns the names of the zips in it."""
    record = project.download_dir / _BUNDLE
    held = _read_record(record)
    if held and all(_is_there(project.input_dir, name, num_bytes) for name, num_bytes in held.items()):
        logger.info("%s: all files are there", project.input_dir)
        return [name for name in held if name.endswith(".zip")]
    session = sign_in(competition)

    def open_bundle(client: Any) -> Any:
        request = session.module.ApiDownloadDataFilesRequest()
        request.competition_name = session.competition
        return client.competitions.competition_api_client.download_data_files(request)

    folder = _staging_dir(project, f"{competition}.zip")
    # Twice: the zip and what is in it, which is no smaller.
    path = _download(session, open_bundle, folder, f"{competition}.zip", times=2)
    members = _unpack(path, folder / "unpacked", project.input_dir, PurePosixPath())
    with atomic_path(record) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows((member.path, member.num_bytes) for member in members)
    shutil.rmtree(folder)
    logger.info("%s: %d files of %s", project.input_dir, len(members), competition)
    return [str(member.path) for member in members if member.path.suffix == ".zip"]


def _download(session: Session, open_: Opener, folder: Path, name: str, *, times: int = 1) -> Path:
    """Downloads a file into a folder that is its alone, going on with what is there of it.

    Args:
        session: the client.
        open_: asks for the file.
        folder: where it goes.
        name: of the file; with `.zip` behind it where Kaggle packed it on the way.
        times: how often its size the disk must take.

    Returns:
        Its path; as long as it should be, and no more is known of it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with session.api.build_kaggle_client() as client:
        response = session.ask(open_, client)
        num_bytes = int(response.headers.get("Content-Length") or 0)
        is_packed = PurePosixPath(unquote(urlsplit(response.url).path)).name == f"{name}.zip"
        path = folder / (f"{name}.zip" if is_packed else name)
        begun = path.stat().st_size if path.exists() else 0
        if begun and begun == num_bytes and not path.with_name(path.name + _MARKER).exists():
            response.close()  # it came whole, and the process was stopped before it was put in its place
            return path
        check_free_disk(folder, times * num_bytes - begun, name)
        logger.info("%s: downloads %.1f MB", name, (num_bytes - begun) / 1e6)
        # The client goes on by itself, some times, where the connection breaks; then the same command does.
        session.ask(
            session.api.download_file, response, str(path), client.http_client(), session.is_quiet, True, repeat=False
        )
    return path


@contextmanager
def _drop_if_damaged(path: Path) -> Iterator[None]:
    """Deletes a zip that the block finds damaged, so that it is had anew."""
    try:
        yield
    except InputError as error:
        path.unlink()
        raise InputError(f"{error}. It was deleted: `make data` downloads it again") from error


def _unpack_in_place(project: Project, name: str) -> None:
    """Replaces a zip in the competition's folder by what is in it."""
    path = project.input_dir / name
    if not path.is_file():
        return
    folder = _staging_dir(project, name)
    root = find_root(list_members(path), path.stem)
    members = _unpack(path, folder / "unpacked", path.parent, root)
    path.unlink()
    shutil.rmtree(folder)
    logger.info("%s: unpacked, %d files", path, len(members))


def _unpack(path: Path, staging_dir: Path, target_dir: Path, root: PurePosixPath) -> list[Member]:
    """Unpacks a zip beside its target, then moves folders there that are whole."""
    with _drop_if_damaged(path):
        members = list_members(path)
    check_free_disk(target_dir, sum(member.num_bytes for member in members), f"the content of {path.name}")
    staging_dir.mkdir(parents=True, exist_ok=True)
    with _drop_if_damaged(path):
        unpack_archive(path, staging_dir / root)
    _move_into(staging_dir, target_dir)
    return members


def _move_into(source: Path, target: Path) -> None:
    """Moves what a folder holds; into folders that are there, file by file."""
    for entry in sorted(source.iterdir()):
        place = target / entry.name
        if entry.is_dir() and place.is_dir():
            _move_into(entry, place)
        else:
            os.replace(entry, place)  # noqa: PTH105


def _is_there(input_dir: Path, name: str, num_bytes: int | None = None) -> bool:
    """Tells whether a file is there: itself, in a zip of its name, or, of a zip, what was in it."""
    path = input_dir / name
    if path.is_file():
        return num_bytes is None or path.stat().st_size == num_bytes
    return path.with_name(f"{path.name}.zip").is_file() or (path.suffix == ".zip" and path.with_suffix("").exists())


def _list_sizes(session: Session) -> dict[str, int]:
    """Returns the bytes of each file of the competition, by name."""
    sizes: dict[str, int] = {}
    token = None
    while True:
        page = session.ask(session.api.competition_list_files, session.competition, token, _PAGE)
        sizes |= {str(file.name): int(file.total_bytes) for file in page.files}
        token = page.next_page_token
        if not token:
            return sizes


def _read_record(path: Path) -> dict[str, int]:
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {name: int(num_bytes) for name, num_bytes in csv.reader(file)}


def _staging_dir(project: Project, name: str) -> Path:
    return project.download_dir / name.replace("/", "__")


def _check_name(name: str) -> str:
    """Refuses a name that leads out of the folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or not path.parts:
        raise InputError(f"`kaggle_files` must be paths within the competition's folder. Received: {name!r}")
    return name
