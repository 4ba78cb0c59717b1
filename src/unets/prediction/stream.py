"""Photos stream to maps in shards: each is read once, whatever the number of nets of its size that look at it.

    files -> readers -> batches -> nets -> writers -> shards
             threads               one     threads    one behind

Each stage works ahead of the next within a bound, so memory does not grow with the number of photos. How many read and
write at once follows from what the first seconds show.
"""

import logging
import math
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice, tee
from pathlib import Path
from typing import Self, TypeVar

import keras
import numpy as np
import numpy.typing as npt

from unets.config import ExperimentConfig
from unets.data.geometry import SizeHW
from unets.data.samples import Sample, read_photo
from unets.log import show_progress
from unets.nets.backend import describe_arithmetic
from unets.nets.predictor import Predictor
from unets.prediction.loading import load_predictor, predict_batch
from unets.prediction.maps import (
    EncodedMap,
    check_made_with,
    drop_unfinished,
    encode_map,
    find_missing_shards,
    shard_path,
    split_shards,
    write_shard,
)
from unets.workers.cluster import find_cluster
from unets.workers.machine import count_cores
from unets.workers.pool import Crew, map_ahead, run_tasks

logger = logging.getLogger(__name__)

_RUNS = 4  # of shards, a GPU of a cluster
_TRIAL_SECONDS = 2.0  # that are measured before the number of threads is chosen
_SLACK = 1.5  # threads beyond what the mean photo asks for: photos differ
_READERS = 4  # a core at most, where files are waited for

T = TypeVar("T")
ImageU8 = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True)
class Store:
    """Where maps of one kind go: the mean over all views and, for out-of-fold maps, the first view alone."""

    folder: Path
    no_tta_folder: Path | None
    fingerprint: str
    classes: tuple[str, ...]
    size_hw: SizeHW
    start_anew: str  # the command, for errors

    @property
    def folders(self) -> list[Path]:
        """Both, the main one last: a shard is there when that has it."""
        return [folder for folder in (self.no_tta_folder, self.folder) if folder is not None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Maker:
    """An experiment's nets, and the store that their mean fills."""

    name: str  # of the experiment
    experiment: ExperimentConfig
    weights_paths: tuple[Path, ...]  # of one fold or several
    store: Store


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """Shards that a maker is to make."""

    maker: Maker
    shards: Mapping[int, tuple[Sample, ...]]  # photos, by the number of the shard


@dataclass(frozen=True, kw_only=True, slots=True)
class _Shard:
    """Some photos, and who makes maps of them: (place of the maker, number of the shard in its store)."""

    samples: tuple[Sample, ...]
    places: tuple[tuple[int, int], ...]


def take_stock(store: Store, plan: Sequence[tuple[Sample, ...]]) -> dict[int, tuple[Sample, ...]]:
    """Lists the shards that a store still needs, and deletes damaged ones and what a kill left half-written.

    Reads every byte. A shard is needed where either folder lacks it.

    Args:
        store: where they should be.
        plan: the photos of every shard of the store.

    Returns:
        Photos of the missing shards by their numbers, ascending.

    Raises:
        InputError: the store holds maps of another origin.
    """
    ids = [[sample.id for sample in samples] for samples in plan]
    missing: set[int] = set()
    for folder in store.folders:
        drop_unfinished(folder)
        missing |= set(
            find_missing_shards(
                folder,
                ids,
                fingerprint=store.fingerprint,
                classes=store.classes,
                size_hw=store.size_hw,
                start_anew=store.start_anew,
            )
        )
    for folder in store.folders:
        for index in missing:  # damaged or of other ids: from here on, a shard that exists is right
            shard_path(folder, index).unlink(missing_ok=True)
    return {index: plan[index] for index in sorted(missing)}


def order_all(maker: Maker, samples: Sequence[Sample]) -> Order:
    """Orders what is missing of a store that holds the maps of some photos; see `take_stock`."""
    plan = split_shards(samples, maker.experiment.prediction.shard_size)
    return Order(maker=maker, shards=take_stock(maker.store, plan))


def make_maps(orders: Sequence[Order], *, what: str) -> None:
    """Makes shards, reading each photo once for all orders of its size.

    Args:
        orders: of the same photos; what is there already is left out.
        what: which photos, behind the experiments' names before the progress bar.

    Raises:
        InputError: a photo or weights cannot be read.
    """
    together: dict[object, list[Order]] = defaultdict(list)
    for order in orders:
        if order.shards:
            experiment = order.maker.experiment
            together[experiment.data.size_hw, experiment.prediction.shard_size].append(order)
        else:
            logger.info("%s %s: all maps are there", order.maker.name, what)
    for some in together.values():
        _make_together(some, what)


def _make_together(orders: Sequence[Order], what: str) -> None:
    """Makes the shards of orders of one size, which have the same photos where they are of the same photos at all."""
    makers = [order.maker for order in orders]
    places_of: dict[tuple[Sample, ...], list[tuple[int, int]]] = defaultdict(list)
    for place, order in enumerate(orders):
        for index, samples in order.shards.items():
            places_of[samples].append((place, index))
    shards = [_Shard(samples=samples, places=tuple(places)) for samples, places in places_of.items()]
    what = f"{', '.join(maker.name for maker in makers)} {what}"
    make = partial(make_shards, makers, what)
    cluster = find_cluster()
    if cluster is None:
        make(shards)
        return
    # A run loads its nets once; some runs a GPU, so that a slow one, or one that is lost, is not waited for.
    runs = split_shards(shards, -(-len(shards) // (_RUNS * cluster.count_gpus())))
    for _ in run_tasks(make, runs, what=what, unit="run", on_gpu=True):
        pass


def make_shards(makers: Sequence[Maker], what: str, shards: Sequence[_Shard]) -> None:
    """Makes a run of shards, those that are not there: all stages overlap from the first photo to the last."""
    todo = list(_leave_out_made(makers, shards))
    if not todo:
        return
    # Looked at again when it is its turn: workers that lost their client go on with the shards they have.
    to_read, to_predict, to_write = tee(_leave_out_made(makers, todo), 3)
    samples = (sample for shard in to_read for sample in shard.samples)
    places = sorted({place for shard in todo for place, _ in shard.places})
    size_hw = makers[places[0]].experiment.data.size_hw
    keras.utils.clear_session()  # nets of other folds
    arithmetic = {place: describe_arithmetic(makers[place].experiment.training.precision) for place in places}
    for place in places:
        store = makers[place].store
        check_made_with(store.folder, arithmetic[place], start_anew=store.start_anew)
    predictors = {place: _load(makers[place]) for place in places}
    batch_sizes = {place: makers[place].experiment.prediction.batch_size for place in places}
    crews, ahead = _Crews.form(), 2 * max(batch_sizes.values())

    def predict(batch: tuple[int, ImageU8]) -> list[tuple[int, tuple[ImageU8, ...]]]:
        place, images_nhwc = batch
        pairs = predict_batch(predictors[place], images_nhwc, makers[place].experiment.prediction)
        # (first view, mean): the former is kept out-of-fold only
        kept = len(makers[place].store.folders)
        return [(place, (first, mean)[-kept:]) for mean, first in pairs]

    def encode(layers: tuple[int, tuple[ImageU8, ...]]) -> tuple[int, list[EncodedMap]]:
        return layers[0], [encode_map(probs_u8_hwc) for probs_u8_hwc in layers[1]]

    images = map_ahead(lambda sample: read_photo(sample, size_hw), samples, workers=crews.readers, ahead=ahead)
    shown = show_progress(images, what=what, total=sum(len(shard.samples) for shard in todo), unit="photo")
    # In a thread of its own: while the net works on a batch, the next is stacked and the last one's maps are handed on.
    predicted = map_ahead(predict, _draw_batches(to_predict, batch_sizes, shown), workers=crews.nets, ahead=0)
    maps = (layers for batch in predicted for layers in batch)
    encoded = map_ahead(encode, maps, workers=crews.writers, ahead=ahead)
    finished = _gather(to_write, crews.settle(encoded, len(places)))
    for _ in map_ahead(
        lambda made: _write(makers[made[0]].store, arithmetic[made[0]], *made[1:]), finished, workers=1, ahead=0
    ):
        pass
    if crews.is_settled:  # of a shorter run, photos were read before the count began
        logger.info("%s: %s", what, crews.describe())


def _leave_out_made(makers: Sequence[Maker], shards: Iterable[_Shard]) -> Iterator[_Shard]:
    """Yields shards without the makers whose maps are there, as where another worker made them before it was lost."""
    for shard in shards:
        missing = [
            (place, index)
            for place, index in shard.places
            if not shard_path(makers[place].store.folder, index).exists()
        ]
        if missing:
            yield _Shard(samples=shard.samples, places=tuple(missing))


def _load(maker: Maker) -> Predictor:
    experiment = maker.experiment
    size_hw = experiment.prediction.tile_hw or experiment.data.size_hw
    return load_predictor(maker.weights_paths, experiment, size_hw, len(maker.store.classes))


def _draw_batches(
    shards: Iterable[_Shard], batch_sizes: Mapping[int, int], images: Iterator[ImageU8]
) -> Iterator[tuple[int, ImageU8]]:
    """Yields (place of a maker, its next photos); batches never cross shards, so that a shard made again after a kill
    has the same bytes.
    """
    for shard in shards:
        takers: dict[int, list[int]] = defaultdict(list)
        for place, _ in shard.places:
            takers[batch_sizes[place]].append(place)
        waiting: dict[int, list[ImageU8]] = {batch_size: [] for batch_size in takers}
        num_photos = len(shard.samples)
        for number, image_hwc in enumerate(islice(images, num_photos), start=1):
            for batch_size, taken in waiting.items():
                taken.append(image_hwc)
                if len(taken) == batch_size or number == num_photos:
                    images_nhwc = np.stack(taken)
                    taken.clear()
                    yield from ((place, images_nhwc) for place in takers[batch_size])


def _gather(
    shards: Iterable[_Shard], encoded: Iterator[tuple[int, list[EncodedMap]]]
) -> Iterator[tuple[int, int, tuple[Sample, ...], list[list[EncodedMap]]]]:
    """Yields (place of a maker, number of its shard, photos, maps) as soon as a shard's maps are all there."""
    for shard in shards:
        index_of, made = dict(shard.places), defaultdict[int, list[list[EncodedMap]]](list)
        for place, maps in islice(encoded, len(shard.samples) * len(shard.places)):
            made[place].append(maps)
            if len(made[place]) == len(shard.samples):
                yield place, index_of[place], shard.samples, made.pop(place)


def _write(
    store: Store,
    arithmetic: Mapping[str, str],
    index: int,
    samples: Sequence[Sample],
    maps: Sequence[Sequence[EncodedMap]],
) -> None:
    for position, folder in enumerate(store.folders):
        members = ((sample.id, layers[position]) for sample, layers in zip(samples, maps, strict=True))
        write_shard(
            folder,
            index,
            fingerprint=store.fingerprint,
            classes=store.classes,
            maps=members,
            made_with=arithmetic,
        )


@dataclass(kw_only=True)
class _Crews:
    """The threads of each stage. Their numbers follow from what the first seconds show."""

    readers: Crew
    nets: Crew
    writers: Crew
    num_photos: float = 0  # that came by since each maker's first batch, which compiles
    is_settled: bool = False

    @classmethod
    def form(cls) -> Self:
        """A reader and a writer a core, until more is known."""
        cores = count_cores()
        return cls(readers=Crew(cores, most=_READERS * cores), nets=Crew(1), writers=Crew(cores))

    def settle(self, maps: Iterator[T], num_makers: int) -> Iterator[T]:
        """Passes maps on, of so many makers a photo; chooses the numbers once enough have come by."""
        began = None
        for layers in maps:
            yield layers
            if began is None:
                if self.nets.count >= num_makers:
                    began = time.perf_counter()
                    for crew in (self.readers, self.nets, self.writers):
                        crew.forget()
                continue
            self.num_photos += 1 / num_makers
            if not self.is_settled and time.perf_counter() - began >= _TRIAL_SECONDS:
                self.is_settled = True
                self.choose()

    def choose(self) -> None:
        """Makes readers and writers as many as keep up with the nets, and no more.

        Where nets work on the same cores, each thread more would take from them. Of readers that wait for their files,
        as on a shared folder, there may be more than cores.
        """
        pace = self._measure(self.nets)
        if pace == 0:  # all batches were done before the first map was
            return
        for crew in (self.readers, self.writers):
            wanted = math.ceil(_SLACK * self._measure(crew) / pace)
            is_waiting = crew.cpu_seconds < crew.seconds / _READERS
            crew.resize(max(min(wanted, crew.most if is_waiting else count_cores()), 1))

    def _measure(self, crew: Crew) -> float:
        """Returns the seconds of a photo in a stage."""
        return crew.seconds / self.num_photos if self.num_photos else 0.0

    def describe(self) -> str:
        """Says what a photo took, and how many threads worked."""
        nets, reading, writing = (1000 * self._measure(crew) for crew in (self.nets, self.readers, self.writers))
        return (
            f"a photo took {nets:.1f} ms in the nets, {reading:.1f} to read ({self.readers.size} at once), "
            f"{writing:.1f} to compress ({self.writers.size} at once)"
        )
