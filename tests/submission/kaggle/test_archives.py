"""Zips from outside: what is right comes out as it went in, all else is refused before anything is written."""

import os
import stat
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unets.errors import InputError
from unets.submission.kaggle.archives import check_archive, list_members, unpack_archive

PARTS = st.lists(st.text("ab.~ é", min_size=1, max_size=3), min_size=1, max_size=3)


def write_zip(path: Path, contents: dict[str, bytes], **fields: int) -> Path:
    """Writes a zip; `fields` are set on each member's entry."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            info = zipfile.ZipInfo(name)
            for field, value in fields.items():
                setattr(info, field, value)
            archive.writestr(info, content)
    return path


@settings(max_examples=100, deadline=None)
@given(parts=PARTS)
def test_a_name_is_refused_or_stays_within(parts: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("zip")
    path = write_zip(folder / "a.zip", {"/".join(parts): b"content"})
    target = folder / "outer" / "inner"
    try:
        unpack_archive(path, target)
    except InputError:
        assert ".." in parts or not [part for part in parts if part != "."]
        assert not target.exists()
        return
    found = [file for file in folder.rglob("*") if file.is_file() and file != path]
    assert len(found) == 1 and found[0].is_relative_to(target) and found[0].read_bytes() == b"content"


def test_it_comes_out_as_it_went_in_and_a_mac_s_notes_do_not(tmp_path: Path) -> None:
    contents = {"a/b/1.jpg": os.urandom(5000), "a/empty": b"", "top.csv": b"x" * 3_000_000}
    path = write_zip(tmp_path / "a.zip", {**contents, "a/": b"", "__MACOSX/._top.csv": b"note"})
    check_archive(path)
    members = unpack_archive(path, tmp_path / "out")
    assert {str(place): info.file_size for place, info in members.items()} == {k: len(v) for k, v in contents.items()}
    found = {
        f.relative_to(tmp_path / "out").as_posix(): f.read_bytes() for f in (tmp_path / "out").rglob("*") if f.is_file()
    }
    assert found == contents


def test_windows_s_slashes_are_folders(tmp_path: Path) -> None:
    unpack_archive(write_zip(tmp_path / "a.zip", {"train\\1.jpg": b"1"}), tmp_path / "out")
    assert (tmp_path / "out" / "train" / "1.jpg").read_bytes() == b"1"


def test_what_is_unpacked_already_is_kept_if_it_is_the_same(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"1": b"one", "2": b"two"})
    unpack_archive(path, tmp_path / "out")
    before = {name: (tmp_path / "out" / name).stat().st_ino for name in "12"}
    (tmp_path / "out" / "2").write_bytes(b"owt")  # as long, but something else
    unpack_archive(path, tmp_path / "out")
    assert (tmp_path / "out" / "1").stat().st_ino == before["1"]
    assert (tmp_path / "out" / "2").read_bytes() == b"two"


@pytest.mark.parametrize(
    ("contents", "fields", "received"),
    [
        ({"../a": b""}, {}, "'../a', a path that leaves the folder"),
        ({"a/../../b": b""}, {}, "a path that leaves the folder"),
        ({"..\\a": b""}, {}, "a path that leaves the folder"),
        ({"/a": b""}, {}, "a path that leaves the folder"),
        ({"\\\\host\\a": b""}, {}, "a path that leaves the folder"),
        ({"c:/a": b""}, {}, "a path that leaves the folder"),
        ({"../": b"", "a": b""}, {}, "a path that leaves the folder"),
        ({"a": b"/etc/passwd"}, {"external_attr": (stat.S_IFLNK | 0o777) << 16}, "'a', a link or device"),
        ({"a": b""}, {"external_attr": stat.S_IFIFO << 16}, "'a', a link or device"),
        ({"a": b"", "./a": b""}, {}, "two files of one name, a"),
        ({"a": b"", "a/b": b""}, {}, "a both as a file and as a folder"),
    ],
)
def test_what_must_not_be_unpacked_is_refused(
    contents: dict[str, bytes], fields: dict[str, int], received: str, tmp_path: Path
) -> None:
    path = write_zip(tmp_path / "a.zip", contents, **fields)
    for use in (list_members, check_archive, lambda archive: unpack_archive(archive, tmp_path / "out")):
        with pytest.raises(InputError) as caught:
            use(path)  # type: ignore[operator]
        assert str(caught.value).startswith(f"{path} must hold plain files that stay within its folder. Received: ")
        assert str(caught.value).endswith(received)
    assert not (tmp_path / "out").exists()


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    content = bytearray(write_zip(tmp_path / "a.zip", {"a": b"secret"}).read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # flags: APPNOTE.TXT, 4.3.7 and 4.3.12
        content[content.index(signature) + offset] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InputError, match="which is encrypted"):
        check_archive(tmp_path / "a.zip")


def test_every_bit_of_a_member_counts(tmp_path: Path) -> None:
    """Stored, so that only the CRC-32 can tell; and a size that the directory lies about."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.jpg", bytes(1000))
    whole = path.read_bytes()
    for position in (40, 700):
        path.write_bytes(whole[:position] + b"\x01" + whole[position + 1 :])
        with pytest.raises(InputError, match=r"Received: a\.jpg is damaged: Bad CRC-32"):
            check_archive(path)
        with pytest.raises(InputError):
            unpack_archive(path, tmp_path / "out")
        assert not (tmp_path / "out" / "a.jpg").exists()
    directory = whole.index(b"PK\x01\x02")
    size = struct.pack("<L", 999)
    path.write_bytes(whole[: directory + 24] + size + whole[directory + 28 :])
    with pytest.raises(InputError, match="must be a whole zip"):
        check_archive(path)


@pytest.mark.parametrize("content", [b"", b"<html></html>", b"PK\x03\x04"])
def test_what_is_no_zip_is_told(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.zip must be a whole zip\. Received: File is not a zip file"):
        check_archive(tmp_path / "a.zip")
    with pytest.raises(InputError, match=r"b\.zip must exist"):
        check_archive(tmp_path / "b.zip")
