"""Compares what Kaggle scored of ours with its leaderboard: rank, share, medal; adds new scores to RESULTS.md."""

from unets import cli
from unets.evaluation.results import write_results_page
from unets.submission.kaggle.client import find_competition, sign_in
from unets.submission.kaggle.leaderboard import compare_with_board


def main(stage: cli.Stage) -> None:
    """A rank is the one that the score would have if it came in now."""
    session = sign_in(find_competition(stage.dataset, stage.project.configs_dir))
    print(compare_with_board(stage.project, session, stage.dataset.metric))
    write_results_page(stage.args.root)


if __name__ == "__main__":
    cli.run(main, cli.build_parser(__doc__))
