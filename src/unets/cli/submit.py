"""Subcommands for a submission: write, check, score and send it."""

import logging
from pathlib import Path

from unets.cli.app import complete_commands
from unets.cli.stage import Stage, command
from unets.log import format_count

logger = logging.getLogger(__name__)


@command("unets submission mine", "unets submission mine --name second", runs=True)
def submission(stage: Stage, name: str | None = None) -> None:
    """Turns the ensemble's test maps into a checked submission, in the order of the sample submission."""
    from unets.submission.submission import write_submission

    if not stage.manifest.test:
        print("there are no test images: nothing to submit")
        return
    stage.read_ensemble()  # it is the one that is asked for
    path = write_submission(stage.project, stage.manifest, name, ensemble_name=stage.ensemble_name)
    stage.finish(f"{path}: valid, ready to upload", "show")


@command("unets check-submission mine", "unets check-submission mine --submission theirs.csv")
def check_submission(stage: Stage, submission: str | None = None) -> None:
    """Checks any submission: header, ids, order, count, and every run of every mask."""
    print(f"{_find_valid(stage, submission)}: valid")


def _find_valid(stage: Stage, submission: str | None) -> Path:
    from unets.submission import check
    from unets.submission.submission import find_submission

    path = find_submission(stage.project, submission)
    sample_path = check.find_sample(stage.project, stage.manifest)
    check.check_submission(path, sample_path, stage.dataset, images=stage.manifest.test)
    return path


@command("unets score studio", "unets score mine --ground-truth masks/")
def score(stage: Stage, submission: str | None = None, ground_truth: Path | None = None) -> None:
    """Scores a submission against the ground truth of the test images, where there is one."""
    from unets.ensemble.score import score_submission
    from unets.store.runs import hash_file, write_json
    from unets.submission.submission import find_submission

    project, dataset = stage.project, stage.dataset
    path = find_submission(project, submission)
    ground_truth = (ground_truth or project.input_dir / "truth" / "test_masks.csv").absolute()
    images = stage.manifest.test
    found = score_submission(path, ground_truth, dataset, images)
    score = {"submission": path.name, "sha256": hash_file(path), **found.summarize()}
    write_json(project.score_path(path), score, sealed=True)
    print(f"{path}: {found.metric} {found.interval} over {format_count(len(found.ids), 'image')}")


@command("unets submit carvana --message 'three U-Nets'", "unets submit carvana --wait 10")
def submit(
    stage: Stage, submission: str | None = None, message: str = "", again: bool = False, wait: float = 60
) -> None:
    """Sends a submission to Kaggle once it is valid, waits for its score, and adds it to docs/results/.

    The same command goes on waiting where it was stopped; bytes that Kaggle scored are not sent again unasked.
    """
    from unets.evaluation.results import write_results_page
    from unets.store.provenance import describe_origin
    from unets.submission.kaggle import submissions

    project, dataset, path = stage.project, stage.dataset, _find_valid(stage, submission)
    try:
        sent = submissions.submit(project, dataset, path, message, again=again, wait_s=60 * wait)
    except KeyboardInterrupt:
        words = complete_commands(f"`unets submit --submission {path}`", stage.given)
        logger.info("what arrived stays at Kaggle; %s goes on waiting for its score", words)
        raise
    record = submissions.record_sent(project, sent, dataset.metric, describe_origin())
    print(f"{path}: {sent.describe()}")
    print(f"{record}, {write_results_page(stage.root)}")


@command("unets kaggle-dataset carvana --upload", runs=True, locks=True)
def kaggle_dataset(stage: Stage, owner: str | None = None, slug: str | None = None, upload: bool = False) -> None:
    """Builds a Kaggle dataset of all that offline inference needs, and the folder of a kernel for it.

    The kernel is pushed by `kaggle kernels push`, once Kaggle has the dataset ready.
    """
    from unets.store.provenance import describe_commit
    from unets.submission.kaggle import dataset as kaggle
    from unets.submission.kaggle.client import Session

    project, dataset = stage.project, stage.dataset
    made = stage.read_ensemble()
    session = None if owner and not upload else Session(dataset.kaggle or project.competition)
    owner = kaggle.check_owner(owner or session.user)  # type: ignore[union-attr]
    slug = slug or kaggle.name_slug(made)
    folder = kaggle.build_dataset(project, dataset, made, owner, slug)
    notebook = stage.root / "notebooks" / kaggle.NOTEBOOK
    kernel = kaggle.build_kernel(project, dataset, made, owner, slug, notebook)
    print(f"{folder}\n{kernel}")
    if upload and session is not None:
        commit = f"commit {describe_commit()}"
        print(kaggle.upload_dataset(session, folder, f"{owner}/{slug}", commit))
