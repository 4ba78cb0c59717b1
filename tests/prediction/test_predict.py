import pickle
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import pytest

from tests.trained_competition import TINY, build_constant_net, flip_bit, write_metrics, write_run
from unets.config import DataConfig, ExperimentConfig, ModelConfig, load_dataset
from unets.data.samples import Sample, read_image
from unets.dataset.folds import write_folds
from unets.dataset.manifest import Manifest, read_manifest
from unets.errors import InputError
from unets.nets.unet import build_unet
from unets.prediction import maps, pipeline
from unets.prediction.maps import open_maps, write_shard
from unets.prediction.pipeline import predict_experiments
from unets.store.paths import Project

pytestmark = pytest.mark.slow

SIZE_HW = TINY.data.size_hw


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A competition of 24 training photos in two folds, 8 test photos, and the way to predict them."""

    project: Project
    manifest: Manifest
    fold_of: dict[str, int]

    def plant(
        self, *folds: int, prob: float | None = None, name: str = "unet_a", experiment: ExperimentConfig = TINY
    ) -> None:
        """Puts runs in place whose nets say `prob` everywhere; None is random weights."""
        for fold in folds:
            keras.utils.set_random_seed(fold)
            if prob is None:
                net = build_unet(experiment.model, experiment.data.size_hw)
            else:
                net = build_constant_net(experiment, prob)
            write_run(self.project, name, fold, experiment, self.manifest.dataset, weights=net)

    def predict(
        self, *, folds: Sequence[int] = (0, 1), name: str = "unet_a", force: bool = False, **fields: Any
    ) -> None:
        experiment = TINY.model_copy(update={"prediction": TINY.prediction.model_copy(update=fields)})
        predict_experiments(
            self.project, self.manifest, {name: experiment}, fold_of=self.fold_of, folds={name: folds}, force=force
        )

    def read_values(self, kind: str, name: str = "unet_a") -> dict[str, set[int]]:
        """Returns the values in the map of each photo."""
        reader = open_maps(self.project.maps_dir(name, kind))
        return {id_: set(reader.read_map(id_).ravel().tolist()) for id_ in reader.ids}

    def list_shards(self, name: str = "unet_a") -> dict[Path, tuple[int, bytes]]:
        """Returns (time of change, content) of each shard."""
        folder = self.project.maps_dir(name, "test").parent
        return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in sorted(folder.rglob("*.zip"))}

    def read_shards(self, *names: str) -> dict[Path, bytes]:
        return {path: content for name in names for path, (_, content) in self.list_shards(name).items()}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, write_competition: Callable[..., Project]) -> Scene:
    project = write_competition(tmp_path_factory.mktemp("predict"))
    manifest = read_manifest(project, load_dataset(project.configs_dir))
    return Scene(project=project, manifest=manifest, fold_of=write_folds(project, manifest))


@pytest.fixture
def scene(shared: Scene, tmp_path: Path) -> Scene:
    """The same photos and folds, with a models folder of the test's own."""
    project = replace(shared.project, models_dir=tmp_path)
    project.folds_path.write_bytes(shared.project.folds_path.read_bytes())
    return replace(shared, project=project)


@pytest.fixture
def constant(scene: Scene) -> Scene:
    """Fold 0's net says 0.2 everywhere, fold 1's 0.6."""
    scene.plant(0, prob=0.2)
    scene.plant(1, prob=0.6)
    return scene


def test_scales_are_averaged_and_part_of_what_made_the_maps(constant: Scene) -> None:
    constant.predict(tta=("identity",), scales=(1.0, 0.5, 1.5))
    for kind in ("oof", "oof_no_tta"):
        assert constant.read_values(kind) == {id_: {(51, 153)[fold]} for id_, fold in constant.fold_of.items()}
    assert set.union(*constant.read_values("test").values()) == {102}
    with pytest.raises(InputError, match="--force"):
        constant.predict(tta=("identity",))


def test_each_photo_is_predicted_by_the_fold_that_did_not_see_it(constant: Scene) -> None:
    constant.predict()
    # 255 * 0.2 = 51, 255 * 0.6 = 153; their mean, 255 * 0.4 = 102.
    expected = {id_: {51} if fold == 0 else {153} for id_, fold in constant.fold_of.items()}
    assert constant.read_values("oof") == expected
    assert constant.read_values("oof_no_tta") == expected
    assert constant.read_values("test") == {sample.id: {102} for sample in constant.manifest.test}


def test_workers_of_a_cluster_make_runs_of_shards_of_the_same_bytes(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real thing, without machines: runs are sent away whole, and one is sent twice, as when a worker is lost."""
    scene.plant(0)
    scene.predict(folds=[0], shard_size=4)
    made = scene.read_shards("unet_a")
    damaged, *missing = sorted(scene.project.maps_dir("unet_a", "test").glob("*.zip"))
    flip_bit(damaged, 60)
    for path in (*missing, *scene.project.maps_dir("unet_a", "oof").rglob("*.zip")):
        path.unlink()
    sent = []

    def run_there(function: Callable[[Any], None], runs: Sequence[Any], *, on_gpu: bool, **_: Any) -> list[None]:
        assert on_gpu
        sent.extend(runs)
        done = pickle.loads(pickle.dumps(function))
        return [done(run) for run in (*runs, runs[0])]

    monkeypatch.setattr(pipeline, "find_cluster", lambda: SimpleNamespace(count_gpus=lambda: 2))
    monkeypatch.setattr(pipeline, "run_tasks", run_there)
    scene.predict(folds=[0], shard_size=4)
    assert scene.read_shards("unet_a") == made
    # 12 photos of the fold, 8 test photos: 3 and 2 shards, for 2 GPUs with four runs each
    assert [len(run) for run in sent] == [1] * 5


def test_photos_are_read_once_for_all_nets_of_their_size(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever their folds, flips and batches; and the maps are those that each experiment makes alone."""
    fields = {"unet_a": {"batch_size": 4}, "unet_b": {"batch_size": 3, "tta": ("identity",)}, "unet_c": {}}
    sizes = {"unet_a": SIZE_HW, "unet_b": SIZE_HW, "unet_c": (48, 64)}
    experiments = {
        name: ExperimentConfig(
            data=DataConfig(size_hw=sizes[name]),
            model=TINY.model,
            training=TINY.training,
            prediction=TINY.prediction.model_copy(update=update),
        )
        for name, update in fields.items()
    }
    folds: dict[str, Sequence[int]] = {"unet_a": (0, 1), "unet_b": (1,), "unet_c": (0,)}
    predict_all = partial(predict_experiments, scene.project, scene.manifest, fold_of=scene.fold_of)
    for name, experiment in experiments.items():
        scene.plant(*folds[name], name=name, experiment=experiment)
        predict_all({name: experiment}, folds=folds)
    alone = scene.read_shards(*experiments)
    for path in alone:
        path.unlink()
    read = Counter[tuple[str, tuple[int, int]]]()

    def count(sample: Sample, size_hw: tuple[int, int]) -> Any:
        read[sample.id, size_hw] += 1
        return read_image(sample, size_hw)

    monkeypatch.setattr(pipeline, "read_image", count)
    predict_all(experiments, folds=folds)
    assert scene.read_shards(*experiments) == alone
    test_ids = {sample.id for sample in scene.manifest.test}
    once = {(id_, SIZE_HW): 1 for id_ in (*scene.fold_of, *test_ids)}
    once |= {(id_, (48, 64)): 1 for id_ in (*(id_ for id_, fold in scene.fold_of.items() if fold == 0), *test_ids)}
    assert read == once
    # A shard that one of them lacks is made for it alone, of photos read again.
    read.clear()
    gone = scene.project.maps_dir("unet_b", "test") / "00001.zip"
    gone.unlink()
    predict_all(experiments, folds=folds)
    assert scene.read_shards(*experiments) == alone
    assert read == {(sample.id, SIZE_HW): 1 for sample in scene.manifest.test[5:]}


def test_a_second_start_makes_what_is_missing_or_damaged_alone(scene: Scene) -> None:
    scene.plant(0, 1)
    scene.predict()
    before = scene.list_shards()
    # 12 images a fold in shards of 5: 5 5 2 twice; 8 test images: 5 3.
    assert Counter(path.parent.parent.name for path in before) == {"oof": 6, "oof_no_tta": 6, "maps": 2}
    scene.predict()
    assert scene.list_shards() == before
    maps = {kind: scene.project.maps_dir("unet_a", kind) for kind in ("oof", "oof_no_tta", "test")}
    gone, torn = maps["oof"] / "fold0" / "00001.zip", maps["oof_no_tta"] / "fold1" / "00002.zip"
    flipped = maps["test"] / "00001.zip"
    gone.unlink()
    torn.write_bytes(before[torn][1][:-30])
    flip_bit(flipped, len(before[flipped][1]) // 3)
    scene.predict()
    after = scene.list_shards()
    assert {path: made[1] for path, made in after.items()} == {path: made[1] for path, made in before.items()}
    # The maps of an image with and without TTA are made together.
    both = {maps["oof_no_tta"] / "fold0" / "00001.zip", maps["oof"] / "fold1" / "00002.zip"}
    assert {path for path in after if after[path][0] != before[path][0]} == {gone, torn, flipped} | both


def test_maps_of_another_origin_are_replaced_by_force_alone(constant: Scene) -> None:
    constant.predict()
    before = constant.list_shards()
    with pytest.raises(InputError, match=r"`unets predict --exp unet_a --fold 1 --force` replaces them"):
        constant.predict(folds=[1])  # test maps of one fold in place of those of two
    for fields in ({"tta": ("identity",)}, {"tile_hw": (32, 32)}):
        with pytest.raises(InputError, match=r"`unets predict --exp unet_a --fold 0,1 --force` replaces them"):
            constant.predict(**fields)
    constant.plant(1, prob=0.8)
    with pytest.raises(InputError, match=r"`unets predict --exp unet_a --fold 0,1 --force` replaces them"):
        constant.predict()
    assert constant.list_shards() == before
    constant.predict(force=True)
    # 255 * 0.8 = 204, with 51 of the other fold 127.5, rounded to even
    assert constant.read_values("oof") == {id_: {204} if fold else {51} for id_, fold in constant.fold_of.items()}
    assert constant.read_values("test") == {sample.id: {128} for sample in constant.manifest.test}
    kept = constant.project.maps_dir("unet_a", "oof") / "fold0" / "00000.zip"
    assert constant.list_shards()[kept] == before[kept], "made by the same net"


def test_a_store_is_not_gone_on_with_on_another_machine(constant: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the maps in bfloat16, half in float32: no ensemble would know. A whole store is asked nothing."""
    constant.predict()
    before = constant.list_shards()
    there = pipeline.describe_arithmetic(TINY.training.precision)
    monkeypatch.setattr(pipeline, "describe_arithmetic", lambda _: there | {"precision": "mixed_float16"})
    constant.predict()
    assert constant.list_shards() == before
    (constant.project.maps_dir("unet_a", "test") / "00001.zip").unlink()
    wanted = rf"maps/test must be gone on with as it was begun, with precision {there['precision']}\. "
    with pytest.raises(InputError, match=rf"{wanted}Received: precision mixed_float16\. Delete the folder, or go on"):
        constant.predict()


def test_weights_that_cannot_be_loaded_are_named(constant: Scene) -> None:
    path = constant.project.run_dir("unet_a", 1) / "net.weights.h5"
    for content in (b"", b"no weights", None):
        path.write_bytes(content or b"")
        if content is None:  # of another net
            build_unet(ModelConfig(depth=2, base_filters=2), SIZE_HW).save_weights(path)
        write_metrics(path.parent)
        with pytest.raises(InputError, match=r"fold1/net\.weights\.h5 must hold weights of this net"):
            constant.predict()


def test_an_image_that_cannot_be_read_is_named(constant: Scene, tmp_path: Path) -> None:
    torn_path = tmp_path / "torn.jpg"
    torn_path.write_bytes(constant.manifest.test[6].image_path.read_bytes()[:-40])
    test = list(constant.manifest.test)
    test[6] = replace(test[6], image=str(torn_path))
    torn = replace(constant, manifest=replace(constant.manifest, test=tuple(test)))
    with pytest.raises(InputError, match=r"torn\.jpg must be as it was imported"):
        torn.predict()
    # What was whole before is kept, and nothing half-written bears a shard's name.
    assert {path.parent.name for path in torn.list_shards()} == {"fold0", "fold1"}


def test_reading_stays_close_to_writing(constant: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory must not grow with the number of photos: with a slow writer, the readers wait."""
    test: tuple[Sample, ...] = tuple(
        replace(sample, id=f"copy{copy}_{sample.id}") for copy in range(15) for sample in constant.manifest.test
    )
    many = replace(constant, manifest=replace(constant.manifest, train=(), test=test))
    counts, lead = {"read": 0, "written": 0}, []

    def count_read(*args: Any) -> Any:
        counts["read"] += 1
        return read_image(*args)

    def write_slowly(*args: Any, **kwargs: Any) -> Any:
        time.sleep(0.02)
        lead.append(counts["read"] - counts["written"])
        counts["written"] += 4
        return write_shard(*args, **kwargs)

    monkeypatch.setattr(pipeline, "read_image", count_read)
    monkeypatch.setattr(maps, "write_shard", write_slowly)
    monkeypatch.setattr(pipeline, "count_cores", lambda: 2)
    many.predict(batch_size=4, shard_size=4)
    assert counts == {"read": 120, "written": 120} and len(lead) == 30
    # Two queues of two batches and a photo a worker, the two batches between them, and the shards being filled, waiting
    # and written.
    assert max(lead) <= 2 * (2 * 4 + 2 + 1) + 2 * 4 + 3 * 4


def test_maps_of_a_fold_are_kept_when_others_come(constant: Scene) -> None:
    """Fold 0 first, as one does to see whether it works, and all of them later."""
    constant.predict(folds=[0])
    first = {path: made for path, made in constant.list_shards().items() if path.parent.name == "fold0"}
    assert len(first) == 6
    constant.predict()
    assert constant.list_shards().items() > first.items()
