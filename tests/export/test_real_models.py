"""Models with real nets: one mask whatever it is opened from, and the same as the submission's."""

import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

import unets
from tests import ROOT
from tests.submissions import read_submission
from tests.trained_competition import EXPERIMENTS
from unets.config import (
    DataConfig,
    DatasetConfig,
    ExperimentConfig,
    ModelConfig,
    SubmissionConfig,
    TrainingConfig,
    load_dataset,
)
from unets.data.image import ImageFile, ImageKind
from unets.data.rle import decode_rle
from unets.data.samples import read_image
from unets.dataset.folds import read_folds
from unets.dataset.manifest import read_manifest
from unets.errors import InputError
from unets.evaluation.predictions import open_prediction
from unets.export.exporting import build_portable, compare_files, export_models, write_model_file
from unets.export.masking import Wanted, mask_folder
from unets.export.model import TrainedModel
from unets.export.oof import SampleImages, find_oof_images, find_range, find_usual
from unets.export.programs import FORMATS, write_program_files
from unets.export.sources import load_model, open_model
from unets.nets.losses import to_probs
from unets.nets.unet import ONE_CLASS, build_unet
from unets.prediction.loading import load_net
from unets.store.paths import Project
from unets.store.tensors import TensorFile, write_tensors

pytestmark = pytest.mark.slow


def port(weights: Path, experiment: ExperimentConfig, dataset: DatasetConfig = ONE_CLASS) -> keras.Model:
    """The net that other programs get."""
    return build_portable(
        load_net(weights, experiment, experiment.data.size_hw, dataset, "float32"), "unet+training.seed=1_fold0"
    )


@pytest.fixture(scope="module")
def model_path(predicted: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("file") / "tiny.safetensors"
    write_model_file(open_model(predicted.ensemble_path("ensemble")), path)
    return path


def test_the_mask_of_an_image_is_that_of_the_submission(predicted: Project, model_path: Path, tmp_path: Path) -> None:
    dataset = load_dataset(predicted.configs_dir)
    submitted = read_submission(predicted.submission_path("ours"), dataset)
    wanted = Wanted(cutout=True, overlay=True)
    outcome = mask_folder(open_model(model_path), [predicted.input_dir / "test"], tmp_path / "out", wanted)
    assert len(outcome.masked) == len(submitted) == 8
    shares = []
    for id_, (rle,) in submitted.items():
        with Image.open(tmp_path / "out" / f"{id_}.png") as picture:
            mask_hw = np.array(picture)
        np.testing.assert_array_equal(mask_hw, 255 * decode_rle(rle, mask_hw.shape, dataset.submission.order))
        shares.append(np.mean(mask_hw > 0))
    assert 0.02 < np.mean(shares) < 0.98 and np.std(shares) > 0  # masks of which something could be seen to differ


def test_a_model_file_has_the_bits_of_what_it_was_made_of(predicted: Project, model_path: Path) -> None:
    source = open_model(predicted.ensemble_path("ensemble"))
    found, expected = load_model(model_path), TrainedModel(source.card, source.weights, 1)
    assert found.card.fingerprint == source.card.fingerprint
    assert found.card.origin is not None and "keras" in found.card.origin.versions
    image = ImageFile(sorted((predicted.input_dir / "test").iterdir())[0], ImageKind(upright=True)).read()
    np.testing.assert_array_equal(found.probs(image), expected.probs(image))
    np.testing.assert_array_equal(found.mask(image), expected.mask(image))
    again = model_path.with_name("again.safetensors")
    write_model_file(open_model(model_path), again)  # a file of a file
    assert {name: TensorFile(again).read(name).tobytes() for name in TensorFile(again).shapes} == {
        name: TensorFile(model_path).read(name).tobytes() for name in TensorFile(model_path).shapes
    }


def test_the_public_api_does_what_the_readme_shows(model_path: Path, predicted: Project) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = (found for found in re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL) if "load_model" in found)
    photo = sorted((predicted.input_dir / "test").iterdir())[0]
    for function, path in (("load_model", model_path), ("mask", photo)):
        block, count = re.subn(rf'{function}\("[^"]+"\)', f"{function}({str(path)!r})", block)
        assert count == 1
    found: dict[str, Any] = {}
    exec(block, found)
    assert found["mask_hw"].shape == (64, 96)

    model = found["model"]
    assert isinstance(model, unets.TrainedModel) and model.classes == ("car",)
    assert "_ensemble: car; 4 nets of 37 x 50, 48 x 48; dice 0." in repr(model)
    with Image.open(photo) as picture:
        np.testing.assert_array_equal(model.mask(picture), model.mask(np.array(picture)))
    image = np.random.default_rng(0).integers(0, 256, (61, 83, 3), dtype=np.uint8)  # any size
    result = model.find(image)
    assert (result.mask.shape, result.mask.dtype, result.probs.shape) == ((61, 83), np.uint8, (61, 83, 1))
    assert 0 <= result.area <= 1 and 0 <= result.confidence <= 1
    with pytest.raises(unets.InputError, match=r"`image` must be a path, .*float64 \(4, 4\)"):
        model.mask(np.zeros((4, 4)))


def test_usual_masks_are_those_of_out_of_fold_images(predicted: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = load_dataset(predicted.configs_dir)
    usual = find_usual(predicted, dataset, "ensemble")
    assert usual is not None and usual.num_images == 16
    assert 0 <= usual.area[0] < usual.area[1] <= 1 and 0 < usual.confidence < 1
    assert find_usual(predicted, dataset, "unet_none") is None
    low, high = find_range(np.linspace(0.1, 0.2, 7))  # of few images it is wider
    assert 0 < low < 0.06 and 0.3 < high < 0.5
    assert find_range(np.linspace(0, 1, 1001)) == (0.005, 0.995)  # of many: the percentiles
    with monkeypatch.context() as patch:
        patch.setattr("unets.export.oof.find_range", lambda _: (0.0, 1.0))  # few and different images: any is usual
        assert find_usual(predicted, dataset, "ensemble") is None
    prediction = open_prediction(predicted, dataset, "ensemble")
    one = replace(prediction, recipes=dict([*prediction.recipes.items()][:1]))
    monkeypatch.setattr("unets.export.oof.open_prediction", lambda *_: one)
    assert find_usual(predicted, dataset, "ensemble") is None  # a single image tells nothing


def test_weights_of_another_net_are_refused(model_path: Path, tmp_path: Path) -> None:
    file = TensorFile(model_path)
    arrays = {name: file.read(name) for name in file.shapes}
    name = "unet_a/fold0/classify/bias"
    for changed in ({name: np.zeros(3, dtype=np.float32)}, {f"{name}s": arrays[name]}):
        kept = {key: array for key, array in arrays.items() if key != name}
        write_tensors(tmp_path / "x", kept | changed, file.metadata)
        with pytest.raises(InputError, match=r"unet_a/fold0, must hold weights of this net. Received: classify/bias"):
            load_model(tmp_path / "x")


PAIR = DatasetConfig(classes=("cat", "dog"), submission=SubmissionConfig(sample=None))
NETS = {
    "grouped, two classes": (EXPERIMENTS["unet_b"].model, PAIR),
    "coarse": (ModelConfig(depth=3, base_filters=4, stride=4, normalization="none"), ONE_CLASS),
    "lite0": (ModelConfig(encoder="efficientnet_lite0", depth=2, base_filters=4, stride=2), ONE_CLASS),
}


def test_portable_nets_are_the_nets_and_open_without_us(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 70, 75, 3), dtype=np.uint8)
    expected = {}
    for name, (model, dataset) in NETS.items():
        experiment = ExperimentConfig(
            data=DataConfig(size_hw=(70, 75)), model=model, training=TrainingConfig(precision="mixed_bfloat16")
        )
        net = build_unet(model, (70, 75), dataset)
        net.save_weights(tmp_path / "net.weights.h5")
        portable = port(tmp_path / "net.weights.h5", experiment, dataset)
        expected[name] = np.asarray(portable(image))
        logits = keras.tree.flatten(net(image))[0]
        np.testing.assert_allclose(expected[name], to_probs(logits), atol=2e-5, err_msg=name)
        portable.save(tmp_path / f"{name}.keras")
        with zipfile.ZipFile(tmp_path / f"{name}.keras") as archive:
            assert "unets" not in archive.read("config.json").decode(), name
    np.save(tmp_path / "image.npy", image)
    program = """
import sys
from pathlib import Path
sys.modules["unets"] = None  # as if it were not installed
import keras, numpy as np
image = np.load("image.npy")
for path in Path().glob("*.keras"):
    np.save(path.with_suffix(".npy"), keras.models.load_model(path, safe_mode=True)(image))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name, probs in expected.items():
        np.testing.assert_allclose(np.load(tmp_path / f"{name}.npy"), probs, atol=1e-6, err_msg=name)


def draw_photos(size_hw: tuple[int, int], count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    return [np.array(Image.fromarray(image).resize(size_hw[::-1], Image.Resampling.BICUBIC)) for image in coarse]


def test_other_programs_compute_the_same_and_the_snippets_of_the_docs_open_them(
    predicted: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in {package for packages in FORMATS.values() for package in packages}:
        pytest.importorskip(package)
    net = port(predicted.run_dir("unet_b", 0) / "net.weights.h5", EXPERIMENTS["unet_b"])
    files = write_program_files(net, tmp_path / "unet_fold0", tuple(FORMATS), draw_photos((48, 48), 8))
    photos = draw_photos((48, 48), 3)
    rows = compare_files(net, files, SampleImages(images=[(image, None) for image in photos], total=3))
    limits = {"LiteRT float16": 0.02, "LiteRT int8": 0.5}
    assert len(rows) == 6
    for row in rows:
        assert row.largest_difference <= limits.get(row.kind, 1e-4), row
        assert row.num_images == 3 and row.scores is None
    text = (ROOT / "docs" / "how-to" / "use-a-model.md").read_text(encoding="utf-8").partition("## Other programs")[2]
    snippets = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(snippets) == 4
    monkeypatch.chdir(tmp_path)
    found: list[dict[str, Any]] = [{"image": photos[0][None]} for _ in snippets]
    for snippet, names in zip(snippets, found, strict=True):
        exec(snippet, names)
        np.testing.assert_allclose(np.asarray(names["probs"]), found[0]["probs"], atol=0.02, err_msg=snippet)


def test_exports_come_with_a_table_of_images_that_their_net_did_not_see(predicted: Project, tmp_path: Path) -> None:
    dataset = load_dataset(predicted.configs_dir).model_copy(update={"metric": "iou"})
    manifest = read_manifest(predicted, dataset)
    fold_of = read_folds(predicted.folds_path, manifest)
    shown = [read_image(sample, (37, 50)) for sample in manifest.train if fold_of[sample.id] == 1]
    trial = find_oof_images(predicted, dataset, 3, 1, (37, 50))
    assert all(any(np.array_equal(image, own) for own in shown) for image, _ in trial.images)
    assert trial.total == 3 and len(trial.calibration) == 4
    source = open_model(predicted.run_dir("unet_a", 1))
    paths = export_models([source], tmp_path, ["model", "keras"], partial(find_oof_images, predicted, dataset, 3))
    assert [path.name for path in paths] == ["unet_a_fold1.safetensors", "unet_a_fold1.keras", "export.md"]
    header, *_, row = (tmp_path / "export.md").read_text().splitlines()
    name, kind, _, _, _, images, iou, change = (cell.strip() for cell in row.strip("|").split("|"))
    assert (name, kind, images) == ("unet_a_fold1.keras", "Keras", "3")
    assert 0 <= float(iou) <= 1 and abs(float(change)) < 1e-4
    assert "| iou |" in " ".join(header.split())  # the data set's metric, whose scores these are
    assert load_model(paths[0]).card.name == "unet_a_fold1"
