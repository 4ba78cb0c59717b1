"""A panel of the worst validation images: always the same ones, so that one sees them improve."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from unets.data.cache import PairReader
from unets.data.drawing import COLORS_RGB, Image, add_caption, draw_contours, make_sheet
from unets.data.geometry import shrink
from unets.data.io import write_image
from unets.errors import InputError
from unets.metrics.masks import dice
from unets.nets.metrics import cut_shares
from unets.store.runs import read_json, write_json

logger = logging.getLogger(__name__)

Predict = Callable[[npt.NDArray[np.uint8]], npt.NDArray[Any]]
_Result = tuple[Image, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]

NUM_TILES, COLUMNS = 6, 3
TILE_WIDTH_PX = 640  # the sheet fills a full-HD screen
# The first epoch's net is poor everywhere, and its worst images are any: the choice waits for the second.
FIRST_EPOCH = 2
LATE_EPOCHS = 16  # between panels, after the 16th
_WANTED_RGB, _PREDICTION_RGB = COLORS_RGB[2], COLORS_RGB[0]  # green, orange


@dataclass(frozen=True, kw_only=True, slots=True)
class _Tile:
    """An image and the class that is shown on it."""

    index: int  # of the image, in the reader
    class_index: int  # from 0


class WorstPanel(keras.callbacks.Callback):  # type: ignore[misc]
    """Draws the worst validation images with contours of ground truth and prediction, in some epochs (see `is_turn`).

    The first time, every validation image is predicted, and those images are chosen (with several classes: pairs of
    image and class) whose Dice is lowest, at the net's own resolution, as `MeanScore` has it. The choice is kept in a
    file, so that it outlives a restart; from then on these images alone are predicted. Nothing here changes what is
    trained. The newest panel is `worst.jpg`.

    Args:
        predict: from uint8 images (batch, height, width, 3) to probabilities, float (batch, height, width, classes).
        reader: where images and soft targets come from.
        indices: which of the reader's samples are validated on.
        ids: of all of the reader's samples.
        classes: names of the foreground classes.
        folder: of the panel and of the choice, `choice.json`; no other callback writes there.
        num_epochs: of the training.
        batch_size: images predicted at a time.
        overlapping: whether a pixel may be of several classes.

    Raises:
        InputError: `choice.json` holds something else.
    """

    def __init__(
        self,
        predict: Predict,
        reader: PairReader,
        indices: Sequence[int],
        *,
        ids: Sequence[str],
        classes: Sequence[str],
        folder: Path,
        num_epochs: int,
        batch_size: int = 1,
        overlapping: bool = False,
    ) -> None:
        super().__init__()
        self.predict, self.reader = predict, reader
        self.folder, self.choice_path = folder, folder / "choice.json"
        self.indices = [int(index) for index in indices]
        self.ids, self.classes, self.num_epochs, self.batch_size = ids, tuple(classes), num_epochs, batch_size
        self.overlapping = overlapping
        self.tiles = self._load_choice() if self.choice_path.exists() else None

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Draws the panel where its turn has come."""
        if is_turn(epoch + 1, self.num_epochs):
            if self.tiles is None:
                self.tiles = self._choose(epoch + 1)
            results = self._predict([tile.index for tile in self.tiles])
            pictures = [self._draw(tile, *result) for tile, result in zip(self.tiles, results, strict=True)]
            tile_hw = pictures[0].shape[:2]
            sheet = make_sheet(pictures, columns=min(COLUMNS, len(pictures)), tile_hw=(tile_hw[0], tile_hw[1]))
            write_image(self.folder / "worst.jpg", sheet)

    def _choose(self, epoch: int) -> list[_Tile]:
        scores = []
        for index, (_, wanted, found) in zip(self.indices, self._predict(self.indices), strict=True):
            for k in range(len(self.classes)):
                scores.append((dice(wanted[..., k], found[..., k]), index, k))
        tiles = [_Tile(index=index, class_index=k) for _, index, k in sorted(scores)[:NUM_TILES]]
        rows = [{"id": self.ids[tile.index], "class": self.classes[tile.class_index]} for tile in tiles]
        write_json(self.choice_path, {"epoch": epoch, "tiles": rows})
        logger.info("the worst validation images, to be looked at: %s", ", ".join(row["id"] for row in rows))
        return tiles

    def _load_choice(self) -> list[_Tile]:
        index_of = {self.ids[index]: index for index in self.indices}
        try:
            rows = read_json(self.choice_path, tiles=list[dict[str, str]])["tiles"]
            tiles = [_Tile(index=index_of[row["id"]], class_index=self.classes.index(row["class"])) for row in rows]
            if not tiles:
                raise ValueError("none")
            return tiles
        except (LookupError, ValueError) as error:
            raise InputError(
                f"{self.choice_path} must name images of this run's validation. "
                f"Received: {type(error).__name__}: {error}. Delete it, and others are chosen"
            ) from error

    def _predict(self, indices: Sequence[int]) -> Iterator[_Result]:
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
                yield image, wanted, found & ~(ignored >= 0.5).any(axis=-1, keepdims=True)

    def _draw(self, tile: _Tile, image: Image, wanted: npt.NDArray[np.bool_], found: npt.NDArray[np.bool_]) -> Image:
        wanted, found = (layers[..., tile.class_index] for layers in (wanted, found))
        height, width = image.shape[:2]
        picture = shrink(image[..., :3], (round(height * TILE_WIDTH_PX / width), TILE_WIDTH_PX))
        # The ground truth lies below and is wider, so that it is seen where both agree.
        picture = draw_contours(picture, wanted.astype(np.uint8), thickness_px=3, colors_rgb=[_WANTED_RGB])
        picture = draw_contours(picture, found.astype(np.uint8), thickness_px=1, colors_rgb=[_PREDICTION_RGB])
        name = f", {self.classes[tile.class_index]}" if len(self.classes) > 1 else ""
        words = f"{self.ids[tile.index]}{name}  ground truth green, net orange"
        return add_caption(picture, f"{dice(wanted, found):.4f}  {words}")


def is_turn(epoch: int, num_epochs: int) -> bool:
    """Tells whether the panel is drawn after an epoch, counted from 1: 2, 4, 8, every 16th from then on, and the last.

    Much changes early and little late: a run of 100 epochs gets ten panels.
    """
    is_power = epoch & (epoch - 1) == 0
    return epoch == num_epochs or (epoch >= FIRST_EPOCH and (is_power or epoch % LATE_EPOCHS == 0))
