"""Prints one table: the metric of experiments, ensemble and submission, and the seconds of each stage."""

from unets import cli
from unets.evaluation.results import summarize


def main(stage: cli.Stage) -> None:
    """Reads what the stages left in the models folder."""
    print(summarize(stage.project, stage.ensemble_name, stage.experiments))


if __name__ == "__main__":
    cli.run(main, cli.build_parser(__doc__))
