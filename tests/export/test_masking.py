"""What becomes of photos, with a model that needs no net: bright is object."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from unets.config import DataConfig, ExperimentConfig, Postprocessing, PredictionConfig
from unets.ensemble.recipe import Recipe
from unets.errors import InputError
from unets.export import masking
from unets.export.card import MemberCard, ModelCard, NetCard
from unets.export.masking import Outcome, make_masks, plan_masks
from unets.export.sources import ModelSource
from unets.export.tasks import plan_tasks

ImageU8 = npt.NDArray[np.uint8]


class Bright:
    """Says of each pixel how bright it is; of two members both see their own size."""

    def __init__(self) -> None:
        self.num_images = 0

    def predict(self, photos: Sequence[Mapping[tuple[int, int], ImageU8]]) -> list[list[ImageU8]]:
        self.num_images += len(photos)
        for photo in photos:
            assert {size_hw: image.shape for size_hw, image in photo.items()} == {
                (32, 48): (32, 48, 3),
                (40, 40): (40, 40, 3),
            }
        return [[photo[size_hw][..., :1] for size_hw in ((32, 48), (40, 40))] for photo in photos]


def build_source(**changes: object) -> ModelSource:
    members = tuple(
        MemberCard(
            name=name,
            experiment=ExperimentConfig(
                data=DataConfig(size_hw=size_hw, augment=None), prediction=PredictionConfig(batch_size=3)
            ),
            nets=(NetCard(fold=0, weights_sha256=name),),
        )
        for name, size_hw in (("a", (32, 48)), ("b", (40, 40)))
    )
    card = ModelCard(
        name="bright",
        competition="tiny",
        classes=("car",),
        image_hw=(64, 96),
        members=members,
        recipe=Recipe(weights=(1.0, 1.0)),
    )
    return ModelSource(path=Path("bright"), card=card.model_copy(update=changes), weights=((), ()))


def draw(size_hw: tuple[int, int] = (64, 96)) -> ImageU8:
    """Black, white in the left upper quarter."""
    image = np.zeros((*size_hw, 3), dtype=np.uint8)
    image[: size_hw[0] // 2, : size_hw[1] // 2] = 255
    return image


def save(path: Path, image: ImageU8, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)
    return path


def run(
    *photos: Path,
    out: Path,
    model: Bright | None = None,
    source: ModelSource | None = None,
    upright: bool = True,
    overwrite: bool = False,
    **wanted: bool,
) -> Outcome:
    tasks = plan_tasks(photos, out, **{"cutout": False, "overlay": False, **wanted})
    plan = plan_masks(source or build_source(), tasks, upright=upright, overwrite=overwrite)
    return make_masks(plan, model or Bright())


def read(path: Path) -> ImageU8:
    with Image.open(path) as picture:
        return np.array(picture)


def test_masks_have_the_photo_s_size_and_place(tmp_path: Path) -> None:
    for index, size_hw in enumerate([(64, 96), (100, 150), (31, 47), (200, 90)]):
        save(tmp_path / "photos" / f"{index}.png", draw(size_hw))
    outcome = run(tmp_path / "photos", out=tmp_path / "out")
    assert (outcome.num_made, outcome.failures, outcome.num_stretched) == (4, (), 1)
    for index, (height, width) in enumerate([(64, 96), (100, 150), (31, 47), (200, 90)]):
        mask_hw = read(tmp_path / "out" / f"{index}.png")
        assert mask_hw.shape == (height, width) and set(np.unique(mask_hw)) == {0, 255}
        assert np.count_nonzero(mask_hw) == pytest.approx(height * width / 4, rel=0.08)
        assert mask_hw[0, 0] == 255 and mask_hw[-1, -1] == 0


def test_a_photo_on_its_side_is_set_upright_unless_told_otherwise(tmp_path: Path) -> None:
    path = save(tmp_path / "x.jpg", draw(), exif=build_exif(6), quality=95)  # a viewer shows it 96 high, 64 wide
    run(path, out=tmp_path / "upright", overlay=True)
    run(path, out=tmp_path / "stored", upright=False)
    upright, stored = read(tmp_path / "upright" / "x.png"), read(tmp_path / "stored" / "x.png")
    assert upright.shape == (96, 64) and stored.shape == (64, 96)
    assert upright[2, -2] == 255 and upright[2, 2] == 0 and stored[2, 2] == 255
    assert read(tmp_path / "upright" / "x_overlay.jpg").shape == (96, 64, 3)
    with Image.open(tmp_path / "upright" / "x.png") as picture:
        assert not picture.getexif()


def build_exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def test_a_cutout_is_the_object_alone(tmp_path: Path) -> None:
    path = save(tmp_path / "x.png", draw())
    run(path, out=tmp_path / "out", cutout=True, overlay=True)
    cutout = read(tmp_path / "out" / "x_cutout.png")
    assert cutout.shape == (64, 96, 4)
    assert cutout[2, 2].tolist() == [255, 255, 255, 255] and cutout[-2, -2].tolist() == [0, 0, 0, 0]
    overlay = read(tmp_path / "out" / "x_overlay.jpg").astype(int)
    differs = np.abs(overlay - draw().astype(int)).max(axis=-1) > 60
    assert differs[28:36, :50].any() and not differs[4:24, 4:40].any()


def test_what_was_transparent_stays_so(tmp_path: Path) -> None:
    opacity_hw = np.full((64, 96), 255, dtype=np.uint8)
    opacity_hw[:16] = 0
    path = save(tmp_path / "x.png", np.dstack([draw(), opacity_hw]))
    run(path, out=tmp_path / "out", cutout=True)
    alpha_hw = read(tmp_path / "out" / "x_cutout.png")[..., 3]
    assert (alpha_hw[:16] == 0).all() and (alpha_hw[17:28, :40] == 255).all()


def test_several_classes_are_indices(tmp_path: Path) -> None:
    class Two(Bright):
        def predict(self, photos: Sequence[Mapping[tuple[int, int], ImageU8]]) -> list[list[ImageU8]]:
            maps = super().predict(photos)
            return [[np.concatenate([255 - layer, layer], axis=-1) for layer in layers] for layers in maps]

    run(save(tmp_path / "x.png", draw()), out=tmp_path / "out", model=Two(), source=build_source(classes=("a", "b")))
    mask_hw = read(tmp_path / "out" / "x.png")
    assert mask_hw[0, 0] == 2 and mask_hw[-1, -1] == 1


def test_post_processing_is_done(tmp_path: Path) -> None:
    image = draw()
    image[50:62, 80:92] = 255
    path = save(tmp_path / "x.png", image)
    recipe = Recipe(weights=(1.0, 1.0), postprocessing=Postprocessing(max_components=1))
    run(path, out=tmp_path / "all")
    run(path, out=tmp_path / "one", source=build_source(recipe=recipe))
    assert read(tmp_path / "all" / "x.png")[56, 86] == 255
    assert read(tmp_path / "one" / "x.png")[56, 86] == 0


def test_a_faulty_photo_does_not_keep_the_others_from_theirs(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for name in "acegi":
        save(folder / f"{name}.png", draw())
    (folder / "b.jpg").write_text("no photo")
    (folder / "f.png").write_bytes((folder / "a.png").read_bytes()[:60])
    (folder / "h.png").symlink_to(tmp_path / "gone.png")
    outcome = run(folder, out=tmp_path / "out")
    assert outcome.num_made == 5
    assert [failure.path.name for failure in outcome.failures] == ["b.jpg", "f.png", "h.png"]
    assert all(failure.path.name in failure.reason for failure in outcome.failures)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{name}.png" for name in "acegi"]


def test_what_is_there_is_kept_as_long_as_it_is_of_this_photo(tmp_path: Path) -> None:
    folder, model = tmp_path / "photos", Bright()
    for name in "abc":
        save(folder / f"{name}.png", draw())
    run(folder, out=tmp_path / "out", model=model)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    save(folder / "b.png", 255 - draw())
    save(folder / "d.png", draw())
    run(folder, out=tmp_path / "out", model=model)
    assert model.num_images == 3 + 2
    changed = [path.name for path in (tmp_path / "out").iterdir() if times.get(path) != path.stat().st_mtime_ns]
    assert sorted(changed) == ["b.png", "d.png"]
    assert read(tmp_path / "out" / "b.png")[0, 0] == 0


def test_a_kill_between_two_files_of_a_photo_costs_that_photo(tmp_path: Path) -> None:
    path, model = save(tmp_path / "x.png", draw()), Bright()
    run(path, out=tmp_path / "out", model=model, cutout=True)
    (tmp_path / "out" / "x.png").unlink()  # the mask is written last
    run(path, out=tmp_path / "out", model=model, cutout=True)
    run(path, out=tmp_path / "out", model=model, cutout=True)
    assert model.num_images == 2


def test_files_of_another_model_are_not_replaced_unless_told_to(tmp_path: Path) -> None:
    path, out = save(tmp_path / "x.png", draw()), tmp_path / "out"
    run(path, out=out)
    other = build_source(recipe=Recipe(weights=(1.0, 1.0), threshold=0.4))
    with pytest.raises(
        InputError, match=r"out/x\.png must not exist, or be made by this model. Received: one of anoth"
    ):
        run(path, out=out, source=other)
    with pytest.raises(InputError, match="seen in another way"):
        run(path, out=out, upright=False)
    save(out / "x.png", draw())
    with pytest.raises(InputError, match="Received: another file"):
        run(path, out=out, source=other)
    run(path, out=out, source=other, overwrite=True)
    model = Bright()
    run(path, out=out, source=other, model=model)
    assert model.num_images == 0


def test_grey_models_see_grey(tmp_path: Path) -> None:
    red = np.full((64, 96, 3), (255, 0, 0), dtype=np.uint8)
    path = save(tmp_path / "x.png", red)
    run(path, out=tmp_path / "rgb")  # the red layer is bright
    run(path, out=tmp_path / "grey", source=build_source(channels="grey"))  # 0.299 of it is not
    assert read(tmp_path / "rgb" / "x.png").all() and not read(tmp_path / "grey" / "x.png").any()


def test_few_pixels_are_in_memory_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "_PIXELS_IN_WORK", 64 * 96)
    monkeypatch.setattr(masking, "count_cores", lambda: 4)
    held, most = 0, 0
    whole = masking.average_maps

    def average(*arguments: object) -> object:
        nonlocal held, most
        held += 1
        most = max(most, held)
        try:
            return whole(*arguments)  # type: ignore[arg-type]
        finally:
            held -= 1

    monkeypatch.setattr(masking, "average_maps", average)
    for index in range(12):
        save(tmp_path / "photos" / f"{index}.png", draw((128, 192) if index == 5 else (64, 96)))
    assert run(tmp_path / "photos", out=tmp_path / "out").num_made == 12
    assert most == 1


def test_a_full_disk_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device", "out/x.png")

    monkeypatch.setattr(masking, "write_mask", fail)
    with pytest.raises(OSError, match="No space left"):
        run(save(tmp_path / "x.png", draw()), out=tmp_path / "out")


def test_the_fingerprint_is_of_what_decides_masks() -> None:
    card = build_source().card
    assert card.fingerprint == card.model_copy(update={"name": "other", "origin": {"date": "now"}}).fingerprint
    faster = tuple(
        member.model_copy(
            update={
                "experiment": member.experiment.model_copy(update={"prediction": PredictionConfig(batch_size=1)}),
            }
        )
        for member in card.members
    )
    assert card.fingerprint == card.model_copy(update={"members": faster}).fingerprint
    changed = replace(build_source(), card=card.model_copy(update={"channels": "grey"})).card
    assert card.fingerprint != changed.fingerprint
