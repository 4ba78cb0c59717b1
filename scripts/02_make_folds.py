"""Deals the groups (cars) to folds, once, into models/<competition>/folds.csv."""

from unets import cli
from unets.dataset.catalog import load_catalog
from unets.dataset.folds import write_folds


def main(stage: cli.Stage) -> None:
    """Writes the fold file, or checks the one that is there."""
    catalog = load_catalog(stage.dataset, stage.project.input_dir, with_test=False)
    with stage.hold_models():
        folds = write_folds(stage.project, catalog, jobs=stage.args.jobs)
    sizes = [list(folds.values()).count(fold) for fold in range(stage.dataset.num_folds)]
    print(f"{stage.project.folds_path}: photos a fold {sizes}")


if __name__ == "__main__":
    cli.run(main, cli.build_parser(__doc__))
