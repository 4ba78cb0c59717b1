"""Checks any submission: header, ids, order, count, and every run of every mask."""

from unets import cli
from unets.submission.check import check_submission, find_reference
from unets.submission.submission import find_submission


def main(stage: cli.Stage) -> None:
    """Names the first faults by row, if there are any."""
    project, dataset = stage.project, stage.dataset
    path = find_submission(project, stage.args.submission)
    sample_path, photos = find_reference(dataset, project.input_dir)
    check_submission(path, sample_path, dataset, photos=photos, jobs=stage.args.jobs)
    print(f"{path}: valid")


if __name__ == "__main__":
    parser = cli.build_parser(__doc__)
    parser.add_argument("--submission", help="csv or csv.gz (default: the newest)")
    cli.run(main, parser)
