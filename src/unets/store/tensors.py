"""Arrays in one file, as the safetensors format has them: a header of JSON, then numbers. Nothing in it can run.

8 bytes, the header's length, little-endian; the header, `{name: {"dtype", "shape", "data_offsets"}}`, with texts under
`__metadata__`; then the arrays, one behind the other (https://github.com/huggingface/safetensors, "Format"). There is
no compression, no link and no path in it, so a file is never more in memory than on the disk. All is checked as it is
opened, the numbers themselves against their SHA-256.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unets.errors import InputError
from unets.store.runs import atomic_path

Array = npt.NDArray[Any]

_METADATA, _SHA256 = "__metadata__", "sha256"
_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 16 * 2**20  # of ours the largest has 0.2 MB
_ALIGNMENT = 8  # of the numbers' start, as the format asks for
_DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "U8": np.dtype("u1"),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    """Where an array lies among the numbers, and how it is read."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int  # bytes
    end: int


class TensorFile:
    """An open file of arrays. They are read when they are asked for.

    Args:
        path: of a file that `write_tensors`, or any other writer of the format, wrote.

    Raises:
        InputError: the file is missing, not in this format, or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            size = path.stat().st_size
            with path.open("rb") as file:
                start = file.read(_LENGTH_BYTES)
                length = int.from_bytes(start, "little")
                if len(start) < _LENGTH_BYTES or length > min(_MAX_HEADER_BYTES, size - _LENGTH_BYTES):
                    raise _refuse(path, f"{size} bytes of something else, or a part of one")
                header = _parse_header(file.read(length), path)
        except FileNotFoundError as error:
            raise InputError(f"{path} must exist. Received: no such file") from error
        metadata = header.pop(_METADATA, {})
        if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
            raise _refuse(path, "metadata that are not texts")
        self.metadata: dict[str, str] = metadata
        self._offset = _LENGTH_BYTES + length
        self._places = {name: _parse_place(name, entry, path) for name, entry in header.items()}
        self._check_places(size - self._offset)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each array, by name."""
        return {name: place.shape for name, place in self._places.items()}

    def read(self, name: str) -> Array:
        """Reads one array; the file is mapped, not copied, and cannot be written to.

        Raises:
            InputError: there is none of that name.
        """
        if name not in self._places:
            raise InputError(f"{self.path} must hold {name}. Received: {len(self._places)} other arrays")
        place = self._places[name]
        if place.start == place.end:  # which cannot be mapped
            return np.zeros(place.shape, dtype=place.dtype)
        offset = self._offset + place.start
        return np.memmap(self.path, dtype=place.dtype, mode="r", offset=offset, shape=place.shape or (1,)).reshape(
            place.shape
        )

    def check_numbers(self) -> None:
        """Reads all numbers and compares them with what the writer noted of them.

        Raises:
            InputError: a byte has changed, or nothing was noted.
        """
        with self.path.open("rb") as file:
            file.seek(self._offset)
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != self.metadata.get(_SHA256):
            raise _refuse(self.path, "numbers that are not those that were written: it is damaged")

    def _check_places(self, num_bytes: int) -> None:
        """Checks that the arrays cover the numbers without gap or overlap."""
        reached = 0
        for place in sorted(self._places.values(), key=lambda place: (place.start, place.end)):
            if place.start != reached:
                raise _refuse(self.path, f"arrays with a gap or an overlap at byte {reached}")
            reached = place.end
        if reached != num_bytes:
            raise _refuse(self.path, f"{num_bytes} bytes of numbers where the header has {reached}: it is damaged")


def write_tensors(path: Path, tensors: Mapping[str, Array], metadata: Mapping[str, str]) -> None:
    """Writes arrays and texts, whole or not at all. Equal ones give equal bytes.

    Args:
        path: of the file.
        tensors: by name; of a dtype that the format has.
        metadata: texts by name; `sha256` is added.
    """
    header: dict[str, Any] = {}
    digest, reached = hashlib.sha256(), 0
    for name, tensor in tensors.items():
        values = _to_little_endian(name, tensor)
        digest.update(values.tobytes())
        header[name] = {
            "dtype": _NAMES[values.dtype],
            "shape": list(values.shape),
            "data_offsets": [reached, reached + values.nbytes],
        }
        reached += values.nbytes
    texts = {_METADATA: {**metadata, _SHA256: digest.hexdigest()}}
    content = json.dumps(texts | header, ensure_ascii=False, separators=(",", ":")).encode()
    content += b" " * (-len(content) % _ALIGNMENT)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(len(content).to_bytes(_LENGTH_BYTES, "little"))
        file.write(content)
        for name, tensor in tensors.items():
            file.write(_to_little_endian(name, tensor).tobytes())


def _to_little_endian(name: str, tensor: Array) -> Array:
    values = np.ascontiguousarray(tensor).reshape(np.shape(tensor))
    values = values.astype(values.dtype.newbyteorder("<"), copy=False)
    if values.dtype not in _NAMES:
        raise ValueError(f"`tensors` must be of {', '.join(map(str, _NAMES))}. Received: {values.dtype} for {name}")
    return values


def _parse_header(content: bytes, path: Path) -> dict[str, Any]:
    try:
        header = json.loads(content, object_pairs_hook=_refuse_repeats)
    except (ValueError, RecursionError) as error:
        raise _refuse(path, "something else") from error
    if not isinstance(header, dict):
        raise _refuse(path, "something else")
    return header


def _refuse_repeats(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name} twice")
        found[name] = value
    return found


def _parse_place(name: str, entry: Any, path: Path) -> _Place:
    try:
        dtype, shape, (start, end) = _DTYPES[entry["dtype"]], tuple(entry["shape"]), entry["data_offsets"]
        is_whole = all(type(number) is int and number >= 0 for number in (*shape, start, end))
        if is_whole and start + math.prod(shape) * dtype.itemsize == end:
            return _Place(dtype=dtype, shape=shape, start=start, end=end)
    except (TypeError, KeyError, ValueError):
        pass
    raise _refuse(path, f"{name} with an entry that does not hold together")


def _refuse(path: Path, received: str) -> InputError:
    return InputError(f"{path} must be a whole file of arrays (safetensors). Received: {received}")
