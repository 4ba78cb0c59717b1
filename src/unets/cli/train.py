"""Subcommands that train and predict: what it will cost, training, probability maps, what runs there are."""

import shutil
import sys
from functools import partial
from typing import Annotated

from unets.cli import backend
from unets.cli.app import list_arguments
from unets.cli.options import NAMED_RUNS, RUNS, DataParallel, Force, MicroBatch, option
from unets.cli.stage import Stage
from unets.cli.subcommand import command
from unets.config import ExperimentConfig
from unets.errors import InputError, suggest


@command("train", "unets plan mine", "unets plan mine -e unet_512 --micro-batch 4", takes=RUNS)
def plan(
    stage: Stage,
    micro_batch: MicroBatch = None,
    data_parallel: DataParallel = False,
    probe: Annotated[bool, option("time a step on this machine (without: no hours)", "--probe/--no-probe")] = True,
) -> None:
    """Prints what each experiment will cost here before it is paid: memory, hours, disk. Needs no images.

    Exits with 1 where an experiment cannot be trained here, and says what can.
    """
    from unets.dataset.manifest import Manifest, read_manifest

    project, dataset = stage.project, stage.dataset
    _ = stage.folds_of  # they exist
    try:
        manifest = read_manifest(project, dataset)
    except InputError:
        if dataset.num_train is None or (project.input_dir.is_dir() and any(project.input_dir.iterdir())):
            raise
        manifest = Manifest(dataset=dataset, train=(), test=())
    backend.load_backend()
    from unets.nets.backend import count_devices
    from unets.training.estimate import (
        add_hours,
        check_estimate,
        estimate_cost,
        render_estimate,
        render_gpu_table,
        render_total,
    )

    source = project.input_dir if manifest.train else "dataset.py; the images are not at hand"
    num_train, num_test = len(manifest.train) or dataset.num_train or 0, len(manifest.test) or dataset.num_test or 0
    print(f"{num_train:,} training and {num_test:,} test images, as in {source}\n")
    estimates, num_devices = [], count_devices() if data_parallel else 1
    for name, experiment in stage.experiments.items():
        estimate = estimate_cost(
            project, manifest, name, experiment, stage.folds_of[name], micro_batch=micro_batch, num_devices=num_devices
        )
        estimates.append(add_hours(estimate, manifest) if probe else estimate)
        print(f"{render_estimate(estimates[-1])}\n", flush=True)
    print(f"{render_total(estimates)}\n\n{render_gpu_table(estimates)}", flush=True)
    for estimate in estimates:
        check_estimate(estimate)


@command(
    "train",
    "unets train mine",
    "unets train mine -e unet_512 --fold 0 --set training.epochs=3 --set data.batch_size=4",
    "unets train mine --jobs 2     (two folds at a time)",
    takes=RUNS,
)
def train(
    stage: Stage,
    micro_batch: MicroBatch = None,
    data_parallel: DataParallel = False,
    track: Annotated[
        str, option("who gets the curves, with commas: tensorboard, wandb, mlflow (default: tensorboard)", "--track")
    ] = "tensorboard",
) -> None:
    """Trains every fold of every experiment; finished folds are skipped, unfinished ones go on.

    --jobs: folds at a time, each a process with a GPU or a share of the cores (default: one a GPU, 1 without).
    --cluster: a fold on each worker that has a GPU.
    """
    from unets.dataset.folds import hash_folds, read_folds
    from unets.dataset.manifest import read_manifest
    from unets.evaluation.trackers import build_trackers
    from unets.training.source import order_experiments
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

    is_child = follow_parent()
    trackers = build_trackers(track)
    project, dataset, folds_of = stage.project, stage.dataset, stage.folds_of
    manifest = read_manifest(project, dataset)
    folds, folds_hash = read_folds(project.folds_path, manifest), hash_folds(project.folds_path)
    generations = order_experiments(stage.experiments)
    tasks_of = [
        [Task(experiment=name, fold=fold) for name in names for fold in folds_of[name]] for names in generations
    ]
    places = {
        "root": stage.root.absolute(),
        "input": project.input_dir.absolute(),
        "models": project.models_dir.absolute(),
    }
    words = ["-m", "unets", *list_arguments("train", {**stage.given, **places, "settings": None})]
    if find_cluster() is not None:
        for tasks in tasks_of:
            list(run_tasks(partial(train_on_worker, words), tasks, what="train", unit="fold", on_gpu=True))
        return
    devices = assign_devices(1 if data_parallel else stage.jobs)[: max(map(len, tasks_of))]
    if len(devices) > 1:
        for tasks in tasks_of:
            train_on_devices(tasks, devices, partial(build_command, words))
        return
    backend.load_backend()
    from unets.pages.page import write_live
    from unets.training.fold import train_experiment

    for name, experiment in ((name, stage.experiments[name]) for names in generations for name in names):
        train_experiment(
            project,
            manifest,
            name,
            experiment,
            folds=folds,
            folds_hash=folds_hash,
            use_folds=folds_of[name],
            micro_batch=micro_batch,
            in_parallel=data_parallel,
            is_beside_others=is_child,
            on_epoch=[write_live, *trackers],
        )
    if is_child:
        sys.exit(0)  # what the stage took is noted by the process that waits for all children
    number = sum(map(len, folds_of.values()))
    stage.finish(f"{project.models_dir}: trained folds: {number}; live.html in each has its curves", "predict")


@command("train", "unets predict mine", "unets predict mine -e unet_512 --fold 0 --force", takes=RUNS)
def predict(stage: Stage, force: Force = False) -> None:
    """Predicts every image: training images by the fold that did not see them, test images by the mean of the folds.

    --force replaces probability maps that other nets made.
    """
    from unets.dataset.folds import read_folds
    from unets.dataset.manifest import read_manifest
    from unets.ensemble.oof import score_oof

    project, dataset, folds_of = stage.project, stage.dataset, stage.folds_of
    manifest = read_manifest(project, dataset)
    folds = read_folds(project.folds_path, manifest)
    backend.load_backend()
    from unets.prediction.predict import predict_experiments

    predict_experiments(project, manifest, stage.experiments, folds=folds, use_folds=folds_of, force=force)
    for name, use_folds in folds_of.items():
        scores = score_oof(project, dataset, name, folds=use_folds, jobs=stage.jobs)
        print(f"{name}: out-of-fold {dataset.metric} {scores[:, 0].mean():.5f} at full size")
    stage.finish(f"{project.models_dir}: probability maps of {len(folds_of)} experiments", "ensemble")


@command("train", "unets pseudo-labels mine --name first", takes=RUNS)
def pseudo_labels(
    stage: Stage,
    name: Annotated[str, option("of the labels", "--name")],
    confidence: Annotated[
        float, option("least expected Dice of an image that is kept (default: 0.9)", "--confidence")
    ] = 0.9,
    force: Force = False,
) -> None:
    """Makes confident test images more training images of each fold, with the masks that the ensemble gives them."""
    from unets.dataset.manifest import read_manifest
    from unets.ensemble.ensemble import check_ensemble, read_ensemble

    project = stage.project
    ensemble = read_ensemble(project, stage.ensemble_name)
    check_ensemble(ensemble, stage.dataset, stage.ensemble, ensemble.folds)  # though --fold names some of them
    manifest = read_manifest(project, stage.dataset)
    backend.load_backend()
    from unets.ensemble.pseudo_labels import make_pseudo_labels

    make_pseudo_labels(
        project,
        manifest,
        name,
        ensemble,
        stage.experiments,
        use_folds=stage.common_folds(),
        confidence=confidence,
        force=force,
        jobs=stage.jobs,
    )
    print(f"{project.pseudo_labels_dir(name)}: DataConfig(pseudo_labels={name!r}) trains on them")


@command("train", "unets runs mine", "unets runs mine -e unet_512", takes=RUNS, rule=False)
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


@command("train", "unets clean mine -e unet_512 --fold 0", "unets clean mine -e all", takes=NAMED_RUNS, rule=False)
def clean(stage: Stage) -> None:
    """Deletes runs and probability maps of the experiments named by --exp, or of some of their folds.

    Folds and cache stay. Maps are made of all folds together, so they go with any of them.
    """
    from unets.store.runs import lock

    for name, folds in stage.folds_of.items():
        maps_dir = stage.project.maps_dir(name, "test").parent
        for folder in (*(stage.project.run_dir(name, fold) for fold in folds), maps_dir):
            if folder.is_dir():
                with lock(folder):  # nobody is at work in it
                    pass
                shutil.rmtree(folder)
                print(f"deleted {folder}")
