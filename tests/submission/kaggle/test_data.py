"""`unets download` against the server: what is missing comes, whole, and goes nowhere else."""

import os
import stat
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests import ROOT, read_files
from tests.submission.kaggle.fake import COMPETITION, KEY, SIGNATURE, STORAGE, TOKEN, FakeKaggle, make_zip
from unets.config import DatasetConfig
from unets.errors import InputError
from unets.store.paths import Project
from unets.submission.kaggle.data import get_data

TRAIN = {f"train/{index}.jpg": os.urandom(3000) for index in range(4)}
SAMPLE = b"img,rle_mask\n" + b"".join(b"%d.jpg,1 1\n" % index for index in range(50))
FILES = {"train.zip": make_zip(TRAIN), "sample.csv.zip": make_zip({"sample.csv": SAMPLE}), "train_hq.zip": b"unwanted"}
MIB = 2**20  # what the client keeps at a time
LARGE = make_zip({"train/0.jpg": os.urandom(4 * MIB)})
DATASET = DatasetConfig(kaggle=COMPETITION, kaggle_files=("sample.csv.zip", "train.zip"))
LARGE_ONLY = DatasetConfig(kaggle=COMPETITION, kaggle_files=("train.zip",))
BUNDLED = DatasetConfig(kaggle=COMPETITION)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project.below(tmp_path, "tiny", input_dir=tmp_path / "input")


def list_files(folder: Path) -> dict[str, bytes]:
    """Returns what lies in a folder, but for the lock and the notes of what is unfinished."""
    found = read_files(folder)
    return {name: found[name] for name in found if Path(name).name not in (".lock", "bundle.json")}


def get_again(fake: FakeKaggle, project: Project, dataset: DatasetConfig, *, unpack: bool = False) -> None:
    """Gets the data once more; nothing is asked for: all is there."""
    fake.requests.clear()
    get_data(project, dataset, unpack=unpack)
    assert not fake.requests


def test_the_named_files_come_as_they_are_and_only_what_is_missing(fake: FakeKaggle, project: Project) -> None:
    """What was unpacked by hand is there, too; with all there, nobody need be signed in."""
    fake.files = dict(FILES)
    get_data(project, DATASET)
    assert list_files(project.input_dir) == {name: FILES[name] for name in ("train.zip", "sample.csv.zip")}
    assert len(fake.list_calls("ListDataFiles")) == 2  # pages of two
    hosts = {request.host: "Authorization" in request.headers for request in fake.requests}
    assert hosts == {"localhost": True, STORAGE: False}  # credentials go to Kaggle, and not to where it redirects
    (project.input_dir / "train.zip").unlink()
    (project.input_dir / "train").mkdir()
    get_again(fake, project, DATASET)
    (project.input_dir / "sample.csv.zip").unlink()
    get_data(project, DATASET)
    assert [request.body["fileName"] for request in fake.list_calls("DownloadDataFile")] == ["sample.csv.zip"]


def test_zips_are_unpacked_where_the_manifest_looks_and_what_was_packed_on_the_way_is_as_it_was(
    fake: FakeKaggle, project: Project
) -> None:
    """`train/...` inside the zip or not, a csv beside it."""
    fake.files = FILES | {"test.zip": make_zip({"9.jpg": b"photo"}), "data/a sample.csv": SAMPLE}
    fake.packs = ("data/a sample.csv",)
    dataset = DATASET.model_copy(update={"kaggle_files": tuple(fake.files.keys() - {"train_hq.zip"})})
    get_data(project, dataset, unpack=True)
    wanted = {**TRAIN, "sample.csv": SAMPLE, "test/9.jpg": b"photo", "data/a sample.csv": SAMPLE}
    assert list_files(project.input_dir) == wanted
    get_again(fake, project, dataset, unpack=True)


def test_the_bundle_is_unpacked_once_and_completed_where_something_is_lost(fake: FakeKaggle, project: Project) -> None:
    inner = make_zip({"a.jpg": b"a"})
    fake.bundle = make_zip({**TRAIN, "sample.csv": SAMPLE, "extra.zip": inner})
    get_data(project, BUNDLED)
    assert list_files(project.input_dir) == {**TRAIN, "sample.csv": SAMPLE, "extra.zip": inner}
    get_again(fake, project, BUNDLED)
    (project.input_dir / "train" / "2.jpg").unlink()
    get_data(project, BUNDLED, unpack=True)
    assert list_files(project.input_dir) == {**TRAIN, "sample.csv": SAMPLE, "extra/a.jpg": b"a"}
    get_again(fake, project, BUNDLED)


def test_a_broken_connection_goes_on_where_it_broke(fake: FakeKaggle, project: Project) -> None:
    fake.files, fake.drops = {"train.zip": LARGE}, [2 * MIB + 5, 3 * MIB // 2]
    get_data(project, LARGE_ONLY)
    assert (project.input_dir / "train.zip").read_bytes() == LARGE
    ranges = [request.headers.get("Range") for request in fake.list_calls("/files/train.zip")]
    assert ranges == [None, f"bytes={2 * MIB}-", f"bytes={3 * MIB}-"]
    assert len(fake.pauses) == 2


@pytest.mark.parametrize("how", ["a bit", "its end", "another file"])
def test_a_damaged_zip_takes_no_place_and_is_had_anew(how: str, fake: FakeKaggle, project: Project) -> None:
    content = bytearray(FILES["train.zip"])
    content[len(content) // 3] ^= 1
    damaged = {"a bit": bytes(content), "its end": FILES["train.zip"][:-30], "another file": b"<html>sorry</html>"}
    fake.files = FILES | {"train.zip": damaged[how]}
    with pytest.raises(InputError, match=r"train\.zip must be a whole zip\. .*It was deleted: `unets download`"):
        get_data(project, DATASET)
    assert list(list_files(project.input_dir)) == ["sample.csv.zip"]
    fake.files = dict(FILES)
    get_data(project, DATASET)
    assert (project.input_dir / "train.zip").read_bytes() == FILES["train.zip"]


def test_no_path_or_link_leaves_the_folder(fake: FakeKaggle, project: Project, tmp_path: Path) -> None:
    """What would lead out lands within; a link is a plain file; a Mac's notes are left out."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        link = zipfile.ZipInfo("train/link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc")
        for name in ("../outside.jpg", "/outside2.jpg", "train/../../outside3.jpg", "__MACOSX/._outside.jpg"):
            archive.writestr(name, b"evil")
    fake.files, fake.bundle = FILES | {"train.zip": buffer.getvalue()}, buffer.getvalue()
    for dataset in (DATASET, BUNDLED):
        get_data(project, dataset, unpack=True)
    found = list(tmp_path.rglob("*outside*"))
    assert found and all(path.is_relative_to(project.input_dir) for path in found)
    assert not [path for path in tmp_path.rglob("*") if path.is_symlink() or "__MACOSX" in path.parts]
    assert not Path("/outside2.jpg").exists()


def test_a_disk_that_is_too_small_is_told_before_anything_comes(
    fake: FakeKaggle, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.files = dict(FILES)
    free = [len(FILES["train.zip"])]
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=free[0]))
    with pytest.raises(InputError, match=r"must have 0\.00 GB free for sample\.csv\.zip, train\.zip\. Received: 0\.00"):
        get_data(project, DATASET)
    assert not fake.list_calls("DownloadDataFile")
    fake.bundle, free[0] = make_zip({"train/0.jpg": bytes(10_000_000)}), 1_000_000  # ten kB, packed
    with pytest.raises(InputError, match=r"must have 0\.01 GB free for the content of tiny-masks\.zip"):
        get_data(project, BUNDLED)
    free[0] = 100_000_000
    fake.requests.clear()
    get_data(project, BUNDLED)
    assert (project.input_dir / "train" / "0.jpg").stat().st_size == 10_000_000
    assert [request.headers.get("Range") for request in fake.list_calls("/files/")] == [None]


def test_a_busy_kaggle_is_asked_again_when_it_says(fake: FakeKaggle, project: Project) -> None:
    fake.files, fake.busy = dict(FILES), {"ListDataFiles": [{"Retry-After": "7"}, {}], "DownloadDataFile": [{}]}
    get_data(project, DATASET)
    assert fake.pauses == [7.0, 4.0, 2.0]  # as it says, but no less than 2, 4, ... s
    assert (project.input_dir / "train.zip").exists()


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({}, 401, r"Kaggle must accept the credentials; new ones: https://www\.kaggle\.com/settings/api\."),
        ({}, 403, r"accept the rules at https://www\.kaggle\.com/competitions/tiny-masks/rules\. Received: no rules"),
        ({}, 404, r"Kaggle must know what is asked for, of https://www\.kaggle\.com/competitions/tiny-masks\."),
        ({"kaggle": None}, 0, r"`kaggle` in .*/configs/tiny/dataset\.py must name the competition"),
        ({"kaggle_files": ("../train.zip",)}, 0, r"must be paths within .* Received: '\.\./train\.zip'"),
        (
            {"kaggle_files": ("trian.zip",)},
            0,
            r"among sample\.csv\.zip, train\.zip, train_hq\.zip.*: trian\.zip",
        ),
    ],
)
def test_what_is_refused_is_told_with_its_remedy_and_names_in_the_config_before_anything_comes(
    fields: dict[str, object], status: int, message: str, fake: FakeKaggle, project: Project
) -> None:
    fake.files, fake.refusals = dict(FILES), {"DownloadDataFile": (status, "no rules")} if status else {}
    with pytest.raises(InputError, match=message):
        get_data(project, DATASET.model_copy(update=fields))
    assert not fake.pauses and not list_files(project.input_dir)
    assert bool(fake.list_calls("DownloadDataFile")) == bool(status)


PROGRAM = """
import sys
from requests.adapters import HTTPAdapter
from tests.submission.kaggle.fake import FakeKaggle
from unets.cli import main
fake = FakeKaggle(**{fields})
HTTPAdapter.send = lambda adapter, request, **options: fake.send(adapter, request)
main(["download", "tiny", "--root", sys.argv[1], "--input", sys.argv[1] + "/input", "--verbose"])
"""


@pytest.mark.slow
def test_no_secret_is_said_or_written(fake: FakeKaggle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own, told to say all it can; with a download that breaks and a request that is refused."""
    config = (
        "from unets.config import DatasetConfig\nDATASET = DatasetConfig(kaggle='tiny-masks', kaggle_files=('a.zip',))"
    )
    (tmp_path / "configs" / "tiny").mkdir(parents=True)
    (tmp_path / "configs" / "tiny" / "dataset.py").write_text(config)
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    monkeypatch.setenv("VERBOSE", "1")

    def run(**fields: object) -> tuple[int, str]:
        words = [sys.executable, "-c", PROGRAM.format(fields=fields), str(tmp_path)]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    secret = f"not with {KEY} or {TOKEN}, https://x.test/a?signature={SIGNATURE}"
    code, refused = run(files={"a.zip": b""}, refusals={"DownloadDataFile": (403, secret)})
    assert code == 1 and "accept the rules" in refused
    code, said = run(files={"a.zip": make_zip({"a.csv": SAMPLE})}, drops=[50])
    assert code == 0 and "complete" in said, said
    for one in (KEY, TOKEN, SIGNATURE):
        assert one not in refused + said
        assert not [name for name, content in list_files(tmp_path).items() if one.encode() in content]
