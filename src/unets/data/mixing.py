"""Two images made into one, with their masks: a box of the other (CutMix), or its objects (copy-paste)."""

import numpy as np

from unets.data.degrade import draw_box
from unets.data.image import ImageU8

Pair = tuple[ImageU8, ImageU8]


def cut_mix(pair: Pair, other: Pair, rng: np.random.Generator) -> Pair:
    """Shows a box of another image and its target, of the same place; its area is uniform in 0 to all of the image.

    Yun et al. 2019 (arXiv 1905.04899), with their Beta(1, 1). Images are uint8 (height, width, channels), targets
    uint8 (height, width, layers); neither pair is written to.
    """
    box = draw_box(pair[0].shape, np.full(2, np.sqrt(rng.random())), rng)
    image, target = (array.copy() for array in pair)
    image[box], target[box] = other[0][box], other[1][box]
    return image, target


def copy_paste(
    pair: Pair, other: Pair, rng: np.random.Generator, *, num_classes: int, is_overlapping: bool = False
) -> Pair:
    """Lays objects of another image over one, where they are, blended by their share of each pixel.

    Ghiasi et al. 2021 (arXiv 2012.07177) draw which objects; here each of the other's classes comes with probability a
    half, one at least (ClassMix, Olsson et al. 2021, arXiv 2007.07936), and all where classes overlap. `num_classes`:
    layers of a target that hold objects, the first; those of ignored pixels follow. As `cut_mix` otherwise.
    """
    layers_hwc = other[1][..., :num_classes]
    present = np.flatnonzero(layers_hwc.any(axis=(0, 1)))
    if not len(present):
        return pair
    chosen = rng.random(len(present)) < 0.5
    chosen[rng.integers(len(present))] = True
    pasted_hwc = np.zeros_like(pair[1])
    names = present if is_overlapping else present[chosen]
    pasted_hwc[..., names] = layers_hwc[..., names]
    # Classes that share a pixel sum to what they cover; those that overlap cover as much as the largest.
    share_hw = pasted_hwc.max(axis=-1) if is_overlapping else pasted_hwc.sum(axis=-1, dtype=np.uint16).clip(max=255)
    weight_hw1 = share_hw.astype(np.float32)[..., None] / 255
    target = pair[1] * (1 - weight_hw1) + pasted_hwc
    image = pair[0] + weight_hw1 * (other[0].astype(np.float32) - pair[0])
    return np.rint(image).astype(np.uint8), np.rint(target).clip(0, 255).astype(np.uint8)
