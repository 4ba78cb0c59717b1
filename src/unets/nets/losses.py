"""Losses on logits, against targets that may be fractions.

Each takes `targets` (batch, height, width, classes), float 0..1, the share of a pixel that each class covers, and
`logits` (batch, height, width, channels). Classes that exclude each other have background's channel before their own,
and a softmax over all; one class, and classes that overlap, have a channel each and independent sigmoids. Each loss
returns one value an image, (batch,), float32. What else it takes is named, has a default, and may stand in
`TrainingConfig.loss_args`. All take fractions but `lovasz`, which is defined for 0 and 1 alone.
"""

from collections.abc import Callable
from inspect import signature
from math import inf
from typing import Any

from keras import ops

from unets.errors import InputError

Tensor = Any
Loss = Callable[[Tensor, Tensor], Tensor]

# Added to both sides of Dice's fraction: both empty gives 1, and the gradient stays finite.
_SMOOTH_PX = 1.0
_CERTAIN = 30.0  # a logit whose probability is 1 in float32
# x ** gamma has an infinite gradient at 0 for a gamma below 1; float32 probabilities next to 1 lie 6e-8 apart.
_SMALLEST_ERROR = 1e-7


def bce(targets: Tensor, logits: Tensor) -> Tensor:
    """Cross-entropy, the mean over pixels: categorical over background and classes, or the mean of each class's binary.

    With a target t in 0..1 it is smallest where the probability is t itself.
    """
    return ops.mean(find_entropy(targets, logits), axis=(1, 2))


def dice(targets: Tensor, logits: Tensor) -> Tensor:
    """Soft Dice, 1 - (2 sum(p t) + 1) / (sum(p) + sum(t) + 1) over an image's pixels, the mean over classes.

    Milletari et al. 2016 (arXiv 1606.04797), with plain sums below the line. Fractions are allowed, yet where t is one
    it is not smallest at p = t: it pulls p to 0 or 1.
    """
    return 1 - ops.mean(find_soft_dice(targets, logits), axis=-1)


def bce_dice(targets: Tensor, logits: Tensor) -> Tensor:
    """`bce` + `dice`: the first is calibrated, the second is what is scored."""
    return bce(targets, logits) + dice(targets, logits)


def bce_log_dice(targets: Tensor, logits: Tensor) -> Tensor:
    """`bce` - log(soft Dice), of several classes the mean of their logarithms: the worse a class, the more it counts.

    An option of the 1st and of the 3rd place of Carvana (asanakoy/kaggle_carvana_segmentation,
    lyakaap/Kaggle-Carvana-3rd-Place-Solution); the mean of logarithms is that of Wong et al. 2018 (arXiv 1809.00076).
    """
    # Dice's added pixel keeps it above 1 / (2 pixels + 1): the logarithm is finite.
    return bce(targets, logits) - ops.mean(ops.log(find_soft_dice(targets, logits)), axis=-1)


def border_bce(targets: Tensor, logits: Tensor, *, width_px: float = 21, weight: float = 3) -> Tensor:
    """Cross-entropy e, the mean over pixels, where w = `weight` near a border and 1 elsewhere: sum(w e) / sum(w).

    As the 1st place of Carvana (asanakoy/kaggle_carvana_segmentation) did it, 3 to 1 and with windows of 11 px for
    images 128 px high, 21 for 256 and 512, 41 for 1024, 51 for 1280. The 3rd place let the weight fall smoothly, as
    exp(-5 |m - 0.5|) for a mean m over 50 px. Two things differ from the former: the weights average to 1 over each
    image, not over the batch, so that an image's loss does not depend on its neighbours; and a window at the image's
    edge averages what lies inside, so that an object cut by the edge has no border there. Smallest at p = t, as `bce`.

    Args:
        targets: see above; fractions are averaged as they are.
        logits: see above.
        width_px: side of the window, odd; pixels up to half of it away from the other side are near. Pixels of the
            logits: of coarser ones (deep supervision) it spans more of the image.
        weight: of a pixel near a border, where the others have 1.
    """
    weights = find_border_weights(targets, width_px, weight)
    return ops.sum(weights * find_entropy(targets, logits), axis=(1, 2)) / ops.sum(weights, axis=(1, 2))


def border_bce_dice(targets: Tensor, logits: Tensor, *, width_px: float = 21, weight: float = 3) -> Tensor:
    """`border_bce` + `dice`, the latter without weights, as the 3rd place of Carvana had it.

    The 1st place weighted Dice by the square of the weights too: a border pixel then counts 9 times, which is no longer
    what is scored, and only the scored figure is the reason to have Dice here at all.
    """
    return border_bce(targets, logits, width_px=width_px, weight=weight) + dice(targets, logits)


def focal(targets: Tensor, logits: Tensor, *, gamma: float = 2, alpha: float | None = None) -> Tensor:
    """Focal loss: cross-entropy that fades where the net is right, the mean over pixels of a |t - p|^gamma e.

    For t of 0 and 1 it is that of Lin et al. 2017 (arXiv 1708.02002), (1 - p_t)^gamma (-log p_t); for fractions that of
    Li et al. 2020 (arXiv 2006.04388), which is 0, its least, at p = t. With background's channel,
    |t - p|^gamma e is sum_c |t_c - p_c|^gamma t_c (-log p_c): the same two for two channels as for one, and 0 at p = t.

    Args:
        targets: see above.
        logits: see above.
        gamma: how little a pixel counts that is nearly right; 0: `bce`.
        alpha: weight a of the classes, where background has 1 - alpha; between them for fractions. None: 1 everywhere.
    """
    if _is_independent(targets, logits):
        pixels = _damp(targets - ops.sigmoid(logits), gamma) * _find_binary_entropy(targets, logits)
        background = 1 - targets
    else:
        shares = with_background(targets)
        damping = _damp(shares - ops.softmax(logits, axis=-1), gamma)
        pixels = -ops.sum(damping * shares * ops.log_softmax(logits, axis=-1), axis=-1, keepdims=True)
        background = shares[..., :1]
    if alpha is not None:
        pixels = pixels * (alpha * (1 - background) + (1 - alpha) * background)
    return ops.mean(pixels, axis=(1, 2, 3))


def lovasz(targets: Tensor, logits: Tensor) -> Tensor:
    """The Lovasz extension of the Jaccard loss, 1 - |X and Y| / |X or Y| (Berman et al. 2018, arXiv 1705.08790).

    Of independent classes: of the hinge errors max(1 - (2 t - 1) z, 0), the mean over classes. Otherwise: of the errors
    |t_c - p_c|, the mean over those of background and classes that the image has.

    It is defined for targets of 0 and 1 and thresholds nothing: fractions give finite values without a meaning. The
    configuration asks for `data.targets="hard"`. Pixels beyond the margin have no gradient, and the net's
    probabilities are not calibrated: its maps do not mix well with those of other losses.
    """
    if _is_independent(targets, logits):
        return ops.mean(extend_jaccard(targets, ops.relu(1 - (2 * targets - 1) * logits)), axis=-1)
    shares = with_background(targets)
    present = ops.cast(ops.any(shares > 0, axis=(1, 2)), "float32")
    values = extend_jaccard(shares, ops.abs(shares - ops.softmax(logits, axis=-1)))
    return ops.sum(present * values, axis=-1) / ops.sum(present, axis=-1)


LOSSES: dict[str, Callable[..., Tensor]] = {
    "bce": bce,
    "dice": dice,
    "bce_dice": bce_dice,
    "bce_log_dice": bce_log_dice,
    "border_bce": border_bce,
    "border_bce_dice": border_bce_dice,
    "focal": focal,
    "lovasz": lovasz,
}

# What an argument must be.
_RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    "width_px": (lambda value: 3 <= value < inf and value % 2 == 1, "be an odd whole number from 3 on"),
    "weight": (lambda value: 0 < value < inf, "be above 0"),
    "gamma": (lambda value: 0 <= value < inf, "be at least 0"),
    "alpha": (lambda value: 0 < value < 1, "lie between 0 and 1"),
}


def build_loss(name: str, /, *, overlapping: bool = False, **args: float) -> Loss:
    """Returns the loss of that name for batches as they come: uint8 targets of 0..255, logits of any float dtype.

    Args:
        name: a key of `LOSSES`.
        overlapping: whether a pixel may be of several classes.
        **args: the loss's own arguments, as in `TrainingConfig.loss_args`.

    Raises:
        InputError: there is no such loss, it has no such argument, or the argument is out of range.
    """
    if name not in LOSSES:
        raise InputError(f"`loss` must be one of {', '.join(LOSSES)}. Received: loss={name!r}")
    loss = LOSSES[name]
    allowed = [known.name for known in signature(loss).parameters.values() if known.kind is known.KEYWORD_ONLY]
    for arg, value in args.items():
        if arg not in allowed:
            expectation = f"hold none but {', '.join(allowed)}" if allowed else "be empty"
            raise InputError(f"`loss_args` must {expectation} for loss={name!r}. Received: {arg}={value!r}")
        holds, expectation = _RANGES[arg]
        if not holds(value):
            raise InputError(f"`loss_args` must {expectation} in {arg}. Received: {arg}={value!r}")

    def scaled_loss(targets_u8: Tensor, logits: Tensor) -> Tensor:
        targets, logits = scale_batch(targets_u8, logits, overlapping=overlapping)
        return loss(targets, logits, **args)

    scaled_loss.__name__ = name
    return scaled_loss


def scale_batch(targets_u8: Tensor, logits: Tensor, *, overlapping: bool) -> tuple[Tensor, Tensor]:
    """Makes float32 shares and logits of a batch, without the ignored pixels, for any loss or score.

    A pixel of which half or more is ignored becomes background that the net is sure of: no loss, no gradient, no area.
    Of another, the labeled part stands for the whole. Means over pixels still divide by all of them.

    Args:
        targets_u8: uint8 (batch, height, width, classes), 0..255; with one more layer, that is the ignored share.
        logits: (batch, height, width, channels), as a net returns them.
        overlapping: whether a pixel may be of several classes.

    Returns:
        (targets, logits): float32 of 0..1 with as many layers as classes, and float32.
    """
    targets, logits = ops.cast(targets_u8, "float32") / 255.0, ops.cast(logits, "float32")
    channels = logits.shape[-1]
    num_classes = channels if overlapping or channels == 1 else channels - 1
    if targets.shape[-1] == num_classes:
        return targets, logits
    ignored, shares = targets[..., -1:], targets[..., :-1]
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


def with_background(targets: Tensor) -> Tensor:
    """Puts the share that no class covers before the classes' shares."""
    # Warping rounds each class by itself: two halves become 128 + 128 of 255, and a negative share has no lower bound.
    background = ops.maximum(1 - ops.sum(targets, axis=-1, keepdims=True), 0)
    return ops.concatenate([background, targets], axis=-1)


def find_entropy(targets: Tensor, logits: Tensor) -> Tensor:
    """Returns the cross-entropy of each pixel, float32 (batch, height, width): of independent classes their mean."""
    if _is_independent(targets, logits):
        return ops.mean(_find_binary_entropy(targets, logits), axis=-1)
    return -ops.sum(with_background(targets) * ops.log_softmax(logits, axis=-1), axis=-1)


def find_soft_dice(targets: Tensor, logits: Tensor) -> Tensor:
    """Returns (2 sum(p t) + 1) / (sum(p) + sum(t) + 1), above 0 and at most 1, float32 (batch, classes)."""
    probs = to_probs(logits, overlapping=_is_independent(targets, logits))
    both = ops.sum(probs * targets, axis=(1, 2))
    total = ops.sum(probs, axis=(1, 2)) + ops.sum(targets, axis=(1, 2))
    return (2 * both + _SMOOTH_PX) / (total + _SMOOTH_PX)


def find_border_weights(targets: Tensor, width_px: float, weight: float) -> Tensor:
    """Returns `weight` where a class covers 1 to 99 % of the window around a pixel, else 1: (batch, height, width)."""
    side = int(width_px)
    pooled = targets
    # Two passes read 2 side pixels in place of side^2. What lies inside the image of a window is a rectangle too, whose
    # mean is the mean of its rows' means.
    for window in ((side, 1), (1, side)):
        pooled = ops.average_pool(pooled, window, strides=1, padding="same", data_format="channels_last")
    is_near = ops.any(ops.logical_and(pooled >= 0.01, pooled <= 0.99), axis=-1)
    return ops.where(is_near, float(weight), 1.0)


def extend_jaccard(targets: Tensor, errors: Tensor) -> Tensor:
    """The Lovasz extension of a class's Jaccard loss at `errors` (Berman et al. 2018, algorithm 1).

    With the errors sorted downwards and the targets t_k in that order, I_k = sum(t) - (t_1 + .. + t_k), U_k = I_k + k:
    the sum of error k times J_k - J_k-1, where J_k = 1 - I_k / U_k and J_0 = 0.

    Args:
        targets: float32 (batch, height, width, classes) of 0 and 1.
        errors: of the same shape, 0 or more.

    Returns:
        float32 (batch, classes).
    """
    targets, errors = (
        ops.transpose(ops.reshape(pixels, (ops.shape(pixels)[0], -1, pixels.shape[-1])), (0, 2, 1))
        for pixels in (targets, errors)
    )
    order = ops.argsort(ops.stop_gradient(-errors), axis=-1)
    targets, errors = (ops.take_along_axis(pixels, order, axis=-1) for pixels in (targets, errors))
    intersection = ops.sum(targets, axis=-1, keepdims=True) - ops.cumsum(targets, axis=-1)
    rank = ops.arange(1, ops.shape(targets)[-1] + 1, dtype="float32")
    union = intersection + rank
    union_before = intersection + targets + (rank - 1)
    # J_k - J_k-1, reduced to one fraction: of half a million pixels each difference is near 2e-6, and float32 next to 1
    # has steps of 6e-8. Without an object U_0 is 0 and J_1 is 1: the largest error alone counts.
    steps = (intersection * (1 - targets) + targets * union) / (union * ops.maximum(union_before, _SMALLEST_ERROR))
    has_object = ops.any(targets > 0, axis=-1, keepdims=True)
    steps = ops.where(has_object, steps, ops.cast(rank == 1, "float32"))
    return ops.sum(errors * steps, axis=-1)


def _is_independent(targets: Tensor, logits: Tensor) -> bool:
    """Tells whether each class has a sigmoid of its own: there is no channel of background."""
    return bool(targets.shape[-1] == logits.shape[-1])


def _find_binary_entropy(targets: Tensor, logits: Tensor) -> Tensor:
    # log(1 + exp(z)) - z t, which cannot overflow. Written with max(z, 0) and |z|, its gradient at z = 0, where all
    # units are dead, is 1 - t on TensorFlow in place of 0.5 - t.
    return ops.softplus(logits) - logits * targets


def _damp(errors: Tensor, gamma: float) -> Tensor:
    """Returns |error| ** gamma, with a finite gradient."""
    return ops.power(ops.maximum(ops.abs(errors), _SMALLEST_ERROR), gamma)
