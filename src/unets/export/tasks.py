"""Which images are meant, and what the files made of each are called."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from unets.data.image import list_suffixes
from unets.errors import InputError

_MAX_STEM_BYTES = 220


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """An image and what is to be made of it."""

    image_path: Path
    mask_path: Path
    cutout_path: Path | None
    overlay_path: Path | None

    @property
    def outputs(self) -> tuple[Path, ...]:
        """The files that are to be there, the mask last: where it is, all are."""
        return tuple(path for path in (self.cutout_path, self.overlay_path, self.mask_path) if path is not None)


def plan_tasks(given: Sequence[Path], out_dir: Path, *, cutout: bool, overlay: bool) -> list[Task]:
    """Lists the images and names their outputs.

    A folder stands for all images in it and below, by the endings of their names; names that begin with a dot, and
    `out_dir`, are passed over. Below `out_dir`, one folder's images keep their places in it; of several arguments, each
    folder gets one of its own name. `<name>.png` is the mask, `<name>_cutout.png` and `<name>_overlay.jpg` the rest;
    of two images of one name and different endings, both keep their ending. A name that is too long is shortened.

    Args:
        given: images and folders.
        out_dir: where outputs go.
        cutout: whether cut-outs are wanted.
        overlay: whether overlays are wanted.

    Returns:
        One task an image, each once, in the order of the arguments, within a folder by name.

    Raises:
        InputError: an argument does not exist or a folder has no image; two images' outputs would have one name.
    """
    found: dict[Path, Path] = {}  # image: its place below `out_dir`
    seen: set[Path] = set()
    for path, place in _list_images(given, out_dir.resolve()):
        if (resolved := path.resolve()) not in seen:
            seen.add(resolved)
            found[path] = place
    stems = Counter(place.with_suffix("") for place in set(found.values()))
    tasks, image_of = [], dict[Path, Path]()
    for path, place in found.items():
        stem = _shorten(place.with_suffix("") if stems[place.with_suffix("")] == 1 else place)
        task = Task(
            image_path=path,
            mask_path=_append(out_dir / stem, ".png"),
            cutout_path=_append(out_dir / stem, "_cutout.png") if cutout else None,
            overlay_path=_append(out_dir / stem, "_overlay.jpg") if overlay else None,
        )
        for output in task.outputs:
            if output.resolve() in seen:
                raise InputError(f"`--out` must be another folder than that of the images. Received: {out_dir}")
            other = image_of.setdefault(output, path)
            if other != path:
                raise InputError(
                    f"`images` must differ in the names of what is made of them. Received: {other} and {path}, both "
                    f"{output}. Give each a run with an --out of its own"
                )
        tasks.append(task)
    return tasks


def _shorten(stem: Path) -> Path:
    """Returns a stem whose endings and temporary names fit into the 255 bytes that file systems take."""
    if len(os.fsencode(stem.name)) <= _MAX_STEM_BYTES:
        return stem
    digits = hashlib.sha256(os.fsencode(stem.name)).hexdigest()[:8]
    return stem.with_name(stem.name[: _MAX_STEM_BYTES // 4 - 9] + f"~{digits}")


def _append(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _list_images(given: Sequence[Path], out_dir: Path) -> Iterator[tuple[Path, Path]]:
    """Yields (image, its place below `out_dir`)."""
    for path in given:
        if path.is_dir():
            images = sorted(_walk(path, out_dir))
            if not images:
                raise InputError(f"`images` must be images, or folders with some. Received: {path}, a folder with none")
            name = Path(path.resolve().name) if len(given) > 1 else Path()
            yield from ((image, name / image.relative_to(path)) for image in images)
        elif path.is_file():
            yield path, Path(path.name)
        else:
            raise InputError(f"`images` must be images, or folders with some. Received: {path}, which does not exist")


def _walk(folder: Path, out_dir: Path) -> Iterator[Path]:
    suffixes = list_suffixes()
    for parent, folders, names in os.walk(folder):
        here = Path(parent)
        folders[:] = [name for name in _drop_hidden(folders) if (here / name).resolve() != out_dir]
        if here.resolve() == out_dir:  # masks beside their images would be taken for images the next time
            raise InputError(f"`--out` must be another folder than that of the images. Received: {folder}")
        yield from (here / name for name in _drop_hidden(names) if Path(name).suffix.lower() in suffixes)


def _drop_hidden(names: Iterable[str]) -> list[str]:
    return [name for name in names if not name.startswith(".") and name != "__MACOSX"]
