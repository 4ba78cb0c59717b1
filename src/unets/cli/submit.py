"""Subcommands for a submission: write, check, score and send it."""

import logging
from pathlib import Path
from typing import Annotated

from unets.cli import backend
from unets.cli.app import complete_commands
from unets.cli.options import RUNS, Name, Submission, option
from unets.cli.stage import Stage
from unets.cli.subcommand import command

logger = logging.getLogger(__name__)


@command("submit", "unets submission mine", "unets submission mine --name second", takes=RUNS)
def submission(stage: Stage, name: Name = None) -> None:
    """Turns the ensemble's test maps into a checked submission, in the order of the sample submission."""
    from unets.dataset.manifest import read_manifest
    from unets.submission.submission import write_submission

    if not read_manifest(stage.project, stage.dataset).test:
        print("there are no test images: nothing to submit")
        return
    stage.read_ensemble()  # it is the one that is asked for
    path = write_submission(stage.project, stage.dataset, name, ensemble_name=stage.ensemble_name, jobs=stage.jobs)
    stage.finish(f"{path}: valid, ready to upload", "show")


@command("submit", "unets check-submission mine", "unets check-submission mine --submission theirs.csv")
def check_submission(stage: Stage, submission: Submission = None) -> None:
    """Checks any submission: header, ids, order, count, and every run of every mask."""
    from unets.submission import check
    from unets.submission.submission import find_submission

    path = find_submission(stage.project, submission)
    sample_path, images = check.find_reference(stage.project, stage.dataset)
    check.check_submission(path, sample_path, stage.dataset, images=images, jobs=stage.jobs)
    print(f"{path}: valid")


@command("submit", "unets score studio", "unets score mine --ground-truth masks/")
def score(
    stage: Stage,
    submission: Submission = None,
    ground_truth: Annotated[
        Path | None,
        option("csv of run lengths or folder of masks (default: INPUT/truth)", "--ground-truth"),
    ] = None,
) -> None:
    """Scores a submission against the ground truth of the test images, where there is one."""
    from unets.dataset.manifest import read_manifest
    from unets.ensemble.score import score_submission
    from unets.store.runs import hash_file, write_json
    from unets.submission.submission import find_submission

    project, dataset = stage.project, stage.dataset
    path = find_submission(project, submission)
    ground_truth = (ground_truth or project.input_dir / "truth" / "test_masks.csv").absolute()
    images = read_manifest(project, dataset).test
    found = score_submission(path, ground_truth, dataset, images, jobs=stage.jobs)
    score = {"submission": path.name, "sha256": hash_file(path), **found.summarize()}
    write_json(project.score_path(path), score, sealed=True)
    print(f"{path}: {found.metric} {found.interval} over {len(found.ids)} images")


@command("submit", "unets submit carvana --message 'three U-Nets'", "unets submit carvana --wait 10")
def submit(
    stage: Stage,
    submission: Submission = None,
    message: Annotated[str, option("what Kaggle shows beside it", "--message", "-m")] = "",
    again: Annotated[bool, option("send bytes that Kaggle scored before", "--again")] = False,
    wait: Annotated[float, option("longest wait for the score, in minutes (default: 60)", "--wait")] = 60,
) -> None:
    """Sends a submission to Kaggle once it is valid, waits for its score, and adds it to docs/results/.

    The same command goes on waiting where it was stopped; bytes that Kaggle scored are not sent again unasked.
    """
    from unets.evaluation.results import write_results_page
    from unets.store.provenance import describe_origin
    from unets.submission import check
    from unets.submission.kaggle import submissions
    from unets.submission.submission import find_submission

    project, dataset = stage.project, stage.dataset
    path = find_submission(project, submission)
    sample_path, images = check.find_reference(project, dataset)
    check.check_submission(path, sample_path, dataset, images=images, jobs=stage.jobs)
    try:
        sent = submissions.submit(project, dataset, path, message, again=again, wait_s=60 * wait)
    except KeyboardInterrupt:
        words = complete_commands(f"`unets submit --submission {path}`", stage.given)
        logger.info("what arrived stays at Kaggle; %s goes on waiting for its score", words)
        raise
    record = submissions.record_sent(project, sent, dataset.metric, describe_origin(project.configs_dir))
    print(f"{path}: {sent.describe()}")
    print(f"{record}, {write_results_page(stage.root)}")


@command("submit", "unets kaggle-dataset carvana --upload", takes=RUNS)
def kaggle_dataset(
    stage: Stage,
    owner: Annotated[str | None, option("the account at Kaggle (default: the signed in one)", "--owner")] = None,
    slug: Annotated[str | None, option("its name there (default: unets-COMPETITION)", "--slug")] = None,
    upload: Annotated[bool, option("upload it: a new dataset, or its next version", "--upload")] = False,
) -> None:
    """Builds a Kaggle dataset of all that offline inference needs, and the folder of a kernel for it.

    The kernel is pushed by `kaggle kernels push`, once Kaggle has the dataset ready.
    """
    from unets.config import load_experiment
    from unets.store.provenance import describe_commit
    from unets.submission.kaggle.client import sign_in
    from unets.submission.kaggle.dataset import (
        NOTEBOOK,
        build_dataset,
        build_kernel,
        check_owner,
        name_slug,
        upload_dataset,
    )

    project, dataset = stage.project, stage.dataset
    made = stage.read_ensemble()
    session = None if owner and not upload else sign_in(dataset.kaggle or project.competition)
    owner = check_owner(owner or session.user)  # type: ignore[union-attr]
    slug = slug or name_slug(made)
    experiments = {m.experiment: load_experiment(project.configs_dir, m.experiment) for m in made.used_members}
    backend.load_backend()
    with stage.lock_models():
        folder = build_dataset(project, dataset, made, experiments, owner, slug)
        kernel = build_kernel(project, dataset, made, owner, slug, stage.root / "notebooks" / NOTEBOOK)
        print(f"{folder}\n{kernel}")
        if upload and session is not None:
            print(upload_dataset(session, folder, f"{owner}/{slug}", f"commit {describe_commit(project.configs_dir)}"))
