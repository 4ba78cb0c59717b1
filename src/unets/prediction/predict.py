"""Probability maps of every image: out-of-fold for training images, the mean over folds for test images."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial

from unets.config import ExperimentConfig
from unets.data.geometry import SizeHW
from unets.dataset.manifest import Manifest
from unets.prediction.pipeline import PredictionJob, plan_job, run_jobs
from unets.prediction.sources import find_fold_weights
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

    `folds` has the fold of each training id, `use_folds` by experiment those whose nets predict: out-of-fold maps are
    made of their images only. `force` replaces maps that other nets made, in place of an error.

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
            command = f"`unets predict --exp {name} --fold {','.join(map(str, use_folds[name]))} --force`"
            plan = partial(plan_job, name, experiment, manifest.dataset, command=command, force=force)
            oof_dir, no_tta_dir, test_dir = (project.maps_dir(name, kind) for kind in ("oof", "oof_no_tta", "test"))
            for fold, path in weights_paths[name].items():
                samples = [sample for sample in manifest.train if folds[sample.id] == fold]
                place = f"fold{fold}"
                no_tta_folder = no_tta_dir / place if len(experiment.prediction.tta) > 1 else None
                job = plan({fold: path}, oof_dir / place, samples, no_tta_folder=no_tta_folder)
                rounds[experiment.data.size_hw, f"fold {fold} out-of-fold"].append(job)
            rounds[experiment.data.size_hw, "test"].append(plan(weights_paths[name], test_dir, manifest.test))
        for (_, what), jobs in rounds.items():
            run_jobs(jobs, what=what)
