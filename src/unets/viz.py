"""Pictures for people: contours over photos, and sheets of many."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from unets.data.geometry import SizeHW, shrink
from unets.data.samples import VOID

Image = npt.NDArray[np.uint8]

Colour = tuple[int, int, int]

# Bright and far apart for the usual kinds of colour blindness (Okabe and Ito 2008): orange, sky blue, green, yellow.
COLOURS_RGB: tuple[Colour, ...] = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66))

_FONT, _FONT_SCALE, _TEXT_HEIGHT_PX = cv2.FONT_HERSHEY_SIMPLEX, 0.5, 12  # cv2 draws its capitals 22 px high at scale 1


def draw_contours(
    image_hwc: Image,
    mask_hw: npt.NDArray[np.uint8],
    *,
    thickness_px: int = 2,
    colours_rgb: Sequence[Colour] = COLOURS_RGB,
) -> Image:
    """Draws the border of each class over a photo.

    Args:
        image_hwc: uint8 RGB (height, width, 3); not written to.
        mask_hw: uint8 (height, width) class index, 0 is background; of any size, it is fitted to the photo.
        thickness_px: of the line.
        colours_rgb: of the classes, in their order; taken again from the first where there are more.

    Returns:
        uint8 RGB of the photo's size.
    """
    drawn = image_hwc.copy()
    height, width = drawn.shape[:2]
    for class_index in sorted(set(np.unique(mask_hw).tolist()) - {0, VOID}):
        class_hw = shrink(np.where(mask_hw == class_index, np.uint8(255), np.uint8(0)), (height, width))
        binary_hw = (class_hw >= 128).astype(np.uint8)
        contours, _ = cv2.findContours(binary_hw, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        colour = colours_rgb[(class_index - 1) % len(colours_rgb)]
        cv2.drawContours(drawn, contours, -1, colour, thickness_px, cv2.LINE_AA)
    return drawn


def find_borders(mask_hw: npt.NDArray[np.uint8], thickness_px: int) -> npt.NDArray[np.bool_]:
    """Finds the pixels of each class that lie next to another class or to the background.

    Args:
        mask_hw: uint8 (height, width) class index, 0 is background.
        thickness_px: how far into a class its border reaches; the photo's own edge is none.

    Returns:
        bool (height, width).
    """
    window = np.ones((2 * thickness_px + 1, 2 * thickness_px + 1), dtype=np.uint8)
    return np.asarray((mask_hw > 0) & (cv2.erode(mask_hw, window) != cv2.dilate(mask_hw, window)))


def tint(image_hwc: Image, pixels_hw: npt.NDArray[np.bool_], *, colour_rgb: Colour, opacity: float = 0.6) -> Image:
    """Lays a colour over some pixels of a photo.

    Args:
        image_hwc: uint8 RGB (height, width, 3); not written to.
        pixels_hw: bool (height, width) of any size; it is fitted to the photo.
        colour_rgb: of the pixels.
        opacity: 0 shows the photo alone, 1 the colour alone.

    Returns:
        uint8 RGB of the photo's size.
    """
    height, width = image_hwc.shape[:2]
    share_hw = shrink(pixels_hw.astype(np.uint8) * np.uint8(255), (height, width)).astype(np.float32) / 255 * opacity
    colour = np.array(colour_rgb, dtype=np.float32)
    tinted = image_hwc + (colour - image_hwc) * share_hw[..., None]
    return np.asarray(np.rint(tinted), dtype=np.uint8)


def add_caption(image_hwc: Image, text: str) -> Image:
    """Puts a line of text on a white strip above a picture; what is too long is cut off.

    Args:
        image_hwc: uint8 RGB (height, width, 3).
        text: printable ASCII; cv2 draws anything else as question marks.

    Returns:
        uint8 RGB (height + strip, width, 3).
    """
    strip = np.full((2 * _TEXT_HEIGHT_PX, image_hwc.shape[1], 3), 255, dtype=np.uint8)
    baseline = (_TEXT_HEIGHT_PX // 2, round(1.5 * _TEXT_HEIGHT_PX))
    cv2.putText(strip, text, baseline, _FONT, _FONT_SCALE, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([strip, image_hwc])


def make_sheet(images: Sequence[Image], *, columns: int, tile_hw: SizeHW, gap_px: int = 4) -> Image:
    """Lays photos out in rows on white.

    Args:
        images: uint8 RGB (height, width, 3) each; shrunk to `tile_hw`.
        columns: photos a row.
        tile_hw: (height, width) of each.
        gap_px: between them.

    Returns:
        uint8 RGB.
    """
    height, width = tile_hw
    rows = -(-len(images) // columns)
    sheet_hw = rows * (height + gap_px) - gap_px, columns * (width + gap_px) - gap_px
    sheet = np.full((*sheet_hw, 3), 255, dtype=np.uint8)
    for index, image in enumerate(images):
        top, left = (index // columns) * (height + gap_px), (index % columns) * (width + gap_px)
        sheet[top : top + height, left : left + width] = shrink(image, tile_hw)
    return sheet
