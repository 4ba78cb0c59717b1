import time
from collections.abc import Iterator

import pytest

from unets.parallel import run_tasks


def square(number: int) -> int:
    if number < 0:
        raise ValueError("negative")
    time.sleep(0.01 * (number % 3))  # so that later tasks may end first
    return number * number


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_in_the_order_of_the_tasks(jobs: int) -> None:
    assert list(run_tasks(square, range(40), what="square", jobs=jobs)) == [number * number for number in range(40)]
    assert list(run_tasks(square, [], what="square", jobs=jobs)) == []


def test_tasks_are_drawn_no_further_than_a_block_ahead() -> None:
    drawn = []

    def draw() -> Iterator[int]:
        for number in range(1000):
            drawn.append(number)
            yield number

    results = run_tasks(square, draw(), what="square", jobs=2, total=1000)
    assert next(results) == 0
    assert len(drawn) == 32  # 16 a worker
    assert [next(results) for _ in range(40)][-1] == 40 * 40
    assert len(drawn) == 64


@pytest.mark.parametrize("jobs", [1, 2])
def test_the_first_error_ends_it(jobs: int) -> None:
    with pytest.raises(ValueError, match="negative"):
        list(run_tasks(square, [1, -1, 2], what="square", jobs=jobs))
