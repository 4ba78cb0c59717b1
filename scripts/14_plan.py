"""Prints what each experiment will cost on this machine, before it is paid: memory, hours, disk; trains nothing.

Exits with 1 where an experiment cannot be trained here, and says what can.
"""

from dataclasses import replace

from unets import cli
from unets.config import DatasetConfig
from unets.dataset.catalog import Catalog, load_catalog
from unets.dataset.pseudo_labels import count_pseudo_labels
from unets.errors import InputError
from unets.store.paths import Project


def main(stage: cli.Stage) -> None:
    """Plans with the photos where they are at hand, and with the counts that dataset.py declares where they are not."""
    project, dataset = stage.project, stage.dataset
    folds_of = {name: stage.list_folds(experiment) for name, experiment in stage.experiments.items()}
    catalog = find_catalog(project, dataset)
    cli.load_backend()  # takes seconds: after all that may be mistyped
    from unets.nets.backend import count_devices
    from unets.training.planner import Photos, check_plan, plan_experiment
    from unets.training.price import render_plan, render_total

    photos = Photos(
        num_train=len(catalog.train) or dataset.num_train or 0, num_test=len(catalog.test) or dataset.num_test or 0
    )
    source = project.input_dir if catalog.train else "dataset.py; the photos are not at hand"
    print(f"{photos.num_train:,} training and {photos.num_test:,} test photos, as in {source}\n")
    plans = []
    for name, experiment in stage.experiments.items():
        labels = experiment.data.pseudo_labels
        counts = [count_pseudo_labels(project, labels, fold) for fold in folds_of[name]] if labels else [0]
        plan = plan_experiment(
            project,
            dataset,
            name,
            experiment,
            num_folds=len(folds_of[name]),
            photos=replace(photos, num_pseudo=max(counts)),
            micro_batch=stage.args.batch,
            num_devices=count_devices() if stage.args.spread else 1,
            samples=catalog.train,
            probe=not stage.args.no_probe,
        )
        print(f"{render_plan(plan)}\n", flush=True)
        plans.append(plan)
    print(render_total(plans), flush=True)
    for plan in plans:
        check_plan(plan)


def find_catalog(project: Project, dataset: DatasetConfig) -> Catalog:
    """Returns the photos at hand; an empty catalog where there are none but their number is declared."""
    try:
        return load_catalog(dataset, project.input_dir)
    except InputError:
        if dataset.num_train is None or (project.input_dir.is_dir() and any(project.input_dir.iterdir())):
            raise
        return Catalog(dataset=dataset, train=(), test=())


if __name__ == "__main__":
    parser = cli.build_parser(__doc__)
    parser.add_argument("--batch", type=int, help="photos a step, a divisor of the batch (default: the config's)")
    parser.add_argument("--spread", action="store_true", help="spread each step over all devices")
    parser.add_argument("--no-probe", action="store_true", help="skip the probe of this machine's speed: no hours")
    cli.run(main, parser)
