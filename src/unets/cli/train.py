"""Subcommands that train and predict: what it will cost, training, probability maps, what runs there are."""

import shutil
import sys
from functools import partial

from unets import cli
from unets.cli.app import list_arguments
from unets.cli.stage import Stage, command
from unets.config import ExperimentConfig
from unets.errors import InputError, suggest


@command("unets plan mine", "unets plan mine -e unet_512 --micro-batch 4", runs=True)
def plan(stage: Stage, micro_batch: int | None = None, data_parallel: bool = False, probe: bool = True) -> None:
    """Prints what each experiment will cost here before it is paid: memory, hours, disk.

    Needs no images where dataset.py has their number (`num_train`).

    Exits with 1 where an experiment cannot be trained here, and says what can.
    """
    from unets.dataset.manifest import Manifest

    project, dataset = stage.project, stage.dataset
    experiments, folds = stage.experiments_to_train
    try:
        manifest = stage.manifest
    except InputError as error:
        if project.input_dir.is_dir() and any(project.input_dir.iterdir()):
            raise
        if dataset.num_train is None:
            raise InputError(f"{error}. A plan needs them, or `num_train` in dataset.py") from error
        manifest = Manifest(dataset=dataset, train=(), test=())
    cli.load_backend()
    from unets.nets.backend import count_devices
    from unets.training import estimate as costs

    source = project.input_dir if manifest.train else "dataset.py; the images are not at hand"
    num_train, num_test = len(manifest.train) or dataset.num_train or 0, len(manifest.test) or dataset.num_test or 0
    print(f"{num_train:,} training and {num_test:,} test images, as in {source}\n")
    estimates, num_devices = [], count_devices() if data_parallel else 1
    for name, experiment in experiments.items():
        estimate = costs.estimate_cost(
            project, manifest, name, experiment, folds[name], micro_batch=micro_batch, num_devices=num_devices
        )
        estimates.append(costs.add_hours(estimate, manifest) if probe else estimate)
        print(f"{costs.render_estimate(estimates[-1])}\n", flush=True)
    print(f"{costs.render_total(estimates)}\n\n{costs.render_gpu_table(estimates)}", flush=True)
    for estimate in estimates:
        costs.check_estimate(estimate)


@command(
    "unets train mine",
    "unets train mine -e unet_512 --fold 0 --set training.epochs=3 --set data.batch_size=4",
    "unets train mine -e unet_512 --seeds 3     (also unet_512+training.seed=1 and =2)",
    "unets train mine --jobs 2     (two folds at a time)",
    runs=True,
)
def train(
    stage: Stage, micro_batch: int | None = None, data_parallel: bool = False, track: str = "tensorboard"
) -> None:
    """Trains every fold of every experiment, first those that it starts from; finished folds are skipped.

    --jobs: folds at a time, each a process with a GPU or a share of the cores (default: one a GPU, 1 without).

    --cluster: a fold on each worker that has a GPU.
    """
    from unets.evaluation.trackers import build_trackers
    from unets.store.runs import hash_file
    from unets.training.source import order_experiments
    from unets.workers import devices as workers
    from unets.workers.cluster import find_cluster
    from unets.workers.pool import run_tasks

    is_child = workers.follow_parent()
    trackers = build_trackers(track)
    project, fold_of = stage.project, stage.fold_of
    experiments, folds = stage.experiments_to_train
    generations = order_experiments(experiments)
    stage.check_runs(experiments, folds)
    tasks_of = [
        [workers.Task(experiment=name, fold=fold) for name in names for fold in folds[name]] for names in generations
    ]
    places = {"root": stage.root, "input": project.input_dir, "models": project.models_dir}
    # Absolute, for workers that stand elsewhere; settings and seeds are part of the names of experiments.
    given = {**stage.given, **{name: path.absolute() for name, path in places.items()}, "settings": None, "seeds": 1}
    words = ["-m", "unets", *list_arguments("train", given)]
    if find_cluster() is not None:
        for tasks in tasks_of:
            list(run_tasks(partial(workers.train_on_worker, words), tasks, what="train", unit="fold", on_gpu=True))
        return
    devices = workers.assign_devices(1 if data_parallel else stage.given["jobs"])[: max(map(len, tasks_of))]
    if len(devices) > 1:
        for tasks in tasks_of:
            workers.train_on_devices(tasks, devices, partial(workers.build_command, words))
        return
    cli.load_backend()
    from unets.pages.page import write_live
    from unets.training.fold import train_experiment

    for name, experiment in ((name, experiments[name]) for names in generations for name in names):
        train_experiment(
            project,
            stage.manifest,
            name,
            experiment,
            fold_of=fold_of,
            folds_hash=hash_file(project.folds_path),
            folds=folds[name],
            micro_batch=micro_batch,
            in_parallel=data_parallel,
            is_cache_shared=is_child,
            on_epoch=[write_live, *trackers],
        )
    if is_child:
        sys.exit(0)  # what the stage took is noted by the process that waits for all children
    number = sum(map(len, folds.values()))
    stage.finish(f"{project.models_dir}: trained folds: {number}; live.html in each has its curves", "predict")


@command("unets predict mine", "unets predict mine -e unet_512 --fold 0 --force", runs=True)
def predict(stage: Stage, force: bool = False) -> None:
    """Predicts every image: training images by the fold that did not see them, test images by the mean of the folds.

    --force replaces probability maps that other nets made.
    """
    from unets.ensemble.oof import score_oof

    project, dataset, chosen_folds = stage.project, stage.dataset, stage.chosen_folds
    manifest, fold_of = stage.manifest, stage.fold_of
    stage.check_runs(stage.experiments, chosen_folds)
    cli.load_backend()
    from unets.prediction.pipeline import predict_experiments

    predict_experiments(project, manifest, stage.experiments, fold_of=fold_of, folds=chosen_folds, force=force)
    for name, folds in chosen_folds.items():
        scores = score_oof(project, dataset, name, folds=folds)
        print(f"{name}: out-of-fold {dataset.metric} {scores[:, 0].mean():.5f} at full size")
    stage.finish(f"{project.models_dir}: probability maps of {', '.join(chosen_folds)}", "ensemble")


@command("unets pseudo-labels mine --name first", runs=True)
def pseudo_labels(stage: Stage, name: str, confidence: float = 0.9, force: bool = False) -> None:
    """Makes confident test images more training images of each fold, with the masks that the ensemble gives them."""
    from unets.ensemble.ensemble import check_ensemble, read_ensemble

    project = stage.project
    ensemble = read_ensemble(project, stage.ensemble_name)
    check_ensemble(ensemble, stage.dataset, stage.ensemble, ensemble.folds)  # though --fold names some of them
    manifest = stage.manifest
    stage.check_runs(stage.experiments, dict.fromkeys(stage.experiments, stage.common_folds))
    cli.load_backend()
    from unets.ensemble.pseudo_labels import make_pseudo_labels

    make_pseudo_labels(
        project,
        manifest,
        name,
        ensemble,
        stage.experiments,
        folds=stage.common_folds,
        confidence=confidence,
        force=force,
    )
    print(f"{project.pseudo_labels_dir(name)}: DataConfig(pseudo_labels={name!r}) trains on them")


@command("unets runs mine", "unets runs mine -e unet_512", runs=True, rule=False)
def runs(stage: Stage) -> None:
    """Lists runs: how far each is, what it reached at full size, what it cost, at which commit.

    Without --exp all that have a run or a score, of the ensemble or not, with a config file or not.
    """
    from unets.evaluation.runs import list_runs, render_inventory
    from unets.evaluation.scores import list_evaluated, tabulate_scores

    project, dataset = stage.project, stage.dataset
    found, evaluated = list_runs(project, dataset), list_evaluated(project)
    known = {run.experiment for run in found} | set(evaluated)
    wanted = known if stage.has_all else set(stage.given["exp"].split(","))
    if unknown := sorted(wanted - known):
        words, hint = ", ".join(sorted(known)) or "(none)", suggest(unknown[0], known)
        raise InputError(f"`--exp` must be all or have runs, as {words}. Received: {unknown[0]}{hint}")
    folds = None if stage.given["fold"] == "all" else stage.list_folds(ExperimentConfig())
    found = [run for run in found if run.experiment in wanted and (folds is None or run.fold in folds)]
    scores = tabulate_scores(project, dataset.metric, [name for name in evaluated if name in wanted], folds)
    print(render_inventory(project.competition, found, scores))


@command("unets clean mine -e unet_512 --fold 0", "unets clean mine -e all", runs=True, rule=False)
def clean(stage: Stage) -> None:
    """Deletes runs and probability maps of the experiments named by --exp, or of some of their folds.

    Folds and cache stay. Maps are made of all folds together, so they go with any of them.
    """
    from unets.store.runs import lock

    for name, folds in stage.chosen_folds.items():
        maps_dir = stage.project.maps_dir(name, "test").parent
        for folder in (*(stage.project.run_dir(name, fold) for fold in folds), maps_dir):
            if folder.is_dir():
                with lock(folder):  # nobody is at work in it
                    pass
                shutil.rmtree(folder)
                print(f"deleted {folder}")
