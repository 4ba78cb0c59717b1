"""What the final masks are made of: experiments, the weights of their maps, what is done to the masks."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from unets.config.base import Config, Name, Share

_Area = Annotated[int, Field(ge=0, le=2**31)]
_Count = Annotated[int, Field(ge=1, le=65_536)]
_Width = Annotated[float, Field(ge=0, le=1000)]
Threshold = Share | tuple[Share, ...]  # of all classes, or of each
STEPS = {  # in words, before a value in pixels (a count of components)
    "blur_px": "map smoothed, sigma",
    "max_hole_px": "holes filled up to",
    "max_components": "components kept, the largest",
    "min_area_px": "emptied below",
    "neck_px": "objects parted at necks up to",
    "min_object_px": "objects dropped below",
}


class Postprocessing(Config):
    """What is done to a probability map and to the mask made of it, in this order; nothing by default.

    All but `blur_px` may be one of all classes, or one of each.
    """

    blur_px: Annotated[float, Field(ge=0, le=100)] = 0.0  # sigma of a Gaussian over the map, full-size pixels
    max_hole_px: _Area | tuple[_Area | None, ...] | None = 0  # larger holes are not filled; None: all are
    max_components: _Count | tuple[_Count | None, ...] | None = None  # largest parts of a class that are kept
    min_area_px: _Area | tuple[_Area, ...] = 0  # a class with fewer pixels is emptied
    # Objects that touch are cut apart, by a line of background, where what joins them is at most this wide.
    neck_px: _Width | tuple[_Width, ...] = 0.0
    min_object_px: _Area | tuple[_Area, ...] = 0  # objects (connected parts) with fewer pixels are dropped

    def of_class(self, index: int) -> "Postprocessing":
        """Returns the steps of one class, counted from 0."""
        each = {name: value[index] for name, value in self if isinstance(value, tuple)}
        return self.model_copy(update=each) if each else self

    def describe(self) -> str:
        """Says what is done, in words."""
        words = []
        for field, text in STEPS.items():
            value, default = getattr(self, field), type(self).model_fields[field].default
            if value != default:
                unit, each = "" if field == "max_components" else " px", value if isinstance(value, tuple) else (value,)
                shown = ("none" if v == default else "any size" if v is None else f"{v:g}{unit}" for v in each)
                words.append(f"{text} {' / '.join(shown)}")
        return ", ".join(words) or "none"


class EnsembleConfig(Config):
    """What the final masks are made of. What is `fit` keeps its default unless cross-fitting shows a gain."""

    experiments: tuple[Name, ...]  # names of the experiments averaged
    weights: tuple[Annotated[float, Field(ge=0)], ...] | Literal["fit", "equal"] = "fit"  # one each; default: equal
    threshold: Threshold | Literal["fit"] = "fit"  # one for all classes or one each; default: 0.5
    postprocessing: Postprocessing | Literal["fit"] = "fit"  # default: none

    @model_validator(mode="after")
    def _check(self) -> Self:
        distinct = bool(self.experiments) and len(set(self.experiments)) == len(self.experiments)
        self.require(distinct, "experiments", "name at least one experiment, each once")
        if not isinstance(self.weights, str):
            fits = len(self.weights) == len(self.experiments) and sum(self.weights) > 0
            self.require(fits, "weights", f"hold one weight for each of {self.experiments}, not all 0")
        return self
