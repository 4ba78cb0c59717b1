"""unets: from a folder of images to a validated segmentation submission.

What is here for other code; all else may change. Names are looked up as they are asked for, so that importing the
package is free, and run lengths never wait for TensorFlow.

    model = load_model("carvana.safetensors")
    mask_hw = model.mask("image.jpg")
    rle = encode_rle(mask_hw == 1)
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unets.data.image import read_image as read_image
    from unets.data.rle import decode_rle as decode_rle
    from unets.data.rle import encode_rle as encode_rle
    from unets.errors import InputError as InputError
    from unets.export.model import TrainedModel as TrainedModel
    from unets.export.sources import load_model as load_model
    from unets.metrics.masks import dice as dice
    from unets.metrics.masks import iou as iou

__version__ = "0.1.0"

_HOMES = {
    "InputError": "unets.errors",
    "TrainedModel": "unets.export.model",
    "decode_rle": "unets.data.rle",
    "dice": "unets.metrics.masks",
    "encode_rle": "unets.data.rle",
    "iou": "unets.metrics.masks",
    "load_model": "unets.export.sources",
    "read_image": "unets.data.image",
}
__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
