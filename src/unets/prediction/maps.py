"""Maps on disk: a net's probabilities at its own resolution, 8 bits each, PNG by PNG in zip shards.

    maps/test/00000.zip     <id>.png (one class) or <id>.<class>.png (several), and manifest.json
    maps/test/00001.zip     ...

A shard appears under its name only when it is whole, and equal maps give equal bytes. Its manifest says what made it.
Readers take any one map without reading the others.
"""

import json
import logging
import re
import struct
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt

from unets.data.geometry import SizeHW
from unets.data.io import decode_png, encode_png
from unets.errors import InputError
from unets.store.runs import atomic_path

logger = logging.getLogger(__name__)

Photo = TypeVar("Photo")

MANIFEST = "manifest.json"
_SHARD_NAME = re.compile(r"\d{5,}\.zip")
# What `zipfile` raises over damaged bytes, according to which byte it is.
_DAMAGE = (zipfile.BadZipFile, EOFError, KeyError, NotImplementedError, OSError, RuntimeError, ValueError, struct.error)
_OPEN_SHARDS = 4  # file handles a reader keeps


def to_u8(probs: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Rounds probabilities 0..1 to 8 bits, round(255 p); any shape."""
    return np.asarray(np.rint(probs * np.float32(255)), dtype=np.uint8)


def from_u8(probs_u8: npt.NDArray[np.uint8], weight: float = 1.0) -> npt.NDArray[np.float32]:
    """Gives 8-bit probabilities back as float32 0..1; the inverse of `to_u8` but for the rounding, at most 1/510.

    Args:
        probs_u8: uint8, any shape.
        weight: that they are multiplied with, in the same pass.
    """
    return np.asarray(probs_u8 * np.float32(weight / 255), dtype=np.float32)


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What a shard holds and what made it."""

    fingerprint: str  # of all that decides the maps: config, weights, views
    made_with: dict[str, str]  # backend, versions, precision: what of a machine changes bits of the same maps
    classes: tuple[str, ...]
    size_hw: SizeHW
    ids: tuple[str, ...]

    def to_json(self) -> str:
        """Returns the fields as JSON."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__}, indent=1)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Reads what `to_json` wrote.

        Raises:
            ValueError: it is something else.
        """
        content: Any = json.loads(text)
        if not isinstance(content, dict) or set(content) != set(cls.__slots__):
            raise ValueError(f"{MANIFEST} must hold {', '.join(cls.__slots__)}")
        height, width = content["size_hw"]
        return cls(
            fingerprint=content["fingerprint"],
            made_with=content["made_with"],
            classes=tuple(content["classes"]),
            size_hw=(height, width),
            ids=tuple(content["ids"]),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedMap:
    """A map as a shard holds it: compressed, so that a shard's worth of them is small."""

    size_hw: SizeHW
    pngs: tuple[bytes, ...]  # one a class


def encode_map(probs_u8_hwc: npt.NDArray[np.uint8]) -> EncodedMap:
    """Compresses a map.

    Args:
        probs_u8_hwc: uint8 (height, width, classes), 0..255 for a probability of 0..1.
    """
    if probs_u8_hwc.dtype != np.uint8 or probs_u8_hwc.ndim != 3:
        raise ValueError(
            f"`probs_u8_hwc` must be uint8 (height, width, classes). "
            f"Received: {probs_u8_hwc.dtype} {probs_u8_hwc.shape}"
        )
    height, width, _ = probs_u8_hwc.shape
    pngs = tuple(encode_png(probs_u8_hw) for probs_u8_hw in np.moveaxis(probs_u8_hwc, -1, 0))
    return EncodedMap(size_hw=(height, width), pngs=pngs)


def split_shards(photos: Sequence[Photo], shard_size: int) -> list[tuple[Photo, ...]]:
    """Deals photos (or their ids), in their order, to shards of `shard_size`; the last may be smaller."""
    return [tuple(photos[start : start + shard_size]) for start in range(0, len(photos), shard_size)]


def shard_path(folder: Path, index: int) -> Path:
    """Returns the path of the shard of that number."""
    return folder / f"{index:05d}.zip"


def write_shard(
    folder: Path,
    index: int,
    *,
    fingerprint: str,
    classes: Sequence[str],
    maps: Iterable[tuple[str, EncodedMap]],
    made_with: Mapping[str, str] = MappingProxyType({}),
) -> Path:
    """Writes a shard, map by map as they come, and puts it in place when it is whole.

    Args:
        folder: of the store; made where it is missing.
        index: number of the shard.
        fingerprint: of what made the maps.
        classes: names of the foreground classes.
        maps: (id, map as `encode_map` gives it), all of one size.
        made_with: the machine's part in their bits, in words by what it is.

    Returns:
        The shard's path.
    """
    path, ids, size_hw = shard_path(folder, index), dict[str, None](), None
    # Contested: a worker of a cluster that lost its client goes on, and may meet the one that makes the shard again.
    with (
        atomic_path(path, is_contested=True) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as shard,
    ):
        for id_, encoded in maps:
            size_hw = size_hw or encoded.size_hw
            if id_ in ids or encoded.size_hw != size_hw:
                raise ValueError(f"`maps` must be of one size, each id once. Received: {id_} of {encoded.size_hw}")
            ids[id_] = None
            for name, png in zip(_member_names(id_, classes), encoded.pngs, strict=True):
                _write_member(shard, name, png)
        if size_hw is None:
            raise ValueError("`maps` must be at least one. Received: none")
        manifest = Manifest(
            fingerprint=fingerprint,
            made_with=dict(made_with),
            classes=tuple(classes),
            size_hw=size_hw,
            ids=tuple(ids),
        )
        _write_member(shard, MANIFEST, manifest.to_json().encode())
    return path


def drop_unfinished(folder: Path) -> None:
    """Deletes what a kill left of shards that were being written; the folder may be missing.

    A worker of a lost client that still writes one fails at its end: nobody waits for it.
    """
    for path in folder.glob(".part-*.zip"):
        path.unlink(missing_ok=True)


def find_missing_shards(
    folder: Path,
    shards: Sequence[Sequence[str]],
    *,
    fingerprint: str,
    classes: Sequence[str],
    size_hw: SizeHW,
    start_anew: str,
) -> list[int]:
    """Finds which planned shards must still be made: those absent, damaged, or of other ids. Reads every byte.

    Args:
        folder: of the store; it may be missing.
        shards: the plan, ids by shard (see `split_shards`).
        fingerprint: of what is to make the maps.
        classes: names of the foreground classes.
        size_hw: (height, width) of the maps.
        start_anew: the command that does away with what is there, for the error.

    Returns:
        Numbers of shards, ascending.

    Raises:
        InputError: a shard is whole, but something else made it; or there are more shards than planned.
    """
    missing = []
    for index, ids in enumerate(shards):
        path = shard_path(folder, index)
        if not path.is_file():
            missing.append(index)
            continue
        try:
            manifest = check_shard(path)
        except InputError as error:
            logger.warning("%s; it is made again", error)
            missing.append(index)
            continue
        expected = replace(manifest, fingerprint=fingerprint, classes=tuple(classes), size_hw=size_hw)
        if manifest != expected:
            raise InputError(
                f"{path} must hold maps of {_describe(expected)}. Received: maps of {_describe(manifest)}. "
                f"Start anew with {start_anew}"
            )
        if manifest.ids != tuple(ids):
            logger.info("%s holds other photos than planned; it is made again", path)
            missing.append(index)
    surplus = list_shards(folder)[len(shards) :]
    if surplus:
        raise InputError(
            f"{folder} must hold no more than {len(shards)} shards. Received: also {surplus[0].name}. "
            f"Start anew with {start_anew}"
        )
    return missing


def check_shard(path: Path) -> Manifest:
    """Reads a shard whole and returns its manifest.

    Raises:
        InputError: a byte of it is damaged, or a map that the manifest names is missing.
    """
    try:
        with zipfile.ZipFile(path) as shard:
            damaged = shard.testzip()
            manifest = Manifest.from_json(shard.read(MANIFEST))
            names = set(shard.namelist())
    except _DAMAGE as error:
        raise InputError(f"{path} must be a whole shard of maps. Received: {error}") from error
    if damaged is not None:
        raise InputError(f"{path} must be a whole shard of maps. Received: member {damaged} is damaged")
    expected = {MANIFEST, *(name for id_ in manifest.ids for name in _member_names(id_, manifest.classes))}
    if names != expected:
        raise InputError(
            f"{path} must hold the maps of its manifest. Received: {sorted(names ^ expected)[:4]} too many or too few"
        )
    return manifest


def check_made_with(folder: Path, made_with: Mapping[str, str], *, start_anew: str) -> None:
    """Checks that what is there of a store was made as the rest would be made here; of a whole store, nobody asks.

    Args:
        folder: of the store; it may be missing.
        made_with: see `write_shard`.
        start_anew: the command that does away with what is there, for the error.

    Raises:
        InputError: it was not: half of the maps would differ from the other by more than their photos.
    """
    for path in list_shards(folder)[:1]:  # all that are there agree
        there = _read_manifest(path).made_with
        differing = sorted(key for key in {*there, *made_with} if there.get(key) != made_with.get(key))
        if differing:
            found, here = ([f"{key} {of.get(key, 'none')}" for key in differing] for of in (there, made_with))
            raise InputError(
                f"{folder} must be gone on with as it was begun, with {', '.join(found)}. Received: "
                f"{', '.join(here)}. Start anew with {start_anew}"
            )


def list_shards(folder: Path) -> list[Path]:
    """Lists the shards of a store in the order of their numbers; anything else in the folder is passed over."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _SHARD_NAME.fullmatch(path.name))


@dataclass(kw_only=True)
class MapReader:
    """Reads single maps of a store. Picklable: a worker process opens the shards anew.

    A task for a worker should carry `reader.select(ids)`, which knows the way to these ids alone.
    """

    folder: Path
    fingerprint: str  # of what made the maps, one for all shards
    classes: tuple[str, ...]
    size_hw: SizeHW
    shard_of: dict[str, int]  # number of the shard of each id
    _opened: dict[int, zipfile.ZipFile] = field(default_factory=dict, repr=False, compare=False)

    @property
    def ids(self) -> tuple[str, ...]:
        """All ids, in the order of the shards."""
        return tuple(self.shard_of)

    def select(self, ids: Iterable[str]) -> "MapReader":
        """Returns a reader of some of the ids: little to send to a worker.

        Raises:
            InputError: there is no map of an id.
        """
        return MapReader(
            folder=self.folder,
            fingerprint=self.fingerprint,
            classes=self.classes,
            size_hw=self.size_hw,
            shard_of={id_: self._find(id_) for id_ in ids},
        )

    def check_ids(self, ids: Iterable[str]) -> None:
        """Checks that there is a map of each id; reads none.

        Raises:
            InputError: there is no map of an id.
        """
        for id_ in ids:
            self._find(id_)

    def read_map(self, id_: str) -> npt.NDArray[np.uint8]:
        """Reads one map.

        Returns:
            probs_u8_hwc, uint8 (height, width, classes), 0..255 for a probability of 0..1.

        Raises:
            InputError: there is no such map, or it is damaged.
        """
        index = self._find(id_)
        layers = [self._read_layer(index, name) for name in _member_names(id_, self.classes)]
        return np.stack(layers, axis=-1)

    def close(self) -> None:
        """Closes the files; the next read opens them again."""
        while self._opened:
            self._opened.popitem()[1].close()

    def __getstate__(self) -> dict[str, Any]:
        """Leaves the open files behind."""
        return {**self.__dict__, "_opened": {}}

    def _find(self, id_: str) -> int:
        if id_ not in self.shard_of:
            raise InputError(
                f"{self.folder} must hold a map of {id_}. Received: {len(self.shard_of)} maps without it. "
                f"{_how_to_make(self.folder)}"
            )
        return self.shard_of[id_]

    def _read_layer(self, index: int, name: str) -> npt.NDArray[np.uint8]:
        path = shard_path(self.folder, index)
        try:
            content = self._open(index).read(name)
        except _DAMAGE as error:
            raise _damaged(path, name, str(error)) from error
        layer = decode_png(content)
        if layer is None or layer.shape != self.size_hw:
            raise _damaged(path, name, "no 8-bit PNG" if layer is None else f"of size {layer.shape}")
        return layer

    def _open(self, index: int) -> zipfile.ZipFile:
        if index not in self._opened:
            if len(self._opened) >= _OPEN_SHARDS:
                self._opened.pop(next(iter(self._opened))).close()
            self._opened[index] = zipfile.ZipFile(shard_path(self.folder, index))
        return self._opened[index]


def open_maps(folder: Path) -> MapReader:
    """Opens a store: reads the manifests of all shards, no map.

    Raises:
        InputError: there are no shards, one is damaged, they were not made by one and the same, or an id is in two.
    """
    paths = list_shards(folder)
    if not paths:
        raise InputError(f"{folder} must hold shards of maps. Received: none. {_how_to_make(folder)}")
    first = _read_manifest(paths[0])
    shard_of: dict[str, int] = {}
    for path in paths:
        manifest = _read_manifest(path)
        if replace(manifest, ids=first.ids) != first:
            raise InputError(
                f"{folder} must hold maps of one origin. Received: {paths[0].name} of {_describe(first)}, "
                f"{path.name} of {_describe(manifest)}. {_how_to_make(folder)} with ANEW=1"
            )
        for id_ in manifest.ids:
            if shard_of.setdefault(id_, int(path.stem)) != int(path.stem):
                raise InputError(
                    f"{folder} must hold one map of {id_}. Received: one in shard {shard_of[id_]:05d}, one in "
                    f"{path.name}. {_how_to_make(folder)} with ANEW=1"
                )
    return MapReader(
        folder=folder,
        fingerprint=first.fingerprint,
        classes=first.classes,
        size_hw=first.size_hw,
        shard_of=shard_of,
    )


def _read_manifest(path: Path) -> Manifest:
    try:
        with zipfile.ZipFile(path) as shard:
            return Manifest.from_json(shard.read(MANIFEST))
    except _DAMAGE as error:
        raise _damaged(path, MANIFEST, str(error)) from error


def _member_names(id_: str, classes: Sequence[str]) -> list[str]:
    return [f"{id_}.png"] if len(classes) == 1 else [f"{id_}.{name}.png" for name in classes]


def _write_member(shard: zipfile.ZipFile, name: str, content: bytes) -> None:
    # Zip stores a time and the system that wrote it: both fixed, so that equal maps give equal bytes.
    member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    member.create_system, member.external_attr = 3, 0o644 << 16
    shard.writestr(member, content)


def _damaged(path: Path, name: str, received: str) -> InputError:
    return InputError(f"{path} must be whole. Received: member {name} is damaged ({received}). {_how_to_make(path)}")


def _describe(manifest: Manifest) -> str:
    height, width = manifest.size_hw
    words = [f"{height} x {width}", *manifest.classes, *(f"{key} {value}" for key, value in manifest.made_with.items())]
    return f"{manifest.fingerprint} ({', '.join(words)})"


def _how_to_make(path: Path) -> str:
    """Names the command that makes the maps at `.../<experiment>/maps/<kind>[/<shard>]`."""
    parts = path.parts
    if "maps" not in parts[1:]:
        return "Run `make predict`"
    return f"Run `make predict EXP={parts[len(parts) - 1 - parts[::-1].index('maps') - 1]}`"
