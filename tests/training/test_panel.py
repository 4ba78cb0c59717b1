"""The worst photos are found, kept, and drawn for people to look at."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from unets.config import DatasetConfig, ExperimentConfig, TrainingConfig
from unets.data.batches import Batches
from unets.data.samples import Sample
from unets.dataset.manifest import Manifest
from unets.errors import InputError
from unets.training.panel import NUM_TILES, WorstPanel
from unets.training.state import Fold

SIZE_HW = (32, 64)
TRUE_WIDTH_PX = 32  # the truth is the left half


class Scene:
    """Photos whose first pixel holds their number, so that the net, which sees no more, knows them apart.

    For photo i the net predicts columns up to `widths[i]`: Dice is 2 min(w, 32) / (w + 32).
    """

    def __init__(self, run_dir: Path, widths: list[int], classes: tuple[str, ...] = ("car",)) -> None:
        self.widths, self.classes, self.folder = widths, classes, run_dir / "panel"
        self.asked: list[int] = []
        self.batch_size = 1
        self.size_hw: tuple[int, int] | None = SIZE_HW  # of all photos; None: each has its own

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        photo = np.full((*SIZE_HW, 3), 100, dtype=np.uint8)
        photo[0, 0, 0] = index
        coverage = np.zeros((*SIZE_HW, len(self.classes)), dtype=np.uint8)
        coverage[:, :TRUE_WIDTH_PX] = 128  # just above one half
        return photo, coverage

    def predict(self, images_nhwc: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        assert images_nhwc.shape == (self.batch_size, *SIZE_HW, 3) and images_nhwc.dtype == np.uint8
        probs = np.full((self.batch_size, *SIZE_HW, len(self.classes)), 0.499, dtype=np.float32)
        for photo, index in enumerate(images_nhwc[:, 0, 0, 0].tolist()):
            self.asked.append(index)
            for k in range(len(self.classes)):
                probs[photo, :, : self.widths[index] >> k, k] = 0.5  # class k is half as wide as the one before
        return probs

    def build(self, indices: list[int] | None = None, *, batch_size: int = 1, overlapping: bool = False) -> WorstPanel:
        self.batch_size = batch_size
        ids = [f"photo{index:02d}" for index in range(len(self.widths))]
        train = tuple(Sample(id=id_, group=id_, view=None, image=f"{self.folder.parent / id_}.png") for id_ in ids)
        fields = {"classes": self.classes, "overlapping": overlapping, "size_hw": self.size_hw}
        dataset = DatasetConfig().model_copy(update=fields)
        fold = Fold(
            run_dir=self.folder.parent,
            manifest=Manifest(dataset=dataset, train=train, test=()),
            experiment=ExperimentConfig(training=TrainingConfig(epochs=8)),
            number=0,
            fold_of={},
            folds_hash="",
        )
        batches = Batches(self, list(range(len(ids))) if indices is None else indices, micro_batch=batch_size)
        validator: Any = SimpleNamespace(predict=self.predict, batches=batches)
        return WorstPanel(fold, validator)

    def read_panel(self) -> npt.NDArray[np.uint8]:
        return np.asarray(Image.open(self.folder / "worst.jpg"))

    def read_choice(self) -> list[tuple[str, str]]:
        return [(row["id"], row["class"]) for row in json.loads((self.folder / "choice.json").read_text())["tiles"]]


def test_the_worst_are_chosen_once_and_then_alone_predicted(tmp_path: Path) -> None:
    # Dice by width: 32: 1, 16: 2/3, 8: 0.4, 0: 0, 48: 0.8, 64: 2/3, 4: 2/9, 24: 6/7, 28: 14/15
    scene = Scene(tmp_path, [32, 16, 8, 0, 48, 64, 4, 24, 28])
    panel = scene.build([0, 1, 2, 4, 5, 6, 7, 8])  # photo 3, the worst of all, is trained on
    panel.draw(0)
    assert scene.asked == [] and not scene.folder.exists()  # no turn
    panel.draw(1)
    worst = [6, 2, 1, 5, 4, 7]  # ties by their place
    assert scene.asked == [0, 1, 2, 4, 5, 6, 7, 8, *worst]
    assert scene.read_choice() == [(f"photo{index:02d}", "car") for index in worst]
    scene.asked.clear()
    scene.widths = [0, 32, 32, 32, 32, 32, 32, 32, 32]  # all chosen are right now, photo 0 is wrong
    panel.draw(2)
    panel.draw(3)
    assert scene.asked == worst
    before = (scene.folder / "choice.json").read_bytes()
    scene.asked.clear()
    restarted = scene.build([0, 1, 2, 4, 5, 6, 7, 8])
    restarted.draw(7)
    assert scene.asked == worst
    assert (scene.folder / "choice.json").read_bytes() == before


def test_with_several_classes_pairs_of_photo_and_class_are_shown(tmp_path: Path) -> None:
    # Dice of class cat by width as above; dog is half as wide: 64: 1, 32: 2/3, 16: 0.4, 48: 6/7
    scene = Scene(tmp_path, [64, 32, 16, 48], classes=("cat", "dog"))
    panel = scene.build(overlapping=True)
    panel.draw(1)
    assert scene.read_choice() == [
        ("photo02", "dog"),
        ("photo00", "cat"),
        ("photo01", "dog"),
        ("photo02", "cat"),
        ("photo03", "cat"),
        ("photo03", "dog"),
    ]
    assert len(scene.read_choice()) == NUM_TILES
    restarted = scene.build(overlapping=True)
    assert restarted.tiles == panel.tiles
    sheet = scene.read_panel()
    assert sheet.shape == (2 * (320 + 38) + 4, 3 * 640 + 2 * 4, 3)


def test_photos_are_shown_in_their_own_proportions(tmp_path: Path) -> None:
    scene = Scene(tmp_path, [16, 16, 16])
    scene.size_hw = None
    for number, (height, width) in enumerate([(60, 80), (60, 80), (120, 40)]):
        Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(tmp_path / f"photo{number:02d}.png")
    scene.build().draw(1)
    sheet = scene.read_panel()
    assert sheet.shape == (480 + 38, 3 * 640 + 2 * 4, 3)  # three tiles of 3 : 4, though the net's images are 1 : 2
    for number, width in enumerate((640, 640, 160)):  # the third photo is 3 : 1, as high as the tile
        row = sheet[400, number * 644 : number * 644 + 640].mean(axis=-1)
        assert np.flatnonzero(row < 200).max() == pytest.approx(width, abs=4)


@pytest.mark.parametrize(("size_hw", "height"), [((240, 2), 4 * 640), ((1, 2000), 1)])
def test_photos_that_are_strips_have_a_panel(size_hw: tuple[int, int], height: int, tmp_path: Path) -> None:
    scene = Scene(tmp_path, [16, 16, 16, 16])
    scene.size_hw = size_hw
    scene.build().draw(1)
    assert scene.read_panel().shape == (2 * (height + 38) + 4, 3 * 640 + 2 * 4, 3)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"tiles": []}', '{"tiles": [{"id": "photo00"}]}', '{"tiles": [{"id": "x", "class": "car"}]}']
)
def test_a_choice_of_other_photos_is_refused_before_training(tmp_path: Path, text: str) -> None:
    scene = Scene(tmp_path, [32, 16])
    scene.folder.mkdir()
    (scene.folder / "choice.json").write_text(text)
    with pytest.raises(InputError, match=r"choice.json must"):
        scene.build()
    (scene.folder / "choice.json").write_text('{"tiles": [{"id": "photo00", "class": "car"}]}')
    with pytest.raises(InputError, match="must name images of this run's validation"):
        scene.build([1])
