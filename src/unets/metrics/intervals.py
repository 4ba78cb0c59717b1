"""Intervals: how far a mean over images may be from the true one, when images come in groups."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, stdtr, stdtrit  # scipy.stats takes 0.4 s more to import

from unets.config import Config

NUM_RESAMPLES = 10_000
# For an interval: of n groups all lie on one side of the true mean in 2 of 2^n times, whatever is computed.
MIN_GROUPS = 5
_FEW_GROUPS = 20
_BLOCK_ELEMENTS = 4_000_000  # draws held in memory at once


class Interval(Config):
    """A mean with its 95 % interval; no bounds where there are fewer than `MIN_GROUPS` groups."""

    mean: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        """Writes `0.99612 (0.99587 to 0.99634)`."""
        return f"{self.mean:.5f} ({self.describe_bounds().removeprefix('95 % interval ')})"

    def describe_bounds(self) -> str:
        """Writes `95 % interval 0.99587 to 0.99634`; says where there is none."""
        if self.low is None or self.high is None:
            return "too few groups for an interval"
        return f"95 % interval {self.low:.5f} to {self.high:.5f}"

    def format_gain(self) -> str:
        """Writes a difference of scores in thousandths, `+0.84 (0.41 to 1.24) x 1e-3`."""
        if self.low is None or self.high is None:
            return f"{1000 * self.mean:+.2f} x 1e-3 (too few groups for an interval)"
        return f"{1000 * self.mean:+.2f} ({1000 * self.low:.2f} to {1000 * self.high:.2f}) x 1e-3"

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high

    @property
    def verdict(self) -> str:
        """Of a difference: `better` or `worse` where zero lies outside, else `no difference shown`."""
        return ("better" if self.mean > 0 else "worse") if self.excludes_zero else "no difference shown"


def bootstrap_mean(values: npt.NDArray[np.float64], groups: Sequence[str], seed: int = 0) -> Interval:
    """Bounds a mean over images by drawing whole groups with replacement (cluster bootstrap, expanded percentiles).

    Images of one group (16 views of one car) resemble each other; drawing single images would count them as
    independent and give an interval that is too narrow. For a difference, pass the paired differences. Values are
    float64 (images,), of each its group; equal arguments give equal intervals. Returns the mean over images, and the
    percentiles `find_percentiles` of that of 10,000 draws.
    """
    sums, sizes = _sum_groups(values, groups)
    num_groups, mean = len(sums), float(np.mean(values))
    if num_groups < MIN_GROUPS:
        return Interval(mean=mean, low=None, high=None)
    rng, means = np.random.default_rng(seed), np.empty(NUM_RESAMPLES)
    for part in np.array_split(means, -(-NUM_RESAMPLES * num_groups // _BLOCK_ELEMENTS)):  # views
        drawn = rng.integers(num_groups, size=(len(part), num_groups))
        part[:] = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.percentile(means, find_percentiles(num_groups))
    return Interval(mean=mean, low=float(low), high=float(high))


def find_percentiles(num_groups: int) -> tuple[float, float]:
    """Returns which percentiles of the drawn means bound a 95 % interval: of n groups 100 Phi(-+ sqrt(n / (n - 1)) t).

    t is the 97.5 % quantile of Student's distribution with n - 1 degrees of freedom, n at least 2. Draws from n groups
    spread too little, by sqrt((n - 1) / n), and 2.5 and 97.5 are the percentiles of a normal law, as if that spread
    were known: the expanded percentile interval (Hesterberg 2015, What Teachers Should Know About the Bootstrap, The
    American Statistician 69:4, arXiv 1411.5279). For many groups they become 2.5 and 97.5.
    """
    distance = math.sqrt(num_groups / (num_groups - 1)) * stdtrit(num_groups - 1, 0.975)
    share = float(ndtr(-distance))
    return 100 * share, 100 * (1 - share)


def find_p_value(differences: npt.NDArray[np.float64], groups: Sequence[str]) -> float:
    """Returns the probability of a mean difference as large by chance, where there is none: Student's t over groups.

    The standard error of the mean is that of a ratio of group sums to group sizes, sqrt(n / (n - 1) sum(r^2)) / N,
    where r is a group's sum less what the mean gives it. Differences are paired, float64 (images,). It is one-sided,
    0..1; 1 where there are fewer than two groups or no difference.
    """
    sums, sizes = _sum_groups(differences, groups)
    num_groups, mean = len(sums), float(np.mean(differences))
    if num_groups < 2 or mean <= 0:
        return 1.0
    error = math.sqrt(num_groups / (num_groups - 1) * float(np.sum((sums - mean * sizes) ** 2))) / len(differences)
    return float(stdtr(num_groups - 1, -mean / error)) if error > 0 else 0.0


def note_few_groups(num_groups: int) -> list[str]:
    """Says what to keep in mind of an interval over few groups; nothing where they suffice."""
    if num_groups < MIN_GROUPS:
        return [f"too few groups for a 95 % interval: {num_groups} of the {MIN_GROUPS} that are needed"]
    rough = "the interval is rough: where a few differ much from the others, it holds the true mean in less than 95"
    return [f"with {num_groups} groups {rough} of 100 cases"] if num_groups < _FEW_GROUPS else []


def _sum_groups(
    values: npt.NDArray[np.float64], groups: Sequence[str]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Returns (sum of the values, number of images) of each group."""
    if len(values) == 0 or len(values) != len(groups):
        raise ValueError(f"`groups` must name one for each of {len(values)} > 0 values. Received: {len(groups)}")
    _, group_of = np.unique(np.asarray(groups), return_inverse=True)
    return np.bincount(group_of, weights=values).astype(np.float64), np.bincount(group_of).astype(np.float64)
