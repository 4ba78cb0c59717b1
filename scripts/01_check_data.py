"""Checks that every photo and mask is there, whole, and as the competition's dataset.py declares it."""

from unets import cli
from unets.dataset.checks import check_data
from unets.errors import InputError


def main(stage: cli.Stage) -> None:
    """Prints the report; faults end the pipeline before anything is trained."""
    dataset = stage.dataset  # first: it tells a mistyped competition
    with stage.hold_models():
        report = check_data(stage.project, dataset, jobs=stage.args.jobs)
    print(report.render())
    if not report.is_clean:
        raise InputError(f"{stage.project.input_dir} must be free of faults. Received: {len(report.faults)}")


if __name__ == "__main__":
    cli.run(main, cli.build_parser(__doc__))
