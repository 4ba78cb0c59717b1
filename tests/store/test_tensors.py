import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from unets.errors import InputError
from unets.store.tensors import TensorFile, write_tensors

ARRAYS = {"a/kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(7, dtype=np.int64)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "x.safetensors"
    write_tensors(path, ARRAYS, {"said": "ä", "size": [1, 2]})
    return path


def test_what_is_written_is_read(path: Path) -> None:
    file = TensorFile(path)
    assert (file.metadata["said"], file.metadata["size"]) == ("ä", [1, 2])
    assert file.shapes == {"a/kernel": (2, 3), "b": ()}
    for found in (load_file(path), {name: file.read(name) for name in ARRAYS}):
        for name, array in ARRAYS.items():
            assert found[name].dtype == array.dtype
            np.testing.assert_array_equal(found[name], array)
    file.check()
    write_tensors(path.with_name("again"), ARRAYS, {"said": "ä", "size": [1, 2]})
    assert path.with_name("again").read_bytes() == path.read_bytes()


def test_files_of_other_programs_are_read(tmp_path: Path) -> None:
    for metadata in ({"format": "np"}, {"unets": "[]"}):
        save_file(ARRAYS, tmp_path / "theirs", metadata)
        file = TensorFile(tmp_path / "theirs")
        assert file.metadata == {}
        np.testing.assert_array_equal(file.read("a/kernel"), ARRAYS["a/kernel"])
        with pytest.raises(InputError, match="is damaged"):  # they noted nothing of the numbers
            file.check()


def test_a_part_of_a_file_is_refused_and_a_changed_byte_of_numbers_or_metadata_noticed(path: Path) -> None:
    whole = path.read_bytes()
    for place in (len(whole) - 1, whole.index(b"size")):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(InputError, match="the file is damaged"):
            TensorFile(path).check()
    for keep in (0, 7, 8, 40, -1):
        path.write_bytes(whole[:keep])
        with pytest.raises(InputError, match="must be a whole safetensors file"):
            TensorFile(path)


@pytest.mark.parametrize(
    ("header", "numbers"),
    [
        (b"\x80\x04\x95", b""),  # a pickle
        (b"[" * 100_000, b""),
        ({"w": {"dtype": "O", "shape": [1], "data_offsets": [0, 8]}}, b"12345678"),
        ({"w": {"dtype": "F32", "shape": [10**9, 10**9], "data_offsets": [0, 4 * 10**18]}}, b"1234"),
        ({"w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, b"12345678"),  # a gap before it
        ({"__metadata__": {"unets": "{"}}, b""),
        ({"__metadata__": {"unets": "[" * 100_000}}, b""),
    ],
)
def test_a_header_that_does_not_hold_together_is_refused(tmp_path: Path, header: Any, numbers: bytes) -> None:
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    (tmp_path / "x").write_bytes(len(content).to_bytes(8, "little") + content + numbers)
    with pytest.raises(InputError, match="must be a whole safetensors file"):
        TensorFile(tmp_path / "x")


def test_a_missing_file_and_a_missing_array_are_named(path: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        TensorFile(tmp_path / "none")
    with pytest.raises(InputError, match="must hold the array c"):
        TensorFile(path).read("c")
