"""Tensors out of a file that `torch.save` wrote, without torch and without running anything that the file holds.

Such a file is a pickle, and loading a pickle calls whatever functions it names. Here a name either stands in the short
table below, where it means a stand-in of ours that only notes its arguments, or the file is refused. Both layouts are
read: the zip of torch 1.6 and later, and the older row of pickles followed by raw bytes.
"""

import io
import math
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from unets.errors import InputError

# First pickle of the older layout (torch/serialization.py), then come version, sizes of the machine's integers, the
# object, the keys of its storages, and for each of these a count and that many values.
_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_COUNT = struct.Struct("<q")
# A name stands for a text, which nothing in a pickle can call or change. `torch.BFloat16Storage` has no numpy type.
_DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}


_MAX_COPIES = 4  # how often tensors may share the file's bytes, on average


@dataclass(frozen=True, slots=True)
class _Storage:
    key: str
    dtype: str
    num_values: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    storage: _Storage
    start: int  # all in values, not bytes
    shape: tuple[int, ...]
    steps: tuple[int, ...]


class _NoteTensor:
    """What the tensors' function is called by; without a dictionary of attributes that a pickle could write to."""

    __slots__ = ()

    def __call__(self, storage: Any, start: Any, shape: Any, steps: Any, *_: Any) -> _Tensor:
        numbers = (start, *shape, *steps)
        if not isinstance(storage, _Storage) or any(type(number) is not int or number < 0 for number in numbers):
            raise ValueError("an impossible tensor")
        return _Tensor(storage, start, shape, steps)


_NOTE_TENSOR = _NoteTensor()


def read_torch_file(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Reads a dictionary of tensors, as `torch.save(net.state_dict(), path)` writes it.

    Args:
        path: of the file; it is held in memory whole.

    Returns:
        An array for each name, in the file's order, in its dtype and torch's order of axes; each owns its memory.

    Raises:
        InputError: the file is absent, cut short, damaged, holds something else, or names what is not in the table.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} must be a readable file. Received: {error.strerror}") from error
    try:
        is_zip = zipfile.is_zipfile(io.BytesIO(content))
        tensors, bytes_by_key = (_read_zip if is_zip else _read_pickles)(path, content)
        if sum(math.prod(tensor.shape) for tensor in tensors.values()) > _MAX_COPIES * len(content):
            raise ValueError("tensors that are much larger than the file")
        return {name: _cut_out(tensor, bytes_by_key[tensor.storage.key]) for name, tensor in tensors.items()}
    except InputError:
        raise
    except Exception as error:  # a damaged pickle fails in any way at all: whatever it raises is about that file
        raise InputError(
            f"{path} must be a dictionary of tensors written by torch.save. Received: {type(error).__name__}: {error}"
        ) from error


def _read_pickles(path: Path, content: bytes) -> tuple[dict[str, _Tensor], dict[str, bytes]]:
    file = io.BytesIO(content)
    if _Unpickler(path, file).load() != _MAGIC_NUMBER:
        raise ValueError("another first value than torch's magic number")
    _version, machine = _Unpickler(path, file).load(), _Unpickler(path, file).load()
    if machine["little_endian"] is not True:
        raise ValueError("numbers in big-endian order")
    unpickler = _Unpickler(path, file)
    tensors = unpickler.load_tensors()
    bytes_by_key = {}
    for key in _Unpickler(path, file).load():
        num_values = _COUNT.unpack(file.read(_COUNT.size))[0]
        storage = unpickler.storages[key]
        if num_values != storage.num_values:
            raise ValueError(f"{num_values} values in storage {key} in place of {storage.num_values}")
        bytes_by_key[key] = file.read(num_values * np.dtype(storage.dtype).itemsize)
    return tensors, bytes_by_key


def _read_zip(path: Path, content: bytes) -> tuple[dict[str, _Tensor], dict[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        # Torch stores, and does not compress: what is larger unpacked than packed is not torch's.
        if any(m.compress_type != zipfile.ZIP_STORED for m in members) or sum(m.file_size for m in members) > len(
            content
        ):
            raise ValueError("members that are larger unpacked than the file")
        names = set(archive.namelist())
        (root,) = [name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl")]
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
            raise ValueError("numbers in big-endian order")
        unpickler = _Unpickler(path, io.BytesIO(archive.read(f"{root}data.pkl")))
        tensors = unpickler.load_tensors()
        return tensors, {key: archive.read(f"{root}data/{key}") for key in unpickler.storages}


class _Unpickler(pickle._Unpickler):
    """Rebuilds dictionaries, lists, texts, numbers and notes about tensors; refuses every other name.

    What the names stand for cannot be changed from within the pickle either (its BUILD sets attributes): they are a
    text, an object without attributes, and a type of the interpreter's own. Python's own unpickler in place of the one
    in C: tuples are looked at as they are made, since nested ones of a few hundred bytes take for ever to hash.
    """

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)

    def __init__(self, path: Path, file: io.BytesIO) -> None:
        super().__init__(file)
        self._path = path
        self.storages: dict[str, _Storage] = {}

    def load_tensors(self) -> dict[str, _Tensor]:
        """Returns the object in the pickle, if it is a dictionary of tensors."""
        found = self.load()
        if not isinstance(found, dict):
            raise ValueError(f"a {type(found).__name__} in place of a dictionary")
        for name, value in found.items():
            if not (isinstance(name, str) and isinstance(value, _Tensor)):
                raise ValueError(f"a {type(value).__name__} in place of a tensor under {name!r}")
        return dict(found)

    def find_class(self, module: str, name: str) -> Any:
        """Returns the stand-in of a global name; called for every name in a pickle, of whatever protocol."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _NOTE_TENSOR
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise InputError(
            f"{self._path} must name nothing but tensors and dictionaries of them; it is not loaded, and nothing that "
            f"it names was called. Received: {module}.{name}"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        """Notes a storage: ("storage", type, key, device, number of values[, view of another storage])."""
        kind, dtype, key, _device, num_values, *view = pid
        storage = _Storage(key, dtype, num_values)
        if kind != "storage" or dtype not in _DTYPES.values() or type(key) is not str or any(view):
            raise ValueError("an unknown reference")
        if type(num_values) is not int or num_values < 0 or self.storages.setdefault(key, storage) != storage:
            raise ValueError(f"an impossible reference to storage {key}")
        return storage


def _guard(load: Callable[[Any], None]) -> Callable[[Any], None]:
    """Makes an operation that leaves a tuple on the stack refuse one nested deeper than a tensor's arguments."""

    def load_flat(unpickler: Any) -> None:
        load(unpickler)
        for item in unpickler.stack[-1]:
            if isinstance(item, tuple) and any(type(number) is not int for number in item):
                raise ValueError("tuples within tuples")

    return load_flat


for _operation in (pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET):
    del _Unpickler.dispatch[_operation[0]]
for _operation in (pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3):
    _Unpickler.dispatch[_operation[0]] = _guard(_Unpickler.dispatch[_operation[0]])


def _cut_out(tensor: _Tensor, content: bytes) -> npt.NDArray[Any]:
    """Returns a copy of the tensor's part of its storage, after a check that it lies within."""
    storage, start, shape, steps = tensor.storage, tensor.start, tensor.shape, tensor.steps
    values = np.frombuffer(content, dtype=storage.dtype)
    if len(values) != storage.num_values:
        raise ValueError(f"{len(values)} values in storage {storage.key} in place of {storage.num_values}")
    if len(shape) != len(steps):
        raise ValueError("an impossible tensor")
    num_values = math.prod(shape)  # steps of 0 could make a huge array of one value
    last = start + sum((size - 1) * step for size, step in zip(shape, steps, strict=True))
    if num_values > len(values) or (num_values > 0 and last >= len(values)):
        raise ValueError(f"a tensor that reaches beyond its storage: {tensor}")
    if num_values == 0:
        return np.zeros(shape, dtype=storage.dtype)
    strides = tuple(step * values.itemsize for step in steps)
    return np.lib.stride_tricks.as_strided(values[start:], shape, strides).copy()
