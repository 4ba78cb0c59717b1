"""A trained model, ready for work: from images to probability maps, and from these to masks, as for a submission."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from unets.data.geometry import SizeHW, shrink
from unets.data.image import ImageFile, to_grey, to_rgb
from unets.ensemble.postprocess import ClassMask
from unets.errors import InputError
from unets.export.card import ModelCard
from unets.export.result import Result, find_result
from unets.export.sources import ModelSource
from unets.prediction.loading import load_predictor, predict_batch

ImageU8 = npt.NDArray[np.uint8]
MapU8 = npt.NDArray[np.uint8]
AnyImage = str | Path | ImageFile | Image.Image | ImageU8


class TrainedModel:
    """Nets with their weights, and the recipe that makes masks of their probability maps.

    Images may be of any size. A path, and a PIL image, is seen as its file says: 8 or 16 bits, gray, transparent, and
    upright as its orientation tag says. An array is uint8 RGB (height, width, 3), or (height, width) of gray levels; of
    a model of n channels (height, width, n).

    Args:
        source: the model, as `open_model` gives it.
        batch_size: images that a net sees at a time; None is as configured. Nets are compiled for one number, so a
            single image costs as much as a batch.

    Raises:
        InputError: weights are damaged, or of another net than the card says.
    """

    def __init__(self, source: ModelSource, batch_size: int | None = None) -> None:
        self.card: ModelCard = source.card
        self._predictors = []
        for member, weights in zip(self.card.members, source.weights, strict=True):
            experiment = member.experiment
            if batch_size is not None:
                prediction = experiment.prediction.model_copy(update={"batch_size": batch_size})
                experiment = experiment.model_copy(update={"prediction": prediction})
            predictor = load_predictor(
                weights,
                experiment,
                experiment.prediction.tile_hw or member.size_hw,
                len(self.card.classes),
                overlapping=self.card.recipe.overlapping,
                num_channels=self.card.num_channels,
            )
            self._predictors.append((member.size_hw, predictor, experiment.prediction))

    def __repr__(self) -> str:
        """Returns a line for people: name, classes, nets, score."""
        return f"<TrainedModel {self.card.summary}>"

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the foreground classes; the k-th has the value k in a mask."""
        return self.card.classes

    def mask(self, image: AnyImage) -> ClassMask:
        """Makes the mask of an image.

        Args:
            image: a path, a PIL image or an array; see the class.

        Returns:
            uint8 (height, width): 0 is background, k the k-th of `classes`. Where classes overlap, uint8 (height,
            width, classes) of 0 and 1.

        Raises:
            InputError: it cannot be read, or is of other channels than the model's.
        """
        return self.find(image).mask

    def probs(self, image: AnyImage) -> npt.NDArray[np.float32]:
        """Finds the probability of each class in each pixel, as it is before the threshold.

        Args:
            image: see `mask`.

        Returns:
            float32 (height, width, classes), 0..1.
        """
        return self.find(image).probs

    def find(self, image: AnyImage) -> Result:
        """Finds mask, probabilities, area and confidence of an image at once; see `mask`."""
        photo = ImageFile(Path(image), self.card.find_kind()) if isinstance(image, str | Path) else image
        if isinstance(photo, ImageFile):
            full_hw, images = photo.size_hw, {size_hw: photo.read(size_hw) for size_hw in self.card.sizes}
        else:
            image_hwc = self._to_array(photo)
            full_hw = (image_hwc.shape[0], image_hwc.shape[1])
            images = {size_hw: shrink(image_hwc, size_hw) for size_hw in self.card.sizes}
        (maps,) = self.predict([images])
        return find_result(self.card.find_recipe(full_hw), maps, full_hw)

    def predict(self, images: Sequence[Mapping[SizeHW, ImageU8]]) -> list[list[MapU8]]:
        """Predicts images.

        Args:
            images: each at all `sizes` of the card, uint8 RGB (height, width, 3).

        Returns:
            For each image a probability map of each member, uint8 (height, width, classes), 0..255.
        """
        by_member = []
        for size_hw, predictor, prediction in self._predictors:
            step, maps = predictor.batch_size, list[MapU8]()
            for start in range(0, len(images), step):
                images_nhwc = np.stack([image[size_hw] for image in images[start : start + step]])
                maps += [mean for mean, _ in predict_batch(predictor, images_nhwc, prediction)]
            by_member.append(maps)
        return [list(maps) for maps in zip(*by_member, strict=True)]

    def _to_array(self, image: Image.Image | ImageU8) -> ImageU8:
        channels = self.card.channels
        if isinstance(image, Image.Image):
            if image.mode[0] in "IF":
                raise InputError(f"`image` must have 8 bits; give its path instead. Received: mode {image.mode}")
            image = ImageOps.exif_transpose(image)
            image = np.array(image if isinstance(channels, int) else image.convert("RGB"))
        if isinstance(channels, int):
            fits = image.ndim == 3 and image.shape[-1] == channels
        else:
            fits = image.ndim == 2 or (image.ndim == 3 and image.shape[-1] in (1, 3, 4))
        if image.dtype != np.uint8 or not fits or image.size == 0:
            raise InputError(
                f"`image` must be a path, a PIL image or uint8 (height, width, {self.card.num_channels}). Received: "
                f"{image.dtype} {image.shape}"
            )
        if isinstance(channels, int):
            return image
        return to_grey(to_rgb(image)) if channels == "grey" else to_rgb(image)
