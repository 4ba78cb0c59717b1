"""What a person decides about a data set: classes, where it comes from, folds, metric, the form of a submission."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from unets.config.base import Config, SizeHW, require

Level = Annotated[int, Field(ge=0, le=255)]
MaskValue = Level | tuple[Level, Level, Level]  # of a pixel in a mask file: a value, or the colour (R, G, B)
MAX_CLASSES = 254  # a class index is one byte, of which two values are none


class DatasetConfig(Config):
    """How a competition's data is laid out; paths are patterns below `INPUT`, in folders or in zips named like them."""

    # Training photos: `{id}` once, `*` for anything within a name, `{a,b}` for either of two.
    photos: str = "train/{id}.jpg"
    masks: str | None = "train_masks/{id}_mask.png"  # training masks, or None where only `masks_csv` has them
    unite_masks: bool = False  # files of `masks`, or rows of `masks_csv`, are one an object; together they are the mask
    test_photos: str | None = "test/{id}.jpg"  # None: there are none, and no submission
    masks_csv: str | None = None  # training masks as run lengths
    leave_out: tuple[str, ...] = ()  # patterns of files that are none of these, though another pattern fits them too
    sample_submission: str | None = "sample_submission.csv"  # None: a row a photo and class, photos sorted by id
    read_masks_from: Literal["files", "csv"] = "files"  # which of the two feeds training where both exist
    id_pattern: str = "(?P<group>.+)"  # whole id; named parts `group` (never split over folds) and, if any, `view`
    groups_csv: str | None = None  # a table of groups, which count in place of the pattern's
    groups_columns: tuple[str, str] = ("id", "group")  # its columns: the id, the group
    channels: Literal["rgb", "grey", "any"] = "rgb"  # kind of photo; a photo of the other kind is a fault
    value_range: tuple[int, int] | None = None  # what becomes 0 and 255 in photos of 16 bits; None: all have 8
    size_hw: SizeHW | None = None  # full size of every photo and mask; None: each photo has its own
    num_train: Annotated[int, Field(ge=1)] | None = None  # photos to train on, for a plan made without them
    num_test: Annotated[int, Field(ge=1)] | None = None
    classes: tuple[str, ...] = ("object",)  # foreground classes
    # What a pixel of a mask file may hold: a value of 0..255, or a colour (R, G, B), where 7 means (7, 7, 7).
    mask_values: tuple[MaskValue, ...] = (1,)  # of each class
    background_values: tuple[MaskValue, ...] = (0,)  # of what is no class; (): every pixel is of a class
    ignore_values: tuple[MaskValue, ...] = ()  # of what nobody labelled: left out of loss and scores
    # Masks with shades (JPEG, soft borders) or numbers of objects: what is at least this counts as 255, the rest as 0.
    mask_threshold: Annotated[int, Field(ge=1, le=255)] | None = None
    rle_order: Literal["row", "column"] = "row"
    csv_image_column: str = "img"
    csv_rle_column: str = "rle_mask"
    csv_class_column: str | None = None  # column with the class's name, where a photo has a row a class
    csv_omits_empty: bool = False  # a training photo without a row has no object; else it is a fault
    csv_image: str = "{id}.jpg"  # how the image column writes an id; may hold `{class}` too
    metric: Literal["dice", "iou"] = "dice"  # the functions are in `unets.metrics.masks`
    num_folds: Annotated[int, Field(ge=2, le=100)] = 5
    folds_seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = (
        2017  # the year of the Carvana challenge; any other would do
    )
    kaggle: str | None = None  # the competition's name in Kaggle's addresses; None: it is not there
    kaggle_files: tuple[str, ...] | None = None  # what `make download` takes, file by file; None: the bundle of all

    @model_validator(mode="after")
    def _check(self) -> Self:
        for field in ("photos", "masks", "test_photos"):
            pattern = getattr(self, field)
            require(pattern is None or pattern.count("{id}") == 1, field, "hold `{id}` exactly once", pattern)
        require(
            self.masks is not None or self.masks_csv is not None, "masks", "be given where `masks_csv` is not", None
        )
        source = self.masks if self.read_masks_from == "files" else self.masks_csv
        require(source is not None, "read_masks_from", "name a source that is declared", self.read_masks_from)
        try:
            named = re.compile(self.id_pattern).groupindex
        except re.error as error:
            raise ValueError(
                f"`id_pattern` must be a regular expression ({error}). Received: {self.id_pattern}"
            ) from error
        require("group" in named, "id_pattern", "have a part named `group`", self.id_pattern)
        require(
            bool(self.classes) and len(set(self.classes)) == len(self.classes),
            "classes",
            "name at least one class, each once",
            self.classes,
        )
        lowest = self.value_range is None or 0 <= self.value_range[0] < self.value_range[1] <= 65535
        require(lowest, "value_range", "ascend within 0..65535", self.value_range)
        self._check_mask_values()
        require("{id}" in self.csv_image, "csv_image", "hold `{id}`", self.csv_image)
        several_rows = self.csv_class_column is not None or "{class}" in self.csv_image
        require(
            several_rows or len(self.classes) == 1,
            "csv_class_column",
            "be given (or `{class}` in `csv_image`) where there are several classes",
            self.csv_class_column,
        )
        require(
            self.kaggle is None or re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", self.kaggle) is not None,
            "kaggle",
            "be the last word of the competition's address, as carvana-image-masking-challenge",
            self.kaggle,
        )
        require(
            self.kaggle_files is None or (self.kaggle is not None and bool(self.kaggle_files)),
            "kaggle_files",
            "name at least one file, of a competition that `kaggle` names",
            self.kaggle_files,
        )
        return self

    def dump_layout(self) -> dict[str, Any]:
        """Returns the fields as JSON values, without those that only say where the files are had: for fingerprints."""
        return self.model_dump(mode="json", exclude={"kaggle", "kaggle_files"})

    def _check_mask_values(self) -> None:
        require(
            len(set(self.mask_values)) == len(self.classes) == len(self.mask_values),
            "mask_values",
            f"hold one value for each of the classes {self.classes}, each once",
            self.mask_values,
        )
        require(len(self.classes) < MAX_CLASSES, "classes", f"be fewer than {MAX_CLASSES}", self.classes)
        declared = (*self.mask_values, *self.background_values, *self.ignore_values)
        colours = [(value,) * 3 if isinstance(value, int) else value for value in declared]
        require(
            len(set(colours)) == len(colours),
            "mask_values",
            f"share no value with background_values={self.background_values} and ignore_values={self.ignore_values}",
            self.mask_values,
        )
        require(
            self.mask_threshold is None or set(declared) == {0, 255},
            "mask_threshold",
            "be given where `mask_values` and `background_values` are 0 and 255 alone",
            self.mask_threshold,
        )

    @property
    def has_colours(self) -> bool:
        """Whether mask files hold colours, not one value a pixel."""
        declared = (*self.mask_values, *self.background_values, *self.ignore_values)
        return any(not isinstance(value, int) for value in declared)

    @property
    def num_layers(self) -> int:
        """What a coverage has of layers: one a class and, where masks have unlabelled pixels, one of those."""
        return len(self.classes) + bool(self.ignore_values)
