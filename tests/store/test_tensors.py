import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unets.errors import InputError
from unets.store.tensors import TensorFile, write_tensors

ARRAYS = {"a/kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(7, dtype=np.int64)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "x.safetensors"
    write_tensors(path, ARRAYS, {"said": "ä"})
    return path


def write_raw(path: Path, header: Any, numbers: bytes = b"") -> Path:
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(content).to_bytes(8, "little") + content + numbers)
    return path


def test_what_is_written_is_read(path: Path) -> None:
    file = TensorFile(path)
    assert file.metadata["said"] == "ä"
    assert file.shapes == {"a/kernel": (2, 3), "b": ()}
    for name, array in ARRAYS.items():
        assert file.read(name).dtype == array.dtype
        np.testing.assert_array_equal(file.read(name), array)
    file.check_numbers()


def test_the_bytes_are_those_of_the_format(tmp_path: Path) -> None:
    """One float, by hand: the length, the header padded to eights, then 1.0 as 00 00 80 3f."""
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"w": np.ones(1, dtype=np.float32)}, {})
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    assert length % 8 == 0
    assert header["w"] == {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    assert content[8 + length :] == b"\x00\x00\x80\x3f"


def test_the_format_s_own_library_reads_it(path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    found = safetensors.load_file(path)
    assert found.keys() == ARRAYS.keys()
    np.testing.assert_array_equal(found["a/kernel"], ARRAYS["a/kernel"])


def test_we_read_what_the_format_s_own_library_writes(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "theirs.safetensors"
    safetensors.save_file(ARRAYS, path, {"format": "np"})
    file = TensorFile(path)
    np.testing.assert_array_equal(file.read("a/kernel"), ARRAYS["a/kernel"])
    with pytest.raises(InputError, match="is damaged"):  # nothing was noted of the numbers
        file.check_numbers()


def test_equal_arrays_give_equal_bytes(path: Path, tmp_path: Path) -> None:
    write_tensors(tmp_path / "again", ARRAYS, {"said": "ä"})
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("keep", [0, 7, 8, 40, -1])
def test_a_part_of_a_file_is_refused(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match="must be a whole file of arrays"):
        TensorFile(path)


def test_a_file_with_more_behind_it_is_refused(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(InputError, match="it is damaged"):
        TensorFile(path)


def test_a_changed_number_is_noticed(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="not those that were written"):
        TensorFile(path).check_numbers()


@pytest.mark.parametrize(
    ("header", "numbers"),
    [
        (b"\x80\x04\x95", b""),  # a pickle
        (b"[]", b""),
        (b"[" * 100_000, b""),
        (b'{"w": 1, "w": 2}', b""),
        ({"w": {"dtype": "F32", "shape": [1]}}, b"1234"),
        ({"w": {"dtype": "O", "shape": [1], "data_offsets": [0, 8]}}, b"12345678"),
        ({"w": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}, b""),
        ({"w": {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]}}, b"1234"),
        ({"w": {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]}}, b"1234"),
        ({"w": {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}}, b"1234"),
        ({"w": {"dtype": "F32", "shape": [10**9, 10**9], "data_offsets": [0, 4 * 10**18]}}, b"1234"),
        ({"w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, b"12345678"),  # a gap before it
        ({n: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for n in "vw"}, b"1234"),  # one over the other
        ({"__metadata__": {"a": 1}}, b""),
        ({"__metadata__": []}, b""),
    ],
)
def test_a_header_that_does_not_hold_together_is_refused(tmp_path: Path, header: Any, numbers: bytes) -> None:
    with pytest.raises(InputError, match="must be a whole file of arrays"):
        TensorFile(write_raw(tmp_path / "x", header, numbers))


def test_a_length_beyond_the_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\xff" * 8 + b"{}")
    with pytest.raises(InputError, match="10 bytes of something else"):
        TensorFile(tmp_path / "x")


def test_a_missing_file_and_a_missing_array_are_named(path: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        TensorFile(tmp_path / "none")
    with pytest.raises(InputError, match="must hold c"):
        TensorFile(path).read("c")


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_no_bytes_do_more_than_be_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    path.write_bytes(content)
    with contextlib.suppress(InputError):
        TensorFile(path)
