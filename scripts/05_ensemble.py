"""Judges the ensemble on out-of-fold maps; keeps of weights, threshold, post-processing what proves a gain."""

from unets import cli
from unets.ensemble.ensemble import fit_ensemble
from unets.evaluation.contributions import render_contributions


def main(stage: cli.Stage) -> None:
    """Writes models/<competition>/ensemble.json; prints what each part contributes and costs."""
    dataset, config, folds = stage.dataset, stage.ensemble, stage.common_folds()
    with stage.hold_models():
        ensemble = fit_ensemble(
            stage.project, dataset, config, name=stage.ensemble_name, folds=folds, jobs=stage.args.jobs
        )
    print(render_contributions(stage.project, ensemble))


if __name__ == "__main__":
    cli.run(main, cli.build_parser(__doc__))
