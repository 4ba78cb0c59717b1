"""Files of every kind, damaged at random: what is read is right, or one error names the file."""

import gzip
import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from unets.config import DatasetConfig, ExperimentConfig
from unets.data.files import list_members, read_bytes
from unets.data.image import ImageFile, ImageKind
from unets.data.pixels import read_values
from unets.data.rle import encode_rle
from unets.data.samples import Sample, read_image, read_mask
from unets.dataset.folds import read_folds
from unets.dataset.manifest import FILE_COLUMNS, SAMPLE_COLUMNS, Manifest
from unets.dataset.rle_csv import read_rows
from unets.ensemble.recipe import Recipe
from unets.export.card import MemberCard, ModelCard, NetCard, render_card
from unets.export.sources import open_model_file
from unets.prediction.maps import check_shard, encode_map, open_maps, write_shard
from unets.store.run_folder import read_metrics, read_snapshot, take_snapshot
from unets.store.runs import read_csv, read_json_lines
from unets.store.tensors import TensorFile, write_tensors
from unets.submission.check import check_submission

from ..trained_competition import METRICS
from .damage import damages, fuzzed, refusing

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (24, 40, 3), dtype=np.uint8)
MASK = (RNG.random((24, 40)) < 0.3).astype(np.uint8)
RLE = encode_rle(MASK)
PICTURES = ("png", "jpg", "gif", "tif", "webp", "bmp", "ppm")
DATASET = DatasetConfig(size_hw=(24, 40), num_folds=2)
TRAIN = tuple(Sample(id=f"c{n}_0{v}", group=f"c{n}", view=None, image="none") for n in range(4) for v in (1, 2))
MANIFEST = Manifest(dataset=DATASET, train=TRAIN, test=())


def encode(array: np.ndarray, ending: str) -> bytes:
    content = io.BytesIO()
    if ending == "npy":
        np.save(content, array)
    else:
        Image.fromarray(array).save(content, format=Image.registered_extensions()[f".{ending}"])
    return content.getvalue()


def damage_file(path: Path, content: bytes, damage: Callable[[bytes], bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(damage(content))
    return path


@pytest.mark.parametrize("ending", [*PICTURES, "npy"])
@given(damage=damages())
@fuzzed
def test_an_image_is_read_or_named(tmp_path: Path, ending: str, damage: Callable[[bytes], bytes]) -> None:
    whole = encode(PIXELS, ending)
    path = damage_file(tmp_path / f"image.{ending}", whole, damage)
    for kind in (ImageKind(), ImageKind(channels=3, value_range=(0, 100), upright=True)):
        with refusing(path):
            ImageFile(path, kind).check()
        with refusing(path):
            image = ImageFile(path, kind).read((12, 20))
            assert image.shape == (12, 20, 3) and image.dtype == np.uint8
    # Where its hash is known, it is the image that was imported, or none.
    with refusing(path):
        read_image(Sample(id="a", group="a", view=None, image=str(path), image_hash=hashlib.sha256(whole).hexdigest()))
        assert path.read_bytes() == whole


@pytest.mark.parametrize("ending", ["png", "gif", "tif", "bmp"])
@given(damage=damages())
@fuzzed
def test_a_mask_is_read_or_named(tmp_path: Path, ending: str, damage: Callable[[bytes], bytes]) -> None:
    whole = encode(MASK, ending)
    path = damage_file(tmp_path / f"mask.{ending}", whole, damage)
    with refusing(path):
        assert read_values(path).ndim in (2, 3)
    digest = hashlib.sha256(whole).hexdigest()
    sample = Sample(id="a", group="a", view=None, image="i", masks=(str(path),), mask_hash=digest)
    with refusing(path):
        np.testing.assert_array_equal(read_mask(sample), MASK)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@given(damage=damages())
@fuzzed
def test_a_zip_s_members_are_whole_or_named(tmp_path: Path, method: int, damage: Callable[[bytes], bytes]) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        archive.writestr("train/a.bin", PIXELS.tobytes())
        archive.writestr("train/b.txt", RLE)
    path = damage_file(tmp_path / "train.zip", content.getvalue(), damage)
    with refusing(path):
        for name in list_members(path):
            with refusing(path):
                assert read_bytes(path / name) in (PIXELS.tobytes(), RLE.encode())


def check_valid(path: Path) -> None:
    """What passes is what any parser takes."""
    sample_path = path.with_name("sample.csv")
    sample_path.write_bytes(ROWS)
    check_submission(path, sample_path, DATASET)
    text = (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()).decode("ascii")
    assert [line.partition(",")[0] for line in text.split()[:1]] == ["img"]
    assert set(text) <= set('abcjpgimrle_mask.,0123456789 \r\n"')


def check_folds(path: Path) -> None:
    fold_of = read_folds(path, MANIFEST)
    assert fold_of.keys() == {sample.id for sample in TRAIN} and set(fold_of.values()) == {0, 1}


ROWS = f"img,rle_mask\na.jpg,{RLE}\nb.jpg,{RLE}\nc.jpg,{RLE}\n".encode()
FOLDS = "".join(f"{sample.id},{sample.group},{int(sample.group[1]) % 2}\n" for sample in TRAIN)
TABLE = "id,split,image,mask,group,view\n" + "".join(f"c{n},train,{n}.png,m.png|n.png,g,\n" for n in range(4))
FILES = "file,is,hash,stamp\n" + "".join(f"{n}.png,image,1-00000000,1:1\n" for n in range(4))
# A name, a whole file's bytes, and what reads it.
READERS: dict[str, tuple[bytes, Callable[[Path], object]]] = {
    "masks.csv": (ROWS, lambda path: read_rows(path, DatasetConfig())),
    "masks.csv.gz": (gzip.compress(ROWS), lambda path: read_rows(path, DatasetConfig())),
    "mine.csv": (ROWS, check_valid),
    "mine.csv.gz": (gzip.compress(ROWS), check_valid),
    "folds.csv": (f"id,group,fold\n{FOLDS}".encode(), check_folds),
    "samples.csv": (TABLE.encode(), lambda path: list(read_csv(path, SAMPLE_COLUMNS))),
    "account.csv": (FILES.encode(), lambda path: list(read_csv(path, FILE_COLUMNS))),
    "metrics.json": (json.dumps(METRICS).encode(), lambda path: read_metrics(path.parent)),
    "config.json": (
        json.dumps(take_snapshot(ExperimentConfig(), DATASET, 0, "ab12")).encode(),
        lambda path: read_snapshot(path.parent),
    ),
    "stages.jsonl": (b'{"stage": "train", "seconds": 1.5}\n' * 3, read_json_lines),
}


@pytest.mark.parametrize("name", READERS)
@given(damage=damages())
@fuzzed
def test_a_table_or_record_is_read_or_named(tmp_path: Path, name: str, damage: Callable[[bytes], bytes]) -> None:
    whole, read = READERS[name]
    path = damage_file(tmp_path / "unet" / "fold0" / name, whole, damage)
    with refusing(path):
        read(path)


@given(damage=damages())
@fuzzed
def test_maps_are_those_that_were_written_or_named(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    map_u8 = PIXELS[..., :1]
    folder = tmp_path / "maps"
    path = folder / "00000.zip"
    path.unlink(missing_ok=True)
    write_shard(folder, 0, nets={"0": "1"}, classes=("car",), maps=[(name, encode_map(map_u8)) for name in "ab"])
    damage_file(path, path.read_bytes(), damage)
    with refusing(path):
        check_shard(path)
        assert sorted(open_maps(folder).ids) == ["a", "b"]
    with refusing(folder):
        reader = open_maps(folder)
        for id_ in reader.ids:
            with refusing(path):
                np.testing.assert_array_equal(reader.read_map(id_), map_u8)


@given(damage=damages())
@fuzzed
def test_tensors_are_those_that_were_written_or_named(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "model.safetensors"
    write_tensors(path, {"a": PIXELS, "b": RNG.random(7)}, {"version": 2, "card": {"name": "x"}})
    damage_file(path, path.read_bytes(), damage)
    with refusing(path):
        file = TensorFile(path)
        file.check()
        np.testing.assert_array_equal(file.read("a"), PIXELS)
    with refusing(path):
        open_model_file(path)


VALUES = st.sampled_from((None, True, -1, 0, 1e308, 10**30, "", "../x", "\x1b[31m", "x" * 300, [], {}, [1], {"a": [1]}))


def _list_places(part: Any, *way: Any) -> list[tuple[Any, ...]]:
    inner = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    return [way] * bool(way) + [place for key, value in inner for place in _list_places(value, *way, key)]


@given(place=st.floats(0, 1, exclude_max=True), value=VALUES)
@fuzzed
def test_a_card_is_told_in_plain_words_or_refused(tmp_path: Path, place: float, value: Any) -> None:
    member = MemberCard(name="a", experiment=ExperimentConfig(), nets=(NetCard(fold=0, weights_sha256="1"),))
    origin = {"date": "2026", "git_commit": "ab12", "git_is_dirty": False, "versions": {"numpy": "2"}}
    recipe = Recipe(weights=(1.0,))
    whole = ModelCard(
        name="x", competition="c", classes=("car",), members=(member,), recipe=recipe, image_hw=(9, 9), origin=origin
    )
    card = json.loads(whole.to_json())
    places = _list_places(card)
    *way, last = places[int(place * len(places))]
    part = card
    for key in way:
        part = part[key]
    part[last] = value
    path = tmp_path / "model.safetensors"
    write_tensors(path, {"a/fold0/kernel": np.zeros((1, 512), np.float32)}, {"version": 2, "card": card})
    with refusing(path):
        text = render_card(open_model_file(path).card)
        assert all(letter.isprintable() or letter == "\n" for letter in text)
