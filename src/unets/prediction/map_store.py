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
    Manifest,
    check_shard,
    describe_origin,
    list_shards,
    read_manifest,
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
        """Lists the shards that must be made, and deletes what is there in their place. Reads every byte.

        A shard must be made where either folder lacks it, it is damaged, it holds other images than planned, or it
        comes from some of the nets only.

        Args:
            plan: the images of every shard of the store.
            force: make shards of another origin again, in place of an error.

        Returns:
            Images of the missing shards by their numbers, ascending.

        Raises:
            InputError: a shard is whole, but other nets made it.
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
        """Checks that what is there was made with the arithmetic of this machine.

        Raises:
            InputError: it was not: one half of the maps would differ from the other by more than their images.
        """
        for path in list_shards(self.folder)[:1]:  # all that are there agree
            there = read_manifest(path).made_with
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
        """Writes a shard into each folder.

        Args:
            index: number of the shard.
            samples: its images.
            maps: of each image one a folder, in the order of `folders`.
            made_with: see `write_shard`.
        """
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
            manifest = check_shard(path)
        except InputError as error:
            logger.warning("%s; it is made again", error)
            return False
        wanted = Manifest(
            nets=self.nets,
            made_with=manifest.made_with,
            classes=self.classes,
            size_hw=self.size_hw,
            ids=tuple(sample.id for sample in samples),
            images=tuple(sample.image_hash for sample in samples),
        )
        if manifest == wanted:
            return True
        is_part = manifest.nets.items() < self.nets.items()
        if not (force or is_part) and describe_origin(manifest) != describe_origin(wanted):
            raise InputError(
                f"{path} must hold maps of {describe_origin(wanted)}. Received: maps of {describe_origin(manifest)}. "
                f"{self.command} replaces them"
            )
        logger.info("%s holds %s; it is made again", path, "maps of some folds" if is_part else "other maps")
        return False
