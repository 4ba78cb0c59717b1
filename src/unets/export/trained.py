"""A trained model, ready for work: from images to probability maps, and from these to masks, as for a submission."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unets.data.geometry import SizeHW, shrink
from unets.data.image import to_grey
from unets.ensemble.postprocess import ClassMask, blur
from unets.ensemble.recipe import average_maps, make_mask
from unets.errors import InputError
from unets.export.card import ModelCard
from unets.export.sources import ModelSource, open_model
from unets.prediction.loading import load_predictor, predict_batch

ImageU8 = npt.NDArray[np.uint8]
MapU8 = npt.NDArray[np.uint8]


class TrainedModel:
    """Nets with their weights, and the recipe that makes masks of their probability maps.

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
            tile_hw = experiment.prediction.tile_hw
            predictor = load_predictor(
                weights,
                experiment,
                tile_hw or member.size_hw,
                len(self.card.classes),
                overlapping=self.card.recipe.overlapping,
                num_channels=self.card.num_channels,
            )
            self._predictors.append((member.size_hw, predictor, experiment.prediction))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the foreground classes; the k-th has the value k in a mask."""
        return self.card.classes

    def mask(self, image_hwc: ImageU8) -> ClassMask:
        """Makes the mask of an image.

        Args:
            image_hwc: uint8 RGB (height, width, 3) of any size.

        Returns:
            uint8 (height, width): 0 is background, k the k-th of `classes`. Where classes overlap, uint8 (height,
            width, classes) of 0 and 1.
        """
        maps, full_hw = self._predict_image(image_hwc), (image_hwc.shape[0], image_hwc.shape[1])
        return make_mask(self.card.find_recipe(full_hw), maps, full_hw)

    def probs(self, image_hwc: ImageU8) -> npt.NDArray[np.float32]:
        """Finds the probability of each class in each pixel, as it is before the threshold.

        Args:
            image_hwc: uint8 RGB (height, width, 3) of any size.

        Returns:
            float32 (height, width, classes), 0..1.
        """
        maps, full_hw = self._predict_image(image_hwc), (image_hwc.shape[0], image_hwc.shape[1])
        recipe = self.card.find_recipe(full_hw)
        return blur(average_maps(recipe, maps, full_hw), recipe.postprocessing.blur_px)

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

    def _predict_image(self, image_hwc: ImageU8) -> list[MapU8]:
        channels = self.card.channels
        number = channels if isinstance(channels, int) else 3
        if image_hwc.dtype != np.uint8 or image_hwc.ndim != 3 or image_hwc.shape[-1] != number or image_hwc.size == 0:
            raise InputError(
                f"`image_hwc` must be uint8 (height, width, {number}). Received: {image_hwc.dtype} {image_hwc.shape}"
            )
        seen = to_grey(image_hwc) if channels == "grey" else image_hwc
        (maps,) = self.predict([{size_hw: shrink(seen, size_hw) for size_hw in self.card.sizes}])
        return maps


def load_model(path: str | Path, *, batch_size: int = 1) -> TrainedModel:
    """Loads a model: a model file, a run's or an experiment's folder, or an ensemble's json beside its runs.

    Args:
        path: of the file or folder.
        batch_size: images that a net sees at a time.

    Raises:
        InputError: it is none of those, unfinished, damaged, or of a newer version.
    """
    return TrainedModel(open_model(Path(path)), batch_size)
