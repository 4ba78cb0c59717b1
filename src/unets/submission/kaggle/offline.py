"""Inference in a kernel: from the dataset's folder alone, which is only read, to the submission.

from unets.submission.kaggle.offline import predict_offline
predict_offline(Path("/kaggle/input/unets-carvana"), Path("/kaggle/input/<competition>"), Path("/kaggle/working"))
"""

import gzip
import shutil
from dataclasses import replace
from pathlib import Path

from unets.config import load_dataset, load_experiment
from unets.dataset.manifest import read_manifest
from unets.ensemble.ensemble import read_ensemble
from unets.errors import InputError
from unets.prediction.predict import predict_experiments
from unets.store.paths import Project
from unets.store.runs import atomic_path
from unets.submission.submission import write_submission


def predict_offline(
    bundle_dir: Path,
    input_dir: Path,
    work_dir: Path,
    *,
    competition: str | None = None,
    ensemble_name: str = "ensemble",
    jobs: int | None = None,
) -> Path:
    """Predicts the test images with an ensemble's nets and writes the submission; goes on where it was stopped.

    The bundle is what `unets kaggle-dataset` built. The working folder gets `submission.csv`, which code competitions
    look for and whose path is returned, and `unets/` with the probability maps.

    Raises:
        InputError: something of the bundle or of the competition is missing or does not fit the rest.
    """
    names = sorted(path.parent.name for path in (bundle_dir / "configs").glob("*/dataset.py"))
    if competition is None and len(names) != 1:
        raise InputError(
            f"{bundle_dir} must hold configs/<competition>/dataset.py, of one competition. Received: {names or 'none'}"
        )
    bundle = Project.below(bundle_dir, competition or names[0], input_dir=input_dir)
    work = replace(
        Project.below(work_dir / "unets", bundle.competition, input_dir=input_dir), configs_dir=bundle.configs_dir
    )
    ensemble = read_ensemble(bundle, ensemble_name)
    use_folds = {member.experiment: ensemble.folds for member in ensemble.used_members}
    _borrow(bundle, work, ensemble_name, use_folds)
    dataset = load_dataset(bundle.configs_dir)
    test_only = replace(read_manifest(work, dataset), train=())
    experiments = {name: load_experiment(bundle.configs_dir, name) for name in use_folds}
    predict_experiments(work, test_only, experiments, folds={}, use_folds=use_folds)
    packed = write_submission(work, dataset, "submission", ensemble_name=ensemble_name, jobs=jobs)
    path = work_dir / "submission.csv"
    with atomic_path(path) as temporary, gzip.open(packed) as source, temporary.open("wb") as target:
        shutil.copyfileobj(source, target)
    return path


def _borrow(bundle: Project, work: Project, ensemble_name: str, use_folds: dict[str, tuple[int, ...]]) -> None:
    """Links a bundle's runs into a models folder that can be written to, beside copies of its folds and ensemble."""
    work.models_dir.mkdir(parents=True, exist_ok=True)
    for path in (bundle.folds_path, bundle.ensemble_path(ensemble_name)):
        shutil.copyfile(path, work.models_dir / path.name)
    for name, folds in use_folds.items():
        for fold in folds:
            link = work.run_dir(name, fold)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(bundle.run_dir(name, fold).absolute(), target_is_directory=True)
