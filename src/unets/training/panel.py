"""A panel of the worst validation images: always the same ones, so that one sees them improve."""

import logging
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from keras import ops

from unets.data.drawing import COLORS_RGB, choose_tile, draw_contours, fit_tile, make_sheet, make_tile
from unets.data.geometry import SizeHW, resize
from unets.data.image import ImageU8
from unets.data.io import write_image
from unets.data.samples import read_full_size
from unets.errors import naming
from unets.metrics.masks import dice
from unets.nets.backend import count_replicas
from unets.nets.metrics import cut_shares
from unets.store.runs import read_json, write_json
from unets.training.state import Fold
from unets.training.validation import Validator

logger = logging.getLogger(__name__)

Masks = npt.NDArray[np.bool_]

NUM_TILES, COLUMNS = 6, 3
TILE_WIDTH_PX = 640  # the sheet fills a full-HD screen
# The first epoch's net is poor everywhere, and its worst images are any: the choice waits for the second.
FIRST_EPOCH = 2
LATE_EPOCHS = 16  # between panels, after the 16th
_WANTED_RGB, _PREDICTION_RGB = COLORS_RGB["green"], COLORS_RGB["orange"]


class WorstPanel:
    """Draws a fold's worst validation images with contours of ground truth and prediction, in some epochs (`is_turn`).

    The first time, every validation image is predicted, and those images are chosen (with several classes: pairs of
    image and class) whose Dice is lowest, at the net's own resolution, as `MeanScore` has it. The choice is kept in a
    file, so that it outlives a restart; from then on these images alone are predicted, and shown in the proportions
    that their files have. Nothing here changes what is trained. The newest panel is `worst.jpg`. Raises InputError
    where `choice.json` holds something else, or the first panel finds a file of its images unreadable.
    """

    def __init__(self, fold: Fold, validator: Validator) -> None:
        batches, dataset = validator.batches, fold.manifest.dataset
        self.predict, self.reader, self.indices = validator.predict, batches.reader, batches.indices.tolist()
        self.folder, self.choice_path = fold.panel_dir, fold.panel_dir / "choice.json"
        self.samples, self.num_epochs = fold.samples, fold.experiment.training.epochs
        self.ids, self.dataset = [sample.id for sample in fold.samples], dataset
        self.classes, self.overlapping = dataset.classes, dataset.overlapping
        self.batch_size = max(batches.micro_batch // count_replicas(), 1)  # every device may predict the whole batch
        self.tiles = self._load_choice() if self.choice_path.exists() else None  # (image in the reader, class from 0)
        self.sizes_hw: list[SizeHW] = []  # of the tiles' images, read once: a training may outlive its files

    def draw(self, epoch: int) -> None:
        """Draws the panel after an epoch, counted from 0, where its turn has come."""
        if is_turn(epoch + 1, self.num_epochs):
            if self.tiles is None:
                self.tiles = self._choose(epoch + 1)
            indices = [index for index, _ in self.tiles]
            self.sizes_hw = self.sizes_hw or [read_full_size(self.samples[index], self.dataset) for index in indices]
            tile_hw, pictures = choose_tile(self.sizes_hw, TILE_WIDTH_PX), []
            for tile, size_hw, result in zip(self.tiles, self.sizes_hw, self._predict(indices), strict=True):
                drawn, text = self._draw(tile, fit_tile(size_hw, tile_hw), *result)
                pictures.append(make_tile(drawn, tile_hw, text))
            height, width, _ = pictures[0].shape
            sheet = make_sheet(pictures, columns=min(COLUMNS, len(pictures)), tile_hw=(height, width))
            write_image(self.folder / "worst.jpg", sheet)

    def _choose(self, epoch: int) -> list[tuple[int, int]]:
        scores = [
            (dice(wanted[..., k], found[..., k]), index, k)
            for index, (_, wanted, found) in zip(self.indices, self._predict(self.indices), strict=True)
            for k in range(len(self.classes))
        ]
        tiles = [(index, k) for _, index, k in sorted(scores)[:NUM_TILES]]
        rows = [{"id": self.ids[index], "class": self.classes[k]} for index, k in tiles]
        write_json(self.choice_path, {"epoch": epoch, "tiles": rows})
        logger.info(
            "the worst validation images, to be looked at: %s", ", ".join(dict.fromkeys(row["id"] for row in rows))
        )
        return tiles

    def _load_choice(self) -> list[tuple[int, int]]:
        index_of = {self.ids[index]: index for index in self.indices}
        expected, remedy = "name images of this run's validation", "Delete it, and others are chosen"
        with naming(self.choice_path, expected, remedy=remedy, damage=(LookupError, ValueError)):
            rows = read_json(self.choice_path, tiles=list[dict[str, str]])["tiles"]
            if not rows:
                raise ValueError("none")
            return [(index_of[row["id"]], self.classes.index(row["class"])) for row in rows]

    def _predict(self, indices: Sequence[int]) -> Iterator[tuple[ImageU8, Masks, Masks]]:
        """Gives (image, ground truth, prediction) of samples; the latter two bool (height, width, classes)."""
        for begin in range(0, len(indices), self.batch_size):
            pairs = [self.reader[index] for index in indices[begin : begin + self.batch_size]]
            images = np.stack([image for image, _ in pairs])
            # Filled up with its first images: a net is compiled for one batch size.
            predicted = np.asarray(self.predict(np.resize(images, (self.batch_size, *images.shape[1:]))))
            for (image, target), probs in zip(pairs, predicted[: len(pairs)], strict=True):
                shares, ignored = np.split(target / np.float32(255), [len(self.classes)], axis=-1)
                masks = (cut_shares(part, overlapping=self.overlapping) for part in (shares, probs))
                wanted, found = map(ops.convert_to_numpy, masks)
                yield image, wanted, found & ~(ignored >= 0.5) if ignored.size else found

    def _draw(
        self, tile: tuple[int, int], size_hw: SizeHW, image: ImageU8, wanted: Masks, found: Masks
    ) -> tuple[ImageU8, str]:
        """Returns the image at that size with both contours, and its caption."""
        index, k = tile
        wanted, found = wanted[..., k], found[..., k]
        picture = resize(image[..., :3], size_hw)
        # The ground truth lies below and is wider, so that it is seen where both agree.
        for mask, thickness_px, color in ((wanted, 3, _WANTED_RGB), (found, 1, _PREDICTION_RGB)):
            picture = draw_contours(picture, mask.astype(np.uint8), thickness_px=thickness_px, colors_rgb=[color])
        name = f", {self.classes[k]}" if len(self.classes) > 1 else ""
        return picture, f"{dice(wanted, found):.4f}  {self.ids[index]}{name}"


def is_turn(epoch: int, num_epochs: int) -> bool:
    """Tells whether the panel is drawn after an epoch, counted from 1: 2, 4, 8, every 16th from then on, and the last.

    Much changes early and little late: a run of 100 epochs gets ten panels.
    """
    is_power = epoch & (epoch - 1) == 0
    return epoch == num_epochs or (epoch >= FIRST_EPOCH and (is_power or epoch % LATE_EPOCHS == 0))
