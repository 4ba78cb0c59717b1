"""Probability maps on disk: at the net's own resolution, 8 bits each, PNG by PNG in zip shards.

    maps/test/00000.zip         <id>.png (one class) or <id>.<k>.png (the k-th of several), manifest.json
    maps/oof/fold0/00000.zip    out-of-fold maps: a folder a fold, as each fold has a net of its own

A shard appears under its name only when it is whole, and equal maps give equal bytes. Its manifest says what made it.
Readers take any one map without reading the others; a store is filled, gone on with, and checked for its origin.
"""

import logging
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from unets.config import Config
from unets.data.files import read_bytes
from unets.data.geometry import SizeHW
from unets.data.io import decode_png, encode_png
from unets.data.samples import Sample
from unets.errors import InputError, naming
from unets.store.runs import atomic_path, fingerprint

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
_SHARD_NAME = re.compile(r"\d{5,}\.zip")


def from_u8(probs_u8: npt.NDArray[np.uint8], weight: float = 1.0) -> npt.NDArray[np.float32]:
    """Gives 8-bit probabilities, round(255 p), times `weight` as float32; the rounding is at most 1/510."""
    return np.asarray(probs_u8 * np.float32(weight / 255), dtype=np.float32)


class ShardRecord(Config):
    """What a shard holds and what made it."""

    nets: dict[str, str]  # whose mean the maps are: fingerprint of each fold's net, with its config and flips
    made_with: dict[str, str]  # backend, versions, precision: what of a machine changes bits of the same maps
    classes: tuple[str, ...]
    size_hw: SizeHW
    ids: tuple[str, ...]
    images: tuple[str, ...]  # hash of each image's bytes; () where they are not known


def join_nets(nets: Mapping[str, str]) -> str:
    """Returns one fingerprint of the nets whose mean maps are, from that of each fold's."""
    return fingerprint(nets=dict(nets))


class EncodedMap(NamedTuple):
    """A map as a shard holds it: compressed, so that a shard's worth of them is small."""

    size_hw: SizeHW
    pngs: tuple[bytes, ...]  # one a class


def encode_map(probs_u8_hwc: npt.NDArray[np.uint8]) -> EncodedMap:
    """Compresses a map, uint8 (height, width, classes), 0..255 for a probability of 0..1."""
    height, width, _ = probs_u8_hwc.shape
    return EncodedMap((height, width), tuple(map(encode_png, np.moveaxis(probs_u8_hwc, -1, 0))))


def shard_path(folder: Path, index: int) -> Path:
    """Returns the path of the shard of that number."""
    return folder / f"{index:05d}.zip"


def write_shard(
    folder: Path,
    index: int,
    *,
    nets: Mapping[str, str],
    classes: Sequence[str],
    maps: Iterable[tuple[str, EncodedMap]],
    made_with: Mapping[str, str] = MappingProxyType({}),
    images: Sequence[str] = (),
) -> Path:
    """Writes a shard, map by map as they come, and puts it in place when it is whole.

    Maps are (id, map as `encode_map` gives it), one or more, all of one size; for the rest see `ShardRecord`. Returns
    the path.
    """
    path, ids, size_hw = shard_path(folder, index), list[str](), (0, 0)
    # Contested: a worker of a cluster that lost its client goes on, and may meet the one that makes the shard again.
    with (
        atomic_path(path, is_contested=True) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as shard,
    ):
        for id_, encoded in maps:
            size_hw = encoded.size_hw
            ids.append(id_)
            for name, png in zip(_member_names(id_, classes), encoded.pngs, strict=True):
                _write_member(shard, name, png)
        made = {"nets": dict(nets), "made_with": dict(made_with), "classes": tuple(classes), "size_hw": size_hw}
        record = ShardRecord(**made, ids=tuple(ids), images=tuple(images))
        _write_member(shard, MANIFEST, record.to_json().encode())
    return path


def check_shard(path: Path) -> ShardRecord:
    """Reads a shard whole; raises InputError where a byte is damaged, or a map that its record names is missing."""
    with naming(path, "be a whole shard of maps"), zipfile.ZipFile(path) as shard:
        if damaged := shard.testzip():
            raise ValueError(f"member {damaged} is damaged")
        record = ShardRecord.model_validate_json(shard.read(MANIFEST))
        names = set(shard.namelist())
    expected = {MANIFEST, *(name for id_ in record.ids for name in _member_names(id_, record.classes))}
    if names != expected:
        raise InputError(
            f"{path} must hold the maps of its manifest. Received: {sorted(names ^ expected)[:4]} too many or too few"
        )
    return record


def list_shards(folder: Path) -> list[Path]:
    """Lists the shards in a folder and its folders of folds, by fold and number; other files are passed over."""
    found = [path for path in (*folder.glob("*.zip"), *folder.glob("fold*/*.zip")) if _SHARD_NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: (len(path.parent.name), path))


@dataclass(kw_only=True)
class MapReader:
    """Reads single maps of a store; a worker gets `reader.select(ids)`, which knows the way to these alone."""

    folder: Path
    nets: dict[str, str]  # of all shards
    classes: tuple[str, ...]
    size_hw: SizeHW
    shard_of: dict[str, str]  # of each id, below the folder
    hash_of: dict[str, str]  # of the image of each id, see `Sample.image_hash`; none where it is not known

    @property
    def fingerprint(self) -> str:
        """Of all nets together; see `join_nets`."""
        return join_nets(self.nets)

    @property
    def ids(self) -> tuple[str, ...]:
        """All ids, in the order of the shards."""
        return tuple(self.shard_of)

    def select(self, ids: Iterable[str]) -> "MapReader":
        """Returns a reader of some of the ids; raises InputError where there is no map of one."""
        return replace(self, shard_of={id_: self._find(id_) for id_ in ids}, hash_of={})

    def check_samples(self, samples: Iterable[Sample]) -> None:
        """Raises InputError where a map of an image is missing, or of other bytes than the image has; reads none."""
        for sample in samples:
            self._find(sample.id)
            if self.hash_of.get(sample.id, sample.image_hash) != sample.image_hash:
                raise InputError(
                    f"{self.folder} must hold maps of the present images. Received: one of other bytes than those of "
                    f"{sample.image}, which changed since. {_how_to_make(self.folder)}"
                )

    def read_map(self, id_: str) -> npt.NDArray[np.uint8]:
        """Reads one map, uint8 (height, width, classes), 0..255; raises InputError where it is missing or damaged."""
        path = self.folder / self._find(id_)
        return np.stack([self._read_layer(path, name) for name in _member_names(id_, self.classes)], axis=-1)

    def _find(self, id_: str) -> str:
        if id_ not in self.shard_of:
            raise InputError(
                f"{self.folder} must hold a map of {id_}. Received: {len(self.shard_of)} maps without it. "
                f"{_how_to_make(self.folder)}"
            )
        return self.shard_of[id_]

    def _read_layer(self, path: Path, name: str) -> npt.NDArray[np.uint8]:
        with naming(path, f"hold the whole map {name}", remedy=_how_to_make(path)):
            try:
                layer = decode_png(read_bytes(path / name))
            except InputError as error:
                raise ValueError(error) from error
            if layer is None or layer.shape != self.size_hw:
                raise ValueError("no 8-bit PNG" if layer is None else f"one of size {layer.shape}")
        return layer


def open_maps(folder: Path) -> MapReader:
    """Opens a store: reads the manifests of all shards, no map.

    Raises InputError where there are no shards, one is damaged, they differ in classes, size or a fold's net, or an id
    is in two of them.
    """
    paths = list_shards(folder)
    if not paths:
        raise InputError(f"{folder} must hold shards of maps. Received: none. {_how_to_make(folder)}")
    records, first_of = list(map(read_record, paths)), dict[Path, ShardRecord]()
    first, nets, shard_of, hash_of = records[0], dict[str, str](), dict[str, str](), dict[str, str]()
    for path, record in zip(paths, records, strict=True):
        beside = first_of.setdefault(path.parent, record)
        other = beside if (record.classes, record.size_hw) == (first.classes, first.size_hw) else first
        if describe_maps(record) != describe_maps(other):
            raise InputError(
                f"{folder} must hold maps of one origin. Received: {describe_maps(other)}; in {path.name} "
                f"{describe_maps(record)}. Delete the folder. {_how_to_make(folder)}"
            )
        nets |= record.nets
        hash_of |= dict(zip(record.ids, record.images, strict=False))
        shard = str(path.relative_to(folder))
        for id_ in record.ids:
            if shard_of.setdefault(id_, shard) != shard:
                raise InputError(
                    f"{folder} must hold one map of {id_}. Received: one in {shard_of[id_]}, one in {shard}. "
                    f"Delete the folder. {_how_to_make(folder)}"
                )
    classes, size_hw = first.classes, first.size_hw
    return MapReader(folder=folder, nets=nets, classes=classes, size_hw=size_hw, shard_of=shard_of, hash_of=hash_of)


def read_record(path: Path) -> ShardRecord:
    """Reads what a shard holds and what made it; raises InputError where it is damaged."""
    with naming(path, f"hold a whole {MANIFEST}", remedy=_how_to_make(path)), zipfile.ZipFile(path) as shard:
        return ShardRecord.model_validate_json(shard.read(MANIFEST))


def describe_maps(record: ShardRecord) -> str:
    """Says what made the maps of a shard, for errors; equal where one and the same made them."""
    height, width = record.size_hw
    nets = [f"fold {fold} of {net}" for fold, net in record.nets.items()]
    made_with = [f"{key} {value}" for key, value in record.made_with.items()]
    return f"{', '.join(nets)} ({', '.join([f'{height} x {width}', *record.classes, *made_with])})"


@dataclass(frozen=True, kw_only=True, slots=True)
class MapStore:
    """A folder of maps with TTA and, for out-of-fold maps, one of those without it; both have the same shards."""

    folder: Path
    nets: dict[str, str]  # whose mean the maps are: fingerprint of each fold's net
    classes: tuple[str, ...]
    size_hw: SizeHW
    command: str  # that replaces maps of another origin, for errors
    no_tta_folder: Path | None = None

    @property
    def folders(self) -> list[Path]:
        """Both, the main one last: a shard is there when that has it."""
        return [folder for folder in (self.no_tta_folder, self.folder) if folder is not None]

    def has(self, index: int) -> bool:
        """Tells whether the shard of that number is there; `find_missing` has deleted those that are not right."""
        return shard_path(self.folder, index).exists()

    def find_missing(self, plan: Sequence[tuple[Sample, ...]], *, force: bool = False) -> dict[int, tuple[Sample, ...]]:
        """Lists the planned shards that must be made, and deletes what is there in their place. Reads every byte.

        A shard must be made where either folder lacks it, it is damaged, it holds other images than planned, or it
        comes from some of the nets only. Returns the images of these by their numbers, ascending. Raises InputError
        where a shard is whole, but other nets made it, and `force` does not say to make it again; nothing is deleted
        then.
        """
        missing, surplus = set[int](), list[Path]()
        for folder in self.folders:
            wrong = (i for i, samples in enumerate(plan) if not self._is_right(shard_path(folder, i), samples, force))
            missing.update(wrong)
            # A worker that lost its client and still writes a part fails at its end: nobody waits for it.
            surplus += folder.glob(".part-*.zip")
            surplus += (path for path in list_shards(folder) if int(path.stem) >= len(plan))
        for path in (*surplus, *(shard_path(folder, index) for folder in self.folders for index in missing)):
            path.unlink(missing_ok=True)
        return {index: plan[index] for index in sorted(missing)}

    def check_made_with(self, made_with: Mapping[str, str]) -> None:
        """Raises InputError where what is there was made with other arithmetic than this machine's.

        One half of the maps would differ from the other by more than their images.
        """
        for path in list_shards(self.folder)[:1]:  # all that are there agree
            there = read_record(path).made_with
            differing = sorted(key for key in {*there, *made_with} if there.get(key) != made_with.get(key))
            if differing:
                found, here = ([f"{key} {of.get(key, 'none')}" for key in differing] for of in (there, made_with))
                raise InputError(
                    f"{self.folder} must be gone on with as it was begun, with {', '.join(found)}. Received: "
                    f"{', '.join(here)}. Delete the folder, or go on with the former"
                )

    def write(
        self, index: int, samples: Sequence[Sample], maps: Sequence[Sequence[EncodedMap]], made_with: Mapping[str, str]
    ) -> None:
        """Writes a shard into each folder: of each image the maps are one a folder, in the order of `folders`."""
        self.check_made_with(made_with)  # another worker of a cluster may have begun the store meanwhile
        nets, classes = self.nets, self.classes
        images = [sample.image_hash for sample in samples]
        for position, folder in enumerate(self.folders):
            own = ((sample.id, of_folders[position]) for sample, of_folders in zip(samples, maps, strict=True))
            write_shard(folder, index, nets=nets, classes=classes, maps=own, images=images, made_with=made_with)

    def _is_right(self, path: Path, samples: Sequence[Sample], force: bool) -> bool:
        if not path.is_file():
            return False
        try:
            record = check_shard(path)
        except InputError as error:
            logger.warning("%s; it is made again", error)
            return False
        ids, images = zip(*((sample.id, sample.image_hash) for sample in samples), strict=True)
        about = {"nets": self.nets, "classes": self.classes, "size_hw": self.size_hw, "ids": ids, "images": images}
        wanted = record.model_copy(update=about)
        if record == wanted:
            return True
        is_part = record.nets.items() < self.nets.items()
        if not (force or is_part) and describe_maps(record) != describe_maps(wanted):
            raise InputError(
                f"{path} must hold maps of {describe_maps(wanted)}. Received: maps of {describe_maps(record)}. "
                f"{self.command} replaces them"
            )
        logger.info("%s holds %s; it is made again", path, "maps of some folds" if is_part else "other maps")
        return False


def _member_names(id_: str, classes: Sequence[str]) -> list[str]:
    # Numbers, not names: these may hold dots and slashes, and `a.1` of `x` would be `a` of `1.x`.
    return [f"{id_}.png"] if len(classes) == 1 else [f"{id_}.{k}.png" for k in range(1, len(classes) + 1)]


def _write_member(shard: zipfile.ZipFile, name: str, content: bytes) -> None:
    # Zip stores a time and the system that wrote it: both fixed, so that equal maps give equal bytes.
    member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    member.create_system, member.external_attr = 3, 0o644 << 16
    shard.writestr(member, content)


def _how_to_make(path: Path) -> str:
    """Names the command that makes the maps below `.../<experiment>/maps`."""
    parts = path.parts
    experiment = f" --exp {parts[parts.index('maps') - 1]}" if "maps" in parts[1:] else ""
    return f"Run `unets predict{experiment}`"
