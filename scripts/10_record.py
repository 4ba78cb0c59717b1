"""Keeps what experiments and ensemble reached, with their cost, in docs/results/, and renders the page there."""

from unets import cli
from unets.ensemble.ensemble import read_ensemble
from unets.evaluation.results import record_ensemble, record_experiment, write_results_page
from unets.store.provenance import describe_origin
from unets.submission.submission import name_submission


def main(stage: cli.Stage) -> None:
    """Writes one record an experiment and one for the ensemble."""
    project, origin = stage.project, describe_origin(stage.project.configs_dir)
    for name, experiment in stage.experiments.items():
        print(record_experiment(project, stage.dataset, name, experiment, origin))
    submission_name = stage.args.name or name_submission(read_ensemble(project, stage.ensemble_name))
    print(record_ensemble(project, stage.ensemble_name, submission_name, origin))
    print(write_results_page(stage.args.root))


if __name__ == "__main__":
    parser = cli.build_parser(__doc__)
    parser.add_argument("--name", help="of the submission (default: the one that `make submission` names so)")
    cli.run(main, parser)
