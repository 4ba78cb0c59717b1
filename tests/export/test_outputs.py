"""Which images are meant, and what the files made of each are called."""

from pathlib import Path

import pytest

from unets.errors import InputError
from unets.export.outputs import Task, plan_tasks


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("a/x.jpg", "a/sub/y.PNG", "a/notes.txt", "a/.hidden.jpg", "a/__MACOSX/z.jpg", "b/x.jpg", "c/x.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"1")
    (tmp_path / "c" / "x.png").write_bytes(b"2")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def plan(*given: str, out: str = "out", pictures: tuple[str, ...] = ()) -> list[Task]:
    return plan_tasks([Path(name) for name in given], Path(out), pictures, [".png"])


@pytest.mark.parametrize(
    ("given", "masks"),
    [
        ("a", {"a/sub/y.PNG": "out/sub/y.png", "a/x.jpg": "out/x.png"}),
        ("a b", {"a/sub/y.PNG": "out/a/sub/y.png", "a/x.jpg": "out/a/x.png", "b/x.jpg": "out/b/x.png"}),
        ("b/x.jpg", {"b/x.jpg": "out/x.png"}),
        ("b/x.jpg a/../b/x.jpg", {"b/x.jpg": "out/x.png"}),  # named twice
        ("c", {"c/x.jpg": "out/x.jpg.png", "c/x.png": "out/x.png.png"}),  # of one name
    ],
)
def test_images_keep_their_places_and_names(root: Path, given: str, masks: dict[str, str]) -> None:
    assert {str(task.image_path): str(task.outputs[-1]) for task in plan(*given.split())} == masks


def test_two_images_of_one_place_are_refused(root: Path) -> None:
    with pytest.raises(InputError, match=r"Received: a/x.jpg and b/x.jpg, both out/x.png"):
        plan("a/x.jpg", "b/x.jpg")
    (root / "b" / "x_cutout.jpg").write_bytes(b"1")
    with pytest.raises(InputError, match=r"both out/x_cutout.png"):
        plan("b", pictures=("_cutout.png",))


def test_outputs_are_not_taken_for_images(root: Path) -> None:
    (root / "a" / "out").mkdir()
    (root / "a" / "out" / "x.png").write_bytes(b"1")
    assert [str(task.image_path) for task in plan("a", out="a/out")] == ["a/sub/y.PNG", "a/x.jpg"]


def test_an_image_is_never_written_over(root: Path) -> None:
    (root / "b" / "x.jpg").rename(root / "b" / "x.png")
    for given in ("b", "b/x.png"):
        with pytest.raises(InputError, match="`--out` must be another folder"):
            plan(given, out="b")


@pytest.mark.parametrize(
    ("given", "received"), [("none.jpg", "none.jpg, which does not exist"), ("empty", "empty, a folder with none")]
)
def test_what_is_not_there_is_named(root: Path, given: str, received: str) -> None:
    (root / "empty").mkdir()
    with pytest.raises(InputError, match=f"`images` must be images, or folders with some. Received: {received}"):
        plan(given)
