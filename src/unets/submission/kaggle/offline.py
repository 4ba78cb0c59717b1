"""Inference in a kernel: from the dataset's folder alone, which is only read, to the submission.

from unets.submission.kaggle.offline import predict_offline
predict_offline(Path("/kaggle/input/unets-carvana"), Path("/kaggle/input/<competition>"), Path("/kaggle/working"))
"""

import gzip
import logging
import shutil
from pathlib import Path

from unets.config import load_dataset, load_experiment
from unets.dataset.catalog import load_catalog
from unets.dataset.folds import hash_folds
from unets.ensemble.ensemble import read_ensemble
from unets.errors import InputError
from unets.prediction.sources import find_weights, fingerprint_maps
from unets.prediction.stream import Maker, Store, make_maps, order_all
from unets.store.fingerprint import take_snapshot
from unets.store.paths import Project
from unets.store.runs import atomic_path
from unets.submission.submission import write_submission

logger = logging.getLogger(__name__)


def predict_offline(
    bundle_dir: Path,
    input_dir: Path,
    work_dir: Path,
    *,
    competition: str | None = None,
    ensemble_name: str = "ensemble",
    jobs: int | None = None,
) -> Path:
    """Predicts the test photos with an ensemble's nets and writes the submission; goes on where it was stopped.

    Args:
        bundle_dir: what `make kaggle-dataset` built.
        input_dir: the competition's files.
        work_dir: gets `submission.csv`, and `unets/` with the maps.
        competition: a folder of its `configs/`; None is the only one.
        ensemble_name: `ensemble` or `ensemble_<...>`.
        jobs: worker processes; None is one a core.

    Returns:
        The path of `submission.csv`, which code competitions look for.

    Raises:
        InputError: something of the bundle or of the competition is missing or does not fit the rest.
    """
    bundle = _open_bundle(bundle_dir, input_dir, competition)
    work = Project(
        competition=bundle.competition,
        input_dir=input_dir,
        models_dir=work_dir / "unets" / "models",
        configs_dir=bundle.configs_dir,
        submissions_dir=work_dir / "unets" / "submissions",
        results_dir=work_dir / "unets" / "results",
    )
    work.models_dir.mkdir(parents=True, exist_ok=True)
    ensemble = read_ensemble(bundle, ensemble_name)
    for path in (bundle.folds_path, bundle.ensemble_path(ensemble_name)):
        shutil.copyfile(path, work.models_dir / path.name)
    dataset = load_dataset(bundle.configs_dir)
    folds_hash, test = hash_folds(bundle.folds_path), load_catalog(dataset, input_dir).test
    orders = []
    for member in ensemble.used_members:
        experiment = load_experiment(bundle.configs_dir, member.experiment)
        weights = {
            fold: find_weights(
                bundle.run_dir(member.experiment, fold), take_snapshot(experiment, dataset, fold, folds_hash)
            )
            for fold in ensemble.folds
        }
        store = Store(
            folder=work.maps_dir(member.experiment, "test"),
            no_tta_folder=None,
            fingerprint=fingerprint_maps(experiment, dataset.classes, weights),
            classes=dataset.classes,
            size_hw=experiment.data.size_hw,
            start_anew=f"deleting {work.models_dir}",
        )
        paths = tuple(weights.values())
        maker = Maker(name=member.experiment, experiment=experiment, weights_paths=paths, store=store)
        orders.append(order_all(maker, test))
    make_maps(orders, what="test")
    packed = write_submission(work, dataset, "submission", ensemble_name=ensemble_name, jobs=jobs)
    path = work_dir / "submission.csv"
    with atomic_path(path) as temporary, gzip.open(packed) as source, temporary.open("wb") as target:
        shutil.copyfileobj(source, target)
    return path


def _open_bundle(bundle_dir: Path, input_dir: Path, competition: str | None) -> Project:
    """Returns the folders of a bundle; nothing is written to them."""
    names = sorted(path.parent.name for path in (bundle_dir / "configs").glob("*/dataset.py"))
    if competition is None and len(names) != 1:
        raise InputError(
            f"{bundle_dir} must hold configs/<competition>/dataset.py, of one competition. Received: {names or 'none'}"
        )
    competition = competition or names[0]
    return Project(
        competition=competition,
        input_dir=input_dir,
        models_dir=bundle_dir / "models" / competition,
        configs_dir=bundle_dir / "configs" / competition,
        submissions_dir=bundle_dir / "submissions",
        results_dir=bundle_dir / "results",
    )
