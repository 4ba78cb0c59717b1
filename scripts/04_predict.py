"""Predicts every photo: training photos by the fold that did not see them, test photos by the mean of the folds."""

from unets import cli
from unets.dataset.catalog import load_catalog
from unets.dataset.folds import read_folds
from unets.ensemble.oof import score_oof


def main(stage: cli.Stage) -> None:
    """Makes the maps that are missing and scores the out-of-fold ones at full size."""
    project, dataset = stage.project, stage.dataset
    catalog = load_catalog(dataset, project.input_dir)
    folds = read_folds(project.folds_path, catalog)
    folds_of = {name: stage.list_folds(experiment) for name, experiment in stage.experiments.items()}
    cli.load_backend()  # takes seconds: after all that may be mistyped
    from unets.prediction.predict import predict_experiments

    predict_experiments(project, catalog, stage.experiments, folds=folds, use_folds=folds_of, force=stage.args.force)
    for name, use_folds in folds_of.items():
        scores = score_oof(project, dataset, name, folds=use_folds, jobs=stage.args.jobs)
        print(f"{name}: out-of-fold {dataset.metric} {scores[:, 0].mean():.5f} at full size")


if __name__ == "__main__":
    parser = cli.build_parser(__doc__)
    parser.add_argument("--force", action="store_true", help="replace maps that other nets made")
    cli.run(main, parser)
