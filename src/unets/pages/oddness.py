"""How odd each image is among all: its figures' distances from the median, on a scale that odd images do not stretch.

A figure's distance is (value - median) / (1.4826 * median absolute deviation), which for a normal distribution counts
standard deviations, taken on the logarithm of what varies by factors. Below `LEAST` it does not count, above `MOST` it
counts no more; oddness is the sum over the figures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from unets.pages.gallery import Column, Style
from unets.pages.measure import Values

LEAST, MOST = 2.0, 10.0
_MIN_GROUP = 3  # images of a group, below which there is no saying which of them is odd
_NORMAL_MAD, _NORMAL_MEAN = 1.4826, 1.2533  # standard deviations of a normal distribution in each kind of deviation


class Scale(NamedTuple):
    """What a figure is called, which side of it is odd, and how distances on it are measured."""

    label: str
    meaning: str
    odd: Literal["high", "low", "both"]
    offset: float | None  # distances are those of log2(value + offset); None: of the value itself
    least: float  # a spread below this is taken for this: smaller differences mean nothing
    style: Style = "number"

    def to_column(self, values: Values, distances: Values | None = None) -> Column:
        """Returns the column of a figure, as a gallery shows it."""
        worst: Literal["low", "high"] = "high" if self.odd == "high" else "low"
        return Column(
            label=self.label, values=values, worst=worst, style=self.style, meaning=self.meaning, distances=distances
        )

    def format(self, value: float) -> str:
        """Writes a value for people."""
        if self.style == "score":
            return f"{value:.4f}"
        share = 2**value - 1 if self.style == "change" else value
        return f"{value:.3g}" if self.style == "number" else f"{100 * share:.3g} %"


SCALES: dict[str, Scale] = {
    "agreement": Scale("agreement", "lowest Dice of a member's mask with the ensemble's", "low", None, 0.002, "score"),
    "difference": Scale("difference", "mean difference of members' probabilities from their mean", "high", 1e-4, 0.1),
    "band": Scale("uncertain band, px", "pixels of probability 0.1 to 0.9 for each pixel of contour", "high", 0.1, 0.1),
    "parts": Scale("parts", "pieces that the masks fall into", "both", 1.0, 0.25),
    "holes": Scale("holes", "holes in the masks", "both", 1.0, 0.25),
    "loose": Scale("loose area", "share of the object outside the largest piece", "both", None, 0.005, "percent"),
    "contour": Scale("contour", "length of the contours by the root of the area (a square has 4)", "both", 0.1, 0.05),
    "area": Scale("area", "share of the image that is object", "both", 1e-5, 0.1, "percent"),
    "group": Scale(
        "against its group", "area against the rest of the group, view by view", "both", None, 0.03, "change"
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Oddness:
    """All images' figures and how odd they are, in the order of the images given."""

    values: pd.DataFrame  # a column a figure, of those that could be measured
    distances: pd.DataFrame  # on the odd side, not below 0; NaN where there is no figure
    total: Values
    order: npt.NDArray[np.intp]  # the oddest first

    @property
    def num_odd(self) -> int:
        """Number of images with a figure far from the usual."""
        return int(np.count_nonzero(self.total))

    def list_reasons(self, index: int) -> list[str]:
        """Lists the figures that make an image odd, the oddest first."""
        own = self.distances.iloc[index]
        return [str(name) for name in own[own >= LEAST].sort_values(ascending=False, kind="stable").index]


def measure_oddness(
    figures: pd.DataFrame, groups: Sequence[str], views: Sequence[str | None], train_areas: Sequence[float]
) -> Oddness:
    """Measures how odd each image is by its figures, from `measure_all`, its group and, if known, its camera view.

    Areas, the share of an image that is object, are compared with those of the training images.
    """
    values = figures.assign(group=compare_with_group(figures["area"].to_numpy(), groups, views))[list(SCALES)]
    values = values.dropna(axis="columns", how="all")
    references = {str(name): own.to_numpy() for name, own in values.items()} | {"area": np.array(train_areas)}
    distances = pd.DataFrame(
        {
            name: measure_distance(SCALES[name], values[name].to_numpy(), references[name])
            for name in references
            if name in values
        }
    )
    total = distances.where(distances >= LEAST, 0).clip(upper=MOST).sum(axis=1).to_numpy()
    # Where nothing counts, by what is nearest to it; then by place, so that the order is always the same.
    return Oddness(values=values, distances=distances, total=total, order=np.lexsort((-distances.max(axis=1), -total)))


def measure_distance(scale: Scale, values: Values, reference: Values) -> Values:
    """Measures how far values lie on the odd side of the reference's median, in robust standard deviations.

    Where more than half of the reference is equal, as numbers of holes are, the median absolute deviation is 0 and the
    mean one takes its place (Iglewicz and Hoaglin 1993, How to Detect and Handle Outliers).
    Returns float64, 0 on the side that is not odd; NaN stays.
    """
    if scale.offset is not None:
        values, reference = np.log2(values + scale.offset), np.log2(reference + scale.offset)
    reference = reference[~np.isnan(reference)]
    if not len(reference):
        return np.full(len(values), np.nan)
    median = np.median(reference)
    deviations = np.abs(reference - median)
    spread = _NORMAL_MAD * np.median(deviations) or _NORMAL_MEAN * deviations.mean()
    distance = (values - median) / max(float(spread), scale.least)
    if scale.odd == "both":
        return np.asarray(np.abs(distance), dtype=np.float64)
    return np.asarray(np.maximum(distance if scale.odd == "high" else -distance, 0), dtype=np.float64)


def compare_with_group(areas: Values, groups: Sequence[str], views: Sequence[str | None]) -> Values:
    """Compares each image's area with the others of its group, by the logarithm.

    log2(area) less the median of its group, and, where the dataset names camera views, less the median of what is left
    over the images of that view (a median polish, Tukey 1977): a car is always larger from the side.
    Returns float64: 1 for twice the area that was to be expected, -1 for half; NaN for groups of fewer than 3.
    """
    table = pd.DataFrame({"group": list(groups), "view": list(views), "rest": np.log2(areas + 1e-5)})
    keys = ["group", "view"] if table["view"].notna().all() else ["group"]
    for key in 2 * keys:
        table["rest"] -= table.groupby(key)["rest"].transform("median")
    size = table.groupby("group")["rest"].transform("size")
    return np.asarray(table["rest"].where(size >= _MIN_GROUP), dtype=np.float64)
