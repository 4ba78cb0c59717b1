"""Trains every fold of every experiment asked for; finished folds are skipped, unfinished ones go on.

--jobs: folds at a time, each a process with a GPU or a share of the cores of its own (default: one a GPU, 1 without).
"""

import sys

from unets import cli
from unets.catalog import load_catalog
from unets.folds import hash_folds, read_folds
from unets.training.devices import Task, deal_devices, follow_parent, train_on_devices


def main(stage: cli.Stage) -> None:
    """Trains fold after fold; those of one size share a cache of decoded photos."""
    is_child = follow_parent()
    with_test = any(experiment.data.pseudo_labels is not None for experiment in stage.experiments.values())
    catalog = load_catalog(stage.dataset, stage.project.input_dir, with_test=with_test)
    folds, folds_hash = read_folds(stage.project.folds_path, catalog), hash_folds(stage.project.folds_path)
    folds_of = {name: stage.list_folds(experiment) for name, experiment in stage.experiments.items()}
    tasks = [Task(experiment=name, fold=fold) for name, folds_used in folds_of.items() for fold in folds_used]
    devices = deal_devices(1 if stage.args.spread else stage.args.jobs)[: len(tasks)]
    if len(devices) > 1:
        train_on_devices(tasks, devices, build_command)
        return
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
            micro_batch=stage.args.batch,
            spread=stage.args.spread,
        )
    if is_child:
        sys.exit(0)  # what the stage took is noted by the process that waits for all children


def build_command(task: Task) -> list[str]:
    """Returns this very command, for one fold in one process: of an argument given twice the last one counts."""
    return [sys.executable, *sys.argv, "--exp", task.experiment, "--fold", str(task.fold), "--jobs", "1"]


if __name__ == "__main__":
    parser = cli.build_parser(__doc__)
    parser.add_argument("--batch", type=int, help="photos a step, a divisor of the batch (default: the config's)")
    parser.add_argument("--spread", action="store_true", help="spread each step over all devices")
    cli.run(main, parser)
