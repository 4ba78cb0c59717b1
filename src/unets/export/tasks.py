"""Which images are meant, and what the files made of each are called."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from unets.data.image import list_suffixes
from unets.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """An image and the files that are to be made of it."""

    image_path: Path
    place: Path  # of its files below the output folder, without an ending
    outputs: tuple[Path, ...]  # the masks last: where they are, all are


def plan_tasks(given: Sequence[Path], out_dir: Path, endings: Sequence[str]) -> list[Task]:
    """Lists the images and names their outputs.

    A folder stands for all images in it and below, by the endings of their names; names that begin with a dot, and
    `out_dir`, are passed over. Below `out_dir`, one folder's images keep their places in it; of several arguments, each
    folder gets one of its own name. Of two images of one name and different endings, both keep their ending.

    Args:
        given: images and folders.
        out_dir: where outputs go.
        endings: of the outputs' names, `_cutout.png`; those of masks last.

    Returns:
        One task an image, each once, in the order of the arguments, within a folder by name.

    Raises:
        InputError: an argument does not exist or a folder has no image; two images' outputs would have one name, or
            one would replace an image.
    """
    found: dict[Path, tuple[Path, Path]] = {}  # by the resolved path: the image, and its place with its own ending
    for path, place in _list_images(given, out_dir.resolve()):
        found.setdefault(path.resolve(), (path, place))
    stems = Counter(place.with_suffix("") for place in {place for _, place in found.values()})
    tasks, image_of = [], dict[Path, Path]()
    for path, place in found.values():
        stem = place.with_suffix("") if stems[place.with_suffix("")] == 1 else place
        outputs = tuple((out_dir / stem).with_name(stem.name + ending) for ending in endings)
        for output in outputs:
            if output.resolve() in found:
                raise InputError(f"`--out` must be another folder than that of the images. Received: {out_dir}")
            if (other := image_of.setdefault(output, path)) != path:
                raise InputError(
                    f"`images` must differ in the names of what is made of them. Received: {other} and {path}, both "
                    f"{output}. Give each a run with an --out of its own"
                )
        tasks.append(Task(image_path=path, place=stem, outputs=outputs))
    return tasks


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
