"""Run lengths: ours against the encoder of most Carvana repositories and against pycocotools."""

import time
from collections.abc import Sequence

import numpy as np
from baselines import encode_public_rle
from measure import Row, compare, pick_evenly, time_rounds
from pycocotools import mask as coco

from unets.config import DatasetConfig
from unets.data.rle import encode_rle
from unets.data.samples import Sample, read_mask

_NUM_MASKS = 64


def measure_encoding(samples: Sequence[Sample], dataset: DatasetConfig, seconds: float) -> list[Row]:
    """Compares CPU ms a mask, each way on the same mask in turn, as it is when it was just made: in the CPU's cache.

    Ours and the public one give the final string. pycocotools gives its compressed counts in column order; what it
    would take to turn those into 1-based pairs in row order is not charged to it.
    """
    masks = [read_mask(sample, dataset) for sample in pick_evenly(samples, _NUM_MASKS)]
    times: dict[str, list[float]] = {"ours": [], "public": [], "coco": []}
    for mask_hw in masks:
        # The pipeline's masks are bool, the others' uint8: the same bytes.
        mask_bool, cuts_border = mask_hw.view(bool), bool(mask_hw.flat[0] or mask_hw.flat[-1])
        if not cuts_border and encode_rle(mask_bool) != encode_public_rle(mask_hw):
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
