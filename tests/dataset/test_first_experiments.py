"""The rule by which the first experiment is chosen, and that its text says the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unets.config import ExperimentConfig, SizeHW
from unets.dataset.first_experiments import Machine, fit_size, propose_experiments
from unets.dataset.scaffold import write_experiment_text

CPU, GPU = Machine(has_gpu=False, has_pretrained=True), Machine(has_gpu=True, has_pretrained=True)


@pytest.mark.parametrize(
    ("image_hw", "budget_px", "size_hw"),
    [
        ((320, 480), 320 * 480, (320, 480)),
        ((360, 480), 320 * 480, (360, 480)),  # 1.125 times the budget: as it is
        ((512, 512), 320 * 480, (384, 384)),  # 392 a side would fit
        ((1280, 1918), 320 * 480, (320, 480)),
        ((1280, 1918), 1024 * 1024, (832, 1248)),
        ((40, 2000), 320 * 480, (40, 2000)),
        ((16, 20), 320 * 480, (64, 64)),
        ((10, 90000), 320 * 480, (64, 37184)),
    ],
)
def test_size_by_hand(image_hw: SizeHW, budget_px: int, size_hw: SizeHW) -> None:
    assert fit_size(image_hw, budget_px) == size_hw


def test_epochs_and_folds_by_hand() -> None:
    # 2,500 images of 153,600 pixels, one of 5 folds held out: 2,500 / 240 epochs
    (cpu,) = propose_experiments((320, 480), 300, 5, CPU, is_grey=False)
    assert (cpu.name, cpu.config.training.epochs, cpu.config.folds) == ("unet_320x480", 10, (0,))
    # 40,000 x 1024 x 1024 / (832 x 1248) / 400
    whole, crops = propose_experiments((1280, 1918), 500, 5, GPU, is_grey=False)
    assert (whole.config.training.epochs, whole.config.folds) == (100, None)
    assert (crops.name, crops.config.data.crop_hw) == ("unet_1280x1918_crops", (512, 512))
    (small,) = propose_experiments((64, 64), 10, 2, CPU, is_grey=True)
    assert small.config.training.epochs == 60 and small.config.data.batch_size == 4
    assert small.config.data.augment is not None and small.config.data.augment.hue_deg == 0


@given(
    image_hw=st.tuples(st.integers(8, 6000), st.integers(8, 6000)),
    num_train=st.integers(2, 100_000),
    num_folds=st.integers(2, 5),
    machine=st.builds(Machine, has_gpu=st.booleans(), has_pretrained=st.booleans()),
    is_grey=st.booleans(),
)
def test_every_proposal_is_a_config_that_its_text_gives_back(
    image_hw: SizeHW, num_train: int, num_folds: int, machine: Machine, is_grey: bool
) -> None:
    for proposal in propose_experiments(image_hw, num_train, num_folds, machine, is_grey=is_grey):
        text = write_experiment_text("mine", proposal, on_gpu=machine.has_gpu)
        found: dict[str, object] = {}
        exec(text, found)
        assert found["EXPERIMENT"] == ExperimentConfig.from_json(proposal.config.to_json(), "here")
        assert all(len(line) <= 120 for line in text.splitlines())
        assert f"-e {proposal.name}" in text
