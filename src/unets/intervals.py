"""Intervals: how far a mean over photos may be from the truth, when photos come in groups."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from unets.config import Config

NUM_RESAMPLES = 10_000
_BLOCK_ELEMENTS = 4_000_000  # draws held in memory at once
# Of 1,500 draws from a normal distribution, the share whose 95 % interval holds the truth: 4 groups 0.80, 8 0.90,
# 20 0.92, 60 0.94.
_FEW_GROUPS = 20


class Interval(Config):
    """A mean with its 95 % interval; no bounds where there are fewer than two groups to draw from."""

    mean: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        """Writes `0.99612 (0.99587 to 0.99634)`; two digits more where it is small, as a difference is."""
        if self.low is None or self.high is None:
            return f"{self.mean:.5f} (one group: no interval)"
        digits = 5 if abs(self.mean) >= 0.01 else 7
        return f"{self.mean:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def bootstrap_mean(values: npt.NDArray[np.float64], groups: Sequence[str], seed: int = 0) -> Interval:
    """Bounds a mean over photos by drawing whole groups with replacement (cluster bootstrap, percentile interval).

    Photos of one group (16 views of one car) resemble each other; drawing single photos would count them as
    independent and give an interval that is too narrow. For a difference, pass the paired differences.

    Args:
        values: float64 (photos,).
        groups: the group of each photo.
        seed: of the draws; equal arguments give equal intervals.

    Returns:
        The mean over photos, and the 2.5 and 97.5 percentiles of that of 10,000 draws.
    """
    if len(values) == 0 or len(values) != len(groups):
        raise ValueError(f"`groups` must name one for each of {len(values)} > 0 values. Received: {len(groups)}")
    _, group_of = np.unique(np.asarray(groups), return_inverse=True)
    sums, sizes = np.bincount(group_of, weights=values), np.bincount(group_of).astype(np.float64)
    num_groups, mean = len(sums), float(np.mean(values))
    if num_groups < 2:
        return Interval(mean=mean, low=None, high=None)
    rng = np.random.default_rng(seed)
    means = np.empty(NUM_RESAMPLES)
    block = max(1, min(NUM_RESAMPLES, _BLOCK_ELEMENTS // num_groups))
    for start in range(0, NUM_RESAMPLES, block):
        part = means[start : start + block]
        drawn = rng.integers(num_groups, size=(len(part), num_groups))
        part[:] = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(mean=mean, low=float(low), high=float(high))


def note_few_groups(num_groups: int) -> list[str]:
    """Says what to keep in mind of an interval over few groups; nothing where they suffice."""
    if 2 <= num_groups < _FEW_GROUPS:
        return [f"with {num_groups} groups the interval is too narrow: it holds the truth less often than 95 of 100"]
    return []
