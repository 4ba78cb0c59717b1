"""Predicted memory against measured: peaks of training and prediction, one process a case.

What is compared is the rise of the process's peak over what it held with the backend imported. Two steps are made, on
random photos; batches come from arrays, so nothing else is held.

Run:  python benchmarks/memory.py [--only 0,3] [--limit-gib 6]
"""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
from footprint import read_status

from unets.tables import render_table

ROOT = Path(__file__).resolve().parent.parent
MIB, GIB = 2**20, 2**30
_SMALL = {"depth": 5, "base_filters": 16, "max_filters": 256}
_COMPACT = {**_SMALL, "stride": 2}
_FULL = {"depth": 5, "base_filters": 32}
_STEPS = 2  # the second has all that lasts from the first


@dataclass(frozen=True, kw_only=True)
class Case:
    """One process: which net, on what, doing what."""

    model: dict[str, Any]
    size_hw: tuple[int, int] = (320, 480)
    batch: int = 4
    precision: str = "float32"
    work: str = "train"
    backend: str = "tensorflow"
    training: dict[str, Any] = field(default_factory=dict)

    def describe(self) -> str:
        """Names the case."""
        options = {key: value for key, value in self.model.items() if key not in ("depth", "max_filters")}
        words = ", ".join(f"{key}={value}" for key, value in {**options, **self.training}.items())
        return f"{self.backend} {self.work}, {self.size_hw[0]} x {self.size_hw[1]}, {words}"


_BFLOAT16 = "mixed_bfloat16"
CASES = (
    Case(model=_COMPACT, precision=_BFLOAT16),
    Case(model=_COMPACT, batch=16, precision=_BFLOAT16),
    Case(model=_COMPACT, batch=16),
    Case(model=_SMALL, batch=2),
    Case(model=_SMALL, batch=8),
    Case(model=_SMALL, batch=8, precision=_BFLOAT16),
    Case(model={**_SMALL, "normalization": "none"}),
    Case(model={**_SMALL, "normalization": "group"}),
    Case(model={**_SMALL, "normalization": "group"}, precision=_BFLOAT16),
    Case(model={**_SMALL, "block": "residual"}),
    Case(model={**_SMALL, "block": "separable"}, precision=_BFLOAT16),
    Case(model={**_SMALL, "upsampling": "transpose"}, precision=_BFLOAT16),
    Case(model={**_SMALL, "deep_supervision": 2}),
    Case(model={**_SMALL, "encoder": "efficientnet_lite0", "stride": 1}),
    Case(model={**_SMALL, "encoder": "resnet50v2", "stride": 1}, precision=_BFLOAT16),
    Case(model=_COMPACT, training={"ema": 0.99, "clip_norm": 1.0}),
    Case(model=_FULL, size_hw=(640, 959), batch=1, precision=_BFLOAT16),
    Case(model=_FULL, size_hw=(640, 959), batch=2, precision=_BFLOAT16),
    Case(model=_FULL, size_hw=(640, 959), batch=1),
    Case(model=_SMALL, batch=8, precision=_BFLOAT16, work="predict"),
    Case(model=_FULL, size_hw=(640, 959), batch=1, precision=_BFLOAT16, work="predict"),
    Case(model=_FULL, size_hw=(640, 959), batch=2, work="predict"),
    Case(model=_SMALL, batch=2, backend="jax"),
    Case(model=_SMALL, batch=8, backend="jax"),
    Case(model=_COMPACT, batch=16, backend="jax"),
    Case(model=_SMALL, batch=8, backend="jax", work="predict"),
)


def main() -> None:
    """Runs each case in a process of its own, prints one table, writes it as JSON."""
    args = _parse()
    if args.child:
        print(json.dumps(_measure(Case(**json.loads(args.child)))))
        return
    chosen = range(len(CASES)) if args.only is None else [int(word) for word in args.only.split(",")]
    lines, records = [], []
    for number in chosen:
        case = CASES[number]
        found = _run(case, args.limit_gib)
        records.append({"case": asdict(case), **found})
        if "failure" in found:
            cells = [found["failure"], "", "", ""]
        else:
            predicted, measured = found["predicted_bytes"], found["peak_bytes"] - found["import_bytes"]
            ratio = f"{predicted / measured:.2f}"
            cells = [f"{predicted / MIB:.0f}", f"{measured / MIB:.0f}", ratio, f"{found['peak_bytes'] / MIB:.0f}"]
        lines.append([f"{number} {case.describe()}", case.precision, str(case.batch), *cells])
        print("  ".join(lines[-1]), flush=True, file=sys.stderr)
    header = ["case", "precision", "batch", "predicted MiB", "measured MiB", "ratio", "process MiB"]
    print(f"\n{render_table(header, lines, right=header[1:])}")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(records, indent=1) + "\n")
    print(f"\nwritten: {args.out}")


def _run(case: Case, limit_gib: float) -> dict[str, Any]:
    free_gib = psutil.virtual_memory().available / GIB
    if free_gib < limit_gib:
        return {"failure": f"only {free_gib:.1f} GiB free"}
    environment = {**os.environ, "KERAS_BACKEND": case.backend, "TF_CPP_MIN_LOG_LEVEL": "2"}
    command = [sys.executable, __file__, "--child", json.dumps(asdict(case))]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        return {"failure": (done.stderr.strip().splitlines() or ["ended by the system"])[-1][:60]}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _measure(case: Case) -> dict[str, Any]:
    """What a child does."""
    import keras
    import numpy as np

    from unets.config import DataConfig, ExperimentConfig, ModelConfig, TrainingConfig
    from unets.nets.predictor import Predictor
    from unets.nets.tta import FLIPS
    from unets.nets.unet import build_unet
    from unets.training.learner import build_learner
    from unets.training.memory import measure_machine, measure_prediction, measure_training

    is_gpu = measure_machine().is_gpu
    import_bytes = read_status("VmRSS")
    size_hw = (case.size_hw[0], case.size_hw[1])
    experiment = ExperimentConfig(
        data=DataConfig(size_hw=size_hw, batch_size=case.batch),
        model=ModelConfig(**case.model),
        training=TrainingConfig(precision=case.precision, **case.training),
    )
    rng = np.random.default_rng(0)
    photos = rng.integers(0, 256, (case.batch, *size_hw, 3), dtype=np.uint8)
    targets = rng.integers(0, 256, (case.batch, *size_hw, 1), dtype=np.uint8)

    class Same(keras.utils.PyDataset):  # type: ignore[misc]
        def __len__(self) -> int:
            return _STEPS

        def __getitem__(self, index: int) -> Any:
            return photos, targets

    if case.work == "train":
        learner = build_learner(experiment, 1, updates_per_epoch=100)
        learner.fit(Same(), epochs=1, shuffle=False, verbose=0)
        memory = measure_training(learner.net, experiment.training, is_gpu=is_gpu)
        predicted = memory.measure(case.batch)
    else:
        net = build_unet(experiment.model, size_hw, 1, case.precision)
        predictor = Predictor([net], [FLIPS["identity"], FLIPS["hflip"]], case.batch)
        for _ in range(_STEPS):
            predictor(photos)
        predicted = measure_prediction(net, 1, is_gpu=is_gpu).measure(2 * case.batch)
    return {"predicted_bytes": predicted, "peak_bytes": read_status("VmHWM"), "import_bytes": import_bytes}


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help=f"numbers of cases with commas, 0 to {len(CASES) - 1}")
    parser.add_argument("--limit-gib", type=float, default=6, help="memory that must be free before a case is begun")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/out/memory.json")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
