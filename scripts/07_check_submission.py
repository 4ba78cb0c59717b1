"""Checks any submission: header, ids, order, count, and every run of every mask."""

from unets import cli
from unets.catalog import load_catalog
from unets.inference.check import check_submission, find_sample
from unets.inference.submission import find_submission


def main(stage: cli.Stage) -> None:
    """Names the first faults by row, if there are any."""
    project, dataset = stage.project, stage.dataset
    path = find_submission(project, stage.args.submission)
    sample_path = find_sample(dataset, project.input_dir)
    is_needed = sample_path is None or dataset.size_hw is None
    photos = load_catalog(dataset, project.input_dir).test if is_needed else ()
    check_submission(path, sample_path, dataset, photos=photos, jobs=stage.args.jobs)
    print(f"{path}: valid")


if __name__ == "__main__":
    parser = cli.build_parser(__doc__)
    parser.add_argument("--submission", help="csv or csv.gz (default: the newest)")
    cli.run(main, parser)
