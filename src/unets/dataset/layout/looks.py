"""Looks: what pictures of a set hold, measured on some of them: size, mode, values, and how alike neighbours are."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from unets.config import SizeHW
from unets.data.files import read_bytes
from unets.data.io import read_size
from unets.errors import InputError

_FEW = 12  # pictures that tell masks from photos
_MANY_PX = 60_000_000  # pixels of masks whose values are counted: some seconds
_MOST_HEADERS = 3000  # sizes that are read; a header takes 0.1 to 1 ms
_MOST_VALUES = 64  # colours or values of a mask that has classes; a photo has thousands
_NEARLY = 24  # levels from 0 or 255 that a codec's ringing reaches
_THUMB = 24  # pixels a side of what is compared
_DEEP = ("I;16", "I;16B", "I;16L", "I")


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What some pictures of a set hold. Values are palette indices, grey levels or, with colours, (R, G, B)."""

    num_seen: int
    num_files: int
    modes: tuple[str, ...]  # Pillow's, the most frequent first
    endings: tuple[str, ...]
    values: dict[
        int | tuple[int, int, int], int
    ]  # pixels of each value; of colours at least `_MOST_VALUES`, if so many
    is_soft: bool  # one channel, of which nearly all pixels lie near 0 or 255, with shades between
    is_coloured: bool  # some picture has channels that differ
    is_deep: bool  # 16 bits
    range: tuple[int, int]  # lowest and highest value of any channel

    @property
    def has_few_values(self) -> bool:
        """Whether it holds so few values that they may be classes."""
        return len(self.values) <= _MOST_VALUES

    @property
    def looks_like_masks(self) -> bool:
        """Whether these are masks rather than photos."""
        return self.has_few_values or self.is_soft


def look_at(paths: Sequence[Path], *, thoroughly: bool = False) -> Look:
    """Reads some pictures, spread over all: a dozen, or thoroughly as many as some seconds allow.

    Raises:
        InputError: one cannot be read.
    """
    chosen = list(paths)
    count = _FEW
    if thoroughly and chosen:
        height, width = read_size(chosen[0])
        count = max(_FEW, _MANY_PX // (height * width))
    values: Counter[Any] = Counter()
    modes: Counter[str] = Counter()
    low, high, near, shades, is_coloured = 65535, 0, 0, 0, False
    chosen = spread(chosen, count)
    for path in chosen:
        pixels, mode = _read(path)
        modes[mode] += 1
        low, high = min(low, int(pixels.min())), max(high, int(pixels.max()))
        if pixels.ndim == 3 and (pixels == pixels[..., :1]).all():
            pixels = pixels[..., 0]
        is_coloured |= pixels.ndim == 3
        if pixels.ndim == 2 and pixels.dtype == np.uint8:
            near += int(np.count_nonzero((pixels <= _NEARLY) | (pixels >= 255 - _NEARLY)))
            shades += pixels.size
        if pixels.dtype == np.uint8 and pixels.ndim == 2:
            values.update({value: int(n) for value, n in enumerate(np.bincount(pixels.ravel())) if n})
        elif len(values) <= _MOST_VALUES:
            values.update(_count_values(pixels))
    if is_coloured:  # grey pictures among coloured ones
        merged: Counter[Any] = Counter()
        for value, num_pixels in values.items():
            merged[(value,) * 3 if isinstance(value, int) else value] += num_pixels
        values = merged
    return Look(
        num_seen=len(chosen),
        num_files=len(paths),
        modes=tuple(mode for mode, _ in modes.most_common()),
        endings=tuple(sorted({path.suffix.lower() for path in paths})),
        values=dict(values),
        is_soft=not is_coloured and near >= 0.9 * shades > 0 and _has_shades(values, paths),
        is_coloured=is_coloured,
        is_deep=any(mode in _DEEP for mode in modes),
        range=(low, high),
    )


def read_headers(paths: Sequence[Path]) -> tuple[Counter[SizeHW], Counter[str], bool]:
    """Reads headers; returns (how often each size comes, how often each mode, whether every file was asked).

    Raises:
        InputError: one is no picture.
    """
    chosen = spread(list(paths), _MOST_HEADERS)
    sizes: Counter[SizeHW] = Counter()
    modes: Counter[str] = Counter()
    for path in chosen:
        try:
            with Image.open(BytesIO(read_bytes(path))) as picture:
                sizes[picture.size[1], picture.size[0]] += 1
                modes[picture.mode] += 1
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise InputError(f"{path} must be a picture. Received: {error}") from error
    return sizes, modes, len(chosen) == len(paths)


def measure_range(paths: Sequence[Path]) -> tuple[int, int]:
    """Returns what is to become 0 and 255 of photos of 16 bits: the range without the last thousandth at each end."""
    pixels = np.concatenate([np.ravel(_read(path)[0])[::7] for path in spread(list(paths), 4 * _FEW)])
    low, high = np.quantile(pixels, [0.001, 0.999])
    return int(np.floor(low)), max(int(np.ceil(high)), int(np.floor(low)) + 1)


def compare_neighbours(paths: Sequence[Path], count: int = 24) -> float:
    """Measures how alike neighbours in this order are: their median distance as a share of that of any two photos.

    1 where order means nothing; far below, neighbours are frames of a video or slices of a volume. 1 for few photos.
    """
    if len(paths) < 8:
        return 1.0
    places = sorted({int(place) for place in np.linspace(0, len(paths) - 2, min(count, len(paths) - 1))})
    thumbs = [_make_thumb(paths[place]) for place in places]
    near = [np.abs(thumb - _make_thumb(paths[place + 1])).mean() for thumb, place in zip(thumbs, places, strict=True)]
    far = [np.abs(thumb - other).mean() for i, thumb in enumerate(thumbs) for other in thumbs[i + 2 :]]
    return float(np.median(near) / max(float(np.median(far)), 1e-6)) if far else 1.0


def read_grey(path: Path) -> npt.NDArray[np.float32]:
    """Reads a photo as brightness, float32 (height, width)."""
    pixels, _ = _read(path)
    grey = pixels[..., :3].mean(axis=-1) if pixels.ndim == 3 else pixels
    return np.asarray(grey, dtype=np.float32)


def spread(paths: list[Path], count: int) -> list[Path]:
    """Returns that many, spread evenly, or all."""
    if len(paths) <= count:
        return paths
    return [paths[int((i + 0.5) * len(paths) / count)] for i in range(count)]


def _make_thumb(path: Path) -> npt.NDArray[np.float32]:
    grey = read_grey(path)
    small = np.asarray(Image.fromarray(grey).resize((_THUMB, _THUMB), Image.Resampling.BOX), dtype=np.float32)
    return np.asarray(small - small.mean(), dtype=np.float32)


def _read(path: Path) -> tuple[npt.NDArray[Any], str]:
    try:
        with Image.open(BytesIO(read_bytes(path))) as picture:
            mode = picture.mode
            if mode in ("RGBA", "CMYK", "YCbCr"):
                return np.array(picture.convert("RGB")), mode
            pixels = np.array(picture, dtype=np.uint8 if mode == "1" else None)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} must be a whole picture. Received: {error}") from error
    if pixels.ndim == 3 and pixels.shape[-1] == 2:  # grey with opacity
        pixels = pixels[..., 0]
    return pixels, mode


def _has_shades(values: Counter[Any], paths: Sequence[Path]) -> bool:
    """Tells shades between 0 and 255 from classes: many, or a few where a lossy codec made them."""
    is_lossy = any(path.suffix.lower() in (".jpg", ".jpeg", ".webp") for path in paths)
    middle = sum(count for value, count in values.items() if _NEARLY < value < 255 - _NEARLY)
    bright = sum(count for value, count in values.items() if value >= 255 - _NEARLY)
    return (0 < middle < bright and len(values) > _MOST_VALUES) or (is_lossy and len(values) > 2 and bright > middle)


def _count_values(pixels: npt.NDArray[Any]) -> dict[int | tuple[int, int, int], int]:
    """Counts pixels by value, of the first so many values."""
    if pixels.ndim == 3:
        wide = pixels.astype(np.uint32)
        codes, counts = np.unique(wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2], return_counts=True)
        keys: list[Any] = [(code >> 16, code >> 8 & 255, code & 255) for code in codes[: _MOST_VALUES + 1].tolist()]
        return dict(zip(keys, counts.tolist(), strict=False))
    values, counts = np.unique(pixels, return_counts=True)
    return {int(v): int(n) for v, n in zip(values[: _MOST_VALUES + 1], counts, strict=False)}
