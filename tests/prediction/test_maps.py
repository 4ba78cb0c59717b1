import errno
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests import read_files
from tests.trained_competition import NETS, flip_bit
from unets.data.samples import Sample
from unets.errors import InputError
from unets.prediction.maps import (
    MapStore,
    check_shard,
    encode_map,
    join_nets,
    list_shards,
    open_maps,
    shard_path,
    write_shard,
)
from unets.workers.pool import in_chunks

SIZE_HW = (6, 9)
IDS = ("a_01", "a_02", "b_01", "b_02", "c.d_01")
Map = npt.NDArray[np.uint8]


def build_map(id_: str, num_classes: int = 1) -> Map:
    return np.random.default_rng([*id_.encode()]).integers(0, 256, (*SIZE_HW, num_classes), dtype=np.uint8)


def write_store(
    folder: Path, classes: tuple[str, ...] = ("car",), nets: dict[str, str] = NETS, ids: tuple[str, ...] = IDS
) -> dict[str, bytes]:
    """Returns the content of each file."""
    for index, some in enumerate(in_chunks(ids, 2)):
        maps = ((id_, encode_map(build_map(id_, len(classes)))) for id_ in some)
        write_shard(folder, index, nets=nets, classes=classes, maps=maps, images=[""] * len(some))
    return read_files(folder)


def find_missing(
    folder: Path, plan: Sequence[Sequence[str]] = (), force: bool = False, image_hash: str = "", **changes: Any
) -> list[int]:
    fields = {"folder": folder, "nets": NETS, "classes": ("car",), "size_hw": SIZE_HW, "command": "`unets predict`"}
    about: dict[str, Any] = {"group": "", "view": None, "image": "", "image_hash": image_hash}
    samples = [tuple(Sample(id=id_, **about) for id_ in ids) for ids in plan or in_chunks(IDS, 2)]
    return list(MapStore(**(fields | changes)).find_missing(samples, force=force))


@pytest.mark.parametrize("classes", [("car",), ("cat", "dog", "owl")])
def test_maps_are_read_as_written(tmp_path: Path, classes: tuple[str, ...]) -> None:
    write_store(tmp_path, classes)
    reader = open_maps(tmp_path)
    assert (reader.ids, reader.nets, reader.classes, reader.size_hw) == (IDS, NETS, classes, SIZE_HW)
    for id_ in reversed(IDS):
        np.testing.assert_array_equal(reader.read_map(id_), build_map(id_, len(classes)))


def test_names_of_images_and_classes_that_would_meet_in_a_zip(tmp_path: Path) -> None:
    classes, ids = ("x", "1.x", "a/../b", "./c//d"), ("a", "a.1", "a.1.x", "a.1.1")
    write_store(tmp_path, classes, ids=ids)
    for index, _ in enumerate(in_chunks(ids, 2)):
        check_shard(shard_path(tmp_path, index))
    for id_ in ids:
        np.testing.assert_array_equal(open_maps(tmp_path).read_map(id_), build_map(id_, len(classes)))


def test_what_a_kill_left_half_written_is_dropped(tmp_path: Path) -> None:
    assert find_missing(tmp_path / "none") == [0, 1, 2]
    before = write_store(tmp_path) | {"notes.txt": b"foreign files are passed over"}
    (tmp_path / "notes.txt").write_bytes(before["notes.txt"])
    (tmp_path / ".part-0123456789abcdef0123456789abcdef00001.zip").write_bytes(b"half")
    assert find_missing(tmp_path) == [] and read_files(tmp_path) == before


def test_shards_of_other_images_are_made_again_or_gone(tmp_path: Path) -> None:
    write_store(tmp_path)
    assert find_missing(tmp_path, plan=[IDS[:2], IDS[2:]]) == [1]
    assert list_shards(tmp_path) == [shard_path(tmp_path, 0)]
    assert find_missing(tmp_path, plan=[IDS[:2]], image_hash="of other bytes") == [0]  # names and nets are as before


@pytest.mark.parametrize("damage", ["absent", "truncated", "empty", "foreign zip", "text"])
def test_damaged_shards_are_made_again(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    write_store(tmp_path)
    path = shard_path(tmp_path, 1)
    content = path.read_bytes()
    path.unlink()
    if damage == "foreign zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("readme.txt", "not ours")
    elif damage != "absent":
        path.write_bytes({"truncated": content[:-40], "empty": b"", "text": b"not a zip at all"}[damage])
    assert find_missing(tmp_path) == [1]
    assert damage == "absent" or path.name in caplog.text


def test_whatever_bit_is_flipped_the_maps_are_never_wrong(tmp_path: Path) -> None:
    maps = [("a_01", encode_map(build_map("a_01")))]
    path = write_shard(tmp_path, 0, nets=NETS, classes=("car",), maps=maps)
    content = path.read_bytes()
    for position in range(len(content)):
        flip_bit(path, position)
        try:
            np.testing.assert_array_equal(open_maps(tmp_path).read_map("a_01"), build_map("a_01"))
            manifest = check_shard(path)
            assert (manifest.nets, manifest.ids) == (NETS, ("a_01",))
        except InputError:
            pass
        path.write_bytes(content)


@pytest.mark.parametrize("change", [{"nets": {"0": "f" * 16}}, {"size_hw": (7, 9)}, {"classes": ("cat",)}])
def test_a_shard_of_something_else_is_replaced_by_force_alone(tmp_path: Path, change: dict[str, Any]) -> None:
    write_store(tmp_path)
    before = read_files(tmp_path)
    with pytest.raises(InputError, match=r"00000\.zip must hold maps of .* Received: .*`unets predict` replaces them"):
        find_missing(tmp_path, plan=[IDS[:2]], **change)  # shards beyond the plan
    assert read_files(tmp_path) == before
    with pytest.raises(InputError, match=r"00000\.zip must hold maps of"):
        find_missing(tmp_path, **change)
    assert open_maps(tmp_path).ids == IDS
    assert find_missing(tmp_path, force=True, **change) == [0, 1, 2] and not list_shards(tmp_path)


def test_each_fold_of_a_store_has_a_folder_and_a_net(tmp_path: Path) -> None:
    for fold in (10, 2):
        write_store(
            tmp_path / f"fold{fold}", nets={str(fold): str(fold) * 8}, ids=tuple(f"{fold}_{id_}" for id_ in IDS)
        )
    reader = open_maps(tmp_path)
    assert reader.ids == tuple(f"{fold}_{id_}" for fold in (2, 10) for id_ in IDS)
    assert reader.fingerprint == join_nets({"2": "2" * 8, "10": "10" * 8})
    np.testing.assert_array_equal(reader.select(["2_b_02"]).read_map("2_b_02"), build_map("2_b_02"))


def test_shards_of_two_origins_or_one_id_twice_are_refused(tmp_path: Path) -> None:
    write_store(tmp_path)
    again = [("a_01", encode_map(build_map("a_01")))]
    write_shard(tmp_path, 3, nets=NETS, classes=("car",), maps=again)
    with pytest.raises(InputError, match="must hold one map of a_01"):
        open_maps(tmp_path)
    write_shard(tmp_path, 3, nets={"0": "f" * 16}, classes=("car",), maps=again)
    with pytest.raises(InputError, match="must hold maps of one origin"):
        open_maps(tmp_path)


def test_two_writers_of_one_shard_end_well(tmp_path: Path) -> None:
    """As where a worker that lost its client meets the one that makes its shards again."""

    def write(maps: Any) -> None:
        write_shard(tmp_path, 0, nets=NETS, classes=("car",), maps=maps)

    maps = [(id_, encode_map(build_map(id_))) for id_ in IDS]
    whole = []

    def draw() -> Any:
        yield from maps[:2]
        write(maps)
        whole.append(shard_path(tmp_path, 0).read_bytes())
        yield from maps[2:]

    write(draw())
    assert check_shard(shard_path(tmp_path, 0)).ids == IDS
    assert read_files(tmp_path) == {"00000.zip": whole[0]}


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt()])
def test_an_error_or_a_full_disk_leaves_the_old_shard(tmp_path: Path, error: BaseException) -> None:
    before = write_store(tmp_path)

    def stop_midway() -> Any:
        yield "x", encode_map(build_map("x"))
        raise error

    with pytest.raises(type(error)):
        write_shard(tmp_path, 0, nets=NETS, classes=("car",), maps=stop_midway())
    assert read_files(tmp_path) == before
