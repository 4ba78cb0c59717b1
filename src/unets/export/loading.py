"""A model loaded from Python: quietly, and Keras no sooner than it is needed."""

from pathlib import Path
from typing import TYPE_CHECKING

from unets.export.sources import open_model
from unets.nets.startup import load_backend

if TYPE_CHECKING:
    from unets.export.trained import TrainedModel


def load_model(path: str | Path, *, batch_size: int = 1) -> "TrainedModel":
    """Loads a model: a model file, a run's or an experiment's folder, an ensemble's json beside its runs, or `demo`.

    It loads Keras and its backend, without their notes on stderr.

    Args:
        path: of the file or folder.
        batch_size: images that a net sees at a time.

    Raises:
        InputError: it is none of those, unfinished, damaged, or of a newer version.
    """
    source = open_model(Path(path))
    load_backend()
    from unets.export.trained import TrainedModel

    return TrainedModel(source, batch_size)
