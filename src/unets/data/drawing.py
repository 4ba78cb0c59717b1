"""Pictures for people: contours over images, and sheets of many."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from unets.data.geometry import SizeHW, resize
from unets.data.image import ImageU8, to_rgb
from unets.data.io import encode_jpeg
from unets.data.samples import IGNORE

Color = tuple[int, int, int]

# Bright and far apart for the usual kinds of color blindness (Okabe and Ito 2008).
COLORS_RGB: dict[str, Color] = {
    "orange": (230, 159, 0),
    "blue": (86, 180, 233),
    "green": (0, 158, 115),
    "yellow": (240, 228, 66),
}

# Of what a mask gets wrong, over a dimmed image: orange and blue, which the usual kinds of color blindness tell apart.
DIFFERENCES_RGB: dict[str, Color] = {
    "missed": (255, 128, 32),
    "too much": (80, 190, 255),
    "wrong class": (240, 228, 66),
}

_MAX_TALL = 4  # a JPEG has at most 65,500 rows, which two rows of tiles 60 times as high as wide exceed
_FONT = cv2.FONT_HERSHEY_SIMPLEX  # cv2 draws its capitals 22 px high at scale 1


def draw_contours(
    image_hwc: ImageU8,
    mask_hw: npt.NDArray[np.uint8],
    *,
    thickness_px: int = 2,
    colors_rgb: Sequence[Color] = tuple(COLORS_RGB.values()),
) -> ImageU8:
    """Draws the border of each class over uint8 RGB (height, width, 3), which is not written to.

    The mask, uint8 (height, width) class index, is fitted to the image; colors are taken again from the first where
    there are more classes.
    """
    drawn = to_rgb(image_hwc).copy()
    for class_index in sorted(set(np.unique(mask_hw).tolist()) - {0, IGNORE}):
        class_hw = resize((mask_hw == class_index) * np.uint8(255), (drawn.shape[0], drawn.shape[1]))
        contours, _ = cv2.findContours((class_hw >= 128).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        color = colors_rgb[(class_index - 1) % len(colors_rgb)]
        cv2.drawContours(drawn, contours, -1, color, thickness_px, cv2.LINE_AA)
    return drawn


def find_differences(
    target_hw: npt.NDArray[np.uint8], mask_hw: npt.NDArray[np.uint8]
) -> dict[str, npt.NDArray[np.bool_]]:
    """Finds what a mask gets wrong; bool (height, width) for each kind of `DIFFERENCES_RGB`.

    Both are uint8 (height, width) class index; 0 is background, IGNORE of the target is neither right nor wrong.
    """
    differs_hw = (target_hw != mask_hw) & (target_hw != IGNORE)
    is_object_hw, is_found_hw = target_hw > 0, mask_hw > 0
    kinds = differs_hw & ~is_found_hw, differs_hw & ~is_object_hw, differs_hw & is_object_hw & is_found_hw
    return dict(zip(DIFFERENCES_RGB, kinds, strict=True))


def draw_differences(image_hwc: ImageU8, target_hw: npt.NDArray[np.uint8], mask_hw: npt.NDArray[np.uint8]) -> ImageU8:
    """Colors what a mask gets wrong, over uint8 RGB (height, width, 3) in dark grey.

    `target_hw` and `mask_hw` are as in `find_differences`, of any size; they are fitted to the image.
    """
    luma_hw = np.asarray(cv2.cvtColor(to_rgb(image_hwc), cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    drawn_hwc = np.repeat((luma_hw // 3)[..., None], 3, axis=-1)
    for kind, pixels_hw in find_differences(target_hw, mask_hw).items():
        share_hw = resize(pixels_hw * np.uint8(255), (image_hwc.shape[0], image_hwc.shape[1])) / np.float32(255)
        color = np.array(DIFFERENCES_RGB[kind], dtype=np.float32)
        drawn_hwc = np.rint(drawn_hwc + (color - drawn_hwc) * share_hw[..., None]).astype(np.uint8)
    return drawn_hwc


def find_window(pixels_hw: npt.NDArray[np.bool_], size_hw: SizeHW) -> tuple[slice, slice]:
    """Finds the (rows, columns) of the window that holds the most of some pixels; the first of several, from the top.

    Pixels are bool (height, width); the window's (height, width) is cut to the picture where it is larger.
    """
    height, width = (min(size, side) for size, side in zip(size_hw, pixels_hw.shape, strict=True))
    sums = np.pad(pixels_hw, ((1, 0), (1, 0))).cumsum(axis=0, dtype=np.int64).cumsum(axis=1)
    counts = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    top, left = (int(place) for place in np.unravel_index(int(counts.argmax()), counts.shape))
    return slice(top, top + height), slice(left, left + width)


def magnify(image_hwc: ImageU8, factor: int) -> ImageU8:
    """Enlarges uint8 RGB or grey levels so that each pixel is seen, as a square of that side; uint8 RGB."""
    return to_rgb(image_hwc).repeat(factor, axis=0).repeat(factor, axis=1)


def add_caption(image_hwc: ImageU8, text: str) -> ImageU8:
    """Puts a line of text on a white strip above uint8 RGB (height, width, 3); what is too long is cut off.

    Letters grow with the width of the image. cv2 draws printable ASCII, and anything else as question marks.
    """
    scale = max(image_hwc.shape[1] / 800, 0.5)
    height = round(24 * scale)  # of a line's capitals, and as much again around them
    strip = np.full((2 * height, image_hwc.shape[1], 3), 255, dtype=np.uint8)
    cv2.putText(strip, text, (height // 2, round(1.5 * height)), _FONT, scale, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([strip, image_hwc])


def choose_tile(sizes_hw: Sequence[SizeHW], width_px: int) -> SizeHW:
    """Returns the (height, width) of the tiles of a sheet: of that width, in the median proportions of some images.

    A tile is at most `_MAX_TALL` times as high as wide.
    """
    tall = min(float(np.median([height / width for height, width in sizes_hw])), _MAX_TALL)
    return max(round(tall * width_px), 1), width_px


def fit_tile(size_hw: SizeHW, tile_hw: SizeHW) -> SizeHW:
    """Returns the largest (height, width) that an image can have within a tile, in its own proportions."""
    scale = min(tile / side for tile, side in zip(tile_hw, size_hw, strict=True))
    height, width = (max(round(side * scale), 1) for side in size_hw)
    return height, width


def make_tile(image_hwc: ImageU8, tile_hw: SizeHW, text: str) -> ImageU8:
    """Fills uint8 RGB (height, width, 3) up to a tile with white, and puts a caption above; see `add_caption`."""
    rest = [(0, tile - side) for tile, side in zip(tile_hw, image_hwc.shape, strict=False)]
    return add_caption(np.pad(image_hwc, (*rest, (0, 0)), constant_values=255), text)


def make_sheet(images: Sequence[ImageU8], *, columns: int, tile_hw: SizeHW, gap_px: int = 4) -> ImageU8:
    """Lays images, uint8 RGB, out in rows on white, each shrunk to `tile_hw`."""
    height, width = tile_hw
    rows = -(-len(images) // columns)
    sheet_hw = rows * (height + gap_px) - gap_px, columns * (width + gap_px) - gap_px
    sheet = np.full((*sheet_hw, 3), 255, dtype=np.uint8)
    for index, image in enumerate(images):
        top, left = (index // columns) * (height + gap_px), (index % columns) * (width + gap_px)
        sheet[top : top + height, left : left + width] = resize(to_rgb(image), tile_hw)
    return sheet


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture that a notebook shows as a JPEG where it is a cell's last value; as words where pictures are not shown.

    JPEG, not PNG, as a notebook's images are stored in its text: a tenth of the bytes.
    """

    image_hwc: ImageU8  # uint8 RGB (height, width, 3)
    words: str  # what is seen, for people who do not see it
    quality: int = 80

    def _repr_jpeg_(self) -> bytes:
        return encode_jpeg(self.image_hwc, self.quality)

    def __repr__(self) -> str:
        """Returns the words."""
        return self.words
