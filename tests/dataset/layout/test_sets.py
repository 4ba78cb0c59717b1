"""Sets of pictures from names alone."""

from pathlib import Path

import pytest

from unets.dataset.layout.inventory import File
from unets.dataset.layout.roles import join_patterns, pair_sets
from unets.dataset.layout.sets import make_sets


def list_patterns(*names: str) -> dict[str, int]:
    """Returns how many ids each set has, by its pattern."""
    files = [File(name=name, path=Path(name)) for name in sorted(names)]
    return {found.pattern: len(found.files) for found in make_sets(files)}


def number(pattern: str, count: int = 9) -> list[str]:
    return [pattern.format(i) for i in range(count)]


@pytest.mark.parametrize(
    ("names", "patterns"),
    [
        ([*number("a/{}.png"), *number("b/{}.png")], {"a/{id}.png": 9, "b/{id}.png": 9}),
        ([*number("a/{}.png"), *number("a/{}_m.png")], {"a/{id}.png": 9, "a/{id}_m.png": 9}),
        ([*number("a/x_{}.png"), *number("a/y_{}.png")], {"a/x_{id}.png": 9, "a/y_{id}.png": 9}),
        ([*number("a/{}.png"), *number("a/{}.jpg")], {"a/{id}.png": 9, "a/{id}.jpg": 9}),
        ([*number("a/{}.png", 4), "a/7.jpg"], {"a/{id}.{jpg,png}": 5}),
        (["a/1.png", "a/10.png", "a/100.png"], {"a/{id}.png": 3}),
        ([*number("{0}/p.png"), *number("{0}/q.png")], {"{id}/p.png": 9, "{id}/q.png": 9}),
        (
            [*number("t/k{0}/images/k{0}.png"), *number("t/k{0}/masks/{0}7.png"), *number("t/k{0}/masks/{0}8.png")],
            {"t/{id}/images/*.png": 9, "t/{id}/masks/*.png": 9},
        ),
        (
            [*number("train/images/{}.png"), *number("val/images/{}.png"), *number("test/images/{}.png")],
            {"train/images/{id}.png": 9, "val/images/{id}.png": 9, "test/images/{id}.png": 9},
        ),
    ],
)
def test_sets_by_hand(names: list[str], patterns: dict[str, int]) -> None:
    assert list_patterns(*names) == patterns


def test_pairs_keep_to_their_split_and_ids_keep_what_they_share() -> None:
    names = [*number("train/i/im_{:03d}.png"), *number("train/l/gt_{:03d}.png"), *number("test/i/im_{:03d}.png")]
    sets = make_sets([File(name=name, path=Path(name)) for name in sorted(names)])
    photos = [s for s in sets if "/i/" in s.pattern]
    masks = [s for s in sets if "/l/" in s.pattern]
    (pair,) = pair_sets(photos, masks)
    assert (pair.photos.pattern, pair.masks.pattern) == ("train/i/im_{id}.png", "train/l/gt_{id}.png")
    assert pair.ids[:2] == ["000", "001"]


@pytest.mark.parametrize(
    ("first", "second", "joined"),
    [
        ("train/{id}.png", "val/{id}.png", "{train,val}/{id}.png"),
        ("a/train/x/{id}.png", "a/val/x/{id}.png", "a/{train,val}/x/{id}.png"),
        ("train/{id}.png", "val/{id}.jpg", None),
        ("train/{id}.png", "a/val/{id}.png", None),
        ("train/a_{id}.png", "train/b_{id}.png", None),
    ],
)
def test_two_patterns_in_one(first: str, second: str, joined: str | None) -> None:
    assert join_patterns(first, second) == joined
