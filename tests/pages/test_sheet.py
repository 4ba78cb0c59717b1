from collections.abc import Callable
from pathlib import Path

import pytest

from tests import run_unets
from unets.config import load_dataset
from unets.dataset.manifest import read_manifest
from unets.errors import InputError
from unets.pages.sheet import draw_ground_truth, draw_submission, name_colors
from unets.store.paths import Project


def test_a_submission_of_some_test_images_is_drawn(make_competition: Callable[..., Project], tmp_path: Path) -> None:
    project, path = make_competition(num_groups=2, num_test_groups=1), tmp_path / "some.csv"
    dataset = load_dataset(project.configs_dir)
    path.write_text(f"img,rle_mask\n{read_manifest(project, dataset).test[1].id}.jpg,1 5\n")
    assert draw_submission(tmp_path / "sheet.jpg", path, project, dataset, 12) == 1
    path.write_text("img,rle_mask\nunknown.jpg,1 5\n")
    with pytest.raises(InputError, match=r"some\.csv must have masks of test images\. Received: none"):
        draw_submission(tmp_path / "sheet.jpg", path, project, dataset, 12)
    with pytest.raises(InputError, match=r"sheet must end with one of \.jpg, .*Received: no ending"):
        draw_ground_truth(tmp_path / "sheet", read_manifest(project, dataset), 1)


@pytest.mark.parametrize(("command", "option"), [("data", "--sheet"), ("show", "--out")])
def test_a_picture_of_no_known_format_is_refused_before_any_work(
    command: str, option: str, make_competition: Callable[..., Project], capsys: pytest.CaptureFixture[str]
) -> None:
    project = make_competition(num_groups=2, num_test_groups=1)
    folders = ["--root", str(project.input_dir.parent), "--input", str(project.input_dir)]
    assert run_unets(command, "tiny", *folders, option, "sheet.tif") == 1
    assert "sheet.tif must end with one of .jpg, .jpeg, .png, .webp. Received: .tif" in capsys.readouterr().err
    assert not project.samples_path.exists()


def test_the_colors_of_classes_are_named() -> None:
    assert name_colors(("a", "b", "c", "d", "e")) == ": a orange, b blue, c green, d yellow, e orange"
    assert name_colors(("a",)) == ""
