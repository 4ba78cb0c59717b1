"""What an importer returns: samples, the classes, what became of each file, and questions to the user."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from unets.config import Source
from unets.data.io import read_index_image
from unets.dataset.importers.draws import Draw, Layers, merge_layers
from unets.dataset.importers.listing import Listing


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportedSample:
    """One image, and where its mask comes from; paths are below INPUT, with `/`, and may lead into a zip or a stack."""

    id: str  # unique among all samples; the image's path below INPUT without its ending where names repeat
    split: Literal["train", "test"]  # `train` has a mask, `test` has none
    image: str
    # The mask file, where that is canonical: one 8-bit class index a pixel (0 background, k the k-th class, 255
    # ignored). Where classes overlap, one file of 0, 1 and 255 a class.
    mask: tuple[str, ...] = ()
    draw: Draw | None = None  # makes the mask otherwise; called at import, on a worker, so it must be picklable
    group: str = ""  # what is never split over folds; empty: the image is its own group
    view: str = ""  # the camera view, where the data set has them

    def read_layers(self, root: Path, overlapping: bool) -> Layers:
        """Draws or reads the mask; one layer, or one a class where classes overlap. `root` is INPUT.

        Raises InputError where a file cannot be read, or a mask cannot be drawn.
        """
        if self.draw is None:
            return tuple(read_index_image(root / path) for path in self.mask)
        return self.draw() if overlapping else merge_layers(self.draw(), self.image)


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


@dataclass(kw_only=True)
class Import:
    """A data set as an importer reads it, which fills this bit by bit."""

    listing: Listing
    source: Source  # the importer's options, with what the files decided
    samples: tuple[ImportedSample, ...] = ()  # in the order of their ids
    classes: tuple[str, ...] = ("object",)  # foreground classes, named by the format's own files where they name them
    overlapping: bool = False  # whether a pixel may be of several classes
    # What each file of INPUT became: `image`, `mask`, `annotation`, `test image`, or `left out: why`.
    account: dict[str, str] = field(default_factory=dict)
    questions: Questions = field(default_factory=Questions)  # what the files do not settle
    # Further fields of DatasetConfig that the files decide: submission, channels, value_range, ...
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def train(self) -> dict[str, ImportedSample]:
        """The training samples by the paths of their images."""
        return {sample.image: sample for sample in self.samples if sample.split == "train"}

    def leave(self, paths: Iterable[str], why: str) -> None:
        """Notes that files are left out."""
        self.account |= dict.fromkeys(paths, f"left out: {why}")

    def read_layers(self, sample: ImportedSample) -> Layers:
        """Reads the mask of a sample; see `ImportedSample.read_layers`."""
        return sample.read_layers(self.listing.root, self.overlapping)
