"""Everything that can be configured: one frozen schema each for dataset, experiment and ensemble.

A competition is a folder `configs/<competition>/`. Its `dataset.py` defines `DATASET`, its `ensemble.py` (and further
ones, `ensemble_<name>.py`) `ENSEMBLE`, every other file `<name>.py` `EXPERIMENT`, with only what differs from the
defaults below.
What a run is *given* (fold, folders, device) is an argument; what an experiment *is* stands here. A misspelt or
impossible field fails when the file is loaded, before anything is read or trained.
"""

import re
import runpy
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from unets.errors import InputError

SizeHW = tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]
Level = Annotated[int, Field(ge=0, le=255)]
MaskValue = Level | tuple[Level, Level, Level]  # of a pixel in a mask file: a value, or the colour (R, G, B)
Share = Annotated[float, Field(ge=0, le=1)]
_ENSEMBLE = "ensemble"  # how names of ensembles begin
_STEPS = {  # in words
    "blur_px": "map smoothed, sigma {}",
    "max_hole_px": "holes filled up to {}",
    "max_components": "largest components kept: {}",
    "min_area_px": "emptied below {}",
}
MIN_SIDE_PX = 32  # the smallest side any net here takes
MAX_CLASSES = 254  # a class index is one byte, of which two values are none
EncoderName = Literal[
    "unet", "efficientnet_lite0", "vgg16", "resnet50v2", "mobilenetv2", "efficientnetv2b0", "convnexttiny"
]
LossName = Literal["bce", "dice", "bce_dice", "bce_log_dice", "border_bce", "border_bce_dice", "focal", "lovasz"]
OptimizerName = Literal["AdamW", "Adam", "Nadam", "Adamax", "SGD", "RMSprop", "Lion", "Lamb", "Adafactor"]
ScheduleName = Literal["cosine", "one_cycle", "polynomial", "exponential", "constant"]


def _require(holds: bool, field: str, expectation: str, received: object) -> None:
    if not holds:
        raise ValueError(f"`{field}` must {expectation}. Received: {field}={received!r}")


class Config(BaseModel):
    """A frozen set of fields that knows its own JSON and refuses fields that it does not have."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    def to_json(self) -> str:
        """Returns the fields as JSON, indented, in the order of their definition."""
        return self.model_dump_json(indent=2)

    @classmethod
    def from_json(cls, text: str, source: str) -> Self:
        """Reads what `to_json` wrote.

        Args:
            text: the JSON.
            source: where it came from, for the error.

        Raises:
            InputError: a field is unknown, missing or impossible.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise InputError(f"{source}: {describe(error)}") from error


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
    num_folds: Annotated[int, Field(ge=2)] = 5
    folds_seed: int = 2017  # the year of the Carvana challenge; any other would do
    kaggle: str | None = None  # the competition's name in Kaggle's addresses; None: it is not there
    kaggle_files: tuple[str, ...] | None = None  # what `make data` takes, file by file; None: the bundle of all

    @model_validator(mode="after")
    def _check(self) -> Self:
        for field in ("photos", "masks", "test_photos"):
            pattern = getattr(self, field)
            _require(pattern is None or pattern.count("{id}") == 1, field, "hold `{id}` exactly once", pattern)
        _require(
            self.masks is not None or self.masks_csv is not None, "masks", "be given where `masks_csv` is not", None
        )
        source = self.masks if self.read_masks_from == "files" else self.masks_csv
        _require(source is not None, "read_masks_from", "name a source that is declared", self.read_masks_from)
        try:
            named = re.compile(self.id_pattern).groupindex
        except re.error as error:
            raise ValueError(
                f"`id_pattern` must be a regular expression ({error}). Received: {self.id_pattern}"
            ) from error
        _require("group" in named, "id_pattern", "have a part named `group`", self.id_pattern)
        _require(
            bool(self.classes) and len(set(self.classes)) == len(self.classes),
            "classes",
            "name at least one class, each once",
            self.classes,
        )
        lowest = self.value_range is None or 0 <= self.value_range[0] < self.value_range[1] <= 65535
        _require(lowest, "value_range", "ascend within 0..65535", self.value_range)
        self._check_mask_values()
        _require("{id}" in self.csv_image, "csv_image", "hold `{id}`", self.csv_image)
        several_rows = self.csv_class_column is not None or "{class}" in self.csv_image
        _require(
            several_rows or len(self.classes) == 1,
            "csv_class_column",
            "be given (or `{class}` in `csv_image`) where there are several classes",
            self.csv_class_column,
        )
        _require(
            self.kaggle is None or re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", self.kaggle) is not None,
            "kaggle",
            "be the last word of the competition's address, as carvana-image-masking-challenge",
            self.kaggle,
        )
        _require(
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
        _require(
            len(set(self.mask_values)) == len(self.classes) == len(self.mask_values),
            "mask_values",
            f"hold one value for each of the classes {self.classes}, each once",
            self.mask_values,
        )
        _require(len(self.classes) < MAX_CLASSES, "classes", f"be fewer than {MAX_CLASSES}", self.classes)
        declared = (*self.mask_values, *self.background_values, *self.ignore_values)
        colours = [(value,) * 3 if isinstance(value, int) else value for value in declared]
        _require(
            len(set(colours)) == len(colours),
            "mask_values",
            f"share no value with background_values={self.background_values} and ignore_values={self.ignore_values}",
            self.mask_values,
        )
        _require(
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


class AugmentConfig(Config):
    """Random changes of a training photo; each is drawn anew for every photo and epoch."""

    hflip: Share = 0.5  # probability of a mirror image
    vflip: Share = 0.0
    quarter_turns: bool = False  # rotation by 0, 90, 180 or 270 degrees, for data without an upright
    shift: Share = 0.0625  # largest shift, as a share of the side
    scale: Share = 0.1  # largest zoom in or out, as a share
    aspect: Share = 0.05  # largest stretch of one side against the other, as a share
    rotate_deg: Annotated[float, Field(ge=0, le=180)] = 5.0
    hue_deg: Annotated[float, Field(ge=0, le=180)] = 10.0  # largest turn of the colour circle
    saturation: Share = 0.2  # largest change of each of these, as a share
    brightness: Share = 0.15
    contrast: Share = 0.15
    gamma: Share = 0.15
    grey: Share = 0.05  # probability of losing all colour
    # Of photos whose colours change: those in which each class draws its own, apart from the background's, by the same
    # ranges. New paint for every car, where training photos show few.
    own_colours: Share = 0.0
    warp_probability: Share = 0.8
    colour_probability: Share = 0.8


class DataConfig(Config):
    """What the net is fed."""

    size_hw: SizeHW = (640, 959)  # photos are shrunk to this
    crop_hw: SizeHW | None = None  # training sees random crops of this size; validation and prediction whole photos
    batch_size: Annotated[int, Field(ge=1)] = 8  # photos an update of the weights
    balance: Literal["none", "group", "class"] = "none"  # draw photos so that groups, or classes, are equally frequent
    pseudo_labels: str | None = None  # a set made by `make pseudo-labels NAME=`: test photos as more training photos
    targets: Literal["coverage", "threshold"] = "coverage"  # share of each small pixel that is object, or that at 0.5
    cache: Literal["auto", "none", "ram", "disk"] = "auto"  # decoded photos are kept; auto: ram, else disk, else none
    augment: AugmentConfig | None = AugmentConfig()  # None: as read

    @model_validator(mode="after")
    def _check(self) -> Self:
        _require(min(self.size_hw) >= MIN_SIDE_PX, "size_hw", f"be at least {MIN_SIDE_PX} a side", self.size_hw)
        if self.crop_hw is not None:
            fits = all(MIN_SIDE_PX <= crop <= side for crop, side in zip(self.crop_hw, self.size_hw, strict=True))
            _require(fits, "crop_hw", f"be {MIN_SIDE_PX} to size_hw={self.size_hw} a side", self.crop_hw)
        turns = self.augment is not None and self.augment.quarter_turns
        fed_hw = self.crop_hw or self.size_hw
        name = "size_hw" if self.crop_hw is None else "crop_hw"
        _require(not turns or fed_hw[0] == fed_hw[1], name, "be square for quarter turns", fed_hw)
        return self


class ModelConfig(Config):
    """A U-Net (Ronneberger et al. 2015, arXiv 1505.04597); that paper's own is
    `depth=4, base_filters=64, max_filters=1024, normalization="none", dropout=0.5, upsampling="transpose"`.
    """

    encoder: EncoderName = "unet"  # unet: the paper's, of `block`s; the others are nets made for classification
    weights: str = "none"  # of an encoder other than unet: none, imagenet, or the path of a file
    # Side of the pixel blocks that the finest level works on. Logits are unfolded from channels to pixels after it (and
    # for the encoder unet, photos folded before it): the costliest levels are left out, the output keeps its size.
    stride: Literal[1, 2, 4, 8] = 1
    # A pretrained encoder sees the means of blocks of this side: its costly levels shrink, and what it learned of
    # things 200 px wide fits those that fill a large photo. Finer levels get a convolution of the photo each.
    encoder_shrink: Literal[1, 2, 4] = 1
    depth: Annotated[int, Field(ge=1, le=8)] = 5  # halvings between the finest and the deepest level
    base_filters: Annotated[int, Field(ge=1)] = 32  # channels of the finest level; doubled at each halving
    max_filters: Annotated[int, Field(ge=1)] = 512  # doubling stops here
    block: Literal["plain", "residual", "separable"] = "plain"  # what a level is made of
    normalization: Literal["none", "batch", "group"] = "batch"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0  # share of the deepest level's channels that is dropped
    bottleneck: Literal["plain", "dilated"] = "plain"  # dilated: a cascade of rates 1 to 32 at the deepest level
    upsampling: Literal["bilinear", "nearest", "transpose"] = "bilinear"
    deep_supervision: Annotated[int, Field(ge=0, le=4)] = 0  # coarser levels that predict too while training

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.encoder == "unet":
            _require(self.weights == "none", "weights", "be none for the encoder unet", self.weights)
            _require(self.encoder_shrink == 1, "encoder_shrink", "be 1 for the encoder unet", self.encoder_shrink)
        else:
            halvings = self.depth + self.stride.bit_length() - self.encoder_shrink.bit_length()
            _require(
                halvings <= 5,
                "depth",
                f"be at most {5 - halvings + self.depth} for {self.encoder}: it halves 5 times",
                self.depth,
            )
        _require(
            self.deep_supervision < self.depth,
            "deep_supervision",
            f"be below depth={self.depth}",
            self.deep_supervision,
        )
        return self


class TrainingConfig(Config):
    """How the net is trained; as it stands, with AdamW, linear warm-up, cosine decay to zero."""

    epochs: Annotated[int, Field(ge=1)] = 50
    loss: LossName = "bce_dice"
    loss_args: dict[str, float] = {}  # arguments of the loss, as {"gamma": 2}
    optimizer: OptimizerName = "AdamW"  # a class of keras.optimizers
    optimizer_args: dict[str, float | bool] = {}  # its arguments beyond those below, as {"beta_2": 0.99}
    schedule: ScheduleName = "cosine"  # of the learning rate, after the warm-up; one_cycle rises by itself
    schedule_args: dict[str, float | bool] = {}  # as {"power": 0.9}
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3  # peak
    warmup_epochs: Annotated[float, Field(ge=0)] = 1.0
    encoder_rate: Share = 1.0  # learning rate of a pretrained encoder, as a share of the others'
    # At the start, during which a pretrained encoder's weights stand still. Its batch statistics go on adapting, unless
    # it is all epochs: then they stand still too, and the backward pass through it is saved.
    frozen_epochs: Annotated[float, Field(ge=0)] = 0.0
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    clip_norm: Annotated[float, Field(gt=0)] | None = None  # longest gradient, over all weights together
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None  # momentum of the mean over steps that predicts
    average: Literal["none", "last", "best"] = "none"  # checkpoints whose mean predicts, if it validates better
    average_epochs: Annotated[int, Field(ge=2)] = 5  # how many of them
    start_from: str | None = None  # an experiment of the same folds, whose weights are the first ones
    # Photos a step, a divisor of `batch_size`: gradients are added up until a whole batch is seen. None: all at once.
    # BATCH= sets it for a machine; it decides nothing but memory (and what batch normalization averages over).
    micro_batch: Annotated[int, Field(ge=1)] | None = None
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "auto"  # auto: mixed where it is faster
    patience: Annotated[int, Field(ge=1)] | None = None  # epochs without a better validation Dice before stopping
    seed: int = 0
    # Threads do not decide the order in which numbers are added up: at some cost, a run that is killed and goes on has
    # the same bits on a GPU too (there it is untried). On CPUs it was found to have them without.
    deterministic: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        for field in ("warmup_epochs", "frozen_epochs"):
            _require(
                getattr(self, field) <= self.epochs, field, f"be at most epochs={self.epochs}", getattr(self, field)
            )
        _require(
            self.warmup_epochs < self.epochs,
            "warmup_epochs",
            f"be below epochs={self.epochs}; 0 leaves it out",
            self.warmup_epochs,
        )
        _require(
            self.average == "none" or self.average_epochs <= self.epochs,
            "average_epochs",
            f"be at most epochs={self.epochs}",
            self.average_epochs,
        )
        return self


class PredictionConfig(Config):
    """How maps are made."""

    views: tuple[Literal["identity", "hflip", "vflip", "hvflip"], ...] = ("identity", "hflip")  # averaged
    batch_size: Annotated[int, Field(ge=1)] = 8
    shard_size: Annotated[int, Field(ge=1)] = 256  # photos a zip; what a kill can cost
    tile_hw: SizeHW | None = None  # photos whose activations exceed the memory are predicted in tiles of this size
    tile_overlap_px: Annotated[int, Field(ge=0)] = 64  # of neighbouring tiles, blended linearly

    @model_validator(mode="after")
    def _check(self) -> Self:
        distinct = bool(self.views) and len(set(self.views)) == len(self.views)
        _require(distinct, "views", "name at least one view, each once", self.views)
        if self.tile_hw is not None:
            _require(min(self.tile_hw) >= MIN_SIDE_PX, "tile_hw", f"be at least {MIN_SIDE_PX} a side", self.tile_hw)
            _require(
                2 * self.tile_overlap_px <= min(self.tile_hw),
                "tile_overlap_px",
                f"be at most half of tile_hw={self.tile_hw}",
                self.tile_overlap_px,
            )
        return self


class ExperimentConfig(Config):
    """One experiment: what is fed, which net, how it is trained, how it predicts."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    prediction: PredictionConfig = PredictionConfig()
    folds: tuple[Annotated[int, Field(ge=0)], ...] | None = None  # folds that FOLD=all means here; None: every one

    @model_validator(mode="after")
    def _check(self) -> Self:
        micro = self.training.micro_batch
        _require(
            micro is None or self.data.batch_size % micro == 0,
            "training.micro_batch",
            f"divide data.batch_size={self.data.batch_size}",
            micro,
        )
        least = MIN_SIDE_PX * self.model.encoder_shrink
        sizes = {
            "data.size_hw": self.data.size_hw,
            "data.crop_hw": self.data.crop_hw,
            "prediction.tile_hw": self.prediction.tile_hw,
        }
        for field, size_hw in sizes.items():
            fits = size_hw is None or min(size_hw) >= least
            _require(
                fits, field, f"be at least {least} a side, {MIN_SIDE_PX} for the encoder after its shrinking", size_hw
            )
        slow = self.training.frozen_epochs > 0 or self.training.encoder_rate < 1
        _require(
            not slow or self.model.encoder != "unet",
            "model.encoder",
            "be a pretrained one for training.frozen_epochs or training.encoder_rate",
            self.model.encoder,
        )
        is_taught = self.model.weights != "none" or self.training.start_from is not None
        _require(
            self.training.frozen_epochs == 0 or is_taught,
            "training.frozen_epochs",
            "be 0 where the encoder's weights are random: neither model.weights nor training.start_from",
            self.training.frozen_epochs,
        )
        _require(
            self.training.loss != "lovasz" or self.data.targets == "threshold",
            "data.targets",
            "be threshold for training.loss=lovasz, which is defined for targets of 0 and 1 alone",
            self.data.targets,
        )
        _require(
            self.training.loss != "lovasz" or self.model.deep_supervision == 0,
            "model.deep_supervision",
            "be 0 for training.loss=lovasz: coarser targets are shares, not 0 and 1",
            self.model.deep_supervision,
        )
        return self


class Postprocessing(Config):
    """What is done to a map and to the mask that is cut from it, in this order; nothing by default."""

    blur_px: Annotated[float, Field(ge=0)] = 0.0  # sigma of a Gaussian over the map before the cut, full-size pixels
    max_hole_px: Annotated[int, Field(ge=0)] | None = 0  # holes of at most this area are filled; None: all, 0: none
    max_components: Annotated[int, Field(ge=1)] | None = None  # largest parts of a class that are kept; None: all
    min_area_px: Annotated[int, Field(ge=0)] = 0  # a class with fewer pixels is emptied

    def describe(self) -> str:
        """Says what is done, in words."""
        words = [
            text.format("any size" if value is None else f"{value:g} px" if field != "max_components" else value)
            for field, text in _STEPS.items()
            if (value := getattr(self, field)) != type(self).model_fields[field].default
        ]
        return ", ".join(words) or "none"


class EnsembleConfig(Config):
    """What the final masks are made of. What is `fit` is kept at its default unless out-of-fold maps prove a gain."""

    experiments: tuple[str, ...]  # names of the experiments averaged
    averaging: Literal["fit", "probability", "logit"] = "fit"  # of what the mean is taken; default: probability
    weights: tuple[Annotated[float, Field(ge=0)], ...] | Literal["fit", "equal"] = "fit"  # one each; default: equal
    threshold: Share | Literal["fit"] = "fit"  # default: 0.5
    postprocessing: Postprocessing | Literal["fit"] = "fit"  # default: none

    @model_validator(mode="after")
    def _check(self) -> Self:
        distinct = bool(self.experiments) and len(set(self.experiments)) == len(self.experiments)
        _require(distinct, "experiments", "name at least one experiment, each once", self.experiments)
        if not isinstance(self.weights, str):
            fits = len(self.weights) == len(self.experiments) and sum(self.weights) > 0
            _require(fits, "weights", f"hold one weight for each of {self.experiments}, not all 0", self.weights)
        return self


ConfigT = TypeVar("ConfigT", bound=Config)


def load_dataset(folder: Path) -> DatasetConfig:
    """Loads `DATASET` from a competition's config folder."""
    return _load(folder / "dataset.py", "DATASET", DatasetConfig)


def load_ensemble(folder: Path, name: str = "ensemble") -> EnsembleConfig:
    """Loads `ENSEMBLE` from the file of that name, `ensemble` or `ensemble_<...>`, in a competition's config folder.

    Raises:
        InputError: there is no such file, or it is faulty.
    """
    known = list_ensembles(folder)
    if known and name not in known:
        words = ", ".join(other.removeprefix(f"{_ENSEMBLE}_") for other in known if other != _ENSEMBLE)
        raise InputError(
            f"`ENSEMBLE` must name a file ensemble_<name>.py in {folder}, one of {words or '(none)'}, or be left out. "
            f"Received: {name.removeprefix(f'{_ENSEMBLE}_')}"
        )
    return _load(folder / f"{name}.py", "ENSEMBLE", EnsembleConfig)


def is_ensemble(name: str) -> bool:
    """Tells whether a name is an ensemble's, `ensemble` or `ensemble_<...>`, and so no experiment's."""
    return name == _ENSEMBLE or name.startswith(f"{_ENSEMBLE}_")


def list_ensembles(folder: Path) -> list[str]:
    """Returns the names of a competition's ensembles, sorted: `ensemble`, `ensemble_<...>`."""
    return sorted(path.stem for path in folder.glob("*.py") if is_ensemble(path.stem))


def load_experiment(folder: Path, name: str) -> ExperimentConfig:
    """Loads the experiment `name` from a competition's config folder.

    Raises:
        InputError: there is none of that name, or its file is faulty.
    """
    if name not in list_experiments(folder):
        raise InputError(f"`EXP` must be one of {', '.join(list_experiments(folder))}. Received: {name}")
    return _load(folder / f"{name}.py", "EXPERIMENT", ExperimentConfig)


def list_experiments(folder: Path) -> list[str]:
    """Returns the names of a competition's experiments, sorted.

    Raises:
        InputError: the competition has no folder.
    """
    if not folder.is_dir():
        known = sorted(path.name for path in folder.parent.glob("*/") if (path / "dataset.py").exists())
        raise InputError(
            f"`COMPETITION` must be one of {', '.join(known) or '(none)'}. Received: {folder.name} ({folder})"
        )
    return sorted(path.stem for path in folder.glob("*.py") if path.stem != "dataset" and not is_ensemble(path.stem))


def describe(error: ValidationError) -> str:
    """Says a validation error in the house's form, one fault a line."""
    faults = []
    for fault in error.errors():
        where = ".".join(str(part) for part in fault["loc"])
        message = fault["msg"].removeprefix("Value error, ")
        faults.append(message if message.startswith("`") else f"`{where}`: {message}. Received: {fault['input']!r}")
    return "; ".join(faults)


def _load(path: Path, variable: str, kind: type[ConfigT]) -> ConfigT:
    if not path.is_file():
        raise InputError(f"{path} must exist and define {variable} = {kind.__name__}(...). Received: no such file")
    try:
        found: Any = runpy.run_path(str(path)).get(variable)
    except ValidationError as error:
        raise InputError(f"{path}: {describe(error)}") from error
    except Exception as error:  # the file is the user's own code: whatever it raises is about that file
        raise InputError(f"{path} must run as Python. Received: {type(error).__name__}: {error}") from error
    if not isinstance(found, kind):
        raise InputError(f"{path} must define {variable} = {kind.__name__}(...). Received: {type(found).__name__}")
    return found
