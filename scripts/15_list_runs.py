"""Lists runs of a competition: how far each is, what it reached at full size, what it cost.

--exp all are all that have a run or a score, of the ensemble or not, with a config file or not.
"""

from unets import cli
from unets.config import ExperimentConfig
from unets.errors import InputError
from unets.evaluation.runs import list_judgements, list_runs, render_inventory


def main(stage: cli.Stage) -> None:
    """Reads the run folders, those that are being written too."""
    project, dataset, exp = stage.project, stage.dataset, stage.args.exp
    runs, judgements = list_runs(project, dataset), list_judgements(project, dataset)
    if exp != "all":
        names = set(exp.split(","))
        found = {run.experiment for run in runs} | {judgement.experiment for judgement in judgements}
        if unknown := sorted(names - found):
            known = ", ".join(sorted(found)) or "(none)"
            raise InputError(f"`EXP` must be all or have runs, as {known}. Received: {', '.join(unknown)}")
        runs = [run for run in runs if run.experiment in names]
        judgements = [row for row in judgements if row.experiment in names]
    if stage.args.fold != "all":
        folds = stage.list_folds(ExperimentConfig())
        runs = [run for run in runs if run.fold in folds]
        judgements = [row for row in judgements if not row.folds or set(row.folds) & set(folds)]
    print(render_inventory(project.competition, runs, judgements))


if __name__ == "__main__":
    cli.run(main, cli.build_parser(__doc__))
