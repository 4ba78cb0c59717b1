"""Probability maps of every image: out-of-fold for training images, the mean over folds for test images."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from unets.config import ExperimentConfig
from unets.data.geometry import SizeHW
from unets.dataset.manifest import Manifest
from unets.prediction.map_store import MapStore
from unets.prediction.pipeline import PredictionJob, plan_job, run_jobs
from unets.prediction.sources import find_fold_weights, hash_weights, list_nets
from unets.store.paths import Project
from unets.store.runs import lock


def predict_experiments(
    project: Project,
    manifest: Manifest,
    experiments: Mapping[str, ExperimentConfig],
    *,
    folds: Mapping[str, int],
    use_folds: Mapping[str, Sequence[int]],
    force: bool = False,
) -> None:
    """Predicts every training image by the fold that did not see it, and every test image by the mean of the folds.

    Experiments of one size read each image once, together. Shards that are there, whole and made by the same nets are
    kept; damaged ones, and test maps of only some of the folds, are made again.

    Args:
        project: the folders.
        manifest: the images.
        experiments: by name.
        folds: fold of each training id.
        use_folds: by experiment, the folds whose nets predict; out-of-fold maps are made of their images only.
        force: replace maps that other nets made, in place of an error.

    Raises:
        InputError: a fold is not trained to its end, with this config and on these folds, or other nets made the maps
            that are there: nothing is predicted then; or an image or weights cannot be read.
    """
    with ExitStack() as stack:
        for name in sorted(experiments):
            stack.enter_context(lock(project.maps_dir(name, "test").parent))
        weights_paths = {
            name: {fold: find_fold_weights(project, manifest, name, experiment, fold) for fold in use_folds[name]}
            for name, experiment in experiments.items()
        }
        rounds: dict[tuple[SizeHW, str], list[PredictionJob]] = defaultdict(list)
        for name, experiment in experiments.items():
            for what, job in _plan(project, manifest, name, experiment, folds, weights_paths[name], force=force):
                rounds[experiment.data.size_hw, what].append(job)
        for (_, what), jobs in rounds.items():
            run_jobs(jobs, what=what)


def _plan(
    project: Project,
    manifest: Manifest,
    name: str,
    experiment: ExperimentConfig,
    folds: Mapping[str, int],
    weights_paths: Mapping[int, Path],
    *,
    force: bool,
) -> list[tuple[str, PredictionJob]]:
    """Returns (which images, in words; the job that makes their maps): of each fold, and of the test images."""
    nets = list_nets(experiment, manifest.dataset.classes, hash_weights(weights_paths))
    oof_dir, no_tta_dir, test_dir = (project.maps_dir(name, kind) for kind in ("oof", "oof_no_tta", "test"))
    test = MapStore(
        folder=test_dir,
        nets=nets,
        classes=manifest.dataset.classes,
        size_hw=experiment.data.size_hw,
        command=f"`unets predict --exp {name} --fold {','.join(map(str, weights_paths))} --force`",
    )
    dataset, jobs = manifest.dataset, []
    for fold, path in weights_paths.items():
        has_tta = len(experiment.prediction.tta) > 1
        store = replace(
            test,
            folder=oof_dir / f"fold{fold}",
            no_tta_folder=no_tta_dir / f"fold{fold}" if has_tta else None,
            nets={str(fold): nets[str(fold)]},
        )
        samples = [sample for sample in manifest.train if folds[sample.id] == fold]
        job = plan_job(name, experiment, dataset, [path], store, samples, force=force)
        jobs.append((f"fold {fold} out-of-fold", job))
    job = plan_job(name, experiment, dataset, weights_paths.values(), test, manifest.test, force=force)
    return [*jobs, ("test", job)]
