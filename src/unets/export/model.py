"""A trained model, and what it finds in an image: the probability maps and masks of a submission."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from unets.config import Threshold
from unets.data.geometry import SizeHW, resize
from unets.data.image import ImageFile, ImageU8, to_grey, to_rgb
from unets.ensemble.mask_scores import expect_dice
from unets.ensemble.postprocess import ClassMask, blur, clean_mask
from unets.ensemble.recipe import MapU8, Recipe, average_maps
from unets.errors import InputError
from unets.export.card import ModelCard
from unets.prediction.sources import StoredWeights

AnyImage = str | Path | ImageFile | Image.Image | ImageU8
Weights = tuple[tuple[Path | StoredWeights, ...], ...]  # of each member, one a fold


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
        """The Dice score that the probabilities themselves expect of the mask, 0..1; see `expect_dice`."""
        return expect_dice(self.probs, self.mask)


def find_result(recipe: Recipe, maps: Sequence[MapU8], full_hw: SizeHW) -> Result:
    """Makes the result of an image of that size from its members' maps; its mask has the bits of `make_mask`."""
    probs = blur(average_maps(recipe, maps, full_hw), recipe.postprocessing.blur_px)
    mask = clean_mask(recipe.cut(probs), recipe.postprocessing)
    return Result(probs=probs, mask=mask, threshold=recipe.threshold)


class TrainedModel:
    """A card, and where the weights are of which nets are built when they are first needed.

    Images may be of any size. A path, and a PIL image, is seen as its file says: 8 or 16 bits, gray, transparent, and
    upright as its orientation tag says. An array is uint8 RGB (height, width, 3), or (height, width) of gray levels; of
    a model of n channels (height, width, n).

    Attributes:
        card: what is known of the model.
        weights: of each member, a file or a part of one a fold.
        batch_size: images that a net sees at a time; None is as configured. Nets are compiled for one number, so a
            single image costs as much as a batch.
    """

    def __init__(self, card: ModelCard, weights: Weights, batch_size: int | None = None) -> None:
        self.card, self.weights, self.batch_size = card, weights, batch_size

    def __repr__(self) -> str:
        """Returns a line for people: name, classes, nets, score."""
        return f"<TrainedModel {self.card.summary}>"

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the foreground classes; the k-th has the value k in a mask."""
        return self.card.classes

    @cached_property
    def predictors(self) -> list[Any]:
        """One a member, with its nets; importing Keras takes seconds.

        Raises InputError where weights are damaged, or of another net than the card says.
        """
        from unets.prediction.loading import load_predictor

        found, batch_size = [], {} if self.batch_size is None else {"batch_size": self.batch_size}
        for member, weights in zip(self.card.members, self.weights, strict=True):
            prediction = member.experiment.prediction.model_copy(update=batch_size)
            predictor = load_predictor(
                weights,
                member.experiment.model_copy(update={"prediction": prediction}),
                prediction.tile_hw or member.size_hw,
                self.card.dataset,
            )
            found.append(predictor)
        return found

    def mask(self, image: AnyImage) -> ClassMask:
        """Makes the mask of an image, see `Result.mask`: a path, a PIL image or an array, see the class.

        Raises InputError where it cannot be read, or is of other channels than the model's.
        """
        return self.find(image).mask

    def probs(self, image: AnyImage) -> npt.NDArray[np.float32]:
        """Finds the probability of each class in each pixel, before the threshold: float32 (height, width, classes)."""
        return self.find(image).probs

    def find(self, image: AnyImage) -> Result:
        """Finds mask, probabilities, area and confidence of an image at once; see `mask`."""
        photo = ImageFile(Path(image), self.card.find_kind()) if isinstance(image, str | Path) else image
        if isinstance(photo, ImageFile):
            photo.check_end()
            full_hw, images = photo.size_hw, {size_hw: photo.read(size_hw) for size_hw in self.card.sizes}
        else:
            image_hwc = self._to_array(photo)
            full_hw = (image_hwc.shape[0], image_hwc.shape[1])
            images = {size_hw: resize(image_hwc, size_hw) for size_hw in self.card.sizes}
        (maps,) = self.predict([images])
        return find_result(self.card.find_recipe(full_hw), maps, full_hw)

    def predict(self, images: Sequence[Mapping[SizeHW, ImageU8]]) -> list[list[MapU8]]:
        """Predicts images, each uint8 RGB (height, width, 3) at all `sizes` of the card.

        Returns a probability map of each member for each image, uint8 (height, width, classes), 0..255.
        """
        from unets.prediction.loading import predict_batch

        by_member = []
        for member, predictor in zip(self.card.members, self.predictors, strict=True):
            step, maps = predictor.batch_size, list[MapU8]()
            for start in range(0, len(images), step):
                images_nhwc = np.stack([image[member.size_hw] for image in images[start : start + step]])
                maps += [mean for mean, _ in predict_batch(predictor, images_nhwc, member.experiment.prediction)]
            by_member.append(maps)
        return [list(maps) for maps in zip(*by_member, strict=True)]

    def _to_array(self, image: Image.Image | ImageU8) -> ImageU8:
        channels = self.card.channels
        if isinstance(image, Image.Image):
            if image.mode[0] in "IF":
                raise InputError(f"`image` must have 8 bits; give its path instead. Received: mode {image.mode}")
            image = ImageOps.exif_transpose(image)
            image = np.array(image if isinstance(channels, int) else image.convert("RGB"))
        found = {2: 1, 3: image.shape[-1]}.get(image.ndim)
        fits = found == channels if isinstance(channels, int) else found in (1, 3, 4)
        if image.dtype != np.uint8 or not fits or image.size == 0:
            raise InputError(
                f"`image` must be a path, a PIL image or uint8 (height, width, {self.card.dataset.num_channels}). "
                f"Received: {image.dtype} {image.shape}"
            )
        if isinstance(channels, int):
            return image
        return to_grey(to_rgb(image)) if channels == "grey" else to_rgb(image)
