"""What one step of training and one prediction take on this machine: seconds, memory, loss.

Each experiment has a process of its own: one batch through the real reading, augmentation, loss and optimizer, then one
photo under all its views. Tracing the net is part of both times. A process that outgrows the memory it may take is
ended, which is said below the table.

Run:  python benchmarks/one_step.py --exp unet_640x959,unet_1024 --input <a folder in Carvana's layout>
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from measure import format_table

from unets.config import list_experiments

ROOT = Path(__file__).resolve().parent.parent
_POLL_SECONDS = 0.02


def main() -> None:
    """Runs each experiment in a process of its own and prints one table."""
    args = _parse()
    if args.child:
        print(json.dumps(_step(args)))
        return
    lines, failures = [], []
    for name in args.exp.split(","):
        limit_gib = args.memory_limit or 0.9 * psutil.virtual_memory().available / 2**30
        found = _watch(args, name, limit_gib)
        if "failure" in found:
            failures.append(f"{name}: {found['failure']}")
        else:
            lines.append([name, *_describe(found)])
        print(".", end="", flush=True, file=sys.stderr)
    header = ["experiment", "batch", "size", "parameters", "step s", "loss", "prediction s", "memory GiB"]
    print(f"\n{_name_device()}; {args.input}\n\n{format_table(header, lines)}")
    print("\n".join(failures))


def _watch(args: argparse.Namespace, name: str, limit_gib: float) -> dict[str, Any]:
    """Runs one experiment in a child; ends it where it outgrows the limit."""
    command = [
        sys.executable,
        __file__,
        "--child",
        "--exp",
        name,
        "--input",
        str(args.input),
        "--batch",
        str(args.batch),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        process, peak_gib = psutil.Process(child.pid), 0.0
        while child.poll() is None:
            try:
                peak_gib = max(peak_gib, process.memory_info().rss / 2**30)
            except psutil.NoSuchProcess:
                break
            if peak_gib > limit_gib:
                child.kill()
                child.communicate()
                return {"failure": f"does not fit into {limit_gib:.1f} GiB"}
            time.sleep(_POLL_SECONDS)
        output, errors = child.communicate()
    if child.returncode != 0:
        # -9: the system itself ended it, for memory
        reason = "ended by the system" if child.returncode == -9 else errors.strip().splitlines()[-1][:100]
        return {"failure": f"{reason} at {peak_gib:.1f} GiB"}
    return dict(json.loads(output.splitlines()[-1]))


def _step(args: argparse.Namespace) -> dict[str, Any]:
    """Trains one step, predicts one photo; what a child does."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Should memory run out all the same, the system ends this process and no other.
    oom_path = Path("/proc/self/oom_score_adj")
    if oom_path.exists():
        oom_path.write_text("1000")
    import resource

    from unets.catalog import load_catalog
    from unets.config import load_dataset, load_experiment
    from unets.data.batches import Batches
    from unets.data.cache import DiskReader
    from unets.inference.views import VIEWS
    from unets.nets.predictor import Predictor
    from unets.training.fold import compile_unet

    configs_dir = ROOT / "configs" / "carvana"
    dataset, experiment = load_dataset(configs_dir), load_experiment(configs_dir, args.exp)
    catalog = load_catalog(dataset, args.input, with_test=False)
    data = experiment.data
    batch_size = args.batch or data.batch_size
    reader = DiskReader(catalog.train, dataset, data.size_hw)
    batches = Batches(
        reader,
        range(batch_size),
        batch_size=batch_size,
        targets=data.targets,
        augment_config=data.augment,
        shuffle=True,
    )
    model = compile_unet(catalog, experiment, steps_per_epoch=len(catalog.train) // batch_size)
    began = time.perf_counter()
    history = model.fit(batches, epochs=1, shuffle=False, verbose=0)
    step_seconds = time.perf_counter() - began
    predictor = Predictor([model], [VIEWS[view] for view in experiment.prediction.views], batch_size=1)
    began = time.perf_counter()
    predictor(reader[0][0][None])
    prediction_seconds = time.perf_counter() - began
    return {
        "batch_size": batch_size,
        "config_batch_size": data.batch_size,
        "size_hw": data.size_hw,
        "parameters": model.count_params(),
        "loss": history.history["loss"][0],
        "step_seconds": step_seconds,
        "prediction_seconds": prediction_seconds,
        "memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,  # in KiB on Linux
    }


def _describe(found: dict[str, Any]) -> list[str]:
    """Returns the cells of one line of the table."""
    height, width = found["size_hw"]
    of = "" if found["batch_size"] == found["config_batch_size"] else f" of {found['config_batch_size']}"
    return [
        f"{found['batch_size']}{of}",
        f"{height} x {width}",
        f"{found['parameters'] / 1e6:.1f} M",
        f"{found['step_seconds']:.1f}",
        f"{found['loss']:.3f}",
        f"{found['prediction_seconds']:.1f}",
        f"{found['memory_gib']:.1f}",
    ]


def _name_device() -> str:
    memory_gib = psutil.virtual_memory().total / 2**30
    return f"{len(os.sched_getaffinity(0))} cores, {memory_gib:.0f} GiB, load {os.getloadavg()[0]:.1f}"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exp", default="unet_640x959,unet_1024,unet_1280x1918", help="names with commas")
    parser.add_argument("--input", type=Path, default=ROOT / "input/studio", help="a folder in Carvana's layout")
    parser.add_argument("--batch", type=int, default=0, help="photos a step (default: the experiment's own)")
    parser.add_argument("--memory-limit", type=float, help="GiB a process may take (default: 9 tenths of what is free)")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not (args.input / "train").exists() and not (args.input / "train.zip").exists():
        sys.exit(f"error: {args.input} must hold photos in Carvana's layout. Received: none. Run `make render`")
    known = list_experiments(ROOT / "configs" / "carvana")
    for name in args.exp.split(","):
        if name not in known:
            parser.error(f"`--exp` must be among {', '.join(known)}. Received: {name}")
    return args


if __name__ == "__main__":
    main()
