"""Speed as ratios, measured in one run: ours and the other way in turn, so that a busy machine slows both.

Run:  make bench INPUT=<a folder in Carvana's layout>   (default: input/studio, which `make render` makes)
      python benchmarks/bench.py --only training --torch-python <an interpreter that has PyTorch>

Seconds, memory and disk of whole stages, at any number of images: benchmarks/rehearsal.py.
"""

import argparse
import os
import platform
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from unets.config import load_dataset, load_experiment

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("reading", "encoding", "training", "prediction", "submission")


def main() -> None:
    """Measures, prints one table, and writes the same as JSON."""
    args = _parse()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from data_speed import measure_encoding, measure_reading
    from flow_speed import measure_prediction, measure_submission
    from measure import Row, format_rows, import_samples
    from training_speed import list_cases, measure_training_steps

    from unets.store.provenance import describe_origin
    from unets.store.runs import write_json

    configs_dir = ROOT / "configs" / "carvana"
    dataset, small = load_dataset(configs_dir), load_experiment(configs_dir, "unet_cpu")
    samples = import_samples(dataset, args.input).train
    parts: dict[str, Callable[[], Iterable[Row]]] = {
        "reading": lambda: measure_reading(samples, dataset, args.seconds),
        "encoding": lambda: measure_encoding(samples, dataset, args.seconds),
        "training": lambda: (
            row for case in list_cases(small) for row in measure_training_steps(case, args.seconds, args.torch_python)
        ),
        "prediction": lambda: measure_prediction(samples, dataset, small, args.seconds),
        "submission": lambda: measure_submission(samples, dataset, args.seconds),
    }
    load_before, rows = os.getloadavg()[0], list[Row]()
    for part in args.only:
        for row in parts[part]():
            rows.append(row)
            print(f"{row.what}: {row.ratio:.2f} ({row.quartiles[0]:.2f} to {row.quartiles[1]:.2f})", flush=True)
    machine = {"system": platform.platform(), "cores": os.cpu_count(), "load_before": round(load_before, 2)}
    print(f"\n{machine}; {args.input}\n\n{format_rows(rows)}")
    record = {"origin": describe_origin(ROOT), "machine": machine, "input": str(args.input)}
    write_json(args.out, {**record, "rows": [row.to_dict() for row in rows]})
    print(f"\nwritten: {args.out}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, default=ROOT / "input/studio", help="a folder in Carvana's layout")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/out/bench.json")
    parser.add_argument("--only", default=",".join(PARTS), help=f"among {','.join(PARTS)}")
    parser.add_argument("--seconds", type=float, default=45, help="of each measurement (default: 45)")
    parser.add_argument("--torch-python", default=sys.executable, help="an interpreter that has PyTorch")
    args = parser.parse_args()
    args.only = args.only.split(",")
    if unknown := [part for part in args.only if part not in PARTS]:
        parser.error(f"`--only` must be among {', '.join(PARTS)}. Received: {unknown[0]}")
    if not (args.input / "train").exists() and not (args.input / "train.zip").exists():
        parser.error(f"`--input` must hold images in Carvana's layout. Received: {args.input}. Run `make render`")
    return args


if __name__ == "__main__":
    main()
