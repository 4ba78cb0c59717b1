"""Pseudo-labels: masks of test images, predicted by an ensemble, as more training images.

models/<competition>/pseudo_labels/<name>/
    fold<k>.zip      a mask each, <id>.png; images whose probability map is confident only
    fold<k>.json     what made them; the labels are whole once it is there

Each fold has labels of its own. The maps of all folds' nets together know the held-out images of each fold, whose masks
all other folds' nets were trained on: labels made from them would carry these into training. So the labels that fold
k's net is trained on come from fold k's nets alone, which have seen no more than it may see. Nor do they come from
images of a group that training images are of: one car on both sides of a split is a leak, however it gets there.
"""

import logging
from dataclasses import replace

from unets.data.files import list_members
from unets.data.samples import Sample
from unets.dataset.manifest import Manifest
from unets.errors import InputError
from unets.store.paths import Project
from unets.store.runs import hash_file, read_json

logger = logging.getLogger(__name__)


def read_pseudo_labels(project: Project, manifest: Manifest, name: str, fold: int) -> tuple[Sample, ...]:
    """Reads the pseudo-labels `name` that the net of a fold is trained on: test images with masks, sorted by id.

    Raises:
        InputError: there are none, they are damaged or of other folds, or a label is of an image that may not train:
            unknown, or of a training image's group.
    """
    path, remedy = project.pseudo_labels_path(name, fold), name_labels_command(name, fold, force=True)
    sha256 = hash_pseudo_labels(project, name, fold)
    types = {"file_sha256": str, "folds_hash": str, "num_images": int, "confidence": float}
    record = read_json(project.pseudo_labels_record_path(name, fold), remedy=f"Run {remedy}", **types)
    if record["file_sha256"] != sha256:
        raise InputError(f"{path} must be as it was made. Received: other bytes. Run {remedy}")
    if record["folds_hash"] != hash_file(project.folds_path):
        raise InputError(
            f"{path} must be of the folds in {project.folds_path}. Received: labels made on other folds, by nets that "
            f"may have seen what fold {fold} holds out. Run {remedy}"
        )
    allowed = {sample.id: sample for sample in list_unlabeled(manifest)}
    labels = {name.removesuffix(".png"): f"{path}/{name}" for name in list_members(path)}
    refused = sorted(labels.keys() - allowed.keys())
    if refused:
        raise InputError(
            f"{path} must hold test images only, of groups without training images. Received: {len(refused)} others, "
            f"{refused[0]} first. Run {remedy}"
        )
    if not labels:
        raise InputError(
            f"{path} must hold labels. Received: none of {record['num_images']} images reached a confidence of "
            f"{record['confidence']}. Run {remedy} with a lower --confidence"
        )
    # The hash is of the whole zip, which was compared; an id behind it keeps it from being taken for a mask's own.
    return tuple(replace(allowed[i], masks=(labels[i],), mask_hash=f"{sha256}-{i}") for i in sorted(labels))


def hash_pseudo_labels(project: Project, name: str, fold: int) -> str:
    """Returns the SHA-256 of a fold's labels, by which a run knows that it goes on with the same.

    Raises InputError where there are none.
    """
    path = project.pseudo_labels_path(name, fold)
    if not (path.is_file() and project.pseudo_labels_record_path(name, fold).is_file()):
        raise InputError(f"{path} must exist, whole. Received: no such labels. Run {name_labels_command(name, fold)}")
    return hash_file(path)


def count_pseudo_labels(project: Project, name: str, fold: int) -> int:
    """Returns how many images a fold's labels are of, as their record has it; 0 where there are none yet."""
    path = project.pseudo_labels_record_path(name, fold)
    return int(read_json(path, num_kept=int)["num_kept"]) if path.is_file() else 0


def list_unlabeled(manifest: Manifest) -> tuple[Sample, ...]:
    """Lists the test images that may get labels: those of groups without training images; at least one."""
    groups = {sample.group for sample in manifest.train}
    kept = tuple(sample for sample in manifest.test if sample.group not in groups)
    if not kept:
        raise InputError(
            f"Pseudo-labels must be of test images whose group no training image is of (see `source.group`). "
            f"Received: {len(manifest.test)} test images, none such"
        )
    if len(kept) < len(manifest.test):
        logger.info("%d test images are of training images' groups: no labels", len(manifest.test) - len(kept))
    return kept


def name_labels_command(name: str, fold: int, *, force: bool = False) -> str:
    """Returns the command that makes a fold's labels, and with `force` does away with those there."""
    return f"`unets pseudo-labels --name {name} --fold {fold}{' --force' if force else ''}`"
