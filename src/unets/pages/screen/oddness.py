"""How odd each photo is among all: its figures' distances from the median, on a scale that odd photos do not stretch.

A figure's distance is (value - median) / (1.4826 * median absolute deviation), which for a normal distribution counts
standard deviations, taken on the logarithm of what varies by factors. Below `LEAST` it does not count, above `MOST` it
counts no more; oddness is the sum over the figures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from unets.pages.screen.figures import COLUMNS, Values

LEAST, MOST = 2.0, 10.0
_MIN_GROUP = 3  # photos of a group, below which there is no saying which of them is odd
_NORMAL_MAD, _NORMAL_MEAN = 1.4826, 1.2533  # standard deviations of a normal distribution in each kind of deviation


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One figure: what it is called, which side of it is odd, and how distances on it are measured."""

    label: str
    meaning: str
    odd: Literal["high", "low", "both"]
    offset: float | None  # distances are those of log2(value + offset); None: of the value itself
    least_scale: float  # a spread below this is taken for this: smaller differences mean nothing


FIGURES: dict[str, Figure] = {
    "agreement": Figure(
        label="agreement",
        meaning="lowest Dice of a member's mask with the ensemble's",
        odd="low",
        offset=None,
        least_scale=0.002,
    ),
    "difference": Figure(
        label="difference",
        meaning="mean difference of the members' probabilities from the blend's, over the photo",
        odd="high",
        offset=1e-4,
        least_scale=0.1,
    ),
    "band": Figure(
        label="uncertain band",
        meaning="pixels with a probability of 0.1 to 0.9 for each pixel of contour",
        odd="high",
        offset=0.1,
        least_scale=0.1,
    ),
    "parts": Figure(label="parts", meaning="pieces that the masks fall into", odd="both", offset=1.0, least_scale=0.25),
    "holes": Figure(label="holes", meaning="holes in the masks", odd="both", offset=1.0, least_scale=0.25),
    "loose": Figure(
        label="loose area",
        meaning="share of the object outside the largest piece",
        odd="both",
        offset=None,
        least_scale=0.005,
    ),
    "contour": Figure(
        label="contour",
        meaning="length of the contours against the side of a square of that area (the square has 4)",
        odd="both",
        offset=0.1,
        least_scale=0.05,
    ),
    "area": Figure(
        label="area", meaning="share of the photo, against the training masks", odd="both", offset=1e-5, least_scale=0.1
    ),
    "views": Figure(
        label="against its group",
        meaning="area against that of the other photos of the group; where views have names, as usual for the view",
        odd="both",
        offset=None,
        least_scale=0.03,
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """Where the photos lie on a figure."""

    low: float  # 5 % lie below
    median: float
    high: float  # 5 % lie above


@dataclass(frozen=True, kw_only=True, slots=True)
class OddPhotos:
    """All photos' figures and how odd they are; arrays in the order of the photos given."""

    values: dict[str, Values]  # by figure, of those that could be measured
    distances: dict[str, Values]  # on the odd side, not below 0; NaN where there is no figure
    oddness: Values
    order: npt.NDArray[np.intp]  # the oddest first

    def spread(self, name: str) -> Spread:
        """Returns where the photos lie on a figure."""
        low, median, high = np.nanquantile(self.values[name], (0.05, 0.5, 0.95))
        return Spread(low=float(low), median=float(median), high=float(high))

    def list_reasons(self, index: int) -> list[str]:
        """Lists the figures that make a photo odd, the oddest first."""
        counted = {name: values[index] for name, values in self.distances.items() if values[index] >= LEAST}
        return sorted(counted, key=lambda name: -counted[name])


def judge_photos(
    measured: Values, groups: Sequence[str], views: Sequence[str | None], train_shares: Sequence[float]
) -> OddPhotos:
    """Measures how odd each photo is.

    Args:
        measured: float64 (photos, `figures.COLUMNS`).
        groups: the group of each.
        views: the view of each, where the dataset names views.
        train_shares: share of the photo that is object, of each training photo.
    """
    values = {name: measured[:, position] for position, name in enumerate(COLUMNS)}
    values["views"] = compare_views(values["area"], groups, views)
    values = {name: values[name] for name in FIGURES if not np.isnan(values[name]).all()}
    distances = {
        name: measure_distance(name, own, np.array(train_shares) if name == "area" else own)
        for name, own in values.items()
    }
    counted = [np.where(own >= LEAST, np.minimum(own, MOST), 0) for own in distances.values()]
    oddness = np.sum(counted, axis=0)
    # Where nothing counts, by what is nearest to it; then by place, so that the order is always the same.
    nearest = np.nanmax(np.stack(list(distances.values())), axis=0)
    return OddPhotos(values=values, distances=distances, oddness=oddness, order=np.lexsort((-nearest, -oddness)))


def measure_distance(name: str, values: Values, reference: Values) -> Values:
    """Measures how far values lie on the odd side of the reference's median, in robust standard deviations.

    Where more than half of the reference is equal, as numbers of holes are, the median absolute deviation is 0 and the
    mean one takes its place (Iglewicz and Hoaglin 1993, How to Detect and Handle Outliers).

    Returns:
        float64, 0 on the side that is not odd; NaN stays.
    """
    figure = FIGURES[name]
    if figure.offset is not None:
        values, reference = np.log2(values + figure.offset), np.log2(reference + figure.offset)
    reference = reference[~np.isnan(reference)]
    median = np.median(reference) if len(reference) else np.nan
    deviations = np.abs(reference - median)
    scale = _NORMAL_MAD * np.median(deviations) if len(reference) else 0.0
    if scale == 0 and len(reference):
        scale = _NORMAL_MEAN * deviations.mean()
    distance = (values - median) / max(float(scale), figure.least_scale)
    if figure.odd == "both":
        return np.asarray(np.abs(distance), dtype=np.float64)
    return np.asarray(np.maximum(distance if figure.odd == "high" else -distance, 0), dtype=np.float64)


def compare_views(shares: Values, groups: Sequence[str], views: Sequence[str | None]) -> Values:
    """Compares each photo's area with the others of its group, by the logarithm.

    log2(area) less the median of its group, and, where the dataset names views, less the median of what is left over
    the photos of that view (a median polish, Tukey 1977): a car is always larger from the side.

    Returns:
        float64: 1 for twice the area that was to be expected, -1 for half; NaN for groups of fewer than 3.
    """
    table = pd.DataFrame({"group": list(groups), "view": list(views)})
    rest = pd.Series(np.log2(shares + 1e-5))
    for _ in range(2):
        rest = rest - rest.groupby(table["group"]).transform("median")
        if table["view"].notna().all():
            rest = rest - rest.groupby(table["view"]).transform("median")
    size = table["group"].map(table["group"].value_counts())
    return np.asarray(rest.where(size >= _MIN_GROUP), dtype=np.float64)
