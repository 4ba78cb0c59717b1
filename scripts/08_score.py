"""Scores a submission against the truth, where one has it."""

from pathlib import Path

from unets import cli
from unets.dataset.catalog import load_catalog
from unets.ensemble.score import score_submission
from unets.store.runs import write_json
from unets.submission.submission import find_submission


def main(stage: cli.Stage) -> None:
    """Prints the mean with its interval and keeps it in models/<competition>/scores/."""
    project, dataset = stage.project, stage.dataset
    path = find_submission(project, stage.args.submission)
    truth_path = stage.args.truth or project.input_dir / "truth" / "test_masks.csv"
    truth_path = truth_path.absolute()  # workers of a cluster stand in folders of their own
    photos = () if dataset.size_hw else load_catalog(dataset, project.input_dir).test
    score = score_submission(path, truth_path, dataset, photos=photos, jobs=stage.args.jobs)
    write_json(project.score_path(path), {"submission": path.name, **score.summarize()})
    print(f"{path}: {score.metric} {score.interval} over {len(score.ids)} photos")


if __name__ == "__main__":
    parser = cli.build_parser(__doc__)
    parser.add_argument("--submission", help="csv or csv.gz (default: the newest)")
    parser.add_argument("--truth", type=Path, help="csv of run lengths or folder of masks (default: INPUT/truth)")
    cli.run(main, parser)
