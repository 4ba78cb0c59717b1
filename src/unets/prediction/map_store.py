"""Where the maps of one kind go: a folder of shards, which is filled, gone on with, and checked for its origin."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unets.data.geometry import SizeHW
from unets.data.samples import Sample
from unets.errors import InputError
from unets.prediction.maps import (
    EncodedMap,
    ShardRecord,
    check_shard,
    describe_maps,
    list_shards,
    read_record,
    shard_path,
    write_shard,
)

logger = logging.getLogger(__name__)


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
        comes from some of the nets only. Returns the images of these by their numbers, ascending.

        Raises:
            InputError: a shard is whole, but other nets made it, and `force` does not say to make it again.
        """
        missing = set[int]()
        for folder in self.folders:
            # A worker that lost its client and still writes one of these fails at its end: nobody waits for it.
            surplus = [path for path in list_shards(folder) if int(path.stem) >= len(plan)]
            for path in (*folder.glob(".part-*.zip"), *surplus):
                path.unlink(missing_ok=True)
            for index, samples in enumerate(plan):
                if not self._is_right(shard_path(folder, index), samples, force):
                    missing.add(index)
        for folder in self.folders:
            for index in missing:
                shard_path(folder, index).unlink(missing_ok=True)
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
        self,
        index: int,
        samples: Sequence[Sample],
        maps: Sequence[Sequence[EncodedMap]],
        *,
        made_with: Mapping[str, str],
    ) -> None:
        """Writes a shard into each folder: of each image the maps are one a folder, in the order of `folders`."""
        self.check_made_with(made_with)  # another worker of a cluster may have begun the store meanwhile
        for position, folder in enumerate(self.folders):
            write_shard(
                folder,
                index,
                nets=self.nets,
                classes=self.classes,
                maps=((sample.id, of_folder[position]) for sample, of_folder in zip(samples, maps, strict=True)),
                made_with=made_with,
                images=[sample.image_hash for sample in samples],
            )

    def _is_right(self, path: Path, samples: Sequence[Sample], force: bool) -> bool:
        if not path.is_file():
            return False
        try:
            record = check_shard(path)
        except InputError as error:
            logger.warning("%s; it is made again", error)
            return False
        wanted = ShardRecord(
            nets=self.nets,
            made_with=record.made_with,
            classes=self.classes,
            size_hw=self.size_hw,
            ids=tuple(sample.id for sample in samples),
            images=tuple(sample.image_hash for sample in samples),
        )
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
