"""The competition's files: those that are missing are downloaded from Kaggle, whole or not at all.

Each goes to a folder of its own below `input/<competition>/.download`, where a download that broke goes on, is read
through, and then takes its place. Zips that the competition itself packed stay zips: every stage reads images in them
as well as in folders, and the test set of Carvana is one file of some 8 GB in place of 100,064. The bundle of a
competition is unpacked.
"""

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
from unets.store.runs import lock, read_json, write_json
from unets.submission.kaggle.archives import Members, check_archive, count_bytes, list_members, unpack_archive
from unets.submission.kaggle.client import Session, find_competition, sign_in

logger = logging.getLogger(__name__)

_PAGE = 200  # files a request for the list
_MARKER = ".kaggle-partial"  # how the client's own notes on a download that broke end
_BUNDLE = "bundle.json"  # the bytes of each file that a bundle held

Opener = Callable[[Any], Any]  # from the client to the response whose body is the file


def get_data(project: Project, dataset: DatasetConfig, *, unpack: bool = False) -> None:
    """Downloads what is missing of a competition; the same call goes on where the last one was stopped.

    Args:
        project: its `input_dir` gets the files.
        dataset: names the competition and, maybe, its files.
        unpack: whether to unpack the zips, and delete them.

    Raises:
        InputError: Kaggle does not give the files, the disk is too small, or a file is damaged (the next call downloads
            it again).
    """
    competition = find_competition(dataset, project.configs_dir)
    project.input_dir.mkdir(parents=True, exist_ok=True)
    with lock(project.download_dir):
        if dataset.kaggle_files is None:
            names = _get_bundle(project, competition)
        else:
            names = _get_files(project, competition, [_check_path(name) for name in dataset.kaggle_files])
        for name in names:
            path = project.input_dir / name
            if unpack and path.suffix == ".zip" and path.is_file():
                members = list_members(path)
                is_within = all(place.parts[0] == path.stem for place in members)  # `train/a.jpg`, not `a.jpg`
                _unpack(path, _staging_dir(project, name), path.parent, "" if is_within else path.stem)
                path.unlink()
                shutil.rmtree(_staging_dir(project, name))
                logger.info("%s: unpacked, %d files", path, len(members))


def find_free_bytes(folder: Path) -> int:
    """Returns how many bytes the disk of a folder has left."""
    return shutil.disk_usage(folder).free


def _check_free_disk(folder: Path, num_bytes: int, what: str) -> None:
    free = find_free_bytes(folder)
    if free < num_bytes:
        raise InputError(
            f"The disk of {folder} must have {num_bytes / 1e9:.2f} GB free for {what}. Received: {free / 1e9:.2f} GB. "
            "INPUT= chooses another folder"
        )


def _get_files(project: Project, competition: str, names: Sequence[str]) -> Sequence[str]:
    """Downloads those of the named files that are missing; returns all names."""
    missing = [name for name in names if not _is_there(project.input_dir, name)]
    if not missing:
        logger.info("%s: all files are there", project.input_dir)
        return names
    session = sign_in(competition)
    sizes = _list_sizes(session)
    if unknown := [name for name in missing if name not in sizes]:
        raise InputError(
            f"`kaggle_files` must be files of {competition}, among {', '.join(sorted(sizes)[:20])}. "
            f"Received: {', '.join(unknown)}"
        )
    begun = sum(path.stat().st_size for name in missing for path in _staging_dir(project, name).glob("*"))
    _check_free_disk(project.input_dir, sum(sizes[name] for name in missing) - begun, ", ".join(missing))
    for name in missing:
        _get_file(project, session, name)
    return names


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
        _check_free_disk(folder, count_bytes(list_members(path)), f"the content of {path.name}")
        members = unpack_archive(path, folder / "unpacked")
        if len(members) != 1:
            raise InputError(f"{path} must hold {base} alone. Received: {len(members)} files")
        path = folder / "unpacked" / next(iter(members))
    target = project.input_dir / name
    target.parent.mkdir(parents=True, exist_ok=True)
    path.replace(target)
    shutil.rmtree(folder)
    logger.info("%s: %.1f MB", target, target.stat().st_size / 1e6)


def _get_bundle(project: Project, competition: str) -> Sequence[str]:
    """Downloads and unpacks the bundle of all files unless they are there; returns their names."""
    record = project.download_dir / _BUNDLE
    held: dict[str, int] = read_json(record) if record.is_file() else {}
    if held and all(_is_there(project.input_dir, name, num_bytes) for name, num_bytes in held.items()):
        logger.info("%s: all files are there", project.input_dir)
        return list(held)
    session = sign_in(competition)

    def open_bundle(client: Any) -> Any:
        request = session.module.ApiDownloadDataFilesRequest()
        request.competition_name = session.competition
        return client.competitions.competition_api_client.download_data_files(request)

    folder = _staging_dir(project, f"{competition}.zip")
    # Twice: the zip and what is in it, which is no smaller.
    path = _download(session, open_bundle, folder, f"{competition}.zip", times=2)
    members = _unpack(path, folder, project.input_dir, "")
    held = {str(place): info.file_size for place, info in members.items()}
    write_json(record, held)
    shutil.rmtree(folder)
    logger.info("%s: %d files of %s", project.input_dir, len(held), competition)
    return list(held)


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
        _check_free_disk(folder, times * num_bytes - begun, name)
        logger.info("%s: downloads %.1f MB", name, (num_bytes - begun) / 1e6)
        # The client goes on by itself, some times, where the connection breaks; then the same command does.
        session.ask(
            session.api.download_file, response, str(path), client.http_client(), session.is_quiet, True, repeat=False
        )
    return path


@contextmanager
def _drop_if_damaged(path: Path) -> Iterator[None]:
    """Deletes a zip that the block finds damaged, so that the next call downloads it again."""
    try:
        yield
    except InputError as error:
        path.unlink()
        raise InputError(f"{error}. It was deleted: `unets download` downloads it again") from error


def _unpack(path: Path, folder: Path, target_dir: Path, root: str) -> Members:
    """Unpacks a zip into `unpacked/<root>` of its own folder, then moves what is whole into `target_dir`."""
    staging_dir = folder / "unpacked" / root
    with _drop_if_damaged(path):
        members = list_members(path)
    _check_free_disk(target_dir, count_bytes(members), f"the content of {path.name}")
    staging_dir.mkdir(parents=True, exist_ok=True)
    with _drop_if_damaged(path):
        unpack_archive(path, staging_dir)
    _move_into(folder / "unpacked", target_dir)
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


def _staging_dir(project: Project, name: str) -> Path:
    return project.download_dir / name.replace("/", "__")


def _check_path(name: str) -> str:
    """Refuses a name that leads out of the folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or not path.parts:
        raise InputError(f"`kaggle_files` must be paths within the competition's folder. Received: {name!r}")
    return name
