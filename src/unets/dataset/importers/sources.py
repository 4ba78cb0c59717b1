"""What `dataset.py` may say of where masks come from, one schema a format; all fields may be left out."""

from typing import Annotated, Literal

from pydantic import Field

from unets.config import Config

PixelValue = Annotated[int, Field(ge=0, le=65535)]
MaskValue = PixelValue | tuple[PixelValue, PixelValue, PixelValue]  # a number, or a color (R, G, B)


class ImporterSource(Config):
    """What all formats share. Paths and patterns are below INPUT; `*` stands for anything, `/` too."""

    leave_out: tuple[str, ...] = ()  # patterns of files that are not looked at
    test_images: tuple[str, ...] | None = (
        None  # patterns of images to predict; None: those called test, or without masks
    )
    group: str | None = None  # a regular expression of whole ids with a part `group`, and perhaps `view`


class MasksSource(ImporterSource):
    """Mask files beside images, found by their names; fields that are left out are decided by the files."""

    format: Literal["masks"] = "masks"
    masks: tuple[str, ...] = ()  # patterns of the masks' files; (): what looks like masks
    files: Literal["image", "class", "object"] | None = None  # what a mask file is of
    missing: Literal["leave_out", "empty"] = "leave_out"  # an image without a mask is not used, or has no object
    values: tuple[MaskValue, ...] | None = None  # what a pixel of each class holds, in the order of `classes`
    background: tuple[MaskValue, ...] = (0,)
    ignored: tuple[MaskValue, ...] = ()  # left out of loss and scores
    threshold: Annotated[int, Field(ge=1, le=65535)] | None = None  # this and more is the only class
    nearest: bool = False  # values that a codec blurred count as the nearest of those above


class PolygonSource(ImporterSource):
    """Polygons, and what else these formats hold, drawn where a pixel's center lies inside."""

    format: Literal["coco", "yolo", "labelme", "label_studio", "cvat", "supervisely"]
    labels: tuple[str, ...] = ()  # classes as the files name them, in the order of `classes`; (): all that there are
    ignored: tuple[str, ...] = ()  # labels of ignored areas
    covering: bool = False  # where classes overlap the later object covers the earlier; else a mask a class
    missing: Literal["leave_out", "empty"] = "leave_out"  # an image that the files do not name


class CsvSource(ImporterSource):
    """A csv of run lengths."""

    format: Literal["csv"] = "csv"
    path: str
    image_column: str
    rle_column: str
    class_column: str | None = None
    labels: tuple[str, ...] = ()  # classes as the csv writes them, in the order of `classes`
    cell: str = "{id}"  # how the image column writes an image: `{id}`, `{id}.jpg`, `{id}_{class}`
    order: Literal["row", "column"] = "column"  # whether pixels are counted along rows or along columns
    start: Literal[0, 1] = 1  # the number of the first pixel
    relative: bool = False  # a start is counted from the end of the run before
    missing: Literal["leave_out", "empty"] = "leave_out"  # an image without a row


class PathsSource(ImporterSource):
    """A csv of paths: a column of images, a column of their masks."""

    format: Literal["paths"] = "paths"
    path: str
    image_column: str
    mask_column: str
    values: tuple[MaskValue, ...] | None = None
    background: tuple[MaskValue, ...] = (0,)
    ignored: tuple[MaskValue, ...] = ()
    threshold: Annotated[int, Field(ge=1, le=65535)] | None = None
    nearest: bool = False
