"""Losses on logits, against targets that may be fractions, and weighted sums of them.

Each takes `targets` (batch, height, width, classes), float 0..1, the share of a pixel that each class covers, and
`logits` (batch, height, width, channels). Classes that exclude each other have background's channel before their own,
and a softmax over all; one class, and classes that overlap, have a channel each and independent sigmoids. Each loss
returns one value an image, (batch,), float32. All take fractions but `lovasz`, which is defined for 0 and 1 alone.

`class_weights` has a number for each class, where background has 1: means over pixels weigh each pixel (of independent
classes each of its classes) by what it is, and are divided by the sum of these weights; means over classes weigh these.
What else a loss takes is named, has a default and a range in `LOSS_ARGS`, and may stand in `TrainingConfig.loss_args`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keras import ops

from unets.config import LOSS_ARGS

Tensor = Any
Loss = Callable[[Tensor, Tensor], Tensor]
Weights = Sequence[float] | None

# Added to both sides of Dice's fraction, written as that of Tversky with halves: both empty gives 1, and the gradient
# stays finite.
_SMOOTH_PX = 0.5
_CERTAIN = 30.0  # a logit whose probability is 1 in float32
# Below it a power's gradient would grow without end, for exponents below 1; float32 probabilities next to 1 lie 6e-8
# apart.
_SMALLEST_ERROR = 1e-7


def bce(targets: Tensor, logits: Tensor, *, class_weights: Weights = None) -> Tensor:
    """Cross-entropy, the mean over pixels: categorical over background and classes, or the mean of each class's binary.

    With a target t in 0..1 it is smallest where the probability is t itself.

    For probabilities that mean what they say; with `dice`, the default.
    """
    return focal(targets, logits, class_weights=class_weights, gamma=0)


def focal(targets: Tensor, logits: Tensor, *, class_weights: Weights = None, gamma: float = 2) -> Tensor:
    """Focal loss: cross-entropy that fades where the net is right, the mean over pixels of |t - p|^gamma e.

    For t of 0 and 1 it is that of Lin et al. 2017 (arXiv 1708.02002), (1 - p_t)^gamma (-log p_t), whose alpha a is the
    weight a / (1 - a) of a class; for fractions that of Li et al. 2020 (arXiv 2006.04388), which is 0, its least, at
    p = t. With background's channel it is sum_c |t_c - p_c|^gamma t_c (-log p_c): the same two for two channels as for
    one. `gamma` says how little a pixel counts that is nearly right.

    For small objects before a large background that is easy.
    """
    return _average_pixels(find_entropy(targets, logits, gamma), _weigh(targets, logits, class_weights))


def border_bce(
    targets: Tensor, logits: Tensor, *, class_weights: Weights = None, width_px: float = 21, weight: float = 3
) -> Tensor:
    """Cross-entropy e, the mean over pixels, where w = `weight` near a border and 1 elsewhere: sum(w e) / sum(w).

    As the 1st place of Carvana (asanakoy/kaggle_carvana_segmentation) did it, 3 to 1 and with windows of 11 px for
    images 128 px high, 21 for 256 and 512, 41 for 1024, 51 for 1280. Two things differ: the weights average to 1 over
    each image, not over the batch, so that an image's loss does not depend on its neighbours; and a window at the
    image's edge averages what lies inside, so that an object cut by the edge has no border there.

    Pixels up to half of the window, `width_px` wide and odd, away from the other side are near: pixels of the logits.

    For contours that matter more than areas.
    """
    near = find_border_weights(targets, width_px, weight)[..., None]
    return _average_pixels(find_entropy(targets, logits), near * _weigh(targets, logits, class_weights))


def dice(targets: Tensor, logits: Tensor, *, class_weights: Weights = None) -> Tensor:
    """Soft Dice, 1 - (2 sum(p t) + 1) / (sum(p) + sum(t) + 1) over an image's pixels, the mean over classes.

    Milletari et al. 2016 (arXiv 1606.04797), with plain sums below the line. Where t is a fraction, the minimum is not
    at p = t: p is pulled to 0 or 1.

    For scores by Dice: an object counts by its overlap, whatever its size.
    """
    return tversky(targets, logits, class_weights=class_weights, false_positives=0.5, false_negatives=0.5)


def log_dice(targets: Tensor, logits: Tensor, *, class_weights: Weights = None) -> Tensor:
    """-log(soft Dice), of several classes the mean of their logarithms: the worse a class, the more it counts.

    Beside `bce` an option of the 1st and of the 3rd place of Carvana (asanakoy/kaggle_carvana_segmentation,
    lyakaap/Kaggle-Carvana-3rd-Place-Solution); the mean of logarithms is that of Wong et al. 2018 (arXiv 1809.00076).

    For several classes, some of which are hard.
    """
    # Dice's added pixel keeps it above 1 / (2 pixels + 1): the logarithm is finite.
    return _average_classes(-ops.log(_find_tversky(targets, logits, 0.5, 0.5)), class_weights)


def tversky(
    targets: Tensor,
    logits: Tensor,
    *,
    class_weights: Weights = None,
    false_positives: float = 0.3,
    false_negatives: float = 0.7,
) -> Tensor:
    """1 - TP / (TP + a FP + b FN) of soft counts, half a pixel added to both, the mean over classes.

    Salehi et al. 2017 (arXiv 1706.05721), whose best had a = `false_positives` = 0.3 and b = `false_negatives` = 0.7:
    an object that is missed costs more than one too many. Halves of both give `dice`.

    For objects that must not be missed; with the two the other way round, for none too many.
    """
    return _average_classes(1 - _find_tversky(targets, logits, false_positives, false_negatives), class_weights)


def lovasz(targets: Tensor, logits: Tensor, *, class_weights: Weights = None) -> Tensor:
    """The Lovasz extension of the Jaccard loss, 1 - |X and Y| / |X or Y| (Berman et al. 2018, arXiv 1705.08790).

    Of independent classes: of the hinge errors max(1 - (2 t - 1) z, 0), the mean over classes. Otherwise: of the errors
    |t_c - p_c|, the mean over those of background and classes that the image has.

    It is defined for targets of 0 and 1 and thresholds nothing: fractions give finite values without a meaning. The
    configuration asks for `data.targets="hard"`. Pixels beyond the margin have no gradient, and the net's
    probabilities are not calibrated: its maps do not mix well with those of other losses.

    For scores by IoU.
    """
    if _is_independent(targets, logits):
        return _average_classes(_extend_jaccard(targets, ops.relu(1 - (2 * targets - 1) * logits)), class_weights)
    shares = _with_background(targets)
    present = ops.cast(ops.any(shares > 0, axis=(1, 2)), "float32")
    if class_weights is not None:
        present = present * ops.convert_to_tensor([1.0, *class_weights])
    values = _extend_jaccard(shares, ops.abs(shares - ops.softmax(logits, axis=-1)))
    return ops.sum(present * values, axis=-1) / ops.sum(present, axis=-1)


def boundary(targets: Tensor, logits: Tensor, *, class_weights: Weights = None, reach_px: float = 16) -> Tensor:
    """The distance between contours: the mean over pixels of phi (p - t), the mean over classes.

    Kervadec et al. 2019 (arXiv 1812.07032): phi is the signed distance to the target's contour, negative inside, so
    that a wrong pixel costs as much as it is far from it. Two things differ: phi ends at `reach_px` and is divided by
    it, which makes the loss one of 0 to 1 at any image size, and t is subtracted, a constant, which makes it 0 where p
    is right. A class covers a pixel from a half on; the contour runs between pixels. Pixels are those of the logits.

    For small objects before a large background, beside `dice` or `bce` and with a smaller weight: alone, its gradient
    is small where nothing is found. The paper raises that weight from 0.01 by 0.01 an epoch; here it stays.
    """
    inside = targets >= 0.5
    distances = _find_distances(ops.concatenate([inside, ops.logical_not(inside)], axis=-1), int(reach_px))
    outwards, inwards = ops.split(distances, 2, axis=-1)
    phi = ops.where(inside, 0.5 - inwards, outwards - 0.5) / reach_px
    errors = to_probs(logits, overlapping=_is_independent(targets, logits)) - targets
    return _average_classes(ops.mean(phi * errors, axis=(1, 2)), class_weights)


LOSSES: dict[str, Callable[..., Tensor]] = {
    loss.__name__: loss for loss in (bce, focal, border_bce, dice, log_dice, tversky, lovasz, boundary)
}


def build_loss(
    losses: Mapping[str, float],
    args: Mapping[str, float] | None = None,
    *,
    class_weights: Weights = None,
    overlapping: bool = False,
) -> Loss:
    """Returns a sum of losses, each of `LOSSES` with its factor, for batches as they come: uint8 targets of 0..255,
    logits of any float dtype. Losses and `args` are as `TrainingConfig` checks them: each of `args` goes to all losses
    that have one of its name.
    """

    def add_up(targets_u8: Tensor, logits: Tensor) -> Tensor:
        targets, logits = scale_batch(targets_u8, logits, overlapping=overlapping)
        parts = []
        for name, factor in losses.items():
            own = {arg: value for arg, value in (args or {}).items() if arg in LOSS_ARGS.get(name, {})}
            parts.append(factor * LOSSES[name](targets, logits, class_weights=class_weights, **own))
        return sum(parts[1:], parts[0])

    return add_up


def scale_batch(targets_u8: Tensor, logits: Tensor, *, overlapping: bool) -> tuple[Tensor, Tensor]:
    """Makes float32 shares and logits of a batch, without the ignored pixels, for any loss or score.

    A pixel of which half or more is ignored becomes background that the net is sure of: no loss, no gradient, no area.
    Of another, the labeled part stands for the whole. Means over pixels still divide by all of them.

    Targets are uint8 (batch, height, width, classes), 0..255, followed by the ignored share: a layer, or where classes
    overlap one of each; logits as a net returns them. Returns both as float32, the targets 0..1 with as many layers as
    classes.
    """
    targets, logits = ops.cast(targets_u8, "float32") / 255.0, ops.cast(logits, "float32")
    channels = logits.shape[-1]
    num_classes = channels if overlapping or channels == 1 else channels - 1
    if targets.shape[-1] == num_classes:
        return targets, logits
    shares, ignored = targets[..., :num_classes], targets[..., num_classes:]
    is_ignored = ignored >= 0.5
    background = [-_CERTAIN] * channels if num_classes == channels else [_CERTAIN, *[-_CERTAIN] * num_classes]
    known = ops.where(is_ignored, 0.0, shares / ops.maximum(1 - ignored, 0.5))
    return known, ops.where(is_ignored, ops.convert_to_tensor(background, dtype="float32"), logits)


def to_probs(logits: Tensor, *, overlapping: bool = False) -> Tensor:
    """Turns logits into the probabilities of the foreground classes, float32 (batch, height, width, classes)."""
    logits = ops.cast(logits, "float32")
    if overlapping or logits.shape[-1] == 1:
        return ops.sigmoid(logits)
    return ops.softmax(logits, axis=-1)[..., 1:]


def find_entropy(targets: Tensor, logits: Tensor, gamma: float = 0) -> Tensor:
    """Returns the cross-entropy of each pixel, damped by `gamma` as in `focal`, float32 (batch, height, width, n).

    n is 1, or the number of classes where these are independent.
    """
    if _is_independent(targets, logits):
        # log(1 + exp(z)) - z t, which cannot overflow. Written with max(z, 0) and |z|, its gradient at z = 0, where all
        # units are dead, is 1 - t on TensorFlow in place of 0.5 - t.
        entropy = ops.softplus(logits) - logits * targets
        return entropy if gamma == 0 else _damp(targets - ops.sigmoid(logits), gamma) * entropy
    shares = _with_background(targets)
    entropy = -shares * ops.log_softmax(logits, axis=-1)
    if gamma != 0:
        entropy = _damp(shares - ops.softmax(logits, axis=-1), gamma) * entropy
    return ops.sum(entropy, axis=-1, keepdims=True)


def find_border_weights(targets: Tensor, width_px: float, weight: float) -> Tensor:
    """Returns `weight` where a class covers 1 to 99 % of the window around a pixel, else 1: (batch, height, width)."""
    pooled = targets
    # Two passes read 2 side pixels in place of side^2. What lies inside the image of a window is a rectangle too, whose
    # mean is the mean of its rows' means.
    for window in ((int(width_px), 1), (1, int(width_px))):
        pooled = ops.average_pool(pooled, window, strides=1, padding="same", data_format="channels_last")
    is_near = ops.any(ops.logical_and(pooled >= 0.01, pooled <= 0.99), axis=-1)
    return ops.where(is_near, float(weight), 1.0)


def _find_distances(is_there: Tensor, reach_px: int) -> Tensor:
    """Returns the distance to the nearest pixel that is there, at most `reach_px`, float32 (batch, height, width, n).

    Exact and separable: the least of f(x + s) + s^2 over shifts s, along columns and then along rows (Felzenszwalb and
    Huttenlocher 2012), as every backend compiles it. With its gradient `boundary` takes 66 CPU ms an image of 640 x 959
    on an EPYC, `dice` 2.
    """
    squares = ops.where(is_there, 0.0, float(reach_px**2))
    for axis in (1, 2):
        margins = [(reach_px, reach_px) if one == axis else (0, 0) for one in range(4)]
        padded = ops.pad(squares, margins, constant_values=float(reach_px**2))
        for shift in (one for step in range(1, reach_px) for one in (step, -step)):
            part = slice(reach_px + shift, shift - reach_px)
            moved = padded[:, part] if axis == 1 else padded[:, :, part]
            squares = ops.minimum(squares, moved + float(shift**2))
    return ops.sqrt(squares)


def _find_tversky(targets: Tensor, logits: Tensor, false_positives: float, false_negatives: float) -> Tensor:
    """Returns the index of `tversky`, above 0 and at most 1, float32 (batch, classes)."""
    probs = to_probs(logits, overlapping=_is_independent(targets, logits))
    both, found, wanted = (ops.sum(pixels, axis=(1, 2)) for pixels in (probs * targets, probs, targets))
    wrong = false_positives * (found - both) + false_negatives * (wanted - both)
    return (both + _SMOOTH_PX) / (both + wrong + _SMOOTH_PX)


def _extend_jaccard(targets: Tensor, errors: Tensor) -> Tensor:
    """The Lovasz extension of a class's Jaccard loss at `errors` (Berman et al. 2018, algorithm 1).

    With the errors sorted downwards and the targets t_k in that order, I_k = sum(t) - (t_1 + .. + t_k), U_k = I_k + k:
    the sum of error k times J_k - J_k-1, where J_k = 1 - I_k / U_k and J_0 = 0: float32 (batch, classes) of targets and
    errors, 0 or more, (batch, height, width, classes).
    """
    targets, errors = (
        ops.transpose(ops.reshape(pixels, (ops.shape(pixels)[0], -1, pixels.shape[-1])), (0, 2, 1))
        for pixels in (targets, errors)
    )
    order = ops.argsort(ops.stop_gradient(-errors), axis=-1)
    targets, errors = (ops.take_along_axis(pixels, order, axis=-1) for pixels in (targets, errors))
    intersection = ops.sum(targets, axis=-1, keepdims=True) - ops.cumsum(targets, axis=-1)
    rank = ops.arange(1, ops.shape(targets)[-1] + 1, dtype="float32")
    union, union_before = intersection + rank, intersection + targets + (rank - 1)
    # J_k - J_k-1, reduced to one fraction: of half a million pixels each difference is near 2e-6, and float32 next to 1
    # has steps of 6e-8. Without an object U_0 is 0 and J_1 is 1: the largest error alone counts.
    steps = (intersection * (1 - targets) + targets * union) / (union * ops.maximum(union_before, _SMALLEST_ERROR))
    has_object = ops.any(targets > 0, axis=-1, keepdims=True)
    return ops.sum(errors * ops.where(has_object, steps, ops.cast(rank == 1, "float32")), axis=-1)


def _with_background(targets: Tensor) -> Tensor:
    """Puts the share that no class covers before the classes' shares."""
    # Warping rounds each class by itself: two halves become 128 + 128 of 255, and a negative share has no lower bound.
    background = ops.maximum(1 - ops.sum(targets, axis=-1, keepdims=True), 0)
    return ops.concatenate([background, targets], axis=-1)


def _is_independent(targets: Tensor, logits: Tensor) -> bool:
    """Tells whether each class has a sigmoid of its own: there is no channel of background."""
    return bool(targets.shape[-1] == logits.shape[-1])


def _weigh(targets: Tensor, logits: Tensor, class_weights: Weights) -> Tensor | float:
    """Returns the weight of what a pixel is: 1 where there are no weights, else (batch, height, width, n)."""
    if class_weights is None:
        return 1.0
    more = targets * ops.convert_to_tensor([weight - 1.0 for weight in class_weights], dtype="float32")
    return 1 + (more if _is_independent(targets, logits) else ops.sum(more, axis=-1, keepdims=True))


def _average_pixels(pixels: Tensor, weights: Tensor | float) -> Tensor:
    if isinstance(weights, float):
        return ops.mean(pixels, axis=(1, 2, 3))
    return ops.sum(weights * pixels, axis=(1, 2, 3)) / ops.sum(weights * ops.ones_like(pixels), axis=(1, 2, 3))


def _average_classes(values: Tensor, class_weights: Weights) -> Tensor:
    if class_weights is None:
        return ops.mean(values, axis=-1)
    return ops.sum(values * ops.convert_to_tensor(class_weights, dtype="float32"), axis=-1) / sum(class_weights)


def _damp(errors: Tensor, gamma: float) -> Tensor:
    """Returns |error| ** gamma, of errors below 1e-7 that of 1e-7: so its gradient is finite."""
    return ops.power(ops.maximum(ops.abs(errors), _SMALLEST_ERROR), gamma)
