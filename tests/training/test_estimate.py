"""Plans: what they predict grows as it must, what they propose works, and what cannot work is stopped."""

import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from unets.config import DataConfig, DatasetConfig, ExperimentConfig, ModelConfig, TrainingConfig
from unets.dataset.manifest import Manifest
from unets.errors import InputError
from unets.store.paths import Project
from unets.training import estimate as estimates
from unets.training.estimate import (
    GPUS_GB,
    Estimate,
    check_estimate,
    estimate_cost,
    find_faults,
    fit_micro_batch,
    render_estimate,
    render_gpu_table,
    render_total,
)
from unets.training.learner import Learner, build_learner
from unets.training.memory import GIB, Machine, find_usable_of_gpu
from unets.training.speed import Speed, measure_speed

DATASET = DatasetConfig(size_hw=(64, 96), num_folds=5, num_train=100, num_test=1000)
EXPERIMENT = ExperimentConfig(
    data=DataConfig(size_hw=(64, 96), batch_size=12, cache="none"),
    model=ModelConfig(depth=2, base_filters=4),
    training=TrainingConfig(epochs=10, precision="float32"),
)
SPEED = Speed(train_seconds=2.0, predict_seconds=0.4, augment_seconds=0.1, read_seconds=1.0, micro_batch=12)
IMAGE_BYTES = 64 * 96 * 4  # with its soft target
MACHINE = Machine(device="a device", is_gpu=False, usable_bytes=8 * GIB)
Build = Callable[..., Estimate]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project.below(tmp_path_factory.mktemp("plan"), "tiny")


@pytest.fixture(scope="module")
def build(project: Project) -> Build:
    """`build(machine, experiment, ...)` gives the plan of five folds, on a disk that has room for a terabyte."""

    def build(machine: Machine = MACHINE, experiment: ExperimentConfig = EXPERIMENT, **options: Any) -> Estimate:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(estimates, "measure_machine", lambda: machine)
            patch.setattr(estimates.shutil, "disk_usage", lambda path: SimpleNamespace(free=10**12))
            patch.setattr(estimates, "count_pseudo_labels", lambda project, name, fold: 30 - fold)
            manifest = Manifest(dataset=DATASET, train=(), test=())
            return estimate_cost(project, manifest, "unet_a", experiment, range(5), **options)

    return build


@pytest.fixture(scope="module")
def plan(build: Build) -> Estimate:
    return build()


def change(experiment: ExperimentConfig, field: str, **changes: Any) -> ExperimentConfig:
    """Returns the experiment with some fields of one of its parts changed, checked as a file's would be."""
    part = {**getattr(experiment, field).model_dump(), **changes}
    return ExperimentConfig.model_validate({**experiment.model_dump(), field: part})


def limit(plan: Estimate, usable_bytes: int, **changes: Any) -> Estimate:
    """Returns the plan on a machine with that much memory."""
    return replace(plan, machine=replace(plan.machine, usable_bytes=usable_bytes), **changes)


def test_devices_that_share_a_step_take_a_part_each(build: Build, plan: Estimate) -> None:
    shared = build(replace(MACHINE, is_gpu=True), num_devices=4)
    alone = replace(shared, num_devices=1)
    assert alone.training_bytes - shared.training_bytes == 9 * alone.training.image_bytes  # 12 against 3
    assert "over 4 devices" in render_estimate(shared) and "on each device" in render_estimate(shared)
    assert "devices" not in render_estimate(alone)
    # 2 s an image by one, a quarter by four; 80 trained, 20 validated at 0.4; reading from a cache is faster than both
    assert replace(shared, speed=SPEED, cache="ram").epoch_seconds == pytest.approx(80 * 0.5 + 20 * 0.1)
    # a card that does not hold a step says so, and the step is halved
    tight = limit(alone, alone.training.measure(2))
    assert not any("training" in fault for fault in find_faults(tight))
    # a CPU's devices share its memory
    assert build(num_devices=4) == plan


def test_pseudo_labels_cost_time_and_cache(project: Project, build: Build, plan: Estimate) -> None:
    assert "pseudo" not in render_estimate(replace(plan, speed=SPEED))
    folder = project.cache_dir / "64x96_labels_fold3_ab"
    folder.mkdir(parents=True)
    (folder / "photos.npy").write_bytes(bytes(1000))
    for cache, num_images in (("ram", 130), ("disk", 100 + 5 * 30)):  # the labels of a fold, or of all five
        found = build(experiment=change(EXPERIMENT, "data", cache=cache, pseudo_labels="labels"))
        assert found.cache_bytes == num_images * IMAGE_BYTES and found.free_bytes == 10**12 + 1000
    found = replace(found, speed=SPEED, cache="none")
    assert found.epoch_seconds == pytest.approx((80 + 30) * 3 + 20 * 0.4)
    assert "30 pseudo-labels" in render_estimate(found)


def test_hours_by_hand(plan: Estimate) -> None:
    plan = replace(plan, speed=SPEED)
    # 80 images trained at 2 s and read at 1 s on the same cores, 20 validated at 0.4 s
    assert plan.epoch_seconds == pytest.approx(80 * 3 + 20 * 0.4)
    assert plan.training_seconds == pytest.approx(5 * 10 * 248)
    # 2 flips: a training image by the one fold that held it out, a test image by all 5; each is read once
    assert plan.prediction_seconds == pytest.approx(100 * (2 * 0.4 + 1) + 1000 * (5 * 2 * 0.4 + 1))
    text = render_estimate(plan)
    assert "unet_a: 64 x 96, batches of 12, float32, on a device" in text and "impossible" not in text
    assert "epoch 4.1 min, fold 41 min (10 epochs), 5 folds 3.4 h" in text
    assert "not measured" in render_estimate(replace(plan, speed=Speed()))
    # from a cache images are only changed
    assert replace(plan, cache="ram").epoch_seconds == pytest.approx(80 * 2.1 + 8)
    # beside a GPU's work the cores read
    on_gpu = replace(plan, machine=replace(plan.machine, is_gpu=True))
    assert on_gpu.epoch_seconds == pytest.approx(80 * 2 + 8)
    slow = replace(on_gpu, speed=replace(SPEED, read_seconds=3.0))
    assert slow.epoch_seconds == pytest.approx(80 * 3 + 8)
    assert "reading limits" in render_estimate(slow) and "the net limits" in render_estimate(on_gpu)


def test_disk_by_hand(project: Project, build: Build, plan: Estimate) -> None:
    net = build_learner(EXPERIMENT, DATASET, 1).net
    weights, trained = (4 * sum(v.numpy().size for v in vs) for vs in (net.variables, net.trainable_variables))
    state = weights + 2 * trained  # AdamW
    # maps of training images twice: with TTA and without
    wanted = 5 * (weights + state) + state + int(1200 * 20 * (64 * 96) ** 0.5)
    assert plan.own_bytes == plan.disk_bytes == pytest.approx(wanted, abs=1000)
    assert plan.cache_bytes == 100 * IMAGE_BYTES
    # what a run that goes on has written already is not asked for again
    folder = project.run_dir("unet_a", 0)
    folder.mkdir(parents=True)
    (folder / "net.weights.h5").write_bytes(bytes(1000))
    assert build().free_bytes == plan.free_bytes + 1000


def test_too_little_memory_proposes_a_micro_batch_that_works(plan: Estimate) -> None:
    tight = limit(plan, plan.training.measure(5))
    with pytest.raises(InputError, match=r"`unets train --exp unet_a --micro-batch 4`") as caught:
        check_estimate(tight)
    assert "batches of 12" in str(caught.value) and "12 images per step" in str(caught.value)
    assert fit_micro_batch(tight) == replace(tight, micro_batch=4) and fit_micro_batch(plan) is plan
    check_estimate(fit_micro_batch(tight))
    assert find_faults(replace(tight, micro_batch=6))
    least = limit(plan, plan.training.measure(1) - 1)
    assert fit_micro_batch(least) is least
    assert "not one image does. A `data.crop_hw`, a smaller `data.size_hw`" in find_faults(least)[0]


def test_a_cache_that_leaves_no_memory_goes_to_disk(plan: Estimate) -> None:
    full = plan.training_bytes + plan.cache_bytes
    tight = limit(plan, full - 1, cache="ram")
    assert 'it does with cache="disk"' in find_faults(tight)[0]
    check_estimate(replace(tight, cache="disk"))
    check_estimate(limit(plan, full, cache="ram"))
    # a card's memory has no cache in it
    card = replace(plan.machine, is_gpu=True, usable_bytes=plan.training_bytes)
    check_estimate(replace(plan, machine=card, cache="ram"))


def test_too_small_a_disk_says_what_is_missing(plan: Estimate) -> None:
    full = replace(plan, free_bytes=plan.own_bytes)
    check_estimate(full)
    with pytest.raises(InputError, match='it works with cache="none"'):
        check_estimate(replace(full, cache="disk"))
    fuller = replace(full, cache="disk", own_bytes=10**11)
    missing = fuller.disk_bytes - full.free_bytes
    with pytest.raises(InputError, match=rf"{missing / 1e9:.1f} GB are missing\. Received"):
        check_estimate(fuller)


def test_the_largest_batches_by_gpu_memory(plan: Estimate) -> None:
    title, _, header, *rows = [line for line in render_gpu_table([plan]).splitlines() if set(line) != {"-", " "}]
    assert title == "largest batch size by GPU memory"
    assert header.split()[2:] == [word for size in GPUS_GB for word in (str(size), "GB")]
    for row, (precision, need) in zip(rows, plan.on_gpus.items(), strict=True):
        name, kind, *batches = row.split()
        assert (name, kind) == ("unet_a", precision)
        for size, batch in zip(GPUS_GB, map(int, batches), strict=True):
            assert need.measure(batch) <= find_usable_of_gpu(size * GIB) < need.measure(batch + 1)


def test_the_ensemble_is_the_sum(plan: Estimate) -> None:
    sized = {"own_bytes": 3 * 10**9, "cache": "disk", "cache_bytes": 4 * 10**9}
    first, second = (replace(plan, speed=replace(SPEED, train_seconds=s), **sized) for s in (2.0, 5.0))
    line = render_total([first, second]).splitlines()[-1]
    # 5 folds of 80 x 2.1 + 8 and 80 x 5.1 + 8 s, ten epochs each; maps twice 5,180 s; a cache that both share
    assert re.split(r"  +", line) == ["together", "8.2 h", "2.9 h", "11 h", "10.0 GB"]
    assert render_total([plan]).splitlines()[-1].split()[1:4] == ["-", "-", "-"]


@pytest.mark.slow
def test_on_a_gpu_the_largest_step_that_memory_holds_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(learner: Learner, images: Any, targets: Any) -> None:
        if len(images) > 3:
            raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    monkeypatch.setattr(Learner, "train_on_batch", train)
    clock = itertools.count().__next__  # a second a look
    assert measure_speed(EXPERIMENT, DATASET, (), is_gpu=True, micro_batch=12, clock=clock).micro_batch == 3


def test_a_net_whose_weights_do_not_fit_is_not_built(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimates, "build_learner", lambda *_, **__: pytest.fail("it was built"))
    wide = change(EXPERIMENT, "model", base_filters=4096, max_filters=16_384, depth=4)
    # 3 convolutions of 3 x 3 a level, of 4096, 8192, 16384 and 16384 channels
    with pytest.raises(InputError, match=r"fit into 8\.0 GiB\. Received: at least 62\.4 GiB"):
        build(experiment=wide)
