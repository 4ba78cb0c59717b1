"""Which photos are meant, and what the files made of each are called."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from unets.data.photo import list_suffixes
from unets.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """A photo and what is to be made of it."""

    photo_path: Path
    mask_path: Path
    cutout_path: Path | None
    overlay_path: Path | None

    @property
    def outputs(self) -> tuple[Path, ...]:
        """The files that are to be there, the mask last: where it is, all are."""
        return tuple(path for path in (self.cutout_path, self.overlay_path, self.mask_path) if path is not None)


def plan_tasks(given: Sequence[Path], out_dir: Path, *, cutout: bool, overlay: bool) -> list[Task]:
    """Lists the photos and names their outputs.

    A folder stands for all photos in it and below, by the endings of their names; names that begin with a dot, and
    `out_dir`, are passed over. Below `out_dir`, one folder's photos keep their places in it; of several arguments, each
    folder gets one of its own name. `<name>.png` is the mask, `<name>_cutout.png` and `<name>_overlay.jpg` the rest;
    of two photos of one name and different endings, both keep their ending.

    Args:
        given: photos and folders.
        out_dir: where outputs go.
        cutout: whether cut-outs are wanted.
        overlay: whether overlays are wanted.

    Returns:
        One task a photo, each once, in the order of the arguments, within a folder by name.

    Raises:
        InputError: an argument does not exist or a folder has no photo; two photos' outputs would have one name.
    """
    found: dict[Path, Path] = {}  # photo: its place below `out_dir`
    seen: set[Path] = set()
    for path, place in _list_photos(given, out_dir.resolve()):
        if (resolved := path.resolve()) not in seen:
            seen.add(resolved)
            found[path] = place
    stems = Counter(place.with_suffix("") for place in set(found.values()))
    tasks, photo_of = [], dict[Path, Path]()
    for path, place in found.items():
        stem = place.with_suffix("") if stems[place.with_suffix("")] == 1 else place
        task = Task(
            photo_path=path,
            mask_path=_append(out_dir / stem, ".png"),
            cutout_path=_append(out_dir / stem, "_cutout.png") if cutout else None,
            overlay_path=_append(out_dir / stem, "_overlay.jpg") if overlay else None,
        )
        for output in task.outputs:
            if output.resolve() in seen:
                raise InputError(f"`--out` must be another folder than that of the photos. Received: {out_dir}")
            other = photo_of.setdefault(output, path)
            if other != path:
                raise InputError(
                    f"`photos` must differ in the names of what is made of them. Received: {other} and {path}, both "
                    f"{output}. Give each a run with an --out of its own"
                )
        tasks.append(task)
    return tasks


def _append(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _list_photos(given: Sequence[Path], out_dir: Path) -> Iterator[tuple[Path, Path]]:
    """Yields (photo, its place below `out_dir`)."""
    for path in given:
        if path.is_dir():
            photos = sorted(_walk(path, out_dir))
            if not photos:
                raise InputError(f"`photos` must be photos, or folders with some. Received: {path}, a folder with none")
            name = Path(path.resolve().name) if len(given) > 1 else Path()
            yield from ((photo, name / photo.relative_to(path)) for photo in photos)
        elif path.is_file():
            yield path, Path(path.name)
        else:
            raise InputError(f"`photos` must be photos, or folders with some. Received: {path}, which does not exist")


def _walk(folder: Path, out_dir: Path) -> Iterator[Path]:
    suffixes = list_suffixes()
    for parent, folders, names in os.walk(folder):
        here = Path(parent)
        folders[:] = [name for name in _drop_hidden(folders) if (here / name).resolve() != out_dir]
        if here.resolve() == out_dir:  # masks beside their photos would be taken for photos the next time
            raise InputError(f"`--out` must be another folder than that of the photos. Received: {folder}")
        yield from (here / name for name in _drop_hidden(names) if Path(name).suffix.lower() in suffixes)


def _drop_hidden(names: Iterable[str]) -> list[str]:
    return [name for name in names if not name.startswith(".") and name != "__MACOSX"]
