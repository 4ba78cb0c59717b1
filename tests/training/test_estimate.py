"""Plans: what they predict grows as it must, what they propose works, and what cannot work is stopped."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from unets.config import (
    DataConfig,
    DatasetConfig,
    ExperimentConfig,
    ModelConfig,
    TrainingConfig,
)
from unets.errors import InputError
from unets.nets.unet import build_unet
from unets.store.paths import Project
from unets.training import estimate as estimates
from unets.training.estimate import (
    Counts,
    Disk,
    Estimate,
    check_estimate,
    check_sizes,
    estimate_cost,
    find_common_fault,
    find_faults,
)
from unets.training.estimate_tables import GPUS_GB, render_estimate, render_gpu_table, render_total
from unets.training.learner import Learner
from unets.training.memory import (
    GIB,
    Machine,
    Memory,
    count_slots,
    find_micro_batch,
    find_usable_of_gpu,
    measure_training,
)
from unets.training.speed import Speed, measure_speed

DATASET = DatasetConfig(size_hw=(64, 96), num_folds=5)
EXPERIMENT = ExperimentConfig(
    data=DataConfig(size_hw=(64, 96), batch_size=12, cache="none"),
    model=ModelConfig(depth=2, base_filters=4),
    training=TrainingConfig(epochs=10, precision="float32"),
)
COUNTS = Counts(num_train=100, num_test=1000)
SPEED = Speed(train_seconds=2.0, predict_seconds=0.4, augment_seconds=0.1, read_seconds=1.0, micro_batch=12)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(
        competition="tiny",
        input_dir=tmp_path / "input",
        models_dir=tmp_path / "models",
        configs_dir=tmp_path / "configs",
        submissions_dir=tmp_path / "submissions",
        results_dir=tmp_path / "results",
    )


@pytest.fixture
def plan(project: Project, monkeypatch: pytest.MonkeyPatch) -> Estimate:
    set_machine(monkeypatch, 8 * GIB)
    set_free_disk(monkeypatch, 10**12)
    return build_estimate(project)


def build_estimate(project: Project, experiment: ExperimentConfig = EXPERIMENT, **options: Any) -> Estimate:
    return estimate_cost(project, DATASET, "unet_a", experiment, num_folds=5, **{"counts": COUNTS, **options})


def set_machine(monkeypatch: pytest.MonkeyPatch, usable_bytes: int, *, is_gpu: bool = False) -> None:
    machine = Machine(device="a device", is_gpu=is_gpu, usable_bytes=usable_bytes)
    monkeypatch.setattr(estimates, "measure_machine", lambda: machine)


def set_free_disk(monkeypatch: pytest.MonkeyPatch, free_bytes: int) -> None:
    monkeypatch.setattr(estimates.shutil, "disk_usage", lambda path: SimpleNamespace(free=free_bytes))


def change(experiment: ExperimentConfig, field: str, **changes: Any) -> ExperimentConfig:
    """Returns the experiment with some fields of one of its parts changed, checked as a file's would be."""
    part = {**getattr(experiment, field).model_dump(), **changes}
    return ExperimentConfig.model_validate({**experiment.model_dump(), field: part})


def test_the_largest_batch_inverts_the_prediction() -> None:
    for fixed in (0, 7, 100):
        for photo in (1, 3, 10):
            need = Memory(fixed_bytes=fixed, image_bytes=photo)
            for free in range(200):
                batch = need.find_largest_batch(free)
                assert batch == 0 or need.measure(batch) <= free
                assert need.measure(batch + 1) > free


def test_micro_batches_by_hand() -> None:
    # 100 for the net, 50 for added up gradients, 10 a photo; 12 photos an update
    need = Memory(fixed_bytes=100, image_bytes=10, accumulation_bytes=50)
    assert find_micro_batch(need, 220, 12) == 12  # all at once: 100 + 120, nothing is added up
    assert find_micro_batch(need, 219, 12) == 6  # 100 + 50 + 60
    assert find_micro_batch(need, 209, 12) == 4  # 5 would fit, but does not divide 12
    assert find_micro_batch(need, 160, 12) == 1
    assert find_micro_batch(need, 159, 12) == 0


def test_devices_that_share_a_step_take_a_part_each(
    project: Project, plan: Estimate, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_machine(monkeypatch, 8 * GIB, is_gpu=True)
    alone, spread = build_estimate(project), build_estimate(project, num_devices=4)
    assert alone.training_bytes - spread.training_bytes == 9 * alone.training.image_bytes  # 12 against 3
    assert "over 4 devices" in render_estimate(spread) and "on each device" in render_estimate(spread)
    assert "devices" not in render_estimate(alone)
    # 2 s a photo by one, a quarter by four; 80 trained, 20 validated at 0.4; reading from a cache is faster than both
    probed = replace(spread, speed=SPEED, cache="ram")
    assert probed.epoch_seconds == pytest.approx(80 * 0.5 + 20 * 0.1)
    # a card that does not hold a step says so, and the step is halved
    set_machine(monkeypatch, alone.training.measure(2, accumulates=True), is_gpu=True)
    roomy = change(EXPERIMENT, "prediction", batch_size=1, tta=("identity",))
    assert not find_faults(build_estimate(project, roomy))
    # a CPU's devices share its memory
    set_machine(monkeypatch, 8 * GIB)
    assert build_estimate(project, num_devices=4).training_bytes == plan.training_bytes


def test_pseudo_labels_cost_time_and_cache(project: Project, plan: Estimate) -> None:
    counts = replace(COUNTS, num_pseudo=30)
    labelled = replace(plan, counts=counts, speed=SPEED)
    assert labelled.epoch_seconds == pytest.approx((80 + 30) * 3 + 20 * 0.4)
    assert "30 pseudo-labels" in render_estimate(labelled) and "pseudo" not in render_estimate(
        replace(plan, speed=SPEED)
    )
    photo_bytes = 64 * 96 * 4
    folder = project.cache_dir / "64x96_labels_fold3_ab"
    folder.mkdir(parents=True)
    (folder / "photos.npy").write_bytes(bytes(1000))
    for cache, num_images in (("ram", 130), ("disk", 100 + 5 * 30)):  # the labels of a fold, or of all five
        experiment = change(EXPERIMENT, "data", cache=cache, pseudo_labels="labels")
        found = build_estimate(project, experiment, counts=counts)
        assert found.cache_bytes == num_images * photo_bytes
    assert found.disk.new_cache_bytes == found.disk.cache_bytes - 1000
    alone = build_estimate(project, change(EXPERIMENT, "data", cache="disk")).disk
    assert alone.new_cache_bytes == alone.cache_bytes


def test_memory_grows_with_what_takes_memory() -> None:
    net = build_unet(EXPERIMENT.model, (64, 96))
    config = TrainingConfig()
    least = measure_training(net, config, is_gpu=True)
    # a number for each trained one: running mean, clipped gradients, SGD's momentum
    numbers = 4 * sum(variable.numpy().size for variable in net.trainable_variables)
    for changes, copies in (
        ({"ema": 0.9}, 1),
        ({"clip_norm": 1.0}, 1),
        ({"optimizer": "SGD"}, -2),
        ({"optimizer": "SGD", "optimizer_args": {"momentum": 0.9}}, -1),
        ({"optimizer": "Lion"}, -1),
    ):
        changed = measure_training(net, TrainingConfig(**changes), is_gpu=True)  # type: ignore[arg-type]
        assert changed.fixed_bytes - least.fixed_bytes == copies * numbers, changes
        assert changed.image_bytes == least.image_bytes
    assert least.accumulation_bytes == numbers
    wider = measure_training(build_unet(ModelConfig(depth=2, base_filters=8), (64, 96)), config, is_gpu=True)
    assert wider.fixed_bytes > least.fixed_bytes and wider.image_bytes > least.image_bytes
    mixed = measure_training(net, config, is_gpu=True, precision="mixed")
    assert mixed.image_bytes < least.image_bytes


@pytest.mark.parametrize(("optimizer", "slots"), [("AdamW", 2), ("Adam", 2), ("SGD", 0), ("Lion", 1), ("RMSprop", 1)])
def test_slots_of_an_optimizer(optimizer: Any, slots: int) -> None:
    assert count_slots(TrainingConfig(optimizer=optimizer)) == pytest.approx(slots, abs=1e-3)


def test_hours_by_hand(plan: Estimate) -> None:
    plan = replace(plan, speed=SPEED)
    # 80 images trained at 2 s and read at 1 s on the same cores, 20 validated at 0.4 s
    assert plan.epoch_seconds == pytest.approx(80 * 3 + 20 * 0.4)
    assert plan.training_seconds == pytest.approx(5 * 10 * 248)
    # 2 flips: a training image by the one fold that held it out, a test image by all 5; each is read once
    assert plan.prediction_seconds == pytest.approx(100 * (2 * 0.4 + 1) + 1000 * (5 * 2 * 0.4 + 1))
    # from a cache images are only changed
    assert replace(plan, cache="ram").epoch_seconds == pytest.approx(80 * 2.1 + 8)
    # beside a GPU's work the cores read
    on_gpu = replace(plan, machine=replace(plan.machine, is_gpu=True))
    assert on_gpu.epoch_seconds == pytest.approx(80 * 2 + 8)
    slow = replace(on_gpu, speed=replace(SPEED, read_seconds=3.0))
    assert slow.epoch_seconds == pytest.approx(80 * 3 + 8)
    assert "reading limits" in render_estimate(slow) and "the net limits" in render_estimate(on_gpu)


def test_disk_by_hand(project: Project, plan: Estimate) -> None:
    net = build_unet(EXPERIMENT.model, (64, 96))
    weights, trained = (4 * sum(v.numpy().size for v in vs) for vs in (net.variables, net.trainable_variables))
    state = weights + 2 * trained  # AdamW
    # maps of training images twice: with TTA and without
    assert plan.disk.own_bytes == 5 * (weights + state) + state + int(1200 * 20 * (64 * 96) ** 0.5)
    assert plan.disk.cache_bytes == 0 and plan.cache_bytes == 100 * 64 * 96 * 4
    # what a run that goes on has written already is not asked for again
    folder = project.run_dir("unet_a", 0)
    folder.mkdir(parents=True)
    (folder / "best.weights.h5").write_bytes(bytes(1000))
    assert build_estimate(project).disk.new_own_bytes == plan.disk.own_bytes - 1000


def test_too_little_memory_proposes_a_micro_batch_that_works(
    project: Project, plan: Estimate, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_machine(monkeypatch, plan.training.measure(5, accumulates=True))
    with pytest.raises(InputError, match=r"`unets train --exp unet_a --micro-batch 4`") as caught:
        check_estimate(build_estimate(project))
    assert "batches of 12" in str(caught.value) and "12 images a step" in str(caught.value)
    check_estimate(build_estimate(project, micro_batch=4))
    assert find_faults(build_estimate(project, micro_batch=6))


def test_where_not_one_image_fits_it_says_what_takes_less(
    project: Project, plan: Estimate, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_machine(monkeypatch, plan.training.measure(1, accumulates=True) - 1)
    assert "not one image does. A `data.crop_hw`, a smaller `data.size_hw`" in find_faults(build_estimate(project))[0]


def test_a_cache_that_leaves_no_memory_goes_to_disk(
    project: Project, plan: Estimate, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_memory = change(EXPERIMENT, "data", cache="ram")
    set_machine(monkeypatch, plan.training_bytes + plan.cache_bytes - 1)
    fault = find_faults(build_estimate(project, in_memory))[0]
    assert 'it does with cache="disk"' in fault
    check_estimate(build_estimate(project, change(EXPERIMENT, "data", cache="disk")))
    set_machine(monkeypatch, plan.training_bytes + plan.cache_bytes)
    check_estimate(build_estimate(project, in_memory))
    # a card's memory has no cache in it
    set_machine(monkeypatch, plan.training_bytes, is_gpu=True)
    check_estimate(build_estimate(project, in_memory))


def test_prediction_proposes_a_batch_that_works(
    project: Project, plan: Estimate, monkeypatch: pytest.MonkeyPatch
) -> None:
    greedy = change(EXPERIMENT, "prediction", batch_size=500)
    set_machine(monkeypatch, plan.prediction.measure(601))  # 300 photos of 2 views
    faults = find_faults(build_estimate(project, greedy, micro_batch=1))
    assert len(faults) == 1 and "it does with prediction.batch_size=300" in faults[0]
    assert not find_faults(build_estimate(project, change(greedy, "prediction", batch_size=300), micro_batch=1))


def test_too_small_a_disk_says_what_is_missing(
    project: Project, plan: Estimate, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = plan.disk.own_bytes
    cached = change(EXPERIMENT, "data", cache="disk")
    set_free_disk(monkeypatch, wanted)
    check_estimate(build_estimate(project))
    with pytest.raises(InputError, match='it works with cache="none"'):
        check_estimate(build_estimate(project, cached))
    many = Counts(num_train=100, num_test=10**7)
    plan = estimate_cost(project, DATASET, "unet_a", cached, num_folds=5, counts=many)
    missing = plan.disk.cache_bytes + plan.disk.own_bytes - wanted
    with pytest.raises(InputError, match=rf"{missing / 1e9:.1f} GB are missing\. Received") as caught:
        check_estimate(plan)
    assert "cache" not in str(caught.value)


@pytest.mark.parametrize(
    ("size_hw", "crop_hw", "depth", "stride"),
    [((64, 32), None, 7, 1), ((64, 96), (32, 64), 6, 2), ((300, 500), (48, 64), 8, 8), ((200, 40), None, 5, 4)],
)
def test_a_size_that_cannot_be_padded_proposes_what_works(
    size_hw: tuple[int, int], crop_hw: tuple[int, int] | None, depth: int, stride: Any
) -> None:
    experiment = ExperimentConfig(
        data=DataConfig(size_hw=size_hw, crop_hw=crop_hw), model=ModelConfig(depth=depth, stride=stride, base_filters=1)
    )
    fed_hw = crop_hw or size_hw
    with pytest.raises(ValueError, match=r"stride \* 2\^depth"):
        build_unet(experiment.model, fed_hw)
    with pytest.raises(InputError, match=r"`depth` must be at most (\d+)") as caught:
        check_sizes(experiment)
    words = str(caught.value)
    nearest = int(words.split("at most ")[1].split()[0])
    check_sizes(change(experiment, "model", depth=nearest))
    build_unet(ModelConfig(depth=nearest, stride=stride, base_filters=1), fed_hw)
    with pytest.raises(InputError):
        check_sizes(change(experiment, "model", depth=nearest + 1))
    grown = tuple(int(side) for side in words.split("at least (")[1].split(")")[0].split(","))
    build_unet(ModelConfig(depth=depth, stride=stride, base_filters=1, max_filters=1), (grown[0], grown[1]))


def test_a_tile_larger_than_the_photo_is_found_before_training() -> None:
    tiled = change(EXPERIMENT, "prediction", tile_hw=(128, 80), tile_overlap_px=8)
    with pytest.raises(InputError, match=r"the nearest that works is \(64, 80\)"):
        check_sizes(tiled)
    check_sizes(change(EXPERIMENT, "prediction", tile_hw=(64, 80), tile_overlap_px=8))


def test_a_plan_is_told_in_words(plan: Estimate) -> None:
    text = render_estimate(replace(plan, speed=SPEED))
    assert "unet_a: 64 x 96, batches of 12, float32, on a device" in text
    assert "impossible" not in text and "epoch 4.1 min, fold 41 min (10 epochs), 5 folds 3.4 h" in text
    assert "not measured" in render_estimate(plan)


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
    first, second = replace(plan, speed=SPEED), replace(plan, name="unet_b", speed=replace(SPEED, train_seconds=5.0))
    table = render_total([first, second]).splitlines()
    assert [line.split()[0] for line in table[2 if "-" in table[1] else 1 :]][-1] == "together"
    # 5 folds of 2,480 and 4,880 s; maps twice 5,180 s
    assert f"{(5 * (2480 + 4880)) / 3600:.0f} h" in table[-1]
    assert f"{2 * 5180 / 3600:.1f} h" in table[-1]
    assert "-" not in table[-1] and render_total([plan]).splitlines()[-1].split()[1:4] == ["-", "-", "-"]


def test_plans_that_fit_one_by_one_may_not_fit_together(plan: Estimate) -> None:
    def need(name: str, side: int, **sizes: int) -> Estimate:
        # 3 GB of its own, of which 1 is there, and a cache of 4 GB, of which 1 is there
        bytes_of = {"own": 3, "cache": 4, "new_own": 2, "new_cache": 3, "free": 7} | sizes
        disk = Disk(**{f"{name}_bytes": size * 10**9 for name, size in bytes_of.items()})
        experiment = change(EXPERIMENT, "data", size_hw=(side, side), cache="disk")
        return replace(plan, name=name, experiment=experiment, cache="disk", disk=disk)

    # 2 GB each, and 3 GB of a cache that both share
    same_size = [need("unet_a", 64), need("unet_b", 64)]
    assert find_common_fault(same_size) is None
    assert "warning" not in render_total(same_size)
    assert render_total(same_size).splitlines()[-1].endswith("10.0 GB")
    # another size has a cache of its own
    sizes = [need("unet_a", 64), need("unet_b", 96)]
    assert not any(find_faults(plan) for plan in sizes)
    fault = find_common_fault(sizes)
    assert fault is not None and "unet_a, unet_b must find 10.0 GB together" in fault and "3.0 GB are missing" in fault
    assert render_total(sizes).splitlines()[-1] == f"warning: {fault}"
    # one that does not fit alone says so itself
    assert find_common_fault([need("unet_a", 64), need("unet_b", 96, new_own=9)]) is None
    assert find_common_fault([need("unet_a", 64, free=4)]) is None


@pytest.mark.slow
def test_speed_is_measured_at_the_experiment_s_own_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unets.training.speed._READ_SECONDS", 0.1)
    shallow = change(EXPERIMENT, "model", depth=1, normalization="none")
    measured = measure_speed(shallow, DATASET, (), is_gpu=False, micro_batch=12)
    assert 0 < measured.predict_seconds < 10 and 0 < measured.train_seconds < 10
    assert measured.read_seconds is None and 0 < measured.augment_seconds < 1


@pytest.mark.slow
def test_on_a_gpu_the_largest_step_that_memory_holds_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(learner: Learner, images: Any, targets: Any) -> None:
        if len(images) > 3:
            raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    monkeypatch.setattr("unets.training.speed._READ_SECONDS", 0.1)
    monkeypatch.setattr(Learner, "train_on_batch", train)
    assert measure_speed(EXPERIMENT, DATASET, (), is_gpu=True, micro_batch=12).micro_batch == 3


def test_a_net_whose_weights_do_not_fit_is_not_built(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    set_machine(monkeypatch, 8 * GIB)
    monkeypatch.setattr(estimates, "build_net", lambda *_: pytest.fail("it was built"))
    wide = change(EXPERIMENT, "model", base_filters=4096, max_filters=16_384, depth=4)
    # 3 convolutions of 3 x 3 a level, of 4096, 8192, 16384 and 16384 channels
    with pytest.raises(InputError, match=r"fit into 8\.0 GiB\. Received: at least 62\.4 GiB, 16384 channels wide"):
        build_estimate(project, wide)
