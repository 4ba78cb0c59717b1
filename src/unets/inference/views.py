"""Views: the flips that a photo is predicted under, and how each is undone on the map."""

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy.typing as npt

ArrayT = TypeVar("ArrayT", bound=npt.NDArray[Any])


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """A flip of a batch."""

    name: str
    flips_height: bool  # top becomes bottom
    flips_width: bool  # left becomes right

    def apply(self, images_nhwc: ArrayT) -> ArrayT:
        """Flips a batch of photos.

        Args:
            images_nhwc: any dtype, (photos, height, width, channels).

        Returns:
            The same memory read in another order: nothing is copied.
        """
        rows = slice(None, None, -1 if self.flips_height else 1)
        columns = slice(None, None, -1 if self.flips_width else 1)
        return images_nhwc[:, rows, columns]  # type: ignore[return-value]

    def undo(self, maps_nhwc: ArrayT) -> ArrayT:
        """Flips a batch of maps back, so that each lies over its photo as it was; the inverse of `apply`."""
        return self.apply(maps_nhwc)  # a flip is its own inverse


VIEWS: dict[str, View] = {
    view.name: view
    for view in (
        View(name="identity", flips_height=False, flips_width=False),
        View(name="hflip", flips_height=False, flips_width=True),
        View(name="vflip", flips_height=True, flips_width=False),
        View(name="hvflip", flips_height=True, flips_width=True),
    )
}
