"""Plans: what they predict grows as it must, what they propose works, and what cannot work is stopped."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import ROOT
from unets.config import (
    DataConfig,
    DatasetConfig,
    ExperimentConfig,
    ModelConfig,
    PredictionConfig,
    TrainingConfig,
    load_dataset,
)
from unets.errors import InputError
from unets.nets.unet import build_unet
from unets.store.paths import Project
from unets.training import memory, planner, probe
from unets.training.memory import (
    GIB,
    Machine,
    Memory,
    count_slots,
    largest_micro_batch,
    measure_prediction,
    measure_training,
)
from unets.training.planner import (
    Disk,
    Photos,
    Plan,
    check_plan,
    check_sizes,
    find_common_fault,
    find_faults,
    plan_experiment,
)
from unets.training.price import CARDS_GB, render_plan, render_total
from unets.training.probe import Speed

DATASET = DatasetConfig(size_hw=(64, 96), num_folds=5)
EXPERIMENT = ExperimentConfig(
    data=DataConfig(size_hw=(64, 96), batch_size=12, cache="none"),
    model=ModelConfig(depth=2, base_filters=4),
    training=TrainingConfig(epochs=10, precision="float32"),
)
PHOTOS = Photos(num_train=100, num_test=1000)
SPEED = Speed(
    train_seconds=2.0,
    update_seconds=0.0,
    predict_seconds=0.5,
    map_seconds=0.4,
    augment_seconds=0.1,
    read_seconds=1.0,
    probe_hw=(64, 96),
)


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
def plan(project: Project, monkeypatch: pytest.MonkeyPatch) -> Plan:
    set_machine(monkeypatch, 8 * GIB)
    set_free_disk(monkeypatch, 10**12)
    return build_plan(project)


def build_plan(project: Project, experiment: ExperimentConfig = EXPERIMENT, **options: Any) -> Plan:
    return plan_experiment(
        project, DATASET, "unet_a", experiment, num_folds=5, **{"photos": PHOTOS, "probe": False, **options}
    )


def set_machine(monkeypatch: pytest.MonkeyPatch, usable_bytes: int, *, is_gpu: bool = False) -> None:
    machine = Machine(device="a device", is_gpu=is_gpu, usable_bytes=usable_bytes)
    monkeypatch.setattr(planner, "measure_machine", lambda: machine)


def set_free_disk(monkeypatch: pytest.MonkeyPatch, free_bytes: int) -> None:
    monkeypatch.setattr(planner.shutil, "disk_usage", lambda path: SimpleNamespace(free=free_bytes))


def change(experiment: ExperimentConfig, field: str, **changes: Any) -> ExperimentConfig:
    """Returns the experiment with some fields of one of its parts changed, checked as a file's would be."""
    part = {**getattr(experiment, field).model_dump(), **changes}
    return ExperimentConfig.model_validate({**experiment.model_dump(), field: part})


def test_the_largest_batch_inverts_the_prediction() -> None:
    for fixed in (0, 7, 100):
        for photo in (1, 3, 10):
            need = Memory(fixed_bytes=fixed, photo_bytes=photo)
            for free in range(200):
                batch = need.find_largest_batch(free)
                assert batch == 0 or need.measure(batch) <= free
                assert need.measure(batch + 1) > free


def test_micro_batches_by_hand() -> None:
    # 100 for the net, 50 for added up gradients, 10 a photo; 12 photos an update
    need = Memory(fixed_bytes=100, photo_bytes=10, accumulation_bytes=50)
    assert largest_micro_batch(need, 220, 12) == 12  # all at once: 100 + 120, nothing is added up
    assert largest_micro_batch(need, 219, 12) == 6  # 100 + 50 + 60
    assert largest_micro_batch(need, 209, 12) == 4  # 5 would fit, but does not divide 12
    assert largest_micro_batch(need, 160, 12) == 1
    assert largest_micro_batch(need, 159, 12) == 0
    # of 12 photos each of 2 devices takes half
    assert largest_micro_batch(need, 160, 12, num_devices=2) == 12  # 100 + 60
    assert largest_micro_batch(need, 159, 12, num_devices=2) == 0  # 100 + 50 + 10 for 1 each
    assert largest_micro_batch(need, 179, 12, num_devices=2) == 12
    assert largest_micro_batch(Memory(fixed_bytes=100, photo_bytes=30), 220, 12, num_devices=2) == 6  # 4 each; 3 do
    assert largest_micro_batch(need, 10**6, 12, num_devices=5) == 0  # not to be dealt equally


def test_devices_that_share_a_step_take_a_part_each(
    project: Project, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_machine(monkeypatch, 8 * GIB, is_gpu=True)
    alone, spread = build_plan(project), build_plan(project, num_devices=4)
    assert alone.training_bytes - spread.training_bytes == 9 * alone.training.photo_bytes  # 12 against 3
    assert "over 4 devices" in render_plan(spread) and "on each device" in render_plan(spread)
    assert "devices" not in render_plan(alone)
    # 2 s a photo by one, a quarter by four; 80 trained, 20 validated; reading from a cache is faster than both
    probed = replace(spread, speed=SPEED, cache="ram")
    assert probed.epoch_seconds == pytest.approx(80 * 0.5 + 20 * 0.125)
    # what is too much for one is not for four, and what is too much for them says how they do it
    set_machine(monkeypatch, alone.training.measure(3), is_gpu=True)
    roomy = change(EXPERIMENT, "prediction", batch_size=1, tta=("identity",))
    check_plan(build_plan(project, roomy, num_devices=4))
    assert find_faults(build_plan(project, roomy))
    set_machine(monkeypatch, alone.training.measure(2, accumulates=True), is_gpu=True)
    for accumulates, command in ((True, "DATA_PARALLEL=1 MICRO_BATCH=8`"), (False, "MICRO_BATCH=2`")):
        monkeypatch.setattr(planner, "accumulates_spread", lambda accumulates=accumulates: accumulates)
        (fault,) = find_faults(build_plan(project, change(roomy, "data", batch_size=16), num_devices=4))
        assert f"`make train EXP=unet_a {command}" in fault and "16 photos a step over 4 devices" in fault
        assert ("on one device" in fault) == (not accumulates)
    # a CPU's devices share its memory
    set_machine(monkeypatch, 8 * GIB)
    assert build_plan(project, num_devices=4).training_bytes == plan.training_bytes


def test_pseudo_labels_cost_time_and_cache(project: Project, plan: Plan) -> None:
    photos = replace(PHOTOS, num_pseudo=30)
    labelled = replace(plan, photos=photos, speed=SPEED)
    assert labelled.epoch_seconds == pytest.approx((80 + 30) * 3 + 20 * 0.5)
    assert "30 pseudo-labels" in render_plan(labelled) and "pseudo" not in render_plan(replace(plan, speed=SPEED))
    photo_bytes = 64 * 96 * 4
    folder = project.cache_dir / "64x96_labels_fold3_ab"
    folder.mkdir(parents=True)
    (folder / "photos.npy").write_bytes(bytes(1000))
    for cache, num_photos in (("ram", 130), ("disk", 100 + 5 * 30)):  # the labels of a fold, or of all five
        experiment = change(EXPERIMENT, "data", cache=cache, pseudo_labels="labels")
        found = build_plan(project, experiment, photos=photos)
        assert found.cache_bytes == num_photos * photo_bytes
    assert found.disk.present_cache_bytes == 1000
    assert build_plan(project, change(EXPERIMENT, "data", cache="disk")).disk.present_cache_bytes == 0


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
        assert changed.photo_bytes == least.photo_bytes
    assert least.accumulation_bytes == numbers
    wider = measure_training(build_unet(ModelConfig(depth=2, base_filters=8), (64, 96)), config, is_gpu=True)
    assert wider.fixed_bytes > least.fixed_bytes and wider.photo_bytes > least.photo_bytes
    mixed = measure_training(net, config, is_gpu=True, precision="mixed")
    assert mixed.photo_bytes < least.photo_bytes


def test_what_xla_compiles_takes_memory_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    net = build_unet(EXPERIMENT.model, (64, 96))

    def measure(*, compiles: bool, is_gpu: bool) -> list[int]:
        monkeypatch.setattr("unets.training.memory.prefers_xla", lambda: compiles)
        training = measure_training(net, TrainingConfig(), is_gpu=is_gpu)
        return [training.fixed_bytes, measure_prediction(net, 1, is_gpu=is_gpu).fixed_bytes]

    plain, compiled = measure(compiles=False, is_gpu=False), measure(compiles=True, is_gpu=False)
    assert [(after - before) // 2**20 for before, after in zip(plain, compiled, strict=True)] == [900, 600]
    assert measure(compiles=True, is_gpu=True) == measure(compiles=False, is_gpu=True)


@pytest.mark.parametrize(("optimizer", "slots"), [("AdamW", 2), ("Adam", 2), ("SGD", 0), ("Lion", 1), ("RMSprop", 1)])
def test_slots_of_an_optimizer(optimizer: Any, slots: int) -> None:
    assert count_slots(TrainingConfig(optimizer=optimizer)) == pytest.approx(slots, abs=1e-3)


def test_hours_by_hand(plan: Plan) -> None:
    plan = replace(plan, speed=SPEED)
    # 80 photos trained at 2 s and read at 1 s on the same cores, 20 validated at 0.5 s
    assert plan.epoch_seconds == pytest.approx(80 * 3 + 20 * 0.5)
    assert plan.fold_seconds == pytest.approx(10 * 250)
    # 2 views: a training photo by the one fold that held it out, a test photo by all 5; each is read once
    assert plan.prediction_seconds == pytest.approx(100 * (2 * 0.4 + 1) + 1000 * (5 * 2 * 0.4 + 1))
    assert plan.total_seconds == pytest.approx(5 * 2500 + 180 + 5000)
    # from a cache photos are only changed
    assert replace(plan, cache="ram").epoch_seconds == pytest.approx(80 * 2.1 + 10)
    # 24 s to update the weights, once for the 12 photos of a step
    assert replace(plan, speed=replace(SPEED, update_seconds=24.0)).epoch_seconds == pytest.approx(80 * 5 + 10)
    # beside a card's work the cores read
    on_card = replace(plan, machine=replace(plan.machine, is_gpu=True))
    assert on_card.epoch_seconds == pytest.approx(80 * 2 + 10)
    slow = replace(on_card, speed=replace(SPEED, read_seconds=3.0))
    assert slow.epoch_seconds == pytest.approx(80 * 3 + 10)
    assert "reading binds" in render_plan(slow) and "the net binds" in render_plan(on_card)


def test_the_work_of_a_training_by_hand(plan: Plan) -> None:
    # 80 photos an epoch, 10 epochs, 5 folds; forwards once, backwards to inputs and to filters
    assert plan.train_multiply_adds == pytest.approx(3 * plan.multiply_adds * 80 * 10 * 5)


def test_disk_by_hand(project: Project, plan: Plan) -> None:
    net = build_unet(EXPERIMENT.model, (64, 96))
    weights, trained = (4 * sum(v.numpy().size for v in vs) for vs in (net.variables, net.trainable_variables))
    state = weights + 2 * trained  # AdamW
    assert plan.disk.checkpoint_bytes == 5 * (weights + state) + state
    # training photos twice: all views and the first alone
    assert plan.disk.map_bytes == int(1200 * 20 * (64 * 96) ** 0.5)
    assert plan.disk.cache_bytes == 0 and plan.cache_bytes == 100 * 64 * 96 * 4
    averaged = build_plan(project, change(EXPERIMENT, "training", average="best", average_epochs=3))
    assert averaged.disk.checkpoint_bytes - plan.disk.checkpoint_bytes == 5 * 3 * weights
    # what a run that goes on has written already is not asked for again
    folder = project.run_dir("unet_a", 0)
    folder.mkdir(parents=True)
    (folder / "best.weights.h5").write_bytes(bytes(1000))
    assert build_plan(project).disk.present_bytes == 1000


def test_a_plan_that_fits_is_let_through(plan: Plan) -> None:
    assert find_faults(plan) == []
    check_plan(plan)


def test_too_little_memory_proposes_a_micro_batch_that_works(
    project: Project, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_machine(monkeypatch, plan.training.measure(5, accumulates=True))
    with pytest.raises(InputError, match=r"`make train EXP=unet_a MICRO_BATCH=4`") as caught:
        check_plan(build_plan(project))
    assert "batches of 12" in str(caught.value) and "12 photos a step" in str(caught.value)
    check_plan(build_plan(project, micro_batch=4))
    assert find_faults(build_plan(project, micro_batch=6))


def test_not_one_photo_proposes_a_crop_that_works(
    project: Project, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = change(EXPERIMENT, "prediction", batch_size=1, tta=("identity",))
    set_machine(monkeypatch, plan.training.measure(1, accumulates=True) - plan.training.photo_bytes // 2)
    fault = find_faults(build_plan(project, small))[0]
    # half of the bytes, 0.7 of each side: 45 and 67 in fours
    assert "it does with crop_hw=(44, 64) and MICRO_BATCH=1" in fault
    check_plan(build_plan(project, change(small, "data", crop_hw=(44, 64)), micro_batch=1))
    set_machine(monkeypatch, plan.training.fixed_bytes)
    assert "no crop is small enough" in find_faults(build_plan(project, small))[0]


def test_a_cache_that_leaves_no_memory_goes_to_disk(
    project: Project, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_memory = change(EXPERIMENT, "data", cache="ram")
    set_machine(monkeypatch, plan.training_bytes + plan.cache_bytes - 1)
    fault = find_faults(build_plan(project, in_memory))[0]
    assert 'it does with cache="disk"' in fault
    check_plan(build_plan(project, change(EXPERIMENT, "data", cache="disk")))
    set_machine(monkeypatch, plan.training_bytes + plan.cache_bytes)
    check_plan(build_plan(project, in_memory))
    # a card's memory has no cache in it
    set_machine(monkeypatch, plan.training_bytes, is_gpu=True)
    check_plan(build_plan(project, in_memory))


def test_prediction_proposes_a_batch_that_works(project: Project, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    greedy = change(EXPERIMENT, "prediction", batch_size=500)
    set_machine(monkeypatch, plan.prediction.measure(601))  # 300 photos of 2 views
    faults = find_faults(build_plan(project, greedy, micro_batch=1))
    assert len(faults) == 1 and "it does with prediction.batch_size=300" in faults[0]
    assert not find_faults(build_plan(project, change(greedy, "prediction", batch_size=300), micro_batch=1))


def test_too_small_a_disk_says_what_is_missing(project: Project, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = plan.disk.checkpoint_bytes + plan.disk.map_bytes
    cached = change(EXPERIMENT, "data", cache="disk")
    set_free_disk(monkeypatch, wanted)
    check_plan(build_plan(project))
    with pytest.raises(InputError, match='it works with cache="none"'):
        check_plan(build_plan(project, cached))
    many = Photos(num_train=100, num_test=10**7)
    plan = plan_experiment(project, DATASET, "unet_a", cached, num_folds=5, photos=many, probe=False)
    missing = plan.disk.cache_bytes + plan.disk.checkpoint_bytes + plan.disk.map_bytes - wanted
    with pytest.raises(InputError, match=rf"{missing / 1e9:.1f} GB are missing\. Received") as caught:
        check_plan(plan)
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


def test_a_plan_is_told_in_words(plan: Plan) -> None:
    text = render_plan(replace(plan, speed=SPEED))
    assert "unet_a: 64 x 96, batches of 12, float32, on a device" in text
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.strip()}
    assert rows["card"][2:] == ["6", "8", "12", "16", "24", "40", "80", "141"]
    for kind in ("float32", "mixed"):
        batches = [int(cell) for cell in rows[kind]]
        assert len(batches) == 8 and batches == sorted(batches) and batches[0] > 0
        need = plan.on_cards[kind]
        for size, batch in zip(CARDS_GB, batches, strict=True):
            assert need.measure(batch) <= memory.usable_of_card(size * GIB) < need.measure(batch + 1)
    assert "impossible" not in text and "epoch 4.2 min, fold 42 min (10 epochs), 5 folds 3.5 h" in text
    assert "not probed" in render_plan(plan)
    estimated = replace(SPEED, probe_hw=(32, 48))
    assert "estimated from 32 x 48" in render_plan(replace(plan, speed=estimated))


def test_the_ensemble_is_the_sum(plan: Plan) -> None:
    first, second = replace(plan, speed=SPEED), replace(plan, name="unet_b", speed=replace(SPEED, train_seconds=5.0))
    table = render_total([first, second]).splitlines()
    assert [line.split()[0] for line in table[2 if "-" in table[1] else 1 :]][-1] == "together"
    # 5 folds of 2,500 and 4,900 s; maps twice 5,180 s
    assert f"{(5 * (2500 + 4900)) / 3600:.0f} h" in table[-1]
    assert f"{2 * 5180 / 3600:.1f} h" in table[-1]
    assert "-" not in table[-1] and render_total([plan]).splitlines()[-1].split()[1:4] == ["-", "-", "-"]


def test_plans_that_fit_one_by_one_may_not_fit_together(plan: Plan) -> None:
    def need(name: str, side: int, **sizes: int) -> Plan:
        # 3 GB of its own, of which 1 is there, and a cache of 4 GB, of which 1 is there
        disk = Disk(
            **{
                "cache_bytes": 4 * 10**9,
                "checkpoint_bytes": 10**9,
                "map_bytes": 2 * 10**9,
                "present_bytes": 10**9,
                "present_cache_bytes": 10**9,
                "free_bytes": 7 * 10**9,
            }
            | sizes
        )
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
    assert find_common_fault([need("unet_a", 64), need("unet_b", 96, map_bytes=9 * 10**9)]) is None
    assert find_common_fault([need("unet_a", 64, free_bytes=4 * 10**9)]) is None


@pytest.mark.slow
def test_the_probe_times_a_smaller_photo_of_the_same_net(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_READ_SECONDS", 0.1)
    monkeypatch.setattr(probe, "_CPU_MULTIPLY_ADDS", 1e6)
    monkeypatch.setattr(probe, "_STEPS", 1)
    shallow = change(EXPERIMENT, "model", depth=1, normalization="none")
    speed = probe.probe_speed(shallow, DATASET, (), is_gpu=False, micro_batch=12)
    assert speed.probe_hw[0] % 2 == speed.probe_hw[1] % 2 == 0 and speed.probe_hw[0] < 64 and speed.probe_hw[1] < 96
    assert speed.predict_seconds > 0 and speed.map_seconds > 0 and 0 < speed.train_seconds < 10
    assert speed.read_seconds is None and 0 < speed.augment_seconds < 1


def test_carvana_declares_its_counts() -> None:
    dataset = load_dataset(ROOT / "configs" / "carvana")
    assert (dataset.num_train, dataset.num_test) == (318 * 16, 6254 * 16)


def test_prediction_in_tiles_takes_the_tiles_memory(project: Project, plan: Plan) -> None:
    tiled = EXPERIMENT.model_copy(update={"prediction": PredictionConfig(tile_hw=(32, 48), tile_overlap_px=8)})
    assert build_plan(project, tiled).prediction.photo_bytes * 4 == plan.prediction.photo_bytes
