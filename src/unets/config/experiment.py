"""What an experiment is: what is fed, which net, how it is trained, how it predicts."""

from collections.abc import Callable
from difflib import get_close_matches
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from unets.config.base import MIN_SIDE_PX, Config, Name, Share, SizeHW

# Those of keras.applications by their names in small letters, besides ours.
ENCODERS = (
    *("unet", "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"),
    *(f"efficientnetb{size}" for size in range(8)),
    *(f"efficientnetv2{size}" for size in ("b0", "b1", "b2", "b3", "s", "m", "l")),
    *(f"convnext{size}" for size in ("tiny", "small", "base", "large", "xlarge")),
    *(f"resnet{depth}{version}" for version in ("", "v2") for depth in (50, 101, 152)),
    *("mobilenet", "mobilenetv2", "mobilenetv3small", "mobilenetv3large"),
    *("densenet121", "densenet169", "densenet201", "vgg16", "vgg19"),
)
LossName = Literal["bce", "focal", "border_bce", "dice", "log_dice", "tversky", "lovasz", "boundary"]
_ABOVE_0: tuple[Callable[[float], bool], str] = (lambda value: value > 0, "be above 0")
# The arguments of each loss's function in `unets.nets.losses`, and what they must be.
LOSS_ARGS: dict[str, dict[str, tuple[Callable[[float], bool], str]]] = {
    "focal": {"gamma": (lambda value: value >= 0, "be at least 0")},
    "border_bce": {
        "width_px": (lambda value: value >= 3 and value % 2 == 1, "be an odd whole number from 3 on"),
        "weight": _ABOVE_0,
    },
    "tversky": {"false_positives": _ABOVE_0, "false_negatives": _ABOVE_0},
    "boundary": {"reach_px": (lambda value: 2 <= value <= 64 and value % 1 == 0, "be a whole number from 2 to 64")},
}
Factor = Annotated[float, Field(gt=0, le=1e6)]
OptimizerName = Literal["AdamW", "Adam", "SGD", "Lion"]
ScheduleName = Literal["cosine", "polynomial", "constant"]


class AugmentConfig(Config):
    """Augmentation: random changes of a training image, drawn again for every image and epoch."""

    hflip: Share = 0.5  # probability of a mirror image
    vflip: Share = 0.0
    quarter_turns: bool = False  # rotation by 0, 90, 180 or 270 degrees, for data without an upright
    shift: Share = 0.0625  # largest shift, as a share of the side
    scale: Share = 0.1  # largest zoom in or out, as a share
    aspect: Share = 0.05  # largest stretch of one side against the other, as a share
    rotate_deg: Annotated[float, Field(ge=0, le=180)] = 5.0
    hue_deg: Annotated[float, Field(ge=0, le=180)] = 10.0  # largest turn of the color circle
    saturation: Share = 0.2  # largest change of each of these, as a share
    brightness: Share = 0.15
    contrast: Share = 0.15
    gamma: Share = 0.15
    grey: Share = 0.05  # probability of losing all color
    warp_probability: Share = 0.8
    color_probability: Share = 0.8
    elastic_px: Annotated[float, Field(ge=0, le=64)] = 0.0  # elastic distortion: largest shift, in pixels of the net
    blur: Share = 0.0  # probability of a Gaussian blur of 0.5 to 2 pixels
    noise: Share = 0.0  # probability of Gaussian noise of 1 to 10 gray levels
    jpeg: Share = 0.0  # probability of JPEG's artifacts, of quality 30 to 95
    dropout: Share = 0.0  # probability of coarse dropout: one to four boxes take the image's mean color
    cutmix: Share = 0.0  # probability that a box of the image shows another image, with its mask
    copy_paste: Share = 0.0  # probability that objects of another image are pasted in, with their masks

    @property
    def mixes(self) -> bool:
        """Whether an image may show parts of another one."""
        return self.cutmix > 0 or self.copy_paste > 0


class DataConfig(Config):
    """What the net is fed."""

    size_hw: SizeHW = (640, 959)  # images are resized to this
    crop_hw: SizeHW | None = None  # training sees random crops of this size; validation and prediction whole images
    crop_objects: Share = 0.0  # of the crops of images that hold objects, those that are sure to show one
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 8  # images an update of the weights
    balance: Literal["none", "group", "class"] = "none"  # draw images so that groups, or classes, are equally frequent
    pseudo_labels: Name | None = None  # a set made by `unets pseudo-labels`: test images as more training images
    targets: Literal["soft", "hard"] = "soft"  # share of each pixel that is object, or 1 where that is half or more
    cache: Literal["auto", "none", "ram", "disk"] = "auto"  # decoded images are kept; auto: ram, else disk, else none
    augment: AugmentConfig | None = AugmentConfig()  # None: as read

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.require(min(self.size_hw) >= MIN_SIDE_PX, "size_hw", f"be at least {MIN_SIDE_PX} a side")
        if self.crop_hw is not None:
            fits = all(MIN_SIDE_PX <= crop <= side for crop, side in zip(self.crop_hw, self.size_hw, strict=True))
            self.require(fits, "crop_hw", f"be {MIN_SIDE_PX} to size_hw={self.size_hw} a side")
        self.require(not self.crop_objects or self.crop_hw is not None, "crop_objects", "be 0 without crop_hw")
        turns = self.augment is not None and self.augment.quarter_turns
        fed_hw = self.crop_hw or self.size_hw
        name = "size_hw" if self.crop_hw is None else "crop_hw"
        self.require(not turns or fed_hw[0] == fed_hw[1], name, "be square for quarter turns")
        return self


class ModelConfig(Config):
    """A U-Net (Ronneberger et al. 2015, arXiv 1505.04597); that paper's own is
    `depth=4, base_filters=64, max_filters=1024, normalization="none", dropout=0.5, upsampling="transpose"`.
    """

    # unet: the paper's, of `block`s; the others are nets made for classification, among them hub:<preset> of keras-hub.
    encoder: str = "unet"
    weights: str = "none"  # of an encoder other than unet: none, imagenet, or the path of a file
    # Side of the pixel blocks that the finest level works on. Logits go from depth to space after it (and for the
    # encoder unet, images from space to depth before it): the costliest levels are left out, the output keeps its size.
    stride: Literal[1, 2, 4, 8] = 1
    depth: Annotated[int, Field(ge=1, le=8)] = 5  # halvings between the finest and the deepest level
    base_filters: Annotated[int, Field(ge=1, le=4096)] = 32  # channels of the finest level; doubled at each halving
    max_filters: Annotated[int, Field(ge=1, le=16_384)] = 512  # doubling stops here
    block: Literal["plain", "residual"] = "plain"  # what a level is made of
    normalization: Literal["none", "batch", "group"] = "batch"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0  # share of the deepest level's channels that is dropped
    upsampling: Literal["bilinear", "nearest", "transpose"] = "bilinear"

    @model_validator(mode="after")
    def _check(self) -> Self:
        near = get_close_matches(self.encoder, ENCODERS, n=3, cutoff=0.5) or ENCODERS
        words = f"be {', '.join(near)} or hub:<preset>"
        self.require(self.encoder in ENCODERS or self.encoder.startswith("hub:"), "encoder", words)
        if self.encoder == "unet":
            self.require(self.weights == "none", "weights", "be none for the encoder unet")
        else:
            most = 6 - self.stride.bit_length()
            self.require(self.depth <= most, "depth", f"be at most {most} for {self.encoder}: it halves 5 times")
        return self


class TrainingConfig(Config):
    """How the net is trained; as it stands, with AdamW, linear warm-up, cosine decay to zero."""

    epochs: Annotated[int, Field(ge=1, le=100_000)] = 50  # after each the held-out images are scored
    # Updates an epoch. The images come in a new order each time all were seen, wherever an epoch ends: of many images
    # an epoch sees a part, of few it sees each several times. None: an epoch is all images once.
    steps_per_epoch: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    # One, or a weighted sum of several, as {"bce": 0.5, "dice": 0.5, "lovasz": 1}.
    loss: LossName | dict[LossName, Factor] = Field(default={"bce": 1.0, "dice": 1.0}, min_length=1)
    # Arguments of the losses, as {"gamma": 2}; in a sum each goes to all losses that have one of that name.
    loss_args: dict[str, float] = Field(default_factory=dict)
    class_weights: tuple[Factor, ...] | None = None  # what each class counts in the loss, where background counts 1
    optimizer: OptimizerName = "AdamW"  # a class of keras.optimizers
    schedule: ScheduleName = "cosine"  # of the learning rate, after the warm-up
    learning_rate: Annotated[float, Field(gt=0, le=100)] = 1e-3  # peak
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.05  # share of the updates in which the rate rises to its peak
    encoder_rate: Share = 1.0  # learning rate of a pretrained encoder, as a share of the others'
    # At the start, during which a pretrained encoder's weights stand still. Its batch statistics go on adapting, unless
    # it is all epochs: then they stand still too, and the backward pass through it is saved.
    frozen_epochs: Annotated[float, Field(ge=0)] = 0.0
    weight_decay: Annotated[float, Field(ge=0, le=100)] = 1e-4
    clip_norm: Annotated[float, Field(gt=0)] | None = None  # longest gradient, over all weights together
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None  # momentum of the mean over steps that predicts
    # The epoch whose weights predict. The best is chosen by the held-out images that score it: a little too good.
    keep: Literal["best", "last"] = "best"
    # An experiment of the same folds, whose weights are the first ones; it is trained first where it is not yet.
    start_from: Name | None = None
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "auto"  # auto: mixed where it is faster
    patience: Annotated[int, Field(ge=1, le=100_000)] | None = None  # epochs without a better validation score
    # Of the held-out images, those that an epoch is scored on, spread evenly. None: all. Out-of-fold scores use all.
    validation_images: Annotated[int, Field(ge=1)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    # Threads do not decide the order in which numbers are added up: at some cost, a run that is killed and goes on has
    # the same bits on a GPU too (there it is untried). On CPUs it was found to have them without.
    deterministic: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.require(self.frozen_epochs <= self.epochs, "frozen_epochs", f"be at most epochs={self.epochs}")
        words = "be None for keep=last: patience ends a training long after its best epoch"
        self.require(self.keep == "best" or self.patience is None, "patience", words)
        taken = [(arg, *range_) for name in self.losses for arg, range_ in LOSS_ARGS.get(name, {}).items()]
        names = sorted({arg for arg, _, _ in taken})
        words = f"hold none but {', '.join(names)}" if names else "be empty"
        self.require(self.loss_args.keys() <= set(names), "loss_args", f"{words} for loss={self.loss}")
        for arg, is_valid, words in taken:
            self.require(arg not in self.loss_args or is_valid(self.loss_args[arg]), "loss_args", f"{words} in {arg}")
        return self

    @property
    def losses(self) -> dict[str, float]:
        """What the loss is a sum of: names and factors."""
        return {self.loss: 1.0} if isinstance(self.loss, str) else dict(self.loss.items())


class PredictionConfig(Config):
    """How maps are made."""

    # Test-time augmentation: the flips whose probabilities are averaged, at each scale. The first alone is "no TTA".
    tta: tuple[Literal["identity", "hflip", "vflip", "hvflip"], ...] = ("identity", "hflip")
    scales: tuple[Annotated[float, Field(ge=0.25, le=4)], ...] = (
        1.0,
    )  # sizes that are predicted, as shares of the net's
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 8
    shard_size: Annotated[int, Field(ge=1, le=65_536)] = 256  # images a zip; what a kill can cost
    tile_hw: SizeHW | None = None  # images whose activations exceed the memory are predicted in tiles of this size
    tile_overlap_px: Annotated[int, Field(ge=0, le=32_767)] = 64  # of neighboring tiles, blended linearly

    @model_validator(mode="after")
    def _check(self) -> Self:
        distinct = bool(self.tta) and len(set(self.tta)) == len(self.tta)
        self.require(distinct, "tta", "name at least one flip, each once")
        is_known = self.scales[:1] == (1.0,) and len(set(self.scales)) == len(self.scales)
        self.require(is_known, "scales", "begin with 1, each once")
        if self.tile_hw is not None:
            self.require(min(self.tile_hw) >= MIN_SIDE_PX, "tile_hw", f"be at least {MIN_SIDE_PX} a side")
            overlap, most = self.tile_overlap_px, f"be at most half of tile_hw={self.tile_hw}"
            self.require(2 * overlap <= min(self.tile_hw), "tile_overlap_px", most)
        return self

    @property
    def has_tta(self) -> bool:
        """Whether an image is predicted more than once."""
        return len(self.tta) * len(self.scales) > 1

    @property
    def cost(self) -> float:
        """What an image takes, in predictions of one image at the net's size."""
        return len(self.tta) * sum(scale**2 for scale in self.scales)


class ExperimentConfig(Config):
    """One experiment: what is fed, which net, how it is trained, how it predicts."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    prediction: PredictionConfig = PredictionConfig()
    folds: tuple[Annotated[int, Field(ge=0, lt=100)], ...] | None = None  # those of --fold all; None: every one

    @model_validator(mode="after")
    def _check(self) -> Self:
        sizes = {
            "data.size_hw": self.data.size_hw,
            "data.crop_hw": self.data.crop_hw,
            "prediction.tile_hw": self.prediction.tile_hw,
        }
        model, training, targets = self.model, self.training, self.data.targets
        for field, size_hw in sizes.items():
            if size_hw is not None:
                words = f"be at most {self.data.size_hw}, the size of the images"
                is_within = all(side <= whole for side, whole in zip(size_hw, self.data.size_hw, strict=True))
                self.require(is_within, field, words)
                # What the poolings lack is padded by reflection: less than a side.
                twice, multiple = 2 * min(size_hw), model.stride * 2**model.depth
                deepest = max((twice // model.stride).bit_length() - 1, 1)
                words = f"be at most {deepest} for {field}={size_hw} and stride={model.stride}"
                self.require(multiple <= twice, "model.depth", words)
        least, side = min(self.prediction.scales), min(self.prediction.tile_hw or self.data.size_hw)
        words = f"leave {multiple / 2:g} pixels of {side} for model.stride={model.stride} and model.depth={model.depth}"
        self.require(multiple <= 2 * round(least * side), "prediction.scales", words)
        words = f"leave {MIN_SIDE_PX} pixels of {side}"
        self.require(least == 1 or round(least * side) >= MIN_SIDE_PX, "prediction.scales", words)
        is_pretrained = model.encoder != "unet" or (training.frozen_epochs == 0 and training.encoder_rate == 1)
        words = "be a pretrained one for training.frozen_epochs or training.encoder_rate"
        self.require(is_pretrained, "model.encoder", words)
        is_taught = model.weights != "none" or training.start_from is not None
        words = "be 0 where the encoder's weights are random: neither model.weights nor training.start_from"
        self.require(training.frozen_epochs == 0 or is_taught, "training.frozen_epochs", words)
        if "lovasz" in training.losses:
            words = "be hard for training.loss=lovasz, which is defined for targets of 0 and 1 alone"
            self.require(targets == "hard", "data.targets", words)
        return self
