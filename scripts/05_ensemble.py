"""Judges the ensemble on out-of-fold maps and chooses its threshold."""

from unets import cli
from unets.inference.ensemble import fit_ensemble


def main(stage: cli.Stage) -> None:
    """Writes models/<competition>/ensemble.json."""
    dataset, config, folds = stage.dataset, stage.ensemble, stage.common_folds()
    with stage.hold_models():
        ensemble = fit_ensemble(stage.project, dataset, config, folds=folds, jobs=stage.args.jobs)
    print(f"{stage.project.ensemble_path}: {ensemble.metric} {ensemble.score} at threshold {ensemble.threshold}")


if __name__ == "__main__":
    cli.run(main, cli.build_parser(__doc__))
