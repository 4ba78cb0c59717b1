"""Trains every fold of every experiment asked for; finished folds are skipped, unfinished ones go on."""

from unets import cli
from unets.catalog import load_catalog
from unets.folds import hash_folds, read_folds


def main(stage: cli.Stage) -> None:
    """Trains fold after fold; those of one size share a cache of decoded photos."""
    catalog = load_catalog(stage.dataset, stage.project.input_dir, with_test=False)
    folds, folds_hash = read_folds(stage.project.folds_path, catalog), hash_folds(stage.project.folds_path)
    folds_of = {name: stage.list_folds(experiment) for name, experiment in stage.experiments.items()}
    cli.load_backend()  # takes seconds: after all that may be mistyped
    from unets.training.fold import train_experiment

    for name, experiment in stage.experiments.items():
        train_experiment(
            stage.project,
            catalog,
            name,
            experiment,
            folds=folds,
            folds_hash=folds_hash,
            use_folds=folds_of[name],
        )


if __name__ == "__main__":
    cli.run(main, cli.build_parser(__doc__))
