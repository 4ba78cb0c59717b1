"""The card of a model: all that is known of it but the numbers. With these it makes masks, without anything else."""

from shutil import get_terminal_size
from textwrap import fill
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_serializer, model_validator

from unets.config import Config, DatasetConfig, ExperimentConfig, Postprocessing, SizeHW, SubmissionConfig, check_name
from unets.config.dataset import MAX_CLASSES
from unets.data.image import ImageKind
from unets.ensemble.recipe import Recipe, describe_threshold
from unets.log import to_plain
from unets.metrics.intervals import Interval
from unets.prediction.sources import fingerprint_nets
from unets.store.provenance import format_commit
from unets.store.runs import fingerprint
from unets.tables import render_table


class NetCard(Config):
    """One net: a fold of an experiment."""

    fold: int
    weights_sha256: str  # of the `net.weights.h5` that training wrote
    best_dice: float | None = None  # of validation, at the net's own resolution
    commits: tuple[str, ...] = ()  # of the code that trained it


class MemberCard(Config):
    """One experiment; the probability maps of its nets are averaged."""

    name: str
    experiment: ExperimentConfig  # written without what decides training alone
    nets: tuple[NetCard, ...]

    @property
    def size_hw(self) -> SizeHW:
        """(height, width) that images are shrunk to."""
        return self.experiment.data.size_hw

    @field_serializer("experiment")
    def _dump(self, experiment: ExperimentConfig) -> dict[str, Any]:
        kept: Any = {"data": {"size_hw"}, "model": True, "training": {"precision", "deterministic"}, "prediction": True}
        return experiment.model_dump(mode="json", include=kept)

    @model_validator(mode="after")
    def _check(self) -> Self:
        folds = [net.fold for net in self.nets]
        check_name(self.name, "`name` of a member")
        if not folds or len(set(folds)) < len(folds):
            raise ValueError(f"`nets` must be one a fold. Received: folds {folds} of {self.name}")
        return self


class Usual(Config):
    """What out-of-fold masks of training images are like: all but one image in a hundred lie within."""

    num_images: int
    area: tuple[float, float]  # share of the image that is of any class, least and most
    confidence: float  # least; see `unets.export.model.Result`


class Origin(Config):
    """What wrote a file, as `unets.store.provenance.describe_origin` has it."""

    date: str = ""
    git_commit: str | None = None
    git_is_dirty: bool | None = None
    versions: dict[str, str] = Field(default_factory=dict)


class ModelCard(Config):
    """What makes masks: members, and the recipe that makes a mask of their probability maps."""

    name: str
    competition: str
    classes: tuple[str, ...]
    # Of the images trained on; for grey, colors are taken away.
    channels: Literal["rgb", "grey"] | Annotated[int, Field(ge=2, le=12)] = "rgb"
    value_range: tuple[float, float] | None = None  # of images of 16 bits: what the nets saw as 0 and 255
    image_hw: SizeHW | None = None  # size of the images trained on; None: not known, or of many sizes
    members: tuple[MemberCard, ...]
    recipe: Recipe
    metric: str | None = None
    score: Interval | None = None  # out-of-fold, by the metric; None: not known
    usual: Usual | None = None  # None: not known
    origin: Origin | None = None  # None: it is no file
    picture: str = ""  # an image with the contours of its mask, a JPEG in base64; of an image that somebody chose

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_name(self.name, "`name` of a model")
        if not 0 < len(set(self.classes)) == len(self.classes) < MAX_CLASSES:
            words = f"name at least one class, each once, and fewer than {MAX_CLASSES}"
            raise ValueError(f"`classes` must {words}. Received: {self.classes}")
        names, weights = [member.name for member in self.members], self.recipe.weights
        if not names or len(set(names)) < len(names) or len(names) != len(weights) or min(weights) <= 0:
            raise ValueError(f"`members` must have a name and a weight above 0 each. Received: {names}, {weights}")
        return self

    @property
    def sizes(self) -> tuple[SizeHW, ...]:
        """(height, width) that images are shrunk to, each once."""
        return tuple(dict.fromkeys(member.size_hw for member in self.members))

    @property
    def dataset(self) -> DatasetConfig:
        """What nets are built by: channels of an image, and classes."""
        form = SubmissionConfig(sample=None)
        kind = {"channels": self.channels, "classes": self.classes, "overlapping": self.recipe.overlapping}
        return DatasetConfig(submission=form, **kind)

    @property
    def summary(self) -> str:
        """What the model is, in a line: `demo: car; 1 net of 256 x 384; dice 0.97800 (0.97000 to 0.98100)`."""
        num_nets = sum(len(member.nets) for member in self.members)
        sizes = ", ".join(f"{height} x {width}" for height, width in self.sizes)
        score = f"; {self.metric} {self.score}" if self.score else ""
        return f"{self.name}: {', '.join(self.classes)}; {num_nets} net{'s'[: num_nets > 1]} of {sizes}{score}"

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change when a mask may: of weights, nets, sizes, TTA, classes, recipe."""
        return fingerprint(
            members=[
                fingerprint_nets(member.experiment, self.classes, {net.fold: net.weights_sha256 for net in member.nets})
                for member in self.members
            ],
            channels=self.channels,
            value_range=self.value_range,
            recipe=self.recipe.model_dump(mode="json"),
            image_hw=None if self.recipe.postprocessing == Postprocessing() else self.image_hw,
        )

    def find_kind(self, *, upright: bool = True) -> ImageKind:
        """Returns how the model sees image files; upright: turned as their orientation tag says."""
        return ImageKind(channels=self.channels, value_range=self.value_range, upright=upright)

    def find_unusual(self, area: float, confidence: float) -> str:
        """Says in what a mask is unlike those of training images; nothing where it is like them, or not known."""
        if self.usual is None:
            return ""
        (least, most), lowest = self.usual.area, self.usual.confidence
        found = {
            f"the mask covers {area:.1%}, in training images {least:.1%} to {most:.1%}": not least <= area <= most,
            f"confidence {confidence:.3f}, in training images at least {lowest:.3f}": confidence < lowest,
        }
        return "; ".join(text for text, is_so in found.items() if is_so)

    def find_recipe(self, full_hw: SizeHW) -> Recipe:
        """Returns the recipe for images of a size, (height, width).

        Post-processing was fitted in pixels of the images trained on. Lengths grow with an image's side, areas with its
        own; where all images have one size, that of the submission is what it was.
        """
        if self.image_hw is None or full_hw == self.image_hw:
            return self.recipe
        growth, steps = full_hw[0] * full_hw[1] / (self.image_hw[0] * self.image_hw[1]), self.recipe.postprocessing

        def grow(value: Any) -> Any:
            if isinstance(value, tuple):
                return tuple(map(grow, value))
            return value * growth**0.5 if isinstance(value, float) else value and round(value * growth)

        grown = {name: grow(value) for name, value in steps if name != "max_components"}
        return self.recipe.change(**grown)


def render_card(card: ModelCard) -> str:
    """Renders a card for people; of texts that came with the file, control characters are left out."""
    channels = f"{card.channels} channels" if isinstance(card.channels, int) else card.channels
    size = f", {card.image_hw[0]} x {card.image_hw[1]}" if card.image_hw else ""
    usual, origin, recipe = card.usual, card.origin, card.recipe
    facts = {
        "finds": ", ".join(card.classes),
        "trained on": f"{card.competition}, images of {channels}{size}",
        "score": f"{card.metric} {card.score}, out-of-fold" if card.score else "not known",
        "usual masks": f"{usual.area[0]:.1%} to {usual.area[1]:.1%} of the image, confidence from "
        f"{usual.confidence:.3f} ({usual.num_images} images)"
        if usual
        else "not known: images unlike those of training are not named",
        "threshold": f"{describe_threshold(recipe.threshold, card.classes)}, of the mean probability",
        "post-processing": recipe.postprocessing.describe(),
    }
    if origin:
        facts["written"], facts["commit"] = origin.date, format_commit(origin.git_commit, origin.git_is_dirty)
        facts["versions"] = ", ".join(f"{library} {version}" for library, version in origin.versions.items())
    facts["picture"] = "`unets info MODEL --out card.jpg` writes it" if card.picture else "none"
    facts["fingerprint"] = card.fingerprint
    header = ["member", "weight", "size", "TTA", "encoder", "folds", "validation Dice"]
    rows = [
        (
            member.name,
            f"{weight / sum(recipe.weights):.3f}",
            f"{member.size_hw[0]} x {member.size_hw[1]}",
            ", ".join([*tta, *(f"{scale:g} x" for scale in scales)]),
            member.experiment.model.encoder,
            ", ".join(str(net.fold) for net in member.nets),
            ", ".join(f"{net.best_dice:.5f}" for net in member.nets if net.best_dice is not None),
        )
        for member, weight in zip(card.members, recipe.weights, strict=True)
        for tta, (_, *scales) in [(member.experiment.prediction.tta, member.experiment.prediction.scales)]
    ]
    width = max(map(len, facts))
    columns, indent = get_terminal_size().columns, " " * (width + 2)
    lines = [fill(f"{name:<{width}}  {value}", columns, subsequent_indent=indent) for name, value in facts.items()]
    text = "\n".join([card.summary, "", *lines, "", render_table(header, rows, right={"weight"})])
    return to_plain(text)
