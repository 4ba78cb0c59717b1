"""Reading through zips is reading: one path, one answer, whether a folder is packed or not."""

import gzip
import os
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unets.data import files
from unets.data.files import find_file, hash_content, list_members, list_pages, read_bytes, read_stamp, unpack_gzip
from unets.errors import InputError


def write(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def pack(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_what_is_missing_or_damaged_is_named(tmp_path: Path) -> None:
    pack(tmp_path / "train.zip", {"a.jpg": b"abc"})
    for name in ("no.jpg", "train.zip/no.jpg"):
        for read in (read_bytes, read_stamp):
            with pytest.raises(InputError, match=r"no.jpg must exist. Received: no such file"):
                read(tmp_path / name)
    torn = write(tmp_path / "torn.zip", b"PK\x03\x04 and no more")
    for look in (lambda: read_bytes(torn / "a.jpg"), lambda: list_members(torn)):
        with pytest.raises(InputError, match=r"must be a whole zip. Received: "):
            look()


def test_threads_share_a_zip(tmp_path: Path) -> None:
    members = {f"{index}.jpg": bytes([index]) * (1000 + index) for index in range(64)}
    path = pack(tmp_path / "train.zip", members)
    with ThreadPoolExecutor(8) as pool:
        contents = list(pool.map(lambda name: read_bytes(path / name), members))
    assert contents == list(members.values())


def test_finds_a_file_or_its_zip(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"masks.csv must exist \(or masks.csv.zip beside it\)"):
        find_file(tmp_path, "masks.csv")
    pack(tmp_path / "masks.csv.zip", {"__MACOSX/masks.csv": b"junk", "masks.csv": b"img"})
    assert read_bytes(find_file(tmp_path, "masks.csv")) == b"img"
    write(tmp_path / "masks.csv", b"plain")
    assert find_file(tmp_path, "masks.csv") == tmp_path / "masks.csv"
    pack(tmp_path / "data.zip", {"data/images/a.png": b"a", "data/list.csv": b"x"})  # of a folder above
    pack(tmp_path / "more.zip", {"images/b.png": b"b"})
    for name, content in (("data/list.csv", b"x"), ("more/images/b.png", b"b")):
        assert read_bytes(find_file(tmp_path, name)) == content
    with pytest.raises(InputError, match=r"data/no.csv must exist"):
        find_file(tmp_path, "data/no.csv")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pages_of_a_tiff_are_files(tmp_path: Path, dtype: type) -> None:
    pages = [np.full((4, 6), 20 * page + 7, dtype=dtype) for page in range(11)]
    first, *more = (Image.fromarray(page) for page in pages)
    first.save(tmp_path / "volume.tif", save_all=True, append_images=more)
    Image.fromarray(pages[0]).save(tmp_path / "single.tif")
    assert list_pages(tmp_path / "single.tif") == []
    found = list_pages(tmp_path / "volume.tif")
    assert found == [f"{page:02d}.png" for page in range(11)]
    for page, name in zip(pages, found, strict=True):
        np.testing.assert_array_equal(Image.open(BytesIO(read_bytes(tmp_path / "volume.tif" / name))), page)
    assert read_stamp(tmp_path / "volume.tif" / "03.png") == read_stamp(tmp_path / "volume.tif")
    with pytest.raises(InputError, match=r"volume.tif/11.png must exist"):
        read_bytes(tmp_path / "volume.tif" / "11.png")


def test_pngs_of_equal_size_and_crc_have_hashes_of_their_own_in_a_zip_too(tmp_path: Path) -> None:
    rng, seen = np.random.default_rng(0), dict[int, bytes]()
    for _ in range(5000):  # the CRC-32 of whole PNGs takes about 2 ** 16 values
        content = BytesIO()
        Image.fromarray(rng.integers(0, 256, (4, 6), dtype=np.uint8)).save(content, format="PNG", compress_level=0)
        first, second = seen.setdefault(zlib.crc32(content.getvalue()), content.getvalue()), content.getvalue()
        if first != second:
            break
    assert first != second and len(first) == len(second)
    (tmp_path / "a.png").write_bytes(first)
    (tmp_path / "b.png").write_bytes(second)
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as archive:
        archive.write(tmp_path / "a.png", "a.png")
    digest = hash_content(tmp_path / "a.png")
    assert digest == hash_content(tmp_path / "train.zip" / "a.png") != hash_content(tmp_path / "b.png")


def test_what_does_not_fit_into_memory_is_refused_by_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "find_free_memory", lambda: 2**27)
    path = tmp_path / "train.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.jpg", "w") as member:
        for _ in range(2 * 128):  # 256 MiB of zeros, of a quarter of one
            member.write(bytes(2**20))
    with pytest.raises(InputError, match=r"train\.zip/a\.jpg must fit into memory\. Received: 0\.2 GiB"):
        read_bytes(path / "a.jpg")
    sparse = tmp_path / "b.jpg"
    with sparse.open("wb") as file:
        file.truncate(2**28)
    with pytest.raises(InputError, match=r"b\.jpg must fit into memory"):
        read_bytes(sparse)
    with pytest.raises(InputError, match=r"masks\.csv\.gz must fit into memory"):
        unpack_gzip(tmp_path / "masks.csv.gz", gzip.compress(bytes(2**28), 1))


def test_what_is_no_plain_file_is_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.tif")
    os.mkfifo(tmp_path / "train.zip")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    for name in ("a.tif", "train.zip", "loop.jpg"):
        for read in (read_bytes, read_stamp, hash_content):
            with pytest.raises(InputError, match=rf"{name} must be .* Received: (a pipe|Too many levels)"):
                read(tmp_path / name)
    with pytest.raises(InputError, match="must be a plain file"):
        list_pages(tmp_path / "a.tif")
