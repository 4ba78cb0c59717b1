"""Every network in a row: parameters, multiply-adds, seconds a image of training and of prediction.

Writes docs/reference/networks.md. Parameters and multiply-adds are counted, and a test holds the page to them; seconds
are measured, a process a network.

Run:  python benchmarks/nets.py [--only VGG16,MobileNetV2]
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from unets.config import ModelConfig, load_experiment

ROOT = Path(__file__).resolve().parent.parent
CONFIGS_DIR = ROOT / "configs" / "carvana"
PAGE = ROOT / "docs" / "reference" / "networks.md"
SIZE_HW = (320, 480)
_BATCH = 4
_STEPS = 3
_WIDE = {"depth": 5, "base_filters": 32}
_PRETRAINED = {"depth": 5, "base_filters": 16, "max_filters": 256}

# By the words that the page has for them.
NETS: dict[str, ModelConfig] = {
    "U-Net of 2015": ModelConfig(
        depth=4, base_filters=64, max_filters=1024, normalization="none", dropout=0.5, upsampling="transpose"
    ),
    "U-Net, batch-normalized": ModelConfig(**_WIDE),
    "group-normalized": ModelConfig(**_WIDE, normalization="group"),
    "residual blocks": ModelConfig(**_WIDE, block="residual"),
    "separable blocks": ModelConfig(**_WIDE, block="separable"),
    "deep supervision": ModelConfig(**_WIDE, deep_supervision=2),
    "dilated bottleneck": ModelConfig(**_WIDE, bottleneck="dilated"),
    "small (unet_cpu)": load_experiment(CONFIGS_DIR, "unet_cpu").model,
    "compact (unet_compact)": load_experiment(CONFIGS_DIR, "unet_compact").model,
    "EfficientNet-Lite0": ModelConfig(**_PRETRAINED, encoder="efficientnet_lite0"),
    "VGG16": ModelConfig(**_PRETRAINED, encoder="vgg16"),
    "ResNet50V2": ModelConfig(**_PRETRAINED, encoder="resnet50v2"),
    "MobileNetV2": ModelConfig(**_PRETRAINED, encoder="mobilenetv2"),
    "EfficientNetV2B0": ModelConfig(**_PRETRAINED, encoder="efficientnetv2b0"),
    "ConvNeXtTiny": ModelConfig(**_PRETRAINED, encoder="convnexttiny"),
}


def main() -> None:
    """Measures, and writes the page."""
    args = _parse()
    if args.child:
        print(json.dumps(_measure(NETS[args.child])))
        return
    names = list(NETS) if args.only is None else args.only.split(",")
    device, lines, load_before = "", [], os.getloadavg()[0]
    for name in names:
        found = _run(name)
        device = found["device"]
        counted = format_counts(found["parameters"], found["multiply_adds"])
        lines.append(f"| {name} | {counted} | {found['train_seconds']:.2f} | {found['predict_seconds']:.3f} |")
        print(lines[-1], flush=True)
    text = "\n".join(
        [
            "# Networks and their cost",
            "",
            "Written by `benchmarks/nets.py`; nothing here is typed. `ModelConfig` chooses the network, `unets plan`",
            "says what an experiment costs on your machine. Any image size from 32 pixels up will do.",
            "",
            f"At {SIZE_HW[0]} x {SIZE_HW[1]}; seconds of an image in batches of {_BATCH} on {device}, "
            f"load {load_before:.1f} before.",
            "",
            "| network | parameters | multiply-adds an image | s to train on it | s to predict it |",
            "|---|---|---|---|---|",
            *lines,
            "",
        ]
    )
    if args.only is None:
        PAGE.write_text(text, encoding="utf-8")


def format_counts(parameters: int, multiply_adds: int) -> str:
    """Writes the cells that are counted."""
    return f"{parameters / 1e6:.2f} M | {multiply_adds / 1e9:.2f} G"


def _run(name: str) -> dict[str, float]:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run(
        [sys.executable, __file__, "--child", name], capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode != 0:
        sys.exit(f"error: {name} must be built and run. Received: {done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _measure(config: ModelConfig) -> dict[str, object]:
    """What a child does."""
    import numpy as np

    from unets.config import DataConfig, DatasetConfig, ExperimentConfig
    from unets.nets.backend import describe_device
    from unets.nets.cost import count_multiply_adds, count_parameters
    from unets.nets.predictor import Predictor
    from unets.nets.tta import FLIPS
    from unets.training.learner import build_learner

    experiment = ExperimentConfig(data=DataConfig(size_hw=SIZE_HW), model=config)
    learner = build_learner(experiment, DatasetConfig(), updates_per_epoch=100)
    predictor = Predictor([learner.net], [FLIPS["identity"]], _BATCH)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (_BATCH, *SIZE_HW, 3), dtype=np.uint8)
    targets = rng.integers(0, 256, (_BATCH, *SIZE_HW, 1), dtype=np.uint8)
    return {
        "device": describe_device(),
        "parameters": count_parameters(learner.net.variables),
        "multiply_adds": count_multiply_adds(learner.net),
        "train_seconds": _time(lambda: learner.train_on_batch(images, targets)),
        "predict_seconds": _time(lambda: predictor(images)),
    }


def _time(step: Callable[[], object]) -> float:
    """Returns seconds a image: the least of some calls after the first, which compiles."""
    step()
    seconds = []
    for _ in range(_STEPS):
        began = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - began)
    return min(seconds) / _BATCH


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="names with commas, printed and not written")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
