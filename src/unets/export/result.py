"""What a model finds in one image: probabilities, the mask, and how sure it is; and the pictures that show it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import cycle, islice
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from unets.config import Threshold
from unets.data.drawing import COLORS_RGB, draw_contours
from unets.data.geometry import SizeHW
from unets.data.image import ImageFile
from unets.ensemble.postprocess import ClassMask, blur, clean_mask, to_masks
from unets.ensemble.recipe import MapU8, Recipe, average_maps
from unets.errors import InputError
from unets.export.cutout import blur_background, cut_out, find_opacity, lay_on

ImageU8 = npt.NDArray[np.uint8]

_CONTOUR_SHARE = 1 / 400  # of the image's shorter side
CUTOUT, OVERLAY = "_cutout.png", "_overlay.jpg"


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """What a model finds in one image.

    Attributes:
        probs: float32 (height, width, classes), 0..1: the probability of each class, before the threshold.
        mask: uint8 (height, width): 0 is background, k the k-th class. Where classes overlap, uint8 (height, width,
            classes) of 0 and 1.
        threshold: that the mask was made with, of all classes or of each.
    """

    probs: npt.NDArray[np.float32]
    mask: ClassMask
    threshold: Threshold

    @cached_property
    def union(self) -> ClassMask:
        """uint8 (height, width) class index; of a pixel of several classes the last one's."""
        if self.mask.ndim == 2:
            return self.mask
        return np.asarray((self.mask * np.arange(1, self.mask.shape[-1] + 1, dtype=np.uint8)).max(axis=-1))

    @cached_property
    def area(self) -> float:
        """Share of the image that is of any class, 0..1."""
        return float(np.count_nonzero(self.union) / self.union.size)

    @cached_property
    def confidence(self) -> float:
        """The Dice score that the probabilities themselves expect of the mask, 0..1; 1 where every pixel is certain.

        2 sum(p m) / (sum(p) + sum(m)) over pixels and classes, p the probabilities and m the mask; of an empty mask one
        minus the highest probability.
        """
        if not self.area:
            return float(1 - self.probs.max(initial=0))
        layers = split_classes(self.mask, self.probs.shape[-1])
        both = sum(float(self.probs[..., k][layer].sum(dtype=np.float64)) for k, layer in enumerate(layers))
        total = float(self.probs.sum(dtype=np.float64)) + sum(np.count_nonzero(layer) for layer in layers)
        return 2 * both / total

    def cut_out(self, photo: ImageFile, image_hwc: ImageU8) -> ImageU8:
        """Makes the cut-out, uint8 RGBA (height, width, 4): the image with all but the objects transparent."""
        probs, threshold = self.probs, self.threshold
        if self.mask.ndim == 3:  # of classes that overlap, the one that exceeds its threshold the most counts
            probs, threshold = (probs - np.asarray(threshold, dtype=np.float32)).max(axis=-1, keepdims=True), 0.0
        opacity_hw = find_opacity(probs, self.union, threshold)
        given_hw = photo.read_opacity()
        if given_hw is not None:  # what was transparent stays so
            opacity_hw *= given_hw.astype(np.float32) / 255
        return cut_out(image_hwc, opacity_hw)


def find_result(recipe: Recipe, maps: Sequence[MapU8], full_hw: SizeHW) -> Result:
    """Makes the result of an image from its members' maps; its mask has the bits of `recipe.make_mask`.

    Args:
        recipe: for images of this size.
        maps: one a member, uint8 (height, width, classes), 0..255.
        full_hw: (height, width) of the image.
    """
    probs = blur(average_maps(recipe, maps, full_hw), recipe.postprocessing.blur_px)
    mask = clean_mask(to_masks(probs, recipe.threshold, overlapping=recipe.overlapping), recipe.postprocessing)
    return Result(probs=probs, mask=mask, threshold=recipe.threshold)


def split_classes(mask: ClassMask, num_classes: int) -> list[npt.NDArray[np.bool_]]:
    """Returns where each class is, bool (height, width), of a mask as `Result` has it."""
    if mask.ndim == 3:
        return [mask[..., index] > 0 for index in range(num_classes)]
    return [mask == index for index in range(1, num_classes + 1)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pictures:
    """What is made of an image beside its masks.

    Attributes:
        cutout: the objects alone, all else transparent.
        overlay: the image with the contours of the mask.
        background: what the objects are laid on: `white`, `blur`, a color as `#ff8800`; nothing where it is empty.
    """

    cutout: bool = False
    overlay: bool = False
    background: str = ""

    def list_endings(self, classes: Sequence[str], *, overlapping: bool) -> tuple[str, ...]:
        """Returns the endings of the files made of an image, those of masks last: one a class where they overlap.

        Raises:
            InputError: the background is something else.
        """
        ground = self.background.lower()
        if ground and not re.fullmatch(r"white|blur|#[0-9a-f]{6}", ground):
            raise InputError(f"`--background` must be white, blur or a color as #ff8800. Received: {ground}")
        wanted = {CUTOUT: self.cutout, OVERLAY: self.overlay, f"_{ground.removeprefix('#')}.jpg": bool(ground)}
        names = [re.sub(r"[^\w.-]+", "-", name) for name in classes]
        if len({*names, "cutout"}) <= len(names):  # two classes alike, or one called as the other file
            names = [str(number) for number in range(1, len(names) + 1)]
        masks = [f"_{name}.png" for name in names] if overlapping else [".png"]
        return (*(ending for ending, is_wanted in wanted.items() if is_wanted), *masks)


def render(result: Result, photo: ImageFile, endings: Sequence[str]) -> list[Image.Image]:
    """Draws what files of these endings hold.

    Args:
        result: of the image.
        photo: the image.
        endings: see `Pictures`.
    """
    num_classes = result.probs.shape[-1]
    masks = render_masks(result.mask, num_classes)
    pictures = endings[: len(endings) - len(masks)]
    if not pictures:
        return masks
    image_hwc = photo.read_rgb()
    cutout = result.cut_out(photo, image_hwc) if set(pictures) != {OVERLAY} else image_hwc
    return [*(_draw(ending, result, image_hwc, cutout) for ending in pictures), *masks]


def render_masks(mask: ClassMask, num_classes: int) -> list[Image.Image]:
    """Draws masks: of one class 0 and 255, where classes overlap one each; else class indices, with a palette."""
    if num_classes == 1 or mask.ndim == 3:
        return [Image.fromarray(layer * np.uint8(255)) for layer in split_classes(mask, num_classes)]
    picture, colors = Image.fromarray(mask), islice(cycle(COLORS_RGB), num_classes)
    picture.putpalette([level for color in ((0, 0, 0), *colors) for level in color])
    return [picture]


def _draw(ending: str, result: Result, image_hwc: ImageU8, cutout: ImageU8) -> Image.Image:
    if ending == CUTOUT:
        return Image.fromarray(cutout)
    if ending == OVERLAY:
        thickness_px = max(1, round(min(image_hwc.shape[:2]) * _CONTOUR_SHARE))
        return Image.fromarray(draw_contours(image_hwc, result.union, thickness_px=thickness_px))
    name = ending.removeprefix("_").removesuffix(".jpg")
    if name == "blur":
        return Image.fromarray(lay_on(cutout, blur_background(image_hwc, cutout[..., 3])))
    color: Any = (255, 255, 255) if name == "white" else tuple(bytes.fromhex(name))
    return Image.fromarray(lay_on(cutout, np.full_like(image_hwc, color)))
