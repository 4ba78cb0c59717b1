"""Makes pseudo-labels: test photos' masks, where the ensemble is confident, as more training photos of each fold."""

from unets import cli
from unets.dataset.catalog import load_catalog
from unets.ensemble.ensemble import check_ensemble, read_ensemble


def main(stage: cli.Stage) -> None:
    """Writes models/<competition>/pseudo_labels/<name>/fold<k>.csv.gz, and fold<k>.json, which says what made it."""
    project = stage.project
    ensemble = read_ensemble(project, stage.ensemble_name)
    check_ensemble(ensemble, stage.dataset, stage.ensemble, ensemble.folds)
    use_folds, catalog = stage.common_folds(), load_catalog(stage.dataset, project.input_dir)
    cli.load_backend()  # takes seconds: after all that may be mistyped
    from unets.ensemble.pseudo_labels import make_pseudo_labels

    make_pseudo_labels(
        project,
        catalog,
        stage.args.name,
        ensemble,
        stage.experiments,
        use_folds=use_folds,
        confidence=stage.args.confidence,
        anew=stage.args.anew,
        jobs=stage.args.jobs,
    )
    print(f"{project.pseudo_labels_dir(stage.args.name)}: DataConfig(pseudo_labels={stage.args.name!r}) trains on them")


if __name__ == "__main__":
    parser = cli.build_parser(__doc__)
    parser.add_argument("--name", required=True, help="of the labels")
    parser.add_argument("--confidence", type=float, default=0.9, help="least expected Dice of a photo that is kept")
    parser.add_argument("--anew", action="store_true", help="delete the labels of this name and these folds first")
    cli.run(main, parser)
