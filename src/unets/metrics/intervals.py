"""Intervals: how far a mean over photos may be from the truth, when photos come in groups."""

import math
from collections.abc import Sequence
from functools import cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from unets.config import Config

NUM_RESAMPLES = 10_000
_BLOCK_ELEMENTS = 4_000_000  # draws held in memory at once
# Of 1,500 draws from a normal law, the share whose 95 % interval holds the truth: 2 groups 0.50, 3 0.75, 4 0.88, 5
# 0.93, 8, 20 and 60 0.95 (by the percentiles 2.5 and 97.5: 0.50, 0.75, 0.80, 0.85, 0.88, 0.94, 0.94). Below 5 nothing
# helps: all groups lie on one side of the truth in 2 of 2^n times. Of a skewed law (lognormal, sigma 1) it is less: 5
# 0.81, 20 0.86, 60 0.90.
_TOO_FEW_GROUPS, _FEW_GROUPS = 5, 20


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
    """Bounds a mean over photos by drawing whole groups with replacement (cluster bootstrap, expanded percentiles).

    Photos of one group (16 views of one car) resemble each other; drawing single photos would count them as
    independent and give an interval that is too narrow. For a difference, pass the paired differences.

    Args:
        values: float64 (photos,).
        groups: the group of each photo.
        seed: of the draws; equal arguments give equal intervals.

    Returns:
        The mean over photos, and the percentiles `find_percentiles` of that of 10,000 draws.
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
    low, high = np.percentile(means, find_percentiles(num_groups))
    return Interval(mean=mean, low=float(low), high=float(high))


def find_percentiles(num_groups: int) -> tuple[float, float]:
    """Returns which percentiles of the drawn means bound a 95 % interval: of n groups 100 Phi(-+ sqrt(n / (n - 1)) t).

    t is the 97.5 % quantile of Student's distribution with n - 1 degrees of freedom. Draws from n groups spread too
    little, by sqrt((n - 1) / n), and 2.5 and 97.5 are the percentiles of a normal law, as if that spread were known:
    the expanded percentile interval (Hesterberg 2015, What Teachers Should Know About the Bootstrap, The American
    Statistician 69:4, arXiv 1411.5279). For many groups they become 2.5 and 97.5.

    Args:
        num_groups: at least 2.
    """
    distance = math.sqrt(num_groups / (num_groups - 1)) * find_t_quantile(num_groups - 1)
    share = NormalDist().cdf(-distance)
    return 100 * share, 100 * (1 - share)


@cache
def find_t_quantile(degrees: int, confidence: float = 0.95) -> float:
    """Returns the t > 0 that Student's distribution exceeds in absolute value with probability 1 - confidence.

    Found by halving: with a = arctan(t / sqrt(degrees)), the probability of less is a finite sum (Abramowitz and Stegun
    1964, Handbook of Mathematical Functions, 26.7.3 and 26.7.4).

    Args:
        degrees: of freedom, at least 1.
        confidence: above 0, below 1.
    """
    low, high = 0.0, math.pi / 2
    for _ in range(60):  # to the last bit
        middle = (low + high) / 2
        low, high = (middle, high) if _integrate_t(middle, degrees) < confidence else (low, middle)
    return math.sqrt(degrees) * math.tan(low)


def _integrate_t(angle: float, degrees: int) -> float:
    """Returns the probability that |t| < sqrt(degrees) tan(angle), by the finite sums."""
    sine, cosine = math.sin(angle), math.cos(angle)
    steps = np.arange(1, degrees // 2, dtype=np.float64)  # of the sums: what each term is of the one before it
    if degrees % 2 == 0:  # sin (1 + cos^2 1/2 + cos^4 (1 3) / (2 4) + ...)
        return sine * (1 + float(np.cumprod((2 * steps - 1) / (2 * steps) * cosine**2).sum()))
    if degrees == 1:
        return 2 * angle / math.pi
    # 2 / pi (angle + sin (cos + cos^3 2/3 + cos^5 (2 4) / (3 5) + ...))
    terms = np.cumprod(2 * steps / (2 * steps + 1) * cosine**2)
    return 2 / math.pi * (angle + sine * cosine * (1 + float(terms.sum())))


def note_few_groups(num_groups: int) -> list[str]:
    """Says what to keep in mind of an interval over few groups; nothing where they suffice."""
    if 2 <= num_groups < _TOO_FEW_GROUPS:
        most = 100 * (1 - 2 / 2**num_groups)
        return [f"with {num_groups} groups the interval holds the truth in {most:.0f} of 100 cases at most, not in 95"]
    if 2 <= num_groups < _FEW_GROUPS:
        return [
            f"with {num_groups} groups the interval is rough: where a few differ much from the others, it holds the "
            f"truth in less than 95 of 100 cases"
        ]
    return []
