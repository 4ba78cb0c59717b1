"""What every importer returns: samples, the classes, what became of each file, and questions to the user."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from unets.config import Source
from unets.data.io import read_index_image

MaskHW = npt.NDArray[np.uint8]
Draw = Callable[[], MaskHW | tuple[MaskHW, ...]]


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportedSample:
    """One image, and where its mask comes from.

    Attributes:
        id: unique among all samples; the image's path below INPUT without its ending where names repeat.
        split: `train` has a mask, `test` has none.
        image: the image's path below INPUT, with `/`; it may lead into a zip (`train.zip/a.jpg`) or to a stack's page.
        mask: the mask file's path below INPUT, where that file already is canonical: one 8-bit class index a pixel
            (0 background, k the k-th class, 255 ignored). Where classes overlap, one file of 0, 1 and 255 a class.
        draw: makes the mask where no file is canonical; called once, on a worker (so it must be picklable), at import.
            Returns uint8 (height, width); where classes overlap a tuple of them, one a class.
        group: what is never split over folds; empty: the image is its own group.
        view: the camera view, where the data set has them.
    """

    id: str
    split: Literal["train", "test"]
    image: str
    mask: tuple[str, ...] = ()
    draw: Draw | None = None
    group: str = ""
    view: str = ""

    def read_layers(self, root: Path) -> tuple[MaskHW, ...]:
        """Draws or reads the mask; one layer, or one a class where classes overlap. `root` is INPUT.

        Raises:
            InputError: a file cannot be read, or a mask cannot be drawn.
        """
        if self.draw is None:
            return tuple(read_index_image(root / path) for path in self.mask)
        drawn = self.draw()
        return drawn if isinstance(drawn, tuple) else (drawn,)


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """Something that the files do not settle; the user answers by editing a field of `dataset.py`."""

    field: str  # of DatasetConfig, as `source.ignored`
    text: str  # what was assumed and why
    choices: tuple[str, ...] = ()  # what to write instead


class Questions(list[Question]):
    """Questions, in the order in which they came up."""

    def ask(self, name: str, text: str, *choices: str) -> None:
        """Adds one; see `Question`."""
        self.append(Question(field=name, text=text, choices=choices))


@dataclass(frozen=True, kw_only=True, slots=True)
class Import:
    """A data set as an importer reads it.

    Attributes:
        source: the importer's options, with what the files decided.
        samples: in the order of their ids.
        classes: foreground classes, named by the format's own files where they name them.
        overlapping: whether a pixel may be of several classes.
        account: what each file of INPUT became: `image`, `mask`, `annotation`, `test image`, or `left out: why`.
        questions: what the files do not settle.
        dataset_fields: further fields of DatasetConfig that the files decide: submission, channels, value_range, ...
    """

    source: Source
    samples: tuple[ImportedSample, ...]
    classes: tuple[str, ...] = ("object",)
    overlapping: bool = False
    account: Mapping[str, str] = field(default_factory=dict)
    questions: tuple[Question, ...] = ()
    dataset_fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def train(self) -> dict[str, ImportedSample]:
        """The training samples by the paths of their images."""
        return {sample.image: sample for sample in self.samples if sample.split == "train"}
