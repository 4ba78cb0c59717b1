"""Renders the demo competition into a folder, or measures how hard it is.

python scripts/00_render_studio.py --out input/studio --train-cars 18 --test-cars 6
python scripts/00_render_studio.py --measure --train-cars 18 --height 320
"""

import argparse
from pathlib import Path

import numpy as np

from unets import cli
from unets.studio.baseline import measure_baseline
from unets.studio.competition import write_competition
from unets.studio.render import FULL_SIZE_HW


def main(stage: cli.Stage) -> None:
    """Writes the competition, or prints what the best global threshold reaches on it."""
    args = stage.args
    size_hw = (args.height, round(args.height * FULL_SIZE_HW[1] / FULL_SIZE_HW[0]))
    if args.measure:
        report_baseline(args.seed, args.train_cars, args.jobs, size_hw)
    else:
        with stage.hold_models():
            write_competition(
                args.out.absolute(),
                args.train_cars,
                args.test_cars,
                args.seed,
                args.jobs,
                size_hw,
                in_parts=args.parts,
            )


def report_baseline(seed: int, num_cars: int, jobs: int | None, size_hw: tuple[int, int]) -> None:
    """Prints the best global threshold's Dice and the car's share of the photos."""
    result = measure_baseline(seed, num_cars, jobs=jobs, size_hw=size_hw)
    least, median, most = np.quantile(result.shares, [0, 0.5, 1])
    low, high = np.quantile(result.dices, [0.1, 0.9])
    print(f"{len(result.dices)} photos of {size_hw[0]} x {size_hw[1]}, seed {seed}")
    print(
        f"difference baseline: mean Dice {result.dice:.4f} at threshold {result.threshold} "
        f"(a tenth below {low:.3f}, a tenth above {high:.3f})"
    )
    print(f"car's share of the photo: {least:.3f} to {most:.3f}, median {median:.3f}")


def build_parser() -> argparse.ArgumentParser:
    """Adds what only rendering needs to the arguments of every script."""
    parser = cli.build_parser(__doc__)
    parser.set_defaults(competition="studio")
    parser.add_argument("--out", type=Path, default=Path("input/studio"), help="the competition's folder")
    parser.add_argument("--train-cars", type=int, default=18, help="16 photos each")
    parser.add_argument("--test-cars", type=int, default=6, help="16 photos each, truth apart")
    parser.add_argument("--seed", type=int, default=0, help="decides every car, photo and id")
    parser.add_argument("--height", type=int, default=FULL_SIZE_HW[0], help="of the photos, in pixels")
    parser.add_argument("--parts", action="store_true", help="masks tell body, glass and wheels apart")
    parser.add_argument("--measure", action="store_true", help="write nothing; report the difference baseline")
    return parser


if __name__ == "__main__":
    cli.run(main, build_parser())
