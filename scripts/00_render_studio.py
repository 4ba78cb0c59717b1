"""Renders the demo competition into a folder: `--out input/studio --train-cars 18 --test-cars 6`."""

import argparse
from pathlib import Path

from unets import cli
from unets.studio.competition import write_competition
from unets.studio.render import FULL_SIZE_HW


def main(stage: cli.Stage) -> None:
    """Writes the competition."""
    args = stage.args
    size_hw = (args.height, round(args.height * FULL_SIZE_HW[1] / FULL_SIZE_HW[0]))
    with stage.hold_models():
        write_competition(
            args.out.absolute(), args.train_cars, args.test_cars, args.seed, args.jobs, size_hw, in_parts=args.parts
        )


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
    return parser


if __name__ == "__main__":
    cli.run(main, build_parser())
