"""Images a second of training data, and run lengths: ours against what public Carvana repositories do."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from measure import Row, compare, pick_evenly, time_rounds
from public import encode_public_rle, load_public_batch
from pycocotools import mask as coco

from unets.config import AugmentConfig, DatasetConfig
from unets.data.batches import Batches
from unets.data.cache import DiskReader, PairReader, open_reader
from unets.data.rle import encode_rle
from unets.data.samples import Sample, read_mask
from unets.workers.pool import map_ahead

SIZE_HW = (640, 959)
BATCH_SIZE, WORKERS = 8, 2
_NUM_IMAGES, _NUM_PUBLIC = 64, 16  # images a round; the public loop is slow, so it gets fewer


def measure_reading(samples: Sequence[Sample], dataset: DatasetConfig, seconds: float) -> list[Row]:
    """Compares images a second at 640 x 959 with augmentation: decoded every time, and from memory.

    Args:
        samples: images with mask files.
        dataset: their declaration.
        seconds: of the measurement.
    """
    chosen = pick_evenly(samples, _NUM_IMAGES)
    pairs = [(sample.image_path, sample.mask_paths[0]) for sample in chosen[:_NUM_PUBLIC]]

    def load_public(round_: int) -> None:
        rng = np.random.default_rng(round_)
        for start in range(0, len(pairs), BATCH_SIZE):
            load_public_batch(pairs[start : start + BATCH_SIZE], SIZE_HW, rng)

    ways = {
        "public": load_public,
        "cold": _make_epoch(DiskReader(chosen, dataset, SIZE_HW), len(chosen)),
        "cached": _make_epoch(open_reader(chosen, dataset, SIZE_HW, "ram", Path("unused")), len(chosen)),
    }
    num_images = {"public": len(pairs), "cold": len(chosen), "cached": len(chosen)}
    taken = {
        name: [round_ / num_images[name] for round_ in rounds] for name, rounds in time_rounds(ways, seconds).items()
    }
    return [
        compare(f"training images, {name}", taken[name], taken["public"], unit="1/s", is_rate=True, aim=aim)
        for name, aim in (("cold", 4.0), ("cached", 8.0))
    ]


def measure_encoding(samples: Sequence[Sample], dataset: DatasetConfig, seconds: float) -> list[Row]:
    """Compares CPU ms a mask, each way on the same mask in turn, as it is when it was just made: in the CPU's cache.

    Ours and the public one give the final string. pycocotools gives its compressed counts in column order; what it
    would take to turn those into 1-based pairs in row order is not charged to it.

    Raises:
        RuntimeError: the encoders disagree on a mask that both can encode.
    """
    masks = [read_mask(sample) for sample in pick_evenly(samples, _NUM_IMAGES)]
    times: dict[str, list[float]] = {"ours": [], "public": [], "coco": []}
    for mask_hw in masks:
        # The pipeline's masks are bool, the others' uint8: the same bytes.
        mask_bool, touches_corner = mask_hw.view(bool), bool(mask_hw.flat[0] or mask_hw.flat[-1])
        if not touches_corner and encode_rle(mask_bool) != encode_public_rle(mask_hw):
            raise RuntimeError("the two encoders must agree on masks that they both can encode")
        rounds = time_rounds(
            {
                "ours": lambda _, mask=mask_bool: encode_rle(mask),
                "public": lambda _, mask=mask_hw: encode_public_rle(mask),
                "coco": lambda _, mask=mask_hw: coco.encode(np.asfortranarray(mask)),
            },
            seconds / len(masks),
            clock=time.thread_time,
        )
        for name, taken in rounds.items():
            times[name] += taken
    return [
        compare("run lengths / public encoder", times["ours"], times["public"], unit="ms", scale=1000, aim=3.0),
        compare("run lengths / pycocotools", times["ours"], times["coco"], unit="ms", scale=1000, aim=1.0),
    ]


def _make_epoch(reader: PairReader, num_images: int) -> Callable[[int], None]:
    """Returns what runs one epoch of training batches, prepared by threads ahead of their consumer as Keras has it."""
    batches = Batches(
        reader, range(num_images), batch_size=BATCH_SIZE, augment_config=AugmentConfig(), shuffle=True, workers=WORKERS
    )

    def run(epoch: int) -> None:
        batches.start_epoch(epoch)
        for _ in map_ahead(batches.__getitem__, range(len(batches)), workers=WORKERS, ahead=WORKERS):
            pass

    return run
