import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.pages.conftest import GIVEN
from tests.trained_competition import rewrite_maps
from unets.config import DatasetConfig, EnsembleConfig, load_dataset
from unets.ensemble.fit import fit_ensemble
from unets.errors import InputError
from unets.pages.screen import screen_test
from unets.store.paths import Project

MakeScene = Callable[..., tuple[Project, DatasetConfig]]
Spoil = Callable[[np.ndarray], object]


def lose_half(probs_u8_hwc: np.ndarray) -> None:
    probs_u8_hwc[:, : probs_u8_hwc.shape[1] // 2] = 0


@pytest.fixture
def screen(make_scene: MakeScene) -> Callable[..., Any]:
    """`screen(spoil, experiments=..., ...)` screens a scene in which `spoil` changed a map of the first experiment."""

    def run(spoil: Spoil | None = None, *, experiments: str = "ab", **options: Any) -> Any:
        options = {"num_groups": 3, "num_test_groups": 4, "num_views": 4} | options
        project, dataset = make_scene(experiments=experiments, **options)
        if spoil is not None:

            def change(id_: str, probs: np.ndarray) -> np.ndarray:
                if id_ == "test002_03":
                    spoil(probs)
                return probs

            rewrite_maps(project.maps_dir(experiments[0], "test"), change)
        fit_ensemble(project, dataset, EnsembleConfig(experiments=tuple(experiments), **GIVEN))
        return project, screen_test(project, dataset, top=5)

    return run


def read_data(page_path: Path) -> dict[str, Any]:
    match = re.search(r'id="data">(.*?)</script>', page_path.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert match is not None
    return json.loads(match[1])


@pytest.mark.parametrize(
    ("spoil", "experiments", "reason"),
    [
        (lose_half, "ab", "agreement"),
        (lose_half, "a", "group"),
        (lambda probs: probs.fill(0), "a", "area"),
        (lambda probs: np.putmask(probs, probs > 100, 150), "a", "band"),
        (lambda probs: probs[::4].fill(0), "a", "parts"),
    ],
)
def test_the_odd_image_comes_first(screen: Callable[..., Any], spoil: Spoil, experiments: str, reason: str) -> None:
    project, screening = screen(spoil, experiments=experiments)
    with screening.csv_path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["id"] == "test002_03" and reason in rows[0]["reasons"].split()
    assert len(rows) == 16 and len({row["id"] for row in rows}) == 16
    oddness = [float(row["oddness"]) for row in rows]
    assert oddness == sorted(oddness, reverse=True) and oddness[0] > oddness[1]
    data = read_data(screening.page_path)
    assert data["images"]["id"] == [row["id"] for row in rows[: max(screening.odd.num_odd, 5)]]
    assert len(data["pictures"]) == len(data["images"]["id"])
    members = [] if len(experiments) == 1 else list(experiments)
    assert data["predictions"] == ["ensemble", *members, "uncertain pixels"]
    assert screening.csv_path == project.models_dir / "screen" / "images.csv"


def test_one_member_no_groups_and_several_classes(screen: Callable[..., Any]) -> None:
    options = {"source": {"group": "(?P<group>.+)"}, "classes": ("cat", "dog"), "size_hw": (40, 80)}
    _, screening = screen(lose_half, experiments="a", mask_format="png", **options)
    text = screening.page_path.read_text(encoding="utf-8")
    assert "The ensemble has one member" in text and "no area is compared with its group" in text
    assert set(screening.odd.values) == {"band", "parts", "holes", "loose", "contour", "area"}
    assert screening.samples[screening.odd.order[0]].id == "test002_03"
    assert [name for name, _ in read_data(screening.page_path)["classes"]] == ["cat", "dog"]


def test_maps_of_images_that_were_replaced_are_refused(screen: Callable[..., Any]) -> None:
    project, _ = screen()
    rewrite_maps(project.maps_dir("b", "test"), images=["of another image"] * 16)
    with pytest.raises(InputError, match=r"must hold maps of the present images\. .*Run `unets predict --exp b`"):
        screen_test(project, load_dataset(project.configs_dir), top=5)


def test_nothing_to_show_is_refused(make_scene: MakeScene) -> None:
    project, dataset = make_scene()
    with pytest.raises(InputError, match=r"must exist\. Received: no such file\. Run `unets ensemble`"):
        screen_test(project, dataset)
    fit_ensemble(project, dataset, EnsembleConfig(experiments=("a",), **GIVEN))
    for folder in (project.input_dir / "test", project.maps_dir("a", "test")):
        shutil.rmtree(folder)
    with pytest.raises(InputError, match=r"must have test images for a screening\. Received: none"):
        screen_test(project, dataset)
