"""What an importer returns: samples, the classes, what became of each file, and questions to the user."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from unets.config import Source
from unets.dataset.importers.draws import Draw, Layers, Numbers, merge_layers, merge_numbers
from unets.dataset.importers.listing import Listing


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportedSample:
    """One image, and where its mask comes from; paths are below INPUT, with `/`, and may lead into a zip or a stack."""

    id: str  # unique among all samples; the image's path below INPUT without its ending where names repeat
    split: Literal["train", "test"]  # `train` has a mask, `test` has none
    image: str
    draw: Draw | None = None  # makes the mask of a training image; called on a worker, so it must be picklable
    # The mask file, where that is canonical: one 8-bit class index a pixel (0 background, k the k-th class, 255
    # ignored). Where classes overlap, one file of 0, 1 and 255 a class. It is then never drawn.
    mask: tuple[str, ...] = ()
    group: str = ""  # what is never split over folds; empty: the image is its own group
    view: str = ""  # the camera view, where the data set has them

    def read_layers(self, overlapping: bool) -> Layers:
        """Draws the mask: one layer, or one a class where classes overlap. Raises InputError where it cannot be."""
        layers = self.draw() if self.draw else ()
        return layers if overlapping else merge_layers(layers, self.image)

    def number_objects(self, overlapping: bool) -> tuple[Numbers, ...]:
        """Numbers the objects: one layer, or one a class where classes overlap; none where the mask alone tells them.

        Raises as `read_layers`.
        """
        layers = (self.draw and self.draw.number()) or ()
        return layers if overlapping else merge_numbers(layers)


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """Something that the files do not settle; the user answers by editing a field of `dataset.py`."""

    field: str  # of DatasetConfig, as `source.ignored`
    text: str  # what was assumed and why
    choices: tuple[str, ...] = ()  # what to write instead


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
    questions: list[Question] = field(default_factory=list)  # what the files do not settle
    # Further fields of DatasetConfig that the files decide: submission, channels, value_range, ...
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def train(self) -> dict[str, ImportedSample]:
        """The training samples by the paths of their images."""
        return {sample.image: sample for sample in self.samples if sample.split == "train"}

    def ask(self, name: str, text: str, *choices: str) -> None:
        """Adds a question; see `Question`."""
        self.questions.append(Question(field=name, text=text, choices=choices))

    def leave(self, paths: Iterable[str], why: str) -> None:
        """Notes that files are left out."""
        self.account |= dict.fromkeys(paths, f"left out: {why}")

    def read_layers(self, sample: ImportedSample) -> Layers:
        """Reads the mask of a sample; see `ImportedSample.read_layers`."""
        return sample.read_layers(self.overlapping)
