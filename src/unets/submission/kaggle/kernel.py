"""A Kaggle kernel: what is attached to it, inference from that alone, and a way to imitate one.

Below /kaggle/input, at a depth that Kaggle has changed before, lie the competition's files and, as a dataset, what
`unets kaggle-dataset` made: the package, `configs/`, and maybe `models/` with trained nets. All of it is read-only.
"""

import gzip
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from unets.config import load_dataset, load_experiment
from unets.dataset.manifest import read_manifest
from unets.ensemble.ensemble import list_fitted, read_ensemble
from unets.errors import InputError
from unets.store.paths import Project
from unets.store.runs import atomic_path
from unets.submission.submission import write_submission

_MAX_DEPTH = 3  # of folders below /kaggle/input that are looked into; images lie there by the hundred thousand


@dataclass(frozen=True, kw_only=True, slots=True)
class Attached:
    """What a kernel has to work with."""

    input_dir: Path  # the competition's files
    bundle_dir: Path  # configs/<competition>, and maybe models/<competition>
    ensembles: tuple[str, ...]  # names of those whose nets are attached


def find_attached(attached_dir: Path, competition: str) -> Attached:
    """Finds what is attached to a kernel. Of two folders with the competition's config, the one with nets is taken.

    Raises InputError where the competition's config or its files are not attached, or twice.
    """
    if not attached_dir.is_dir():
        raise InputError(
            f"{attached_dir} must be the folder of what is attached to a Kaggle kernel. Received: no such folder. "
            "`unets notebooks` runs this notebook outside of Kaggle"
        )
    folders, config = list(_walk(attached_dir)), f"configs/{competition}/dataset.py"
    bundles = [folder for folder in folders if (folder / config).is_file()]
    trained = [folder for folder in bundles if list_fitted(Project.below(folder, competition))]
    project = Project.below(bundle_dir := _pick(trained or bundles, attached_dir, config), competition)
    dataset = load_dataset(project.configs_dir)
    if (wanted := dataset.submission.sample) is None:
        raise InputError(
            "`submission.sample` must name the file by which the competition's folder is known. Received: None"
        )
    holding = [one for one in folders if (one / wanted).exists() or (one / f"{wanted}.zip").exists()]
    input_dir = _pick(holding, attached_dir, wanted)
    return Attached(input_dir=input_dir, bundle_dir=bundle_dir, ensembles=tuple(list_fitted(project)))


def predict_offline(
    bundle_dir: Path, input_dir: Path, work_dir: Path, competition: str, *, ensemble_name: str = "ensemble"
) -> Path:
    """Predicts the test images with an ensemble's nets and writes the submission; goes on where it was stopped.

    The bundle is what `unets kaggle-dataset` built. The working folder gets `submission.csv`, which code competitions
    look for and whose path is returned, and `unets/` with the probability maps. Raises InputError where something of
    the bundle or of the competition is missing or does not fit the rest.
    """
    from unets.prediction.pipeline import predict_experiments

    bundle = Project.below(bundle_dir, competition, input_dir=input_dir)
    work = replace(Project.below(work_dir / "unets", competition, input_dir=input_dir), configs_dir=bundle.configs_dir)
    ensemble, dataset = read_ensemble(bundle, ensemble_name), load_dataset(bundle.configs_dir)
    folds = {member.experiment: ensemble.folds for member in ensemble.used_members}
    # Runs are linked into a models folder that can be written to, beside copies of folds and ensemble.
    work.models_dir.mkdir(parents=True, exist_ok=True)
    for path in (bundle.folds_path, bundle.ensemble_path(ensemble_name)):
        shutil.copyfile(path, work.models_dir / path.name)
    for name, fold in ((name, fold) for name, own in folds.items() for fold in own):
        link = work.run_dir(name, fold)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(bundle.run_dir(name, fold).absolute(), target_is_directory=True)
    manifest = read_manifest(work, dataset)
    experiments = {name: load_experiment(bundle.configs_dir, name) for name in folds}
    predict_experiments(work, replace(manifest, train=()), experiments, fold_of={}, folds=folds)
    packed = write_submission(work, manifest, "submission", ensemble_name=ensemble_name)
    path = work_dir / "submission.csv"
    with atomic_path(path) as temporary, gzip.open(packed) as source, temporary.open("wb") as target:
        shutil.copyfileobj(source, target)
    return path


def imitate_kernel(project: Project, folder: Path) -> tuple[Path, Path]:
    """Lays out, as links in an empty folder, what would be attached to a kernel, to try its notebook elsewhere.

    Returns what stands for (/kaggle/input, /kaggle/working).
    """
    attached_dir, working_dir = folder / "input", folder / "working"
    working_dir.mkdir()
    links = {
        f"{project.competition}-data": project.input_dir,
        f"unets-{project.competition}/configs/{project.competition}": project.configs_dir,
        f"unets-{project.competition}/models/{project.competition}": project.models_dir,
    }
    for name, target in links.items():
        (attached_dir / name).parent.mkdir(parents=True, exist_ok=True)
        (attached_dir / name).symlink_to(target.absolute(), target_is_directory=True)
    return attached_dir, working_dir


def _walk(root: Path) -> Iterator[Path]:
    """Yields a folder and those below it, sorted, down to `_MAX_DEPTH`; links are followed."""
    for parent, names, _ in os.walk(root, followlinks=True):
        folder = Path(parent)
        yield folder
        names[:] = sorted(names) if len(folder.relative_to(root).parts) < _MAX_DEPTH else []


def _pick(found: Sequence[Path], attached_dir: Path, what: str) -> Path:
    """Returns the only folder found; raises InputError where there is none, or more than one."""
    if len(found) != 1:
        names = ", ".join(sorted(path.name for path in attached_dir.iterdir())) or "nothing"
        received = ", ".join(str(path) for path in found) or f"none; attached are {names}"
        raise InputError(f"{attached_dir} must hold one folder with {what}. Received: {received}")
    return found[0]
