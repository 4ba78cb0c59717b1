import numpy as np
import pytest

from unets.data.samples import Sample
from unets.evaluation.runs import PhotoScore
from unets.pages.report.ledger import Ledger, build_ledger, choose_photos

NAN = float("nan")


def build(
    scores: list[list[float]], agreement: list[float] | None = None, *, views: str | None = None, groups: str = ""
) -> Ledger:
    """A ledger of photos 0, 1, ..., whose views and groups are letters."""
    samples = tuple(
        Sample(
            id=str(index),
            group=groups[index] if groups else str(index),
            view=views[index] if views else None,
            image="none",
        )
        for index in range(len(scores))
    )
    values = np.array(agreement if agreement is not None else [NAN] * len(scores))
    subjects = tuple(f"s{number}" for number in range(len(scores[0])))
    return Ledger(
        samples=samples, folds=(0,) * len(scores), subjects=subjects, scores=np.array(scores), agreement=values
    )


def test_photos_are_gathered_in_the_catalogs_order_whoever_was_judged_on_them() -> None:
    samples = [Sample(id=id_, group="g", view=None, image=id_) for id_ in "abcd"]
    row = {
        id_: PhotoScore(id=id_, group="g", fold=fold, score=score)
        for id_, fold, score in (("b", 0, 0.5), ("d", 1, 0.7))
    }
    ledger = build_ledger(samples, {"x": {"d": row["d"]}, "y": row})
    assert [sample.id for sample in ledger.samples] == ["b", "d"]
    assert (ledger.subjects, ledger.folds) == (("x", "y"), (0, 1))
    assert np.array_equal(ledger.scores, [[NAN, 0.5], [0.7, 0.7]], equal_nan=True)
    assert np.isnan(ledger.agreement).all()
    assert build_ledger(samples, {}).scores.shape == (0, 0)


@pytest.mark.parametrize(
    ("top", "expected"),
    [(1, [3]), (2, [1, 3]), (9, [0, 1, 2, 3])],
)
def test_the_worst_are_chosen(top: int, expected: list[int]) -> None:
    assert choose_photos(build([[0.9], [0.6], [0.8], [0.5]]), top) == expected


def test_each_subject_has_its_worst_and_a_photo_without_a_score_is_nobodys() -> None:
    assert choose_photos(build([[0.9, 0.1], [0.6, NAN], [NAN, 0.8]]), 1) == [0, 1]


def test_the_most_disputed_are_chosen_too() -> None:
    assert choose_photos(build([[0.5], [0.6], [0.7]], [0.9, NAN, 0.8]), 1) == [0, 2]


def test_each_view_has_its_worst_a_quarter_as_many() -> None:
    scores = [[0.1], [0.2], [0.3], [0.4], [0.95], [0.9], [0.8], [0.85]]
    assert choose_photos(build(scores, views="aaaabbbb", groups="gggggggg"), 1) == [0, 6]
    # Four over all, and one of each view.
    assert choose_photos(build(scores, views="aaaabbbb", groups="gggggggg"), 4) == [0, 1, 2, 3, 6]


def test_the_worst_groups_have_their_worst_photo() -> None:
    # Means: x 0.5 with the photo of 0.1, y 0.45 without one so bad. Of one group wanted it is y, by its photo 2.
    scores = [[0.1], [0.9], [0.4], [0.5]]
    assert choose_photos(build(scores, groups="xxyy"), 1) == [0, 2]
