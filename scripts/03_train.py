"""Trains every fold of every experiment asked for; finished folds are skipped, unfinished ones go on.

--jobs: folds at a time, each a process with a GPU or a share of the cores of its own (default: one a GPU, 1 without).
--cluster: a fold a worker that has a GPU.
"""

import sys
from functools import partial

from unets import cli
from unets.config import ExperimentConfig
from unets.data.cache import choose_shared_kind, measure_cache
from unets.dataset.catalog import Catalog, load_catalog
from unets.dataset.folds import hash_folds, read_folds
from unets.store.paths import Project
from unets.training.order import deal_generations
from unets.workers.cluster import find_cluster
from unets.workers.devices import (
    Task,
    assign_devices,
    build_command,
    follow_parent,
    train_on_devices,
    train_on_worker,
)
from unets.workers.pool import run_tasks


def main(stage: cli.Stage) -> None:
    """Trains fold after fold, what others start from first; those of one size share a cache of decoded photos."""
    is_child = follow_parent()
    dataset = stage.dataset  # first: it tells a mistyped competition
    with_test = any(experiment.data.pseudo_labels is not None for experiment in stage.experiments.values())
    catalog = load_catalog(dataset, stage.project.input_dir, with_test=with_test)
    folds, folds_hash = read_folds(stage.project.folds_path, catalog), hash_folds(stage.project.folds_path)
    folds_of = {name: stage.list_folds(experiment) for name, experiment in stage.experiments.items()}
    generations = deal_generations(stage.experiments)
    tasks_of = [
        [Task(experiment=name, fold=fold) for name in names for fold in folds_of[name]] for names in generations
    ]
    if find_cluster() is not None:
        train = partial(train_on_worker, stage.list_arguments())
        for tasks in tasks_of:
            list(run_tasks(train, tasks, what="train", unit="fold", on_gpu=True))
        return
    devices = assign_devices(1 if stage.args.spread else stage.args.jobs)[: max(map(len, tasks_of))]
    if len(devices) > 1:
        for tasks in tasks_of:
            train_on_devices(tasks, devices, partial(build_command, sys.argv))
        return
    cli.load_backend()  # takes seconds: after all that may be mistyped
    from unets.training.fold import train_experiment

    for name in (name for names in generations for name in names):
        experiment = stage.experiments[name]
        train_experiment(
            stage.project,
            catalog,
            name,
            share_cache(stage.project, catalog, experiment) if is_child else experiment,
            folds=folds,
            folds_hash=folds_hash,
            use_folds=folds_of[name],
            micro_batch=stage.args.batch,
            spread=stage.args.spread,
        )
    if is_child:
        sys.exit(0)  # what the stage took is noted by the process that waits for all children


def share_cache(project: Project, catalog: Catalog, experiment: ExperimentConfig) -> ExperimentConfig:
    """Resolves cache="auto" for a child, beside which others want a cache of the same photos."""
    data = experiment.data
    if data.cache != "auto":
        return experiment
    num_bytes = measure_cache(len(catalog.train), catalog.dataset.num_layers, data.size_hw)
    kind = choose_shared_kind(num_bytes, data.size_hw, project.cache_dir)
    return experiment.model_copy(update={"data": data.model_copy(update={"cache": kind})})


if __name__ == "__main__":
    parser = cli.build_parser(__doc__)
    parser.add_argument("--batch", type=int, help="photos a step, a divisor of the batch (default: the config's)")
    parser.add_argument("--spread", action="store_true", help="spread each step over all devices")
    cli.run(main, parser)
