"""The rules by which the first experiment is chosen, and that its text says the same."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unets.config import ExperimentConfig, SizeHW
from unets.dataset.first_experiments import (
    Cost,
    Facts,
    Machine,
    Objects,
    fit_size,
    measure_objects,
    propose_experiments,
)
from unets.dataset.scaffold import write_experiment_text

CPU, GPU = Machine(has_gpu=False, has_pretrained=True), Machine(has_gpu=True, has_pretrained=True)
MOST_SECONDS_OVER = 1.1  # of the minutes: steps are whole, and the last epoch is


def count_seconds(config: ExperimentConfig, facts: Facts, cost: Cost) -> float:
    """Returns what training and validation of the first fold take by the cost of an image."""
    training = config.training
    held = training.validation_images or facts.num_train // facts.num_folds
    steps = training.steps_per_epoch or 0
    return training.epochs * (steps * config.data.batch_size * cost.train_seconds + held * cost.predict_seconds)


@pytest.mark.parametrize(
    ("image_hw", "budget_px", "size_hw"),
    [
        ((320, 480), 320 * 480, (320, 480)),
        ((360, 480), 320 * 480, (360, 480)),  # 1.125 times the budget: as it is
        ((512, 512), 320 * 480, (384, 384)),  # 392 a side would fit
        ((1280, 1918), 320 * 480, (320, 480)),
        ((1280, 1918), 1024 * 1024, (832, 1248)),
        ((101, 101), 320 * 480, (128, 128)),  # enlarged
        ((64, 200), 320 * 480, (128, 384)),
        ((16, 20), 320 * 480, (128, 160)),
    ],
)
def test_size_by_hand(image_hw: SizeHW, budget_px: int, size_hw: SizeHW) -> None:
    assert fit_size(image_hw, budget_px) == size_hw


@pytest.mark.parametrize("num_train", [4, 640, 100_000])
@pytest.mark.parametrize("minutes", [3.0, 15.0, 120.0])
@pytest.mark.parametrize("image_hw", [(101, 101), (1280, 1918)])
def test_few_and_many_images_fit_the_minutes(num_train: int, minutes: float, image_hw: SizeHW) -> None:
    facts = Facts(image_hw=image_hw, num_train=num_train, num_folds=5)
    costs = []

    def time(experiment: ExperimentConfig) -> Cost:
        height, width = experiment.data.size_hw
        costs.append(Cost(train_seconds=height * width * 1e-6, predict_seconds=height * width * 3e-7))
        return costs[-1]

    (proposal,) = propose_experiments(facts, CPU, minutes=minutes, timer=time)
    assert len(costs) == 1
    config = proposal.config
    height, width = config.data.size_hw
    cost = Cost(train_seconds=height * width * 1e-6, predict_seconds=height * width * 3e-7)
    assert count_seconds(config, facts, cost) <= MOST_SECONDS_OVER * 60 * minutes
    seen = config.training.epochs * (config.training.steps_per_epoch or 0) * config.data.batch_size
    if seen < 300 * num_train:
        assert count_seconds(config, facts, cost) >= 0.65 * 60 * minutes
    assert seen <= 1.1 * 400 * num_train  # few images: not seen for ever
    assert config.training.validation_images is None or num_train >= 640
    assert 3 <= config.training.epochs <= 10
    assert config.folds == (0,)


def test_slower_machines_get_smaller_images_and_see_fewer() -> None:
    facts = Facts(image_hw=(1280, 1918), num_train=500, num_folds=5)
    fast, slow = (
        propose_experiments(
            facts,
            CPU,
            timer=lambda _, s=seconds: Cost(train_seconds=s, predict_seconds=s / 3),  # type: ignore[misc]
        )[0].config
        for seconds in (0.1, 2.0)
    )
    assert fast.data.size_hw > slow.data.size_hw
    seen = [
        config.training.epochs * (config.training.steps_per_epoch or 0) * config.data.batch_size
        for config in (fast, slow)
    ]
    assert seen[0] > 2 * seen[1]


def test_a_gpu_also_gets_crops_of_large_images() -> None:
    whole, crops = propose_experiments(Facts(image_hw=(1280, 1918), num_train=500, num_folds=5), GPU)
    assert whole.config.folds is None and whole.config.data.size_hw == (832, 1248)
    assert (crops.name, crops.config.data.crop_hw) == ("unet_1280x1918_crops", (512, 512))


def test_small_objects_stay_visible() -> None:
    facts = Facts(image_hw=(1000, 1000), num_train=300, num_folds=5, objects=Objects(side=0.012))
    (proposal,) = propose_experiments(facts, CPU, minutes=1)
    data = proposal.config.data
    assert data.crop_hw is not None and data.crop_hw < data.size_hw and data.crop_objects > 0
    assert 0.012 * data.size_hw[0] >= 7.5
    assert "8 x 8 pixels here, 12 x 12 pixels in the images" in proposal.reasons["data"][0]
    assert "WARNING" in proposal.reasons["data"][0]
    (large,) = propose_experiments(replace(facts, objects=Objects(side=0.1)), CPU, minutes=1)
    assert large.config.data.crop_hw is None and "WARNING" not in large.reasons["data"][0]


@pytest.mark.parametrize("machine", [CPU, GPU])
@pytest.mark.parametrize(("image_hw", "side"), [((1000, 1000), 0.003), ((8000, 8000), 0.001)])
def test_objects_that_no_plan_keeps_visible_are_a_warning(machine: Machine, image_hw: SizeHW, side: float) -> None:
    facts = Facts(image_hw=image_hw, num_train=300, num_folds=5, objects=Objects(side=side))
    for proposal in propose_experiments(facts, machine, minutes=2):
        assert "WARNING" in proposal.reasons["data"][0]
        assert max(proposal.config.data.size_hw) <= 2048


def test_images_with_objects_are_drawn_more_often_where_most_are_empty() -> None:
    facts = Facts(image_hw=(500, 400), num_train=300, num_folds=5, objects=Objects(side=0.1, filled_share=0.13))
    (few,) = propose_experiments(facts, CPU)
    (most,) = propose_experiments(replace(facts, objects=Objects(side=0.1, filled_share=0.6)), CPU)
    assert (few.config.data.balance, most.config.data.balance) == ("class", "none")
    assert "Empty: 87% of the images" in few.reasons["data"][1] and "Empty" not in str(most.reasons)


def test_grey_images_keep_their_colors_and_small_ones_come_in_larger_batches() -> None:
    facts = Facts(image_hw=(101, 101), num_train=2000, num_folds=5, is_grey=True)
    (small,) = propose_experiments(facts, CPU)
    assert small.config.data.size_hw == (128, 128) and small.config.data.batch_size == 16
    assert small.config.data.augment is not None and small.config.data.augment.hue_deg == 0


@given(
    facts=st.builds(
        Facts,
        image_hw=st.tuples(st.integers(8, 6000), st.integers(8, 6000)),
        num_train=st.integers(2, 100_000),
        num_folds=st.integers(2, 5),
        is_grey=st.booleans(),
        objects=st.builds(
            Objects,
            side=st.none() | st.floats(1e-4, 1),
            width=st.none() | st.floats(1e-4, 1),
            filled_share=st.floats(0, 1),
        ),
    ),
    machine=st.builds(Machine, has_gpu=st.booleans(), has_pretrained=st.booleans()),
    minutes=st.floats(0.1, 10_000),
)
def test_every_proposal_is_a_config_that_its_text_gives_back(facts: Facts, machine: Machine, minutes: float) -> None:
    for proposal in propose_experiments(facts, machine, minutes=minutes):
        text = write_experiment_text("mine", proposal, on_gpu=machine.has_gpu)
        found: dict[str, object] = {}
        exec(text, found)
        assert found["EXPERIMENT"] == ExperimentConfig.from_json(proposal.config.to_json(), "here")
        assert all(len(line) <= 120 for line in text.splitlines())
        assert f"-e {proposal.name}" in text


def test_small_objects_are_told_from_specks_and_large_classes() -> None:
    mask = np.zeros((100, 400), np.uint8)  # its side is 200
    mask[:60] = 1
    assert measure_objects([mask]).side == pytest.approx((60 * 400) ** 0.5 / 200)
    mask[70:80, ::40], mask[90, ::20] = 2, 2  # ten lines of 10 pixels, and as many specks twice
    assert measure_objects([mask]).side == pytest.approx(10**0.5 / 200)
    mask[70:80, 1:12], mask[99] = 2, 255  # now half of the class is in one object
    assert measure_objects([mask]).side == pytest.approx(120**0.5 / 200)
    assert measure_objects([mask, np.zeros_like(mask)]).filled_share == 0.5
    layers = np.stack([mask == 1, mask == 2], axis=-1).astype(np.uint8)
    assert measure_objects([layers]) == measure_objects([mask])
    assert measure_objects([np.zeros_like(mask)]) == Objects(filled_share=0) == measure_objects([])


def test_the_width_of_a_ring_is_its_thickness_and_that_of_a_disk_its_radius() -> None:
    rows, columns = np.mgrid[:400, :400]
    from_center = np.hypot(rows - 200, columns - 200)
    ring, disk = (abs(from_center - 150) < 2.5).astype(np.uint8), (from_center < 80).astype(np.uint8)
    assert measure_objects([ring]).width == pytest.approx(5 / 400, rel=0.03)
    assert measure_objects([disk]).width == pytest.approx(80 / 400, rel=0.03)
    assert measure_objects([ring, disk, disk]).width == measure_objects([disk]).width
    assert measure_objects([np.ones_like(disk)]).width is not None  # no contour at all


def test_thin_objects_are_seen_at_the_whole_size() -> None:
    facts = Facts(image_hw=(320, 480), num_train=100, num_folds=5, objects=Objects(side=0.1, width=3 / 392))
    (thin,) = propose_experiments(facts, CPU)
    (wide,) = propose_experiments(replace(facts, objects=Objects(side=0.1, width=30 / 392)), CPU)
    assert (thin.config.model.stride, wide.config.model.stride) == (1, 2)
    assert "3.0 pixels wide" in thin.reasons["model"][1] and len(wide.reasons["model"]) == 1
    assert (thin.config.training.steps_per_epoch or 0) < (wide.config.training.steps_per_epoch or 0)


def test_objects_are_as_wide_in_crops_as_in_the_images_they_are_cut_from() -> None:
    facts = Facts(image_hw=(2000, 2000), num_train=300, num_folds=5, objects=Objects(side=0.006, width=0.006))
    (crops,) = propose_experiments(facts, CPU, minutes=2)
    assert crops.config.data.crop_hw is not None
    assert 0.006 * crops.config.data.crop_hw[0] < 5 < 0.006 * crops.config.data.size_hw[0]
    assert crops.config.model.stride == 2 and len(crops.reasons["model"]) == 1


def test_a_gpu_has_one_size_for_thin_objects_and_others() -> None:
    large = Facts(image_hw=(1280, 1918), num_train=5000, num_folds=5, objects=Objects(side=0.1, width=5 / 1567))
    unmeasured = replace(large, objects=Objects(side=0.1))
    known, unknown = (propose_experiments(facts, GPU, minutes=5) for facts in (large, unmeasured))
    assert [proposal.config.data for proposal in known] == [proposal.config.data for proposal in unknown]
