"""Subcommands for the data: fetch it, look at it, check it, split it into folds."""

from pathlib import Path

from unets.cli.stage import Stage, command
from unets.errors import InputError
from unets.log import format_count, to_plain


@command("unets download carvana", "unets download carvana --unpack")
def download(stage: Stage, unpack: bool = False) -> None:
    """Downloads what is missing of a competition from Kaggle; goes on where it was stopped."""
    from unets.submission.kaggle.data import get_data

    get_data(stage.project, stage.dataset, unpack=unpack)
    stage.finish(f"{stage.project.input_dir}: complete", "check")


@command("unets import mine", locks=True)
def import_(stage: Stage) -> None:
    """Reads the data into a table that every stage reads, samples.csv, and draws masks that are in another form.

    The data itself is never written to. Every stage does so by itself where a size or time changed.
    """
    from unets.dataset.manifest import import_data

    import_data(stage.project, stage.dataset, read_all=True)
    stage.finish(f"{stage.project.samples_path}: a row an image", "data")


@command("unets data mine", "unets data mine --sheet sheet.jpg", "unets data mine --dump dump/")
def data(stage: Stage, sheet: Path | None = None, dump: Path | None = None, count: int = 24) -> None:
    """Says what there is: images, groups, classes; draws images with their masks to look at before training."""
    from unets.data.io import check_picture_name
    from unets.dataset.dump import write_dump
    from unets.pages.sheet import draw_ground_truth, name_colors

    if sheet is not None:
        check_picture_name(sheet)  # before an import, which may take minutes
    dataset, manifest = stage.dataset, stage.manifest
    num_groups, num_train = len({sample.group for sample in manifest.train}), len(manifest.train)
    of_groups = f" of {format_count(num_groups, 'group')}" if num_groups < num_train else ""
    print(f"{format_count(num_train, 'training image')}{of_groups}, {format_count(len(manifest.test), 'test image')}")
    print(f"classes: {', '.join(dataset.classes)}{' (overlapping)' if dataset.overlapping else ''}")
    if dump is not None:
        write_dump(stage.project, manifest, dump)
        print(f"{dump}: classes.txt, index.csv and masks, as they are read")
    if sheet is not None:
        number = draw_ground_truth(sheet, manifest, count)
        print(f"{sheet}: {number} training images with the contours of their masks{name_colors(dataset.classes)}")
    stage.finish("", "pipeline")


@command("unets check mine", locks=True)
def check(stage: Stage) -> None:
    """Checks that every image and mask is there, whole, and as the competition's dataset.py declares it."""
    from unets.dataset.checks import check_data

    report = check_data(stage.project, stage.dataset)
    print(to_plain(report.render()))
    if not report.is_clean:
        count = format_count(len(report.faults), "fault")
        raise InputError(f"{stage.project.input_dir} must be free of faults. Received: {count}")
    stage.finish("", "split")


@command("unets split mine", locks=True)
def split(stage: Stage) -> None:
    """Splits the groups (cars) into folds, once, in models/COMPETITION/folds.csv."""
    from unets.dataset.folds import write_folds

    fold_of = write_folds(stage.project, stage.manifest)
    sizes = [list(fold_of.values()).count(fold) for fold in range(stage.dataset.num_folds)]
    stage.finish(f"{stage.project.folds_path}: images a fold {sizes}", "train")
