"""Speed as ratios, measured in one run: ours and the baseline in turn, so that a busy machine slows both.

What computes is chosen as training chooses it: a GPU, where each framework has one, else the CPU. There PyTorch is
compiled, too; otherwise nothing differs.

Run:  make bench INPUT=<a folder in Carvana's layout>   (default: input/studio, which `make render` makes)
      python benchmarks/bench.py --only training,memory --torch-python <an interpreter that has PyTorch>
      python benchmarks/bench.py --only submission --photos 100064   (one submission, whole: 3 GB in TMPDIR)
"""

import argparse
import os
import platform
import sys
from collections.abc import Iterable
from pathlib import Path

from unets.config import list_experiments, load_dataset, load_experiment

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("reading", "encoding", "prediction", "submission", "training", "memory", "growth")
SIZE_HW = (640, 959)  # of what waits for batches, and whose memory is measured


def main() -> None:
    """Measures, prints one table, and writes the same as JSON."""
    args = _parse()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from unets import cli

    cli.load_backend()
    import cv2
    import psutil
    from encoding import measure_encoding
    from footprint import measure_footprint
    from growth import measure_growth
    from measure import Row, format_rows
    from predicting import Pace, format_paces, measure_prediction
    from reading import measure_reading, measure_steps
    from submitting import measure_submission, measure_whole
    from training import list_cases, measure_training_steps
    from waiting import measure_waiting

    from unets.dataset.catalog import load_catalog
    from unets.nets.backend import describe_device
    from unets.store.provenance import describe_origin
    from unets.store.runs import write_json
    from unets.tables import render_table

    configs_dir = ROOT / "configs" / "carvana"
    dataset, experiment = load_dataset(configs_dir), load_experiment(configs_dir, "unet_cpu")
    compact = load_experiment(configs_dir, args.exp)
    compact = compact.model_copy(update={"data": compact.data.model_copy(update={"size_hw": SIZE_HW, "crop_hw": None})})
    catalog = load_catalog(dataset, args.input)
    rows: list[Row] = []
    steps: dict[str, float] = {}

    def take(measured: Iterable[Row]) -> None:
        """Says each ratio as soon as it is known: the whole takes an hour."""
        for row in measured:
            rows.append(row)
            print(f"{row.what}: {row.ratio:.2f} ({row.quartiles[0]:.2f} to {row.quartiles[1]:.2f})", flush=True)

    sizes: dict[str, float] = {}
    found: dict[str, float] = {}
    paces: list[Pace] = []
    load_before = os.getloadavg()[0]
    if "reading" in args.only:
        take(measure_reading(catalog.train, dataset, args.seconds))
        steps = measure_steps(catalog.train, dataset)
    if "encoding" in args.only:
        take(measure_encoding(catalog.train, dataset, args.seconds))
    if "prediction" in args.only:
        for of_size, pace in measure_prediction(catalog.train, dataset, compact, args.seconds):
            take(of_size)
            paces.append(pace)
    if "submission" in args.only and args.photos:
        found = measure_whole(catalog.train, dataset, args.photos)
    elif "submission" in args.only:
        more, found = measure_submission(catalog.train, dataset, args.seconds)
        take(more)
    if "training" in args.only:
        for case in list_cases(experiment):
            take(measure_training_steps(case, args.seconds, args.torch_python))
        take(measure_waiting(catalog.train, dataset, compact, args.seconds))
    if "memory" in args.only:
        more, sizes = measure_footprint(dataset, compact, args.input)
        take(more)
    if "growth" in args.only:
        sizes |= measure_growth(args.input)
    machine = {
        "device": describe_device(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "opencv": cv2.__version__,
        "load_before": round(load_before, 2),  # processes at work before we began
    }
    print(f"\n{machine['device']}, load {machine['load_before']} before; {args.input}\n")
    if rows:
        print(format_rows(rows))
    if paces:
        print()
        print(format_paces(paces))
    if steps:
        print()
        print(
            render_table(
                ["one thread", "ms/photo"], [[name, f"{ms:.2f}"] for name, ms in steps.items()], right={"ms/photo"}
            )
        )
    if found:
        print()
        print(render_table(["submission", ""], [[name, f"{value:.2f}"] for name, value in found.items()], right={""}))
    if sizes:
        print()
        print(render_table(["memory", "MiB"], [[name, f"{mib:.0f}"] for name, mib in sizes.items()], right={"MiB"}))
    write_json(
        args.out,
        {
            "origin": describe_origin(ROOT),
            "machine": machine,
            "input": str(args.input),
            "rows": [row.to_dict() for row in rows],
            "prediction": [pace.to_dict() for pace in paces],
            "steps_ms": steps,
            "submission": found,
            "memory_mib": sizes,
        },
    )
    print(f"\nwritten: {args.out}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = list_experiments(ROOT / "configs" / "carvana")
    smallest = next(name for name in ("unet_compact", "unet_cpu") if name in known)
    parser.add_argument("--input", type=Path, default=ROOT / "input/studio", help="a folder in Carvana's layout")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/out/bench.json")
    parser.add_argument("--only", default=",".join(PARTS), help=f"among {','.join(PARTS)}")
    parser.add_argument(
        "--photos", type=int, help="of one submission, written whole in place of a small one in steps, extrapolated"
    )
    parser.add_argument("--seconds", type=float, default=45, help="of each measurement (default: 45)")
    parser.add_argument("--exp", default=smallest, help=f"whose waiting and memory is measured (default: {smallest})")
    parser.add_argument("--torch-python", default=sys.executable, help="an interpreter that has PyTorch")
    args = parser.parse_args()
    args.only = args.only.split(",")
    unknown = [part for part in args.only if part not in PARTS]
    if unknown:
        parser.error(f"`--only` must be among {', '.join(PARTS)}. Received: {unknown[0]}")
    if args.photos is not None and (args.photos < 1 or "submission" not in args.only):
        parser.error(f"`--photos` must be at least 1, of `--only submission`. Received: {args.photos}")
    if args.exp not in known:
        parser.error(f"`--exp` must be among {', '.join(known)}. Received: {args.exp}")
    if not (args.input / "train").exists() and not (args.input / "train.zip").exists():
        sys.exit(f"error: {args.input} must hold photos in Carvana's layout. Received: none. Run `make render`")
    return args


if __name__ == "__main__":
    main()
