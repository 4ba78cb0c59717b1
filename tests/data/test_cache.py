"""Caches give what reading gives, are shared, and are never taken half-written or out of date."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from unets.config import load_dataset
from unets.data import cache
from unets.data.cache import DiskReader, PairReader, choose_kind, choose_shared_kind, open_reader
from unets.data.files import hash_content
from unets.dataset.manifest import Manifest, read_manifest
from unets.store.paths import Project

SIZE_HW = (32, 48)


@pytest.fixture
def manifest(make_competition: Callable[..., Project]) -> Manifest:
    project = make_competition(num_groups=2, num_views=3, classes=("car", "bus"), mask_format="png")
    return read_manifest(project, load_dataset(project.configs_dir))


def open_kind(manifest: Manifest, kind: Any, cache_dir: Path) -> PairReader:
    return open_reader(manifest.train, manifest.dataset, SIZE_HW, kind, cache_dir)


def check_equal(reader: PairReader, manifest: Manifest) -> None:
    """Checks that a reader gives what is in the files now."""
    for index, pair in enumerate(DiskReader(manifest.train, manifest.dataset, SIZE_HW)[i] for i in range(6)):
        for wanted, array in zip(pair, reader[index], strict=True):
            assert array.dtype == np.uint8
            np.testing.assert_array_equal(array, wanted)


def list_caches(cache_dir: Path) -> list[Path]:
    """Lists whole and begun caches."""
    return [path for path in cache_dir.iterdir() if path.is_dir()]


@pytest.mark.parametrize("kind", ["none", "ram", "disk", "auto"])
def test_every_kind_gives_equal_pairs(manifest: Manifest, tmp_path: Path, kind: str) -> None:
    reader = open_kind(manifest, kind, tmp_path / "cache")
    image, target = reader[5]
    assert image.shape == (*SIZE_HW, 3) and target.shape == (*SIZE_HW, 2)
    assert image.max() > 200 and target.max() == 255
    check_equal(reader, manifest)


@pytest.mark.parametrize("changed", ["nothing", "image_hash", "mask_hash", "code"])
def test_a_cache_is_shared_until_bytes_or_code_change(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    open_kind(manifest, "disk", tmp_path / "cache")
    (before,) = list_caches(tmp_path / "cache")
    sample, read, decoded = manifest.train[2], cache.read_image, list[str]()
    monkeypatch.setattr(cache, "read_image", lambda *given: decoded.append(given[0].id) or read(*given))
    if changed == "code":
        monkeypatch.setattr(cache, "hash_code", lambda *_: "of another version")
    elif changed != "nothing":
        path, shape = {
            "image_hash": (sample.image_path, (64, 96, 3)),
            "mask_hash": (sample.mask_paths[0], (64, 96)),
        }[changed]
        Image.fromarray(np.full(shape, 2, dtype=np.uint8)).save(path)
        other = replace(sample, **{changed: hash_content(path)})
        manifest = replace(manifest, train=(*manifest.train[:2], other, *manifest.train[3:]))
    reader = open_kind(manifest, "disk", tmp_path / "cache")
    assert len(decoded) == (0 if changed == "nothing" else 6)
    assert (before in list_caches(tmp_path / "cache")) == (changed == "nothing")
    check_equal(reader, manifest)
    assert changed != "mask_hash" or (reader[2][1][..., 1] == 255).all()


def test_what_a_kill_left_is_not_taken(manifest: Manifest, tmp_path: Path) -> None:
    open_kind(manifest, "disk", tmp_path / "cache")
    (folder,) = list_caches(tmp_path / "cache")
    # as a kill leaves it: under the temporary name, the arrays half full, and something else besides
    part = folder.rename(folder.with_name(f".part-{folder.name}"))
    np.load(part / "images.npy", mmap_mode="r+")[3:] = 0
    (part / "targets.npy").unlink()
    (part / "rest").mkdir()
    check_equal(open_kind(manifest, "disk", tmp_path / "cache"), manifest)
    assert sorted(path.name for path in folder.iterdir()) == ["images.npy", "targets.npy"]
    assert list_caches(tmp_path / "cache") == [folder]


def test_an_old_cache_makes_room_for_the_new(manifest: Manifest, tmp_path: Path) -> None:
    cache_dir = tmp_path / "cache"
    old = open_kind(manifest, "disk", cache_dir)
    wanted = [array.copy() for array in old[2]]
    (first,) = list_caches(cache_dir)
    # of another size, of another name, and of a name that begins alike
    open_reader(manifest.train, manifest.dataset, (40, 60), "disk", cache_dir)
    open_reader(manifest.train, manifest.dataset, SIZE_HW, "disk", cache_dir, what="train_b")
    others = set(list_caches(cache_dir)) - {first}
    begun = cache_dir / ".part-32x48_train_0123456789abcdef"
    begun.mkdir()
    changed = (replace(manifest.train[0], image_hash="of other bytes"), *manifest.train[1:])
    open_kind(replace(manifest, train=changed), "disk", cache_dir)
    left = set(list_caches(cache_dir))
    assert others < left and len(left) == 3 and first not in left and begun not in left
    # a training that has mapped the old one goes on with it
    for array, was in zip(old[2], wanted, strict=True):
        np.testing.assert_array_equal(array, was)


def test_two_that_want_the_same_cache_fill_it_once(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, counted = cache.read_image, []

    def read_slowly(path: Path, size_hw: Any = None) -> Any:
        counted.append(path)
        time.sleep(0.05)
        return read(path, size_hw)

    monkeypatch.setattr(cache, "read_image", read_slowly)
    with ThreadPoolExecutor(3) as pool:
        readers = list(pool.map(lambda _: open_kind(manifest, "disk", tmp_path / "cache"), range(3)))
    assert len(counted) == 6
    for reader in readers:
        check_equal(reader, manifest)


def write_cache(folder: Path, num_bytes: int) -> None:
    folder.mkdir(parents=True)
    (folder / "images.npy").write_bytes(bytes(num_bytes))


# 0.4 of the memory, then 0.8 of the disk
@pytest.mark.parametrize(
    ("num_bytes", "free_ram", "free_disk", "kind"),
    [(400, 1000, 0, "ram"), (401, 1000, 1000, "disk"), (800, 1000, 1000, "disk"), (801, 1000, 1000, "none")],
)
def test_the_fastest_kind_that_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_bytes: int, free_ram: int, free_disk: int, kind: str
) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=free_ram))
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: SimpleNamespace(free=free_disk * path.exists()))
    cache_dir = tmp_path / "not" / "made" / "yet"
    assert choose_kind(num_bytes, SIZE_HW, cache_dir) == kind
    write_cache(cache_dir / "132x48_train_ab", 900)  # of other sizes, or of other images
    write_cache(cache_dir / "32x48_first_fold0_ab", 900)
    assert choose_kind(num_bytes, SIZE_HW, cache_dir) == kind
    write_cache(cache_dir / "32x48_train_ab", 1)  # a run that goes on has filled it
    assert choose_kind(num_bytes, SIZE_HW, cache_dir) == ("ram" if kind == "ram" else "disk")
    assert choose_kind(num_bytes + 1, SIZE_HW, cache_dir) == ("disk" if free_disk and num_bytes < 801 else "none")


def test_processes_side_by_side_share_a_cache_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    cache_dir = tmp_path / "cache"
    assert choose_shared_kind(800, SIZE_HW, cache_dir) == "disk"  # however much memory is free
    assert choose_shared_kind(801, SIZE_HW, cache_dir) == "none"
    (cache_dir / "132x48_train_ab").mkdir(parents=True)  # of another size
    (cache_dir / ".32x48_train_lock").touch()
    assert choose_shared_kind(801, SIZE_HW, cache_dir) == "none"
    (cache_dir / ".part-32x48_train_ab").mkdir()  # another fills it at this moment
    assert choose_shared_kind(801, SIZE_HW, cache_dir) == "disk"
