"""Objects that touch: what the source tells apart counts one by one where the metric is of objects."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.dataset.importers.drawing import Drawing, encode
from unets.data.samples import read_mask, read_objects
from unets.dataset.checks import check_data
from unets.dataset.manifest import read_manifest
from unets.dataset.scaffold import write_scaffold
from unets.ensemble.mask_scores import score_map
from unets.store.paths import Project

SIZE = (32, 48)
BOXES = ((slice(8, 20), slice(8, 20)), (slice(8, 20), slice(20, 32)))  # side by side
FORM = "id,rle\n900,\n900,1 1\n"  # a row an object


def draw_two() -> list[np.ndarray]:
    masks = [np.zeros(SIZE, np.uint8) for _ in BOXES]
    for mask, box in zip(masks, BOXES, strict=True):
        mask[box] = 1
    return masks


def write_rows(folder: Path, ids: list[str]) -> None:
    rows = [f"{id_},{encode(mask)}" for id_ in ids for mask in draw_two()]
    (folder / "train.csv").write_text("\n".join(["id,rle", *rows, ""]))


def write_coco(folder: Path, ids: list[str]) -> None:
    images = [{"id": n, "file_name": f"{id_}.png", "height": SIZE[0], "width": SIZE[1]} for n, id_ in enumerate(ids)]
    outlines = [(8, 8, 20, 8, 20, 20, 8, 20), (20, 8, 32, 8, 32, 20, 20, 20)]
    objects = [
        {"id": 2 * n + k, "image_id": n, "category_id": 1, "segmentation": [[x - 0.3 for x in points]], "iscrowd": 0}
        for n in range(len(ids))
        for k, points in enumerate(outlines)
    ]
    content = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "cell"}]}
    (folder / "coco.json").write_text(json.dumps(content))


def write_files(folder: Path, ids: list[str]) -> None:
    for id_ in ids:
        for number, mask in enumerate(draw_two()):
            path = folder / "masks" / id_ / f"{number}_{id_}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask * np.uint8(255)).save(path)


def write_numbers(folder: Path, ids: list[str]) -> None:
    (folder / "masks").mkdir()
    for place, id_ in enumerate(ids):
        one, two = draw_two()
        numbers = one * np.uint16(1) + two * np.uint16(2)
        for more in range(place % 3):  # where counts differ, values are numbers of objects
            numbers[24:30, 4 + 10 * more : 10 + 10 * more] = 3 + more
        Image.fromarray(numbers).save(folder / "masks" / f"{id_}.png")


@pytest.mark.parametrize("write", [write_rows, write_coco, write_files, write_numbers])
def test_objects_that_touch_are_two_where_the_source_tells_them_apart(
    tmp_path: Path, write: Callable[[Path, list[str]], None]
) -> None:
    drawing, ids = Drawing(tmp_path / "input"), [f"a{number}" for number in range(10)]
    mask = sum(draw_two())
    rng = np.random.default_rng(0)
    for id_ in [*ids, "900"]:
        drawing.save(
            f"{'test' if id_ == '900' else 'train'}/{id_}.png",
            np.uint8(200) * mask + rng.integers(0, 9, SIZE, np.uint8),
        )
    write(tmp_path / "input", ids)
    (tmp_path / "input" / "sample_submission.csv").write_text(FORM)
    project = Project.below(tmp_path, "mine", input_dir=tmp_path / "input")
    scaffold = write_scaffold(project)
    assert scaffold.dataset.metric == "ap"
    assert not any("do not tell objects apart" in question.text for question in scaffold.questions)
    sample = read_manifest(project, scaffold.dataset).train[0]
    np.testing.assert_array_equal(read_mask(sample), mask)
    objects = read_objects(sample)
    assert objects is not None
    values = [np.unique(objects[box]).tolist() for box in BOXES]
    assert [len(one) for one in values] == [1, 1] and values[0] != values[1] and np.count_nonzero(objects) == mask.sum()
    # One prediction joins both: its IoU with each is a half, so that at 0.50 one of two is found, 1 / (1 + 1 + 0).
    found = score_map(read_mask(sample), 255 * mask[..., None], scaffold.dataset, objects)
    assert found == pytest.approx(0.5 / 10)

    def list_notes(row: str) -> str:
        submission = scaffold.dataset.submission.model_copy(update={"row": row})
        dataset = scaffold.dataset.model_copy(update={"submission": submission})
        return "; ".join(check_data(project, dataset).notes)

    assert ("`submission.row` must be 'object'" in list_notes("image")) == (write is write_rows)
    assert "submission.row" not in list_notes("object")
    # of another metric they are not drawn
    other = scaffold.dataset.model_copy(update={"metric": "dice"})
    assert read_objects(read_manifest(project, other).train[0]) is None
