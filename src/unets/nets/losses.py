"""Losses on logits, against targets that may be fractions.

Each takes `targets` (batch, height, width, classes), float 0..1, the share of a pixel that each class covers, and
`logits` (batch, height, width, channels): one channel for one class, background and the classes for several. Each
returns one value a photo, (batch,), float32.
"""

from collections.abc import Callable
from typing import Any

from keras import ops

Tensor = Any
Loss = Callable[[Tensor, Tensor], Tensor]

# Added to both sides of Dice's fraction: both empty gives 1, and the gradient stays finite.
_SMOOTH_PX = 1.0


def bce(targets: Tensor, logits: Tensor) -> Tensor:
    """Cross-entropy, the mean over pixels: binary for one channel, categorical over background and classes otherwise.

    With a target t in 0..1 it is smallest where the probability is t itself.
    """
    if logits.shape[-1] == 1:
        # log(1 + exp(z)) - z t, which cannot overflow. Written with max(z, 0) and |z|, its gradient at z = 0, where all
        # units are dead, is 1 - t on TensorFlow in place of 0.5 - t.
        return ops.mean(ops.softplus(logits) - logits * targets, axis=(1, 2, 3))
    entropy = -ops.sum(with_background(targets) * ops.log_softmax(logits, axis=-1), axis=-1)
    return ops.mean(entropy, axis=(1, 2))


def dice(targets: Tensor, logits: Tensor) -> Tensor:
    """Soft Dice, 1 - (2 sum(p t) + 1) / (sum(p) + sum(t) + 1) over a photo's pixels, the mean over classes.

    Milletari et al. 2016 (arXiv 1606.04797), with plain sums below the line.
    """
    probs = to_probs(logits)
    both = ops.sum(probs * targets, axis=(1, 2))
    total = ops.sum(probs, axis=(1, 2)) + ops.sum(targets, axis=(1, 2))
    return 1 - ops.mean((2 * both + _SMOOTH_PX) / (total + _SMOOTH_PX), axis=-1)


def bce_dice(targets: Tensor, logits: Tensor) -> Tensor:
    """`bce` + `dice`: the first is calibrated, the second is what is scored."""
    return bce(targets, logits) + dice(targets, logits)


LOSSES: dict[str, Loss] = {"bce": bce, "dice": dice, "bce_dice": bce_dice}


def build_loss(name: str) -> Loss:
    """Returns the loss of that name for batches as they come: uint8 targets of 0..255, logits of any float dtype."""
    loss = LOSSES[name]

    def scaled_loss(targets_u8: Tensor, logits: Tensor) -> Tensor:
        return loss(ops.cast(targets_u8, "float32") / 255.0, ops.cast(logits, "float32"))

    scaled_loss.__name__ = name
    return scaled_loss


def to_probs(logits: Tensor) -> Tensor:
    """Turns logits into the probabilities of the foreground classes, float32 (batch, height, width, classes)."""
    logits = ops.cast(logits, "float32")
    if logits.shape[-1] == 1:
        return ops.sigmoid(logits)
    return ops.softmax(logits, axis=-1)[..., 1:]


def with_background(targets: Tensor) -> Tensor:
    """Puts the share that no class covers before the classes' shares."""
    # Warping rounds each class by itself: two halves become 128 + 128 of 255, and a negative share has no lower bound.
    background = ops.maximum(1 - ops.sum(targets, axis=-1, keepdims=True), 0)
    return ops.concatenate([background, targets], axis=-1)
