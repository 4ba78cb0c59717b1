"""What an importer returns: samples, the classes, what became of each file, and questions to the user."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from unets.config import Coding, SizeHW, Source
from unets.dataset.importers.draws import Draw, DrawFiles, Layers, Layout, merge_layers, merge_numbers
from unets.dataset.importers.listing import Listing


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportedSample:
    """One image, and where its mask comes from; paths are below INPUT, with `/`, and may lead into a zip or a stack."""

    image: str
    # Unique among all samples: what the importer gives, else the image's name, or its path below INPUT where names
    # repeat, without its ending.
    id: str = ""
    draw: Draw | None = None  # makes the mask of a training image; called on a worker, so it must be picklable
    size_hw: SizeHW | None = None  # of the mask, where it may be another than the image's
    # The mask file, where that is canonical: one 8-bit class index a pixel (0 background, k the k-th class, 255
    # ignored). Where classes overlap, one file of 0, 1 and 255 a class. It is then never drawn.
    mask: tuple[str, ...] = ()
    group: str = ""  # what is never split over folds; empty: the image is its own group
    view: str = ""  # the camera view, where the data set has them

    @property
    def split(self) -> Literal["train", "test"]:
        """`train` where it has a mask."""
        return "train" if self.draw else "test"

    def read_layers(self, overlapping: bool, *, numbered: bool = False) -> Layers:
        """Draws the mask, or its objects, as `Draw` does: one layer, or one a class where classes overlap.

        Raises InputError where it cannot be drawn.
        """
        layers = self.draw(numbered=numbered) if self.draw else ()
        if overlapping or not layers:
            return layers
        return merge_numbers(layers) if numbered else merge_layers(layers, self.image)


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """Something that the files do not settle; the user answers by editing a field of `dataset.py`."""

    field: str  # of DatasetConfig, as `source.ignored`
    text: str  # what was assumed and why
    choices: tuple[str, ...] = ()  # what to write instead
    at_imports: bool = False  # whether every import says it: it is of images or objects, which change with the files


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

    def take_files(
        self, image: str, layers: Layout, coding: Coding, *, is_mean: bool = False, **about: Any
    ) -> ImportedSample:
        """Makes the sample of an image from its mask files, see `DrawFiles`; canonical ones count as they lie."""
        files = tuple(path for layer in layers for path in layer)
        is_plain = coding.is_canonical and not is_mean and (len(files) == 1 or self.overlapping)
        is_plain = is_plain and all(len(layer) == 1 for layer in layers)
        mask = files if is_plain and all(self.listing.header(path).mode in ("L", "P") for path in files) else ()
        draw = DrawFiles(self.listing.root, layers, coding, is_mean)
        return ImportedSample(image=image, draw=draw, mask=mask, size_hw=self.listing.header(files[0]).size_hw, **about)

    def ask(self, name: str, text: str, *choices: str, at_imports: bool = False) -> None:
        """Adds a question; see `Question`."""
        self.questions.append(Question(field=name, text=text, choices=choices, at_imports=at_imports))

    def ask_bare(
        self, images: Sequence[str], total: int, what: str, *, are_empty: bool, other: str | None = None
    ) -> Sequence[str]:
        """Asks whether images without `what` hold no object; returns those that do not, and leaves the others out."""
        if images:
            text = f"{len(images)} of {total} images have no {what}: empty, or not labeled yet? They "
            text += f"{'count as empty' if are_empty else 'are left out'}; one is {images[0]}"
            choice = f'"{other or ("leave_out" if are_empty else "empty")}"'
            self.ask("source.missing", text, choice, at_imports=are_empty)  # those left out are in the account
        if not are_empty:
            self.leave(images, "an image without a mask")
        return images if are_empty else ()

    def leave(self, paths: Iterable[str], why: str) -> None:
        """Notes that files are left out."""
        self.account |= dict.fromkeys(paths, f"left out: {why}")

    def read_layers(self, sample: ImportedSample) -> Layers:
        """Reads the mask of a sample; see `ImportedSample.read_layers`."""
        return sample.read_layers(self.overlapping)
