"""Where a data set comes from: one schema for each importer, told apart by `format`.

Paths are below INPUT, with `/`; a folder may also be a zip of its name.
"""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from unets.config.base import Config

Level = Annotated[int, Field(ge=0, le=255)]
MaskValue = Annotated[int, Field(ge=0, le=65_535)] | tuple[Level, Level, Level]  # of a pixel, or its color (R, G, B)


class RleFormat(Config):
    """How a csv writes masks as run lengths."""

    image_column: str = "img"
    rle_column: str = "rle_mask"
    class_column: str | None = None  # the column that names the class, where there is one
    cell: str = "{id}.jpg"  # how the image column writes an id; may hold `{class}` too
    class_cells: tuple[str, ...] = ()  # how the csv writes each class; (): by its name
    order: Literal["row", "column"] = "row"  # how pixels are counted: along rows, or along columns
    relative: bool = False  # whether a start is counted from the end of the run before (SIIM-ACR)

    @model_validator(mode="after")
    def _check_cell(self) -> Self:
        self.require("{id}" in self.cell, "cell", "hold `{id}`")
        return self

    @property
    def names_classes(self) -> bool:
        """Whether a row says which class it is of."""
        return self.class_column is not None or "{class}" in self.cell


class Coding(Config):
    """What a pixel of a mask file holds: a value of up to 16 bits, or a color (R, G, B), where 7 means (7, 7, 7)."""

    values: tuple[MaskValue, ...] | None = None  # of each class, in the order of `classes`; None: the files decide
    background: tuple[MaskValue, ...] = (0,)  # of what is no class; (): every pixel is of a class
    ignored: tuple[MaskValue, ...] = ()  # of ignored pixels: left out of loss and scores
    # Masks with shades (JPEG, soft borders) or numbers of objects: this and more is the only class; what is less where
    # `values` is (0,).
    threshold: Annotated[int, Field(ge=1, le=65_535)] | None = None
    nearest: bool = False  # values that a codec blurred count as the nearest of those above
    # Masks hold shares of the only class, as the mean of several annotators: 0 to this, which is all of it (255, 65535,
    # their number; 1 of fractions in .npy). Training aims at the share; scores, and all else, count a half and more.
    full_share: Annotated[int, Field(ge=1, le=65_535)] | None = None

    @model_validator(mode="after")
    def _check_values(self) -> Self:
        values = self.values or ()
        declared = (*values, *self.background, *self.ignored)
        colors = [(value,) * 3 if isinstance(value, int) else value for value in declared]
        words = f"share no value with background={self.background} and ignored={self.ignored}, and name each once"
        self.require(self.threshold is not None or len(set(colors)) == len(colors), "values", words)
        words = "be given where `values` has one class at most"
        self.require(self.threshold is None or len(values) <= 1, "threshold", words)
        words = "be given alone: without `threshold`, ignored pixels, and several `values`"
        is_alone = self.threshold is None and not self.ignored and len(values) <= 1
        self.require(self.full_share is None or is_alone, "full_share", words)
        return self

    @property
    def has_colors(self) -> bool:
        """Whether mask files hold colors, not one value a pixel."""
        declared = (*(self.values or ()), *self.background, *self.ignored)
        return any(not isinstance(value, int) for value in declared)

    @property
    def is_canonical(self) -> bool:
        """Whether mask files hold class indices as every stage reads them: 0, 1, 2, ..., and 255 for ignored pixels."""
        return (
            self.threshold is self.full_share is None
            and not self.nearest
            and self.values == tuple(range(1, len(self.values or ()) + 1))
            and self.background in ((0,), ())
            and self.ignored in ((255,), ())
        )


class SharedOptions(Config):
    """What all formats share. Paths and patterns are below INPUT; `*` stands for anything, `/` too."""

    # Masks may be stretched to their images where proportions agree within a pixel: the nearest pixel counts, of shares
    # the mean. Masks of another size are refused by default.
    stretch_masks: bool = False
    leave_out: tuple[str, ...] = ()  # patterns of files that are not looked at
    test_images: tuple[str, ...] | None = None  # images to predict; None: those called test, or without masks
    group: str | None = None  # a regular expression of whole ids with a part `group`, and perhaps `view`

    @model_validator(mode="after")
    def _check_group(self) -> Self:
        if self.group is not None:
            try:
                named = re.compile(self.group).groupindex
            except re.error as error:
                raise ValueError(f"`group` must be a regular expression ({error}). Received: {self.group}") from error
            self.require("group" in named, "group", "have a part named `group`")
        return self

    @property
    def has_shares(self) -> bool:
        """Whether masks hold shares, 0 to 255, in place of class indices."""
        full_share, files = (getattr(self, name, None) for name in ("full_share", "files"))
        return full_share is not None or files == "annotator"


class TableSource(SharedOptions, Coding):
    """A table with a row an image: one by hand (`samples.csv`), or a competition's csv of paths.

    Paths of images and masks are below INPUT. Several masks, joined by `|`, are one a class, else united. The columns
    `id`, `split` (`train` or `test`), `group` and `view` count where they are there.
    """

    format: Literal["table"] = "table"
    values: tuple[MaskValue, ...] | None = (1,)
    path: str = "samples.csv"  # below INPUT, or else in the folder of `dataset.py`; several are joined by `|`
    image_column: str = "image"
    mask_column: str = "mask"


class MasksSource(SharedOptions, Coding):
    """Mask files beside images, found by their names."""

    format: Literal["masks"] = "masks"
    masks: tuple[str, ...] = ()  # patterns of the masks' files; (): what looks like masks
    # What each of several mask files is of; class: the words say which, in which names or folders of masks, or else of
    # images, differ; annotator: of one of several people, whose mean is the share of the class (`full_share`).
    files: Literal["class", "object", "annotator"] | None = None
    missing: Literal["leave_out", "empty"] = "leave_out"  # an image without a mask is not used, or has no object


class PolygonSource(SharedOptions):
    """Polygons, and what else these formats hold, drawn where a pixel's center lies inside; polygons whose
    corners are all whole numbers were traced pixel by pixel, and hold their border too."""

    format: Literal["coco", "yolo", "labelme", "label_studio", "cvat", "supervisely", "via"]
    labels: tuple[str, ...] = ()  # classes as the files name them, in the order of `classes`; (): all that there are
    ignored: tuple[str, ...] = ()  # labels of ignored areas
    covering: bool = False  # where classes overlap the later object covers the earlier; else a mask a class
    # An image without annotation: leave_out, unless the files name it: then it has no object; empty: it has none in
    # either case; leave_out_all: it is left out in either case.
    missing: Literal["leave_out", "empty", "leave_out_all"] = "leave_out"


class CsvSource(SharedOptions, RleFormat):
    """A csv of run lengths, a row an image, a class or an object."""

    format: Literal["csv"] = "csv"
    path: str  # several, of the same columns, are joined by `|`
    start: Literal[0, 1] = 1  # the number of the first pixel
    missing: Literal["leave_out", "empty"] = "leave_out"  # an image without a row


Source = Annotated[TableSource | MasksSource | PolygonSource | CsvSource, Field(discriminator="format")]
