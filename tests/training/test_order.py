"""Experiments are trained after what they start from."""

from itertools import permutations

import pytest

from unets.config import ExperimentConfig, TrainingConfig
from unets.errors import InputError
from unets.training.order import order_experiments

SOURCES = {"a": None, "b": "a", "c": "b", "d": "a", "e": "elsewhere"}


def build(sources: dict[str, str | None]) -> dict[str, ExperimentConfig]:
    return {
        name: ExperimentConfig(training=TrainingConfig(start_from=source, epochs=5)) for name, source in sources.items()
    }


def test_generations_by_hand() -> None:
    assert order_experiments(build({"high": "low", "low": None})) == [["low"], ["high"]]
    assert order_experiments(build({"high": "low"})) == [["high"]]  # low is not asked for: it must be there
    assert order_experiments(build(SOURCES)) == [["a", "e"], ["b", "d"], ["c"]]
    assert order_experiments({}) == []


def test_no_order_of_asking_puts_one_before_its_source() -> None:
    for names in permutations(SOURCES):
        generations = order_experiments(build({name: SOURCES[name] for name in names}))
        number_of = {name: number for number, generation in enumerate(generations) for name in generation}
        assert number_of == {"a": 0, "e": 0, "b": 1, "d": 1, "c": 2}
        for generation in generations:
            assert generation == sorted(generation, key=names.index)


@pytest.mark.parametrize("sources", [{"a": "a"}, {"a": "b", "b": "a"}, {"x": None, "a": "c", "b": "a", "c": "b"}])
def test_circles_are_refused(sources: dict[str, str | None]) -> None:
    with pytest.raises(InputError, match=r"`start_from` must not lead back") as caught:
        order_experiments(build(sources))
    assert "x" not in str(caught.value).partition("Received: ")[2]
