"""Training photos a second, without a net: our batches against the loop of the public Keras baselines."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import TypeVar

import numpy as np
from baselines import load_public_batch
from measure import Row, compare, pick_evenly, time_rounds

from unets.config import AugmentConfig, DatasetConfig
from unets.data.augment import draw_colours, draw_warp, recolour, warp_pair
from unets.data.batches import Batches
from unets.data.cache import DiskReader, PairReader, open_reader
from unets.data.files import read_bytes
from unets.data.geometry import cover
from unets.data.io import read_image
from unets.data.samples import Sample, read_mask
from unets.workers.pool import map_ahead

SIZE_HW = (640, 959)
BATCH_SIZE, WORKERS = 8, 2
_NUM_PHOTOS, _NUM_PUBLIC = 64, 16  # photos a round; the public loop is slow, so it gets fewer

Result = TypeVar("Result")


def measure_reading(samples: Sequence[Sample], dataset: DatasetConfig, seconds: float) -> list[Row]:
    """Compares photos a second at 640 x 959 with random changes: decoded every time, and from memory."""
    chosen = pick_evenly(samples, _NUM_PHOTOS)
    readers = {
        "cold": DiskReader(chosen, dataset, SIZE_HW),
        "cached": open_reader(chosen, dataset, SIZE_HW, "ram", Path("unused")),
    }
    epochs = {name: _make_epoch(reader, len(chosen)) for name, reader in readers.items()}
    pairs = [(sample.photo_path, _require_path(sample.mask_path)) for sample in chosen[:_NUM_PUBLIC]]

    def load_public(round_: int) -> None:
        rng = np.random.default_rng(round_)
        for start in range(0, len(pairs), BATCH_SIZE):
            load_public_batch(pairs[start : start + BATCH_SIZE], SIZE_HW, rng)

    ways = {"public": load_public, **epochs}
    num_photos = {"public": len(pairs), **dict.fromkeys(epochs, len(chosen))}
    aims = {"cold": 4.0, "cached": 8.0}
    by_wall, by_cpu = (
        {name: [taken / num_photos[name] for taken in times] for name, times in rounds.items()}
        for rounds in (time_rounds(ways, seconds), time_rounds(ways, seconds / 3, clock=time.process_time))
    )
    return [
        *(
            compare(f"training photos, {name}", by_wall[name], by_wall["public"], unit="1/s", is_rate=True, aim=aim)
            for name, aim in aims.items()
        ),
        # What two workers share; the rest of the ratio is that they are two.
        *(
            compare(f"CPU time of a photo, {name}", by_cpu[name], by_cpu["public"], unit="ms", scale=1000)
            for name in aims
        ),
    ]


def measure_steps(samples: Sequence[Sample], dataset: DatasetConfig) -> dict[str, float]:
    """Measures where our time goes, in one thread: median ms a photo of each step, when it is done."""
    chosen, config, rng = pick_evenly(samples, 4 * BATCH_SIZE), AugmentConfig(), np.random.default_rng(0)
    times: dict[str, list[float]] = {}

    def timed(step: str, function: Callable[..., Result], *args: object) -> Result:
        start = time.perf_counter()
        result = function(*args)
        times.setdefault(step, []).append(1000 * (time.perf_counter() - start))
        return result

    for start in range(0, len(chosen), BATCH_SIZE):
        photos = []
        for sample in chosen[start : start + BATCH_SIZE]:
            timed("read bytes (part of the next)", read_bytes, sample.photo_path)
            photo = timed("read and decode photo", read_image, sample.photo_path, SIZE_HW)
            mask = timed("decode mask", read_mask, sample, dataset)
            coverage = timed("shrink mask by area", cover, mask, len(dataset.classes), SIZE_HW)
            matrix = timed("draw", draw_warp, config, SIZE_HW, rng)
            photo, _ = timed("warp both (8 of 10 photos)", warp_pair, photo, coverage, matrix)
            colours, gamma = draw_colours(config, rng)
            photos.append(timed("colours (8 of 10 photos)", recolour, photo, colours, gamma))
        timed("stack", np.stack, photos)
    return {step: median(values) / (BATCH_SIZE if step == "stack" else 1) for step, values in times.items()}


def _make_epoch(reader: PairReader, num_photos: int) -> Callable[[int], None]:
    """Returns what runs one epoch of training batches, prepared by threads ahead of their consumer as Keras has it."""
    batches = Batches(
        reader, range(num_photos), batch_size=BATCH_SIZE, augment_config=AugmentConfig(), shuffle=True, workers=WORKERS
    )

    def run(epoch: int) -> None:
        batches.start_epoch(epoch)
        for _ in map_ahead(batches.__getitem__, range(len(batches)), workers=WORKERS, ahead=WORKERS):
            pass

    return run


def _require_path(path: Path | None) -> Path:
    if path is None:
        raise ValueError("`samples` must have mask files: the public loop reads them. Received: none")
    return path
