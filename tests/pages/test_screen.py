import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trained_competition import NETS, make_scene
from unets.config import DatasetConfig, EnsembleConfig, Postprocessing, load_dataset
from unets.ensemble.fit import fit_ensemble
from unets.errors import InputError
from unets.pages.screen import screen_test
from unets.prediction.maps import encode_map, list_shards, open_maps, write_shard
from unets.store.paths import Project

__all__ = ["make_scene"]
MakeScene = Callable[..., tuple[Project, DatasetConfig]]
GIVEN: dict[str, Any] = {
    "weights": "equal",
    "threshold": 0.5,
    "postprocessing": Postprocessing(),
}


@pytest.fixture
def screen(make_scene: MakeScene) -> Callable[..., Any]:
    """Screens a scene in which one image's maps were spoilt."""

    def run(spoil: Callable[[np.ndarray], None] | None = None, *, experiments: str = "ab", **options: Any) -> Any:
        options = {"num_groups": 3, "num_test_groups": 4, "num_views": 4} | options
        project, dataset = make_scene(experiments=experiments, **options)
        if spoil is not None:
            spoil_image(project, experiments[0], "test002_03", spoil)
        fit_ensemble(project, dataset, EnsembleConfig(experiments=tuple(experiments), **GIVEN), jobs=1)
        return project, screen_test(project, dataset, top=5, jobs=1)

    return run


def spoil_image(project: Project, experiment: str, id_: str, spoil: Callable[[np.ndarray], None]) -> None:
    """Changes one test map of one member."""
    folder = project.maps_dir(experiment, "test")
    reader = open_maps(folder)
    index = reader.shard_of[id_]
    maps = {other: reader.read_map(other) for other in reader.ids if reader.shard_of[other] == index}
    spoil(maps[id_])
    encoded = ((other, encode_map(probs)) for other, probs in maps.items())
    write_shard(folder, int(Path(index).stem), nets=NETS, classes=reader.classes, maps=encoded)
    assert len(list_shards(folder)) > 1


def lose(share: int) -> Callable[[np.ndarray], None]:
    """Drops what is in the left half, or in all."""

    def spoil(probs_u8_hwc: np.ndarray) -> None:
        probs_u8_hwc[:, : probs_u8_hwc.shape[1] // share] = 0

    return spoil


def blur(probs_u8_hwc: np.ndarray) -> None:
    probs_u8_hwc[probs_u8_hwc > 100] = 150


def split(probs_u8_hwc: np.ndarray) -> None:
    probs_u8_hwc[::4] = 0


def read_data(page_path: Path) -> dict[str, Any]:
    match = re.search(r'id="data">(.*?)</script>', page_path.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert match is not None
    return json.loads(match[1])


@pytest.mark.parametrize(
    ("spoil", "experiments", "reason"),
    [
        (lose(2), "ab", "agreement"),
        (lose(2), "a", "group"),
        (lose(1), "a", "area"),
        (blur, "a", "band"),
        (split, "a", "parts"),
    ],
)
def test_the_odd_image_comes_first(
    screen: Callable[..., Any], spoil: Callable[[np.ndarray], None], experiments: str, reason: str
) -> None:
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


def test_one_member_and_no_groups_say_so(screen: Callable[..., Any]) -> None:
    _, screening = screen(experiments="a", source={"group": "(?P<group>.+)"})
    text = screening.page_path.read_text(encoding="utf-8")
    assert "test images can hardly tell" not in text  # there are 16
    assert "The ensemble has one member" in text and "no area is compared with its group" in text
    assert set(screening.odd.values) == {"band", "parts", "holes", "loose", "contour", "area"}


def test_several_classes(screen: Callable[..., Any]) -> None:
    _, screening = screen(lose(2), classes=("cat", "dog"), size_hw=(40, 80))
    assert screening.samples[screening.odd.order[0]].id == "test002_03"
    assert [name for name, _ in read_data(screening.page_path)["classes"]] == ["cat", "dog"]


def test_maps_of_images_that_were_replaced_are_refused(screen: Callable[..., Any]) -> None:
    project, _ = screen()
    folder = project.maps_dir("b", "test")
    reader = open_maps(folder)
    for index, path in enumerate(list_shards(folder)):
        maps = [(id_, reader.read_map(id_)) for id_ in reader.ids if reader.shard_of[id_] == path.name]
        encoded, images = ((id_, encode_map(probs)) for id_, probs in maps), ["of another image"] * len(maps)
        write_shard(folder, index, nets=NETS, classes=reader.classes, maps=encoded, images=images)
    with pytest.raises(InputError, match=r"must hold maps of the present images\. .*Run `unets predict --exp b`"):
        screen_test(project, load_dataset(project.configs_dir), top=5, jobs=1)


def test_nothing_to_show_is_refused(make_scene: MakeScene) -> None:
    project, dataset = make_scene()
    with pytest.raises(InputError, match=r"must exist\. Received: no such file\. Run `unets ensemble`"):
        screen_test(project, dataset)
    fit_ensemble(project, dataset, EnsembleConfig(experiments=("a",), **GIVEN), jobs=1)
    for folder in (project.input_dir / "test", project.maps_dir("a", "test")):
        shutil.rmtree(folder)
    with pytest.raises(InputError, match=r"must have test images for a screening\. Received: none"):
        screen_test(project, dataset)
