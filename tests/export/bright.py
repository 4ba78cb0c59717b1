"""A model that needs no net: bright is object."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from unets.config import DataConfig, ExperimentConfig, PredictionConfig
from unets.data.image import ImageU8
from unets.ensemble.recipe import Recipe
from unets.export.card import MemberCard, ModelCard, NetCard
from unets.export.model import TrainedModel

SIZES = {"a": (32, 48), "b": (40, 40)}


class Bright(TrainedModel):
    """Says of each pixel how bright it is, of further classes how dark; two members see sizes of their own."""

    def __init__(self, **changes: object) -> None:
        def build(name: str, size_hw: tuple[int, int]) -> MemberCard:
            data, prediction = DataConfig(size_hw=size_hw, augment=None), PredictionConfig(batch_size=3)
            nets = (NetCard(fold=0, weights_sha256=name),)
            return MemberCard(name=name, experiment=ExperimentConfig(data=data, prediction=prediction), nets=nets)

        card = ModelCard(
            name="bright",
            competition="tiny",
            classes=("car",),
            image_hw=(64, 96),
            members=tuple(build(*pair) for pair in SIZES.items()),
            recipe=Recipe(weights=(1.0, 1.0)),
        )
        super().__init__(card.model_copy(update=changes), ((), ()))
        self.num_images = 0

    def predict(self, images: Sequence[Mapping[tuple[int, int], ImageU8]]) -> list[list[ImageU8]]:
        self.num_images += len(images)
        for image in images:
            assert {size_hw: seen.shape for size_hw, seen in image.items()} == {
                size_hw: (*size_hw, 3) for size_hw in SIZES.values()
            }
        layers = [[image[size_hw][..., :1] for size_hw in SIZES.values()] for image in images]
        if len(self.classes) == 1:
            return layers
        return [[np.concatenate([255 - layer, layer], axis=-1) for layer in of_image] for of_image in layers]


def draw(size_hw: tuple[int, int] = (64, 96)) -> ImageU8:
    """Black, white in the left upper quarter."""
    image = np.zeros((*size_hw, 3), dtype=np.uint8)
    image[: size_hw[0] // 2, : size_hw[1] // 2] = 255
    return image


def save(path: Path, image: ImageU8, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)
    return path


def read(path: Path) -> ImageU8:
    with Image.open(path) as picture:
        return np.array(picture)
