"""What a person decides about a data set: classes, where it comes from, folds, metric, the form of a submission."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from unets.config.base import Config, SizeHW
from unets.config.sources import Coding, MasksSource, RleFormat, Source, TableSource

# The names that `unets.metrics.masks.find_metric` knows.
_METRIC = re.compile(r"(global_)?(dice|iou|f\d+(\.\d+)?)|(surface_dice|boundary_f)_\d+(\.\d+)?px|ap(_\d\d)?")
MAX_CLASSES = 254  # a class index is one byte, of which two values are none


class SubmissionConfig(RleFormat):
    """The csv that a competition takes."""

    sample: str | None = "sample_submission.csv"  # below INPUT; None: a row an image and class, images sorted by id
    row: Literal["image", "class", "object"] = "image"  # what a row is of


class DatasetConfig(Config):
    """What a person decides about a data set. An importer turns `source` into the table that every stage reads."""

    source: Source = MasksSource()
    classes: tuple[str, ...] = ("object",)  # foreground classes
    overlapping: bool = False  # whether a pixel may be of several classes
    has_background: bool = True  # False: every pixel is of a class
    has_ignored: bool = False  # whether masks hold ignored pixels (255), left out of loss and scores
    channels: Literal["rgb", "grey"] | Annotated[int, Field(ge=2, le=12)] = "rgb"  # or how many an image has
    value_range: tuple[float, float] | None = None  # what becomes 0 and 255 in images of more than 8 bits
    # `upright`: images are turned as their EXIF tag says, where masks were drawn over turned images.
    orientation: Literal["stored", "upright"] = "stored"
    size_hw: SizeHW | None = None  # full size of every image and mask; None: each image has its own
    num_train: Annotated[int, Field(ge=1)] | None = None  # images to train on, for a plan made without them
    num_test: Annotated[int, Field(ge=1)] | None = None
    metric: str = "dice"  # dice, iou, f2, global_dice, surface_dice_3px, boundary_f_3px, ap, ap_50, ...
    num_folds: Annotated[int, Field(ge=2, le=100)] = 5
    submission: SubmissionConfig = SubmissionConfig()
    kaggle: str | None = None  # the competition's name in Kaggle's addresses; None: it is not there
    kaggle_files: tuple[str, ...] | None = None  # what `unets download` takes, file by file; None: the bundle of all

    @model_validator(mode="after")
    def _check(self) -> Self:
        words = (
            "be dice, iou, f2 (any beta), one of these after `global_`, surface_dice_3px, boundary_f_3px, ap or ap_50"
        )
        self.require(_METRIC.fullmatch(self.metric) is not None, "metric", words)
        classes, source, form = self.classes, self.source, self.submission
        kaggle, files = self.kaggle, self.kaggle_files
        distinct = bool(classes) and len(set(classes)) == len(classes)
        self.require(distinct, "classes", "name at least one class, each once")
        self.require(len(classes) < MAX_CLASSES, "classes", f"be fewer than {MAX_CLASSES}")
        ascends = self.value_range is None or self.value_range[0] < self.value_range[1]
        self.require(ascends, "value_range", "ascend")
        words = "be True where classes overlap, each of which has a threshold of its own"
        self.require(self.has_background or not self.overlapping, "has_background", words)
        if self.has_shares:
            words = "be one, or `overlapping` True, where masks hold shares"
            self.require(len(classes) == 1 or self.overlapping, "classes", words)
            self.require(not self.has_ignored, "has_ignored", "be False where masks hold shares")
        if isinstance(source, TableSource) and source.values and not self.overlapping:
            words = f"hold one value for each of the classes {classes}"
            self.require(len(source.values) == len(classes), "source.values", words)
        if isinstance(source, Coding) and not self.overlapping:
            words = f"be True where source.ignored={source.ignored} are ignored"
            self.require(self.has_ignored or not source.ignored, "has_ignored", words)
        fits = not form.class_cells or len(set(form.class_cells)) == len(form.class_cells) == len(classes)
        words = f"write each of the classes {classes}, each in a way of its own"
        self.require(fits, "submission.class_cells", words)
        named = form.names_classes or len(classes) == 1 or form.sample is None
        words = "be given (or `{class}` in `submission.cell`) where there are several classes"
        self.require(named, "submission.class_column", words)
        words = "be the last word of the competition's address, as carvana-image-masking-challenge"
        self.require(kaggle is None or re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", kaggle) is not None, "kaggle", words)
        words = "name at least one file, of a competition that `kaggle` names"
        self.require(files is None or (kaggle is not None and bool(files)), "kaggle_files", words)
        return self

    @property
    def num_channels(self) -> int:
        """Channels of an image as nets see it: 3 for `rgb` and `grey`, whose three channels are equal."""
        return self.channels if isinstance(self.channels, int) else 3

    @property
    def num_logits(self) -> int:
        """Channels of what a net returns: one a class, before them one of background where classes exclude each other;
        of a single class there is none.
        """
        return len(self.classes) + (len(self.classes) > 1 and not self.overlapping)

    @property
    def counts_objects(self) -> bool:
        """Whether the metric compares objects one by one."""
        return self.metric.startswith("ap")

    @property
    def has_shares(self) -> bool:
        """Whether masks hold shares, 0 to 255, in place of class indices."""
        return self.source.has_shares

    @property
    def num_layers(self) -> int:
        """Layers of a soft target: one a class and, where masks have ignored pixels, one of those, or one a class."""
        return len(self.classes) + self.has_ignored * (len(self.classes) if self.overlapping else 1)
