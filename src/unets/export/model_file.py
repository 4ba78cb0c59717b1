"""The model file: card and weights in one, for people who have nothing else of ours.

It is a safetensors file, which any program of that format opens; the card stands in its metadata under `unets`. Reading
one runs no code from it: names, shapes and numbers are all it can hold, and nets are built by this package from the
card's config.
"""

from pathlib import Path
from typing import Any

import numpy.typing as npt

from unets.export.card import ModelCard
from unets.export.sources import CARD_KEY, FORMAT_VERSION, VERSION_KEY, ModelSource, name_net
from unets.nets.weights import get_weights
from unets.prediction.loading import load_net
from unets.store.provenance import describe_origin
from unets.store.tensors import write_tensors


def write_model_file(source: ModelSource, path: Path) -> ModelCard:
    """Writes a model as one file; the nets are built once, so that only weights that fit them are written.

    Args:
        source: the model.
        path: of the file.

    Returns:
        The card as it stands in the file.

    Raises:
        InputError: weights are missing, damaged, or of another net.
    """
    card = source.card.model_copy(update={"origin": describe_origin(Path(__file__).parent)})
    tensors: dict[str, npt.NDArray[Any]] = {}
    for member, sources in zip(card.members, source.weights, strict=True):
        for net, weights in zip(member.nets, sources, strict=True):
            built = load_net(weights, member.experiment, member.size_hw, len(card.classes), "float32")
            tensors |= {f"{name_net(member, net)}/{name}": value for name, value in get_weights(built).items()}
    write_tensors(path, tensors, {VERSION_KEY: FORMAT_VERSION, CARD_KEY: card.model_dump(mode="json")})
    return card
