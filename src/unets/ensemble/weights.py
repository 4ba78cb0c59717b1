"""Weights of an ensemble's members, fitted to the pixels that they decide.

Whatever the weights, a pixel on whose side of the cut all members agree stays there. The others (some thousandths of a
photo, along the contour) are drawn into a sample, each with what a mistake there costs: 1 / area of its class in the
photo, as in Dice and in IoU, times the number of pixels it stands for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from unets.data.samples import IGNORE
from unets.ensemble.blend import Averaging, enlarge_map, to_logits
from unets.ensemble.postprocess import ClassMask
from unets.ensemble.score import DEFAULT_THRESHOLD
from unets.prediction.maps import from_u8

MapU8 = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

SAMPLE_SIZE = 2**20  # pixels of all photos together: 35 MB of five members, each with the number of its photo
_MAX_PHOTO = 4096  # pixels of one photo and class
# Of the loss. Blunter ones, the Brier score and cross-entropy reward a member for being sure of what it is right about
# anyway: of three made-up members on real masks they gave all to the best, where this makes 19 % fewer mistakes.
_SHARPNESS = 20
_RIDGE = 1e-3  # share of the mean curvature: makes copies of one member share their weight, and the answer unique
_MAX_STEPS, _MAX_INNER = 50, 10_000
_TOLERANCE = 1e-5  # of a step's largest change
_DIGITS = 4  # of a weight: beyond them a fit means nothing, and arithmetic differs between machines
_ROUNDS = 25  # of forward selection


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelSample:
    """Pixels that the members of an ensemble put on different sides of the cut; of one photo or of many."""

    probs: npt.NDArray[np.float32]  # (pixels, members), 0..1, at full size
    is_true: Mask  # (pixels,) whether the pixel is of the class
    costs: npt.NDArray[np.float32]  # (pixels,) of a mistake

    @classmethod
    def join(cls, samples: Sequence[Self]) -> Self:
        """Joins the samples of several photos."""
        return cls(
            probs=np.concatenate([sample.probs for sample in samples]),
            is_true=np.concatenate([sample.is_true for sample in samples]),
            costs=np.concatenate([sample.costs for sample in samples]),
        )

    def select(self, is_selected: Mask) -> "PixelSample":
        """Returns some of the pixels."""
        return PixelSample(
            probs=self.probs[is_selected], is_true=self.is_true[is_selected], costs=self.costs[is_selected]
        )


def count_pixels(num_photos: int, num_classes: int) -> int:
    """Returns how many pixels of one photo and class to draw, so that all photos' fit into the memory."""
    return max(1, min(_MAX_PHOTO, SAMPLE_SIZE // (num_photos * num_classes)))


def draw_pixels(
    truth_hw: ClassMask, maps: Sequence[MapU8], max_pixels: int, threshold: float = DEFAULT_THRESHOLD
) -> PixelSample:
    """Draws the pixels of a photo that the weights decide: every n-th of them, so that no seed is needed.

    Args:
        truth_hw: uint8 (height, width) class index; 0 is background.
        maps: one a member, uint8 (height, width, classes), 0..255; sizes may differ between members.
        max_pixels: of one class.
        threshold: where the blend is to be cut. Members' probabilities lie on two sides of it just where their logits
            do of its own, so that one sample serves both ways of averaging.
    """
    cut = np.float32(find_cut(threshold))
    height, width = truth_hw.shape
    enlarged = [enlarge_map(from_u8(probs_u8_hwc), (height, width)) for probs_u8_hwc in maps]
    num_classes = enlarged[0].shape[-1]
    is_known = np.ravel(truth_hw != IGNORE)
    samples = []
    for index in range(num_classes):
        layers = [np.ravel(probs_hwc[..., index]) for probs_hwc in enlarged]
        lowest, highest = np.minimum.reduce(layers), np.maximum.reduce(layers)
        (pixels,) = np.nonzero((lowest < cut) & (highest >= cut) & is_known)
        num_found, num_drawn = len(pixels), min(len(pixels), max_pixels)
        # From the middle of equal stretches: of 9 the 3 at 1, 4, 7.
        drawn = pixels[((np.arange(num_drawn) + 0.5) * (num_found / max(num_drawn, 1))).astype(np.intp)]
        is_class = np.ravel(truth_hw == index + 1)
        cost = num_found / max(num_drawn, 1) / max(int(np.count_nonzero(is_class)), 1) / num_classes
        samples.append(
            PixelSample(
                probs=np.stack([layer[drawn] for layer in layers], axis=-1),
                is_true=is_class[drawn],
                costs=np.full(num_drawn, cost, dtype=np.float32),
            )
        )
    return PixelSample.join(samples)


def find_cut(threshold: float) -> float:
    """Returns what a class's probability must reach for its pixels; where every pixel is of a class (0), one half:
    more than that no other class can have.
    """
    return threshold or DEFAULT_THRESHOLD


def fit_weights(
    sample: PixelSample, averaging: Averaging = "probability", threshold: float = DEFAULT_THRESHOLD
) -> tuple[float, ...]:
    """Finds the weights, at least 0 and 1 in sum, whose blend has the least logistic loss on a sample.

    sum of cost * log(1 + exp(-20 m)), where m = w . p - t on pixels of the class and t - w . p on others, is convex in
    w, so there is one answer and no start to choose; found by Newton steps within the simplex. Of logits w . p - t is
    t (1 - t) (w . logit(p) - logit(t)), as steep at the cut and as linear in w. A ridge towards equal weights keeps the
    answer unique where members are copies. A sample without pixels gives equal weights.

    Args:
        sample: pixels, drawn at this threshold.
        averaging: of the blend that the weights are for.
        threshold: t, where it is cut.

    Returns:
        One weight a member, with 4 digits; they sum to 1 up to floating point.
    """
    num_members = sample.probs.shape[1]
    equal = np.full(num_members, 1 / num_members)
    if len(sample.costs) == 0:
        return tuple(equal.tolist())
    signs = np.where(sample.is_true, _SHARPNESS, -_SHARPNESS).astype(np.float32)
    values, cut = _list_averaged(sample, averaging, threshold)

    def find_margins(weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        return signs * (values @ weights.astype(np.float32) - cut)

    def measure(weights: npt.NDArray[np.float64]) -> float:
        losses = sample.costs * np.logaddexp(np.float32(0), -find_margins(weights))
        return float(losses.sum(dtype=np.float64) + ridge / 2 * np.sum((weights - equal) ** 2))

    weights, ridge = equal, 0.0
    for _ in range(_MAX_STEPS):
        margins = find_margins(weights)
        shares = 1 / (1 + np.exp(margins))  # of a mistake, 0..1
        # Not 1 - shares, which float32 rounds to 0 from a margin of -17 on: sure logits reach that.
        bent = shares / (1 + np.exp(-margins))
        slopes = -(sample.costs * signs * shares) @ values
        bends = (values * (sample.costs * signs**2 * bent)[:, None]).T @ values
        ridge = ridge or _RIDGE * float(np.trace(bends)) / num_members
        curvature = bends.astype(np.float64) + ridge * np.eye(num_members)
        gradient = slopes.astype(np.float64) + ridge * (weights - equal)
        change = _descend(curvature, curvature @ weights - gradient, weights) - weights
        before = measure(weights)
        while measure(weights + change) > before and np.abs(change).max() > _TOLERANCE:
            change = change / 2
        weights = weights + change
        if np.abs(change).max() <= _TOLERANCE:
            break
    return _round(weights)


def select_members(
    sample: PixelSample, averaging: Averaging = "probability", threshold: float = DEFAULT_THRESHOLD
) -> tuple[float, ...]:
    """Chooses members one after the other, with replacement (Caruana et al. 2004, Ensemble Selection from Libraries of
    Models, ICML); a weight is how often its member was chosen.

    Each round adds the member that leaves the least cost of pixels on the wrong side of the cut; of equal ones the
    first. The rounds up to the best of all are kept, the fewest that reach it.

    Args:
        sample: pixels, drawn at this threshold.
        averaging: of the blend that the weights are for.
        threshold: where it is cut.

    Returns:
        One weight a member, which sum to 1 up to floating point.
    """
    num_members = sample.probs.shape[1]
    values, cut = _list_averaged(sample, averaging, threshold)
    columns = [np.ascontiguousarray(column) for column in values.T]
    total = np.zeros(len(sample.costs), dtype=np.float32)
    chosen: list[int] = []
    costs: list[float] = []
    for size in range(1, _ROUNDS + 1):
        tried = [
            float(sample.costs[(total + column >= cut * size) != sample.is_true].sum(dtype=np.float64))
            for column in columns
        ]
        chosen.append(int(np.argmin(tried)))
        costs.append(tried[chosen[-1]])
        total += columns[chosen[-1]]
    kept = chosen[: int(np.argmin(costs)) + 1]
    return tuple((np.bincount(kept, minlength=num_members) / len(kept)).tolist())


def _list_averaged(
    sample: PixelSample, averaging: Averaging, threshold: float
) -> tuple[npt.NDArray[np.float32], np.float32]:
    """Returns what is averaged, float32 (pixels, members), and what the mean must reach; logits in the unit of
    probabilities at the cut, where dp = t (1 - t) dlogit.
    """
    cut = np.float32(find_cut(threshold))
    if averaging == "probability":
        return sample.probs, cut
    logit = np.float32(to_logits(np.array([cut]))[0])
    reached = 1 / (1 + np.exp(-logit))  # of a cut at 1, the most that a mean of logits reaches
    slope = np.float32(reached * (1 - reached))
    return slope * to_logits(sample.probs), slope * logit


def _descend(
    gram: npt.NDArray[np.float64], target: npt.NDArray[np.float64], start: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Minimizes w G w / 2 - target w over the simplex: projected gradient with momentum (Beck and Teboulle 2009)."""
    step = 1 / float(np.linalg.eigvalsh(gram)[-1])
    weights, ahead, momentum = start, start, 1.0
    for _ in range(_MAX_INNER):
        moved = project_to_simplex(ahead - step * (gram @ ahead - target))
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        change, weights = moved - weights, moved
        ahead, momentum = moved + (momentum - 1) / following * change, following
        if np.abs(change).max() < _TOLERANCE / 100:
            break
    return weights


def project_to_simplex(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Returns the nearest weights that are at least 0 and sum to 1 (Held, Wolfe and Crowder 1974)."""
    falling = np.sort(values)[::-1]
    surplus = (np.cumsum(falling) - 1) / np.arange(1, len(values) + 1)
    return np.asarray(np.maximum(values - surplus[np.nonzero(falling > surplus)[0][-1]], 0))


def _round(weights: npt.NDArray[np.float64]) -> tuple[float, ...]:
    """Rounds weights; the largest gets what rounding leaves over."""
    rounded = np.round(weights, _DIGITS)
    largest = int(np.argmax(rounded))
    rounded[largest] = round(1 - float(np.delete(rounded, largest).sum()), _DIGITS)
    return tuple(rounded.tolist())
