"""Turns the ensemble's test maps into a validated submission, in the order of sample_submission.csv."""

from unets import cli
from unets.ensemble.ensemble import check_ensemble, read_ensemble
from unets.submission.submission import write_submission


def main(stage: cli.Stage) -> None:
    """Writes submissions/<competition>/<name>.csv.gz, and <name>.json, which says what made it."""
    if stage.dataset.test_photos is None:
        print("no test photos are declared: nothing to submit")
        return
    check_ensemble(
        read_ensemble(stage.project, stage.ensemble_name), stage.dataset, stage.ensemble, stage.common_folds()
    )
    path = write_submission(
        stage.project, stage.dataset, stage.args.name, ensemble_name=stage.ensemble_name, jobs=stage.args.jobs
    )
    print(f"{path}: valid, ready to upload")


if __name__ == "__main__":
    parser = cli.build_parser(__doc__)
    parser.add_argument("--name", help="of the submission (default: from the ensemble)")
    cli.run(main, parser)
