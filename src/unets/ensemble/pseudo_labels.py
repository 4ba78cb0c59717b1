"""Pseudo-labels made: test images predicted by one fold's nets of an ensemble, kept where they are confident.

`unets.dataset.pseudo_labels` says why each fold has its own, and reads them for training.
"""

import logging
import shutil
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from unets.config import DatasetConfig, ExperimentConfig, check_name
from unets.data.io import encode_png
from unets.data.samples import Sample, read_full_size
from unets.dataset.manifest import Manifest
from unets.dataset.pseudo_labels import list_unlabeled, name_labels_command
from unets.ensemble.ensemble import Ensemble
from unets.ensemble.mask_scores import expect_dice
from unets.ensemble.recipe import Recipe, average_maps, cut_map
from unets.errors import InputError
from unets.prediction.maps import MapReader, open_maps
from unets.prediction.pipeline import plan_job, run_jobs
from unets.prediction.sources import find_fold_weights, fingerprint_nets, hash_weights
from unets.store.paths import Project
from unets.store.provenance import describe_origin
from unets.store.runs import atomic_path, fingerprint, hash_file, lock, read_json, write_json
from unets.workers.pool import in_chunks, run_tasks

logger = logging.getLogger(__name__)

_CHUNK = 64  # images a task
# What of the data set decides how labels are written. Where the images lie does not.
_DECISIVE = {"size_hw", "classes", "overlapping"}

_Chunk = tuple[Sequence[Sample], Sequence[MapReader]]
_Label = tuple[str, float, bytes]  # id, confidence, PNG of class indices


def make_pseudo_labels(
    project: Project,
    manifest: Manifest,
    name: str,
    ensemble: Ensemble,
    experiments: Mapping[str, ExperimentConfig],
    *,
    folds: Sequence[int],
    confidence: float = 0.9,
    force: bool = False,
) -> None:
    """Makes the labels that each fold's training may use, from that fold's nets of the ensemble's members alone.

    Maps become masks by the ensemble's recipe that was fitted without the fold's images (`Ensemble.find_recipe`): that
    of submissions has seen them all. An image is kept where `expect_dice` is at least `confidence`. A fold whose labels
    are there, of the same origin, is skipped, unless `force` deletes them first; a kill costs a shard of maps at most.
    The maps are deleted as soon as the labels are there. Raises InputError where a member's fold is not trained to its
    end, with this config and on these folds; there are labels or maps of another origin; no test image may get labels;
    or classes overlap.
    """
    check_name(name, "`--name`")
    if not 0 <= confidence <= 1:
        raise InputError(f"`--confidence` must be in 0..1. Received: {confidence}")
    if manifest.dataset.overlapping:
        raise InputError("Pseudo-labels must be of classes that share no pixel. Received: `overlapping`=True")
    samples, dataset = list_unlabeled(manifest), manifest.dataset
    with lock(project.pseudo_labels_dir(name)):
        # All weights are found before anything is predicted.
        weights_paths = {
            fold: {one: find_fold_weights(project, manifest, one, experiments[one], fold) for one in experiments}
            for fold in folds
        }
        for fold, path_of in weights_paths.items():
            maps_dir, what = project.pseudo_labels_fold_dir(name, fold), f"{name} fold {fold}"
            path, record_path = project.pseudo_labels_path(name, fold), project.pseudo_labels_record_path(name, fold)
            if force:
                record_path.unlink(missing_ok=True)  # first: without it, no labels count as whole
                path.unlink(missing_ok=True)
                shutil.rmtree(maps_dir, ignore_errors=True)
            names, recipe = [member.experiment for member in ensemble.members], ensemble.find_recipe(fold)
            prints = [
                fingerprint_nets(experiments[k], dataset.classes, hash_weights({fold: path_of[k]})) for k in names
            ]
            made_of = {
                "folds_hash": hash_file(project.folds_path),
                "members": [{"experiment": k, "fingerprint": one} for k, one in zip(names, prints, strict=True)],
                "recipe": recipe.model_dump(mode="json"),
                "confidence": confidence,
            }
            identity = fingerprint(
                **made_of,
                ids=[sample.id for sample in samples],
                images=[sample.image_hash for sample in samples],
                dataset=dataset.model_dump(mode="json", include=_DECISIVE),
            )
            command = name_labels_command(name, fold, force=True)
            if _is_made(path, record_path, command, identity, confidence):
                logger.info("%s: labels are there", what)
            else:
                plan = partial(plan_job, what=f"for {what}", command=command)
                jobs = [plan(k, experiments[k], dataset, {fold: path_of[k]}, maps_dir / k, samples) for k in names]
                run_jobs(jobs)
                readers = [open_maps(job.store.folder) for job in jobs]
                draw = partial(_draw_chunk, dataset, recipe, confidence)
                record = _write_labels(path, draw, samples, readers, what)
                record |= {"name": name, "fold": fold, "fingerprint": identity, **made_of}
                write_json(record_path, record | describe_origin(), sealed=True)
            shutil.rmtree(maps_dir, ignore_errors=True)


def _is_made(path: Path, record_path: Path, remedy: str, identity: str, confidence: float) -> bool:
    """Tells whether a fold's labels are there; raises InputError where something else made them."""
    if not (path.exists() and record_path.exists()):
        return False
    types = {"fingerprint": str, "file_sha256": str, "members": list[dict[str, str]], "confidence": float}
    record = read_json(record_path, remedy=f"Run {remedy}", **types)
    if record["fingerprint"] != identity:
        raise InputError(
            f"{path} must be made of this ensemble, with confidence {confidence}. Received: labels of "
            f"{', '.join(member['experiment'] for member in record['members'])}, with confidence "
            f"{record['confidence']}, of other weights or for other images. Give another --name, or replace them: "
            f"{remedy}"
        )
    return bool(record["file_sha256"] == hash_file(path))


def _write_labels(
    path: Path,
    draw: Callable[[_Chunk], list[_Label]],
    samples: Sequence[Sample],
    readers: Sequence[MapReader],
    what: str,
) -> dict[str, object]:
    """Writes the zip of one fold's masks; returns what a record says of it."""
    chunks = in_chunks(samples, _CHUNK)
    tasks = ((chunk, [reader.select(sample.id for sample in chunk) for reader in readers]) for chunk in chunks)
    confidences, num_kept = list[float](), 0
    with atomic_path(path) as temporary:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            for labels in run_tasks(draw, tasks, what=what, total=len(chunks), unit="chunk"):
                for id_, confidence, png in labels:
                    confidences.append(confidence)
                    if png:
                        num_kept += 1
                        archive.writestr(zipfile.ZipInfo(f"{id_}.png"), png)  # without a time: equal masks, equal bytes
        sha256 = hash_file(temporary)
    least, tenth, median = np.quantile(confidences, (0, 0.1, 0.5))
    logger.info(
        "%s: %d of %d images kept; confidence %.4f at the least, %.4f of a tenth, %.4f of half",
        *(what, num_kept, len(confidences), least, tenth, median),
    )
    return {"num_images": len(confidences), "num_kept": num_kept, "file_sha256": sha256}


def _draw_chunk(dataset: DatasetConfig, recipe: Recipe, least: float, task: _Chunk) -> list[_Label]:
    """Returns the label of each image; no bytes where it is not kept."""
    found, (samples, readers) = [], task
    for sample in samples:
        maps = [reader.read_map(sample.id) for reader in readers]
        probs_hwc = average_maps(recipe, maps, read_full_size(sample, dataset))
        mask_hw = cut_map(recipe, probs_hwc)
        confidence = expect_dice(probs_hwc, mask_hw)
        found.append((sample.id, confidence, encode_png(mask_hw) if confidence >= least else b""))
    return found
