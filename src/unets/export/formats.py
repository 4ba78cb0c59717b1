"""Which formats a model can be written in, and what each takes."""

from collections.abc import Mapping
from importlib.util import find_spec

from unets.errors import InputError

# What each is written and checked with, beyond what the package needs anyway.
FORMATS: Mapping[str, tuple[str, ...]] = {
    "model": (),
    "keras": (),
    "onnx": ("onnx", "tf2onnx", "onnxruntime"),
    "litert": ("ai_edge_litert",),
}


def check_formats(given: str) -> tuple[str, ...]:
    """Reads names of formats with commas between; `all` is every one.

    Raises:
        InputError: one is unknown, or what it takes is not installed.
    """
    formats = tuple(FORMATS) if given == "all" else tuple(dict.fromkeys(given.split(",")))
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise InputError(f"`--formats` must be all or among {', '.join(FORMATS)}. Received: {unknown[0]}")
    missing = [package for name in formats for package in FORMATS[name] if find_spec(package) is None]
    if missing:
        raise InputError(
            f"`--formats`={','.join(formats)} must have {', '.join(missing)} installed. Received: none of it. "
            f"pip install 'unets[export]'"
        )
    return formats
