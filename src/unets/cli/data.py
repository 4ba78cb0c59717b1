"""Subcommands for the data: fetch it, look at it, check it, split it into folds."""

from typing import Annotated

from unets.cli.options import option
from unets.cli.stage import Stage
from unets.cli.subcommand import command


@command("data", "unets download carvana", "unets download carvana --unpack")
def download(
    stage: Stage,
    unpack: Annotated[
        bool, option("unpack the zips (default: they are read as they are)", "--unpack", env="UNPACK")
    ] = False,
) -> None:
    """Downloads what is missing of a competition from Kaggle; goes on where it was stopped."""
    from unets.submission.kaggle.data import get_data

    get_data(stage.project, stage.dataset, unpack=unpack)
    stage.finish(f"{stage.project.input_dir}: complete", "check")


@command("data", "unets check mine")
def check(stage: Stage) -> None:
    """Checks that every image and mask is there, whole, and as the competition's dataset.py declares it."""
    from unets.dataset.checks import check_data
    from unets.errors import InputError

    dataset = stage.dataset  # first: it tells a mistyped competition
    with stage.lock_models():
        report = check_data(stage.project, dataset, jobs=stage.jobs)
    print(report.render())
    if not report.is_clean:
        raise InputError(f"{stage.project.input_dir} must be free of faults. Received: {len(report.faults)}")
    stage.finish("", "split")


@command("data", "unets split mine")
def split(stage: Stage) -> None:
    """Splits the groups (cars) into folds, once, in models/COMPETITION/folds.csv."""
    from unets.dataset.folds import write_folds
    from unets.dataset.manifest import read_manifest

    manifest = read_manifest(stage.project, stage.dataset)
    with stage.lock_models():
        folds = write_folds(stage.project, manifest, jobs=stage.jobs)
    sizes = [list(folds.values()).count(fold) for fold in range(stage.dataset.num_folds)]
    stage.finish(f"{stage.project.folds_path}: images a fold {sizes}", "train")
