"""A folder to be uploaded as a Kaggle dataset: all that inference in a kernel without internet needs.

    unets-<version>-py3-none-any.whl        the package
    configs/<competition>/*.py, and tables beside them, *.csv
    models/<competition>/folds.csv, <ensemble>.json
    models/<competition>/<experiment>/fold<k>/config.json, metrics.json, net.weights.h5
    dataset-metadata.json                   what the client wants to know

A kernel finds it below `/kaggle/input/<slug>/`; `unets.submission.kaggle.kernel` predicts from it. Beside it lies the
folder of the kernel: the notebook and `kernel-metadata.json`.
"""

import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import unets
from unets.config import DatasetConfig, load_experiment
from unets.ensemble.ensemble import Ensemble, check_folds
from unets.errors import InputError
from unets.log import format_count, format_folds
from unets.prediction.sources import fingerprint_nets, hash_weights
from unets.store.paths import Project
from unets.store.run_folder import METRICS, SNAPSHOT, WEIGHTS, find_weights, take_snapshot
from unets.store.runs import write_json
from unets.submission.kaggle.client import Session

logger = logging.getLogger(__name__)

NOTEBOOK = "06_kaggle.ipynb"
_DEFAULT = r"os.environ.get(\"COMPETITION\", \"carvana\")"  # in the notebook, which is JSON
_KERNEL = "-kernel"  # behind the dataset's name
_RUN_FILES = (SNAPSHOT, METRICS, WEIGHTS)
_MAX_SUBTITLE, _MAX_NAME = 80, 50  # characters (kaggle 2.2.5, `dataset_create_new`)
_EPOCH = "315532800"  # 1980, the earliest time that a zip can hold: equal sources give equal bytes


def build_dataset(
    project: Project, dataset: DatasetConfig, ensemble: Ensemble, owner: str, slug: str | None = None
) -> Path:
    """Builds the dataset's folder, in place of one that is there; it appears whole or not at all.

    The owner is the account at Kaggle, the slug the dataset's name there; None is `name_slug`. Raises InputError where
    a run is missing, unfinished, of another config, or not the one that the ensemble was fitted with; a name is not one
    that Kaggle takes.
    """
    metadata = _describe(ensemble, owner, slug or name_slug(ensemble))
    runs = _find_runs(project, dataset, ensemble)
    target = project.kaggle_dataset_dir(ensemble.name)
    folder = target.with_name(f".part-{target.name}")
    shutil.rmtree(folder, ignore_errors=True)
    configs = [path for path in project.configs_dir.iterdir() if path.suffix in (".py", ".csv")]
    copies = {path: f"configs/{project.competition}/{path.name}" for path in configs}
    needed = [project.folds_path, project.ensemble_path(ensemble.name)]
    needed += [run_dir / name for run_dir in runs for name in _RUN_FILES]
    copies |= {path: f"models/{project.competition}/{path.relative_to(project.models_dir)}" for path in needed}
    for path, place in copies.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / place)
    build_wheel(folder)
    write_json(folder / "dataset-metadata.json", metadata)
    shutil.rmtree(target, ignore_errors=True)
    folder.replace(target)
    num_bytes = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    logger.info("%s: %s, %.1f MB", target, format_count(len(runs), "run"), num_bytes / 1e6)
    return target


def build_kernel(
    project: Project, dataset: DatasetConfig, ensemble: Ensemble, owner: str, slug: str, notebook: Path
) -> Path:
    """Writes the folder of the kernel: metadata, and the notebook, for this competition, where it is at hand.

    The kernel has a GPU and no internet, as code competitions ask, and the dataset and the competition attached. What a
    kernel would lack is logged.
    """
    name = f"{slug}{_KERNEL}"
    folder = project.kaggle_kernel_dir(ensemble.name)
    folder.mkdir(parents=True, exist_ok=True)
    metadata = {
        "id": f"{owner}/{name}",
        "title": name.replace("-", " "),  # Kaggle makes the id of it again
        "code_file": NOTEBOOK,
        "language": "python",
        "kernel_type": "notebook",
        "is_private": True,
        "enable_gpu": True,
        "enable_internet": False,
        "dataset_sources": [f"{owner}/{slug}"],
        "competition_sources": [dataset.kaggle] if dataset.kaggle else [],
    }
    write_json(folder / "kernel-metadata.json", metadata)
    if not dataset.kaggle:
        logger.warning("`kaggle` in dataset.py names no competition: the kernel has none attached")
    if dataset.submission.sample is None:
        logger.warning("`submission.sample` in dataset.py is None: a kernel knows the competition's files by its name")
    if notebook.is_file():
        # Nothing sets a variable in a kernel.
        text = notebook.read_text(encoding="utf-8").replace(_DEFAULT, _DEFAULT.replace("carvana", project.competition))
        (folder / NOTEBOOK).write_text(text, encoding="utf-8")
    else:
        logger.warning("%s is not there: put a notebook of that name into %s", notebook, folder)
    return folder


def name_slug(ensemble: Ensemble) -> str:
    """Returns the dataset's name: `unets-<competition>`, and what follows `ensemble_` in the ensemble's."""
    words = f"unets {ensemble.competition} {ensemble.name.removeprefix('ensemble')}"
    return "-".join(re.findall(r"[a-z0-9]+", words.lower()))


def check_owner(owner: str) -> str:
    """Returns an account's name as it is in addresses; raises InputError where it is none."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", owner.lower()):
        raise InputError(f"`--owner` must be the account's name in Kaggle's addresses. Received: {owner!r}")
    return owner.lower()


def upload_dataset(session: Session, folder: Path, ref: str, notes: str) -> str:
    """Uploads what `build_dataset` made: a private dataset where there is no `owner/slug`, else its next version.

    Returns its address; raises InputError where Kaggle or the client does not take it.
    """
    options: Any = {"quiet": session.is_quiet, "dir_mode": "zip", "repeat": False}  # Kaggle unpacks zips to folders
    # Which status says that there is none depends on whether the name was ever taken.
    if session.ask("dataset_status", ref, absent=(403, 404)) is None:
        answer = session.ask("dataset_create_new", str(folder), **options)
    else:
        answer = session.ask("dataset_create_version", str(folder), notes, **options)
    if answer.error or str(answer.status).lower() != "ok":
        raise InputError(f"Kaggle must take {folder}. Received: {session.hide(answer.error or answer.status)}")
    return str(answer.url)


def build_wheel(folder: Path) -> Path:
    """Builds the wheel of the package at work in a folder, by pip and the setuptools there are; no network is asked.

    Raises InputError where the package does not run from its repository, or it cannot be built.
    """
    root = Path(unets.__file__).parents[2]
    if not (root / "pyproject.toml").is_file():
        raise InputError(f"unets must run from a clone of its repository. Received: {root}, without a pyproject.toml")
    with tempfile.TemporaryDirectory() as temporary:  # setuptools leaves files beside what it builds
        copy = Path(temporary)
        shutil.copytree(root / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copyfile(root / name, copy / name)
        options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-index", "--no-build-isolation"]
        command = [sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", str(folder.absolute()), temporary]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": _EPOCH}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise InputError(
            f"pip must build a wheel of {root}. Received: {done.stderr.strip()[-500:]}. "
            f"`pip install 'setuptools>=77' wheel` installs what it takes"
        )
    return next(folder.glob("unets-*.whl"))


def _find_runs(project: Project, dataset: DatasetConfig, ensemble: Ensemble) -> list[Path]:
    """Returns the run folders of the members that count, each checked against what the ensemble was fitted with."""
    check_folds(project, ensemble)
    runs = []
    for member in ensemble.used_members:
        name, experiment = member.experiment, load_experiment(project.configs_dir, member.experiment)
        snapshots = {fold: take_snapshot(experiment, dataset, fold, ensemble.folds_sha256) for fold in ensemble.folds}
        weights = {fold: find_weights(project.run_dir(name, fold), one) for fold, one in snapshots.items()}
        if fingerprint_nets(experiment, dataset.classes, hash_weights(weights)) != member.fingerprint:
            raise InputError(
                f"The {ensemble.name} must be of the weights that are there. Received: one of other weights, or of "
                f"other folds, of {name}. Run `unets predict && unets ensemble`"
            )
        runs += [path.parent for path in weights.values()]
    return runs


def _describe(ensemble: Ensemble, owner: str, slug: str) -> dict[str, object]:
    """Returns what the client wants to know of the dataset."""
    most = _MAX_NAME - len(_KERNEL)
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", slug) or not 6 <= len(slug) <= most:
        raise InputError(f"`--slug` must be 6 to {most} of a-z, 0-9 and single dashes. Received: {slug!r}")
    members = ", ".join(f"{member.experiment} ({member.weight:.3f})" for member in ensemble.used_members)
    return {
        "title": slug.replace("-", " "),
        "id": f"{owner}/{slug}",
        "subtitle": f"U-Nets of {ensemble.competition}, with the code that they predict with"[:_MAX_SUBTITLE],
        "description": f"{ensemble.metric} out-of-fold {ensemble.score}; {format_folds(ensemble.folds)} of {members}.",
        # The weights are made of the competition's data, whose rules say what may be done with them.
        "licenses": [{"name": "other"}],
    }
