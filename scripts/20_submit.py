"""Sends a submission to Kaggle once it is valid, waits for its score, and adds it to docs/results/README.md."""

import logging

from unets import cli
from unets.evaluation.results import write_results_page
from unets.store.provenance import describe_origin
from unets.submission.check import check_submission, find_reference
from unets.submission.kaggle.submissions import record_sent, submit
from unets.submission.submission import find_submission

logger = logging.getLogger("unets.submit")


def main(stage: cli.Stage) -> None:
    """The same command goes on waiting where it was stopped; bytes that Kaggle judged are not sent again unasked."""
    project, dataset, args = stage.project, stage.dataset, stage.args
    path = find_submission(project, args.submission)
    sample_path, images = find_reference(dataset, project.input_dir)
    check_submission(path, sample_path, dataset, photos=images, jobs=args.jobs)
    try:
        sent = submit(project, dataset, path, args.message, again=args.again, wait_s=60 * args.wait)
    except KeyboardInterrupt:
        command = cli.complete_commands(f"`make submit SUBMISSION={path}`", args)
        logger.info("what arrived stays at Kaggle; %s goes on waiting for its score", command)
        raise
    record = record_sent(project, sent, dataset.metric, describe_origin(project.configs_dir))
    print(f"{path}: {sent.describe()}")
    print(f"{record}, {write_results_page(args.root)}")


if __name__ == "__main__":
    parser = cli.build_parser(__doc__)
    parser.add_argument("--submission", help="csv, csv.gz or name (default: the newest)")
    parser.add_argument("--message", default="", help="what Kaggle shows beside it")
    parser.add_argument("--again", action="store_true", help="send bytes that Kaggle judged before")
    parser.add_argument("--wait", type=float, default=60, help="longest wait for the score, in minutes (default: 60)")
    cli.run(main, parser)
