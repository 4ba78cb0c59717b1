"""Reading through zips is reading: one path, one answer, whether a folder is packed or not."""

import gzip
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unets.data import files
from unets.data.files import (
    expand_pattern,
    find_file,
    find_ids,
    hash_content,
    list_pages,
    read_bytes,
    read_stamp,
    unpack_gzip,
)
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


def names(found: dict[str, tuple[str, ...]], root: Path) -> dict[str, list[str]]:
    return {id_: [Path(path).relative_to(root).as_posix() for path in paths] for id_, paths in found.items()}


def test_reads_a_file_and_a_member(tmp_path: Path) -> None:
    assert read_bytes(write(tmp_path / "a.jpg", b"abc")) == b"abc"
    pack(tmp_path / "train.zip", {"train/a.jpg": b"abc", "b.jpg": b"b"})
    assert read_bytes(tmp_path / "train.zip" / "train" / "a.jpg") == b"abc"
    assert read_bytes(tmp_path / "train.zip" / "b.jpg") == b"b"


@pytest.mark.parametrize("name", ["no.jpg", "train.zip/no.jpg"])
def test_missing(tmp_path: Path, name: str) -> None:
    pack(tmp_path / "train.zip", {"a.jpg": b"abc"})
    for read in (read_bytes, read_stamp):
        with pytest.raises(InputError, match=r"no.jpg must exist. Received: no such file"):
            read(tmp_path / name)


def test_empty(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg", b"")
    pack(tmp_path / "train.zip", {"a.jpg": b""})
    for path in (tmp_path / "a.jpg", tmp_path / "train.zip" / "a.jpg"):
        with pytest.raises(InputError, match=r"a.jpg must not be empty. Received: 0 bytes"):
            read_bytes(path)


def test_damaged_zip(tmp_path: Path) -> None:
    write(tmp_path / "train.zip", b"PK\x03\x04 and no more")
    with pytest.raises(InputError, match=r"must be a whole zip. Received: "):
        read_bytes(tmp_path / "train.zip" / "a.jpg")
    with pytest.raises(InputError, match=r"train.zip must be a whole zip. Received: "):
        find_ids(tmp_path, "train/{id}.jpg")


def test_damaged_member(tmp_path: Path) -> None:
    path = tmp_path / "train.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a.jpg", b"abcdefgh")
    path.write_bytes(path.read_bytes().replace(b"abcdefgh", b"abcdefgX", 1))
    with pytest.raises(InputError, match=r"a\.jpg must be readable\. Received: Bad CRC-32"):
        read_bytes(path / "a.jpg")


def test_threads_share_a_zip(tmp_path: Path) -> None:
    members = {f"{index}.jpg": bytes([index]) * (1000 + index) for index in range(64)}
    path = pack(tmp_path / "train.zip", members)
    with ThreadPoolExecutor(8) as pool:
        contents = list(pool.map(lambda name: read_bytes(path / name), members))
    assert contents == list(members.values())


def test_ids_of_a_folder(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.jpg", "a.png", "notes.txt", "sub/c.jpg"):
        write(tmp_path / "train" / name)
    assert names(find_ids(tmp_path, "train/{id}.jpg"), tmp_path) == {"a": ["train/a.jpg"], "b": ["train/b.jpg"]}
    assert list(find_ids(tmp_path, "train/{id}.jpg")) == ["a", "b"]
    assert find_ids(tmp_path, "train/{id}.gif") == {}


@pytest.mark.parametrize("prefix", ["train/", ""])
def test_ids_of_a_zip(tmp_path: Path, prefix: str) -> None:
    junk = {"__MACOSX/train/._a.jpg": b"x", "train/": b""}
    pack(tmp_path / "train.zip", {f"{prefix}a.jpg": b"a", f"{prefix}b.jpg": b"b"} | junk)
    found = find_ids(tmp_path, "train/{id}.jpg")
    assert names(found, tmp_path) == {"a": [f"train.zip/{prefix}a.jpg"], "b": [f"train.zip/{prefix}b.jpg"]}
    assert read_bytes(Path(found["a"][0])) == b"a"


def test_a_folder_goes_before_its_zip(tmp_path: Path) -> None:
    write(tmp_path / "train" / "a.jpg")
    pack(tmp_path / "train.zip", {"b.jpg": b"b"})
    assert list(find_ids(tmp_path, "train/{id}.jpg")) == ["a"]


def test_stars_and_ids_in_folders(tmp_path: Path) -> None:
    for name in ("x/images/x.png", "x/masks/1.png", "y/images/y.png"):
        write(tmp_path / "stage1" / name)
    found = find_ids(tmp_path, "stage1/*/images/{id}.png")
    assert names(found, tmp_path) == {"x": ["stage1/x/images/x.png"], "y": ["stage1/y/images/y.png"]}
    assert list(find_ids(tmp_path, "stage1/{id}/images/*.png")) == ["x", "y"]


def test_ids_beside_each_other_in_the_root(tmp_path: Path) -> None:
    for name in ("a.jpg", "sub/b.jpg"):
        write(tmp_path / name)
    assert names(find_ids(tmp_path, "{id}.jpg"), tmp_path) == {"a": ["a.jpg"]}
    assert names(find_ids(tmp_path, "*/{id}.jpg"), tmp_path) == {"b": ["sub/b.jpg"]}


def test_two_files_with_one_id_are_both_told(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg"):
        write(tmp_path / "train" / name)
    assert names(find_ids(tmp_path, "train/{id}.*"), tmp_path) == {"a": ["train/a.jpg", "train/a.png"]}


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train must exist \(or train.zip beside it\). Received: no such folder"):
        find_ids(tmp_path, "train/{id}.jpg")
    with pytest.raises(InputError, match=r"`--input` must be a folder"):
        find_ids(tmp_path / "nowhere", "train/{id}.jpg")


def test_a_link_to_nothing_is_told_when_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "a.jpg").symlink_to(tmp_path / "gone.jpg")
    ((path,),) = find_ids(tmp_path, "train/{id}.jpg").values()
    with pytest.raises(InputError, match=r"a.jpg must exist"):
        read_bytes(Path(path))


def test_finds_a_file_or_its_zip(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"masks.csv must exist \(or masks.csv.zip beside it\)"):
        find_file(tmp_path, "masks.csv")
    pack(tmp_path / "masks.csv.zip", {"__MACOSX/masks.csv": b"junk", "masks.csv": b"img"})
    assert read_bytes(find_file(tmp_path, "masks.csv")) == b"img"
    write(tmp_path / "masks.csv", b"plain")
    assert find_file(tmp_path, "masks.csv") == tmp_path / "masks.csv"


def test_stamp_changes_with_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jpg", b"abc")
    before = read_stamp(path)
    assert before[0] == 3
    write(path, b"abcd")
    assert read_stamp(path) != before
    pack(tmp_path / "one.zip", {"a.jpg": b"abc", "b.jpg": b"abd"})
    first, second = read_stamp(tmp_path / "one.zip" / "a.jpg"), read_stamp(tmp_path / "one.zip" / "b.jpg")
    assert first[0] == second[0] == 3 and first != second


def test_a_zip_of_a_folder_above_is_looked_into(tmp_path: Path) -> None:
    pack(tmp_path / "data.zip", {"data/images/a.png": b"a", "data/masks/a.png": b"m", "data/list.csv": b"x"})
    pack(tmp_path / "more.zip", {"images/b.png": b"b"})
    assert names(find_ids(tmp_path, "data/images/{id}.png"), tmp_path) == {"a": ["data.zip/data/images/a.png"]}
    assert names(find_ids(tmp_path, "more/images/{id}.png"), tmp_path) == {"b": ["more.zip/images/b.png"]}
    assert read_bytes(find_file(tmp_path, "data/list.csv")) == b"x"
    with pytest.raises(InputError, match=r"data/no.csv must exist"):
        find_file(tmp_path, "data/no.csv")


def test_either_of_two_folders_or_endings(tmp_path: Path) -> None:
    for name in ("train/a.jpg", "val/b.png", "test/c.jpg"):
        write(tmp_path / name)
    assert list(find_ids(tmp_path, "{train,val}/{id}.{jpg,png}")) == ["a", "b"]
    assert expand_pattern("{a,b}/{id}.{c,d}") == ["a/{id}.c", "a/{id}.d", "b/{id}.c", "b/{id}.d"]
    write(tmp_path / "val" / "a.jpg")
    assert names(find_ids(tmp_path, "{train,val}/{id}.jpg"), tmp_path) == {"a": ["train/a.jpg", "val/a.jpg"]}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pages_of_a_tiff_are_files(tmp_path: Path, dtype: type) -> None:
    pages = [np.full((4, 6), 20 * page + 7, dtype=dtype) for page in range(11)]
    first, *more = (Image.fromarray(page) for page in pages)
    first.save(tmp_path / "volume.tif", save_all=True, append_images=more)
    Image.fromarray(pages[0]).save(tmp_path / "single.tif")
    assert list_pages(tmp_path / "single.tif") == []
    found = find_ids(tmp_path, "volume.tif/{id}.png")
    assert list(found) == [f"{page:02d}" for page in range(11)]
    for page, paths in zip(pages, found.values(), strict=True):
        read = np.array(Image.open(BytesIO(read_bytes(Path(paths[0])))))
        np.testing.assert_array_equal(read, page)
    assert read_stamp(Path(found["03"][0])) == read_stamp(tmp_path / "volume.tif")
    with pytest.raises(InputError, match=r"volume.tif/11.png must exist"):
        read_bytes(tmp_path / "volume.tif" / "11.png")


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
