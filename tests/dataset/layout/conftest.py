"""Small folders of photos and masks, in the layouts that people have."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from unets.store.paths import Project

Picture = npt.NDArray[np.generic]
PALETTE = [0, 0, 0, 200, 0, 0, 0, 200, 0, 0, 0, 200]


@dataclass
class Folder:
    """A competition's folder that is being filled, and the project around it."""

    root: Path
    input_dir: Path = None  # type: ignore[assignment]
    project: Project = field(init=False)

    def __post_init__(self) -> None:
        self.input_dir = self.input_dir or self.root / "input"
        self.input_dir.mkdir(parents=True, exist_ok=True)
        self.project = Project(
            competition="mine",
            input_dir=self.input_dir,
            models_dir=self.root / "models" / "mine",
            configs_dir=self.root / "configs" / "mine",
            submissions_dir=self.root / "submissions" / "mine",
            results_dir=self.root / "results" / "mine",
        )

    def save(self, name: str, pixels: Picture, **options: object) -> Path:
        """Saves a picture below the folder; its format follows the name."""
        path = self.input_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, **options)
        return path

    def write(self, name: str, text: str) -> Path:
        """Writes a text below the folder."""
        path = self.input_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path


def draw_mask(seed: int, size_hw: tuple[int, int] = (64, 96), num_classes: int = 1) -> npt.NDArray[np.uint8]:
    """Draws an ellipse a class, side by side; class index, 0 is background."""
    rng = np.random.default_rng([7, seed])
    height, width = size_hw
    rows, columns = np.mgrid[:height, :width] + 0.5
    mask_hw = np.zeros(size_hw, dtype=np.uint8)
    for index in range(1, num_classes + 1):
        x = width * (index - 0.5) / num_classes + rng.uniform(-3, 3)
        radius_y, radius_x = height * rng.uniform(0.15, 0.35), width / num_classes * rng.uniform(0.15, 0.3)
        mask_hw[((rows - height * rng.uniform(0.4, 0.6)) / radius_y) ** 2 + ((columns - x) / radius_x) ** 2 < 1] = index
    return mask_hw


def draw_photo(seed: int, mask_hw: npt.NDArray[np.uint8], *, grey: bool = False) -> npt.NDArray[np.uint8]:
    """Draws dark noise, brighter where a class is; uint8 RGB, or one channel."""
    rng = np.random.default_rng([8, seed])
    shape = mask_hw.shape if grey else (*mask_hw.shape, 3)
    bright = mask_hw.astype(np.float64) * 60 if grey else mask_hw[..., None] * np.array([60.0, 50.0, 40.0])
    return np.clip(rng.normal(60, 12, shape) + bright, 0, 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture(scope="session")
def make_folder() -> Callable[[Path], Folder]:
    return Folder
