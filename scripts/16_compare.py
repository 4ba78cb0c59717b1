"""Compares two experiments or ensembles on the same out-of-fold photos: paired difference with interval, and cost."""

from unets import cli
from unets.evaluation.compare import compare, render_comparison


def main(stage: cli.Stage) -> None:
    """Reads the scores that `make predict` and `make ensemble` wrote."""
    args = stage.args
    comparison = compare(stage.project, stage.dataset.metric, args.a, args.b)
    print(comparison.to_json() if args.json else render_comparison(comparison))


if __name__ == "__main__":
    parser = cli.build_parser(__doc__)
    names = "an experiment, `ensemble`, `ensemble_x`, or any of them in another models folder, as models/cpu/unet_cpu"
    parser.add_argument("--a", required=True, help=names)
    parser.add_argument("--b", required=True, help=names)
    parser.add_argument("--json", action="store_true", help="print JSON")
    cli.run(main, parser)
