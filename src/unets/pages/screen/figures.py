"""Figures of a test photo that need no truth: how far members differ, how sure the maps are, what the mask looks like.

Masks are those of the submission, at the photo's own size; maps are compared at the size of the largest of them.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np
import numpy.typing as npt

from unets.config import DatasetConfig
from unets.data.geometry import SizeHW
from unets.data.samples import Sample, read_full_size
from unets.ensemble.agreement import blend_small, compare_members
from unets.ensemble.recipe import Recipe, make_mask
from unets.ensemble.shape import measure_shape
from unets.prediction.maps import MapReader

MapU8 = npt.NDArray[np.uint8]
Probs = npt.NDArray[np.float32]
Values = npt.NDArray[np.float64]

UNCERTAIN = (0.1, 0.9)  # a probability between these is uncertain


@dataclass(frozen=True, kw_only=True, slots=True)
class ScreenTask:
    """Some test photos and the way to their maps."""

    samples: tuple[Sample, ...]
    readers: tuple[MapReader, ...]  # one a member


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """What is measured of one photo; parts, holes and contours are those of all classes together."""

    area: float  # share of the photo that is object
    parts: int
    holes: int
    loose: float  # share of the object's area that lies outside the largest part of its class
    contour: float  # pixels of contour for each pixel of the side of a square of that area: 4 for the square itself
    band: float  # width of what is uncertain: its pixels for each pixel of contour
    difference: float  # mean |p of a member - p of the blend| over members and pixels; NaN: a single member
    agreement: float  # lowest Dice of a member's mask with the ensemble's; NaN: a single member


COLUMNS = tuple(field.name for field in fields(Figures))


def measure_photos(recipe: Recipe, dataset: DatasetConfig, task: ScreenTask) -> Values:
    """Measures a worker's share of the photos; float64 (photos, `COLUMNS`)."""
    rows = []
    for sample in task.samples:
        maps = [reader.read_map(sample.id) for reader in task.readers]
        rows.append(astuple(measure_photo(maps, recipe, read_full_size(sample, dataset))))
    return np.array(rows, dtype=np.float64)


def measure_photo(maps: Sequence[MapU8], recipe: Recipe, full_hw: SizeHW) -> Figures:
    """Measures one photo.

    Args:
        maps: one a member, uint8 (height, width, classes); sizes may differ.
        recipe: how they become masks.
        full_hw: (height, width) of the photo.
    """
    mask_hw, probs_hwc = make_mask(recipe, maps, full_hw), blend_small(maps, recipe)
    shapes = [measure_shape(mask_hw == index) for index in range(1, probs_hwc.shape[-1] + 1)]
    area_px, contour_px = sum(shape.area_px for shape in shapes), sum(shape.contour_px for shape in shapes)
    loose_px = sum(shape.area_px - shape.largest_px for shape in shapes)
    uncertain_px = float(find_uncertain(probs_hwc).mean()) * mask_hw.size
    difference, agreement = compare_members(maps, recipe, probs_hwc)
    return Figures(
        area=area_px / mask_hw.size,
        parts=sum(shape.parts for shape in shapes),
        holes=sum(shape.holes for shape in shapes),
        loose=loose_px / max(area_px, 1),
        contour=contour_px / max(area_px, 1) ** 0.5,
        band=uncertain_px / max(contour_px, 1),
        difference=difference,
        agreement=agreement,
    )


def find_uncertain(probs_hwc: Probs) -> npt.NDArray[np.bool_]:
    """Finds the pixels where a class's probability lies between those of `UNCERTAIN`; bool (height, width)."""
    low, high = np.float32(UNCERTAIN[0]), np.float32(UNCERTAIN[1])
    return np.asarray(((probs_hwc > low) & (probs_hwc < high)).any(axis=-1))
