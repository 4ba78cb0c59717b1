"""Arrays by name, and what is said of them, in one safetensors file. Nothing in such a file can run.

What is said stands as one JSON text under `unets` in the file's metadata: the library writes several texts in an order
that changes from run to run, and equal arrays shall give equal bytes.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from unets.errors import DECODER_FAULTS, InputError, naming
from unets.store.runs import atomic_path

Array = npt.NDArray[Any]

_KEY, _SHA256 = "unets", "sha256"
_FAULTS = (*DECODER_FAULTS, SafetensorError)


class TensorFile:
    """A safetensors file, of any writer, whose header is read at once and whose arrays when they are asked for.

    `metadata` is what `write_tensors` was given, empty where another program wrote the file; `shapes` has the shape of
    each array, by name. Raises InputError where the file is missing, not in this format, or cut off.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with naming(path, "be a whole safetensors file", damage=_FAULTS), safe_open(path, framework="numpy") as file:
            said = json.loads((file.metadata() or {}).get(_KEY, "{}"))
            self.shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        self.metadata: dict[str, Any] = said if isinstance(said, dict) else {}

    def read(self, name: str) -> Array:
        """Reads one array; raises InputError where there is none of that name, or numpy has no such dtype."""
        expected = f"hold the array {name}"
        with naming(self.path, expected, damage=_FAULTS), safe_open(self.path, framework="numpy") as file:
            return np.asarray(file.get_tensor(name))

    def check(self) -> None:
        """Reads all arrays and compares the SHA-256 of these and of the metadata with the one that was written.

        Raises InputError where a byte has changed, or there is no SHA-256.
        """
        if _hash(self.shapes, self.read, self.metadata) != self.metadata.get(_SHA256):
            received = "something else; the file is damaged"
            raise InputError(f"`{self.path}` must hold what was written. Received: {received}")


def write_tensors(path: Path, tensors: Mapping[str, Array], metadata: Mapping[str, Any]) -> None:
    """Writes arrays and metadata, whole or not at all. Equal ones give equal bytes.

    Metadata are anything that JSON can write, by name; the SHA-256 of both is added as `sha256`.
    """
    arrays = {name: np.ascontiguousarray(tensor).reshape(np.shape(tensor)) for name, tensor in tensors.items()}
    said = json.dumps({**metadata, _SHA256: _hash(arrays, arrays.__getitem__, metadata)}, ensure_ascii=False)
    with atomic_path(path) as temporary:
        save_file(arrays, temporary, {_KEY: said})


def _hash(names: Iterable[str], read: Any, metadata: Mapping[str, Any]) -> str:
    said = {name: value for name, value in metadata.items() if name != _SHA256}
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    for name in sorted(names):
        digest.update(read(name).tobytes())
    return digest.hexdigest()
