import csv
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trained_competition import NETS
from unets.config import DatasetConfig, EnsembleConfig, Postprocessing
from unets.ensemble.ensemble import fit_ensemble
from unets.errors import InputError
from unets.pages.screen.page import Picture, render_page
from unets.pages.screen.screening import screen_test
from unets.prediction.maps import encode_map, list_shards, open_maps, write_shard
from unets.store.paths import Project

MakeScene = Callable[..., tuple[Project, DatasetConfig]]
IGNORE = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """Holds a page to what any browser understands alike, and gathers what it refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.references, self.ids = list[str](), list[str](), list[str]()
        self.counts = dict[str, int]()
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), f"{tag} has an attribute twice"
        self.references += [value for name, value in attrs if name in ("src", "href", "action", "data", "srcset")]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in IGNORE:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def screen(make_scene: MakeScene) -> Callable[..., Any]:
    """Screens a scene in which one photo's maps were spoilt."""

    def run(spoil: Callable[[np.ndarray], None] | None = None, *, experiments: str = "ab", **options: Any) -> Any:
        options = {"num_groups": 3, "num_test_groups": 4, "num_views": 4} | options
        project, dataset = make_scene(experiments=experiments, **options)
        if spoil is not None:
            spoil_photo(project, experiments[0], "test002_03", spoil)
        given = {"averaging": "probability", "weights": "equal", "threshold": 0.5, "postprocessing": Postprocessing()}
        fit_ensemble(project, dataset, EnsembleConfig(experiments=tuple(experiments), **given), jobs=1)
        return project, screen_test(project, dataset, top=5, jobs=1)

    return run


def spoil_photo(project: Project, experiment: str, id_: str, spoil: Callable[[np.ndarray], None]) -> None:
    """Changes one test map of one member."""
    folder = project.maps_dir(experiment, "test")
    reader = open_maps(folder)
    index = reader.shard_of[id_]
    maps = {other: reader.read_map(other) for other in reader.ids if reader.shard_of[other] == index}
    reader.close()
    spoil(maps[id_])
    encoded = ((other, encode_map(probs)) for other, probs in maps.items())
    write_shard(folder, int(Path(index).stem), nets=NETS, classes=reader.classes, maps=encoded)
    assert len(list_shards(folder)) > 1


def lose_half(probs_u8_hwc: np.ndarray) -> None:
    probs_u8_hwc[:, : probs_u8_hwc.shape[1] // 2] = 0


def lose_all(probs_u8_hwc: np.ndarray) -> None:
    probs_u8_hwc[:] = 0


def doubt(probs_u8_hwc: np.ndarray) -> None:
    probs_u8_hwc[probs_u8_hwc > 100] = 150


def split(probs_u8_hwc: np.ndarray) -> None:
    probs_u8_hwc[::4] = 0


@pytest.mark.parametrize(
    ("spoil", "experiments", "reason"),
    [
        (lose_half, "ab", "agreement"),
        (lose_half, "a", "views"),
        (lose_all, "a", "area"),
        (doubt, "a", "band"),
        (split, "a", "parts"),
    ],
)
def test_the_odd_photo_comes_first(
    screen: Callable[..., Any], spoil: Callable[[np.ndarray], None], experiments: str, reason: str
) -> None:
    project, screening = screen(spoil, experiments=experiments)
    with screening.csv_path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["id"] == "test002_03" and reason in rows[0]["reasons"].split()
    assert len(rows) == 16 and len({row["id"] for row in rows}) == 16
    oddness = [float(row["oddness"]) for row in rows]
    assert oddness == sorted(oddness, reverse=True) and oddness[0] > oddness[1]
    page = screening.page_path.read_text(encoding="utf-8")
    assert page.index('data-id="test002_03"') < page.index('data-id="', page.index('data-id="test002_03"') + 9)
    assert screening.csv_path.parent == project.models_dir / "screen"


def test_the_page_is_whole_and_refers_to_nothing_outside(screen: Callable[..., Any]) -> None:
    _, screening = screen(lose_half)
    text = screening.page_path.read_text(encoding="utf-8")
    page = Page(text)
    assert text.startswith("<!doctype html>") and page.counts["title"] == page.counts["main"] == 1
    assert len(page.references) == page.counts["img"] == 5
    assert all(reference.startswith("data:image/jpeg;base64,/9j/") for reference in page.references)
    assert not re.search(r"https?:|//\w|url\(|@import|<link", re.sub(r'base64,[^"]+', "", text))
    assert len(set(page.ids)) == len(page.ids)
    assert "$" not in re.sub(r'base64,[^"]+', "", text), "a place of the template is left"
    assert "has one member" not in page.text
    # What the keyboard reaches: cards, buttons, the summary of the details.
    assert text.count("tabindex=0") == 5 and page.counts["button"] >= 2 and page.counts["summary"] == 1


def test_one_member_and_no_groups_say_so(screen: Callable[..., Any]) -> None:
    _, screening = screen(experiments="a", id_pattern="(?P<group>.+)")
    page = Page(screening.page_path.read_text(encoding="utf-8"))
    assert "has one member" in page.text and "no area is compared with its group" in page.text
    assert set(screening.odd.values) == {"band", "parts", "holes", "loose", "contour", "area"}


def test_several_classes(screen: Callable[..., Any]) -> None:
    _, screening = screen(lose_half, classes=("cat", "dog"), size_hw=(40, 80))
    assert screening.samples[screening.odd.order[0]].id == "test002_03"


def test_names_are_not_read_as_html(screen: Callable[..., Any]) -> None:
    _, screening = screen()
    samples = [replace(sample, id=f'<b>&"{sample.id}', group="<i>") for sample in screening.samples]
    origin = dict.fromkeys(("competition", "members", "threshold", "date", "commit"), "<script>")
    text = render_page(origin, samples, screening.odd, [Picture(index=0, jpeg=b"")], [0.1])
    assert '<b>&"' not in text and text.count("<script>") == 1
    assert "&lt;b&gt;&amp;&quot;test000_01" in text
    Page(text)


def test_nothing_to_show_is_refused(screen: Callable[..., Any], make_scene: MakeScene) -> None:
    project, dataset = make_scene()
    with pytest.raises(InputError, match=r"`TOP` must be at least 1\. Received: 0"):
        screen_test(project, dataset, top=0)
    with pytest.raises(InputError, match=r"must exist\. Received: no such file\. Run `make ensemble`"):
        screen_test(project, dataset)
    with pytest.raises(
        InputError, match=r"`test_photos` must be declared for a screening\. Received: test_photos=None"
    ):
        screen_test(project, dataset.model_copy(update={"test_photos": None}))
