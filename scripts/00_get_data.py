"""Downloads what is missing of a competition from Kaggle; goes on where it was stopped."""

from unets import cli
from unets.submission.kaggle.data import get_data


def main(stage: cli.Stage) -> None:
    """Writes into input/<competition>: the one stage, beside rendering, that does."""
    get_data(stage.project, stage.dataset, unpack=stage.args.unpack)
    print(f"{stage.project.input_dir}: complete; `make check-data` looks at every file")


if __name__ == "__main__":
    parser = cli.build_parser(__doc__)
    parser.add_argument("--unpack", action="store_true", help="unpack the competition's zips (default: they are read)")
    cli.run(main, parser)
