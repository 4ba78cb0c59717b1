"""The reader of PyTorch's files: tensors by hand in both layouts, and refusal of everything that is not one."""

import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from unets.errors import InputError
from unets.nets.torch_file import read_torch_file

MAGIC = 0x1950A86A20F9469CFC6C
MACHINE = {"protocol_version": 1001, "little_endian": True}


class Global(NamedTuple):
    name: str  # "module name"


class Call(NamedTuple):
    function: Any
    arguments: tuple[Any, ...]


class Persistent(NamedTuple):
    reference: Any


def dump(value: Any) -> bytes:
    """Pickles a value, names, calls and references included, opcode by opcode (pickletools explains them)."""
    return b"\x80\x02" + _encode(value) + b"."


def _encode(value: Any) -> bytes:
    if isinstance(value, Global):
        return b"c" + value.name.replace(" ", "\n").encode() + b"\n"
    if isinstance(value, Call):
        return _encode(value.function) + _encode(value.arguments) + b"R"
    if isinstance(value, Persistent):
        return _encode(value.reference) + b"Q"
    if isinstance(value, tuple | list):
        opened, closed = (b"(", b"t") if isinstance(value, tuple) else (b"(", b"l")
        return opened + b"".join(_encode(item) for item in value) + closed
    if isinstance(value, dict):
        return b"(" + b"".join(_encode(part) for item in value.items() for part in item) + b"d"
    return pickle.dumps(value, protocol=2)[2:-1]  # text, number, None: without header and end


def tensor(key: str, kind: str, num_values: int, start: Any, shape: Any, steps: Any) -> Call:
    """A tensor as torch writes it into a zip; the older layout has one more None in the reference."""
    storage = Persistent(("storage", Global(f"torch {kind}"), key, "cpu", num_values))
    hooks = Call(Global("collections OrderedDict"), ())
    return Call(Global("torch._utils _rebuild_tensor_v2"), (storage, start, shape, steps, False, hooks))


def write_zip(path: Path, tensors: Any, storages: dict[str, bytes], byteorder: bytes = b"little") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", dump(tensors))
        archive.writestr("net/byteorder", byteorder)
        for key, content in storages.items():
            archive.writestr(f"net/data/{key}", content)
    return path


def write_pickles(path: Path, tensors: Any, storages: dict[str, bytes], itemsize: int = 4) -> Path:
    parts = [dump(MAGIC), dump(1001), dump(MACHINE), dump(tensors), dump(list(storages))]
    for content in storages.values():
        parts += [struct.pack("<q", len(content) // itemsize), content]
    path.write_bytes(b"".join(parts))
    return path


WRITERS = pytest.mark.parametrize("write", [write_zip, write_pickles])
SIX = np.arange(6, dtype="<f4").tobytes()


@WRITERS
def test_tensors_by_hand(tmp_path: Path, write: Callable[..., Path]) -> None:
    # storage 0 1 2 3 4 5: from 1 on, 2 x 2 with steps 3 and 1 is [[1, 2], [4, 5]]; steps 1 and 3 its transpose
    tensors = {
        "all": tensor("7", "FloatStorage", 6, 0, (2, 3), (3, 1)),
        "part": tensor("7", "FloatStorage", 6, 1, (2, 2), (3, 1)),
        "turned": tensor("7", "FloatStorage", 6, 1, (2, 2), (1, 3)),
        "one": tensor("7", "FloatStorage", 6, 5, (), ()),
        "none": tensor("7", "FloatStorage", 6, 0, (0, 3), (3, 1)),
    }
    found = read_torch_file(write(tmp_path / "net.pth", tensors, {"7": SIX}))
    assert list(found) == list(tensors)
    assert {array.dtype for array in found.values()} == {np.dtype("float32")}
    np.testing.assert_array_equal(found["all"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(found["part"], [[1, 2], [4, 5]])
    np.testing.assert_array_equal(found["turned"], [[1, 4], [2, 5]])
    assert found["one"] == 5 and found["one"].shape == ()
    assert found["none"].shape == (0, 3)
    found["part"][:] = 9  # each owns its memory
    assert found["all"][0, 1] == 1


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("DoubleStorage", "float64"), ("HalfStorage", "float16"), ("LongStorage", "int64"), ("ByteStorage", "uint8")],
)
def test_other_numbers(tmp_path: Path, kind: str, dtype: str) -> None:
    values = np.array([1, 2, 3], dtype=dtype)
    tensors = {"a": tensor("0", kind, 3, 0, (3,), (1,))}
    for path in (
        write_zip(tmp_path / "a.pth", tensors, {"0": values.tobytes()}),
        write_pickles(tmp_path / "b.pth", tensors, {"0": values.tobytes()}, values.itemsize),
    ):
        found = read_torch_file(path)["a"]
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, values)


@WRITERS
def test_the_state_of_a_net_carries_attributes(tmp_path: Path, write: Callable[..., Path]) -> None:
    # `state_dict()` is an OrderedDict with an attribute `_metadata`, set by the opcode BUILD
    state = _encode(Call(Global("collections OrderedDict"), ()))
    state += b"(" + _encode("a") + _encode(tensor("0", "FloatStorage", 6, 0, (6,), (1,))) + b"u"
    state += _encode({"_metadata": {"": {"version": 1}}}) + b"b"
    path = write(tmp_path / "net.pth", {}, {"0": SIX})
    content = path.read_bytes()
    if write is write_pickles:
        path.write_bytes(content.replace(dump({}), b"\x80\x02" + state + b".", 1))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("net/data.pkl", b"\x80\x02" + state + b".")
            archive.writestr("net/data/0", SIX)
    np.testing.assert_array_equal(read_torch_file(path)["a"], np.arange(6))


@WRITERS
@pytest.mark.parametrize(
    "name", ["posix system", "os system", "builtins eval", "torch load", "torch._utils _rebuild_tensor", "a.b c.d"]
)
def test_a_call_is_refused_and_not_made(
    tmp_path: Path, write: Callable[..., Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    witness = tmp_path / "called"
    monkeypatch.chdir(tmp_path)
    for target in (Call(Global(name), ("touch called",)), {"a": [Call(Global(name), ("touch called",))]}):
        path = write(tmp_path / "net.pth", target, {})
        with pytest.raises(InputError, match=rf"net\.pth must name nothing but .* Received: {name.replace(' ', '.')}"):
            read_torch_file(path)
    assert not witness.exists()


@WRITERS
@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_python_objects_are_refused_in_every_protocol(
    tmp_path: Path, write: Callable[..., Path], protocol: int
) -> None:
    content = pickle.dumps({"a": Path("a")}, protocol=protocol)
    path = tmp_path / "net.pth"
    if write is write_pickles:
        path.write_bytes(dump(MAGIC) + dump(1001) + dump(MACHINE) + content + dump([]))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("net/data.pkl", content)
    with pytest.raises(InputError, match=r"net\.pth must name nothing but"):
        read_torch_file(path)


@WRITERS
def test_what_a_name_stands_for_cannot_be_changed(tmp_path: Path, write: Callable[..., Path]) -> None:
    """BUILD sets attributes of whatever is on the stack, here of the stand-ins: of types, functions, texts."""
    good = {"a": tensor("0", "FloatStorage", 6, 0, (6,), (1,))}
    for name in ("torch._utils _rebuild_tensor_v2", "collections OrderedDict", "torch FloatStorage"):
        for state in ({"x": 1}, (None, {"__call__": 1, "__init__": 1, "__func__": 1})):
            changing = b"\x80\x02" + _encode(Global(name)) + _encode(state) + b"b."
            path = tmp_path / "net.pth"
            if write is write_pickles:
                path.write_bytes(dump(MAGIC) + dump(1001) + dump(MACHINE) + changing + dump([]))
            else:
                with zipfile.ZipFile(path, "w") as archive:
                    archive.writestr("net/data.pkl", changing)
            with pytest.raises(InputError, match=r"Received: (AttributeError|TypeError)"):
                read_torch_file(path)
            np.testing.assert_array_equal(
                read_torch_file(write(tmp_path / "good.pth", good, {"0": SIX}))["a"], np.arange(6)
            )


@WRITERS
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, write: Callable[..., Path]) -> None:
    content = write(tmp_path / "net.pth", {"a": tensor("0", "FloatStorage", 6, 0, (6,), (1,))}, {"0": SIX}).read_bytes()
    for length in range(len(content)):
        (tmp_path / "cut.pth").write_bytes(content[:length])
        with pytest.raises(InputError, match=r"cut\.pth must (be a dictionary of tensors|name nothing but tensors)"):
            read_torch_file(tmp_path / "cut.pth")


def test_a_few_hundred_bytes_that_would_take_for_ever_are_refused(tmp_path: Path) -> None:
    doubled = b"\x80\x02)q\x00" + b"".join(b"h%ch%c\x86q%c" % (i, i, i + 1) for i in range(100)) + b"}h\x64K\x01s."
    nested = b"\x80\x02)" + b"\x85" * 100_000 + b"}q\x002K\x01s."
    far = b"\x80\x02}r\xff\xff\xff\x7f."
    for content in (doubled, nested, far):
        with zipfile.ZipFile(tmp_path / "net.pth", "w") as archive:
            archive.writestr("net/data.pkl", content)
        if content is far:
            assert read_torch_file(tmp_path / "net.pth") == {}
            continue
        with pytest.raises(InputError, match="must be a dictionary of tensors"):
            read_torch_file(tmp_path / "net.pth")


def test_members_that_unpack_to_more_than_the_file_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "net.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/data.pkl", dump({"a": tensor("0", "FloatStorage", 10**6, 0, (10**6,), (1,))}))
        archive.writestr("net/data/0", bytes(4 * 10**6))
    with pytest.raises(InputError, match="larger unpacked than the file"):
        read_torch_file(tmp_path / "net.pth")


@WRITERS
@pytest.mark.parametrize(
    "fault",
    [
        tensor("0", "FloatStorage", 6, 1, (6,), (1,)),  # one beyond the end
        tensor("0", "FloatStorage", 6, 0, (2, 3), (4, 1)),  # 4 + 2 = 6 is beyond 5
        tensor("0", "FloatStorage", 6, -1, (2,), (1,)),
        tensor("0", "FloatStorage", 6, 5, (2,), (-1,)),
        tensor("0", "FloatStorage", 6, 0, (-2,), (1,)),
        tensor("0", "FloatStorage", 6, 0, (10**9, 10**9), (0, 0)),  # an array of 4 exabytes
        tensor("0", "FloatStorage", 6, 0, (6,), (1, 1)),
        tensor("0", "FloatStorage", 6, 0.0, (6,), (1,)),
        tensor("0", "FloatStorage", 7, 0, (6,), (1,)),  # more than there is
        tensor("0", "FloatStorage", -1, 0, (6,), (1,)),
        tensor("0", "DoubleStorage", 6, 0, (6,), (1,)),
        tensor("1", "FloatStorage", 6, 0, (6,), (1,)),  # no such storage
        Call(Global("torch._utils _rebuild_tensor_v2"), ()),
        Call(Global("torch._utils _rebuild_tensor_v2"), ("storage", 0, (6,), (1,))),
        Persistent(("storage", Global("torch FloatStorage"), "0", "cpu", 6)),
        Persistent("0"),
        Global("torch FloatStorage"),
        1.0,
        None,
    ],
    ids=range(19),
)
def test_an_impossible_tensor_is_refused(tmp_path: Path, write: Callable[..., Path], fault: Any) -> None:
    path = write(tmp_path / "net.pth", {"a": fault}, {"0": SIX})
    with pytest.raises(InputError, match=r"net\.pth must be a dictionary of tensors written by torch\.save"):
        read_torch_file(path)


def test_absent_and_foreign_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.pth must be a readable file. Received: No such file"):
        read_torch_file(tmp_path / "none.pth")
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    for content in (b"", b"hello", buffer.getvalue(), dump(1), os.urandom(1000)):
        (tmp_path / "net.pth").write_bytes(content)
        with pytest.raises(InputError, match=r"net\.pth must be a dictionary"):
            read_torch_file(tmp_path / "net.pth")
