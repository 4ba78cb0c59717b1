"""Eight formats as benchmarks/formats.py draws them: each is read as it was drawn, and its submission is declared."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import ROOT
from unets.data.samples import IGNORE, read_mask
from unets.dataset.checks import check_data
from unets.dataset.manifest import read_manifest
from unets.dataset.scaffold import write_scaffold
from unets.store.paths import Project

sys.path.append(str(ROOT / "benchmarks"))
formats: Any = import_module("formats")


@pytest.mark.parametrize("name", list(formats.FORMATS))
def test_masks_are_those_that_were_drawn_and_the_submission_is_declared(name: str, tmp_path: Path) -> None:
    about = formats.FORMATS[name](tmp_path / "input")
    project = Project.below(tmp_path, name, input_dir=tmp_path / "input")
    dataset = write_scaffold(project).dataset
    form = dataset.submission
    assert (form.image_column, form.rle_column, form.class_column) == (
        about.image_column,
        about.rle_column,
        about.class_column,
    )
    assert check_data(project, dataset).is_clean  # its sample submission too, where there is one
    manifest = read_manifest(project, dataset)
    assert [Path(sample.id).stem for sample in manifest.test] == [drawing.id for drawing in about.test]
    truth = about.read_truth(about.train)
    assert {Path(sample.id).stem for sample in manifest.train} == truth.keys()
    for sample in manifest.train:
        mask = read_mask(sample)
        for index, layer in enumerate(truth[Path(sample.id).stem]):
            found = mask[..., index] if mask.ndim == 3 else np.where(mask == IGNORE, IGNORE, mask == index + 1)
            assert formats.find_dice(found == 1, layer & (found != IGNORE)) > 0.97  # polygons round
