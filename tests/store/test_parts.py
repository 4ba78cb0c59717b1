import gzip
import hashlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import pandas as pd
import pytest

from tests.trained_competition import flip_bit
from unets.errors import InputError
from unets.store.parts import find_missing_parts, join_parts, part_path, read_part, write_part

TEXTS = ("a.jpg,1 1\n", "b.jpg,2 3 7 1\nc.jpg,\n", "d.jpg,4 4\n")
MADE_BY = ("0" * 16, "1" * 16, "2" * 16)


def write_all(folder: Path, texts: Sequence[str] = TEXTS) -> None:
    for index, (text, made_by) in enumerate(zip(texts, MADE_BY, strict=True)):
        write_part(part_path(folder, index), text, fingerprint=made_by)


def test_joined_parts_are_a_csv_gz_that_others_read(tmp_path: Path) -> None:
    write_all(tmp_path / "parts")
    path = tmp_path / "all.csv.gz"
    digest, num_lines = join_parts(path, ['img, "id"', "rle_mask"], tmp_path / "parts", MADE_BY)
    content = '"img, ""id""",rle_mask\n' + "".join(TEXTS)
    assert gzip.decompress(path.read_bytes()).decode() == content
    assert (digest, num_lines) == (hashlib.sha256(content.encode()).hexdigest(), content.count("\n") - 1)
    with gzip.open(path, "rt") as file:
        assert list(file) == content.splitlines(keepends=True)
    pd.testing.assert_frame_equal(pd.read_csv(path), pd.read_csv(BytesIO(content.encode())))


def test_what_is_missing_is_found(tmp_path: Path) -> None:
    assert find_missing_parts(tmp_path / "none", MADE_BY) == [0, 1, 2]
    write_all(tmp_path)
    assert find_missing_parts(tmp_path, MADE_BY) == []
    part_path(tmp_path, 1).unlink()
    assert find_missing_parts(tmp_path, MADE_BY) == [1]
    assert find_missing_parts(tmp_path, (MADE_BY[1], *MADE_BY[1:])) == [0, 1]


def test_whatever_bit_is_flipped_a_part_is_never_taken(tmp_path: Path) -> None:
    path = part_path(tmp_path, 0)
    write_part(path, TEXTS[0], fingerprint=MADE_BY[0])
    content = path.read_bytes()
    for position in range(len(content)):
        flip_bit(path, position)
        with pytest.raises(InputError, match=r"00000\.part must be whole and made by 0{16}"):
            read_part(path, fingerprint=MADE_BY[0])
        path.write_bytes(content)
    for length in range(len(content)):
        path.write_bytes(content[:length])
        assert find_missing_parts(tmp_path, MADE_BY[:1]) == [0]
